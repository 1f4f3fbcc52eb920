//! What an operation does to memory, and which memory that is.
//!
//! ```text
//! vector.store %v, %view[…]   -> Touches { memref: %view, writes }      root(%view) = argument 1
//! memref.atomic_rmw …         -> Visible
//! "their.op"() …              -> Unknown
//! ```

use mlir_sys::{mlirAffineMapAttrGetValue, mlirAffineMapIsMinorIdentity, mlirAttributeIsAAffineMap};

use crate::ir::{Attr, Def, Op, Value};

/// Operand numbers of the memref and the first index, and whether the operation writes.
#[derive(Clone, Copy)]
pub struct Access {
    pub memref: usize,
    pub first_index: usize,
    pub writes: bool,
}

/// Loads and stores at indices, one index a dimension of the memref.
pub fn access(op: Op<'_>) -> Option<Access> {
    let (memref, writes) = match op.name() {
        "vector.load" | "memref.load" | "nvgpu.ldmatrix" | "vector.transfer_read" | "gpu.subgroup_mma_load_matrix" => {
            (0, false)
        }
        "vector.store" | "memref.store" | "vector.transfer_write" | "gpu.subgroup_mma_store_matrix" => (1, true),
        _ => return None,
    };
    let rank = op.operands().nth(memref)?.ty().as_memref()?.shape.len();
    let first_index = memref + 1;
    (op.num_operands() >= first_index + rank).then_some(Access {
        memref,
        first_index,
        writes,
    })
}

/// The indices of a load or store.
pub fn indices<'ir>(op: Op<'ir>, access: Access) -> Vec<Value<'ir>> {
    let rank = op
        .operand(access.memref)
        .ty()
        .as_memref()
        .map_or(0, |memref| memref.shape.len());
    op.operands().skip(access.first_index).take(rank).collect()
}

/// Whether a load or store moves exactly the bytes from its indices on: of transfers, those without mask and
/// permutation that are in bounds.
pub fn is_plain_move(op: Op<'_>) -> bool {
    let Some(shape) = access(op) else { return false };
    match op.name() {
        "vector.load" | "memref.load" | "vector.store" | "memref.store" => true,
        "vector.transfer_read" | "vector.transfer_write" => {
            let padding = usize::from(!shape.writes);
            let unmasked = op.num_operands() == shape.first_index + indices(op, shape).len() + padding;
            let bounds = op.attr("in_bounds").and_then(Attr::as_array);
            let inside = bounds.is_some_and(|all| all.iter().all(|one| one.as_bool() == Some(true)));
            let straight = op.attr("permutation_map").is_some_and(|map| {
                // SAFETY: the attribute lives as long as its context, and it is read as a map only if it is one.
                unsafe {
                    mlirAttributeIsAAffineMap(map.raw())
                        && mlirAffineMapIsMinorIdentity(mlirAffineMapAttrGetValue(map.raw()))
                }
            });
            unmasked && inside && straight
        }
        _ => false,
    }
}

/// What an operation does beside computing its results. Regions count for themselves.
#[derive(Clone, Copy, PartialEq)]
pub enum Effect<'ir> {
    /// Nothing.
    None,
    /// Reads or writes one memref.
    Touches { memref: Value<'ir>, writes: bool },
    /// `gpu.barrier`.
    Barrier,
    /// Asynchronous copies and their groups.
    Asynchronous,
    /// Atomics, calls, output.
    Visible,
    /// Not understood.
    Unknown,
}

/// The effect of one operation, without what stands in its regions.
pub fn effect(op: Op<'_>) -> Effect<'_> {
    if let Some(shape) = access(op) {
        let memref = op.operand(shape.memref);
        let writes = shape.writes;
        return Effect::Touches { memref, writes };
    }
    let name = op.name();
    let on_first = |writes| match op.operands().next() {
        Some(memref) if memref.ty().as_memref().is_some() => Effect::Touches { memref, writes },
        _ => Effect::Unknown,
    };
    if name.starts_with("nvgpu.device_async") || name.starts_with("nvvm.cp.async") || name.starts_with("nvgpu.tma") {
        return Effect::Asynchronous;
    }
    match name {
        "gpu.barrier" => Effect::Barrier,
        "memref.atomic_rmw"
        | "memref.generic_atomic_rmw"
        | "func.call"
        | "llvm.call"
        | "gpu.printf"
        | "vector.print"
        | "cf.assert" => Effect::Visible,
        "vector.maskedload" | "vector.gather" | "vector.expandload" => on_first(false),
        "vector.maskedstore" | "vector.scatter" | "vector.compressstore" => on_first(true),
        "scf.if" | "scf.for" | "scf.while" | "scf.condition" | "scf.yield" | "cf.br" | "cf.cond_br" | "gpu.return" => {
            Effect::None
        }
        "memref.alloc" | "memref.alloca" | "memref.dealloc" | "memref.get_global" | "memref.dim" => Effect::None,
        "nvgpu.mma.sync"
        | "gpu.subgroup_mma_compute"
        | "gpu.subgroup_mma_constant_matrix"
        | "gpu.subgroup_mma_elementwise"
        | "affine.apply"
        | "affine.min"
        | "affine.max"
        | "ub.poison" => Effect::None,
        _ if is_view(op) || is_id(op) => Effect::None,
        _ if op.num_regions() != 0 => Effect::Unknown,
        _ if matches!(op.dialect(), "arith" | "math" | "index") => Effect::None,
        "vector.transfer_read" | "vector.transfer_write" => Effect::Unknown,
        _ if op.dialect() == "vector" => Effect::None,
        _ => Effect::Unknown,
    }
}

/// Positions of threads and blocks, and their number.
pub fn is_id(op: Op<'_>) -> bool {
    matches!(
        op.name(),
        "gpu.thread_id"
            | "gpu.block_id"
            | "gpu.block_dim"
            | "gpu.grid_dim"
            | "gpu.lane_id"
            | "gpu.subgroup_id"
            | "gpu.subgroup_size"
            | "gpu.num_subgroups"
            | "gpu.global_id"
    )
}

/// Whether the result names (a part of) the memory of the first operand.
fn is_view(op: Op<'_>) -> bool {
    matches!(
        op.name(),
        "memref.subview"
            | "memref.cast"
            | "memref.reinterpret_cast"
            | "memref.view"
            | "memref.expand_shape"
            | "memref.collapse_shape"
            | "memref.memory_space_cast"
            | "memref.assume_alignment"
    )
}

/// The memory behind a memref.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Root<'ir> {
    /// The n-th argument of the function.
    Argument(usize),
    /// Memory that the kernel itself makes: an attribution or an allocation.
    Own(Value<'ir>),
    /// A `memref.global`.
    Global(&'ir str),
    /// Not known.
    Unknown,
}

/// Whether two accesses may meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alias {
    /// Different memory.
    Never,
    /// Not proven different.
    May,
    /// The same argument, allocation or global.
    Same,
}

/// The memory of one kernel.
#[derive(Clone, Copy)]
pub struct Memory<'ir> {
    pub kernel: Op<'ir>,
    pub assume_noalias: bool,
}

impl<'ir> Memory<'ir> {
    /// Arguments of the entry block that are the function's, not attributions: MLIR appends the workgroup
    /// attributions and then the private ones.
    pub fn is_attribution(&self, position: usize) -> bool {
        let Some(entry) = self.kernel.regions().next().and_then(|region| region.blocks().next()) else {
            return false;
        };
        let is_shared = |at| entry.argument(at).ty().memory_space().is_some_and(Attr::is_workgroup);
        // First the cheap question: most arguments are global memory.
        if position >= entry.num_arguments() || !is_shared(position) {
            return false;
        }
        let count = self
            .kernel
            .attr("workgroup_attributions")
            .and_then(Attr::as_int)
            .unwrap_or(0);
        let behind = (position + 1..entry.num_arguments())
            .filter(|&at| is_shared(at))
            .count();
        (behind as i64) < count
    }

    /// The memory behind a memref, through views.
    pub fn root(&self, memref: Value<'ir>) -> Root<'ir> {
        let mut value = memref;
        // A view's operand stands before it; the bound holds off cycles in regions without dominance.
        for _ in 0..1000 {
            match value.def() {
                Def::Argument(block, position) if block.parent() == Some(self.kernel) => {
                    let entry = self.kernel.regions().next().and_then(|region| region.blocks().next());
                    return match entry {
                        Some(entry) if entry == block && self.is_attribution(position) => Root::Own(value),
                        Some(entry) if entry == block => Root::Argument(position),
                        _ => Root::Unknown,
                    };
                }
                Def::Argument(..) => return Root::Unknown,
                Def::Result(op, _) if is_view(op) => value = op.operand(0),
                Def::Result(op, _) => {
                    return match op.name() {
                        "memref.alloc" | "memref.alloca" => Root::Own(value),
                        "memref.get_global" => op
                            .attr("name")
                            .and_then(Attr::as_symbol)
                            .map_or(Root::Unknown, Root::Global),
                        _ => Root::Unknown,
                    };
                }
            }
        }
        Root::Unknown
    }

    /// Whether only the thread itself sees the memory.
    pub fn is_private(&self, memref: Value<'ir>) -> bool {
        match self.root(memref) {
            Root::Own(value) => !value.ty().memory_space().is_some_and(Attr::is_workgroup),
            _ => false,
        }
    }

    /// Whether two memrefs may name the same memory.
    pub fn alias(&self, a: Value<'ir>, b: Value<'ir>) -> Alias {
        match (self.root(a), self.root(b)) {
            (Root::Unknown, _) | (_, Root::Unknown) => Alias::May,
            (a, b) if a == b => Alias::Same,
            (Root::Own(_), _) | (_, Root::Own(_)) | (Root::Global(_), Root::Global(_)) => Alias::Never,
            (a, b) if self.assume_noalias || self.is_noalias(a) || self.is_noalias(b) => Alias::Never,
            _ => Alias::May,
        }
    }

    fn is_noalias(&self, root: Root<'ir>) -> bool {
        matches!(root, Root::Argument(position) if self.argument_attr(position, "llvm.noalias").is_some())
    }

    /// An attribute of a function argument.
    pub fn argument_attr(&self, position: usize, name: &str) -> Option<Attr<'ir>> {
        self.kernel.attr("arg_attrs")?.as_array()?.get(position)?.entry(name)
    }
}
