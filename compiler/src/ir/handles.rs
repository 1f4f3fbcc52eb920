//! Operations, values, blocks, regions, locations.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use mlir_sys::*;
use serde::{Deserialize, Serialize};

use super::attributes::{Attr, Type};
use super::context::{Context, Tie, print};

pub(super) fn string_ref(text: &str) -> MlirStringRef {
    MlirStringRef {
        data: text.as_ptr().cast(),
        length: text.len(),
    }
}

/// The text behind a string reference; MLIR's strings are UTF-8 except where a file's name is not.
pub(super) fn to_str<'ir>(text: MlirStringRef) -> &'ir str {
    if text.length == 0 {
        return "";
    }
    // SAFETY: MLIR hands out references to strings that live in its context.
    let bytes = unsafe { std::slice::from_raw_parts(text.data.cast::<u8>(), text.length) };
    std::str::from_utf8(bytes).unwrap_or("<not UTF-8>")
}

macro_rules! handle {
    ($(#[$doc:meta])* $name:ident, $raw:ty) => {
        $(#[$doc])*
        #[derive(Clone, Copy)]
        pub struct $name<'ir> {
            raw: $raw,
            tie: Tie<'ir>,
        }

        impl<'ir> $name<'ir> {
            /// Wraps a raw handle.
            ///
            /// # Safety
            /// It must not be null, and what it points to must live for `'ir`.
            pub unsafe fn from_raw(raw: $raw) -> Self {
                $name { raw, tie: PhantomData }
            }

            /// The raw handle.
            pub fn raw(self) -> $raw {
                self.raw
            }

            #[allow(dead_code)]
            fn opt(raw: $raw) -> Option<Self> {
                (!raw.ptr.is_null()).then_some($name { raw, tie: PhantomData })
            }
        }

        impl PartialEq for $name<'_> {
            fn eq(&self, other: &Self) -> bool {
                std::ptr::eq(self.raw.ptr, other.raw.ptr)
            }
        }
        impl Eq for $name<'_> {}
        impl Hash for $name<'_> {
            fn hash<H: Hasher>(&self, state: &mut H) {
                (self.raw.ptr as usize).hash(state);
            }
        }
    };
}

handle!(
    /// An operation.
    Op,
    MlirOperation
);
handle!(
    /// A block of operations.
    Block,
    MlirBlock
);
handle!(
    /// A region of blocks.
    Region,
    MlirRegion
);
handle!(
    /// The result of an operation, or an argument of a block.
    Value,
    MlirValue
);
handle!(
    /// A source location.
    Location,
    MlirLocation
);

/// Names one operation of a module in plain data: the `index`-th of that name in textual order (preorder).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpId {
    /// The operation's name, e.g. `vector.store`.
    pub op: String,
    /// Its position among all operations of that name.
    pub index: usize,
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.op, self.index)
    }
}

/// Names one buffer of a kernel in plain data: SSA names do not survive parsing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum BufferId {
    /// The n-th workgroup attribution of the kernel.
    WorkgroupAttribution {
        /// n.
        position: usize,
    },
    /// The n-th private attribution of the kernel.
    PrivateAttribution {
        /// n.
        position: usize,
    },
    /// The n-th argument of the function.
    FuncArg {
        /// n.
        position: usize,
    },
    /// The result of an operation: an allocation, a view or, on the register level, a load.
    OpResult {
        /// The operation's name.
        op: String,
        /// Its position among all operations of that name in the file.
        index: usize,
    },
    /// A `memref.global`.
    Global {
        /// Its symbol.
        symbol: String,
    },
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Def<'ir> {
    /// The n-th result of an operation.
    Result(Op<'ir>, usize),
    /// The n-th argument of a block.
    Argument(Block<'ir>, usize),
}

/// One use of a value: the n-th operand of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use<'ir> {
    /// Who uses it.
    pub op: Op<'ir>,
    /// As which operand.
    pub operand: usize,
}

impl<'ir> Op<'ir> {
    /// The full name, e.g. `scf.for`.
    pub fn name(self) -> &'ir str {
        // SAFETY: identifiers live in the context.
        to_str(unsafe { mlirIdentifierStr(mlirOperationGetName(self.raw)) })
    }

    /// Whether the operation has this name.
    pub fn is(self, name: &str) -> bool {
        self.name() == name
    }

    /// The dialect's name, e.g. `scf`.
    pub fn dialect(self) -> &'ir str {
        self.name().split_once('.').map_or("", |(dialect, _)| dialect)
    }

    /// Number of operands.
    pub fn num_operands(self) -> usize {
        unsafe { mlirOperationGetNumOperands(self.raw) as usize }
    }

    /// The n-th operand; panics when there is none.
    pub fn operand(self, index: usize) -> Value<'ir> {
        assert!(index < self.num_operands(), "{} has no operand {index}", self.name());
        unsafe { Value::from_raw(mlirOperationGetOperand(self.raw, index as isize)) }
    }

    /// All operands.
    pub fn operands(self) -> impl Iterator<Item = Value<'ir>> {
        (0..self.num_operands()).map(move |index| self.operand(index))
    }

    /// Replaces the n-th operand.
    pub fn set_operand(self, index: usize, value: Value<'ir>) {
        assert!(index < self.num_operands(), "{} has no operand {index}", self.name());
        unsafe { mlirOperationSetOperand(self.raw, index as isize, value.raw) }
    }

    /// Replaces the whole operand list (not for operations with operand segments, unless the sizes stay right).
    pub fn set_operands(self, values: &[Value<'ir>]) {
        let raw: Vec<MlirValue> = values.iter().map(|value| value.raw).collect();
        unsafe { mlirOperationSetOperands(self.raw, raw.len() as isize, raw.as_ptr()) }
    }

    /// Number of results.
    pub fn num_results(self) -> usize {
        unsafe { mlirOperationGetNumResults(self.raw) as usize }
    }

    /// The n-th result; panics when there is none.
    pub fn result(self, index: usize) -> Value<'ir> {
        assert!(index < self.num_results(), "{} has no result {index}", self.name());
        unsafe { Value::from_raw(mlirOperationGetResult(self.raw, index as isize)) }
    }

    /// All results.
    pub fn results(self) -> impl Iterator<Item = Value<'ir>> {
        (0..self.num_results()).map(move |index| self.result(index))
    }

    /// Number of regions.
    pub fn num_regions(self) -> usize {
        unsafe { mlirOperationGetNumRegions(self.raw) as usize }
    }

    /// The n-th region; panics when there is none.
    pub fn region(self, index: usize) -> Region<'ir> {
        assert!(index < self.num_regions(), "{} has no region {index}", self.name());
        unsafe { Region::from_raw(mlirOperationGetRegion(self.raw, index as isize)) }
    }

    /// All regions.
    pub fn regions(self) -> impl Iterator<Item = Region<'ir>> {
        (0..self.num_regions()).map(move |index| self.region(index))
    }

    /// The only block of the only region (`scf.for`, `gpu.func` of one block …), if that is the shape.
    pub fn body(self) -> Option<Block<'ir>> {
        if self.num_regions() != 1 {
            return None;
        }
        let mut blocks = self.region(0).blocks();
        let first = blocks.next()?;
        blocks.next().is_none().then_some(first)
    }

    /// An attribute, inherent or discardable.
    pub fn attr(self, name: &str) -> Option<Attr<'ir>> {
        unsafe { Attr::opt(mlirOperationGetAttributeByName(self.raw, string_ref(name))) }
    }

    /// Sets an attribute.
    pub fn set_attr(self, name: &str, value: Attr<'ir>) {
        unsafe { mlirOperationSetAttributeByName(self.raw, string_ref(name), value.raw()) }
    }

    /// Removes an attribute; whether there was one.
    pub fn remove_attr(self, name: &str) -> bool {
        unsafe { mlirOperationRemoveAttributeByName(self.raw, string_ref(name)) }
    }

    /// The names and values of all attributes.
    pub fn attrs(self) -> Vec<(&'ir str, Attr<'ir>)> {
        let count = unsafe { mlirOperationGetNumAttributes(self.raw) };
        (0..count)
            .map(|index| unsafe {
                let named = mlirOperationGetAttribute(self.raw, index);
                (to_str(mlirIdentifierStr(named.name)), Attr::from_raw(named.attribute))
            })
            .collect()
    }

    /// Where the operation was written.
    pub fn location(self) -> Location<'ir> {
        unsafe { Location::from_raw(mlirOperationGetLocation(self.raw)) }
    }

    /// The operation around this one.
    pub fn parent(self) -> Option<Op<'ir>> {
        unsafe { Op::opt(mlirOperationGetParentOperation(self.raw)) }
    }

    /// The block that holds this operation.
    pub fn block(self) -> Option<Block<'ir>> {
        unsafe { Block::opt(mlirOperationGetBlock(self.raw)) }
    }

    /// The next operation of the block.
    pub fn next(self) -> Option<Op<'ir>> {
        unsafe { Op::opt(mlirOperationGetNextInBlock(self.raw)) }
    }

    /// Whether this operation stands before `other`, which must be in the same block.
    pub fn is_before(self, other: Op<'ir>) -> bool {
        unsafe { mlirOperationIsBeforeInBlock(self.raw, other.raw) }
    }

    /// Moves this operation before another one.
    pub fn move_before(self, other: Op<'ir>) {
        unsafe { mlirOperationMoveBefore(self.raw, other.raw) }
    }

    /// Moves this operation after another one.
    pub fn move_after(self, other: Op<'ir>) {
        unsafe { mlirOperationMoveAfter(self.raw, other.raw) }
    }

    /// Whether a result of this operation, or nothing, is used.
    pub fn is_used(self) -> bool {
        self.results().any(|result| result.is_used())
    }

    /// Removes the operation. Handles of it and of what it holds are dead afterwards.
    ///
    /// Panics when a result is still used: erasing it would leave dangling operands.
    pub fn erase(self) {
        assert!(!self.is_used(), "{} at {} is still used", self.name(), self.location());
        unsafe { mlirOperationDestroy(self.raw) }
    }

    /// Whether this operation is `other` or stands (at any depth) inside it.
    pub fn is_within(self, other: Op<'ir>) -> bool {
        let mut op = Some(self);
        while let Some(current) = op {
            if current == other {
                return true;
            }
            op = current.parent();
        }
        false
    }
}

impl fmt::Display for Op<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(|callback, data| unsafe {
            mlirOperationPrint(self.raw, callback, data)
        }))
    }
}

impl fmt::Debug for Op<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name(), self.location())
    }
}

impl<'ir> Value<'ir> {
    /// The type.
    pub fn ty(self) -> Type<'ir> {
        unsafe { Type::from_raw(mlirValueGetType(self.raw)) }
    }

    /// The operation or block argument that defines the value.
    pub fn def(self) -> Def<'ir> {
        unsafe {
            if mlirValueIsAOpResult(self.raw) {
                let op = Op::from_raw(mlirOpResultGetOwner(self.raw));
                Def::Result(op, mlirOpResultGetResultNumber(self.raw) as usize)
            } else {
                let block = Block::from_raw(mlirBlockArgumentGetOwner(self.raw));
                Def::Argument(block, mlirBlockArgumentGetArgNumber(self.raw) as usize)
            }
        }
    }

    /// The operation that defines the value, if one does.
    pub fn def_op(self) -> Option<Op<'ir>> {
        match self.def() {
            Def::Result(op, _) => Some(op),
            Def::Argument(..) => None,
        }
    }

    /// Where the value was written.
    pub fn location(self) -> Location<'ir> {
        unsafe { Location::from_raw(mlirValueGetLocation(self.raw)) }
    }

    /// All uses.
    pub fn uses(self) -> Vec<Use<'ir>> {
        let mut uses = Vec::new();
        unsafe {
            let mut operand = mlirValueGetFirstUse(self.raw);
            while !mlirOpOperandIsNull(operand) {
                uses.push(Use {
                    op: Op::from_raw(mlirOpOperandGetOwner(operand)),
                    operand: mlirOpOperandGetOperandNumber(operand) as usize,
                });
                operand = mlirOpOperandGetNextUse(operand);
            }
        }
        // MLIR lists the latest use first.
        uses.reverse();
        uses
    }

    /// Whether anything uses the value.
    pub fn is_used(self) -> bool {
        unsafe { !mlirOpOperandIsNull(mlirValueGetFirstUse(self.raw)) }
    }

    /// Makes every user use `other` instead.
    pub fn replace_all_uses_with(self, other: Value<'ir>) {
        unsafe { mlirValueReplaceAllUsesOfWith(self.raw, other.raw) }
    }

    /// Changes the type in place (the users are not checked; verify afterwards).
    pub fn set_type(self, ty: Type<'ir>) {
        unsafe { mlirValueSetType(self.raw, ty.raw()) }
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.def() {
            Def::Result(op, index) => write!(f, "{op:?}#{index}"),
            Def::Argument(_, index) => write!(f, "argument {index}"),
        }
    }
}

impl<'ir> Block<'ir> {
    /// Number of arguments.
    pub fn num_arguments(self) -> usize {
        unsafe { mlirBlockGetNumArguments(self.raw) as usize }
    }

    /// The n-th argument; panics when there is none.
    pub fn argument(self, index: usize) -> Value<'ir> {
        assert!(index < self.num_arguments(), "the block has no argument {index}");
        unsafe { Value::from_raw(mlirBlockGetArgument(self.raw, index as isize)) }
    }

    /// All arguments.
    pub fn arguments(self) -> impl Iterator<Item = Value<'ir>> {
        (0..self.num_arguments()).map(move |index| self.argument(index))
    }

    /// Appends an argument.
    pub fn add_argument(self, ty: Type<'ir>, location: Location<'ir>) -> Value<'ir> {
        unsafe { Value::from_raw(mlirBlockAddArgument(self.raw, ty.raw(), location.raw)) }
    }

    /// Removes an argument that nothing uses; panics when something does.
    pub fn erase_argument(self, index: usize) {
        assert!(!self.argument(index).is_used(), "argument {index} is still used");
        unsafe { mlirBlockEraseArgument(self.raw, index as u32) }
    }

    /// The operations in order. Collected, so that the block may be changed while walking them.
    pub fn ops(self) -> Vec<Op<'ir>> {
        let mut ops = Vec::new();
        let mut op = unsafe { Op::opt(mlirBlockGetFirstOperation(self.raw)) };
        while let Some(current) = op {
            ops.push(current);
            op = current.next();
        }
        ops
    }

    /// The first operation.
    pub fn first(self) -> Option<Op<'ir>> {
        unsafe { Op::opt(mlirBlockGetFirstOperation(self.raw)) }
    }

    /// The terminator, if the block has one.
    pub fn terminator(self) -> Option<Op<'ir>> {
        unsafe { Op::opt(mlirBlockGetTerminator(self.raw)) }
    }

    /// The operation around the block.
    pub fn parent(self) -> Option<Op<'ir>> {
        unsafe { Op::opt(mlirBlockGetParentOperation(self.raw)) }
    }
}

impl fmt::Debug for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block of {:?}", self.parent())
    }
}

impl<'ir> Region<'ir> {
    /// The blocks in order.
    pub fn blocks(self) -> impl Iterator<Item = Block<'ir>> {
        let mut block = unsafe { mlirRegionGetFirstBlock(self.raw) };
        std::iter::from_fn(move || {
            let current = Block::opt(block)?;
            block = unsafe { mlirBlockGetNextInRegion(block) };
            Some(current)
        })
    }
}

impl<'ir> Location<'ir> {
    /// No place at all.
    pub fn unknown(context: &'ir Context) -> Self {
        unsafe { Location::from_raw(mlirLocationUnknownGet(context.raw())) }
    }

    /// A place in a file.
    pub fn file(context: &'ir Context, file: &str, line: u32, column: u32) -> Self {
        unsafe {
            Location::from_raw(mlirLocationFileLineColGet(
                context.raw(),
                string_ref(file),
                line,
                column,
            ))
        }
    }

    /// Whether this is a plain place in a file.
    pub(super) fn is_file(self) -> bool {
        unsafe { mlirLocationIsAFileLineColRange(self.raw) }
    }

    /// File, line and column, looking through names, call sites and fusions.
    pub fn file_line_col(self) -> Option<(&'ir str, u32, u32)> {
        unsafe {
            if mlirLocationIsAFileLineColRange(self.raw) {
                let file = to_str(mlirIdentifierStr(mlirLocationFileLineColRangeGetFilename(self.raw)));
                let line = mlirLocationFileLineColRangeGetStartLine(self.raw);
                let column = mlirLocationFileLineColRangeGetStartColumn(self.raw);
                return Some((file, line as u32, column as u32));
            }
            if mlirLocationIsAName(self.raw) {
                return Location::from_raw(mlirLocationNameGetChildLoc(self.raw)).file_line_col();
            }
            if mlirLocationIsACallSite(self.raw) {
                return Location::from_raw(mlirLocationCallSiteGetCallee(self.raw)).file_line_col();
            }
            if mlirLocationIsAFused(self.raw) {
                let count = mlirLocationFusedGetNumLocations(self.raw) as usize;
                let mut parts = vec![self.raw; count];
                mlirLocationFusedGetLocations(self.raw, parts.as_mut_ptr());
                return parts
                    .into_iter()
                    .find_map(|part| Location::from_raw(part).file_line_col());
            }
            None
        }
    }
}

impl fmt::Display for Location<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.file_line_col() {
            Some((file, line, column)) => write!(f, "{file}:{line}:{column}"),
            None => f.write_str(&print(|callback, data| unsafe {
                mlirLocationPrint(self.raw, callback, data)
            })),
        }
    }
}

impl fmt::Debug for Location<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
