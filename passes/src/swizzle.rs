//! Bank-conflict-free layouts of shared buffers.
//!
//! ```text
//! [slot, row, column]  becomes  [slot, row, column xor f(row) · elements-of-16-bytes]
//! ```
//!
//! Shared memory has 32 banks of 4 bytes: eight 16-byte pieces a wavefront. `ldmatrix` reads eight rows at one column,
//! `cp.async` writes eight pieces side by side; both meet every bank once when the piece index of row `r` is xor-ed
//! with `r mod 8` (rows of 128 bytes and more) or with `(r / (8 / pieces)) mod pieces` (shorter rows, several of which
//! share a wavefront).

use alcop_compiler::ir::{Builder, Type, Value};

use crate::error::Error;
use crate::multi_buffer::RingRequest;
use crate::plan::SharedLayout;

/// Bytes of a piece: what one thread moves by `cp.async.cg`, and one row of an `ldmatrix` tile.
const PIECE_BYTES: i64 = 16;
/// Pieces in one wavefront over all banks.
const PIECES_PER_WAVEFRONT: i64 = 8;

/// Whether rows of a buffer can be swizzled: two indices, rows of a power of two of 16-byte pieces.
pub fn check(request: &RingRequest<'_>) -> Result<(), Error> {
    let columns = request.memref.shape.last().copied().flatten().unwrap_or(0);
    let element = request.memref.element.bytes().unwrap_or(0) as i64;
    let row_bytes = columns * element;
    let ok =
        request.memref.shape.len() == 2 && row_bytes % PIECE_BYTES == 0 && (row_bytes / PIECE_BYTES).count_ones() == 1;
    if ok {
        return Ok(());
    }
    Err(Error::refused(
        "not-contiguous",
        request.buffer.location(),
        format!("rows of {row_bytes} bytes cannot be swizzled: a power of two of {PIECE_BYTES}-byte pieces is needed"),
    ))
}

/// The piece index of row `row` is xor-ed with this; `pieces` are those of a row, a power of two.
pub fn pattern(row: i64, pieces: i64) -> i64 {
    if pieces >= PIECES_PER_WAVEFRONT {
        row % PIECES_PER_WAVEFRONT
    } else {
        row / (PIECES_PER_WAVEFRONT / pieces) % pieces
    }
}

/// Rewrites the indices `[slot, row, column]` of an access to a ring.
pub fn apply<'ir>(builder: &Builder<'ir>, layout: SharedLayout, ring: Value<'ir>, indices: &mut [Value<'ir>]) {
    if layout == SharedLayout::Plain {
        return;
    }
    let memref = ring.ty().as_memref().expect("a ring is a memref");
    let columns = memref.shape.last().copied().flatten().expect("a ring is static");
    let element = memref.element.bytes().expect("checked by check()") as i64;
    let per_piece = PIECE_BYTES / element;
    let pieces = columns / per_piece;
    if pieces == 1 {
        return;
    }
    let [_, row, column] = indices else {
        unreachable!("checked by check()")
    };
    let row_bits = if pieces >= PIECES_PER_WAVEFRONT {
        builder.and(*row, builder.index(PIECES_PER_WAVEFRONT - 1))
    } else {
        let shared = builder.div(*row, builder.index(PIECES_PER_WAVEFRONT / pieces));
        builder.and(shared, builder.index(pieces - 1))
    };
    debug_assert!(row.ty() == Type::index(builder.context()));
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
