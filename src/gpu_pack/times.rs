//! Four matmuls whose schedules, good and bad, are timed on a GPU and by the simulator.
//!
//! ```text
//! matmul nt 4096×4096×4096 f16→f32   128x128x32 64x64 3/2 raster 8   ->  simulated µs on each device of `DEVICES`
//! ```
//!
//! They are large: operands come from a seed, and of the result some whole rows are compared.

use alcop_runtime::reference::{Region, matmul_region};
use alcop_runtime::timing::SimDevice;
use alcop_spec::kernel::KernelArg;
use alcop_spec::tiles::workspace;
use alcop_spec::{DType, GpuTarget, Kernel, Layout, Matmul, OpSpec, TileSchedule};
use rayon::prelude::*;
use serde::Serialize;

use super::PackError;
use super::expected::buffer;
use super::kernels::{Tiles, matmul_name, schedule, whole_operands};
use crate::compile_operator;

/// A device that times are simulated for, and how a GPU's own name says that it is one.
#[derive(Serialize)]
pub(super) struct SimulatedDevice {
    /// The target.
    pub target: &'static str,
    /// Words that are all in the device's name.
    pub words: &'static [&'static str],
    /// What the simulator assumes.
    pub sm_count: u32,
}

/// Targets of the pack: name, and words of a GPU's name (`NVIDIA A100-SXM4-80GB`, `NVIDIA H200`).
const DEVICES: [(&str, &[&str]); 4] = [
    ("a100-40gb", &["A100", "40GB"]),
    ("a100-80gb", &["A100", "80GB"]),
    ("h100", &["H100"]),
    ("h200", &["H200"]),
];

/// A matmul and the schedules that are timed.
struct Space {
    layout: Layout,
    extents: [u64; 3],
    schedules: &'static [Tiles],
}

const SPACES: [Space; 4] = [
    // BERT's second feed-forward matmul.
    Space {
        layout: Layout::Nn,
        extents: [512, 768, 3072],
        schedules: &[
            ([128, 128, 32], [64, 64], [1, 1], [1, 1]),
            ([128, 128, 32], [64, 64], [3, 2], [1, 1]),
            ([128, 128, 32], [64, 64], [4, 2], [1, 1]),
            ([128, 64, 32], [64, 32], [3, 2], [1, 1]),
            ([64, 64, 64], [32, 32], [1, 1], [1, 1]),
            ([64, 64, 64], [32, 32], [2, 1], [1, 1]),
            ([64, 64, 64], [32, 32], [3, 2], [1, 1]),
            ([64, 64, 64], [32, 32], [4, 2], [1, 1]),
            ([64, 64, 32], [32, 32], [6, 2], [1, 1]),
            ([64, 128, 64], [32, 64], [3, 2], [1, 1]),
            ([64, 128, 128], [64, 32], [3, 2], [1, 2]),
            ([64, 128, 128], [64, 32], [1, 1], [1, 2]),
            ([128, 128, 64], [64, 64], [3, 2], [1, 4]),
            ([32, 32, 64], [16, 32], [3, 1], [1, 1]),
            ([32, 64, 128], [16, 32], [2, 2], [1, 2]),
        ],
    },
    Space {
        layout: Layout::Nt,
        extents: [4096, 4096, 4096],
        schedules: &[
            ([128, 128, 32], [64, 64], [1, 1], [1, 1]),
            ([128, 128, 32], [64, 64], [2, 1], [1, 1]),
            ([128, 128, 32], [64, 64], [3, 1], [1, 1]),
            ([128, 128, 32], [64, 64], [3, 2], [1, 1]),
            ([128, 128, 32], [64, 64], [4, 2], [1, 1]),
            ([128, 128, 32], [64, 64], [3, 2], [4, 1]),
            ([128, 128, 32], [64, 64], [3, 2], [8, 1]),
            ([128, 128, 64], [64, 64], [3, 2], [1, 1]),
            ([128, 256, 32], [64, 64], [3, 2], [1, 1]),
            ([256, 128, 32], [64, 64], [3, 2], [1, 1]),
            ([128, 128, 32], [32, 64], [3, 2], [1, 1]),
            ([64, 128, 32], [32, 64], [4, 2], [1, 1]),
            ([64, 64, 32], [32, 32], [3, 2], [1, 1]),
            ([128, 64, 32], [64, 32], [1, 1], [1, 1]),
            ([32, 64, 32], [16, 32], [2, 1], [1, 1]),
        ],
    },
    // Tall: the order of the blocks decides what L2 keeps.
    Space {
        layout: Layout::Nn,
        extents: [16384, 1024, 256],
        schedules: &[
            ([64, 128, 32], [32, 64], [3, 2], [1, 1]),
            ([64, 128, 32], [32, 64], [3, 2], [2, 1]),
            ([64, 128, 32], [32, 64], [3, 2], [8, 1]),
            ([64, 128, 32], [32, 64], [1, 1], [1, 1]),
            ([64, 128, 32], [32, 64], [1, 1], [8, 1]),
            ([128, 128, 32], [64, 64], [3, 2], [1, 1]),
            ([128, 128, 32], [64, 64], [3, 2], [8, 1]),
            ([128, 128, 32], [64, 64], [4, 2], [8, 1]),
            ([128, 128, 64], [64, 64], [2, 2], [1, 1]),
            ([128, 256, 32], [64, 64], [3, 2], [4, 1]),
            ([256, 64, 32], [64, 32], [3, 2], [1, 1]),
            ([128, 64, 32], [64, 32], [2, 1], [1, 1]),
            ([64, 64, 64], [32, 32], [3, 2], [1, 1]),
            ([64, 64, 32], [32, 32], [4, 2], [16, 1]),
            ([32, 128, 32], [16, 64], [3, 1], [1, 1]),
        ],
    },
    // Few tiles and much to sum: split-k decides.
    Space {
        layout: Layout::Tn,
        extents: [256, 1024, 4096],
        schedules: &[
            ([128, 128, 32], [64, 64], [1, 1], [1, 1]),
            ([128, 128, 32], [64, 64], [4, 2], [1, 1]),
            ([128, 128, 32], [64, 64], [4, 2], [1, 2]),
            ([128, 128, 32], [64, 64], [4, 2], [1, 4]),
            ([128, 128, 32], [64, 64], [4, 2], [1, 8]),
            ([64, 64, 64], [32, 32], [1, 1], [1, 1]),
            ([64, 64, 64], [32, 32], [3, 2], [1, 1]),
            ([64, 64, 64], [32, 32], [4, 2], [1, 2]),
            ([64, 64, 64], [32, 32], [4, 2], [1, 4]),
            ([64, 64, 64], [32, 32], [1, 1], [1, 4]),
            ([64, 128, 32], [32, 64], [5, 2], [1, 1]),
            ([64, 128, 32], [32, 64], [5, 2], [1, 4]),
            ([128, 64, 64], [64, 32], [3, 2], [1, 3]),
            ([32, 64, 64], [16, 32], [2, 1], [1, 1]),
            ([32, 32, 128], [16, 16], [3, 2], [1, 1]),
        ],
    },
];

/// For tests of the pack itself: nothing about these times is of interest.
const SMALL: Space = Space {
    layout: Layout::Nn,
    extents: [128, 128, 256],
    schedules: &[
        ([64, 64, 32], [32, 32], [1, 1], [1, 1]),
        ([64, 64, 32], [32, 32], [3, 2], [1, 1]),
        ([64, 64, 32], [32, 32], [3, 2], [1, 2]),
    ],
};

/// Rows of the result that are compared.
const ROWS: u64 = 16;

/// A matmul with its kernels.
pub(super) struct Timed {
    pub op: Matmul,
    pub kernels: Vec<TimedKernel>,
    /// Rows of C that are compared, and their bytes one after the other.
    pub rows: (Vec<u64>, Vec<u8>),
}

/// One schedule.
pub(super) struct TimedKernel {
    pub name: String,
    pub schedule: TileSchedule,
    pub kernel: Kernel,
    pub args: Vec<KernelArg>,
    /// Microseconds on each of the devices.
    pub simulated_us: Vec<(&'static str, f64)>,
}

/// The devices whose times are simulated.
///
/// # Errors
/// A target that has no rates.
pub(super) fn devices() -> Result<Vec<(SimulatedDevice, SimDevice)>, PackError> {
    let failed = |message: String| PackError::Target { message };
    let resolve = |(name, words): (&'static str, &'static [&'static str])| {
        let target = GpuTarget::resolve(name).map_err(|error| failed(error.to_string()))?;
        let rates = target.rates.ok_or_else(|| failed(format!("{name} has no rates")))?;
        let device = SimDevice::new(&target).map_err(|error| failed(error.to_string()))?;
        let described = SimulatedDevice {
            target: name,
            words,
            sm_count: rates.sm_count,
        };
        Ok((described, device))
    };
    DEVICES.into_iter().map(resolve).collect()
}

/// Compiles and simulates all schedules.
///
/// # Errors
/// A schedule without a kernel or a time.
pub(super) fn timed(
    small: bool,
    target: &GpuTarget,
    devices: &[(SimulatedDevice, SimDevice)],
) -> Result<Vec<Timed>, PackError> {
    let spaces: Vec<&Space> = match small {
        true => vec![&SMALL],
        false => SPACES.iter().collect(),
    };
    spaces
        .into_iter()
        .map(|space| {
            let [m, n, k] = space.extents;
            let op = Matmul {
                m,
                n,
                k,
                batch: 1,
                dtype: DType::F16,
                out_dtype: DType::F32,
                layout: space.layout,
            };
            let kernels = space.schedules.par_iter();
            let kernels = kernels
                .map(|tiles| timed_kernel(&op, *tiles, target, devices))
                .collect::<Result<_, _>>()?;
            Ok(Timed {
                op,
                kernels,
                rows: rows(&op)?,
            })
        })
        .collect()
}

fn timed_kernel(
    op: &Matmul,
    tiles: Tiles,
    target: &GpuTarget,
    devices: &[(SimulatedDevice, SimDevice)],
) -> Result<TimedKernel, PackError> {
    let schedule = schedule(tiles);
    let name = format!("time-{}", matmul_name(op, &schedule));
    let kernel = compile_operator(&OpSpec::Matmul(*op), &schedule, target).map_err(PackError::kernel(&name))?;
    let mut args = whole_operands(op);
    args.extend(
        workspace(op, &schedule)
            .into_iter()
            .map(|zeros| KernelArg::Zeros { zeros, output: None }),
    );
    let buffers = args
        .iter()
        .map(buffer)
        .collect::<Result<Vec<_>, _>>()
        .map_err(PackError::kernel(&name))?;
    let simulated_us = devices
        .iter()
        .map(|(described, device)| {
            let report = device.simulate(&kernel, &buffers).map_err(PackError::kernel(&name))?;
            Ok((described.target, report.time_us))
        })
        .collect::<Result<_, PackError>>()?;
    Ok(TimedKernel {
        name,
        schedule,
        kernel,
        args,
        simulated_us,
    })
}

/// Whole rows, from tiles all over the result and from all places in a tile.
fn rows(op: &Matmul) -> Result<(Vec<u64>, Vec<u8>), PackError> {
    let args = whole_operands(op);
    let bytes = |index: usize| {
        let buffer = buffer(&args[index]).map_err(PackError::kernel("the operands"))?;
        Ok::<_, PackError>(buffer.bytes().unwrap_or_default().to_vec())
    };
    let (a, b) = (bytes(0)?, bytes(1)?);
    let step = (op.m / ROWS).max(1);
    let rows: Vec<u64> = (0..ROWS.min(op.m)).map(|i| i * step + (i * 37) % step).collect();
    let mut bytes = Vec::new();
    for &row in &rows {
        let region = Region {
            batch: 0,
            row,
            rows: 1,
            column: 0,
            columns: op.n,
        };
        let sums = matmul_region(op, &a, &b, &region).map_err(PackError::kernel("the reference"))?;
        // Whole numbers, far below 2²⁴.
        bytes.extend(sums.into_iter().flat_map(|(sum, _)| (sum as f32).to_le_bytes()));
    }
    Ok((rows, bytes))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn sixty_different_schedules_of_four_matmuls() {
        let all: HashSet<String> = SPACES
            .iter()
            .flat_map(|space| {
                let schedules = space.schedules.iter();
                schedules.map(|tiles| format!("{:?} {}", space.extents, schedule(*tiles)))
            })
            .collect();
        assert_eq!(all.len(), 60);
        assert!(
            SPACES
                .iter()
                .all(|space| space.schedules.iter().any(|tiles| tiles.2 == [1, 1]))
        );
    }

    #[test]
    fn rows_are_from_all_over_the_result() {
        let op = Matmul {
            m: 128,
            n: 8,
            k: 16,
            batch: 1,
            dtype: DType::F16,
            out_dtype: DType::F32,
            layout: Layout::Nn,
        };
        let (rows, bytes) = rows(&op).expect("operands");
        assert_eq!((rows.len(), bytes.len()), (16, 16 * 8 * 4));
        assert!(rows.windows(2).all(|pair| pair[0] < pair[1]) && rows[15] < 128);
        let places: HashSet<u64> = rows.iter().map(|row| row % 8).collect();
        assert_eq!(places.len(), 8);
    }
}
