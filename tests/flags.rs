//! Options that would be passed over are refused, each with exit code 2 and a word on why.
//!
//! ```console
//! $ alcop compile kernel.mlir --split-k 2
//! error: the argument '[FILE.mlir]' cannot be used with '--split-k <BLOCKS>'
//! ```

use crate::common::{alcop, expect, stdout};

const KERNEL: &str = "tests/filetests/pipeline/persistent.mlir";
const OPERATOR: [&str; 8] = ["--op", "matmul", "--m", "64", "--n", "64", "--k", "64"];

/// Each option of operators and tiles with a value that is right beside an operator.
const OF_OPERATORS: [[&str; 2]; 12] = [
    ["--m", "64"],
    ["--n", "64"],
    ["--k", "64"],
    ["--batch", "2"],
    ["--dtype", "f16"],
    ["--out-dtype", "f32"],
    ["--layout", "nn"],
    ["--block", "64x64x32"],
    ["--warp", "32x32"],
    ["--raster", "2"],
    ["--split-k", "2"],
    ["--schedule", "schedule.json"],
];

#[track_caller]
fn refused(arguments: &[&str], said: &[&str]) {
    let output = alcop(arguments);
    for part in said {
        expect(&output, 2, part);
    }
}

#[test]
fn a_file_brings_its_own_operator_and_tiles() {
    for command in ["compile", "explain"] {
        refused(&[command, KERNEL, "--op", "matmul"], &["cannot be used with", "--op"]);
        for [option, value] in OF_OPERATORS {
            refused(&[command, KERNEL, option, value], &["cannot be used with", option]);
            // Neither an operator nor a file.
            refused(&[command, option, value], &["required", "--op"]);
        }
    }
    for [option, value] in &OF_OPERATORS[..7] {
        refused(&["tune", option, value], &["required", "--op"]);
    }
}

#[test]
fn what_excludes_or_needs_another_option_says_so() {
    let with = |command: &'static str, rest: &[&'static str]| -> Vec<&'static str> {
        [&[command], &OPERATOR[..], rest].concat()
    };
    let cases: Vec<(Vec<&str>, [&str; 2])> = vec![
        // Verdicts depend on no depth.
        (
            with("explain", &["--shared-stages", "0"]),
            ["unexpected argument", "--shared-stages"],
        ),
        (
            with("explain", &["--register-stages", "2"]),
            ["unexpected argument", "--register-stages"],
        ),
        (
            with("explain", &["--block-size", "128,1,1"]),
            ["cannot be used with", "--block-size"],
        ),
        (
            with("explain", &["--assume-noalias"]),
            ["has no effect on an operator", "--assume-noalias"],
        ),
        (
            with("explain", &["--allow-unregistered-dialect"]),
            ["cannot be used with", "--allow-unregistered"],
        ),
        (
            vec!["explain", KERNEL, "--block-size", "64,1,1"],
            ["blocks of 32,1,1 threads", "--block-size"],
        ),
        // The plan says how deep; a schedule file says all of it.
        (
            with("compile", &["--plan", "p.json", "--shared-stages", "3"]),
            ["cannot be used with", "--shared-stages"],
        ),
        (
            with("compile", &["--plan", "p.json", "--register-stages", "2"]),
            ["cannot be used with", "--register-stages"],
        ),
        (
            with("compile", &["--schedule", "s.json", "--block", "64x64x32"]),
            ["cannot be used with", "--block"],
        ),
        (
            with("compile", &["--schedule", "s.json", "--warp", "32x32"]),
            ["cannot be used with", "--warp"],
        ),
        (
            with("compile", &["--schedule", "s.json", "--raster", "2"]),
            ["cannot be used with", "--raster"],
        ),
        (
            with("compile", &["--schedule", "s.json", "--split-k", "2"]),
            ["cannot be used with", "--split-k"],
        ),
        (
            with("compile", &["--schedule", "s.json", "--shared-stages", "2"]),
            ["cannot be used with", "--shared-stages"],
        ),
        (
            with("compile", &["--schedule", "s.json", "--register-stages", "2"]),
            ["cannot be used with", "--register-stages"],
        ),
        (
            with("explain", &["--schedule", "s.json", "--block", "64x64x32"]),
            ["cannot be used with", "--block"],
        ),
        // A tile program is made before anything is planned.
        (
            with("compile", &["--emit", "tile", "--plan", "p.json"]),
            ["no effect with --emit tile", "--plan"],
        ),
        (
            with("compile", &["--emit", "tile", "--target", "a100"]),
            ["no effect with --emit tile", "--target"],
        ),
        (
            with("compile", &["--emit", "tile", "--shared-stages", "2"]),
            ["no effect with --emit tile", "--shared-stages"],
        ),
        (
            vec!["compile", KERNEL, "--emit", "tile", "--register-stages", "2"],
            ["no effect with --emit tile", "--register-stages"],
        ),
        (
            vec!["opt", KERNEL, "--verify-diagnostics", "-o", "out.mlir"],
            ["cannot be used with", "-o"],
        ),
        (
            vec!["opt", KERNEL, "--canonicalize", "--target", "a100"],
            ["no effect without a pass of alcop", "--target"],
        ),
        (
            with("tune", &["--seed", "7"]),
            ["no effect with --strategy analytic", "--seed"],
        ),
        (
            with("tune", &["--strategy", "exhaustive", "--seed", "7"]),
            ["no effect with --strategy exhaustive", "--seed"],
        ),
        (
            with("tune", &["--cache", "c", "--no-cache"]),
            ["cannot be used with", "--no-cache"],
        ),
        (
            with("tune", &["--learn-from", "j.jsonl", "--strategy", "learned"]),
            ["--learn-from is for", "analytic+learned"],
        ),
        (
            with("tune", &["--seconds", "NaN"]),
            ["not a positive number of seconds", "--seconds"],
        ),
        (
            with("tune", &["--seconds", "0"]),
            ["not a positive number of seconds", "--seconds"],
        ),
        (vec!["bench", "search", "--target", "h100"], ["required", "--table"]),
        (
            vec!["journal", "replay", "j.jsonl", "--top", "0"],
            ["invalid value", "--top"],
        ),
    ];
    for (arguments, said) in cases {
        refused(&arguments, &said);
    }
}

#[test]
fn a_device_takes_no_options_of_another() {
    let directory = tempfile::tempdir().expect("a directory");
    let launch = directory.path().join("k.json");
    let launch = launch.to_str().expect("UTF-8");
    let tiles = [
        "--block", "32x32x32", "--warp", "32x32", "--emit", "launch", "-o", launch,
    ];
    stdout(&alcop(&[&["compile"], &OPERATOR[..], &tiles].concat()));
    for (arguments, said) in [
        (&["run", "--seed", "3"][..], ["required", "--arrival"]),
        (
            &["run", "--arrival", "latest", "--seed", "3"],
            ["no effect with --arrival latest", "--seed"],
        ),
        (
            &["run", "--arrival", "earliest", "--seed", "0"],
            ["no effect with --arrival earliest", "--seed"],
        ),
        (
            &["run", "--device", "cuda:0", "--blocks", "0"],
            ["needs the emulator", "--blocks"],
        ),
        (
            &["run", "--device", "cuda:0", "--arrival", "latest"],
            ["on a GPU", "--arrival"],
        ),
        (
            &["run", "--device", "cuda:0", "--keep-going"],
            ["on a GPU", "--keep-going"],
        ),
        (&["run", "--device", "cuda:0", "--strict"], ["on a GPU", "--strict"]),
        (
            &["run", "--device", "cuda:0", "--step-limit", "9"],
            ["on a GPU", "--step-limit"],
        ),
        (&["time", "--repeats", "3"], ["on the simulator", "--repeats"]),
        (&["time", "--repeats", "0"], ["invalid value", "--repeats"]),
        (
            &["time", "--device", "sim:h100", "--target", "a100"],
            ["names its own", "--target"],
        ),
        (
            &["time", "--device", "cuda:0", "--target", "a100"],
            ["names its own", "--target"],
        ),
    ] {
        let line = [&[arguments[0], launch], &arguments[1..]].concat();
        refused(&line, &said);
    }
    stdout(&alcop(&["run", launch, "--arrival", "random", "--seed", "3"]));
    stdout(&alcop(&["time", launch, "--target", "h100"]));
}
