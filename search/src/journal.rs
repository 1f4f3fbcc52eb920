//! The record of a search: one JSON document a line, append-only, failures too.
//!
//! ```json
//! {"schema":1,"key":"5f0c…","trial":0,"role":"search","op":{"op":"matmul",…},"target":"a100-80gb","target_hash":"…",
//!  "compiler":"0.1.0","schedule":{…},"resources":{…},"prediction":{"time_us":…,"terms":{…}},"status":"ok",
//!  "verified":{"m":512,"n":768,"k":3072,"blocks":"all","arrival":["earliest"],"max_error":0.0},
//!  "time_us":31.2,"time_kind":"simulated","device":"sim:a100-80gb","samples_us":[31.2],"seconds":1.4}
//! ```
//!
//! A journal belongs to one operator, target and compiler version, and has one writer at a time.

use std::cmp::Ordering;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use alcop_spec::{GpuTarget, OpSpec, Resources, TileSchedule};
use alcop_system::files::{self, Place};
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cost_model::Prediction;

mod check;

pub use check::{Difference, check_identity, check_unique, differences};

/// Version of the lines' format.
pub const SCHEMA: u32 = 1;

/// What kind of time a number is. A prediction, a simulated and a measured time are different types of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeKind {
    /// By the timing simulator, from the executed instructions.
    Simulated,
    /// On a GPU.
    Measured,
    /// By the analytic model.
    Predicted,
}

impl TimeKind {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            TimeKind::Simulated => "simulated",
            TimeKind::Measured => "measured",
            TimeKind::Predicted => "predicted",
        }
    }
}

/// Which blocks of the grid were executed and compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VerifiedBlocks {
    /// All of them.
    All,
    /// These, by their index in x, y and z.
    Sample(Vec<[u32; 3]>),
}

/// How a trial's kernel was verified.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verified {
    /// Rows of C in the run.
    pub m: u64,
    /// Columns of C in the run.
    pub n: u64,
    /// Length of the sums in the run.
    pub k: u64,
    /// Which blocks were run.
    pub blocks: VerifiedBlocks,
    /// Under which arrivals of copies: `earliest`, `latest`, `random`.
    pub arrival: Vec<String>,
    /// Largest |c − ref| / (error bound of that element); at most 1.
    pub max_error: f64,
}

/// Why a trial is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Chosen by the strategy; counts for the budget.
    Search,
    /// The fastest so far, verified in full.
    Winner,
    /// The winner's tiles without a pipeline.
    Baseline,
    /// Other tiles without a pipeline.
    Unpipelined,
    /// One of the fastest, measured again.
    Repeat,
}

impl Role {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Search => "search",
            Role::Winner => "winner",
            Role::Baseline => "baseline",
            Role::Unpipelined => "unpipelined",
            Role::Repeat => "repeat",
        }
    }
}

/// What became of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Compiled, verified and timed.
    Ok,
    /// The schedule or plan was refused.
    Refused,
    /// Compilation failed.
    CompileFailed,
    /// The hazard check found unordered accesses.
    Hazard,
    /// The kernel's output is wrong.
    WrongResult,
    /// The kernel could not be run or timed.
    RunFailed,
    /// Compiling or running took too long.
    TimedOut,
    /// The evaluation panicked: a bug of ours.
    Panicked,
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialRecord {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// [`Identity::key`] of the schedule.
    pub key: String,
    /// Number of the trial, from 0, in the order in which trials were chosen.
    pub trial: u64,
    /// Why the trial is there.
    pub role: Role,
    /// The operator.
    pub op: OpSpec,
    /// Name of the target.
    pub target: String,
    /// [`Identity::target_hash`].
    pub target_hash: String,
    /// Version of the compiler.
    pub compiler: String,
    /// Name of the space that was searched ([`Space::name`](crate::space::Space::name)); absent in older records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub space: Option<String>,
    /// The schedule in full: enough to compile it again.
    pub schedule: TileSchedule,
    /// What it takes.
    pub resources: Resources,
    /// What the analytic model said.
    pub prediction: Prediction,
    /// What became of it.
    pub status: Status,
    /// Why it failed; absent where it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How it was verified; absent where it failed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<Verified>,
    /// Its time in microseconds; absent where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_us: Option<f64>,
    /// What kind of time that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_kind: Option<TimeKind>,
    /// On which device: `sim:a100-80gb`, `cuda:0 (…)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Raw times in microseconds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples_us: Vec<f64>,
    /// SHA-256 of the PTX that was verified and timed, in hexadecimal; absent where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ptx_hash: Option<String>,
    /// Wall-clock seconds that the evaluation took.
    pub seconds: f64,
}

impl TrialRecord {
    /// Successful trials from best to worst: by time; of equally fast ones the one that takes less shared memory, then
    /// fewer registers, then the one verified in full, then the earlier one. What failed comes last.
    pub fn ranking(&self, other: &TrialRecord) -> Ordering {
        let time = |record: &TrialRecord| match record.status {
            Status::Ok => record.time_us.unwrap_or(f64::INFINITY),
            _ => f64::INFINITY,
        };
        time(self)
            .total_cmp(&time(other))
            .then_with(|| self.ranking_of_equally_fast(other))
    }

    /// The rest of [`TrialRecord::ranking`], whatever the times are.
    pub fn ranking_of_equally_fast(&self, other: &TrialRecord) -> Ordering {
        let key = |record: &TrialRecord| {
            let sampled = !matches!(record.role, Role::Winner | Role::Baseline);
            let Resources {
                shared_bytes,
                registers_estimate,
                ..
            } = record.resources;
            (shared_bytes, registers_estimate, sampled, record.trial)
        };
        key(self).cmp(&key(other))
    }

    /// Whether neither level was pipelined.
    pub fn is_unpipelined(&self) -> bool {
        self.schedule.shared_stages == 1 && self.schedule.register_stages == 1
    }
}

/// What a journal is the record of.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// The operator.
    pub op: OpSpec,
    /// Name of the target.
    pub target: String,
    /// Hash of all the target's numbers: an edited device file is another target.
    pub target_hash: String,
    /// Version of the compiler.
    pub compiler: String,
}

impl Identity {
    /// The identity of a search.
    pub fn new(op: &OpSpec, target: &GpuTarget, compiler: &str) -> Identity {
        let numbers = (target.arch, &target.limits, &target.rates, &target.overheads);
        Identity {
            op: *op,
            target: target.name.clone(),
            target_hash: hash(&json(&numbers)),
            compiler: compiler.to_owned(),
        }
    }

    /// Content hash of operator, schedule, target and compiler version: 32 hexadecimal digits.
    pub fn key(&self, schedule: &TileSchedule) -> String {
        hash(&json(&(
            SCHEMA,
            self.op,
            schedule,
            &self.target,
            &self.target_hash,
            &self.compiler,
        )))
    }

    /// Why a record is not one of this search: the first difference, naming both sides.
    pub(crate) fn difference(&self, record: &TrialRecord) -> Option<String> {
        let pairs = [
            ("operator", record.op.to_string(), self.op.to_string()),
            ("target", record.target.clone(), self.target.clone()),
            (
                "target's numbers (hash)",
                record.target_hash.clone(),
                self.target_hash.clone(),
            ),
            ("compiler version", record.compiler.clone(), self.compiler.clone()),
            ("key", record.key.clone(), self.key(&record.schedule)),
        ];
        let (what, theirs, ours) = pairs.into_iter().find(|(_, theirs, ours)| theirs != ours)?;
        Some(format!("its {what} is {theirs}, and this search's is {ours}"))
    }
}

pub(crate) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data with string keys is JSON")
}

pub(crate) fn hash(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// A journal that cannot be used. All are the user's or the system's; a journal is never overwritten.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be opened, read or written.
    #[error("cannot {action} the journal {path}: {source}")]
    Io {
        /// "open", "read", "append to" …
        action: &'static str,
        /// The journal.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another search writes to it.
    #[error(
        "the journal {path} is in use by another search; wait until that ends, or give this one a journal of its own"
    )]
    Locked {
        /// The journal.
        path: PathBuf,
    },
    /// A stream, a device or a descriptor.
    #[error("the journal {path} is not a plain file; a journal is locked and read back: give it a file of its own")]
    NotAFile {
        /// The journal.
        path: PathBuf,
    },
    /// It exists, and the search was not asked to go on with it.
    #[error("the journal {path} has records already; go on with it (--resume), or give another file")]
    Exists {
        /// The journal.
        path: PathBuf,
    },
    /// A line other than a truncated last one is no record.
    #[error("{path}:{line}: not a trial record: {message}; remove the line, or give another file")]
    BadLine {
        /// The journal.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// The parser's reason.
        message: String,
    },
    /// A record of another format version.
    #[error("{path}:{line}: the record has schema {found}, and this version reads schema {SCHEMA}; give another file")]
    StaleSchema {
        /// The journal.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// The record's schema.
        found: String,
    },
    /// A record of another operator, target or compiler.
    #[error("{path}:{line}: the record belongs to another search: {difference}; give another file")]
    Foreign {
        /// The journal.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Both sides of the first difference.
        difference: String,
    },
    /// A trial that is there twice.
    #[error("{path}:{line}: {what} stands in line {first} already; remove one of the two, or give another file")]
    Duplicate {
        /// The journal.
        path: PathBuf,
        /// Line of the second, counted from 1.
        line: usize,
        /// Line of the first.
        first: usize,
        /// What is the same.
        what: String,
    },
}

/// What a journal's text holds.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalText {
    /// The records, in the order of the lines.
    pub records: Vec<TrialRecord>,
    /// Bytes of the whole lines; what follows is a truncated last line.
    pub valid_bytes: u64,
    /// Bytes of the truncated last line; 0 where there is none.
    pub truncated_bytes: u64,
}

/// Reads a journal without changing it; one whose name ends in `.gz` is unpacked. A truncated last line is left out and
/// counted.
pub fn read(path: &Path) -> Result<JournalText, JournalError> {
    let fail = |source| io_error("read", path, source);
    let mut bytes = std::fs::read(path).map_err(fail)?;
    if path.extension().is_some_and(|extension| extension == "gz") {
        let packed = std::mem::take(&mut bytes);
        GzDecoder::new(packed.as_slice())
            .read_to_end(&mut bytes)
            .map_err(fail)?;
    }
    parse(path, &bytes)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<JournalText, JournalError> {
    // A record counts once its newline is written: what follows the last newline is the rest of a cut-off write.
    let valid = bytes
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |newline| newline + 1);
    let mut records = Vec::new();
    for (index, line) in bytes[..valid].split_inclusive(|&byte| byte == b'\n').enumerate() {
        let bad = |error: serde_json::Error| JournalError::BadLine {
            path: path.to_owned(),
            line: index + 1,
            message: error.to_string(),
        };
        let value: serde_json::Value = serde_json::from_slice(line).map_err(bad)?;
        let found = value
            .get("schema")
            .map_or("none".to_owned(), serde_json::Value::to_string);
        if found != SCHEMA.to_string() {
            return Err(JournalError::StaleSchema {
                path: path.to_owned(),
                line: index + 1,
                found,
            });
        }
        let record: TrialRecord = serde_json::from_value(value).map_err(bad)?;
        if let Some(message) = record.flaw() {
            return Err(JournalError::BadLine {
                path: path.to_owned(),
                line: index + 1,
                message,
            });
        }
        records.push(record);
    }
    Ok(JournalText {
        records,
        valid_bytes: valid as u64,
        truncated_bytes: (bytes.len() - valid) as u64,
    })
}

/// A journal that is open for appending; the file is locked until this is dropped.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    end: u64,
}

/// A journal with the records that it held when it was opened.
#[derive(Debug)]
pub struct Opened {
    /// For appending.
    pub journal: Journal,
    /// What it held.
    pub records: Vec<TrialRecord>,
    /// Bytes of a truncated last line that were removed.
    pub repaired_bytes: u64,
}

impl Journal {
    /// Opens a journal for a new search; a file that has records is refused.
    pub fn create(path: &Path) -> Result<Journal, JournalError> {
        let (file, bytes) = open_locked(path)?;
        if !bytes.is_empty() {
            return Err(JournalError::Exists { path: path.to_owned() });
        }
        Ok(Journal {
            path: path.to_owned(),
            file,
            end: 0,
        })
    }

    /// Opens a journal to go on with its search; one that does not exist is created. A truncated last line is removed;
    /// records of another search or schema are refused, and the file is left as it is.
    pub fn resume(path: &Path, identity: &Identity) -> Result<Opened, JournalError> {
        let (file, bytes) = open_locked(path)?;
        let JournalText {
            records,
            valid_bytes,
            truncated_bytes,
        } = parse(path, &bytes)?;
        check_identity(path, &records, identity)?;
        check_unique(path, &records)?;
        if truncated_bytes > 0 {
            file.set_len(valid_bytes)
                .map_err(|source| io_error("repair", path, source))?;
        }
        let journal = Journal {
            path: path.to_owned(),
            file,
            end: valid_bytes,
        };
        Ok(Opened {
            journal,
            records,
            repaired_bytes: truncated_bytes,
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a record and hands it to the system. Where that fails (a full disk), the part that was written is taken
    /// back, so that the journal stays valid.
    pub fn append(&mut self, record: &TrialRecord) -> Result<(), JournalError> {
        let line = line(record);
        let written = self
            .file
            .seek(SeekFrom::Start(self.end))
            .and_then(|_| self.file.write_all(line.as_bytes()))
            .and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            if let Err(error) = self.file.set_len(self.end) {
                tracing::warn!(path = %self.path.display(), %error, "cannot take back a partly written record");
            }
            return Err(io_error("append to", &self.path, source));
        }
        self.end += line.len() as u64;
        Ok(())
    }
}

/// A record as a line of a journal.
pub fn line(record: &TrialRecord) -> String {
    json(record) + "\n"
}

fn open_locked(path: &Path) -> Result<(File, Vec<u8>), JournalError> {
    match files::place(path) {
        Ok(Place::Name(name)) if name.is_file() || !name.exists() => {}
        Ok(_) => return Err(JournalError::NotAFile { path: path.to_owned() }),
        Err(source) => return Err(io_error("open", path, source)),
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|source| io_error("open", path, source))?;
    match fs4::FileExt::try_lock(&file) {
        Ok(()) => {}
        Err(fs4::TryLockError::WouldBlock) => return Err(JournalError::Locked { path: path.to_owned() }),
        Err(fs4::TryLockError::Error(source)) => return Err(io_error("lock", path, source)),
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(|source| io_error("read", path, source))?;
    Ok((file, bytes))
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> JournalError {
    JournalError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
