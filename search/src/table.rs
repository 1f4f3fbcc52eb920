//! Tables of matmul kernels: each row is a kernel of a Triton-like generator, and the analytic model adds its prediction.
//!
//! Columns are matched by name. `m, n, k, block_m, block_n, block_k, warps, stages` are needed; `lhs_row_major` and
//! `rhs_row_major` (1 where missing), `dtype` (`float16` where missing), `problem` and `ms` are used where present; all
//! others are passed on. Added are `predicted_ms`, `fits` and a `term_*` column for each term of the model. A kernel that no
//! block of the device has room for has no time: its `fits` names each budget that it is over, and the rest stays empty.
//!
//! ```text
//! …,predicted_ms,fits,term_blocks_per_sm,…
//! …,0.0213,yes,2,…
//! …,,shared memory: 262144 B of 166912 B,,…
//! ```
//!
//! No warp tile is in such a table, so it is derived from `warps` by the rule of Triton's generator. Its `stages` count
//! one more than the prefetch distance; with `mma.sync` shared memory holds `stages - 1` chunks, with `wgmma` `stages`.

use std::io::{Read, Write};

use alcop_spec::{Arch, GpuTarget, Limits, TargetError};

use crate::cost_model::{MmaKind, Model, PipelinedMatmul, TERM_NAMES, predict_kernel};

/// Registers of a thread of such a kernel beyond accumulators and fragments. Fitted on the A100's and H100's timings.
const TABLE_KERNEL_REGISTERS: f64 = 16.0;
/// Fragment sets of a warp's k-step that such a kernel holds on average. Fitted on the A100's timings.
const TABLE_KERNEL_FRAGMENT_SETS: f64 = 1.5;
/// Such kernels launch their blocks in groups of this many tile rows (`GROUP_M` of Triton's tutorial matmul).
const TABLE_KERNEL_RASTER_ROWS: u32 = 8;
/// Tile extents above this are refused: no such tile fits a block on any target.
const MAX_TILE_EXTENT: u32 = 4096;

/// Columns without which there is no prediction.
pub const REQUIRED_COLUMNS: [&str; 8] = ["m", "n", "k", "block_m", "block_n", "block_k", "warps", "stages"];

/// A table that cannot be used. All are the user's mistakes, or the system's where writing fails.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Columns are missing.
    #[error("the table lacks the column(s) {missing}; it has {present}; needed are {}", REQUIRED_COLUMNS.join(", "))]
    MissingColumns {
        /// The missing columns.
        missing: String,
        /// The columns that are there.
        present: String,
    },
    /// A column that would be added exists.
    #[error("the table has a column {column} already; remove it, the prediction adds it")]
    ColumnExists {
        /// The column.
        column: String,
    },
    /// A cell is not what its column needs.
    #[error("line {line}, column {column}: {value:?} is not {expected}")]
    Cell {
        /// Line of the file, counted from 1; the header is line 1.
        line: u64,
        /// The column.
        column: String,
        /// The cell's text.
        value: String,
        /// What is expected there, e.g. "a whole number from 1 to 32".
        expected: String,
    },
    /// The file is no CSV, or reading or writing failed.
    #[error("{0}")]
    Csv(#[from] csv::Error),
    /// Writing failed at the end.
    #[error("cannot write the table: {0}")]
    Write(#[from] std::io::Error),
    /// The target has no rates.
    #[error(transparent)]
    Target(#[from] TargetError),
}

/// A row of a table as the model sees it, with what it is grouped and judged by.
#[derive(Clone, Debug, PartialEq)]
pub struct TableRow {
    /// The kernel.
    pub kernel: PipelinedMatmul,
    /// The number in the column `stages`.
    pub stages: u32,
    /// The column `problem`, or the shape, type and layouts where there is none.
    pub problem: String,
    /// The measured time in milliseconds, if the table has one.
    pub measured_ms: Option<f64>,
}

/// Adds predictions to a table: `input`'s columns, then `predicted_ms`, then the terms. Answers the number of rows.
pub fn predict_table(input: impl Read, target: &GpuTarget, output: impl Write) -> Result<u64, TableError> {
    let model = Model::new(target)?;
    let mut reader = csv::Reader::from_reader(input);
    let columns = Columns::find(reader.headers()?)?;
    let mut writer = csv::Writer::from_writer(output);
    let mut header = reader.headers()?.clone();
    for added in added_columns() {
        if header.iter().any(|column| column == added) {
            return Err(TableError::ColumnExists { column: added });
        }
        header.push_field(&added);
    }
    writer.write_record(&header)?;
    let mut rows = 0;
    for record in reader.records() {
        let mut record = record?;
        let row = columns.row(&record, target.arch)?;
        let over = over_budget(model.limits(), &row.kernel);
        if !over.is_empty() {
            record.push_field("");
            record.push_field(&over.join("; "));
            (0..=TERM_NAMES.len()).for_each(|_| record.push_field(""));
            writer.write_record(&record)?;
            rows += 1;
            continue;
        }
        let prediction = predict_kernel(&model, &row.kernel);
        record.push_field(&(prediction.time_us / 1000.0).to_string());
        record.push_field("yes");
        for value in prediction.terms.values() {
            record.push_field(&value.to_string());
        }
        record.push_field(prediction.terms.limiter.name());
        writer.write_record(&record)?;
        rows += 1;
    }
    writer.flush()?;
    Ok(rows)
}

/// Reads the rows of a table for a target of the given architecture.
pub fn read_table(input: impl Read, arch: Arch) -> Result<Vec<TableRow>, TableError> {
    let mut reader = csv::Reader::from_reader(input);
    let columns = Columns::find(reader.headers()?)?;
    reader.records().map(|record| columns.row(&record?, arch)).collect()
}

/// Names of the columns that [`predict_table`] adds, in order.
pub fn added_columns() -> Vec<String> {
    let terms = TERM_NAMES
        .iter()
        .copied()
        .chain(["limiter"])
        .map(|name| format!("term_{name}"));
    let first = ["predicted_ms", "fits"].map(str::to_owned);
    first.into_iter().chain(terms).collect()
}

/// The budgets that a block of the kernel is over, each with what it needs of what there is.
///
/// Registers count where accumulators alone exceed them: fragments and addresses can be spilled, and the model charges for
/// that.
fn over_budget(limits: &Limits, kernel: &PipelinedMatmul) -> Vec<String> {
    let threads = 32 * u64::from(kernel.warps);
    let chunk_bytes = (u64::from(kernel.block_m) + u64::from(kernel.block_n)) * u64::from(kernel.block_k) * 2;
    let shared_bytes = u64::from(kernel.shared_slots) * chunk_bytes;
    let accumulators = (u64::from(kernel.block_m) * u64::from(kernel.block_n)).div_ceil(threads);
    let of_thread = u64::from(limits.registers_per_thread).min(u64::from(limits.registers_per_sm) / threads);
    let mut over = Vec::new();
    if shared_bytes > u64::from(limits.shared_bytes_per_block) {
        let limit = limits.shared_bytes_per_block;
        over.push(format!("shared memory: {shared_bytes} B of {limit} B"));
    }
    if accumulators > of_thread {
        over.push(format!(
            "registers: {accumulators} accumulators a thread of {of_thread}"
        ));
    }
    if threads > u64::from(limits.threads_per_block) {
        over.push(format!("threads: {threads} of {}", limits.threads_per_block));
    }
    over
}

/// Where the columns are.
struct Columns {
    required: [usize; REQUIRED_COLUMNS.len()],
    lhs_row_major: Option<usize>,
    rhs_row_major: Option<usize>,
    dtype: Option<usize>,
    problem: Option<usize>,
    ms: Option<usize>,
}

impl Columns {
    fn find(header: &csv::StringRecord) -> Result<Columns, TableError> {
        let position = |name: &str| header.iter().position(|column| column.trim() == name);
        let found = REQUIRED_COLUMNS.map(position);
        let missing: Vec<&str> = REQUIRED_COLUMNS
            .into_iter()
            .zip(found)
            .filter(|(_, at)| at.is_none())
            .map(|(name, _)| name)
            .collect();
        let required = found.map(|at| at.unwrap_or(usize::MAX));
        if !missing.is_empty() {
            let present = header.iter().collect::<Vec<_>>().join(", ");
            return Err(TableError::MissingColumns {
                missing: missing.join(", "),
                present,
            });
        }
        Ok(Columns {
            required,
            lhs_row_major: position("lhs_row_major"),
            rhs_row_major: position("rhs_row_major"),
            dtype: position("dtype"),
            problem: position("problem"),
            ms: position("ms"),
        })
    }

    fn row(&self, record: &csv::StringRecord, arch: Arch) -> Result<TableRow, TableError> {
        let line = record.position().map_or(0, csv::Position::line);
        let cell = |at: usize| record.get(at).unwrap_or("").trim();
        let whole = |index: usize, limit: u64| -> Result<u64, TableError> {
            let value = cell(self.required[index]);
            match value.parse::<u64>() {
                Ok(number) if (1..=limit).contains(&number) => Ok(number),
                _ => Err(TableError::Cell {
                    line,
                    column: REQUIRED_COLUMNS[index].to_owned(),
                    value: value.to_owned(),
                    expected: format!("a whole number from 1 to {limit}"),
                }),
            }
        };
        let flag = |at: Option<usize>, column: &str| -> Result<bool, TableError> {
            match at.map(cell) {
                None | Some("1") => Ok(true),
                Some("0") => Ok(false),
                Some(value) => Err(TableError::Cell {
                    line,
                    column: column.to_owned(),
                    value: value.to_owned(),
                    expected: "0 or 1".to_owned(),
                }),
            }
        };
        // Products of three extents stay exact enough in f64, and sums of bytes far from overflow.
        let extent_limit = 1 << 40;
        let (m, n, k) = (
            whole(0, extent_limit)?,
            whole(1, extent_limit)?,
            whole(2, extent_limit)?,
        );
        let tile = |index| whole(index, u64::from(MAX_TILE_EXTENT)).map(|extent| extent as u32);
        let (block_m, block_n, block_k) = (tile(3)?, tile(4)?, tile(5)?);
        let warps = whole(6, 32)? as u32;
        let stages = whole(7, 64)? as u32;
        let lhs_row_major = flag(self.lhs_row_major, "lhs_row_major")?;
        let rhs_row_major = flag(self.rhs_row_major, "rhs_row_major")?;
        let dtype = self.dtype.map_or("float16", cell);
        if !["float16", "bfloat16", "f16", "bf16"].contains(&dtype) {
            return Err(TableError::Cell {
                line,
                column: "dtype".to_owned(),
                value: dtype.to_owned(),
                expected: "float16 or bfloat16".to_owned(),
            });
        }
        let measured_ms = match self.ms.map(cell) {
            None | Some("") => None,
            Some(value) => match value.parse::<f64>() {
                Ok(number) if number > 0.0 && number.is_finite() => Some(number),
                _ => {
                    return Err(TableError::Cell {
                        line,
                        column: "ms".to_owned(),
                        value: value.to_owned(),
                        expected: "a positive number of milliseconds, or empty".to_owned(),
                    });
                }
            },
        };
        let problem = match self.problem.map(cell) {
            Some(problem) if !problem.is_empty() => problem.to_owned(),
            _ => format!("{m}x{n}x{k} {dtype} {lhs_row_major} {rhs_row_major}"),
        };
        let layout = RowLayout {
            lhs_row_major,
            rhs_row_major,
        };
        let kernel = table_kernel((m, n, k), (block_m, block_n, block_k), warps, stages, layout, arch);
        Ok(TableRow {
            kernel,
            stages,
            problem,
            measured_ms,
        })
    }
}

#[derive(Clone, Copy)]
struct RowLayout {
    lhs_row_major: bool,
    rhs_row_major: bool,
}

fn table_kernel(
    (m, n, k): (u64, u64, u64),
    (block_m, block_n, block_k): (u32, u32, u32),
    warps: u32,
    stages: u32,
    layout: RowLayout,
    arch: Arch,
) -> PipelinedMatmul {
    let (warps_m, warps_n) = warp_grid(block_m, block_n, warps);
    let (warp_m, warp_n) = ((block_m / warps_m).max(16), (block_n / warps_n).max(8));
    // A warpgroup's instruction has 64 rows and takes four warps.
    let warpgroup = arch == Arch::Sm90 && block_m >= 64 && warps >= 4;
    let fragments = if warpgroup {
        0.0
    } else {
        TABLE_KERNEL_FRAGMENT_SETS * f64::from(warp_m + warp_n) / 4.0
    };
    let threads = f64::from(32 * warps);
    // Without a pipeline a chunk goes through registers: 16 bytes are four of them.
    let chunk_bytes = f64::from((block_m + block_n) * block_k * 2);
    let staged = if stages == 1 { chunk_bytes / 4.0 / threads } else { 0.0 };
    let accumulators = f64::from(block_m) * f64::from(block_n) / threads;
    PipelinedMatmul {
        m,
        n,
        k,
        batch: 1,
        block_m,
        block_n,
        block_k,
        warp_m,
        warp_n,
        warps,
        shared_slots: if arch == Arch::Sm90 {
            stages
        } else {
            (stages - 1).max(1)
        },
        prefetch_distance: stages - 1,
        register_stages: 2,
        registers: (accumulators + fragments + TABLE_KERNEL_REGISTERS + staged).round() as u32,
        a_run_bytes: 2 * if layout.lhs_row_major { block_k } else { block_m },
        b_run_bytes: 2 * if layout.rhs_row_major { block_n } else { block_k },
        bank_conflict_ways: 1,
        out_bytes: 2,
        raster_rows: Some(TABLE_KERNEL_RASTER_ROWS),
        split_k: 1,
        mma: if warpgroup { MmaKind::Warpgroup } else { MmaKind::Sync },
    }
}

/// Warps along m and n: doubled along the axis on which a warp has more 16×16 tiles left, until all are placed.
fn warp_grid(block_m: u32, block_n: u32, warps: u32) -> (u32, u32) {
    let (mut warps_m, mut warps_n) = (1, 1);
    while warps_m * warps_n < warps {
        let along_m = u64::from(block_m) * u64::from(warps_n) >= u64::from(block_n) * u64::from(warps_m);
        if along_m && warps_m < block_m / 16 {
            warps_m *= 2;
        } else {
            warps_n *= 2;
        }
    }
    (warps_m, warps_n)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str =
        "problem,m,n,k,dtype,lhs_row_major,rhs_row_major,block_m,block_n,block_k,stages,warps,ms,extra";
    const ROW: &str = "0,512,768,3072,float16,1,1,128,128,32,3,4,0.05,kept";

    fn predicted(text: &str) -> Result<String, TableError> {
        let mut output = Vec::new();
        predict_table(text.as_bytes(), &GpuTarget::resolve("a100").unwrap(), &mut output)?;
        Ok(String::from_utf8(output).unwrap())
    }

    #[test]
    fn columns_are_kept_and_the_terms_added() {
        let output = predicted(&format!("{HEADER}\n{ROW}\n")).unwrap();
        let mut lines = output.lines();
        assert_eq!(lines.next().unwrap(), format!("{HEADER},{}", added_columns().join(",")));
        let row = lines.next().unwrap();
        assert!(row.starts_with(&format!("{ROW},0.")), "{row}");
        assert!(row.ends_with(",registers") || row.ends_with(",shared_memory"), "{row}");
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn columns_are_matched_by_name_and_most_may_be_missing() {
        let full = predicted(&format!("{HEADER}\n{ROW}\n")).unwrap();
        let few = predicted("stages,warps,block_k,block_n,block_m,k,n,m\n3,4,32,128,128,3072,768,512\n").unwrap();
        let time = |text: &str| {
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            let at = reader
                .headers()
                .unwrap()
                .iter()
                .position(|column| column == "predicted_ms")
                .unwrap();
            reader.records().next().unwrap().unwrap()[at].to_owned()
        };
        assert_eq!(time(&full), time(&few));
    }

    #[test]
    fn ragged_tiles_and_shapes_are_predicted() {
        let output = predicted("m,n,k,block_m,block_n,block_k,warps,stages\n1,7,5,128,16,128,1,1\n").unwrap();
        assert_eq!(output.lines().count(), 2);
        assert!(!output.contains("NaN") && !output.contains("inf"), "{output}");
    }

    #[test]
    fn a_kernel_without_room_has_a_reason_and_no_time() {
        for (row, reason) in [
            // The most that fits an A100's block, and 16 bytes a row of the tiles more.
            ("128,128,32,11,4", "yes"),
            ("128,128,256,3,4", "shared memory: 262144 B of 166912 B"),
            ("256,256,32,3,4", "registers: 512 accumulators a thread of 255"),
            ("256,256,32,3,8", "registers: 256 accumulators a thread of 255"),
            ("256,256,32,3,16", "yes"),
            ("512,256,16,2,32", "registers: 128 accumulators a thread of 64"),
            (
                "4096,4096,32,2,4",
                "shared memory: 524288 B of 166912 B; registers: 131072 accumulators a thread of 255",
            ),
        ] {
            let output = predicted(&format!(
                "block_m,block_n,block_k,stages,warps,m,n,k\n{row},4096,4096,4096\n"
            ))
            .unwrap();
            let mut reader = csv::Reader::from_reader(output.as_bytes());
            let header = reader.headers().unwrap().clone();
            let record = reader.records().next().unwrap().unwrap();
            let cell = |name: &str| &record[header.iter().position(|column| column == name).unwrap()];
            assert_eq!(cell("fits"), reason, "{row}");
            let added: Vec<&str> = record.iter().skip(8).filter(|cell| !cell.is_empty()).collect();
            match reason {
                "yes" => assert_eq!(added.len(), added_columns().len(), "{row}"),
                _ => assert_eq!(added, [reason], "no time and no terms: {row}"),
            }
        }
    }

    #[test]
    fn missing_columns_are_named() {
        let message = predicted("m,n,block_m\n1,2,3\n").unwrap_err().to_string();
        assert_eq!(
            message,
            "the table lacks the column(s) k, block_n, block_k, warps, stages; it has m, n, block_m; needed are m, n, k, \
             block_m, block_n, block_k, warps, stages"
        );
        assert!(matches!(predicted(""), Err(TableError::MissingColumns { .. })));
    }

    #[test]
    fn bad_cells_are_named_with_line_and_column() {
        let refused = |from: &str, to: &str| {
            predicted(&format!("{HEADER}\n{ROW}\n{}\n", ROW.replacen(from, to, 1)))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            refused(",512,", ",0,"),
            "line 3, column m: \"0\" is not a whole number from 1 to 1099511627776"
        );
        assert_eq!(
            refused(",32,3,", ",-32,3,"),
            "line 3, column block_k: \"-32\" is not a whole number from 1 to 4096"
        );
        assert_eq!(
            refused(",3,4,", ",3,64,"),
            "line 3, column warps: \"64\" is not a whole number from 1 to 32"
        );
        assert_eq!(
            refused("float16", "float64"),
            "line 3, column dtype: \"float64\" is not float16 or bfloat16"
        );
        assert_eq!(
            refused(",1,1,", ",1,yes,"),
            "line 3, column rhs_row_major: \"yes\" is not 0 or 1"
        );
        assert!(refused("0.05", "-1").starts_with("line 3, column ms: \"-1\" is not a positive number"));
        // A row that is too short is no CSV of that header.
        assert!(matches!(
            predicted(&format!("{HEADER}\n1,2\n")),
            Err(TableError::Csv(_))
        ));
    }

    #[test]
    fn a_predicted_table_and_a_bare_architecture_are_refused() {
        let output = predicted(&format!("{HEADER}\n{ROW}\n")).unwrap();
        assert!(matches!(predicted(&output), Err(TableError::ColumnExists { column }) if column == "predicted_ms"));
        let bare = GpuTarget::resolve("sm_80").unwrap();
        let error = predict_table(HEADER.as_bytes(), &bare, Vec::new()).unwrap_err();
        assert!(matches!(error, TableError::Target(_)), "{error}");
    }

    #[test]
    fn warps_are_laid_out_like_the_generators() {
        for (block, warps, expected) in [
            ((128, 128), 4, (2, 2)),
            ((128, 64), 4, (4, 1)),
            ((64, 128), 4, (2, 2)),
            ((64, 64), 8, (4, 2)),
            ((16, 32), 2, (1, 2)),
            ((16, 16), 4, (1, 4)),
        ] {
            assert_eq!(warp_grid(block.0, block.1, warps), expected, "{block:?} by {warps}");
        }
    }
}
