//! The kernels of a pack: matmuls of every type, layout and kind of schedule, and every form of `tests/filetests/pipeline`.
//!
//! ```text
//! gather.mlir  ->  gather-3-2 (pipelined: checked first), gather-2-1, gather-4-1, gather-1-1
//! MATMULS[0]   ->  matmul-nn-f16-f32-192x160x256-128x128x32-3-2
//! ```

use std::path::Path;

use alcop_compiler::ir::{Context, Module};
use alcop_passes::Error;
use alcop_passes::decide::{Depths, decide};
use alcop_passes::pipeline::compile_to_ptx;
use alcop_passes::plan::SharedLayout;
use alcop_passes::sink::sink_and_detect;
use alcop_runtime::reference::{Region, matmul_region};
use alcop_spec::kernel::{ArrayDType, Generated, KernelArg};
use alcop_spec::tiles::workspace;
use alcop_spec::{AxisTiles, DType, GpuTarget, Kernel, Layout, Matmul, OpSpec, Swizzle, TileSchedule};

use super::PackError;
use super::expected::{buffer, generated};
use crate::own_launch::own_launch;
use crate::{compile_operator, detect_options};

/// A kernel with its arguments.
pub(super) struct Wanted {
    /// Unique; file names are made of it.
    pub name: String,
    /// What is special about it, for people.
    pub form: String,
    /// The first kernel of its form: checked before the times are taken.
    pub first: bool,
    pub kernel: Kernel,
    pub args: Vec<KernelArg>,
    /// An argument and how far each of its elements may be off; `None`: every bit must be right.
    pub allowed: Option<(usize, Vec<f32>)>,
}

/// What operands hold.
#[derive(Clone, Copy, PartialEq)]
enum Filling {
    /// Whole numbers from −2 to 2.
    Whole,
    /// Numbers of 24 bits between −1 and 1, rounded to the type.
    Fractions,
}

/// Type, layout, extents, products, tiles of block and warp, stages, raster, split-k.
struct Row(&'static str, (DType, DType), Layout, [u64; 3], u64, Tiles, Filling);

/// Block, warp, slots and fragment sets, raster and split-k.
pub(super) type Tiles = ([u32; 3], [u32; 2], [u32; 2], [u32; 2]);

use DType::{Bf16, F16, F32, I8, I32, Tf32};
use Filling::{Fractions, Whole};
use Layout::{Nn, Nt, Tn, Tt};

// One line a kernel.
#[rustfmt::skip]
const MATMULS: &[Row] = &[
    Row("f16, nn", (F16, F32), Nn, [192, 160, 256], 1, ([128, 128, 32], [64, 64], [3, 2], [1, 1]), Whole),
    Row("f16, nt", (F16, F32), Nt, [192, 160, 256], 1, ([64, 64, 32], [32, 32], [4, 2], [1, 1]), Whole),
    Row("f16, tn", (F16, F32), Tn, [192, 160, 256], 1, ([64, 64, 32], [32, 32], [2, 2], [1, 1]), Whole),
    Row("f16, tt", (F16, F32), Tt, [192, 160, 256], 1, ([64, 64, 64], [32, 32], [3, 1], [1, 1]), Whole),
    Row("f16, deep in registers", (F16, F32), Nt, [128, 128, 512], 1, ([64, 64, 64], [32, 32], [4, 3], [1, 1]), Whole),
    Row("f16, without a pipeline", (F16, F32), Nn, [128, 128, 256], 1, ([64, 64, 32], [32, 32], [1, 1], [1, 1]), Whole),
    Row("f16 to f16", (F16, F16), Nn, [128, 128, 256], 1, ([64, 64, 32], [32, 32], [3, 2], [1, 1]), Whole),
    Row("bf16, nt", (Bf16, F32), Nt, [128, 128, 256], 1, ([64, 64, 32], [32, 32], [3, 2], [1, 1]), Whole),
    Row("bf16 to bf16, tn", (Bf16, Bf16), Tn, [128, 128, 256], 1, ([64, 64, 32], [32, 32], [4, 2], [1, 1]), Whole),
    Row("tf32, nt", (Tf32, F32), Nt, [128, 128, 128], 1, ([64, 64, 32], [32, 32], [3, 2], [1, 1]), Whole),
    Row("tf32, nn", (Tf32, F32), Nn, [128, 128, 128], 1, ([64, 64, 32], [32, 32], [3, 2], [1, 1]), Whole),
    Row("tf32, tn", (Tf32, F32), Tn, [128, 128, 128], 1, ([64, 64, 32], [32, 32], [2, 1], [1, 1]), Whole),
    Row("i8, nt", (I8, I32), Nt, [128, 128, 256], 1, ([64, 64, 64], [32, 32], [3, 2], [1, 1]), Whole),
    Row("i8, nn", (I8, I32), Nn, [128, 128, 256], 1, ([64, 64, 64], [32, 32], [2, 1], [1, 1]), Whole),
    Row("i8, tt", (I8, I32), Tt, [128, 128, 256], 1, ([64, 64, 64], [32, 32], [3, 1], [1, 1]), Whole),
    Row("ragged, odd rows", (F16, F32), Nn, [77, 53, 93], 1, ([64, 64, 32], [32, 32], [3, 2], [1, 1]), Whole),
    Row("ragged, rows of 4 B", (F16, F32), Nt, [100, 90, 70], 1, ([64, 64, 32], [32, 32], [4, 2], [1, 1]), Whole),
    Row("ragged, rows of 8 B", (Bf16, F32), Tn, [100, 84, 92], 1, ([64, 64, 32], [32, 32], [3, 1], [1, 1]), Whole),
    Row("ragged tf32", (Tf32, F32), Nt, [61, 45, 51], 1, ([64, 64, 32], [32, 32], [3, 2], [1, 1]), Whole),
    Row("ragged i8", (I8, I32), Nt, [70, 60, 100], 1, ([64, 64, 64], [32, 32], [3, 2], [1, 1]), Whole),
    Row("batch", (F16, F32), Nn, [80, 72, 96], 3, ([64, 64, 32], [32, 32], [3, 2], [1, 1]), Whole),
    Row("split-k 2", (F16, F32), Nn, [128, 128, 512], 1, ([64, 64, 32], [32, 32], [3, 2], [1, 2]), Whole),
    Row("split-k 4, ragged", (F16, F16), Nt, [90, 70, 500], 1, ([64, 64, 32], [32, 32], [3, 1], [1, 4]), Whole),
    Row("raster 2", (F16, F32), Nt, [320, 320, 128], 1, ([64, 64, 32], [32, 32], [3, 2], [2, 1]), Whole),
    Row("raster 4 and split-k 3", (F16, F32), Tn, [300, 200, 384], 1, ([64, 64, 32], [32, 32], [2, 2], [4, 3]), Whole),
    Row("fractions f16", (F16, F32), Nn, [64, 96, 512], 1, ([64, 32, 32], [32, 32], [3, 2], [1, 1]), Fractions),
    Row("fractions f16 to f16", (F16, F16), Nt, [64, 64, 512], 1, ([64, 64, 32], [32, 32], [3, 2], [1, 1]), Fractions),
    Row("fractions tf32", (Tf32, F32), Nt, [64, 64, 512], 1, ([64, 64, 32], [32, 32], [3, 2], [1, 1]), Fractions),
    Row("fractions bf16, split-k 2", (Bf16, F32), Tn, [64, 64, 512], 1, ([64, 64, 32], [32, 32], [3, 2], [1, 2]), Fractions),
];

/// Of a small pack, which tests make: those rows.
const SMALL_MATMULS: [usize; 4] = [6, 15, 21, 26];
/// And those forms.
const SMALL_FORMS: [&str; 2] = ["gather", "keys_and_values"];

/// Slots and fragment sets of the forms. The first of these that is legal is the form's first kernel.
const DEPTHS: [(u32, u32); 5] = [(3, 2), (3, 1), (2, 1), (4, 1), (1, 1)];
/// Pipelined depths that each form must have.
const LEAST_DEPTHS: usize = 2;

/// A schedule.
pub(super) fn schedule(([m, n, k], [warp_m, warp_n], [shared, registers], [raster, split_k]): Tiles) -> TileSchedule {
    TileSchedule {
        block: AxisTiles::mnk(m, n, k),
        warp: AxisTiles::mn(warp_m, warp_n),
        shared_stages: shared,
        register_stages: registers,
        swizzle: Swizzle::Xor,
        raster_rows: raster,
        split_k,
    }
}

/// The architecture that every kernel is compiled for: what is newer runs it too.
pub(super) fn ampere() -> Result<GpuTarget, PackError> {
    GpuTarget::resolve("a100").map_err(|error| PackError::Target {
        message: error.to_string(),
    })
}

/// How to make a kernel; making it takes most of the time, and is done for many at once.
pub(super) enum Recipe {
    /// Row of [`MATMULS`].
    Matmul(usize),
    /// A file's name without its ending, and its text.
    Form(String, String),
}

/// All kernels of a pack, in order. `forms` is the folder of the `.mlir` files.
///
/// # Errors
/// A folder that cannot be read or has no such file.
pub(super) fn recipes(forms: &Path, small: bool) -> Result<Vec<Recipe>, PackError> {
    let mut files: Vec<_> = std::fs::read_dir(forms)
        .and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect::<Result<_, _>>()
        })
        .map_err(PackError::read(forms))?;
    files.retain(|path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "mlir"));
    files.sort();
    if files.is_empty() {
        return Err(PackError::NoForms {
            folder: forms.to_owned(),
        });
    }
    let matmuls = (0..MATMULS.len()).filter(|row| !small || SMALL_MATMULS.contains(row));
    let mut recipes: Vec<Recipe> = matmuls.map(Recipe::Matmul).collect();
    for path in files {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if !small || SMALL_FORMS.contains(&name.as_str()) {
            let text = std::fs::read_to_string(&path).map_err(PackError::read(&path))?;
            recipes.push(Recipe::Form(name, text));
        }
    }
    Ok(recipes)
}

/// Compiles the kernels of a recipe.
///
/// # Errors
/// A kernel that does not compile, with its name.
pub(super) fn make(recipe: &Recipe, target: &GpuTarget) -> Result<Vec<Wanted>, PackError> {
    match recipe {
        Recipe::Matmul(row) => matmul(&MATMULS[*row], target).map(|wanted| vec![wanted]),
        Recipe::Form(name, text) => form(name, text, target),
    }
}

fn matmul(row: &Row, target: &GpuTarget) -> Result<Wanted, PackError> {
    let &Row(what, (dtype, out_dtype), layout, [m, n, k], batch, tiles, filling) = row;
    let op = Matmul {
        m,
        n,
        k,
        batch,
        dtype,
        out_dtype,
        layout,
    };
    let schedule = schedule(tiles);
    let name = matmul_name(&op, &schedule);
    let kernel = compile_operator(&OpSpec::Matmul(op), &schedule, target).map_err(PackError::kernel(&name))?;
    let mut args = operands(&op, filling);
    args.extend(
        workspace(&op, &schedule)
            .into_iter()
            .map(|zeros| KernelArg::Zeros { zeros, output: None }),
    );
    let allowed = match filling {
        Whole => None,
        Fractions => Some((2, allowed(&op, &schedule, &args).map_err(PackError::kernel(&name))?)),
    };
    Ok(Wanted {
        name,
        form: format!("matmul: {what}"),
        first: true,
        kernel,
        args,
        allowed,
    })
}

/// The name of a matmul's kernel, for files.
pub(super) fn matmul_name(op: &Matmul, schedule: &TileSchedule) -> String {
    let mut name = format!(
        "matmul-{}-{}-{}-{}x{}x{}",
        op.layout, op.dtype, op.out_dtype, op.m, op.n, op.k
    );
    let mut part = |letter: &str, number: u64| {
        if number != 1 {
            name += &format!("-{letter}{number}");
        }
    };
    part("batch", op.batch);
    part("raster", schedule.raster_rows.into());
    part("split", schedule.split_k.into());
    format!(
        "{name}-{}-{}-{}-{}",
        schedule.block, schedule.warp, schedule.shared_stages, schedule.register_stages
    )
}

/// A, B and a C in which what nobody writes shows: all of it is 77.
pub(super) fn whole_operands(op: &Matmul) -> Vec<KernelArg> {
    operands(op, Whole)
}

fn operands(op: &Matmul, filling: Filling) -> Vec<KernelArg> {
    let array = |element: DType, [rows, columns]: [u64; 2], (low, values, scale), seed| {
        let batch = (op.batch > 1).then_some(op.batch as usize);
        let shape = batch.into_iter().chain([rows as usize, columns as usize]).collect();
        Generated {
            dtype: element.into(),
            shape,
            seed,
            low,
            values,
            scale,
        }
    };
    let numbers = match filling {
        Whole => (-2, 5, 0),
        Fractions => (-8_388_607, 16_777_215, -23),
    };
    let input = |generated| KernelArg::Generated {
        generated,
        output: None,
    };
    vec![
        input(array(op.dtype, op.a_shape(), numbers, 1)),
        input(array(op.dtype, op.b_shape(), numbers, 2)),
        KernelArg::Generated {
            generated: array(op.out_dtype, op.c_shape(), (77, 1, 0), 3),
            output: Some("c.npy".into()),
        },
    ]
}

/// How far two results may be apart that are both within γ·Σ|a||b| of the true sum, and rounded to the output's type
/// (docs/emulator.md, "Sums of floats"): twice each.
fn allowed(op: &Matmul, schedule: &TileSchedule, args: &[KernelArg]) -> Result<Vec<f32>, String> {
    let bytes = |index: usize| -> Result<Vec<u8>, String> {
        let argument = args.get(index).ok_or("an operand is missing")?;
        Ok(buffer(argument)?.bytes().unwrap_or_default().to_vec())
    };
    let (a, b) = (bytes(0)?, bytes(1)?);
    // u = 2⁻²⁴; k products, and the parts of the tile's blocks.
    let roundings = (op.k + u64::from(schedule.split_k)) as f64 * 2f64.powi(-24);
    let gamma = roundings / (1.0 - roundings);
    // Half a unit in the last place of the output, as a share of the value; the least subnormal below.
    let (unit, least) = match op.out_dtype {
        F16 => (2f64.powi(-11), 2f64.powi(-25)),
        Bf16 => (2f64.powi(-8), 0.0),
        F32 | Tf32 | I8 | I32 => (2f64.powi(-24), 0.0),
    };
    let mut all = Vec::new();
    for batch in 0..op.batch {
        let whole = Region {
            batch,
            row: 0,
            rows: op.m,
            column: 0,
            columns: op.n,
        };
        let sums = matmul_region(op, &a, &b, &whole).map_err(|error| error.to_string())?;
        all.extend(sums.into_iter().map(|(sum, magnitude)| {
            let error = gamma * magnitude;
            (2.0 * (error + (sum.abs() + error) * unit + least)) as f32
        }));
    }
    Ok(all)
}

/// The kernels of a file at several depths; none of a file whose results are approximate.
fn form(name: &str, text: &str, target: &GpuTarget) -> Result<Vec<Wanted>, PackError> {
    let mut found: Vec<Wanted> = Vec::new();
    let mut refused = Vec::new();
    for (shared, registers) in DEPTHS {
        // One kernel at three slots is enough.
        if (shared, registers) == (3, 1) && !found.is_empty() {
            continue;
        }
        let what = format!("{name}-{shared}-{registers}");
        match form_at(name, text, target, (shared, registers)) {
            // Of what is approximate, a device has other bits than the emulator.
            Ok((kernel, _)) if kernel.ptx.contains(".approx") => return Ok(Vec::new()),
            Ok((kernel, args)) => found.push(Wanted {
                form: name.to_owned(),
                first: found.is_empty(),
                kernel,
                args,
                allowed: None,
                name: what,
            }),
            Err(FormError::Refused(message)) => refused.push(format!("{shared}/{registers}: {message}")),
            Err(FormError::Failed(message)) => return Err(PackError::kernel(&what)(message)),
        }
    }
    if found.iter().filter(|wanted| !wanted.name.ends_with("-1-1")).count() < LEAST_DEPTHS {
        let message = format!(
            "fewer than {LEAST_DEPTHS} pipelined depths are legal; refused: {}",
            refused.join("; ")
        );
        return Err(PackError::kernel(name)(message));
    }
    Ok(found)
}

enum FormError {
    /// The depth is not legal for this kernel.
    Refused(String),
    Failed(String),
}

impl FormError {
    fn of(error: Error) -> FormError {
        match error {
            Error::Refused { .. } => FormError::Refused(error.to_string()),
            _ => FormError::Failed(error.to_string()),
        }
    }
}

fn form_at(
    name: &str,
    text: &str,
    target: &GpuTarget,
    (shared_stages, register_stages): (u32, u32),
) -> Result<(Kernel, Vec<KernelArg>), FormError> {
    let failed = |error: String| FormError::Failed(error);
    let context = Context::new();
    let mut module: Module<'_> = context.parse(text, name).map_err(|error| failed(error.to_string()))?;
    // A kernel that does not say its grid runs in one block.
    let path = Path::new("k.json");
    let launch = own_launch(&module, path, None).or_else(|_| own_launch(&module, path, Some([1, 1, 1])));
    let launch = launch.map_err(failed)?;
    let depths = Depths {
        shared_stages,
        register_stages,
        layout: SharedLayout::Xor,
    };
    let detection = sink_and_detect(&mut module, &detect_options(target)).map_err(FormError::of)?;
    let plan = decide(&module, &detection, target.arch.name(), &depths).map_err(FormError::of)?;
    let compiled = compile_to_ptx(&mut module, &plan, target.arch.name()).map_err(FormError::of)?;
    let kernel = Kernel {
        ptx: compiled.assembly.ptx,
        entry: launch.entry,
        grid: launch.grid,
        block: launch.block,
        dynamic_shared_bytes: compiled.dynamic_shared_bytes as u32,
    };
    let args = launch.args.into_iter().enumerate();
    let args = args.map(|(number, arg)| form_argument(number, arg)).collect();
    Ok((kernel, args))
}

/// Whole numbers for an argument of a form: arrays that are looked up in or counted to hold 0 to 7, as those of
/// `tests/common/forms.rs`; what the kernel writes is none of what it reads.
fn form_argument(number: usize, arg: KernelArg) -> KernelArg {
    match arg {
        KernelArg::Zeros { zeros, output } => {
            let (low, values) = match (zeros.dtype, &output) {
                (ArrayDType::I32 | ArrayDType::I64, _) => (0, 8),
                (_, Some(_)) => (77, 5),
                (_, None) => (-2, 5),
            };
            KernelArg::Generated {
                generated: generated(zeros, 10 + number as u64, low, values),
                output: output.map(|_| format!("{number}.npy").into()),
            }
        }
        KernelArg::F32 { .. } => KernelArg::F32 { f32: 2.0 },
        KernelArg::U64 { .. } => KernelArg::U64 { u64: 5 },
        KernelArg::I32 { .. } => KernelArg::I32 { i32: 5 },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn there_are_kernels_of_thirty_forms_and_every_type_layout_and_kind_of_schedule() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/filetests/pipeline");
        let all = recipes(&folder, false).expect("the folder is there");
        assert!(all.len() >= 30 + 20, "{}", all.len());
        let types: HashSet<_> = MATMULS.iter().map(|row| (row.1.0, row.2)).collect();
        for dtype in [F16, Tf32, I8] {
            assert!(types.iter().filter(|found| found.0 == dtype).count() >= 3, "{dtype}");
        }
        for layout in Layout::ALL {
            assert!(types.contains(&(F16, layout)), "{layout}");
        }
        let depths: HashSet<_> = MATMULS.iter().map(|row| row.5.2).collect();
        assert!(
            [[1, 1], [2, 1], [3, 2], [4, 3]]
                .iter()
                .all(|depth| depths.contains(depth))
        );
        assert!(MATMULS.iter().any(|row| row.5.3[0] > 1) && MATMULS.iter().any(|row| row.5.3[1] > 1));
        assert!(MATMULS.iter().filter(|row| row.6 == Fractions).count() >= 3);
        let empty = tempfile::tempdir().expect("a folder");
        assert!(matches!(recipes(empty.path(), true), Err(PackError::NoForms { .. })));
        assert!(matches!(
            recipes(&empty.path().join("absent"), true),
            Err(PackError::Read { .. })
        ));
    }
}
