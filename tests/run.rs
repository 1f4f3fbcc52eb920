//! `alcop run` as scripts call it.

use std::path::{Path, PathBuf};

use crate::common::{MainLoop, alcop, expect, matmul, stdout};
use alcop::runtime::npy;
use alcop::runtime::reference::{Tolerance, compare_matmul};
use alcop::spec::{DType, Layout, OpSpec};
use serde_json::Value;

const SHAPE: [u64; 3] = [128, 64, 256];

/// A launch file of a small kernel with everything that it names.
fn launch(directory: &Path) -> PathBuf {
    let path = directory.join("k.json");
    let [m, n, k] = SHAPE.map(|extent| extent.to_string());
    let (block, warp) = ("64x32x32", "32x16");
    stdout(&alcop(&[
        "compile",
        "--op",
        "matmul",
        "--m",
        &m,
        "--n",
        &n,
        "--k",
        &k,
        "--block",
        block,
        "--warp",
        warp,
        "--emit",
        "launch",
        "-o",
        path.to_str().expect("UTF-8"),
    ]));
    path
}

fn run(path: &Path, rest: &[&str]) -> std::process::Output {
    let mut arguments = vec!["run", path.to_str().expect("UTF-8")];
    arguments.extend(rest);
    alcop(&arguments)
}

fn edit(path: &Path, edit: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(path).expect("written");
    let edited = edit(text.clone());
    assert_ne!(text, edited, "the edit changes nothing");
    std::fs::write(path, edited).expect("writable");
}

/// A kernel whose loop lacks its barrier.
fn racy(directory: &Path) -> PathBuf {
    let path = launch(directory);
    edit(&directory.join("k.ptx"), |ptx| {
        let mut main = MainLoop::of(&ptx).expect("a loop");
        let barrier = main.find("bar", 0);
        main.body.remove(barrier);
        main.text()
    });
    path
}

#[test]
fn a_run_writes_the_product_and_counts_what_it_did() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = launch(directory.path());
    for arrival in [
        &["latest"][..],
        &["earliest"],
        // The order of random arrival has a seed.
        &["random", "--seed", "3"],
    ] {
        let text = stdout(&run(&path, &[&["--json", "--arrival"], arrival].concat()));
        let json: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&json["schema"], &json["status"]), (&1.into(), &"ok".into()));
        assert_eq!(json["hazards"], serde_json::json!([]));
        // (128/32)·(64/16) warp tiles of 2·2 mma, 256/16 steps.
        assert_eq!(json["counters"]["kernel"]["instructions"]["mma"], 16 * 4 * 16);
        let OpSpec::Matmul(op) = matmul(Layout::Nn, SHAPE, DType::F32);
        let read = |name: &str| npy::read(&directory.path().join(name)).expect("an array");
        let (a, b, c) = (read("k.a.npy"), read("k.b.npy"), read("k.c.npy"));
        assert_eq!(c.shape, [128, 64]);
        let compared = compare_matmul(&op, &a.data, &b.data, &c.data, None, Tolerance::Exact).expect("sizes");
        assert_eq!(compared.first_mismatch, None);
        std::fs::remove_file(directory.path().join("k.c.npy")).expect("written");
    }
    let text = stdout(&run(&path, &["--blocks", "1,1,0"]));
    assert!(
        text.contains("1 blocks") && text.contains("0 bank conflicts") && text.contains("k.c.npy"),
        "{text}"
    );
}

#[test]
fn a_hazard_exits_with_1_and_leaves_no_output_unless_told_to_go_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = racy(directory.path());
    let output = run(&path, &["--json"]);
    expect(&output, 1, "hazard");
    let json: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["status"], "hazards");
    let hazard = &json["hazards"][0];
    for field in ["code", "line", "block", "warp", "lane", "address", "first", "second"] {
        assert!(!hazard[field].is_null(), "{field} of {hazard}");
    }
    assert!(!directory.path().join("k.c.npy").exists());
    expect(&run(&path, &["--keep-going"]), 1, "hazard");
    assert!(directory.path().join("k.c.npy").exists());
}

#[test]
fn notes_are_no_errors_unless_strict() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = launch(directory.path());
    assert!(!stdout(&run(&path, &["--strict"])).contains("note:"));
    // A wait that lets nothing stay in flight is right, and stricter than it need be.
    edit(&directory.path().join("k.ptx"), |ptx| {
        let mut main = MainLoop::of(&ptx).expect("a loop");
        let wait = main.find("wait_group", 0);
        main.body[wait] = main.body[wait].replace('1', "0");
        main.text()
    });
    let text = stdout(&run(&path, &[]));
    assert!(text.contains("note:") && text.contains("wait"), "{text}");
    expect(&run(&path, &["--strict"]), 1, "wait-too-strict");
}

#[test]
fn bad_input_is_told_apart_from_bad_kernels() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = launch(directory.path());
    expect(&run(Path::new("no-such.json"), &[]), 2, "cannot read no-such.json");
    expect(&run(&path, &["--device", "tpu"]), 2, "unknown device \"tpu\"");
    expect(&run(&path, &["--device", "sim:a100"]), 2, "alcop time");
    expect(&run(&path, &["--arrival", "never"]), 2, "earliest, latest, random");
    expect(&run(&path, &["--blocks", "9,9,9"]), 2, "[2, 2, 1]");
    let launch_text = std::fs::read_to_string(&path).expect("written");
    let with = |from: &str, to: &str, code: i32, message: &str| {
        let edited = launch_text.replacen(from, to, 1);
        assert_ne!(edited, launch_text);
        std::fs::write(&path, edited).expect("writable");
        expect(&run(&path, &[]), code, message);
    };
    with("\"matmul\"", "\"matmal\"", 2, "it has: matmul");
    with(
        "{\n      \"npy\": \"k.a.npy\"\n    },",
        "",
        2,
        "2 arguments for `matmul`",
    );
    with("\"npy\": \"k.a.npy\"", "\"f32\": 1.5", 2, "argument 0 does not fit");
    with(
        "\"npy\": \"k.a.npy\"",
        "\"bytes\": \"0011\"",
        2,
        "argument 0 does not fit",
    );
    with("\"k.a.npy\"", "\"missing.npy\"", 2, "missing.npy");
    with("\"grid\": [\n    2", "\"grid\": [\n    0", 2, "[0, 2, 1]");
    with(
        "\"grid\": [\n    2,\n    2",
        "\"grid\": [\n    2,\n    65536",
        2,
        "65535",
    );
    with("\"grid\"", "\"gird\"", 2, "gird");
    with("128,\n    1,\n    1", "64,\n    1,\n    1", 2, "requires blocks of");
    // An array that is too small for the accesses is a fault of the kernel's call, found while it runs.
    with(
        "          128,\n          64",
        "          8,\n          64",
        1,
        "out of bounds",
    );
    std::fs::write(&path, &launch_text).expect("writable");
    let ptx = std::fs::read_to_string(directory.path().join("k.ptx")).expect("written");
    let with_ptx = |text: &str, code: i32, message: &str| {
        std::fs::write(directory.path().join("k.ptx"), text).expect("writable");
        expect(&run(&path, &[]), code, message);
    };
    expect(
        &run(&path, &["--step-limit", "100"]),
        1,
        "(limit 100); last at PTX line",
    );
    with_ptx(&ptx[..ptx.len() / 2], 2, "line");
    with_ptx(&ptx.replacen("ret;", "frobnicate.b32 %r1;\n\tret;", 1), 1, "frobnicate");
    assert!(
        !directory.path().join("k.c.npy").exists(),
        "a failed run writes nothing"
    );
}

#[test]
fn a_gpu_that_is_not_there_exits_with_3() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = launch(directory.path());
    let output = run(&path, &["--device", "cuda:9"]);
    expect(&output, 3, "cuda:9");
}
