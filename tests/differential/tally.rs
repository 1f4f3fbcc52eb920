//! What the cases of a run were about.

use std::collections::BTreeMap;
use std::fmt;

use super::compile::Seen;
use super::program::Program;
use super::random::Focus;
use super::work::Work;

/// Counted over a run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Of each form: cases that were pipelined, refused, and asked for too much.
    forms: BTreeMap<Focus, [usize; 3]>,
    /// Of each reason why a program may be refused: the codes of refusals that it may be behind.
    reasons: BTreeMap<(&'static str, String), usize>,
    slots: usize,
    read_ahead: usize,
    across_loops: usize,
    staged: usize,
    sunk: usize,
    cast: usize,
    floats: usize,
    reused: usize,
    in_place: usize,
}

impl Tally {
    pub fn pipelined(&mut self, focus: Focus, program: &Program, seen: &Seen) {
        self.forms.entry(focus).or_default()[0] += 1;
        let any = |of: &dyn Fn(&super::program::Buffer) -> bool| usize::from(program.buffers.iter().any(of));
        self.slots += usize::from(seen.slots);
        self.read_ahead += usize::from(seen.read_ahead);
        self.across_loops += usize::from(seen.across_loops);
        self.staged += usize::from(seen.staged);
        self.reused += usize::from(seen.reused);
        self.in_place += usize::from(seen.in_place);
        self.sunk += any(&|buffer| buffer.works[0] != Work::None);
        self.cast += any(&|buffer| buffer.cast);
        self.floats += any(&|buffer| buffer.kind.is_float());
    }

    pub fn refused(&mut self, focus: Focus, doubts: &[&'static str], reasons: &[(String, String)]) {
        self.forms.entry(focus).or_default()[1] += 1;
        let codes: Vec<&str> = reasons.iter().map(|(code, _)| code.as_str()).collect();
        for doubt in doubts {
            *self.reasons.entry((doubt, codes.join(", "))).or_default() += 1;
        }
    }

    pub fn too_far(&mut self, focus: Focus) {
        self.forms.entry(focus).or_default()[2] += 1;
    }

    pub fn check(&self, _all: u32) {}
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (focus, [pipelined, refused, too_far]) in &self.forms {
            writeln!(
                f,
                "{:<20} {pipelined:>5} pipelined {refused:>5} refused {too_far:>5} too far",
                format!("{focus:?}")
            )?;
        }
        for ((doubt, codes), count) in &self.reasons {
            writeln!(f, "{count:>5} refused with {codes}: {doubt}")?;
        }
        write!(
            f,
            "slots {}, read ahead {}, across loops {}, staged {}, sunk {}, cast {}, floats {}, reused {}, in place {}",
            self.slots,
            self.read_ahead,
            self.across_loops,
            self.staged,
            self.sunk,
            self.cast,
            self.floats,
            self.reused,
            self.in_place
        )
    }
}
