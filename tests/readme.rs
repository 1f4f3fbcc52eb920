//! What the documents say: the README's commands run, in a folder with the repository's examples, and answer what it quotes.
//!
//! ```console
//! $ alcop compile --op … --register-stages 4           the command, and its exit code (1 where it quotes a refusal)
//! alcop: register depth 4 exceeds …                    the answer, line by line; … stands for anything
//! ```
//!
//! Commands that search are made smaller ([`smaller`]); of their answers the words are compared, not the numbers.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::{alcop, stdout};

const DOCUMENTS: [&str; 6] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "docs/emulator.md",
    "docs/plan.md",
    "docs/upstream-pipelining.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The blocks of code of one language in a document, each with the number of its first line.
fn blocks(document: &str, language: &str) -> Vec<(usize, Vec<String>)> {
    let fence = format!("```{language}");
    let mut blocks = Vec::new();
    let mut inside: Option<(usize, Vec<String>)> = None;
    for (number, line) in (1..).zip(document.lines()) {
        match &mut inside {
            Some(_) if line == "```" => blocks.extend(inside.take()),
            Some((_, lines)) => lines.push(line.to_owned()),
            None if line == fence => inside = Some((number + 1, Vec::new())),
            None => {}
        }
    }
    blocks
}

/// A command as a document shows it, and what it shows of its answer.
struct Shown {
    line: usize,
    command: String,
    answer: Vec<String>,
}

fn commands(document: &str) -> Vec<Shown> {
    let mut commands: Vec<Shown> = Vec::new();
    for (first, lines) in blocks(document, "console") {
        for (line, text) in (first..).zip(lines) {
            match (text.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push(Shown {
                    line,
                    command: command.to_owned(),
                    answer: Vec::new(),
                }),
                (None, Some(last)) if last.line >= first => last.answer.push(text),
                // The end of `make tune`, which has a test of its own.
                (None, _) => {}
            }
        }
    }
    commands
}

/// The arguments of the README's operator, and what stands for it where a search would take long.
const OPERATOR: [&str; 2] = ["--m 512 --n 768 --k 3072", "--m 64 --n 64 --k 64"];

/// A search as a test can make it: a small operator, a few trials, and as much time for each as it likes on a busy machine.
/// Where a document leaves the operator out (`alcop tune …`), it is put in.
fn smaller(command: &str) -> String {
    let mut command = command.split(" # ").next().unwrap_or_default().trim().to_owned();
    if !command.starts_with("alcop tune ") {
        return command;
    }
    command = command.replace('…', &format!("--op matmul {} --out out", OPERATOR[0]));
    command = command.replace(OPERATOR[0], OPERATOR[1]);
    let mut words: Vec<String> = command
        .split(' ')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    for (option, value) in [
        ("--trials", "2"),
        ("--seconds", "1000000"),
        ("--compile-timeout", "1000000"),
        ("--run-timeout", "1000000"),
        ("--queue-timeout", "1000000"),
    ] {
        match words.iter().position(|word| word == option) {
            Some(at) => words[at + 1] = value.to_owned(),
            None => words.extend([option.to_owned(), value.to_owned()]),
        }
    }
    // One more than the search that it goes on with.
    if words.iter().any(|word| word == "--resume") {
        let at = words.iter().position(|word| word == "--trials").expect("given above");
        words[at + 1] = "3".to_owned();
    }
    words.join(" ")
}

/// A folder with the repository's examples, in which commands run as in a checkout.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = tempfile::tempdir().expect("a folder");
        let examples = folder.path().join("examples");
        fs::create_dir(&examples).expect("a folder");
        for entry in fs::read_dir(root().join("examples")).expect("there") {
            let path = entry.expect("an entry").path();
            fs::copy(&path, examples.join(path.file_name().expect("a name"))).expect("copied");
        }
        Folder(folder)
    }

    /// What a shell makes of a command: exit code, standard output and standard error, one behind the other.
    fn run(&self, command: &str) -> (Option<i32>, String) {
        let program = Path::new(env!("CARGO_BIN_EXE_alcop")).parent().expect("a folder");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(program.to_owned()).chain(std::env::split_paths(&path));
        let output = Command::new("sh")
            .args(["-c", command])
            .current_dir(self.0.path())
            .env("PATH", std::env::join_paths(folders).expect("no colons"))
            .env("HOME", self.0.path())
            .env_remove("ALCOP_CACHE")
            .output()
            .expect("sh is there");
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text.into_owned())
    }
}

/// Whether a line is what is shown, where `…` stands for anything.
fn fits(line: &str, shown: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in between {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// A line with one `0` for each number.
fn without_numbers(line: &str) -> String {
    let mut kept = String::new();
    for character in line.chars() {
        match character {
            '0'..='9' if kept.ends_with('0') => {}
            '0'..='9' => kept.push('0'),
            other => kept.push(other),
        }
    }
    kept
}

/// What is shown of an answer stands in it, in order; lines of `…` alone stand for any.
fn check_answer(said: &str, shown: &[String], exact: bool) -> Result<(), String> {
    let mut lines = said.lines();
    for expected in shown.iter().filter(|line| line.trim() != "…") {
        let fits = |line: &str| match exact {
            true => fits(line, expected),
            false => fits(&without_numbers(line), &without_numbers(expected)),
        };
        if !lines.any(fits) {
            return Err(format!("is not said, or not in this place: {expected}\nsaid:\n{said}"));
        }
    }
    Ok(())
}

#[test]
fn answers_are_compared_line_by_line() {
    let shown = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let said = "one 1\ntwo 22\nthree";
    assert!(check_answer(said, &shown(&["one 1", "  …", "three"]), true).is_ok());
    assert!(check_answer(said, &shown(&["t… 22"]), true).is_ok());
    assert!(
        check_answer(said, &shown(&["three", "one 1"]), true).is_err(),
        "in order"
    );
    assert!(check_answer(said, &shown(&["two 23"]), true).is_err());
    assert!(check_answer(said, &shown(&["two 345", "three"]), false).is_ok());
    assert!(
        check_answer(said, &shown(&["two", "three"]), false).is_err(),
        "a whole line"
    );
}

/// All of them, one after the other: later ones use what earlier ones wrote.
#[test]
fn the_readmes_commands_do_what_it_says() {
    let folder = Folder::new();
    // The search of another operator, to learn from.
    let other = smaller("alcop tune --op matmul --m 96 --n 64 --k 64 --target a100 --out other");
    assert_eq!(folder.run(&other).0, Some(0));
    let commands = commands(&text("README.md"));
    let ours: Vec<&Shown> = commands
        .iter()
        .filter(|shown| shown.command.starts_with("alcop "))
        .collect();
    assert!(ours.len() > 15, "{} commands", ours.len());
    for Shown { line, command, answer } in ours {
        let run = smaller(command);
        let (code, said) = folder.run(&run);
        let refused = answer.iter().any(|line| line.starts_with("alcop: "));
        assert_eq!(code, Some(i32::from(refused)), "README.md:{line}: {run}\n{said}");
        // What runs what a search found has the search's numbers.
        let exact = !run.contains("out/");
        check_answer(&said, answer, exact).unwrap_or_else(|error| panic!("README.md:{line}: {run}: {error}"));
    }
}

/// The table that `make tune` ends with: of a smaller search the same lines, with other numbers in them.
#[test]
fn a_search_ends_with_the_readmes_lines() {
    let readme = text("README.md");
    let shown = blocks(&readme, "console");
    let (_, shown) = shown
        .iter()
        .find(|(_, lines)| lines[0].starts_with("matmul "))
        .expect("what make tune ends with");
    let tune = smaller("alcop tune --op matmul --m 512 --n 768 --k 3072 --target a100 --out out");
    let (code, said) = Folder::new().run(&tune);
    assert_eq!(code, Some(0), "{said}");
    let answer: Vec<&str> = said
        .lines()
        .skip_while(|line| !line.starts_with("matmul nn 64"))
        .collect();
    let label = |line: &str| line.chars().take(16).collect::<String>();
    // Words that a schedule may have or not.
    let of_schedule = ["split-k", "raster"];
    let words = |line: &str| -> Vec<String> {
        let rest: String = line.chars().skip(16).collect();
        let words = rest
            .split(' ')
            .filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
        words
            .filter(|word| !of_schedule.contains(word))
            .map(str::to_owned)
            .collect()
    };
    let form = |lines: &[&str]| -> Vec<(String, Vec<String>)> {
        lines.iter().map(|line| (label(line), words(line))).collect()
    };
    let shown: Vec<&str> = shown[1..].iter().map(String::as_str).collect();
    assert_eq!(form(&answer[1..=shown.len()]), form(&shown), "{said}");
}

/// Spans of code in a document's running text.
fn spans(document: &str) -> Vec<String> {
    let mut prose = String::new();
    let mut inside = false;
    for line in document.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside {
            prose += line;
            prose += " ";
        }
    }
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Every command in the documents' blocks and running text, without its comment.
fn mentioned() -> Vec<(&'static str, String)> {
    let mut mentioned = Vec::new();
    for document in DOCUMENTS {
        let text = text(document);
        let shown = commands(&text).into_iter().map(|shown| shown.command);
        for command in shown.chain(spans(&text)) {
            let command = command.split(" # ").next().unwrap_or_default().trim().to_owned();
            mentioned.push((document, command));
        }
    }
    mentioned
}

#[test]
fn every_make_target_and_variable_in_the_documents_is_there() {
    let makefile = text("Makefile");
    let defined = |start: String| makefile.lines().any(|line| line.starts_with(&start));
    let mut checked = BTreeSet::new();
    for (document, command) in mentioned() {
        let Some(rest) = command.strip_prefix("make ") else {
            continue;
        };
        for word in rest.split_whitespace() {
            let there = match word.split_once('=') {
                Some((variable, _)) => defined(format!("{variable} =")) || makefile.contains(&format!("$({variable})")),
                None => defined(format!("{word}:")),
            };
            assert!(there, "{document}: `{command}`: {word} is not in the Makefile");
            checked.insert(word.to_owned());
        }
    }
    assert!(checked.contains("gpu-pack") && checked.contains("tune"), "{checked:?}");
}

#[test]
fn every_subcommand_and_option_in_the_documents_is_there() {
    let help = stdout(&alcop(&["--help"]));
    let subcommands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // A long description goes on below itself.
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with(' ')))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(subcommands.contains(&"tune"), "{subcommands:?}");
    let mut options: BTreeSet<String> = BTreeSet::new();
    for subcommand in subcommands.iter().filter(|name| **name != "help") {
        let nested: &[&str] = match *subcommand {
            "bench" => &["search"],
            "journal" => &["best", "replay", "diff", "merge", "validate"],
            _ => &[],
        };
        let mut names: Vec<Vec<&str>> = nested.iter().map(|name| vec![*subcommand, *name]).collect();
        if names.is_empty() {
            names.push(vec![*subcommand]);
        }
        for name in names {
            let help = stdout(&alcop(&[&name[..], &["--help"]].concat()));
            let words = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
            for word in words {
                match word.strip_prefix("alcop-") {
                    // A pass may be given as an option.
                    Some(_) => options.insert(format!("--{word}")),
                    None => word.starts_with("--") && options.insert(word.to_owned()),
                };
            }
        }
    }
    // The words of cargo's and the tests' own commands are not ours.
    for (document, span) in mentioned() {
        if let Some(rest) = span.strip_prefix("alcop ") {
            let subcommand = rest.split([' ', '|']).next().unwrap_or_default();
            let planned = document == "ARCHITECTURE.md" && subcommand == "trace";
            // What people do not type is not listed.
            let there = || alcop(&[subcommand, "--help"]).status.success();
            assert!(
                planned || subcommands.contains(&subcommand) || there(),
                "{document}: `{span}`: there is no alcop {subcommand}"
            );
        }
        if span.starts_with("alcop ") || span.starts_with("--") {
            for option in span.split(' ').filter(|word| word.starts_with("--")) {
                let name = option.split('=').next().unwrap_or_default();
                // Options of MLIR's own, of `alcop opt`.
                let upstream = ["--mlir-print-ir-after-all", "--mlir-timing"].contains(&name);
                assert!(
                    upstream || options.contains(name),
                    "{document}: `{span}`: there is no option {name}"
                );
            }
        }
    }
}

#[test]
fn links_and_paths_in_the_documents_lead_somewhere() {
    let mut links = 0;
    for document in DOCUMENTS {
        let here = root().join(document).parent().expect("a folder").to_owned();
        let text = text(document);
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap_or_default();
            let path = target.split('#').next().unwrap_or_default();
            if path.is_empty() || path.contains("://") {
                continue;
            }
            assert!(here.join(path).exists(), "{document}: {target}");
            links += 1;
        }
        // Paths from the root, as spans write them.
        for span in spans(&text) {
            let folders = [
                "tests/",
                "examples/",
                "docs/",
                "scripts/",
                "benches/",
                "passes/src/",
                "search/examples/",
            ];
            let is_path = folders.iter().any(|folder| span.starts_with(folder)) && !span.contains([' ', '*', '…']);
            // What a recipe creates.
            let example = span == "passes/src/fold_barriers.rs";
            // The emulator's document says so of its tests.
            let there = [root().to_owned(), root().join("runtime/src/emulator")]
                .iter()
                .any(|folder| folder.join(&span).exists());
            assert!(!is_path || example || there, "{document}: `{span}`");
        }
    }
    assert!(links > 5, "{links} links");
}

#[test]
fn the_plan_in_its_document_is_the_one_that_is_made() {
    let document = text("docs/plan.md");
    let (_, shown) = blocks(&document, "json").pop().expect("a plan");
    let file = root().join("tests/filetests/pipeline/persistent.mlir");
    let made = stdout(&alcop(&["compile", file.to_str().expect("UTF-8"), "--emit", "plan"]));
    let json = |text: &str| -> serde_json::Value { serde_json::from_str(text).expect("JSON") };
    assert_eq!(json(&shown.join("\n")), json(&made));
}

/// All source files below a folder, one behind the other.
fn sources(folder: &Path) -> String {
    let mut all = String::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            all += &sources(&path);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all += &fs::read_to_string(&path).expect("UTF-8");
        }
    }
    all
}

/// The last column of its tables names them.
#[test]
fn the_tests_that_the_emulators_document_names_are_there() {
    let sources = sources(&root().join("runtime"));
    let is_name = |span: &String| {
        let small = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        span.chars().all(small) && span.matches('_').count() > 1
    };
    let names: BTreeSet<String> = spans(&text("docs/emulator.md")).into_iter().filter(is_name).collect();
    assert!(names.len() > 20, "{}", names.len());
    for name in names {
        assert!(sources.contains(&format!("fn {name}(")), "there is no test {name}");
    }
}

/// The lines of Rust that the README shows stand in the example that it names.
#[test]
fn the_readmes_rust_is_that_of_an_example() {
    let example = text("examples/matmul.rs");
    let readme = text("README.md");
    let shown = blocks(&readme, "rust");
    assert!(!shown.is_empty());
    for (line, code) in shown.iter().flat_map(|(first, lines)| (*first..).zip(lines)) {
        let used = code.replace("alcop::", "");
        assert!(example.contains(used.trim()), "README.md:{line}: {code}");
    }
}
