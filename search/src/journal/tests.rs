use alcop_spec::schedule::AxisTiles;
use alcop_spec::{Matmul, Swizzle, occupancy};

use super::*;
use crate::cost_model::{Model, predict};
use crate::fixtures::{a100, bert};

fn identity() -> Identity {
    Identity::new(&bert(), &a100(), "0.1.0")
}

fn record(trial: u64, shared_stages: u32) -> TrialRecord {
    let schedule = TileSchedule {
        block: AxisTiles::mnk(128, 128, 32),
        warp: AxisTiles::mn(64, 64),
        shared_stages,
        register_stages: 1,
        swizzle: Swizzle::Xor,
        raster_rows: 1,
        split_k: 1,
    };
    let model = Model::new(&a100()).unwrap();
    let resources = occupancy::check(&bert(), &schedule, model.limits()).unwrap();
    let Identity {
        op,
        target,
        target_hash,
        compiler,
    } = identity();
    TrialRecord {
        schema: SCHEMA,
        key: identity().key(&schedule),
        trial,
        role: Role::Search,
        op,
        target,
        target_hash,
        compiler,
        space: Some("wide".to_owned()),
        schedule,
        resources,
        prediction: predict(&model, &bert(), &schedule, &resources),
        status: Status::Ok,
        reason: None,
        verified: Some(Verified {
            m: 512,
            n: 768,
            k: 3072,
            blocks: VerifiedBlocks::Sample(vec![[0, 0, 0], [5, 3, 0]]),
            arrival: vec!["earliest".to_owned()],
            max_error: 0.125,
        }),
        time_us: Some(31.25),
        time_kind: Some(TimeKind::Simulated),
        device: Some("sim:a100-80gb".to_owned()),
        samples_us: vec![31.25],
        ptx_hash: Some("ab".repeat(32)),
        seconds: 0.5,
    }
}

fn written(directory: &tempfile::TempDir, records: &[TrialRecord]) -> PathBuf {
    let path = directory.path().join("j.jsonl");
    let mut journal = Journal::create(&path).unwrap();
    for record in records {
        journal.append(record).unwrap();
    }
    path
}

#[test]
fn what_is_appended_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let failed = TrialRecord {
        status: Status::WrongResult,
        reason: Some("c[3, 4] is 1 and should be 2".to_owned()),
        time_us: None,
        time_kind: None,
        ..record(1, 3)
    };
    let records = [record(0, 2), failed];
    let path = written(&directory, &records);
    assert_eq!(read(&path).unwrap().records, records);
    let opened = Journal::resume(&path, &identity()).unwrap();
    assert_eq!(
        (opened.records.as_slice(), opened.repaired_bytes),
        (records.as_slice(), 0)
    );
}

#[test]
fn lines_have_the_fields_that_others_read() {
    let value = serde_json::to_value(record(0, 2)).unwrap();
    assert_eq!(value["schema"], 1);
    assert_eq!(value["time_kind"], "simulated");
    assert_eq!(value["status"], "ok");
    assert_eq!(value["verified"]["blocks"]["sample"][1], serde_json::json!([5, 3, 0]));
    assert_eq!(value["op"]["op"], "matmul");
    assert!(value["prediction"]["terms"]["iteration_clk"].as_f64().unwrap() > 0.0);
    assert_eq!(serde_json::to_value(VerifiedBlocks::All).unwrap(), "all");
    assert_eq!(value["key"].as_str().unwrap().len(), 32);
}

#[test]
fn a_truncated_last_line_is_repaired_wherever_it_was_cut() {
    let directory = tempfile::tempdir().unwrap();
    let path = written(&directory, &[record(0, 2), record(1, 3)]);
    let whole = std::fs::read(&path).unwrap();
    let first = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    for cut in [first + 1, first + 40, whole.len() - 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let mut opened = Journal::resume(&path, &identity()).unwrap();
        assert_eq!(opened.records, [record(0, 2)]);
        assert_eq!(opened.repaired_bytes as usize, cut - first);
        opened.journal.append(&record(1, 3)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
}

#[test]
fn a_broken_line_in_the_middle_is_refused_with_its_number() {
    let directory = tempfile::tempdir().unwrap();
    let path = written(&directory, &[record(0, 2), record(1, 3)]);
    let text = std::fs::read_to_string(&path)
        .unwrap()
        .replacen("\"schema\"", "\"schema", 1);
    std::fs::write(&path, &text).unwrap();
    assert!(matches!(
        Journal::resume(&path, &identity()),
        Err(JournalError::BadLine { line: 1, .. })
    ));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "nothing was lost");
}

#[test]
fn two_searches_cannot_write_one_journal() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("j.jsonl");
    let first = Journal::create(&path).unwrap();
    let message = Journal::resume(&path, &identity()).unwrap_err().to_string();
    assert!(message.contains("is in use by another search"), "{message}");
    drop(first);
    Journal::resume(&path, &identity()).unwrap();
}

#[test]
fn an_existing_journal_is_not_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = written(&directory, &[record(0, 2)]);
    let message = Journal::create(&path).unwrap_err().to_string();
    assert!(message.contains("--resume"), "{message}");
    assert_eq!(read(&path).unwrap().records.len(), 1);
}

#[test]
fn foreign_and_stale_records_are_refused_with_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let path = written(&directory, &[record(0, 2)]);
    let message = |identity: &Identity| Journal::resume(&path, identity).unwrap_err().to_string();

    let OpSpec::Matmul(matmul) = bert();
    let other = Identity {
        op: OpSpec::Matmul(Matmul { m: 1024, ..matmul }),
        ..identity()
    };
    let text = message(&other);
    assert!(
        text.contains("512×768×3072") && text.contains("1024×768×3072"),
        "{text}"
    );

    let text = message(&Identity::new(&bert(), &GpuTarget::resolve("h100").unwrap(), "0.1.0"));
    assert!(
        text.contains("its target is a100-80gb, and this search's is h100"),
        "{text}"
    );

    let mut edited = a100();
    edited.rates.as_mut().unwrap().clock_hz = 1e9;
    let text = message(&Identity::new(&bert(), &edited, "0.1.0"));
    assert!(text.contains("target's numbers"), "{text}");

    let text = message(&Identity {
        compiler: "0.2.0".to_owned(),
        ..identity()
    });
    assert!(
        text.contains("compiler version is 0.1.0, and this search's is 0.2.0"),
        "{text}"
    );

    // An edited schedule under the old key.
    std::fs::write(
        &path,
        json(&TrialRecord {
            schedule: record(0, 3).schedule,
            ..record(0, 2)
        }) + "\n",
    )
    .unwrap();
    assert!(message(&identity()).contains("its key is"), "{}", message(&identity()));

    std::fs::write(
        &path,
        json(&TrialRecord {
            schema: 0,
            ..record(0, 2)
        }) + "\n",
    )
    .unwrap();
    assert!(
        message(&identity()).contains("has schema 0, and this version reads schema 1"),
        "{}",
        message(&identity())
    );
}

#[test]
fn a_trial_that_cannot_be_is_no_record() {
    let directory = tempfile::tempdir().unwrap();
    let message = |record: TrialRecord| {
        let path = directory.path().join("j.jsonl");
        std::fs::write(&path, json(&record) + "\n").unwrap();
        read(&path)
            .map(|text| text.records.len())
            .map_err(|error| error.to_string())
    };
    let good = || record(0, 2);
    let with_time = |time_us| TrialRecord { time_us, ..good() };
    assert_eq!(message(good()), Ok(1));
    for (bad, wanted) in [
        (with_time(None), "has no time_us"),
        (with_time(Some(0.0)), "its time_us is 0, which is not positive"),
        (with_time(Some(-31.25)), "its time_us is -31.25, which is not positive"),
        (
            TrialRecord {
                samples_us: vec![31.25, -1.0],
                ..good()
            },
            "one of samples_us is -1",
        ),
        (TrialRecord { device: None, ..good() }, "does not say on which device"),
        (
            TrialRecord {
                status: Status::TimedOut,
                ..good()
            },
            "the trial failed, and has a time_us of 31.25",
        ),
    ] {
        let said = message(bad).unwrap_err();
        assert!(said.contains("j.jsonl:1: ") && said.contains(wanted), "{said}");
    }
}

#[test]
fn a_trial_that_is_there_twice_is_found_and_one_that_is_measured_again_is_not() {
    let path = Path::new("j.jsonl");
    let check = |records: &[TrialRecord]| check_unique(path, records).map_err(|error| error.to_string());
    let again = |trial, time_us| TrialRecord {
        role: Role::Repeat,
        time_us: Some(time_us),
        samples_us: vec![time_us],
        ..record(trial, 2)
    };
    let winner = TrialRecord {
        role: Role::Winner,
        ..record(2, 2)
    };
    assert_eq!(
        check(&[record(0, 2), record(1, 3), winner, again(3, 31.0), again(4, 31.5)]),
        Ok(())
    );
    for (records, wanted) in [
        (vec![record(0, 2), record(1, 2)], "j.jsonl:2: the trial of"),
        (
            vec![record(0, 2), record(1, 3), record(1, 4)],
            "j.jsonl:3: trial number 1 stands in line 2 already",
        ),
        (
            vec![again(0, 31.0), again(1, 31.0)],
            "as repeat stands in line 1 already",
        ),
    ] {
        let said = check(&records).unwrap_err();
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn different_searches_are_told_apart() {
    let of = |edit: fn(&mut TrialRecord)| {
        let mut other = record(0, 2);
        edit(&mut other);
        let found = differences(&[record(0, 2)], &[other]);
        found.iter().map(|difference| difference.what).collect::<Vec<_>>()
    };
    assert_eq!(of(|_| {}), [""; 0]);
    assert_eq!(of(|record| record.target = "h100".to_owned()), ["target"]);
    assert_eq!(
        of(|record| record.target_hash = "0".to_owned()),
        ["target's numbers (hash)"]
    );
    assert_eq!(of(|record| record.space = None), ["space"]);
    assert_eq!(of(|record| record.device = Some("cuda:0".to_owned())), ["device"]);
    assert_eq!(of(|record| record.compiler = "0.2.0".to_owned()), ["code version"]);
    assert_eq!(
        of(|record| {
            let OpSpec::Matmul(matmul) = &mut record.op;
            matmul.m = 64;
        }),
        ["operator"]
    );
}

#[test]
fn keys_tell_schedules_apart() {
    let keys: std::collections::BTreeSet<String> = (1..=6)
        .map(|stages| identity().key(&record(0, stages).schedule))
        .collect();
    assert_eq!(keys.len(), 6);
}

#[test]
fn a_packed_journal_is_read_and_a_broken_one_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let plain = written(&directory, &[record(0, 2), record(1, 3)]);
    let packed = directory.path().join("journal.jsonl.gz");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&std::fs::read(&plain).unwrap()).unwrap();
    let bytes = encoder.finish().unwrap();
    std::fs::write(&packed, &bytes).unwrap();
    assert_eq!(read(&packed).unwrap(), read(&plain).unwrap());
    std::fs::write(&packed, &bytes[..bytes.len() / 2]).unwrap();
    assert!(matches!(read(&packed), Err(JournalError::Io { action: "read", .. })));
}
