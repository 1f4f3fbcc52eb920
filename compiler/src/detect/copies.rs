//! The copies into a buffer: what they look like, and the checks that `cp.async` can do them ahead of time.
//!
//! ```text
//! %v = vector.load %a[…]; vector.store %v, %s[…]                        a copy
//! %v = vector.transfer_read %a[…], %zero, %mask; … transfer_write       a copy with zero fill
//! memref.copy %tile, %s                                                 a copy that all threads share
//! %v = vector.load …; %w = arith.mulf %v, %scale; vector.store %w       a copy after sinking
//! ```

use super::affine;
use super::effects::{Transfer, accesses, contiguous_bytes, is_id, is_zero, transfer};
use super::evaluate::static_trip;
use super::footprint::{is_uniform, loops_between};
use super::graph::{EdgeKind, LoopGraph};
use super::kernel::Touch;
use super::memory::{Root, Space, is_view};
use super::shared::Case;
use super::verdict::{CopyOps, ReasonCode};
use crate::ir::{Attr, Def, Op, Value, constant_index};

/// What `cp.async` moves (PTX ISA, "cp.async": cp-size is 4, 8 or 16).
const WIDTHS: [u64; 3] = [16, 8, 4];

/// One place that writes the buffer in the loop.
#[derive(Clone, Debug)]
pub struct Site<'ir> {
    pub touch: Touch<'ir>,
    /// The load of what it stores; `None` where it stores zeros.
    pub load: Option<Touch<'ir>>,
    /// Element-wise operations between load and store, the last one first.
    pub chain: Vec<Op<'ir>>,
    /// Conditions that it stands under: the `scf.if`, and whether it stands in its first region.
    pub conditions: Vec<(Op<'ir>, bool)>,
    /// Bytes of one asynchronous copy.
    pub bytes: u32,
}

/// Where a stored value comes from.
struct Traced<'ir> {
    load: Op<'ir>,
    chain: Vec<Op<'ir>>,
    /// Conditions that replace it by zeros, and the operations that do so.
    guards: Vec<Value<'ir>>,
    passed: Vec<Op<'ir>>,
}

impl<'ir> Case<'_, 'ir> {
    /// The places of the loop that write the buffer, if each is understood; failing checks are reasons.
    pub fn copies(&mut self, scope: Op<'ir>, graph: &LoopGraph<'ir>) -> Vec<Site<'ir>> {
        let stores: Vec<Touch<'ir>> = self
            .stores
            .iter()
            .filter(|store| self.scene.is_inside(store.op, scope))
            .cloned()
            .collect();
        let mut sites = Vec::new();
        for store in stores {
            let Some(conditions) = self.conditions(store.op, scope) else {
                continue;
            };
            let site = match store.op.name() {
                "memref.copy" | "nvgpu.device_async_copy" => self.whole(&store, conditions, scope, graph),
                "vector.store" | "memref.store" | "vector.transfer_write" => {
                    self.moved(&store, conditions, scope, graph)
                }
                "vector.maskedstore" => {
                    let message = "the store is masked, and what it leaves out is not filled";
                    self.refuse(ReasonCode::NotFullyOverwritten, store.op, message);
                    None
                }
                name => {
                    let message = format!("{name} is no copy that could be asynchronous");
                    self.refuse(ReasonCode::NotAPureCopy, store.op, message);
                    None
                }
            };
            sites.extend(site);
        }
        if sites.iter().all(|site| site.load.is_none()) && self.reasons.is_empty() {
            self.refuse_buffer(
                ReasonCode::NotAPureCopy,
                "nothing that is understood as a copy fills the buffer",
            );
        }
        sites
    }

    /// The copies as plain data.
    pub fn copy_ops(&self, sites: &[Site<'ir>]) -> Vec<CopyOps> {
        let copies = sites.iter().filter_map(|site| {
            Some(CopyOps {
                load: self.scene.index.id(site.load.as_ref()?.op)?,
                store: self.scene.index.id(site.touch.op)?,
                bytes: site.bytes,
            })
        });
        copies.collect()
    }

    /// The conditions around an operation in the loop; only loops of static bounds may stand around it beside them.
    fn conditions(&mut self, op: Op<'ir>, scope: Op<'ir>) -> Option<Vec<(Op<'ir>, bool)>> {
        let mut found = Vec::new();
        let mut block = op.block()?;
        while let Some(parent) = block.parent().filter(|parent| *parent != scope) {
            match parent.name() {
                "scf.for" | "affine.for" if static_trip(parent).is_some() => {}
                "scf.for" | "affine.for" => {
                    let message = "the copies stand in an inner loop of unknown bounds";
                    self.refuse(ReasonCode::NotSequential, parent, message);
                    return None;
                }
                "scf.if" => {
                    let first = parent.regions().next().and_then(|region| region.blocks().next());
                    found.push((parent, first == Some(block)));
                }
                name => {
                    let message = format!("the copies stand inside {name}");
                    self.refuse(ReasonCode::NotSequential, parent, message);
                    return None;
                }
            }
            block = parent.block()?;
        }
        Some(found)
    }

    /// A store of what a load loaded.
    fn moved(
        &mut self,
        store: &Touch<'ir>,
        conditions: Vec<(Op<'ir>, bool)>,
        scope: Op<'ir>,
        graph: &LoopGraph<'ir>,
    ) -> Option<Site<'ir>> {
        let value = store.op.operand(0);
        if store.op.is("vector.transfer_write") {
            let shape = transfer(store.op, store.access);
            if shape.mask.is_some() {
                let message = "the write is masked, and what it leaves out is not filled";
                self.refuse(ReasonCode::NotFullyOverwritten, store.op, message);
                return None;
            }
            if !shape.straight {
                self.refuse(
                    ReasonCode::NotAPureCopy,
                    store.op,
                    "the write permutes or broadcasts dimensions",
                );
                return None;
            }
        }
        if is_zero(value) && !conditions.is_empty() {
            self.ahead(store.op, &index_operands(store), graph);
            return Some(Site {
                touch: store.clone(),
                load: None,
                chain: Vec::new(),
                conditions,
                bytes: 0,
            });
        }
        if carries_load(value, scope) {
            let message = "it stores what an earlier iteration loaded: the loop already runs ahead by itself";
            self.refuse(ReasonCode::AlreadyPipelined, store.op, message);
            return None;
        }
        let Some(traced) = self.trace(value, scope) else {
            let message = "what is stored is not what one load loaded, be it with element-wise work on it that is the \
                           same for every thread and iteration";
            self.refuse(ReasonCode::NotAPureCopy, store.op, message);
            return None;
        };
        let load = self.source(&traced, store, scope)?;
        let ty = traced.load.result(0).ty();
        let bytes = contiguous_bytes(ty);
        let Some(piece) = bytes.and_then(|bytes| match bytes {
            4 | 8 | 16 => Some(bytes),
            _ if bytes > 0 && bytes.is_multiple_of(16) => Some(16),
            _ => None,
        }) else {
            let message = format!("a copy moves a {ty}, and cp.async moves 4, 8 or 16 contiguous bytes");
            self.refuse(ReasonCode::WidthUnsupported, store.op, message);
            return None;
        };
        self.alignment(&load, piece);
        if traced.chain.is_empty() {
            self.alignment(store, piece);
        }
        let mut ahead = index_operands(&load);
        ahead.push(load.op.operand(load.access.memref));
        ahead.extend(traced.guards.iter().copied());
        ahead.extend(conditions.iter().map(|(op, _)| op.operand(0)));
        self.ahead(load.op, &ahead, graph);
        self.ahead(store.op, &index_operands(store), graph);
        Some(Site {
            touch: store.clone(),
            load: Some(load),
            chain: traced.chain,
            conditions,
            bytes: piece as u32,
        })
    }

    /// `memref.copy` and `nvgpu.device_async_copy`: load and store in one.
    fn whole(
        &mut self,
        store: &Touch<'ir>,
        conditions: Vec<(Op<'ir>, bool)>,
        scope: Op<'ir>,
        graph: &LoopGraph<'ir>,
    ) -> Option<Site<'ir>> {
        let op = store.op;
        let access = accesses(op).into_iter().find(|access| !access.writes)?;
        let load = Touch {
            op,
            at: store.at,
            access,
            place: self.scene.memory.place(op.operand(access.memref)),
            writes: false,
        };
        if !self.scene.memory.is_global(&load.place) {
            let message = "the copy is not from an argument or a global in global memory";
            self.refuse(ReasonCode::NotAPureCopy, op, message);
            return None;
        }
        let piece = if op.is("memref.copy") {
            self.row_piece(&load, store)?
        } else {
            self.waited_for(op, scope);
            let element = op.operand(store.access.memref).ty().memref_element()?.bytes();
            let elements = op
                .attr("dstElements")
                .and_then(Attr::as_int)
                .and_then(|count| u64::try_from(count).ok());
            let bytes = element
                .zip(elements)
                .map(|(element, count)| element.saturating_mul(count));
            let Some(piece) = bytes.filter(|bytes| WIDTHS.contains(bytes)) else {
                let message = format!("an asynchronous copy of {bytes:?} bytes; 4, 8 and 16 are possible");
                self.refuse(ReasonCode::WidthUnsupported, op, message);
                return None;
            };
            self.alignment(&load, piece);
            self.alignment(store, piece);
            piece
        };
        let mut ahead: Vec<Value<'ir>> = op.operands().collect();
        ahead.extend(conditions.iter().map(|(op, _)| op.operand(0)));
        self.ahead(op, &ahead, graph);
        Some(Site {
            touch: store.clone(),
            load: Some(load),
            chain: Vec::new(),
            conditions,
            bytes: piece as u32,
        })
    }

    /// The bytes that a `memref.copy` can move at once, all threads sharing the work.
    fn row_piece(&mut self, load: &Touch<'ir>, store: &Touch<'ir>) -> Option<u64> {
        let op = store.op;
        let mut best = 16;
        for touch in [load, store] {
            let memref = op.operand(touch.access.memref).ty().as_memref();
            let Some((memref, element)) = memref.and_then(|memref| Some((memref.clone(), memref.element.bytes()?)))
            else {
                self.refuse(
                    ReasonCode::NotContiguous,
                    op,
                    "a memref of the copy has no strided layout of whole bytes",
                );
                return None;
            };
            if memref.strides.last().is_some_and(|stride| *stride != Some(1)) {
                self.refuse(ReasonCode::NotContiguous, op, "the last dimension is not contiguous");
                return None;
            }
            let Some(row) = memref.shape.last().map_or(Some(1), |extent| *extent) else {
                self.refuse(
                    ReasonCode::NotContiguous,
                    op,
                    "the rows of the copy have no static size",
                );
                return None;
            };
            let row = row.unsigned_abs().saturating_mul(element);
            if !row.is_multiple_of(4) || row == 0 {
                let message = format!("rows of {row} bytes, and cp.async moves 4, 8 or 16 contiguous bytes");
                self.refuse(ReasonCode::WidthUnsupported, op, message);
                return None;
            }
            let base = self.base_alignment(touch);
            let strides = memref.strides.iter().rev().skip(1);
            let apart = strides.map(|stride| stride.unwrap_or(1).unsigned_abs().saturating_mul(element));
            let place = self.scene.memory.place(op.operand(touch.access.memref));
            let steps = apart.fold(row, gcd);
            let known = |width| gcd(place.alignment(&place.origin, base, width), steps);
            let found = WIDTHS.into_iter().find(|width| known(*width).is_multiple_of(*width));
            let Some(width) = found else {
                let known = known(4);
                let message = format!("its rows are only known to start at multiples of {known} bytes; 4 are needed");
                self.refuse(ReasonCode::AlignmentUnproven, op, message);
                return None;
            };
            best = best.min(width);
        }
        Some(best)
    }

    /// An asynchronous copy of the input must be waited for in its own iteration, with none left in flight.
    fn waited_for(&mut self, op: Op<'ir>, scope: Op<'ir>) {
        let inside = self.scene.inside(scope);
        let behind = self.scene.at(op).map_or(0, |at| at + 1);
        let wait = self.scene.ops[behind..inside.end]
            .iter()
            .find(|op| op.is("nvgpu.device_async_wait"));
        match wait {
            None => {
                let message = "the asynchronous copy is not waited for in its iteration: it already runs ahead";
                self.refuse(ReasonCode::AlreadyPipelined, op, message);
            }
            Some(wait) if wait.attr("numGroups").and_then(Attr::as_int).unwrap_or(0) != 0 => {
                let message = "the wait leaves groups in flight: the loop already runs ahead by itself";
                self.refuse(ReasonCode::AlreadyPipelined, *wait, message);
            }
            Some(wait) if wait.parent() != Some(scope) && wait.block() != op.block() => {
                self.refuse(
                    ReasonCode::AlreadyPipelined,
                    *wait,
                    "the wait stands under a condition of its own",
                );
            }
            Some(_) => {}
        }
    }

    /// The load behind a value: itself, or behind element-wise operations on it and on what is the same everywhere.
    fn trace(&self, value: Value<'ir>, scope: Op<'ir>) -> Option<Traced<'ir>> {
        let mut traced: Option<Traced<'ir>> = None;
        let (mut chain, mut guards, mut passed) = (Vec::new(), Vec::new(), Vec::new());
        let mut open = vec![value];
        // More operations than any element-wise chain has; a bound for expressions that share parts.
        for _ in 0..200 {
            let Some(value) = open.pop() else {
                let mut traced = traced?;
                (traced.chain, traced.guards, traced.passed) = (chain, guards, passed);
                return Some(traced);
            };
            let op = value.def_op().filter(|op| self.scene.is_inside(*op, scope));
            let Some(op) = op else {
                if !is_uniform(self.scene, value) {
                    return None;
                }
                continue;
            };
            match op.name() {
                "vector.load" | "memref.load" | "vector.transfer_read" | "vector.maskedload" => {
                    if traced.as_ref().is_some_and(|other| other.load != op) {
                        return None;
                    }
                    traced = Some(Traced {
                        load: op,
                        chain: Vec::new(),
                        guards: Vec::new(),
                        passed: Vec::new(),
                    });
                }
                "arith.constant" => {}
                // Zeros in place of what must not be loaded. Element-wise work on the loaded side alone would have to
                // keep zeros.
                "scf.if" | "arith.select" => match guarded(op, value) {
                    Some((guard, loaded)) if loaded_directly(loaded) => {
                        guards.push(guard);
                        passed.push(op);
                        open.push(loaded);
                    }
                    _ if op.is("arith.select")
                        && is_uniform(self.scene, op.operand(0))
                        && !self.is_inside_value(op.operand(0), scope) =>
                    {
                        chain.push(op);
                        open.extend(op.operands().skip(1));
                    }
                    _ => return None,
                },
                _ if matches!(op.dialect(), "arith" | "math") && op.num_results() == 1 && op.num_regions() == 0 => {
                    if is_invariant(self, op, scope) {
                        continue;
                    }
                    chain.push(op);
                    open.extend(op.operands());
                }
                "vector.broadcast" | "vector.splat" if is_invariant(self, op, scope) => {}
                _ => return None,
            }
        }
        None
    }

    fn is_inside_value(&self, value: Value<'ir>, scope: Op<'ir>) -> bool {
        value.def_op().is_some_and(|op| self.scene.is_inside(op, scope))
            || matches!(value.def(), Def::Argument(block, _) if block.parent() == Some(scope))
    }

    /// The load stands in the same iteration, feeds nothing else, and reads memory that `cp.async` can read: global
    /// memory that every thread sees.
    fn source(&mut self, traced: &Traced<'ir>, store: &Touch<'ir>, scope: Op<'ir>) -> Option<Touch<'ir>> {
        let load = traced.load;
        let access = accesses(load).into_iter().next()?;
        let touch = Touch {
            op: load,
            at: self.scene.at(load)?,
            access,
            place: self.scene.memory.place(load.operand(access.memref)),
            writes: false,
        };
        let mut fine = true;
        let passed = |op: Op<'ir>| traced.chain.contains(&op) || traced.passed.contains(&op);
        let mine = |user: Op<'ir>| {
            user == store.op || passed(user) || user.is("scf.yield") && user.parent().is_some_and(passed)
        };
        let values = traced
            .chain
            .iter()
            .chain(&traced.passed)
            .chain([&load])
            .flat_map(|op| op.results());
        let elsewhere = values.flat_map(Value::uses).any(|used| !mine(used.op));
        if loops_between(load, scope) != loops_between(store.op, scope) || elsewhere {
            let message = "the load does not stand beside the store, or its value is used elsewhere too";
            self.refuse(ReasonCode::NotAPureCopy, store.op, message);
            fine = false;
        }
        if !self.scene.memory.is_global(&touch.place) {
            let message = "the load is not from an argument or a global in global memory";
            self.refuse(ReasonCode::NotAPureCopy, load, message);
            fine = false;
        }
        let fill = match load.name() {
            "vector.transfer_read" => {
                let Transfer {
                    in_bounds,
                    mask,
                    padding,
                    straight,
                } = transfer(load, access);
                if !straight {
                    self.refuse(
                        ReasonCode::NotAPureCopy,
                        load,
                        "the read permutes or broadcasts dimensions",
                    );
                    return None;
                }
                (!in_bounds || mask.is_some()).then_some((padding, mask))
            }
            "vector.maskedload" => Some((
                load.operands().last(),
                load.operands().nth(load.num_operands().saturating_sub(2)),
            )),
            _ => None,
        };
        if let Some((padding, mask)) = fill {
            if !padding.is_some_and(is_zero) {
                let message = "what the mask or the bounds leave out is filled with something else than zeros, and \
                               cp.async fills with zeros";
                self.refuse(ReasonCode::NotAPureCopy, load, message);
                fine = false;
            }
            if !mask.is_none_or(is_prefix) {
                let message = "the mask is not known to be a prefix (vector.create_mask), and cp.async copies the first \
                               bytes";
                self.refuse(ReasonCode::NotAPureCopy, load, message);
                fine = false;
            }
        }
        fine.then_some(touch)
    }

    /// The address of an access must be a multiple of its width: base, offset, strides and indices together.
    fn alignment(&mut self, touch: &Touch<'ir>, bytes: u64) {
        let op = touch.op;
        let Some(parts) = op.operand(touch.access.memref).ty().as_memref() else {
            return self.refuse(ReasonCode::AlignmentUnproven, op, "the memref has no strided layout");
        };
        if parts.strides.last().is_some_and(|stride| *stride != Some(1)) && contiguous_extent(op) > 1 {
            return self.refuse(ReasonCode::NotContiguous, op, "the last dimension is not contiguous");
        }
        let stated = op.attr("alignment").and_then(Attr::as_int).unwrap_or(0).max(0) as u64;
        if stated > 0 && stated.is_multiple_of(bytes) {
            return;
        }
        let base = self.base_alignment(touch);
        let address = self.scene.memory.address(op, touch.access);
        if touch.place.alignment(&address, base, bytes).is_multiple_of(bytes) {
            return;
        }
        let message = match address.divisor() {
            _ if !base.is_multiple_of(bytes) => {
                format!("the base is only known to be aligned to {base} bytes; {bytes} are needed (llvm.align)")
            }
            known => format!("the address moves by multiples of {known} bytes, not of {bytes}"),
        };
        self.refuse(ReasonCode::AlignmentUnproven, op, message);
    }

    /// What is known of the alignment of an access's root, in bytes.
    fn base_alignment(&self, touch: &Touch<'ir>) -> u64 {
        let place = &touch.place;
        let stated = self
            .scene
            .memory
            .stated(place.root, "llvm.align")
            .and_then(Attr::as_int);
        let stated = stated.and_then(|bytes| u64::try_from(bytes).ok());
        let element = place
            .base
            .ty()
            .memref_element()
            .and_then(crate::ir::Type::bytes)
            .unwrap_or(1);
        // Shared buffers are laid out by us or by LLVM, which both align them; cudaMalloc aligns to 256 bytes (CUDA C++
        // Programming Guide, "Device Memory Accesses").
        let natural = match place.root {
            Root::Outside(value) if value.def_op().is_some_and(|op| op.is("gpu.alloc")) => 256,
            _ if place.space == Space::Workgroup => 16,
            _ => element,
        };
        stated.unwrap_or(0).max(natural)
    }

    /// What decides on an address or a mask may depend on loop counters, constants, threads, and memory that the loop
    /// only reads; not on what is carried or written.
    fn ahead(&mut self, at: Op<'ir>, values: &[Value<'ir>], graph: &LoopGraph<'ir>) {
        for value in values {
            for op in graph.computed_from(*value) {
                let plain = matches!(op.dialect(), "arith" | "index") && op.num_regions() == 0
                    || op.dialect() == "affine" && affine::is_total(op);
                let mask = matches!(op.name(), "vector.create_mask" | "vector.constant_mask" | "memref.dim");
                // Past the last iteration the divisor could be zero.
                let divides = op.name().contains("div") || op.name().contains("rem");
                let safe = !divides || op.operands().nth(1).and_then(constant_index).is_some_and(|by| by > 0);
                let memory = is_view(op) || matches!(op.name(), "memref.get_global" | "gpu.dynamic_shared_memory");
                // A buffer that is allocated in the loop has a reason of its own.
                let own = Some(op) == self.buffer.value.def_op();
                let gathers = matches!(op.name(), "memref.load" | "vector.load") && self.only_read(op, graph);
                if !(plain && safe || mask || is_id(op) || memory || gathers || own) {
                    let message = match op.name() {
                        "scf.yield" => {
                            "its address or mask depends on what the loop carries, which cannot run ahead".to_owned()
                        }
                        name => format!("its address or mask depends on {name}, which cannot run ahead"),
                    };
                    self.refuse(ReasonCode::NotAPureCopy, at, message);
                }
            }
        }
    }

    /// Whether a load reads global memory that nothing in the loop writes, in every iteration.
    fn only_read(&self, load: Op<'ir>, graph: &LoopGraph<'ir>) -> bool {
        let place = self.scene.memory.place(load.operand(0));
        let written = graph
            .conflicts(load)
            .into_iter()
            .any(|(_, edge, outgoing)| edge.kind == EdgeKind::Raw && !outgoing);
        self.scene.memory.is_global(&place) && !written
    }
}

/// Whether a value is what the iteration before loaded.
fn carries_load<'ir>(value: Value<'ir>, scope: Op<'ir>) -> bool {
    let Def::Argument(block, number @ 1..) = value.def() else {
        return false;
    };
    let yielded = block.terminator().and_then(|end| end.operands().nth(number - 1));
    block.parent() == Some(scope) && yielded.is_some_and(loaded_directly)
}

/// Index operands of an access, and of a whole-memref access its memref.
fn index_operands<'ir>(touch: &Touch<'ir>) -> Vec<Value<'ir>> {
    let mut values = super::effects::indices(touch.op, touch.access);
    values.push(touch.op.operand(touch.access.memref));
    values
}

/// Elements that an access moves in a row.
fn contiguous_extent(op: Op<'_>) -> i64 {
    let value = op.results().next().or_else(|| op.operands().next());
    let shape = value.and_then(|value| value.ty().as_vector());
    match shape {
        Some((shape, _)) => shape.last().copied().unwrap_or(1),
        None if op.is("nvgpu.device_async_copy") => op.attr("dstElements").and_then(Attr::as_int).unwrap_or(2),
        None => 1,
    }
}

/// The condition of a value that is zero on one side, and its other side.
fn guarded<'ir>(op: Op<'ir>, value: Value<'ir>) -> Option<(Value<'ir>, Value<'ir>)> {
    let (a, b) = if op.is("scf.if") {
        let Def::Result(_, number) = value.def() else {
            return None;
        };
        let mut sides = op.regions().filter_map(|region| {
            let block = region.blocks().next()?;
            block.terminator()?.operands().nth(number)
        });
        (sides.next()?, sides.next()?)
    } else {
        // A vector of conditions is no prefix.
        op.operand(0).ty().scalar_bits()?;
        (op.operand(1), op.operand(2))
    };
    match (is_zero(a), is_zero(b)) {
        (false, true) => Some((op.operand(0), a)),
        (true, false) => Some((op.operand(0), b)),
        _ => None,
    }
}

fn loaded_directly(value: Value<'_>) -> bool {
    value.def_op().is_some_and(|op| {
        matches!(
            op.name(),
            "vector.load" | "memref.load" | "vector.transfer_read" | "vector.maskedload"
        )
    })
}

/// Whether a mask is on for the first elements and off for the others.
fn is_prefix(mask: Value<'_>) -> bool {
    let flat = mask.ty().as_vector().is_some_and(|(shape, _)| shape.len() == 1);
    flat && mask
        .def_op()
        .is_some_and(|op| matches!(op.name(), "vector.create_mask" | "vector.constant_mask"))
}

/// Whether an operation of the loop computes the same in every iteration and thread.
fn is_invariant<'ir>(case: &Case<'_, 'ir>, op: Op<'ir>, scope: Op<'ir>) -> bool {
    let mut open: Vec<Value<'ir>> = op.operands().collect();
    for _ in 0..100 {
        let Some(value) = open.pop() else { return true };
        match value.def() {
            Def::Result(op, _) if case.scene.is_inside(op, scope) => {
                let pure = matches!(op.dialect(), "arith" | "math") && op.num_regions() == 0;
                if !pure && !matches!(op.name(), "vector.broadcast" | "vector.splat") {
                    return false;
                }
                open.extend(op.operands());
            }
            Def::Argument(block, _)
                if block.parent() == Some(scope)
                    || block.parent().is_some_and(|op| case.scene.is_inside(op, scope)) =>
            {
                return false;
            }
            _ if is_uniform(case.scene, value) => {}
            _ => return false,
        }
    }
    false
}

pub fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
