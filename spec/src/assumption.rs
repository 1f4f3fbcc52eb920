//! What a caller promises of a kernel's arguments, one by one: the words that verdicts, plans, launch files and PTX share.
//!
//! ```text
//! argument 0: aligned to 16 bytes          arguments 0 and 2: not overlapping
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The largest alignment that can be assumed, in bytes: a page of host memory.
pub const MAX_ALIGNED: u64 = 4096;

/// Whether a number of bytes can be assumed as an alignment: a power of two, at most [`MAX_ALIGNED`].
pub fn is_alignment(bytes: u64) -> bool {
    bytes.is_power_of_two() && bytes <= MAX_ALIGNED
}

/// One promise that a verdict rests on. As text, `argument 0: aligned to 16 bytes` and `arguments 0 and 2: not overlapping`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Assumption {
    /// The aligned pointer of a memref argument is a multiple of so many bytes.
    Aligned {
        /// The argument's position.
        argument: usize,
        /// Bytes.
        bytes: u64,
    },
    /// Two memref arguments share no byte.
    NoAlias {
        /// The one that comes first.
        argument: usize,
        /// The other.
        other: usize,
    },
}

impl fmt::Display for Assumption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Assumption::Aligned { argument, bytes } => write!(f, "argument {argument}: aligned to {bytes} bytes"),
            Assumption::NoAlias { argument, other } => write!(f, "arguments {argument} and {other}: not overlapping"),
        }
    }
}

impl From<Assumption> for String {
    fn from(assumption: Assumption) -> String {
        assumption.to_string()
    }
}

/// A text that is no assumption.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no assumption; there are `argument 0: aligned to 16 bytes` (a power of two, at most 4096) and \
     `arguments 0 and 1: not overlapping` (the smaller one first)"
)]
pub struct NoAssumption(String);

impl FromStr for Assumption {
    type Err = NoAssumption;

    fn from_str(text: &str) -> Result<Self, NoAssumption> {
        let parse = || {
            let (subject, what) = text.split_once(": ")?;
            if let Some(argument) = subject.strip_prefix("argument ") {
                let bytes = what.strip_prefix("aligned to ")?.strip_suffix(" bytes")?;
                return Some(Assumption::Aligned {
                    argument: argument.parse().ok()?,
                    bytes: bytes.parse().ok().filter(|bytes| is_alignment(*bytes))?,
                });
            }
            let (argument, other) = subject.strip_prefix("arguments ")?.split_once(" and ")?;
            let (argument, other) = (argument.parse().ok()?, other.parse().ok()?);
            (what == "not overlapping" && argument < other).then_some(Assumption::NoAlias { argument, other })
        };
        // One spelling each.
        parse()
            .filter(|found: &Assumption| found.to_string() == text)
            .ok_or_else(|| NoAssumption(text.to_owned()))
    }
}

impl TryFrom<String> for Assumption {
    type Error = NoAssumption;

    fn try_from(text: String) -> Result<Self, NoAssumption> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assumption_is_read_back_as_it_is_written() {
        for assumption in [
            Assumption::Aligned { argument: 3, bytes: 16 },
            Assumption::NoAlias { argument: 0, other: 12 },
        ] {
            assert_eq!(assumption.to_string().parse(), Ok(assumption));
            let json = serde_json::to_value(assumption).expect("a string");
            assert_eq!(json, assumption.to_string());
            assert_eq!(
                serde_json::from_value::<Assumption>(json).expect("the same"),
                assumption
            );
        }
        for text in [
            "argument 0: aligned to 3 bytes",
            "argument 0: aligned to 8192 bytes",
            "argument 00: aligned to 16 bytes",
            "argument -1: aligned to 16 bytes",
            "arguments 1 and 0: not overlapping",
            "arguments 1 and 1: not overlapping",
            "argument 0: not overlapping",
            "",
        ] {
            assert!(text.parse::<Assumption>().is_err(), "{text:?}");
        }
    }
}
