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
mod single_slot;

use std::collections::{HashMap, HashSet};

use alcop_compiler::ir::{BufferId, Builder, Context, Module, Op, OpIndex, Value, preorder};

use crate::error::Error;
use crate::multi_buffer::{self, Buffer, Room};
use crate::plan::{self, PipelinePlan};
use crate::slice::erase_dead;
use check::PipelineLoop;
use rewrite::{Edges, rewrite};

/// Rewrites every loop of the plan. On an error the module is as it was.
pub fn expand(module: &mut Module<'_>, plan: &PipelinePlan) -> Result<(), Error> {
    if plan.schema != plan::SCHEMA {
        return Err(Error::PlanSchema { given: plan.schema });
    }
    let fingerprint = plan::fingerprint(module);
    if plan.fingerprint != fingerprint {
        return Err(Error::StalePlan {
            plan: plan.fingerprint.clone(),
            module: fingerprint,
        });
    }
    let context = module.context();
    {
        let loops = check::check(&OpIndex::new(module.op()), plan)?;
        let rings = Rings::new(&loops);
        rings.check(&plan.target)?;
        let edges: Vec<Edges> = loops.iter().map(|pipelined| rings.edges(pipelined, &loops)).collect();
        let made = rings.create(context);
        for (pipelined, edges) in loops.iter().zip(edges) {
            let own: Vec<Value<'_>> = pipelined
                .buffers
                .iter()
                .map(|planned| made[&(pipelined.kernel, planned.id.clone())])
                .collect();
            rewrite(context, pipelined, &own, edges);
        }
        rings.remove_buffers(context, module.op());
    }
    module.verify().map_err(|diagnostics| Error::Invalid {
        pass: "alcop-expand",
        diagnostics,
    })
}

/// A buffer that becomes a ring, with all loops that fill it.
struct Ring<'ir> {
    kernel: Op<'ir>,
    id: BufferId,
    buffer: Buffer<'ir>,
    slots: u32,
    room: Room,
}

/// The rings of a module.
struct Rings<'ir>(Vec<Ring<'ir>>);

impl<'ir> Rings<'ir> {
    /// One ring a buffer, as large as the loop with the most slots needs it, alive from the first to the last loop.
    fn new(loops: &[PipelineLoop<'ir>]) -> Self {
        let mut orders: HashMap<Op<'ir>, HashMap<Op<'ir>, usize>> = HashMap::new();
        let mut rings: Vec<Ring<'ir>> = Vec::new();
        for pipelined in loops {
            let kernel = pipelined.kernel;
            let order = orders.entry(kernel).or_insert_with(|| {
                let ops = preorder(kernel).into_iter().enumerate();
                ops.map(|(number, op)| (op, number)).collect()
            });
            let from = order[&pipelined.outer()];
            let to = from + preorder(pipelined.outer()).len();
            for planned in &pipelined.buffers {
                let known = rings
                    .iter_mut()
                    .find(|ring| ring.kernel == kernel && ring.id == planned.id);
                if let Some(ring) = known {
                    ring.slots = ring.slots.max(planned.slots);
                    ring.room.from = ring.room.from.min(from);
                    ring.room.to = ring.room.to.max(to);
                } else {
                    rings.push(Ring {
                        kernel,
                        id: planned.id.clone(),
                        buffer: planned.buffer.clone(),
                        slots: planned.slots,
                        room: Room { bytes: 0, from, to },
                    });
                }
            }
        }
        for ring in &mut rings {
            ring.room.bytes = u64::from(ring.slots) * ring.buffer.slot_bytes;
        }
        Rings(rings)
    }

    fn kernels(&self) -> Vec<Op<'ir>> {
        let mut kernels: Vec<Op<'ir>> = Vec::new();
        for ring in &self.0 {
            if !kernels.contains(&ring.kernel) {
                kernels.push(ring.kernel);
            }
        }
        kernels
    }

    fn of(&self, kernel: Op<'ir>) -> Vec<&Ring<'ir>> {
        self.0.iter().filter(|ring| ring.kernel == kernel).collect()
    }

    /// Offsets of a kernel's rings behind the dynamic shared memory that it already uses, and the end of them.
    fn layout(&self, kernel: Op<'ir>) -> (Vec<u64>, u64) {
        let own = self.of(kernel);
        let windows: HashSet<Value<'ir>> = own.iter().flat_map(|ring| ring.buffer.values.clone()).collect();
        let rooms: Vec<Room> = own.iter().map(|ring| ring.room).collect();
        multi_buffer::layout(&rooms, multi_buffer::dynamic_end_without(kernel, &windows))
    }

    /// All rings fit beside what stays in static shared memory.
    fn check(&self, target: &str) -> Result<(), Error> {
        for kernel in self.kernels() {
            let own = self
                .of(kernel)
                .iter()
                .flat_map(|ring| ring.buffer.values.clone())
                .collect();
            if let Some(unknown) = multi_buffer::use_at_unknown_place(kernel, &own) {
                return Err(multi_buffer::unknown_place(unknown));
            }
        }
        let Some(limit) = multi_buffer::shared_bytes_limit(target) else {
            return Ok(());
        };
        for kernel in self.kernels() {
            let own: HashSet<Value<'ir>> = self
                .of(kernel)
                .iter()
                .flat_map(|ring| ring.buffer.values.clone())
                .collect();
            let stays = multi_buffer::other_bytes(kernel, &own);
            let (_, end) = self.layout(kernel);
            if end + stays > limit {
                let rings: Vec<String> = self
                    .of(kernel)
                    .iter()
                    .map(|ring| format!("{} × {} B ({})", ring.slots, ring.buffer.slot_bytes, ring.buffer.ty))
                    .collect();
                let message = format!(
                    "the rings of the kernel, {}, end at {end} B beside {stays} B of other shared memory, and {target} \
                     allows {limit} B a block; use fewer slots or smaller tiles",
                    rings.join(" and ")
                );
                return Err(Error::refused("does-not-fit", kernel.location(), message));
            }
        }
        Ok(())
    }

    /// Whether two loops use the same bytes.
    fn share(&self, a: &PipelineLoop<'ir>, b: &PipelineLoop<'ir>) -> bool {
        if a.kernel != b.kernel {
            return false;
        }
        let (own, (offsets, _)) = (self.of(a.kernel), self.layout(a.kernel));
        let spans = |pipelined: &PipelineLoop<'ir>| -> Vec<(u64, u64)> {
            own.iter()
                .zip(&offsets)
                .filter(|(ring, _)| pipelined.buffers.iter().any(|planned| planned.id == ring.id))
                .map(|(ring, offset)| (*offset, offset + ring.room.bytes))
                .collect()
        };
        let others = spans(b);
        spans(a)
            .iter()
            .any(|(from, to)| others.iter().any(|(start, end)| from < end && start < to))
    }

    fn edges(&self, pipelined: &PipelineLoop<'ir>, all: &[PipelineLoop<'ir>]) -> Edges {
        let sharing = || {
            all.iter()
                .filter(|other| other.outer() != pipelined.outer() && self.share(pipelined, other))
        };
        let repeated = std::iter::successors(pipelined.outer().parent(), |op| op.parent())
            .take_while(|op| *op != pipelined.kernel)
            .any(|op| !op.is("scf.if"));
        Edges {
            // A loop of single slots keeps its own barriers, of which none need stand behind its last read.
            barrier_before: sharing().any(PipelineLoop::is_single_slot),
            drain_behind: repeated || sharing().next().is_some(),
        }
    }

    fn create(&self, context: &'ir Context) -> HashMap<(Op<'ir>, BufferId), Value<'ir>> {
        let mut made = HashMap::new();
        for kernel in self.kernels() {
            let (offsets, _) = self.layout(kernel);
            let entry = kernel.region(0).blocks().next().expect("a kernel has a body");
            let first = entry.first().expect("a block has a terminator");
            let builder = Builder::before(context, first).with_location(kernel.location());
            let dynamic = multi_buffer::dynamic_shared_memory(&builder);
            for (ring, offset) in self.of(kernel).iter().zip(offsets) {
                let builder = builder.with_location(ring.buffer.values[0].location());
                let value = multi_buffer::create(&builder, dynamic, ring.room.bytes, offset);
                made.insert((kernel, ring.id.clone()), value);
            }
        }
        made
    }

    /// Removes what became rings, and what nothing needs any more.
    fn remove_buffers(&self, context: &'ir Context, module: Op<'ir>) {
        for kernel in self.kernels() {
            let deallocations: Vec<Op<'ir>> = preorder(kernel)
                .into_iter()
                .filter(|op| op.is("memref.dealloc"))
                .collect();
            for op in deallocations {
                if self
                    .of(kernel)
                    .iter()
                    .any(|ring| ring.buffer.values.contains(&op.operand(0)))
                {
                    op.erase();
                }
            }
            for block in kernel.region(0).blocks() {
                erase_dead(block);
            }
            for ring in self.of(kernel) {
                if matches!(ring.id, BufferId::WorkgroupAttribution { .. }) || is_allocation(&ring.id) {
                    let value = ring.buffer.values[0];
                    assert!(!value.is_used(), "{value:?} became a ring and is still used");
                    multi_buffer::remove(context, value);
                }
            }
        }
        let symbols: HashSet<String> = self
            .0
            .iter()
            .filter_map(|ring| match &ring.id {
                BufferId::Global { symbol } => Some(symbol.clone()),
                _ => None,
            })
            .collect();
        multi_buffer::remove_globals(module, &symbols);
    }
}

fn is_allocation(id: &BufferId) -> bool {
    matches!(id, BufferId::OpResult { op, .. } if op == "memref.alloc" || op == "memref.alloca")
}
