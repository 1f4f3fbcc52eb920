//! Launch bundles of generated kernels: the launch file, its PTX, and operands whose products are exact.
//!
//! ```text
//! best.json   { "ptx": "best.ptx", "grid": …, "args": [{"npy": "a.npy"}, {"npy": "b.npy"}, {…, "output": "best.c.npy"}] }
//! best.ptx    a.npy    b.npy
//! ```

use std::path::{Path, PathBuf};

use alcop_runtime::launch::ArgBuffer;
use alcop_runtime::npy::{NpyArray, encode};
use alcop_search::evaluate::arguments;
use alcop_spec::kernel::Zeros;
use alcop_spec::tiles::workspace;
use alcop_spec::{Kernel, KernelArg, LaunchFile, OpSpec, TileSchedule};

/// A file of a bundle.
pub struct BundleFile {
    /// Where it belongs.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// The files of a launch, the launch file itself last, so that it never names what is not there yet. PTX and operands
/// lie beside it; the PTX and the output have its name with another extension. A and B hold whole numbers from −2 to 2:
/// every sum is exact, so that a wrong element is wrong by a whole number.
///
/// `None` where `launch_path` has no file name.
pub fn bundle(launch_path: &Path, op: &OpSpec, schedule: &TileSchedule, kernel: &Kernel) -> Option<Vec<BundleFile>> {
    let OpSpec::Matmul(mm) = op;
    let name = |extension: &str| launch_path.with_extension(extension).file_name().map(PathBuf::from);
    let (ptx, output) = (name("ptx")?, name("c.npy")?);
    let mut files = vec![BundleFile {
        path: launch_path.with_file_name(&ptx),
        bytes: kernel.ptx.clone().into_bytes(),
    }];
    let mut args = Vec::new();
    let operands = [("a", mm.a_shape()), ("b", mm.b_shape()), ("c", mm.c_shape())];
    for ((name, shape), argument) in operands.into_iter().zip(arguments(op)) {
        let ArgBuffer::Array { dtype, bytes: data } = argument else {
            continue;
        };
        let shape = with_batch(mm.batch, shape);
        args.push(if name == "c" {
            let output = Some(output.clone());
            let zeros = Zeros { dtype, shape };
            KernelArg::Zeros { zeros, output }
        } else {
            let npy = PathBuf::from(format!("{name}.npy"));
            files.push(BundleFile {
                path: launch_path.with_file_name(&npy),
                bytes: encode(&NpyArray { dtype, shape, data }),
            });
            KernelArg::Npy { npy, output: None }
        });
    }
    args.extend(
        workspace(mm, schedule)
            .into_iter()
            .map(|zeros| KernelArg::Zeros { zeros, output: None }),
    );
    let launch = LaunchFile {
        ptx,
        entry: kernel.entry.clone(),
        grid: kernel.grid,
        block: kernel.block,
        dynamic_shared_bytes: kernel.dynamic_shared_bytes,
        args,
    };
    let mut text = serde_json::to_string_pretty(&launch).expect("plain data with string keys is JSON");
    text.push('\n');
    files.push(BundleFile {
        path: launch_path.to_owned(),
        bytes: text.into_bytes(),
    });
    Some(files)
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
            for file in bundle(&path, &op, &schedule(split_k), &kernel).expect("a file name") {
                std::fs::write(file.path, file.bytes).expect("writable");
            }
            let loaded = read_launch(&path).expect("complete");
            assert_eq!(loaded.kernel, kernel);
            assert_eq!(loaded.args, kernel_arguments(&op, &schedule(split_k)));
            assert_eq!(loaded.args.len(), if split_k == 1 { 3 } else { 5 });
        }
        let loaded = read_launch(&path).expect("complete");
        assert_eq!(loaded.outputs[0].path, directory.path().join("k.c.npy"));
        assert_eq!(loaded.outputs[0].shape, [2, 3, 5]);
        assert!(bundle(Path::new("/"), &op, &schedule(1), &kernel).is_none());
    }
}
