//! `alcop journal`, `alcop predict` and `alcop bench search` as scripts call them.

use std::path::{Path, PathBuf};

use crate::common::{alcop, expect, stdout};
use serde_json::Value;

fn searched(directory: &Path, name: &str, m: &str, rest: &[&str]) -> PathBuf {
    let out = directory.join(name);
    let mut arguments = vec!["tune", "--op", "matmul", "--m", m, "--n", "64", "--k", "128", "--out"];
    arguments.push(out.to_str().expect("UTF-8"));
    arguments.extend(rest);
    stdout(&alcop(&arguments));
    out.join("journal.jsonl")
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("written");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a record"))
        .collect()
}

fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).expect("written")
}

#[test]
fn a_journal_is_ranked_repeated_compared_merged_and_checked() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
    let a = searched(directory.path(), "a", "64", &["--trials", "3"]);
    let b = searched(directory.path(), "b", "64", &["--trials", "3", "--strategy", "random"]);
    let (a_text, b_text) = (a.to_str().expect("UTF-8"), b.to_str().expect("UTF-8"));

    let best: Value = serde_json::from_str(&stdout(&alcop(&["journal", "best", a_text, "--json"]))).expect("JSON");
    let fastest = lines(&a)
        .iter()
        .filter_map(|record| record["time_us"].as_f64())
        .fold(f64::INFINITY, f64::min);
    assert_eq!(best["time_us"], fastest);
    assert_eq!(
        best["verified"]["blocks"], "all",
        "of equally fast ones the fully verified one"
    );
    assert!(stdout(&alcop(&["journal", "replay", a_text, "--top", "2"])).contains("recorded"));

    let merged = path("merged.jsonl");
    stdout(&alcop(&["journal", "merge", a_text, b_text, "-o", &merged]));
    let records = lines(Path::new(&merged));
    assert!(records.len() > lines(&a).len() && records.len() <= lines(&a).len() + lines(&b).len());
    assert!(
        records
            .iter()
            .enumerate()
            .all(|(number, record)| record["trial"] == number)
    );
    assert!(stdout(&alcop(&["journal", "validate", &merged])).contains("records of one search"));
    assert!(stdout(&alcop(&["journal", "diff", a_text, &merged])).contains("no time differs"));
    expect(
        &alcop(&["journal", "merge", a_text, b_text, "-o", &merged]),
        2,
        "has records already",
    );

    // A record that is not what its key says, one of another search, and one that is none.
    let text = text_of(&a);
    let edited = path("edited.jsonl");
    std::fs::write(
        &edited,
        text.replacen("\"register_stages\":2", "\"register_stages\":3", 1),
    )
    .expect("writable");
    expect(&alcop(&["journal", "validate", &edited]), 2, "its key is");
    let other = searched(directory.path(), "c", "128", &["--trials", "1"]);
    let other = other.to_str().expect("UTF-8");
    // Of different searches the difference is said.
    let differs = stdout(&alcop(&["journal", "diff", a_text, other]));
    assert!(
        differs.starts_with(
            "different searches: the operator is matmul nn 64×64×128 f16→f32 in the first, matmul nn 128×64×128 f16→f32 \
             in the second\n"
        ),
        "{differs}"
    );
    let differs: Value =
        serde_json::from_str(&stdout(&alcop(&["journal", "diff", a_text, other, "--json"]))).expect("JSON");
    assert_eq!(differs["different_searches"][0]["what"], "operator");
    assert!(!stdout(&alcop(&["journal", "diff", a_text, b_text])).contains("different searches"));
    // Trials that cannot be, and one that is there twice.
    let first = text_of(&a).lines().next().expect("a record").to_owned();
    let time = first
        .split("\"time_us\":")
        .last()
        .and_then(|rest| rest.split(',').next())
        .expect("a time");
    for (bad, message) in [
        (
            first.replace(&format!(",\"time_us\":{time}"), ""),
            ":1: not a trial record: the trial is ok, and has no time_us",
        ),
        (
            first.replace(&format!(",\"time_us\":{time}"), ",\"time_us\":-1.5"),
            "time_us is -1.5, which is not positive",
        ),
        (
            first.replace(&format!(",\"time_us\":{time}"), ",\"time_us\":0"),
            "time_us is 0, which is not positive",
        ),
        (format!("{first}\n{first}"), ":2: the trial of"),
    ] {
        std::fs::write(path("edited.jsonl"), format!("{bad}\n")).expect("writable");
        expect(&alcop(&["journal", "validate", &path("edited.jsonl")]), 2, message);
    }
    expect(
        &alcop(&["journal", "merge", a_text, other, "-o", &path("no.jsonl")]),
        2,
        "its operator is",
    );
    assert!(!Path::new(&path("no.jsonl")).exists());
    std::fs::write(&edited, format!("{text}oops\n")).expect("writable");
    expect(&alcop(&["journal", "validate", &edited]), 2, "not a trial record");
    expect(&alcop(&["journal", "best", &path("absent")]), 2, "absent");
}

const TABLE: &str = "problem,m,n,k,block_m,block_n,block_k,stages,warps,ms\n\
                     0,1024,1024,1024,128,128,32,4,4,0.02\n\
                     0,1024,1024,1024,64,64,32,3,4,0.03\n\
                     0,1024,1024,1024,128,64,64,2,8,0.04\n";

#[test]
fn predict_adds_times_and_terms_and_names_what_is_wrong_with_a_table() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("t.csv");
    let table = path.to_str().expect("UTF-8");
    let predict = |text: &str| {
        std::fs::write(&path, text).expect("writable");
        alcop(&["predict", table, "--target", "a100"])
    };
    let predicted = stdout(&predict(TABLE));
    let mut rows = predicted.lines();
    let header: Vec<&str> = rows.next().expect("a header").split(',').collect();
    let time = header.iter().position(|name| *name == "predicted_ms").expect("added");
    assert!(header.iter().filter(|name| name.starts_with("term_")).count() > 10);
    let fits = header.iter().position(|name| *name == "fits").expect("added");
    let room = stdout(&predict(&TABLE.replace(",64,64,32,", ",256,256,256,")));
    let cells: Vec<Vec<&str>> = room.lines().skip(1).map(|row| row.split(',').collect()).collect();
    assert_eq!((cells[0][fits], cells[2][fits]), ("yes", "yes"));
    assert_eq!(cells[1][time], "", "no time for what does not fit");
    assert!(
        cells[1][fits].starts_with("shared memory: 524288 B of 166912 B"),
        "{}",
        cells[1][fits]
    );
    assert!(rows.all(|row| {
        row.split(',')
            .nth(time)
            .and_then(|cell| cell.parse().ok())
            .is_some_and(|ms: f64| ms > 0.0)
    }));
    expect(
        &predict(&TABLE.replace("block_k", "bk")),
        2,
        "lacks the column(s) block_k",
    );
    expect(
        &predict(&TABLE.replace(",64,64,32,", ",64,-64,32,")),
        2,
        "line 3, column block_n",
    );
    std::fs::write(&path, TABLE).expect("writable");
    expect(&alcop(&["predict", table, "--target", "sm_80"]), 2, "has limits only");
}

#[test]
fn bench_search_replays_strategies_on_known_times() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
    std::fs::write(path("t.csv"), TABLE).expect("writable");
    let (csv, svg) = (path("out.csv"), path("out.svg"));
    let text = stdout(&alcop(&[
        "bench",
        "search",
        "--table",
        &path("t.csv"),
        "--seeds",
        "2",
        "--csv",
        &csv,
        "--svg",
        &svg,
        "--json",
    ]));
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&json["schema"], &json["spaces"]), (&1.into(), &1.into()));
    for row in json["strategies"].as_array().expect("rows") {
        let shares: Vec<f64> = row["shares"]
            .as_array()
            .expect("shares")
            .iter()
            .filter_map(Value::as_f64)
            .collect();
        assert!(
            shares.is_sorted() && shares[1..] == [1.0; 4],
            "three candidates, found by three trials: {row}"
        );
    }
    let csv = std::fs::read_to_string(&csv).expect("written");
    assert!(
        csv.starts_with("strategy,trials_1") && csv.contains(",geometric mean,3,"),
        "{csv}"
    );
    // The means, and the same for the one space.
    assert_eq!(csv.lines().count(), 1 + 2 * 5, "{csv}");
    assert_eq!(json["of_spaces"][0]["schedules"], 3);
    assert!(std::fs::read_to_string(&svg).expect("written").contains("<svg"));
    expect(&alcop(&["bench", "search"]), 2, "exhaustive searches");
    let partial = searched(directory.path(), "a", "64", &["--trials", "2"]);
    expect(
        &alcop(&["bench", "search", partial.to_str().expect("UTF-8")]),
        2,
        "an exhaustive search is needed",
    );
}
