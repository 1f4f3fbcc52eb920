//! Index expressions: their value for one thread, and what always divides them.

use crate::ir::{Def, Value, constant_index};

/// The value of an index expression for a thread; `None` if it depends on anything but the thread and constants.
pub fn for_thread(value: Value<'_>, thread: [i64; 3]) -> Option<i64> {
    if let Some(constant) = constant_index(value) {
        return Some(constant);
    }
    let op = value.def_op()?;
    let operand = |number: usize| for_thread(op.operand(number), thread);
    Some(match op.name() {
        "gpu.thread_id" => thread[axis(value)?],
        "arith.addi" => operand(0)?.checked_add(operand(1)?)?,
        "arith.subi" => operand(0)?.checked_sub(operand(1)?)?,
        "arith.muli" => operand(0)?.checked_mul(operand(1)?)?,
        "arith.divui" | "arith.divsi" | "arith.remui" | "arith.remsi" => {
            let (a, b) = (operand(0)?, operand(1)?);
            if a < 0 || b <= 0 {
                return None;
            }
            if op.name().starts_with("arith.div") {
                a / b
            } else {
                a % b
            }
        }
        "arith.andi" => operand(0)? & operand(1)?,
        "arith.ori" => operand(0)? | operand(1)?,
        "arith.xori" => operand(0)? ^ operand(1)?,
        "arith.shli" => operand(0)?.checked_shl(u32::try_from(operand(1)?).ok()?)?,
        "arith.shrui" => {
            let a = operand(0)?;
            if a < 0 {
                return None;
            }
            a.checked_shr(u32::try_from(operand(1)?).ok()?)?
        }
        "arith.index_cast" | "arith.index_castui" => operand(0)?,
        _ => return None,
    })
}

fn axis(value: Value<'_>) -> Option<usize> {
    let text = value.def_op()?.attr("dimension")?.to_string();
    ["#gpu<dim x>", "#gpu<dim y>", "#gpu<dim z>"]
        .iter()
        .position(|name| *name == text)
}

/// A number that divides the value whatever the thread, the block and the iteration. 0 stands for "everything": the
/// value is 0.
pub fn divisor(value: Value<'_>) -> u64 {
    if let Some(constant) = constant_index(value) {
        return constant.unsigned_abs();
    }
    match value.def() {
        Def::Argument(block, 0) => match block.parent().filter(|op| op.is("scf.for")) {
            Some(op) => gcd(divisor(op.operand(0)), divisor(op.operand(2))),
            None => 1,
        },
        Def::Argument(..) => 1,
        Def::Result(op, _) => {
            let operand = |number: usize| divisor(op.operand(number));
            match op.name() {
                "arith.addi" | "arith.subi" => gcd(operand(0), operand(1)),
                "arith.muli" => operand(0).saturating_mul(operand(1)),
                // The bits below a common power of two stay zero.
                "arith.xori" | "arith.ori" => power_of_two(gcd(operand(0), operand(1))),
                "arith.andi" => power_of_two(operand(0)).max(power_of_two(operand(1))),
                "arith.remui" | "arith.remsi" => gcd(operand(0), operand(1)),
                "arith.shli" => match constant_index(op.operand(1)) {
                    Some(bits @ 0..=62) => operand(0).saturating_mul(1 << bits),
                    _ => 1,
                },
                "arith.index_cast" | "arith.index_castui" => operand(0),
                _ => 1,
            }
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn power_of_two(n: u64) -> u64 {
    if n == 0 { 0 } else { 1 << n.trailing_zeros() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divisors_of_sums() {
        assert_eq!(gcd(0, 8), 8);
        assert_eq!(gcd(32, 24), 8);
        assert_eq!(power_of_two(24), 8);
        assert_eq!(power_of_two(0), 0);
    }
}
