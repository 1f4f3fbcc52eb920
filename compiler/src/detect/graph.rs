//! What the operations of one loop owe each other: values, and memory within an iteration and across to the next.
//!
//! ```text
//! %v = vector.load %a[…]       --Def 0-->  vector.store %v, %s[…]
//! vector.store %v, %s[…]       --Raw 0-->  vector.load %s[…]
//! vector.load %s[…]            --War 1-->  vector.store %v, %s[…]    of the next iteration
//! ```

use std::collections::{HashMap, HashSet};

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use super::effects::{Alias, Effect, Memory, effect};
use crate::ir::{Def, Op, Value, preorder};

/// Why one operation must follow another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeKind {
    /// It uses a result.
    Def,
    /// It reads what was written.
    Raw,
    /// It writes what was read.
    War,
    /// It writes what was written.
    Waw,
}

/// A dependence: its kind, how many iterations it spans, and how sure it is (of memory).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    pub kind: EdgeKind,
    pub distance: u32,
    pub alias: Alias,
}

/// The dependences of the operations inside a loop.
pub struct LoopGraph<'ir> {
    graph: DiGraph<Op<'ir>, Edge>,
    nodes: HashMap<Op<'ir>, NodeIndex>,
}

impl<'ir> LoopGraph<'ir> {
    /// The graph of everything inside `scope`.
    pub fn new(memory: &Memory<'ir>, scope: Op<'ir>) -> Self {
        let ops: Vec<Op<'ir>> = preorder(scope).into_iter().skip(1).collect();
        let mut graph = DiGraph::new();
        let nodes: HashMap<Op<'ir>, NodeIndex> = ops.iter().map(|op| (*op, graph.add_node(*op))).collect();
        let mut built = LoopGraph { graph, nodes };
        for op in &ops {
            built.definitions(*op);
        }
        let touches: Vec<(Op<'ir>, Value<'ir>, bool)> = ops
            .iter()
            .filter_map(|op| match effect(*op) {
                Effect::Touches { memref, writes } => Some((*op, memref, writes)),
                _ => None,
            })
            .collect();
        for (number, first) in touches.iter().enumerate() {
            for second in &touches[number..] {
                built.memory_edges(memory, *first, *second);
            }
        }
        built
    }

    fn definitions(&mut self, user: Op<'ir>) {
        for operand in user.operands() {
            let (op, distance) = match operand.def() {
                Def::Result(op, _) => (op, 0),
                // What a loop carries comes from the terminator of the iteration before.
                Def::Argument(block, 1..) => match block.terminator() {
                    Some(terminator) => (terminator, 1),
                    None => continue,
                },
                Def::Argument(..) => continue,
            };
            if let (Some(&from), Some(&to)) = (self.nodes.get(&op), self.nodes.get(&user)) {
                let kind = EdgeKind::Def;
                let alias = Alias::Never;
                self.graph.add_edge(from, to, Edge { kind, distance, alias });
            }
        }
    }

    fn memory_edges(
        &mut self,
        memory: &Memory<'ir>,
        first: (Op<'ir>, Value<'ir>, bool),
        second: (Op<'ir>, Value<'ir>, bool),
    ) {
        let kind = |before: bool, after: bool| match (before, after) {
            (true, false) => Some(EdgeKind::Raw),
            (false, true) => Some(EdgeKind::War),
            (true, true) => Some(EdgeKind::Waw),
            (false, false) => None,
        };
        let Some(forward) = kind(first.2, second.2) else { return };
        let alias = memory.alias(first.1, second.1);
        let (a, b) = (self.nodes[&first.0], self.nodes[&second.0]);
        if alias == Alias::Never {
            return;
        }
        let edge = |kind, distance| Edge { kind, distance, alias };
        if a != b {
            self.graph.add_edge(a, b, edge(forward, 0));
        }
        if let Some(backward) = kind(second.2, first.2) {
            self.graph.add_edge(b, a, edge(backward, 1));
        }
    }

    /// Every operation that `op` shares memory with, one of the two writing it, and the dependence.
    pub fn conflicts(&self, op: Op<'ir>) -> Vec<(Op<'ir>, Edge)> {
        let Some(&node) = self.nodes.get(&op) else {
            return Vec::new();
        };
        let mut found: Vec<(Op<'ir>, Edge)> = Vec::new();
        for direction in [Direction::Outgoing, Direction::Incoming] {
            for edge in self.graph.edges_directed(node, direction) {
                let far = if direction == Direction::Outgoing {
                    edge.target()
                } else {
                    edge.source()
                };
                let other = self.graph[far];
                if edge.weight().kind != EdgeKind::Def && !found.iter().any(|(op, _)| *op == other) {
                    found.push((other, *edge.weight()));
                }
            }
        }
        found
    }

    /// The operations of the loop that a value is computed from.
    pub fn computed_from(&self, value: Value<'ir>) -> Vec<Op<'ir>> {
        let start = match value.def() {
            Def::Result(op, _) => self.nodes.get(&op).copied(),
            Def::Argument(block, 1..) => block.terminator().and_then(|op| self.nodes.get(&op)).copied(),
            Def::Argument(..) => None,
        };
        let mut open: Vec<NodeIndex> = start.into_iter().collect();
        let mut seen: HashSet<NodeIndex> = open.iter().copied().collect();
        let mut found = Vec::new();
        while let Some(node) = open.pop() {
            found.push(self.graph[node]);
            for edge in self.graph.edges_directed(node, Direction::Incoming) {
                if edge.weight().kind == EdgeKind::Def && seen.insert(edge.source()) {
                    open.push(edge.source());
                }
            }
        }
        found.sort_by_key(|op| self.nodes[op]);
        found
    }
}
