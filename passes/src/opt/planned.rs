//! Plans on modules: made from verdicts and edited attributes, kept in `alcop.plan`.
//!
//! ```mlir
//! module attributes {alcop.plan = {fingerprint = "…", loops = [{buffers = [{slots = 2 : i64, …}], …}], …}} {
//!   … memref.alloc() {alcop.depth = 2 : i64, alcop.verdict = "pipelinable"}   // planned with 2 slots
//! ```
//!
//! `alcop.depth` as detection wrote it is the largest depth that fits. Edited to another number it is the depth that is
//! wanted. The other attributes say what is the case: a module in which they say something else is refused.

use alcop_compiler::detect::attributes::{self, Annotation, DEPTH, GROUP, VERDICT};
use alcop_compiler::detect::{Assumptions, BufferVerdict, DetectOptions, Detection, Level, detect};
use alcop_compiler::ir::{BufferId, Module, OpId};
use serde_json::json;

use crate::data::{to_attribute, to_json};
use crate::decide::{Depths, decide};
use crate::error::Error;
use crate::fit::{Asked, Lowered, decide_within};
use crate::plan::{BufferPlan, Completion, PipelinePlan, Transport};

/// The module's attribute that holds the plan: its JSON as dictionaries.
pub const PLAN: &str = "alcop.plan";

/// What attributes and a detection or plan say differently.
const DISAGREE: &str = "attributes-disagree";

/// A buffer (on the register level, a load) in one loop, and the depth that an edited attribute wants.
struct Wish<'d> {
    buffer: &'d BufferVerdict,
    depth: u32,
}

/// The plan of an annotated or plain module; its fingerprint is that of the module without attributes of ours. Depths that
/// neither an option nor an attribute asks for may be lower: what is handed back beside the plan says where and why.
pub fn plan(
    module: &Module<'_>,
    detection: &Detection,
    architecture: &str,
    depths: &Depths,
    asked: Asked,
) -> Result<(PipelinePlan, Vec<Lowered>), Error> {
    let wishes = wishes(module, detection)?;
    let plain = module.duplicate();
    attributes::strip(&plain);
    if wishes.is_empty() {
        return decide_within(&plain, detection, architecture, depths, asked);
    }
    // A wish was compared with what fits; what is asked of all buffers does not hold for it.
    let mut excused = detection.clone();
    let wanted = |buffer: &BufferVerdict| {
        wishes
            .iter()
            .any(|wish| wish.buffer.id == buffer.id && wish.buffer.loop_index == buffer.loop_index)
    };
    for buffer in excused.kernels.iter_mut().flat_map(|kernel| &mut kernel.buffers) {
        if buffer.level == Level::Shared && wanted(buffer) {
            buffer.max_depth = buffer.max_depth.max(Some(depths.shared_stages));
        }
    }
    let mut plan = decide(&plain, &excused, architecture, depths)?;
    for wish in &wishes {
        match wish.buffer.level {
            Level::Shared => set_slots(&mut plan, wish),
            Level::Register => set_fragment_sets(&mut plan, wish, &wishes)?,
        }
    }
    for entry in &mut plan.loops {
        entry.renumber_syncs();
        // One fragment set of a loop that is not unrolled is no change.
        let own = entry.loop_index;
        entry
            .registers
            .retain(|registers| registers.depth > 1 || registers.loop_index != own);
        if entry.buffers.iter().all(|buffer| buffer.slots == 1) {
            entry.around.clear();
        }
    }
    for wish in &wishes {
        // What the plan leaves as it is has a depth of 1.
        let planned = planned_depth(&plan, wish.buffer).unwrap_or(1);
        if planned != wish.depth {
            let message = format!(
                "{DEPTH} = {}, but the plan leaves {} as it is (depth {planned})",
                wish.depth, wish.buffer.ty
            );
            return Err(Error::refused("not-planned", &wish.buffer.location, message));
        }
    }
    Ok((plan, Vec::new()))
}

/// Writes the plan into the module, and its depths into those `alcop.depth` that the module has.
pub fn write(module: &mut Module<'_>, plan: &PipelinePlan) -> Result<(), Error> {
    let value = serde_json::to_value(plan).map_err(|error| {
        Error::refused(
            "plan-malformed",
            module.op().location(),
            format!("the plan is no JSON: {error}"),
        )
    })?;
    attributes::set_depths(module, &entries(module), &|buffer| planned_depth(plan, buffer));
    if let Some(value) = to_attribute(module.context(), &value) {
        module.op().set_attr(PLAN, value);
    }
    Ok(())
}

/// Whether the module carries a plan.
pub fn is_in(module: &Module<'_>) -> bool {
    module.op().attr(PLAN).is_some()
}

/// The plan in the module. Refused where an attribute of a buffer says something else.
pub fn read(module: &Module<'_>) -> Result<PipelinePlan, Error> {
    let location = module.op().location();
    let Some(attribute) = module.op().attr(PLAN) else {
        let message = format!("the module has no {PLAN}; run alcop-plan before, or alcop-pipeline");
        return Err(Error::refused("plan-missing", location, message));
    };
    let malformed = |what: String| Error::refused("plan-malformed", location, format!("{PLAN} is no plan: {what}"));
    let value = to_json(attribute).ok_or_else(|| malformed(format!("{attribute} is not made of plain data")))?;
    let plan: PipelinePlan = serde_path_to_error::deserialize(value)
        .map_err(|error| malformed(format!("{}: {}", error.path(), error.inner())))?;
    let detection = entries(module);
    let annotated = attributes::annotations(module, &detection);
    for (kernel, annotations) in detection.kernels.iter().zip(&annotated) {
        for (buffer, annotation) in kernel.buffers.iter().zip(annotations) {
            let Some(planned) = planned_depth(&plan, buffer) else {
                continue;
            };
            if let Some(verdict) = annotation
                .verdict
                .as_deref()
                .filter(|verdict| *verdict != "pipelinable")
            {
                let message = format!(
                    "{PLAN} pipelines the buffer {}, and {VERDICT} says {verdict:?}",
                    buffer.ty
                );
                return Err(Error::refused(DISAGREE, &buffer.location, message));
            }
            if let Some(depth) = annotation.depth.filter(|depth| *depth != i64::from(planned)) {
                let message = format!(
                    "{PLAN} gives the buffer {} a depth of {planned}, and {DEPTH} says {depth}; run alcop-plan again",
                    buffer.ty
                );
                return Err(Error::refused(DISAGREE, &buffer.location, message));
            }
        }
    }
    Ok(plan)
}

/// The buffers of a module, for their order; the verdicts are not looked at.
fn entries(module: &Module<'_>) -> Detection {
    let options = DetectOptions {
        shared_bytes_per_block: 0,
        block_size: None,
        assumptions: Assumptions::NOTHING,
    };
    detect(module, &options)
}

/// The depths that edited attributes want. Refused where an attribute contradicts its buffer's verdict.
fn wishes<'d>(module: &Module<'_>, detection: &'d Detection) -> Result<Vec<Wish<'d>>, Error> {
    let mut wishes = Vec::new();
    let annotated = attributes::annotations(module, detection);
    for (kernel, annotations) in detection.kernels.iter().zip(&annotated) {
        for (buffer, annotation) in kernel.buffers.iter().zip(annotations) {
            check_facts(buffer, annotation)?;
            let Some(depth) = annotation.depth else { continue };
            let Some(most) = buffer.max_depth else {
                let message = format!("{DEPTH} = {depth} on the buffer {}, which is rejected", buffer.ty);
                return Err(Error::refused(DISAGREE, &buffer.location, message));
            };
            if depth == i64::from(most) {
                continue;
            }
            let fits = u32::try_from(depth).ok().filter(|depth| (1..=most).contains(depth));
            let Some(depth) = fits else {
                let (code, what) = match buffer.level {
                    Level::Shared => ("does-not-fit", "slots"),
                    Level::Register => ("register-depth-exceeds-chunk", "fragment sets"),
                };
                let message = format!(
                    "{DEPTH} = {depth}: the buffer {} ({} B) can have 1 to {most} {what}",
                    buffer.ty, buffer.bytes
                );
                return Err(Error::refused(code, &buffer.location, message));
            };
            wishes.push(Wish { buffer, depth });
        }
    }
    Ok(wishes)
}

/// Verdict and group are facts; an attribute cannot change them.
fn check_facts(buffer: &BufferVerdict, annotation: &Annotation) -> Result<(), Error> {
    if let Some(what) = &annotation.malformed {
        return Err(Error::refused(DISAGREE, &buffer.location, what));
    }
    let verdict = json!(buffer.verdict);
    let found = verdict.as_str().unwrap_or_default();
    if let Some(said) = annotation.verdict.as_deref().filter(|said| *said != found) {
        let why = buffer.reasons.first();
        let why = why.map_or(String::new(), |reason| format!(" ({})", reason.message));
        let message = format!(
            "{VERDICT} says {said:?} of the buffer {}, detection says {found:?}{why}; to leave a buffer out, set \
             {DEPTH} = 1",
            buffer.ty
        );
        return Err(Error::refused(DISAGREE, &buffer.location, message));
    }
    let found = buffer.group.map(|group| group as i64);
    if let Some(said) = annotation.group.filter(|said| Some(*said) != found) {
        let found = found.map_or("none".to_owned(), |group| group.to_string());
        let message = format!(
            "{GROUP} says {said} of the buffer {}, detection says {found}",
            buffer.ty
        );
        return Err(Error::refused(DISAGREE, &buffer.location, message));
    }
    Ok(())
}

fn is_for(plan: &BufferPlan, buffer: &BufferVerdict) -> bool {
    buffer.level == Level::Shared && plan.buffer == buffer.id
}

fn set_slots(plan: &mut PipelinePlan, wish: &Wish<'_>) {
    let of_loop = plan
        .loops
        .iter_mut()
        .filter(|one| Some(one.loop_index) == wish.buffer.loop_index);
    for one in of_loop {
        // What is not there before its chunk's turn cannot be read ahead of it.
        let read = |load: &OpId| {
            let id = BufferId::OpResult {
                op: load.op.clone(),
                index: load.index,
            };
            wish.buffer.feeds.contains(&id)
        };
        let stays = one
            .registers
            .iter_mut()
            .filter(|registers| registers.loads.iter().any(read));
        for registers in stays.filter(|_| wish.depth == 1) {
            registers.depth = 1;
            registers.read_ahead = 0;
        }
        for buffer in one.buffers.iter_mut().filter(|buffer| is_for(buffer, wish.buffer)) {
            buffer.slots = wish.depth;
            buffer.distance = wish.depth - 1;
            (buffer.transport, buffer.completion) = match wish.depth {
                1 => (Transport::Synchronous, Completion::Barrier),
                _ => (Transport::CpAsync, Completion::CommitGroup),
            };
        }
    }
}

/// The loads of one loop rotate together.
fn set_fragment_sets(plan: &mut PipelinePlan, wish: &Wish<'_>, wishes: &[Wish<'_>]) -> Result<(), Error> {
    let same_loop =
        |other: &&Wish<'_>| other.buffer.level == Level::Register && other.buffer.inner_loop == wish.buffer.inner_loop;
    if let Some(other) = wishes.iter().filter(same_loop).find(|other| other.depth != wish.depth) {
        let message = format!(
            "{DEPTH} = {} here and {} at {}: the loads of one loop rotate together",
            wish.depth, other.depth, other.buffer.location
        );
        return Err(Error::refused("sync-positions-differ", &wish.buffer.location, message));
    }
    for registers in plan.loops.iter_mut().flat_map(|one| &mut one.registers) {
        if Some(registers.loop_index) == wish.buffer.inner_loop {
            registers.depth = wish.depth;
            registers.read_ahead = wish.depth - 1;
        }
    }
    Ok(())
}

fn planned_depth(plan: &PipelinePlan, buffer: &BufferVerdict) -> Option<u32> {
    match (buffer.level, &buffer.id) {
        (Level::Shared, _) => plan
            .loops
            .iter()
            .filter(|one| Some(one.loop_index) == buffer.loop_index)
            .flat_map(|one| &one.buffers)
            .find(|planned| is_for(planned, buffer))
            .map(|planned| planned.slots),
        (Level::Register, BufferId::OpResult { op, index }) => plan
            .loops
            .iter()
            .flat_map(|one| &one.registers)
            .find(|registers| {
                registers
                    .loads
                    .iter()
                    .any(|load| load.op == *op && load.index == *index)
            })
            .map(|registers| registers.depth),
        (Level::Register, _) => None,
    }
}
