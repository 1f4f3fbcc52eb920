//! KNOWN: faults of ours that stand, each to be mended. Delete an entry (or edit its second field) when its file comes
//! out right: the test is red until then, and says what it found.
//!
//! ```text
//! ("plain/guard_select_row", "1/1 2/1 3/1 3/2: differs", "…"),      file, what is found, what is wrong
//! ```

/// File, [`Checked::faults`](super::baseline::Checked::faults), what is wrong.
pub const KNOWN: &[(&str, &str, &str)] = &[
    (
        "detect/one_of_two_sinks",
        "2 promised and not planned",
        "after sinking, one of the two is not read and the plan is empty",
    ),
    (
        "detect/window_assumed_before",
        "1/1 2/1 3/1 3/2: refused may-alias",
        "a window at a place that is not constant is refused, also without a pipeline",
    ),
    (
        "detect/windows_behind_unknown",
        "1/1 2/1 3/1 3/2: refused may-alias",
        "a window at a place that is not constant is refused, also without a pipeline",
    ),
    (
        "plain/copy_by_half",
        "1/1 2/1 3/1 3/2: refused hazards",
        "a copy that differs between threads is shared out as if it did not",
    ),
    (
        "plain/copy_by_one_thread",
        "1/1 2/1 3/1 3/2: hazard",
        "a copy that differs between threads is shared out as if it did not",
    ),
    (
        "plain/copy_of_hoisted_view",
        "1/1 2/1 3/1 3/2: refused hazards",
        "a copy that differs between threads is shared out as if it did not",
    ),
    (
        "plain/copy_of_thread",
        "1/1 2/1 3/1 3/2: hazard",
        "a copy that differs between threads is shared out as if it did not",
    ),
    (
        "plain/copy_of_thread_in_loop",
        "1/1 2/1 3/1 3/2: refused hazards",
        "a copy that differs between threads is shared out as if it did not",
    ),
    (
        "plain/copy_out_of_tile",
        "3/2: refused sync-positions-differ",
        "the default depths refuse their own plan",
    ),
    (
        "plain/count_from_tile",
        "3/2: refused sync-positions-differ",
        "the default depths refuse their own plan",
    ),
    (
        "plain/counter_unsigned_copy",
        "1/1 2/1 3/1 3/2 4/3: refused hazards",
        "the judge reads an unsigned loop as signed",
    ),
    (
        "plain/guard_around_work",
        "1 promised and not planned",
        "said to be fine after sinking, and left out of the plan",
    ),
    (
        "plain/guard_if_cast",
        "1 promised and not planned",
        "said to be fine after sinking, and left out of the plan",
    ),
    (
        "plain/guard_if_in_copy_loop",
        "1 promised and not planned",
        "said to be fine after sinking, and left out of the plan",
    ),
    (
        "plain/guard_if_relu",
        "1 promised and not planned",
        "said to be fine after sinking, and left out of the plan",
    ),
    (
        "plain/guard_select_alias",
        "1/1 2/1 3/1 3/2: differs",
        "the guard moves behind the barrier, with the reader's condition",
    ),
    (
        "plain/guard_select_cast",
        "1/1 2/1 3/1 3/2: differs",
        "the guard moves behind the barrier, with the reader's condition",
    ),
    (
        "plain/guard_select_from_memory",
        "1/1 2/1 3/1 3/2 4/3: refused not-a-pure-copy",
        "said to be fine after sinking, and refused by the pass",
    ),
    (
        "plain/guard_select_inverted",
        "1/1 2/1 3/1 3/2: differs",
        "the guard moves behind the barrier, with the reader's condition",
    ),
    (
        "plain/guard_select_row",
        "1/1 2/1 3/1 3/2: differs",
        "the guard moves behind the barrier, with the reader's condition",
    ),
    (
        "plain/guard_select_scalar",
        "1/1 2/1 3/1 3/2: differs",
        "the guard moves behind the barrier, with the reader's condition",
    ),
    (
        "plain/guard_select_scalar_half",
        "1/1 2/1 3/1 3/2: differs",
        "the guard moves behind the barrier, with the reader's condition",
    ),
    (
        "plain/masked_constant_aligned",
        "1/1 2/1 3/1 3/2 4/3: differs",
        "LLVM 22 drops what masked lanes get instead",
    ),
    (
        "plain/mixed_widths",
        "2/1 3/1 3/2 4/3: refused width-unsupported",
        "the width of the first copy is taken for all",
    ),
    (
        "plain/read_then_dynamic_loop",
        "3/2: refused sync-positions-differ",
        "the default depths refuse their own plan",
    ),
    (
        "plain/read_then_inner_loop",
        "3/2: refused sync-positions-differ",
        "the default depths refuse their own plan",
    ),
    (
        "plain/work_cast_in_one_loop",
        "1/1 2/1 3/1 3/2 4/3: bug",
        "the first copy's work is taken for that of all",
    ),
    (
        "plain/work_in_branches",
        "1/1 2/1 3/1 3/2: differs",
        "the first copy's work is taken for that of all",
    ),
    (
        "plain/work_lanes_differ",
        "1/1 2/1 3/1 3/2 4/3: refused not-a-pure-copy",
        "said to be fine after sinking, and refused by the pass",
    ),
    (
        "plain/work_two_float_predicates",
        "1/1 2/1 3/1 3/2: differs",
        "the first copy's work is taken for that of all",
    ),
    (
        "plain/work_two_loops",
        "1/1 2/1 3/1 3/2: differs",
        "the first copy's work is taken for that of all",
    ),
    (
        "plain/work_two_loops_constants",
        "1/1 2/1 3/1 3/2: differs",
        "the first copy's work is taken for that of all",
    ),
    (
        "plain/work_two_loops_operations",
        "1/1 2/1 3/1 3/2: differs",
        "the first copy's work is taken for that of all",
    ),
    (
        "plain/work_two_predicates",
        "1/1 2/1 3/1 3/2: differs",
        "the first copy's work is taken for that of all",
    ),
    (
        "plain/work_two_widths",
        "1/1 2/1 3/1 3/2 4/3: refused not-a-pure-copy",
        "said to be fine after sinking, and refused by the pass",
    ),
];
