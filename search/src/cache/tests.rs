use alcop_spec::{AxisTiles, Swizzle};

use super::*;
use crate::fixtures::{a100, evaluated, matmul};
use crate::journal::VerifiedBlocks;
use crate::tune::{Evaluated, TrialFailure};

fn op(n: u64) -> OpSpec {
    matmul([512, n, 1024])
}

fn key(n: u64, compiler: &str, device: &str) -> CacheKey {
    CacheKey::new(&Identity::new(&op(n), &a100(), compiler), device, "artifact")
}

/// Deeper is faster.
fn ok(schedule: &TileSchedule, effort: Effort) -> TrialOutcome {
    let time_us = 100.0 / f64::from(schedule.shared_stages + schedule.register_stages);
    Ok(Evaluated {
        ptx_hash: format!("{schedule}"),
        ..evaluated(&op(512), time_us, effort)
    })
}

fn searched(trials: usize) -> TuneReport {
    let options = TuneOptions {
        trials,
        ..TuneOptions::default()
    };
    with_input(|input| {
        tune(
            input,
            options,
            Vec::new(),
            None,
            &AtomicBool::new(false),
            ok,
            &mut |_| {},
        )
        .unwrap()
    })
}

fn with_input<T>(body: impl FnOnce(TuneInput<'_>) -> T) -> T {
    body(TuneInput::new(&op(512), &a100(), &Space::artifact_matmul(), "0.1.0"))
}

struct Stored {
    _folder: tempfile::TempDir,
    cache: Cache,
    entry: CacheEntry,
    path: PathBuf,
}

fn stored() -> Stored {
    let folder = tempfile::tempdir().unwrap();
    let cache = Cache::open(&folder.path().join("new/cache")).unwrap();
    let entry = CacheEntry::new(key(512, "0.1.0", "sim"), &searched(8)).unwrap();
    let path = cache.store(&entry).unwrap();
    Stored {
        _folder: folder,
        cache,
        entry,
        path,
    }
}

impl Stored {
    fn find(&self) -> Result<Option<CacheEntry>, CacheError> {
        self.cache.find(&self.entry.key, &a100().limits)
    }

    fn again(&self, evaluate: impl Fn(&TileSchedule, Effort) -> TrialOutcome + Sync) -> Result<TuneReport, CacheError> {
        let interrupt = AtomicBool::new(false);
        with_input(|input| revalidate(&self.cache, &self.entry, input, &interrupt, evaluate, &mut |_| {}))
    }
}

#[test]
fn what_was_stored_is_found_evaluated_again_and_handed_out() {
    let stored = stored();
    assert_eq!(stored.find().unwrap(), Some(stored.entry.clone()));
    let calls = std::sync::Mutex::new(Vec::new());
    let report = stored
        .again(|schedule, effort| {
            calls.lock().unwrap().push((*schedule, effort));
            ok(schedule, effort)
        })
        .unwrap();
    assert_eq!(report.stopped, StopReason::Cached);
    let best = report.best.unwrap();
    assert_eq!(best.schedule, stored.entry.best.schedule);
    assert_eq!(best.verified.unwrap().blocks, VerifiedBlocks::All);
    // Nothing is searched: the best, and its tiles without a pipeline.
    let expected = [best.schedule, best.schedule.unpipelined()].map(|schedule| (schedule, Effort::Full));
    assert_eq!(*calls.lock().unwrap(), expected);
    assert_eq!(
        std::fs::read_dir(stored.path.parent().unwrap()).unwrap().count(),
        1,
        "no partial file stays"
    );
}

#[test]
fn another_question_has_no_answer_here() {
    let stored = stored();
    for other in [
        key(513, "0.1.0", "sim"),
        key(512, "0.1.1", "sim"),
        key(512, "0.1.0", "cuda:0"),
    ] {
        assert!(matches!(stored.cache.find(&other, &a100().limits), Ok(None)));
    }
    assert!(stored.entry.covers(8) && !stored.entry.covers(9));
}

#[test]
fn a_colliding_hash_hands_out_nothing() {
    let stored = stored();
    // The file of another operator under this one's name.
    let other = key(768, "0.1.0", "sim");
    fs::copy(&stored.path, stored.cache.path(&other)).unwrap();
    let error = stored.cache.find(&other, &a100().limits).unwrap_err();
    assert!(matches!(error, CacheError::Foreign { .. }), "{error}");
    let message = error.to_string();
    assert!(
        message.ends_with(
            "its operator is matmul nn 512×512×1024 f16→f32, and this search's is matmul nn 512×768×1024 f16→f32"
        ),
        "{message}"
    );
}

#[test]
fn a_corrupted_entry_is_refused_with_the_reason() {
    let stored = stored();
    let text = fs::read_to_string(&stored.path).unwrap();
    let refused = |text: &str| {
        fs::write(&stored.path, text).unwrap();
        let error = stored.find().unwrap_err();
        assert!(matches!(error, CacheError::Corrupted { .. }), "{error}");
        error.to_string()
    };
    assert!(refused("").contains("EOF while parsing"));
    assert!(refused(&text[..text.len() / 2]).contains("EOF while parsing"));
    assert!(refused("{}").contains("schema none"));
    assert!(refused(&text.replacen("\"schema\":1", "\"schema\":99", 1)).contains("it has schema 99"));
    assert!(refused(&text.replacen("\"trials\"", "\"trails\"", 1)).contains("trails"));
    // A legal schedule, and not the one that was tuned.
    let stages = stored.entry.best.schedule.shared_stages;
    let edited = text.replacen(
        &format!("\"shared_stages\":{stages}"),
        &format!("\"shared_stages\":{}", stages - 1),
        1,
    );
    assert!(refused(&edited).contains("its key is"));
    // Written again, it is right again.
    stored.cache.store(&stored.entry).unwrap();
    assert!(stored.find().unwrap().is_some());
}

#[test]
fn an_illegal_schedule_is_refused_with_the_reason() {
    let stored = stored();
    let best = TrialRecord {
        schedule: TileSchedule {
            block: AxisTiles::mnk(128, 128, 64),
            warp: AxisTiles::mn(64, 64),
            shared_stages: 6,
            register_stages: 2,
            swizzle: Swizzle::Xor,
            raster_rows: 1,
            split_k: 1,
        },
        ..stored.entry.best.clone()
    };
    stored
        .cache
        .store(&CacheEntry {
            best,
            ..stored.entry.clone()
        })
        .unwrap();
    let error = stored.find().unwrap_err();
    assert!(matches!(error, CacheError::Illegal { .. }), "{error}");
    assert!(error.to_string().contains("6 × (16384 + 16384) B"), "{error}");
}

#[test]
fn what_no_longer_holds_is_stale() {
    let stored = stored();
    let stale = |evaluate: &(dyn Fn(&TileSchedule, Effort) -> TrialOutcome + Sync)| {
        let error = stored.again(evaluate).unwrap_err();
        assert!(matches!(error, CacheError::Stale { .. }), "{error}");
        error.to_string()
    };
    let best = stored.entry.best.schedule;
    let message = stale(&|schedule, effort| match effort {
        Effort::Full if *schedule == best => Err(TrialFailure {
            status: Status::WrongResult,
            reason: "3 of 7 elements are wrong".to_owned(),
        }),
        _ => ok(schedule, effort),
    });
    assert!(message.ends_with("3 of 7 elements are wrong"), "{message}");
    let message = stale(&|schedule, effort| {
        ok(schedule, effort).map(|evaluated| Evaluated {
            ptx_hash: "another".to_owned(),
            ..evaluated
        })
    });
    assert!(message.ends_with("it compiles to another PTX"), "{message}");
    let message = stale(&|schedule, effort| {
        ok(schedule, effort).map(|evaluated| Evaluated {
            time_us: f64::from(schedule.shared_stages),
            ..evaluated
        })
    });
    assert!(message.contains("not the fastest"), "{message}");
}

#[test]
fn a_search_without_a_verified_answer_is_not_kept() {
    let failing = |_: &TileSchedule, _: Effort| {
        Err(TrialFailure {
            status: Status::Hazard,
            reason: "race".to_owned(),
        })
    };
    let report = with_input(|input| {
        let interrupt = AtomicBool::new(false);
        tune(
            input,
            TuneOptions::default(),
            Vec::new(),
            None,
            &interrupt,
            failing,
            &mut |_| {},
        )
        .unwrap()
    });
    assert_eq!(CacheEntry::new(key(512, "0.1.0", "sim"), &report), None);
}

#[test]
fn a_folder_that_cannot_be_made_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let message = Cache::open(&file.join("cache")).unwrap_err().to_string();
    assert!(message.starts_with("cannot make the cache folder"), "{message}");
}
