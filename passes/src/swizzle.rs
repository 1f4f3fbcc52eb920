//! Bank-conflict-free layouts of shared buffers.
//!
//! ```text
//! [row, column] of a slot  becomes  [row, column xor f(row) · elements-of-16-bytes]
//! ```
//!
//! Shared memory has 32 banks of 4 bytes: eight 16-byte pieces a wavefront. `ldmatrix` reads eight rows at one column,
//! `cp.async` writes eight pieces side by side; both meet every bank once when the piece index of row `r` is xor-ed
//! with `r mod 8` (rows of 128 bytes and more) or with `(r / (8 / pieces)) mod pieces` (shorter rows, several of which
//! share a wavefront).

use alcop_compiler::ir::{Attr, Builder, Context, Def, MemRef, Module, Op, Use, Value, constant_index, preorder};

use crate::error::Error;
use crate::multi_buffer::{self, Access, Buffer};
use crate::plan::SharedLayout;

/// Bytes of a piece: what one thread moves by `cp.async.cg`, and one row of an `ldmatrix` tile.
const PIECE_BYTES: i64 = 16;
/// Pieces in one wavefront over all banks.
const PIECES_PER_WAVEFRONT: i64 = 8;

/// Whether rows of a buffer can be swizzled: two indices, rows of two, four, eight … 16-byte pieces, and no access that
/// goes through a view or over the end of a piece.
pub fn check(buffer: &Buffer<'_>) -> Result<(), Error> {
    let columns = buffer.memref.shape.last().copied().flatten().unwrap_or(0);
    let element = buffer.memref.element.bytes().unwrap_or(0) as i64;
    let row_bytes = columns * element;
    let ok =
        buffer.memref.shape.len() == 2 && row_bytes % PIECE_BYTES == 0 && (row_bytes / PIECE_BYTES).count_ones() == 1;
    if !ok {
        return Err(Error::refused(
            "not-contiguous",
            buffer.values[0].location(),
            format!(
                "rows of {row_bytes} bytes cannot be swizzled: a power of two of {PIECE_BYTES}-byte pieces is needed"
            ),
        ));
    }
    if row_bytes == PIECE_BYTES {
        let message = format!("rows of one piece of {PIECE_BYTES} bytes have no pieces to permute; take \"plain\"");
        return Err(Error::refused("not-contiguous", buffer.values[0].location(), message));
    }
    if let Some(view) = buffer.views.first() {
        let message = format!(
            "{} makes a view of the buffer, whose rows then cannot be swizzled",
            view.name()
        );
        return Err(Error::refused("not-contiguous", view.location(), message));
    }
    for used in &buffer.uses {
        if !stays_in_piece(*used, element) {
            let message = format!(
                "{} is not known to stay within {PIECE_BYTES} bytes that a swizzle moves as one",
                used.op.name()
            );
            return Err(Error::refused("not-contiguous", used.op.location(), message));
        }
    }
    Ok(())
}

/// Whether an access moves bytes of one aligned piece only, for each address that it is given.
fn stays_in_piece(used: Use<'_>, element_bytes: i64) -> bool {
    let op = used.op;
    if op.is("nvgpu.ldmatrix") {
        return true;
    }
    let (value, first) = match multi_buffer::access(used) {
        Some(Access::Neutral) => return true,
        Some(Access::Read(Some(first)))
            if matches!(op.name(), "vector.load" | "memref.load" | "vector.transfer_read") =>
        {
            (op.result(0), first)
        }
        Some(Access::Write(Some(first))) if op.is("nvgpu.device_async_copy") => {
            let elements = op.attr("dstElements").and_then(Attr::as_int).unwrap_or(0);
            return elements * element_bytes <= PIECE_BYTES && divisor(op.operand(first + 1)) % elements.max(1) == 0;
        }
        Some(Access::Write(Some(first))) => (op.operand(0), first),
        _ => return false,
    };
    let elements = match value.ty().as_vector() {
        Some((shape, _)) => shape.iter().product(),
        None => 1,
    };
    elements * element_bytes <= PIECE_BYTES && elements > 0 && divisor(op.operand(first + 1)) % elements == 0
}

/// A number that divides an index, as far as constants in its computation tell.
fn divisor(value: Value<'_>) -> i64 {
    if let Some(constant) = constant_index(value) {
        return if constant == 0 {
            1 << 30
        } else {
            constant.unsigned_abs().min(1 << 30) as i64
        };
    }
    match value.def() {
        Def::Result(op, 0) => match op.name() {
            "arith.muli" => divisor(op.operand(0))
                .saturating_mul(divisor(op.operand(1)))
                .min(1 << 30),
            "arith.addi" | "arith.subi" => gcd(divisor(op.operand(0)), divisor(op.operand(1))),
            "arith.select" => gcd(divisor(op.operand(1)), divisor(op.operand(2))),
            "arith.index_cast" | "arith.index_castui" => divisor(op.operand(0)),
            "arith.shli" => match constant_index(op.operand(1)) {
                Some(by @ 0..=30) => divisor(op.operand(0)).saturating_mul(1 << by).min(1 << 30),
                _ => 1,
            },
            // Only powers of two survive a change of bits: those below the lowest that either side can have.
            "arith.xori" | "arith.ori" => {
                let both = divisor(op.operand(0)) | divisor(op.operand(1));
                1 << both.trailing_zeros()
            }
            "arith.remui" | "arith.remsi" => gcd(divisor(op.operand(0)), divisor(op.operand(1))),
            "arith.andi" => {
                let sides = [0, 1].map(|side| divisor(op.operand(side)).trailing_zeros());
                1 << sides[0].max(sides[1])
            }
            _ => 1,
        },
        Def::Argument(block, 0) => match block.parent().filter(|op| op.is("scf.for")) {
            Some(op) => gcd(divisor(op.operand(0)), divisor(op.operand(2))),
            None => 1,
        },
        _ => 1,
    }
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The piece index of row `row` is xor-ed with this; `pieces` are those of a row, a power of two.
pub fn pattern(row: i64, pieces: i64) -> i64 {
    if pieces >= PIECES_PER_WAVEFRONT {
        row % PIECES_PER_WAVEFRONT
    } else {
        row / (PIECES_PER_WAVEFRONT / pieces) % pieces
    }
}

/// The attribute of a slot whose rows are to be laid out, and how.
pub const LAYOUT: &str = "alcop.layout";
/// The one layout that is not plain.
const XOR: &str = "xor";

/// Leaves the layout of a slot to [`lay_out`].
pub fn mark(context: &Context, slot: Value<'_>, layout: SharedLayout) {
    if let (SharedLayout::Xor, Some(op)) = (layout, slot.def_op()) {
        op.set_attr(LAYOUT, Attr::string(context, XOR));
    }
}

/// Lays out every marked slot: each access of it gets the indices of where its rows' pieces lie, and the marks go. Says
/// how many accesses; on an error the module is as it was.
pub fn lay_out(module: &mut Module<'_>) -> Result<usize, Error> {
    let context = module.context();
    let marked: Vec<Op<'_>> = preorder(module.op())
        .into_iter()
        .filter(|op| op.attr(LAYOUT).is_some())
        .collect();
    let mut accesses: Vec<(Op<'_>, MemRef<'_>, usize)> = Vec::new();
    for op in &marked {
        let refuse = |message: String| Err(Error::refused("layout-malformed", op.location(), message));
        let layout = op.attr(LAYOUT).and_then(Attr::as_str);
        if layout != Some(XOR) {
            return refuse(format!("{LAYOUT} is \"xor\" or not there, not {layout:?}"));
        }
        let Some((value, memref)) = op
            .results()
            .next()
            .and_then(|value| Some((value, value.ty().as_memref()?)))
        else {
            return refuse(format!("{} makes no memref whose rows could be laid out", op.name()));
        };
        let slot = Buffer {
            values: vec![value],
            ty: value.ty(),
            memref: memref.clone(),
            slot_bytes: 0,
            views: Vec::new(),
            uses: value.uses(),
        };
        check(&slot)?;
        for used in &slot.uses {
            if let Some(Access::Read(Some(first)) | Access::Write(Some(first))) = multi_buffer::access(*used) {
                accesses.push((used.op, memref.clone(), first));
            }
        }
    }
    for (op, memref, first) in &accesses {
        let mut indices = [op.operand(*first), op.operand(first + 1)];
        let builder = Builder::before(context, before_conditions(*op, &indices)).with_location(op.location());
        apply(&builder, memref, &mut indices);
        op.set_operand(*first, indices[0]);
        op.set_operand(first + 1, indices[1]);
    }
    for op in marked {
        op.remove_attr(LAYOUT);
    }
    Ok(accesses.len())
}

/// The outermost condition around an operation before which its indices are known: a condition around copies alone becomes
/// a predicate, and is to hold nothing else.
fn before_conditions<'ir>(op: Op<'ir>, indices: &[Value<'ir>]) -> Op<'ir> {
    let mut place = op;
    while let Some(parent) = place.parent().filter(|parent| parent.is("scf.if")) {
        let inside = |value: &Value<'ir>| value.def_op().is_some_and(|def| def.is_within(parent));
        if indices.iter().any(inside) {
            break;
        }
        place = parent;
    }
    place
}

/// Rewrites the indices `[row, column]` of an access to a slot.
fn apply<'ir>(builder: &Builder<'ir>, memref: &MemRef<'ir>, indices: &mut [Value<'ir>; 2]) {
    let columns = memref.shape.last().copied().flatten().expect("a ring is static");
    let element = memref.element.bytes().expect("checked by check()") as i64;
    let per_piece = PIECE_BYTES / element;
    let pieces = columns / per_piece;
    if pieces == 1 {
        return;
    }
    let [row, column] = indices;
    let row_bits = if pieces >= PIECES_PER_WAVEFRONT {
        builder.and(*row, builder.index(PIECES_PER_WAVEFRONT - 1))
    } else {
        let shared = builder.div(*row, builder.index(PIECES_PER_WAVEFRONT / pieces));
        builder.and(shared, builder.index(pieces - 1))
    };
    *column = builder.xor(*column, builder.mul(row_bits, builder.index(per_piece)));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Eight rows at one column, and eight neighbouring pieces: each wavefront touches all banks once.
    #[test]
    fn both_sides_are_conflict_free() {
        for pieces in [2, 4, 8, 16, 32] {
            for first_row in [0, 8, 24] {
                for column in 0..pieces {
                    let mut banks = [false; 8];
                    for row in first_row..first_row + 8 {
                        let piece = row * pieces + (column ^ pattern(row, pieces));
                        let bank = (piece % 8) as usize;
                        assert!(!banks[bank], "rows of {pieces} pieces, row {row}, column {column}");
                        banks[bank] = true;
                    }
                }
            }
        }
    }
}
