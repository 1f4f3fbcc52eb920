//! The file tests of detection: `tests/filetests/detect/*.mlir`, with what is expected as comments.
//!
//! ```text
//! // OPTIONS block-size=32,1,1 assume-noalias assume-aligned=1 shared-bytes=1024
//! // EXPECT memref.alloc#0 loop=0 verdict=pipelinable depth=32 async=16
//! // EXPECT vector.load#1 loop=0 verdict=rejected codes=not-sequential,unknown-op
//! ```
//!
//! Every entry of every kernel must be expected, in the order of detection, with exactly these codes. `LIST=1` prints
//! what detection says instead, ready to be reviewed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use alcop_compiler::detect::{Assumptions, BufferVerdict, DetectOptions, Detection, Reason, Verdict, detect};
use alcop_compiler::ir::{BufferId, Context};
use serde_json::json;

/// Codes that detection can give.
const CODES: [&str; 20] = [
    "not-a-pure-copy",
    "width-unsupported",
    "alignment-unproven",
    "not-contiguous",
    "not-sequential",
    "not-fully-overwritten",
    "block-size-unknown",
    "read-before-write",
    "read-after-loop",
    "several-writers",
    "source-written-in-loop",
    "may-alias",
    "side-effect-between",
    "barrier-orders-other-memory",
    "input-race",
    "sync-positions-differ",
    "already-pipelined",
    "does-not-fit",
    "register-depth-exceeds-chunk",
    "unknown-op",
];

struct Case {
    name: String,
    text: String,
    options: DetectOptions,
    expected: Vec<String>,
}

fn cases() -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/filetests/detect");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("the folder of file tests")
        .map(|entry| entry.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "mlir"))
        .collect();
    paths.sort();
    paths.iter().map(|path| case(path)).collect()
}

fn case(path: &Path) -> Case {
    let text = std::fs::read_to_string(path).expect("readable");
    let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let mut options = DetectOptions {
        shared_bytes_per_block: 166_912,
        block_size: None,
        assumptions: Assumptions::default(),
    };
    let mut expected = Vec::new();
    for line in text.lines() {
        if let Some(given) = line.trim().strip_prefix("// OPTIONS ") {
            for option in given.split_whitespace() {
                match option.split_once('=') {
                    None if option == "assume-noalias" => options.assumptions.noalias = true,
                    Some(("assume-aligned", bytes)) => options.assumptions.aligned = bytes.parse().expect("bytes"),
                    Some(("shared-bytes", bytes)) => options.shared_bytes_per_block = bytes.parse().expect("bytes"),
                    Some(("block-size", size)) => {
                        let parts: Vec<u32> = size.split(',').map(|part| part.parse().expect("a size")).collect();
                        options.block_size = Some(parts.try_into().expect("three sizes"));
                    }
                    _ => panic!("{name}: unknown option {option}"),
                }
            }
        } else if let Some(line) = line.trim().strip_prefix("// EXPECT ") {
            expected.push(line.trim().to_owned());
        }
    }
    Case {
        name,
        text,
        options,
        expected,
    }
}

fn run(case: &Case) -> Detection {
    let context = Context::new();
    context.allow_unregistered_dialects(true);
    let module = context
        .parse(&case.text, &case.name)
        .unwrap_or_else(|error| panic!("{}: {error}", case.name));
    let before = module.to_string();
    let detection = detect(&module, &case.options);
    assert_eq!(module.to_string(), before, "{}: detection changes nothing", case.name);
    detection
}

fn codes(reasons: &[Reason]) -> BTreeSet<String> {
    reasons
        .iter()
        .map(|reason| json!(reason.code).as_str().expect("a string").to_owned())
        .collect()
}

fn line(buffer: &BufferVerdict) -> String {
    let id = match &buffer.id {
        BufferId::WorkgroupAttribution { position } => format!("workgroup#{position}"),
        BufferId::PrivateAttribution { position } => format!("private#{position}"),
        BufferId::FuncArg { position } => format!("argument#{position}"),
        BufferId::OpResult { op, index } => format!("{op}#{index}"),
        BufferId::Global { symbol } => format!("@{symbol}"),
    };
    let scope = match (buffer.loop_index, &buffer.loop_op) {
        (Some(index), _) => index.to_string(),
        (None, Some(op)) => op.clone(),
        (None, None) => "none".to_owned(),
    };
    let verdict = json!(buffer.verdict);
    let mut text = format!("{id} loop={scope} verdict={}", verdict.as_str().expect("a string"));
    if let Some(depth) = buffer.max_depth {
        text += &format!(" depth={depth}");
    }
    if let Some(bytes) = buffer.async_bytes.filter(|_| buffer.verdict != Verdict::Rejected) {
        text += &format!(" async={bytes}");
    }
    let codes: Vec<String> = codes(&buffer.reasons).into_iter().collect();
    if !codes.is_empty() {
        text += &format!(" codes={}", codes.join(","));
    }
    if !buffer.assumes.is_empty() {
        let all: Vec<String> = buffer.assumes.iter().map(ToString::to_string).collect();
        text += &format!(" assumes={}", all.join("; "));
    }
    text
}

#[test]
fn every_entry_is_as_expected() {
    let mut wrong = Vec::new();
    for case in cases() {
        let found: Vec<String> = run(&case)
            .kernels
            .iter()
            .flat_map(|kernel| &kernel.buffers)
            .map(line)
            .collect();
        if std::env::var_os("LIST").is_some() {
            println!("{}", case.name);
            found.iter().for_each(|line| println!("// EXPECT {line}"));
        } else if case.expected.is_empty() || found != case.expected {
            wrong.push(format!(
                "{}\n  expected {:#?}\n  found {found:#?}",
                case.name, case.expected
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn reasons_have_places_and_verdicts_have_reasons() {
    for case in cases() {
        for kernel in run(&case).kernels {
            for buffer in &kernel.buffers {
                assert_eq!(
                    buffer.verdict == Verdict::Rejected,
                    !buffer.reasons.is_empty(),
                    "{}: {buffer:?}",
                    case.name
                );
                for reason in &buffer.reasons {
                    let named = reason.location.contains(':') && !reason.message.is_empty();
                    assert!(named, "{}: {reason:?}", case.name);
                }
            }
            for one in &kernel.loops {
                assert_eq!(
                    one.verdict == Verdict::Rejected,
                    !one.reasons.is_empty(),
                    "{}: {one:?}",
                    case.name
                );
            }
        }
    }
}

/// A third of the files refuse something in shared memory; every code has a file that refuses with it.
#[test]
fn the_corpus_refuses_enough() {
    let (mut refusing, mut all) = (0, 0);
    let mut files: BTreeMap<String, usize> = BTreeMap::new();
    for case in cases() {
        all += 1;
        let buffers: Vec<BufferVerdict> = run(&case)
            .kernels
            .into_iter()
            .flat_map(|kernel| kernel.buffers)
            .collect();
        let refused: BTreeSet<String> = buffers.iter().flat_map(|buffer| codes(&buffer.reasons)).collect();
        refusing += usize::from(buffers.iter().any(|buffer| buffer.verdict == Verdict::Rejected));
        for code in refused {
            *files.entry(code).or_default() += 1;
        }
    }
    assert!(all >= 60, "{all} files");
    assert!(3 * refusing >= all, "{refusing} of {all} files refuse");
    for code in CODES {
        assert!(files.contains_key(code), "no file refuses with {code}: {files:?}");
    }
}
