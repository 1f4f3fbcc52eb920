//! What the fields of a plan say together, whatever the module: each is one that the rewrite obeys, or the plan is refused.
//!
//! ```text
//! "slots": 3, "transport": "synchronous"       refused: loops[0].buffers[0].transport
//! "transport": "cp_async", "completion": "barrier"       refused: loops[0].buffers[0].completion
//! ```

use std::collections::HashSet;
use std::hash::Hash;

use alcop_spec::Arch;
use serde::Serialize;
use serde_json::json;

use super::{BufferPlan, Completion, LoopPlan, PipelinePlan, RegisterPlan, Transport};
use crate::error::Error;

pub(super) fn check(plan: &PipelinePlan) -> Result<(), Error> {
    if plan.target.parse::<Arch>().is_err() {
        let message = format!("{:?} is no architecture; write one like \"sm_80\"", plan.target);
        return Err(refuse("target-differs", message).within("target"));
    }
    once("loops", "loop", plan.loops.iter().map(|entry| entry.loop_index))?;
    for (number, entry) in plan.loops.iter().enumerate() {
        check_loop(entry).map_err(|error| error.within(format!("loops[{number}]")))?;
    }
    Ok(())
}

fn refuse(code: &'static str, message: impl Into<String>) -> Error {
    Error::refused(code, "the plan", message)
}

/// Refuses a list in which something stands twice.
fn once<T: Copy + Eq + Hash + Serialize>(list: &str, field: &str, items: impl Iterator<Item = T>) -> Result<(), Error> {
    let mut seen = HashSet::new();
    match items.enumerate().find(|(_, item)| !seen.insert(*item)) {
        Some((number, item)) => {
            let message = format!("{field} {} stands in {list} already; name it once", json!(item));
            Err(refuse("named-twice", message).within(format!("{list}[{number}]")))
        }
        None => Ok(()),
    }
}

fn check_loop(entry: &LoopPlan) -> Result<(), Error> {
    once("around", "loop", entry.around.iter().copied())?;
    once("buffers", "buffer", entry.buffers.iter().map(|buffer| &buffer.buffer))?;
    once("barriers", "barrier", entry.barriers.iter())?;
    once("registers", "loop", entry.registers.iter().map(|one| one.loop_index))?;
    for (number, buffer) in entry.buffers.iter().enumerate() {
        let part = format!("buffers[{number}]");
        check_buffer(entry, buffer).map_err(|error| error.within(part))?;
    }
    if !entry.around.is_empty() && entry.buffers.iter().all(|buffer| buffer.slots == 1) {
        let message = "buffers of one slot are filled in each iteration anew, so nothing runs on across the loops around; \
                       leave it empty";
        return Err(refuse("sync-positions-differ", message).within("around"));
    }
    for (number, registers) in entry.registers.iter().enumerate() {
        let part = format!("registers[{number}]");
        check_registers(entry, registers).map_err(|error| error.within(part))?;
    }
    Ok(())
}

fn check_buffer(entry: &LoopPlan, buffer: &BufferPlan) -> Result<(), Error> {
    let of = |field: &'static str, code: &'static str, message: String| Err(refuse(code, message).within(field));
    let BufferPlan {
        slots,
        distance,
        transport,
        completion,
        sync,
        ..
    } = *buffer;
    once("copies", "store", buffer.copies.iter().map(|copy| &copy.store))?;
    if slots == 0 {
        let message = "0 slots: a buffer has at least one".to_owned();
        return of("slots", "sync-positions-differ", message);
    }
    let asynchronous = transport == Transport::CpAsync;
    if transport == Transport::Synchronous && slots > 1 {
        let message = format!(
            "synchronous copies fill one slot in its place, and slots is {slots}; take cp_async or register_staged, or 1 \
             slot with a distance of 0"
        );
        return of("transport", "sync-positions-differ", message);
    }
    if transport != Transport::Synchronous && entry.buffers.iter().all(|other| other.slots == 1) {
        let message = "with one slot in every buffer of the loop nothing is loaded ahead, so that its copies are \
                       synchronous; give it slots, or take \"synchronous\" and \"barrier\""
            .to_owned();
        return of("transport", "sync-positions-differ", message);
    }
    if (completion == Completion::CommitGroup) != asynchronous {
        let needed = if asynchronous { "commit_group" } else { "barrier" };
        let message = format!("what this transport carries is there behind a {needed}; write \"{needed}\"");
        return of("completion", "sync-positions-differ", message);
    }
    if distance >= slots {
        let message =
            format!("{slots} slots with a distance of {distance}: a buffer is loaded at most slots − 1 chunks ahead");
        return of("distance", "sync-positions-differ", message);
    }
    let ahead: HashSet<u32> = entry.ahead().map(|other| other.sync).collect();
    if transport == Transport::Synchronous && sync != 0 {
        let message = format!("{sync}: a buffer that is filled in its place is not waited for; write 0");
        return of("sync", "sync-positions-differ", message);
    }
    if transport != Transport::Synchronous && sync as usize >= ahead.len() {
        let message = format!(
            "{sync}: the buffers of the loop have {} different numbers, and those count from 0 without gaps",
            ahead.len()
        );
        return of("sync", "sync-positions-differ", message);
    }
    Ok(())
}

fn check_registers(entry: &LoopPlan, registers: &RegisterPlan) -> Result<(), Error> {
    let RegisterPlan { depth, read_ahead, .. } = *registers;
    let of = |field: &'static str, code: &'static str, message: String| Err(refuse(code, message).within(field));
    once("loads", "load", registers.loads.iter())?;
    if registers.loads.is_empty() {
        let message = "no loads: nothing is held in fragment sets; leave the entry out".to_owned();
        return of("loads", "unknown-op", message);
    }
    if depth == 0 {
        let message = "0 fragment sets: a load has at least one".to_owned();
        return of("depth", "register-depth-exceeds-chunk", message);
    }
    if read_ahead != depth - 1 {
        let message = format!(
            "depth {depth} needs a read-ahead of one less, the plan says {read_ahead}; change depth and read_ahead together"
        );
        return of("read_ahead", "register-depth-exceeds-chunk", message);
    }
    if depth == 1 && registers.loop_index == entry.loop_index {
        let message =
            "the pipelined loop itself is not unrolled, so that one fragment set is no change; leave the entry \
                       out"
            .to_owned();
        return of("depth", "register-depth-exceeds-chunk", message);
    }
    Ok(())
}
