//! The checks of the copies into a buffer: pure, of a width that can be asynchronous, aligned, and together everything.

use super::effects::{Root, access, indices, is_id, is_plain_move};
use super::evaluate::{Program, divisor, static_trip};
use super::graph::LoopGraph;
use super::shared::Case;
use super::verdict::{CopyOps, ReasonCode};
use crate::ir::{Attr, Def, Op, Type, Value, constant_index};

/// Threads that a block may have.
const MAX_THREADS: u64 = 1024;
/// Evaluations of an index that coverage may cost.
const MAX_EVALUATIONS: u64 = 1 << 22;

impl<'ir> Case<'_, 'ir> {
    /// The copies of the loop, and whether element-wise work stands inside them.
    pub fn copies(&mut self, scope: Op<'ir>, graph: &LoopGraph<'ir>) -> (Vec<CopyOps>, bool) {
        let mut copies = Vec::new();
        let mut sinkable = false;
        for store in self.stores.clone() {
            if !store.is_within(scope) {
                continue;
            }
            if !self.runs_always(store, scope) {
                let message = "the store stands under a condition or in a loop of unknown bounds";
                self.refuse(ReasonCode::NotSequential, store, message);
            }
            let value = store.operand(0);
            let Some(load) = loaded(value).filter(|_| is_plain_move(store)) else {
                let message = "what is stored is not what one plain load loaded, be it with element-wise work on it";
                self.refuse(ReasonCode::NotAPureCopy, store, message);
                continue;
            };
            let direct = value == load.result(0);
            if !self.is_pure_source(load, store) {
                continue;
            }
            let Some(bytes) = contiguous_bytes(load.result(0).ty()).filter(|bytes| matches!(bytes, 4 | 8 | 16)) else {
                let message = format!(
                    "a copy moves a {}, and cp.async moves 4, 8 or 16 contiguous bytes",
                    load.result(0).ty()
                );
                self.refuse(ReasonCode::WidthUnsupported, store, message);
                continue;
            };
            self.alignment(load, bytes);
            self.address(load, load.operands().collect(), graph);
            if !direct {
                sinkable = true;
                continue;
            }
            self.alignment(store, bytes);
            self.address(store, store.operands().skip(1).collect(), graph);
            if let (Some(load), Some(store)) = (self.scene.index.id(load), self.scene.index.id(store)) {
                copies.push(CopyOps {
                    load,
                    store,
                    bytes: bytes as u32,
                });
            }
        }
        let widths: Vec<u32> = copies.iter().map(|copy| copy.bytes).collect();
        if widths.windows(2).any(|pair| pair[0] != pair[1]) {
            let message = format!("copies of different widths: {widths:?} bytes");
            self.refuse_buffer(ReasonCode::WidthUnsupported, message);
        }
        (copies, sinkable)
    }

    /// Whether an operation runs in each iteration of `scope`: only loops of static bounds stand around it.
    fn runs_always(&self, op: Op<'ir>, scope: Op<'ir>) -> bool {
        inner_loops(op, scope).is_some_and(|loops| loops.iter().all(|inner| static_trip(*inner).is_some()))
    }

    /// The load stands beside its store, feeds nothing else, and reads memory that `cp.async` can read: global memory
    /// that every thread sees.
    fn is_pure_source(&mut self, load: Op<'ir>, store: Op<'ir>) -> bool {
        let memref = load.operand(0);
        let global = memref.ty().memory_space().is_none()
            && matches!(self.scene.memory.root(memref), Root::Argument(_) | Root::Global(_));
        let used_once = match store.operand(0) == load.result(0) {
            true => load
                .result(0)
                .uses()
                .iter()
                .all(|used| used.op == store && used.operand == 0),
            false => load.result(0).is_used(),
        };
        let mut fine = true;
        if load.block() != store.block() || !used_once {
            let message = "the load does not stand beside the store, or its value is used elsewhere too";
            self.refuse(ReasonCode::NotAPureCopy, store, message);
            fine = false;
        }
        if !global {
            let message = "the load is not from an argument or a global in global memory";
            self.refuse(ReasonCode::NotAPureCopy, load, message);
            fine = false;
        }
        fine
    }

    /// The address of an access must be a multiple of its width: base, offset, strides and indices together.
    fn alignment(&mut self, op: Op<'ir>, bytes: u64) {
        let Some(shape) = access(op) else { return };
        let memref = op.operand(shape.memref);
        let Some(parts) = memref.ty().as_memref() else {
            return self.refuse(ReasonCode::AlignmentUnproven, op, "the memref has no strided layout");
        };
        if !matches!(parts.strides.last(), Some(Some(1))) {
            return self.refuse(ReasonCode::NotContiguous, op, "the last dimension is not contiguous");
        }
        let is_multiple = |value: u64| value.is_multiple_of(bytes);
        let stated = op.attr("alignment").and_then(Attr::as_int).unwrap_or(0).max(0) as u64;
        if stated > 0 && is_multiple(stated) {
            return;
        }
        let element = contiguous_bytes(parts.element).unwrap_or(1);
        let base = self
            .base_alignment(memref)
            .unwrap_or(if parts.is_workgroup { 16 } else { element });
        if !is_multiple(base) {
            let message =
                format!("the base is only known to be aligned to {base} bytes; {bytes} are needed (llvm.align)");
            return self.refuse(ReasonCode::AlignmentUnproven, op, message);
        }
        if !parts
            .offset
            .is_some_and(|offset| is_multiple(offset.unsigned_abs().saturating_mul(element)))
        {
            let message = format!("the memref's own offset is not known to be a multiple of {bytes} bytes");
            return self.refuse(ReasonCode::AlignmentUnproven, op, message);
        }
        for (index, stride) in indices(op, shape).into_iter().zip(&parts.strides) {
            let step = divisor(index)
                .saturating_mul(stride.unwrap_or(1).unsigned_abs())
                .saturating_mul(element);
            if !is_multiple(step) {
                let message = format!("an index moves the address by multiples of {step} bytes, not of {bytes}");
                return self.refuse(ReasonCode::AlignmentUnproven, op, message);
            }
        }
    }

    /// What is stated of a base: on the argument, or on the operation that makes or vouches for the memory.
    fn base_alignment(&self, memref: Value<'ir>) -> Option<u64> {
        let stated = match memref.def() {
            Def::Argument(..) => match self.scene.memory.root(memref) {
                Root::Argument(position) => self.scene.memory.argument_attr(position, "llvm.align")?,
                _ => return None,
            },
            Def::Result(op, _) if matches!(op.name(), "memref.alloc" | "memref.alloca" | "memref.assume_alignment") => {
                op.attr("alignment")?
            }
            Def::Result(..) => return None,
        };
        stated.as_int().and_then(|bytes| u64::try_from(bytes).ok())
    }

    /// An address may depend on loop counters, constants and threads, not on what is carried or loaded.
    fn address(&mut self, at: Op<'ir>, values: Vec<Value<'ir>>, graph: &LoopGraph<'ir>) {
        for value in values {
            for op in graph.computed_from(value) {
                let arithmetic = matches!(op.dialect(), "arith" | "affine" | "index") && op.num_regions() == 0;
                let view = op.dialect() == "memref" && access(op).is_none() && !op.is("memref.alloca");
                // Past the last iteration the divisor could be zero.
                let divides = op.name().contains("div") || op.name().contains("rem");
                let safe = !divides || op.operands().nth(1).and_then(constant_index).is_some_and(|by| by > 0);
                if !(arithmetic && safe || is_id(op) || view) {
                    let message = format!("its address depends on {}, which cannot run ahead", op.name());
                    self.refuse(ReasonCode::NotAPureCopy, at, message);
                }
            }
        }
    }

    /// Every element is written once in each iteration: the indices are evaluated for every thread of the block and
    /// every iteration of the loops inside.
    pub fn coverage(&mut self, scope: Op<'ir>) {
        let Some(block) = self.scene.block_size else {
            let message = "how many threads a block has is unknown; set known_block_size or --block-size";
            return self.refuse_buffer(ReasonCode::BlockSizeUnknown, message);
        };
        let threads = block
            .iter()
            .try_fold(1_u64, |all, extent| all.checked_mul(u64::from(*extent)));
        let Some(threads) = threads.filter(|threads| (1..=MAX_THREADS).contains(threads)) else {
            let [x, y, z] = block;
            let message = format!("a block of {x}x{y}x{z} threads; 1 to {MAX_THREADS} are possible");
            return self.refuse_buffer(ReasonCode::BlockSizeUnknown, message);
        };
        let extents: Vec<i64> = self.memref.shape.iter().map(|extent| extent.unwrap_or(0)).collect();
        let mut written = vec![0_u8; extents.iter().product::<i64>() as usize];
        for store in self.stores.clone() {
            if !store.is_within(scope) || !self.runs_always(store, scope) {
                continue;
            }
            if !self.mark(store, scope, (block, threads), &extents, &mut written) {
                return;
            }
        }
        let missed = written.iter().filter(|times| **times == 0).count();
        if missed > 0 {
            let message = format!("{missed} of {} elements are not written in an iteration", written.len());
            self.refuse_buffer(ReasonCode::NotFullyOverwritten, message);
        }
        let twice = written.iter().filter(|times| **times > 1).count();
        if twice > 0 {
            let message = format!(
                "{twice} of {} elements are written more than once in an iteration, and asynchronous copies land in \
                 any order",
                written.len()
            );
            self.refuse_buffer(ReasonCode::SeveralWriters, message);
        }
    }

    /// Counts what one store writes; whether that could be told.
    fn mark(
        &mut self,
        store: Op<'ir>,
        scope: Op<'ir>,
        (block, threads): ([u32; 3], u64),
        extents: &[i64],
        written: &mut [u8],
    ) -> bool {
        let element = contiguous_bytes(self.memref.element).unwrap_or(1);
        let Some(width) = contiguous_bytes(store.operand(0).ty()).map(|bytes| (bytes / element) as i64) else {
            let message = "it is not known which elements the store writes";
            self.refuse(ReasonCode::NotFullyOverwritten, store, message);
            return false;
        };
        let loops = inner_loops(store, scope).unwrap_or_default();
        let counters: Vec<Value<'ir>> = loops
            .iter()
            .filter_map(|op| op.body())
            .map(|body| body.argument(0))
            .collect();
        let Some(iterations) = iterations(&loops, MAX_EVALUATIONS / threads) else {
            let message = "the copies stand in inner loops with too many iterations to follow";
            self.refuse(ReasonCode::NotFullyOverwritten, store, message);
            return false;
        };
        let places = access(store).map_or_else(Vec::new, |shape| indices(store, shape));
        let program = match Program::new(&places, &counters, block) {
            Ok(program) => program,
            Err(culprit) => {
                let what = culprit.map_or("a value from outside", |op| op.name());
                let message = format!("an index of the store depends on {what}, so what it writes is unproven");
                self.refuse(ReasonCode::NotFullyOverwritten, store, message);
                return false;
            }
        };
        let [x, y] = [i64::from(block[0]), i64::from(block[1])];
        for thread in 0..threads as i64 {
            let place = [thread % x, thread / x % y, thread / (x * y)];
            for counters in &iterations {
                let Some(at) = program.run(place, counters) else {
                    let message = format!("an index of the store has no value for thread {place:?}");
                    self.refuse(ReasonCode::NotFullyOverwritten, store, message);
                    return false;
                };
                let inside = at
                    .iter()
                    .zip(extents)
                    .all(|(index, extent)| (0..*extent).contains(index));
                let row = extents.last().copied().unwrap_or(1);
                if !inside || at.last().copied().unwrap_or(0) + width > row {
                    let message = format!("thread {place:?} writes {width} elements from {at:?} of {extents:?}");
                    self.refuse(ReasonCode::NotContiguous, store, message);
                    return false;
                }
                let first = at
                    .iter()
                    .zip(extents)
                    .fold(0, |offset, (index, extent)| offset * extent + index);
                for times in &mut written[first as usize..(first + width) as usize] {
                    *times = times.saturating_add(1);
                }
            }
        }
        true
    }
}

/// The loops between an operation and the loop around them, outermost first; `None` when something else stands there.
fn inner_loops<'ir>(op: Op<'ir>, scope: Op<'ir>) -> Option<Vec<Op<'ir>>> {
    let mut loops = Vec::new();
    let mut parent = op.parent()?;
    while parent != scope {
        if !parent.is("scf.for") {
            return None;
        }
        loops.push(parent);
        parent = parent.parent()?;
    }
    loops.reverse();
    Some(loops)
}

/// The counters of all iterations of nested loops; `None` where that is more than `most`.
fn iterations(loops: &[Op<'_>], most: u64) -> Option<Vec<Vec<i64>>> {
    let mut all: Vec<Vec<i64>> = vec![Vec::new()];
    for op in loops {
        let trip = static_trip(*op)?;
        if trip.checked_mul(all.len() as u64)? > most {
            return None;
        }
        let (lower, step) = (constant_index(op.operand(0))?, constant_index(op.operand(2))?);
        let counters: Vec<i64> = (0..trip)
            .map(|number| (i128::from(lower) + i128::from(number) * i128::from(step)) as i64)
            .collect();
        all = all
            .iter()
            .flat_map(|outer| counters.iter().map(move |one| [outer.as_slice(), &[*one]].concat()))
            .collect();
    }
    Some(all)
}

/// Bytes of a scalar, or of a vector whose elements lie one behind the other wherever its memory is row-major.
fn contiguous_bytes(ty: Type<'_>) -> Option<u64> {
    let scalar = |ty: Type<'_>| {
        ty.scalar_bits()
            .filter(|bits| bits % 8 == 0)
            .map(|bits| u64::from(bits / 8))
    };
    let Some((shape, element)) = ty.as_vector() else {
        return if ty.is_index() { None } else { scalar(ty) };
    };
    // SAFETY: the type is a vector.
    if unsafe { mlir_sys::mlirVectorTypeIsScalable(ty.raw()) } {
        return None;
    }
    let (last, outer) = shape.split_last()?;
    let flat = outer.iter().all(|extent| *extent == 1);
    flat.then_some(u64::try_from(*last).ok()?.checked_mul(scalar(element)?)?)
}

/// The load behind a value: itself, or behind element-wise operations on it and constants alone.
fn loaded(value: Value<'_>) -> Option<Op<'_>> {
    let mut found: Option<Op<'_>> = None;
    let mut open = vec![value];
    // More operations than any element-wise chain has; a bound for expressions that share parts.
    for _ in 0..1000 {
        let Some(value) = open.pop() else { return found };
        let op = value.def_op()?;
        if access(op).is_some_and(|access| !access.writes) {
            if !is_plain_move(op) || found.is_some_and(|other| other != op) {
                return None;
            }
            found = Some(op);
        } else if !op.is("arith.constant") {
            if !matches!(op.dialect(), "arith" | "math") || op.num_results() != 1 || op.num_regions() != 0 {
                return None;
            }
            open.extend(op.operands());
        }
    }
    None
}
