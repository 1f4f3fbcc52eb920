//! What the caller of a kernel from a file promises of its arguments: the options of every command that takes one.

use alcop_compiler::detect::Assumptions;
use alcop_spec::assumption::{MAX_ALIGNED, is_alignment};
use clap::Args;

use super::Failure;

#[derive(Args, Clone, Debug)]
pub struct AssumptionArguments {
    /// Take the aligned pointers of memref arguments as multiples of so many bytes, where the file does not say how they are
    /// aligned; 1 assumes nothing [default: 16]
    #[arg(long, value_name = "BYTES", value_parser = alignment)]
    pub assume_aligned: Option<u64>,
    /// Take different memref arguments as not overlapping
    #[arg(long)]
    pub assume_noalias: bool,
}

impl AssumptionArguments {
    pub fn assumptions(&self) -> Assumptions {
        Assumptions {
            aligned: self.assume_aligned.unwrap_or(Assumptions::DEFAULT_ALIGNED),
            noalias: self.assume_noalias,
        }
    }

    /// Refuses them beside an operator, whose kernels say all that they need.
    pub fn check(&self, of_operator: bool) -> Result<(), Failure> {
        match self.given().filter(|_| of_operator) {
            Some(option) => Err(Failure::without_effect(
                option,
                "on an operator of ours, whose kernel says how its arguments are aligned and that they do not overlap",
            )),
            None => Ok(()),
        }
    }

    /// The first of these options that was given.
    pub fn given(&self) -> Option<&'static str> {
        let aligned = self.assume_aligned.map(|_| "--assume-aligned");
        aligned.or(self.assume_noalias.then_some("--assume-noalias"))
    }
}

fn alignment(text: &str) -> Result<u64, String> {
    let bytes = text.parse().ok().filter(|bytes| is_alignment(*bytes));
    bytes.ok_or_else(|| format!("{text:?} is not an alignment: a power of two, at most {MAX_ALIGNED} bytes"))
}
