//! Matrix instructions to micro-operations (PTX ISA 9.0, 9.7.14).

use super::convert::Rounding;
use super::decode::Decoder;
use super::error::EmulatorError;
use super::fragments::{Form, Fragment, Number, Rule, Sum};
use super::instruction::Decoded;
use super::program::{Class, Dsts, MmaFlags, MmaKind, Op, Reg, Src, Srcs};
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
        let dsts = destinations_of(decoder, instruction, registers, 32)?;
        Op::LoadMatrix {
            matrices,
            transposed,
            space,
            addr,
            dsts,
        }
    } else {
        let src = sources_of(decoder, instruction, registers, 32)?;
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

/// `movmatrix.sync.aligned.m8n8.trans.b16 d, a`.
pub(super) fn matrix_transpose(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let (["movmatrix", "sync", "aligned", "m8n8", "trans", "b16"], [dst, source]) = (parts, &instruction.operands[..])
    else {
        return decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    };
    let dsts = destinations_of(decoder, instruction, std::slice::from_ref(dst), 32)?;
    let sources = sources_of(decoder, instruction, std::slice::from_ref(source), 32)?;
    match (dsts[0], sources[0]) {
        (Some(dst), src) => Ok((Op::TransposeMatrix { dst, src }, Class::WarpExchange)),
        (None, _) => Ok((Op::Nothing, Class::WarpExchange)),
    }
}

/// `mma.sync.aligned.shape.row.col{.satfinite}.d.a.b.c`, of single bits with `{.xor,.and}.popc` behind.
pub(super) fn mma(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let unknown = || decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    if parts.get(1).is_some_and(|part| part.starts_with("sp")) {
        return decoder.unsupported(instruction, "products of sparse matrices");
    }
    let (["mma", "sync", "aligned", shape, "row", "col", words @ .., d, a, b, c], rule) = split_rule(parts) else {
        return decoder.unsupported(instruction, later_product(parts).unwrap_or(instruction.opcode.as_str()));
    };
    let signed = |ty: &str| ty.starts_with('s');
    let integers = *d == "s32" && *c == "s32" && [a, b].iter().all(|ty| matches!(**ty, "s8" | "u8"));
    let flags = MmaFlags {
        a_signed: signed(a),
        b_signed: signed(b),
        saturate: words == ["satfinite"],
    };
    let kind = match (*shape, *d, *a, *b, *c) {
        _ if rule.is_some() => None,
        _ if !(words.is_empty() || (integers && flags.saturate)) => None,
        ("m16n8k16", "f32", "f16", "f16", "f32") => Some(MmaKind::F16K16),
        ("m16n8k16", "f16", "f16", "f16", "f16") => Some(MmaKind::F16K16AccF16),
        ("m16n8k16", "f32", "bf16", "bf16", "f32") => Some(MmaKind::Bf16K16),
        ("m16n8k8", "f32", "f16", "f16", "f32") => Some(MmaKind::F16K8),
        ("m16n8k8", "f16", "f16", "f16", "f16") => Some(MmaKind::F16K8AccF16),
        ("m16n8k8", "f32", "bf16", "bf16", "f32") => Some(MmaKind::Bf16K8),
        ("m16n8k8", "f32", "tf32", "tf32", "f32") => Some(MmaKind::Tf32K8),
        ("m16n8k4", "f32", "tf32", "tf32", "f32") => Some(MmaKind::Tf32K4),
        ("m16n8k32", ..) if integers => Some(MmaKind::I8K32),
        ("m16n8k16", ..) if integers => Some(MmaKind::I8K16),
        ("m8n8k16", ..) if integers => Some(MmaKind::I8M8K16),
        _ => None,
    };
    if let Some(kind) = kind {
        let (na, nb, nc) = kind.fragment_registers();
        let (d, [a, b, c]) = fragments(decoder, instruction, [nc, na, nb, nc].map(|count| (count, 32)))?;
        let op = Op::Mma {
            kind,
            flags,
            d,
            a,
            b,
            c,
        };
        return Ok((op, Class::Mma));
    }
    let form = form(shape, [a, b], [c, d], words, rule, false);
    let known = form.filter(|form| {
        let [left, right] = form.numbers;
        match (left, right, form.rule) {
            (Number::F64, Number::F64, Rule::Multiply) => form.shape == (8, 8, 4),
            (Number::Signed(4) | Number::Unsigned(4), Number::Signed(4) | Number::Unsigned(4), _) => {
                matches!(form.shape, (8, 8, 32) | (16, 8, 32) | (16, 8, 64))
            }
            (Number::Bit, Number::Bit, Rule::Xor | Rule::And) => {
                matches!(form.shape, (8, 8, 128) | (16, 8, 128) | (16, 8, 256))
            }
            _ => false,
        }
    });
    match known {
        Some(form) => product(decoder, instruction, form),
        None => match later_product(parts) {
            Some(reason) => decoder.unsupported(instruction, reason),
            None => unknown(),
        },
    }
}

/// Splits what stands behind the types (or, in `wmma`, behind `mma`) off: `.xor.popc` or `.and.popc`.
fn split_rule<'p, 's>(parts: &'p [&'s str]) -> (&'p [&'s str], Option<Rule>) {
    match parts {
        [rest @ .., "xor", "popc"] => (rest, Some(Rule::Xor)),
        [rest @ .., "and", "popc"] => (rest, Some(Rule::And)),
        all => (all, None),
    }
}

/// A product of these types, where the modifiers are known: `.satfinite` of integers, the rounding of f64.
fn form(
    shape: &str,
    numbers: [&str; 2],
    sums: [&str; 2],
    words: &[&str],
    rule: Option<Rule>,
    dealt: bool,
) -> Option<Form> {
    let numbers = [Number::parse(numbers[0])?, Number::parse(numbers[1])?];
    let sums = [Sum::parse(sums[0])?, Sum::parse(sums[1])?];
    let integer = matches!(numbers[0], Number::Signed(_) | Number::Unsigned(_));
    let fits = match numbers[0] {
        Number::F16 => sums.iter().all(|sum| matches!(sum, Sum::F16 | Sum::F32)),
        Number::Bf16 | Number::Tf32 => sums == [Sum::F32; 2],
        Number::F64 => sums == [Sum::F64; 2],
        Number::Signed(_) | Number::Unsigned(_) | Number::Bit => sums == [Sum::S32; 2],
    };
    let same = numbers[0] == numbers[1] || (integer && numbers[0].bits() == numbers[1].bits());
    if !fits || !same || rule.is_some() != (numbers[0] == Number::Bit) {
        return None;
    }
    let (rule, rounding) = match words {
        [] => (rule.unwrap_or(Rule::Multiply), Rounding::Nearest),
        ["satfinite"] if integer => (Rule::Clamp, Rounding::Nearest),
        ["rn"] if numbers[0] == Number::F64 => (Rule::Multiply, Rounding::Nearest),
        ["rz"] if numbers[0] == Number::F64 => (Rule::Multiply, Rounding::Zero),
        ["rm"] if numbers[0] == Number::F64 => (Rule::Multiply, Rounding::Down),
        ["rp"] if numbers[0] == Number::F64 => (Rule::Multiply, Rounding::Up),
        _ => return None,
    };
    Some(Form {
        shape: shape_of(shape)?,
        numbers,
        sums,
        rule,
        rounding,
        dealt,
    })
}

/// `m16n8k32` as numbers.
fn shape_of(text: &str) -> Option<(u32, u32, u32)> {
    let (m, rest) = text.strip_prefix('m')?.split_once('n')?;
    let (n, k) = rest.split_once('k')?;
    Some((m.parse().ok()?, n.parse().ok()?, k.parse().ok()?))
}

fn product(decoder: &Decoder<'_>, instruction: &Instruction, form: Form) -> Decoded {
    let Some([a, b, c, d]) = form.fragments() else {
        return decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    };
    let expected = [d, a, b, c].map(|fragment| (fragment.registers as usize, fragment.register_bits()));
    let (d, [a, b, c]) = fragments(decoder, instruction, expected)?;
    Ok((Op::Product { form, d, a, b, c }, Class::Mma))
}

/// Products of other architectures, by name.
fn later_product(parts: &[&str]) -> Option<&'static str> {
    let has = |word: &str| parts.contains(&word);
    if has("m8n8k4") && has("f16") {
        Some("products of quarter warps (m8n8k4 of f16) are Volta's (sm_70); use m16n8k8")
    } else if has("f64") {
        Some("products of f64 other than m8n8k4 are Hopper's (sm_90)")
    } else if has("e4m3") || has("e5m2") {
        Some("products of 8-bit floats are Ada's and Hopper's (sm_89)")
    } else if parts
        .iter()
        .any(|part| part.starts_with("kind::") || *part == "block_scale")
    {
        Some("scaled products are Blackwell's (sm_120a)")
    } else {
        None
    }
}

/// The registers of D, and of A, B and C: how many are expected, and of how many bits.
fn fragments(
    decoder: &Decoder<'_>,
    instruction: &Instruction,
    expected: [(usize, u32); 4],
) -> Result<(Dsts, [Srcs; 3]), EmulatorError> {
    let fragment = |index: usize| match instruction.operands.get(index) {
        Some(Operand::Vector(items)) => &items[..],
        Some(single) => std::slice::from_ref(single),
        None => &[],
    };
    let lengths = [0, 1, 2, 3].map(|index| fragment(index).len());
    let counts = expected.map(|(count, _)| count);
    if instruction.operands.len() != 4 || lengths != counts {
        return decoder.unsupported(
            instruction,
            format!("fragments of {lengths:?} registers, not {counts:?}"),
        );
    }
    let sources = |index: usize| sources_of(decoder, instruction, fragment(index), expected[index].1);
    let d = destinations_of(decoder, instruction, fragment(0), expected[0].1)?;
    Ok((d, [sources(1)?, sources(2)?, sources(3)?]))
}

fn is_wide(reg: &Reg, bits: u32) -> bool {
    matches!((reg, bits), (Reg::R32(_), 32) | (Reg::R64(_), 64))
}

fn destinations_of(
    decoder: &Decoder<'_>,
    instruction: &Instruction,
    registers: &[Operand],
    bits: u32,
) -> Result<Dsts, EmulatorError> {
    let dsts = registers
        .iter()
        .map(|r| decoder.destination(instruction, r))
        .collect::<Result<Dsts, _>>()?;
    if dsts.iter().flatten().any(|reg| !is_wide(reg, bits)) {
        return decoder.unsupported(instruction, format!("fragments that are not {bits}-bit registers"));
    }
    Ok(dsts)
}

fn sources_of(
    decoder: &Decoder<'_>,
    instruction: &Instruction,
    registers: &[Operand],
    bits: u32,
) -> Result<Srcs, EmulatorError> {
    let sources = registers
        .iter()
        .map(|r| decoder.source(instruction, r, bits))
        .collect::<Result<Srcs, _>>()?;
    let fits = |source: &Src| match source {
        Src::Reg(reg) => is_wide(reg, bits),
        Src::Imm(_) => true,
        Src::Special(_) => false,
    };
    if !sources.iter().all(fits) {
        return decoder.unsupported(instruction, format!("fragments that are not {bits}-bit registers"));
    }
    Ok(sources)
}

/// `wmma.{load,store}` and `wmma.mma` (PTX ISA 9.0, 9.7.14.4). PTX leaves open which lane holds which element; ours are
/// in [`super::fragments`].
pub(super) fn wmma(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let unknown = || decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    match parts {
        [
            "wmma",
            "load",
            matrix @ ("a" | "b" | "c"),
            "sync",
            "aligned",
            words @ ..,
        ] => wmma_move(decoder, instruction, matrix, words, true),
        ["wmma", "store", "d", "sync", "aligned", words @ ..] => wmma_move(decoder, instruction, "d", words, false),
        ["wmma", "mma", rest @ ..] => {
            let (rule, rest) = match rest {
                ["xor", "popc", rest @ ..] => (Some(Rule::Xor), rest),
                ["and", "popc", rest @ ..] => (Some(Rule::And), rest),
                rest => (None, rest),
            };
            let [
                "sync",
                "aligned",
                rows @ ("row" | "col"),
                columns @ ("row" | "col"),
                shape,
                types @ ..,
            ] = rest
            else {
                return unknown();
            };
            let form = match types {
                [d @ ("f16" | "f32"), c @ ("f16" | "f32")] => form(shape, ["f16"; 2], [c, d], &[], rule, true),
                [d, a, b, c] => form(shape, [a, b], [c, d], &[], rule, true),
                [d, a, b, c, word @ "satfinite"] => form(shape, [a, b], [c, d], &[word], rule, true),
                [word @ ("rn" | "rz" | "rm" | "rp"), d, a, b, c] => form(shape, [a, b], [c, d], &[word], rule, true),
                _ => None,
            };
            let Some(form) = form.filter(|form| form.fragments().is_some()) else {
                return unknown();
            };
            // Elements of less than a byte lie side by side along k only.
            if form.numbers[0].bits() < 8 && (*rows, *columns) != ("row", "col") {
                return unknown();
            }
            product(decoder, instruction, form)
        }
        _ => unknown(),
    }
}

fn wmma_move(decoder: &Decoder<'_>, instruction: &Instruction, matrix: &str, words: &[&str], load: bool) -> Decoded {
    let unknown = || decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    let (layout, shape, space, ty) = match words {
        [layout @ ("row" | "col"), shape, ty] => (*layout, *shape, Space::Generic, *ty),
        [layout @ ("row" | "col"), shape, "global", ty] => (*layout, *shape, Space::Global, *ty),
        [layout @ ("row" | "col"), shape, "shared" | "shared::cta", ty] => (*layout, *shape, Space::Shared, *ty),
        _ => return unknown(),
    };
    let Some(found) = wmma_fragment(matrix, shape, ty) else {
        return unknown();
    };
    if found.bits < 8 && layout != if matrix == "a" { "row" } else { "col" } {
        return unknown();
    }
    let registers = found.registers as usize;
    let (fragment, address, stride) = match (&instruction.operands[..], load) {
        ([fragment, address, stride @ ..], true) | ([address, fragment, stride @ ..], false) if stride.len() <= 1 => {
            (fragment, address, stride.first())
        }
        _ => return decoder.unsupported(instruction, "a fragment and an address are expected"),
    };
    let fragment = match fragment {
        Operand::Vector(items) => &items[..],
        single => std::slice::from_ref(single),
    };
    if fragment.len() != registers {
        return decoder.unsupported(instruction, format!("a fragment that has not {registers} registers"));
    }
    let bits = found.register_bits();
    let (dsts, src) = if load {
        (destinations_of(decoder, instruction, fragment, bits)?, Srcs::new())
    } else {
        (Dsts::new(), sources_of(decoder, instruction, fragment, bits)?)
    };
    let class = match (space, load) {
        (Space::Shared, true) => Class::LoadShared,
        (Space::Shared, false) => Class::StoreShared,
        (_, true) => Class::LoadGlobal,
        (_, false) => Class::StoreGlobal,
    };
    let by_column = layout == "col";
    // Without a stride the lines are packed.
    let packed = u64::from(if by_column { found.rows } else { found.columns });
    let op = Op::WmmaMove {
        fragment: found,
        operand: matches!(matrix, "a" | "b"),
        by_column,
        space,
        addr: decoder.address(instruction, address, space)?,
        stride: stride.map_or(Ok(Src::Imm(packed)), |s| decoder.source(instruction, s, 32))?,
        dsts,
        src,
    };
    Ok((op, class))
}

/// The fragment of a matrix (`a`, `b`, `c`, `d`) of a shape and type.
fn wmma_fragment(matrix: &str, shape: &str, ty: &str) -> Option<Fragment> {
    // Sums of a shape are the same for all operands that have it: any of them will do.
    let operands: &[&str] = match (matrix, ty) {
        ("a" | "b", ty) => &[ty],
        (_, "f16") => &["f16"],
        (_, "f32") => &["f16", "tf32"],
        (_, "f64") => &["f64"],
        _ => &["s8", "s4", "b1"],
    };
    let sums = |operand: &str| match (matrix, operand) {
        ("c" | "d", _) => Sum::parse(ty),
        (_, "f16" | "bf16" | "tf32") => Some(Sum::F32),
        (_, "f64") => Some(Sum::F64),
        _ => Some(Sum::S32),
    };
    operands.iter().find_map(|operand| {
        let number = Number::parse(operand)?;
        let form = Form {
            shape: shape_of(shape)?,
            numbers: [number; 2],
            sums: [sums(operand)?; 2],
            rule: Rule::Multiply,
            rounding: Rounding::Nearest,
            dealt: true,
        };
        let [a, b, c, d] = form.fragments()?;
        match matrix {
            "a" => Some(a),
            "b" => Some(b),
            "c" => Some(c),
            _ => Some(d),
        }
    })
}
