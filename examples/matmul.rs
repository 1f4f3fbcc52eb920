//! From an operator to PTX in about twenty lines.

use alcop::compile_operator;
use alcop::spec::{AxisTiles, DType, GpuTarget, Layout, Matmul, OpSpec, Swizzle, TileSchedule};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (dtype, out_dtype) = (DType::F16, DType::F32);
    let op = OpSpec::Matmul(Matmul {
        m: 512,
        n: 768,
        k: 3072,
        batch: 1,
        dtype,
        out_dtype,
        layout: Layout::Nn,
    });
    let schedule = TileSchedule {
        block: AxisTiles::mnk(128, 128, 32),
        warp: AxisTiles::mn(64, 64),
        shared_stages: 3,
        register_stages: 2,
        swizzle: Swizzle::Xor,
        raster_rows: 1,
        split_k: 1,
    };
    let kernel = compile_operator(&op, &schedule, &GpuTarget::resolve("a100")?)?;
    println!("{op}, {schedule}: {} lines of PTX", kernel.ptx.lines().count());
    println!(
        "launch {} with grid {:?}, block {:?}",
        kernel.entry, kernel.grid, kernel.block
    );
    println!("and {} B of dynamic shared memory", kernel.dynamic_shared_bytes);
    Ok(())
}
