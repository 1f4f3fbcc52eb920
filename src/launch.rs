//! Launch bundles: a launch file with everything that it names beside it, under its own name, so that bundles in one
//! folder do not meet.
//!
//! ```text
//! best.json   { "ptx": "best.ptx", "grid": …, "args": [{"npy": "best.a.npy"}, {"npy": "best.b.npy"}, {…, "output": "best.c.npy"}] }
//! best.ptx    best.a.npy    best.b.npy
//! ```

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use alcop_runtime::launch::ArgBuffer;
use alcop_runtime::npy;
use alcop_search::evaluate::operands;
use alcop_spec::kernel::Zeros;
use alcop_spec::tiles::workspace;
use alcop_spec::{Kernel, KernelArg, LaunchFile, OpSpec, TileSchedule};
use alcop_system::files::{self, ClashError, Output, Place, WriteError};
use alcop_system::memory::OutOfMemory;

/// A bundle that is not written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Standard output, a FIFO or a device: nothing can stand beside it. User's mistake.
    #[error("a launch file comes with files beside it, and {} takes one stream; name the launch file with -o", .0.display())]
    Stream(PathBuf),
    /// Two files of the bundle would be one, or one of them an input. User's mistake.
    #[error(transparent)]
    Clash(#[from] ClashError),
    /// A limit of the machine.
    #[error("{0}; emit the kernel alone (--emit ptx), or a smaller shape")]
    Memory(#[from] OutOfMemory),
    /// The system's reason.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// The file where a launch file named so is written, links followed: what it names stands beside that one.
///
/// # Errors
/// A stream, or a place that cannot be found.
pub fn launch_path(path: &Path) -> Result<PathBuf, BundleError> {
    let fail = |source| WriteError {
        path: path.to_owned(),
        source,
    };
    if path == Path::new("-") || files::is_stream(path).map_err(fail)? {
        return Err(BundleError::Stream(path.to_owned()));
    }
    let is_link = std::fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink());
    match files::place(path).map_err(fail)? {
        Place::Name(resolved) if is_link => Ok(resolved),
        _ => Ok(path.to_owned()),
    }
}

/// A file beside a launch file: `out/best.json` and `a.npy` give `out/best.a.npy`.
pub fn beside(launch_path: &Path, extension: &str) -> PathBuf {
    launch_path.with_extension(extension)
}

/// The files of an operator's bundle, and what they are; the last one is written when the kernel is run.
pub fn names(launch_path: &Path) -> [(PathBuf, &'static str); 5] {
    [
        (launch_path.to_owned(), "the launch file"),
        (beside(launch_path, "ptx"), "its PTX"),
        (beside(launch_path, "a.npy"), "operand A"),
        (beside(launch_path, "b.npy"), "operand B"),
        (beside(launch_path, "c.npy"), "the result of a run"),
    ]
}

/// The files of a launch, the launch file itself last, so that it never names what is not there yet. PTX and operands
/// lie beside it. A and B hold whole numbers from −2 to 2: every sum is exact, so that a wrong element is wrong by a
/// whole number.
///
/// # Errors
/// There is no memory for the operands, or the launch file has the name of its own PTX.
pub fn bundle(
    launch_path: &Path,
    op: &OpSpec,
    schedule: &TileSchedule,
    kernel: &Kernel,
) -> Result<Vec<Output<'static>>, BundleError> {
    let named = names(launch_path);
    let claims = named.each_ref().map(|(path, what)| (path.as_path(), *what));
    files::check_clashes(&claims, &[])?;
    let OpSpec::Matmul(mm) = op;
    let [_, (ptx, _), (a, _), (b, _), (c, _)] = named;
    let mut files = vec![Output::new(ptx.clone(), kernel.ptx.clone().into_bytes())];
    let mut args = Vec::new();
    let stored = [(a, mm.a_shape()), (b, mm.b_shape())];
    for ((path, shape), operand) in stored.into_iter().zip(operands(op)?) {
        let ArgBuffer::Array { dtype, bytes } = operand else {
            unreachable!("operands are arrays")
        };
        args.push(KernelArg::Npy {
            npy: file_name(&path),
            output: None,
        });
        let header = npy::header(dtype, &with_batch(mm.batch, shape));
        files.push(Output {
            path,
            pieces: vec![Cow::Owned(header), Cow::Owned(bytes)],
        });
    }
    args.push(KernelArg::Zeros {
        zeros: Zeros {
            dtype: mm.out_dtype.into(),
            shape: with_batch(mm.batch, mm.c_shape()),
        },
        output: Some(file_name(&c)),
    });
    args.extend(
        workspace(mm, schedule)
            .into_iter()
            .map(|zeros| KernelArg::Zeros { zeros, output: None }),
    );
    let launch = LaunchFile {
        ptx: file_name(&ptx),
        entry: kernel.entry.clone(),
        grid: kernel.grid,
        block: kernel.block,
        dynamic_shared_bytes: kernel.dynamic_shared_bytes,
        assumes: Vec::new(),
        args,
    };
    files.push(launch_output(launch_path, &launch));
    Ok(files)
}

/// The launch file as an output.
pub fn launch_output(launch_path: &Path, launch: &LaunchFile) -> Output<'static> {
    let mut text = serde_json::to_string_pretty(launch).expect("plain data with string keys is JSON");
    text.push('\n');
    Output::new(launch_path, text.into_bytes())
}

/// The last part of a path that has a place: what a launch file calls a file beside it.
pub(crate) fn file_name(path: &Path) -> PathBuf {
    path.file_name().expect("a place has a name").into()
}

fn with_batch(batch: u64, shape: [u64; 2]) -> Vec<usize> {
    let batch = (batch > 1).then_some(batch as usize);
    batch.into_iter().chain(shape.map(|extent| extent as usize)).collect()
}

#[cfg(test)]
mod tests {
    use alcop_runtime::launch::read_launch;
    use alcop_search::evaluate::kernel_arguments;
    use alcop_spec::{AxisTiles, DType, Layout, Matmul, Swizzle};

    use super::*;

    #[test]
    fn a_bundle_that_is_written_can_be_loaded() {
        let op = OpSpec::Matmul(Matmul {
            m: 3,
            n: 5,
            k: 7,
            batch: 2,
            dtype: DType::F16,
            out_dtype: DType::F32,
            layout: Layout::Tn,
        });
        let kernel = Kernel {
            ptx: ".version 7.0\n".to_owned(),
            entry: "matmul".to_owned(),
            grid: [1, 2, 3],
            block: [32, 1, 1],
            dynamic_shared_bytes: 64,
        };
        let schedule = |split_k| TileSchedule {
            block: AxisTiles::mnk(16, 16, 16),
            warp: AxisTiles::mn(16, 16),
            shared_stages: 1,
            register_stages: 1,
            swizzle: Swizzle::Xor,
            raster_rows: 1,
            split_k,
        };
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("k.json");
        for split_k in [1, 2] {
            let files = bundle(&path, &op, &schedule(split_k), &kernel).expect("names of their own");
            assert_eq!(files.last().map(|file| file.path.clone()), Some(path.clone()));
            files::write_all(&files).expect("writable");
            let loaded = read_launch(&path).expect("complete");
            assert_eq!(loaded.kernel, kernel);
            assert_eq!(loaded.args, kernel_arguments(&op, &schedule(split_k)).expect("memory"));
            assert_eq!(loaded.args.len(), if split_k == 1 { 3 } else { 5 });
        }
        let loaded = read_launch(&path).expect("complete");
        assert_eq!(loaded.outputs[0].path, directory.path().join("k.c.npy"));
        assert_eq!(loaded.outputs[0].shape, [2, 3, 5]);
        let refused = |path: &Path| {
            bundle(path, &op, &schedule(1), &kernel)
                .expect_err("no name")
                .to_string()
        };
        assert!(refused(Path::new("/")).contains("cannot write /"));
        assert!(refused(&directory.path().join("k.ptx")).contains("both the launch file and its PTX"));
    }
}
