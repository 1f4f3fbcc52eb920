//! What an operation does to memory.
//!
//! ```text
//! vector.store %v, %view[…]     -> Touches: writes %view
//! memref.copy %a, %s            -> Touches: reads %a, writes %s
//! memref.atomic_rmw …           -> Visible
//! "their.op"() …                -> Unknown
//! ```

use mlir_sys::{mlirAffineMapAttrGetValue, mlirAffineMapIsMinorIdentity, mlirAttributeIsAAffineMap};

use crate::ir::{Attr, Op, Type, Value};

/// One access of an operation: operand numbers of the memref and of the first index.
#[derive(Clone, Copy, PartialEq)]
pub struct Access {
    pub memref: usize,
    /// `None`: the whole memref.
    pub first_index: Option<usize>,
    pub writes: bool,
}

/// The accesses of an operation; an operation that copies has two.
pub fn accesses(op: Op<'_>) -> Vec<Access> {
    let rank = |operand: usize| {
        let memref = op.operands().nth(operand)?;
        memref.ty().memref_rank()
    };
    let at = |memref: usize, first: usize, writes: bool| {
        let indices = rank(memref)?;
        (op.num_operands() >= first + indices).then_some(Access {
            memref,
            first_index: Some(first),
            writes,
        })
    };
    let whole = |memref: usize, writes| {
        rank(memref).map(|_| Access {
            memref,
            first_index: None,
            writes,
        })
    };
    let found = match op.name() {
        "vector.load"
        | "memref.load"
        | "nvgpu.ldmatrix"
        | "vector.transfer_read"
        | "gpu.subgroup_mma_load_matrix"
        | "vector.maskedload" => [at(0, 1, false), None],
        "vector.store" | "memref.store" | "vector.transfer_write" | "gpu.subgroup_mma_store_matrix" => {
            [at(1, 2, true), None]
        }
        "vector.maskedstore" => [at(0, 1, true), None],
        "vector.gather" | "vector.expandload" => [whole(0, false), None],
        "vector.scatter" | "vector.compressstore" => [whole(0, true), None],
        "memref.copy" => [whole(0, false), whole(1, true)],
        "nvgpu.device_async_copy" => {
            let target = at(0, 1, true);
            let source = 1 + rank(0).unwrap_or(0);
            [at(source, source + 1, false), target]
        }
        _ => [None, None],
    };
    found.into_iter().flatten().collect()
}

/// The indices of an access.
pub fn indices<'ir>(op: Op<'ir>, access: Access) -> Vec<Value<'ir>> {
    let Some(first) = access.first_index else {
        return Vec::new();
    };
    let rank = op.operand(access.memref).ty().memref_rank().unwrap_or(0);
    (first..first + rank).map(|index| op.operand(index)).collect()
}

/// What an operation does beside computing its results. Regions count for themselves.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Effect {
    /// Nothing.
    None,
    /// Its [`accesses`], nothing else.
    Touches,
    /// A barrier of the block.
    Barrier,
    /// Commit groups, waits, and asynchronous copies other than `nvgpu.device_async_copy`.
    Asynchronous,
    /// Atomics, calls, output.
    Visible,
    /// Memory that comes and goes.
    Allocates,
    /// Not understood.
    Unknown,
}

/// The effect of one operation, without what stands in its regions.
pub fn effect(op: Op<'_>) -> Effect {
    let name = op.name();
    let is_access = matches!(
        name,
        "vector.load"
            | "memref.load"
            | "nvgpu.ldmatrix"
            | "vector.transfer_read"
            | "gpu.subgroup_mma_load_matrix"
            | "vector.maskedload"
            | "vector.store"
            | "memref.store"
            | "vector.transfer_write"
            | "gpu.subgroup_mma_store_matrix"
            | "vector.maskedstore"
            | "vector.gather"
            | "vector.expandload"
            | "vector.scatter"
            | "vector.compressstore"
            | "memref.copy"
            | "nvgpu.device_async_copy"
    );
    if is_access {
        let understood = !accesses(op).is_empty();
        return if understood { Effect::Touches } else { Effect::Unknown };
    }
    if name.starts_with("nvgpu.device_async") || name.starts_with("nvvm.cp.async") || name.starts_with("nvgpu.tma") {
        return Effect::Asynchronous;
    }
    match name {
        "gpu.barrier" | "nvvm.barrier0" => Effect::Barrier,
        "memref.atomic_rmw"
        | "memref.generic_atomic_rmw"
        | "memref.atomic_yield"
        | "func.call"
        | "func.call_indirect"
        | "llvm.call"
        | "gpu.printf"
        | "vector.print"
        | "cf.assert"
        | "gpu.launch"
        | "gpu.launch_func" => Effect::Visible,
        "scf.if"
        | "scf.for"
        | "scf.while"
        | "scf.condition"
        | "scf.yield"
        | "scf.parallel"
        | "scf.forall"
        | "scf.forall.in_parallel"
        | "scf.reduce"
        | "affine.for"
        | "affine.parallel"
        | "affine.yield"
        | "cf.br"
        | "cf.cond_br"
        | "gpu.return"
        | "func.return"
        | "gpu.terminator" => Effect::None,
        "memref.alloc" | "memref.alloca" | "memref.dealloc" => Effect::Allocates,
        "memref.get_global" | "memref.dim" | "memref.prefetch" | "gpu.dynamic_shared_memory" => Effect::None,
        // They read or write nothing; what is done with the pointer counts where it is done, and the buffer is given away.
        "memref.extract_strided_metadata" | "memref.extract_aligned_pointer_as_index" => Effect::None,
        "nvgpu.mma.sync"
        | "nvgpu.mma.sp.sync"
        | "gpu.subgroup_mma_compute"
        | "gpu.subgroup_mma_constant_matrix"
        | "gpu.subgroup_mma_elementwise"
        | "gpu.shuffle"
        | "affine.apply"
        | "affine.delinearize_index"
        | "affine.linearize_index"
        | "affine.min"
        | "affine.max"
        | "llvm.mlir.undef"
        | "llvm.mlir.poison"
        | "builtin.unrealized_conversion_cast"
        | "ub.poison" => Effect::None,
        "memref.cast"
        | "memref.subview"
        | "memref.view"
        | "memref.reinterpret_cast"
        | "memref.expand_shape"
        | "memref.collapse_shape"
        | "memref.memory_space_cast"
        | "memref.assume_alignment"
        | "memref.transpose" => Effect::None,
        _ if is_id(op) => Effect::None,
        _ if op.num_regions() != 0 => Effect::Unknown,
        _ if matches!(op.dialect(), "arith" | "math" | "index" | "complex" | "vector") => Effect::None,
        _ => Effect::Unknown,
    }
}

/// Positions of threads and blocks, and their number.
pub fn is_id(op: Op<'_>) -> bool {
    is_block_id(op) || is_thread_id(op)
}

/// Positions that all threads of a block share, and sizes.
pub fn is_block_id(op: Op<'_>) -> bool {
    matches!(
        op.name(),
        "gpu.block_id"
            | "gpu.block_dim"
            | "gpu.grid_dim"
            | "gpu.subgroup_size"
            | "gpu.num_subgroups"
            | "gpu.cluster_id"
            | "gpu.cluster_dim"
    )
}

/// Positions within a block.
pub fn is_thread_id(op: Op<'_>) -> bool {
    matches!(
        op.name(),
        "gpu.thread_id" | "gpu.lane_id" | "gpu.subgroup_id" | "gpu.global_id"
    )
}

/// Whether the operation repeats its region.
pub fn is_loop(op: Op<'_>) -> bool {
    matches!(
        op.name(),
        "scf.for" | "scf.while" | "scf.parallel" | "scf.forall" | "affine.for" | "affine.parallel"
    )
}

/// How a transfer treats what its type does not say.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Transfer<'ir> {
    /// Every element lies inside.
    pub in_bounds: bool,
    pub mask: Option<Value<'ir>>,
    /// What is read outside or where the mask is off.
    pub padding: Option<Value<'ir>>,
    /// The last dimensions in their order.
    pub straight: bool,
}

/// The parts of a `vector.transfer_read` or `vector.transfer_write`.
pub fn transfer<'ir>(op: Op<'ir>, access: Access) -> Transfer<'ir> {
    let behind = access.first_index.unwrap_or(0) + indices(op, access).len();
    let padding = if access.writes { None } else { op.operands().nth(behind) };
    let bounds = op.attr("in_bounds").and_then(Attr::as_array).unwrap_or_default();
    let straight = op.attr("permutation_map").is_some_and(|map| {
        // SAFETY: the attribute lives as long as its context, and it is read as a map only if it is one.
        unsafe {
            mlirAttributeIsAAffineMap(map.raw()) && mlirAffineMapIsMinorIdentity(mlirAffineMapAttrGetValue(map.raw()))
        }
    });
    Transfer {
        in_bounds: bounds.iter().all(|one| one.as_bool() == Some(true))
            && (!bounds.is_empty() || rank_zero(op, access)),
        mask: op.operands().nth(behind + usize::from(!access.writes)),
        padding,
        straight,
    }
}

fn rank_zero(op: Op<'_>, access: Access) -> bool {
    let vector = if access.writes {
        op.operands().next()
    } else {
        op.results().next()
    };
    vector
        .and_then(|value| value.ty().as_vector())
        .is_some_and(|(shape, _)| shape.is_empty())
}

/// Bytes of a scalar, or of a vector whose elements lie one behind the other wherever its memory is row-major.
pub fn contiguous_bytes(ty: Type<'_>) -> Option<u64> {
    let scalar = |ty: Type<'_>| {
        ty.scalar_bits()
            .filter(|bits| bits % 8 == 0)
            .map(|bits| u64::from(bits / 8))
    };
    let Some((shape, element)) = ty.as_vector() else {
        return if ty.is_index() { None } else { scalar(ty) };
    };
    // SAFETY: the type is a vector.
    if unsafe { mlir_sys::mlirVectorTypeIsScalable(ty.raw()) } {
        return None;
    }
    let Some((last, outer)) = shape.split_last() else {
        return scalar(element);
    };
    let flat = outer.iter().all(|extent| *extent == 1);
    flat.then_some(u64::try_from(*last).ok()?.checked_mul(scalar(element)?)?)
}
