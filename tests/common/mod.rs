//! What the tests of whole kernels share: small operators, and PTX text taken apart at its main loop.
#![allow(dead_code)] // Each test binary uses its own part.

pub mod baseline;
pub mod excluded;
pub mod forms;
pub mod known;

use std::process::{Command, Output};

use alcop::spec::{AxisTiles, DType, GpuTarget, Kernel, Layout, Matmul, OpSpec, Swizzle, TileSchedule};

pub fn matmul(layout: Layout, [m, n, k]: [u64; 3], out_dtype: DType) -> OpSpec {
    OpSpec::Matmul(Matmul {
        m,
        n,
        k,
        batch: 1,
        dtype: DType::F16,
        out_dtype,
        layout,
    })
}

pub fn schedule(block: [u32; 3], warp: [u32; 2], shared_stages: u32, register_stages: u32) -> TileSchedule {
    TileSchedule {
        block: AxisTiles::mnk(block[0], block[1], block[2]),
        warp: AxisTiles::mn(warp[0], warp[1]),
        shared_stages,
        register_stages,
        swizzle: Swizzle::Xor,
        raster_rows: 1,
        split_k: 1,
    }
}

/// The schedule of the reference kernels: block 128×128×32, four warps of 64×64.
pub fn reference_schedule(shared_stages: u32, register_stages: u32) -> TileSchedule {
    schedule([128, 128, 32], [64, 64], shared_stages, register_stages)
}

/// PTX at its main loop: the first backward branch.
pub struct MainLoop {
    /// Everything before the loop's label.
    pub before: Vec<String>,
    /// From the label to the branch.
    pub body: Vec<String>,
    /// The rest.
    pub after: Vec<String>,
}

impl MainLoop {
    /// `None` where there is no loop: one iteration is no loop once LLVM is through with it.
    pub fn of(ptx: &str) -> Option<MainLoop> {
        let lines: Vec<String> = ptx.lines().map(str::to_owned).collect();
        for (end, line) in lines.iter().enumerate() {
            let Some((_, target)) = line.split_once("bra") else {
                continue;
            };
            let label = format!("{}:", target.trim().trim_end_matches(';'));
            if let Some(start) = lines[..end].iter().position(|line| line.trim() == label) {
                return Some(MainLoop {
                    before: lines[..start].to_vec(),
                    body: lines[start..=end].to_vec(),
                    after: lines[end + 1..].to_vec(),
                });
            }
        }
        None
    }

    pub fn text(&self) -> String {
        let mut text = [&self.before, &self.body, &self.after]
            .map(|part| part.join("\n"))
            .join("\n");
        text.push('\n');
        text
    }

    /// Index in the body of the n-th line that contains a text.
    #[track_caller]
    pub fn find(&self, what: &str, n: usize) -> usize {
        self.body
            .iter()
            .enumerate()
            .filter(|(_, line)| line.contains(what))
            .map(|(index, _)| index)
            .nth(n)
            .unwrap_or_else(|| panic!("no {what} number {n} in the loop"))
    }

    /// Puts declarations at the start of the kernel.
    #[track_caller]
    pub fn declare(&mut self, declarations: &str) {
        let open = self
            .before
            .iter()
            .position(|line| line.trim() == "{")
            .expect("the kernel's body");
        self.before.insert(open + 1, declarations.to_owned());
    }
}

/// The kernel with its loop edited.
#[track_caller]
pub fn edited(kernel: &Kernel, edit: impl FnOnce(&mut MainLoop)) -> Kernel {
    let mut main_loop = MainLoop::of(&kernel.ptx).expect("a loop");
    edit(&mut main_loop);
    let ptx = main_loop.text();
    assert_ne!(ptx.trim(), kernel.ptx.trim(), "the edit changed nothing");
    Kernel { ptx, ..kernel.clone() }
}

/// Runs the command.
pub fn alcop(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_alcop"))
        .args(arguments)
        .output()
        .expect("the command starts")
}

/// Checks exit code and message, and that nothing panicked.
#[track_caller]
pub fn expect(output: &Output, code: i32, message: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(message), "{text}");
    assert!(!text.contains("panicked"), "{text}");
}

/// What a successful run printed.
#[track_caller]
pub fn stdout(output: &Output) -> String {
    expect(output, 0, "");
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// Operands and results that have kernels.
pub const TYPES: [(DType, DType); 6] = [
    (DType::F16, DType::F32),
    (DType::F16, DType::F16),
    (DType::Bf16, DType::F32),
    (DType::Bf16, DType::Bf16),
    (DType::Tf32, DType::F32),
    (DType::I8, DType::I32),
];

/// The device that most tests compile for.
pub fn a100() -> GpuTarget {
    GpuTarget::resolve("a100").expect("an embedded device")
}

/// A matmul of operands and results of these types.
pub fn matmul_of((dtype, out_dtype): (DType, DType), layout: Layout, [m, n, k]: [u64; 3], batch: u64) -> OpSpec {
    OpSpec::Matmul(Matmul {
        m,
        n,
        k,
        batch,
        dtype,
        out_dtype,
        layout,
    })
}
