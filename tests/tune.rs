//! `alcop tune` as scripts call it.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::common::{alcop, expect, stdout};
use serde_json::Value;

fn tune(out: &Path, m: &str, rest: &[&str]) -> Output {
    let mut arguments = vec!["tune", "--op", "matmul", "--m", m, "--n", "128", "--k", "256", "--out"];
    arguments.push(out.to_str().expect("UTF-8"));
    arguments.extend(rest);
    // A busy machine may take as long as it likes.
    for option in ["--queue-timeout", "--compile-timeout", "--run-timeout"] {
        if !rest.iter().any(|given| given.starts_with(option)) {
            arguments.extend([option, "1000000"]);
        }
    }
    alcop(&arguments)
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&stdout(output)).expect("JSON")
}

fn journal(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path)
        .expect("written")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a record"))
        .collect()
}

#[test]
fn a_search_ends_in_a_verified_kernel_that_runs() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("out");
    let answer = json(&tune(&out, "128", &["--trials", "4", "--json"]));
    assert_eq!(answer["schema"], 1);
    assert_eq!(
        (&answer["time_kind"], &answer["device"]),
        (&"simulated".into(), &"sim:a100-80gb".into())
    );
    assert_eq!(answer["verified"]["blocks"], "all");
    assert_eq!(
        answer["verified"]["arrival"],
        serde_json::json!(["latest", "earliest", "random"])
    );
    assert_eq!(answer["verified"]["k"], 256);
    let baseline = &answer["unpipelined_same_tiles"]["schedule"];
    for axis in ["block", "warp", "swizzle"] {
        assert_eq!(baseline[axis], answer["schedule"][axis]);
    }
    assert_eq!(
        (&baseline["shared_stages"], &baseline["register_stages"]),
        (&1.into(), &1.into())
    );
    let ratio = |slow: &Value| slow["time_us"].as_f64().expect("a time") / answer["time_us"].as_f64().expect("a time");
    assert_eq!(
        answer["speedup_over_same_tiles"],
        ratio(&answer["unpipelined_same_tiles"])
    );
    assert_eq!(
        answer["speedup_over_best_unpipelined"],
        ratio(&answer["best_unpipelined"])
    );

    let records = journal(&out.join("journal.jsonl"));
    assert_eq!(records.len() as u64, answer["trials"].as_u64().expect("a count"));
    assert_eq!(records.iter().filter(|record| record["role"] == "search").count(), 4);
    for record in &records {
        assert_eq!(record["schema"], 1);
        assert_eq!(record["key"].as_str().map(str::len), Some(32), "a content hash");
        assert_eq!(record["status"], "ok", "{record}");
    }
    // What was written is the kernel that was verified and timed.
    for (launch, record) in [
        ("best.json", &answer["best"]),
        ("unpipelined.json", &answer["unpipelined_same_tiles"]),
    ] {
        let path = out.join(launch);
        let path = path.to_str().expect("UTF-8");
        assert_eq!(json(&alcop(&["run", path, "--json"]))["status"], "ok");
        let timed = json(&alcop(&["time", path, "--device", "sim:a100", "--json"]));
        assert_eq!(timed["time_us"], record["time_us"], "{launch}");
        assert_eq!(
            (&timed["time_kind"], &timed["device"]),
            (&"simulated".into(), &"sim:a100-80gb".into())
        );
    }
}

#[test]
fn a_search_goes_on_where_its_journal_ends_and_repeats_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    let (whole, parts) = (directory.path().join("whole"), directory.path().join("parts"));
    let at_once = json(&tune(&whole, "128", &["--trials", "4", "--json"]));
    tune(&parts, "128", &["--trials", "2"]);
    let path = parts.join("journal.jsonl");
    let before = std::fs::read_to_string(&path).expect("written");
    // A write that was cut off.
    std::fs::write(&path, format!("{before}{{\"schema\": 1, \"ke")).expect("writable");
    let resumed = json(&tune(&parts, "128", &["--trials", "4", "--resume", "--json"]));
    assert!(std::fs::read_to_string(&path).expect("written").starts_with(&before));
    for field in ["schedule", "time_us", "speedup_over_same_tiles", "verified"] {
        assert_eq!(at_once[field], resumed[field], "{field}");
    }
    // Without --resume the default journal is kept under another name, and a named one is refused.
    stdout(&tune(&parts, "128", &["--trials", "1"]));
    assert_eq!(
        std::fs::read_to_string(parts.join("journal.1.jsonl")).expect("kept"),
        std::fs::read_to_string(whole.join("../parts/journal.1.jsonl")).expect("kept")
    );
    let named = path.to_str().expect("UTF-8");
    expect(
        &tune(&parts, "128", &["--trials", "1", "--journal", named]),
        2,
        "--resume",
    );
    // Another operator's journal.
    let text = std::fs::read_to_string(&path).expect("written");
    expect(
        &tune(&parts, "256", &["--trials", "1", "--resume"]),
        2,
        "its operator is matmul nn 128×128×256 f16→f32, and this search's is matmul nn 256×128×256 f16→f32",
    );
    assert_eq!(
        std::fs::read_to_string(&path).expect("written"),
        text,
        "nothing written is lost"
    );
}

#[test]
fn strategies_differ_in_what_they_try_and_seeds_repeat() {
    let directory = tempfile::tempdir().expect("a directory");
    let tried = |name: &str, rest: &[&str]| {
        let out = directory.path().join(name);
        let mut arguments = vec!["--trials", "3", "--strategy"];
        arguments.extend(rest);
        stdout(&tune(&out, "64", &arguments));
        let search = |record: &Value| (record["role"] == "search").then(|| record["schedule"].clone());
        journal(&out.join("journal.jsonl"))
            .iter()
            .filter_map(search)
            .collect::<Vec<_>>()
    };
    let random = tried("a", &["random", "--seed", "7"]);
    assert_eq!(random, tried("b", &["random", "--seed", "7"]));
    assert_ne!(random, tried("c", &["random", "--seed", "8"]));
    assert_ne!(random, tried("d", &["exhaustive"]));
    assert_ne!(tried("e", &["analytic"]), tried("f", &["exhaustive"]));
}

#[test]
fn what_cannot_be_tuned_is_refused_before_anything_is_written() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("out");
    expect(&tune(&out, "128", &["--dtype", "f32"]), 1, "dtype-not-supported");
    expect(&tune(&out, "128", &["--target", "v100"]), 2, "unknown target \"v100\"");
    expect(&tune(&out, "128", &["--target", "sm_80"]), 2, "a100 = a100-80gb");
    expect(&tune(&out, "128", &["--dtype", "f8"]), 2, "unknown dtype \"f8\"");
    expect(
        &tune(&out, "128", &["--strategy", "genetic"]),
        2,
        "exhaustive, random, analytic",
    );
    expect(&tune(&out, "128", &["--device", "emulator"]), 2, "tells no times");
    expect(&tune(&out, "128", &["--device", "cuda:9"]), 3, "cuda:9");
    expect(&alcop(&["tune"]), 2, "name an operator");
    let file = directory.path().join("file");
    std::fs::write(&file, "kept").expect("writable");
    expect(&tune(&file, "128", &["--trials", "1"]), 2, "cannot write to");
    assert_eq!(std::fs::read_to_string(&file).expect("there"), "kept");
}

#[test]
fn ctrl_c_leaves_a_valid_journal_that_is_gone_on_with() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("out");
    let path = out.join("journal.jsonl");
    let mut child = Command::new(env!("CARGO_BIN_EXE_alcop"))
        .args([
            "tune", "--op", "matmul", "--m", "128", "--n", "128", "--k", "256", "--trials", "2000", "--out",
        ])
        .arg(&out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let lines = || std::fs::read_to_string(&path).map_or(0, |text| text.lines().count());
    while lines() < 2 {
        assert!(child.try_wait().expect("a child").is_none(), "it ended by itself");
        std::thread::sleep(Duration::from_millis(20));
    }
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.expect("kill is there").success());
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let records = journal(&path);
    assert!(records.iter().all(|record| record["status"] == "ok"));
    let trials = (records.len() + 1).to_string();
    let answer = json(&tune(&out, "128", &["--resume", "--trials", &trials, "--json"]));
    assert_eq!(answer["verified"]["blocks"], "all");
    assert_eq!(journal(&path)[..records.len()], records[..]);
}

/// The strategy's only trial is recorded; what comes behind it, until the last record, takes many times as long as the
/// signal on its way.
#[test]
fn ctrl_c_behind_the_trials_is_said_as_well() {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, role, missing) in [
        // During the schedules without a pipeline, and during the winner's verification.
        ("baselines", "search", "unpipelined"),
        ("winner", "unpipelined", "baseline"),
    ] {
        let out = directory.path().join(name);
        let path = out.join("journal.jsonl");
        let child = Command::new(env!("CARGO_BIN_EXE_alcop"))
            .args([
                "tune", "--op", "matmul", "--m", "512", "--n", "768", "--k", "1024", "--trials", "1", "--out",
            ])
            .arg(&out)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let roles =
            || std::fs::read_to_string(&path).map_or(0, |text| text.matches(&format!("\"role\":\"{role}\"")).count());
        let wanted = if role == "search" { 1 } else { 8 };
        while roles() < wanted {
            std::thread::sleep(Duration::from_millis(5));
        }
        let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
        assert!(interrupted.expect("kill is there").success());
        let output = child.wait_with_output().expect("it ends");
        expect(&output, 130, "interrupted after");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("stopped: interrupted"), "{said}");
        assert!(said.contains("not measured: interrupted"), "{said}");
        let records = journal(&path);
        let of = |role: &str| records.iter().filter(|record| record["role"] == role).count();
        assert!(of(missing) < if missing == "unpipelined" { 8 } else { 1 }, "{said}");
        // It goes on with what is missing.
        assert_eq!(records.iter().filter(|record| record["status"] != "ok").count(), 0);
    }
}

#[test]
fn a_tuned_schedule_is_handed_out_again_and_verified_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let cache = directory.path().join("cache");
    let run = |name: &str, rest: &[&str]| {
        let out = directory.path().join(name);
        let mut arguments = vec!["--json", "--cache", cache.to_str().expect("UTF-8")];
        arguments.extend(rest);
        if !rest.contains(&"--trials") {
            arguments.extend(["--trials", "3"]);
        }
        let output = tune(&out, "64", &arguments);
        let records = out.join("journal.jsonl");
        (
            output,
            if records.exists() {
                journal(&records)
            } else {
                Vec::new()
            },
        )
    };
    let roles = |records: &[Value]| -> Vec<String> {
        let role = |record: &Value| record["role"].as_str().expect("a role").to_owned();
        records.iter().map(role).collect()
    };
    let said = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let (first, records) = run("first", &[]);
    assert_eq!(json(&first)["cached"], false);
    assert_eq!(roles(&records).iter().filter(|role| *role == "search").count(), 3);

    let (second, records) = run("second", &[]);
    let answer = json(&second);
    assert_eq!(
        (&answer["cached"], &answer["stopped"]),
        (&true.into(), &"taken from the cache".into())
    );
    assert_eq!(answer["verified"]["blocks"], "all");
    for field in [
        "schedule",
        "time_us",
        "speedup_over_same_tiles",
        "speedup_over_best_unpipelined",
    ] {
        assert_eq!(answer[field], json(&first)[field], "{field}");
    }
    // What the entry claims, and what was evaluated again.
    let again = roles(&records);
    assert!(again.len() <= 4 && again.contains(&"winner".to_owned()), "{again:?}");
    for file in ["best.ptx", "best.json", "unpipelined.ptx"] {
        let text = |name: &str| std::fs::read_to_string(directory.path().join(name).join(file)).expect("written");
        assert_eq!(text("first"), text("second"), "{file}");
    }
    // More trials than the entry has behind it, and another device: a search.
    let (longer, _) = run("longer", &["--trials", "4"]);
    assert!(
        said(&longer).contains("the best of 3 trials, and 4 are asked for"),
        "{}",
        said(&longer)
    );
    assert_eq!(json(&longer)["cached"], false);
    assert_eq!(json(&run("other", &["--device", "sim:h100"]).0)["cached"], false);

    // A corrupted entry is refused with the reason, and the search writes it anew.
    let entries = || {
        std::fs::read_dir(&cache)
            .expect("there")
            .map(|entry| entry.expect("a file").path())
    };
    assert_eq!(entries().count(), 2);
    for path in entries() {
        let text = std::fs::read_to_string(&path).expect("written");
        std::fs::write(&path, &text[..text.len() - 9]).expect("writable");
    }
    let (corrupted, _) = run("corrupted", &[]);
    assert!(
        said(&corrupted).contains("not taken from the cache: "),
        "{}",
        said(&corrupted)
    );
    assert!(
        said(&corrupted).contains("is not a cache entry: EOF while parsing"),
        "{}",
        said(&corrupted)
    );
    assert_eq!(
        (&json(&corrupted)["cached"], &json(&corrupted)["schedule"]),
        (&false.into(), &answer["schedule"])
    );
    assert_eq!(json(&run("repaired", &[]).0)["cached"], true);
    expect(&run("both", &["--no-cache"]).0, 2, "cannot be used with");
}

#[test]
fn compiling_and_running_have_time_outs_of_their_own() {
    let directory = tempfile::tempdir().expect("a directory");
    for (option, reason) in [
        ("--compile-timeout", "compiling took longer"),
        ("--run-timeout", "running took longer"),
    ] {
        let out = directory.path().join(option);
        expect(
            // A nanosecond: over before anybody can look at a clock twice.
            &tune(&out, "128", &["--trials", "2", option, "0.000000001"]),
            1,
            "no schedule passed",
        );
        let records = journal(&out.join("journal.jsonl"));
        assert_eq!(records.iter().filter(|record| record["role"] == "search").count(), 2);
        for record in records {
            assert_eq!(record["status"], "timed-out");
            let said = record["reason"].as_str().expect("a reason");
            assert!(said.contains(reason) && said.contains(option), "{said}");
        }
        for bad in ["0", "-1", "NaN", "soon"] {
            let equals = format!("{option}={bad}");
            expect(&tune(&out, "128", &[&equals]), 2, "not a positive number of seconds");
        }
    }
}

/// Extents that no tile divides, in each type of the tensor cores.
#[test]
fn ragged_shapes_of_every_type_are_tuned() {
    let directory = tempfile::tempdir().expect("a directory");
    for (dtype, layout) in [("f16", "nn"), ("bf16", "nt"), ("tf32", "tn"), ("i8", "nn")] {
        let out = directory.path().join(dtype);
        let output = alcop(&[
            "tune",
            "--op",
            "matmul",
            "--m",
            "50",
            "--n",
            "34",
            "--k",
            "100",
            "--dtype",
            dtype,
            "--layout",
            layout,
            "--trials",
            "2",
            "--json",
            "--out",
            out.to_str().expect("UTF-8"),
        ]);
        let answer = json(&output);
        assert_eq!(answer["verified"]["blocks"], "all", "{dtype}");
        assert_eq!(answer["op"]["dtype"], dtype);
        assert!(
            answer["pruned"].as_object().expect("counts").len() > 1,
            "{}",
            answer["pruned"]
        );
        for record in journal(&out.join("journal.jsonl")) {
            assert_eq!(record["status"], "ok", "{dtype}: {record}");
        }
    }
}

#[test]
fn other_operators_searches_teach_before_the_first_trial() {
    let directory = tempfile::tempdir().expect("a directory");
    let folder = |name: &str| directory.path().join(name);
    let learning = ["--strategy", "analytic+learned", "--trials", "1", "--json"];
    let first = |out: &Path| journal(&out.join("journal.jsonl"))[0]["schedule"].clone();
    expect(&tune(&folder("alone"), "256", &learning), 0, "");
    let favourite = first(&folder("alone"));

    // On another operator, what has the favourite's chunks took five times as long as predicted.
    expect(
        &tune(&folder("other"), "128", &["--strategy", "random", "--trials", "24"]),
        0,
        "",
    );
    let mut records = journal(&folder("other").join("journal.jsonl"));
    for record in &mut records {
        let factor = if record["schedule"]["block"]["k"] == favourite["block"]["k"] {
            5.0
        } else {
            1.0
        };
        record["time_us"] = (factor * record["prediction"]["time_us"].as_f64().expect("a time")).into();
    }
    let other = directory.path().join("other.jsonl");
    let write = |records: &[Value]| {
        let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
        std::fs::write(&other, lines).expect("written");
    };
    write(&records);

    let taught = |rest: &[&str], out: &str| {
        let mut arguments = vec!["--learn-from", other.to_str().expect("UTF-8")];
        arguments.extend(rest);
        tune(&folder(out), "256", &arguments)
    };
    expect(&taught(&learning, "taught"), 0, "");
    assert_ne!(first(&folder("taught"))["block"]["k"], favourite["block"]["k"]);

    expect(
        &taught(&["--strategy", "analytic"], "a"),
        2,
        "analytic does not learn from other operators",
    );
    expect(
        &taught(&["--strategy", "analytic+learned", "--target", "h100"], "b"),
        2,
        "it is of a100-80gb, and this search of h100",
    );
    let edited = |field: &str, value: &str| {
        let mut records = records.clone();
        records.iter_mut().for_each(|record| record[field] = value.into());
        write(&records);
    };
    edited("time_kind", "measured");
    expect(&taught(&learning, "c"), 2, "its times are not simulated");
    // A trial that failed has no time.
    let mut failed = records.clone();
    for record in &mut failed {
        record["status"] = "wrong-result".into();
        record.as_object_mut().expect("a record").shift_remove("time_us");
    }
    write(&failed);
    expect(&taught(&learning, "d"), 2, "it has no successful trial");
}
