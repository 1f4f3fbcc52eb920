//! The body of a pipelined loop as a list of items, in the order in which they are executed.
//!
//! ```text
//! for k { copies; barrier; for i in 0..2 { f = load S[i]; mma f }; barrier }      with two fragment sets becomes
//! loads of step 1; step 0; loads of step 0 of the next chunk; step 1
//! ```

use alcop_compiler::detect::static_bounds;
use alcop_compiler::ir::{Op, preorder};

use super::check::PipelineLoop;
use super::copies::{self, Site};
use crate::multi_buffer::{self, Access};
use crate::waits::{self, Timeline, Timing, Untimely};

/// The register level of one unrolled loop, checked.
#[derive(Clone, Debug)]
pub struct Registers<'ir> {
    /// The loop that is unrolled; the pipelined loop itself where that loads without an inner one.
    pub inner: Op<'ir>,
    pub depth: usize,
    pub steps: usize,
    pub lower: i64,
    pub step: i64,
    pub loads: Vec<Op<'ir>>,
}

/// One item of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'ir> {
    /// An operation that stays as it is.
    Op(Op<'ir>),
    /// The loads of one step of a register loop, for this chunk or the next.
    Loads { registers: usize, step: usize, next: bool },
    /// What else a step of a register loop does; with a depth of one its loads too.
    Step { registers: usize, step: usize },
    /// A barrier around copies that stay in their place.
    Barrier,
}

/// The items of a loop body.
pub fn items<'ir>(pipelined: &PipelineLoop<'ir>) -> Vec<Item<'ir>> {
    let scope = pipelined.inner();
    let mut items: Vec<Item<'ir>> = Vec::new();
    let own = pipelined
        .registers
        .iter()
        .position(|registers| registers.inner == scope && registers.depth > 1);
    let body = scope.body().expect("scf.for has one block");
    for op in body.ops() {
        if op.is("scf.yield") || pipelined.gone.contains(&op) {
            continue;
        }
        let unrolled = pipelined.registers.iter().position(|registers| registers.inner == op);
        if let Some(registers) = unrolled {
            items.extend((0..pipelined.registers[registers].steps).map(|step| Item::Step { registers, step }));
            continue;
        }
        match own {
            Some(registers) if pipelined.registers[registers].loads.contains(&op) => {
                let loads = Item::Loads {
                    registers,
                    step: 0,
                    next: true,
                };
                if !items.contains(&loads) {
                    items.push(loads);
                }
            }
            _ => items.push(Item::Op(op)),
        }
    }
    fence_in_place(pipelined, read_ahead(pipelined, items))
}

/// Puts barriers around the copies that stay: behind the reads of the chunk before, and before those of their own.
fn fence_in_place<'ir>(pipelined: &PipelineLoop<'ir>, mut items: Vec<Item<'ir>>) -> Vec<Item<'ir>> {
    let sites: Vec<&Site<'ir>> = pipelined.sites_in_place().collect();
    let holds = |item: &Item<'ir>| matches!(item, Item::Op(op) if copies::holds(*op, &sites));
    if let (Some(first), Some(last)) = (items.iter().position(holds), items.iter().rposition(holds)) {
        items.insert(last + 1, Item::Barrier);
        items.insert(first, Item::Barrier);
    }
    items
}

/// Puts the loads of each step before the step that stands `depth` − 1 places earlier among all steps of the body, or of
/// the body of the chunk before.
fn read_ahead<'ir>(pipelined: &PipelineLoop<'ir>, items: Vec<Item<'ir>>) -> Vec<Item<'ir>> {
    let steps: Vec<(usize, usize)> = items
        .iter()
        .filter_map(|item| match item {
            Item::Step { registers, step } => Some((*registers, *step)),
            _ => None,
        })
        .collect();
    let mut before: Vec<Vec<Item<'ir>>> = vec![Vec::new(); steps.len()];
    for (place, (registers, step)) in steps.iter().enumerate() {
        let ahead = pipelined.registers[*registers].depth - 1;
        if ahead == 0 {
            continue;
        }
        let next = place < ahead;
        let at = if next {
            place + steps.len() - ahead
        } else {
            place - ahead
        };
        before[at].push(Item::Loads {
            registers: *registers,
            step: *step,
            next,
        });
    }
    let mut before = before.into_iter();
    let mut ordered = Vec::new();
    for item in items {
        if matches!(item, Item::Step { .. }) {
            ordered.extend(before.next().expect("one list a step"));
        }
        ordered.push(item);
    }
    ordered
}

/// When everything of the loop happens.
pub fn timeline(pipelined: &PipelineLoop<'_>, items: &[Item<'_>]) -> Result<Timeline, Untimely> {
    waits::timeline(items.len().max(1), &timings(pipelined, items))
}

/// Where each buffer is read.
pub fn timings(pipelined: &PipelineLoop<'_>, items: &[Item<'_>]) -> Vec<Timing> {
    (0..pipelined.ahead().len())
        .map(|buffer| {
            let reads = reads(pipelined, items, buffer);
            let planned = &pipelined.buffers[buffer];
            Timing {
                // A buffer that nothing reads is as good as one that is read at the start.
                first_read: reads.iter().copied().min().unwrap_or(0),
                last_read: reads.iter().copied().max().unwrap_or(0),
                slots: planned.slots,
                distance: planned.distance,
                sync: planned.sync,
                asynchronous: pipelined
                    .sites
                    .iter()
                    .any(|site| site.buffer == buffer && site.transport == crate::plan::Transport::CpAsync),
            }
        })
        .collect()
}

/// The positions at which a chunk of a buffer is read, from the start of its own iteration.
fn reads(pipelined: &PipelineLoop<'_>, items: &[Item<'_>], buffer: usize) -> Vec<i64> {
    let reads_in = |op: Op<'_>| {
        preorder(op).into_iter().any(|inner| {
            let site = pipelined.gone.contains(&inner);
            !site
                && inner.operands().enumerate().any(|(operand, value)| {
                    let used = alcop_compiler::ir::Use { op: inner, operand };
                    pipelined.buffer_of(value) == Some(buffer)
                        && matches!(multi_buffer::access(used), Some(Access::Read(_)))
                })
        })
    };
    let mut found = Vec::new();
    for (position, item) in items.iter().enumerate() {
        let position = position as i64;
        match item {
            Item::Op(op) if reads_in(*op) => found.push(position),
            Item::Loads { registers, next, .. } => {
                let loads = &pipelined.registers[*registers].loads;
                if loads
                    .iter()
                    .any(|load| pipelined.buffer_of(load.operand(0)) == Some(buffer))
                {
                    found.push(position - if *next { items.len() as i64 } else { 0 });
                }
            }
            Item::Step { registers, .. } => {
                let registers = &pipelined.registers[*registers];
                let body = registers.inner.body().expect("scf.for has one block");
                let planned = |op: &Op<'_>| registers.depth > 1 && registers.loads.contains(op);
                if body.ops().into_iter().any(|op| !planned(&op) && reads_in(op)) {
                    found.push(position);
                }
            }
            Item::Op(_) | Item::Barrier => {}
        }
    }
    found
}

/// Iterations of a loop whose bounds are constants.
pub fn static_trip(op: Op<'_>) -> Option<u64> {
    let (lower, upper, step) = static_bounds(op)?;
    let length = upper.checked_sub(lower)?.max(0).cast_unsigned();
    (step > 0).then(|| length.div_ceil(step.cast_unsigned()))
}
