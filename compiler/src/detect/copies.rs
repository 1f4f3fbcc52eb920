//! The copies into a buffer: what they look like, and the checks that `cp.async` can do them ahead of time.
//!
//! ```text
//! %v = vector.load %a[…]; vector.store %v, %s[…]                        a copy
//! %v = vector.transfer_read %a[…], %zero, %mask; … transfer_write       a copy with zero fill
//! memref.copy %tile, %s                                                 a copy that all threads share, if all do the same
//! %v = vector.load …; %w = arith.mulf %v, %scale; vector.store %w       a copy after sinking
//! ```

use super::affine;
use super::alignment::Side;
use super::effects::{accesses, contiguous_bytes, is_id, transfer};
use super::evaluate::static_trip;
use super::graph::{EdgeKind, LoopGraph};
use super::kernel::Touch;
use super::memory::{Space, is_view};
use super::shared::Case;
use super::source::carries_load;
use super::uniform::is_copied_together;
use super::verdict::{CopyOps, ReasonCode};
use super::work::{self, Work};
use crate::ir::{Attr, Op, Value, constant_index};

/// What `cp.async` moves (PTX ISA, "cp.async": cp-size is 4, 8 or 16).
pub const WIDTHS: [u64; 3] = [16, 8, 4];

/// One place that writes the buffer in the loop.
#[derive(Clone, Debug)]
pub struct Site<'ir> {
    pub touch: Touch<'ir>,
    /// The load of what it stores; `None` where it stores a constant beside the copies.
    pub load: Option<Touch<'ir>>,
    /// What is done to what a load loaded, and the guards on it; `None` where load and store are one operation.
    pub work: Option<Work<'ir>>,
    /// Conditions that it stands under: the `scf.if`, and whether it stands in its first region.
    pub conditions: Vec<(Op<'ir>, bool)>,
    /// Bytes of one asynchronous copy.
    pub bytes: u32,
    /// Whether its width or alignment keeps it from being asynchronous.
    pub narrow: bool,
    /// Why its asynchronous copies are narrower than what a thread moves.
    pub narrowed: Option<String>,
    /// Whether all threads do the same `memref.copy`, so that each may do a part of it. Otherwise what a thread copies is
    /// its own.
    pub together: bool,
}

impl Site<'_> {
    /// Whether a value is loaded and stored (zeros beside it count), so that it can rest in a register between.
    pub fn is_load_and_store(&self) -> bool {
        self.load.as_ref().is_none_or(|load| load.op != self.touch.op)
    }
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
            let ty = store.op.operand(store.access.memref).ty();
            if self.scene.memory.space(ty) != Space::Workgroup {
                let message = format!("the copy stores to a {ty}, and cp.async writes memrefs in workgroup memory");
                self.refuse(ReasonCode::NotAPureCopy, store.op, message);
                continue;
            }
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
            let work = site.work.iter().flat_map(|work| &work.chain);
            Some(CopyOps {
                load: self.scene.index.id(site.load.as_ref()?.op)?,
                store: self.scene.index.id(site.touch.op)?,
                bytes: site.bytes,
                work: work.filter_map(|op| self.scene.index.id(*op)).collect(),
                staged: site.narrow,
                narrowed: site.narrowed.clone(),
            })
        });
        copies.collect()
    }

    /// The conditions around an operation in the loop; only loops of static bounds may stand around it beside them.
    pub fn conditions(&mut self, op: Op<'ir>, scope: Op<'ir>) -> Option<Vec<(Op<'ir>, bool)>> {
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
        // Whether the copies may have that on their other side is looked at with the work in them.
        if work::number(value).is_some() && !conditions.is_empty() {
            self.ahead(store.op, &index_operands(store), graph);
            return Some(Site {
                touch: store.clone(),
                load: None,
                work: None,
                conditions,
                bytes: 0,
                narrow: false,
                narrowed: None,
                together: false,
            });
        }
        if carries_load(value, scope) {
            let message = "it stores what an earlier iteration loaded: the loop already runs ahead by itself";
            self.refuse(ReasonCode::AlreadyPipelined, store.op, message);
            return None;
        }
        let work = match self.trace(value, scope) {
            Ok(work) => work,
            Err(problem) => {
                self.refuse(
                    ReasonCode::NotAPureCopy,
                    problem.op.unwrap_or(store.op),
                    problem.message,
                );
                return None;
            }
        };
        let load = self.source(&work, store, scope)?;
        let ty = work.load.result(0).ty();
        let bytes = contiguous_bytes(ty);
        let most = bytes.and_then(|bytes| match bytes {
            4 | 8 | 16 => Some(bytes),
            _ if bytes > 0 && bytes.is_multiple_of(16) => Some(16),
            _ => None,
        });
        let (mut piece, mut narrowed) = (None, None);
        match most {
            Some(most) => {
                let (from, to) = work.types();
                let source = Side {
                    touch: &load,
                    from,
                    to: from,
                };
                let sides = [source, Side { touch: store, from, to }];
                piece = self.provable_width(&sides, most, ty);
                match piece {
                    Some(piece) if piece < most => {
                        let why = sides.iter().find_map(|side| self.side_misaligned(side, most));
                        narrowed = why.map(|(_, message)| message);
                    }
                    Some(_) => {}
                    None => {
                        for side in &sides {
                            if let Some((code, message)) = self.side_misaligned(side, most) {
                                self.refuse(code, side.touch.op, message);
                            }
                        }
                    }
                }
            }
            None => {
                let rows = ty.as_vector().is_some_and(|(shape, _)| shape.len() > 1);
                let hint = if rows { "; unroll its rows" } else { "" };
                let message = format!("a copy moves a {ty}, and cp.async moves 4, 8 or 16 contiguous bytes{hint}");
                self.refuse(ReasonCode::WidthUnsupported, store.op, message);
            }
        }
        let narrow = piece.is_none();
        let piece = piece.or(most).or(bytes)?;
        let mut ahead = index_operands(&load);
        ahead.push(load.op.operand(load.access.memref));
        ahead.extend(work.guards.iter().map(|guard| guard.condition));
        ahead.extend(conditions.iter().map(|(op, _)| op.operand(0)));
        self.ahead(load.op, &ahead, graph);
        self.ahead(store.op, &index_operands(store), graph);
        Some(Site {
            touch: store.clone(),
            load: Some(load),
            work: Some(work),
            conditions,
            bytes: piece as u32,
            narrow,
            narrowed,
            together: false,
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
        let mut narrow = false;
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
            for touch in [&load, store] {
                narrow |= !self.alignment(touch, piece);
            }
            piece
        };
        let mut ahead: Vec<Value<'ir>> = op.operands().collect();
        ahead.extend(conditions.iter().map(|(op, _)| op.operand(0)));
        self.ahead(op, &ahead, graph);
        Some(Site {
            touch: store.clone(),
            load: Some(load),
            work: None,
            conditions,
            bytes: piece as u32,
            narrow,
            narrowed: None,
            together: op.is("memref.copy") && is_copied_together(self.scene, op, scope),
        })
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

    /// What decides on an address or a mask may depend on loop counters, constants, threads, and memory that the loop
    /// only reads; not on what is carried or written.
    pub fn ahead(&mut self, at: Op<'ir>, values: &[Value<'ir>], graph: &LoopGraph<'ir>) {
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

/// Index operands of an access, and of a whole-memref access its memref.
fn index_operands<'ir>(touch: &Touch<'ir>) -> Vec<Value<'ir>> {
    let mut values = super::effects::indices(touch.op, touch.access);
    values.push(touch.op.operand(touch.access.memref));
    values
}
