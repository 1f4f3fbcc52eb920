//! Comparisons of `setp` and `set` (PTX ISA 9.0, 9.7.5 and 9.7.6).

use half::{bf16, f16};

use super::super::lane::{Float, Lanes, WarpFn};

/// A comparison: lanes of 0 or 1. For packed types, see [`packed_comparison`].
pub(crate) fn comparison(operator: &str, ty: &str) -> Option<WarpFn> {
    if matches!(ty, "f16" | "bf16" | "f32" | "f64") {
        return float_comparison(operator, ty);
    }
    // `lo`, `ls`, `hi`, `hs` are unsigned by name; bit types only know equality (PTX ISA 9.0, 9.7.5.1).
    let unsigned = ty.starts_with('u');
    let bits = ty.starts_with('b');
    match operator {
        "eq" => ints!(ty, |a, b, c| u8::from(a == b)),
        "ne" => ints!(ty, |a, b, c| u8::from(a != b)),
        _ if bits => None,
        "lt" => ints!(ty, |a, b, c| u8::from(a < b)),
        "le" => ints!(ty, |a, b, c| u8::from(a <= b)),
        "gt" => ints!(ty, |a, b, c| u8::from(a > b)),
        "ge" => ints!(ty, |a, b, c| u8::from(a >= b)),
        "lo" if unsigned => ints!(ty, |a, b, c| u8::from(a < b)),
        "ls" if unsigned => ints!(ty, |a, b, c| u8::from(a <= b)),
        "hi" if unsigned => ints!(ty, |a, b, c| u8::from(a > b)),
        "hs" if unsigned => ints!(ty, |a, b, c| u8::from(a >= b)),
        _ => None,
    }
}

macro_rules! operators {
    ($operator:expr, $compare:ident) => {
        Some(match $operator {
            "eq" => $compare!(|a, b| a == b),
            // Ordered: false with a not-a-number, unlike Rust's `!=`.
            "ne" => $compare!(|a, b| a != b && !a.is_nan() && !b.is_nan()),
            "lt" => $compare!(|a, b| a < b),
            "le" => $compare!(|a, b| a <= b),
            "gt" => $compare!(|a, b| a > b),
            "ge" => $compare!(|a, b| a >= b),
            "equ" => $compare!(|a, b| a == b || a.is_nan() || b.is_nan()),
            "neu" => $compare!(|a, b| a != b),
            "ltu" => $compare!(|a, b| a < b || a.is_nan() || b.is_nan()),
            "leu" => $compare!(|a, b| a <= b || a.is_nan() || b.is_nan()),
            "gtu" => $compare!(|a, b| a > b || a.is_nan() || b.is_nan()),
            "geu" => $compare!(|a, b| a >= b || a.is_nan() || b.is_nan()),
            "num" => $compare!(|a, b| !a.is_nan() && !b.is_nan()),
            "nan" => $compare!(|a, b| a.is_nan() || b.is_nan()),
            _ => return None,
        })
    };
}

fn float_comparison(operator: &str, ty: &str) -> Option<WarpFn> {
    macro_rules! compare {
        (|$a:ident, $b:ident| $e:expr) => {{
            fn run<T: Float>(s: &[Lanes; 4], out: &mut Lanes) {
                for i in 0..32 {
                    let ($a, $b) = (T::of(s[0][i]).wide(), T::of(s[1][i]).wide());
                    out[i] = u64::from($e);
                }
            }
            match ty {
                "f16" => run::<f16> as WarpFn,
                "bf16" => run::<bf16> as WarpFn,
                "f32" => run::<f32> as WarpFn,
                _ => run::<f64> as WarpFn,
            }
        }};
    }
    operators!(operator, compare)
}

/// A comparison of f16x2 or bf16x2: bit 0 for the low halves, bit 1 for the high ones.
pub(crate) fn packed_comparison(operator: &str, ty: &str) -> Option<WarpFn> {
    macro_rules! compare {
        (|$a:ident, $b:ident| $e:expr) => {{
            fn run<T: Float>(s: &[Lanes; 4], out: &mut Lanes) {
                for i in 0..32 {
                    let half = |shift: u32| {
                        let ($a, $b) = (T::of(s[0][i] >> shift).wide(), T::of(s[1][i] >> shift).wide());
                        u64::from($e)
                    };
                    out[i] = half(0) | (half(16) << 1);
                }
            }
            match ty {
                "f16x2" => run::<f16> as WarpFn,
                "bf16x2" => run::<bf16> as WarpFn,
                _ => return None,
            }
        }};
    }
    operators!(operator, compare)
}
