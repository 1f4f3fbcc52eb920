//! Which bytes an access touches: evaluated for every thread of the block and every iteration of the loops inside.
//!
//! ```text
//! memref.load %a[%i + %t]   in scf.for %i step 32, 32 threads   ->   thread t: bytes 4 t … 4 t + 4, and 128 an iteration
//! ```
//!
//! Two accesses of one buffer can then be proven apart, or be given the iterations between them.

use super::affine::static_bounds;
use super::effects::contiguous_bytes;
use super::evaluate::{Program, static_trip, threads};
use super::kernel::{Scene, Touch};
use super::uniform::is_uniform;
use crate::ir::{Def, Op, Value, constant_index};

/// Threads that a block may have (CUDA C++ Programming Guide, "Compute Capabilities").
pub const MAX_THREADS: u64 = 1024;
/// Steps of evaluation that one access may cost.
const MAX_STEPS: u64 = 1 << 22;
/// Spans that one access may have.
const MAX_SPANS: u64 = 1 << 18;

/// Bytes that one thread touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub start: i64,
    pub end: i64,
    pub thread: i64,
}

/// The bytes of one access in iteration 0 of a loop, and how far they move in each.
#[derive(Clone, Debug)]
pub struct Footprint<'ir> {
    /// Multiples of values that no thread changes: two footprints compare only if they share them.
    symbols: Vec<(Value<'ir>, i64)>,
    /// Bytes that an iteration adds.
    step: i64,
    /// Bytes that the loop's lower bound adds, where it is constant.
    lower: Option<i64>,
    /// Sorted by start.
    spans: Vec<Span>,
    widest: i64,
}

/// What is known of two accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// They never touch the same byte.
    Never,
    /// They do, so many iterations apart.
    After(u32),
    /// Not proven.
    Unknown,
}

/// The bytes of an access in a loop, or beside one where it stands in the function `scope` itself; `None` where they
/// cannot be told.
pub fn footprint<'ir>(scene: &Scene<'_, 'ir>, touch: &Touch<'ir>, scope: Op<'ir>) -> Option<Footprint<'ir>> {
    let ids = scene.ids.as_ref()?;
    let count: u64 = ids.block.iter().map(|extent| u64::from(*extent)).product();
    if !(1..=MAX_THREADS).contains(&count) {
        return None;
    }
    let address = scene.memory.address(touch.op, touch.access);
    let width = width_of(touch)?;
    let counter = scope
        .body()
        .filter(|_| scope.is("scf.for"))
        .map(|body| body.argument(0));
    let inner = loops_between(touch.op, scope)?;
    let counters: Vec<Value<'ir>> = inner.iter().filter_map(|op| Some(op.body()?.argument(0))).collect();
    if !address.is_exact() {
        return None;
    }
    let (mut step, mut lower) = (0_i64, Some(0));
    let (mut symbols, mut atoms) = (Vec::new(), Vec::new());
    for (value, factor) in address.terms {
        if Some(value) == counter {
            let stride = constant_index(scope.operand(2))?;
            step = factor.checked_mul(stride)?;
            lower = constant_index(scope.operand(0)).and_then(|bound| bound.checked_mul(factor));
        } else if is_uniform(scene, value)
            && !counters.contains(&value)
            && (scope == scene.kernel || is_outside(value, scope))
        {
            symbols.push((value, factor));
        } else {
            atoms.push((value, factor));
        }
    }
    symbols.sort_by_key(|(value, _)| value.raw().ptr as usize);
    let values: Vec<Value<'ir>> = atoms.iter().map(|(value, _)| *value).collect();
    let program = Program::new(&values, &counters, ids).ok()?;
    let iterations = iterations(&inner, MAX_SPANS / count)?;
    if (iterations.len() as u64 * count).checked_mul(program.cost())? > MAX_STEPS {
        return None;
    }
    let (mut scratch, mut out) = (Vec::new(), Vec::new());
    let mut spans = Vec::with_capacity(iterations.len() * count as usize);
    for thread in threads(ids.block) {
        for counters in &iterations {
            program.run(&thread, counters, &mut scratch, &mut out)?;
            let mut start = address.constant;
            for (value, (_, factor)) in out.iter().zip(&atoms) {
                start = start.checked_add(value.checked_mul(*factor)?)?;
            }
            spans.push(Span {
                start,
                end: start.checked_add(width)?,
                thread: thread.number,
            });
        }
    }
    // The counter of iteration 0 is the lower bound, whatever that is: both sides have it.
    spans.sort_unstable();
    Some(Footprint {
        symbols,
        step,
        lower,
        spans,
        widest: width,
    })
}

/// Bytes of one access by one thread.
fn width_of(touch: &Touch<'_>) -> Option<i64> {
    let ty = match touch.op.name() {
        "vector.load" | "memref.load" | "vector.transfer_read" | "vector.maskedload" => touch.op.result(0).ty(),
        "vector.store" | "memref.store" | "vector.transfer_write" => touch.op.operand(0).ty(),
        "vector.maskedstore" => touch.op.operands().last()?.ty(),
        "nvgpu.device_async_copy" => {
            let elements = touch.op.attr("dstElements")?.as_int()?;
            let element = touch.op.operand(touch.access.memref).ty().memref_element()?.bytes()?;
            return elements.checked_mul(element as i64);
        }
        _ => return None,
    };
    contiguous_bytes(ty).map(|bytes| bytes as i64)
}

impl Footprint<'_> {
    /// Whether `later` touches, some iterations behind `self`, a byte that this touches; of `across`, only by another
    /// thread. Distances from `least` on count; `trip` bounds them.
    pub fn meets(&self, later: &Footprint<'_>, least: u32, trip: Option<u64>, across: bool) -> Meeting {
        if self.symbols != later.symbols || self.step != later.step {
            return Meeting::Unknown;
        }
        let most = trip.map_or(u64::MAX, |trip| trip.saturating_sub(1));
        if u64::from(least) > most {
            return Meeting::Never;
        }
        if self.step == 0 {
            return match self.overlaps(later, 0, across) {
                true => Meeting::After(least),
                false => Meeting::Never,
            };
        }
        let (Some(first), Some(last)) = (self.spans.first(), self.spans.last()) else {
            return Meeting::Never;
        };
        let (Some(later_first), Some(later_last)) = (later.spans.first(), later.spans.last()) else {
            return Meeting::Never;
        };
        // Behind this many iterations everything has moved past everything.
        let reach = match self.step > 0 {
            true => last.start + self.widest - later_first.start,
            false => later_last.start + later.widest - first.start,
        };
        let reach = (reach.max(0) / self.step.abs()) as u64;
        let most = most.min(reach);
        let cost = (most + 1).saturating_mul(self.spans.len() as u64);
        if cost > MAX_STEPS {
            return Meeting::Unknown;
        }
        for distance in u64::from(least)..=most {
            if self.overlaps(later, self.step * distance as i64, across) {
                return Meeting::After(distance as u32);
            }
        }
        Meeting::Never
    }

    /// Whether an access beside a loop never touches a byte that another thread touches by this access of the loop, from
    /// its iteration `first` on, for `count` iterations or as many as there are.
    pub fn is_apart_from(&self, beside: &Footprint<'_>, first: u64, count: Option<u64>) -> bool {
        let (Some(lower), true) = (self.lower, self.symbols == beside.symbols && beside.step == 0) else {
            return false;
        };
        // Behind this iteration everything has moved past everything.
        let bounds = (
            self.spans.first(),
            self.spans.last(),
            beside.spans.first(),
            beside.spans.last(),
        );
        let (Some(own_first), Some(own_last), Some(other_first), Some(other_last)) = bounds else {
            return true;
        };
        let gap = match self.step {
            0 => Some(0),
            1.. => (other_last.start + beside.widest).checked_sub(own_first.start),
            _ => (own_last.start + self.widest).checked_sub(other_first.start),
        };
        let moved = match self.step {
            0 => Some(0),
            1.. => gap.and_then(|gap| gap.checked_sub(lower)),
            _ => gap.and_then(|gap| gap.checked_add(lower)),
        };
        let Some(reach) = moved.map(|moved| moved.max(0) / self.step.abs().max(1)) else {
            return false;
        };
        let reach = match self.step {
            // Where nothing moves, one iteration is like another.
            0 => 1,
            _ => (reach as u64 + 1).saturating_sub(first),
        };
        let count = count.map_or(reach, |count| count.min(reach));
        let shift = |number: u64| {
            i64::try_from(first + number)
                .ok()?
                .checked_mul(self.step)?
                .checked_add(lower)
        };
        count.saturating_mul(self.spans.len() as u64) <= MAX_STEPS
            && (0..count).all(|number| shift(number).is_some_and(|shift| !beside.overlaps(self, shift, true)))
    }

    fn overlaps(&self, later: &Footprint<'_>, shift: i64, across: bool) -> bool {
        self.spans.iter().any(|span| {
            let from = span.start - later.widest - shift;
            let first = later.spans.partition_point(|other| other.start <= from);
            later.spans[first..]
                .iter()
                .take_while(|other| other.start + shift < span.end)
                .any(|other| other.end + shift > span.start && !(across && other.thread == span.thread))
        })
    }
}

/// Whether a value stands outside of a loop, or is a constant of the kernel.
fn is_outside<'ir>(value: Value<'ir>, scope: Op<'ir>) -> bool {
    match value.def() {
        Def::Result(op, _) => !op.is_within(scope),
        Def::Argument(block, _) => block.parent().is_none_or(|op| !op.is_within(scope)),
    }
}

/// The loops between an operation and the loop around them, outermost first, through conditions; `None` when something
/// else stands there.
pub fn loops_between<'ir>(op: Op<'ir>, scope: Op<'ir>) -> Option<Vec<Op<'ir>>> {
    let mut loops = Vec::new();
    let mut parent = op.parent()?;
    while parent != scope {
        match parent.name() {
            "scf.for" => loops.push(parent),
            "affine.for" if static_bounds(parent).is_some() => loops.push(parent),
            "scf.if" => {}
            _ => return None,
        }
        parent = parent.parent()?;
    }
    loops.reverse();
    Some(loops)
}

/// The counters of all iterations of nested loops; `None` where that is more than `most`.
pub fn iterations(loops: &[Op<'_>], most: u64) -> Option<Vec<Vec<i64>>> {
    let mut all: Vec<Vec<i64>> = vec![Vec::new()];
    for op in loops {
        let trip = static_trip(*op)?;
        if trip.checked_mul(all.len() as u64)? > most {
            return None;
        }
        let (lower, _, step) = static_bounds(*op)?;
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
