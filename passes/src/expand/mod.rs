//! Rewrites planned loops into pipelines. Decides nothing: the plan says what, [`crate::waits`] says when to wait and to
//! refill, and for how many groups.
//!
//! ```text
//! for k { copy A[k] -> S; barrier; for i { f = load S[i]; mma f }; barrier }
//! // becomes, with 3 slots and 2 fragment sets,
//! copies of chunks 0, 1, 2, each committed; wait(2); barrier; f0 = load S[0][0]
//! for k (slot, f0) {
//!   f1 = load S[slot][1]; mma f0
//!   wait(1); barrier; copy A[k+3] -> S[slot]; commit; next = slot + 1, wrapped
//!   f0' = load S[next][0]; mma f1
//! }
//! ```
//!
//! Inner and outer pipeline are one (ALCOP, section on multi-level pipelines): the fragments of the next chunk are
//! loaded in the last steps of this one, and the copies run on across the loops around (`around` in the plan), so that
//! neither level drains inside the nest.
//!
//! ```text
//! rings     the memory of the slots
//! check     the plan's loops, buffers, copies and loads, found and held against every rule; nothing is changed
//! items     the loop body as a list: operations, steps of register loops, loads ahead
//! copies    the places that fill a buffer, with conditions and masks
//! nest      which chunk comes how many iterations later
//! fill      the copies of any chunk into any slot; emit: what is emitted for them
//! rewrite   prologue, steady state, drain; single_slot: where nothing overlaps
//! ```

mod check;
mod copies;
mod emit;
mod fill;
mod items;
mod nest;
mod rewrite;
mod rings;
mod single_slot;

use alcop_compiler::ir::{Context, Module, OpIndex, Value, enclosing};

use crate::error::Error;
use crate::plan::{self, PipelinePlan};
use rewrite::{Edges, rewrite};
use rings::Rings;

/// Rewrites every loop of the plan, with slots in plain layout and waits for everything: [`crate::waits::count`] relaxes
/// those, [`crate::swizzle::lay_out`] lays the slots out ([`crate::pipeline::transform`] does all three). On an error the
/// module is as it was.
pub fn expand(module: &mut Module<'_>, plan: &PipelinePlan) -> Result<(), Error> {
    plan.check_is_for(module)?;
    let context = module.context();
    {
        let mut loops = check::check(module.context(), &OpIndex::new(module.op()), plan)?;
        let mut rings = Rings::new(&loops)?;
        rings.check(&plan.target)?;
        let edges: Vec<Edges> = loops.iter().map(|pipelined| rings.edges(pipelined, &loops)).collect();
        let made = rings.create(context, false);
        // A rewritten loop is erased, with all that stands in it.
        rings.forget_inside(&loops);
        for pipelined in &mut loops {
            pipelined.forget_elsewhere();
        }
        for (number, (pipelined, edges)) in loops.iter().zip(edges).enumerate() {
            let own: Vec<Value<'_>> = pipelined
                .buffers
                .iter()
                .map(|planned| made[&(pipelined.kernel, planned.id.clone())].bytes)
                .collect();
            rewrite(context, (number, pipelined), &own, edges);
        }
        rings.replace_buffers(&made);
        rings.remove_buffers(context, module.op());
    }
    module.verify().map_err(|diagnostics| Error::Invalid {
        pass: "alcop-expand",
        diagnostics,
    })
}

/// Whether [`expand`] would obey a plan. Changes nothing.
pub fn accepts(module: &Module<'_>, plan: &PipelinePlan) -> Result<(), Error> {
    plan.check_is_for(module)?;
    let loops = check::check(module.context(), &OpIndex::new(module.op()), plan)?;
    Rings::new(&loops)?.check(&plan.target)
}

/// Whether all loops of a plan stand where it can rewrite them, which no depth changes.
pub(crate) fn accepts_places(index: &OpIndex<'_>, plan: &PipelinePlan) -> Result<(), Error> {
    check::check_places(index, plan)
}

/// Whether it would obey one loop of a plan, beside the others; but for the room that all rings need together.
pub(crate) fn accepts_loop(
    context: &Context,
    index: &OpIndex<'_>,
    plan: &PipelinePlan,
    number: usize,
) -> Result<(), Error> {
    check::check_one(context, index, plan, number)
}

/// Gives every buffer of the plan its ring, whose slot 0 stands for the buffer. Nothing else changes, but for barriers
/// between loops whose rings share bytes. Returns the plan for the module as it is then, which [`expand`] obeys in those
/// rings. On an error the module is as it was.
pub fn multi_buffer(module: &mut Module<'_>, plan: &PipelinePlan) -> Result<PipelinePlan, Error> {
    plan.check_is_for(module)?;
    let context = module.context();
    let mut renamed = plan.clone();
    {
        let before = OpIndex::new(module.op());
        let loops = check::check(module.context(), &before, plan)?;
        let rings = Rings::new(&loops)?;
        rings.check(&plan.target)?;
        let edges: Vec<Edges> = loops
            .iter()
            .map(|entry| rings.plain_edges(entry, &loops, |_| true))
            .collect();
        let made = rings.create(context, true);
        for (entry, edges) in loops.iter().zip(edges) {
            edges.fence(context, entry.outer());
        }
        rings.replace_buffers(&made);
        rings.remove_buffers(context, module.op());
        // Loops keep their numbers, and copies and loads theirs: a ring is made of operations of other names.
        let index = OpIndex::new(module.op());
        for entry in &mut renamed.loops {
            let number = entry.loop_index;
            for barrier in &mut entry.barriers {
                if let Some(id) = before.find(barrier).and_then(|op| index.id(op)) {
                    *barrier = id;
                }
            }
            let kernel = check::find_loop(&index, number)
                .ok()
                .and_then(|op| enclosing(op, "gpu.func"));
            for buffer in &mut entry.buffers {
                let ring = kernel.and_then(|kernel| made.get(&(kernel, buffer.buffer.clone())));
                if let Some(id) = ring.and_then(|ring| ring.id(&index)) {
                    buffer.buffer = id;
                }
            }
        }
    }
    renamed.fingerprint = plan::fingerprint(module);
    module.verify().map_err(|diagnostics| Error::Invalid {
        pass: "alcop-multi-buffer",
        diagnostics,
    })?;
    Ok(renamed)
}
