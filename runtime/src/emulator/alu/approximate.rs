//! `.approx` results at the edge of what the PTX ISA allows.
//!
//! ```text
//! ex2.approx.f32 of 0.5      nearest 1.4142135, low 1.4142133, high 1.4142138    (2 floats from the rounded result)
//! sin.approx.f32 of 1.0      nearest 0.84147, low 0.84147 − 2^-20.5, high 0.84147 + 2^-20.5
//! ```
//! A device returns some value between the two edges. What a kernel computes at both edges tells how far its result can
//! be off on a device, as far as an error of one operation reaches the result monotonically.

use half::{bf16, f16};

use super::super::lane::{Float, Lane, Lanes, WarpFn, canonical};
use super::without;

/// Where in its bound of the ISA the result of an `.approx` instruction lies. Exact for all: results for zeros,
/// infinities and not-a-numbers, which the ISA lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Approximation {
    /// The correctly rounded value.
    #[default]
    Nearest,
    /// As far towards zero, or down, as the bound allows.
    Low,
    /// As far from zero, or up, as the bound allows.
    High,
}

impl Approximation {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Approximation::Nearest => "nearest",
            Approximation::Low => "low",
            Approximation::High => "high",
        }
    }
}

impl std::str::FromStr for Approximation {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        [Approximation::Nearest, Approximation::Low, Approximation::High]
            .into_iter()
            .find(|one| one.name() == name)
            .ok_or_else(|| format!("unknown approximation {name:?}; known: nearest, low, high"))
    }
}

/// What the ISA promises of a result.
#[derive(Clone, Copy)]
enum Bound {
    /// The given number of floats from the correctly rounded result ("ulp error").
    Floats(u64),
    /// Relative to the exact result.
    Relative(f64),
    /// Absolute.
    Absolute(f64),
}

/// Bound of `sin` and `cos`: 2^-20.5 in [−2π, 2π], 2^-14.7 in [−100π, 100π] (PTX ISA 9.0, 9.7.3.19 and 9.7.3.20). Beyond,
/// the ISA promises nothing; the second is used there too.
fn of_angle(angle: f64) -> Bound {
    match angle.abs() <= 2.0 * std::f64::consts::PI {
        true => Bound::Absolute((-20.5f64).exp2()),
        false => Bound::Absolute((-14.7f64).exp2()),
    }
}

/// Bound of `lg2`: 2^-22, absolute in (0.5, 2), relative elsewhere (PTX ISA 9.0, 9.7.3.21).
fn of_logarithm(operand: f64) -> Bound {
    match operand > 0.5 && operand < 2.0 {
        true => Bound::Absolute((-22f64).exp2()),
        false => Bound::Relative((-22f64).exp2()),
    }
}

/// The function of an approximate instruction at an edge of its bound; `None` for all others.
pub(crate) fn displaced(parts: &[&str], approximation: Approximation) -> Option<WarpFn> {
    let high = match approximation {
        Approximation::Nearest => return None,
        Approximation::Low => false,
        Approximation::High => true,
    };
    macro_rules! at_edge {
        ($t:ty, $shifts:expr, |$a:ident, $b:ident| $exact:expr, $bound:expr) => {{
            fn run<const HIGH: bool>(s: &[Lanes; 4], out: &mut Lanes) {
                for i in 0..32 {
                    out[i] = 0;
                    for shift in $shifts {
                        let wide = |source: usize| <$t as Lane>::of(s[source][i] >> shift).wide();
                        #[allow(unused_variables)]
                        let ($a, $b) = (wide(0), wide(1));
                        let exact: f64 = $exact;
                        let bits = match $a == 0.0 || !$a.is_finite() || !exact.is_finite() {
                            true => canonical(<$t as Float>::narrow(exact)),
                            false => moved::<$t>(exact, $bound, HIGH),
                        };
                        out[i] |= bits << shift;
                    }
                }
            }
            Some(if high {
                run::<true> as WarpFn
            } else {
                run::<false> as WarpFn
            })
        }};
    }
    let (base, modifiers, ty) = match parts {
        [base, modifiers @ .., ty] => (*base, modifiers, *ty),
        _ => return None,
    };
    let (rest, _) = without(modifiers, ["ftz"]);
    match (base, &rest[..], ty) {
        ("ex2", ["approx"], "f32") => at_edge!(f32, [0], |a, b| a.exp2(), Bound::Floats(2)),
        ("ex2", ["approx"], "f16") => at_edge!(f16, [0], |a, b| a.exp2(), Bound::Relative((-9.9f64).exp2())),
        ("ex2", ["approx"], "f16x2") => at_edge!(f16, [0, 16], |a, b| a.exp2(), Bound::Relative((-9.9f64).exp2())),
        ("ex2", ["approx"], "bf16") => at_edge!(bf16, [0], |a, b| a.exp2(), Bound::Relative((-7f64).exp2())),
        ("ex2", ["approx"], "bf16x2") => at_edge!(bf16, [0, 16], |a, b| a.exp2(), Bound::Relative((-7f64).exp2())),
        ("rcp", ["approx"], "f32") => at_edge!(f32, [0], |a, b| 1.0 / a, Bound::Floats(1)),
        ("div", ["approx" | "full"], "f32") => at_edge!(f32, [0], |a, b| a / b, Bound::Floats(2)),
        ("sqrt", ["approx"], "f32") => at_edge!(f32, [0], |a, b| a.sqrt(), Bound::Relative((-23f64).exp2())),
        ("rsqrt", ["approx"], "f32") => at_edge!(f32, [0], |a, b| 1.0 / a.sqrt(), Bound::Relative((-22.9f64).exp2())),
        ("lg2", ["approx"], "f32") => at_edge!(f32, [0], |a, b| a.log2(), of_logarithm(a)),
        ("sin", ["approx"], "f32") => at_edge!(f32, [0], |a, b| a.sin(), of_angle(a)),
        ("cos", ["approx"], "f32") => at_edge!(f32, [0], |a, b| a.cos(), of_angle(a)),
        ("tanh", ["approx"], "f32") => at_edge!(f32, [0], |a, b| a.tanh(), of_tangent(a)),
        ("tanh", ["approx"], "f16") => at_edge!(f16, [0], |a, b| a.tanh(), Bound::Absolute((-10.987f64).exp2())),
        ("tanh", ["approx"], "f16x2") => at_edge!(f16, [0, 16], |a, b| a.tanh(), Bound::Absolute((-10.987f64).exp2())),
        ("tanh", ["approx"], "bf16") => at_edge!(bf16, [0], |a, b| a.tanh(), Bound::Absolute((-8f64).exp2())),
        ("tanh", ["approx"], "bf16x2") => at_edge!(bf16, [0, 16], |a, b| a.tanh(), Bound::Absolute((-8f64).exp2())),
        _ => None,
    }
}

/// Bound of `tanh.f32`: 2^-11, relative; subnormal operands are passed through (PTX ISA 9.0, 9.7.3.23).
fn of_tangent(operand: f64) -> Bound {
    match operand.abs() < f64::from(f32::MIN_POSITIVE) {
        true => Bound::Floats(0),
        false => Bound::Relative((-11f64).exp2()),
    }
}

/// The float at the edge of a bound around an exact result that is finite.
fn moved<T: Float>(exact: f64, bound: Bound, high: bool) -> u64 {
    let away = match bound {
        Bound::Floats(count) => {
            let rounded = canonical(T::narrow(exact));
            return (0..count).fold(rounded, |bits, _| next::<T>(bits, high == (exact > 0.0)));
        }
        Bound::Relative(part) => exact.abs() * part,
        Bound::Absolute(distance) => distance,
    };
    let edge = if high { exact + away } else { exact - away };
    let bits = canonical(T::narrow(edge));
    let outside = (T::of(bits).wide() - exact).abs() > away;
    if !outside {
        return bits;
    }
    // Rounding left the bound: the neighbour towards the exact result lies in it, or nothing does.
    let inside = next::<T>(bits, high != (T::of(bits).wide() > 0.0));
    match (T::of(inside).wide() - exact).abs() <= away {
        true => inside,
        false => canonical(T::narrow(exact)),
    }
}

/// The neighbour of a float, away from zero or towards it. Zero and infinity are the ends.
fn next<T: Float>(bits: u64, away: bool) -> u64 {
    let value = T::of(bits).wide();
    match away {
        true if value.is_infinite() => bits,
        true => bits + 1,
        false if value == 0.0 => bits,
        false => bits - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::super::alu;
    use super::*;

    fn run(opcode: &str, approximation: Approximation, operand: u64) -> u64 {
        let parts: Vec<&str> = opcode.split('.').collect();
        let function = displaced(&parts, approximation).unwrap_or_else(|| alu(&parts).expect("known").function);
        let mut out = [0; 32];
        function(&[[operand; 32], [0; 32], [0; 32], [0; 32]], &mut out);
        out[31]
    }

    fn edges(opcode: &str, operand: f32) -> [f32; 3] {
        [Approximation::Low, Approximation::Nearest, Approximation::High]
            .map(|one| f32::from_bits(run(opcode, one, u64::from(operand.to_bits())) as u32))
    }

    #[test]
    fn edges_lie_at_the_bound_on_both_sides() {
        let steps = |one: f32, other: f32| i64::from(one.to_bits()) - i64::from(other.to_bits());
        for operand in [0.3f32, 1.0, -7.25, 100.5] {
            let [low, nearest, high] = edges("ex2.approx.f32", operand);
            assert_eq!([steps(high, nearest), steps(nearest, low)], [2, 2], "ex2 {operand}");
            let [low, nearest, high] = edges("ex2.approx.ftz.f32", operand);
            assert_eq!([steps(high, nearest), steps(nearest, low)], [2, 2], "ex2.ftz {operand}");
            let [low, nearest, high] = edges("rcp.approx.f32", operand);
            assert!(low < nearest && nearest < high, "rcp {operand}");
            assert_eq!(steps(high, low).abs(), 2, "rcp {operand}");
        }
        for (opcode, operand, exact, bound) in [
            ("sin.approx.f32", 1.5f32, 1.5f64.sin(), (-20.5f64).exp2()),
            ("cos.approx.f32", 3.0, 3f64.cos(), (-20.5f64).exp2()),
            ("sin.approx.f32", 200.0, 200f64.sin(), (-14.7f64).exp2()),
            ("lg2.approx.f32", 1.0, 0.0, (-22f64).exp2()),
            (
                "lg2.approx.f32",
                1000.0,
                1000f64.log2(),
                1000f64.log2() * (-22f64).exp2(),
            ),
            (
                "rsqrt.approx.f32",
                3.0,
                1.0 / 3f64.sqrt(),
                (-22.9f64).exp2() / 3f64.sqrt(),
            ),
            ("sqrt.approx.f32", 3.0, 3f64.sqrt(), 3f64.sqrt() * (-23f64).exp2()),
            (
                "tanh.approx.f32",
                -0.5,
                (-0.5f64).tanh(),
                0.5f64.tanh() * (-11f64).exp2(),
            ),
        ] {
            let [low, _, high] = edges(opcode, operand);
            for edge in [low, high].map(f64::from) {
                let part = (edge - exact).abs() / bound;
                assert!((0.25..=1.0).contains(&part), "{opcode} {operand}: {part} of the bound");
            }
            assert!(f64::from(low) < exact && exact < f64::from(high), "{opcode} {operand}");
        }
    }

    #[test]
    fn listed_results_stay_where_they_are() {
        for approximation in [Approximation::Low, Approximation::High] {
            let one = |opcode: &str, operand: f32| {
                f32::from_bits(run(opcode, approximation, u64::from(operand.to_bits())) as u32)
            };
            assert_eq!(one("ex2.approx.f32", 0.0), 1.0);
            assert_eq!(one("ex2.approx.f32", f32::NEG_INFINITY), 0.0);
            assert_eq!(one("ex2.approx.f32", f32::INFINITY), f32::INFINITY);
            assert_eq!(one("lg2.approx.f32", 0.0), f32::NEG_INFINITY);
            assert!(one("lg2.approx.f32", -1.0).is_nan());
            assert_eq!(one("rcp.approx.f32", -0.0), f32::NEG_INFINITY);
            assert_eq!(one("cos.approx.f32", -0.0), 1.0);
            assert_eq!(one("tanh.approx.f32", 1e-40), 1e-40);
            assert_eq!(run("fma.rn.f32", approximation, 0), 0);
        }
        assert_eq!("high".parse(), Ok(Approximation::High));
        assert!("far".parse::<Approximation>().is_err());
    }
}
