//! Depths that nobody asked for by name: as deep as they were meant, and as the kernel allows.
//!
//! ```text
//! x = load %s[%t]; for j in 0..n { y = load %s[j] }      3 slots, 2 fragment sets: %s is read until its next chunk is
//!                                                        needed, so the first load is not rotated, and a remark says so
//! ```
//!
//! What [`mod@crate::expand`] accepts is asked there, so that the two cannot disagree. What was asked for by name is
//! obeyed or refused, never lowered.

use alcop_compiler::detect::Detection;
use alcop_compiler::ir::{Context, Module, OpId, OpIndex};

use crate::decide::{Depths, decide, draft};
use crate::error::Error;
use crate::expand;
use crate::plan::{LoopPlan, PipelinePlan};

/// Which depths were asked for by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Slots in shared memory.
    pub shared: bool,
    /// Fragment sets in registers.
    pub registers: bool,
}

/// What of a loop is less deep than was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lowered {
    /// `file:line:column` of the loop.
    pub location: String,
    /// What, and why.
    pub message: String,
}

/// A plan that [`mod@crate::expand`] accepts, at the given depths or, where they were not asked for, at lower ones.
pub fn decide_within(
    module: &Module<'_>,
    detection: &Detection,
    target: &str,
    depths: &Depths,
    asked: Asked,
) -> Result<(PipelinePlan, Vec<Lowered>), Error> {
    let named = asked.shared && asked.registers && !may_be_left_out(depths, asked);
    if named || depths.shared_stages == 0 || depths.register_stages == 0 {
        return Ok((decide(module, detection, target, depths)?, Vec::new()));
    }
    let index = OpIndex::new(module.op());
    let single = Depths {
        shared_stages: 1,
        register_stages: 1,
        ..depths.clone()
    };
    let single = draft(module, detection, target, &|_, _| single.clone())?;
    // Fewer slots for the loop with the most, until all rings fit.
    let mut caps: Vec<(usize, u32)> = Vec::new();
    let mut first: Option<Error> = None;
    loop {
        let wanted = |loop_index: usize, most: u32| {
            let cap = caps.iter().find(|(other, _)| *other == loop_index).map(|(_, cap)| *cap);
            let mut own = depths.clone();
            if !asked.shared {
                own.shared_stages = own.shared_stages.min(most).min(cap.unwrap_or(u32::MAX)).max(1);
            }
            if own.shared_stages == 1 && !asked.registers {
                own.register_stages = 1;
            }
            own
        };
        let meant = draft(module, detection, target, &wanted)?;
        expand::accepts_places(&index, &meant)?;
        let (plan, mut refusals) = fit_loops(module.context(), &index, meant, &single, depths, asked)?;
        match expand::accepts(module, &plan) {
            Ok(()) => {
                if let Some(error) = first {
                    // For the loops that gave slots up.
                    let short = |entry: &&LoopPlan| caps.iter().any(|(capped, _)| *capped == entry.loop_index);
                    let short = plan.loops.iter().filter(short);
                    refusals.extend(short.map(|entry| (entry.loop_index, error.to_string())));
                }
                return Ok((plan.clone(), remarks(&index, detection, &plan, &refusals, depths)));
            }
            Err(error) if asked.shared && !may_be_left_out(depths, asked) => return Err(error),
            Err(error) => {
                let slots = |entry: &LoopPlan| entry.buffers.iter().map(|buffer| buffer.slots).max().unwrap_or(1);
                let deepest = plan.loops.iter().max_by_key(|entry| slots(entry));
                let Some(deepest) = deepest.filter(|entry| slots(entry) > 1) else {
                    if !may_be_left_out(depths, asked) {
                        return Err(error);
                    }
                    // No ring has a place, whatever its slots: the loops stay as they are.
                    refusals.extend(plan.loops.iter().map(|entry| (entry.loop_index, error.to_string())));
                    let plan = PipelinePlan {
                        loops: Vec::new(),
                        ..plan
                    };
                    return Ok((plan.clone(), remarks(&index, detection, &plan, &refusals, depths)));
                };
                caps.retain(|(other, _)| *other != deepest.loop_index);
                caps.push((deepest.loop_index, slots(deepest) - 1));
                first.get_or_insert(error);
            }
        }
    }
}

/// Replaces each loop's entry by the first one that is accepted beside the others. What was refused is handed back, by
/// loop.
fn fit_loops(
    context: &Context,
    index: &OpIndex<'_>,
    mut plan: PipelinePlan,
    single: &PipelinePlan,
    depths: &Depths,
    asked: Asked,
) -> Result<(PipelinePlan, Vec<(usize, String)>), Error> {
    let mut refusals: Vec<(usize, String)> = Vec::new();
    // A loop that is left out keeps its barriers, which others may have counted on. Each turn leaves out one, or is the
    // last.
    'all: loop {
        for number in 0..plan.loops.len() {
            let Err(refusal) = expand::accepts_loop(context, index, &plan, number) else {
                continue;
            };
            let meant = plan.loops[number].clone();
            let mut found = false;
            for candidate in candidates(&meant, single, depths, asked) {
                plan.loops[number] = candidate;
                if expand::accepts_loop(context, index, &plan, number).is_ok() {
                    found = true;
                    break;
                }
            }
            if !found && !may_be_left_out(depths, asked) {
                return Err(refusal);
            }
            refusals.push((meant.loop_index, refusal.to_string()));
            if !found {
                plan.loops.remove(number);
                continue 'all;
            }
        }
        return Ok((plan, refusals));
    }
}

/// A loop that stays as it is has one slot and one fragment set.
fn may_be_left_out(depths: &Depths, asked: Asked) -> bool {
    (!asked.shared || depths.shared_stages == 1) && (!asked.registers || depths.register_stages == 1)
}

/// What may stand for an entry, the best first: loads that are rotated less, then copies that are issued less far ahead,
/// then no pipeline.
fn candidates(meant: &LoopPlan, single: &PipelinePlan, depths: &Depths, asked: Asked) -> Vec<LoopPlan> {
    let mut rotations = vec![meant.clone()];
    if !asked.registers {
        let rotates_itself = |entry: &LoopPlan| {
            let own = |registers: &crate::plan::RegisterPlan| registers.loop_index == entry.loop_index;
            entry.registers.iter().any(own)
        };
        if rotates_itself(meant) {
            let mut without = meant.clone();
            without
                .registers
                .retain(|registers| registers.loop_index != meant.loop_index);
            rotations.push(without);
        }
        for depth in (1..depths.register_stages).rev() {
            let mut less = meant.clone();
            if depth == 1 {
                less.registers
                    .retain(|registers| registers.loop_index != meant.loop_index);
            }
            for registers in &mut less.registers {
                registers.depth = registers.depth.min(depth);
                registers.read_ahead = registers.depth - 1;
            }
            rotations.push(less);
        }
    }
    let mut all = rotations.clone();
    if !asked.shared {
        let most = meant.buffers.iter().map(|buffer| buffer.distance).max().unwrap_or(0);
        for distance in (1..most).rev() {
            all.extend(rotations.iter().cloned().map(|mut entry| {
                for buffer in &mut entry.buffers {
                    buffer.distance = buffer.distance.min(distance);
                }
                entry
            }));
        }
        if may_be_left_out(depths, asked) {
            let single = single.loops.iter().find(|entry| entry.loop_index == meant.loop_index);
            all.extend(single.cloned());
        }
    }
    all
}

/// What is less deep than was meant, a line for each loop of the detection that could be pipelined.
fn remarks(
    index: &OpIndex<'_>,
    detection: &Detection,
    plan: &PipelinePlan,
    refusals: &[(usize, String)],
    depths: &Depths,
) -> Vec<Lowered> {
    let mut loops: Vec<usize> = refusals.iter().map(|(loop_index, _)| *loop_index).collect();
    let runs_ahead = detection.kernels.iter().flat_map(|kernel| &kernel.buffers);
    let limited = runs_ahead.filter(|buffer| {
        let most = buffer.max_depth.or(buffer.staged_depth);
        buffer.level == alcop_compiler::detect::Level::Shared && most.is_some_and(|most| most < depths.shared_stages)
    });
    loops.extend(limited.filter_map(|buffer| buffer.loop_index));
    loops.sort_unstable();
    loops.dedup();
    let mut remarks = Vec::new();
    for loop_index in loops {
        let id = OpId {
            op: "scf.for".to_owned(),
            index: loop_index,
        };
        let location = index.find(&id).map_or_else(String::new, |op| op.location().to_string());
        let what = match plan.loops.iter().find(|entry| entry.loop_index == loop_index) {
            None => "the loop is not pipelined".to_owned(),
            Some(entry) => depth_of(entry),
        };
        let mut reasons: Vec<&str> = refusals
            .iter()
            .filter(|(other, _)| *other == loop_index)
            .map(|(_, reason)| reason.as_str())
            .collect();
        reasons.dedup();
        let why = match reasons[..] {
            [] => "no more slots fit beside the others of its group".to_owned(),
            _ => reasons.join("; "),
        };
        remarks.push(Lowered {
            location,
            message: format!(
                "{what}, not {} slots and {} fragment sets: {why}",
                depths.shared_stages, depths.register_stages
            ),
        });
    }
    remarks
}

fn depth_of(entry: &LoopPlan) -> String {
    let range = |numbers: &mut dyn Iterator<Item = u32>| {
        let numbers: Vec<u32> = numbers.collect();
        match (numbers.iter().min(), numbers.iter().max()) {
            (Some(least), Some(most)) if least == most => least.to_string(),
            (Some(least), Some(most)) => format!("{least} to {most}"),
            _ => "1".to_owned(),
        }
    };
    let slots = range(&mut entry.buffers.iter().map(|buffer| buffer.slots));
    let distance = range(&mut entry.buffers.iter().map(|buffer| buffer.distance));
    let sets = range(&mut entry.registers.iter().map(|registers| registers.depth));
    let own = entry
        .registers
        .iter()
        .any(|registers| registers.loop_index == entry.loop_index);
    let direct = if own {
        ""
    } else {
        ", loads beside inner loops are not rotated"
    };
    format!("slots: {slots}, chunks ahead: {distance}, fragment sets: {sets}{direct}")
}
