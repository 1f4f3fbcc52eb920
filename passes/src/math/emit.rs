//! Arithmetic on f32 and i32 in few words, for the sequences of this folder.
//!
//! ```text
//! e.fma(x, e.float(2.0), y)   ->   %c = arith.constant 2.0 : f32
//!                                  %r = llvm.call_intrinsic "llvm.fma"(%x, %c, %y)
//! ```
//! `convert-gpu-to-nvvm` takes most of `llvm.intr` for something that libdevice is to compute; calls of intrinsics it
//! leaves alone.
//!
//! No operation carries fast-math flags, so that LLVM neither reorders nor contracts them.

use alcop_compiler::ir::{Attr, Builder, Op, Type, Value};

/// Predicates of `arith.cmpf`, with MLIR's numbering. `O`: false for not-a-number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Oeq = 1,
    Ogt = 2,
    Oge = 3,
    Olt = 4,
    Une = 13,
    Uno = 14,
}

/// Emits operations at a place.
#[derive(Clone, Copy)]
pub(super) struct Emit<'ir> {
    pub builder: Builder<'ir>,
}

impl<'ir> Emit<'ir> {
    pub(super) fn f32(self) -> Type<'ir> {
        Type::f32(self.builder.context())
    }

    pub(super) fn i32(self) -> Type<'ir> {
        Type::int(self.builder.context(), 32)
    }

    pub(super) fn i64(self) -> Type<'ir> {
        Type::int(self.builder.context(), 64)
    }

    /// A constant of any float type.
    pub(super) fn float_of(self, ty: Type<'ir>, value: f64) -> Value<'ir> {
        self.builder
            .constant(Attr::float(self.builder.context(), ty, value), ty)
    }

    pub(super) fn float(self, value: f32) -> Value<'ir> {
        self.float_of(self.f32(), f64::from(value))
    }

    /// A constant of any integer type.
    pub(super) fn int_of(self, ty: Type<'ir>, value: i64) -> Value<'ir> {
        self.builder.constant(Attr::int(ty, value), ty)
    }

    pub(super) fn int(self, value: i32) -> Value<'ir> {
        self.int_of(self.i32(), i64::from(value))
    }

    /// An operation whose result has the type of its first operand.
    pub(super) fn op(self, name: &'ir str, operands: &[Value<'ir>]) -> Value<'ir> {
        self.builder
            .op(name)
            .operands(operands)
            .result(operands[0].ty())
            .value()
    }

    pub(super) fn cast(self, name: &'ir str, value: Value<'ir>, to: Type<'ir>) -> Value<'ir> {
        self.builder.op(name).operands(&[value]).result(to).value()
    }

    pub(super) fn add(self, a: Value<'ir>, b: Value<'ir>) -> Value<'ir> {
        self.op("arith.addf", &[a, b])
    }

    pub(super) fn sub(self, a: Value<'ir>, b: Value<'ir>) -> Value<'ir> {
        self.op("arith.subf", &[a, b])
    }

    pub(super) fn mul(self, a: Value<'ir>, b: Value<'ir>) -> Value<'ir> {
        self.op("arith.mulf", &[a, b])
    }

    pub(super) fn div(self, a: Value<'ir>, b: Value<'ir>) -> Value<'ir> {
        self.op("arith.divf", &[a, b])
    }

    pub(super) fn neg(self, a: Value<'ir>) -> Value<'ir> {
        self.op("arith.negf", &[a])
    }

    pub(super) fn fma(self, a: Value<'ir>, b: Value<'ir>, c: Value<'ir>) -> Value<'ir> {
        self.intrinsic("llvm.fma", &[a, b, c])
    }

    pub(super) fn abs(self, a: Value<'ir>) -> Value<'ir> {
        self.intrinsic("llvm.fabs", &[a])
    }

    pub(super) fn copysign(self, magnitude: Value<'ir>, sign: Value<'ir>) -> Value<'ir> {
        self.intrinsic("llvm.copysign", &[magnitude, sign])
    }

    /// The lesser; not-a-number where one is.
    pub(super) fn minimum(self, a: Value<'ir>, b: Value<'ir>) -> Value<'ir> {
        self.intrinsic("llvm.minimum", &[a, b])
    }

    /// The greater; not-a-number where one is.
    pub(super) fn maximum(self, a: Value<'ir>, b: Value<'ir>) -> Value<'ir> {
        self.intrinsic("llvm.maximum", &[a, b])
    }

    /// The lesser; the other where one is not-a-number.
    pub(super) fn lesser_number(self, a: Value<'ir>, b: Value<'ir>) -> Value<'ir> {
        self.intrinsic("llvm.minnum", &[a, b])
    }

    /// The greater; the other where one is not-a-number.
    pub(super) fn greater_number(self, a: Value<'ir>, b: Value<'ir>) -> Value<'ir> {
        self.intrinsic("llvm.maxnum", &[a, b])
    }

    pub(super) fn compare(self, predicate: Compare, a: Value<'ir>, b: Value<'ir>) -> Value<'ir> {
        let context = self.builder.context();
        self.builder
            .op("arith.cmpf")
            .operands(&[a, b])
            .attr("predicate", Attr::int(Type::int(context, 64), predicate as i64))
            .result(Type::int(context, 1))
            .value()
    }

    /// Whether a float compares so with a constant.
    pub(super) fn is(self, predicate: Compare, a: Value<'ir>, b: f32) -> Value<'ir> {
        self.compare(predicate, a, self.float(b))
    }

    pub(super) fn select(self, condition: Value<'ir>, yes: Value<'ir>, no: Value<'ir>) -> Value<'ir> {
        self.builder.select(condition, yes, no)
    }

    /// The bits of an f32.
    pub(super) fn bits(self, a: Value<'ir>) -> Value<'ir> {
        self.cast("arith.bitcast", a, self.i32())
    }

    /// The f32 of given bits.
    pub(super) fn of_bits(self, a: Value<'ir>) -> Value<'ir> {
        self.cast("arith.bitcast", a, self.f32())
    }

    /// An integer operation with a constant.
    pub(super) fn int_op(self, name: &'ir str, a: Value<'ir>, b: i32) -> Value<'ir> {
        self.op(name, &[a, self.int_of(a.ty(), i64::from(b))])
    }

    /// c[0] + x (c[1] + x (c[2] + …)).
    pub(super) fn polynomial(self, x: Value<'ir>, coefficients: &[f32]) -> Value<'ir> {
        let (last, rest) = coefficients.split_last().expect("a polynomial has coefficients");
        let start = self.float(*last);
        rest.iter().rev().fold(start, |sum, c| self.fma(sum, x, self.float(*c)))
    }

    /// An intrinsic of LLVM's, whose result has the type of its first operand.
    pub(super) fn intrinsic(self, name: &'static str, operands: &[Value<'ir>]) -> Value<'ir> {
        let context = self.builder.context();
        self.builder
            .op("llvm.call_intrinsic")
            .operands(operands)
            .attr("intrin", Attr::string(context, name))
            .attr("op_bundle_sizes", Attr::dense_i32(context, &[]))
            .attr(
                "operandSegmentSizes",
                Attr::dense_i32(context, &[operands.len() as i32, 0]),
            )
            .result(operands[0].ty())
            .value()
    }

    /// `ex2.approx.f32`.
    pub(super) fn ex2(self, a: Value<'ir>) -> Value<'ir> {
        self.intrinsic("llvm.nvvm.ex2.approx.f32", &[a])
    }

    /// `ex2.approx.ftz.f32`: one instruction on a device, where the other takes four.
    pub(super) fn ex2_flushed(self, a: Value<'ir>) -> Value<'ir> {
        self.intrinsic("llvm.nvvm.ex2.approx.ftz.f32", &[a])
    }

    /// `lg2.approx.f32`.
    pub(super) fn lg2(self, a: Value<'ir>) -> Value<'ir> {
        self.intrinsic("llvm.nvvm.lg2.approx.f", &[a])
    }

    /// `lg2.approx.ftz.f32`.
    pub(super) fn lg2_flushed(self, a: Value<'ir>) -> Value<'ir> {
        self.intrinsic("llvm.nvvm.lg2.approx.ftz.f", &[a])
    }

    /// `rcp.approx.ftz.f32`.
    pub(super) fn rcp_flushed(self, a: Value<'ir>) -> Value<'ir> {
        self.intrinsic("llvm.nvvm.rcp.approx.ftz.f", &[a])
    }

    /// Calls a function of the module. It has no side effects; nothing is known of its place.
    pub(super) fn call(self, callee: &str, operands: &[Value<'ir>], result: Type<'ir>) -> Value<'ir> {
        let context = self.builder.context();
        let call: Op<'ir> = self
            .builder
            .op("llvm.call")
            .operands(operands)
            .attr("callee", Attr::symbol(context, callee))
            .attr("op_bundle_sizes", Attr::dense_i32(context, &[]))
            .attr(
                "operandSegmentSizes",
                Attr::dense_i32(context, &[operands.len() as i32, 0]),
            )
            .result(result)
            .build();
        call.result(0)
    }
}
