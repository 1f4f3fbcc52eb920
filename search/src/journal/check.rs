//! What records cannot say, one by one and together, and in what two journals differ.
//!
//! ```text
//! {"trial":3,…,"status":"ok"}                          refused: ok, and no time
//! {"trial":3,…,"role":"search"} twice                  refused: one trial, two records
//! one of a100-80gb, the other of h100                  different searches
//! ```

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use serde::Serialize;

use super::{Identity, JournalError, Role, Status, TrialRecord};

impl TrialRecord {
    /// What no trial can have said, whoever wrote it: a good trial without a time, or with one that is not positive; a
    /// failed trial with a time.
    pub fn flaw(&self) -> Option<String> {
        let positive = |time_us: f64| time_us.is_finite() && time_us > 0.0;
        match (self.status, self.time_us) {
            (Status::Ok, None) => Some("the trial is ok, and has no time_us".to_owned()),
            (Status::Ok, Some(time_us)) if !positive(time_us) => Some(format!(
                "the trial is ok, and its time_us is {time_us}, which is not positive"
            )),
            (Status::Ok, Some(_)) if self.time_kind.is_none() || self.device.is_none() => Some(
                "the trial is ok, and does not say on which device its time was taken, or of which kind it is"
                    .to_owned(),
            ),
            (Status::Ok, Some(_)) => {
                let bad = self.samples_us.iter().find(|sample| !positive(**sample));
                bad.map(|sample| format!("one of samples_us is {sample}, which is not positive"))
            }
            (_, Some(time_us)) => Some(format!("the trial failed, and has a time_us of {time_us}")),
            (_, None) => None,
        }
    }

    /// Whether another record is the same trial: the same schedule for the same reason. What is measured again is the
    /// same where its samples are.
    pub fn repeats(&self, other: &TrialRecord) -> bool {
        let again = |record: &TrialRecord| (record.time_us.map(f64::to_bits), record.seconds.to_bits());
        self.key == other.key
            && self.role == other.role
            && (self.role != Role::Repeat || again(self) == again(other) && self.samples_us == other.samples_us)
    }
}

/// Refuses records that are not of the given search.
pub fn check_identity(path: &Path, records: &[TrialRecord], identity: &Identity) -> Result<(), JournalError> {
    let foreign = records
        .iter()
        .enumerate()
        .find_map(|(index, record)| identity.difference(record).map(|difference| (index + 1, difference)));
    match foreign {
        Some((line, difference)) => Err(JournalError::Foreign {
            path: path.to_owned(),
            line,
            difference,
        }),
        None => Ok(()),
    }
}

/// Refuses records of which two have one number, or are the same trial.
pub fn check_unique(path: &Path, records: &[TrialRecord]) -> Result<(), JournalError> {
    let mut numbers: HashMap<u64, usize> = HashMap::new();
    let mut trials: HashMap<(&str, Role), Vec<usize>> = HashMap::new();
    for (index, record) in records.iter().enumerate() {
        let duplicate = |first: usize, what: String| {
            Err(JournalError::Duplicate {
                path: path.to_owned(),
                line: index + 1,
                first: first + 1,
                what,
            })
        };
        let same = trials.entry((record.key.as_str(), record.role)).or_default();
        if let Some(first) = same.iter().find(|first| records[**first].repeats(record)) {
            return duplicate(
                *first,
                format!("the trial of {} as {}", record.schedule, record.role.name()),
            );
        }
        same.push(index);
        if let Some(first) = numbers.insert(record.trial, index) {
            return duplicate(first, format!("trial number {}", record.trial));
        }
    }
    Ok(())
}

/// A part of what a record says of its search.
type Part = fn(&TrialRecord) -> Option<String>;

/// In what the searches of two journals differ: operator, target, space, device, code. Each with what the one has and what
/// the other has.
pub fn differences(one: &[TrialRecord], other: &[TrialRecord]) -> Vec<Difference> {
    let pairs: [(&'static str, Part); 6] = [
        ("operator", |record| Some(record.op.to_string())),
        ("target", |record| Some(record.target.clone())),
        ("target's numbers (hash)", |record| Some(record.target_hash.clone())),
        ("space", |record| record.space.clone()),
        ("device", |record| record.device.clone()),
        ("code version", |record| Some(record.compiler.clone())),
    ];
    let difference = |(what, of): (&'static str, Part)| {
        let all = |records: &[TrialRecord]| -> Vec<String> {
            let distinct: BTreeSet<String> = records.iter().filter_map(of).collect();
            distinct.into_iter().collect()
        };
        let (one, other) = (all(one), all(other));
        (one != other).then_some(Difference { what, one, other })
    };
    pairs.into_iter().filter_map(difference).collect()
}

/// In what two searches differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is: `operator`, `device` …
    pub what: &'static str,
    /// What the records of the one have; empty where they do not say.
    pub one: Vec<String>,
    /// What the records of the other have.
    pub other: Vec<String>,
}
