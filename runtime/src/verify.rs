//! Whether a kernel computes its operator: the PTX is executed in the emulator, hazards on, and compared with the f64
//! reference.
//!
//! ```text
//! fractions, each arrival in turn --> every element within γ(K)·Σ|a||b| + rounding, the same bits under all arrivals
//! integers, the first arrival ------> every element bit for bit (accesses are those of the fractions: hazards off)
//! ```
//!
//! The output starts as not-a-number, so that an element that nobody writes shows (as −1 where it holds integers, which
//! shows where the two operands' sums differ from that); what lies outside of the blocks that ran must still be so
//! afterwards.

use std::sync::{Arc, OnceLock};

use alcop_spec::kernel::Zeros;
use alcop_spec::op::Matmul;
use alcop_spec::tiles::{Placement, workspace};
use alcop_spec::{Kernel, OpSpec, TileSchedule};
use alcop_system::memory::{self, OutOfMemory};

use crate::emulator::{Arrival, Counters, EmulateOptions, EmulatorError, Hazard, Program};
use crate::launch::{ArgBuffer, emulate_program};
use crate::operands::{Filling, matmul_operands};
use crate::reference::{MatmulReference, Mismatch, ReferenceError, Region, Tolerance};

/// Which blocks are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The blocks of [`sample_blocks`].
    Sample,
    /// All of them.
    All,
}

/// What one block computes of C: see [`Placement`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputTile {
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub columns: u32,
    /// How blocks are placed on the tiles.
    pub placement: Placement,
    /// Arguments behind A, B and C, of which the last one must be zero again after a launch.
    pub workspace: Vec<Zeros>,
}

impl OutputTile {
    /// Those of our kernel for an operator and a schedule.
    pub fn of(op: &OpSpec, schedule: &TileSchedule) -> OutputTile {
        let OpSpec::Matmul(op) = op;
        OutputTile {
            rows: schedule.block.m,
            columns: schedule.block.n,
            placement: Placement::new(op, schedule),
            workspace: workspace(op, schedule),
        }
    }

    /// The elements of a block's tile.
    fn region(&self, block: [u32; 3]) -> Region {
        let place = self.placement.of(block);
        let (rows, columns) = (u64::from(self.rows), u64::from(self.columns));
        Region {
            batch: place.batch,
            row: place.row * rows,
            rows,
            column: place.column * columns,
            columns,
        }
    }

    /// The blocks of [`sample_blocks`], each with all others of its tile.
    fn sample(&self, grid: [u32; 3]) -> Vec<[u32; 3]> {
        let sample = sample_blocks(grid).into_iter();
        let mut blocks: Vec<[u32; 3]> = sample
            .flat_map(|block| self.placement.blocks_of_the_tile(block))
            .collect();
        blocks.sort_unstable();
        blocks.dedup();
        blocks
    }
}

/// What was verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Verification {
    /// Blocks that ran; `None`: all.
    pub blocks: Option<Vec<[u32; 3]>>,
    /// Arrivals under which they ran.
    pub arrivals: Vec<Arrival>,
    /// Largest |c − ref| as a share of what is allowed; at most 1.
    pub max_share: f64,
    /// Counts of one run over these blocks.
    pub counters: Counters,
}

/// Why a kernel did not pass.
#[derive(Clone, Debug, thiserror::Error)]
pub enum VerifyError {
    /// Accesses that nothing orders, or undefined values that reach a result.
    #[error("{} under {arrival:?} arrival: {}", hazards.len(), describe(hazards))]
    Hazards {
        /// When copies landed.
        arrival: Arrival,
        /// What was found.
        hazards: Vec<Hazard>,
    },
    /// An element that is not what the reference says.
    #[error(
        "{mismatches} of {elements} elements are wrong under {arrival:?} arrival of {filling:?}; the first: {first}"
    )]
    Wrong {
        /// When copies landed.
        arrival: Arrival,
        /// The operands.
        filling: Filling,
        /// Elements that are off.
        mismatches: u64,
        /// Elements compared.
        elements: u64,
        /// The first of them.
        first: Mismatch,
    },
    /// An element that belongs to no block that ran was written.
    #[error("C[{batch}][{row}][{column}] was written, and belongs to no block that ran")]
    Stray {
        /// Index of the product.
        batch: u64,
        /// Row in C.
        row: u64,
        /// Column in C.
        column: u64,
    },
    /// The result depends on when copies land.
    #[error("results differ between {one:?} and {other:?} arrival, first at byte {byte} of C")]
    ArrivalMatters {
        /// One arrival.
        one: Arrival,
        /// The other.
        other: Arrival,
        /// The first byte that differs.
        byte: usize,
    },
    /// Something is left in the counters behind C, so that the next launch would go wrong.
    #[error("byte {byte} of argument {argument} is not zero after the launch, as it was before")]
    NotReset {
        /// Position among the arguments.
        argument: usize,
        /// The first byte.
        byte: usize,
    },
    /// The kernel could not be run.
    #[error(transparent)]
    Emulator(#[from] EmulatorError),
}

impl From<OutOfMemory> for VerifyError {
    fn from(error: OutOfMemory) -> Self {
        VerifyError::Emulator(error.into())
    }
}

fn describe(hazards: &[Hazard]) -> String {
    hazards.first().map_or_else(String::new, |hazard| {
        format!(
            "hazard(s), the first: {} at PTX line {} (block {:?}, warp {}, lane {}): {}",
            hazard.code.name(),
            hazard.line,
            hazard.block,
            hazard.warp,
            hazard.lane,
            hazard.second.text
        )
    })
}

/// Verifies kernels of one operator; the operands are made once, when they are first needed.
#[derive(Debug)]
pub struct Verifier {
    op: Matmul,
    integers: OnceLock<Result<Operands, OutOfMemory>>,
    fractions: OnceLock<Result<Operands, OutOfMemory>>,
}

/// A and B, and what comes out of them.
#[derive(Debug)]
struct Operands {
    arguments: [ArgBuffer; 2],
    reference: MatmulReference,
}

impl Operands {
    fn new(op: &Matmul, filling: Filling) -> Result<Operands, OutOfMemory> {
        let [a, b] = matmul_operands(op, filling, SEED)?;
        let reference = MatmulReference::new(op, &a, &b).map_err(|error| match error {
            ReferenceError::Memory(error) => error,
            ReferenceError::Size(_) => unreachable!("operands of the operator's sizes"),
        })?;
        Ok(Operands {
            reference,
            arguments: [a, b].map(|bytes| ArgBuffer::Array {
                dtype: op.dtype.into(),
                bytes,
            }),
        })
    }
}

/// Seed of the operands and of random arrival.
const SEED: u64 = 1;

impl Verifier {
    /// For kernels whose arguments are A, B and C.
    pub fn new(op: &OpSpec) -> Verifier {
        let OpSpec::Matmul(op) = *op;
        Verifier {
            op,
            integers: OnceLock::new(),
            fractions: OnceLock::new(),
        }
    }

    /// Makes the operands now, where they were not made yet.
    ///
    /// # Errors
    /// There is not so much memory.
    pub fn make_operands(&self) -> Result<(), OutOfMemory> {
        self.operands(Filling::Fractions)?;
        self.operands(Filling::Integers).map(|_| ())
    }

    /// Runs a kernel under each arrival (at least one) and compares what it leaves in C.
    ///
    /// # Errors
    /// See [`VerifyError`]; the first that is found.
    pub fn verify(
        &self,
        kernel: &Kernel,
        tile: OutputTile,
        scope: Scope,
        arrivals: &[Arrival],
    ) -> Result<Verification, VerifyError> {
        let program = Program::new(
            Arc::new(crate::ptx::parse(&kernel.ptx).map_err(EmulatorError::from)?),
            &kernel.entry,
        )?;
        let blocks = match scope {
            Scope::Sample => Some(tile.sample(kernel.grid)),
            Scope::All => None,
        };
        let regions: Option<Vec<Region>> = blocks
            .as_ref()
            .map(|blocks| blocks.iter().map(|&block| tile.region(block)).collect());
        let run = |filling: Filling, arrival: Arrival, hazards: bool| {
            self.run(
                &program,
                kernel,
                (&tile.workspace, blocks.clone()),
                filling,
                (arrival, hazards),
            )
        };
        let first_arrival = arrivals.first().copied().unwrap_or(Arrival::Latest);

        let (reference, counters) = run(Filling::Fractions, first_arrival, true)?;
        let max_share = self.compare(&reference, regions.as_deref(), Filling::Fractions, first_arrival)?;
        // Other values, and the same accesses in the same order: their hazards were looked for.
        let (c, _) = run(Filling::Integers, first_arrival, false)?;
        self.compare(&c, regions.as_deref(), Filling::Integers, first_arrival)?;
        for &arrival in arrivals.iter().skip(1) {
            let (c, _) = run(Filling::Fractions, arrival, true)?;
            if let Some(byte) = c.iter().zip(&reference).position(|(one, other)| one != other) {
                let (one, other) = (first_arrival, arrival);
                return Err(VerifyError::ArrivalMatters { one, other, byte });
            }
        }
        Ok(Verification {
            blocks,
            arrivals: if arrivals.is_empty() {
                vec![first_arrival]
            } else {
                arrivals.to_vec()
            },
            max_share,
            counters,
        })
    }

    fn operands(&self, filling: Filling) -> Result<&Operands, OutOfMemory> {
        let made = match filling {
            Filling::Integers => &self.integers,
            Filling::Fractions => &self.fractions,
        };
        made.get_or_init(|| Operands::new(&self.op, filling))
            .as_ref()
            .map_err(OutOfMemory::clone)
    }

    /// C after one run.
    fn run(
        &self,
        program: &Program,
        kernel: &Kernel,
        (workspace, blocks): (&[Zeros], Option<Vec<[u32; 3]>>),
        filling: Filling,
        (arrival, hazards): (Arrival, bool),
    ) -> Result<(Vec<u8>, Counters), VerifyError> {
        let mut args = Vec::new();
        for operand in &self.operands(filling)?.arguments {
            args.push(operand.try_clone()?);
        }
        args.push(self.poisoned_result()?);
        for zeros in workspace {
            args.push(ArgBuffer::zeros(zeros)?);
        }
        let options = EmulateOptions {
            arrival,
            seed: SEED,
            hazards,
            blocks,
            ..EmulateOptions::default()
        };
        let report = emulate_program(program, kernel, &mut args, &options)?;
        if !report.hazards.is_empty() {
            let hazards = report.hazards;
            return Err(VerifyError::Hazards { arrival, hazards });
        }
        if let (false, Some(counters)) = (workspace.is_empty(), args.last().and_then(ArgBuffer::bytes))
            && let Some(byte) = counters.iter().position(|byte| *byte != 0)
        {
            let argument = args.len() - 1;
            return Err(VerifyError::NotReset { argument, byte });
        }
        let ArgBuffer::Array { bytes, .. } = args.swap_remove(2) else {
            unreachable!("made as an array above")
        };
        Ok((bytes, report.counters))
    }

    /// C before a run; see [`ArgBuffer::poisoned`].
    fn poisoned_result(&self) -> Result<ArgBuffer, OutOfMemory> {
        let (op, dtype) = (&self.op, self.op.out_dtype);
        let elements = memory::product([op.batch, op.m, op.n]);
        let bytes = elements.saturating_mul(u128::from(dtype.bytes()));
        let mut poisoned = memory::reserve(bytes, &format!("C of {}", OpSpec::Matmul(*op)))?;
        poisoned.resize(bytes as usize, 0xff);
        Ok(ArgBuffer::Array {
            dtype: dtype.into(),
            bytes: poisoned,
        })
    }

    /// The largest error as a share of what is allowed.
    fn compare(
        &self,
        c: &[u8],
        regions: Option<&[Region]>,
        filling: Filling,
        arrival: Arrival,
    ) -> Result<f64, VerifyError> {
        let tolerance = match filling {
            Filling::Integers => Tolerance::Exact,
            Filling::Fractions => Tolerance::Bound,
        };
        let compared = self.operands(filling)?.reference.compare(c, regions, tolerance);
        if let Some(first) = compared.first_mismatch {
            return Err(VerifyError::Wrong {
                arrival,
                filling,
                mismatches: compared.mismatches,
                elements: compared.elements,
                first,
            });
        }
        if let Some(regions) = regions {
            self.untouched(c, regions)?;
        }
        Ok(compared.max_share)
    }

    /// What no block that ran owns must be as it was.
    fn untouched(&self, c: &[u8], regions: &[Region]) -> Result<(), VerifyError> {
        let row_bytes = (self.op.n * self.op.out_dtype.bytes()) as usize;
        for (index, bytes) in c.chunks_exact(row_bytes).enumerate() {
            let (batch, row) = (index as u64 / self.op.m, index as u64 % self.op.m);
            let mut owned: Vec<(u64, u64)> = regions
                .iter()
                .filter(|region| region.batch == batch && (region.row..region.row + region.rows).contains(&row))
                .map(|region| (region.column, region.column + region.columns))
                .collect();
            owned.sort_unstable();
            let mut free = 0;
            for (start, end) in owned.into_iter().chain([(self.op.n, self.op.n)]) {
                let element = self.op.out_dtype.bytes();
                let range = (free.min(start) * element) as usize..(start * element) as usize;
                if let Some(at) = bytes[range].iter().position(|&byte| byte != 0xff) {
                    let column = free + at as u64 / element;
                    return Err(VerifyError::Stray { batch, row, column });
                }
                free = free.max(end);
            }
        }
        Ok(())
    }
}

/// The first block of a grid, the last, and one of each far edge, each once: whole tiles, tiles that are cut in m, in n, and
/// in both.
pub fn sample_blocks([x, y, z]: [u32; 3]) -> Vec<[u32; 3]> {
    let [last_x, last_y, last_z] = [x, y, z].map(|extent| extent.saturating_sub(1));
    let mut blocks = vec![
        [0, 0, 0],
        [x / 2, last_y, z / 2],
        [last_x, y / 2, last_z],
        [last_x, last_y, last_z],
    ];
    blocks.sort_unstable();
    blocks.dedup();
    blocks
}

#[cfg(test)]
mod tests {
    use alcop_spec::op::{DType, Layout};

    use super::*;

    #[test]
    fn a_sample_has_corners_and_edges_once_each() {
        assert_eq!(sample_blocks([1, 1, 1]), [[0, 0, 0]]);
        assert_eq!(sample_blocks([2, 1, 1]), [[0, 0, 0], [1, 0, 0]]);
        let blocks = sample_blocks([4, 6, 2]);
        assert_eq!(blocks, [[0, 0, 0], [2, 5, 1], [3, 3, 1], [3, 5, 1]]);
    }

    /// One thread a block computes C of 2×2 with K = 2 from f16 operands; `fault` is put before the store.
    fn two_by_two(fault: &str) -> Kernel {
        let ptx = format!(
            "
.version 7.0
.target sm_80
.address_size 64
.visible .entry tiny(.param .u64 a, .param .u64 b, .param .u64 c) {{
  .reg .b16 %h<4>;
  .reg .f32 %f<8>;
  .reg .b32 %r<8>;
  .reg .b64 %rd<16>;
  ld.param.u64 %rd1, [a];
  ld.param.u64 %rd2, [b];
  ld.param.u64 %rd3, [c];
  mov.u32 %r1, %ctaid.x;
  mov.u32 %r2, %ctaid.y;
  mul.wide.u32 %rd4, %r1, 4;
  add.s64 %rd1, %rd1, %rd4;
  mul.wide.u32 %rd5, %r2, 2;
  add.s64 %rd2, %rd2, %rd5;
  ld.global.b16 %h0, [%rd1];
  ld.global.b16 %h1, [%rd1+2];
  ld.global.b16 %h2, [%rd2];
  ld.global.b16 %h3, [%rd2+4];
  cvt.f32.f16 %f0, %h0;
  cvt.f32.f16 %f1, %h1;
  cvt.f32.f16 %f2, %h2;
  cvt.f32.f16 %f3, %h3;
  mul.rn.f32 %f4, %f0, %f2;
  fma.rn.f32 %f4, %f1, %f3, %f4;
  mul.wide.u32 %rd6, %r1, 8;
  mul.wide.u32 %rd7, %r2, 4;
  add.s64 %rd3, %rd3, %rd6;
  add.s64 %rd3, %rd3, %rd7;
{fault}
  st.global.f32 [%rd3], %f4;
  ret;
}}
"
        );
        Kernel {
            ptx,
            entry: "tiny".to_owned(),
            grid: [2, 2, 1],
            block: [1, 1, 1],
            dynamic_shared_bytes: 0,
        }
    }

    /// 2×2 tiles of so many rows and columns.
    fn tiles_of_2x2(extent: u32) -> OutputTile {
        let placement = Placement {
            tiles_m: 2,
            tiles_n: 2,
            group_rows: 2,
            split_k: 1,
        };
        OutputTile {
            rows: extent,
            columns: extent,
            placement,
            workspace: Vec::new(),
        }
    }

    fn verify(fault: &str, scope: Scope) -> Result<Verification, VerifyError> {
        let op = OpSpec::Matmul(Matmul {
            m: 2,
            n: 2,
            k: 2,
            batch: 1,
            dtype: DType::F16,
            out_dtype: DType::F32,
            layout: Layout::Nn,
        });
        let arrivals = [Arrival::Latest, Arrival::Earliest, Arrival::Random];
        let tile = tiles_of_2x2(1);
        Verifier::new(&op).verify(&two_by_two(fault), tile, scope, &arrivals)
    }

    #[test]
    fn a_right_kernel_passes_and_says_what_ran() {
        let all = verify("", Scope::All).expect("right");
        assert_eq!((all.blocks, all.counters.blocks, all.arrivals.len()), (None, 4, 3));
        assert!(all.max_share <= 1.0);
        let sample = verify("", Scope::Sample).expect("right");
        assert_eq!(sample.blocks.expect("a sample").len() as u64, sample.counters.blocks);
    }

    #[test]
    fn a_wrong_value_an_unwritten_element_a_stray_write_and_an_undefined_value_do_not_pass() {
        let add = "  add.rn.f32 %f4, %f4, 0f3F800000;";
        assert!(matches!(
            verify(add, Scope::All),
            Err(VerifyError::Wrong { mismatches: 4, .. })
        ));
        // Only block (1, 1) forgets to store.
        let skip = "  .reg .pred %p<2>;\n  and.b32 %r3, %r1, %r2;\n  setp.ne.u32 %p1, %r3, 0;\n  @%p1 ret;";
        assert!(matches!(
            verify(skip, Scope::All),
            Err(VerifyError::Wrong { mismatches: 1, .. })
        ));
        // A register that nothing has written.
        let undefined = "  add.rn.f32 %f4, %f4, %f7;";
        assert!(matches!(
            verify(undefined, Scope::All),
            Err(VerifyError::Hazards { .. })
        ));
    }

    #[test]
    fn a_result_that_depends_on_the_order_of_warps_does_not_pass() {
        // The second warp only takes time: before the first warp, or after it.
        let late = "  .reg .pred %p<3>;\n  mov.u32 %r4, %clock;\n  mov.u32 %r5, %tid.x;\n  setp.ne.u32 %p1, %r5, 0;\n\
                    \x20 @%p1 ret;\n  setp.gt.u32 %p2, %r4, 40;\n  @%p2 add.rn.f32 %f4, %f4, 0f3F800000;";
        let kernel = Kernel {
            block: [64, 1, 1],
            ..two_by_two(late)
        };
        let op = OpSpec::Matmul(Matmul {
            m: 2,
            n: 2,
            k: 2,
            batch: 1,
            dtype: DType::F16,
            out_dtype: DType::F32,
            layout: Layout::Nn,
        });
        let tile = tiles_of_2x2(1);
        let verify = |arrivals: &[Arrival]| Verifier::new(&op).verify(&kernel, tile.clone(), Scope::All, arrivals);
        verify(&[Arrival::Earliest]).expect("right in this order");
        let both = verify(&[Arrival::Earliest, Arrival::Latest]);
        assert!(matches!(both, Err(VerifyError::ArrivalMatters { .. })), "{both:?}");
    }

    #[test]
    fn elements_outside_of_the_regions_must_stay_untouched() {
        let op = Matmul {
            m: 4,
            n: 4,
            k: 2,
            batch: 1,
            dtype: DType::F16,
            out_dtype: DType::F16,
            layout: Layout::Nn,
        };
        let verifier = Verifier::new(&OpSpec::Matmul(op));
        let tile = tiles_of_2x2(2);
        let regions = [tile.region([0, 1, 0]), tile.region([1, 0, 0])];
        let mut c = vec![0xff; 32];
        assert!(verifier.untouched(&c, &regions).is_ok());
        for (row, column) in [(0, 2), (1, 3), (2, 0), (3, 1)] {
            c[2 * (4 * row + column)] = 0;
        }
        assert!(verifier.untouched(&c, &regions).is_ok(), "these belong to the regions");
        c[2 * (4 * 2 + 3)] = 0;
        assert!(matches!(
            verifier.untouched(&c, &regions),
            Err(VerifyError::Stray { row: 2, column: 3, .. })
        ));
    }
}
