//! The candidates in shared memory: every buffer in workgroup memory that a kernel has or uses, with its accesses.
//!
//! ```text
//! %s = memref.alloc() : memref<…, #gpu.address_space<workgroup>>     a buffer
//! %v = memref.subview %s …                                            the same one
//! %w = memref.view %dynamic[%off][] : … to memref<32x4xf32, …>        a window: a buffer if it is apart from the others
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

use super::kernel::{Scene, Touch};
use super::memory::{Place, Root, Space, is_view};
use super::verdict::{Reason, ReasonCode};
use crate::ir::{BufferId, Def, Value};

/// A buffer in workgroup memory.
pub struct SharedBuffer<'ir> {
    pub id: BufferId,
    pub value: Value<'ir>,
    pub place: Rc<Place<'ir>>,
    pub stores: Vec<Touch<'ir>>,
    pub loads: Vec<Touch<'ir>>,
    /// What makes it no candidate wherever it is used.
    pub problems: Vec<Reason>,
    /// Whether something that is not understood uses it: it may be accessed through other names.
    pub given_away: bool,
    /// Other buffers that may have bytes of it.
    pub overlaps: Vec<usize>,
    /// Positions of the accesses of those.
    pub foreign: Vec<usize>,
}

/// All buffers in workgroup memory that a kernel has or uses.
pub fn find<'ir>(scene: &Scene<'_, 'ir>) -> Vec<SharedBuffer<'ir>> {
    let mut found: Vec<SharedBuffer<'ir>> = Vec::new();
    let is_shared =
        |value: Value<'ir>| scene.memory.space(value.ty()) == Space::Workgroup && value.ty().memref_rank().is_some();
    if let Some(entry) = scene.memory.entry() {
        for (position, value) in entry.arguments().enumerate().filter(|(_, value)| is_shared(*value)) {
            let id = match scene.memory.attribution(position) {
                Some(position) => BufferId::WorkgroupAttribution { position },
                None => BufferId::FuncArg { position },
            };
            found.push(buffer(scene, id, &[value], Vec::new()));
        }
    }
    let mut globals: HashMap<&'ir str, Vec<Value<'ir>>> = HashMap::new();
    let mut made: Vec<Value<'ir>> = Vec::new();
    for op in &scene.ops {
        for value in op.results().filter(|value| is_shared(*value)) {
            match scene.memory.place(value).root {
                Root::Global(symbol) if op.is("memref.get_global") => {
                    let values = globals.entry(symbol).or_default();
                    if values.is_empty() {
                        made.push(value);
                    }
                    values.push(value);
                }
                Root::Dynamic if !is_view(*op) || !is_window(scene, value) => {}
                // A view of a window is followed from there.
                Root::Dynamic if has_window(scene, op.operand(0)) => {}
                Root::Dynamic => made.push(value),
                // A view, or another name for the memory of a buffer, which then is given away.
                _ if scene.memory.place(value).base != value => {}
                _ => made.push(value),
            }
        }
    }
    // What a gpu.launch takes from outside.
    let mut outside: HashSet<Root<'ir>> = HashSet::new();
    for touch in scene
        .touches
        .iter()
        .filter(|touch| touch.place.space == Space::Workgroup)
    {
        let value = touch.place.base;
        let from = match value.def() {
            Def::Result(op, _) => scene.at(op).is_none(),
            Def::Argument(block, _) => block
                .parent()
                .is_some_and(|op| op != scene.kernel && scene.at(op).is_none()),
        };
        if from && touch.place.root != Root::Dynamic && outside.insert(touch.place.root) {
            if let Root::Global(symbol) = touch.place.root {
                let values = globals.entry(symbol).or_default();
                if values.is_empty() {
                    made.push(value);
                }
                values.push(value);
            } else {
                made.push(value);
            }
        }
    }
    let mut windows: Vec<(usize, Value<'ir>)> = Vec::new();
    for value in made {
        let place = scene.memory.place(value);
        let (id, values) = match (place.root, value.def()) {
            (Root::Global(symbol), _) => {
                let symbol = symbol.to_owned();
                let values = globals.remove(symbol.as_str()).unwrap_or_default();
                (BufferId::Global { symbol }, values)
            }
            (_, Def::Result(op, _)) => match scene.index.id(op) {
                Some(id) => (
                    BufferId::OpResult {
                        op: id.op,
                        index: id.index,
                    },
                    vec![value],
                ),
                None => continue,
            },
            (_, Def::Argument(_, position)) => (BufferId::FuncArg { position }, vec![value]),
        };
        if place.root == Root::Dynamic {
            // The same window twice is one buffer.
            let twin = windows.iter().find(|(_, other)| same_window(scene, *other, value));
            if let Some((number, _)) = twin {
                let again = buffer(scene, found[*number].id.clone(), &[value], Vec::new());
                let first = &mut found[*number];
                first.stores.extend(again.stores);
                first.loads.extend(again.loads);
                first.stores.sort_by_key(|touch| touch.at);
                first.loads.sort_by_key(|touch| touch.at);
                first.problems.extend(again.problems);
                first.given_away |= again.given_away;
                continue;
            }
            windows.push((found.len(), value));
        }
        found.push(buffer(scene, id, &values, origin_problems(scene, value)));
    }
    overlaps(scene, &mut found, &windows);
    found
}

/// Why a buffer's memory cannot be given slots, by where it comes from.
fn origin_problems<'ir>(scene: &Scene<'_, 'ir>, value: Value<'ir>) -> Vec<Reason> {
    let refuse = |code, message: String| vec![Reason::new(code, message, value.location())];
    match (scene.memory.place(value).root, value.def()) {
        (Root::Own(_) | Root::Dynamic, _) => Vec::new(),
        (Root::Global(symbol), _) => {
            let entry = scene.kernel.is("gpu.func") && scene.kernel.attr("gpu.kernel").is_some()
                || scene.kernel.is("gpu.launch");
            let elsewhere = scene.index.named("memref.get_global").iter().any(|op| {
                let same = op.attr("name").and_then(crate::ir::Attr::as_symbol) == Some(symbol);
                same && scene.at(*op).is_none() && !op.results().any(|result| result == value)
            });
            let calls = scene.wild.iter().any(|at| scene.ops[*at].name().ends_with(".call"));
            match elsewhere && (!entry || calls) {
                true => refuse(
                    ReasonCode::ReadAfterLoop,
                    format!("another function uses the global @{symbol} too, and may read it behind the loop"),
                ),
                false => Vec::new(),
            }
        }
        (_, Def::Result(op, _)) => refuse(
            ReasonCode::UnknownOp,
            format!("the buffer comes from {}, which is not understood", op.name()),
        ),
        (_, Def::Argument(..)) => refuse(
            ReasonCode::ReadAfterLoop,
            "the buffer belongs to the caller, who may read it behind the loop".to_owned(),
        ),
    }
}

/// A part of dynamic shared memory that stands for itself: of static size, or used by more than views.
fn is_window<'ir>(scene: &Scene<'_, 'ir>, value: Value<'ir>) -> bool {
    let fixed = value
        .ty()
        .as_memref()
        .is_some_and(|memref| memref.shape.iter().all(Option::is_some));
    fixed
        || value
            .uses()
            .iter()
            .any(|used| !is_view(used.op) && scene.at(used.op).is_some())
}

fn has_window<'ir>(scene: &Scene<'_, 'ir>, mut value: Value<'ir>) -> bool {
    while let Some(op) = value.def_op().filter(|op| is_view(*op)) {
        if is_window(scene, value) {
            return true;
        }
        value = op.operand(0);
    }
    false
}

fn same_window<'ir>(scene: &Scene<'_, 'ir>, a: Value<'ir>, b: Value<'ir>) -> bool {
    let mut apart = scene.memory.place(a).origin.clone();
    apart.subtract(&scene.memory.place(b).origin);
    a.ty() == b.ty() && apart.is_exact() && apart.terms.is_empty() && apart.constant == 0
}

/// Notes which windows into dynamic shared memory may have the same bytes; nothing else may touch it.
fn overlaps<'ir>(scene: &Scene<'_, 'ir>, found: &mut [SharedBuffer<'ir>], windows: &[(usize, Value<'ir>)]) {
    let known: HashSet<usize> = found
        .iter()
        .flat_map(|buffer| buffer.stores.iter().chain(&buffer.loads))
        .map(|touch| touch.at)
        .collect();
    let raw = scene
        .touches
        .iter()
        .find(|touch| touch.place.root == Root::Dynamic && !known.contains(&touch.at));
    for (place, (number, value)) in windows.iter().enumerate() {
        for (other_place, (other, against)) in windows.iter().enumerate() {
            if other_place == place {
                continue;
            }
            let mut apart = scene.memory.place(*against).origin.clone();
            apart.subtract(&scene.memory.place(*value).origin);
            let size = |value: Value<'ir>| {
                value
                    .ty()
                    .as_memref()
                    .and_then(|memref| memref.static_bytes())
                    .map(|bytes| bytes as i64)
            };
            let exact = apart.is_exact() && apart.terms.is_empty();
            let disjoint = match (size(*value), size(*against)) {
                (Some(own), Some(others)) => exact && (apart.constant >= own || apart.constant <= -others),
                _ => false,
            };
            if !disjoint {
                let foreign: Vec<usize> = found[*other]
                    .stores
                    .iter()
                    .chain(&found[*other].loads)
                    .map(|touch| touch.at)
                    .collect();
                found[*number].overlaps.push(*other);
                found[*number].foreign.extend(foreign);
            }
        }
        if let Some(raw) = raw {
            let message = format!(
                "{} touches dynamic shared memory outside of any view of static size",
                raw.op.name()
            );
            let reason = Reason::new(ReasonCode::MayAlias, message, raw.op.location());
            found[*number].problems.push(reason);
        }
    }
}

/// A buffer with its accesses, found through views.
fn buffer<'ir>(
    scene: &Scene<'_, 'ir>,
    id: BufferId,
    values: &[Value<'ir>],
    mut problems: Vec<Reason>,
) -> SharedBuffer<'ir> {
    let value = values[0];
    if matches!(id, BufferId::FuncArg { .. }) && problems.is_empty() {
        problems = origin_problems(scene, value);
    }
    let mut touches: BTreeMap<(usize, bool), Touch<'ir>> = BTreeMap::new();
    let mut open: Vec<Value<'ir>> = values.to_vec();
    let mut seen: HashSet<Value<'ir>> = HashSet::new();
    let mut given_away = false;
    while let Some(value) = open.pop() {
        if !seen.insert(value) {
            continue;
        }
        for used in value.uses() {
            let Some(at) = scene.at(used.op) else { continue };
            if is_view(used.op) && used.operand == 0 {
                open.push(used.op.result(0));
                continue;
            }
            let accesses = super::effects::accesses(used.op);
            let mut understood = matches!(used.op.name(), "memref.dealloc" | "memref.dim" | "memref.prefetch");
            for access in accesses.into_iter().filter(|access| access.memref == used.operand) {
                understood = true;
                let touch = Touch {
                    op: used.op,
                    at,
                    access,
                    place: scene.memory.place(value),
                    writes: access.writes,
                };
                touches.insert((at, access.writes), touch);
            }
            if !understood {
                given_away = true;
                let message = format!("{} uses the buffer in a way that is not understood", used.op.name());
                problems.push(Reason::new(ReasonCode::UnknownOp, message, used.op.location()));
            }
        }
    }
    let (stores, loads) = touches.into_values().partition(|touch| touch.writes);
    SharedBuffer {
        id,
        value,
        place: scene.memory.place(value),
        stores,
        loads,
        problems,
        given_away,
        overlaps: Vec::new(),
        foreign: Vec::new(),
    }
}
