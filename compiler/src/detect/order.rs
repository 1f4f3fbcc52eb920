//! The checks of order: reads behind writes, barriers between them, and nothing else that relies on those barriers.

use super::effects::{Alias, Effect, Root, effect};
use super::graph::{Edge, LoopGraph};
use super::shared::{Case, body_ops, top_level};
use super::verdict::ReasonCode;
use crate::ir::{Op, Value, preorder};

/// Whether something in an operation reads a shared buffer.
fn reads_buffer<'ir>(case: &Case<'_, 'ir>, op: Op<'ir>) -> bool {
    preorder(op)
        .into_iter()
        .any(|inner| matches!(effect(inner), Effect::Touches { memref, writes: false } if case.is_buffer(memref)))
}

impl<'ir> Case<'_, 'ir> {
    /// Reads stand in the loop, behind the writes of the iteration.
    pub fn readers(&mut self, scope: Op<'ir>) {
        let tops: Vec<Op<'ir>> = self
            .stores
            .iter()
            .filter_map(|store| top_level(*store, scope))
            .collect();
        for load in self.loads.clone() {
            let Some(top) = top_level(load, scope) else {
                let message = "the buffer is read outside of the loop that fills it";
                self.refuse(ReasonCode::ReadAfterLoop, load, message);
                continue;
            };
            if tops.iter().any(|store| top == *store || top.is_before(*store)) {
                let message = "the buffer is read before it is wholly written in the same iteration";
                self.refuse(ReasonCode::ReadBeforeWrite, load, message);
            }
        }
    }

    /// A barrier between the copies and the first read, and between the last read and the next copies.
    pub fn barriers(&mut self, scope: Op<'ir>) {
        let ops = body_ops(scope);
        let place = |op: &Op<'ir>| {
            let top = top_level(*op, scope)?;
            ops.iter().position(|other| *other == top)
        };
        let stores: Vec<usize> = self.stores.iter().filter_map(place).collect();
        let reads: Vec<usize> = self.loads.iter().filter_map(place).collect();
        let (Some(&first_store), Some(&last_store)) = (stores.iter().min(), stores.iter().max()) else {
            return;
        };
        let (Some(&first_read), Some(&last_read)) = (reads.iter().min(), reads.iter().max()) else {
            return self.refuse_buffer(ReasonCode::ReadAfterLoop, "nothing in the loop reads the buffer");
        };
        let barriers: Vec<usize> = (0..ops.len()).filter(|&at| ops[at].is("gpu.barrier")).collect();
        if !barriers.iter().any(|&at| at > last_store && at < first_read) {
            let message = "no barrier stands between the copies and the first read";
            self.refuse(ReasonCode::InputRace, ops[first_read], message);
        }
        if !barriers.iter().any(|&at| at > last_read || at < first_store) {
            let message = "no barrier stands between the last read and the copies of the next iteration";
            self.refuse(ReasonCode::InputRace, ops[last_read], message);
        }
        // The pipeline refills a slot behind the wait at the top of the iteration or behind the last fragment load:
        // what has an effect must not stand before the copies. Other buffers' copies move with them.
        for op in ops[..last_store].iter().copied() {
            if reads_buffer(self, op) && !self.loads.contains(&op) {
                let message = format!(
                    "{} reads another shared buffer before these copies; copy into all buffers first",
                    op.name()
                );
                self.refuse(ReasonCode::SyncPositionsDiffer, op, message);
            }
            if !self.is_quiet(op) {
                let message = format!("{} stands before the copies", op.name());
                self.refuse(ReasonCode::SideEffectBetween, op, message);
            }
        }
    }

    /// Whether the copies may move ahead of an operation in the body: it only computes, reads, orders, or is a copy.
    fn is_quiet(&self, op: Op<'ir>) -> bool {
        let mut copies = op.num_regions() == 0;
        for inner in preorder(op) {
            let quiet = match effect(inner) {
                Effect::Touches { memref, writes: true } => {
                    copies = true;
                    self.is_buffer(memref)
                }
                Effect::Touches { .. } => true,
                Effect::Barrier => inner == op,
                Effect::None => true,
                _ => false,
            };
            if !quiet {
                return false;
            }
        }
        // A loop or condition that fills no buffer is work of the iteration, not part of a copy.
        copies
    }

    /// Whether a memref is one of the shared buffers that have verdicts of their own.
    fn is_buffer(&self, memref: Value<'ir>) -> bool {
        matches!(self.scene.memory.root(memref), Root::Own(_)) && !self.scene.memory.is_private(memref)
    }

    /// Everything in the loop is understood, and synchronises by plain barriers in its body alone.
    pub fn effects(&mut self, scope: Op<'ir>) {
        for op in preorder(scope).into_iter().skip(1) {
            let name = op.name();
            match effect(op) {
                Effect::Asynchronous => {
                    self.refuse(ReasonCode::AlreadyPipelined, op, format!("{name} stands in the loop"));
                }
                Effect::Visible => {
                    self.refuse(ReasonCode::SideEffectBetween, op, format!("{name} stands in the loop"));
                }
                Effect::Unknown => self.refuse(ReasonCode::UnknownOp, op, format!("{name} is not understood")),
                Effect::None if matches!(name, "scf.while" | "memref.alloc" | "memref.alloca" | "memref.dealloc") => {
                    self.refuse(ReasonCode::UnknownOp, op, format!("{name} stands in the loop"));
                }
                Effect::Barrier if op.parent() != Some(scope) => {
                    let message = "a barrier inside an inner construct";
                    self.refuse(ReasonCode::BarrierOrdersOtherMemory, op, message);
                }
                Effect::Barrier | Effect::None | Effect::Touches { .. } => {}
            }
        }
    }

    /// The loads that the copies consist of.
    fn copy_loads(&self, graph: &LoopGraph<'ir>) -> Vec<Op<'ir>> {
        let loads = self
            .stores
            .iter()
            .flat_map(|store| graph.computed_from(store.operand(0)));
        loads
            .filter(|op| matches!(effect(*op), Effect::Touches { writes: false, .. }))
            .collect()
    }

    /// Nothing in the loop may write what the copies read.
    pub fn sources(&mut self, graph: &LoopGraph<'ir>) {
        for load in self.copy_loads(graph) {
            for (writer, Edge { kind, distance, alias }) in graph.conflicts(load) {
                let span = format!("{kind:?} over {distance} iterations");
                match alias {
                    Alias::Same => {
                        let message = format!("the loop writes the memory that the copies read ({span})");
                        self.refuse(ReasonCode::SourceWrittenInLoop, writer, message);
                    }
                    Alias::May => {
                        let message = format!(
                            "the loop writes memory that may be what the copies read ({span}); mark the arguments \
                             llvm.noalias, or pass --assume-noalias"
                        );
                        self.refuse(ReasonCode::MayAlias, writer, message);
                    }
                    Alias::Never => {}
                }
            }
        }
    }

    /// Accesses that the loop's barriers order beside the copies and reads of shared buffers.
    pub fn other_memory(&mut self, scope: Op<'ir>, graph: &LoopGraph<'ir>) {
        let copies = self.copy_loads(graph);
        for (op, memref, _) in touches(scope) {
            let shared = memref.ty().memory_space().is_some_and(crate::ir::Attr::is_workgroup);
            if shared && self.scene.memory.root(memref) == Root::Unknown {
                let message = "shared memory of unknown origin, which the loop's barriers may order";
                self.refuse(ReasonCode::BarrierOrdersOtherMemory, op, message);
            }
            if copies.contains(&op) || self.is_buffer(memref) || self.scene.memory.is_private(memref) {
                continue;
            }
            // One store meets itself only across iterations, and a pipelined loop keeps one barrier in each.
            for (other, edge) in graph.conflicts(op) {
                if other == op || copies.contains(&other) {
                    continue;
                }
                let message = format!(
                    "{} and {} may meet in memory ({:?} over {} iterations), and the loop's barriers may order them",
                    op.name(),
                    other.name(),
                    edge.kind,
                    edge.distance
                );
                self.refuse(ReasonCode::BarrierOrdersOtherMemory, op, message);
            }
        }
    }

    /// What stands around the loop may rely on its barriers too: the first copies run before all of them, and the last
    /// of them stands before the end of the last iteration.
    pub fn around(&mut self, scope: Op<'ir>) {
        let sources: Vec<Value<'ir>> = self
            .copy_loads(&LoopGraph::new(&self.scene.memory, scope))
            .iter()
            .filter_map(|load| load.operands().next())
            .collect();
        let inside: Vec<(Op<'ir>, Value<'ir>, bool)> = touches(scope)
            .into_iter()
            .filter(|(_, memref, writes)| {
                let source = !writes && sources.contains(memref);
                !source && !self.is_buffer(*memref) && !self.scene.memory.is_private(*memref)
            })
            .collect();
        let memory = self.scene.memory;
        let mut behind = false;
        for op in self.scene.ops.clone() {
            if op == scope {
                behind = true;
            }
            if op.is_within(scope) || scope.is_within(op) {
                continue;
            }
            let (target, writes) = match effect(op) {
                Effect::Touches { memref, writes } => (Some(memref), writes),
                // Bulk copies write global memory too.
                Effect::Unknown | Effect::Visible | Effect::Asynchronous => (None, true),
                Effect::None | Effect::Barrier => continue,
            };
            let meets = |memref: Value<'ir>| target.is_none_or(|at| memory.alias(at, memref) != Alias::Never);
            let again = self.runs_again(op, scope);
            if (!behind || again) && writes && sources.iter().any(|source| meets(*source)) && !fenced(op, scope, again)
            {
                let message = format!(
                    "{} may write what the first copies read, and only the loop's barriers stand between; put a \
                     gpu.barrier before the loop",
                    op.name()
                );
                self.refuse(ReasonCode::BarrierOrdersOtherMemory, op, message);
            }
            let conflict = inside
                .iter()
                .find(|(_, memref, wrote)| (writes || *wrote) && meets(*memref));
            if let Some((first, ..)) = conflict.filter(|_| (behind || again) && !fenced(op, scope, again)) {
                let message = format!(
                    "{} may meet {} of the loop's last iteration, and only the loop's barriers stand between; put a \
                     gpu.barrier behind the loop",
                    op.name(),
                    first.name()
                );
                self.refuse(ReasonCode::BarrierOrdersOtherMemory, op, message);
            }
        }
    }

    /// Whether an operation outside of the loop may run both before and after it.
    fn runs_again(&self, op: Op<'ir>, scope: Op<'ir>) -> bool {
        let kernel = self.scene.kernel;
        let mut parent = scope.parent();
        while let Some(around) = parent.filter(|around| *around != kernel) {
            if !around.is("scf.if") && op.is_within(around) {
                return true;
            }
            parent = around.parent();
        }
        kernel.body().is_none()
    }
}

/// Every access inside a loop.
fn touches(scope: Op<'_>) -> Vec<(Op<'_>, Value<'_>, bool)> {
    preorder(scope)
        .into_iter()
        .skip(1)
        .filter_map(|op| match effect(op) {
            Effect::Touches { memref, writes } => Some((op, memref, writes)),
            _ => None,
        })
        .collect()
}

/// Whether barriers stand between the loop and an operation, on all ways that lead from one to the other: `again` where
/// an outer loop leads back. They count in the loop's own block only, where every thread that runs the loop passes them.
fn fenced<'ir>(op: Op<'ir>, scope: Op<'ir>, again: bool) -> bool {
    let Some(block) = scope.block() else { return false };
    let Some(parent) = scope.parent() else { return false };
    let Some(top) = top_level(op, parent).filter(|top| top.block() == Some(block)) else {
        return false;
    };
    let barriers: Vec<Op<'ir>> = block.ops().into_iter().filter(|one| one.is("gpu.barrier")).collect();
    let (first, second) = if top.is_before(scope) {
        (top, scope)
    } else {
        (scope, top)
    };
    let between = barriers
        .iter()
        .any(|one| first.is_before(*one) && one.is_before(second));
    let wrapped = barriers
        .iter()
        .any(|one| one.is_before(first) || second.is_before(*one));
    between && (!again || wrapped)
}
