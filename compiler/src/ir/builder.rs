//! Building operations at an insertion point.

use mlir_sys::*;

use super::attributes::{Attr, Type};
use super::context::Context;
use super::handles::{Block, Location, Op, Region, Value, string_ref};

#[derive(Clone, Copy)]
enum Point<'ir> {
    End(Block<'ir>),
    Before(Op<'ir>),
}

/// Predicates of `arith.cmpi`, with MLIR's numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CmpPredicate {
    Eq = 0,
    Ne = 1,
    Slt = 2,
    Sle = 3,
    Sgt = 4,
    Sge = 5,
    Ult = 6,
    Ule = 7,
    Ugt = 8,
    Uge = 9,
}

/// Creates operations one after the other at a place in a block.
#[derive(Clone, Copy)]
pub struct Builder<'ir> {
    context: &'ir Context,
    point: Point<'ir>,
    location: Location<'ir>,
}

impl<'ir> Builder<'ir> {
    /// Appends to a block (behind a terminator, if it has one already).
    pub fn at_end(context: &'ir Context, block: Block<'ir>, location: Location<'ir>) -> Self {
        Builder {
            context,
            point: Point::End(block),
            location,
        }
    }

    /// Inserts before an operation, with its location.
    pub fn before(context: &'ir Context, op: Op<'ir>) -> Self {
        Builder {
            context,
            point: Point::Before(op),
            location: op.location(),
        }
    }

    /// Inserts after an operation, with its location.
    pub fn after(context: &'ir Context, op: Op<'ir>) -> Self {
        let location = op.location();
        match op.next() {
            Some(next) => Builder {
                context,
                point: Point::Before(next),
                location,
            },
            None => {
                let block = op
                    .block()
                    .expect("an operation outside of a block has no place after it");
                Builder {
                    context,
                    point: Point::End(block),
                    location,
                }
            }
        }
    }

    /// The same place with another location.
    pub fn with_location(mut self, location: Location<'ir>) -> Self {
        self.location = location;
        self
    }

    /// The context.
    pub fn context(&self) -> &'ir Context {
        self.context
    }

    /// The location that new operations get.
    pub fn location(&self) -> Location<'ir> {
        self.location
    }

    /// Puts an operation that no block holds here.
    pub fn insert(&self, op: Op<'ir>) {
        unsafe {
            match self.point {
                Point::End(block) => mlirBlockAppendOwnedOperation(block.raw(), op.raw()),
                Point::Before(before) => {
                    let block = before.block().expect("the insertion point is in a block");
                    mlirBlockInsertOwnedOperationBefore(block.raw(), before.raw(), op.raw());
                }
            }
        }
    }

    /// Moves an operation here.
    pub fn take(&self, op: Op<'ir>) {
        unsafe { mlirOperationRemoveFromParent(op.raw()) };
        self.insert(op);
    }

    /// Starts an operation of any dialect.
    pub fn op(&self, name: &'ir str) -> OpBuilder<'ir> {
        OpBuilder {
            builder: *self,
            name,
            operands: Vec::new(),
            results: Vec::new(),
            attrs: Vec::new(),
            regions: Vec::new(),
        }
    }

    /// `arith.constant` of type `index`.
    pub fn index(&self, value: i64) -> Value<'ir> {
        self.constant(Attr::int(Type::index(self.context), value), Type::index(self.context))
    }

    /// `arith.constant` of type `i1`.
    pub fn bool(&self, value: bool) -> Value<'ir> {
        self.constant(Attr::bool(self.context, value), Type::int(self.context, 1))
    }

    /// `arith.constant` of any type.
    pub fn constant(&self, value: Attr<'ir>, ty: Type<'ir>) -> Value<'ir> {
        self.op("arith.constant").attr("value", value).result(ty).value()
    }

    /// The zero of a float or integer type, or a vector of it.
    pub fn zero(&self, ty: Type<'ir>) -> Value<'ir> {
        let element = ty.as_vector().map_or(ty, |(_, element)| element);
        let zero = if element.is_float() {
            Attr::float(self.context, element, 0.0)
        } else {
            Attr::int(element, 0)
        };
        let value = if element == ty { zero } else { Attr::splat(ty, zero) };
        self.constant(value, ty)
    }

    fn binary(&self, name: &'ir str, lhs: Value<'ir>, rhs: Value<'ir>) -> Value<'ir> {
        self.op(name).operands(&[lhs, rhs]).result(lhs.ty()).value()
    }

    /// `arith.addi`.
    pub fn add(&self, lhs: Value<'ir>, rhs: Value<'ir>) -> Value<'ir> {
        self.binary("arith.addi", lhs, rhs)
    }

    /// `arith.subi`.
    pub fn sub(&self, lhs: Value<'ir>, rhs: Value<'ir>) -> Value<'ir> {
        self.binary("arith.subi", lhs, rhs)
    }

    /// `arith.muli`.
    pub fn mul(&self, lhs: Value<'ir>, rhs: Value<'ir>) -> Value<'ir> {
        self.binary("arith.muli", lhs, rhs)
    }

    /// `arith.divui`.
    pub fn div(&self, lhs: Value<'ir>, rhs: Value<'ir>) -> Value<'ir> {
        self.binary("arith.divui", lhs, rhs)
    }

    /// `arith.remui`.
    pub fn rem(&self, lhs: Value<'ir>, rhs: Value<'ir>) -> Value<'ir> {
        self.binary("arith.remui", lhs, rhs)
    }

    /// `arith.xori`.
    pub fn xor(&self, lhs: Value<'ir>, rhs: Value<'ir>) -> Value<'ir> {
        self.binary("arith.xori", lhs, rhs)
    }

    /// `arith.andi`.
    pub fn and(&self, lhs: Value<'ir>, rhs: Value<'ir>) -> Value<'ir> {
        self.binary("arith.andi", lhs, rhs)
    }

    /// `arith.cmpi`.
    pub fn cmp(&self, predicate: CmpPredicate, lhs: Value<'ir>, rhs: Value<'ir>) -> Value<'ir> {
        self.op("arith.cmpi")
            .operands(&[lhs, rhs])
            .attr("predicate", Attr::int(Type::int(self.context, 64), predicate as i64))
            .result(Type::int(self.context, 1))
            .value()
    }

    /// `arith.select`.
    pub fn select(&self, condition: Value<'ir>, yes: Value<'ir>, no: Value<'ir>) -> Value<'ir> {
        self.op("arith.select")
            .operands(&[condition, yes, no])
            .result(yes.ty())
            .value()
    }

    /// `scf.for`; `body` gets a builder at the end of the body, the induction variable and the carried values, and
    /// returns what is yielded.
    pub fn for_loop(
        &self,
        lower: Value<'ir>,
        upper: Value<'ir>,
        step: Value<'ir>,
        inits: &[Value<'ir>],
        body: impl FnOnce(&Builder<'ir>, Value<'ir>, &[Value<'ir>]) -> Vec<Value<'ir>>,
    ) -> Op<'ir> {
        let mut types = vec![lower.ty()];
        types.extend(inits.iter().map(|init| init.ty()));
        let (region, block) = self.region(&types);
        let inner = Builder::at_end(self.context, block, self.location);
        let arguments: Vec<Value<'ir>> = block.arguments().collect();
        let yielded = body(&inner, arguments[0], &arguments[1..]);
        inner.op("scf.yield").operands(&yielded).build();
        let mut operands = vec![lower, upper, step];
        operands.extend_from_slice(inits);
        self.op("scf.for")
            .operands(&operands)
            .results(&types[1..])
            .region(region)
            .build()
    }

    /// `scf.if` without results and without an else branch.
    pub fn if_then(&self, condition: Value<'ir>, body: impl FnOnce(&Builder<'ir>)) -> Op<'ir> {
        let (then, block) = self.region(&[]);
        let inner = Builder::at_end(self.context, block, self.location);
        body(&inner);
        inner.op("scf.yield").build();
        let empty = OwnedRegion::empty();
        self.op("scf.if")
            .operands(&[condition])
            .region(then)
            .region(empty)
            .build()
    }

    /// `scf.if` with any number of results: what `yes` returns where the condition holds, otherwise what `no` makes of those types.
    pub fn if_values(
        &self,
        condition: Value<'ir>,
        yes: impl FnOnce(&Builder<'ir>) -> Vec<Value<'ir>>,
        no: impl FnOnce(&Builder<'ir>, &[Type<'ir>]) -> Vec<Value<'ir>>,
    ) -> Op<'ir> {
        let (then, block) = self.region(&[]);
        let inner = Builder::at_end(self.context, block, self.location);
        let values = yes(&inner);
        let types: Vec<Type<'ir>> = values.iter().map(|value| value.ty()).collect();
        inner.op("scf.yield").operands(&values).build();
        let (otherwise, block) = self.region(&[]);
        let inner = Builder::at_end(self.context, block, self.location);
        let values = no(&inner, &types);
        inner.op("scf.yield").operands(&values).build();
        self.op("scf.if")
            .operands(&[condition])
            .results(&types)
            .region(then)
            .region(otherwise)
            .build()
    }

    /// `scf.if` with one result; each side returns what it yields.
    pub fn if_else(
        &self,
        condition: Value<'ir>,
        yes: impl FnOnce(&Builder<'ir>) -> Value<'ir>,
        no: impl FnOnce(&Builder<'ir>) -> Value<'ir>,
    ) -> Value<'ir> {
        let (then, block) = self.region(&[]);
        let inner = Builder::at_end(self.context, block, self.location);
        let value = yes(&inner);
        inner.op("scf.yield").operands(&[value]).build();
        let (otherwise, block) = self.region(&[]);
        let inner = Builder::at_end(self.context, block, self.location);
        inner.op("scf.yield").operands(&[no(&inner)]).build();
        self.op("scf.if")
            .operands(&[condition])
            .result(value.ty())
            .region(then)
            .region(otherwise)
            .value()
    }

    /// A region with one block of the given argument types, to hand to [`OpBuilder::region`].
    pub fn region(&self, arguments: &[Type<'ir>]) -> (OwnedRegion, Block<'ir>) {
        let types: Vec<MlirType> = arguments.iter().map(|ty| ty.raw()).collect();
        let locations = vec![self.location.raw(); types.len()];
        unsafe {
            let region = mlirRegionCreate();
            let block = mlirBlockCreate(types.len() as isize, types.as_ptr(), locations.as_ptr());
            mlirRegionAppendOwnedBlock(region, block);
            (OwnedRegion(region), Block::from_raw(block))
        }
    }
}

/// A region that no operation owns yet.
pub struct OwnedRegion(MlirRegion);

impl OwnedRegion {
    /// A region without blocks.
    pub fn empty() -> Self {
        OwnedRegion(unsafe { mlirRegionCreate() })
    }

    /// The region, still owned by this value.
    pub fn region<'ir>(&self) -> Region<'ir> {
        unsafe { Region::from_raw(self.0) }
    }
}

/// An operation in the making.
pub struct OpBuilder<'ir> {
    builder: Builder<'ir>,
    name: &'ir str,
    operands: Vec<Value<'ir>>,
    results: Vec<Type<'ir>>,
    attrs: Vec<(&'ir str, Attr<'ir>)>,
    regions: Vec<OwnedRegion>,
}

impl<'ir> OpBuilder<'ir> {
    /// Adds operands.
    pub fn operands(mut self, operands: &[Value<'ir>]) -> Self {
        self.operands.extend_from_slice(operands);
        self
    }

    /// Adds a result.
    pub fn result(mut self, ty: Type<'ir>) -> Self {
        self.results.push(ty);
        self
    }

    /// Adds results.
    pub fn results(mut self, types: &[Type<'ir>]) -> Self {
        self.results.extend_from_slice(types);
        self
    }

    /// Adds an attribute.
    pub fn attr(mut self, name: &'ir str, value: Attr<'ir>) -> Self {
        self.attrs.push((name, value));
        self
    }

    /// Adds a region.
    pub fn region(mut self, region: OwnedRegion) -> Self {
        self.regions.push(region);
        self
    }

    /// Creates the operation and inserts it. Panics when MLIR refuses to create it: that is a bug of the caller.
    pub fn build(self) -> Op<'ir> {
        let context = self.builder.context;
        let operands: Vec<MlirValue> = self.operands.iter().map(|value| value.raw()).collect();
        let results: Vec<MlirType> = self.results.iter().map(|ty| ty.raw()).collect();
        let regions: Vec<MlirRegion> = self.regions.iter().map(|region| region.0).collect();
        let op = unsafe {
            let attrs: Vec<MlirNamedAttribute> = self
                .attrs
                .iter()
                .map(|(name, attr)| {
                    mlirNamedAttributeGet(mlirIdentifierGet(context.raw(), string_ref(name)), attr.raw())
                })
                .collect();
            let mut state = mlirOperationStateGet(string_ref(self.name), self.builder.location.raw());
            mlirOperationStateAddOperands(&raw mut state, operands.len() as isize, operands.as_ptr());
            mlirOperationStateAddResults(&raw mut state, results.len() as isize, results.as_ptr());
            mlirOperationStateAddAttributes(&raw mut state, attrs.len() as isize, attrs.as_ptr());
            mlirOperationStateAddOwnedRegions(&raw mut state, regions.len() as isize, regions.as_ptr());
            mlirOperationCreate(&raw mut state)
        };
        assert!(
            !op.ptr.is_null(),
            "MLIR did not create {}: {:?}",
            self.name,
            context.take_diagnostics()
        );
        // SAFETY: just created, owned by the block it is inserted in.
        let op = unsafe { Op::from_raw(op) };
        self.builder.insert(op);
        op
    }

    /// Creates the operation and returns its first result.
    pub fn value(self) -> Value<'ir> {
        self.build().result(0)
    }
}
