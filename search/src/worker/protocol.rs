//! What a search and its workers say to each other: one JSON document a line, over the worker's standard input and output.
//!
//! ```text
//! search -> worker                                     worker -> search
//! {"start":{"protocol":1,"job":{"op":…,"target":…}}}
//!                                                      {"ready":{"protocol":1,"code":"0.1.0+5f0c…"}}
//! {"evaluate":{"schedule":{…},"effort":"sample"}}
//!                                                      {"phase":"compiling"}
//!                                                      {"phase":"running"}
//!                                                      {"phase":"queueing"}   the device is wanted …
//! "measure"                                            {"phase":"running"}    … and the worker's until the outcome
//!                                                      {"outcome":{"Ok":{…}}}
//! {"evaluate":…
//! ```
//!
//! The end of its standard input ends a worker, whatever it does.

use std::io::{self, BufRead};

use alcop_spec::{GpuTarget, OpSpec, TileSchedule};
use serde::{Deserialize, Serialize};

use crate::tune::{Effort, TrialOutcome};
use crate::watch::Phase;

/// Version of the messages.
pub const PROTOCOL: u32 = 1;

/// The device that times kernels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum DeviceSpec {
    /// The timing simulator of a target, which need not be the one that is compiled for.
    Simulator(Box<GpuTarget>),
    /// The CUDA device of this number.
    Cuda(u32),
}

/// What the trials of a search have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The operator.
    pub op: OpSpec,
    /// What it is compiled for: all numbers, so that no worker reads a file that has changed.
    pub target: GpuTarget,
    /// Where it is timed.
    pub device: DeviceSpec,
}

/// From the search to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ToWorker {
    /// The first message.
    Start {
        /// [`PROTOCOL`] of the search.
        protocol: u32,
        /// What will be evaluated.
        job: Box<Job>,
    },
    /// One trial; the next one follows its outcome.
    Evaluate {
        /// The schedule.
        schedule: TileSchedule,
        /// How thoroughly it is verified.
        effort: Effort,
    },
    /// The device is this worker's until the outcome.
    Measure,
}

/// From a worker to the search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FromWorker {
    /// Operands are made, and the device is there.
    Ready {
        /// [`PROTOCOL`] of the worker.
        protocol: u32,
        /// [`CODE_VERSION`](crate::CODE_VERSION) of the worker.
        code: String,
    },
    /// It cannot evaluate at all; the worker ends.
    Refused {
        /// Why, for a reader.
        reason: String,
    },
    /// The trial enters a phase. [`Phase::Queueing`] asks for the device, and [`ToWorker::Measure`] grants it.
    Phase(Phase),
    /// What became of the trial.
    Outcome(TrialOutcome),
}

/// A line that was read, or the next piece of one that is too long.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Without its end.
    pub(super) bytes: Vec<u8>,
    /// What comes next is the rest of it.
    pub(super) cut: bool,
}

impl Line {
    /// For a reader, at most `most` characters of it.
    pub(super) fn text(&self, most: usize) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let text = text.trim_end();
        match text.char_indices().nth(most) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None if self.cut => format!("{text}…"),
            None => text.to_owned(),
        }
    }
}

/// The next line, or the first `most` bytes of it; `None` at the end.
pub(super) fn read_line(reader: &mut impl BufRead, most: usize) -> io::Result<Option<Line>> {
    let mut line = Line {
        bytes: Vec::new(),
        cut: false,
    };
    let mut any = false;
    loop {
        let chunk = match reader.fill_buf() {
            Ok(chunk) => chunk,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if chunk.is_empty() {
            return Ok(any.then_some(line));
        }
        any = true;
        let end = chunk.iter().position(|&byte| byte == b'\n');
        let text = &chunk[..end.unwrap_or(chunk.len())];
        let kept = text.len().min(most - line.bytes.len());
        line.bytes.extend_from_slice(&text[..kept]);
        line.cut = kept < text.len();
        let whole = end.is_some() && !line.cut;
        reader.consume(kept + usize::from(whole));
        if whole || line.cut {
            return Ok(Some(line));
        }
    }
}
