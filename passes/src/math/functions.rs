//! One function of the `gpu.module` for each operation that becomes a sequence; LLVM inlines it at its calls.
//!
//! ```mlir
//! %y = math.exp %x : f32     ->   %y = llvm.call @__alcop_exp(%x) : (f32) -> f32
//!                                 llvm.func internal @__alcop_exp(%x: f32) -> f32 attributes {always_inline, …}
//! ```

use alcop_compiler::ir::{Attr, Builder, Context, Op, Type, Value, preorder};

use super::emit::Emit;
use super::{exponential, hyperbolic, logarithm, power, remainder, trigonometric};

/// What a function computes. In f32 unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Exp,
    Expm1,
    Sigmoid,
    NarrowSigmoid,
    Log,
    Log2,
    Log10,
    Log1p,
    Sin,
    Cos,
    Tan,
    FarAngle,
    Tanh,
    Sinh,
    Cosh,
    Erf,
    Cbrt,
    Powf,
    /// A float of so many bits (32 or 64) to an integer of so many bits.
    Fpowi(u32, u32),
    /// Integers of so many bits.
    Ipowi(u32),
    /// The remainder of floats of so many bits (32 or 64).
    Remf(u32),
}

impl Kind {
    fn name(self) -> String {
        match self {
            Kind::NarrowSigmoid => "narrow_sigmoid".to_owned(),
            Kind::FarAngle => "far_angle".to_owned(),
            Kind::Fpowi(float, int) => format!("fpowi_f{float}_i{int}"),
            Kind::Ipowi(bits) => format!("ipowi_i{bits}"),
            Kind::Remf(bits) => format!("remf_f{bits}"),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    fn signature<'ir>(self, e: Emit<'ir>) -> (Vec<Type<'ir>>, Type<'ir>) {
        let context = e.builder.context();
        let f32 = e.f32();
        let float = |bits: u32| match bits {
            64 => Type::parse(context, "f64").expect("a type"),
            _ => f32,
        };
        match self {
            Kind::FarAngle => (vec![f32], e.i64()),
            Kind::Powf => (vec![f32, f32], f32),
            Kind::Fpowi(bits, int) => (vec![float(bits), Type::int(context, int)], float(bits)),
            Kind::Remf(bits) => (vec![float(bits), float(bits)], float(bits)),
            Kind::Ipowi(bits) => {
                let int = Type::int(context, bits);
                (vec![int, int], int)
            }
            _ => (vec![f32], f32),
        }
    }
}

/// The functions of one `gpu.module`, made when they are first wanted.
pub(super) struct Functions<'ir> {
    top: Builder<'ir>,
    made: Vec<(Kind, String)>,
    taken: Vec<&'ir str>,
}

impl<'ir> Functions<'ir> {
    /// For a `gpu.module`. `top` is a place before its operations.
    pub(super) fn new(module: Op<'ir>, top: Builder<'ir>) -> Self {
        let symbol = |op: Op<'ir>| op.attr("sym_name").and_then(Attr::as_str);
        Functions {
            top,
            made: Vec::new(),
            taken: preorder(module).into_iter().filter_map(symbol).collect(),
        }
    }

    pub(super) fn context(&self) -> &'ir Context {
        self.top.context()
    }

    /// The name of the function of a kind.
    pub(super) fn get(&mut self, kind: Kind) -> String {
        if let Some((_, name)) = self.made.iter().find(|(made, _)| *made == kind) {
            return name.clone();
        }
        let mut name = format!("__alcop_{}", kind.name());
        while self.taken.contains(&name.as_str()) {
            name.push('_');
        }
        self.made.push((kind, name.clone()));
        self.define(kind, &name);
        name
    }

    fn define(&mut self, kind: Kind, name: &str) {
        let context = self.top.context();
        let top = Emit { builder: self.top };
        let (inputs, result) = kind.signature(top);
        let (region, block) = self.top.region(&inputs);
        let e = Emit {
            builder: Builder::at_end(context, block, self.top.location()),
        };
        let arguments: Vec<Value<'ir>> = block.arguments().collect();
        let x = arguments[0];
        let value = match kind {
            Kind::Exp => exponential::exp(e, x),
            Kind::Expm1 => exponential::expm1(e, x),
            Kind::Sigmoid => exponential::sigmoid(e, x),
            Kind::NarrowSigmoid => exponential::narrow_sigmoid(e, x),
            Kind::Log => logarithm::log(e, x),
            Kind::Log2 => logarithm::log2(e, x),
            Kind::Log10 => logarithm::log10(e, x),
            Kind::Log1p => logarithm::log1p(e, x),
            Kind::Sin => trigonometric::sin(e, self, x),
            Kind::Cos => trigonometric::cos(e, self, x),
            Kind::Tan => trigonometric::tan(e, self, x),
            Kind::FarAngle => trigonometric::far_angle(e, x),
            Kind::Tanh => hyperbolic::tanh(e, x),
            Kind::Sinh => hyperbolic::sinh(e, x),
            Kind::Cosh => hyperbolic::cosh(e, x),
            Kind::Erf => hyperbolic::erf(e, x),
            Kind::Cbrt => power::cbrt(e, x),
            Kind::Powf => power::powf(e, x, arguments[1]),
            Kind::Fpowi(..) => power::fpowi(e, x, arguments[1]),
            Kind::Ipowi(_) => power::ipowi(e, x, arguments[1]),
            Kind::Remf(_) => remainder::remf(e, x, arguments[1]),
        };
        e.builder.op("llvm.return").operands(&[value]).build();
        let parse = |text: &str| Attr::parse(context, text).expect("the llvm dialect is loaded");
        let inputs: Vec<String> = inputs.iter().map(ToString::to_string).collect();
        let ty = format!("!llvm.func<{result} ({})>", inputs.join(", "));
        let ty = Type::parse(context, &ty).expect("the llvm dialect is loaded");
        // What is cold stays out of line; so does what loops.
        let inlined = !matches!(kind, Kind::FarAngle | Kind::Fpowi(..) | Kind::Ipowi(_) | Kind::Remf(_));
        let memory = "#llvm.memory_effects<other = none, argMem = none, inaccessibleMem = none, errnoMem = none, \
                      targetMem0 = none, targetMem1 = none>";
        self.top
            .op("llvm.func")
            .attr("sym_name", Attr::string(context, name))
            .attr("function_type", Attr::ty(ty))
            .attr("linkage", parse("#llvm.linkage<internal>"))
            .attr("memory_effects", parse(memory))
            .attr("no_unwind", Attr::unit(context))
            .attr("will_return", Attr::unit(context))
            .attr(if inlined { "always_inline" } else { "no_inline" }, Attr::unit(context))
            .region(region)
            .build();
    }
}
