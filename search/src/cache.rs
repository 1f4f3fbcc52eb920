//! A folder of tuned schedules: the next search for the same operator, device and compiler has its answer at once.
//!
//! ```text
//! DIR/5f0c….json   named by the hash of the key; the key itself stands in the file and is compared
//! ```
//!
//! An entry is a claim, not an answer: [`revalidate`] compiles, verifies and times its schedules again, and what no
//! longer holds is refused with the reason.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use alcop_spec::{Limits, OpSpec, Rejection, TileSchedule, occupancy};
use alcop_system::files;
use serde::{Deserialize, Serialize};

use crate::journal::{Identity, Role, Status, TrialRecord};
use crate::space::Space;
use crate::tune::{Effort, StopReason, TrialOutcome, TuneError, TuneEvent, TuneInput, TuneOptions, TuneReport, tune};

/// Version of the entries' format.
pub const SCHEMA: u32 = 1;

/// What an entry is the answer for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheKey {
    /// The operator.
    pub op: OpSpec,
    /// Name of the target.
    pub target: String,
    /// [`Identity::target_hash`].
    pub target_hash: String,
    /// Version of the compiler.
    pub compiler: String,
    /// Where trials were timed, as it is named on the command line: `sim`, `cuda:0`.
    pub device: String,
    /// The schedules that were searched.
    pub space: String,
}

impl CacheKey {
    /// The key of a search on `device` in a space of that name.
    pub fn new(identity: &Identity, device: &str, space: &str) -> CacheKey {
        let Identity {
            op,
            target,
            target_hash,
            compiler,
        } = identity.clone();
        CacheKey {
            op,
            target,
            target_hash,
            compiler,
            device: device.to_owned(),
            space: space.to_owned(),
        }
    }

    fn identity(&self) -> Identity {
        Identity {
            op: self.op,
            target: self.target.clone(),
            target_hash: self.target_hash.clone(),
            compiler: self.compiler.clone(),
        }
    }

    /// The first difference, naming both sides.
    fn difference(&self, other: &CacheKey) -> Option<String> {
        let pairs = [
            ("operator", self.op.to_string(), other.op.to_string()),
            ("target", self.target.clone(), other.target.clone()),
            (
                "target's numbers (hash)",
                self.target_hash.clone(),
                other.target_hash.clone(),
            ),
            ("compiler version", self.compiler.clone(), other.compiler.clone()),
            ("device", self.device.clone(), other.device.clone()),
            ("space", self.space.clone(), other.space.clone()),
        ];
        let (what, theirs, ours) = pairs.into_iter().find(|(_, theirs, ours)| theirs != ours)?;
        Some(format!("its {what} is {theirs}, and this search's is {ours}"))
    }
}

/// The answer of an earlier search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheEntry {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// What it is the answer for.
    pub key: CacheKey,
    /// Trials of the strategy that were made.
    pub trials: usize,
    /// Whether the search went on until no schedule was left.
    pub exhausted: bool,
    /// The fastest schedule, verified in full.
    pub best: TrialRecord,
    /// The fastest schedule without a pipeline.
    pub best_unpipelined: Option<TrialRecord>,
}

impl CacheEntry {
    /// The answer of a search; `None` where it has none that was verified in full.
    pub fn new(key: CacheKey, report: &TuneReport) -> Option<CacheEntry> {
        let best = report.best.clone()?;
        let searched = |record: &&TrialRecord| record.role == Role::Search;
        matches!(best.role, Role::Winner | Role::Baseline).then(|| CacheEntry {
            schema: SCHEMA,
            key,
            trials: report.trials.iter().filter(searched).count(),
            exhausted: report.stopped == StopReason::Exhausted,
            best,
            best_unpipelined: report.best_unpipelined.clone(),
        })
    }

    /// Whether the search behind it was at least as long as one of `trials` would be.
    pub fn covers(&self, trials: usize) -> bool {
        self.exhausted || self.trials >= trials
    }
}

/// An entry that is not used, or a folder that cannot be.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The folder or file cannot be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// "read", "write" …
        action: &'static str,
        /// The folder or file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file is no entry: cut off, edited, or of another format version.
    #[error("{path} is not a cache entry: {message}")]
    Corrupted {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The entry answers another question: a hash that collides, or a file that was moved.
    #[error("{path} belongs to another search: {difference}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Both sides of the first difference.
        difference: String,
    },
    /// A schedule of the entry is not legal.
    #[error("{path} holds an illegal schedule, {schedule}: {reasons}")]
    Illegal {
        /// The file.
        path: PathBuf,
        /// The schedule.
        schedule: Box<TileSchedule>,
        /// All reasons.
        reasons: String,
    },
    /// The schedule does not do any more what the entry says.
    #[error("{path} is stale: {schedule}: {reason}")]
    Stale {
        /// The file.
        path: PathBuf,
        /// The schedule.
        schedule: Box<TileSchedule>,
        /// What became of it.
        reason: String,
    },
    /// The schedules could not be evaluated again.
    #[error(transparent)]
    Tune(#[from] TuneError),
}

/// A folder of tuned schedules.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// The cache in a folder, which is made where it does not exist.
    pub fn open(folder: &Path) -> Result<Cache, CacheError> {
        fs::create_dir_all(folder).map_err(|source| io_error("make the cache folder", folder, source))?;
        Ok(Cache {
            folder: folder.to_owned(),
        })
    }

    /// The file of a key.
    pub fn path(&self, key: &CacheKey) -> PathBuf {
        let name = crate::journal::hash(&crate::journal::json(&(SCHEMA, key)));
        self.folder.join(format!("{name}.json"))
    }

    /// The entry of a key; `None` where there is none.
    ///
    /// # Errors
    /// An entry that is corrupted, foreign or illegal. Whether it still holds is for [`revalidate`].
    pub fn find(&self, key: &CacheKey, limits: &Limits) -> Result<Option<CacheEntry>, CacheError> {
        let path = self.path(key);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error("read", &path, source)),
        };
        let corrupted = |message: String| CacheError::Corrupted {
            path: path.clone(),
            message,
        };
        let value: serde_json::Value = serde_json::from_slice(&text).map_err(|error| corrupted(error.to_string()))?;
        let schema = value.get("schema").map_or("none".to_owned(), ToString::to_string);
        if schema != SCHEMA.to_string() {
            let message = format!("it has schema {schema}, and this version reads schema {SCHEMA}");
            return Err(corrupted(message));
        }
        let entry: CacheEntry = serde_json::from_value(value).map_err(|error| corrupted(error.to_string()))?;
        if let Some(difference) = entry.key.difference(key) {
            return Err(CacheError::Foreign { path, difference });
        }
        for record in [Some(&entry.best), entry.best_unpipelined.as_ref()]
            .into_iter()
            .flatten()
        {
            if let Err(reasons) = occupancy::check(&key.op, &record.schedule, limits) {
                let schedule = Box::new(record.schedule);
                let reasons: Vec<String> = reasons.iter().map(Rejection::to_string).collect();
                let reasons = reasons.join("; ");
                return Err(CacheError::Illegal {
                    path,
                    schedule,
                    reasons,
                });
            }
            if let Some(difference) = key.identity().difference(record) {
                return Err(corrupted(format!("a record of it was edited: {difference}")));
            }
            if record.status != Status::Ok || record.ptx_hash.is_none() {
                return Err(corrupted("a record of it has no verified kernel".to_owned()));
            }
        }
        Ok(Some(entry))
    }

    /// Writes an entry in place of an older one: whole or not at all, whoever reads or writes beside it.
    pub fn store(&self, entry: &CacheEntry) -> Result<PathBuf, CacheError> {
        let path = self.path(&entry.key);
        let text = crate::journal::json(entry) + "\n";
        files::write(&path, text.as_bytes()).map_err(|error| io_error("write", &path, error.source))?;
        Ok(path)
    }
}

/// Evaluates an entry's schedules again (the best and its counterpart without a pipeline in full), as
/// [`tune`](crate::tune::tune()) does with a winner; the report has [`StopReason::Cached`]. An interrupt ends it as it ends a
/// search.
///
/// # Errors
/// [`CacheError::Stale`] where the best one fails, compiles to another PTX, or is no longer the fastest of the entry.
pub fn revalidate<E>(
    cache: &Cache,
    entry: &CacheEntry,
    input: TuneInput<'_>,
    interrupt: &AtomicBool,
    evaluate: E,
    on_event: &mut dyn FnMut(TuneEvent<'_>),
) -> Result<TuneReport, CacheError>
where
    E: Fn(&TileSchedule, Effort) -> TrialOutcome + Sync,
{
    let options = TuneOptions {
        trials: 0,
        unpipelined_trials: 0,
        ..TuneOptions::default()
    };
    let claimed = |record: &TrialRecord, trial, role| TrialRecord {
        trial,
        role,
        ..record.clone()
    };
    let mut history = vec![claimed(&entry.best, 0, Role::Search)];
    history.extend(
        entry
            .best_unpipelined
            .iter()
            .map(|record| claimed(record, 1, Role::Unpipelined)),
    );
    let mut report = tune(input, options, history, None, interrupt, evaluate, on_event)?;
    if report.stopped == StopReason::Interrupted {
        return Ok(report);
    }
    let stale = |reason: String| CacheError::Stale {
        path: cache.path(&entry.key),
        schedule: Box::new(entry.best.schedule),
        reason,
    };
    let again = report
        .trials
        .iter()
        .find(|record| matches!(record.role, Role::Winner | Role::Baseline) && record.schedule == entry.best.schedule);
    let Some(again) = again else {
        return Err(stale("it was not evaluated again".to_owned()));
    };
    if again.status != Status::Ok {
        return Err(stale(again.reason.clone().unwrap_or_default()));
    }
    if again.ptx_hash != entry.best.ptx_hash {
        return Err(stale("it compiles to another PTX".to_owned()));
    }
    if report.best.as_ref().map(|best| best.schedule) != Some(entry.best.schedule) {
        return Err(stale("it is not the fastest of its entry any more".to_owned()));
    }
    report.stopped = StopReason::Cached;
    Ok(report)
}

/// The name of a space in a key: its lists.
pub fn space_name(space: &Space) -> String {
    format!("{space:?}")
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> CacheError {
    CacheError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
