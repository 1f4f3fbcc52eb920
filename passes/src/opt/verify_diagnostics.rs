//! Diagnostics that comments of the input expect, in MLIR's syntax.
//!
//! ```text
//! // expected-remark @+1 {{memref.alloc 0: pipelinable}}
//! %s = memref.alloc() : …
//! %0 = foo // expected-error {{unknown}}
//! ```
//!
//! `@+N`, `@-N`, `@below` (or `@+1`), `@above` and `@unknown` say where; nothing says this line. Each diagnostic must be
//! expected, and each expectation met.

use alcop_compiler::ir::{Diagnostic, Severity};

use super::diagnostics::place;

/// What a comment expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// The line of the comment, from 1.
    pub written: usize,
    /// The line of the diagnostic; `None` for one without a place in the input.
    pub line: Option<usize>,
    /// Its severity.
    pub severity: Severity,
    /// A part of its message.
    pub part: String,
}

/// A comment starts like an expectation, and is none (the user's mistake).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct ExpectationError {
    /// Its line.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

const SEVERITIES: [(&str, Severity); 4] = [
    ("error", Severity::Error),
    ("warning", Severity::Warning),
    ("note", Severity::Note),
    ("remark", Severity::Remark),
];

fn word(severity: Severity) -> &'static str {
    let found = SEVERITIES.iter().find(|(_, known)| *known == severity);
    found.map_or("diagnostic", |(word, _)| word)
}

/// The expectations in a text.
pub fn expectations(source: &str) -> Result<Vec<Expectation>, ExpectationError> {
    let mut found = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let mut rest = line;
        while let Some(at) = rest.find("expected-") {
            rest = &rest[at + "expected-".len()..];
            let Some((severity, after)) = SEVERITIES
                .iter()
                .find_map(|(word, severity)| Some((*severity, rest.strip_prefix(word)?)))
            else {
                continue;
            };
            let (expectation, after) =
                expectation(number + 1, severity, after).map_err(|message| ExpectationError {
                    line: number + 1,
                    message,
                })?;
            found.push(expectation);
            rest = after;
        }
    }
    Ok(found)
}

fn expectation(written: usize, severity: Severity, text: &str) -> Result<(Expectation, &str), String> {
    if text.starts_with("-re") {
        return Err("expected-…-re (regular expressions) is not known; expect a part of the message".to_owned());
    }
    let text = text.trim_start();
    let (line, text) = match text.strip_prefix('@') {
        None => (Some(written), text),
        Some(rest) => {
            let end = rest
                .find(|character: char| character.is_whitespace() || character == '{')
                .unwrap_or(rest.len());
            let (designator, rest) = rest.split_at(end);
            let offset: i64 = match designator {
                "below" => 1,
                "above" => -1,
                "unknown" => 0,
                number => number
                    .parse()
                    .map_err(|_| format!("@{designator} is none of @+N, @-N, @above, @below, @unknown"))?,
            };
            let line = usize::try_from(written as i64 + offset).map_err(|_| "a line before the first".to_owned())?;
            ((designator != "unknown").then_some(line), rest)
        }
    };
    let Some(rest) = text.trim_start().strip_prefix("{{") else {
        return Err("expected {{a part of the message}}".to_owned());
    };
    let Some((part, after)) = rest.split_once("}}") else {
        return Err("nothing closes {{".to_owned());
    };
    let expectation = Expectation {
        written,
        line,
        severity,
        part: part.trim().to_owned(),
    };
    Ok((expectation, after))
}

/// What differs between the diagnostics and what was expected; nothing where all is well. `name` is the input's.
pub fn differences(name: &str, expectations: &[Expectation], diagnostics: &[Diagnostic]) -> Vec<Diagnostic> {
    let mut open: Vec<&Expectation> = expectations.iter().collect();
    let mut out = Vec::new();
    for diagnostic in diagnostics {
        let line = place(&diagnostic.location)
            .filter(|(file, ..)| *file == name)
            .map(|(_, line, _)| line);
        let met = open.iter().position(|expected| {
            expected.line == line
                && expected.severity == diagnostic.severity
                && diagnostic.message.contains(&expected.part)
        });
        match met {
            Some(position) => {
                open.remove(position);
            }
            None => out.push(Diagnostic {
                severity: Severity::Error,
                location: diagnostic.location.clone(),
                message: format!("unexpected {}: {}", word(diagnostic.severity), diagnostic.message),
            }),
        }
    }
    out.extend(open.into_iter().map(|expected| Diagnostic {
        severity: Severity::Error,
        location: format!("{name}:{}:1", expected.written),
        message: format!(
            "expected {} {:?} was not produced",
            word(expected.severity),
            expected.part
        ),
    }));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(severity: Severity, line: usize, message: &str) -> Diagnostic {
        Diagnostic {
            severity,
            location: format!("k.mlir:{line}:3"),
            message: message.to_owned(),
        }
    }

    #[test]
    fn expectations_name_lines_from_where_they_stand() {
        let source = "// expected-error @+2 {{a}} expected-note@-0{{ b }}\n\n// expected-remark @above {{c}}\n// \
                      expected-warning@below {{d}}\nx // expected-error {{e}}\n// expected-error @unknown {{f}}\n// \
                      the expected-value of x\n";
        let found = expectations(source).expect("well-formed");
        let plain: Vec<_> = found
            .iter()
            .map(|one| (one.line, word(one.severity), one.part.as_str()))
            .collect();
        assert_eq!(
            plain,
            [
                (Some(3), "error", "a"),
                (Some(1), "note", "b"),
                (Some(2), "remark", "c"),
                (Some(5), "warning", "d"),
                (Some(5), "error", "e"),
                (None, "error", "f"),
            ]
        );
    }

    #[test]
    fn malformed_expectations_are_refused_with_their_line() {
        for (text, part) in [
            ("expected-error @+x {{a}}", "none of"),
            ("expected-error @-9 {{a}}", "before the first"),
            ("expected-error a", "{{"),
            ("expected-error {{a", "closes"),
            ("expected-error-re {{a}}", "regular expressions"),
        ] {
            let error = expectations(&format!("\n// {text}\n")).expect_err(text);
            assert_eq!(error.line, 2);
            assert!(error.message.contains(part), "{error}");
        }
    }

    #[test]
    fn each_diagnostic_is_expected_once_and_each_expectation_met() {
        let expected = expectations("// expected-error @+1 {{bad}}\nx\n").expect("well-formed");
        let good = diagnostic(Severity::Error, 2, "a bad thing");
        assert_eq!(differences("k.mlir", &expected, std::slice::from_ref(&good)), []);
        for (found, count) in [
            (vec![], 1),
            (vec![good.clone(), good.clone()], 1),
            (vec![diagnostic(Severity::Error, 3, "a bad thing")], 2),
            (vec![diagnostic(Severity::Warning, 2, "a bad thing")], 2),
            (vec![diagnostic(Severity::Error, 2, "a good thing")], 2),
        ] {
            assert_eq!(differences("k.mlir", &expected, &found).len(), count, "{found:?}");
        }
    }
}
