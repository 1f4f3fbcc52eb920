//! Time is skipped, not spent: an hour is what no test takes, however busy the machine is.

use std::sync::Condvar;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::fixtures::{a100, evaluated, matmul, schedule};
use crate::journal::Role;
use crate::space::Space;
use crate::strategy::Strategy;
use crate::tune::{Evaluated, StopReason, TuneInput, TuneOptions, tune};

const HOUR: Duration = Duration::from_secs(3600);

/// What hangs until the test ends.
#[derive(Clone)]
struct Hang(Arc<(Mutex<bool>, Condvar)>);

impl Hang {
    fn new() -> (Hang, Release) {
        let hang = Hang(Arc::new((Mutex::new(false), Condvar::new())));
        (hang.clone(), Release(hang))
    }

    fn wait(&self) {
        let (ended, signal) = &*self.0;
        let ended = signal.wait_while(ended.lock().unwrap(), |ended| !*ended);
        drop(ended.unwrap());
    }
}

/// Lets what hangs go when it is dropped.
struct Release(Hang);

impl Drop for Release {
    fn drop(&mut self) {
        let (ended, signal) = &*self.0.0;
        *ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        signal.notify_all();
    }
}

fn trial(effort: Effort) -> Evaluated {
    evaluated(&matmul([512; 3]), 7.0, effort)
}

/// Each phase has a limit of its own: the same time is too long in one and short in the others.
#[test]
fn each_phase_has_its_own_limit() {
    for (slow, option) in [
        (Phase::Queueing, "queueing took longer than 3600 s (--queue-timeout)"),
        (
            Phase::Compiling,
            "compiling took longer than 3600 s (--compile-timeout)",
        ),
        (Phase::Running, "running took longer than 3600 s (--run-timeout)"),
    ] {
        let limit = |phase| Some(if phase == slow { HOUR } else { 3 * HOUR });
        let timeouts = Timeouts {
            queue: limit(Phase::Queueing),
            compile: limit(Phase::Compiling),
            run: limit(Phase::Running),
        };
        let evaluate = with_timeouts(timeouts, move |_, effort, watch| {
            for phase in Phase::ALL {
                watch.enter(phase);
                watch.skip(if effort == Effort::Full { 2 * HOUR } else { HOUR / 2 });
            }
            Ok(trial(effort))
        });
        assert!(evaluate(&schedule(3, 2), Effort::Sample).is_ok(), "{slow:?}");
        let failure = evaluate(&schedule(3, 2), Effort::Full).unwrap_err();
        assert_eq!((failure.status, failure.reason.as_str()), (Status::TimedOut, option));
    }
}

#[test]
fn stays_in_a_phase_add_up() {
    let timeouts = Timeouts {
        run: Some(HOUR),
        ..Timeouts::NONE
    };
    let evaluate = with_timeouts(timeouts, |schedule, effort, watch| {
        for _ in 0..schedule.shared_stages {
            watch.enter(Phase::Running);
            watch.skip(HOUR / 8);
            watch.enter(Phase::Queueing);
            watch.skip(HOUR);
        }
        Ok(trial(effort))
    });
    assert_eq!(evaluate(&schedule(7, 2), Effort::Sample), Ok(trial(Effort::Sample)));
    assert_eq!(
        evaluate(&schedule(8, 2), Effort::Sample).unwrap_err().status,
        Status::TimedOut
    );
}

/// An answer that came before anybody looked, and yet too late.
#[test]
fn a_late_answer_does_not_count() {
    let timeouts = Timeouts {
        run: Some(HOUR),
        ..Timeouts::NONE
    };
    let evaluate = with_timeouts(timeouts, |_, effort, watch| {
        watch.enter(Phase::Running);
        watch.skip(HOUR);
        Ok(trial(effort))
    });
    assert_eq!(
        evaluate(&schedule(3, 2), Effort::Full).unwrap_err().status,
        Status::TimedOut
    );
}

#[test]
fn without_limits_it_takes_as_long_as_it_takes() {
    let evaluate = with_timeouts(Timeouts::NONE, |_, effort, watch| {
        watch.enter(Phase::Compiling);
        watch.skip(1000 * HOUR);
        // Whoever waits has looked at the clock meanwhile.
        std::thread::sleep(4 * TICK);
        Ok(trial(effort))
    });
    assert_eq!(evaluate(&schedule(3, 2), Effort::Full), Ok(trial(Effort::Full)));
}

/// Compiles that fail, hang or panic, and kernels that hang, fail or compute wrongly, all in one search.
#[test]
fn whatever_a_trial_does_the_search_goes_on() {
    let op = matmul([512; 3]);
    let target = a100();
    let space = Space::artifact_matmul();
    let input = TuneInput::new(&op, &target, &space, "0.1.0");
    let options = TuneOptions {
        strategy: Strategy::Random { seed: 3 },
        trials: 32,
        ..TuneOptions::default()
    };
    let timeouts = Timeouts {
        queue: Some(10 * HOUR),
        compile: Some(HOUR),
        run: Some(4 * HOUR),
    };
    let (hang, _release) = Hang::new();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let fail = |status, reason: &str| {
        let reason = reason.to_owned();
        Err(TrialFailure { status, reason })
    };
    let evaluate = with_timeouts(timeouts, move |schedule, effort, watch| {
        counted.fetch_add(1, Ordering::Relaxed);
        watch.enter(Phase::Compiling);
        match schedule.shared_stages {
            2 => {
                watch.skip(HOUR);
                hang.wait();
            }
            3 => panic!("bug at {schedule}"),
            4 => {
                watch.enter(Phase::Running);
                // Longer than a compile may take.
                watch.skip(2 * HOUR);
                return fail(Status::WrongResult, "3 of 7 elements");
            }
            5 => {
                watch.enter(Phase::Running);
                watch.skip(4 * HOUR);
                hang.wait();
            }
            _ => {}
        }
        watch.enter(Phase::Running);
        Ok(trial(effort))
    });
    let interrupt = AtomicBool::new(false);
    let report = tune(input, options, Vec::new(), None, &interrupt, evaluate, &mut |_| {}).unwrap();
    assert_eq!(report.stopped, StopReason::Trials);
    let search = || report.trials.iter().filter(|record| record.role == Role::Search);
    assert_eq!(search().count(), 32);
    assert_eq!(
        report.trials.len(),
        calls.load(Ordering::Relaxed),
        "each call is a record"
    );
    for (stages, status, reason) in [
        (2, Status::TimedOut, "compiling took longer than 3600 s"),
        (3, Status::Panicked, "bug at"),
        (4, Status::WrongResult, "3 of 7 elements"),
        (5, Status::TimedOut, "running took longer than 14400 s"),
    ] {
        let mut of_stage = search()
            .filter(|record| record.schedule.shared_stages == stages)
            .peekable();
        assert!(of_stage.peek().is_some(), "{stages} stages were tried");
        for record in of_stage {
            assert_eq!(record.status, status, "{:?}", record.reason);
            assert!(record.reason.as_ref().unwrap().contains(reason), "{:?}", record.reason);
        }
    }
    assert_eq!(report.best.unwrap().schedule.shared_stages, 1);
}

/// Every second compile spins for ever, far more of them than there are cores: each is a trial, the others are evaluated, and
/// what spins has the lowest priority.
#[test]
#[cfg(target_os = "linux")]
fn compiles_that_spin_for_ever_neither_stop_nor_starve_the_search() {
    let timeouts = Timeouts {
        compile: Some(HOUR),
        ..Timeouts::NONE
    };
    let stop = Arc::new(AtomicBool::new(false));
    let spinning: Arc<Mutex<Vec<priority::ThreadId>>> = Arc::default();
    let (stopped, seen) = (Arc::clone(&stop), Arc::clone(&spinning));
    let evaluate = with_timeouts(timeouts, move |schedule, effort, watch| {
        watch.enter(Phase::Compiling);
        if schedule.shared_stages % 2 == 1 {
            seen.lock().unwrap().push(priority::this_thread());
            watch.skip(HOUR);
            while !stopped.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        }
        watch.enter(Phase::Running);
        Ok(trial(effort))
    });
    let hung = 12;
    for number in 0..2 * hung {
        let schedule = TileSchedule {
            shared_stages: number,
            ..schedule(3, 2)
        };
        let outcome = evaluate(&schedule, Effort::Sample);
        if number % 2 == 1 {
            assert_eq!(outcome.unwrap_err().status, Status::TimedOut);
            let lost = *spinning.lock().unwrap().last().expect("it spins");
            assert_eq!(priority::of(lost), 19, "the thread that is left behind");
        } else {
            assert_eq!(
                outcome,
                Ok(trial(Effort::Sample)),
                "trial {number} beside {} that spin",
                number / 2
            );
        }
    }
    assert!(priority::of(priority::this_thread()) < 19, "and no other");
    stop.store(true, Ordering::Relaxed);
}
