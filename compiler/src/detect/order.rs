//! The checks of order: reads behind writes, barriers between them, and nothing else that relies on those barriers.
//!
//! ```text
//! store %s; gpu.barrier; load %s; gpu.barrier      both races are fenced
//! store %s; load %s (other threads' elements)      input-race
//! store %log; gpu.barrier; load %log               the barrier orders other memory too
//! ```

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use super::MAX_DEPTH;
use super::effects::{Effect, effect, is_loop};
use super::evaluate::static_trip;
use super::footprint::{Footprint, Meeting, footprint};
use super::graph::{EdgeKind, LoopGraph};
use super::kernel::{Scene, Touch, first_in};
use super::memory::{Alias, Place, Space};
use super::shared::Case;
use super::uniform::is_group;
use super::verdict::{Reason, ReasonCode};
use crate::ir::{Block, Op};

/// Reasons of one kind that are listed; a loop of a thousand stores needs no thousand lines.
const MAX_REASONS: usize = 8;

/// Accesses to the buffer that no barrier separates from what comes next.
#[derive(Clone, Copy, Default, PartialEq)]
struct Pending<'ir> {
    write: Option<Op<'ir>>,
    read: Option<Op<'ir>>,
}

impl<'ir> Pending<'ir> {
    fn or(self, other: Pending<'ir>) -> Pending<'ir> {
        Pending {
            write: self.write.or(other.write),
            read: self.read.or(other.read),
        }
    }
}

/// The reads or writes of a buffer that race, if some do.
#[derive(Default)]
struct Races<'ir> {
    read: Option<Op<'ir>>,
    write: Option<Op<'ir>>,
}

impl<'ir> Case<'_, 'ir> {
    /// Reads stand in the loop, behind the writes of the iteration.
    pub fn readers(&mut self, scope: Op<'ir>, others: &[Op<'ir>]) {
        let scene = self.scene;
        let inside = scene.inside(scope);
        let end = self.stores.partition_point(|store| store.at < inside.end);
        let last_store = self.stores[..end]
            .last()
            .map(|store| store.at)
            .filter(|at| inside.contains(at));
        let mut found = 0;
        for load in self.loads {
            if !scene.is_inside(load.op, scope) {
                // What another loop fills anew before it reads, it does not have from this one.
                let apart = self.apart.contains(&load.at);
                if !apart && !others.iter().any(|other| scene.is_inside(load.op, *other)) {
                    let message = "the buffer is read outside of the loop that fills it, and may hold what that left";
                    self.refuse(ReasonCode::ReadAfterLoop, load.op, message);
                }
                continue;
            }
            found += 1;
            if last_store.is_some_and(|store| load.at < store) {
                let message = "the buffer is read before it is wholly written in the same iteration";
                self.refuse(ReasonCode::ReadBeforeWrite, load.op, message);
            }
        }
        if found == 0 {
            self.refuse_buffer(ReasonCode::ReadAfterLoop, "nothing in the loop reads the buffer");
        }
    }

    /// A barrier between the copies and the reads of other threads' elements, and between the reads and the next copies.
    pub fn races(&mut self, scope: Op<'ir>) {
        let Some(body) = scope.body() else { return };
        if self.is_kept_by_threads(scope) {
            return;
        }
        let mut races = Races::default();
        let first = self.flow(body, Pending::default(), &mut races);
        self.flow(body, first, &mut races);
        if let Some(read) = races.read {
            let message = "no barrier stands between the copies and this read of them";
            self.refuse(ReasonCode::InputRace, read, message);
        }
        if let Some(write) = races.write {
            let message = "no barrier stands between the reads and this copy, which overwrites what they read";
            self.refuse(ReasonCode::InputRace, write, message);
        }
    }

    /// Whether each thread reads only what it wrote itself.
    fn is_kept_by_threads(&self, scope: Op<'ir>) -> bool {
        let scene = self.scene;
        let of = |touches: &[Touch<'ir>]| -> Option<Vec<_>> {
            let inside = touches.iter().filter(|touch| scene.is_inside(touch.op, scope));
            inside.map(|touch| footprint(scene, touch, scope)).collect()
        };
        let (Some(stores), Some(loads)) = (of(self.stores), of(self.loads)) else {
            return false;
        };
        let apart = |a: &_, b: &Footprint<'ir>| b.meets(a, 0, None, true) == Meeting::Never;
        stores
            .iter()
            .all(|store| loads.iter().all(|load| apart(load, store) && apart(store, load)))
    }

    fn flow(&self, block: Block<'ir>, mut pending: Pending<'ir>, races: &mut Races<'ir>) -> Pending<'ir> {
        for op in self.relevant(block) {
            if effect(op) == Effect::Barrier {
                pending = Pending::default();
                continue;
            }
            for (writes, list) in [(false, &self.loads), (true, &self.stores)] {
                if list
                    .binary_search_by_key(&self.scene.at(op), |touch| Some(touch.at))
                    .is_err()
                {
                    continue;
                }
                if writes {
                    races.write = races.write.or(pending.read.map(|_| op));
                    pending.write = Some(op);
                } else {
                    races.read = races.read.or(pending.write.map(|_| op));
                    pending.read = Some(op);
                }
            }
            if op.num_regions() == 0 {
                continue;
            }
            let inside = self.scene.inside(op);
            let touched = [self.loads, self.stores]
                .iter()
                .any(|list| first_in(list, &inside).is_some());
            let barrier = self.scene.barriers_in(&inside);
            if !touched && !barrier {
                continue;
            }
            let blocks: Vec<Block<'ir>> = op
                .regions()
                .flat_map(|region| region.blocks().collect::<Vec<_>>())
                .collect();
            if op.is("scf.if") {
                let sides = blocks.len();
                let ends = blocks.into_iter().map(|block| self.flow(block, pending, races));
                let joined = ends.fold(Pending::default(), Pending::or);
                pending = if sides < 2 { joined.or(pending) } else { joined };
                continue;
            }
            let before = pending;
            for _ in 0..2 {
                for block in &blocks {
                    pending = self.flow(*block, pending, races);
                }
            }
            if static_trip(op).is_none_or(|trip| trip == 0) {
                pending = pending.or(before);
            }
        }
        pending
    }

    /// The operations of a block that are, or hold, barriers or accesses to the buffer.
    fn relevant(&self, block: Block<'ir>) -> Vec<Op<'ir>> {
        let scene = self.scene;
        let Some(first) = block.first().and_then(|op| scene.at(op)) else {
            return Vec::new();
        };
        let end = match block.parent() {
            Some(parent) if parent != scene.kernel => scene.inside(parent).end,
            _ => scene.ops.len(),
        };
        let between = |at: &usize| (first..end).contains(at);
        let mut places: Vec<usize> = Vec::new();
        for list in [self.loads, self.stores] {
            let from = list.partition_point(|touch| touch.at < first);
            places.extend(list[from..].iter().map(|touch| touch.at).take_while(between));
        }
        let from = scene.barriers.partition_point(|at| *at < first);
        places.extend(scene.barriers[from..].iter().copied().take_while(between));
        places.sort_unstable();
        let mut ops: Vec<Op<'ir>> = Vec::new();
        for at in places {
            let mut op = Some(scene.ops[at]);
            while let Some(current) = op.filter(|op| op.block() != Some(block)) {
                op = current.parent().filter(|parent| *parent != scene.kernel);
            }
            // What stands in another region of the same operation belongs to another block.
            ops.extend(op.filter(|op| ops.last() != Some(op)));
        }
        ops
    }

    /// One order of commit groups serves all buffers of the loop that get slots: a copy that stands behind the reads of
    /// another buffer is committed with the others, an iteration or more ahead of them. It must not pass a read of memory
    /// that gets none.
    pub fn positions(&mut self, scope: Op<'ir>, reads: &[(usize, Op<'ir>)]) {
        let inside = self.scene.inside(scope);
        let end = self.stores.partition_point(|store| store.at < inside.end);
        let Some(last) = self.stores[..end].last().filter(|store| inside.contains(&store.at)) else {
            return;
        };
        let own = |at: usize| self.loads.binary_search_by_key(&at, |load| load.at).is_ok();
        let early = reads
            .iter()
            .take_while(|(at, _)| *at < last.at)
            .find(|(at, _)| !own(*at));
        if let Some((_, op)) = early {
            let message = format!(
                "{} reads shared memory that the loop fills and that gets no slots, before these copies; copy first, so \
                 that one order of commit groups serves both",
                op.name()
            );
            self.refuse(ReasonCode::SyncPositionsDiffer, *op, message);
        }
    }

    /// Nothing in the loop may write what the copies read, in whatever iteration; but what is read more iterations behind
    /// its writing than any copy runs ahead is there in time.
    pub fn sources(&mut self, graph: &LoopGraph<'ir>, loads: &[Op<'ir>]) {
        let mut listed = 0;
        let mut seen: HashSet<Op<'ir>> = HashSet::new();
        for load in loads {
            for (writer, edge, outgoing) in graph.conflicts(*load) {
                let in_time = edge.kind == EdgeKind::Raw && !outgoing && u64::from(edge.distance) >= MAX_DEPTH;
                if in_time && edge.alias == Alias::Same {
                    continue;
                }
                // The copy itself writes the buffer, not its source; a conflict with itself would be one of both.
                if listed == MAX_REASONS || !seen.insert(writer) {
                    continue;
                }
                let span = format!("{:?} over {} iterations", edge.kind, edge.distance);
                match edge.alias {
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
                    Alias::Never => continue,
                }
                listed += 1;
            }
        }
    }

    /// What stands before the loop may rely on its barriers too: the first copies run before all of them.
    pub fn before(&mut self, scope: Op<'ir>, sources: &[Touch<'ir>]) {
        let scene = self.scene;
        let (before, _) = unfenced(scene, scope);
        let trip = static_trip(scope);
        for load in sources {
            let own = OnceCell::new();
            // However many iterations there are, no copy of the prologue is further ahead.
            let apart = |beside: &Touch<'ir>| {
                let own = own.get_or_init(|| bytes_alone(scene, load, scope, scope));
                let pair = own.as_ref().zip(bytes_alone(scene, beside, scene.kernel, scope));
                let most = trip.unwrap_or(MAX_DEPTH).min(MAX_DEPTH);
                pair.is_some_and(|(own, beside)| own.is_apart_from(&beside, 0, Some(most)))
            };
            let found = before
                .iter()
                .find_map(|range| meeting(scene, &load.place, range, false, &apart));
            if let Some(op) = found {
                let message = format!(
                    "{} may write what the first copies read, and only the loop's barriers stand between; put a \
                     gpu.barrier before the loop",
                    op.name()
                );
                self.refuse(ReasonCode::BarrierOrdersOtherMemory, op, message);
            }
        }
    }
}

/// The bytes of an access, if no loop stands around `scope`: in a loop the same place has many values. Threads that meet
/// only themselves need no barrier.
fn bytes_alone<'ir>(scene: &Scene<'_, 'ir>, touch: &Touch<'ir>, of: Op<'ir>, scope: Op<'ir>) -> Option<Footprint<'ir>> {
    match scene.loop_around(scope) {
        None => footprint(scene, touch, of),
        Some(_) => None,
    }
}

/// What stands behind the loop may rely on its barriers too: the last of them stands before the end of the last
/// iteration.
pub fn behind<'ir>(
    scene: &Scene<'_, 'ir>,
    scope: Op<'ir>,
    copies: &HashSet<Op<'ir>>,
    owners: &HashMap<usize, usize>,
) -> Vec<Reason> {
    let (_, after) = unfenced(scene, scope);
    let trip = static_trip(scope);
    let mut reasons: Vec<Reason> = Vec::new();
    for touch in scene.touches_in(scene.inside(scope)) {
        if owners.contains_key(&touch.at) && touch.place.space == Space::Workgroup
            || scene.memory.is_private(&touch.place)
            || copies.contains(&touch.op)
        {
            continue;
        }
        let own = OnceCell::new();
        let apart = |beside: &Touch<'ir>| {
            let own = own.get_or_init(|| bytes_alone(scene, touch, scope, scope));
            let pair = own.as_ref().zip(bytes_alone(scene, beside, scene.kernel, scope));
            let last = trip.map(|trip| trip.saturating_sub(1));
            let count = last.map(|_| 1);
            pair.is_some_and(|(own, beside)| own.is_apart_from(&beside, last.unwrap_or(0), count))
        };
        let found = after
            .iter()
            .find_map(|range| meeting(scene, &touch.place, range, touch.writes, &apart));
        let Some(op) = found else { continue };
        let message = format!(
            "{} may meet {} of the loop's last iteration, and only the loop's barriers stand between; put a gpu.barrier \
             behind the loop",
            op.name(),
            touch.op.name()
        );
        reasons.push(Reason::new(
            ReasonCode::BarrierOrdersOtherMemory,
            message,
            op.location(),
        ));
        if reasons.len() == MAX_REASONS {
            break;
        }
    }
    reasons
}

/// What of a loop is a reason for every buffer that it fills: effects that are not understood or not ordered by plain
/// barriers in its body.
pub fn effects<'ir>(scene: &Scene<'_, 'ir>, scope: Op<'ir>) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for at in scene.inside(scope) {
        let op = scene.ops[at];
        let name = op.name();
        let (code, message) = match effect(op) {
            Effect::Asynchronous if matches!(name, "nvgpu.device_async_create_group" | "nvgpu.device_async_wait") => {
                match carried(op) {
                    true => (
                        ReasonCode::AlreadyPipelined,
                        format!("{name} carries groups from iteration to iteration"),
                    ),
                    false => continue,
                }
            }
            Effect::Asynchronous => (ReasonCode::AlreadyPipelined, format!("{name} stands in the loop")),
            Effect::Visible => (ReasonCode::SideEffectBetween, format!("{name} stands in the loop")),
            Effect::Unknown => {
                let hint = match op.dialect() {
                    "affine" => "; lower it (lower-affine)",
                    "linalg" => "; lower it to loops",
                    _ => "",
                };
                (ReasonCode::UnknownOp, format!("{name} is not understood{hint}"))
            }
            Effect::Allocates
                if op
                    .results()
                    .any(|result| scene.memory.space(result.ty()) == Space::Workgroup) =>
            {
                continue;
            }
            Effect::Allocates => (ReasonCode::UnknownOp, format!("{name} stands in the loop")),
            Effect::None if is_loop(op) && !op.is("scf.for") && static_trip(op).is_none() => (
                ReasonCode::UnknownOp,
                format!("{name} stands in the loop; lower it to scf.for or unroll it"),
            ),
            Effect::Barrier | Effect::None | Effect::Touches => continue,
        };
        if reasons.len() < MAX_REASONS {
            reasons.push(Reason::new(code, message, op.location()));
        }
    }
    reasons
}

/// Whether a token of asynchronous copies comes from another iteration or leaves this one.
fn carried(op: Op<'_>) -> bool {
    let from = op.operands().any(|operand| operand.def_op().is_none());
    let to = op
        .results()
        .flat_map(|result| result.uses())
        .any(|used| used.op.is("scf.yield"));
    let held = op.attr("numGroups").and_then(crate::ir::Attr::as_int).unwrap_or(0) != 0;
    from || to || held
}

/// Accesses that the loop's barriers order beside the copies and reads of shared buffers: a reason for every buffer
/// whose pipeline would take them away.
pub fn other_memory<'ir>(
    scene: &Scene<'_, 'ir>,
    scope: Op<'ir>,
    graph: &LoopGraph<'ir>,
    copies: &HashSet<Op<'ir>>,
    owners: &HashMap<usize, usize>,
) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::new();
    let barriers = scene.barriers_in(&scene.inside(scope));
    for touch in scene.touches_in(scene.inside(scope)) {
        let op = touch.op;
        let mut refuse = |message: String| {
            let reason = Reason::new(ReasonCode::BarrierOrdersOtherMemory, message, op.location());
            if reasons.len() < MAX_REASONS && !reasons.contains(&reason) {
                reasons.push(reason);
            }
        };
        if touch.place.space == Space::Workgroup && !owners.contains_key(&touch.at) && barriers {
            refuse("shared memory that belongs to no known buffer, which the loop's barriers may order".to_owned());
        }
        if copies.contains(&op)
            || touch.place.space == Space::Workgroup
            || scene.memory.is_private(&touch.place)
            || !barriers
        {
            continue;
        }
        // One store meets itself only across iterations, and a pipelined loop keeps one barrier in each.
        for (other, edge, outgoing) in graph.conflicts(op) {
            if other == op || copies.contains(&other) || !edge.across || !outgoing {
                continue;
            }
            refuse(format!(
                "{} and {} may meet in memory ({:?} over {} iterations), and the loop's barriers may order them",
                op.name(),
                other.name(),
                edge.kind,
                edge.distance
            ));
        }
    }
    reasons
}

/// Positions that may run before a loop, or behind it, without a barrier of all threads between.
type Ranges = Vec<Range<usize>>;

/// Barriers count in the blocks around the loop, where every thread that runs the loop passes them. The loop itself does
/// not count where a loop around it leads back: a pipeline ends in a barrier where its slots are used again.
pub fn unfenced<'ir>(scene: &Scene<'_, 'ir>, scope: Op<'ir>) -> (Ranges, Ranges) {
    let (mut before, mut after) = (Ranges::new(), Ranges::new());
    let (mut back, mut forth) = (true, true);
    let mut current = scope;
    while let Some(at) = scene.at(current) {
        let Some(block) = current.block() else { break };
        let parent = current.parent().filter(|parent| *parent != scene.kernel);
        let first = block.first().and_then(|op| scene.at(op)).unwrap_or(at);
        let end = block.terminator().map_or(at, |op| scene.inside(op).end);
        let fences = scene.fences.get(&block).map_or(&[][..], Vec::as_slice);
        let behind = scene.inside(current).end;
        let here = fences.partition_point(|fence| *fence < at);
        let last_fence = fences[..here].last().copied();
        let next_fence = fences[here..].first().copied();
        // In a function of several blocks everything may come before and behind.
        let branches = parent.is_none() && scene.kernel.body().is_none();
        if branches {
            before.push(0..scene.ops.len());
            after.push(0..scene.ops.len());
            break;
        }
        if back {
            before.push(last_fence.map_or(first, |fence| fence + 1)..at);
            back = last_fence.is_none();
        }
        if forth {
            after.push(behind..next_fence.unwrap_or(end));
            forth = next_fence.is_none();
        }
        let Some(parent) = parent else { break };
        if super::effects::is_loop(parent) {
            // The next iteration comes behind this one.
            if forth {
                let fence = fences[..here].first().copied();
                after.push(first..fence.unwrap_or(at));
            }
            if back {
                let fence = fences[here..].last();
                before.push(fence.map_or(behind, |fence| fence + 1)..end);
            }
        }
        if !back && !forth {
            break;
        }
        current = parent;
    }
    (before, after)
}

/// The first operation of a range that may touch a place, one of the two writing.
fn meeting<'ir>(
    scene: &Scene<'_, 'ir>,
    place: &Place<'ir>,
    range: &Range<usize>,
    writes: bool,
    apart: &dyn Fn(&Touch<'ir>) -> bool,
) -> Option<Op<'ir>> {
    // Whatever group they belong to, asynchronous copies write shared memory only.
    let harmless = |op: Op<'ir>| !writes && is_group(op) && scene.memory.is_global(place);
    let first = scene.wild.partition_point(|at| *at < range.start);
    let wild = scene.wild[first..].iter().take_while(|at| range.contains(at));
    let wild = wild.copied().find(|at| !harmless(scene.ops[*at]));
    let known = scene.meeting(place, writes).into_iter().filter_map(|list| {
        let first = list.partition_point(|touch| scene.touches[*touch].at < range.start);
        let touches = list[first..].iter().map(|touch| &scene.touches[*touch]);
        let mut near = touches.take_while(|touch| range.contains(&touch.at));
        let mut tries = 0;
        near.find(|touch| {
            let alias = scene.memory.alias(&touch.place, place);
            let conflict = (writes || touch.writes) && alias != Alias::Never;
            tries += u32::from(conflict);
            // A few are looked at byte by byte.
            conflict && !(alias == Alias::Same && tries <= 8 && apart(touch))
        })
        .map(|touch| touch.at)
    });
    known.chain(wild).min().map(|at| scene.ops[at])
}
