//! What the emulator takes for the first 16, 32, 64 … blocks of a launch, in processor time of this process, which other
//! load on the machine does not change: the time a block stays the same, as the cost is linear.
//! `cargo run --release -p alcop-runtime --example blocks -- LAUNCH.json [--no-hazards]`

use std::path::Path;

use alcop_runtime::launch::{emulate, read_launch};
use alcop_runtime::{Arrival, EmulateOptions};

/// Processor time of the process, in seconds, of user code and of the kernel: fields 14 and 15 of `/proc/self/stat` (proc(5)), in ticks of 10 ms.
fn processor_seconds() -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    // The name of the program, in parentheses, may hold spaces.
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap_or("").split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).map_or(Ok(0.0), |field| field.parse::<f64>());
    Ok((ticks(11)? / 100.0, ticks(12)? / 100.0))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(path) = arguments.iter().find(|word| !word.starts_with("--")) else {
        return Err("usage: blocks LAUNCH.json [--no-hazards]".into());
    };
    let loaded = read_launch(Path::new(path))?;
    let [x, y, z] = loaded.kernel.grid;
    let total = x * y * z;
    println!("blocks  user s  system s  user ms a block");
    for blocks in (4..).map(|power| 1u32 << power).take_while(|blocks| *blocks <= total) {
        let options = EmulateOptions {
            arrival: Arrival::Latest,
            hazards: !arguments.iter().any(|word| word == "--no-hazards"),
            blocks: Some((0..blocks).map(|i| [i % x, i / x % y, i / (x * y)]).collect()),
            ..EmulateOptions::default()
        };
        let mut args = loaded.args.clone();
        let before = processor_seconds()?;
        emulate(&loaded.kernel, &mut args, &options)?;
        let after = processor_seconds()?;
        let (user, system) = (after.0 - before.0, after.1 - before.1);
        println!(
            "{blocks:6} {user:7.2} {system:9.2} {:16.2}",
            1e3 * user / f64::from(blocks)
        );
    }
    Ok(())
}
