//! What the cases of a run were about.

use std::collections::BTreeMap;
use std::fmt;

use super::compile::Seen;
use super::program::{Buffer, Program};
use super::random::Focus;
use super::work::Work;

/// Counted over a run.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    forms: BTreeMap<Focus, Form>,
    /// Why programs were refused, as the program says it.
    doubts: BTreeMap<&'static str, usize>,
    /// The same, as the compiler says it.
    codes: BTreeMap<String, usize>,
    parts: BTreeMap<&'static str, usize>,
}

/// What became of the cases of one form.
#[derive(Clone, Copy, Debug, Default)]
struct Form {
    /// As deep as asked.
    pipelined: usize,
    /// Less deep: the reads do not leave the distance.
    lowered: usize,
    /// Less deep by so much that no buffer has two slots.
    without: usize,
    refused: usize,
}

/// Shares of all cases that a run must have, in percent. Each is far below what was seen, and most forms have a fixed number
/// of cases, so that no run of 200 should fall short.
const SHARES: [(&str, usize); 9] = [
    ("slots", 40),
    ("read ahead", 25),
    ("across loops", 4),
    ("staged", 1),
    ("sunk", 20),
    ("cast", 3),
    ("floats", 25),
    ("reused", 1),
    ("in place", 2),
];

impl Tally {
    pub fn pipelined(&mut self, focus: Focus, program: &Program, seen: &Seen) {
        self.forms.entry(focus).or_default().pipelined += 1;
        let any = |of: &dyn Fn(&Buffer) -> bool| program.buffers.iter().any(of);
        let parts = [
            ("slots", seen.slots),
            ("read ahead", seen.read_ahead),
            ("across loops", seen.across_loops),
            ("staged", seen.staged),
            ("sunk", any(&|buffer| buffer.works[0] != Work::None)),
            ("cast", any(&|buffer| buffer.cast)),
            ("floats", any(&|buffer| buffer.kind.is_float())),
            ("reused", seen.reused),
            ("in place", seen.in_place),
        ];
        for (part, there) in parts {
            *self.parts.entry(part).or_default() += usize::from(there);
        }
    }

    pub fn lowered(&mut self, focus: Focus, slots: bool) {
        let form = self.forms.entry(focus).or_default();
        form.lowered += usize::from(slots);
        form.without += usize::from(!slots);
    }

    pub fn refused(&mut self, focus: Focus, doubts: &[&'static str], reasons: &[(String, String)]) {
        self.forms.entry(focus).or_default().refused += 1;
        for doubt in doubts {
            *self.doubts.entry(doubt).or_default() += 1;
        }
        for (code, _) in reasons {
            *self.codes.entry(code.clone()).or_default() += 1;
        }
    }

    /// Holds the shares. Every form has as many cases as it should, and what the compiler is meant to pipeline it does, to
    /// at least a half.
    pub fn check(&self, all: u32) {
        for focus in Focus::ALL {
            let form = self.forms.get(&focus).copied().unwrap_or_default();
            let cases = focus.cases(all) as usize;
            let done = form.pipelined + form.lowered;
            // Failures that are kept in a file run besides.
            assert!(done + form.without + form.refused >= cases, "{focus:?}\n{self}");
            assert!(!focus.is_meant() || form.refused == 0, "{focus:?}\n{self}");
            assert!(!focus.is_meant() || done * 2 >= cases, "{focus:?}\n{self}");
        }
        let anything = self.forms[&Focus::Anything];
        let cases = Focus::Anything.cases(all) as usize;
        assert!(all < 200 || anything.pipelined * 10 >= cases, "{self}");
        for (part, percent) in SHARES {
            let found = self.parts.get(part).copied().unwrap_or_default();
            assert!(all < 200 || found * 100 >= percent * all as usize, "{part}\n{self}");
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (focus, form) in &self.forms {
            let Form {
                pipelined,
                lowered,
                without,
                refused,
            } = form;
            let name = format!("{focus:?}");
            writeln!(
                f,
                "{name:<18} {pipelined:>4} pipelined {lowered:>4} lowered {without:>4} without {refused:>4} refused"
            )?;
        }
        writeln!(f, "may be refused for: {:?}", self.doubts)?;
        writeln!(f, "refused with: {:?}", self.codes)?;
        write!(f, "pipelined with: {:?}", self.parts)
    }
}
