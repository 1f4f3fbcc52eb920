//! Matrix instructions to micro-operations (PTX ISA 9.0, 9.7.14).

use super::decode::Decoder;
use super::error::EmulatorError;
use super::instruction::Decoded;
use super::program::{Class, Dsts, MmaFlags, MmaKind, Op, Reg, Src, Srcs, WmmaMatrix};
use crate::ptx::{Instruction, Operand, Space};

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
            "m16n16" | "m8n16" | "m16n8" | "b8" | "b8x16.b6x16_p32" | "b8x16.b4x16_p64" => {
                return decoder.unsupported(instruction, "matrices of bytes are Blackwell's (sm_100a)");
            }
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
    // Without a space the address is generic, and must lie in shared memory.
    let space = if parts.iter().any(|part| part.starts_with("shared")) {
        Space::Shared
    } else {
        Space::Generic
    };
    let addr = decoder.address(instruction, address, space)?;
    let op = if load {
        let dsts = destinations_of(decoder, instruction, registers)?;
        Op::LoadMatrix {
            matrices,
            transposed,
            space,
            addr,
            dsts,
        }
    } else {
        let src = sources_of(decoder, instruction, registers)?;
        Op::StoreMatrix {
            matrices,
            transposed,
            space,
            addr,
            src,
        }
    };
    Ok((op, Class::Ldmatrix))
}

/// `mma.sync.aligned.shape.row.col{.satfinite}.d.a.b.c`.
pub(super) fn mma(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let unknown = || decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    let ["mma", "sync", "aligned", shape, "row", "col", words @ .., d, a, b, c] = parts else {
        return unknown();
    };
    let signed = |ty: &str| ty.starts_with('s');
    let integers = *d == "s32" && *c == "s32" && [a, b].iter().all(|ty| matches!(**ty, "s8" | "u8"));
    let flags = MmaFlags {
        a_signed: signed(a),
        b_signed: signed(b),
        saturate: words == ["satfinite"],
    };
    let plain = words.is_empty() || (integers && flags.saturate);
    if !plain {
        return unknown();
    }
    let kind = match (*shape, *d, *a, *b, *c) {
        ("m16n8k16", "f32", "f16", "f16", "f32") => MmaKind::F16K16,
        ("m16n8k16", "f16", "f16", "f16", "f16") => MmaKind::F16K16AccF16,
        ("m16n8k16", "f32", "bf16", "bf16", "f32") => MmaKind::Bf16K16,
        ("m16n8k8", "f32", "f16", "f16", "f32") => MmaKind::F16K8,
        ("m16n8k8", "f16", "f16", "f16", "f16") => MmaKind::F16K8AccF16,
        ("m16n8k8", "f32", "bf16", "bf16", "f32") => MmaKind::Bf16K8,
        ("m16n8k8", "f32", "tf32", "tf32", "f32") => MmaKind::Tf32K8,
        ("m16n8k4", "f32", "tf32", "tf32", "f32") => MmaKind::Tf32K4,
        ("m16n8k32", ..) if integers => MmaKind::I8K32,
        ("m16n8k16", ..) if integers => MmaKind::I8K16,
        ("m8n8k16", ..) if integers => MmaKind::I8M8K16,
        _ => return unknown(),
    };
    let (na, nb, nc) = kind.fragment_registers();
    let (d, [a, b, c]) = fragments(decoder, instruction, [nc, na, nb, nc])?;
    let op = Op::Mma {
        kind,
        flags,
        d,
        a,
        b,
        c,
    };
    Ok((op, Class::Mma))
}

/// The registers of D, and of A, B and C.
fn fragments(
    decoder: &Decoder<'_>,
    instruction: &Instruction,
    expected: [usize; 4],
) -> Result<(Dsts, [Srcs; 3]), EmulatorError> {
    let fragment = |index: usize| match instruction.operands.get(index) {
        Some(Operand::Vector(items)) => &items[..],
        Some(single) => std::slice::from_ref(single),
        None => &[],
    };
    let lengths = [0, 1, 2, 3].map(|index| fragment(index).len());
    if instruction.operands.len() != 4 || lengths != expected {
        return decoder.unsupported(
            instruction,
            format!("fragments of {lengths:?} registers, not {expected:?}"),
        );
    }
    let sources = |index: usize| sources_of(decoder, instruction, fragment(index));
    let d = destinations_of(decoder, instruction, fragment(0))?;
    Ok((d, [sources(1)?, sources(2)?, sources(3)?]))
}

fn destinations_of(
    decoder: &Decoder<'_>,
    instruction: &Instruction,
    registers: &[Operand],
) -> Result<Dsts, EmulatorError> {
    let dsts = registers
        .iter()
        .map(|r| decoder.destination(instruction, r))
        .collect::<Result<Dsts, _>>()?;
    if dsts.iter().flatten().any(|reg| !matches!(reg, Reg::R32(_))) {
        return decoder.unsupported(instruction, "fragments that are not 32-bit registers");
    }
    Ok(dsts)
}

fn sources_of(decoder: &Decoder<'_>, instruction: &Instruction, registers: &[Operand]) -> Result<Srcs, EmulatorError> {
    let sources = registers
        .iter()
        .map(|r| decoder.source(instruction, r, 32))
        .collect::<Result<Srcs, _>>()?;
    if sources
        .iter()
        .any(|s| !matches!(s, Src::Reg(Reg::R32(_)) | Src::Imm(_)))
    {
        return decoder.unsupported(instruction, "fragments that are not 32-bit registers");
    }
    Ok(sources)
}

/// `wmma.{load,store}` and `wmma.mma` of m16n16k16 with f16 or bf16 operands (PTX ISA 9.0, 9.7.14.4). PTX leaves open
/// which lane holds which element; ours are in [`super::tensor`].
pub(super) fn wmma(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    if !parts.contains(&"m16n16k16") {
        return decoder.unsupported(instruction, "a wmma shape other than m16n16k16");
    }
    match parts {
        ["wmma", "load", matrix, "sync", "aligned", words @ ..] => wmma_move(decoder, instruction, matrix, words, true),
        ["wmma", "store", "d", "sync", "aligned", words @ ..] => wmma_move(decoder, instruction, "d", words, false),
        [
            "wmma",
            "mma",
            "sync",
            "aligned",
            "row" | "col",
            "row" | "col",
            _,
            types @ ..,
        ] => {
            let (kind, operands) = match types {
                ["f32", "f32"] => (MmaKind::F16K16, 8),
                ["f16", "f16"] => (MmaKind::F16K16AccF16, 8),
                ["f32", "bf16", "bf16", "f32"] => (MmaKind::Bf16K16, 4),
                _ => return decoder.unsupported(instruction, format!("`{}`", instruction.opcode)),
            };
            let sums = if kind == MmaKind::F16K16AccF16 { 4 } else { 8 };
            let (d, [a, b, c]) = fragments(decoder, instruction, [sums, operands, operands, sums])?;
            Ok((Op::Wmma { kind, d, a, b, c }, Class::Mma))
        }
        _ => decoder.unsupported(instruction, format!("`{}`", instruction.opcode)),
    }
}

fn wmma_move(decoder: &Decoder<'_>, instruction: &Instruction, matrix: &str, words: &[&str], load: bool) -> Decoded {
    let unknown = || decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    let (layout, space, ty) = match words {
        [layout, _, ty] => (*layout, Space::Generic, *ty),
        [layout, _, "global", ty] => (*layout, Space::Global, *ty),
        [layout, _, "shared" | "shared::cta", ty] => (*layout, Space::Shared, *ty),
        _ => return unknown(),
    };
    let (matrix, registers) = match (matrix, ty) {
        ("a", "f16") => (WmmaMatrix::A, 8),
        ("b", "f16") => (WmmaMatrix::B, 8),
        ("a", "bf16") => (WmmaMatrix::A, 4),
        ("b", "bf16") => (WmmaMatrix::B, 4),
        ("c" | "d", "f32") => (WmmaMatrix::Sums32, 8),
        ("c" | "d", "f16") => (WmmaMatrix::Sums16, 4),
        _ => return unknown(),
    };
    let (fragment, address, stride) = match (&instruction.operands[..], load) {
        ([Operand::Vector(fragment), address, stride @ ..], true)
        | ([address, Operand::Vector(fragment), stride @ ..], false)
            if stride.len() <= 1 && fragment.len() == registers =>
        {
            (fragment, address, stride.first())
        }
        _ => return decoder.unsupported(instruction, format!("a fragment that has not {registers} registers")),
    };
    let (dsts, src) = if load {
        (destinations_of(decoder, instruction, fragment)?, Srcs::new())
    } else {
        (Dsts::new(), sources_of(decoder, instruction, fragment)?)
    };
    let class = match (space, load) {
        (Space::Shared, true) => Class::LoadShared,
        (Space::Shared, false) => Class::StoreShared,
        (_, true) => Class::LoadGlobal,
        (_, false) => Class::StoreGlobal,
    };
    let op = Op::WmmaMove {
        matrix,
        by_column: layout == "col",
        space,
        addr: decoder.address(instruction, address, space)?,
        // Without one the rows are packed.
        stride: stride.map_or(Ok(Src::Imm(16)), |s| decoder.source(instruction, s, 32))?,
        dsts,
        src,
    };
    Ok((op, class))
}
