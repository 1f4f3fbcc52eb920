//! One instruction to its micro-operation: the table of opcodes (PTX ISA 9.0, chapter 9.7).

use super::alu::{PoisonRule, alu, comparison};
use super::convert::{ScalarType, convert};
use super::decode::{Decoder, type_bits};
use super::error::EmulatorError;
use super::instruction_memory::{address_conversion, async_copy, atomic, load, matrix_move, mma, store};
use super::lane::{Lanes, WarpFn};
use super::program::{BoolOp, Class, Dsts, Op, Reg, ShuffleMode, Special, Src, Srcs, VoteMode};
use crate::ptx::{Instruction, Operand};

pub(super) type Decoded = Result<(Op, Class), EmulatorError>;

/// Decodes an instruction.
pub(super) fn operation(decoder: &Decoder<'_>, instruction: &Instruction) -> Decoded {
    let parts: Vec<&str> = instruction.opcode.split('.').collect();
    let operands = &instruction.operands;
    let need = |count: usize| {
        if operands.len() == count {
            Ok(())
        } else {
            decoder.unsupported(
                instruction,
                format!("{} operands where {count} are expected", operands.len()),
            )
        }
    };
    match parts[0] {
        "mov" if operands.iter().any(|o| matches!(o, Operand::Vector(_))) => pack(decoder, instruction, &parts),
        "mov" if operands.len() == 2 => move_address(decoder, instruction, &parts),
        "ld" | "ldu" => load(decoder, instruction, &parts),
        "st" => store(decoder, instruction, &parts),
        "atom" | "red" => atomic(decoder, instruction, &parts),
        "cvta" => address_conversion(decoder, instruction, &parts),
        "cvt" => conversion(decoder, instruction, &parts),
        "setp" => set_predicate(decoder, instruction, &parts),
        "bra" => {
            need(1)?;
            Ok((
                Op::Branch {
                    target: decoder.label(instruction, &operands[0])?,
                },
                Class::Branch,
            ))
        }
        "ret" | "exit" => Ok((Op::Exit, Class::Branch)),
        "bar" | "barrier" => barrier(decoder, instruction, &parts),
        "cp" => async_copy(decoder, instruction, &parts),
        "ldmatrix" | "stmatrix" => matrix_move(decoder, instruction, &parts),
        "mma" => mma(decoder, instruction, &parts),
        "shfl" => shuffle(decoder, instruction, &parts),
        "vote" => vote(decoder, instruction, &parts),
        "activemask" => {
            need(1)?;
            let Some(dst) = decoder.destination(instruction, &operands[0])? else {
                return Ok((Op::Nothing, Class::WarpExchange));
            };
            Ok((Op::ActiveMask { dst }, Class::WarpExchange))
        }
        "fence" | "membar" | "prefetch" | "prefetchu" | "discard" | "applypriority" | "nanosleep"
        | "griddepcontrol" | "pmevent" => Ok((Op::Nothing, Class::Other)),
        _ => scalar(decoder, instruction, &parts),
    }
}

/// `add`, `fma`, `shl` and the like: everything that [`alu`] knows.
fn scalar(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let Some(alu) = alu(parts) else {
        return decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    };
    let operands = &instruction.operands;
    if operands.len() != alu.sources + 1 {
        let given = operands.len();
        return decoder.unsupported(
            instruction,
            format!("{given} operands where {} are expected", alu.sources + 1),
        );
    }
    let Some(dst) = decoder.destination(instruction, &operands[0])? else {
        return Ok((Op::Nothing, Class::Int));
    };
    let wide = parts.contains(&"wide");
    let src = operands[1..]
        .iter()
        .enumerate()
        .map(|(i, operand)| {
            // The addend of a wide multiply-add has twice the width, shift amounts and selectors have 32 bits.
            let bits = match (parts[0], i) {
                ("mad", 2) if wide => alu.source_bits * 2,
                ("shl" | "shr", 1) | ("bfe", 1 | 2) | ("bfi", 2 | 3) => 32,
                _ => alu.source_bits,
            };
            decoder.source(instruction, operand, bits)
        })
        .collect::<Result<Srcs, _>>()?;
    let poison = match (parts[0], src.get(1)) {
        ("and", Some(Src::Imm(keep))) => PoisonRule::Masked(*keep),
        ("shl", Some(Src::Imm(amount))) => PoisonRule::Shift(*amount.min(&64) as i32),
        ("shr", Some(Src::Imm(amount))) if !parts[1].starts_with('s') => PoisonRule::Shift(-(*amount.min(&64) as i32)),
        _ => alu.poison,
    };
    let class = match (alu.slow, alu.float) {
        (true, _) => Class::Div,
        (false, true) => Class::Float,
        (false, false) => Class::Int,
    };
    let flush = parts.contains(&"ftz") && parts.last() == Some(&"f32");
    if same_register_cancels(parts[0], &src) {
        return Ok((
            Op::Map {
                function: alu.function,
                dst,
                src: [Src::Imm(0), Src::Imm(0)].into_iter().collect(),
                poison,
                flush,
            },
            class,
        ));
    }
    Ok((
        Op::Map {
            function: alu.function,
            dst,
            src,
            poison,
            flush,
        },
        class,
    ))
}

/// `xor r, r` and integer `sub r, r` are zero whatever r holds.
fn same_register_cancels(base: &str, src: &[Src]) -> bool {
    base == "xor" && src.len() == 2 && matches!(src[0], Src::Reg(_)) && src[0] == src[1]
}

const COPY: WarpFn = |s: &[Lanes; 4], out: &mut Lanes| *out = s[0];

/// `mov` of registers, constants and addresses of variables.
fn move_address(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let Some(bits) = parts.last().and_then(|ty| type_bits(ty)) else {
        return decoder.unsupported(instruction, "a type that is not known");
    };
    let Some(dst) = decoder.destination(instruction, &instruction.operands[0])? else {
        return Ok((Op::Nothing, Class::Int));
    };
    let source = decoder.source(instruction, &instruction.operands[1], bits)?;
    let src = [source].into_iter().collect();
    Ok((
        Op::Map {
            function: COPY,
            dst,
            src,
            poison: PoisonRule::Bytes,
            flush: false,
        },
        Class::Int,
    ))
}

/// `mov.b32 {a, b}, c` and `mov.b32 c, {a, b}`.
fn pack(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let bits = parts.last().and_then(|ty| type_bits(ty)).unwrap_or(0);
    let check = |count: usize| {
        if matches!(bits, 16 | 32 | 64) && matches!(count, 2 | 4) && bits / count as u32 >= 8 {
            Ok(bits / count as u32)
        } else {
            decoder.unsupported(instruction, format!("a vector of {count} in {bits} bits"))
        }
    };
    match &instruction.operands[..] {
        [Operand::Vector(dsts), src] => {
            let part_bits = check(dsts.len())?;
            let dsts = dsts
                .iter()
                .map(|dst| decoder.destination(instruction, dst))
                .collect::<Result<Dsts, _>>()?;
            let src = decoder.source(instruction, src, bits)?;
            Ok((
                Op::Unpack {
                    dsts,
                    src,
                    part_bytes: part_bits / 8,
                },
                Class::Int,
            ))
        }
        [dst, Operand::Vector(parts)] => {
            let part_bits = check(parts.len())?;
            let Some(dst) = decoder.destination(instruction, dst)? else {
                return Ok((Op::Nothing, Class::Int));
            };
            let parts = parts
                .iter()
                .map(|part| decoder.source(instruction, part, part_bits))
                .collect::<Result<Srcs, _>>()?;
            Ok((
                Op::Pack {
                    dst,
                    parts,
                    part_bytes: part_bits / 8,
                },
                Class::Int,
            ))
        }
        _ => decoder.unsupported(instruction, "a mov between vectors"),
    }
}

fn conversion(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let unknown = || decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    let [modifiers @ .., to, from] = &parts[1..] else {
        return unknown();
    };
    let Some(dst) = instruction
        .operands
        .first()
        .map(|dst| decoder.destination(instruction, dst))
        .transpose()?
        .flatten()
    else {
        return unknown();
    };
    if let Some(half) = to.strip_suffix("x2") {
        let (Some(convert), [_, high, low]) = (convert(modifiers, half, from), &instruction.operands[..]) else {
            return unknown();
        };
        let src = [
            decoder.source(instruction, high, 32)?,
            decoder.source(instruction, low, 32)?,
        ];
        return Ok((Op::ConvertPair { convert, dst, src }, Class::Float));
    }
    let (Some(convert), [_, src]) = (convert(modifiers, to, from), &instruction.operands[..]) else {
        return unknown();
    };
    let src = decoder.source(instruction, src, type_bits(from).unwrap_or(32))?;
    let integer = |ty| matches!(ty, ScalarType::Signed(_) | ScalarType::Unsigned(_));
    let class = if integer(convert.to) && integer(convert.from) {
        Class::Int
    } else {
        Class::Float
    };
    Ok((Op::Convert { convert, dst, src }, class))
}

/// `setp.cmp{.bool}.type p{|q}, a, b{, c}`.
fn set_predicate(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let unknown = || decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    let flush = parts.contains(&"ftz");
    let words: Vec<&str> = parts[1..].iter().copied().filter(|part| *part != "ftz").collect();
    let (compare, boolean, ty) = match words[..] {
        [compare, ty] => (compare, None, ty),
        [compare, boolean, ty] => (compare, Some(boolean), ty),
        _ => return unknown(),
    };
    let (Some(function), Some(bits)) = (comparison(compare, ty), type_bits(ty)) else {
        return unknown();
    };
    let (destinations, a, b, with) = match (&instruction.operands[..], boolean) {
        ([d, a, b], None) => (d, a, b, None),
        ([d, a, b, c], Some(_)) => (d, a, b, Some(c)),
        _ => return unknown(),
    };
    let (dst, complement) = match destinations {
        Operand::Pair(p, q) => (p.map(|id| decoder.register(id)), q.map(|id| decoder.register(id))),
        single => (decoder.destination(instruction, single)?, None),
    };
    if [dst, complement]
        .iter()
        .flatten()
        .any(|reg| !matches!(reg, Reg::Pred(_)))
    {
        return decoder.unsupported(instruction, "a destination that is no predicate");
    }
    let combine = match (boolean, with) {
        (None, _) | (_, None) => None,
        (Some(name), Some(operand)) => {
            let op = match name {
                "and" => BoolOp::And,
                "or" => BoolOp::Or,
                "xor" => BoolOp::Xor,
                _ => return unknown(),
            };
            match operand {
                Operand::Not(id) => Some((op, Src::Reg(decoder.register(*id)), true)),
                other => Some((op, decoder.source(instruction, other, 1)?, false)),
            }
        }
    };
    let src = [
        decoder.source(instruction, a, bits)?,
        decoder.source(instruction, b, bits)?,
    ];
    let class = if ty.contains('f') { Class::Float } else { Class::Int };
    Ok((
        Op::SetPredicate {
            compare: function,
            combine,
            dst,
            complement,
            src,
            flush,
        },
        class,
    ))
}

/// `bar.sync`, `bar.arrive`, `bar.warp.sync`, `barrier{.cta}.sync{.aligned}`, `barrier{.cta}.arrive`.
fn barrier(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let words: Vec<&str> = parts[1..].iter().copied().filter(|part| *part != "cta").collect();
    let aligned = parts[0] == "bar" || words.contains(&"aligned");
    let words: Vec<&str> = words.into_iter().filter(|part| *part != "aligned").collect();
    let operand = |index: usize| {
        instruction
            .operands
            .get(index)
            .map(|operand| decoder.source(instruction, operand, 32))
            .transpose()
    };
    match words[..] {
        ["warp", "sync"] => match operand(0)? {
            Some(mask) => Ok((Op::WarpBarrier { mask }, Class::WarpExchange)),
            None => decoder.unsupported(instruction, "no mask"),
        },
        ["sync" | "arrive"] => match operand(0)? {
            Some(id) => {
                let waits = words[0] == "sync";
                Ok((
                    Op::Barrier {
                        id,
                        threads: operand(1)?,
                        aligned,
                        waits,
                    },
                    Class::Barrier,
                ))
            }
            None => decoder.unsupported(instruction, "no barrier number"),
        },
        _ => decoder.unsupported(instruction, format!("`{}`", instruction.opcode)),
    }
}

/// `shfl.sync.mode.b32 d|p, a, b, c, membermask`.
fn shuffle(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let mode = match parts[1..] {
        ["sync", "up", "b32"] => ShuffleMode::Up,
        ["sync", "down", "b32"] => ShuffleMode::Down,
        ["sync", "bfly", "b32"] => ShuffleMode::Butterfly,
        ["sync", "idx", "b32"] => ShuffleMode::Index,
        _ => return decoder.unsupported(instruction, format!("`{}`", instruction.opcode)),
    };
    let [destinations, a, b, c, _member_mask] = &instruction.operands[..] else {
        return decoder.unsupported(instruction, "five operands are expected");
    };
    let (dst, in_range) = match destinations {
        Operand::Pair(d, p) => (d.map(|id| decoder.register(id)), p.map(|id| decoder.register(id))),
        single => (decoder.destination(instruction, single)?, None),
    };
    let Some(dst) = dst else {
        return decoder.unsupported(instruction, "no destination");
    };
    let source = |operand: &Operand| decoder.source(instruction, operand, 32);
    let src = [source(a)?, source(b)?, source(c)?];
    Ok((
        Op::Shuffle {
            mode,
            dst,
            in_range,
            src,
        },
        Class::WarpExchange,
    ))
}

/// `vote.sync.{all,any,uni}.pred p, a, mask` and `vote.sync.ballot.b32 d, a, mask`.
fn vote(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let mode = match parts[1..] {
        ["sync", "all", "pred"] => VoteMode::All,
        ["sync", "any", "pred"] => VoteMode::Any,
        ["sync", "uni", "pred"] => VoteMode::Uniform,
        ["sync", "ballot", "b32"] => VoteMode::Ballot,
        _ => return decoder.unsupported(instruction, format!("`{}`", instruction.opcode)),
    };
    let [dst, source, _member_mask] = &instruction.operands[..] else {
        return decoder.unsupported(instruction, "three operands are expected");
    };
    let Some(dst) = decoder.destination(instruction, dst)? else {
        return decoder.unsupported(instruction, "no destination");
    };
    let (src, negated) = match source {
        Operand::Not(id) => (Src::Reg(decoder.register(*id)), true),
        other => (decoder.source(instruction, other, 1)?, false),
    };
    Ok((
        Op::Vote {
            mode,
            dst,
            src,
            negated,
        },
        Class::WarpExchange,
    ))
}

/// Lanes of a special register that do not depend on the launch.
pub(super) fn lane_constant(special: Special, lane: u32) -> Option<u64> {
    let below = (1u64 << lane) - 1;
    let equal = 1u64 << lane;
    Some(match special {
        Special::LaneId => u64::from(lane),
        Special::LaneMaskEq => equal,
        Special::LaneMaskLe => below | equal,
        Special::LaneMaskLt => below,
        Special::LaneMaskGe => !below & 0xffff_ffff,
        Special::LaneMaskGt => !(below | equal) & 0xffff_ffff,
        _ => return None,
    })
}
