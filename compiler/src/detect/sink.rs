//! Whether element-wise work between load and store may move behind the reads of the buffer.
//!
//! ```text
//! store %s, relu(load %a); … x = load %s      may become      store %s, load %a; … x = relu(load %s)
//! store %s, truncf(load %a); … ldmatrix %s    may not: ldmatrix moves 16-bit elements
//! ```

use super::copies::Site;
use super::shared::Case;
use super::verdict::ReasonCode;
use crate::ir::{Attr, Op, Type, Value};

impl<'ir> Case<'_, 'ir> {
    /// Reasons why the work cannot move; whether there is work to move.
    pub fn sinking(&mut self, sites: &[Site<'ir>]) -> bool {
        let Some(first) = sites.iter().find(|site| !site.chain.is_empty()) else {
            return false;
        };
        let at = first.touch.op;
        let filled = sites.iter().any(|site| site.load.is_none());
        if filled {
            let message = "element-wise work stands in the copy, and the zeros of the other side would get it too";
            self.refuse(ReasonCode::NotAPureCopy, at, message);
        }
        let copies: Vec<&Site<'ir>> = sites.iter().filter(|site| site.load.is_some()).collect();
        if copies.iter().any(|site| !same_chain(&site.chain, &first.chain)) {
            let message = "the copies of the buffer have different element-wise work in them, and a read cannot tell \
                           which of it to do";
            self.refuse(ReasonCode::NotAPureCopy, at, message);
        }
        let from = first.load.as_ref().map(|load| element(load.op.result(0).ty()));
        let to = element(at.operand(0).ty());
        let resized = from.is_some_and(|from| from.scalar_bits() != to.scalar_bits());
        for load in self.loads {
            let name = load.op.name();
            let fine = match name {
                "vector.load" | "memref.load" | "vector.transfer_read" | "vector.maskedload" => true,
                "nvgpu.ldmatrix" => !resized,
                "gpu.subgroup_mma_load_matrix" => !resized && first.chain.iter().all(|op| is_matrix_work(*op)),
                _ => false,
            };
            if !fine {
                let message = format!(
                    "the element-wise work ({}) cannot move behind {name}{}",
                    first
                        .chain
                        .iter()
                        .rev()
                        .map(|op| op.name())
                        .collect::<Vec<_>>()
                        .join(", "),
                    if resized {
                        ", which would read elements of another size"
                    } else {
                        ""
                    }
                );
                self.refuse(ReasonCode::NotAPureCopy, load.op, message);
            }
        }
        true
    }
}

fn element(ty: Type<'_>) -> Type<'_> {
    ty.as_vector().map_or(ty, |(_, element)| element)
}

/// What `gpu.subgroup_mma_elementwise` can do (its attribute MMAElementwiseOp).
fn is_matrix_work(op: Op<'_>) -> bool {
    matches!(
        op.name(),
        "arith.addf" | "arith.subf" | "arith.mulf" | "arith.divf" | "arith.negf" | "arith.maximumf" | "arith.minimumf"
    )
}

/// Whether two chains do the same to what they get.
fn same_chain(a: &[Op<'_>], b: &[Op<'_>]) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|(one, other)| {
            let attributes = ["predicate", "value", "fastmath", "overflowFlags"];
            let same = |name: &&str| {
                one.attr(name).map(Attr::raw).map(|raw| raw.ptr) == other.attr(name).map(Attr::raw).map(|raw| raw.ptr)
            };
            one.name() == other.name()
                && one.num_operands() == other.num_operands()
                && one.result(0).ty() == other.result(0).ty()
                && attributes.iter().all(same)
                && one
                    .operands()
                    .zip(other.operands())
                    .all(|(x, y)| same_operand(x, y, a, b))
        })
}

/// The same value, equal constants, or results of the chains themselves (and the loads at their ends).
fn same_operand<'ir>(x: Value<'ir>, y: Value<'ir>, a: &[Op<'ir>], b: &[Op<'ir>]) -> bool {
    if x == y {
        return true;
    }
    let (Some(one), Some(other)) = (x.def_op(), y.def_op()) else {
        return false;
    };
    if one.is("arith.constant") && other.is("arith.constant") {
        return one
            .attr("value")
            .is_some_and(|value| other.attr("value") == Some(value));
    }
    let place = |op: Op<'ir>, chain: &[Op<'ir>]| chain.iter().position(|member| *member == op);
    match (place(one, a), place(other, b)) {
        (Some(i), Some(j)) => i == j,
        (None, None) if one.name() == other.name() && one.num_operands() == other.num_operands() => {
            is_load(one) || one.operands().zip(other.operands()).all(|(x, y)| x == y)
        }
        _ => false,
    }
}

fn is_load(op: Op<'_>) -> bool {
    matches!(
        op.name(),
        "vector.load" | "memref.load" | "vector.transfer_read" | "vector.maskedload"
    )
}
