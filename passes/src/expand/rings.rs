//! The memory of the slots: one ring a buffer, however many loops fill it.
//!
//! ```text
//! loop 0 fills %a (3 slots) and %b (2)      rings at 0 and 24576 of dynamic shared memory
//! loop 1 fills %c (4 slots), behind it      ring at 0 too, with a barrier between
//! ```

use std::collections::{HashMap, HashSet};

use alcop_compiler::ir::{BufferId, Builder, Context, Op, OpIndex, Value, constant_index, preorder, windows};

use super::check::PipelineLoop;
use super::rewrite::Edges;
use crate::error::Error;
use crate::multi_buffer::{self, Buffer, Room};
use crate::place;
use crate::slice::erase_dead;

/// A buffer that becomes a ring, with all loops that fill it.
struct Ring<'ir> {
    kernel: Op<'ir>,
    id: BufferId,
    buffer: Buffer<'ir>,
    slots: u32,
    room: Room,
    /// The ring that the buffer already is slot 0 of, and its place in dynamic shared memory.
    known: Option<(Value<'ir>, u64)>,
    /// What uses the buffer outside of its loops.
    outside: Vec<Op<'ir>>,
    /// What uses other memory of the kernel that has bytes of the buffer, and may have bytes of the ring.
    neighbours: Vec<Op<'ir>>,
}

/// The memory of a ring in the module.
#[derive(Clone, Copy, Debug)]
pub struct Made<'ir> {
    /// All slots, as bytes.
    pub bytes: Value<'ir>,
    /// The first slot, with the type of the buffer, where something needs it.
    first: Option<Value<'ir>>,
}

impl Made<'_> {
    /// The name of the first slot.
    pub fn id(&self, index: &OpIndex<'_>) -> Option<BufferId> {
        let id = index.id(self.first?.def_op()?)?;
        Some(BufferId::OpResult {
            op: id.op,
            index: id.index,
        })
    }
}

/// The rings by kernel and buffer.
pub type AllMade<'ir> = HashMap<(Op<'ir>, BufferId), Made<'ir>>;

/// The rings of a module.
pub struct Rings<'ir>(Vec<Ring<'ir>>);

impl<'ir> Rings<'ir> {
    /// One ring a buffer, as large as the loop with the most slots needs it, alive from the first to the last loop or
    /// other use.
    pub fn new(loops: &[PipelineLoop<'ir>]) -> Result<Self, Error> {
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
                        room: Room {
                            bytes: 0,
                            from,
                            to,
                            above: 0,
                        },
                        known: ring_of(&planned.buffer),
                        outside: Vec::new(),
                        neighbours: Vec::new(),
                    });
                }
            }
        }
        let own: HashSet<Value<'ir>> = rings.iter().flat_map(|ring| ring.buffer.values.clone()).collect();
        for ring in &mut rings {
            ring.room.bytes = u64::from(ring.slots) * ring.buffer.slot_bytes;
            let fills = |entry: &&PipelineLoop<'ir>| {
                entry.kernel == ring.kernel && entry.buffers.iter().any(|planned| planned.id == ring.id)
            };
            let nests: Vec<Op<'ir>> = loops.iter().filter(fills).map(PipelineLoop::outer).collect();
            let uses = ring.buffer.uses.iter().map(|used| used.op);
            ring.outside = uses
                .filter(|op| !op.is("memref.dealloc") && !nests.iter().any(|nest| op.is_within(*nest)))
                .collect();
            let order = &orders[&ring.kernel];
            for op in &ring.outside {
                ring.room.from = ring.room.from.min(order[op]);
                ring.room.to = ring.room.to.max(order[op] + 1);
            }
            ring.find_neighbours(&own, &nests);
            ring.check_known()?;
        }
        Ok(Rings(rings))
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

    /// Offsets of a kernel's rings, and the end of dynamic shared memory: those that are to be made stand behind what the
    /// kernel already uses, but for what has bytes of their buffer now.
    fn layout(&self, kernel: Op<'ir>) -> (Vec<u64>, u64) {
        let own = self.of(kernel);
        let windows: HashSet<Value<'ir>> = own.iter().flat_map(|ring| ring.buffer.values.clone()).collect();
        let stays = windows::windows(kernel)
            .into_iter()
            .filter(|(value, ..)| !windows.contains(value));
        let stays = stays.map(|(_, _, end)| end).max().unwrap_or(0);
        let new = own.iter().filter(|ring| ring.known.is_none());
        let rooms: Vec<Room> = new.map(|ring| ring.room).collect();
        let (offsets, end) = multi_buffer::layout(&rooms);
        let mut offsets = offsets.into_iter();
        let places = own
            .iter()
            .map(|ring| match ring.known {
                Some((_, offset)) => offset,
                None => offsets.next().expect("one for each that is to be made"),
            })
            .collect();
        (places, end.max(stays))
    }

    /// All rings fit beside what stays in static shared memory.
    pub fn check(&self, target: &str) -> Result<(), Error> {
        for kernel in self.kernels() {
            let own = self
                .of(kernel)
                .iter()
                .flat_map(|ring| ring.buffer.values.clone())
                .collect();
            if let Some(unknown) = windows::use_at_unknown_place(kernel, &own) {
                return Err(place::unknown_place(unknown));
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
                let field = "loops[…].buffers[…].slots";
                return Err(Error::refused("does-not-fit", kernel.location(), message).within(field));
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

    /// What a loop must put between itself and what else uses the bytes of its rings.
    pub fn edges(&self, pipelined: &PipelineLoop<'ir>, all: &[PipelineLoop<'ir>]) -> Edges {
        if pipelined.is_single_slot() {
            return self.plain_edges(pipelined, all, PipelineLoop::is_single_slot);
        }
        let outer = pipelined.outer();
        let around: Vec<Op<'ir>> = std::iter::successors(outer.parent(), |op| op.parent())
            .take_while(|op| *op != pipelined.kernel)
            .filter(|op| !op.is("scf.if"))
            .collect();
        let order = preorder(pipelined.kernel);
        let at = |op: Op<'ir>| order.iter().position(|other| *other == op);
        let sharing = self.sharing(pipelined, all);
        // Uses beside the loops, of the rings of this one and of those that share bytes with them.
        let beside: Vec<Op<'ir>> = std::iter::once(pipelined)
            .chain(sharing.iter().copied())
            .flat_map(|entry| self.used_beside(entry))
            .filter(|op| !op.is_within(outer))
            .collect();
        let repeated = |op: &Op<'ir>| around.iter().any(|around| op.is_within(*around));
        Edges {
            // Of the barriers of a loop of single slots, none need stand behind its last read.
            barrier_before: sharing.iter().any(|other| other.is_single_slot())
                || beside.iter().any(|op| at(*op) < at(outer) || repeated(op)),
            drain_behind: !around.is_empty() || !sharing.is_empty() || beside.iter().any(|op| at(*op) > at(outer)),
        }
    }

    /// The same for a loop that keeps its own barriers: they order everything but what shares its bytes now. `keeps`:
    /// whether another loop keeps its own, too.
    pub fn plain_edges(
        &self,
        pipelined: &PipelineLoop<'ir>,
        all: &[PipelineLoop<'ir>],
        keeps: impl Fn(&PipelineLoop<'ir>) -> bool,
    ) -> Edges {
        let sharing = self.sharing(pipelined, all);
        let foreign = sharing.iter().any(|other| !self.used_beside(other).is_empty());
        Edges {
            barrier_before: foreign || sharing.into_iter().any(keeps),
            drain_behind: foreign,
        }
    }

    /// The other loops that use bytes of a loop's rings.
    fn sharing<'a>(&self, pipelined: &PipelineLoop<'ir>, all: &'a [PipelineLoop<'ir>]) -> Vec<&'a PipelineLoop<'ir>> {
        all.iter()
            .filter(|other| other.outer() != pipelined.outer() && self.share(pipelined, other))
            .collect()
    }

    /// Uses of a loop's buffers outside of all loops that fill them, and of what has their bytes.
    fn used_beside(&self, entry: &PipelineLoop<'ir>) -> Vec<Op<'ir>> {
        let mine = |ring: &&Ring<'ir>| entry.buffers.iter().any(|planned| planned.id == ring.id);
        let rings = self.of(entry.kernel).into_iter().filter(mine);
        rings
            .flat_map(|ring| [&ring.outside[..], &ring.neighbours].concat())
            .collect()
    }

    /// Makes every ring that is not there yet, and a view of the first slot for what uses the buffer beside its loops.
    pub fn create(&self, context: &'ir Context, all_first: bool) -> AllMade<'ir> {
        let mut made = HashMap::new();
        for kernel in self.kernels() {
            let (offsets, _) = self.layout(kernel);
            let entry = kernel.region(0).blocks().next().expect("a kernel has a body");
            let first = entry.first().expect("a block has a terminator");
            let builder = Builder::before(context, first).with_location(kernel.location());
            let own = self.of(kernel);
            let dynamic = own
                .iter()
                .any(|ring| ring.known.is_none())
                .then(|| multi_buffer::dynamic_shared_memory(&builder));
            for (ring, offset) in own.into_iter().zip(offsets) {
                let builder = builder.with_location(ring.buffer.values[0].location());
                let of_ring = match (ring.known, dynamic) {
                    (None, Some(dynamic)) => {
                        let bytes = multi_buffer::create(&builder, dynamic, ring.room.bytes, offset);
                        let needed = all_first || !ring.outside.is_empty();
                        Made {
                            bytes,
                            first: needed.then(|| multi_buffer::slot(&builder, &ring.buffer, bytes, builder.index(0))),
                        }
                    }
                    (Some((bytes, _)), _) => Made {
                        bytes,
                        first: Some(ring.buffer.values[0]),
                    },
                    (None, None) => unreachable!("dynamic shared memory is there for rings that are to be made"),
                };
                made.insert((kernel, ring.id.clone()), of_ring);
            }
        }
        made
    }

    /// Forgets what stands for the buffers inside of the loops, whose rewrites replace it.
    pub fn forget_inside(&mut self, loops: &[PipelineLoop<'ir>]) {
        let nests: Vec<Op<'ir>> = loops.iter().map(PipelineLoop::outer).collect();
        let inside = |value: &Value<'ir>| {
            let op = value.def_op();
            op.is_some_and(|op| nests.iter().any(|nest| op.is_within(*nest)))
        };
        for ring in &mut self.0 {
            ring.buffer.values.retain(|value| !inside(value));
        }
    }

    /// The first slot stands for the buffer wherever something still uses that.
    pub fn replace_buffers(&self, made: &AllMade<'ir>) {
        for ring in &self.0 {
            let Some(first) = made.get(&(ring.kernel, ring.id.clone())).and_then(|made| made.first) else {
                continue;
            };
            for value in ring.buffer.values.iter().filter(|value| **value != first) {
                for used in value.uses() {
                    if used.op.is("memref.dealloc") {
                        used.op.erase();
                    }
                }
                value.replace_all_uses_with(first);
            }
        }
    }

    /// Removes what became rings, and what nothing needs any more.
    pub fn remove_buffers(&self, context: &'ir Context, module: Op<'ir>) {
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

impl<'ir> Ring<'ir> {
    /// Memory that the kernel itself keeps apart from the buffer in time, though not in place, may lie over the ring;
    /// all other memory that stays at a constant place stands before it. `own`: the buffers that become rings.
    fn find_neighbours(&mut self, own: &HashSet<Value<'ir>>, nests: &[Op<'ir>]) {
        let place = multi_buffer::window_of(&self.buffer);
        for (value, start, end) in windows::windows(self.kernel) {
            if own.contains(&value) || self.known.is_some_and(|(bytes, _)| bytes == value) {
                continue;
            }
            let over = place.is_some_and(|(_, from, to)| start < to && from < end);
            let accesses = multi_buffer::accesses_of(value).filter(|_| over);
            let beside = |op: &Op<'ir>| !nests.iter().any(|nest| op.is_within(*nest));
            match accesses.filter(|accesses| accesses.iter().all(beside)) {
                Some(accesses) => self.neighbours.extend(accesses),
                None => self.room.above = self.room.above.max(end),
            }
        }
    }

    /// A ring that is there already has room for all slots.
    fn check_known(&self) -> Result<(), Error> {
        let Some((bytes, _)) = self.known else { return Ok(()) };
        let has = bytes
            .ty()
            .as_memref()
            .and_then(|memref| memref.static_bytes())
            .unwrap_or(0);
        if has < self.room.bytes {
            let message = format!(
                "the ring of {} has {has} B, and the plan's {} slots need {} B; run alcop-multi-buffer with that plan",
                self.buffer.ty, self.slots, self.room.bytes
            );
            return Err(Error::refused("does-not-fit", bytes.location(), message));
        }
        Ok(())
    }
}

/// The ring that a buffer is the first slot of, as `alcop-multi-buffer` leaves it, and where that stands: a view at 0 of
/// bytes at a constant place of dynamic shared memory, which nothing else uses.
fn ring_of<'ir>(buffer: &Buffer<'ir>) -> Option<(Value<'ir>, u64)> {
    let [value] = buffer.values.as_slice() else { return None };
    let mut view = value.def_op()?;
    if view.is("builtin.unrealized_conversion_cast") {
        view = view.operand(0).def_op()?;
    }
    let ring = Some(view).filter(|view| view.is("memref.view") && constant_index(view.operand(1)) == Some(0))?;
    let bytes = ring.operand(0);
    let whole = bytes.def_op().filter(|op| op.is("memref.view"))?;
    let dynamic = whole.operand(0).def_op()?.is("gpu.dynamic_shared_memory");
    let alone = bytes.uses().len() == 1;
    let offset = constant_index(whole.operand(1)).and_then(|offset| u64::try_from(offset).ok())?;
    (dynamic && alone).then_some((bytes, offset))
}

fn is_allocation(id: &BufferId) -> bool {
    matches!(id, BufferId::OpResult { op, .. } if op == "memref.alloc" || op == "memref.alloca")
}
