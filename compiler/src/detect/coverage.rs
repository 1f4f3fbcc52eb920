//! Whether the copies of an iteration write the whole buffer, each byte once: every store is evaluated for every thread
//! of the block, every iteration of the loops inside, and every condition that depends on nothing else.
//!
//! ```text
//! if %t < 16 { store %s[%t] … 16 B }      32 threads, 512 B: 256 B are missing
//! if %in { copy } else { store zeros }    whichever way it goes, the same bytes
//! ```

use std::collections::BTreeMap;

use super::copies::Site;
use super::effects::{contiguous_bytes, indices, is_id, transfer};
use super::evaluate::{Ids, Program, Thread, threads};
use super::footprint::{MAX_THREADS, iterations, loops_between};
use super::shared::Case;
use super::uniform::is_uniform;
use super::verdict::ReasonCode;
use crate::ir::{Attr, Op, Type, Value};

/// Steps of evaluation that the coverage of one buffer may cost.
pub const MAX_STEPS: u64 = 1 << 24;

/// The bytes that each thread writes on one side of a condition.
pub type Side = Vec<(i64, i64, i64)>;

impl<'ir> Case<'_, 'ir> {
    /// Every byte is written once in each iteration.
    pub fn coverage(&mut self, scope: Op<'ir>, sites: &[Site<'ir>]) {
        let Some(ids) = self.scene.ids else {
            let message = "how many threads a block has is unknown; set known_block_size or --block-size";
            return self.refuse_buffer(ReasonCode::BlockSizeUnknown, message);
        };
        let count = ids
            .block
            .iter()
            .try_fold(1_u64, |all, extent| all.checked_mul(u64::from(*extent)));
        if !count.is_some_and(|count| (1..=MAX_THREADS).contains(&count)) {
            let [x, y, z] = ids.block;
            let message = format!("a block of {x}x{y}x{z} threads; 1 to {MAX_THREADS} are possible");
            return self.refuse_buffer(ReasonCode::BlockSizeUnknown, message);
        }
        let mut written = vec![0_u8; self.bytes as usize];
        let mut budget = MAX_STEPS;
        // What stands on the two sides of a condition that only the iteration decides.
        let mut sides: BTreeMap<usize, [Side; 2]> = BTreeMap::new();
        for site in sites {
            let Some((open, closed)) = self.split(site, scope, &ids) else {
                return;
            };
            let mut side = Side::new();
            if !self.follow(site, scope, &ids, &closed, &mut budget, &mut side) {
                return;
            }
            match open {
                Some((condition, first)) => {
                    let at = self.scene.at(condition).unwrap_or(0);
                    sides.entry(at).or_default()[usize::from(!first)].extend(side);
                }
                None => mark(&side, &mut written),
            }
        }
        for (at, [mut one, mut other]) in sides {
            let condition = self.scene.ops[at];
            join(&mut one);
            join(&mut other);
            let both = !other.is_empty() && !one.is_empty();
            if one != other && !self.reads_share(scope, condition, one.is_empty(), both) {
                let message = "only one side of a condition fills the buffer; fill it with zeros on the other side, or \
                               read it under the same condition, which every thread must decide alike";
                return self.refuse(ReasonCode::NotFullyOverwritten, condition, message);
            }
            mark(if one.is_empty() { &other } else { &one }, &mut written);
        }
        let own = |site: &Site<'ir>| site.touch.op.is("memref.copy") && !site.together;
        self.count(&written, sites.iter().any(own));
    }

    /// The one condition of a site that only the iteration decides, and those that are known for each thread.
    #[allow(clippy::type_complexity)]
    pub fn split(
        &mut self,
        site: &Site<'ir>,
        scope: Op<'ir>,
        ids: &Ids<'ir>,
    ) -> Option<(Option<(Op<'ir>, bool)>, Vec<(Value<'ir>, bool)>)> {
        let counters = self.counters(site, scope);
        let (mut open, mut closed) = (Vec::new(), Vec::new());
        for (condition, first) in &site.conditions {
            let value = condition.operand(0);
            match Program::new(&[value], &counters, ids) {
                Ok(_) => closed.push((value, *first)),
                Err(_) => open.push((*condition, *first)),
            }
        }
        if open.len() > 1 {
            let message = "the copy stands under several conditions that depend on the iteration";
            self.refuse(ReasonCode::NotFullyOverwritten, site.touch.op, message);
            return None;
        }
        Some((open.pop(), closed))
    }

    /// Whether every read in the loop stands on the filled side of the same condition, and all threads decide it alike.
    fn reads_share(&self, scope: Op<'ir>, condition: Op<'ir>, filled_second: bool, both: bool) -> bool {
        let value = condition.operand(0);
        let shared = |op: Op<'ir>| {
            let mut block = op.block();
            while let Some(parent) = block.and_then(|block| block.parent()) {
                if parent.is("scf.if") && same_value(parent.operand(0), value) {
                    let first = parent.regions().next().and_then(|region| region.blocks().next());
                    return (first == block) != filled_second;
                }
                block = parent.block();
            }
            false
        };
        // Other loops that fill the buffer are judged by their own conditions, and what stands outside of all of them was
        // looked at before.
        let mut loads = self.loads.iter().filter(|load| self.scene.is_inside(load.op, scope));
        !both && is_uniform(self.scene, value) && loads.all(|load| shared(load.op))
    }

    /// The counters of the loops around a site; none where [`Self::follow`] refuses what stands there.
    fn counters(&self, site: &Site<'ir>, scope: Op<'ir>) -> Vec<Value<'ir>> {
        let loops = loops_between(site.touch.op, scope).unwrap_or_default();
        loops.iter().filter_map(|op| Some(op.body()?.argument(0))).collect()
    }

    /// What one site writes, thread by thread; whether that could be told.
    pub fn follow(
        &mut self,
        site: &Site<'ir>,
        scope: Op<'ir>,
        ids: &Ids<'ir>,
        conditions: &[(Value<'ir>, bool)],
        budget: &mut u64,
        side: &mut Side,
    ) -> bool {
        let op = site.touch.op;
        let Some(loops) = loops_between(op, scope) else {
            self.refuse(
                ReasonCode::NotFullyOverwritten,
                op,
                "the copy stands in a construct that may run any number of times, or never",
            );
            return false;
        };
        let counters = self.counters(site, scope);
        let count: u64 = ids.block.iter().map(|extent| u64::from(*extent)).product();
        let Some(iterations) = iterations(&loops, *budget / count) else {
            self.refuse(
                ReasonCode::NotFullyOverwritten,
                op,
                "inner loops with too many iterations to follow",
            );
            return false;
        };
        let Some(runs) = self.runs(site) else {
            self.refuse(
                ReasonCode::NotFullyOverwritten,
                op,
                "it is not known which elements the store writes",
            );
            return false;
        };
        let mut address = self.scene.memory.address(op, site.touch.access);
        address.subtract(&self.origin);
        if !address.is_exact() {
            self.refuse(
                ReasonCode::NotFullyOverwritten,
                op,
                "the store's strides are not static, so what it writes is unproven",
            );
            return false;
        }
        // Operands: the conditions, the values of the address, and the indices that may lie outside of the buffer.
        let mut values: Vec<Value<'ir>> = conditions.iter().map(|(value, _)| *value).collect();
        values.extend(address.terms.iter().map(|(value, _)| *value));
        let bounds = self.bounds(site);
        values.extend(bounds.iter().map(|(value, _)| *value));
        let program = match Program::new(&values, &counters, ids) {
            Ok(program) => program,
            Err(culprit) => {
                let what = culprit.map_or("a value from outside", |op| op.name());
                let message = format!("an index of the store depends on {what}, so what it writes is unproven");
                self.refuse(ReasonCode::NotFullyOverwritten, op, message);
                return false;
            }
        };
        let steps = (iterations.len() as u64 * count).saturating_mul(program.cost() + runs.len() as u64);
        let Some(left) = budget.checked_sub(steps) else {
            self.refuse(
                ReasonCode::NotFullyOverwritten,
                op,
                "the copies are too many to follow one by one",
            );
            return false;
        };
        *budget = left;
        let start = address.constant;
        let size = self.bytes as i64;
        let (mut scratch, mut out) = (Vec::new(), Vec::new());
        for thread in threads(ids.block) {
            for counters in &iterations {
                let Some(at) = place(&program, &thread, counters, (&mut scratch, &mut out), conditions) else {
                    let message = format!("an index of the store has no value for thread {:?}", thread.place);
                    self.refuse(ReasonCode::NotFullyOverwritten, op, message);
                    return false;
                };
                let Some(values) = at else { continue };
                let (terms, outer) = values.split_at(address.terms.len());
                let base = terms
                    .iter()
                    .zip(&address.terms)
                    .fold(start, |sum, (value, (_, factor))| {
                        sum.wrapping_add(value.wrapping_mul(*factor))
                    });
                let clipped = outer
                    .iter()
                    .zip(&bounds)
                    .any(|(index, (_, most))| !(0..=*most).contains(index));
                for (first, bytes) in &runs {
                    let (from, to) = (base + first, base + first + bytes);
                    if from < 0 || to > size || clipped {
                        let message = format!("thread {:?} writes bytes {from} to {to} of {size}", thread.place);
                        self.refuse(ReasonCode::NotContiguous, op, message);
                        return false;
                    }
                    side.push((from, to, if site.together { 0 } else { thread.number }));
                }
            }
        }
        if site.together {
            // All threads copy the same: that is distributed over them.
            side.sort_unstable();
            side.dedup();
        }
        true
    }

    /// The runs of bytes that one thread writes, from its address on.
    fn runs(&self, site: &Site<'ir>) -> Option<Vec<(i64, i64)>> {
        let op = site.touch.op;
        let element = self.memref.element.bytes()?;
        match op.name() {
            "memref.copy" => {
                let memref = op.operand(site.touch.access.memref).ty().as_memref()?;
                let element = memref.element.bytes()? as i64;
                let mut starts = vec![0_i64];
                let (row, outer) = memref
                    .shape
                    .split_last()
                    .map_or((1, &[][..]), |(row, outer)| (row.unwrap_or(0), outer));
                for (extent, stride) in outer.iter().zip(&memref.strides) {
                    let (extent, stride) = ((*extent)?, (*stride)?);
                    if starts.len() as i64 * extent > self.bytes as i64 {
                        return None;
                    }
                    starts = starts
                        .iter()
                        .flat_map(|start| (0..extent).map(move |number| start + number * stride * element))
                        .collect();
                }
                Some(starts.into_iter().map(|start| (start, row * element)).collect())
            }
            "nvgpu.device_async_copy" => {
                let count = op.attr("dstElements").and_then(Attr::as_int)?;
                let element = op.operand(site.touch.access.memref).ty().memref_element()?.bytes()?;
                Some(vec![(0, count.checked_mul(element as i64)?)])
            }
            "gpu.subgroup_mma_load_matrix" | "gpu.subgroup_mma_store_matrix" => self.matrix_runs(site),
            // A row of each of the tiles, wherever the others start.
            "nvgpu.ldmatrix" => Some(vec![(0, LDMATRIX_ROW_BYTES)]),
            _ if site.touch.writes => one_run(op.operand(0).ty(), element),
            _ => one_run(op.result(0).ty(), element),
        }
    }

    /// The rows of a matrix that a warp loads or stores together, for each of its threads.
    fn matrix_runs(&self, site: &Site<'ir>) -> Option<Vec<(i64, i64)>> {
        let op = site.touch.op;
        let matrix = if site.touch.writes {
            op.operand(0).ty()
        } else {
            op.result(0).ty()
        };
        let (rows, columns, bits, _) = matrix.as_mma_matrix()?;
        let (element, lead) = ((bits / 8) as i64, op.attr("leadDimension").and_then(Attr::as_int)?);
        let (rows, columns) = match op.attr("transpose") {
            Some(_) => (columns as i64, rows as i64),
            None => (rows as i64, columns as i64),
        };
        Some((0..rows).map(|row| (row * lead * element, columns * element)).collect())
    }

    /// Indices of a transfer that is not known to be in bounds, and the largest value of each.
    fn bounds(&self, site: &Site<'ir>) -> Vec<(Value<'ir>, i64)> {
        let op = site.touch.op;
        let moved = match op.name() {
            "vector.transfer_write" => op.operand(0),
            "vector.transfer_read" => op.result(0),
            _ => return Vec::new(),
        };
        if transfer(op, site.touch.access).in_bounds {
            return Vec::new();
        }
        let Some(memref) = op.operand(site.touch.access.memref).ty().as_memref() else {
            return Vec::new();
        };
        let vector = moved.ty().as_vector().map_or(Vec::new(), |(shape, _)| shape);
        let skipped = memref.shape.len().saturating_sub(vector.len());
        let sizes = std::iter::repeat_n(1, skipped).chain(vector);
        let most = memref
            .shape
            .iter()
            .zip(sizes)
            .map(|(extent, size)| extent.unwrap_or(0) - size);
        indices(op, site.touch.access).into_iter().zip(most).collect()
    }

    fn count(&mut self, written: &[u8], own_copies: bool) {
        let element = self.memref.element.bytes().unwrap_or(1) as usize;
        let elements = written.len() / element;
        let missed = written.iter().filter(|times| **times == 0).count() / element;
        if missed > 0 {
            let message = format!("{missed} of {elements} elements are not written in an iteration");
            self.refuse_buffer(ReasonCode::NotFullyOverwritten, message);
        }
        let twice = written.iter().filter(|times| **times > 1).count() / element;
        if twice > 0 {
            let hint = match own_copies {
                true => {
                    "; the memref.copy differs between threads, or not all of them reach it, and each that does copies \
                     all of it"
                }
                false => "",
            };
            let message = format!(
                "{twice} of {elements} elements are written more than once in an iteration, and asynchronous copies \
                 land in any order{hint}"
            );
            self.refuse_buffer(ReasonCode::SeveralWriters, message);
        }
    }
}

/// Bytes of a row of one of `ldmatrix`' tiles (PTX ISA, "ldmatrix": eight rows of 16 bytes).
const LDMATRIX_ROW_BYTES: i64 = 16;

/// A vector or scalar of whole elements, as one run of bytes.
fn one_run(ty: Type<'_>, element: u64) -> Option<Vec<(i64, i64)>> {
    contiguous_bytes(ty)
        .filter(|bytes| bytes.is_multiple_of(element))
        .map(|bytes| vec![(0, bytes as i64)])
}

/// Sorts the bytes of a side, and joins what one thread writes in adjacent pieces: two halves are one whole.
fn join(side: &mut Side) {
    side.sort_unstable_by_key(|(from, to, thread)| (*thread, *from, *to));
    side.dedup_by(|next, last| {
        let adjacent = next.2 == last.2 && next.0 == last.1;
        if adjacent {
            last.1 = next.1;
        }
        adjacent
    });
}

/// The values of a program for one thread, behind its conditions: `Some(None)` where one of them does not hold.
#[allow(clippy::option_option)]
fn place<'a>(
    program: &Program,
    thread: &Thread,
    counters: &[i64],
    (scratch, out): (&mut Vec<i64>, &'a mut Vec<i64>),
    conditions: &[(Value<'_>, bool)],
) -> Option<Option<&'a [i64]>> {
    program.run(thread, counters, scratch, out)?;
    let (decided, values) = out.split_at(conditions.len());
    let holds = decided
        .iter()
        .zip(conditions)
        .all(|(value, (_, first))| (*value != 0) == *first);
    Some(holds.then_some(values))
}

/// Whether two values are the same: one value, or equal arithmetic on the same.
fn same_value<'ir>(a: Value<'ir>, b: Value<'ir>) -> bool {
    let mut open = vec![(a, b)];
    // A bound for expressions that share parts.
    for _ in 0..100 {
        let Some((a, b)) = open.pop() else { return true };
        if a == b {
            continue;
        }
        let (Some(one), Some(other)) = (a.def_op(), b.def_op()) else {
            return false;
        };
        let pure = matches!(one.dialect(), "arith" | "index") && one.num_regions() == 0 || is_id(one);
        let attributes = ["value", "predicate", "dimension"];
        let alike = one.name() == other.name()
            && one.num_results() == 1
            && one.num_operands() == other.num_operands()
            && a.ty() == b.ty()
            && attributes.iter().all(|name| one.attr(name) == other.attr(name));
        if !pure || !alike {
            return false;
        }
        open.extend(one.operands().zip(other.operands()));
    }
    false
}

fn mark(side: &Side, written: &mut [u8]) {
    for (from, to, _) in side {
        for times in &mut written[*from as usize..*to as usize] {
            *times = times.saturating_add(1);
        }
    }
}
