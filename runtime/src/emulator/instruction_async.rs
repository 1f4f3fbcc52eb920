//! `cp.async` and `mbarrier` to micro-operations (PTX ISA 9.0, 9.7.9.25 and 9.7.13.15).

use super::decode::Decoder;
use super::instruction::Decoded;
use super::program::{Class, MbarrierOp, Op, Reg, Src, Srcs};
use crate::ptx::{Instruction, Operand, Space};

/// `cp.async.{ca,cg}.shared.global`, its groups and waits, `cp.async.mbarrier.arrive{.noinc}`.
pub(super) fn async_copy(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let operands = &instruction.operands[..];
    match parts[1..] {
        ["async", "commit_group"] if operands.is_empty() => return Ok((Op::Commit, Class::Commit)),
        ["async", "wait_all"] if operands.is_empty() => {
            let op = Op::Wait {
                groups: 0,
                uncommitted: true,
            };
            return Ok((op, Class::Wait));
        }
        ["async", "wait_group"] => {
            let [Operand::Int(groups @ 0..=0xffff_ffff)] = operands else {
                return decoder.unsupported(instruction, "a group count that is no constant");
            };
            let op = Op::Wait {
                groups: *groups as u32,
                uncommitted: false,
            };
            return Ok((op, Class::Wait));
        }
        ["async", "mbarrier", "arrive", ref words @ ..] => return copy_arrive(decoder, instruction, words),
        ["async", "bulk", ..] | ["reduce", "async", ..] => {
            return decoder.unsupported(instruction, "bulk copies are Hopper's (sm_90)");
        }
        ["async", "ca" | "cg", "shared" | "shared::cta", "global", ..] => {}
        _ => return decoder.unsupported(instruction, format!("`{}`", instruction.opcode)),
    }
    let hints = &parts[5..];
    if !hints.iter().all(|hint| hint.starts_with("L2::")) {
        return decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    }
    let [dst, src, Operand::Int(bytes), rest @ ..] = operands else {
        return decoder.unsupported(instruction, "cp.async without destination, source and constant size");
    };
    let allowed = if parts[2] == "cg" {
        *bytes == 16
    } else {
        matches!(bytes, 4 | 8 | 16)
    };
    if !allowed {
        return decoder.unsupported(instruction, format!("cp.async.{} of {bytes} bytes", parts[2]));
    }
    // Behind the size: a source size, or a predicate that ignores the source; then a cache policy.
    let policy = usize::from(hints.contains(&"L2::cache_hint"));
    let (mut src_bytes, mut ignore) = (None, None);
    match &rest[..rest.len() - policy.min(rest.len())] {
        [] => {}
        [Operand::Register(id)] if decoder.register_bits(*id) == 1 => ignore = Some(Src::Reg(decoder.register(*id))),
        [operand] => src_bytes = Some(decoder.source(instruction, operand, 32)?),
        _ => return decoder.unsupported(instruction, "too many operands"),
    }
    let op = Op::CpAsync {
        bytes: *bytes as u32,
        dst: decoder.address(instruction, dst, Space::Shared)?,
        src: decoder.address(instruction, src, Space::Global)?,
        src_bytes,
        ignore,
    };
    Ok((op, Class::CpAsync))
}

fn copy_arrive(decoder: &Decoder<'_>, instruction: &Instruction, words: &[&str]) -> Decoded {
    let counted = match words {
        ["noinc", "b64"] | ["noinc", "shared" | "shared::cta", "b64"] => false,
        ["b64"] | ["shared" | "shared::cta", "b64"] => true,
        _ => return decoder.unsupported(instruction, format!("`{}`", instruction.opcode)),
    };
    let [address] = &instruction.operands[..] else {
        return decoder.unsupported(instruction, "one address is expected");
    };
    let space = object_space(words);
    let op = Op::Mbarrier {
        op: MbarrierOp::CopyArrive { counted },
        space,
        addr: decoder.address(instruction, address, space)?,
        dst: None,
        src: Srcs::new(),
    };
    Ok((op, Class::Other))
}

/// Without a space the address is generic, and must lie in shared memory.
fn object_space(words: &[&str]) -> Space {
    if words.iter().any(|word| matches!(*word, "shared" | "shared::cta")) {
        Space::Shared
    } else {
        Space::Generic
    }
}

/// `mbarrier.*` on objects of this block.
pub(super) fn mbarrier(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let unknown = || decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    if parts.contains(&"shared::cluster") || parts.contains(&"cluster") {
        return decoder.unsupported(instruction, "thread block clusters are Hopper's (sm_90)");
    }
    let [_, name, words @ .., "b64"] = parts else {
        return unknown();
    };
    let known = |word: &&str| {
        matches!(
            *word,
            "shared"
                | "shared::cta"
                | "noComplete"
                | "expect_tx"
                | "parity"
                | "release"
                | "acquire"
                | "relaxed"
                | "cta"
        )
    };
    if !words.iter().all(known) {
        return unknown();
    }
    let has = |word: &str| words.contains(&word);
    let operands = &instruction.operands[..];
    let op = match *name {
        "init" => MbarrierOp::Init,
        "inval" => MbarrierOp::Invalidate,
        "arrive" | "arrive_drop" => MbarrierOp::Arrive {
            complete: !has("noComplete"),
            drop: *name == "arrive_drop",
            expect: has("expect_tx"),
        },
        "expect_tx" => MbarrierOp::ExpectTx,
        "complete_tx" => MbarrierOp::CompleteTx,
        "test_wait" | "try_wait" => MbarrierOp::Test {
            parity: has("parity"),
            blocks: *name == "try_wait",
        },
        "pending_count" => MbarrierOp::PendingCount,
        _ => return unknown(),
    };
    let space = object_space(words);
    let (dst, address, sources) = match (op, operands) {
        (MbarrierOp::Arrive { .. } | MbarrierOp::Test { .. }, [dst, address, sources @ ..]) => {
            (Some(dst), address, sources)
        }
        (MbarrierOp::PendingCount, [dst, state]) => {
            let Some(dst) = decoder.destination(instruction, dst)? else {
                return Ok((Op::Nothing, Class::Other));
            };
            let op = Op::Mbarrier {
                op,
                space,
                addr: super::program::Addr {
                    base: Src::Imm(0),
                    offset: 0,
                },
                dst: Some(dst),
                src: [decoder.source(instruction, state, 64)?].into_iter().collect(),
            };
            return Ok((op, Class::Other));
        }
        (_, [address, sources @ ..]) => (None, address, sources),
        _ => return unknown(),
    };
    let (least, most) = match op {
        MbarrierOp::Init | MbarrierOp::ExpectTx | MbarrierOp::CompleteTx => (1, 1),
        MbarrierOp::Arrive { expect: true, .. } => (1, 1),
        MbarrierOp::Arrive { complete: false, .. } => (1, 1),
        MbarrierOp::Arrive { .. } => (0, 1),
        // A time limit may follow: it bounds how long the thread sleeps, and changes no result.
        MbarrierOp::Test { blocks: true, .. } => (1, 2),
        MbarrierOp::Test { .. } => (1, 1),
        _ => (0, 0),
    };
    if !(least..=most).contains(&sources.len()) {
        return decoder.unsupported(instruction, format!("{} operands", operands.len()));
    }
    let state_bits = if matches!(op, MbarrierOp::Test { parity: false, .. }) {
        64
    } else {
        32
    };
    let dst = dst
        .map(|dst| decoder.destination(instruction, dst))
        .transpose()?
        .flatten();
    if matches!(op, MbarrierOp::Test { .. }) && !matches!(dst, None | Some(Reg::Pred(_))) {
        return decoder.unsupported(instruction, "a destination that is no predicate");
    }
    let op = Op::Mbarrier {
        op,
        space,
        addr: decoder.address(instruction, address, space)?,
        dst,
        src: sources
            .iter()
            .map(|source| decoder.source(instruction, source, state_bits))
            .collect::<Result<Srcs, _>>()?,
    };
    Ok((op, Class::Other))
}
