//! Loads, stores, atomics and address conversions to micro-operations (PTX ISA 9.0, 9.7.9 and 9.7.13).

use half::{bf16, f16};

use super::alu::{Modify, PoisonRule};
use super::decode::{Decoder, memory_class};
use super::error::EmulatorError;
use super::instruction::{Decoded, copy_of};
use super::lane::{Float, WarpFn, canonical};
use super::memory::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW};
use super::program::{AtomicOp, Class, Dsts, Element, Op, Src, Srcs, Strength, WarpScalar};
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

/// Elements of an access.
struct Shape {
    width: usize,
    signed: bool,
    bytes: u32,
    strength: Strength,
}

/// The shape of a load or store; modifiers that only hint (caches, eviction) or say for whom an access is ordered are
/// accepted.
fn access_shape(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Result<Shape, EmulatorError> {
    let [_, modifiers @ .., ty] = parts else {
        return decoder.unsupported(instruction, "no type");
    };
    let (mut width, mut strength) = (1, Strength::Weak);
    for modifier in modifiers {
        match *modifier {
            "v2" => width = 2,
            "v4" => width = 4,
            "v8" => width = 8,
            "volatile" | "relaxed" | "mmio" => strength = Strength::Relaxed,
            "acquire" => strength = Strength::Acquire,
            "release" => strength = Strength::Release,
            "cluster" | "shared::cluster" => {
                return decoder.unsupported(instruction, "thread block clusters are Hopper's (sm_90)");
            }
            "global" | "shared" | "local" | "param" | "const" | "shared::cta" | "nc" | "ca" | "cg" | "cs" | "cv"
            | "lu" | "wb" | "wt" | "weak" | "cta" | "gpu" | "sys" | "unified" | "param::entry" | "param::func" => {}
            hint if hint.starts_with("L1::") || hint.starts_with("L2::") => {}
            other => return decoder.unsupported(instruction, format!("the modifier `.{other}`")),
        }
    }
    match type_bytes(ty) {
        Some(bytes) if bytes <= 8 && *ty != "pred" => Ok(Shape {
            width,
            signed: ty.starts_with('s'),
            bytes,
            strength,
        }),
        _ => decoder.unsupported(instruction, format!("the type `.{ty}`")),
    }
}

pub(super) fn load(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let shape = access_shape(decoder, instruction, parts)?;
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
    if dsts.len() != shape.width {
        let (given, width) = (dsts.len(), shape.width);
        return decoder.unsupported(instruction, format!("{given} destinations for a vector of {width}"));
    }
    let element = Element {
        bytes: shape.bytes,
        signed: shape.signed,
    };
    Ok((
        Op::Load {
            space,
            addr,
            element,
            dsts,
            strength: shape.strength,
        },
        memory_class(space, false),
    ))
}

pub(super) fn store(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    if parts.get(1) == Some(&"async") || parts.get(1) == Some(&"bulk") {
        return decoder.unsupported(instruction, "asynchronous stores are Hopper's");
    }
    let Shape {
        width, bytes, strength, ..
    } = access_shape(decoder, instruction, parts)?;
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
            strength,
        },
        memory_class(space, true),
    ))
}

/// `atom` and `red` (PTX ISA 9.0, 9.7.13.5 and 9.7.13.7).
pub(super) fn atomic(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let unknown = || decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    let [base, modifiers @ .., ty] = parts else {
        return unknown();
    };
    let (mut name, mut strength, mut full_range) = ("", Strength::Relaxed, false);
    for modifier in modifiers {
        match *modifier {
            "add" | "min" | "max" | "and" | "or" | "xor" | "inc" | "dec" | "exch" | "cas" => name = modifier,
            "relaxed" => strength = Strength::Relaxed,
            "acquire" => strength = Strength::Acquire,
            "release" => strength = Strength::Release,
            "acq_rel" => strength = Strength::AcquireRelease,
            "noftz" => full_range = true,
            "async" | "bulk" | "cluster" | "shared::cluster" | "v2" | "v4" | "v8" => {
                return decoder.unsupported(instruction, "vector and cluster reductions are Hopper's (sm_90)");
            }
            "global" | "shared" | "shared::cta" | "cta" | "gpu" | "sys" => {}
            hint if hint.starts_with("L2::") => {}
            _ => return unknown(),
        }
    }
    let Some(op) = atomic_operation(name, ty, full_range) else {
        return unknown();
    };
    let bytes = type_bytes(ty).unwrap_or(4);
    let returns = usize::from(*base == "atom");
    let sources = 1 + usize::from(matches!(op, AtomicOp::CompareSwap));
    let policy = usize::from(modifiers.contains(&"L2::cache_hint"));
    let operands = &instruction.operands;
    if operands.len() != returns + 1 + sources + policy {
        return decoder.unsupported(instruction, format!("{} operands", operands.len()));
    }
    let dst = if returns == 1 {
        decoder.destination(instruction, &operands[0])?
    } else {
        None
    };
    let space = space_of(parts);
    let addr = decoder.address(instruction, &operands[returns], space)?;
    let src = operands[returns + 1..][..sources]
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
            strength,
        },
        Class::Atomic,
    ))
}

fn atomic_operation(name: &str, ty: &str, full_range: bool) -> Option<AtomicOp> {
    // f16 and bf16 need `.noftz`, and nothing else has it.
    let half = matches!(ty, "f16" | "bf16" | "f16x2" | "bf16x2");
    if half != full_range {
        return None;
    }
    let function: WarpScalar = match (name, ty) {
        ("exch", "b32" | "b64") => return Some(AtomicOp::Exchange),
        ("cas", "b16" | "b32" | "b64") => return Some(AtomicOp::CompareSwap),
        ("add", "f32") => return Some(AtomicOp::AddF32),
        ("add", "u32" | "s32") => |a, b| u64::from((a as u32).wrapping_add(b as u32)),
        ("add", "u64" | "s64") => u64::wrapping_add,
        ("add", "f64") => |a, b| canonical(f64::from_bits(a) + f64::from_bits(b)),
        ("add", "f16") => add_half::<f16>,
        ("add", "bf16") => add_half::<bf16>,
        ("add", "f16x2") => |a, b| add_half::<f16>(a, b) | (add_half::<f16>(a >> 16, b >> 16) << 16),
        ("add", "bf16x2") => |a, b| add_half::<bf16>(a, b) | (add_half::<bf16>(a >> 16, b >> 16) << 16),
        ("min", "u32" | "u64") => |a, b| a.min(b),
        ("max", "u32" | "u64") => |a, b| a.max(b),
        ("min", "s32") => |a, b| u64::from((a as i32).min(b as i32) as u32),
        ("max", "s32") => |a, b| u64::from((a as i32).max(b as i32) as u32),
        ("min", "s64") => |a, b| (a as i64).min(b as i64) as u64,
        ("max", "s64") => |a, b| (a as i64).max(b as i64) as u64,
        ("and", "b32" | "b64") => |a, b| a & b,
        ("or", "b32" | "b64") => |a, b| a | b,
        ("xor", "b32" | "b64") => |a, b| a ^ b,
        ("inc", "u32") => |a, b| if a as u32 >= b as u32 { 0 } else { a + 1 },
        ("dec", "u32") => |a, b| if a as u32 == 0 || a as u32 > b as u32 { b } else { a - 1 },
        _ => return None,
    };
    Some(AtomicOp::Apply(function))
}

fn add_half<T: Float>(a: u64, b: u64) -> u64 {
    canonical(T::narrow(T::of(a).wide() + T::of(b).wide()))
}

/// `cvta{.to}.space`: windows of the generic address space are at fixed distances.
pub(super) fn address_conversion(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let [dst, operand] = &instruction.operands[..] else {
        return decoder.unsupported(instruction, "cvta without two operands");
    };
    let Some(dst) = decoder.destination(instruction, dst)? else {
        return Ok((Op::Nothing, Class::Int));
    };
    if parts.iter().any(|part| part.contains("cluster")) {
        return decoder.unsupported(instruction, "thread block clusters are Hopper's (sm_90)");
    }
    let source = decoder.source(instruction, operand, 64)?;
    // The address of a device function's parameter is a generic one already.
    if matches!(source, Src::Imm(address) if space_of(parts) == Space::Param && address >= LOCAL_WINDOW) {
        return Ok((copy_of(dst, source), Class::Int));
    }
    let window = match space_of(parts) {
        Space::Shared => SHARED_WINDOW,
        Space::Local => LOCAL_WINDOW,
        Space::Param => PARAM_WINDOW,
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
            modify: Modify::default(),
        },
        Class::Int,
    ))
}
