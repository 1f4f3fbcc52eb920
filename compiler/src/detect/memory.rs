//! Which memory a memref names, and where in it an access lies.
//!
//! ```text
//! %v = memref.subview %a[%i, 0] [1, 64] [1, 1]      root(%v) = argument 0
//! vector.load %v[%z, %j]                            4 * (64 * %i + %j) bytes behind its start
//! ```

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::assumptions::Assumptions;
use super::effects::{Access, indices};
use super::linear::Linear;
use crate::ir::{Attr, Block, Def, Op, Type, Value};

/// The memory behind a memref.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Root<'ir> {
    /// The n-th argument of the function.
    Argument(usize),
    /// Memory that the kernel itself makes: an attribution or an allocation.
    Own(Value<'ir>),
    /// A `memref.global`.
    Global(&'ir str),
    /// The block's dynamic shared memory; all `gpu.dynamic_shared_memory` are one.
    Dynamic,
    /// What a `gpu.launch` takes from the function around it.
    Outside(Value<'ir>),
    /// Not known.
    Unknown,
}

/// A memory space.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Space {
    Global,
    Workgroup,
    Private,
    Other,
}

/// Whether two accesses may meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alias {
    /// Different memory.
    Never,
    /// Not proven different.
    May,
    /// The same argument, allocation or global.
    Same,
}

/// Where a memref begins.
#[derive(Clone, Debug)]
pub struct Place<'ir> {
    pub root: Root<'ir>,
    /// The value that stands for the root.
    pub base: Value<'ir>,
    pub space: Space,
    /// Bytes from the root's start to the memref's first element.
    pub origin: Linear<'ir>,
    /// Bytes from the root's start to the pointer that `memref.reinterpret_cast` counts from.
    pointer: Linear<'ir>,
    /// What `memref.assume_alignment` vouches for, and the pointer of which it does, as bytes from the root's start.
    assumed: Vec<(u64, Linear<'ir>)>,
}

/// The memory of one kernel.
pub struct Memory<'ir> {
    pub kernel: Op<'ir>,
    pub assumptions: Assumptions,
    entry: Option<Block<'ir>>,
    /// Arguments of the entry block before the workgroup attributions, and behind them.
    attributions: (usize, usize),
    places: RefCell<HashMap<Value<'ir>, Rc<Place<'ir>>>>,
    spaces: RefCell<HashMap<Type<'ir>, Space>>,
}

impl<'ir> Place<'ir> {
    /// Whether an assumption on the way says how a pointer is aligned.
    pub fn is_vouched_for(&self) -> bool {
        !self.assumed.is_empty()
    }

    /// A number that divides an address, given as bytes from the root's start, which is a multiple of `base`; or what the
    /// assumptions on the way make of it, if that is a multiple of what is wanted.
    pub fn alignment(&self, address: &Linear<'ir>, base: u64, wanted: u64) -> u64 {
        let from_root = gcd(base, address.divisor());
        let assumed = self.assumed.iter().map(|(bytes, pointer)| {
            let mut apart = address.clone();
            apart.subtract(pointer);
            gcd(*bytes, apart.divisor())
        });
        assumed
            .chain([from_root])
            .find(|known| known.is_multiple_of(wanted))
            .unwrap_or(from_root)
    }
}

/// Whether the memory was there before the kernel.
fn is_outer(root: Root<'_>) -> bool {
    matches!(root, Root::Argument(_) | Root::Outside(_) | Root::Global(_))
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A number of a static list, or a value.
enum Mixed<'ir> {
    Static(i64),
    Value(Value<'ir>),
}

impl<'ir> Memory<'ir> {
    pub fn new(kernel: Op<'ir>, assumptions: &Assumptions) -> Self {
        let entry = kernel.regions().next().and_then(|region| region.blocks().next());
        let count = kernel
            .attr("workgroup_attributions")
            .and_then(Attr::as_int)
            .unwrap_or(0)
            .max(0) as usize;
        let arguments = entry.map_or(0, Block::num_arguments);
        let first = match kernel.name() {
            "gpu.launch" => launch_arguments(kernel),
            _ => kernel
                .attr("function_type")
                .and_then(Attr::as_type)
                .and_then(Type::num_inputs)
                .unwrap_or(arguments),
        }
        .min(arguments);
        Memory {
            kernel,
            assumptions: assumptions.clone(),
            entry,
            attributions: (first, (first + count).min(arguments)),
            places: RefCell::default(),
            spaces: RefCell::default(),
        }
    }

    /// The entry block.
    pub fn entry(&self) -> Option<Block<'ir>> {
        self.entry
    }

    /// Which workgroup attribution an argument of the entry block is.
    pub fn attribution(&self, position: usize) -> Option<usize> {
        let (first, end) = self.attributions;
        (first..end).contains(&position).then(|| position - first)
    }

    /// Whether an argument of the entry block is the function's own.
    pub fn is_argument(&self, position: usize) -> bool {
        position < self.attributions.0 && !self.kernel.is("gpu.launch")
    }

    /// The memory space of a memref.
    pub fn space(&self, ty: Type<'ir>) -> Space {
        if let Some(space) = self.spaces.borrow().get(&ty) {
            return *space;
        }
        let space = match ty.memory_space() {
            None => Space::Global,
            Some(attr) if attr.is_workgroup() => Space::Workgroup,
            Some(attr) => match (attr.as_int(), attr.to_string().as_str()) {
                (Some(0 | 1), _) | (_, "#gpu.address_space<global>") => Space::Global,
                (Some(5), _) | (_, "#gpu.address_space<private>") => Space::Private,
                _ => Space::Other,
            },
        };
        self.spaces.borrow_mut().insert(ty, space);
        space
    }

    /// Where a memref begins, through views.
    pub fn place(&self, memref: Value<'ir>) -> Rc<Place<'ir>> {
        let mut chain = Vec::new();
        let mut value = memref;
        let mut place = loop {
            if let Some(place) = self.places.borrow().get(&value) {
                break Rc::clone(place);
            }
            match value
                .def_op()
                .filter(|op| names_operand(*op, value) && chain.len() < 1000)
            {
                Some(op) => {
                    chain.push((value, op));
                    value = op.operand(0);
                }
                None => {
                    let place = Rc::new(self.root(value, chain.len() >= 1000));
                    self.places.borrow_mut().insert(value, Rc::clone(&place));
                    break place;
                }
            }
        };
        for (value, op) in chain.into_iter().rev() {
            place = Rc::new(self.view(op, &place, value));
            self.places.borrow_mut().insert(value, Rc::clone(&place));
        }
        place
    }

    /// Where an access begins, in bytes from the start of its root.
    pub fn address(&self, op: Op<'ir>, access: Access) -> Linear<'ir> {
        let memref = op.operand(access.memref);
        let mut address = self.place(memref).origin.clone();
        let Some(parts) = memref.ty().as_memref() else {
            address.loose.push(1);
            return address;
        };
        let element = element_bytes(memref.ty());
        for (index, stride) in indices(op, access).into_iter().zip(parts.strides) {
            add(&mut address, &Mixed::Value(index), stride, element);
        }
        address
    }

    /// Whether two places may be the same memory.
    pub fn alias(&self, a: &Place<'ir>, b: &Place<'ir>) -> Alias {
        match self.alias_as_stated(a, b) {
            Alias::May if self.assumptions.noalias && is_outer(a.root) && is_outer(b.root) => Alias::Never,
            known => known,
        }
    }

    /// The same by what the kernel itself says, without [`Self::assumptions`].
    pub fn alias_as_stated(&self, a: &Place<'ir>, b: &Place<'ir>) -> Alias {
        match (a.root, b.root) {
            (one, other) if one == other && one != Root::Unknown => Alias::Same,
            _ if a.space != b.space && a.space != Space::Other && b.space != Space::Other => Alias::Never,
            (Root::Unknown, other) | (other, Root::Unknown) => match other {
                // A pointer from elsewhere does not lead into what the kernel made for itself, unless it was given away:
                // then its use is not understood, which is a reason of its own.
                Root::Own(_) if a.space != Space::Workgroup => Alias::Never,
                _ => Alias::May,
            },
            (Root::Own(_) | Root::Dynamic, _) | (_, Root::Own(_) | Root::Dynamic) => Alias::Never,
            (Root::Global(_), Root::Global(_)) => Alias::Never,
            _ if self.is_noalias(a.root) || self.is_noalias(b.root) => Alias::Never,
            _ => Alias::May,
        }
    }

    /// Whether only the thread itself sees the memory.
    pub fn is_private(&self, place: &Place<'ir>) -> bool {
        matches!(place.root, Root::Own(_)) && place.space != Space::Workgroup
    }

    /// Whether the root is memory that `cp.async` can read.
    pub fn is_global(&self, place: &Place<'ir>) -> bool {
        place.space == Space::Global && matches!(place.root, Root::Argument(_) | Root::Global(_) | Root::Outside(_))
    }

    /// An attribute of the argument or allocation that a root is.
    pub fn stated(&self, root: Root<'ir>, name: &str) -> Option<Attr<'ir>> {
        let (function, position) = match root {
            Root::Argument(position) => (self.kernel, position),
            Root::Outside(value) => match value.def() {
                Def::Argument(block, position) => (block.parent()?, position),
                Def::Result(op, _) => return op.attr(name.strip_prefix("llvm.align").map_or(name, |_| "alignment")),
            },
            Root::Own(value) => return value.def_op()?.attr("alignment").filter(|_| name == "llvm.align"),
            _ => return None,
        };
        function.attr("arg_attrs")?.as_array()?.get(position)?.entry(name)
    }

    fn is_noalias(&self, root: Root<'ir>) -> bool {
        match root {
            Root::Outside(value) if value.def_op().is_some_and(allocates) => true,
            Root::Argument(_) | Root::Outside(_) => self.stated(root, "llvm.noalias").is_some(),
            _ => false,
        }
    }

    fn root(&self, value: Value<'ir>, too_deep: bool) -> Place<'ir> {
        let root = match value.def() {
            _ if too_deep => Root::Unknown,
            Def::Argument(block, position) if Some(block) == self.entry => match self.is_argument(position) {
                true => Root::Argument(position),
                false if self.kernel.is("gpu.launch") && self.attribution(position).is_none() => Root::Unknown,
                false => Root::Own(value),
            },
            Def::Argument(block, _) => match block.parent() {
                Some(op) if self.kernel.is("gpu.launch") && !op.is_within(self.kernel) => Root::Outside(value),
                _ => Root::Unknown,
            },
            Def::Result(op, _) => match op.name() {
                "memref.get_global" => op
                    .attr("name")
                    .and_then(Attr::as_symbol)
                    .map_or(Root::Unknown, Root::Global),
                "gpu.dynamic_shared_memory" => Root::Dynamic,
                _ if self.kernel.is("gpu.launch") && !op.is_within(self.kernel) => Root::Outside(value),
                "memref.alloc" | "memref.alloca" => Root::Own(value),
                _ => Root::Unknown,
            },
        };
        let mut origin = Linear::default();
        match value.ty().as_memref().map(|memref| memref.offset) {
            Some(Some(offset)) => origin.add_constant(offset, element_bytes(value.ty())),
            _ => origin.loose.push(element_bytes(value.ty()).unsigned_abs()),
        }
        Place {
            root,
            base: value,
            space: self.space(value.ty()),
            origin,
            pointer: Linear::default(),
            assumed: Vec::new(),
        }
    }

    /// The place of `value`, a view's result.
    fn view(&self, op: Op<'ir>, source: &Place<'ir>, value: Value<'ir>) -> Place<'ir> {
        let mut place = source.clone();
        let element = element_bytes(value.ty());
        match op.name() {
            "memref.subview" => {
                let strides = op.operand(0).ty().as_memref().map(|memref| memref.strides);
                let offsets = mixed(op, "static_offsets", 1);
                for (number, offset) in offsets.iter().enumerate() {
                    let stride = strides.as_ref().and_then(|strides| *strides.get(number)?);
                    add(&mut place.origin, offset, stride, element);
                }
            }
            "memref.reinterpret_cast" => {
                place.origin = source.pointer.clone();
                for offset in mixed(op, "static_offsets", 1) {
                    add(&mut place.origin, &offset, Some(1), element);
                }
            }
            "memref.view" => {
                place.origin = source.pointer.clone();
                place.origin.add(op.operand(1), 1);
                place.pointer = place.origin.clone();
            }
            "memref.assume_alignment" => {
                let bytes = op.attr("alignment").and_then(Attr::as_int).unwrap_or(0);
                if let Ok(bytes @ 1..) = u64::try_from(bytes) {
                    place.assumed.push((bytes, source.pointer.clone()));
                }
            }
            // The base of a memref is its pointer, without the offset.
            "memref.extract_strided_metadata" => place.origin = source.pointer.clone(),
            _ => {}
        }
        // A cast to the generic space leaves memory where it is.
        if matches!(place.space, Space::Other) || matches!(place.root, Root::Unknown) {
            place.space = self.space(value.ty());
        }
        place
    }
}

/// Whether the result names (a part of) the memory of the first operand.
pub fn is_view(op: Op<'_>) -> bool {
    matches!(
        op.name(),
        "memref.subview"
            | "memref.cast"
            | "memref.reinterpret_cast"
            | "memref.view"
            | "memref.expand_shape"
            | "memref.collapse_shape"
            | "memref.memory_space_cast"
            | "memref.assume_alignment"
            | "memref.transpose"
    ) && op.num_operands() > 0
        && op.num_results() == 1
        && op.result(0).ty().memref_rank().is_some()
}

/// Whether a value names the memory of the first operand of the operation that makes it: a view, or what is one but cannot
/// be given a slot, such as the base that is extracted from a memref.
fn names_operand<'ir>(op: Op<'ir>, value: Value<'ir>) -> bool {
    let memref = |value: Value<'ir>| value.ty().memref_rank().is_some();
    match op.name() {
        "memref.extract_strided_metadata" => op.result(0) == value,
        "builtin.unrealized_conversion_cast" => {
            op.num_operands() == 1 && op.num_results() == 1 && memref(value) && memref(op.operand(0))
        }
        _ => is_view(op),
    }
}

/// Whether an operation makes new memory.
pub fn allocates(op: Op<'_>) -> bool {
    matches!(op.name(), "memref.alloc" | "memref.alloca" | "gpu.alloc")
}

/// Arguments of a `gpu.launch`'s block before its attributions: ids and sizes of blocks and threads, and of clusters.
fn launch_arguments(launch: Op<'_>) -> usize {
    let clusters = launch
        .attr("operandSegmentSizes")
        .and_then(Attr::as_ints)
        .and_then(|sizes| sizes.get(7).copied());
    if clusters.unwrap_or(0) > 0 { 18 } else { 12 }
}

/// Bytes of an element; a byte where that is not a whole number of them.
fn element_bytes(ty: Type<'_>) -> i64 {
    let element = ty.memref_element();
    element.and_then(Type::bytes).map_or(1, |bytes| bytes as i64)
}

fn add<'ir>(sum: &mut Linear<'ir>, index: &Mixed<'ir>, stride: Option<i64>, element: i64) {
    let factor = stride.and_then(|stride| stride.checked_mul(element));
    match (index, factor) {
        (Mixed::Static(index), Some(factor)) => sum.add_constant(*index, factor),
        (Mixed::Static(0), None) => {}
        (Mixed::Static(index), None) => sum
            .loose
            .push(index.unsigned_abs().saturating_mul(element.unsigned_abs())),
        (Mixed::Value(index), Some(factor)) => sum.add(*index, factor),
        (Mixed::Value(index), None) => sum.add_loose(*index, element),
    }
}

/// A list of which the dynamic entries stand among the operands, from segment 1 on.
fn mixed<'ir>(op: Op<'ir>, name: &str, first: usize) -> Vec<Mixed<'ir>> {
    let mut operands = op.operands().skip(first);
    let entries = op.attr(name).and_then(Attr::as_ints).unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|entry| match entry {
            // ShapedType::kDynamic.
            i64::MIN => operands.next().map(Mixed::Value),
            entry => Some(Mixed::Static(entry)),
        })
        .collect()
}
