//! Arithmetic that takes few instructions on any x86-64.

/// The larger of two numbers, neither of them NaN; `f64::max` spends five more instructions on NaN.
#[inline(always)]
pub(super) fn max(a: f64, b: f64) -> f64 {
    if a > b { a } else { b }
}

/// The smaller of two numbers, see [`max`].
#[inline(always)]
pub(super) fn min(a: f64, b: f64) -> f64 {
    if a < b { a } else { b }
}

/// Of numbers of 32 bits in less time.
#[inline]
pub(super) fn div_ceil(a: u64, b: u32) -> u64 {
    let (quotient, rest) = divide(a, b);
    quotient + u64::from(rest > 0)
}

/// Quotient and remainder; of numbers of 32 bits in less time.
#[inline]
pub(super) fn divide(a: u64, b: u32) -> (u64, u32) {
    match u32::try_from(a) {
        Ok(a) => (u64::from(a / b), a % b),
        Err(_) => (a / u64::from(b), (a % u64::from(b)) as u32),
    }
}

/// Two numbers that go the same way, in one instruction each step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair(pub(super) [f64; 2]);

impl Pair {
    pub(super) fn first(self) -> f64 {
        self.0[0]
    }

    #[inline(always)]
    pub(super) fn zip(self, other: Pair, of: impl Fn(f64, f64) -> f64) -> Pair {
        Pair([of(self.0[0], other.0[0]), of(self.0[1], other.0[1])])
    }

    #[inline(always)]
    pub(super) fn max_of(self, other: Pair) -> Pair {
        self.zip(other, max)
    }

    #[inline(always)]
    pub(super) fn max(self, other: f64) -> Pair {
        self.max_of(Pair([other; 2]))
    }

    #[inline(always)]
    pub(super) fn min(self, other: f64) -> Pair {
        self.zip(Pair([other; 2]), min)
    }

    #[inline(always)]
    pub(super) fn sqrt(self) -> Pair {
        Pair(self.0.map(f64::sqrt))
    }

    /// Of numbers from 0 to 2⁵¹, without a branch; without SSE 4.1, which x86-64 need not have, `f64::ceil` is a call.
    #[inline(always)]
    pub(super) fn ceil(self) -> Pair {
        // From here on doubles are whole numbers.
        const WHOLE: f64 = (1_u64 << 52) as f64;
        let nearest = self + WHOLE + -WHOLE;
        nearest + nearest.zip(self, |nearest, number| if nearest < number { 1.0 } else { 0.0 })
    }
}

macro_rules! pairwise {
    ($($operation:ident $function:ident),*) => {$(
        impl std::ops::$operation for Pair {
            type Output = Pair;

            #[inline(always)]
            fn $function(self, other: Pair) -> Pair {
                self.zip(other, std::ops::$operation::$function)
            }
        }

        impl std::ops::$operation<f64> for Pair {
            type Output = Pair;

            #[inline(always)]
            fn $function(self, other: f64) -> Pair {
                std::ops::$operation::$function(self, Pair([other; 2]))
            }
        }
    )*};
}
pairwise!(Add add, Mul mul, Div div);
