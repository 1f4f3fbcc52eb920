use std::sync::atomic::AtomicUsize;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use super::*;
use crate::fixtures::{a100, bert, evaluated};
use crate::journal::{VerifiedBlocks, read};

/// Deeper is faster, larger is faster; exact, so that ties are ties.
fn time_us(schedule: &TileSchedule) -> f64 {
    let area = f64::from(schedule.block.m * schedule.block.n);
    1e6 / area / f64::from(schedule.shared_stages + schedule.register_stages)
}

fn ok(schedule: &TileSchedule, effort: Effort) -> TrialOutcome {
    Ok(evaluated(&bert(), time_us(schedule), effort))
}

struct Run {
    history: Vec<TrialRecord>,
    options: TuneOptions,
}

impl Run {
    fn new(options: TuneOptions) -> Run {
        Run {
            history: Vec::new(),
            options,
        }
    }

    fn tune(
        &self,
        journal: Option<&mut Journal>,
        interrupt: &AtomicBool,
        evaluate: impl Fn(&TileSchedule, Effort) -> TrialOutcome + Sync,
    ) -> TuneReport {
        let (op, target, space) = (bert(), a100(), Space::wide_matmul());
        let input = TuneInput::new(&op, &target, &space, "0.1.0");
        tune(
            input,
            self.options,
            self.history.clone(),
            journal,
            interrupt,
            evaluate,
            &mut |_| {},
        )
        .unwrap()
    }
}

fn go() -> AtomicBool {
    AtomicBool::new(false)
}

fn roles(report: &TuneReport, role: Role) -> usize {
    report.trials.iter().filter(|record| record.role == role).count()
}

#[test]
fn a_search_finds_the_best_of_its_trials_and_compares_it_with_no_pipeline() {
    let report = Run::new(TuneOptions::default()).tune(None, &go(), ok);
    assert_eq!(report.stopped, StopReason::Trials);
    assert_eq!(roles(&report, Role::Search), 20);
    let best = report.best.as_ref().unwrap();
    let fastest = report
        .trials
        .iter()
        .filter_map(|record| record.time_us)
        .fold(f64::INFINITY, f64::min);
    assert_eq!(best.time_us, Some(fastest));
    assert_eq!(
        (best.role, &best.verified.as_ref().unwrap().blocks),
        (Role::Winner, &VerifiedBlocks::All)
    );
    let baseline = report.baseline_unpipelined_same_tiles.as_ref().unwrap();
    assert_eq!(baseline.schedule, best.schedule.unpipelined());
    let expected = f64::from(best.schedule.shared_stages + best.schedule.register_stages) / 2.0;
    assert!((report.speedup_over_same_tiles().unwrap() - expected).abs() < 1e-9);
    assert!(report.speedup_over_best_unpipelined().unwrap() <= expected + 1e-9);
}

#[test]
fn an_exhaustive_search_tries_everything_and_ends() {
    let options = TuneOptions {
        strategy: Strategy::Exhaustive,
        trials: usize::MAX,
        batch: 500,
        ..Default::default()
    };
    let report = Run::new(options).tune(None, &go(), ok);
    assert_eq!(report.stopped, StopReason::Exhausted);
    assert_eq!(roles(&report, Role::Search), report.legal);
}

#[test]
fn failing_panicking_and_nonsensical_trials_are_recorded_and_end_nothing() {
    let evaluate = |schedule: &TileSchedule, effort| match schedule.shared_stages {
        3 => Err(TrialFailure {
            status: Status::CompileFailed,
            reason: "no such instruction".to_owned(),
        }),
        4 => panic!("bug at {schedule}"),
        5 => Ok(Evaluated {
            time_us: f64::NAN,
            ..evaluated(&bert(), time_us(schedule), effort)
        }),
        _ => ok(schedule, effort),
    };
    let options = TuneOptions {
        strategy: Strategy::Random { seed: 1 },
        trials: 60,
        ..Default::default()
    };
    let report = Run::new(options).tune(None, &go(), evaluate);
    assert_eq!(roles(&report, Role::Search), 60);
    for (stages, status) in [
        (3, Status::CompileFailed),
        (4, Status::Panicked),
        (5, Status::RunFailed),
    ] {
        let of_stage: Vec<_> = report
            .trials
            .iter()
            .filter(|record| record.schedule.shared_stages == stages)
            .collect();
        assert!(!of_stage.is_empty());
        for record in of_stage {
            assert_eq!((record.status, record.time_us), (status, None));
            assert!(record.reason.is_some());
        }
    }
    assert!(report.best.is_some());
}

#[test]
fn when_every_trial_fails_there_is_no_best() {
    let evaluate = |_: &TileSchedule, _| {
        Err(TrialFailure {
            status: Status::Hazard,
            reason: "race".to_owned(),
        })
    };
    let report = Run::new(TuneOptions::default()).tune(None, &go(), evaluate);
    assert_eq!(
        (
            report.best,
            report.baseline_unpipelined_same_tiles,
            report.best_unpipelined
        ),
        (None, None, None)
    );
    assert!(report.trials.iter().all(|record| record.status == Status::Hazard));
}

#[test]
fn a_winner_that_fails_full_verification_is_passed_over() {
    let quick = Run::new(TuneOptions::default())
        .tune(None, &go(), ok)
        .best
        .unwrap()
        .schedule;
    let evaluate = |schedule: &TileSchedule, effort| match effort {
        Effort::Full if *schedule == quick => Err(TrialFailure {
            status: Status::WrongResult,
            reason: "block 7".to_owned(),
        }),
        _ => ok(schedule, effort),
    };
    let report = Run::new(TuneOptions::default()).tune(None, &go(), evaluate);
    let best = report.best.unwrap();
    assert_ne!(best.schedule, quick);
    assert_eq!(best.role, Role::Winner);
    assert!(
        report
            .trials
            .iter()
            .any(|record| record.role == Role::Winner && record.status == Status::WrongResult)
    );
}

#[test]
fn records_are_in_order_although_trials_finish_in_any() {
    let directory = tempfile::tempdir().unwrap();
    let journal_of = |name: &str, delay: bool| {
        let path = directory.path().join(name);
        let mut journal = Journal::create(&path).unwrap();
        let started = AtomicUsize::new(0);
        let (finished, signal) = (Mutex::new(false), Condvar::new());
        let evaluate = |schedule: &TileSchedule, effort| {
            // The first waits for another one to finish, where there is a thread for that one.
            if started.fetch_add(1, Ordering::Relaxed) == 0 && delay && rayon::current_num_threads() > 1 {
                drop(
                    signal
                        .wait_while(finished.lock().unwrap(), |finished| !*finished)
                        .unwrap(),
                );
            }
            *finished.lock().unwrap() = true;
            signal.notify_all();
            ok(schedule, effort)
        };
        Run::new(TuneOptions::default()).tune(Some(&mut journal), &go(), evaluate);
        drop(journal);
        let mut records = read(&path).unwrap().records;
        records.iter_mut().for_each(|record| record.seconds = 0.0);
        records
    };
    let records = journal_of("slow.jsonl", true);
    assert_eq!(records, journal_of("quick.jsonl", false));
    assert!(
        records
            .iter()
            .enumerate()
            .all(|(index, record)| record.trial == index as u64)
    );
}

#[test]
fn an_interrupted_search_leaves_a_valid_journal_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("j.jsonl");
    let identity = Identity::new(&bert(), &a100(), "0.1.0");
    let interrupt = go();
    let evaluate = |schedule: &TileSchedule, effort| {
        interrupt.store(true, Ordering::Relaxed);
        ok(schedule, effort)
    };
    let mut journal = Journal::create(&path).unwrap();
    let report = Run::new(TuneOptions::default()).tune(Some(&mut journal), &interrupt, evaluate);
    drop(journal);
    assert_eq!(report.stopped, StopReason::Interrupted);
    assert!(
        !report.trials.is_empty() && report.trials.len() <= 4,
        "{}",
        report.trials.len()
    );
    assert!(report.best.is_some());

    let mut opened = Journal::resume(&path, &identity).unwrap();
    assert_eq!(opened.records, report.trials);
    let run = Run {
        history: opened.records,
        options: TuneOptions::default(),
    };
    let resumed = run.tune(Some(&mut opened.journal), &go(), ok);
    assert_eq!(roles(&resumed, Role::Search), 20);
    let fresh = Run::new(TuneOptions::default()).tune(None, &go(), ok);
    assert_eq!(resumed.best.as_ref().unwrap().schedule, fresh.best.unwrap().schedule);

    // A finished search resumed evaluates nothing again.
    drop(opened.journal);
    let opened = Journal::resume(&path, &identity).unwrap();
    let run = Run {
        history: opened.records,
        options: TuneOptions::default(),
    };
    let again = run.tune(None, &go(), |_, _| panic!("nothing is left to evaluate"));
    assert_eq!(again.trials, resumed.trials);
    assert_eq!(
        (again.best, again.best_unpipelined),
        (resumed.best, resumed.best_unpipelined)
    );
}

#[test]
fn an_interrupt_behind_the_strategys_trials_interrupts_as_well() {
    let interrupt = go();
    // All trials are made; then a schedule without a pipeline, or the winner, or its counterpart is under way.
    let during = |wanted: fn(&TileSchedule, Effort) -> bool| {
        interrupt.store(false, Ordering::Relaxed);
        Run::new(TuneOptions::default()).tune(None, &interrupt, |schedule, effort| {
            if wanted(schedule, effort) {
                interrupt.store(true, Ordering::Relaxed);
            }
            ok(schedule, effort)
        })
    };
    let reports = [
        during(|schedule, effort| effort == Effort::Sample && *schedule == schedule.unpipelined()),
        during(|schedule, effort| effort == Effort::Full && *schedule != schedule.unpipelined()),
        during(|schedule, effort| effort == Effort::Full && *schedule == schedule.unpipelined()),
    ];
    for report in &reports {
        assert_eq!(report.stopped, StopReason::Interrupted);
        assert_eq!(roles(report, Role::Search), 20);
        assert!(report.best.is_some());
    }
    let verified = |report: &TuneReport| report.best.as_ref().unwrap().role == Role::Winner;
    assert_eq!(reports.iter().map(verified).collect::<Vec<_>>(), [false, true, true]);
    let compared = |report: &TuneReport| report.baseline_unpipelined_same_tiles.is_some();
    assert_eq!(reports.iter().map(compared).collect::<Vec<_>>(), [false, false, true]);
}

#[test]
fn no_batch_starts_after_the_time_is_up() {
    let limit = Duration::from_millis(20);
    let options = |seconds| TuneOptions {
        trials: usize::MAX,
        seconds: Some(seconds),
        batch: 4,
        ..Default::default()
    };
    // Each trial takes all of the time: whatever else takes time, there is one batch at most.
    let evaluate = |schedule: &TileSchedule, effort| {
        std::thread::sleep(limit);
        ok(schedule, effort)
    };
    let report = Run::new(options(limit.as_secs_f64())).tune(None, &go(), evaluate);
    assert_eq!(report.stopped, StopReason::Seconds);
    assert!(roles(&report, Role::Search) <= 4);
    let report = Run::new(options(0.0)).tune(None, &go(), ok);
    assert_eq!((report.stopped, roles(&report, Role::Search)), (StopReason::Seconds, 0));
}

#[test]
fn events_tell_the_progress() {
    let (op, target, space) = (bert(), a100(), Space::artifact_matmul());
    let input = TuneInput::new(&op, &target, &space, "0.1.0");
    let options = TuneOptions {
        trials: 5,
        ..Default::default()
    };
    let (mut started, mut done) = (0, Vec::new());
    let mut on_event = |event: TuneEvent<'_>| match event {
        TuneEvent::Started {
            points,
            legal,
            pruned,
            resumed,
        } => {
            assert_eq!((points, resumed), (1620, 0));
            assert_eq!(legal as u64 + pruned.values().sum::<u64>(), points);
            started += 1;
        }
        TuneEvent::Trial {
            record,
            done: count,
            budget,
            best_us,
        } => {
            assert!(budget == 5 && best_us.unwrap() <= record.time_us.unwrap());
            if record.role == Role::Search {
                done.push(count);
            }
        }
    };
    tune(input, options, Vec::new(), None, &go(), ok, &mut on_event).unwrap();
    assert_eq!((started, done), (1, vec![1, 2, 3, 4, 5]));
}

#[test]
fn searches_that_cannot_start_are_refused() {
    let (op, space) = (bert(), Space::artifact_matmul());
    let start = |target: &GpuTarget, options: TuneOptions| {
        let input = TuneInput::new(&op, target, &space, "0.1.0");
        tune(input, options, Vec::new(), None, &go(), ok, &mut |_| {}).unwrap_err()
    };
    let bare = GpuTarget::resolve("sm_80").unwrap();
    assert!(matches!(start(&bare, TuneOptions::default()), TuneError::Target(_)));
    assert!(matches!(
        start(
            &a100(),
            TuneOptions {
                batch: 0,
                ..Default::default()
            }
        ),
        TuneError::EmptyBatch
    ));
}

#[test]
fn where_no_pipeline_is_fastest_it_is_the_answer() {
    let deeper_is_slower = |schedule: &TileSchedule, effort: Effort| {
        let time_us = f64::from(schedule.shared_stages * schedule.register_stages);
        Ok(Evaluated {
            time_us,
            samples_us: vec![time_us],
            ..evaluated(&bert(), time_us, effort)
        })
    };
    for unpipelined_trials in [0, 3] {
        let report = Run::new(TuneOptions {
            trials: 4,
            unpipelined_trials,
            ..TuneOptions::default()
        })
        .tune(None, &go(), deeper_is_slower);
        let best = report.best.as_ref().unwrap();
        assert!(best.is_unpipelined(), "{}", best.schedule);
        assert_eq!(best.verified.as_ref().unwrap().blocks, VerifiedBlocks::All);
        assert_eq!(report.speedup_over_same_tiles(), Some(1.0));
    }
}

#[test]
fn a_resumed_search_tries_what_an_uninterrupted_one_does() {
    // All tiles are tried without a pipeline at the end of each part: the strategy must come to them all the same.
    let options = |trials| TuneOptions {
        strategy: Strategy::Exhaustive,
        trials,
        unpipelined_trials: 1000,
        ..TuneOptions::default()
    };
    let searched = |report: &TuneReport| -> Vec<TileSchedule> {
        let search = report.trials.iter().filter(|record| record.role == Role::Search);
        search.map(|record| record.schedule).collect()
    };
    let whole = Run::new(options(30)).tune(None, &go(), ok);
    let half = Run::new(options(4)).tune(None, &go(), ok);
    let resumed = Run {
        history: half.trials,
        options: options(30),
    }
    .tune(None, &go(), ok);
    assert_eq!(searched(&whole), searched(&resumed));
    assert_eq!(
        whole.best.map(|record| record.schedule),
        resumed.best.map(|record| record.schedule)
    );
}

#[test]
fn of_equally_fast_schedules_the_one_that_takes_less_wins() {
    let flat = |schedule: &TileSchedule, effort: Effort| {
        Ok(Evaluated {
            time_us: 7.0,
            samples_us: vec![7.0],
            ..evaluated(&bert(), time_us(schedule), effort)
        })
    };
    let report = Run::new(TuneOptions {
        trials: 12,
        unpipelined_trials: 0,
        ..TuneOptions::default()
    })
    .tune(None, &go(), flat);
    let least = report.trials.iter().map(|record| record.resources.shared_bytes).min();
    assert_eq!(report.best.map(|record| record.resources.shared_bytes), least);
}

/// Measured times that drift: whoever is measured first is fastest then, and slowest in the long run. The fastest are measured
/// again in turn, and a tie goes to the one that takes less.
#[test]
fn close_measurements_are_repeated_in_turn_and_ties_go_to_the_smaller() {
    let order: Mutex<Vec<TileSchedule>> = Mutex::new(Vec::new());
    let measured = |schedule: &TileSchedule, effort| {
        let mut order = order.lock().unwrap();
        let before = order.iter().filter(|one| *one == schedule).count();
        order.push(*schedule);
        // Six stages seem best at first and are not, five and four are equal but for noise, and all others far away.
        let time_us = match (schedule.shared_stages, before) {
            (6, 0) => 99.0,
            (6, _) => 102.0,
            (5, _) => 100.0,
            (4, _) => 100.2,
            _ => 150.0,
        };
        let far = if (schedule.block.m, schedule.block.n, schedule.register_stages) == (64, 64, 2) {
            1.0
        } else {
            3.0
        };
        Ok(Evaluated {
            time_kind: TimeKind::Measured,
            ..evaluated(&bert(), far * time_us, effort)
        })
    };
    let (warp_tiles, chunk_k) = (vec![(32, 32)], vec![32]);
    let space = Space {
        warp_tiles,
        chunk_k,
        ..Space::artifact_matmul()
    };
    let (op, target) = (bert(), a100());
    let input = TuneInput::new(&op, &target, &space, "0.1.0");
    let options = TuneOptions {
        strategy: Strategy::Exhaustive,
        trials: usize::MAX,
        batch: 50,
        ..TuneOptions::default()
    };
    let report = tune(input, options, Vec::new(), None, &go(), measured, &mut |_| {}).unwrap();
    let again: Vec<u32> = report
        .trials
        .iter()
        .filter(|record| record.role == Role::Repeat)
        .map(|record| record.schedule.shared_stages)
        .collect();
    assert_eq!(again, [6, 5, 4, 6, 5, 4, 6, 5, 4]);
    let best = report.best.unwrap();
    assert_eq!(
        (best.role, best.schedule.shared_stages),
        (Role::Winner, 4),
        "takes less shared memory than 5"
    );
    // Simulated times do not drift, and tie only where they are equal.
    assert_eq!(
        roles(&Run::new(TuneOptions::default()).tune(None, &go(), ok), Role::Repeat),
        0
    );
}

/// The order of the blocks is no other tiling: it takes no trial of those that are compared with.
#[test]
fn schedules_without_a_pipeline_differ_in_more_than_the_order_of_their_blocks() {
    let report = Run::new(TuneOptions::default()).tune(None, &go(), ok);
    let tried = report.trials.iter().filter(|record| record.role == Role::Unpipelined);
    let tiles: Vec<_> = tried
        .map(|record| (record.schedule.block, record.schedule.warp, record.schedule.split_k))
        .collect();
    let different: HashSet<_> = tiles.iter().collect();
    assert_eq!(tiles.len(), TuneOptions::default().unpipelined_trials);
    assert_eq!(different.len(), tiles.len(), "{tiles:?}");
}

#[test]
fn of_the_orders_of_a_tile_the_fastest_stands_for_all_and_the_simplest_where_they_tie() {
    let model = Model::new(&a100()).unwrap();
    let scored = |split_k: u32, raster_rows: u32, time_us: f64| {
        let schedule = TileSchedule {
            split_k,
            raster_rows,
            ..crate::fixtures::schedule(1, 1)
        };
        let resources = occupancy::check(&bert(), &schedule, model.limits()).unwrap();
        let mut prediction = predict(&model, &bert(), &schedule, &resources);
        prediction.time_us = time_us;
        Scored::new(schedule, resources, prediction)
    };
    let of_one = [scored(1, 8, 5.0), scored(1, 1, 7.0), scored(1, 4, 5.0)];
    let of_two = [scored(2, 4, 6.0), scored(2, 1, 6.0), scored(2, 8, 9.0)];
    for orders in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let schedules = orders
            .iter()
            .flat_map(|&index| [of_one[index], of_two[index]])
            .collect();
        let kept: Vec<_> = one_order_each(schedules)
            .iter()
            .map(|one| (one.schedule.split_k, one.schedule.raster_rows))
            .collect();
        assert_eq!(kept, [(1, 4), (2, 1)]);
    }
}
