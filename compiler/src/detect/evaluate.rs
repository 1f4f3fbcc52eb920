//! Index expressions: their value for one thread, and what always divides them.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use super::affine;
use crate::ir::{AffineExpr, Attr, Def, Op, Value, constant_index};

/// Threads of a warp on every NVIDIA GPU (PTX ISA, "SIMT: Warp").
const WARP: i64 = 32;

/// What an index expression may know of its thread.
#[derive(Clone, Copy, Debug)]
pub struct Ids<'ir> {
    /// Threads of the block in x, y, z.
    pub block: [u32; 3],
    /// Arguments of a `gpu.launch` that are the thread's position, and the block's size.
    pub arguments: Option<([Value<'ir>; 3], [Value<'ir>; 3])>,
}

/// Index expressions as a list of steps, operands first, to be run for each thread.
pub struct Program {
    steps: Vec<Step>,
    results: Vec<usize>,
}

struct Step {
    action: Action,
    operands: Vec<usize>,
    bits: u32,
}

#[derive(Clone)]
enum Action {
    Constant(i64),
    Thread(usize),
    Lane,
    Subgroup,
    Variable(usize),
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    And,
    Or,
    Xor,
    Shl,
    Shr,
    Min,
    Max,
    Compare(i64),
    Select,
    Copy,
    CopyUnsigned,
    /// The least of these.
    Least(Rc<[AffineExpr]>),
    /// The largest of these.
    Largest(Rc<[AffineExpr]>),
}

impl Program {
    /// The program of some values, in terms of the thread, the block's size and the variables. The error is the
    /// operation that is not a function of those (`None`: an argument of a block).
    pub fn new<'ir>(
        values: &[Value<'ir>],
        variables: &[Value<'ir>],
        ids: &Ids<'ir>,
    ) -> Result<Program, Option<Op<'ir>>> {
        let mut steps: Vec<Step> = Vec::new();
        let mut done: HashMap<Value<'ir>, usize> = HashMap::new();
        let mut waiting: HashSet<Value<'ir>> = HashSet::new();
        let mut open: Vec<Value<'ir>> = values.to_vec();
        while let Some(value) = open.last().copied() {
            if done.contains_key(&value) {
                open.pop();
                continue;
            }
            let (action, operands, bits) = step(value, variables, ids)?;
            let missing: Vec<Value<'ir>> = operands.iter().copied().filter(|op| !done.contains_key(op)).collect();
            if missing.is_empty() {
                let operands = operands.iter().map(|operand| done[operand]).collect();
                done.insert(value, steps.len());
                steps.push(Step { action, operands, bits });
                open.pop();
            } else if !waiting.insert(value) {
                // The operands were asked for before and are still missing: the expression is a cycle.
                return Err(value.def_op());
            } else {
                open.extend(missing);
            }
        }
        let results = values.iter().map(|value| done[value]).collect();
        Ok(Program { steps, results })
    }

    /// Steps that one run takes.
    pub fn cost(&self) -> u64 {
        self.steps.len() as u64 + 1
    }

    /// The values for one thread, in `out`; `None` where arithmetic overflows or divides by zero. `scratch` saves its
    /// memory from run to run.
    pub fn run(&self, thread: &Thread, variables: &[i64], scratch: &mut Vec<i64>, out: &mut Vec<i64>) -> Option<()> {
        scratch.clear();
        for step in &self.steps {
            let value = apply(step, scratch, thread, variables)?;
            let fits = step.bits >= 64 || (-(1_i64 << (step.bits - 1))..1_i64 << (step.bits - 1)).contains(&value);
            scratch.push(fits.then_some(value)?);
        }
        out.clear();
        out.extend(self.results.iter().map(|at| scratch[*at]));
        Some(())
    }
}

/// One thread of a block.
#[derive(Clone, Copy, Debug)]
pub struct Thread {
    /// Its position in x, y, z.
    pub place: [i64; 3],
    /// Its number: x fastest (PTX ISA, "%laneid": lanes follow the linear number).
    pub number: i64,
}

/// The threads of a block.
pub fn threads(block: [u32; 3]) -> impl Iterator<Item = Thread> {
    let [x, y, z] = block.map(i64::from);
    (0..x * y * z).map(move |number| Thread {
        place: [number % x, number / x % y, number / (x * y)],
        number,
    })
}

type Parts<'ir> = (Action, Vec<Value<'ir>>, u32);

fn step<'ir>(value: Value<'ir>, variables: &[Value<'ir>], ids: &Ids<'ir>) -> Result<Parts<'ir>, Option<Op<'ir>>> {
    let bits = if value.ty().is_index() {
        64
    } else {
        match value.ty().scalar_bits() {
            Some(bits @ 1..=64) if !value.ty().is_float() => bits,
            _ => return Err(value.def_op()),
        }
    };
    if let Some(at) = variables.iter().position(|variable| *variable == value) {
        return Ok((Action::Variable(at), Vec::new(), bits));
    }
    if let Some((positions, sizes)) = ids.arguments {
        if let Some(axis) = positions.iter().position(|argument| *argument == value) {
            return Ok((Action::Thread(axis), Vec::new(), bits));
        }
        if let Some(axis) = sizes.iter().position(|argument| *argument == value) {
            return Ok((Action::Constant(i64::from(ids.block[axis])), Vec::new(), bits));
        }
    }
    let op = value.def_op().ok_or(None)?;
    if let Some(constant) = constant_index(value) {
        // A true i1 is all ones, like every other integer of one bit.
        let constant = if bits == 1 { -(constant & 1) } else { constant };
        return Ok((Action::Constant(constant), Vec::new(), bits));
    }
    let action = match op.name() {
        "gpu.thread_id" => Action::Thread(axis(op).ok_or(Some(op))?),
        "gpu.lane_id" => Action::Lane,
        "gpu.subgroup_id" => Action::Subgroup,
        "gpu.subgroup_size" => Action::Constant(WARP),
        "gpu.num_subgroups" => {
            let threads: i64 = ids.block.map(i64::from).iter().product();
            Action::Constant((threads + WARP - 1) / WARP)
        }
        "gpu.block_dim" => Action::Constant(i64::from(ids.block[axis(op).ok_or(Some(op))?])),
        "arith.addi" => Action::Add,
        "arith.subi" => Action::Sub,
        "arith.muli" => Action::Mul,
        "arith.divui" | "arith.divsi" => Action::Div,
        "arith.remui" | "arith.remsi" => Action::Rem,
        "arith.andi" => Action::And,
        "arith.ori" => Action::Or,
        "arith.xori" => Action::Xor,
        "arith.shli" => Action::Shl,
        "arith.shrui" => Action::Shr,
        "arith.minsi" | "arith.minui" => Action::Min,
        "arith.maxsi" | "arith.maxui" => Action::Max,
        "arith.cmpi" => Action::Compare(op.attr("predicate").and_then(Attr::as_int).ok_or(Some(op))?),
        "arith.select" => Action::Select,
        "arith.index_cast" | "arith.extsi" => Action::Copy,
        "affine.min" => Action::Least(affine::choices(op).ok_or(Some(op))?.into()),
        "affine.max" => Action::Largest(affine::choices(op).ok_or(Some(op))?.into()),
        "affine.apply" | "affine.delinearize_index" | "affine.linearize_index" => {
            let Def::Result(_, number) = value.def() else {
                return Err(Some(op));
            };
            let (expression, _) = affine::expression(op, number).ok_or(Some(op))?;
            Action::Least([expression].into())
        }
        "arith.index_castui" | "arith.extui" => Action::CopyUnsigned,
        _ => return Err(Some(op)),
    };
    let operands: Vec<Value<'ir>> = match action {
        Action::Thread(_) | Action::Lane | Action::Subgroup | Action::Constant(_) => Vec::new(),
        _ => op.operands().collect(),
    };
    Ok((action, operands, bits))
}

fn apply(step: &Step, values: &[i64], thread: &Thread, variables: &[i64]) -> Option<i64> {
    let operand = |number: usize| step.operands.get(number).map(|at| values[*at]);
    let unsigned = |number: usize| operand(number).filter(|value| *value >= 0);
    Some(match &step.action {
        Action::Constant(value) => *value,
        Action::Thread(axis) => thread.place[*axis],
        Action::Lane => thread.number % WARP,
        Action::Subgroup => thread.number / WARP,
        Action::Variable(number) => *variables.get(*number)?,
        Action::Add => operand(0)?.checked_add(operand(1)?)?,
        Action::Sub => operand(0)?.checked_sub(operand(1)?)?,
        Action::Mul => operand(0)?.checked_mul(operand(1)?)?,
        // Signed and unsigned agree where neither side is negative.
        Action::Div => unsigned(0)?.checked_div(unsigned(1)?)?,
        Action::Rem => unsigned(0)?.checked_rem(unsigned(1)?)?,
        Action::And => operand(0)? & operand(1)?,
        Action::Or => operand(0)? | operand(1)?,
        Action::Xor => operand(0)? ^ operand(1)?,
        Action::Shl => {
            operand(0)?.checked_mul(1_i64.checked_shl(u32::try_from(operand(1)?).ok().filter(|n| *n < 63)?)?)?
        }
        Action::Shr => unsigned(0)?.checked_shr(u32::try_from(operand(1)?).ok()?)?,
        Action::Min => unsigned(0)?.min(unsigned(1)?),
        Action::Max => unsigned(0)?.max(unsigned(1)?),
        Action::Compare(predicate) => {
            let (a, b) = if *predicate < 6 {
                (operand(0)?, operand(1)?)
            } else {
                (unsigned(0)?, unsigned(1)?)
            };
            let holds = match predicate {
                0 => a == b,
                1 => a != b,
                2 | 6 => a < b,
                3 | 7 => a <= b,
                4 | 8 => a > b,
                5 | 9 => a >= b,
                _ => return None,
            };
            -i64::from(holds)
        }
        Action::Select if operand(0)? != 0 => operand(1)?,
        Action::Select => operand(2)?,
        Action::Copy => operand(0)?,
        Action::CopyUnsigned => unsigned(0)?,
        Action::Least(choices) => chosen(step, values, choices)?.into_iter().min()?,
        Action::Largest(choices) => chosen(step, values, choices)?.into_iter().max()?,
    })
}

/// The values of affine expressions.
fn chosen(step: &Step, values: &[i64], choices: &[AffineExpr]) -> Option<Vec<i64>> {
    let operands: Vec<i64> = step.operands.iter().map(|at| values[*at]).collect();
    choices.iter().map(|choice| choice.evaluate(&operands)).collect()
}

fn axis(op: Op<'_>) -> Option<usize> {
    let text = op.attr("dimension")?.to_string();
    ["#gpu<dim x>", "#gpu<dim y>", "#gpu<dim z>"]
        .iter()
        .position(|name| *name == text)
}

/// A number that divides the value whatever the thread, the block and the iteration. 0 stands for "everything": the
/// value is 0.
pub fn divisor(value: Value<'_>) -> u64 {
    divisor_within(value, &mut 2_000)
}

/// The budget bounds expressions that share so many parts that a walk over them would not end.
fn divisor_within(value: Value<'_>, budget: &mut u32) -> u64 {
    if let Some(constant) = constant_index(value) {
        return constant.unsigned_abs();
    }
    if *budget == 0 {
        return 1;
    }
    *budget -= 1;
    match value.def() {
        Def::Argument(block, 0) => match block.parent().filter(|op| op.is("scf.for")) {
            Some(op) => gcd(
                divisor_within(op.operand(0), budget),
                divisor_within(op.operand(2), budget),
            ),
            None => match block.parent().and_then(affine::static_bounds) {
                Some((lower, _, step)) => gcd(lower.unsigned_abs(), step.unsigned_abs()),
                None => 1,
            },
        },
        Def::Argument(..) => 1,
        Def::Result(op, number) if op.dialect() == "affine" => {
            let mut operand = |number: usize| match op.operands().nth(number) {
                Some(value) => divisor_within(value, budget),
                None => 1,
            };
            if let Some((expression, _)) = affine::expression(op, number) {
                return expression.divisor(&mut operand);
            }
            let choices = affine::choices(op).unwrap_or_default();
            let divisors = choices.iter().map(|choice| choice.divisor(&mut operand));
            divisors.reduce(gcd).unwrap_or(1)
        }
        Def::Result(op, _) => {
            let mut operand = |number: usize| divisor_within(op.operand(number), budget);
            match op.name() {
                "arith.addi" | "arith.subi" | "arith.minsi" | "arith.maxsi" | "arith.minui" | "arith.maxui" => {
                    gcd(operand(0), operand(1))
                }
                "arith.muli" => operand(0).saturating_mul(operand(1)),
                // The bits below a common power of two stay zero.
                "arith.xori" | "arith.ori" => power_of_two(gcd(operand(0), operand(1))),
                "arith.andi" => power_of_two(operand(0)).max(power_of_two(operand(1))),
                "arith.remui" | "arith.remsi" => gcd(operand(0), operand(1)),
                "arith.select" => gcd(operand(1), operand(2)),
                "arith.shli" => match constant_index(op.operand(1)) {
                    Some(bits @ 0..=62) => operand(0).saturating_mul(1 << bits),
                    _ => 1,
                },
                "arith.index_cast" | "arith.index_castui" | "arith.extsi" | "arith.extui" => operand(0),
                _ => 1,
            }
        }
    }
}

/// Iterations of an `scf.for` or `affine.for` over constants, if its counter is a signed index.
pub fn static_trip(op: Op<'_>) -> Option<u64> {
    let (lower, upper, step) = affine::static_bounds(op)?;
    let extent = (i128::from(upper) - i128::from(lower)).max(0) as u64;
    Some(extent.div_ceil(step as u64))
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
