//! Whether the pieces of a copy start where `cp.async` wants them: at multiples of their width.
//!
//! ```text
//! base (llvm.align, an assumption) + offset + index × stride     a multiple of 4, 8 or 16 bytes, on both sides
//! ```

use super::copies::WIDTHS;
use super::kernel::Touch;
use super::linear::Linear;
use super::memory::{Root, Space};
use super::shared::Case;
use super::verdict::ReasonCode;
use crate::ir::{Attr, Op, Type};

/// One side of a copy. Where work between load and store changes the type of the elements and moves behind the reads, the
/// buffer gets elements of the first type in place of the second: places count in elements.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a, 'ir> {
    /// The access.
    pub touch: &'a Touch<'ir>,
    /// What the elements become.
    pub from: Type<'ir>,
    /// What they are.
    pub to: Type<'ir>,
}

fn too_narrow(base: u64, address: &Linear<'_>, bytes: u64) -> (ReasonCode, String) {
    let message = match address.divisor() {
        _ if !base.is_multiple_of(bytes) => format!(
            "the base is only known to be aligned to {base} bytes; {bytes} are needed: {{llvm.align = {bytes} : i64}} on the \
             argument, or --assume-aligned {bytes} where nothing is said of it"
        ),
        known => format!("the address moves by multiples of {known} bytes, not of {bytes}"),
    };
    (ReasonCode::AlignmentUnproven, message)
}

impl<'ir> Case<'_, 'ir> {
    /// The bytes that a `memref.copy` can move at once, all threads sharing the work.
    pub fn row_piece(&mut self, load: &Touch<'ir>, store: &Touch<'ir>) -> Option<u64> {
        let op = store.op;
        let mut best = 16;
        for touch in [load, store] {
            let memref = op.operand(touch.access.memref).ty().as_memref();
            let Some((memref, element)) = memref.and_then(|memref| Some((memref.clone(), memref.element.bytes()?)))
            else {
                self.refuse(
                    ReasonCode::NotContiguous,
                    op,
                    "a memref of the copy has no strided layout of whole bytes",
                );
                return None;
            };
            if memref.strides.last().is_some_and(|stride| *stride != Some(1)) {
                self.refuse(ReasonCode::NotContiguous, op, "the last dimension is not contiguous");
                return None;
            }
            let Some(row) = memref.shape.last().map_or(Some(1), |extent| *extent) else {
                self.refuse(
                    ReasonCode::NotContiguous,
                    op,
                    "the rows of the copy have no static size",
                );
                return None;
            };
            let row = row.unsigned_abs().saturating_mul(element);
            if !row.is_multiple_of(4) || row == 0 {
                let message = format!("rows of {row} bytes, and cp.async moves 4, 8 or 16 contiguous bytes");
                self.refuse(ReasonCode::WidthUnsupported, op, message);
                return None;
            }
            let base = self.base_alignment(touch);
            let strides = memref.strides.iter().rev().skip(1);
            let apart = strides.map(|stride| stride.unwrap_or(1).unsigned_abs().saturating_mul(element));
            let place = self.scene.memory.place(op.operand(touch.access.memref));
            let steps = apart.fold(row, gcd);
            let known = |width| gcd(place.alignment(&place.origin, base, width), steps);
            let found = WIDTHS.into_iter().find(|width| known(*width).is_multiple_of(*width));
            let Some(width) = found else {
                let known = known(4);
                let message = format!("its rows are only known to start at multiples of {known} bytes; 4 are needed");
                self.refuse(ReasonCode::AlignmentUnproven, op, message);
                return None;
            };
            best = best.min(width);
        }
        Some(best)
    }

    /// The widest asynchronous copy, at most `most` bytes, that what is loaded and stored can be made of: all of its pieces
    /// start at multiples of their width on each side. `moved` is the type of what moves.
    pub fn provable_width(&self, sides: &[Side<'_, 'ir>], most: u64, moved: Type<'ir>) -> Option<u64> {
        let element = moved.as_vector().map_or(moved, |(_, element)| element);
        let element = u64::from(element.scalar_bits()? / 8);
        let fits = |width: &u64| *width <= most && most.is_multiple_of(*width) && width.is_multiple_of(element);
        let proven = |width: &u64| sides.iter().all(|side| self.side_misaligned(side, *width).is_none());
        WIDTHS.into_iter().filter(fits).find(proven)
    }

    /// The address of an access must be a multiple of its width. Whether it is known to be; if not, that is a reason.
    pub fn alignment(&mut self, touch: &Touch<'ir>, bytes: u64) -> bool {
        match self.misaligned(touch, bytes) {
            None => true,
            Some((code, message)) => {
                self.refuse(code, touch.op, message);
                false
            }
        }
    }

    /// Why the address of an access is not known to be a multiple of a width: base, offset, strides and indices together.
    pub fn misaligned(&self, touch: &Touch<'ir>, bytes: u64) -> Option<(ReasonCode, String)> {
        self.misaligned_from(touch, bytes, self.base_alignment(touch))
    }

    /// The same from a base of the given alignment.
    fn misaligned_from(&self, touch: &Touch<'ir>, bytes: u64, base: u64) -> Option<(ReasonCode, String)> {
        let op = touch.op;
        let Some(parts) = op.operand(touch.access.memref).ty().as_memref() else {
            let message = "the memref has no strided layout".to_owned();
            return Some((ReasonCode::AlignmentUnproven, message));
        };
        if parts.strides.last().is_some_and(|stride| *stride != Some(1)) && contiguous_extent(op) > 1 {
            let message = "the last dimension is not contiguous".to_owned();
            return Some((ReasonCode::NotContiguous, message));
        }
        let stated = op.attr("alignment").and_then(Attr::as_int).unwrap_or(0).max(0) as u64;
        if stated > 0 && stated.is_multiple_of(bytes) {
            return None;
        }
        let address = self.scene.memory.address(op, touch.access);
        if touch.place.alignment(&address, base, bytes).is_multiple_of(bytes) {
            return None;
        }
        Some(too_narrow(base, &address, bytes))
    }

    /// The same for a side of a copy, whose buffer may get other elements.
    pub fn side_misaligned(&self, side: &Side<'_, 'ir>, bytes: u64) -> Option<(ReasonCode, String)> {
        let touch = side.touch;
        let (Some(new), Some(old), true) = (side.from.bytes(), side.to.bytes(), side.from != side.to) else {
            return self.misaligned(touch, bytes);
        };
        let op = touch.op;
        let base = self.base_alignment(touch);
        let stated = op.attr("alignment").and_then(Attr::as_int).unwrap_or(0).max(0) as u64;
        let elements = stated.is_multiple_of(old).then_some(stated / old);
        if elements.is_some_and(|elements| elements > 0 && (elements * new).is_multiple_of(bytes)) {
            return None;
        }
        let mut address = self.scene.memory.address(op, touch.access);
        if !address.scale(new, old) {
            let message = "its place is not known as a number of elements, which the type of the copies would change";
            return Some((ReasonCode::AlignmentUnproven, message.to_owned()));
        }
        let aligned = gcd(base, address.divisor()).is_multiple_of(bytes);
        (!aligned).then(|| too_narrow(base, &address, bytes))
    }

    /// What is known or assumed of the alignment of an access's root, in bytes.
    pub fn base_alignment(&self, touch: &Touch<'ir>) -> u64 {
        let known = self.known_base(touch);
        match self.may_assume(touch) {
            true => known.max(self.scene.memory.assumptions.aligned),
            false => known,
        }
    }

    /// Whether nothing in the IR says how the argument is aligned that an access reads.
    fn may_assume(&self, touch: &Touch<'ir>) -> bool {
        let place = &touch.place;
        let argument = match place.root {
            Root::Argument(_) => true,
            Root::Outside(value) => value.def_op().is_none(),
            _ => false,
        };
        let said = self.scene.memory.stated(place.root, "llvm.align").is_some() || place.is_vouched_for();
        argument && place.space == Space::Global && !said
    }

    /// Whether an access is a multiple of a width only if the caller keeps to what is assumed of the pointer.
    pub fn needs_assumed_base(&self, touch: &Touch<'ir>, bytes: u64) -> bool {
        let known = self.known_base(touch);
        if !touch.op.is("memref.copy") {
            return self.misaligned_from(touch, bytes, known).is_some();
        }
        let place = &touch.place;
        !place.alignment(&place.origin, known, bytes).is_multiple_of(bytes)
    }

    /// What is known of the alignment of an access's root, in bytes.
    fn known_base(&self, touch: &Touch<'ir>) -> u64 {
        let place = &touch.place;
        let stated = self
            .scene
            .memory
            .stated(place.root, "llvm.align")
            .and_then(Attr::as_int);
        let stated = stated.and_then(|bytes| u64::try_from(bytes).ok());
        let element = place
            .base
            .ty()
            .memref_element()
            .and_then(crate::ir::Type::bytes)
            .unwrap_or(1);
        // Shared buffers are laid out by us or by LLVM, which both align them; cudaMalloc aligns to 256 bytes (CUDA C++
        // Programming Guide, "Device Memory Accesses").
        let natural = match place.root {
            Root::Outside(value) if value.def_op().is_some_and(|op| op.is("gpu.alloc")) => 256,
            _ if place.space == Space::Workgroup => 16,
            _ => element,
        };
        stated.unwrap_or(0).max(natural)
    }
}

/// Elements that an access moves in a row.
fn contiguous_extent(op: Op<'_>) -> i64 {
    let value = op.results().next().or_else(|| op.operands().next());
    let shape = value.and_then(|value| value.ty().as_vector());
    match shape {
        Some((shape, _)) => shape.last().copied().unwrap_or(1),
        None if op.is("nvgpu.device_async_copy") => op.attr("dstElements").and_then(Attr::as_int).unwrap_or(2),
        None => 1,
    }
}

pub fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
