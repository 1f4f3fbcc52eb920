//! The dependency directions of the workspace, held over `cargo metadata` and `cargo tree`; and that every `make` target
//! that a document names is there.
//!
//! ```text
//! spec <- compiler <- passes <- search <- alcop        every arrow also skips: alcop knows all six
//! spec, system <- runtime <---- search
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Crates that bring LLVM or MLIR in, directly or as what others of the list build on.
const LLVM_CRATES: [&str; 5] = ["inkwell", "llvm-sys", "melior", "mlir-sys", "tblgen"];

#[test]
fn workspace_crates_depend_one_way() {
    let allowed: [(&str, &[&str]); 8] = [
        ("alcop-spec", &[]),
        ("alcop-system", &[]),
        ("alcop-compiler", &["alcop-spec"]),
        // The baseline of the tests shares no code with the passes.
        ("alcop-plain", &["alcop-spec", "alcop-compiler"]),
        ("alcop-runtime", &["alcop-spec", "alcop-system"]),
        ("alcop-passes", &["alcop-spec", "alcop-compiler"]),
        (
            "alcop-search",
            &[
                "alcop-spec",
                "alcop-system",
                "alcop-compiler",
                "alcop-passes",
                "alcop-runtime",
            ],
        ),
        (
            "alcop",
            &[
                "alcop-spec",
                "alcop-system",
                "alcop-compiler",
                "alcop-passes",
                "alcop-runtime",
                "alcop-search",
                "alcop-plain",
            ],
        ),
    ];
    let graph = Graph::of_workspace();
    assert_eq!(
        graph.members,
        allowed.iter().map(|(member, _)| member.to_string()).collect(),
        "the members of the workspace; a new one needs a row in this test"
    );
    for (member, may_know) in allowed {
        for known in graph.members.intersection(graph.direct(member)) {
            assert!(
                may_know.contains(&known.as_str()),
                "{member} must not depend on {known}"
            );
        }
    }
}

#[test]
fn spec_and_runtime_need_no_llvm() {
    let graph = Graph::of_workspace();
    for member in ["alcop-spec", "alcop-system", "alcop-runtime"] {
        let reached = graph.reachable(member);
        for llvm in LLVM_CRATES {
            assert!(!reached.contains(llvm), "{member} must not depend on {llvm}");
        }
    }
    // The walk does find what there is to find.
    let reached = graph.reachable("alcop-passes");
    for llvm in ["inkwell", "llvm-sys", "melior", "mlir-sys"] {
        assert!(
            reached.contains(llvm),
            "alcop-passes no longer reaches {llvm}: update LLVM_CRATES"
        );
    }
}

#[test]
fn only_passes_and_the_baseline_use_inkwell_and_only_they_and_the_compiler_use_mlir() {
    let graph = Graph::of_workspace();
    assert_eq!(graph.members_that_use("inkwell"), ["alcop-passes", "alcop-plain"]);
    assert_eq!(graph.members_that_use("melior"), ["alcop-compiler", "alcop-passes"]);
    assert_eq!(
        graph.members_that_use("mlir-sys"),
        ["alcop-compiler", "alcop-passes", "alcop-plain"]
    );
}

#[test]
fn search_without_compile_needs_no_llvm() {
    // `cargo metadata` unifies the features of all members, so the tree of the one package is asked for.
    let bare = packages_in_tree(&["-p", "alcop-search", "--no-default-features"]);
    assert!(bare.contains("alcop-spec"), "not a tree of alcop-search: {bare:?}");
    for llvm in LLVM_CRATES.into_iter().chain(["alcop-compiler", "alcop-passes"]) {
        assert!(
            !bare.contains(llvm),
            "alcop-search without `compile` must not depend on {llvm}"
        );
    }
    let full = packages_in_tree(&["-p", "alcop-search"]);
    assert!(
        full.contains("mlir-sys"),
        "alcop-search with `compile` no longer reaches mlir-sys"
    );
}

#[test]
fn every_make_target_that_is_named_exists() {
    let makefile = document("Makefile");
    let rules: BTreeSet<&str> = makefile
        .lines()
        .filter(|line| !line.starts_with(['\t', '.', '#']))
        .filter_map(|line| line.split_once(':'))
        .map(|(target, _)| target)
        .filter(|target| target.chars().all(is_target_character))
        .collect();
    let phony: BTreeSet<&str> = makefile
        .lines()
        .filter_map(|line| line.strip_prefix(".PHONY:"))
        .flat_map(str::split_whitespace)
        .collect();
    assert_eq!(rules, phony, "the rules of the Makefile and its list of phony targets");

    let mut named = 0;
    for path in [
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/plan.md",
    ] {
        let text = document(path);
        for mention in text
            .split(['`', '\n'])
            .filter_map(|code| code.trim_start_matches("$ ").strip_prefix("make "))
        {
            let target = mention
                .split(|character| !is_target_character(character))
                .next()
                .unwrap_or_default();
            if !target.is_empty() {
                assert!(
                    rules.contains(target),
                    "{path} names `make {target}`, which the Makefile lacks"
                );
                named += 1;
            }
        }
    }
    assert!(named > 10, "only {named} mentions of make targets were found");
}

fn is_target_character(character: char) -> bool {
    character.is_ascii_lowercase() || character == '-'
}

/// A text file of the repository, by its path from the root.
fn document(path: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The resolved packages of the workspace by name: normal, build and development dependencies of each.
struct Graph {
    members: BTreeSet<String>,
    edges: BTreeMap<String, BTreeSet<String>>,
}

impl Graph {
    fn of_workspace() -> Self {
        let output = cargo(&["metadata", "--locked", "--format-version", "1"]);
        let metadata: Value = serde_json::from_str(&output).expect("cargo metadata prints JSON");
        let names: BTreeMap<&str, &str> = list(&metadata["packages"])
            .iter()
            .map(|package| (text(&package["id"]), text(&package["name"])))
            .collect();
        let members = list(&metadata["workspace_members"])
            .iter()
            .map(|member| names[text(member)].to_owned())
            .collect();
        // Two versions of a package share a node: what one of them reaches counts for both.
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for node in list(&metadata["resolve"]["nodes"]) {
            let dependencies = list(&node["deps"])
                .iter()
                .map(|dependency| names[text(&dependency["pkg"])].to_owned());
            edges
                .entry(names[text(&node["id"])].to_owned())
                .or_default()
                .extend(dependencies);
        }
        Self { members, edges }
    }

    fn direct(&self, package: &str) -> &BTreeSet<String> {
        self.edges
            .get(package)
            .unwrap_or_else(|| panic!("cargo metadata does not list {package}"))
    }

    fn reachable<'graph>(&'graph self, package: &'graph str) -> BTreeSet<&'graph str> {
        let mut reached = BTreeSet::new();
        let mut pending = vec![package];
        while let Some(next) = pending.pop() {
            if reached.insert(next) {
                pending.extend(self.direct(next).iter().map(String::as_str));
            }
        }
        reached
    }

    fn members_that_use(&self, package: &str) -> Vec<&str> {
        self.members
            .iter()
            .map(String::as_str)
            .filter(|member| self.direct(member).contains(package))
            .collect()
    }
}

/// Names of the packages that `cargo tree` lists for normal and build dependencies.
fn packages_in_tree(selection: &[&str]) -> BTreeSet<String> {
    let mut arguments = vec![
        "tree",
        "--locked",
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ];
    arguments.extend(selection);
    cargo(&arguments)
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

fn cargo(arguments: &[&str]) -> String {
    // Tests run in the directory of their package, which is the root of the workspace.
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program).args(arguments).output().expect("cargo starts");
    assert!(
        output.status.success(),
        "cargo {} failed:\n{}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("not a list: {value}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}"))
}

/// What a file's `use` declarations take from a crate.
fn imported(text: &str, name: &str) -> BTreeSet<String> {
    let declarations = text
        .split(';')
        .filter_map(|part| part.split_once(&format!("use {name}::")));
    declarations
        .flat_map(|(_, path)| path.split(|c: char| !c.is_alphanumeric() && c != '_'))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The text of a folder's files, those of tests left out.
fn sources(folder: std::path::PathBuf) -> String {
    let mut text = String::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.ends_with("tests.rs") => {}
                false => text += &std::fs::read_to_string(path).expect("a source file"),
            }
        }
    }
    text
}

/// The analytic model is judged by the simulator, so that neither may know the other, and both together only what a device
/// is: its constants and how many blocks fit.
#[test]
fn the_model_and_the_simulator_share_only_the_device() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let (model, simulator) = (
        sources(root.join("search/src/cost_model")),
        sources(root.join("runtime/src/timing")),
    );
    assert!(model.contains("struct Model") && simulator.contains("struct SimDevice"));
    for foreign in ["alcop_runtime", "alcop_compiler", "alcop_passes", "crate::"] {
        assert!(!model.contains(&format!("use {foreign}")), "the model uses {foreign}");
    }
    for foreign in ["cost_model", "Overheads", "overheads()", "TileSchedule", "OpSpec"] {
        assert!(
            !imported(&simulator, "alcop_spec").contains(foreign),
            "the simulator uses {foreign}"
        );
        assert!(
            !simulator.contains(&format!("::{foreign}")),
            "the simulator uses {foreign}"
        );
    }
    let shared: BTreeSet<String> = &imported(&model, "alcop_spec") & &imported(&simulator, "alcop_spec");
    let device = [
        "GpuTarget",
        "Limiter",
        "Limits",
        "Occupancy",
        "Rates",
        "TargetError",
        "occupancy",
    ];
    assert!(shared.contains("Rates"), "{shared:?}");
    let other: Vec<&String> = shared.iter().filter(|name| !device.contains(&name.as_str())).collect();
    assert!(other.is_empty(), "both use {other:?}");
}

#[test]
fn every_test_file_belongs_to_the_suite() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let suite = std::fs::read_to_string(root.join("suite.rs")).expect("readable");
    let listed: BTreeSet<&str> = suite
        .lines()
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    let entries = std::fs::read_dir(&root).expect("the folder of tests");
    for path in entries.map(|entry| entry.expect("an entry").path()) {
        let is_rust = path.extension().is_some_and(|extension| extension == "rs");
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        if (is_rust && name != "suite") || path.join("mod.rs").exists() {
            assert!(
                listed.contains(name),
                "tests/suite.rs has no `mod {name};`, so that its tests never run"
            );
        }
    }
}
