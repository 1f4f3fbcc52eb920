//! From verdicts to a plan: which buffers, how deep. Pure; changes nothing.

use alcop_compiler::detect::{BufferVerdict, Detection, Level, Verdict};
use alcop_compiler::ir::{BufferId, Module, Op, OpId, OpIndex, enclosing, preorder};

use crate::error::Error;
use crate::multi_buffer::{self, Access};
use crate::plan::{
    BufferPlan, Completion, CopyPlan, LoopPlan, PipelinePlan, RegisterPlan, SCHEMA, SharedLayout, Transport,
    fingerprint,
};
use crate::swizzle;

/// What is asked of every loop that can be pipelined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Depths {
    /// Slots in shared memory; 1 is no pipeline.
    pub shared_stages: u32,
    /// Fragment sets in registers; 1 is no pipeline.
    pub register_stages: u32,
    /// Where the pieces of a row lie.
    pub layout: SharedLayout,
}

/// Plans every loop whose buffers can be pipelined. Refuses depths that a buffer's verdict does not allow.
pub fn decide(
    module: &Module<'_>,
    detection: &Detection,
    target: &str,
    depths: &Depths,
) -> Result<PipelinePlan, Error> {
    if depths.shared_stages == 0 || depths.register_stages == 0 {
        let message = "0 stages; a level without a pipeline has 1";
        return Err(Error::refused("does-not-fit", "the request", message));
    }
    draft(module, detection, target, &|_, _| depths.clone())
}

/// The same with depths for each loop: `depths` gets the loop's number and the most slots that its buffers may have.
pub(crate) fn draft(
    module: &Module<'_>,
    detection: &Detection,
    target: &str,
    depths: &dyn Fn(usize, u32) -> Depths,
) -> Result<PipelinePlan, Error> {
    let index = OpIndex::new(module.op());
    let mut loops: Vec<LoopPlan> = Vec::new();
    for kernel in &detection.kernels {
        let first = loops.len();
        let most = |loop_index: usize| {
            let own = kernel.buffers.iter().filter(|buffer| {
                buffer.level == Level::Shared && buffer.loop_index == Some(loop_index) && runs_ahead(buffer)
            });
            own.map(most_slots).min().unwrap_or(1)
        };
        for buffer in &kernel.buffers {
            let Some(loop_index) = buffer.loop_index else { continue };
            if buffer.level != Level::Shared || !runs_ahead(buffer) {
                continue;
            }
            let depths = depths(loop_index, most(loop_index));
            check_depth(buffer, &depths)?;
            let plan = buffer_plan(&index, buffer, &depths)?;
            let entry = match loops.iter_mut().find(|entry| entry.loop_index == loop_index) {
                Some(entry) => entry,
                None => {
                    loops.push(LoopPlan {
                        loop_index,
                        around: buffer.around.clone(),
                        buffers: Vec::new(),
                        barriers: Vec::new(),
                        registers: Vec::new(),
                    });
                    loops.last_mut().expect("just pushed")
                }
            };
            let common = entry.around.iter().rev().zip(buffer.around.iter().rev());
            let common = common.take_while(|(a, b)| a == b).count();
            entry.around.drain(..entry.around.len() - common);
            entry.buffers.push(plan);
            for barrier in &buffer.barriers {
                if !entry.barriers.contains(barrier) {
                    entry.barriers.push(barrier.clone());
                }
            }
        }
        for entry in &mut loops[first..] {
            let depths = depths(entry.loop_index, most(entry.loop_index));
            entry.registers = register_plans(&index, entry, &kernel.buffers, &depths);
            number_syncs(&index, entry);
        }
    }
    keep_nests_apart(&mut loops);
    let mut plan = PipelinePlan {
        schema: SCHEMA,
        fingerprint: fingerprint(module),
        target: target.to_owned(),
        assumes: Vec::new(),
        loops,
    };
    plan.assumes = plan.rests_on(detection);
    Ok(plan)
}

/// One pipeline at most runs across a loop, and none across one that is pipelined itself.
fn keep_nests_apart(loops: &mut [LoopPlan]) {
    let mut taken: Vec<usize> = loops.iter().map(|entry| entry.loop_index).collect();
    for entry in loops {
        if entry.buffers.iter().all(|buffer| buffer.slots == 1) {
            entry.around.clear();
        }
        let free = entry
            .around
            .iter()
            .rev()
            .take_while(|around| !taken.contains(around))
            .count();
        entry.around.drain(..entry.around.len() - free);
        taken.extend(&entry.around);
    }
}

/// Buffers whose first reads are apart by work that takes long, such as attention's keys and values, are waited for
/// apart.
fn number_syncs(index: &OpIndex<'_>, entry: &mut LoopPlan) {
    let (Some(op), true) = (find_loop(index, entry.loop_index), entry.buffers.len() > 1) else {
        return;
    };
    let (Some(kernel), Some(body)) = (enclosing(op, "gpu.func"), op.body()) else {
        return;
    };
    let ops = body.ops();
    let place = |inner: Op<'_>| ops.iter().position(|op| inner.is_within(*op));
    let firsts: Vec<Option<usize>> = entry
        .buffers
        .iter()
        .map(|buffer| {
            let uses = multi_buffer::find(index, kernel, &buffer.buffer).ok()?.uses;
            let reads = uses
                .into_iter()
                .filter(|used| matches!(multi_buffer::access(*used), Some(Access::Read(_))));
            reads.filter_map(|used| place(used.op)).min()
        })
        .collect();
    let heavy = |op: &Op<'_>| {
        preorder(*op).into_iter().any(|op| {
            op.is("scf.for")
                || op.name().contains(".mma.sync")
                || op.name().contains("mma_compute")
                || op.is("vector.contract")
        })
    };
    let mut order: Vec<usize> = firsts.iter().flatten().copied().collect();
    order.sort_unstable();
    order.dedup();
    for (buffer, first) in entry.buffers.iter_mut().zip(firsts) {
        // The number of heavy stretches between the first read of all and this one.
        let steps = order
            .windows(2)
            .take_while(|pair| first.is_some_and(|first| pair[1] <= first));
        let apart = steps.filter(|pair| ops[pair[0]..pair[1]].iter().any(heavy));
        buffer.sync = apart.count() as u32;
    }
    entry.renumber_syncs();
}

fn runs_ahead(buffer: &BufferVerdict) -> bool {
    buffer.verdict == Verdict::Pipelinable || buffer.staged_depth.is_some()
}

fn most_slots(buffer: &BufferVerdict) -> u32 {
    buffer.max_depth.or(buffer.staged_depth).unwrap_or(1)
}

fn check_depth(buffer: &BufferVerdict, depths: &Depths) -> Result<(), Error> {
    let most = most_slots(buffer);
    if depths.shared_stages <= most {
        return Ok(());
    }
    let message = format!(
        "cannot give the buffer {} ({} B) {} slots beside the others of its group; at most {most} fit",
        buffer.ty, buffer.bytes, depths.shared_stages
    );
    Err(Error::refused("does-not-fit", &buffer.location, message))
}

fn buffer_plan(index: &OpIndex<'_>, buffer: &BufferVerdict, depths: &Depths) -> Result<BufferPlan, Error> {
    let Some(narrowest) = buffer.copies.iter().map(|copy| copy.bytes).min() else {
        return Err(Error::refused(
            "not-a-pure-copy",
            &buffer.location,
            "a pipelinable buffer without copies",
        ));
    };
    let synchronous = depths.shared_stages == 1;
    // What no copy differs from is said once.
    let asynchronous = buffer.copies.iter().filter(|copy| !copy.staged);
    let width_bytes = asynchronous.map(|copy| copy.bytes).min().unwrap_or(narrowest);
    let transport_of = |staged: bool| match (synchronous, staged) {
        (true, _) => Transport::Synchronous,
        (false, true) => Transport::RegisterStaged,
        (false, false) => Transport::CpAsync,
    };
    let transport = transport_of(buffer.copies.iter().all(|copy| copy.staged));
    Ok(BufferPlan {
        buffer: buffer.id.clone(),
        slots: depths.shared_stages,
        distance: depths.shared_stages - 1,
        transport,
        completion: match transport {
            Transport::CpAsync => Completion::CommitGroup,
            Transport::RegisterStaged | Transport::Synchronous => Completion::Barrier,
        },
        width_bytes,
        layout: layout(index, buffer, depths.layout),
        sync: 0,
        copies: buffer
            .copies
            .iter()
            .map(|copy| CopyPlan {
                load: copy.load.clone(),
                store: copy.store.clone(),
                width_bytes: Some(copy.bytes).filter(|bytes| *bytes != width_bytes),
                transport: Some(transport_of(copy.staged)).filter(|own| *own != transport),
            })
            .collect(),
        reused: buffer.reused,
    })
}

/// The layout that was asked for, where the buffer's rows and accesses allow it.
fn layout(index: &OpIndex<'_>, buffer: &BufferVerdict, wanted: SharedLayout) -> SharedLayout {
    let found = || {
        let id = OpId {
            op: "scf.for".to_owned(),
            index: buffer.loop_index?,
        };
        let scope = index.find(&id)?;
        let found = multi_buffer::find(index, enclosing(scope, "gpu.func")?, &buffer.id);
        Some(found.ok()?.used_in(scope))
    };
    match wanted {
        SharedLayout::Xor if found().is_some_and(|buffer| swizzle::check(&buffer).is_err()) => SharedLayout::Plain,
        wanted => wanted,
    }
}

/// The register loads that the buffers of a loop feed, by the loop that holds them. The loads of one loop are rotated
/// together or not at all.
fn register_plans(
    index: &OpIndex<'_>,
    entry: &LoopPlan,
    buffers: &[BufferVerdict],
    depths: &Depths,
) -> Vec<RegisterPlan> {
    let scope = find_loop(index, entry.loop_index);
    // A buffer that several loops fill is read in each of them.
    let is_mine = |number: usize| {
        let inner = find_loop(index, number);
        inner.zip(scope).is_some_and(|(inner, scope)| inner.is_within(scope))
    };
    let reads = buffers.iter().filter(|load| {
        let source = load.source.as_ref();
        load.level == Level::Register
            && source.is_some_and(|source| entry.buffers.iter().any(|buffer| buffer.buffer == *source))
    });
    let mut by_loop: Vec<(usize, Vec<&BufferVerdict>)> = Vec::new();
    for load in reads {
        let own = load.loop_index == Some(entry.loop_index) && depths.register_stages > 1;
        let inner = load.inner_loop.filter(|number| is_mine(*number));
        let Some(loop_index) = inner.or(load.loop_index.filter(|_| own)) else {
            continue;
        };
        match by_loop.iter_mut().find(|(index, _)| *index == loop_index) {
            Some((_, loads)) => loads.push(load),
            None => by_loop.push((loop_index, vec![load])),
        }
    }
    let depth = depths.register_stages;
    by_loop
        .into_iter()
        .filter(|(_, loads)| loads.iter().all(|load| load.verdict == Verdict::Pipelinable))
        .map(|(loop_index, loads)| RegisterPlan {
            loop_index,
            depth,
            read_ahead: depth - 1,
            loads: loads.into_iter().filter_map(op_id).collect(),
        })
        .collect()
}

fn find_loop<'ir>(index: &OpIndex<'ir>, number: usize) -> Option<Op<'ir>> {
    index.find(&OpId {
        op: "scf.for".to_owned(),
        index: number,
    })
}

fn op_id(load: &BufferVerdict) -> Option<OpId> {
    match &load.id {
        BufferId::OpResult { op, index } => Some(OpId {
            op: op.clone(),
            index: *index,
        }),
        _ => None,
    }
}
