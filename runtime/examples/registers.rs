//! Registers of a thread by liveness, for each entry of PTX files, as tab-separated values:
//! `cargo run --release -p alcop-runtime --example registers -- k.ptx …` prints file, entry, live registers, estimate.

use alcop_runtime::emulator::Program;
use alcop_runtime::timing::Liveness;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = alcop_spec::GpuTarget::resolve("sm_80")?;
    for path in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&path)?;
        let module = alcop_runtime::ptx::parse(&text)?;
        for entry in module.entry_names() {
            let program = Program::from_text(&text, entry)?;
            let liveness = Liveness::of(&program);
            let extents = program.required_threads.or(program.max_threads);
            let threads = extents.map(|extents| extents.iter().product());
            println!(
                "{path}\t{entry}\t{}\t{}",
                liveness.max_live,
                liveness.registers_estimate(&target.limits, threads)
            );
        }
    }
    Ok(())
}
