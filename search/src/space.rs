//! Schedule spaces: lists of choices whose product is enumerated, and only what is legal comes out.
//!
//! ```
//! use alcop_search::space::{Space, enumerate};
//! use alcop_spec::{Arch, DType, Layout, Matmul, OpSpec};
//!
//! let op = OpSpec::Matmul(Matmul {
//!     m: 512, n: 768, k: 3072, batch: 1, dtype: DType::F16, out_dtype: DType::F32, layout: Layout::Nn,
//! });
//! let found = enumerate(&Space::artifact_matmul(), &op, &Arch::Sm80.limits()).unwrap();
//! assert_eq!(found.legal.len() as u64 + found.pruned.values().sum::<u64>(), 1620);
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;

use alcop_spec::schedule::AxisTiles;
use alcop_spec::{Limits, OpSpec, Rejection, Resources, Swizzle, TileSchedule, occupancy};

/// A product of choices. The order of each list is the order of the enumeration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// Warps of a block along m and n.
    pub block_warps: Vec<(u32, u32)>,
    /// Extents of a warp's tile along m and n, in elements.
    pub warp_tiles: Vec<(u32, u32)>,
    /// Extents of the chunk of k in shared memory, in elements.
    pub chunk_k: Vec<u32>,
    /// Slots in shared memory.
    pub shared_stages: Vec<u32>,
    /// Fragment sets in registers.
    pub register_stages: Vec<u32>,
    /// Tile rows that are launched as a group.
    pub raster_rows: Vec<u32>,
}

impl Space {
    /// The matmul space of the paper's artifact: 1620 points.
    pub fn artifact_matmul() -> Space {
        Space {
            block_warps: product(&[1, 2, 4], &[1, 2, 4]),
            warp_tiles: product(&[16, 32, 64], &[16, 32]),
            chunk_k: vec![32, 64],
            shared_stages: (2..=6).collect(),
            register_stages: vec![1, 2, 4],
            raster_rows: vec![1],
        }
    }

    /// The space that is searched unless another is asked for: contains [`Space::artifact_matmul`] and the schedules
    /// without a pipeline. 7776 points.
    pub fn wide_matmul() -> Space {
        Space {
            block_warps: product(&[1, 2, 4], &[1, 2, 4]),
            warp_tiles: product(&[16, 32, 64], &[16, 32, 64]),
            chunk_k: vec![16, 32, 64, 128],
            shared_stages: (1..=6).collect(),
            register_stages: (1..=4).collect(),
            raster_rows: vec![1],
        }
    }

    /// Number of points, legal or not.
    pub fn size(&self) -> u64 {
        [
            self.block_warps.len(),
            self.warp_tiles.len(),
            self.chunk_k.len(),
            self.shared_stages.len(),
            self.register_stages.len(),
            self.raster_rows.len(),
        ]
        .iter()
        .map(|&choices| choices as u64)
        .product()
    }

    /// Calls `visit` with each point, legal or not; block warps vary slowest, raster rows fastest.
    pub fn for_each(&self, mut visit: impl FnMut(TileSchedule)) {
        for &(warps_m, warps_n) in &self.block_warps {
            for &(warp_m, warp_n) in &self.warp_tiles {
                for &chunk_k in &self.chunk_k {
                    for &shared_stages in &self.shared_stages {
                        for &register_stages in &self.register_stages {
                            for &raster_rows in &self.raster_rows {
                                visit(TileSchedule {
                                    block: AxisTiles::mnk(warps_m * warp_m, warps_n * warp_n, chunk_k),
                                    warp: AxisTiles::mn(warp_m, warp_n),
                                    shared_stages,
                                    register_stages,
                                    swizzle: Swizzle::Xor,
                                    raster_rows,
                                });
                            }
                        }
                    }
                }
            }
        }
    }
}

fn product(m: &[u32], n: &[u32]) -> Vec<(u32, u32)> {
    m.iter().flat_map(|&m| n.iter().map(move |&n| (m, n))).collect()
}

/// A legal schedule with what it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The schedule.
    pub schedule: TileSchedule,
    /// Its resources on the target for which the space was enumerated.
    pub resources: Resources,
}

/// The legal points of a space, and how many were pruned for which reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enumeration {
    /// Legal schedules in the order of the space.
    pub legal: Vec<Candidate>,
    /// Pruned points by reason (see [`prune_reason`]); a point with several reasons counts for the first.
    pub pruned: BTreeMap<&'static str, u64>,
}

/// A space without a legal point for this operator and target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpaceError {
    /// The lists have no point at all.
    #[error("the space has no points: one of its lists of choices is empty")]
    NoPoints,
    /// Every point was pruned.
    #[error("no schedule of the space is legal for {op}: {counts}; the first point: {example}")]
    AllPruned {
        /// The operator.
        op: String,
        /// "1200 of 1620 does-not-fit (shared memory), …", most frequent first.
        counts: String,
        /// The message of the first point's reason.
        example: String,
    },
}

/// The reason's code, with the budget where the code covers several.
pub const fn prune_reason(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::SharedDoesNotFit { .. } => "does-not-fit (shared memory)",
        Rejection::RegistersDoNotFit { .. } => "does-not-fit (registers of a thread)",
        Rejection::BlockDoesNotFitSm { .. } => "does-not-fit (registers of an SM)",
        other => other.code(),
    }
}

/// The legal points of a space for an operator on a target, pruned by the exact budgets of
/// [`alcop_spec::occupancy::check`]. A space of which nothing is left is an error that says what killed it.
pub fn enumerate(space: &Space, op: &OpSpec, limits: &Limits) -> Result<Enumeration, SpaceError> {
    let mut found = Enumeration {
        legal: Vec::new(),
        pruned: BTreeMap::new(),
    };
    let mut first_reason = None;
    space.for_each(|schedule| match occupancy::check(op, &schedule, limits) {
        Ok(resources) => found.legal.push(Candidate { schedule, resources }),
        Err(reasons) => {
            *found.pruned.entry(prune_reason(&reasons[0])).or_insert(0) += 1;
            first_reason.get_or_insert(reasons[0]);
        }
    });
    match first_reason {
        _ if !found.legal.is_empty() => Ok(found),
        None => Err(SpaceError::NoPoints),
        Some(reason) => Err(SpaceError::AllPruned {
            op: op.to_string(),
            counts: pruned_summary(&found.pruned, space.size()),
            example: reason.to_string(),
        }),
    }
}

/// "1200 of 1620 does-not-fit (shared memory), 420 of 1620 register-depth-exceeds-chunk", most frequent first.
pub fn pruned_summary(pruned: &BTreeMap<&'static str, u64>, size: u64) -> String {
    let mut counts: Vec<(&str, u64)> = pruned.iter().map(|(reason, count)| (*reason, *count)).collect();
    counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    let mut text = String::new();
    for (reason, count) in counts {
        let separator = if text.is_empty() { "" } else { ", " };
        write!(text, "{separator}{count} of {size} {reason}").expect("writing to a String does not fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use alcop_spec::{Arch, DType, Layout, Matmul};
    use proptest::prelude::*;

    use super::*;

    fn matmul(m: u64, n: u64, k: u64) -> OpSpec {
        let (dtype, out_dtype) = (DType::F16, DType::F32);
        OpSpec::Matmul(Matmul {
            m,
            n,
            k,
            batch: 1,
            dtype,
            out_dtype,
            layout: Layout::Nn,
        })
    }

    #[test]
    fn sizes_are_those_of_the_lists() {
        assert_eq!(Space::artifact_matmul().size(), 1620);
        assert_eq!(Space::wide_matmul().size(), 7776);
    }

    #[test]
    fn legal_and_pruned_make_the_space_and_the_order_is_fixed() {
        let (space, op) = (Space::wide_matmul(), matmul(512, 768, 3072));
        let found = enumerate(&space, &op, &Arch::Sm80.limits()).unwrap();
        assert_eq!(
            found.legal.len() as u64 + found.pruned.values().sum::<u64>(),
            space.size()
        );
        assert_eq!(found, enumerate(&space, &op, &Arch::Sm80.limits()).unwrap());
        for reason in ["register-depth-exceeds-chunk", "does-not-fit (shared memory)"] {
            assert!(found.pruned.contains_key(reason), "{reason} of {:?}", found.pruned);
        }
    }

    #[test]
    fn the_wide_space_contains_the_artifacts() {
        let op = matmul(512, 768, 3072);
        let wide = enumerate(&Space::wide_matmul(), &op, &Arch::Sm80.limits()).unwrap();
        let artifact = enumerate(&Space::artifact_matmul(), &op, &Arch::Sm80.limits()).unwrap();
        assert!(artifact.legal.iter().all(|candidate| wide.legal.contains(candidate)));
        assert!(
            wide.legal
                .iter()
                .any(|candidate| candidate.schedule == candidate.schedule.unpipelined())
        );
    }

    #[test]
    fn an_empty_space_says_what_killed_it() {
        let error = enumerate(&Space::artifact_matmul(), &matmul(0, 768, 3072), &Arch::Sm80.limits()).unwrap_err();
        let message = error.to_string();
        assert!(message.contains("1620 of 1620 empty-shape"), "{message}");
        assert!(message.contains("the extent of M is 0"), "{message}");

        let tiny = alcop_spec::Limits {
            shared_bytes_per_block: 1000,
            ..Arch::Sm80.limits()
        };
        let error = enumerate(&Space::artifact_matmul(), &matmul(512, 768, 3072), &tiny).unwrap_err();
        assert!(error.to_string().contains("does-not-fit (shared memory)"), "{error}");

        let empty = Space {
            chunk_k: vec![],
            ..Space::artifact_matmul()
        };
        assert_eq!(
            enumerate(&empty, &matmul(512, 768, 3072), &Arch::Sm80.limits()).unwrap_err(),
            SpaceError::NoPoints
        );
    }

    proptest! {
        #[test]
        fn every_legal_point_checks_and_keeps_its_depth_within_the_chunk(
            m in 1_u64..640, n in 1_u64..640, k in 1_u64..640,
        ) {
            let op = matmul(m, n, k);
            let limits = Arch::Sm80.limits();
            let Ok(found) = enumerate(&Space::wide_matmul(), &op, &limits) else { return Ok(()) };
            for Candidate { schedule, resources } in found.legal {
                prop_assert_eq!(occupancy::check(&op, &schedule, &limits), Ok(resources));
                prop_assert!(schedule.register_stages <= schedule.k_steps() + 1);
                prop_assert!(resources.occupancy.blocks_per_sm >= 1);
            }
        }
    }
}
