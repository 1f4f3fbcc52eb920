//! `alcop opt`: its file tests, and what holds for every module that goes through it.
//!
//! A file of `tests/filetests/opt` says how it is run, and with which exit code:
//!
//! ```text
//! // RUN alcop opt %s --alcop-detect | FileCheck %s
//! // RUN(1) alcop opt %s --alcop-pipeline=shared-stages=40 2>&1 | FileCheck %s --check-prefix=REFUSED
//! ```
//!
//! `%s` is the file. With `2>&1` FileCheck reads what came on standard error, then what came on standard output. There
//! is no shell: only single and double quotes count.

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use alcop::compiler::detect::attributes::{annotate, strip};
use alcop::compiler::detect::{DetectOptions, detect};
use alcop::compiler::ir::Context;
use alcop::compiler::tile_program::tile_program;
use alcop::passes::opt::pipeline_text::parse;
use alcop::passes::opt::{self, Outcome, Settings};
use alcop::spec::{DType, Layout};
use common::{expect, matmul, reference_schedule, schedule, stdout};

/// Debian's packages mlir-22-tools and llvm-22-tools, which `make setup` installs.
const MLIR_OPT: &str = "mlir-opt-22";
const FILE_CHECK: &str = "FileCheck-22";

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/filetests")
        .join(folder);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of file tests")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "mlir"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{}", folder.display());
    paths
}

fn with_input(program: &str, arguments: &[String], input: &[u8]) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; `make setup` installs it"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // FileCheck may end before it has read everything.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    drop(writer.join().expect("the writer does not panic"));
    output
}

/// Words of a command line.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quote, mut open) = (String::new(), None, false);
    for character in line.chars() {
        match quote {
            Some(end) if character == end => quote = None,
            Some(_) => word.push(character),
            None if character == '\'' || character == '"' => (quote, open) = (Some(character), true),
            None if character.is_whitespace() => {
                if open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            None => word.push(character),
        }
    }
    if open || !word.is_empty() {
        words.push(word);
    }
    words
}

/// What is wrong with one RUN line, if anything.
fn run_line(line: &str, path: &Path) -> Result<(), String> {
    let (code, command) = match line.strip_prefix('(') {
        Some(rest) => {
            let (code, command) = rest.split_once(')').ok_or("no ) behind the exit code")?;
            (code.parse().map_err(|_| format!("{code:?} is no exit code"))?, command)
        }
        None => (0, line),
    };
    let place = path.display().to_string();
    let (command, check) = match command.split_once(" | ") {
        Some((command, check)) => (command, Some(check)),
        None => (command, None),
    };
    let substitute =
        |text: &str| -> Vec<String> { words(text).iter().map(|word| word.replace("%s", &place)).collect() };
    let (command, both) = match command.trim_end().strip_suffix("2>&1") {
        Some(command) => (command, true),
        None => (command, false),
    };
    let command = substitute(command);
    if command.first().is_none_or(|program| program != "alcop") {
        return Err("a RUN line starts with alcop".to_owned());
    }
    let output = with_input(env!("CARGO_BIN_EXE_alcop"), &command[1..], b"");
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.code() != Some(code) {
        return Err(format!("exit {:?}, expected {code}\n{errors}", output.status.code()));
    }
    let Some(check) = check else { return Ok(()) };
    let check = substitute(check);
    if check.first().is_none_or(|program| program != "FileCheck") {
        return Err("a RUN line pipes into FileCheck".to_owned());
    }
    let mut text = if both { output.stderr.clone() } else { Vec::new() };
    text.extend(&output.stdout);
    let checked = with_input(FILE_CHECK, &check[1..], &text);
    match checked.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&checked.stderr).into_owned()),
    }
}

#[test]
fn every_file_runs_as_it_says() {
    let mut wrong = Vec::new();
    for path in files("opt") {
        let text = std::fs::read_to_string(&path).expect("readable");
        let runs: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("// RUN")).collect();
        if runs.is_empty() {
            wrong.push(format!("{}: no RUN line", path.display()));
        }
        for run in runs {
            if let Err(error) = run_line(run, &path) {
                wrong.push(format!("{}:{run}\n{error}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every file test that parses, and some tile programs, as text.
fn corpus() -> Vec<(String, String)> {
    let mut corpus = Vec::new();
    for path in ["detect", "opt"].into_iter().flat_map(files) {
        let text = std::fs::read_to_string(&path).expect("readable");
        let context = Context::new();
        context.allow_unregistered_dialects(true);
        if context.parse(&text, "corpus").is_ok() {
            corpus.push((path.display().to_string(), text));
        }
    }
    assert!(corpus.len() > 120, "{} files", corpus.len());
    for layout in [Layout::Nn, Layout::Nt, Layout::Tn, Layout::Tt] {
        let op = matmul(layout, [256, 256, 128], DType::F32);
        for schedule in [reference_schedule(3, 2), schedule([64, 64, 16], [32, 32], 2, 1)] {
            let context = Context::new();
            let program = tile_program(&context, &op, &schedule).expect("a tile program");
            corpus.push((format!("tile program {layout:?}"), program.module.to_string()));
        }
    }
    corpus
}

const OPTIONS: DetectOptions = DetectOptions {
    shared_bytes_per_block: 166_912,
    block_size: None,
    assume_noalias: false,
};

#[test]
fn stripping_attributes_gives_the_input_back_byte_for_byte() {
    let mut annotated = 0;
    for (name, text) in corpus() {
        let context = Context::new();
        context.allow_unregistered_dialects(true);
        let module = context.parse(&text, "k.mlir").expect("it parsed before");
        strip(&module);
        let before = module.to_string();
        let detection = detect(&module, &OPTIONS);
        annotate(&module, &detection);
        let with = module.to_string();
        let found = detection.kernels.iter().any(|kernel| !kernel.buffers.is_empty());
        assert_eq!(found, with.contains("alcop.verdict"), "{name}");
        annotated += usize::from(found);
        assert!(module.verify().is_ok(), "{name}");
        assert_eq!(
            detect(&module, &OPTIONS),
            detection,
            "{name}: attributes change no verdict"
        );
        strip(&module);
        assert_eq!(module.to_string(), before, "{name}");
    }
    assert!(annotated > 100, "{annotated} modules have buffers");
}

/// Debian's mlir-opt, which knows nothing of alcop, reads all that is printed.
#[test]
fn upstream_parses_what_is_printed() {
    let pipelines = [
        "",
        "alcop-detect",
        "alcop-detect,alcop-plan{layout=plain}",
        "alcop-pipeline{layout=plain}",
        "canonicalize,alcop-pipeline{layout=plain},cse",
    ];
    let folder = tempfile::tempdir().expect("a folder");
    let all = folder.path().join("all.mlir");
    let text: Vec<String> = corpus().into_iter().map(|(_, text)| text).collect();
    std::fs::write(&all, text.join("\n// -----\n")).expect("written");
    for pipeline in pipelines {
        let out = folder.path().join("out.mlir");
        let arguments = [
            "opt",
            all.to_str().expect("UTF-8"),
            &format!("--pass-pipeline=builtin.module({pipeline})"),
            "--split-input-file",
            "--allow-unregistered-dialect",
            "-o",
            out.to_str().expect("UTF-8"),
        ];
        let output = common::alcop(&arguments);
        // Some pieces refuse; they are printed all the same.
        assert!(
            [Some(0), Some(1)].contains(&output.status.code()),
            "{pipeline}: {output:?}"
        );
        let printed = std::fs::read_to_string(&out).expect("written");
        assert_eq!(printed.matches("// -----\n").count() + 1, text.len(), "{pipeline}");
        let upstream = Command::new(MLIR_OPT)
            .args(["--split-input-file", "--allow-unregistered-dialect", "-o", "/dev/null"])
            .arg(&out)
            .output()
            .unwrap_or_else(|error| panic!("{MLIR_OPT}: {error}; `make setup` installs it"));
        assert!(
            upstream.status.success(),
            "{pipeline}: {}",
            String::from_utf8_lossy(&upstream.stderr)
        );
    }
}

/// What is not pipelined comes out as an empty pipeline prints it, whether nothing can be or the plan is refused.
#[test]
fn a_rejected_module_comes_out_as_it_came() {
    let settings = Settings {
        architecture: "sm_80".to_owned(),
        shared_bytes_per_block: OPTIONS.shared_bytes_per_block,
        print_ir_after_all: false,
        timing: false,
    };
    let pipeline = parse("builtin.module(alcop-pipeline{layout=plain})").expect("a pipeline");
    let (mut rejected, mut refused, mut pipelined) = (0, 0, 0);
    for (name, text) in corpus() {
        let context = Context::new();
        context.allow_unregistered_dialects(true);
        let mut module = context.parse(&text, "k.mlir").expect("it parsed before");
        let before = module.to_string();
        let outcome = opt::run(&mut module, &pipeline, &settings).expect("it can be built");
        let after = module.to_string();
        match outcome {
            Outcome::Done if before == after => rejected += 1,
            Outcome::Done => {
                assert!(after.contains("gpu.dynamic_shared_memory"), "{name}");
                pipelined += 1;
            }
            Outcome::Refused => {
                assert_eq!(before, after, "{name}");
                refused += 1;
            }
            Outcome::Failed | Outcome::Bug => panic!("{name}: {outcome:?} {:?}", context.take_diagnostics()),
        }
    }
    assert!(
        rejected > 20 && refused > 5 && pipelined > 15,
        "{rejected} rejected, {refused} refused, {pipelined} pipelined"
    );
}

/// The depth of loads is edited where they stand; the loads of one inner loop agree, or are refused.
#[test]
fn an_edited_depth_of_a_register_load_is_obeyed_or_refused() {
    let context = Context::new();
    let op = matmul(Layout::Nn, [256, 256, 128], DType::F32);
    let program = tile_program(&context, &op, &reference_schedule(3, 2)).expect("a tile program");
    annotate(&program.module, &detect(&program.module, &OPTIONS));
    let text = program.module.to_string();
    let edited = |count: usize, depth: u32| {
        let mut left = count;
        let lines = text.lines().map(|line| {
            let fragment = line.contains("nvgpu.ldmatrix") && line.contains("alcop.depth = 3 : i64") && left > 0;
            left -= usize::from(fragment);
            match fragment {
                true => line.replace("alcop.depth = 3 : i64", &format!("alcop.depth = {depth} : i64")),
                false => line.to_owned(),
            }
        });
        lines.collect::<Vec<_>>().join("\n")
    };
    let plan = |text: &str| {
        with_input(
            env!("CARGO_BIN_EXE_alcop"),
            &words("opt - --alcop-plan"),
            text.as_bytes(),
        )
    };
    let all = text.matches("nvgpu.ldmatrix").count();
    assert!(all > 4, "{text}");
    assert!(stdout(&plan(&text)).contains("registers = [{depth = 2 : i64"));
    for count in [1, all] {
        let printed = stdout(&plan(&edited(count, 1)));
        assert!(printed.contains("registers = [{depth = 1 : i64"), "{printed}");
    }
    expect(&plan(&edited(all, 4)), 1, "[register-depth-exceeds-chunk]");
    let differently = edited(2, 1).replacen("alcop.depth = 1 : i64", "alcop.depth = 2 : i64", 1);
    expect(&plan(&differently), 1, "[sync-positions-differ]");
}

#[test]
fn standard_input_and_output_and_a_file() {
    let text = "func.func @f() { return }\n";
    let arguments = |line: &str| words(line);
    let piped = with_input(env!("CARGO_BIN_EXE_alcop"), &arguments("opt - --cse"), text.as_bytes());
    assert_eq!(stdout(&piped), "module {\n  func.func @f() {\n    return\n  }\n}\n");
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("o.mlir");
    let line = format!("opt -o {}", out.display());
    let written = with_input(env!("CARGO_BIN_EXE_alcop"), &arguments(&line), text.as_bytes());
    assert_eq!(stdout(&written), "");
    assert_eq!(std::fs::read_to_string(&out).expect("written"), stdout(&piped));
    let wrong = with_input(env!("CARGO_BIN_EXE_alcop"), &arguments("opt -"), b"func.func @f( {");
    expect(&wrong, 2, "<stdin>:1:14: error: expected");
    assert_eq!(wrong.stdout, b"");
    expect(&common::alcop(&["opt", "/no/such/file.mlir"]), 2, "/no/such/file.mlir");
    let help = common::alcop(&["opt", "--help"]);
    for word in ["--pass-pipeline", "--split-input-file", "alcop-check-hazards"] {
        assert!(stdout(&help).contains(word), "{word}");
    }
}
