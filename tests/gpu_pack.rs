//! `alcop bench gpu-pack`: a small pack is whole and its script's rehearsal passes; a damaged pack and a script that
//! overlooks something do not. What the script hands to the CUDA driver is checked by a driver without a GPU
//! (`tests/gpu_pack/libcuda.cpp`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use crate::common::{alcop, expect, stdout};
use alcop::runtime::npy;
use alcop::runtime::operands::generate;
use alcop::search::evaluate::sha256;
use alcop::spec::kernel::{ArrayDType, Generated};
use serde_json::Value;
use tempfile::TempDir;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A copy of a small pack, which is made once.
fn small_pack() -> TempDir {
    static MADE: OnceLock<TempDir> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let (out, forms) = (folder.path().join("pack"), root("tests/filetests/pipeline"));
        let output = alcop(&[
            "bench",
            "gpu-pack",
            "--small",
            "--out",
            text(&out),
            "--forms",
            text(&forms),
        ]);
        let said = stdout(&output);
        assert!(said.contains("12 kernels of 6 forms, 3 timed schedules"), "{said}");
        folder
    });
    let copy = tempfile::tempdir().expect("a folder");
    for folder in ["", "kernels", "expected"] {
        let (from, to) = (made.path().join("pack").join(folder), copy.path().join(folder));
        fs::create_dir_all(&to).expect("a folder");
        for entry in fs::read_dir(from).expect("a folder") {
            let entry = entry.expect("an entry");
            if entry.path().is_file() {
                fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
            }
        }
    }
    copy
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn index(pack: &Path) -> Value {
    serde_json::from_slice(&fs::read(pack.join("pack.json")).expect("readable")).expect("JSON")
}

fn write_index(pack: &Path, index: &Value) {
    fs::write(pack.join("pack.json"), index.to_string()).expect("writable");
}

/// Replaces a text in a file of the pack, and says so in its table of files: damage that only a look at the content finds.
fn edit(pack: &Path, name: &str, from: &str, to: &str) {
    let before = fs::read_to_string(pack.join(name)).expect("readable");
    let after = before.replacen(from, to, 1);
    assert!(before != after, "{name} has no {from:?}");
    let mut index = index(pack);
    index["files"][name] = serde_json::json!({"bytes": after.len(), "sha256": sha256(after.as_bytes())});
    write_index(pack, &index);
    fs::write(pack.join(name), after).expect("writable");
}

fn script(pack: &Path, argument: &str, library: &str) -> Output {
    Command::new("bash")
        .arg(pack.join("run.sh"))
        .arg(argument)
        .env("GPU_PACK_LIBCUDA", library)
        .output()
        .expect("bash starts")
}

#[track_caller]
fn check_says(pack: &Path, message: &str) {
    let output = script(pack, "--check", "none");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}: {said}");
    assert!(said.contains(message), "{message}: {said}");
    assert!(!said.contains("Traceback"), "{said}");
}

#[test]
fn a_pack_is_whole_and_its_rehearsal_passes() {
    let pack = small_pack();
    let output = script(pack.path(), "--check", "none");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}{errors}");
    assert!(
        said.contains("12 kernels of 6 forms, 3 schedules of 1 matmuls"),
        "{said}"
    );
}

#[test]
fn a_damaged_pack_is_reported() {
    let damaged = |damage: &dyn Fn(&Path), message: &str| {
        let pack = small_pack();
        damage(pack.path());
        check_says(pack.path(), message);
    };
    let gather = "kernels/gather-3-2.json";
    let result = |pack: &Path| {
        let index = index(pack);
        let results = index["cases"][0]["results"].as_array().expect("a list").clone();
        let last = results.last().expect("a result")["file"].as_str();
        last.expect("a file").to_owned()
    };
    damaged(
        &|pack| fs::remove_file(pack.join(gather)).expect("there"),
        "cannot be read",
    );
    damaged(
        &|pack| fs::write(pack.join("kernels/other.ptx"), "").expect("writable"),
        "kernels/other.ptx: is not a file of the pack",
    );
    damaged(
        &|pack| fs::write(pack.join(result(pack)), "other").expect("writable"),
        "its content is not what was made",
    );
    damaged(
        &|pack| edit(pack, gather, "\"entry\": \"gather\"", "\"entry\": \"gathers\""),
        "has no entry gathers",
    );
    damaged(
        &|pack| edit(pack, gather, "\"seed\": 10", "\"seed\": 99"),
        "is not the array",
    );
    damaged(&|pack| edit(pack, gather, "64,", "2048,"), "threads a block");
    damaged(
        &|pack| {
            edit(
                pack,
                gather,
                "\"dynamic_shared_bytes\": ",
                "\"dynamic_shared_bytes\": 999",
            )
        },
        "bytes of shared memory",
    );
    damaged(
        &|pack| edit(pack, "kernels/gather-3-2.ptx", "add.rn.f32", "div.approx.f32"),
        "no defined bits",
    );
    damaged(
        &|pack| {
            edit(
                pack,
                "kernels/gather-3-2.ptx",
                ".entry gather(",
                ".entry gather(.param .u32 more,",
            )
        },
        "for parameters of [4, 8, 8, 8]",
    );
    let in_index = |change: &dyn Fn(&mut Value), message: &str| {
        damaged(
            &|pack| {
                let mut index = index(pack);
                change(&mut index);
                write_index(pack, &index);
            },
            message,
        );
    };
    in_index(
        &|index| index["cases"][0]["results"][2]["sha256"] = "0".into(),
        "are others",
    );
    in_index(&|index| index["size_limit"] = 1000.into(), "at most 1000 are allowed");
    in_index(&|index| index["schema"] = 2.into(), "schema 2");
    in_index(
        &|index| index["operators"][0]["schedules"][1]["simulated_us"]["h200"] = 0.into(),
        "no simulated time for h200",
    );
    in_index(
        &|index| index["cases"][1]["name"] = index["cases"][0]["name"].clone(),
        "one name",
    );
}

/// A script that overlooks something: its own check says so.
#[test]
fn a_comparison_that_overlooks_something_is_reported() {
    let overlooks = |file: &str, from: &str, to: &str, message: &str| {
        let pack = small_pack();
        edit(pack.path(), file, from, to);
        check_says(pack.path(), message);
    };
    overlooks(
        "pack.py",
        "if expected == found:",
        "if True:",
        "passes with a bit changed",
    );
    overlooks(
        "pack.py",
        "if error <= bound:",
        "if error <= 9 * bound:",
        "passes with errors of thrice",
    );
    overlooks(
        "pack.py",
        "if error <= bound:",
        "if not error > bound:",
        "passes with not-a-number",
    );
    overlooks("report.py", "(start + end) / 2 + 1", "start + 1", "ties have the ranks");
    overlooks(
        "worker.py",
        "elif found != first:",
        "elif False:",
        "which must be 'differs', is right",
    );
    overlooks("run.py", "self.cases(first=False)", "pass", "of 12 kernels were run");
}

/// `generate` in Rust and in Python.
#[test]
fn the_script_makes_the_same_arrays_from_a_seed() {
    use ArrayDType::*;
    let mut all = Vec::new();
    for dtype in [F16, Bf16, F32, F64, I8, I16, I32, I64, U8, U16, U32, U64] {
        let float = matches!(dtype, F16 | Bf16 | F32 | F64);
        let low = if matches!(dtype, U8 | U16 | U32 | U64) { 3 } else { -3 };
        all.push((dtype, low, 7, 0, 1000));
        // Longer than the ring.
        all.push((dtype, low, 100, 0, Generated::RING + 500));
        if float {
            all.push((dtype, -8_388_607, 16_777_215, -23, 5000));
            all.push((dtype, -1023, 2047, -20, 5000));
        }
    }
    let wanted: Vec<Generated> = all
        .into_iter()
        .zip(1u64..)
        .map(|((dtype, low, values, scale, elements), seed)| Generated {
            dtype,
            shape: vec![elements],
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            low,
            values,
            scale,
        })
        .collect();
    let program = "import json, sys, pack\nfor one in json.load(sys.stdin): print(pack.sha256(pack.generate(one)))";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wanted.json");
    fs::write(&file, serde_json::to_string(&wanted).expect("plain data")).expect("writable");
    let output = Command::new("python3")
        .args(["-B", "-c", program])
        .env("PYTHONPATH", root("scripts/gpu-pack"))
        .stdin(fs::File::open(&file).expect("readable"))
        .output()
        .expect("python3 starts");
    let found = stdout(&output);
    let found: Vec<&str> = found.lines().collect();
    assert_eq!(found.len(), wanted.len());
    for (wanted, found) in wanted.iter().zip(found) {
        assert_eq!(sha256(&generate(wanted).expect("an array")), found, "{wanted:?}");
    }
}

/// Launch files of a pack are launch files: the emulator computes what the pack expects, the simulator its times.
#[test]
fn the_command_takes_the_launch_files_of_a_pack() {
    let pack = small_pack();
    let index = index(pack.path());
    let case = index["cases"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|case| case["name"] == "gather-3-2");
    let case = case.expect("the case");
    let launch = pack.path().join(case["launch"].as_str().expect("a path"));
    expect(&alcop(&["run", text(&launch)]), 0, "");
    let output = npy::read(&pack.path().join("kernels/gather-3-2.2.npy")).expect("an array");
    assert_eq!(case["results"][2]["sha256"], sha256(&output.data));

    let schedule = &index["operators"][0]["schedules"][1];
    let launch = pack.path().join(schedule["launch"].as_str().expect("a path"));
    let timed = stdout(&alcop(&["time", text(&launch), "--device", "sim:h200", "--json"]));
    let timed: Value = serde_json::from_str(&timed).expect("JSON");
    assert_eq!(timed["time_us"], schedule["simulated_us"]["h200"]);
}

/// The folder is ours to replace only where it holds a pack.
#[test]
fn a_folder_with_something_else_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("thesis.txt"), "years of work").expect("writable");
    let forms = root("tests/filetests/pipeline");
    let output = alcop(&[
        "bench",
        "gpu-pack",
        "--small",
        "--out",
        text(folder.path()),
        "--forms",
        text(&forms),
    ]);
    expect(&output, 2, "is not empty and is not a pack");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
    let output = alcop(&["bench", "gpu-pack", "--out", "x", "--forms", text(folder.path())]);
    expect(&output, 2, "has no .mlir files");
}

/// The driver of `tests/gpu_pack/libcuda.cpp`, compiled.
fn driver(folder: &Path) -> PathBuf {
    let library = folder.join("libcuda.so");
    let output = Command::new("c++")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(root("tests/gpu_pack/libcuda.cpp"))
        .output()
        .expect("a C++ compiler, which LLVM's bindings need, too");
    expect(&output, 0, "");
    library
}

#[test]
fn the_script_hands_the_driver_what_it_takes() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = Command::new("python3")
        .arg("-B")
        .arg(root("tests/gpu_pack/driver_test.py"))
        .env("PYTHONPATH", root("scripts/gpu-pack"))
        .env("GPU_PACK_LIBCUDA", driver(folder.path()))
        .output()
        .expect("python3 starts");
    assert_eq!(stdout(&output), "driver: right\n");
}

/// On a driver whose kernels do nothing, every kernel is wrong, and the result says so; without a driver there is no result.
#[test]
fn a_run_on_a_driver_reports_every_wrong_kernel() {
    let (pack, folder) = (small_pack(), tempfile::tempdir().expect("a folder"));
    let result = folder.path().join("result.json");
    let output = script(pack.path(), text(&result), "/nowhere/libcuda.so");
    assert_eq!(
        output.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(!result.exists());

    let output = script(pack.path(), text(&result), text(&driver(folder.path())));
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let found: Value = serde_json::from_slice(&fs::read(&result).expect("written")).expect("JSON");
    assert_eq!(found["correctness"]["count"], serde_json::json!({"wrong": 12}));
    assert_eq!(found["times"]["compared_with"], "a100-80gb");
    let schedules = found["times"]["operators"][0]["schedules"].as_array().expect("a list");
    for row in schedules {
        assert_eq!(
            (&row["status"], &row["cold_us"]),
            (&"wrong".into(), &500.0.into()),
            "{row}"
        );
    }
    let table = fs::read_to_string(folder.path().join("result.txt")).expect("written");
    assert!(
        table.contains("12 wrong") && table.contains("block 64x64x32 warp 32x32 stages 3/2"),
        "{table}"
    );
}
