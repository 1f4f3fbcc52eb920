//! `alcop opt`: passes by name on an MLIR file, as `mlir-opt` runs them.
//!
//! ```console
//! $ alcop opt k.mlir --pass-pipeline='builtin.module(canonicalize,alcop-pipeline{shared-stages=3})' -o out.mlir
//! $ alcop opt k.mlir --canonicalize --alcop-detect --verify-diagnostics
//! ```

use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use alcop_compiler::ir::{Context, Diagnostic, Module};
use alcop_passes::opt::diagnostics::render;
use alcop_passes::opt::pipeline_text::{self, Element, Pipeline};
use alcop_passes::opt::verify_diagnostics::{differences, expectations};
use alcop_passes::opt::{self, Outcome, Settings, passes};
use alcop_spec::GpuTarget;
use clap::Args;

use super::assumptions::AssumptionArguments;
use super::{Failure, output};

/// Pieces of a file stand between such lines.
const SPLIT: &str = "// -----";

#[derive(Args)]
#[command(after_help = format!(
    "A single pass may be given as an option: --canonicalize, --alcop-detect, --alcop-plan=\"shared-stages=4\".\n\
     Passes of alcop: {}.\nAll passes of MLIR are known by the names of mlir-opt.",
    passes::names().join(", ")
))]
pub struct Arguments {
    /// The MLIR file; - is standard input
    #[arg(value_name = "FILE.mlir", default_value = "-")]
    file: PathBuf,
    /// Passes in MLIR's syntax: builtin.module(canonicalize,alcop-pipeline{shared-stages=3 register-stages=2})
    #[arg(long, value_name = "PIPELINE")]
    pass_pipeline: Option<String>,
    /// A pass on the module with its options; what --NAME and --NAME=OPTIONS mean
    #[arg(long = "pass", value_name = "NAME[=OPTIONS]", hide = true)]
    passes: Vec<String>,
    /// Where to write the module; - is standard output
    #[arg(
        short = 'o',
        value_name = "FILE",
        default_value = "-",
        conflicts_with = "verify_diagnostics"
    )]
    output: PathBuf,
    /// Run each piece between lines // ----- by itself
    #[arg(long)]
    split_input_file: bool,
    /// Compare diagnostics with expected-error, -warning, -remark and -note comments; print no module
    #[arg(long)]
    verify_diagnostics: bool,
    #[command(flatten)]
    assumptions: AssumptionArguments,
    /// Print the IR to standard error after each pass
    #[arg(long)]
    mlir_print_ir_after_all: bool,
    /// Print a table of times to standard error
    #[arg(long)]
    mlir_timing: bool,
    /// Accept operations of dialects that are not registered
    #[arg(long)]
    allow_unregistered_dialect: bool,
    /// The architecture or device whose limits count, for the passes of alcop [default: sm_80]
    #[arg(long)]
    target: Option<String>,
}

/// Options of `alcop opt` that no option of the command has are passes: `--cse` becomes `--pass=cse`, and
/// `--alcop-plan=shared-stages=4` becomes `--pass=alcop-plan=shared-stages=4`. One dash is as good as two, as in
/// `mlir-opt`.
pub fn with_pass_flags(command: &clap::Command, line: Vec<OsString>) -> Vec<OsString> {
    if line.get(1).is_none_or(|word| word != "opt") {
        return line;
    }
    let known: Vec<&str> = command
        .find_subcommand("opt")
        .into_iter()
        .flat_map(|opt| opt.get_arguments().filter_map(|argument| argument.get_long()))
        .chain(["help", "version"])
        .collect();
    let convert = |(position, word): (usize, OsString)| {
        let Some(text) = word.to_str().filter(|_| position > 1) else {
            return word;
        };
        let Some(name) = text.strip_prefix("--").or_else(|| text.strip_prefix('-')) else {
            return word;
        };
        let long = name.split('=').next().unwrap_or(name);
        if long.chars().count() < 2 {
            return word;
        }
        match known.contains(&long) {
            true => format!("--{name}").into(),
            false => format!("--pass={name}").into(),
        }
    };
    line.into_iter().enumerate().map(convert).collect()
}

/// How one piece ended, worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Status {
    Done,
    Refused,
    Unparsed,
    Bug,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let target = GpuTarget::resolve(arguments.target.as_deref().unwrap_or("sm_80")).map_err(Failure::usage)?;
    let pipeline = pipeline(arguments)?;
    if arguments.target.is_some() && !pipeline.elements.iter().any(opt::holds_ours) {
        return Err(Failure::without_effect("--target", "without a pass of alcop"));
    }
    let assumes = pipeline.elements.iter().any(opt::holds_ours);
    if let Some(option) = arguments.assumptions.given().filter(|_| !assumes) {
        return Err(Failure::without_effect(option, "without a pass of alcop"));
    }
    let settings = Settings {
        architecture: target.arch.name().to_owned(),
        shared_bytes_per_block: u64::from(target.limits.shared_bytes_per_block),
        assumptions: arguments.assumptions.assumptions(),
        print_ir_after_all: arguments.mlir_print_ir_after_all,
        timing: arguments.mlir_timing,
    };
    output::check_clashes(&[(&arguments.output, "the output")], &[(&arguments.file, "the input")])?;
    let source = output::read(&arguments.file)?;
    let name = match arguments.file == Path::new("-") {
        true => "<stdin>".to_owned(),
        false => arguments.file.display().to_string(),
    };
    let context = Context::new();
    context.allow_unregistered_dialects(arguments.allow_unregistered_dialect);
    opt::check(&Module::empty(&context, unknown(&context)), &pipeline, &settings).map_err(Failure::usage)?;
    let pieces = match arguments.split_input_file {
        true => pieces(&source),
        false => vec![source.clone()],
    };
    let mut status = Status::Done;
    let mut printed = Vec::new();
    let mut messages = String::new();
    for piece in &pieces {
        let (ended, text) = run_piece(&context, piece, &name, &pipeline, &settings)?;
        let diagnostics = context.take_diagnostics();
        if arguments.verify_diagnostics {
            let expected = expectations(piece).map_err(|error| Failure::usage(format!("{name}: {error}")))?;
            let different = differences(&name, &expected, &diagnostics);
            print(&mut messages, &different, &name, &source);
            if !different.is_empty() {
                status = status.max(Status::Refused);
            }
            continue;
        }
        status = status.max(ended);
        print(&mut messages, &diagnostics, &name, &source);
        printed.extend(text);
    }
    output::say(&messages);
    if !arguments.verify_diagnostics && (!printed.is_empty() || status == Status::Done) {
        output::write(&arguments.output, &printed.join("// -----\n"))?;
    }
    match status {
        Status::Done => Ok(()),
        Status::Refused if arguments.verify_diagnostics => Err(Failure::refused(format!(
            "{name}: the diagnostics are not those that are expected"
        ))),
        Status::Refused => Err(Failure::refused(format!("{name}: a pass refused or failed"))),
        Status::Unparsed => Err(Failure::usage(format!("{name} does not parse or verify"))),
        Status::Bug => Err(Failure::bug(format!(
            "{name}: a pass broke an invariant; please report it"
        ))),
    }
}

fn unknown(context: &Context) -> alcop_compiler::ir::Location<'_> {
    alcop_compiler::ir::Location::unknown(context)
}

/// One piece from text to text. What a pass of ours refused comes out as it was before that pass; what a pass of
/// upstream failed on does not come out.
fn run_piece(
    context: &Context,
    piece: &str,
    name: &str,
    pipeline: &Pipeline,
    settings: &Settings,
) -> Result<(Status, Option<String>), Failure> {
    let mut module = match context.parse(piece, name) {
        Ok(module) => module,
        Err(error) => {
            error.diagnostics.into_iter().for_each(|one| context.report(one));
            return Ok((Status::Unparsed, None));
        }
    };
    let outcome = opt::run(&mut module, pipeline, settings).map_err(Failure::usage)?;
    let text = format!("{}\n", module.to_string().trim_end());
    Ok(match outcome {
        Outcome::Done => (Status::Done, Some(text)),
        Outcome::Refused => (Status::Refused, Some(text)),
        Outcome::Failed => (Status::Refused, None),
        Outcome::Bug => (Status::Bug, None),
    })
}

fn print(out: &mut String, diagnostics: &[Diagnostic], name: &str, source: &str) {
    for diagnostic in diagnostics {
        write!(out, "{}", render(diagnostic, name, source)).expect("a string takes all");
    }
}

fn pipeline(arguments: &Arguments) -> Result<Pipeline, Failure> {
    match (&arguments.pass_pipeline, &arguments.passes[..]) {
        (Some(text), []) => pipeline_text::parse(text).map_err(Failure::usage),
        (Some(_), [first, ..]) => Err(Failure::usage(format!(
            "--{first}: passes as options and --pass-pipeline exclude each other; is the option misspelt?"
        ))),
        (None, passes) => Ok(Pipeline {
            anchor: "builtin.module".to_owned(),
            elements: passes.iter().map(|pass| element(pass)).collect(),
        }),
    }
}

/// `name` or `name=options`; the options may stand in braces, as in a pipeline.
fn element(pass: &str) -> Element {
    let (name, options) = match pass.split_once('=') {
        Some((name, options)) => (name, Some(options)),
        None => (pass, None),
    };
    let bare = |options: &str| {
        let inner = options.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
        inner.unwrap_or(options).to_owned()
    };
    Element::Pass {
        name: name.to_owned(),
        options: options.map(bare),
    }
}

/// The pieces of a file, each below as many empty lines as stand before it, so that its lines keep their numbers.
fn pieces(source: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for (number, line) in source.lines().enumerate() {
        if line.trim_end() == SPLIT {
            pieces.push("\n".repeat(number + 1));
            continue;
        }
        let piece = pieces.last_mut().expect("never empty");
        piece.push_str(line);
        piece.push('\n');
    }
    pieces
}
