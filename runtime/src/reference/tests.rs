use super::*;
use alcop_spec::op::Layout;

fn halves(count: u64, mut seed: u64, value: impl Fn(u64) -> f32) -> Vec<u8> {
    (0..count)
        .flat_map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            f16::from_f32_const(value(seed >> 33)).to_le_bytes()
        })
        .collect()
}

fn operator(layout: Layout, out_dtype: DType) -> Matmul {
    Matmul {
        m: 37,
        n: 22,
        k: 50,
        batch: 2,
        dtype: DType::F16,
        out_dtype,
        layout,
    }
}

fn naive(op: &Matmul, a: &[u8], b: &[u8]) -> Vec<f32> {
    let (a, b) = (
        widen(a, DType::F16).expect("memory"),
        widen(b, DType::F16).expect("memory"),
    );
    let mut c = Vec::new();
    for batch in 0..op.batch {
        for i in 0..op.m {
            for j in 0..op.n {
                let mut sum = 0f32;
                for l in 0..op.k {
                    let x = if op.layout.a_transposed() {
                        l * op.m + i
                    } else {
                        i * op.k + l
                    };
                    let y = if op.layout.b_transposed() {
                        j * op.k + l
                    } else {
                        l * op.n + j
                    };
                    sum += a[(batch * op.m * op.k + x) as usize] * b[(batch * op.k * op.n + y) as usize];
                }
                c.push(sum);
            }
        }
    }
    c
}

#[test]
fn every_layout_matches_a_plain_sum_and_a_fault_is_found() {
    for layout in Layout::ALL {
        let op = operator(layout, DType::F32);
        let uniform = |bits: u64| (bits % 2001) as f32 / 1000.0 - 1.0;
        let (a, b) = (halves(2 * 37 * 50, 1, uniform), halves(2 * 50 * 22, 2, uniform));
        let mut c: Vec<u8> = naive(&op, &a, &b).iter().flat_map(|v| v.to_le_bytes()).collect();
        let good = compare_matmul(&op, &a, &b, &c, None, Tolerance::Bound).expect("sizes fit");
        assert!(
            good.matches() && good.elements == 2 * 37 * 22 && good.max_share < 1.0,
            "{layout}: {good:?}"
        );
        let at = ((37 + 20) * 22 + 7) * 4;
        c[at + 2] ^= 0x40;
        let bad = compare_matmul(&op, &a, &b, &c, None, Tolerance::Bound).expect("sizes fit");
        assert_eq!(bad.mismatches, 1);
        assert!(
            bad.first_mismatch
                .is_some_and(|m| (m.batch, m.row, m.column) == (1, 20, 7)),
            "{bad:?}"
        );
        let elsewhere = [Region {
            batch: 0,
            row: 16,
            rows: 16,
            column: 0,
            columns: 22,
        }];
        let part = compare_matmul(&op, &a, &b, &c, Some(&elsewhere), Tolerance::Bound).expect("sizes fit");
        assert!(part.matches() && part.elements == 16 * 22);
    }
}

#[test]
fn small_integers_must_match_bit_for_bit() {
    let op = operator(Layout::Nt, DType::F16);
    let integer = |bits: u64| (bits % 5) as f32 - 2.0;
    let (a, b) = (halves(2 * 37 * 50, 3, integer), halves(2 * 50 * 22, 4, integer));
    let mut c: Vec<u8> = naive(&op, &a, &b)
        .iter()
        .flat_map(|v| f16::from_f32_const(*v).to_le_bytes())
        .collect();
    assert!(
        compare_matmul(&op, &a, &b, &c, None, Tolerance::Exact)
            .expect("sizes fit")
            .matches()
    );
    c[100] ^= 1;
    assert!(
        !compare_matmul(&op, &a, &b, &c, None, Tolerance::Exact)
            .expect("sizes fit")
            .matches()
    );
}

#[test]
fn overflow_and_missing_elements() {
    assert!(acceptable(
        f64::INFINITY,
        70000.0,
        1.0,
        35.0,
        DType::F16,
        Tolerance::Bound
    ));
    assert!(!acceptable(
        f64::NEG_INFINITY,
        70000.0,
        1.0,
        35.0,
        DType::F16,
        Tolerance::Bound
    ));
    assert!(!acceptable(65504.0, 70000.0, 1.0, 35.0, DType::F16, Tolerance::Bound));
    assert!(!acceptable(
        f64::INFINITY,
        60000.0,
        1.0,
        35.0,
        DType::F16,
        Tolerance::Bound
    ));
    assert!(!acceptable(f64::NAN, 1.0, 1.0, 1.0, DType::F16, Tolerance::Bound));
    let op = operator(Layout::Nn, DType::F32);
    let error = compare_matmul(&op, &[0; 4], &[], &[], None, Tolerance::Bound).expect_err("too small");
    let ReferenceError::Size(error) = error else {
        panic!("{error}")
    };
    assert_eq!((error.name, error.expected), ("A", 2 * 37 * 50 * 2));
}

/// C of one element, from one product of two operands given as bytes.
fn one_product(dtype: DType, a: &[u8], b: &[u8], c: &[u8], tolerance: Tolerance) -> Comparison {
    let op = Matmul {
        m: 1,
        n: 1,
        k: 1,
        batch: 1,
        dtype,
        out_dtype: dtype.accumulator(),
        layout: Layout::Nn,
    };
    compare_matmul(&op, a, b, c, None, tolerance).expect("sizes fit")
}

#[test]
fn tf32_operands_may_lose_thirteen_bits_and_no_more() {
    let (a, b) = (1.0f32 + 2f32.powi(-10) - 2f32.powi(-23), 1.0f32);
    let compare = |c: f32| {
        let bytes = [a, b, c].map(f32::to_le_bytes);
        one_product(DType::Tf32, &bytes[0], &bytes[1], &bytes[2], Tolerance::Bound).matches()
    };
    assert!(compare(1.0) && compare(a));
    assert!(!compare(1.0 - 2f32.powi(-9)));
    // Binary32 products may not.
    let bytes = [a, b, 1.0].map(f32::to_le_bytes);
    assert!(!one_product(DType::F32, &bytes[0], &bytes[1], &bytes[2], Tolerance::Bound).matches());
}

#[test]
fn integers_are_exact_under_either_tolerance_and_stop_at_the_ends() {
    for tolerance in [Tolerance::Bound, Tolerance::Exact] {
        let compare = |c: i32| one_product(DType::I8, &[0x80], &[0x7f], &c.to_le_bytes(), tolerance).matches();
        assert!(compare(-128 * 127));
        assert!(!compare(-128 * 127 + 1) && !compare(128 * 127));
    }
    let (most, exact) = (f64::from(i32::MAX), Tolerance::Exact);
    assert!(acceptable(most, most + 5.0, 0.0, 0.0, DType::I32, exact));
    assert!(!acceptable(most - 1.0, most + 5.0, 0.0, 0.0, DType::I32, exact));
}

#[test]
fn bf16_results_are_rounded_to_eight_bits() {
    let rounded =
        |got: f32, expected: f64| acceptable(f64::from(got), expected, 0.0, 0.0, DType::Bf16, Tolerance::Exact);
    assert!(rounded(256.0, 257.0) && rounded(260.0, 259.0));
    assert!(!rounded(257.0, 257.0) && !rounded(258.0, 257.0));
    assert_eq!(element(&bf16::from_f32(-3.5).to_le_bytes(), DType::Bf16, 0), -3.5);
    assert!(half_unit(1.0, DType::Bf16) == 2f64.powi(-8) && overflow(DType::Bf16) > 3.39e38);
}
