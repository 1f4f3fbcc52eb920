//! Verdicts for people and for programs.

use std::collections::BTreeSet;
use std::fmt::Write;

use serde_json::{Value, json};

use super::verdict::{BufferVerdict, Detection, Level, Verdict};

/// The JSON of `alcop explain --json`.
pub fn detection_json(detection: &Detection) -> Value {
    json!({ "schema": 1, "kernels": detection.kernels })
}

/// The JSON of several files: the kernels of each, in order.
pub fn detections_json(detections: &[Detection]) -> Value {
    let kernels: Vec<_> = detections.iter().flat_map(|detection| &detection.kernels).collect();
    json!({ "schema": 1, "kernels": kernels })
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pipelinable => "pipelinable",
        Verdict::AfterSinking => "after sinking",
        Verdict::Rejected => "rejected",
    }
}

/// How wide the copies of a buffer are, the widest first: `16 B, 8 B`, or `8 B, staged`.
fn widths(buffer: &BufferVerdict) -> Option<String> {
    if buffer.async_bytes.is_none() && buffer.staged_depth.is_none() {
        return None;
    }
    let staged = |staged: bool| buffer.copies.iter().filter(move |copy| copy.staged == staged);
    let mut widths: Vec<u32> = staged(false).map(|copy| copy.bytes).collect();
    widths.extend(buffer.async_bytes);
    widths.sort_unstable_by_key(|bytes| std::cmp::Reverse(*bytes));
    widths.dedup();
    let mut cells: Vec<String> = widths.into_iter().map(|bytes| format!("{bytes} B")).collect();
    if buffer.staged_depth.is_some() {
        cells.push("staged".to_owned());
    }
    Some(cells.join(", "))
}

/// What a verdict rests on: `, assumes argument 0: aligned to 16 bytes`.
fn assumed(buffer: &BufferVerdict) -> String {
    let all = buffer.assumes.iter().map(|one| format!(", assumes {one}"));
    all.collect()
}

/// A table, one buffer a row, the reasons below their buffer.
pub fn detection_table(detection: &Detection) -> String {
    let mut out = String::new();
    for kernel in &detection.kernels {
        let size = kernel
            .block_size
            .map_or("unknown".to_owned(), |[x, y, z]| format!("{x}x{y}x{z}"));
        writeln!(out, "kernel {}, block {size}", kernel.name).expect("a string takes all");
        let row = ["level", "buffer", "loop", "bytes", "verdict", "depth", "copy"];
        let mut rows: Vec<[String; 7]> = vec![row.map(str::to_owned)];
        let dash = || "-".to_owned();
        for buffer in &kernel.buffers {
            let level = if buffer.level == Level::Shared {
                "shared"
            } else {
                "register"
            };
            rows.push([
                level.to_owned(),
                buffer.name(),
                match (buffer.loop_index, &buffer.loop_op) {
                    (Some(number), _) => number.to_string(),
                    (None, other) => other.clone().unwrap_or_else(dash),
                },
                buffer.bytes.to_string(),
                word(buffer.verdict).to_owned(),
                buffer
                    .max_depth
                    .or(buffer.staged_depth)
                    .map_or_else(dash, |depth| format!("<= {depth}")),
                widths(buffer).unwrap_or_else(dash),
            ]);
        }
        let widths: Vec<usize> = (0..7)
            .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
            .collect();
        for (number, row) in rows.iter().enumerate() {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            writeln!(out, "  {}", cells.join("  ").trim_end()).expect("a string takes all");
            let buffer = number.checked_sub(1).map(|buffer| &kernel.buffers[buffer]);
            for assumption in buffer.into_iter().flat_map(|buffer| &buffer.assumes) {
                writeln!(out, "      assumes {assumption}").expect("a string takes all");
            }
            for reason in number
                .checked_sub(1)
                .map_or(&[][..], |buffer| &kernel.buffers[buffer].reasons)
            {
                let code = json!(reason.code);
                writeln!(
                    out,
                    "      {} [{}] at {}",
                    reason.message,
                    code.as_str().unwrap_or(""),
                    reason.location
                )
                .expect("a string takes all");
            }
        }
    }
    out
}

/// Something to say about a place in the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// `file:line:column`.
    pub location: String,
    /// What.
    pub message: String,
    /// Whether it says why something is not pipelined.
    pub rejects: bool,
}

/// Remarks as a compiler prints them, `file:line:column: remark: …`, a line each.
pub fn remarks(detection: &Detection) -> String {
    remark_list(detection)
        .iter()
        .map(|remark| format!("{}: remark: {}\n", remark.location, remark.message))
        .collect()
}

/// One remark for each reason, at the place that is the reason; one for a buffer without any; one for each loop that is
/// not pipelined.
pub fn remark_list(detection: &Detection) -> Vec<Remark> {
    let mut out = Vec::new();
    let mut line = |location: &str, rejects: bool, message: String| {
        out.push(Remark {
            location: location.to_owned(),
            message,
            rejects,
        });
    };
    for kernel in &detection.kernels {
        for buffer in &kernel.buffers {
            let name = buffer.name();
            for reason in &buffer.reasons {
                let code = json!(reason.code);
                let code = code.as_str().unwrap_or("");
                line(
                    &reason.location,
                    true,
                    format!("{name}: rejected: {} [{code}]", reason.message),
                );
            }
            if buffer.reasons.is_empty() {
                let depth = buffer
                    .max_depth
                    .map_or(String::new(), |depth| format!(", at most {depth} deep"));
                let rejects = buffer.verdict != Verdict::Pipelinable;
                let narrowed = buffer.copies.iter().find_map(|copy| {
                    let why = copy.narrowed.as_ref()?;
                    Some(format!(", a copy in pieces of {} B: {why}", copy.bytes))
                });
                let narrowed = narrowed.unwrap_or_default();
                line(
                    &buffer.location,
                    rejects,
                    format!("{name}: {}{depth}{narrowed}{}", word(buffer.verdict), assumed(buffer)),
                );
            }
        }
        for one in kernel.loops.iter().filter(|one| one.verdict == Verdict::Rejected) {
            let what = match one.index {
                Some(index) => format!("loop {index}"),
                None => one.loop_op.clone().unwrap_or_default(),
            };
            let codes: BTreeSet<String> = one
                .reasons
                .iter()
                .map(|reason| json!(reason.code))
                .filter_map(|code| Some(code.as_str()?.to_owned()))
                .collect();
            let codes: Vec<String> = codes.into_iter().collect();
            line(
                &one.location,
                true,
                format!("{what}: not pipelined [{}]", codes.join(", ")),
            );
        }
    }
    out
}
