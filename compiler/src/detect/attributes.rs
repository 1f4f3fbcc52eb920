//! Verdicts as attributes of the IR: the one place that writes, reads and strips them.
//!
//! ```mlir
//! %s = memref.alloc() : …
//! %s = memref.alloc() {alcop.depth = 10 : i64, alcop.group = 0 : i64, alcop.verdict = "pipelinable"} : …
//! ```
//!
//! They stand where the buffer is written: on the operation that makes it (or loads from it), on the `memref.global`, in
//! the attributes of a function's argument or attribution; for attributions of a `gpu.launch`, which have none, in
//! `alcop.attributions` on the launch. A buffer that is a candidate in several loops has arrays, an entry a loop. An
//! `scf.for` has its verdict too.

use std::collections::HashMap;

use serde_json::json;

use super::kernel;
use super::verdict::{BufferVerdict, Detection, Verdict};
use crate::ir::{Attr, BufferId, Context, Module, Op, OpId, OpIndex, Type, preorder};

/// The verdict: `"pipelinable"`, `"after-sinking"` or `"rejected"`.
pub const VERDICT: &str = "alcop.verdict";
/// The largest depth that fits or, once edited, the depth that is wanted: a 64-bit integer.
pub const DEPTH: &str = "alcop.depth";
/// Buffers with the same number share commit groups: a 64-bit integer.
pub const GROUP: &str = "alcop.group";
/// All attributes that are ours start so.
const PREFIX: &str = "alcop.";
/// Dictionaries for the attributions of a `gpu.launch`, in order.
const ATTRIBUTIONS: &str = "alcop.attributions";

/// What carries a buffer's attributes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Bearer<'ir> {
    /// The operation itself.
    Op(Op<'ir>),
    /// The n-th dictionary of an array attribute.
    Entry(Op<'ir>, &'static str, usize),
}

/// What the attributes of one buffer in one loop say; `None` where there is no such attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotation {
    /// `alcop.verdict`.
    pub verdict: Option<String>,
    /// `alcop.depth`.
    pub depth: Option<i64>,
    /// `alcop.group`.
    pub group: Option<i64>,
    /// What is wrong with one of them, if its value is of no use.
    pub malformed: Option<String>,
}

/// Writes a detection's verdicts into the module that they are about; what earlier verdicts left is replaced.
pub fn annotate(module: &Module<'_>, detection: &Detection) {
    strip_names(module, &|name| [VERDICT, DEPTH, GROUP, ATTRIBUTIONS].contains(&name));
    let context = module.context();
    for (bearer, entries) in bearers(module, detection) {
        let verdicts: Vec<Attr<'_>> = entries
            .iter()
            .map(|entry| Attr::string(context, &word(entry.verdict)))
            .collect();
        let number = |value: Option<u64>| Some(Attr::int(Type::int(context, 64), i64::try_from(value?).ok()?));
        let depths: Vec<_> = entries
            .iter()
            .map(|entry| number(entry.max_depth.map(u64::from)))
            .collect();
        let groups: Vec<_> = entries
            .iter()
            .map(|entry| number(entry.group.map(|group| group as u64)))
            .collect();
        let verdicts: Vec<_> = verdicts.into_iter().map(Some).collect();
        for (name, values) in [(VERDICT, verdicts), (DEPTH, depths), (GROUP, groups)] {
            if let Some(value) = joined(context, &values) {
                set(context, bearer, name, value);
            }
        }
    }
    let index = OpIndex::new(module.op());
    for one in detection.kernels.iter().flat_map(|kernel| &kernel.loops) {
        let Some(number) = one.index else { continue };
        if let Some(op) = index.named("scf.for").get(number) {
            op.set_attr(VERDICT, Attr::string(context, &word(one.verdict)));
        }
    }
}

/// What the module's attributes say of each buffer of a detection: per kernel, in the order of its buffers. `None` where
/// a kernel's buffer carries none of the attributes.
pub fn annotations(module: &Module<'_>, detection: &Detection) -> Vec<Vec<Annotation>> {
    let mut read: HashMap<*const BufferVerdict, Annotation> = HashMap::new();
    for (bearer, entries) in bearers(module, detection) {
        let count = entries.len();
        for (position, entry) in entries.iter().enumerate() {
            let mut annotation = Annotation::default();
            for name in [VERDICT, DEPTH, GROUP] {
                let Some(whole) = get(bearer, name) else { continue };
                let Ok(value) = item(whole, position, count) else {
                    annotation.malformed = Some(format!("{name} = {whole} is no list of {count}"));
                    continue;
                };
                let Some(value) = value else { continue };
                let fits = match name {
                    VERDICT => {
                        annotation.verdict = value.as_str().map(str::to_owned);
                        annotation.verdict.is_some()
                    }
                    DEPTH => {
                        annotation.depth = value.as_int();
                        annotation.depth.is_some()
                    }
                    _ => {
                        annotation.group = value.as_int();
                        annotation.group.is_some()
                    }
                };
                if !fits {
                    annotation.malformed = Some(format!("{name} = {value} is of the wrong type"));
                }
            }
            read.insert(std::ptr::from_ref(*entry), annotation);
        }
    }
    let mut of = |buffer: &BufferVerdict| read.remove(&std::ptr::from_ref(buffer)).unwrap_or_default();
    detection
        .kernels
        .iter()
        .map(|kernel| kernel.buffers.iter().map(&mut of).collect())
        .collect()
}

/// Replaces the depths that the module's attributes give to the buffers of a detection, in those that have one.
pub fn set_depths(module: &Module<'_>, detection: &Detection, depth: &dyn Fn(&BufferVerdict) -> Option<u32>) {
    let context = module.context();
    for (bearer, entries) in bearers(module, detection) {
        let Some(old) = get(bearer, DEPTH) else { continue };
        let new = |(position, entry): (usize, &&BufferVerdict)| {
            let old = item(old, position, entries.len()).ok()??;
            let depth = depth(entry).map(|depth| Attr::int(Type::int(context, 64), i64::from(depth)));
            Some(depth.unwrap_or(old))
        };
        let values: Vec<_> = entries.iter().enumerate().map(new).collect();
        if let Some(value) = joined(context, &values) {
            set(context, bearer, DEPTH, value);
        }
    }
}

/// What a `gpu.launch` carries for its attributions, as the attribute of the `gpu.func` that it becomes.
pub fn attributions_of_launch<'ir>(launch: Op<'ir>) -> Option<(&'static str, Attr<'ir>)> {
    Some(("workgroup_attrib_attrs", launch.attr(ATTRIBUTIONS)?))
}

/// Removes every attribute of ours, those of plans too. What is left prints as the input did.
pub fn strip(module: &Module<'_>) {
    strip_names(module, &|name| name.starts_with(PREFIX));
}

fn word(verdict: Verdict) -> String {
    json!(verdict).as_str().unwrap_or_default().to_owned()
}

/// One value alone, several as an array; where an entry of several has none, -1 stands for it.
fn joined<'ir>(context: &'ir Context, values: &[Option<Attr<'ir>>]) -> Option<Attr<'ir>> {
    if values.iter().all(Option::is_none) {
        return None;
    }
    match values {
        [one] => *one,
        _ => {
            let none = Attr::int(Type::int(context, 64), -1);
            let items: Vec<Attr<'_>> = values.iter().map(|value| value.unwrap_or(none)).collect();
            Some(Attr::array(context, &items))
        }
    }
}

/// The reverse of [`joined`]; an error where the list has another length.
fn item(value: Attr<'_>, position: usize, count: usize) -> Result<Option<Attr<'_>>, ()> {
    if count == 1 {
        return Ok(Some(value));
    }
    let items = value.as_array().filter(|items| items.len() == count).ok_or(())?;
    Ok(Some(items[position]).filter(|item| item.as_int() != Some(-1)))
}

/// Every buffer's bearer with its entries, in order of appearance.
fn bearers<'ir, 'd>(module: &'ir Module<'_>, detection: &'d Detection) -> Vec<(Bearer<'ir>, Vec<&'d BufferVerdict>)> {
    let index = OpIndex::new(module.op());
    let ops = preorder(module.op());
    let kernels = kernel::kernels(&ops);
    let mut found: Vec<(Bearer<'ir>, Vec<&'d BufferVerdict>)> = Vec::new();
    let mut positions: HashMap<Bearer<'ir>, usize> = HashMap::new();
    for (kernel, at) in detection.kernels.iter().zip(kernels) {
        for buffer in &kernel.buffers {
            let Some(bearer) = bearer(&index, ops[at], &buffer.id) else {
                continue;
            };
            let position = *positions.entry(bearer).or_insert_with(|| {
                found.push((bearer, Vec::new()));
                found.len() - 1
            });
            found[position].1.push(buffer);
        }
    }
    found
}

fn bearer<'ir>(index: &OpIndex<'ir>, kernel: Op<'ir>, id: &BufferId) -> Option<Bearer<'ir>> {
    let launch = kernel.is("gpu.launch");
    match id {
        BufferId::WorkgroupAttribution { position } if launch => Some(Bearer::Entry(kernel, ATTRIBUTIONS, *position)),
        BufferId::WorkgroupAttribution { position } => Some(Bearer::Entry(kernel, "workgroup_attrib_attrs", *position)),
        BufferId::PrivateAttribution { position } => Some(Bearer::Entry(kernel, "private_attrib_attrs", *position)),
        BufferId::FuncArg { position } => {
            // What a launch takes from outside is an argument of the function around it.
            let mut function = Some(kernel);
            while let Some(op) = function.filter(|op| op.attr("function_type").is_none()) {
                function = op.parent();
            }
            Some(Bearer::Entry(function?, "arg_attrs", *position))
        }
        BufferId::OpResult { op, index: number } => index
            .find(&OpId {
                op: op.clone(),
                index: *number,
            })
            .map(Bearer::Op),
        BufferId::Global { symbol } => {
            let mut scope = kernel.parent();
            while let Some(table) = scope {
                let globals = table.regions().flat_map(|region| region.blocks());
                let global = globals.flat_map(|block| block.ops()).find(|op| {
                    op.is("memref.global") && op.attr("sym_name").and_then(Attr::as_str) == Some(symbol.as_str())
                });
                if let Some(global) = global {
                    return Some(Bearer::Op(global));
                }
                scope = table.parent();
            }
            None
        }
    }
}

fn get<'ir>(bearer: Bearer<'ir>, name: &str) -> Option<Attr<'ir>> {
    match bearer {
        Bearer::Op(op) => op.attr(name),
        Bearer::Entry(op, array, position) => op.attr(array)?.as_array()?.get(position)?.entry(name),
    }
}

fn set<'ir>(context: &'ir Context, bearer: Bearer<'ir>, name: &str, value: Attr<'ir>) {
    let (op, array, position) = match bearer {
        Bearer::Op(op) => return op.set_attr(name, value),
        Bearer::Entry(op, array, position) => (op, array, position),
    };
    let mut items = op.attr(array).and_then(Attr::as_array).unwrap_or_default();
    let empty = Attr::dictionary(context, &[]);
    let count = match array {
        "arg_attrs" => op
            .attr("function_type")
            .and_then(Attr::as_type)
            .and_then(Type::num_inputs)
            .unwrap_or(position + 1),
        _ => position + 1,
    };
    items.resize(items.len().max(count), empty);
    let mut entries = items[position].entries();
    entries.retain(|(known, _)| *known != name);
    entries.push((name, value));
    items[position] = Attr::dictionary(context, &entries);
    op.set_attr(array, Attr::array(context, &items));
}

fn strip_names(module: &Module<'_>, ours: &dyn Fn(&str) -> bool) {
    let context = module.context();
    for op in preorder(module.op()) {
        for (name, value) in op.attrs() {
            if ours(name) {
                op.remove_attr(name);
                continue;
            }
            if !["arg_attrs", "workgroup_attrib_attrs", "private_attrib_attrs"].contains(&name) {
                continue;
            }
            let Some(items) = value.as_array() else { continue };
            if !items
                .iter()
                .any(|item| item.entries().iter().any(|(name, _)| ours(name)))
            {
                continue;
            }
            let items: Vec<Attr<'_>> = items
                .iter()
                .map(|item| {
                    let kept: Vec<_> = item.entries().into_iter().filter(|(name, _)| !ours(name)).collect();
                    Attr::dictionary(context, &kept)
                })
                .collect();
            match items.iter().all(|item| item.entries().is_empty()) {
                true => {
                    op.remove_attr(name);
                }
                false => op.set_attr(name, Attr::array(context, &items)),
            }
        }
    }
}
