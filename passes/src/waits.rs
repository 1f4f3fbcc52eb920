//! Commit groups and wait counts, computed from positions.
//!
//! `cp.async.wait_group N` returns when at most the N youngest committed groups are still pending (PTX ISA,
//! "cp.async.wait_group"). So N is: groups committed before the wait, less the groups that must have landed.

/// Where a pipeline of one commit stream issues, waits and reads, in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positions {
    /// Groups committed before the loop.
    pub prologue_commits: u32,
    /// Whether an iteration commits its group before it waits.
    pub commit_before_wait: bool,
    /// Chunks past the current one that are read in an iteration after its wait (1 when fragments of the next chunk
    /// are read ahead, otherwise 0).
    pub reads_ahead: u32,
}

/// The count of the wait inside iteration `iteration`: the same for each iteration of a steady state.
///
/// Returns `None` when the groups needed were not yet committed: no count can make that right.
pub fn steady_wait(positions: Positions, iteration: u32) -> Option<u32> {
    let committed = positions.prologue_commits + iteration + u32::from(positions.commit_before_wait);
    let needed = iteration + positions.reads_ahead + 1;
    committed.checked_sub(needed)
}

/// The count of the wait between the prologue and the first read of chunk 0.
pub fn prologue_wait(prologue_commits: u32) -> Option<u32> {
    prologue_commits.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_a_two_level_pipeline() {
        for slots in 2..=8 {
            let positions = Positions {
                prologue_commits: slots,
                commit_before_wait: false,
                reads_ahead: 1,
            };
            for iteration in 0..10 {
                assert_eq!(steady_wait(positions, iteration), Some(slots - 2));
            }
            assert_eq!(prologue_wait(slots), Some(slots - 1));
        }
    }

    #[test]
    fn the_counts_of_a_shared_pipeline() {
        for slots in 2..=8 {
            let positions = Positions {
                prologue_commits: slots - 1,
                commit_before_wait: false,
                reads_ahead: 0,
            };
            assert_eq!(steady_wait(positions, 0), Some(slots - 2));
        }
    }

    #[test]
    fn reading_what_was_never_committed_has_no_count() {
        let positions = Positions {
            prologue_commits: 1,
            commit_before_wait: false,
            reads_ahead: 1,
        };
        assert_eq!(steady_wait(positions, 0), None);
        assert_eq!(prologue_wait(0), None);
    }
}
