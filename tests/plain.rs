//! Every kernel of the file tests, lowered as it is written and made by our passes: the same bits at each depth.
//!
//! ```text
//! tests/filetests/{detect,pipeline,plain,sinking}/*.mlir
//!   plain lowering, clean                   1/1, 2/1, 3/1, 3/2, 4/3 equal; 1/1 and the default depth compile
//!   plain lowering racy, undefined, none    listed in common/excluded.rs, with the reason
//!   not so yet                              listed in common/known.rs, with what is wrong
//! ```
//!
//! Both lists are asserted both ways: an entry that is no longer needed makes the test red. `ALCOP_LIST=1` prints the
//! lines to paste; `ALCOP_ONLY=text` takes the files whose names contain it, and prints all about them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::common::baseline::{Checked, DEPTHS, NoBaseline, check};
use crate::common::excluded::EXCLUDED;
use crate::common::known::KNOWN;
use rayon::prelude::*;

fn cases() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests");
    let mut cases = Vec::new();
    for folder in ["detect", "pipeline", "plain", "sinking"] {
        for entry in std::fs::read_dir(root.join(folder)).expect("the folder of file tests") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|extension| extension == "mlir") {
                let stem = path.file_stem().expect("a name").to_string_lossy();
                cases.push((format!("{folder}/{stem}"), path.clone()));
            }
        }
    }
    let only = std::env::var("ALCOP_ONLY").unwrap_or_default();
    cases.retain(|(name, _)| name.contains(&only));
    cases.sort();
    cases
}

fn check_all() -> Vec<Checked> {
    cases()
        .par_iter()
        .map(|(name, path)| {
            let text = std::fs::read_to_string(path).expect("readable");
            check(name, &text, &DEPTHS)
        })
        .collect()
}

#[test]
fn every_file_computes_what_its_plain_lowering_computes() {
    let all = check_all();
    if std::env::var_os("ALCOP_ONLY").is_some() {
        for checked in &all {
            println!("{}", checked.report());
        }
        return;
    }
    let mut wrong = Vec::new();
    let known: BTreeMap<&str, &str> = KNOWN.iter().map(|(name, faults, _)| (*name, *faults)).collect();
    let excluded: BTreeMap<&str, &str> = EXCLUDED.iter().map(|(name, class, _)| (*name, *class)).collect();
    assert_eq!(known.len(), KNOWN.len(), "a file stands twice in KNOWN");
    assert_eq!(excluded.len(), EXCLUDED.len(), "a file stands twice in EXCLUDED");
    for checked in &all {
        let name = checked.name.as_str();
        let class = checked.baseline.as_ref().err().map(NoBaseline::class);
        if excluded.get(name).copied() != class {
            wrong.push(format!(
                "EXCLUDED says {:?} of {name}, and it is {class:?}\n{}",
                excluded.get(name),
                checked.report()
            ));
            if let (Some(class), true) = (class, std::env::var_os("ALCOP_LIST").is_some()) {
                println!("    (\"{name}\", \"{class}\", \"\"),");
            }
        }
        let faults = checked.faults();
        let expected = known.get(name).copied().unwrap_or_default();
        if faults != expected {
            wrong.push(format!(
                "KNOWN says {expected:?} of {name}, and it is {faults:?}\n{}",
                checked.report()
            ));
            if !faults.is_empty() && std::env::var_os("ALCOP_LIST").is_some() {
                println!("    (\"{name}\", \"{faults}\", \"\"),");
            }
        }
    }
    let names: Vec<&str> = all.iter().map(|checked| checked.name.as_str()).collect();
    for listed in known.keys().chain(excluded.keys()) {
        assert!(names.contains(listed), "{listed} is listed, and there is no such file");
    }
    let clean = all.iter().filter(|checked| checked.baseline.is_ok()).count();
    let promised = all.iter().filter(|checked| checked.promised).count();
    let executed: usize = all.iter().map(|checked| checked.executed).sum();
    println!(
        "{} files: {clean} with a clean plain lowering, {} excluded, {promised} with a pipeline promised; {executed} \
         kernels of ours executed",
        all.len(),
        excluded.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    // Fewer would mean that the comparison has lost its kernels.
    assert!(
        clean >= 220 && promised >= 140 && executed >= 600,
        "{clean} {promised} {executed}"
    );
}
