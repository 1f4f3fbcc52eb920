//! Barriers and exchanges within a warp to micro-operations (PTX ISA 9.0, 9.7.9.6 to 9.7.9.8 and 9.7.13).

use super::decode::Decoder;
use super::error::EmulatorError;
use super::instruction::Decoded;
use super::program::{Class, Members, Op, Reduction, Reg, ShuffleMode, Src, VoteMode, WarpScalar};
use crate::ptx::{Instruction, Operand};

fn unknown(decoder: &Decoder<'_>, instruction: &Instruction) -> Decoded {
    decoder.unsupported(instruction, format!("`{}`", instruction.opcode))
}

fn members(decoder: &Decoder<'_>, instruction: &Instruction, operand: &Operand) -> Result<Members, EmulatorError> {
    decoder.source(instruction, operand, 32).map(Members)
}

/// A predicate source, negated or not.
fn predicate(
    decoder: &Decoder<'_>,
    instruction: &Instruction,
    operand: &Operand,
) -> Result<(Src, bool), EmulatorError> {
    match operand {
        Operand::Not(id) => Ok((Src::Reg(decoder.register(*id)), true)),
        other => Ok((decoder.source(instruction, other, 1)?, false)),
    }
}

/// `d` or `d|p`.
fn two_destinations(
    decoder: &Decoder<'_>,
    instruction: &Instruction,
    operand: &Operand,
) -> Result<(Option<Reg>, Option<Reg>), EmulatorError> {
    Ok(match operand {
        Operand::Pair(d, p) => (d.map(|id| decoder.register(id)), p.map(|id| decoder.register(id))),
        single => (decoder.destination(instruction, single)?, None),
    })
}

/// `bar.{sync,arrive,red}`, `bar.warp.sync`, `barrier{.cta}.{sync,arrive,red}{.aligned}`.
pub(super) fn barrier(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    if parts.contains(&"cluster") {
        return decoder.unsupported(instruction, "thread block clusters are Hopper's (sm_90)");
    }
    let words: Vec<&str> = parts[1..].iter().copied().filter(|part| *part != "cta").collect();
    let aligned = parts[0] == "bar" || words.contains(&"aligned");
    let words: Vec<&str> = words.into_iter().filter(|part| *part != "aligned").collect();
    let operands = &instruction.operands[..];
    let number = |operand: &Operand| decoder.source(instruction, operand, 32);
    match (&words[..], operands) {
        (["warp", "sync"], [mask]) => {
            let mask = members(decoder, instruction, mask)?;
            Ok((Op::WarpBarrier { mask }, Class::WarpExchange))
        }
        ([kind @ ("sync" | "arrive")], [id, threads @ ..]) if threads.len() <= 1 => {
            let waits = *kind == "sync";
            if !waits && threads.is_empty() {
                return decoder.unsupported(instruction, "an arrival needs a thread count");
            }
            let op = Op::Barrier {
                id: number(id)?,
                threads: threads.first().map(number).transpose()?,
                aligned,
                waits,
            };
            Ok((op, Class::Barrier))
        }
        (["red", kind, ty], [dst, id, threads @ .., source]) if threads.len() <= 1 => {
            let reduction = match (*kind, *ty) {
                ("popc", "u32") => Reduction::PopulationCount,
                ("and", "pred") => Reduction::And,
                ("or", "pred") => Reduction::Or,
                _ => return unknown(decoder, instruction),
            };
            let Some(dst) = decoder.destination(instruction, dst)? else {
                return decoder.unsupported(instruction, "no destination");
            };
            let (src, negated) = predicate(decoder, instruction, source)?;
            let op = Op::BarrierReduce {
                id: number(id)?,
                threads: threads.first().map(number).transpose()?,
                aligned,
                reduction,
                dst,
                src,
                negated,
            };
            Ok((op, Class::Barrier))
        }
        _ => unknown(decoder, instruction),
    }
}

/// `shfl.sync.mode.b32 d|p, a, b, c, membermask`.
pub(super) fn shuffle(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let mode = match parts[1..] {
        ["sync", "up", "b32"] => ShuffleMode::Up,
        ["sync", "down", "b32"] => ShuffleMode::Down,
        ["sync", "bfly", "b32"] => ShuffleMode::Butterfly,
        ["sync", "idx", "b32"] => ShuffleMode::Index,
        _ => return unknown(decoder, instruction),
    };
    let [destinations, a, b, c, mask] = &instruction.operands[..] else {
        return decoder.unsupported(instruction, "five operands are expected");
    };
    let (Some(dst), in_range) = two_destinations(decoder, instruction, destinations)? else {
        return decoder.unsupported(instruction, "no destination");
    };
    let source = |operand: &Operand| decoder.source(instruction, operand, 32);
    let op = Op::Shuffle {
        mode,
        dst,
        in_range,
        src: [source(a)?, source(b)?, source(c)?],
        members: members(decoder, instruction, mask)?,
    };
    Ok((op, Class::WarpExchange))
}

/// `vote.sync.{all,any,uni}.pred p, a, mask` and `vote.sync.ballot.b32 d, a, mask`.
pub(super) fn vote(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let mode = match parts[1..] {
        ["sync", "all", "pred"] => VoteMode::All,
        ["sync", "any", "pred"] => VoteMode::Any,
        ["sync", "uni", "pred"] => VoteMode::Uniform,
        ["sync", "ballot", "b32"] => VoteMode::Ballot,
        _ => return unknown(decoder, instruction),
    };
    let [dst, source, mask] = &instruction.operands[..] else {
        return decoder.unsupported(instruction, "three operands are expected");
    };
    let Some(dst) = decoder.destination(instruction, dst)? else {
        return decoder.unsupported(instruction, "no destination");
    };
    let (src, negated) = predicate(decoder, instruction, source)?;
    let op = Op::Vote {
        mode,
        dst,
        src,
        negated,
        members: members(decoder, instruction, mask)?,
    };
    Ok((op, Class::WarpExchange))
}

/// `match.any.sync.type d, a, mask` and `match.all.sync.type d{|p}, a, mask`.
pub(super) fn match_lanes(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let (["match", kind @ ("any" | "all"), "sync", ty @ ("b32" | "b64")], [dst, source, mask]) =
        (parts, &instruction.operands[..])
    else {
        return unknown(decoder, instruction);
    };
    let (Some(dst), predicate) = two_destinations(decoder, instruction, dst)? else {
        return decoder.unsupported(instruction, "no destination");
    };
    let op = Op::Match {
        all: *kind == "all",
        dst,
        predicate,
        src: decoder.source(instruction, source, if *ty == "b64" { 64 } else { 32 })?,
        members: members(decoder, instruction, mask)?,
    };
    Ok((op, Class::WarpExchange))
}

/// `redux.sync.op.type d, a, mask`.
pub(super) fn redux(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let function: WarpScalar = match parts[1..] {
        ["sync", "add", "u32" | "s32"] => |a, b| u64::from((a as u32).wrapping_add(b as u32)),
        ["sync", "min", "u32"] => |a, b| a.min(b),
        ["sync", "max", "u32"] => |a, b| a.max(b),
        ["sync", "min", "s32"] => |a, b| u64::from((a as i32).min(b as i32) as u32),
        ["sync", "max", "s32"] => |a, b| u64::from((a as i32).max(b as i32) as u32),
        ["sync", "and", "b32"] => |a, b| a & b,
        ["sync", "or", "b32"] => |a, b| a | b,
        ["sync", "xor", "b32"] => |a, b| a ^ b,
        ["sync", .., "f32"] => return decoder.unsupported(instruction, "redux of floats is Blackwell's (sm_100a)"),
        _ => return unknown(decoder, instruction),
    };
    let [dst, source, mask] = &instruction.operands[..] else {
        return decoder.unsupported(instruction, "three operands are expected");
    };
    let Some(dst) = decoder.destination(instruction, dst)? else {
        return Ok((Op::Nothing, Class::WarpExchange));
    };
    let op = Op::Redux {
        function,
        dst,
        src: decoder.source(instruction, source, 32)?,
        members: members(decoder, instruction, mask)?,
    };
    Ok((op, Class::WarpExchange))
}

/// `elect.sync d|p, mask`.
pub(super) fn elect(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let (["elect", "sync"], [dst, mask]) = (parts, &instruction.operands[..]) else {
        return unknown(decoder, instruction);
    };
    let (dst, predicate) = two_destinations(decoder, instruction, dst)?;
    let op = Op::Elect {
        dst,
        predicate,
        members: members(decoder, instruction, mask)?,
    };
    Ok((op, Class::WarpExchange))
}
