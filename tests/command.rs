//! The command as scripts call it: outputs, exit codes, messages.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::common::{alcop, expect, stdout};

fn with_input(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_alcop"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(input.as_bytes())
        .expect("it reads its input");
    child.wait_with_output().expect("it ends")
}

const MATMUL: [&str; 9] = ["--op", "matmul", "--m", "512", "--n", "768", "--k", "3072", "--layout"];

fn matmul<'a>(command: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    let mut arguments = vec![command];
    arguments.extend(MATMUL);
    arguments.push("nn");
    arguments.extend(rest);
    arguments
}

#[test]
fn explain_gives_each_buffer_a_verdict() {
    let text = stdout(&alcop(&matmul("explain", &["--json"])));
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["schema"], 1);
    let buffers = json["kernels"][0]["buffers"].as_array().expect("a list");
    assert_eq!(buffers.len(), 2 + 8);
    let first = &buffers[0];
    assert_eq!(
        first["id"],
        serde_json::json!({"kind": "workgroup_attribution", "position": 0})
    );
    assert_eq!(
        (&first["level"], &first["verdict"]),
        (&"shared".into(), &"pipelinable".into())
    );
    assert_eq!(
        (&first["bytes"], &first["async_bytes"], &first["max_depth"]),
        (&8192.into(), &16.into(), &10.into())
    );
    assert!(stdout(&alcop(&matmul("explain", &[]))).contains("workgroup attribution 1"));
}

/// The width of each operand's asynchronous copies is what its rows are aligned to; where that is 2 bytes, the reason.
#[test]
fn explain_says_how_wide_the_copies_of_ragged_operands_are() {
    for (shape, dtype, layout, expected) in [
        (["100", "72", "50"], "f16", "nn", [Ok(4), Ok(16)]),
        (["100", "68", "52"], "bf16", "nn", [Ok(8), Ok(8)]),
        (["100", "72", "51"], "f16", "nn", [Err("width-unsupported"), Ok(16)]),
        (["100", "72", "51"], "tf32", "tt", [Ok(16), Ok(4)]),
        (
            ["101", "72", "50"],
            "i8",
            "tt",
            [Err("width-unsupported"), Err("width-unsupported")],
        ),
    ] {
        let [m, n, k] = shape;
        let operator = ["explain", "--json", "--op", "matmul", "--m", m, "--n", n, "--k", k];
        let types = ["--dtype", dtype, "--layout", layout];
        let text = stdout(&alcop(&[&operator[..], &types].concat()));
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        for (position, expected) in expected.into_iter().enumerate() {
            let buffer = &json["kernels"][0]["buffers"][position];
            match expected {
                Ok(bytes) => assert_eq!(buffer["async_bytes"], bytes, "{shape:?} {dtype} {layout}: {buffer}"),
                Err(code) => {
                    assert_eq!(
                        buffer["reasons"][0]["code"], code,
                        "{shape:?} {dtype} {layout}: {buffer}"
                    );
                    assert_eq!(buffer["verdict"], "rejected");
                }
            }
        }
    }
}

#[test]
fn what_explain_prints_is_what_a_tile_program_from_standard_input_gets() {
    let tile = stdout(&alcop(&matmul("compile", &["--emit", "tile"])));
    let direct: serde_json::Value =
        serde_json::from_str(&stdout(&alcop(&matmul("explain", &["--json"])))).expect("JSON");
    let piped: serde_json::Value =
        serde_json::from_str(&stdout(&with_input(&["explain", "-", "--json"], &tile))).expect("JSON");
    assert_eq!(
        direct["kernels"][0]["buffers"].as_array().map(Vec::len),
        piped["kernels"][0]["buffers"].as_array().map(Vec::len)
    );
}

#[test]
fn compile_reaches_every_stage() {
    for (emit, wanted) in [
        ("tile", "vector.store"),
        ("plan", "\"fingerprint\""),
        ("mlir", "nvgpu.device_async_copy"),
        ("llvm", "define ptx_kernel"),
        ("ptx", "cp.async.cg.shared.global"),
    ] {
        let text = stdout(&alcop(&matmul("compile", &["--emit", emit])));
        assert!(text.contains(wanted), "{emit}: {text}");
    }
}

#[test]
fn a_tile_program_compiles_to_the_same_ptx_as_its_operator() {
    let tile = stdout(&alcop(&matmul("compile", &["--emit", "tile"])));
    let direct = stdout(&alcop(&matmul("compile", &[])));
    assert_eq!(stdout(&with_input(&["compile", "-"], &tile)), direct);
}

#[test]
fn a_printed_plan_is_obeyed_and_an_edited_one_changes_the_kernel() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("plan.json");
    let plan = stdout(&alcop(&matmul("compile", &["--emit", "plan"])));
    let with_plan = |text: &str| {
        std::fs::write(&path, text).expect("writable");
        alcop(&matmul("compile", &["--plan", path.to_str().expect("UTF-8")]))
    };
    let ptx = stdout(&with_plan(&plan));
    assert_eq!(ptx, stdout(&alcop(&matmul("compile", &[]))));
    let deeper = plan
        .replace("\"slots\": 3", "\"slots\": 4")
        .replace("\"distance\": 2", "\"distance\": 3");
    assert!(stdout(&with_plan(&deeper)).contains("cp.async.wait_group \t2;"));
    expect(
        &with_plan(&plan.replacen("\"distance\": 2", "\"distance\": 3", 1)),
        1,
        "sync-positions-differ",
    );
    expect(&with_plan("{\"schema\": 1,\n \"oops\": 2}"), 2, "line 2");
    let shallow: Vec<&str> = matmul("compile", &["--block", "64x64x32", "--warp", "32x32"]);
    std::fs::write(&path, &plan).expect("writable");
    let mut stale = shallow;
    stale.extend(["--plan", path.to_str().expect("UTF-8")]);
    // Tiles belong to the schedule options, the plan to another module.
    expect(&alcop(&stale), 1, "stale");
}

#[test]
fn a_launch_file_comes_with_everything_it_names() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("matmul.json");
    stdout(&alcop(&matmul(
        "compile",
        &["--emit", "launch", "-o", path.to_str().expect("UTF-8")],
    )));
    let launch: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&path).expect("written")).expect("JSON");
    assert_eq!(launch["grid"], serde_json::json!([4, 6, 1]));
    assert_eq!(launch["block"], serde_json::json!([128, 1, 1]));
    assert_eq!(launch["dynamic_shared_bytes"], 49152);
    for file in ["matmul.ptx", "matmul.a.npy", "matmul.b.npy"] {
        assert!(directory.path().join(file).exists(), "{file}");
    }
}

#[test]
fn refusals_say_what_does_not_fit_and_exit_with_1() {
    let refused = |rest: &[&str], message: &str| expect(&alcop(&matmul("compile", rest)), 1, message);
    refused(&["--block", "100x128x32", "--warp", "50x64"], "[tile-not-supported]");
    refused(
        &["--block", "128x192x32", "--warp", "64x64"],
        "a row of B's chunk has 24 pieces of 16 bytes",
    );
    refused(&["--shared-stages", "12"], "at most 10 fit");
    refused(&["--register-stages", "4"], "[register-depth-exceeds-chunk]");
    refused(&["--shared-stages", "0"], "0 stages");
    refused(
        &["--block", "256x128x32", "--warp", "128x64"],
        "a thread needs 256 registers for accumulators + 2 × 48 for fragments = 352, and may have 255",
    );
    refused(
        &[
            "--block",
            "512x256x32",
            "--warp",
            "64x64",
            "--shared-stages",
            "1",
            "--register-stages",
            "1",
        ],
        "an SM has 65536",
    );
}

#[test]
fn bad_usage_exits_with_2() {
    let usage = |arguments: &[&str], message: &str| expect(&alcop(arguments), 2, message);
    usage(&["compile"], "name an MLIR file or an operator");
    usage(
        &["compile", "--op", "softmax"],
        "unknown operator \"softmax\"; known: matmul",
    );
    usage(&["compile", "--op", "matmul", "--m", "512"], "--n is missing");
    usage(&matmul("compile", &["--dtype", "f8"]), "unknown dtype \"f8\"");
    usage(&matmul("compile", &["--target", "v100"]), "unknown target \"v100\"");
    usage(&matmul("compile", &["--block", "128x128"]), "is not 3 whole numbers");
    usage(&["explain", "no-such-file.mlir"], "cannot read no-such-file.mlir");
    usage(
        &matmul("compile", &["-o", "no-such-directory/k.ptx"]),
        "cannot write no-such-directory/k.ptx",
    );
    expect(
        &with_input(&["explain", "-"], "gpu.module @m {\n  gpu.bogus\n}"),
        2,
        "-:2:3: error:",
    );
}

#[test]
fn a_malformed_schedule_file_names_line_and_field() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("schedule.json");
    let run = |text: &str| {
        std::fs::write(&path, text).expect("writable");
        alcop(&matmul("compile", &["--schedule", path.to_str().expect("UTF-8")]))
    };
    let good = "{\"block\": {\"m\": 128, \"n\": 128, \"k\": 32}, \"warp\": {\"m\": 64, \"n\": 64},\n \
                 \"shared_stages\": 3, \"register_stages\": 2}";
    assert_eq!(stdout(&run(good)), stdout(&alcop(&matmul("compile", &[]))));
    expect(
        &run(&good.replace("register_stages", "registre_stages")),
        2,
        "unknown field `registre_stages`",
    );
    expect(
        &run(&good.replace("\"shared_stages\": 3", "\"shared_stages\": \"three\"")),
        2,
        "shared_stages: invalid type: string \"three\", expected u32 at line 2",
    );
    expect(
        &run(&good.replace("\"n\": 128", "\"n\": -1")),
        2,
        "block.n: invalid value: integer `-1`",
    );
    expect(&run(&format!("{good} {good}")), 2, "trailing characters");
}

#[test]
fn what_is_printed_parses_in_mlir_opt() {
    let tool = Path::new("/usr/bin/mlir-opt-22");
    if !tool.exists() {
        eprintln!("skipped: mlir-opt-22 is not installed");
        return;
    }
    for emit in ["tile", "mlir"] {
        let text = stdout(&alcop(&matmul("compile", &["--emit", emit])));
        let mut child = Command::new(tool)
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(text.as_bytes())
            .expect("it reads");
        assert!(child.wait().expect("it ends").success(), "{emit}");
    }
}

#[test]
fn a_kernel_of_ones_own_gets_a_launch_file_that_runs() {
    let directory = tempfile::tempdir().expect("a directory");
    let launch = directory.path().join("k.json");
    let (launch, kernel) = (
        launch.to_str().expect("UTF-8"),
        "tests/filetests/pipeline/persistent.mlir",
    );
    let compile = [
        "compile",
        kernel,
        "--shared-stages",
        "3",
        "--register-stages",
        "2",
        "--emit",
        "launch",
        "--grid",
        "1,1,1",
        "-o",
        launch,
    ];
    stdout(&alcop(&compile));
    let printed = stdout(&alcop(&["run", launch]));
    assert!(printed.contains("persistent: 1 blocks"), "{printed}");
    let output = std::fs::read(directory.path().join("k.arg1.npy")).expect("the array that the kernel writes");
    // Zeros in, zeros out; what is not written would be left as zeros too, but the emulator checks that it is.
    assert_eq!(output.len() % 4, 0);
    expect(&alcop(&compile[..10]), 2, "name the launch file with -o");
}

#[test]
fn a_kernel_that_stays_as_it_is_says_why() {
    let output = alcop(&[
        "compile",
        "tests/filetests/detect/read_before_write.mlir",
        "--emit",
        "ptx",
    ]);
    assert!(!stdout(&output).contains("cp.async"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("not pipelined:") && said.contains("[read-before-write]"),
        "{said}"
    );
}

#[test]
fn a_launch_is_outlined_and_keeps_what_is_known_of_its_arguments() {
    let directory = tempfile::tempdir().expect("a directory");
    let launch = directory.path().join("k.json");
    let launch = launch.to_str().expect("UTF-8");
    let file = "tests/filetests/detect/launch.mlir";
    stdout(&alcop(&[
        "compile",
        file,
        "--shared-stages",
        "3",
        "--register-stages",
        "1",
        "--emit",
        "launch",
        "-o",
        launch,
    ]));
    let ptx = std::fs::read_to_string(directory.path().join("k.ptx")).expect("the PTX");
    // The alignment of the host's argument is what allows 16 bytes.
    assert!(ptx.contains("cp.async.cg.shared.global"), "{ptx}");
    let printed = stdout(&alcop(&["run", launch]));
    assert!(printed.contains("host_kernel: 1 blocks"), "{printed}");
    let plan = stdout(&alcop(&["compile", file, "--emit", "plan"]));
    assert!(plan.contains("\"transport\": \"cp_async\""), "{plan}");
}
