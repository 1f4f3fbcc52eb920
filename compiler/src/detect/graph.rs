//! What the operations of one loop owe each other: values, and memory within an iteration and across to the next.
//!
//! ```text
//! %v = vector.load %a[…]       --Def 0-->  vector.store %v, %s[…]
//! vector.store %v, %s[…]       --Raw 0-->  vector.load %s[…]
//! vector.load %s[…]            --War 1-->  vector.store %v, %s[…]    of the next iteration
//! ```
//!
//! Of accesses to one buffer outside of shared memory, those that [`footprint`] proves apart have no edge.

use std::collections::{HashMap, HashSet};

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use super::evaluate::static_trip;
use super::footprint::{Footprint, Meeting, footprint};
use super::kernel::{Class, Scene, Touch};
use super::memory::{Alias, Space};
use crate::ir::{Def, Op, Value};

/// Pairs of accesses that are looked at one by one; above that each access has edges to its neighbours only, and none
/// of them is proven apart.
const MAX_PAIRS: usize = 1 << 12;

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

/// A dependence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edge {
    pub kind: EdgeKind,
    /// The fewest iterations that it spans.
    pub distance: u32,
    /// Of memory: whether the two are the same memory, or only not proven apart.
    pub alias: Alias,
    /// Whether one thread may depend on another.
    pub across: bool,
    /// Whether the memory is shared memory.
    pub shared: bool,
}

/// The dependences of the operations inside a loop.
pub struct LoopGraph<'ir> {
    graph: DiGraph<Op<'ir>, Edge>,
    nodes: HashMap<Op<'ir>, NodeIndex>,
}

impl<'ir> LoopGraph<'ir> {
    /// The graph of everything inside `scope`.
    pub fn new(scene: &Scene<'_, 'ir>, scope: Op<'ir>) -> Self {
        let inside = scene.inside(scope);
        let mut graph = DiGraph::new();
        let ops = &scene.ops[inside.clone()];
        let nodes: HashMap<Op<'ir>, NodeIndex> = ops.iter().map(|op| (*op, graph.add_node(*op))).collect();
        let mut built = LoopGraph { graph, nodes };
        for op in ops {
            built.definitions(*op);
        }
        built.memory(scene, scope, scene.touches_in(inside));
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
                let edge = Edge {
                    kind: EdgeKind::Def,
                    distance,
                    alias: Alias::Never,
                    across: false,
                    shared: false,
                };
                self.graph.add_edge(from, to, edge);
            }
        }
    }

    fn memory(&mut self, scene: &Scene<'_, 'ir>, scope: Op<'ir>, touches: &[Touch<'ir>]) {
        let writes = touches.iter().filter(|touch| touch.writes).count();
        let trip = static_trip(scope);
        let mut footprints: Vec<Option<Option<Footprint<'ir>>>> = vec![None; touches.len()];
        if writes.saturating_mul(touches.len()) > MAX_PAIRS {
            return self.neighbours(scene, touches);
        }
        for first in 0..touches.len() {
            for second in first..touches.len() {
                let (a, b) = (&touches[first], &touches[second]);
                if !a.writes && !b.writes {
                    continue;
                }
                let alias = scene.memory.alias(&a.place, &b.place);
                if alias == Alias::Never {
                    continue;
                }
                let provable = alias == Alias::Same && a.place.space != Space::Workgroup && a.op != b.op;
                let pair = provable.then(|| {
                    for at in [first, second] {
                        footprints[at].get_or_insert_with(|| footprint(scene, &touches[at], scope));
                    }
                    let known = |at: usize| footprints[at].as_ref().and_then(Option::as_ref);
                    known(first).zip(known(second))
                });
                match pair.flatten() {
                    Some((early, late)) => {
                        self.proven(a, b, (early, late), 0, trip);
                        self.proven(b, a, (late, early), 1, trip);
                    }
                    None => self.assumed(a, b, alias),
                }
            }
        }
    }

    /// Edges from and to the nearest accesses of the same class: enough to see that there is a dependence at all.
    fn neighbours(&mut self, scene: &Scene<'_, 'ir>, touches: &[Touch<'ir>]) {
        let class = |touch: &Touch<'ir>| scene.class(&touch.place);
        let together = touches.iter().any(|touch| matches!(class(touch), Class::Unknown(_)));
        let mut classes: HashMap<Option<Class<'ir>>, Vec<&Touch<'ir>>> = HashMap::new();
        for touch in touches {
            classes
                .entry((!together).then(|| class(touch)))
                .or_default()
                .push(touch);
        }
        let mut lists: Vec<Vec<&Touch<'ir>>> = classes.into_values().collect();
        lists.sort_by_key(|list| list[0].at);
        for list in lists.iter().filter(|list| list.iter().any(|touch| touch.writes)) {
            let mut last: Option<(usize, &Touch<'ir>)> = None;
            let mut reads: Vec<(usize, &Touch<'ir>)> = Vec::new();
            // The second turn finds what the next iteration meets of this one.
            for (turn, touch) in (0..2).flat_map(|turn| list.iter().map(move |touch| (turn, *touch))) {
                let linked = |(before, from): (usize, &Touch<'ir>), graph: &mut Self| {
                    let distance = (turn - before) as u32;
                    let alias = match scene.memory.alias(&from.place, &touch.place) {
                        Alias::Same => Alias::Same,
                        _ => Alias::May,
                    };
                    if from.at != touch.at || distance > 0 {
                        graph.edge(from, touch, distance, alias, true);
                    }
                };
                if let Some(last) = last {
                    linked(last, self);
                }
                if touch.writes {
                    reads.drain(..).for_each(|read| linked(read, self));
                    last = Some((turn, touch));
                } else if turn == 0 || last.is_some_and(|(turn, _)| turn == 0) {
                    reads.push((turn, touch));
                }
            }
        }
    }

    /// Edges between two accesses of which the bytes are known.
    fn proven(
        &mut self,
        a: &Touch<'ir>,
        b: &Touch<'ir>,
        (early, late): (&Footprint<'ir>, &Footprint<'ir>),
        least: u32,
        trip: Option<u64>,
    ) {
        let (meeting, across) = (
            early.meets(late, least, trip, false),
            early.meets(late, least, trip, true),
        );
        let distance = match meeting {
            Meeting::Never => return,
            Meeting::After(distance) => distance,
            Meeting::Unknown => least,
        };
        self.edge(a, b, distance, Alias::Same, across != Meeting::Never);
    }

    fn assumed(&mut self, a: &Touch<'ir>, b: &Touch<'ir>, alias: Alias) {
        if a.op != b.op {
            self.edge(a, b, 0, alias, true);
        }
        self.edge(b, a, 1, alias, true);
    }

    fn edge(&mut self, from: &Touch<'ir>, to: &Touch<'ir>, distance: u32, alias: Alias, across: bool) {
        let kind = match (from.writes, to.writes) {
            (true, false) => EdgeKind::Raw,
            (false, true) => EdgeKind::War,
            (true, true) => EdgeKind::Waw,
            (false, false) => return,
        };
        let edge = Edge {
            kind,
            distance,
            alias,
            across,
            shared: from.place.space == Space::Workgroup && to.place.space == Space::Workgroup,
        };
        self.graph.add_edge(self.nodes[&from.op], self.nodes[&to.op], edge);
    }

    /// Every operation that `op` meets in memory other than shared memory, one of the two writing it, and the
    /// dependences; `true` where it leads from `op` to the other.
    pub fn conflicts(&self, op: Op<'ir>) -> Vec<(Op<'ir>, Edge, bool)> {
        let Some(&node) = self.nodes.get(&op) else {
            return Vec::new();
        };
        let mut found: Vec<(Op<'ir>, Edge, bool)> = Vec::new();
        for direction in [Direction::Outgoing, Direction::Incoming] {
            for edge in self.graph.edges_directed(node, direction) {
                let outgoing = direction == Direction::Outgoing;
                let far = if outgoing { edge.target() } else { edge.source() };
                if edge.weight().kind != EdgeKind::Def && !edge.weight().shared {
                    found.push((self.graph[far], *edge.weight(), outgoing));
                }
            }
        }
        found.sort_by_key(|(other, edge, outgoing)| (self.nodes[other], edge.distance, !outgoing));
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
