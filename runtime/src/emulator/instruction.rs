//! One instruction to its micro-operation: the table of opcodes (PTX ISA 9.0, chapter 9.7).

use super::alu::{Flush, Modify, PoisonRule, alu, carry, comparison, displaced, packed_comparison};
use super::convert::{ScalarType, convert};
use super::decode::{Decoder, type_bits};
use super::error::EmulatorError;
use super::instruction_async::{async_copy, mbarrier};
use super::instruction_memory::{address_conversion, atomic, load, store};
use super::instruction_tensor::{matrix_move, matrix_transpose, mma, wmma};
use super::instruction_warp::{barrier, elect, match_lanes, redux, shuffle, vote};
use super::lane::{Lanes, WarpFn};
use super::program::{BoolOp, Class, Combine, Dsts, Op, Reg, Special, Src, Srcs};
use crate::ptx::{Instruction, Operand};

pub(super) type Decoded = Result<(Op, Class), EmulatorError>;

/// Decodes an instruction.
pub(super) fn operation(decoder: &Decoder<'_>, instruction: &Instruction) -> Decoded {
    let parts: Vec<&str> = instruction.opcode.split('.').collect();
    let operands = &instruction.operands;
    match parts[0] {
        "mov" if operands.iter().any(|o| matches!(o, Operand::Vector(_))) => pack(decoder, instruction, &parts),
        "mov" => move_value(decoder, instruction, &parts),
        "ld" | "ldu" => load(decoder, instruction, &parts),
        "st" => store(decoder, instruction, &parts),
        "atom" | "red" => atomic(decoder, instruction, &parts),
        "cvta" => address_conversion(decoder, instruction, &parts),
        "cvt" if parts.get(1) == Some(&"pack") => scalar(decoder, instruction, &parts),
        "cvt" => conversion(decoder, instruction, &parts),
        "lop3" if parts.len() == 3 => logic_test(decoder, instruction, &parts),
        "setp" => set_predicate(decoder, instruction, &parts),
        "set" => set(decoder, instruction, &parts),
        "bra" => match &operands[..] {
            [target] => {
                let target = decoder.label(instruction, target)?;
                Ok((Op::Branch { target }, Class::Branch))
            }
            _ => decoder.unsupported(instruction, "a branch without its label"),
        },
        "brx" => branch_table(decoder, instruction, &parts),
        returns @ ("ret" | "exit") => Ok((
            Op::Exit {
                returns: returns == "ret",
            },
            Class::Branch,
        )),
        "trap" => {
            let reason = "the kernel executed `trap`".into();
            Ok((Op::Trap { reason }, Class::Other))
        }
        "bar" | "barrier" => barrier(decoder, instruction, &parts),
        "cp" => async_copy(decoder, instruction, &parts),
        "mbarrier" => mbarrier(decoder, instruction, &parts),
        "ldmatrix" | "stmatrix" => matrix_move(decoder, instruction, &parts),
        "movmatrix" => matrix_transpose(decoder, instruction, &parts),
        "mma" => mma(decoder, instruction, &parts),
        "wmma" => wmma(decoder, instruction, &parts),
        "shfl" => shuffle(decoder, instruction, &parts),
        "vote" => vote(decoder, instruction, &parts),
        "match" => match_lanes(decoder, instruction, &parts),
        "redux" => redux(decoder, instruction, &parts),
        "elect" => elect(decoder, instruction, &parts),
        "activemask" => match &operands[..] {
            [dst] => match decoder.destination(instruction, dst)? {
                Some(dst) => Ok((Op::ActiveMask { dst }, Class::WarpExchange)),
                None => Ok((Op::Nothing, Class::WarpExchange)),
            },
            _ => decoder.unsupported(instruction, "activemask without a destination"),
        },
        "fence" | "membar" => fence(decoder, instruction, &parts),
        // `griddepcontrol` orders whole kernels, and only one runs here.
        "prefetch" | "prefetchu" | "discard" | "applypriority" | "nanosleep" | "pmevent" | "brkpt"
        | "griddepcontrol" => Ok((Op::Nothing, Class::Other)),
        // A cache policy: what it holds only goes into cache hints, which change no value.
        "createpolicy" => match operands
            .first()
            .map(|dst| decoder.destination(instruction, dst))
            .transpose()?
        {
            Some(Some(dst)) => Ok((copy_of(dst, Src::Imm(0)), Class::Int)),
            _ => decoder.unsupported(instruction, "createpolicy without a destination"),
        },
        _ if carry(&parts).is_some() => carried(decoder, instruction, &parts),
        name => match hopper(name) {
            Some(reason) => decoder.unsupported(instruction, reason),
            None => scalar(decoder, instruction, &parts),
        },
    }
}

/// Video instructions, without the number of their parts.
const VIDEO: [&str; 9] = [
    "vadd", "vsub", "vabsdiff", "vmin", "vmax", "vshl", "vshr", "vmad", "vset",
];

/// Instructions of later architectures, refused by name.
fn hopper(name: &str) -> Option<&'static str> {
    Some(match name {
        "wgmma" => "warpgroup matrix instructions are Hopper's (sm_90a)",
        "setmaxnreg" => "setmaxnreg is Hopper's (sm_90a)",
        "mapa" | "getctarank" => "thread block clusters are Hopper's (sm_90)",
        "tcgen05" => "tensor memory is Blackwell's (sm_100a)",
        "clusterlaunchcontrol" => "cluster launch control is Blackwell's (sm_100)",
        "tensormap" => "tensor maps are Hopper's (sm_90)",
        "multimem" => "multimem is Hopper's (sm_90)",
        "tex" | "tld4" | "txq" | "suld" | "sust" | "sured" | "suq" | "istypep" => "textures and surfaces",
        "alloca" | "stacksave" | "stackrestore" => "a stack that grows at run time",
        name if name.starts_with('v') && VIDEO.contains(&name.trim_end_matches(['2', '4'])) => "video instructions",
        _ => return None,
    })
}

/// `add`, `fma`, `shl` and the like: everything that [`alu`] knows.
fn scalar(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let Some(alu) = alu(parts) else {
        return decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    };
    let operands = &instruction.operands;
    if operands.len() != alu.sources.len() + 1 {
        let (given, expected) = (operands.len(), alu.sources.len() + 1);
        return decoder.unsupported(instruction, format!("{given} operands where {expected} are expected"));
    }
    let Some(dst) = decoder.destination(instruction, &operands[0])? else {
        return Ok((Op::Nothing, Class::Int));
    };
    let mut src = operands[1..]
        .iter()
        .zip(&alu.sources)
        .map(|(operand, bits)| decoder.source(instruction, operand, *bits))
        .collect::<Result<Srcs, _>>()?;
    let class = match (alu.slow, alu.float) {
        (true, _) => Class::Div,
        (false, true) => Class::Float,
        (false, false) => Class::Int,
    };
    let poison = poison_rule(parts, &src).unwrap_or(alu.poison);
    if same_register_cancels(parts[0], &src) {
        src = [Src::Imm(0), Src::Imm(0)].into_iter().collect();
    }
    let op = Op::Map {
        function: displaced(parts, decoder.approximation).unwrap_or(alu.function),
        dst,
        src,
        poison,
        modify: alu.modify,
    };
    Ok((op, class))
}

/// Constants among the sources often say which undefined bytes cannot matter.
fn poison_rule(parts: &[&str], src: &[Src]) -> Option<PoisonRule> {
    let constant = |index: usize| match src.get(index) {
        Some(Src::Imm(value)) => Some(*value),
        _ => None,
    };
    match (parts[0], parts.len()) {
        ("and", 2) => constant(1).map(PoisonRule::Masked),
        ("shl", 2) => constant(1).map(|amount| PoisonRule::Shift(amount.min(64) as i32)),
        ("shr", 2) if !parts[1].starts_with('s') => {
            constant(1).map(|amount| PoisonRule::Shift(-(amount.min(64) as i32)))
        }
        ("prmt", 2) => constant(2).map(|selector| PoisonRule::Permute(selector as u16)),
        ("bfe", 2) if parts[1].starts_with('u') => Some(PoisonRule::Extract {
            first: constant(1)? as u32 & 0xff,
            length: constant(2)? as u32 & 0xff,
        }),
        _ => None,
    }
}

/// `xor r, r` is zero whatever r holds.
fn same_register_cancels(base: &str, src: &[Src]) -> bool {
    base == "xor" && src.len() == 2 && matches!(src[0], Src::Reg(_)) && src[0] == src[1]
}

/// `add.cc`, `addc` and their relatives.
fn carried(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let (Some(carry), Some((dst, operands))) = (carry(parts), instruction.operands.split_first()) else {
        return decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    };
    if operands.len() != carry.sources {
        let (given, expected) = (instruction.operands.len(), carry.sources + 1);
        return decoder.unsupported(instruction, format!("{given} operands where {expected} are expected"));
    }
    let dst = decoder.destination(instruction, dst)?;
    let mut src = operands
        .iter()
        .map(|operand| decoder.source(instruction, operand, carry.bits))
        .collect::<Result<Srcs, _>>()?;
    src.push(if carry.takes {
        Src::Reg(decoder.carry())
    } else {
        Src::Imm(0)
    });
    let op = match (carry.out, dst) {
        (Some(function), dst) => Op::MapCarry {
            value: carry.value,
            carry: function,
            dst,
            out: decoder.carry(),
            src,
        },
        (None, None) => Op::Nothing,
        (None, Some(dst)) => Op::Map {
            function: carry.value,
            dst,
            src,
            poison: PoisonRule::Any,
            modify: Modify::default(),
        },
    };
    Ok((op, Class::Int))
}

const COPY: WarpFn = |s: &[Lanes; 4], out: &mut Lanes| *out = s[0];

/// A move of a register or constant.
pub(super) fn copy_of(dst: Reg, source: Src) -> Op {
    Op::Map {
        function: COPY,
        dst,
        src: [source].into_iter().collect(),
        poison: PoisonRule::Bytes,
        modify: Modify::default(),
    }
}

/// `mov` of registers, constants and addresses of variables.
fn move_value(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let (["mov", ty], [dst, source]) = (parts, &instruction.operands[..]) else {
        return decoder.unsupported(instruction, format!("`{}` of this form", instruction.opcode));
    };
    let Some(bits) = type_bits(ty).filter(|bits| *bits <= 64) else {
        return decoder.unsupported(instruction, format!("the type `.{ty}`"));
    };
    let Some(dst) = decoder.destination(instruction, dst)? else {
        return Ok((Op::Nothing, Class::Int));
    };
    let source = decoder.source(instruction, source, bits)?;
    Ok((copy_of(dst, source), Class::Int))
}

/// `brx.idx index, table`.
fn branch_table(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let (["brx", "idx"] | ["brx", "idx", "uni"], [index, table]) = (parts, &instruction.operands[..]) else {
        return decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    };
    let op = Op::BranchTable {
        index: decoder.source(instruction, index, 32)?,
        targets: decoder.branch_table(instruction, table)?.into(),
    };
    Ok((op, Class::Branch))
}

/// `lop3.{or,and}.b32 d|p, a, b, c, table, q`: also p = (d ≠ 0) with q.
fn logic_test(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let (["lop3", operation @ ("or" | "and"), "b32"], [destinations, a, b, c, table, with]) =
        (parts, &instruction.operands[..])
    else {
        return decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    };
    let Some(alu) = alu(&["lop3", "b32"]) else {
        return decoder.unsupported(instruction, "lop3");
    };
    let (dst, predicate) = match destinations {
        Operand::Pair(d, p) => (d.map(|id| decoder.register(id)), p.map(|id| decoder.register(id))),
        _ => return decoder.unsupported(instruction, "a result and a predicate are expected"),
    };
    if predicate.is_some_and(|reg| !matches!(reg, Reg::Pred(_))) {
        return decoder.unsupported(instruction, "a destination that is no predicate");
    }
    let source = |operand: &Operand| decoder.source(instruction, operand, 32);
    let operation = if *operation == "or" { BoolOp::Or } else { BoolOp::And };
    let op = Op::LogicTest {
        function: alu.function,
        dst,
        predicate,
        src: [source(a)?, source(b)?, source(c)?, source(table)?],
        combine: combine(decoder, instruction, Some(operation), Some(with))?,
    };
    Ok((op, Class::Int))
}

/// `membar.{cta,gl,sys}`, `fence{.sc,.acq_rel}.{cta,gpu,sys}`.
fn fence(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let device = match parts {
        ["membar", "cta"] | ["fence", "cta"] | ["fence", "sc" | "acq_rel" | "acquire" | "release", "cta"] => false,
        ["membar", "gl" | "sys"] | ["fence", "gpu" | "sys"] => true,
        ["fence", "sc" | "acq_rel" | "acquire" | "release", "gpu" | "sys"] => true,
        ["fence", "proxy", "alias"] => true,
        ["fence", .., "cluster"] | ["fence", "mbarrier_init", ..] | ["fence", "proxy", ..] => {
            return decoder.unsupported(instruction, "fences of clusters and proxies are Hopper's (sm_90)");
        }
        _ => return decoder.unsupported(instruction, format!("`{}`", instruction.opcode)),
    };
    Ok((Op::Fence { device }, Class::Other))
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
    if [to, from].iter().any(|ty| {
        ["e4m3", "e5m2", "e2m1", "e2m3", "e3m2", "ue8m0"]
            .iter()
            .any(|f| ty.starts_with(f))
    }) {
        return decoder.unsupported(instruction, "floats of 8 bits and less are Ada's and later (sm_89)");
    }
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

/// The comparison in `setp` and `set`: `.cmp{.bool}{.ftz}`, then the type of the sources.
struct Comparison {
    function: WarpFn,
    boolean: Option<BoolOp>,
    bits: u32,
    packed: bool,
    modify: Modify,
}

fn parse_comparison(words: &[&str], ty: &str) -> Option<Comparison> {
    let flush = words.contains(&"ftz");
    let words: Vec<&str> = words.iter().copied().filter(|word| *word != "ftz").collect();
    let (operator, boolean) = match words[..] {
        [operator] => (operator, None),
        [operator, "and"] => (operator, Some(BoolOp::And)),
        [operator, "or"] => (operator, Some(BoolOp::Or)),
        [operator, "xor"] => (operator, Some(BoolOp::Xor)),
        _ => return None,
    };
    let packed = ty.ends_with("x2");
    let function = if packed {
        packed_comparison(operator, ty)?
    } else {
        comparison(operator, ty)?
    };
    Some(Comparison {
        function,
        boolean,
        bits: type_bits(ty)?,
        packed,
        modify: Modify {
            flush: if flush { Some(Flush::of(ty)?) } else { None },
            clamp: None,
        },
    })
}

/// The predicate behind the sources of a comparison.
fn combine(
    decoder: &Decoder<'_>,
    instruction: &Instruction,
    boolean: Option<BoolOp>,
    with: Option<&Operand>,
) -> Result<Combine, EmulatorError> {
    match (boolean, with) {
        (None, None) => Ok(None),
        (Some(op), Some(Operand::Not(id))) => Ok(Some((op, Src::Reg(decoder.register(*id)), true))),
        (Some(op), Some(other)) => Ok(Some((op, decoder.source(instruction, other, 1)?, false))),
        _ => decoder.unsupported(instruction, "a predicate without its operation, or the other way round"),
    }
}

/// `setp.cmp{.bool}.type p{|q}, a, b{, c}`.
fn set_predicate(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let unknown = || decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    let ["setp", words @ .., ty] = parts else {
        return unknown();
    };
    let (Some(compare), [destinations, a, b, with @ ..]) = (parse_comparison(words, ty), &instruction.operands[..])
    else {
        return unknown();
    };
    if with.len() > 1 {
        return unknown();
    }
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
    let op = Op::SetPredicate {
        compare: compare.function,
        combine: combine(decoder, instruction, compare.boolean, with.first())?,
        dst,
        complement,
        src: [
            decoder.source(instruction, a, compare.bits)?,
            decoder.source(instruction, b, compare.bits)?,
        ],
        packed: compare.packed,
        modify: compare.modify,
    };
    let class = if ty.contains('f') { Class::Float } else { Class::Int };
    Ok((op, class))
}

/// `set.cmp{.bool}.dtype.stype d, a, b{, c}`: all ones, or 1.0, where it holds.
fn set(decoder: &Decoder<'_>, instruction: &Instruction, parts: &[&str]) -> Decoded {
    let unknown = || decoder.unsupported(instruction, format!("`{}`", instruction.opcode));
    let ["set", words @ .., to, from] = parts else {
        return unknown();
    };
    let (Some(compare), [dst, a, b, with @ ..]) = (parse_comparison(words, from), &instruction.operands[..]) else {
        return unknown();
    };
    let value = match (*to, compare.packed) {
        ("u32" | "s32", false) => 0xffff_ffff,
        ("f32", false) => u64::from(1f32.to_bits()),
        ("u16" | "s16", false) => 0xffff,
        ("f16", false) | ("f16x2", true) => 0x3c00,
        ("bf16", false) | ("bf16x2", true) => 0x3f80,
        _ => return unknown(),
    };
    if with.len() > 1 {
        return unknown();
    }
    let Some(dst) = decoder.destination(instruction, dst)? else {
        return Ok((Op::Nothing, Class::Int));
    };
    let op = Op::Set {
        compare: compare.function,
        combine: combine(decoder, instruction, compare.boolean, with.first())?,
        dst,
        value,
        packed: compare.packed,
        src: [
            decoder.source(instruction, a, compare.bits)?,
            decoder.source(instruction, b, compare.bits)?,
        ],
        modify: compare.modify,
    };
    let class = if from.contains('f') { Class::Float } else { Class::Int };
    Ok((op, class))
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
