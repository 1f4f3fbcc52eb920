//! Registers of a thread, for each entry of PTX files, as tab-separated values:
//! `cargo run --release -p alcop-runtime --example registers -- k.ptx …` prints file, entry, registers that are
//! live in the text, in the assembler's early and late order, and the estimate of what it allots.

use alcop_runtime::emulator::Program;
use alcop_runtime::timing::{Liveness, Pressure};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let target = alcop_spec::GpuTarget::resolve("sm_80")?;
    for path in std::env::args().skip(1) {
        let text = std::fs::read_to_string(&path)?;
        let module = alcop_runtime::ptx::parse(&text)?;
        for entry in module.entry_names() {
            let program = Program::from_text(&text, entry)?;
            let liveness = Liveness::of(&program);
            let pressure = Pressure::of(&program, &liveness);
            println!(
                "{path}\t{entry}\t{}\t{}\t{}\t{}",
                liveness.max_live,
                pressure.early,
                pressure.late,
                pressure.registers(&target.limits)
            );
        }
    }
    Ok(())
}
