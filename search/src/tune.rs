//! The loop of a search: predict, pick a batch, evaluate it in parallel, record every trial, go on.
//!
//! How a schedule is evaluated (compiled, verified, timed) is the caller's closure, so that the loop needs no compiler.
//! A trial that fails or panics is recorded and ends nothing.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use alcop_spec::{GpuTarget, OpSpec, TargetError, TileSchedule, occupancy};
use serde::{Deserialize, Serialize};

use crate::cost_model::{Model, Predictor, predict};
use crate::journal::{Identity, Journal, JournalError, Role, SCHEMA, Status, TimeKind, TrialRecord, Verified};
use crate::lessons::Lessons;
use crate::space::{Space, SpaceError, enumerate};
use crate::strategy::{Observation, Scored, Strategy, next_batch};

/// How thoroughly a schedule is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// A sample of blocks: for each trial.
    Sample,
    /// All blocks, where they are little enough work, and every arrival of copies: for the winner and what it is compared
    /// with.
    Full,
}

/// A trial that was compiled, verified and timed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluated {
    /// Its time in microseconds: finite and positive.
    pub time_us: f64,
    /// What kind of time that is.
    pub time_kind: TimeKind,
    /// On which device.
    pub device: String,
    /// Raw times in microseconds.
    pub samples_us: Vec<f64>,
    /// SHA-256 of the PTX that was verified and timed.
    pub ptx_hash: String,
    /// How it was verified.
    pub verified: Verified,
}

/// A trial that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialFailure {
    /// Where; not [`Status::Ok`].
    pub status: Status,
    /// Why, for a reader.
    pub reason: String,
}

/// What an evaluation answers.
pub type TrialOutcome = Result<Evaluated, TrialFailure>;

/// What a search is about.
#[derive(Clone, Copy, Debug)]
pub struct TuneInput<'a> {
    /// The operator.
    pub op: &'a OpSpec,
    /// The device.
    pub target: &'a GpuTarget,
    /// The schedules.
    pub space: &'a Space,
    /// Version of the compiler, for the journal.
    pub compiler: &'a str,
    /// What earlier searches on the device taught, for [`Strategy::AnalyticLearned`].
    pub lessons: Option<&'a Lessons>,
}

impl<'a> TuneInput<'a> {
    /// A search that nothing was taught.
    pub const fn new(op: &'a OpSpec, target: &'a GpuTarget, space: &'a Space, compiler: &'a str) -> TuneInput<'a> {
        TuneInput {
            op,
            target,
            space,
            compiler,
            lessons: None,
        }
    }
}

/// How a search goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TuneOptions {
    /// Which schedules are tried first.
    pub strategy: Strategy,
    /// Trials of the strategy, those of a resumed journal included. The winner's verification and the schedules without
    /// a pipeline that it is compared with come on top.
    pub trials: usize,
    /// Trials between two decisions of the strategy; evaluated in parallel.
    pub batch: usize,
    /// No batch is started after so many seconds.
    pub seconds: Option<f64>,
    /// Schedules without a pipeline that are tried beside the winner's own tiles, predicted fastest first: each of other
    /// tiles, or with another number of blocks a tile.
    pub unpipelined_trials: usize,
    /// Rounds in which the fastest schedules are measured again, in turn; simulated times are always the same.
    pub repeats: usize,
}

impl Default for TuneOptions {
    fn default() -> Self {
        TuneOptions {
            strategy: Strategy::Analytic,
            trials: 20,
            batch: 4,
            seconds: None,
            unpipelined_trials: 8,
            repeats: 3,
        }
    }
}

/// What happens in a search, for progress display.
#[derive(Clone, Copy, Debug)]
pub enum TuneEvent<'a> {
    /// The space is enumerated and predicted.
    Started {
        /// Points of the space.
        points: u64,
        /// Legal ones.
        legal: usize,
        /// Pruned ones by reason.
        pruned: &'a BTreeMap<&'static str, u64>,
        /// Records that were taken over.
        resumed: usize,
    },
    /// A trial is recorded.
    Trial {
        /// Its record.
        record: &'a TrialRecord,
        /// Trials of the strategy so far.
        done: usize,
        /// Trials of the strategy that were asked for.
        budget: usize,
        /// The best time so far, in microseconds.
        best_us: Option<f64>,
    },
}

/// Why a search ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// All trials were made.
    Trials,
    /// The time is up.
    Seconds,
    /// There are no more candidates.
    Exhausted,
    /// The interrupt flag was set, during the strategy's trials or behind them.
    Interrupted,
    /// Nothing was searched: the schedule was in the cache, and is still right.
    Cached,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct TuneReport {
    /// The fastest schedule that passed full verification; `None` where none did (see `trials` for the reasons).
    pub best: Option<TrialRecord>,
    /// The best schedule's tiles without a pipeline.
    pub baseline_unpipelined_same_tiles: Option<TrialRecord>,
    /// The fastest schedule without a pipeline.
    pub best_unpipelined: Option<TrialRecord>,
    /// All records, resumed ones first, then in the order in which they were chosen.
    pub trials: Vec<TrialRecord>,
    /// Legal schedules of the space.
    pub legal: usize,
    /// Pruned points of the space by reason.
    pub pruned: BTreeMap<&'static str, u64>,
    /// Why it ended.
    pub stopped: StopReason,
}

impl TuneReport {
    /// Time of the same tiles without a pipeline / time of the best.
    pub fn speedup_over_same_tiles(&self) -> Option<f64> {
        speedup(self.baseline_unpipelined_same_tiles.as_ref(), self.best.as_ref())
    }

    /// Time of the best schedule without a pipeline / time of the best.
    pub fn speedup_over_best_unpipelined(&self) -> Option<f64> {
        speedup(self.best_unpipelined.as_ref(), self.best.as_ref())
    }
}

fn speedup(slower: Option<&TrialRecord>, faster: Option<&TrialRecord>) -> Option<f64> {
    Some(slower?.time_us? / faster?.time_us?)
}

/// A search that cannot start or go on. What was recorded is kept.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// No schedule is legal.
    #[error(transparent)]
    Space(#[from] SpaceError),
    /// The target has no rates.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The journal cannot be written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A number of trials in a batch must be positive.
    #[error("the batch is 0 trials; give at least 1")]
    EmptyBatch,
}

/// Searches.
///
/// `evaluate` is called on several threads; `history` is what [`Journal::resume`] gave; records are appended to
/// `journal` in the order in which trials were chosen. Once `interrupt` is set no evaluation is started, those that run
/// are awaited and recorded, and the report tells what was found until then.
pub fn tune<E>(
    input: TuneInput<'_>,
    options: TuneOptions,
    history: Vec<TrialRecord>,
    journal: Option<&mut Journal>,
    interrupt: &AtomicBool,
    evaluate: E,
    on_event: &mut dyn FnMut(TuneEvent<'_>),
) -> Result<TuneReport, TuneError>
where
    E: Fn(&TileSchedule, Effort) -> TrialOutcome + Sync,
{
    if options.batch == 0 {
        return Err(TuneError::EmptyBatch);
    }
    let started = Instant::now();
    let model = Model::new(input.target)?;
    let enumeration = enumerate(input.space, input.op, model.limits(), Some(model.sm_count()))?;
    let mut predictor = Predictor::new(&model, input.op);
    let mut candidates: Vec<Scored> = enumeration
        .legal
        .iter()
        .map(|one| {
            let prediction = predictor.predict(&one.schedule, &one.resources);
            Scored::new(one.schedule, one.resources, prediction)
        })
        .collect();
    if let Some(lessons) = input.lessons {
        lessons.teach(&mut candidates);
    }
    on_event(TuneEvent::Started {
        points: input.space.size(),
        legal: candidates.len(),
        pruned: &enumeration.pruned,
        resumed: history.len(),
    });
    let mut search = Search {
        identity: Identity::new(input.op, input.target, input.compiler),
        space: input.space.name(),
        model,
        budget: options.trials,
        trials: history,
        journal,
        interrupt,
        evaluate,
        on_event,
    };
    let stopped = search.explore(&candidates, &options, started)?;
    // Schedules without a pipeline compete as well: where one is fastest, it is the answer.
    search.unpipelined(&candidates, options.unpipelined_trials)?;
    search.repeat(options.repeats)?;
    let mut best = search.verified_winner()?;
    let mut baseline = None;
    if let Some(winner) = &best {
        baseline = search.timed(&winner.schedule.unpipelined(), Role::Baseline)?;
        best = search.verified_winner()?;
    }
    let best_unpipelined = fastest(search.trials.iter().filter(|record| record.is_unpipelined())).cloned();
    // An interrupt behind the strategy's trials leaves something out as well: a baseline, the winner's verification.
    let stopped = match search.interrupted() {
        true => StopReason::Interrupted,
        false => stopped,
    };
    Ok(TuneReport {
        best,
        baseline_unpipelined_same_tiles: baseline,
        best_unpipelined,
        trials: search.trials,
        legal: candidates.len(),
        pruned: enumeration.pruned,
        stopped,
    })
}

/// Measured times that differ by less are a tie, as a share: repeats of one kernel typically differ by .003.
const TIE: f64 = 0.005;
/// Schedules so much slower than the fastest, as a share, are measured again.
const CLOSE: f64 = 0.03;
/// As many of them at most.
const CLOSEST: usize = 4;

/// A schedule among others.
struct Standing<'a> {
    /// Its best record.
    record: &'a TrialRecord,
    /// Median over its records.
    time_us: f64,
}

/// The schedules of the successful records, fastest first.
fn standings<'a>(records: impl Iterator<Item = &'a TrialRecord>) -> Vec<Standing<'a>> {
    let mut of_schedules: HashMap<TileSchedule, Vec<&TrialRecord>> = HashMap::new();
    for record in records.filter(|record| record.status == Status::Ok && record.time_us.is_some()) {
        of_schedules.entry(record.schedule).or_default().push(record);
    }
    let standing = |records: Vec<&'a TrialRecord>| {
        let mut times: Vec<f64> = records.iter().filter_map(|record| record.time_us).collect();
        times.sort_by(f64::total_cmp);
        let middle = times.len() / 2;
        let record = records.into_iter().min_by(|a, b| a.ranking(b))?;
        let time_us = if times.len() % 2 == 1 {
            times[middle]
        } else {
            0.5 * (times[middle - 1] + times[middle])
        };
        Some(Standing { record, time_us })
    };
    let mut standings: Vec<Standing<'a>> = of_schedules.into_values().filter_map(standing).collect();
    standings.sort_by(|a, b| {
        let ranking = || a.record.ranking_of_equally_fast(b.record);
        a.time_us.total_cmp(&b.time_us).then_with(ranking)
    });
    standings
}

/// The best of the successful records: of those that tie with the fastest, which takes least
/// ([`TrialRecord::ranking_of_equally_fast`]). Only equal simulated times tie.
fn fastest<'a>(records: impl Iterator<Item = &'a TrialRecord>) -> Option<&'a TrialRecord> {
    let standings = standings(records);
    let first = standings.first()?;
    let tie = match first.record.time_kind {
        Some(TimeKind::Measured) => 1.0 + TIE,
        _ => 1.0,
    };
    let tied = standings.iter().take_while(|one| one.time_us <= first.time_us * tie);
    tied.map(|one| one.record).min_by(|a, b| a.ranking_of_equally_fast(b))
}

/// Of schedules that differ in nothing but `raster_rows` the one that is predicted fastest, of equally fast ones that of the
/// fewest rows; in the order in which the first of each came.
fn one_order_each(schedules: Vec<Scored>) -> Vec<Scored> {
    let mut places: HashMap<TileSchedule, usize> = HashMap::new();
    let mut kept: Vec<Scored> = Vec::new();
    for one in schedules {
        let of_any_order = TileSchedule {
            raster_rows: 1,
            ..one.schedule
        };
        let place = *places.entry(of_any_order).or_insert(kept.len());
        match kept.get_mut(place) {
            None => kept.push(one),
            Some(known) => {
                let rows = one.schedule.raster_rows.cmp(&known.schedule.raster_rows);
                if (one.prediction.time_us.total_cmp(&known.prediction.time_us))
                    .then(rows)
                    .is_lt()
                {
                    *known = one;
                }
            }
        }
    }
    kept
}

struct Search<'a, E> {
    identity: Identity,
    space: String,
    model: Model,
    budget: usize,
    trials: Vec<TrialRecord>,
    journal: Option<&'a mut Journal>,
    interrupt: &'a AtomicBool,
    evaluate: E,
    on_event: &'a mut dyn FnMut(TuneEvent<'_>),
}

impl<E> Search<'_, E>
where
    E: Fn(&TileSchedule, Effort) -> TrialOutcome + Sync,
{
    /// The strategy's trials.
    fn explore(
        &mut self,
        candidates: &[Scored],
        options: &TuneOptions,
        started: Instant,
    ) -> Result<StopReason, TuneError> {
        loop {
            let done = self.done();
            if self.interrupted() {
                return Ok(StopReason::Interrupted);
            }
            if done >= options.trials {
                return Ok(StopReason::Trials);
            }
            if options
                .seconds
                .is_some_and(|seconds| started.elapsed().as_secs_f64() >= seconds)
            {
                return Ok(StopReason::Seconds);
            }
            // Of the strategy's own trials alone, so that a resumed search tries what an uninterrupted one would have.
            let history: Vec<Observation> = self
                .trials
                .iter()
                .filter(|record| record.role == Role::Search)
                .map(|record| Observation {
                    schedule: record.schedule,
                    time_us: record.time_us,
                })
                .collect();
            let size = options.batch.min(options.trials - done);
            let batch = next_batch(options.strategy, candidates, &history, size);
            if batch.is_empty() {
                return Ok(StopReason::Exhausted);
            }
            let jobs: Vec<Scored> = batch.into_iter().map(|index| candidates[index]).collect();
            self.evaluate_batch(&jobs, Role::Search, Effort::Sample)?;
        }
    }

    /// The fastest schedule that also passes full verification; those that do not are recorded and passed over.
    fn verified_winner(&mut self) -> Result<Option<TrialRecord>, TuneError> {
        let mut full: HashMap<TileSchedule, Status> = self
            .trials
            .iter()
            .filter(|record| matches!(record.role, Role::Winner | Role::Baseline))
            .map(|record| (record.schedule, record.status))
            .collect();
        loop {
            let failed = |record: &&TrialRecord| full.get(&record.schedule).is_some_and(|status| *status != Status::Ok);
            let Some(leader) = fastest(self.trials.iter().filter(|record| !failed(record))) else {
                return Ok(None);
            };
            let schedule = leader.schedule;
            if full.contains_key(&schedule) {
                let in_full = |record: &&TrialRecord| {
                    matches!(record.role, Role::Winner | Role::Baseline) && record.schedule == schedule
                };
                return Ok(self.trials.iter().find(in_full).cloned());
            }
            if self.interrupted() {
                // The record says that only a sample of blocks was verified.
                return Ok(Some(leader.clone()));
            }
            let job = self.scored(leader);
            match self.evaluate_batch(&[job], Role::Winner, Effort::Full)?.pop() {
                Some(record) => full.insert(schedule, record.status),
                None => return Ok(fastest(self.trials.iter().filter(|record| record.schedule == schedule)).cloned()),
            };
        }
    }

    /// The record of a schedule that was fully verified, from the history or evaluated now; `None` where it failed or
    /// the search is interrupted.
    fn timed(&mut self, schedule: &TileSchedule, role: Role) -> Result<Option<TrialRecord>, TuneError> {
        let known = |record: &&TrialRecord| {
            record.schedule == *schedule && matches!(record.role, Role::Winner | Role::Baseline)
        };
        if let Some(record) = self.trials.iter().find(known) {
            return Ok(Some(record.clone()).filter(|record| record.status == Status::Ok));
        }
        let Some(job) = self.predicted(schedule) else {
            return Ok(None);
        };
        let record = self.evaluate_batch(&[job], role, Effort::Full)?.pop();
        Ok(record.filter(|record| record.status == Status::Ok))
    }

    /// Tries the tiles of the space without a pipeline, predicted fastest first, until `count` of them are tried, each in
    /// one order of its blocks.
    fn unpipelined(&mut self, candidates: &[Scored], count: usize) -> Result<(), TuneError> {
        let mut seen = HashSet::new();
        let flat: Vec<Scored> = candidates
            .iter()
            .map(|candidate| candidate.schedule.unpipelined())
            .filter(|schedule| seen.insert(*schedule))
            .filter_map(|schedule| self.predicted(&schedule))
            .collect();
        let flat = one_order_each(flat);
        let first = next_batch(Strategy::Analytic, &flat, &[], count);
        let jobs: Vec<Scored> = first
            .into_iter()
            .map(|index| flat[index])
            .filter(|job| self.trials.iter().all(|record| record.schedule != job.schedule))
            .collect();
        self.evaluate_batch(&jobs, Role::Unpipelined, Effort::Sample)?;
        Ok(())
    }

    /// Measures the fastest schedules again, in turn: clocks and temperatures drift, and shall do so for all alike.
    fn repeat(&mut self, rounds: usize) -> Result<(), TuneError> {
        let measured = self
            .trials
            .iter()
            .filter(|record| record.time_kind == Some(TimeKind::Measured));
        let standings = standings(measured);
        let Some(limit_us) = standings.first().map(|first| first.time_us * (1.0 + CLOSE)) else {
            return Ok(());
        };
        let close = standings.iter().take(CLOSEST).take_while(|one| one.time_us <= limit_us);
        let jobs: Vec<Scored> = close.map(|one| self.scored(one.record)).collect();
        if jobs.len() < 2 {
            return Ok(());
        }
        let made = |search: &Self, job: &Scored| {
            let again = |record: &&TrialRecord| record.role == Role::Repeat && record.schedule == job.schedule;
            search.trials.iter().filter(again).count()
        };
        for round in 0..rounds {
            for job in &jobs {
                // Those of a search that goes on count.
                if made(self, job) <= round && !self.interrupted() {
                    self.evaluate_batch(std::slice::from_ref(job), Role::Repeat, Effort::Sample)?;
                }
            }
        }
        Ok(())
    }

    /// A schedule with its resources and prediction; `None` where it is over a budget.
    fn predicted(&self, schedule: &TileSchedule) -> Option<Scored> {
        let resources = occupancy::check(&self.identity.op, schedule, self.model.limits()).ok()?;
        let prediction = predict(&self.model, &self.identity.op, schedule, &resources);
        Some(Scored::new(*schedule, resources, prediction))
    }

    fn scored(&self, record: &TrialRecord) -> Scored {
        Scored::new(record.schedule, record.resources, record.prediction)
    }

    fn interrupted(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }

    /// Trials of the strategy so far.
    fn done(&self) -> usize {
        self.trials.iter().filter(|record| record.role == Role::Search).count()
    }

    /// Evaluates jobs in parallel and records them in their order; those that an interrupt kept from starting are left
    /// out. Answers the new records.
    fn evaluate_batch(&mut self, jobs: &[Scored], role: Role, effort: Effort) -> Result<Vec<TrialRecord>, TuneError> {
        let first_trial = self.trials.iter().map(|record| record.trial + 1).max().unwrap_or(0);
        let (sender, receiver) = mpsc::channel();
        let (evaluate, interrupt) = (&self.evaluate, self.interrupt);
        let mut finished: BTreeMap<usize, Option<(TrialOutcome, f64)>> = BTreeMap::new();
        let mut recorded: Vec<TrialRecord> = Vec::new();
        let mut next = 0;
        let (journal, trials, on_event) = (&mut self.journal, &mut self.trials, &mut *self.on_event);
        let (identity, space, budget) = (&self.identity, &self.space, self.budget);
        let result = rayon::in_place_scope(|scope| -> Result<(), TuneError> {
            for (index, job) in jobs.iter().enumerate() {
                let sender = sender.clone();
                scope.spawn(move |_| {
                    let answer = (!interrupt.load(Ordering::Relaxed)).then(|| {
                        let started = Instant::now();
                        let outcome = guarded(|| evaluate(&job.schedule, effort));
                        (outcome, started.elapsed().as_secs_f64())
                    });
                    if sender.send((index, answer)).is_err() {
                        tracing::debug!(index, "the search ended before this trial");
                    }
                });
            }
            drop(sender);
            for (index, answer) in receiver {
                finished.insert(index, answer);
                // Records go out in the order of the jobs, whichever finished first.
                while let Some(answer) = finished.remove(&next) {
                    let job = &jobs[next];
                    next += 1;
                    let Some((outcome, seconds)) = answer else { continue };
                    let trial = first_trial + recorded.len() as u64;
                    let record = TrialRecord {
                        space: Some(space.clone()),
                        ..trial_record(identity, trial, role, job, outcome, seconds)
                    };
                    if let Some(journal) = journal {
                        journal.append(&record)?;
                    }
                    trials.push(record.clone());
                    on_event(TuneEvent::Trial {
                        record: &record,
                        done: trials.iter().filter(|record| record.role == Role::Search).count(),
                        budget,
                        best_us: trials.iter().filter_map(|record| record.time_us).min_by(f64::total_cmp),
                    });
                    recorded.push(record);
                }
            }
            Ok(())
        });
        result.map(|()| recorded)
    }
}

/// The outcome of an evaluation; a panic and a time that is none are failures.
pub(crate) fn guarded(evaluate: impl FnOnce() -> TrialOutcome) -> TrialOutcome {
    match catch_unwind(AssertUnwindSafe(evaluate)) {
        Ok(Ok(evaluated)) if !(evaluated.time_us.is_finite() && evaluated.time_us > 0.0) => Err(TrialFailure {
            status: Status::RunFailed,
            reason: format!("the device answered a time of {} µs", evaluated.time_us),
        }),
        Ok(outcome) => outcome,
        Err(panic) => Err(TrialFailure {
            status: Status::Panicked,
            reason: panic_message(panic.as_ref()),
        }),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panicked without a message".to_owned())
}

fn trial_record(
    identity: &Identity,
    trial: u64,
    role: Role,
    job: &Scored,
    outcome: TrialOutcome,
    seconds: f64,
) -> TrialRecord {
    let Identity {
        op,
        target,
        target_hash,
        compiler,
    } = identity.clone();
    let failed = TrialRecord {
        schema: SCHEMA,
        key: identity.key(&job.schedule),
        trial,
        role,
        op,
        target,
        target_hash,
        compiler,
        space: None,
        schedule: job.schedule,
        resources: job.resources,
        prediction: job.prediction,
        status: Status::RunFailed,
        reason: None,
        verified: None,
        time_us: None,
        time_kind: None,
        device: None,
        samples_us: Vec::new(),
        ptx_hash: None,
        seconds,
    };
    match outcome {
        Err(TrialFailure { status, reason }) => TrialRecord {
            status,
            reason: Some(reason),
            ..failed
        },
        Ok(Evaluated {
            time_us,
            time_kind,
            device,
            samples_us,
            ptx_hash,
            verified,
        }) => TrialRecord {
            status: Status::Ok,
            verified: Some(verified),
            time_us: Some(time_us),
            time_kind: Some(time_kind),
            device: Some(device),
            samples_us,
            ptx_hash: Some(ptx_hash),
            ..failed
        },
    }
}

#[cfg(test)]
mod tests;
