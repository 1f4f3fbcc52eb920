//! `alcop explain` on files: what programs and people read, several files and kernels, and bad input.

use std::path::{Path, PathBuf};

use crate::common::{alcop, expect, stdout};
use serde_json::Value;

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/filetests/detect")
        .join(name);
    path.display().to_string()
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&stdout(&alcop(arguments))).expect("JSON")
}

/// Every file test, as the contract says: each buffer and loop has its fields, and a rejection its reasons.
#[test]
fn every_entry_has_the_fields_of_the_contract() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests/detect");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of file tests")
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    let places: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    let mut arguments = vec!["explain", "--json", "--allow-unregistered-dialect"];
    arguments.extend(places.iter().map(String::as_str));
    let document = json(&arguments);
    assert_eq!(document["schema"], 1);
    let kernels = document["kernels"].as_array().expect("a list");
    assert!(kernels.len() >= places.len(), "{} kernels", kernels.len());
    let mut buffers = 0;
    for kernel in kernels {
        assert!(kernel["name"].is_string());
        for buffer in kernel["buffers"].as_array().expect("a list") {
            buffers += 1;
            let kind = buffer["id"]["kind"].as_str().expect("a kind");
            let named = match kind {
                "workgroup_attribution" | "private_attribution" | "func_arg" => buffer["id"]["position"].is_u64(),
                "op_result" => buffer["id"]["op"].is_string() && buffer["id"]["index"].is_u64(),
                "global" => buffer["id"]["symbol"].is_string(),
                _ => false,
            };
            assert!(named, "{buffer}");
            assert!(
                buffer["location"]
                    .as_str()
                    .is_some_and(|place| place.contains(".mlir:")),
                "{buffer}"
            );
            assert!(buffer["type"].is_string() && buffer["bytes"].is_u64(), "{buffer}");
            assert!(["shared", "register"].contains(&buffer["level"].as_str().expect("a level")));
            let in_other_loop = buffer["loop"].is_null() && buffer.get("loop_op").is_some_and(Value::is_string);
            let reasons = buffer["reasons"].as_array().expect("a list");
            match buffer["verdict"].as_str().expect("a verdict") {
                "rejected" => assert!(!reasons.is_empty(), "{buffer}"),
                "pipelinable" => {
                    assert!(reasons.is_empty() && buffer["loop"].is_u64(), "{buffer}");
                    assert!(
                        buffer["max_depth"]
                            .as_u64()
                            .is_some_and(|depth| (2..=32).contains(&depth)),
                        "{buffer}"
                    );
                    if buffer["level"] == "shared" {
                        assert!(
                            [4, 8, 16].contains(&buffer["async_bytes"].as_u64().expect("a width")),
                            "{buffer}"
                        );
                        assert!(buffer["group"].is_u64(), "{buffer}");
                    }
                }
                "after-sinking" => assert!(reasons.is_empty() && !in_other_loop, "{buffer}"),
                other => panic!("verdict {other}"),
            }
            for reason in reasons {
                assert!(reason["code"].is_string() && reason["message"].is_string() && reason["location"].is_string());
            }
        }
        for one in kernel["loops"].as_array().expect("a list") {
            assert!(one["index"].is_u64() || one["loop_op"].is_string(), "{one}");
            assert!(one["location"].is_string() && one["verdict"].is_string() && one["reasons"].is_array());
        }
    }
    assert!(buffers > 250, "{buffers} entries");
}

#[test]
fn several_files_and_kernels_come_in_their_order() {
    let (two, basic) = (file("two_kernels.mlir"), file("basic.mlir"));
    let document = json(&["explain", "--json", &two, &basic]);
    let kernels = document["kernels"].as_array().expect("a list");
    let files: Vec<bool> = kernels
        .iter()
        .map(|kernel| {
            kernel["loops"][0]["location"]
                .as_str()
                .expect("a place")
                .contains("two_kernels")
        })
        .collect();
    assert_eq!(files, [true, true, false]);
    let text = stdout(&alcop(&["explain", &two, &basic]));
    assert_eq!(
        text.matches("\n  level ").count() + usize::from(text.starts_with("  level")),
        3,
        "{text}"
    );
}

/// A table for people, then remarks as a compiler prints them.
#[test]
fn text_is_a_table_and_remarks() {
    let place = file("read_before_write.mlir");
    let text = stdout(&alcop(&["explain", &place]));
    let (table, remarks) = text.split_once("\n\n").expect("an empty line between them");
    assert!(
        table.contains("kernel k, block 32x1x1") && table.contains("[read-before-write] at"),
        "{table}"
    );
    assert!(!remarks.is_empty());
    for line in remarks.lines() {
        let rest = line
            .strip_prefix(&format!("{place}:"))
            .unwrap_or_else(|| panic!("{line}"));
        let mut parts = rest.splitn(3, ':');
        let number = |part: Option<&str>| part.is_some_and(|part| part.parse::<u32>().is_ok());
        assert!(number(parts.next()) && number(parts.next()), "{line}");
        assert!(parts.next().is_some_and(|rest| rest.starts_with(" remark: ")), "{line}");
    }
}

#[test]
fn the_input_is_not_touched() {
    let place = file("basic.mlir");
    let before = std::fs::read(&place).expect("readable");
    stdout(&alcop(&["explain", &place]));
    assert_eq!(std::fs::read(&place).expect("readable"), before);
}

#[test]
fn bad_input_exits_with_2_and_says_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("k.mlir");
    let place = path.to_str().expect("UTF-8");
    for (text, message) in [
        (
            "func.func @f() {\n  %x = arith.addi %y, %y : index\n}\n",
            "k.mlir:2:19: error: use of undeclared",
        ),
        (
            "func.func @f(%a: i32) -> f32 {\n  return %a : i32\n}\n",
            "k.mlir:2:3: error: type of return operand 0",
        ),
        (
            "func.func @f() { return }\nfunc.func @g() {\n  foo\n}\n",
            "k.mlir:3:3: error: custom op 'foo' is unknown",
        ),
        (
            "\"their.op\"() : () -> ()\n",
            "k.mlir:1:11: error: operation being parsed with an unregistered dialect",
        ),
    ] {
        std::fs::write(&path, text).expect("written");
        let output = alcop(&["explain", place]);
        expect(&output, 2, message);
        assert!(output.stdout.is_empty());
    }
    std::fs::write(&path, [0xff, 0xfe, 0x00]).expect("written");
    expect(&alcop(&["explain", place]), 2, "UTF-8");
    std::fs::write(&path, "").expect("written");
    expect(&alcop(&["explain", place]), 0, "");
    expect(&alcop(&["explain", "/no/such/file.mlir"]), 2, "/no/such/file.mlir");
    expect(
        &alcop(&["explain", &file("basic.mlir"), "--block-size", "32,0,1"]),
        2,
        "--block-size",
    );
    expect(&alcop(&["explain", &file("basic.mlir"), "--target", "sm_1"]), 2, "sm_1");
}

#[test]
fn an_unregistered_operation_is_named_in_the_reason() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests/opt/unknown_in_loop.mlir");
    let place = place.display().to_string();
    expect(&alcop(&["explain", &place]), 2, "unregistered dialect");
    let document = json(&["explain", "--json", "--allow-unregistered-dialect", &place]);
    let buffer = &document["kernels"][0]["buffers"][0];
    assert_eq!(buffer["verdict"], "rejected");
    let named = |reason: &Value| {
        reason["code"] == "unknown-op"
            && reason["message"]
                .as_str()
                .is_some_and(|text| text.contains("their.copy"))
    };
    assert!(
        buffer["reasons"].as_array().expect("a list").iter().any(named),
        "{buffer}"
    );
}

/// Options say what the IR does not.
#[test]
fn block_size_and_noalias_may_be_given() {
    let verdict = |arguments: &[&str]| {
        let document = json(&[&["explain", "--json"], arguments].concat());
        document["kernels"][0]["buffers"][0]["verdict"]
            .as_str()
            .expect("a verdict")
            .to_owned()
    };
    let unknown = file("block_size_unknown.mlir");
    assert_eq!(verdict(&[&unknown]), "rejected");
    assert_eq!(verdict(&[&unknown, "--block-size", "32,1,1"]), "pipelinable");
    let alias = file("may_alias.mlir");
    assert_eq!(verdict(&[&alias]), "rejected");
    assert_eq!(verdict(&[&alias, "--assume-noalias"]), "pipelinable");
}
