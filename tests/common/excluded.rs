//! Files whose plain lowering has no results to compare with, and why.
//!
//! ```text
//! ("detect/out_of_bounds", "undefined", "…"),      file, class, reason
//! ```

/// File, [`NoBaseline::class`](super::baseline::NoBaseline::class), reason.
pub const EXCLUDED: &[(&str, &str, &str)] = &[
    (
        "detect/affine_inner_loop_short",
        "undefined",
        "half of the rows are never written",
    ),
    ("detect/affine_min", "undefined", "two threads write one row"),
    ("detect/affine_mod_misses", "undefined", "threads write one row"),
    (
        "detect/align_assumed_of_view",
        "undefined",
        "the argument is bytes of no known extent",
    ),
    ("detect/argument", "not-a-kernel", "a func.func, which is judged only"),
    ("detect/asynchronous_in_flight", "undefined", "read before its wait"),
    ("detect/asynchronous_never", "undefined", "nothing waits for the copies"),
    (
        "detect/barrier_under_condition",
        "undefined",
        "a barrier under a condition orders nothing",
    ),
    (
        "detect/block_size_given",
        "not-a-kernel",
        "the block size is an option of the test",
    ),
    ("detect/block_size_unknown", "not-a-kernel", "no block size"),
    (
        "detect/dynamic_buffer",
        "not-lowered",
        "an allocation of no constant size",
    ),
    (
        "detect/dynamic_raw",
        "undefined",
        "bytes of the tile are written while it is read",
    ),
    ("detect/dynamic_views_overlap", "undefined", "two windows share bytes"),
    ("detect/func", "not-a-kernel", "a func.func, which is judged only"),
    (
        "detect/half_of_threads",
        "undefined",
        "half of the rows are never written",
    ),
    ("detect/lanes", "undefined", "the second warp reads behind the argument"),
    (
        "detect/launch_dynamic",
        "not-a-kernel",
        "the block size is not constant",
    ),
    (
        "detect/memref_copy_of_chosen_rows",
        "undefined",
        "threads write one row",
    ),
    (
        "detect/memref_copy_part",
        "undefined",
        "a part of the tile is never written",
    ),
    ("detect/memref_copy_to_one_row", "undefined", "threads write one row"),
    (
        "detect/out_of_bounds",
        "undefined",
        "written behind the end of the tile",
    ),
    (
        "detect/pointer_of_tile",
        "not-lowered",
        "a store through an LLVM pointer made of an index",
    ),
    ("detect/pure_local_source", "undefined", "the source is never written"),
    ("detect/pure_shared_source", "undefined", "the source is never written"),
    ("detect/race_before_copy", "undefined", "a barrier is missing"),
    ("detect/race_before_read", "undefined", "a barrier is missing"),
    (
        "detect/registers_call",
        "not-executed",
        "calls a function without a body",
    ),
    ("detect/reuse_next_tile", "undefined", "reads what nobody wrote"),
    (
        "detect/side_effect_call",
        "not-executed",
        "calls a function without a body",
    ),
    (
        "detect/sink_different",
        "not-executed",
        "math.absf becomes a call of libdevice",
    ),
    (
        "detect/strided_columns",
        "undefined",
        "the last row ends behind the argument",
    ),
    ("detect/subview_half", "undefined", "two threads write one row"),
    ("detect/swizzle_that_misses", "undefined", "two threads write one piece"),
    (
        "detect/transfer_any_mask",
        "not-a-kernel",
        "an argument that is a vector",
    ),
    ("detect/two_kernels", "not-a-kernel", "two kernels"),
    ("detect/unknown_alloc", "not-a-kernel", "operations of no dialect"),
    ("detect/unknown_op", "not-a-kernel", "operations of no dialect"),
    ("detect/unknown_use", "not-a-kernel", "operations of no dialect"),
    ("detect/width_twelve_bytes", "undefined", "a column is never written"),
    (
        "pipeline/softmax_online",
        "not-executed",
        "math operations, which the plain lowering makes calls of libdevice of",
    ),
    ("plain/barrier_of_block_zero", "undefined", "no barrier in block 1"),
    (
        "plain/barrier_skipped_once",
        "undefined",
        "a barrier is missing in one iteration",
    ),
];
