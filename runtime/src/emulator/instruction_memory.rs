//! Memory and matrix instructions to micro-operations (PTX ISA 9.0, 9.7.9 and 9.7.14).

use super::alu::PoisonRule;
use super::decode::{Decoder, memory_class};
use super::error::EmulatorError;
use super::instruction::Decoded;
use super::lane::WarpFn;
use super::memory::{LOCAL_WINDOW, SHARED_WINDOW};
use super::program::{AtomicOp, Class, Dsts, Element, MmaKind, Op, Reg, Src, Srcs, WarpScalar};
use crate::ptx::{Instruction, Operand, Space, type_bytes};

fn space_of(parts: &[&str]) -> Space {
    parts[1..]
        .iter()
        .find_map(|part| match part.split("::").next().unwrap_or(part) {
            "global" => Some(Space::Global),
            "shared" => Some(Space::Shared),
            "local" => Some(Space::Local),
            "param" => Some(Space::Param),
            "const" => Some(Space::Const),
            _ => None,
        })
        .unwrap_or(Space::Generic)
}

/// Vector width of an access; modifiers that only hint (caches, eviction, volatility, scope) are accepted.
fn access_shape(
    decoder: &Decoder<'_>,
    instruction: &Instruction,
    parts: &[&str],
) -> Result<(usize, &'static str, u32), EmulatorError> {
    let mut width = 1;
    let Some((ty, modifiers)) = parts[1..].split_last() else {
        return decoder.unsupported(instruction, "no type");
    };
    for modifier in modifiers {
        match *modifier {
            "v2" => width = 2,
            "v4" => width = 4,
            "v8" => width = 8,
            "global" | "shared" | "local" | "param" | "const" | "shared::cta" | "nc" | "ca" | "cg" | "cs" | "cv"
            | "lu" | "wb" | "wt" | "volatile" | "relaxed" | "acquire" | "release" | "weak" | "cta" | "gpu" | "sys"
            | "cluster" | "unified" | "param::entry" => {}
            hint if hint.starts_with("L1::") || hint.starts_with("L2::") => {}
            other => return decoder.unsupported(instruction, format!("the modifier `.{other}`")),
        }
    }
    let kind = match ty.as_bytes().first() {
        Some(b's') => "signed",
        _ => "plain",
    };
    match type_bytes(ty) {
        Some(bytes) if bytes <= 8 && *ty != "pred" => Ok((width, kind, bytes)),
        _ => decoder.unsupported(instruction, format!("the type `.{ty}`")),
    }
}

pub(super) fn load(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let (width, kind, bytes) = access_shape(decoder, instruction, parts)?;
    // A cache policy may follow the address: it changes no value.
    let [dst, address, ..] = &instruction.operands[..] else {
        return decoder.unsupported(instruction, "a load without destination and address");
    };
    let mut space = space_of(parts);
    if space == Space::Param && decoder.address_symbol_space(address) == Some(Space::Local) {
        space = Space::Local;
    }
    let addr = decoder.address(instruction, address, space)?;
    let dsts: Dsts = match dst {
        Operand::Vector(items) => items
            .iter()
            .map(|item| decoder.destination(instruction, item))
            .collect::<Result<_, _>>()?,
        single => [decoder.destination(instruction, single)?].into_iter().collect(),
    };
    if dsts.len() != width {
        return decoder.unsupported(
            instruction,
            format!("{} destinations for a vector of {width}", dsts.len()),
        );
    }
    let element = Element {
        bytes,
        signed: kind == "signed",
    };
    Ok((
        Op::Load {
            space,
            addr,
            element,
            dsts,
        },
        memory_class(space, false),
    ))
}

pub(super) fn store(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    if parts.get(1) == Some(&"async") || parts.get(1) == Some(&"bulk") {
        return decoder.unsupported(instruction, "asynchronous stores are Hopper's");
    }
    let (width, _, bytes) = access_shape(decoder, instruction, parts)?;
    let [address, value, ..] = &instruction.operands[..] else {
        return decoder.unsupported(instruction, "a store without address and value");
    };
    let mut space = space_of(parts);
    if space == Space::Param && decoder.address_symbol_space(address) == Some(Space::Local) {
        space = Space::Local;
    }
    if matches!(space, Space::Param | Space::Const) {
        return decoder.unsupported(instruction, "a store to read-only memory");
    }
    let addr = decoder.address(instruction, address, space)?;
    let values = match value {
        Operand::Vector(items) => &items[..],
        single => std::slice::from_ref(single),
    };
    if values.len() != width {
        return decoder.unsupported(instruction, format!("{} values for a vector of {width}", values.len()));
    }
    let src = values
        .iter()
        .map(|v| decoder.source(instruction, v, bytes * 8))
        .collect::<Result<Srcs, _>>()?;
    Ok((
        Op::Store {
            space,
            addr,
            bytes,
            src,
        },
        memory_class(space, true),
    ))
}

pub(super) fn atomic(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let ty = parts.last().copied().unwrap_or("");
    let known = parts.iter().any(|p| p.starts_with('v') && p.len() == 2) || parts.contains(&"noftz");
    let function: Option<WarpScalar> = match (atomic_name(parts), ty) {
        ("add", "u32" | "s32") => Some(|a, b| u64::from((a as u32).wrapping_add(b as u32))),
        ("add", "u64" | "s64") => Some(u64::wrapping_add),
        ("add", "f32") => Some(|a, b| u64::from((f32::from_bits(a as u32) + f32::from_bits(b as u32)).to_bits())),
        ("add", "f64") => Some(|a, b| (f64::from_bits(a) + f64::from_bits(b)).to_bits()),
        ("min", "u32") => Some(|a, b| u64::from((a as u32).min(b as u32))),
        ("min", "s32") => Some(|a, b| u64::from((a as i32).min(b as i32) as u32)),
        ("min", "u64") => Some(|a, b| a.min(b)),
        ("max", "u32") => Some(|a, b| u64::from((a as u32).max(b as u32))),
        ("max", "s32") => Some(|a, b| u64::from((a as i32).max(b as i32) as u32)),
        ("max", "u64") => Some(|a, b| a.max(b)),
        ("and", "b32" | "b64") => Some(|a, b| a & b),
        ("or", "b32" | "b64") => Some(|a, b| a | b),
        ("xor", "b32" | "b64") => Some(|a, b| a ^ b),
        ("inc", "u32") => Some(|a, b| if a as u32 >= b as u32 { 0 } else { a + 1 }),
        ("dec", "u32") => Some(|a, b| if a as u32 == 0 || a as u32 > b as u32 { b } else { a - 1 }),
        _ => None,
    };
    let op = match (atomic_name(parts), function) {
        (_, Some(function)) if !known => AtomicOp::Apply(function),
        ("exch", None) if matches!(ty, "b32" | "b64") => AtomicOp::Exchange,
        ("cas", None) if matches!(ty, "b32" | "b64") => AtomicOp::CompareSwap,
        _ => return decoder.unsupported(instruction, format!("`{}`", instruction.opcode)),
    };
    let bytes = type_bytes(ty).unwrap_or(4);
    let returns = usize::from(parts[0] == "atom");
    let sources = 1 + usize::from(matches!(op, AtomicOp::CompareSwap));
    let operands = &instruction.operands;
    if operands.len() != returns + 1 + sources {
        return decoder.unsupported(instruction, format!("{} operands", operands.len()));
    }
    let dst = if returns == 1 {
        decoder.destination(instruction, &operands[0])?
    } else {
        None
    };
    let space = space_of(parts);
    let addr = decoder.address(instruction, &operands[returns], space)?;
    let src = operands[returns + 1..]
        .iter()
        .map(|operand| decoder.source(instruction, operand, bytes * 8))
        .collect::<Result<Srcs, _>>()?;
    Ok((
        Op::Atomic {
            space,
            op,
            bytes,
            addr,
            dst,
            src,
        },
        Class::Atomic,
    ))
}

fn atomic_name<'p>(parts: &[&'p str]) -> &'p str {
    const NAMES: [&str; 10] = ["add", "min", "max", "and", "or", "xor", "inc", "dec", "exch", "cas"];
    parts.iter().find(|part| NAMES.contains(part)).copied().unwrap_or("")
}

/// `cvta{.to}.space`: windows of the generic address space are at fixed distances.
pub(super) fn address_conversion(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let [dst, operand] = &instruction.operands[..] else {
        return decoder.unsupported(instruction, "cvta without two operands");
    };
    let Some(dst) = decoder.destination(instruction, dst)? else {
        return Ok((Op::Nothing, Class::Int));
    };
    let source = decoder.source(instruction, operand, 64)?;
    let window = match space_of(parts) {
        Space::Shared => SHARED_WINDOW,
        Space::Local => LOCAL_WINDOW,
        Space::Param => return decoder.unsupported(instruction, "generic addresses of parameters"),
        Space::Global | Space::Const | Space::Generic => 0,
    };
    let amount = if parts.contains(&"to") {
        window.wrapping_neg()
    } else {
        window
    };
    let function: WarpFn = |s, out| {
        for i in 0..32 {
            out[i] = s[0][i].wrapping_add(s[1][i]);
        }
    };
    let src = [source, Src::Imm(amount)].into_iter().collect();
    Ok((
        Op::Map {
            function,
            dst,
            src,
            poison: PoisonRule::Any,
            flush: false,
        },
        Class::Int,
    ))
}

/// `cp.async.{ca,cg}.shared.global`, `cp.async.commit_group`, `cp.async.wait_group`, `cp.async.wait_all`.
pub(super) fn async_copy(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let operands = &instruction.operands;
    match parts[1..] {
        ["async", "commit_group"] => return Ok((Op::Commit, Class::Commit)),
        ["async", "wait_all"] => {
            return Ok((
                Op::Wait {
                    groups: 0,
                    uncommitted: true,
                },
                Class::Wait,
            ));
        }
        ["async", "wait_group"] => {
            return match operands.first() {
                Some(Operand::Int(groups)) if *groups <= u64::from(u32::MAX) => Ok((
                    Op::Wait {
                        groups: *groups as u32,
                        uncommitted: false,
                    },
                    Class::Wait,
                )),
                _ => decoder.unsupported(instruction, "a group count that is no constant"),
            };
        }
        ["async", "ca" | "cg", "shared" | "shared::cta", "global", ..] => {}
        _ => return decoder.unsupported(instruction, format!("`{}`", instruction.opcode)),
    }
    let hints = &parts[5..];
    if !hints.iter().all(|hint| hint.starts_with("L2::")) {
        return decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    }
    let [dst, src, Operand::Int(bytes), rest @ ..] = &operands[..] else {
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
    // Behind the size: a source size (or a predicate that ignores the source), then a cache policy.
    let policy = usize::from(hints.contains(&"L2::cache_hint"));
    let src_bytes = match rest.len() - policy.min(rest.len()) {
        0 => None,
        1 => match &rest[0] {
            Operand::Register(id) if decoder.register_bits(*id) == 1 => {
                return decoder.unsupported(instruction, "cp.async with an ignore-src predicate");
            }
            operand => Some(decoder.source(instruction, operand, 32)?),
        },
        _ => return decoder.unsupported(instruction, "too many operands"),
    };
    let dst = decoder.address(instruction, dst, Space::Shared)?;
    let src = decoder.address(instruction, src, Space::Global)?;
    Ok((
        Op::CpAsync {
            bytes: *bytes as u32,
            dst,
            src,
            src_bytes,
        },
        Class::CpAsync,
    ))
}

/// `ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16`, in any order of shape and count.
pub(super) fn matrix_move(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let (mut matrices, mut transposed, mut shape) = (1u32, false, false);
    for part in &parts[1..] {
        match *part {
            "sync" | "aligned" | "shared" | "shared::cta" | "b16" => {}
            "m8n8" => shape = true,
            "x1" => matrices = 1,
            "x2" => matrices = 2,
            "x4" => matrices = 4,
            "trans" => transposed = true,
            other => return decoder.unsupported(instruction, format!("the modifier `.{other}`")),
        }
    }
    let load = parts[0] == "ldmatrix";
    let [first, second] = &instruction.operands[..] else {
        return decoder.unsupported(instruction, "two operands are expected");
    };
    let (registers, address) = if load { (first, second) } else { (second, first) };
    let registers = match registers {
        Operand::Vector(items) => &items[..],
        single => std::slice::from_ref(single),
    };
    if !shape || registers.len() != matrices as usize {
        return decoder.unsupported(
            instruction,
            format!("{} registers for {matrices} matrices", registers.len()),
        );
    }
    let addr = decoder.address(instruction, address, Space::Shared)?;
    let op = if load {
        let dsts = registers
            .iter()
            .map(|r| decoder.destination(instruction, r))
            .collect::<Result<Dsts, _>>()?;
        if dsts.iter().flatten().any(|reg| !matches!(reg, Reg::R32(_))) {
            return decoder.unsupported(instruction, "destinations that are not 32-bit registers");
        }
        Op::LoadMatrix {
            matrices,
            transposed,
            addr,
            dsts,
        }
    } else {
        let src = registers
            .iter()
            .map(|r| decoder.source(instruction, r, 32))
            .collect::<Result<Srcs, _>>()?;
        Op::StoreMatrix {
            matrices,
            transposed,
            addr,
            src,
        }
    };
    Ok((op, Class::Ldmatrix))
}

pub(super) fn mma(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let unknown = || decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    let ["mma", "sync", "aligned", shape, "row", "col", d, a, b, c] = parts[..] else {
        return unknown();
    };
    let kind = match (shape, d, a, b, c) {
        ("m16n8k16", "f32", "f16", "f16", "f32") => MmaKind::F16K16,
        ("m16n8k16", "f16", "f16", "f16", "f16") => MmaKind::F16K16AccF16,
        ("m16n8k16", "f32", "bf16", "bf16", "f32") => MmaKind::Bf16K16,
        ("m16n8k8", "f32", "f16", "f16", "f32") => MmaKind::F16K8,
        ("m16n8k8", "f16", "f16", "f16", "f16") => MmaKind::F16K8AccF16,
        ("m16n8k8", "f32", "bf16", "bf16", "f32") => MmaKind::Bf16K8,
        ("m16n8k8", "f32", "tf32", "tf32", "f32") => MmaKind::Tf32K8,
        ("m16n8k4", "f32", "tf32", "tf32", "f32") => MmaKind::Tf32K4,
        _ => return unknown(),
    };
    let fragment = |index: usize| match instruction.operands.get(index) {
        Some(Operand::Vector(items)) => &items[..],
        Some(single) => std::slice::from_ref(single),
        None => &[],
    };
    let (na, nb, nc) = kind.fragment_registers();
    let lengths = [0, 1, 2, 3].map(|index| fragment(index).len());
    if instruction.operands.len() != 4 || lengths != [nc, na, nb, nc] {
        return decoder.unsupported(
            instruction,
            format!("fragments of {lengths:?} registers, not {:?}", [nc, na, nb, nc]),
        );
    }
    let sources = |index: usize| {
        fragment(index)
            .iter()
            .map(|r| decoder.source(instruction, r, 32))
            .collect::<Result<Srcs, _>>()
    };
    let d = fragment(0)
        .iter()
        .map(|r| decoder.destination(instruction, r))
        .collect::<Result<Dsts, _>>()?;
    let (a, b, c) = (sources(1)?, sources(2)?, sources(3)?);
    let wide = |reg: &Reg| !matches!(reg, Reg::R32(_));
    if d.iter().flatten().any(wide)
        || a.iter()
            .chain(&b)
            .chain(&c)
            .any(|s| matches!(s, Src::Reg(reg) if wide(reg)))
    {
        return decoder.unsupported(instruction, "fragments that are not 32-bit registers");
    }
    Ok((Op::Mma { kind, d, a, b, c }, Class::Mma))
}
