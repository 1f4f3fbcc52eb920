//! The kernels of a module, and what the checks of one kernel share.
//!
//! ```text
//! gpu.func @k kernel { … }                  a kernel; block size from known_block_size
//! func.func @f { … gpu.barrier … }          a kernel, where it holds loops, shared memory or threads
//! gpu.launch … threads(…) in (%x = %c128 …) a kernel; block size from the constants
//! ```

use std::collections::HashMap;
use std::rc::Rc;

use super::DetectOptions;
use super::effects::{Access, Effect, accesses, effect, is_loop, is_thread_id};
use super::evaluate::Ids;
use super::memory::{Memory, Place, Root, Space};
use crate::ir::{Attr, Block, Context, Op, OpIndex, Value, constant_index, enclosing};

/// One access to memory.
#[derive(Clone, Debug)]
pub struct Touch<'ir> {
    pub op: Op<'ir>,
    /// Its position among the kernel's operations.
    pub at: usize,
    pub access: Access,
    pub place: Rc<Place<'ir>>,
    pub writes: bool,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "operand {} (writes: {})", self.memref, self.writes)
    }
}

/// What the checks of one kernel share.
pub struct Scene<'a, 'ir> {
    pub context: &'a Context,
    pub index: &'a OpIndex<'ir>,
    pub kernel: Op<'ir>,
    pub block_size: Option<[u32; 3]>,
    pub ids: Option<Ids<'ir>>,
    pub memory: Memory<'ir>,
    /// All operations of the kernel, in textual order, without those of kernels inside it.
    pub ops: Vec<Op<'ir>>,
    /// For each of them the position behind its last inner one.
    ends: Vec<usize>,
    positions: HashMap<Op<'ir>, usize>,
    /// Every access, in textual order.
    pub touches: Vec<Touch<'ir>>,
    /// Positions of operations that may touch anything.
    pub wild: Vec<usize>,
    /// Positions of barriers.
    pub barriers: Vec<usize>,
    /// Those directly in a block.
    pub fences: HashMap<Block<'ir>, Vec<usize>>,
    /// The writes of each alias class.
    writers: HashMap<Class<'ir>, Vec<usize>>,
    /// The accesses of each alias class: roots that may be the same memory.
    pub classes: HashMap<Class<'ir>, Vec<usize>>,
}

/// Roots of one class may be the same memory, roots of different classes are not.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class<'ir> {
    /// A class of its own.
    One(Root<'ir>),
    /// Arguments and globals that nothing keeps apart.
    Shuffled(Space),
    /// Memory of unknown origin: meets every class.
    Unknown(Space),
}

/// The first of some accesses, sorted by position, that stands in a range.
pub fn first_in<'a, 'ir>(touches: &'a [Touch<'ir>], range: &std::ops::Range<usize>) -> Option<&'a Touch<'ir>> {
    let first = touches.partition_point(|touch| touch.at < range.start);
    touches.get(first).filter(|touch| touch.at < range.end)
}

/// The kernels of a module in textual order.
pub fn kernels(ops: &[Op<'_>]) -> Vec<usize> {
    (0..ops.len())
        .filter(|&at| match ops[at].name() {
            "gpu.func" | "gpu.launch" => true,
            "func.func" => is_kernel_like(ops[at]),
            _ => false,
        })
        .collect()
}

/// Whether a function of the host's dialect may be device code: it holds a loop, threads, a barrier, or shared memory.
fn is_kernel_like(function: Op<'_>) -> bool {
    own_ops(function).0.into_iter().any(|op| {
        let shared = |value: Value<'_>| value.ty().memory_space().is_some_and(Attr::is_workgroup);
        is_loop(op) || is_thread_id(op) || op.is("gpu.barrier") || op.results().any(shared) || op.operands().any(shared)
    })
}

/// What is left of a walk: a stack of its own, since recursion would end at some depth of nesting.
enum Task<'ir> {
    Open(Op<'ir>),
    Close(usize),
}

fn push_children<'ir>(op: Op<'ir>, tasks: &mut Vec<Task<'ir>>) {
    let first = tasks.len();
    for region in op.regions() {
        for block in region.blocks() {
            tasks.extend(block.ops().into_iter().map(Task::Open));
        }
    }
    tasks[first..].reverse();
}

/// The operations inside a kernel and their ends, without those of kernels inside it.
fn own_ops(kernel: Op<'_>) -> (Vec<Op<'_>>, Vec<usize>) {
    let (mut ops, mut ends) = (Vec::new(), Vec::new());
    let mut tasks = Vec::new();
    push_children(kernel, &mut tasks);
    while let Some(task) = tasks.pop() {
        match task {
            Task::Open(op) => {
                tasks.push(Task::Close(ops.len()));
                ops.push(op);
                ends.push(0);
                if !matches!(
                    op.name(),
                    "gpu.launch" | "gpu.func" | "func.func" | "gpu.module" | "builtin.module"
                ) {
                    push_children(op, &mut tasks);
                }
            }
            Task::Close(at) => ends[at] = ops.len(),
        }
    }
    (ops, ends)
}

impl<'a, 'ir> Scene<'a, 'ir> {
    pub fn new(context: &'a Context, index: &'a OpIndex<'ir>, kernel: Op<'ir>, options: &DetectOptions) -> Self {
        let memory = Memory::new(kernel, &options.assumptions);
        let block_size = block_size(kernel).or(options.block_size);
        let ids = block_size.map(|block| Ids {
            block,
            arguments: memory.entry().filter(|_| kernel.is("gpu.launch")).and_then(launch_ids),
        });
        let (ops, ends) = own_ops(kernel);
        let positions = ops.iter().enumerate().map(|(at, op)| (*op, at)).collect();
        let mut scene = Scene {
            context,
            index,
            kernel,
            block_size,
            ids,
            memory,
            ops,
            ends,
            positions,
            touches: Vec::new(),
            wild: Vec::new(),
            barriers: Vec::new(),
            fences: HashMap::new(),
            writers: HashMap::new(),
            classes: HashMap::new(),
        };
        for (at, op) in scene.ops.clone().into_iter().enumerate() {
            match effect(op) {
                Effect::Touches => {
                    for access in accesses(op) {
                        let touch = Touch {
                            op,
                            at,
                            access,
                            place: scene.memory.place(op.operand(access.memref)),
                            writes: access.writes,
                        };
                        let class = scene.class(&touch.place);
                        scene.classes.entry(class).or_default().push(scene.touches.len());
                        if access.writes {
                            scene.writers.entry(class).or_default().push(scene.touches.len());
                        }
                        scene.touches.push(touch);
                    }
                }
                Effect::Unknown | Effect::Visible | Effect::Asynchronous => scene.wild.push(at),
                Effect::Barrier => {
                    scene.barriers.push(at);
                    if let Some(block) = op.block() {
                        scene.fences.entry(block).or_default().push(at);
                    }
                }
                Effect::None | Effect::Allocates => {}
            }
        }
        scene
    }

    /// A loop's position among all `scf.for` of the file.
    pub fn loop_index(&self, op: Op<'ir>) -> Option<usize> {
        self.index.id(op).filter(|id| id.op == "scf.for").map(|id| id.index)
    }

    /// An operation's position among the kernel's.
    pub fn at(&self, op: Op<'ir>) -> Option<usize> {
        self.positions.get(&op).copied()
    }

    /// The positions of what stands inside an operation of the kernel.
    pub fn inside(&self, op: Op<'ir>) -> std::ops::Range<usize> {
        self.at(op).map_or(0..0, |at| at + 1..self.ends[at])
    }

    /// Whether an operation stands inside another one.
    pub fn is_inside(&self, op: Op<'ir>, scope: Op<'ir>) -> bool {
        self.at(op).is_some_and(|at| self.inside(scope).contains(&at))
    }

    /// The accesses between two positions.
    pub fn touches_in(&self, range: std::ops::Range<usize>) -> &[Touch<'ir>] {
        let first = self.touches.partition_point(|touch| touch.at < range.start);
        let end = self.touches.partition_point(|touch| touch.at < range.end);
        &self.touches[first..end.max(first)]
    }

    /// Whether a barrier stands between two positions.
    pub fn barriers_in(&self, range: &std::ops::Range<usize>) -> bool {
        let first = self.barriers.partition_point(|at| *at < range.start);
        self.barriers.get(first).is_some_and(|at| *at < range.end)
    }

    /// The innermost loop of any kind around an operation, within the kernel.
    pub fn loop_around(&self, op: Op<'ir>) -> Option<Op<'ir>> {
        let mut parent = op.parent();
        while let Some(current) = parent.filter(|parent| *parent != self.kernel) {
            if is_loop(current) {
                return Some(current);
            }
            parent = current.parent();
        }
        None
    }

    /// The alias class of a place.
    pub fn class(&self, place: &Place<'ir>) -> Class<'ir> {
        let noalias = self.memory.assumptions.noalias || self.memory.stated(place.root, "llvm.noalias").is_some();
        match place.root {
            Root::Unknown => Class::Unknown(place.space),
            Root::Argument(_) | Root::Outside(_) if !noalias => Class::Shuffled(place.space),
            Root::Global(_) if place.space != Space::Workgroup => Class::Shuffled(place.space),
            root => Class::One(root),
        }
    }

    /// The accesses that may meet those of a place, of which one of two writes; lists sorted by position.
    pub fn meeting(&self, place: &Place<'ir>, writes: bool) -> Vec<&[usize]> {
        let classes = if writes { &self.classes } else { &self.writers };
        let own = self.class(place);
        let mut lists: Vec<&[usize]> = classes.get(&own).map(Vec::as_slice).into_iter().collect();
        if matches!(own, Class::Unknown(_)) {
            let mut others: Vec<_> = classes.iter().filter(|(class, _)| **class != own).collect();
            others.sort_by_key(|(_, list)| list.first().copied());
            lists.extend(others.into_iter().map(|(_, list)| list.as_slice()));
        } else {
            for space in [Space::Global, Space::Workgroup, Space::Private, Space::Other] {
                lists.extend(classes.get(&Class::Unknown(space)).map(Vec::as_slice));
                let other = Class::Shuffled(space);
                if other != own {
                    lists.extend(classes.get(&other).map(Vec::as_slice));
                }
            }
        }
        lists
    }
}

/// The kernel's block size, where it says so: an attribute, or constants of the launch.
fn block_size(kernel: Op<'_>) -> Option<[u32; 3]> {
    let sizes = ["known_block_size", "gpu.known_block_size"]
        .into_iter()
        .find_map(|name| kernel.attr(name))
        .and_then(Attr::as_ints);
    let sizes = match sizes {
        Some(sizes) => sizes,
        None if kernel.is("gpu.launch") => {
            let first = 3 + kernel.attr("operandSegmentSizes")?.as_ints()?.first().copied()? as usize;
            (first..first + 3)
                .map(|operand| constant_index(kernel.operands().nth(operand)?))
                .collect::<Option<Vec<i64>>>()?
        }
        None => return None,
    };
    let [x, y, z] = sizes[..] else { return None };
    Some([x, y, z].map(|extent| u32::try_from(extent).unwrap_or(0)))
}

/// Arguments of a `gpu.launch`'s block: the thread's position and the block's size.
fn launch_ids(entry: Block<'_>) -> Option<([Value<'_>; 3], [Value<'_>; 3])> {
    let arguments: Vec<Value<'_>> = entry.arguments().collect();
    let three = |first: usize| -> Option<[Value<'_>; 3]> { arguments.get(first..first + 3)?.try_into().ok() };
    Some((three(3)?, three(9)?))
}

/// The name of a kernel: its own symbol, the one that a launch is to get, or that of the function around it.
pub fn name(kernel: Op<'_>) -> String {
    let own = kernel.attr("sym_name").and_then(Attr::as_str);
    let wanted = kernel.attr("function").and_then(Attr::as_symbol);
    let around = ["func.func", "llvm.func", "gpu.func"]
        .into_iter()
        .find_map(|name| enclosing(kernel, name)?.attr("sym_name")?.as_str());
    own.or(wanted).or(around).unwrap_or("").to_owned()
}
