//! What the assembler computes itself, and what it knows of an instruction by its opcode.
//!
//! ```text
//! add.s32 %r1, %r0, 64;        // %r0 and 64
//! add.s32 %r2, %r1, 64;        // %r0 and 128
//! shl.b32 %r3, 3, 2;           // 12
//! cvt.u64.u32 %rd1, %r0;       // %r0: the upper half is the zero register
//! ```

use smallvec::SmallVec;

use super::super::lowering::OFFSET_LIMIT;
use super::text::{Kind, Text, ValueId};
use crate::emulator::{Class, Instr, Op, Special, Src};

/// What a register holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Value {
    Const(u64),
    /// A value and a constant that is added to it.
    Sum(ValueId, i64),
}

/// Instructions whose result is one of their sources, or one and a constant.
pub(super) fn renamed(instr: &Instr, values: &[Value]) -> Option<Value> {
    let mut parts = instr.opcode.split('.');
    let base = parts.next().unwrap_or("");
    match (&instr.op, base, values) {
        (_, "mov" | "cvta", [value]) => Some(*value),
        (Op::Convert { .. }, ..) => {
            let mut types = instr.opcode.rsplit('.');
            let (from, to) = (types.next().unwrap_or(""), types.next().unwrap_or(""));
            match (to, from, values) {
                // The lower half of a pair, and a pair whose upper half is the zero register.
                ("u32" | "s32" | "b32", "u64" | "s64" | "b64", [Value::Sum(base, offset)])
                | ("u64" | "s64", "u32", [Value::Sum(base, offset)]) => Some(Value::Sum(*base, *offset)),
                _ => None,
            }
        }
        (Op::Pack { part_bytes: 2, .. }, _, [first, second]) if first == second => match first {
            // Both halves of one register.
            Value::Sum(..) => Some(*first),
            Value::Const(_) => None,
        },
        (Op::Map { .. }, "add", [a, b]) if instr.class == Class::Int && !instr.opcode.contains(".sat") => {
            let wide = instr.opcode.ends_with("64");
            match (a, b) {
                (Value::Sum(base, offset), Value::Const(bits)) | (Value::Const(bits), Value::Sum(base, offset)) => {
                    let constant = if wide {
                        *bits as i64
                    } else {
                        i64::from(*bits as u32 as i32)
                    };
                    let sum = offset.checked_add(constant)?;
                    (sum.abs() < OFFSET_LIMIT).then_some(Value::Sum(*base, sum))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// The result of an instruction whose sources are all constants.
pub(super) fn computed(instr: &Instr, values: &[Value]) -> Option<Value> {
    let mut lanes = [[0u64; 32]; 4];
    if values.len() > 4 {
        return None;
    }
    for (lane, value) in lanes.iter_mut().zip(values) {
        let Value::Const(bits) = value else { return None };
        *lane = [*bits; 32];
    }
    let mut out = [0u64; 32];
    match &instr.op {
        Op::Map { function, modify, .. } if modify.flush.is_none() && modify.clamp.is_none() => {
            function(&lanes, &mut out)
        }
        Op::SetPredicate {
            compare,
            combine: None,
            packed: false,
            modify,
            ..
        } if modify.flush.is_none() => compare(&lanes, &mut out),
        Op::Convert { convert, .. } => out[0] = convert.apply(lanes[0][0]),
        Op::Pack { part_bytes, parts, .. } => {
            let bits = 8 * part_bytes;
            let mask = if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
            for (at, lane) in lanes.iter().enumerate().take(parts.len()) {
                out[0] |= (lane[0] & mask) << (bits * at as u32);
            }
        }
        _ => return None,
    }
    Some(Value::Const(out[0]))
}

/// Low bits of a result that are zero whatever the sources.
pub(super) fn zero_bits(text: &Text, instr: &Instr, values: &[Value]) -> u32 {
    let of = |at: usize| match values.get(at) {
        Some(Value::Const(bits)) => bits.trailing_zeros(),
        Some(Value::Sum(base, offset)) => text.zero_bits[*base as usize].min(offset.trailing_zeros()),
        None => 0,
    };
    let base = instr.opcode.split('.').next().unwrap_or("");
    let zero = match (base, values) {
        ("shl", [_, Value::Const(by)]) => of(0).saturating_add(*by as u32),
        ("add" | "sub" | "or" | "xor", _) => of(0).min(of(1)),
        ("and", _) => of(0).max(of(1)),
        ("mul", _) if !instr.opcode.contains(".hi") => of(0).saturating_add(of(1)),
        ("mad", _) if !instr.opcode.contains(".hi") => of(0).saturating_add(of(1)).min(of(2)),
        ("cvt", _) => of(0),
        _ => 0,
    };
    zero.min(32)
}

/// Whether an integer instruction has a form for uniform registers.
pub(super) fn uniform_operation(instr: &Instr) -> bool {
    let base = instr.opcode.split('.').next().unwrap_or("");
    matches!(
        base,
        "add" | "sub" | "mul" | "mad" | "shl" | "shr" | "and" | "or" | "xor" | "not" | "mov" | "setp" | "selp" | "cvt"
    )
}

pub(super) fn specials(instr: &Instr) -> SmallVec<[Special; 2]> {
    let sources: SmallVec<[Src; 4]> = match &instr.op {
        Op::Map { src, .. } => src.clone(),
        Op::Convert { src, .. } => SmallVec::from_slice(&[*src]),
        Op::SetPredicate { src, .. } => SmallVec::from_slice(src),
        Op::Pack { parts, .. } => parts.clone(),
        _ => SmallVec::new(),
    };
    sources
        .into_iter()
        .filter_map(|source| match source {
            Src::Special(special) => Some(special),
            Src::Imm(_) | Src::Reg(_) => None,
        })
        .collect()
}

/// A number for each special register that stays the same.
pub(super) fn special_code(special: Special) -> Option<usize> {
    Some(match special {
        Special::Clock => return None,
        Special::Tid(axis) => axis,
        Special::Ntid(axis) => 4 + axis,
        Special::Ctaid(axis) => 8 + axis,
        Special::Nctaid(axis) => 12 + axis,
        Special::LaneId => 16,
        Special::WarpId => 17,
        Special::NWarpId => 18,
        Special::LaneMaskEq => 19,
        Special::LaneMaskLe => 20,
        Special::LaneMaskLt => 21,
        Special::LaneMaskGe => 22,
        Special::LaneMaskGt => 23,
        Special::DynamicSharedBytes => 24,
        Special::TotalSharedBytes => 25,
    })
}

pub(super) fn kind(instr: &Instr) -> Kind {
    match instr.class {
        Class::Mma => Kind::Mma,
        Class::Ldmatrix => match instr.op {
            Op::StoreMatrix { .. } => Kind::StoreShared,
            _ => Kind::LoadShared,
        },
        Class::LoadShared => Kind::LoadShared,
        Class::LoadGlobal | Class::LoadLocal => Kind::LoadGlobal,
        Class::StoreShared => Kind::StoreShared,
        Class::StoreGlobal | Class::StoreLocal => Kind::StoreGlobal,
        Class::CpAsync => Kind::Copy,
        Class::Commit => Kind::Commit,
        Class::Wait => Kind::Wait,
        Class::Barrier => Kind::Barrier,
        Class::WarpExchange => Kind::Exchange,
        Class::Branch => Kind::Branch,
        Class::Div => Kind::Special,
        Class::Int | Class::Float | Class::LoadParam => Kind::Arithmetic,
        Class::Atomic | Class::Other => Kind::Other,
    }
}
