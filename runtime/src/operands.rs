//! Operands to run operators on: the same seed gives the same bytes on every machine.

use alcop_spec::kernel::{ArrayDType, Generated};
use alcop_spec::op::{DType, Matmul, OpSpec};
use alcop_system::memory::{self, OutOfMemory};
use half::{bf16, f16};

use crate::random::split_mix;

/// What the elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Filling {
    /// Whole numbers from −2 to 2: sums of up to 2²² products are exact in f32, so that a wrong element is wrong by a
    /// whole number.
    Integers,
    /// Between −1 and 1, which exercises rounding: multiples of 2⁻¹⁰, in bf16 the nearest that it has; in tf32 multiples of
    /// 2⁻²³, of which the tensor cores read the upper bits. Integers of 8 bits: all of them.
    Fractions,
}

/// A and B of a matmul as it says they are stored, little endian.
///
/// # Errors
/// There is not so much memory.
pub fn matmul_operands(op: &Matmul, filling: Filling, seed: u64) -> Result<[Vec<u8>; 2], OutOfMemory> {
    let operand = |name: &str, [rows, columns]: [u64; 2], seed| {
        let elements = memory::product([op.batch, rows, columns]);
        let what = format!("operand {name} of {}", OpSpec::Matmul(*op));
        fill(elements, op.dtype, filling, seed, &what)
    };
    // Whether there is room for both is known before either is made.
    let both = [op.a_shape(), op.b_shape()]
        .map(|[rows, columns]| memory::product([op.batch, rows, columns, op.dtype.bytes()]));
    drop(memory::reserve::<u8>(
        both[0].saturating_add(both[1]),
        &format!("A and B of {}", OpSpec::Matmul(*op)),
    )?);
    Ok([operand("A", op.a_shape(), seed)?, operand("B", op.b_shape(), !seed)?])
}

fn fill(elements: u128, dtype: DType, filling: Filling, seed: u64, what: &str) -> Result<Vec<u8>, OutOfMemory> {
    let mut state = seed;
    let mut bytes = memory::reserve(elements.saturating_mul(u128::from(dtype.bytes())), what)?;
    for _ in 0..elements as u64 {
        let bits = split_mix(&mut state) >> 40;
        let value = match (filling, dtype) {
            (Filling::Integers, _) => (bits % 5) as f32 - 2.0,
            (Filling::Fractions, DType::F16 | DType::Bf16) => (bits % 2047) as f32 / 1024.0 - 1023.0 / 1024.0,
            (Filling::Fractions, DType::F32 | DType::Tf32) => bits as f32 / 8_388_608.0 - 1.0,
            (Filling::Fractions, DType::I8 | DType::I32) => (bits % 256) as f32 - 128.0,
        };
        match dtype {
            DType::F16 => bytes.extend(f16::from_f32_const(value).to_le_bytes()),
            DType::Bf16 => bytes.extend(bf16::from_f32_const(value).to_le_bytes()),
            DType::F32 | DType::Tf32 => bytes.extend(value.to_le_bytes()),
            DType::I8 => bytes.extend((value as i8).to_le_bytes()),
            DType::I32 => bytes.extend((value as i32).to_le_bytes()),
        }
    }
    Ok(bytes)
}

/// Bytes that one generated array may have.
const GENERATED_LIMIT: usize = 1 << 32;

/// The array that a launch file describes by a seed, little endian. `scripts/gpu-pack/pack.py` makes the same bytes.
///
/// # Errors
/// A description that has no array: too many bytes, no values, a scale or numbers that the type does not have.
pub fn generate(wanted: &Generated) -> Result<Vec<u8>, String> {
    let Generated {
        dtype,
        ref shape,
        seed,
        low,
        values,
        scale,
    } = *wanted;
    let elements = shape.iter().try_fold(1usize, |all, extent| all.checked_mul(*extent));
    let length = elements
        .and_then(|n| n.checked_mul(dtype.bytes()))
        .filter(|bytes| *bytes < GENERATED_LIMIT)
        .ok_or_else(|| format!("an array of {shape:?} {dtype:?} is too large; {GENERATED_LIMIT} B is the limit"))?;
    if !(1..=1 << 24).contains(&values) {
        return Err(format!("{values} different numbers; take 1 to {}", 1 << 24));
    }
    let (least, most) = (i64::from(low), i64::from(low) + i64::from(values) - 1);
    let (floor, ceiling): (i64, i64) = match dtype {
        ArrayDType::F16 | ArrayDType::Bf16 | ArrayDType::F32 | ArrayDType::F64 => (-(1 << 24), 1 << 24),
        ArrayDType::I8 => (i8::MIN.into(), i8::MAX.into()),
        ArrayDType::I16 => (i16::MIN.into(), i16::MAX.into()),
        ArrayDType::I32 | ArrayDType::I64 => (i32::MIN.into(), i32::MAX.into()),
        ArrayDType::U8 => (0, u8::MAX.into()),
        ArrayDType::U16 => (0, u16::MAX.into()),
        ArrayDType::U32 | ArrayDType::U64 => (0, i32::MAX.into()),
    };
    if least < floor || most > ceiling {
        return Err(format!(
            "numbers from {least} to {most}; {dtype:?} takes {floor} to {ceiling} here"
        ));
    }
    let float = floor == -(1 << 24);
    if !(if float { -60..=0 } else { 0..=0 }).contains(&scale) {
        return Err(format!("a scale of {scale}; floats take -60 to 0, integers 0"));
    }
    let mut state = seed;
    let ring: Vec<u8> = (0..Generated::RING.min(elements.unwrap_or(0)))
        .flat_map(|_| {
            let number = least + ((split_mix(&mut state) >> 40) % u64::from(values)) as i64;
            // At most 24 bits: exact in f32.
            let scaled = number as f32 * (scale as f32).exp2();
            let bytes: Vec<u8> = match dtype {
                ArrayDType::F16 => f16::from_f32_const(scaled).to_le_bytes().to_vec(),
                ArrayDType::Bf16 => bf16::from_f32_const(scaled).to_le_bytes().to_vec(),
                ArrayDType::F32 => scaled.to_le_bytes().to_vec(),
                ArrayDType::F64 => f64::from(scaled).to_le_bytes().to_vec(),
                // In range, so that the upper bytes only repeat the sign.
                _ => number.to_le_bytes()[..dtype.bytes()].to_vec(),
            };
            bytes
        })
        .collect();
    let mut bytes = Vec::new();
    bytes
        .try_reserve_exact(length)
        .map_err(|error| format!("an array of {length} B: {error}"))?;
    bytes.extend(ring.iter().copied().cycle().take(length));
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use alcop_spec::op::Layout;

    use super::*;

    #[test]
    fn fillings_have_their_ranges_and_the_operands_their_sizes() {
        let op = Matmul {
            m: 24,
            n: 40,
            k: 100,
            batch: 2,
            dtype: DType::F16,
            out_dtype: DType::F32,
            layout: Layout::Tn,
        };
        for (filling, step, most) in [(Filling::Integers, 1.0, 2.0), (Filling::Fractions, 1.0 / 1024.0, 1.0)] {
            let [a, b] = matmul_operands(&op, filling, 7).expect("memory");
            assert_eq!((a.len(), b.len()), (2 * 24 * 100 * 2, 2 * 40 * 100 * 2));
            assert_ne!(a[..100], b[..100]);
            assert_eq!(Ok([a.clone(), b]), matmul_operands(&op, filling, 7));
            let values: Vec<f32> = a
                .chunks_exact(2)
                .map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32_const())
                .collect();
            assert!(
                values
                    .iter()
                    .all(|value| value.abs() <= most && (value / step).fract() == 0.0)
            );
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            assert!(mean.abs() < most / 10.0, "{mean}");
        }
    }

    #[test]
    fn arrays_from_a_seed_have_their_numbers_and_repeat_after_the_ring() {
        let wanted = |dtype, shape: &[usize], low, values, scale| Generated {
            dtype,
            shape: shape.to_vec(),
            seed: 5,
            low,
            values,
            scale,
        };
        let bytes = generate(&wanted(ArrayDType::I8, &[2, 40_000], -2, 5, 0)).expect("an array");
        assert_eq!(bytes.len(), 80_000);
        assert_eq!(bytes[..80_000 - Generated::RING], bytes[Generated::RING..]);
        assert_ne!(bytes[..40_000], bytes[40_000..]);
        for number in -2..3i8 {
            assert!(bytes.contains(&(number as u8)), "{number}");
        }
        assert!(bytes.iter().all(|&byte| (-2..3).contains(&(byte as i8))));
        let singles = generate(&wanted(ArrayDType::F32, &[1000], -8_388_607, 16_777_215, -23)).expect("an array");
        let singles: Vec<f32> = singles
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        assert!(singles.iter().all(|value| value.abs() < 1.0) && singles.iter().any(|value| value.abs() > 0.99));
        // Computed by `struct.pack` of Python from the stream's definition.
        assert_eq!(
            generate(&wanted(ArrayDType::F16, &[4], -1023, 2047, -10)).expect("an array"),
            FIRST_HALVES
        );

        for (refused, why) in [
            (wanted(ArrayDType::I8, &[4], 100, 100, 0), "100 to 199"),
            (wanted(ArrayDType::F16, &[4], 0, 0, 0), "0 different numbers"),
            (wanted(ArrayDType::I32, &[4], 0, 1, -1), "a scale of -1"),
            (wanted(ArrayDType::F32, &[4], 0, 1, 1), "a scale of 1"),
            (wanted(ArrayDType::F32, &[usize::MAX, 2], 0, 1, 0), "too large"),
            (wanted(ArrayDType::F32, &[1 << 40], 0, 1, 0), "too large"),
        ] {
            assert!(generate(&refused).is_err_and(|message| message.contains(why)), "{why}");
        }
    }

    /// Of seed 5: see the test above.
    const FIRST_HALVES: [u8; 8] = [58, 59, 142, 58, 228, 182, 6, 185];

    #[test]
    fn every_type_has_its_own_fractions() {
        let bytes = |dtype| fill(4096, dtype, Filling::Fractions, 3, "x").expect("memory");
        let singles: Vec<f32> = bytes(DType::Tf32)
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        assert!(singles.iter().all(|value| value.abs() <= 1.0));
        // The tensor cores read 10 of the 23 bits: nearly all of these are cut.
        assert!(singles.iter().filter(|value| value.to_bits() & 0x1fff != 0).count() > 3000);
        let whole = bytes(DType::I8);
        assert!((0..=255).all(|byte| whole.contains(&byte)));
        let brain: Vec<f32> = bytes(DType::Bf16)
            .chunks_exact(2)
            .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32_const())
            .collect();
        assert!(brain.iter().all(|value| value.abs() <= 1.0) && brain.iter().any(|value| value.abs() > 0.9));
    }
}
