//! The copies of a loop: what the plan names, with the conditions and masks that they stand under.
//!
//! ```text
//! %v = vector.load %a[…]; vector.store %v, %s[…]                       a site: load and store
//! %v = scf.if %in { vector.load … } else { zeros }; vector.store …     a site with a guard: zeros where it is off
//! memref.copy %tile, %s                                                a site whose work the threads share, or each its own
//! scf.if %in { copy } else { store zeros }                             two sites, each with a condition
//! ```

use std::collections::HashSet;

use alcop_compiler::ir::{Attr, Block, Def, Op, Type, Use, Value, is_zero, preorder};

use super::check::Planned;
use super::fill;
use super::items::static_trip;
use crate::error::Error;
use crate::multi_buffer::{self, Access};
use crate::plan::Transport;

/// One place that fills a buffer.
#[derive(Clone, Debug)]
pub struct Site<'ir> {
    /// Which buffer of the loop.
    pub buffer: usize,
    /// The store, or the operation that loads and stores.
    pub store: Op<'ir>,
    /// Where the data comes from.
    pub from: From<'ir>,
    /// Bytes of one asynchronous copy.
    pub width_bytes: u32,
    /// What carries the bytes.
    pub transport: Transport,
    /// Whether it is a `memref.copy` that all threads would do alike, so that each does a part of it.
    pub together: bool,
}

/// Where a site's data comes from.
#[derive(Clone, Debug)]
pub enum From<'ir> {
    /// A load, whose value reaches the store through guards: conditions that replace it by zeros.
    Load {
        load: Op<'ir>,
        guards: Vec<(Value<'ir>, bool)>,
    },
    /// The site loads itself: `memref.copy`, `nvgpu.device_async_copy`.
    Whole,
    /// Zeros, for the side of a condition that copies nothing.
    Zeros,
}

impl<'ir> Site<'ir> {
    /// The operand numbers of the memref that is written and of its first index.
    pub fn target(&self) -> (usize, usize) {
        match self.store.name() {
            "nvgpu.device_async_copy" => (0, 1),
            _ => (1, 2),
        }
    }

    /// The inner loops around the site, innermost first.
    pub fn loops(&self, scope: Op<'ir>) -> Vec<Op<'ir>> {
        self.parents(scope)
            .filter(|op| matches!(op.name(), "scf.for" | "affine.for"))
            .collect()
    }

    fn parents(&self, scope: Op<'ir>) -> impl Iterator<Item = Op<'ir>> {
        std::iter::successors(self.store.parent(), |op| op.parent()).take_while(move |op| *op != scope)
    }

    /// Asynchronous copies that one thread makes each time, where a `memref.copy` stands for several.
    pub fn pieces(&self, kernel: Op<'ir>) -> u64 {
        let parts = self
            .store
            .operand(1)
            .ty()
            .as_memref()
            .filter(|_| self.store.is("memref.copy"));
        let Some(bytes) = parts.and_then(|parts| {
            let elements = parts
                .shape
                .iter()
                .try_fold(1_u64, |all, extent| all.checked_mul(u64::try_from((*extent)?).ok()?));
            elements?.checked_mul(parts.element.bytes()?)
        }) else {
            return 1;
        };
        let pieces = bytes / u64::from(self.width_bytes.max(1));
        match self.together {
            true => pieces.div_ceil(fill::threads(kernel).max(1).unsigned_abs()),
            false => pieces,
        }
    }

    /// Whether it depends on the chunk what is copied: a condition, a guard, a mask.
    pub fn is_masked(&self, scope: Op<'ir>) -> bool {
        let masked = match &self.from {
            From::Load { load, guards } => {
                !guards.is_empty() || matches!(load.name(), "vector.transfer_read" | "vector.maskedload")
            }
            From::Whole => self.store.is("nvgpu.device_async_copy"),
            From::Zeros => true,
        };
        masked || self.parents(scope).any(|op| op.is("scf.if"))
    }

    /// Everything that must be known to make the copy: addresses, guards, conditions.
    pub fn dependences(&self, scope: Op<'ir>) -> Vec<Value<'ir>> {
        let mut values: Vec<Value<'ir>> = match &self.from {
            From::Load { load, guards } => {
                let guards = guards.iter().map(|(guard, _)| *guard);
                load.operands()
                    .chain(self.store.operands().skip(1))
                    .chain(guards)
                    .collect()
            }
            From::Whole => self.store.operands().collect(),
            From::Zeros => self.store.operands().skip(1).collect(),
        };
        values.extend(self.parents(scope).filter(|op| op.is("scf.if")).map(|op| op.operand(0)));
        values
    }
}

/// A copy of the plan, found.
pub struct Copy<'ir> {
    pub load: Op<'ir>,
    pub store: Op<'ir>,
    /// Where it does not have those of its buffer.
    pub width_bytes: Option<u32>,
    pub transport: Option<Transport>,
}

/// The sites that fill a buffer in a loop: the copies of the plan, and stores of zeros under the opposite condition.
/// `together` has each `memref.copy` that the threads do together.
pub fn find<'ir>(
    scope: Op<'ir>,
    buffer: usize,
    planned: &Planned<'ir>,
    copies: &[Copy<'ir>],
    together: &HashSet<Op<'ir>>,
) -> Result<Vec<Site<'ir>>, Error> {
    let mut sites = Vec::new();
    if copies.is_empty() {
        let message = "the plan pipelines a buffer without copies";
        return Err(Error::refused("unknown-op", scope.location(), message));
    }
    for copy in copies {
        let from = if copy.load == copy.store {
            From::Whole
        } else {
            loaded(copy.load, copy.store)?
        };
        sites.push(Site {
            buffer,
            store: copy.store,
            from,
            width_bytes: copy.width_bytes.unwrap_or(planned.width_bytes),
            transport: copy.transport.unwrap_or(planned.transport),
            together: together.contains(&copy.store),
        });
    }
    let writes = |used: &&Use<'ir>| matches!(multi_buffer::access(**used), Some(Access::Write(_)));
    for used in planned
        .buffer
        .uses
        .iter()
        .filter(writes)
        .filter(|used| used.op.is_within(scope))
    {
        if sites.iter().any(|site| site.store == used.op) {
            continue;
        }
        let zeros = matches!(
            used.op.name(),
            "vector.store" | "memref.store" | "vector.transfer_write"
        ) && is_zero(used.op.operand(0));
        if !zeros || used.op.parent() == Some(scope) {
            let message = format!("{} writes the buffer beside its copies", used.op.name());
            return Err(Error::refused("several-writers", used.op.location(), message));
        }
        sites.push(Site {
            buffer,
            store: used.op,
            from: From::Zeros,
            width_bytes: planned.width_bytes,
            transport: planned.transport,
            together: false,
        });
    }
    for site in &sites {
        check(scope, planned, site)?;
    }
    Ok(sites)
}

fn check(scope: Op<'_>, planned: &Planned<'_>, site: &Site<'_>) -> Result<(), Error> {
    let store = site.store;
    let refuse = |code, message: String| Err(Error::refused(code, store.location(), message));
    if !store.is_within(scope) {
        return refuse(
            "not-sequential",
            "the copy does not stand in the pipelined loop".to_owned(),
        );
    }
    let known = match site.from {
        From::Whole => matches!(store.name(), "memref.copy" | "nvgpu.device_async_copy"),
        _ => matches!(store.name(), "vector.store" | "memref.store" | "vector.transfer_write"),
    };
    if !known {
        return refuse(
            "not-a-pure-copy",
            format!("{} is not a copy this rewrite knows", store.name()),
        );
    }
    let (target, _) = site.target();
    let memref = store.operand(target);
    let mine =
        planned.buffer.values.contains(&memref) || planned.buffer.views.iter().any(|view| view.result(0) == memref);
    if !mine {
        return refuse(
            "several-writers",
            "copies of one buffer store to different memrefs".to_owned(),
        );
    }
    for parent in site.parents(scope) {
        let fine = match parent.name() {
            "scf.for" | "affine.for" => static_trip(parent).is_some(),
            "scf.if" => true,
            _ => false,
        };
        if !fine {
            let message = format!(
                "the copy stands in {}, which cannot be unrolled or made a predicate",
                parent.name()
            );
            return refuse("not-sequential", message);
        }
    }
    if (planned.transport == Transport::Synchronous) != (site.transport == Transport::Synchronous) {
        let message =
            "a buffer is filled in its place by all of its copies or by none; the plan has one synchronous copy \
                       beside others"
                .to_owned();
        return refuse("sync-positions-differ", message);
    }
    if store.is("memref.copy") {
        let plain = |memref: Value<'_>| {
            memref.ty().as_memref().is_some_and(|parts| {
                parts.strides.last().is_none_or(|last| *last == Some(1)) && !parts.shape.contains(&None)
            })
        };
        if !plain(store.operand(0)) || !plain(store.operand(1)) {
            let message = "memref.copy of rows of unknown extent, or whose elements do not lie side by side".to_owned();
            return refuse("not-contiguous", message);
        }
    }
    if matches!(site.from, From::Zeros) {
        return Ok(());
    }
    let width = u64::from(site.width_bytes);
    if site.transport == Transport::CpAsync && !matches!(width, 4 | 8 | 16) {
        return refuse(
            "width-unsupported",
            format!("cp.async moves 4, 8 or 16 bytes, not {width}"),
        );
    }
    let element = planned.buffer.memref.element.bytes().unwrap_or(0);
    let bytes = match site.from {
        From::Whole if store.is("memref.copy") => {
            let row = planned.buffer.memref.shape.last().copied().flatten();
            let part = store
                .operand(1)
                .ty()
                .as_memref()
                .and_then(|memref| memref.shape.last().copied().flatten());
            part.or(row).map_or(0, |row| row as u64) * element
        }
        From::Whole => {
            let elements = store.attr("dstElements").and_then(Attr::as_int).unwrap_or(0) as u64;
            elements * element
        }
        _ => store.operand(0).ty().bytes().unwrap_or(0),
    };
    if bytes == 0 || width == 0 || bytes % width != 0 || element == 0 || width % element != 0 {
        return refuse(
            "width-unsupported",
            format!("the copy moves {bytes} bytes in elements of {element}, the plan says pieces of {width}"),
        );
    }
    if matches!(site.from, From::Whole) && store.is("nvgpu.device_async_copy") && bytes != width {
        return refuse(
            "width-unsupported",
            format!("an asynchronous copy of {bytes} bytes stays one; the plan says pieces of {width}"),
        );
    }
    if site.transport == Transport::RegisterStaged && matches!(site.from, From::Whole) {
        let message = format!(
            "{} cannot be staged through registers; use a load and a store",
            store.name()
        );
        return refuse("not-a-pure-copy", message);
    }
    Ok(())
}

/// Follows a stored value back to its load.
fn loaded<'ir>(load: Op<'ir>, store: Op<'ir>) -> Result<From<'ir>, Error> {
    let refuse = |message: &str| Err(Error::refused("not-a-pure-copy", store.location(), message));
    let known = matches!(
        load.name(),
        "vector.load" | "memref.load" | "vector.transfer_read" | "vector.maskedload"
    );
    if !known {
        let message = format!("{} into {} is not a copy this rewrite knows", load.name(), store.name());
        return refuse(&message);
    }
    let mut guards = Vec::new();
    let mut value = store.operand(0);
    while value != load.result(0) {
        let Some((guard, on, behind)) = guarded(value) else {
            return refuse("the value stored is not exactly the value loaded");
        };
        guards.push((guard, on));
        value = behind;
    }
    Ok(From::Load { load, guards })
}

/// The condition of a value that is zero on one side, the side that it is not, and that side.
fn guarded(value: Value<'_>) -> Option<(Value<'_>, bool, Value<'_>)> {
    let Def::Result(op, number) = value.def() else {
        return None;
    };
    let (yes, no) = match op.name() {
        "arith.select" => (op.operand(1), op.operand(2)),
        "scf.if" => {
            let mut sides = op.regions().filter_map(|region| {
                let block = region.blocks().next()?;
                block.terminator()?.operands().nth(number)
            });
            (sides.next()?, sides.next()?)
        }
        _ => return None,
    };
    match (is_zero(yes), is_zero(no)) {
        (false, true) => Some((op.operand(0), true, yes)),
        (true, false) => Some((op.operand(0), false, no)),
        _ => None,
    }
}

/// The groups and waits of asynchronous copies that the input itself has: those of the pipeline take their place.
pub fn groups_and_waits<'ir>(scope: Op<'ir>, sites: &[Site<'ir>]) -> HashSet<Op<'ir>> {
    let mut found: HashSet<Op<'ir>> = HashSet::new();
    if !sites.iter().any(|site| site.store.is("nvgpu.device_async_copy")) {
        return found;
    }
    for op in preorder(scope) {
        let part = matches!(op.name(), "nvgpu.device_async_create_group" | "nvgpu.device_async_wait");
        let of = |operand: Value<'ir>| {
            let def = operand.def_op();
            def.is_some_and(|def| found.contains(&def) || sites.iter().any(|site| site.store == def))
        };
        if part && op.operands().all(of) {
            found.insert(op);
        }
    }
    found
}

/// Whether an operation holds one of the sites.
pub fn holds<'ir>(op: Op<'ir>, sites: &[&Site<'ir>]) -> bool {
    sites.iter().any(|site| site.store.is_within(op))
}

/// The only block of a region, if it has one.
pub fn blocks(op: Op<'_>) -> Vec<Block<'_>> {
    op.regions().filter_map(|region| region.blocks().next()).collect()
}

/// Elements of a vector; 1 for a scalar.
pub fn elements(ty: Type<'_>) -> i64 {
    ty.as_vector().map_or(1, |(shape, _)| shape.iter().product())
}
