//! Whether a plan gives every buffer and every load the depths that were asked for.
//!
//! ```text
//! asked: 3 slots, 2 fragment sets
//! plan:  A in 3 slots, 1 chunk ahead; B in 1 slot     refused: A is 2 deep; B is 1 deep, with the reason of its verdict
//! ```
//!
//! [`decide`](crate::decide::decide) leaves out what cannot be pipelined, which is right for a kernel whose author asks what
//! can be done. Whoever wants one schedule and no other, such as a search that records its time, asks here as well.

use alcop_compiler::detect::{BufferVerdict, Detection, Level};
use alcop_compiler::ir::BufferId;

use crate::decide::Depths;
use crate::error::Error;
use crate::plan::PipelinePlan;

/// Refuses a plan that is shallower than what was asked for, in any buffer or load of the module that it was made for.
///
/// # Errors
/// [`Error::Refused`] with the code `schedule-not-obeyed`, such buffers, and why their verdicts keep them from more.
pub fn check(detection: &Detection, plan: &PipelinePlan, depths: &Depths) -> Result<(), Error> {
    for (level, asked) in [
        (Level::Shared, depths.shared_stages),
        (Level::Register, depths.register_stages),
    ] {
        let buffers = detection.kernels.iter().flat_map(|kernel| &kernel.buffers);
        let mut candidates = buffers.filter(|buffer| buffer.level == level).peekable();
        if asked > 1 && candidates.peek().is_none() {
            let message = format!(
                "{}, and no loop of the kernel fills anything there",
                wanted(level, asked)
            );
            return Err(Error::refused("schedule-not-obeyed", "the request", message));
        }
        let given = |buffer: &BufferVerdict| match level {
            Level::Shared => slots(plan, buffer),
            Level::Register => fragment_sets(plan, buffer),
        };
        let shallower: Vec<(&BufferVerdict, u32)> = candidates
            .map(|buffer| (buffer, given(buffer)))
            .filter(|(_, given)| *given < asked)
            .collect();
        if let Some((first, _)) = shallower.first() {
            let message = format!("{}, and {}", wanted(level, asked), listed(&shallower));
            return Err(Error::refused("schedule-not-obeyed", place(first), message));
        }
    }
    Ok(())
}

/// Slots of a shared buffer that a chunk can wait in: one that is loaded fewer chunks ahead leaves slots unused.
fn slots(plan: &PipelinePlan, buffer: &BufferVerdict) -> u32 {
    let of_its_loop = plan
        .loops
        .iter()
        .filter(|entry| buffer.loop_index == Some(entry.loop_index));
    of_its_loop
        .flat_map(|entry| &entry.buffers)
        .find(|planned| planned.buffer == buffer.id)
        .map_or(1, |planned| planned.slots.min(planned.distance + 1))
}

/// The same of a load into registers.
fn fragment_sets(plan: &PipelinePlan, load: &BufferVerdict) -> u32 {
    let BufferId::OpResult { op, index } = &load.id else {
        return 1;
    };
    let planned = plan.loops.iter().flat_map(|entry| &entry.registers);
    planned
        .filter(|entry| entry.loads.iter().any(|id| id.op == *op && id.index == *index))
        .map(|entry| entry.depth.min(entry.read_ahead + 1))
        .max()
        .unwrap_or(1)
}

fn wanted(level: Level, asked: u32) -> String {
    match level {
        Level::Shared => format!("{asked} shared stages are asked for"),
        Level::Register => format!("{asked} register stages are asked for"),
    }
}

/// Buffers that are listed; one of a hundred loads says as much as all of them.
const MAX_LISTED: usize = 4;

/// What each gets and why: one may be refused only because of another one.
fn listed(shallower: &[(&BufferVerdict, u32)]) -> String {
    let why = |buffer: &BufferVerdict| {
        buffer.reasons.first().map_or_else(
            || "what it is filled from is not pipelined as asked".to_owned(),
            |reason| format!("{} ({})", reason.message, reason.code),
        )
    };
    let each = shallower
        .iter()
        .take(MAX_LISTED)
        .map(|(buffer, given)| format!("{} gets {given}: {}", buffer.name(), why(buffer)));
    let mut list = each.collect::<Vec<_>>().join("; ");
    if let more @ 1.. = shallower.len().saturating_sub(MAX_LISTED) {
        list += &format!("; and {more} more");
    }
    list
}

fn place(buffer: &BufferVerdict) -> &str {
    buffer
        .reasons
        .first()
        .map_or(&buffer.location, |reason| &reason.location)
}

#[cfg(test)]
mod tests {
    use alcop_compiler::detect::{DetectOptions, detect};
    use alcop_compiler::ir::Context;

    use super::*;
    use crate::decide::decide;
    use crate::plan::SharedLayout;

    /// Two tiles that one loop fills; the second is filled with what the loop itself writes, where `%from` says so.
    fn kernel(from: &str) -> String {
        format!(
            r#"
module {{
  gpu.module @m {{
    gpu.func @two(%a: memref<8x512xf16> {{llvm.align = 16 : i64, llvm.noalias}},
                  %b: memref<8x512xf16> {{llvm.align = 16 : i64, llvm.noalias}},
                  %o: memref<512xf16> {{llvm.align = 16 : i64, llvm.noalias}})
        workgroup(%s : memref<512xf16, #gpu.address_space<workgroup>>,
                  %t : memref<512xf16, #gpu.address_space<workgroup>>)
        kernel attributes {{known_block_size = array<i32: 64, 1, 1>}} {{
      %c0 = arith.constant 0 : index
      %c1 = arith.constant 1 : index
      %c8 = arith.constant 8 : index
      %c504 = arith.constant 504 : index
      %thread = gpu.thread_id x
      %own = arith.muli %thread, %c8 : index
      %mirrored = arith.subi %c504, %own : index
      scf.for %i = %c0 to %c8 step %c1 {{
        %0 = vector.load %a[%i, %own] : memref<8x512xf16>, vector<8xf16>
        vector.store %0, %s[%own] : memref<512xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %1 = vector.load {from} : memref<8x512xf16>, vector<8xf16>
        vector.store %1, %t[%own] : memref<512xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        gpu.barrier
        %2 = vector.load %s[%mirrored] : memref<512xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %3 = vector.load %t[%mirrored] : memref<512xf16, #gpu.address_space<workgroup>>, vector<8xf16>
        %4 = arith.addf %2, %3 : vector<8xf16>
        vector.store %4, %b[%i, %own] : memref<8x512xf16>, vector<8xf16>
        gpu.barrier
      }}
      gpu.return
    }}
  }}
}}
"#
        )
    }

    /// What comes of asking for these depths, after `edit` had the plan.
    fn checked(from: &str, depths: (u32, u32), edit: impl FnOnce(&mut PipelinePlan)) -> Result<(), String> {
        let context = Context::new();
        let module = context.parse(&kernel(from), "two.mlir").expect("valid");
        let options = DetectOptions {
            shared_bytes_per_block: 166_912,
            block_size: None,
            assumptions: Default::default(),
        };
        let detection = detect(&module, &options);
        let depths = Depths {
            shared_stages: depths.0,
            register_stages: depths.1,
            layout: SharedLayout::Plain,
        };
        let mut plan = decide(&module, &detection, "sm_80", &depths).expect("a plan");
        edit(&mut plan);
        check(&detection, &plan, &depths).map_err(|error| error.to_string())
    }

    #[test]
    fn a_plan_that_gives_all_of_it_passes() {
        assert_eq!(checked("%a[%i, %mirrored]", (3, 1), |_| ()), Ok(()));
        assert_eq!(checked("%b[%i, %mirrored]", (1, 1), |_| ()), Ok(()));
    }

    #[test]
    fn a_buffer_that_is_left_out_is_named_with_the_reason_of_its_verdict() {
        let refusal = checked("%b[%i, %mirrored]", (3, 1), |_| ()).expect_err("a tile is not pipelinable");
        assert!(
            refusal.contains("3 shared stages are asked for, and workgroup attribution"),
            "{refusal}"
        );
        assert!(refusal.contains("gets 1: "), "{refusal}");
        assert!(refusal.contains("(source-written-in-loop)"), "{refusal}");
        assert!(refusal.ends_with("[schedule-not-obeyed]"), "{refusal}");
    }

    #[test]
    fn fewer_slots_a_shorter_distance_and_no_plan_at_all_are_shallower() {
        let buffer = |plan: &mut PipelinePlan, change: fn(&mut crate::plan::BufferPlan)| {
            change(&mut plan.loops[0].buffers[1]);
        };
        for (given, edit) in [
            (2, (|plan| plan.slots = 2) as fn(&mut crate::plan::BufferPlan)),
            (2, |plan| plan.distance = 1),
        ] {
            let refusal = checked("%a[%i, %mirrored]", (3, 1), |plan| buffer(plan, edit)).expect_err("shallower");
            assert!(
                refusal.contains(&format!("workgroup attribution 1 gets {given}")),
                "{refusal}"
            );
        }
        let refusal = checked("%a[%i, %mirrored]", (3, 1), |plan| plan.loops.clear()).expect_err("nothing is planned");
        assert!(refusal.contains("workgroup attribution 0 gets 1"), "{refusal}");
    }

    #[test]
    fn registers_are_asked_of_the_loads() {
        assert_eq!(checked("%a[%i, %mirrored]", (3, 2), |_| ()), Ok(()));
        let refusal = checked("%a[%i, %mirrored]", (3, 2), |plan| plan.loops[0].registers.clear());
        let refusal = refusal.expect_err("no load is planned");
        assert!(
            refusal.contains("2 register stages are asked for, and vector.load"),
            "{refusal}"
        );
    }
}
