//! Holds a plan that somebody wrote against the verdicts on its module: what detection did not prove is not done.
//!
//! ```text
//! "transport": "cp_async"      refused for rows of odd length: loops[0].buffers[1].transport
//! "reused": true               refused where nothing outside of its loops uses the buffer
//! ```
//!
//! [`crate::expand()`] checks that it can do what a plan says; whether that is allowed (alignment, the order of other
//! memory, what runs on across loops) only detection knows. A plan that was just made from the verdicts holds by itself.

use alcop_compiler::detect::{BufferVerdict, Detection, Level, ReasonCode, Verdict};
use alcop_compiler::ir::{BufferId, OpId};

use crate::error::Error;
use crate::plan::{BufferPlan, LoopPlan, PipelinePlan, RegisterPlan, Transport};

/// Refuses a plan that asks for what the verdicts do not allow.
pub fn check(plan: &PipelinePlan, detection: &Detection) -> Result<(), Error> {
    for (number, entry) in plan.loops.iter().enumerate() {
        check_loop(entry, detection).map_err(|error| error.within(format!("loops[{number}]")))?;
    }
    check_assumptions(plan, detection)
}

/// A plan says all that it rests on, and nothing else.
fn check_assumptions(plan: &PipelinePlan, detection: &Detection) -> Result<(), Error> {
    let needed = plan.rests_on(detection);
    if plan.assumes == needed {
        return Ok(());
    }
    let list = |all: &[alcop_spec::Assumption]| serde_json::json!(all).to_string();
    let message = format!(
        "{} is what the plan says, and {} is what its copies rest on; write that",
        list(&plan.assumes),
        list(&needed)
    );
    Err(Error::refused("alignment-unproven", "the plan", message).within("assumes"))
}

fn check_loop(entry: &LoopPlan, detection: &Detection) -> Result<(), Error> {
    let all = || detection.kernels.iter().flat_map(|kernel| &kernel.buffers);
    if !all().any(|one| one.level == Level::Shared && one.loop_index == Some(entry.loop_index)) {
        let message = format!("no loop with the number {} fills a buffer", entry.loop_index);
        return Err(Error::refused("unknown-op", "the plan", message).within("loop"));
    }
    let mut barriers: Vec<&OpId> = Vec::new();
    let mut known = true;
    for (number, buffer) in entry.buffers.iter().enumerate() {
        let part = format!("buffers[{number}]");
        let found = verdict(entry, buffer, detection).map_err(|error| error.within("buffer").within(&part))?;
        let Some(verdict) = found else {
            known = false;
            continue;
        };
        check_buffer(buffer, verdict).map_err(|error| error.within(&part))?;
        if !verdict.around.ends_with(&entry.around) {
            let message = format!(
                "the pipeline can run across the loops {:?}, or the inner ones of them",
                verdict.around
            );
            return Err(Error::refused("not-sequential", &verdict.location, message).within("around"));
        }
        barriers.extend(&verdict.barriers);
    }
    for (number, barrier) in entry.barriers.iter().enumerate().filter(|_| known) {
        if !barriers.contains(&barrier) {
            let message = format!("{barrier} does not order these buffers alone, and stays");
            let error = Error::refused("barrier-orders-other-memory", "the plan", message);
            return Err(error.within(format!("barriers[{number}]")));
        }
    }
    for (number, registers) in entry.registers.iter().enumerate() {
        check_registers(registers, detection).map_err(|error| error.within(format!("registers[{number}]")))?;
    }
    Ok(())
}

/// The verdict on a buffer in the loop; `None` where there is none for want of a block size.
fn verdict<'d>(
    entry: &LoopPlan,
    buffer: &BufferPlan,
    detection: &'d Detection,
) -> Result<Option<&'d BufferVerdict>, Error> {
    let all = detection.kernels.iter().flat_map(|kernel| &kernel.buffers);
    let found = all
        .filter(|verdict| verdict.level == Level::Shared && verdict.id == buffer.buffer)
        .find(|verdict| verdict.loop_index == Some(entry.loop_index));
    let Some(verdict) = found else {
        let message = format!("the loop {} fills no buffer of that name", entry.loop_index);
        return Err(Error::refused("unknown-op", "the plan", message));
    };
    if verdict.verdict == Verdict::Pipelinable || verdict.staged_depth.is_some() {
        return Ok(Some(verdict));
    }
    if verdict
        .reasons
        .iter()
        .any(|reason| reason.code == ReasonCode::BlockSizeUnknown)
    {
        return Ok(None);
    }
    let why = verdict
        .reasons
        .first()
        .map_or("its work must be sunk first", |reason| &reason.message);
    let message = format!("the buffer {} cannot be pipelined: {why}", verdict.ty);
    Err(Error::refused("not-a-pure-copy", &verdict.location, message))
}

fn check_buffer(buffer: &BufferPlan, verdict: &BufferVerdict) -> Result<(), Error> {
    let refuse = |field: &str, code: &'static str, message: String| {
        Err(Error::refused(code, &verdict.location, message).within(field))
    };
    if buffer.reused != verdict.reused {
        let message = match verdict.reused {
            true => "false: the buffer is used outside of its loops too; write true",
            false => "true: nothing outside of its loops uses the buffer; write false, or leave it out",
        };
        return refuse("reused", "read-after-loop", message.to_owned());
    }
    if buffer.transport == Transport::CpAsync && verdict.verdict != Verdict::Pipelinable {
        let why = verdict.reasons.first().map_or("", |reason| &reason.message);
        let message = format!("cp_async cannot carry it: {why}; take register_staged");
        return refuse("transport", "width-unsupported", message);
    }
    for (number, copy) in buffer.copies.iter().enumerate() {
        let of_store = verdict.copies.iter().find(|known| known.store == copy.store);
        let Some(known) = of_store.filter(|known| known.load == copy.load) else {
            let message = format!("{} into {} is not one of the buffer's copies", copy.load, copy.store);
            return refuse(&format!("copies[{number}]"), "not-a-pure-copy", message);
        };
        let width_bytes = buffer.width_bytes;
        if buffer.transport == Transport::CpAsync && (width_bytes == 0 || known.bytes % width_bytes != 0) {
            let message = format!(
                "{width_bytes} bytes do not divide the {} of {}",
                known.bytes, copy.store
            );
            return refuse("width_bytes", "width-unsupported", message);
        }
    }
    if let Some(missing) = verdict
        .copies
        .iter()
        .find(|known| buffer.copies.iter().all(|copy| copy.store != known.store))
    {
        let message = format!(
            "{} into {} is missing: it fills the buffer too",
            missing.load, missing.store
        );
        return refuse("copies", "several-writers", message);
    }
    let whole = |copy: &crate::plan::CopyPlan| copy.load == copy.store;
    let moved = |known: &alcop_compiler::detect::CopyOps| known.bytes == buffer.width_bytes;
    // Loads and stores that stay as they are have the width that they have.
    if buffer.transport != Transport::CpAsync && !buffer.copies.iter().any(whole) && !verdict.copies.iter().any(moved) {
        let widths: Vec<String> = verdict.copies.iter().map(|known| known.bytes.to_string()).collect();
        let message = format!(
            "{} bytes: loads and stores keep their width, which is {}",
            buffer.width_bytes,
            widths.join(" and ")
        );
        return refuse("width_bytes", "width-unsupported", message);
    }
    Ok(())
}

fn check_registers(registers: &RegisterPlan, detection: &Detection) -> Result<(), Error> {
    for (number, load) in registers.loads.iter().enumerate() {
        let id = BufferId::OpResult {
            op: load.op.clone(),
            index: load.index,
        };
        let all = detection.kernels.iter().flat_map(|kernel| &kernel.buffers);
        let found = all.filter(|one| one.level == Level::Register).find(|one| one.id == id);
        let rejected = match found {
            None => Some(("the plan", "it is not a load from a buffer that can be pipelined")),
            Some(one) if one.verdict != Verdict::Pipelinable && registers.depth > 1 => {
                let why = one
                    .reasons
                    .first()
                    .map_or("it cannot run ahead", |reason| &reason.message);
                Some((one.location.as_str(), why))
            }
            Some(_) => None,
        };
        if let Some((location, why)) = rejected {
            let error = Error::refused("unknown-op", location, format!("{load}: {why}"));
            return Err(error.within(format!("loads[{number}]")));
        }
    }
    Ok(())
}
