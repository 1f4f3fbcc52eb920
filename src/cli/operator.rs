//! The options that name an operator and its schedule.

use std::path::PathBuf;

use alcop_passes::fit::Asked;
use alcop_spec::{AxisTiles, DType, Layout, Matmul, OpSpec, Swizzle, TileSchedule};
use clap::Args;

use super::Failure;
use super::output;

/// Which operator, on which shape.
#[derive(Args, Clone, Debug)]
pub struct OperatorArguments {
    /// The operator: matmul
    #[arg(long, value_name = "NAME")]
    pub op: Option<String>,
    /// Rows of C
    #[arg(long, requires = "op")]
    pub m: Option<u64>,
    /// Columns of C
    #[arg(long, requires = "op")]
    pub n: Option<u64>,
    /// Length of the sums
    #[arg(long, requires = "op")]
    pub k: Option<u64>,
    /// Independent products
    #[arg(long, default_value_t = 1, requires = "op")]
    pub batch: u64,
    /// Type of the operands: f16, bf16, tf32 (binary32 in memory) or i8
    #[arg(long, default_value = "f16", requires = "op")]
    pub dtype: DType,
    /// Type of the result; by default that of the sums: i32 for i8, else f32
    #[arg(long, requires = "op")]
    pub out_dtype: Option<DType>,
    /// Which operands are stored transposed: nn, nt, tn or tt
    #[arg(long, default_value = "nn", requires = "op")]
    pub layout: Layout,
}

impl OperatorArguments {
    /// The operator, if one was named.
    pub fn op_spec(&self) -> Result<Option<OpSpec>, Failure> {
        let Some(name) = &self.op else { return Ok(None) };
        if name != "matmul" {
            return Err(Failure::usage(format!("unknown operator {name:?}; known: matmul")));
        }
        let need = |value: Option<u64>, name: &str| match value {
            Some(0) => Err(Failure::usage(format!("--{name} must be at least 1"))),
            Some(value) => Ok(value),
            None => Err(Failure::usage(format!(
                "--op matmul needs --m, --n and --k; --{name} is missing"
            ))),
        };
        Ok(Some(OpSpec::Matmul(Matmul {
            m: need(self.m, "m")?,
            n: need(self.n, "n")?,
            k: need(self.k, "k")?,
            batch: need(Some(self.batch), "batch")?,
            dtype: self.dtype,
            out_dtype: self.out_dtype.unwrap_or(self.dtype.accumulator()),
            layout: self.layout,
        })))
    }
}

/// The options that name an operator and its tiles. They exclude an MLIR file, which brings its own.
pub const OF_OPERATORS: [&str; 13] = [
    "op",
    "m",
    "n",
    "k",
    "batch",
    "dtype",
    "out_dtype",
    "layout",
    "block",
    "warp",
    "raster",
    "split_k",
    "schedule",
];

/// How the operator is tiled.
#[derive(Args, Clone, Debug)]
pub struct TileArguments {
    /// Tile of a block: MxNxK
    #[arg(long, default_value = "128x128x32", value_name = "MxNxK", requires = "op")]
    pub block: String,
    /// Tile of a warp: MxN
    #[arg(long, default_value = "64x64", value_name = "MxN", requires = "op")]
    pub warp: String,
    /// Launch blocks in groups of so many tile rows; 1 walks whole columns of tiles
    #[arg(long, default_value_t = 1, value_name = "ROWS", requires = "op")]
    pub raster: u32,
    /// Blocks that share the sum of a tile
    #[arg(long, default_value_t = 1, value_name = "BLOCKS", requires = "op")]
    pub split_k: u32,
    /// Read the schedule from a JSON file instead
    #[arg(long, value_name = "FILE", requires = "op", conflicts_with_all = ["block", "warp", "raster", "split_k"])]
    pub schedule: Option<PathBuf>,
}

/// How deep each level is pipelined.
#[derive(Args, Clone, Debug, Default)]
pub struct StageArguments {
    /// Slots in shared memory; 1 is no pipeline [default: 3, or what a kernel from a file allows]
    #[arg(long, conflicts_with = "schedule")]
    pub shared_stages: Option<u32>,
    /// Fragment sets in registers; 1 is no pipeline [default: 2, or what a kernel from a file allows]
    #[arg(long, conflicts_with = "schedule")]
    pub register_stages: Option<u32>,
}

impl StageArguments {
    /// Which depths were asked for by name.
    pub const fn asked(&self) -> Asked {
        Asked {
            shared: self.shared_stages.is_some(),
            registers: self.register_stages.is_some(),
        }
    }

    /// The option of these that was given, if one was.
    pub const fn given(&self) -> Option<&'static str> {
        match self {
            StageArguments {
                shared_stages: Some(_), ..
            } => Some("--shared-stages"),
            StageArguments {
                register_stages: Some(_),
                ..
            } => Some("--register-stages"),
            _ => None,
        }
    }
}

impl TileArguments {
    /// The schedule.
    pub fn schedule(&self, stages: &StageArguments) -> Result<TileSchedule, Failure> {
        if let Some(path) = &self.schedule {
            return output::read_json(path);
        }
        let [m, n, k] = extents(&self.block, "block")?;
        let [warp_m, warp_n] = extents(&self.warp, "warp")?;
        Ok(TileSchedule {
            block: AxisTiles::mnk(m, n, k),
            warp: AxisTiles::mn(warp_m, warp_n),
            shared_stages: stages.shared_stages.unwrap_or(3),
            register_stages: stages.register_stages.unwrap_or(2),
            swizzle: Swizzle::Xor,
            raster_rows: self.raster,
            split_k: self.split_k,
        })
    }
}

/// Three positive numbers of an option X,Y,Z, where it was given.
pub fn three(values: &[u32], option: &str) -> Result<Option<[u32; 3]>, Failure> {
    match *values {
        [] => Ok(None),
        [x, y, z] if x > 0 && y > 0 && z > 0 => Ok(Some([x, y, z])),
        _ => Err(Failure::usage(format!(
            "--{option} needs three positive numbers: X,Y,Z"
        ))),
    }
}

fn extents<const N: usize>(text: &str, option: &str) -> Result<[u32; N], Failure> {
    let parts: Result<Vec<u32>, _> = text.split('x').map(str::parse).collect();
    parts
        .ok()
        .and_then(|parts| <[u32; N]>::try_from(parts).ok())
        .ok_or_else(|| {
            Failure::usage(format!(
                "--{option} {text:?} is not {N} whole numbers joined by x, like {}",
                ["", "", "64x64", "128x128x32"][N]
            ))
        })
}
