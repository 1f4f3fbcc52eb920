//! Schedule spaces: lists of choices whose product is enumerated, and only what is legal comes out.
//!
//! ```
//! use alcop_search::space::{Space, enumerate};
//! use alcop_spec::{Arch, DType, Layout, Matmul, OpSpec};
//!
//! let op = OpSpec::Matmul(Matmul {
//!     m: 512, n: 768, k: 3072, batch: 1, dtype: DType::F16, out_dtype: DType::F32, layout: Layout::Nn,
//! });
//! let found = enumerate(&Space::artifact_matmul(), &op, &Arch::Sm80.limits(), None).unwrap();
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
    /// Blocks that share the sum of a tile.
    pub split_k: Vec<u32>,
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
            split_k: vec![1],
        }
    }

    /// The space that is searched unless another is asked for: contains [`Space::artifact_matmul`] and the schedules
    /// without a pipeline. 69 984 points: 7776 tilings and depths in three orders of blocks and three splits of the sum, of
    /// which [`enumerate`] keeps those that can matter.
    pub fn wide_matmul() -> Space {
        Space {
            block_warps: product(&[1, 2, 4], &[1, 2, 4]),
            warp_tiles: product(&[16, 32, 64], &[16, 32, 64]),
            chunk_k: vec![16, 32, 64, 128],
            shared_stages: (1..=6).collect(),
            register_stages: (1..=4).collect(),
            raster_rows: vec![1, 4, 8],
            split_k: vec![1, 2, 4],
        }
    }

    /// A short name for records: `wide`, `artifact`, or the size and a hash of the lists of another space.
    pub fn name(&self) -> String {
        if *self == Space::wide_matmul() {
            return "wide".to_owned();
        }
        if *self == Space::artifact_matmul() {
            return "artifact".to_owned();
        }
        let lists = crate::journal::hash(&format!("{self:?}"));
        format!("{} points, {}", self.size(), &lists[..8])
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
            self.split_k.len(),
        ]
        .iter()
        .map(|&choices| choices as u64)
        .product()
    }

    /// Calls `visit` with each point, legal or not; block warps vary slowest, raster rows fastest.
    pub fn for_each(&self, mut visit: impl FnMut(TileSchedule)) {
        self.for_each_tiling(|tiling| self.blocks_of(tiling).for_each(&mut visit));
    }

    /// Calls `visit` with each point's tiles and depths, each tile with one block, in whole columns.
    fn for_each_tiling(&self, mut visit: impl FnMut(TileSchedule)) {
        for &(warps_m, warps_n) in &self.block_warps {
            for &(warp_m, warp_n) in &self.warp_tiles {
                for &chunk_k in &self.chunk_k {
                    for &shared_stages in &self.shared_stages {
                        for &register_stages in &self.register_stages {
                            visit(TileSchedule {
                                block: AxisTiles::mnk(warps_m * warp_m, warps_n * warp_n, chunk_k),
                                warp: AxisTiles::mn(warp_m, warp_n),
                                shared_stages,
                                register_stages,
                                swizzle: Swizzle::Xor,
                                raster_rows: 1,
                                split_k: 1,
                            });
                        }
                    }
                }
            }
        }
    }

    /// A tiling with every number and order of blocks.
    fn blocks_of(&self, tiling: TileSchedule) -> impl Iterator<Item = TileSchedule> {
        self.split_k.iter().flat_map(move |&split_k| {
            self.raster_rows.iter().map(move |&raster_rows| TileSchedule {
                raster_rows,
                split_k,
                ..tiling
            })
        })
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

/// The sum of each tile would be shared although every SM has a tile already.
pub const SPLIT_DOES_NOT_PAY: &str = "split-k-does-not-pay";
/// A raster of as many tile rows as there are (or more) is that of whole columns, which the space has.
pub const RASTER_OF_ALL_ROWS: &str = "raster-of-all-rows";
/// All blocks run at once, in whatever order they start.
pub const RASTER_OF_ONE_WAVE: &str = "raster-of-one-wave";

/// The legal points of a space for an operator on a target, pruned by the exact budgets of
/// [`alcop_spec::occupancy::check`], and of the orders and numbers of blocks by what can make a difference on a device with
/// `sm_count` SMs (`None`: a bare architecture; then only duplicates go). A space of which nothing is left is an error that
/// says what killed it.
pub fn enumerate(
    space: &Space,
    op: &OpSpec,
    limits: &Limits,
    sm_count: Option<u32>,
) -> Result<Enumeration, SpaceError> {
    let mut found = Enumeration {
        legal: Vec::new(),
        pruned: BTreeMap::new(),
    };
    let mut first_reason = None;
    let mut prune = |pruned: &mut BTreeMap<&'static str, u64>, reason: Rejection, points: u64| {
        *pruned.entry(prune_reason(&reason)).or_insert(0) += points;
        first_reason.get_or_insert(reason);
    };
    // Neither the order nor the number of blocks changes what a block takes: most points are checked as one.
    let of_a_tiling = (space.raster_rows.len() * space.split_k.len()) as u64;
    space.for_each_tiling(|tiling| match occupancy::check(op, &tiling, limits) {
        Err(reasons) if of_a_tiling > 0 => prune(&mut found.pruned, reasons[0], of_a_tiling),
        Err(_) => {}
        Ok(resources) => {
            for schedule in space.blocks_of(tiling) {
                if let Some(reason) = makes_no_difference(op, &schedule, &resources, sm_count) {
                    *found.pruned.entry(reason).or_insert(0) += 1;
                } else if schedule.split_k == 1 && schedule.raster_rows != 0 {
                    found.legal.push(Candidate { schedule, resources });
                } else {
                    match occupancy::check(op, &schedule, limits) {
                        Ok(resources) => found.legal.push(Candidate { schedule, resources }),
                        Err(reasons) => prune(&mut found.pruned, reasons[0], 1),
                    }
                }
            }
        }
    });
    match first_reason {
        _ if !found.legal.is_empty() => Ok(found),
        None if found.pruned.is_empty() => Err(SpaceError::NoPoints),
        reason => Err(SpaceError::AllPruned {
            op: op.to_string(),
            counts: pruned_summary(&found.pruned, space.size()),
            example: reason.map_or_else(
                || "another schedule does the same".to_owned(),
                |reason| reason.to_string(),
            ),
        }),
    }
}

/// Why a number or an order of blocks is not tried for legal tiles.
fn makes_no_difference(
    op: &OpSpec,
    schedule: &TileSchedule,
    resources: &Resources,
    sm_count: Option<u32>,
) -> Option<&'static str> {
    let OpSpec::Matmul(matmul) = op;
    if schedule.split_k <= 1 && schedule.raster_rows <= 1 {
        return None;
    }
    let tile_rows = matmul.m.div_ceil(u64::from(schedule.block.m));
    let tile_columns = matmul.n.div_ceil(u64::from(schedule.block.n));
    let tiles = tile_rows.saturating_mul(tile_columns).saturating_mul(matmul.batch);
    if schedule.split_k > 1 && sm_count.is_some_and(|sms| tiles >= u64::from(sms)) {
        return Some(SPLIT_DOES_NOT_PAY);
    }
    if schedule.raster_rows <= 1 {
        return None;
    }
    if u64::from(schedule.raster_rows) >= tile_rows {
        return Some(RASTER_OF_ALL_ROWS);
    }
    let blocks = tiles.saturating_mul(schedule.split_k.into());
    let a_wave = |sms| u64::from(sms) * u64::from(resources.occupancy.blocks_per_sm);
    sm_count
        .is_some_and(|sms| blocks <= a_wave(sms))
        .then_some(RASTER_OF_ONE_WAVE)
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
    use alcop_spec::Arch;
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures;

    fn matmul(m: u64, n: u64, k: u64) -> OpSpec {
        fixtures::matmul([m, n, k])
    }

    #[test]
    fn sizes_are_those_of_the_lists() {
        assert_eq!(Space::artifact_matmul().size(), 1620);
        assert_eq!(Space::wide_matmul().size(), 69_984);
    }

    #[test]
    fn legal_and_pruned_make_the_space_and_the_order_is_fixed() {
        let (space, op) = (Space::wide_matmul(), matmul(512, 768, 3072));
        let found = enumerate(&space, &op, &Arch::Sm80.limits(), None).unwrap();
        assert_eq!(
            found.legal.len() as u64 + found.pruned.values().sum::<u64>(),
            space.size()
        );
        assert_eq!(found, enumerate(&space, &op, &Arch::Sm80.limits(), None).unwrap());
        for reason in ["register-depth-exceeds-chunk", "does-not-fit (shared memory)"] {
            assert!(found.pruned.contains_key(reason), "{reason} of {:?}", found.pruned);
        }
    }

    #[test]
    fn the_wide_space_contains_the_artifacts() {
        let op = matmul(512, 768, 3072);
        let wide = enumerate(&Space::wide_matmul(), &op, &Arch::Sm80.limits(), None).unwrap();
        let artifact = enumerate(&Space::artifact_matmul(), &op, &Arch::Sm80.limits(), None).unwrap();
        assert!(artifact.legal.iter().all(|candidate| wide.legal.contains(candidate)));
        assert!(
            wide.legal
                .iter()
                .any(|candidate| candidate.schedule == candidate.schedule.unpipelined())
        );
    }

    /// How many points were pruned for a reason.
    fn pruned(found: &Enumeration, reason: &str) -> u64 {
        found.pruned.get(reason).copied().unwrap_or(0)
    }

    #[test]
    fn orders_and_splits_that_make_no_difference_are_counted_apart() {
        let one = |m, n, raster_rows: &[u32], split_k: &[u32]| {
            let space = Space {
                block_warps: vec![(2, 2)],
                warp_tiles: vec![(32, 32)],
                chunk_k: vec![32],
                shared_stages: vec![3],
                register_stages: vec![2],
                raster_rows: raster_rows.to_vec(),
                split_k: split_k.to_vec(),
            };
            enumerate(&space, &matmul(m, n, 2048), &Arch::Sm80.limits(), Some(108))
        };
        // 64×128 tiles of 64×64: many waves. A raster of 64 rows or more is that of 1.
        let found = one(4096, 8192, &[1, 8, 63, 64, 100], &[1, 2]).unwrap();
        assert_eq!(found.legal.len(), 3);
        assert_eq!(pruned(&found, RASTER_OF_ALL_ROWS), 2);
        assert_eq!(pruned(&found, SPLIT_DOES_NOT_PAY), 5);
        // 16 tiles, and 64 blocks where four share each: all of them run at once.
        let found = one(1024, 64, &[1, 8], &[1, 4]).unwrap();
        let splits: Vec<u32> = found.legal.iter().map(|one| one.schedule.split_k).collect();
        assert_eq!(splits, [1, 4]);
        assert_eq!(pruned(&found, RASTER_OF_ONE_WAVE), 2);
        // 64 chunks: 65 blocks cannot share them, 33 would leave some without, and a raster of no rows is none.
        let found = one(1024, 64, &[1, 0], &[1, 33, 64, 65]).unwrap();
        assert_eq!(found.legal.len(), 2);
        assert_eq!(pruned(&found, "split-k-not-supported"), 2);
        assert_eq!(pruned(&found, "tile-not-supported"), 4);
        // Nothing is known of the device: duplicates go, the rest stays.
        let wide = enumerate(
            &Space::wide_matmul(),
            &matmul(4096, 8192, 2048),
            &Arch::Sm80.limits(),
            None,
        )
        .unwrap();
        assert_eq!(pruned(&wide, SPLIT_DOES_NOT_PAY) + pruned(&wide, RASTER_OF_ONE_WAVE), 0);
        let error = one(1024, 64, &[16], &[1]).unwrap_err().to_string();
        assert!(error.contains("1 of 1 raster-of-all-rows"), "{error}");
    }

    #[test]
    fn an_empty_space_says_what_killed_it() {
        let error = enumerate(
            &Space::artifact_matmul(),
            &matmul(0, 768, 3072),
            &Arch::Sm80.limits(),
            None,
        )
        .unwrap_err();
        let message = error.to_string();
        assert!(message.contains("1620 of 1620 empty-shape"), "{message}");
        assert!(message.contains("the extent of M is 0"), "{message}");

        let tiny = alcop_spec::Limits {
            shared_bytes_per_block: 1000,
            ..Arch::Sm80.limits()
        };
        let error = enumerate(&Space::artifact_matmul(), &matmul(512, 768, 3072), &tiny, None).unwrap_err();
        assert!(error.to_string().contains("does-not-fit (shared memory)"), "{error}");

        let empty = Space {
            chunk_k: vec![],
            ..Space::artifact_matmul()
        };
        assert_eq!(
            enumerate(&empty, &matmul(512, 768, 3072), &Arch::Sm80.limits(), None).unwrap_err(),
            SpaceError::NoPoints
        );
    }

    proptest! {
        #![proptest_config(proptest::test_runner::Config::with_cases(40))]

        // A shape has up to 100 000 points, so that a few shapes tell.
        #[test]
        fn every_legal_point_checks_and_keeps_its_depth_within_the_chunk(
            m in 1_u64..640, n in 1_u64..640, k in 1_u64..640,
        ) {
            let op = matmul(m, n, k);
            let limits = Arch::Sm80.limits();
            let Ok(found) = enumerate(&Space::wide_matmul(), &op, &limits, None) else { return Ok(()) };
            for Candidate { schedule, resources } in found.legal {
                prop_assert_eq!(occupancy::check(&op, &schedule, &limits), Ok(resources));
                prop_assert!(schedule.register_stages <= schedule.k_steps() + 1);
                prop_assert!(resources.occupancy.blocks_per_sm >= 1);
            }
        }
    }
}
