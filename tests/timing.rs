//! Simulated times come from the instructions that are executed: edits of the PTX text show in them.

use crate::common::{alcop, edited, matmul, reference_schedule, schedule, stdout};
use alcop::compile_operator;
use alcop::runtime::timing::SimDevice;
use alcop::search::evaluate::arguments;
use alcop::spec::{DType, GpuTarget, Kernel, Layout, OpSpec, TileSchedule};
use rayon::prelude::*;

fn a100() -> GpuTarget {
    GpuTarget::resolve("a100").expect("an embedded device")
}

fn compiled(op: &OpSpec, schedule: &TileSchedule) -> Kernel {
    compile_operator(op, schedule, &a100()).unwrap_or_else(|error| panic!("{schedule}: {error}"))
}

fn time_us(op: &OpSpec, kernel: &Kernel) -> f64 {
    let device = SimDevice::new(&a100()).expect("it has rates");
    device
        .simulate(kernel, &arguments(op).expect("memory"))
        .expect("it runs")
        .time_us
}

/// The kernel with each mma done twice, the second adding to the sums of the first.
fn doubled_mma(kernel: &Kernel) -> Kernel {
    edited(kernel, |main| {
        let mut body: Vec<String> = Vec::new();
        for (index, line) in main.body.iter().enumerate() {
            body.push(line.clone());
            // An mma takes five lines: its name, D, A, B and C.
            if index >= 4 && main.body[index - 4].contains("mma.sync") {
                let [name, d, a, b] = [4, 3, 2, 1].map(|back| main.body[index - back].clone());
                let sums = format!("{};", d.trim_end().trim_end_matches(','));
                body.extend([name, d, a, b, sums]);
            }
        }
        main.body = body;
    })
}

/// The kernel whose ldmatrix read, in each of eight rows, the piece in the first column.
fn conflicting(kernel: &Kernel) -> Kernel {
    edited(kernel, |main| {
        main.declare(".reg .b64 %skewed;");
        let mut body = Vec::new();
        for line in &main.body {
            let address = line.split_once('[').filter(|_| line.contains("ldmatrix"));
            let Some((head, address)) = address else {
                body.push(line.clone());
                continue;
            };
            let register = address.split(['+', ']']).next().expect("a register");
            body.push(format!("and.b64 %skewed, {register}, -113;"));
            body.push(format!("{head}[%skewed{}", &address[register.len()..]));
        }
        main.body = body;
    })
}

fn with_dead_instructions(kernel: &Kernel) -> Kernel {
    edited(kernel, |main| {
        main.declare(".reg .b32 %dead<3>;");
        main.before.push("mov.b32 %dead0, 1;".to_owned());
        let at = main.find("ldmatrix", 0);
        for line in [
            "add.s32 %dead1, %dead0, 5;",
            "mul.lo.s32 %dead2, %dead1, %dead1;",
            "xor.b32 %dead1, %dead2, %dead1;",
        ] {
            main.body.insert(at, line.to_owned());
        }
    })
}

#[test]
fn a_stricter_wait_doubled_mma_and_bank_conflicts_each_take_longer() {
    // Chunks of 64 of k: rows of 128 bytes, so that one column of eight rows is one bank group.
    let op = matmul(Layout::Nt, [512, 768, 1024], DType::F32);
    let kernel = compiled(&op, &schedule([128, 128, 64], [64, 64], 3, 2));
    let plain = time_us(&op, &kernel);
    let strict = edited(&kernel, |main| {
        let wait = main.find("wait_group", 0);
        assert!(main.body[wait].contains('1'));
        main.body[wait] = main.body[wait].replace('1', "0");
    });
    assert!(
        time_us(&op, &strict) > 1.05 * plain,
        "wait_group 0: {} and {plain} µs",
        time_us(&op, &strict)
    );
    let doubled = time_us(&op, &doubled_mma(&kernel));
    assert!(doubled > 1.3 * plain, "doubled mma: {doubled} and {plain} µs");
    let conflicts = time_us(&op, &conflicting(&kernel));
    assert!(conflicts > 1.5 * plain, "8-way conflicts: {conflicts} and {plain} µs");
}

#[test]
fn dead_instructions_change_no_time_and_so_no_order() {
    let op = matmul(Layout::Nn, [512, 768, 512], DType::F32);
    let schedules = [
        reference_schedule(1, 1),
        reference_schedule(2, 1),
        reference_schedule(3, 2),
        schedule([64, 64, 32], [32, 32], 4, 2),
        schedule([64, 128, 64], [32, 64], 2, 2),
    ];
    schedules.par_iter().for_each(|schedule| {
        let kernel = compiled(&op, schedule);
        assert_eq!(
            time_us(&op, &kernel),
            time_us(&op, &with_dead_instructions(&kernel)),
            "{schedule}"
        );
    });
}

#[test]
fn pipelining_pays_on_each_level() {
    let op = matmul(Layout::Nn, [512, 768, 3072], DType::F32);
    let time = |shared, register| time_us(&op, &compiled(&op, &reference_schedule(shared, register)));
    let (none, two, three) = (time(1, 1), time(2, 1), time(3, 1));
    assert!(none > two && two > three, "1, 2, 3 slots: {none}, {two}, {three} µs");
    let both = time(3, 2);
    assert!(three > both, "register depth 1 and 2: {three}, {both} µs");
}

#[test]
fn the_command_sees_the_ptx_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("k.json");
    let launch = path.to_str().expect("UTF-8");
    stdout(&alcop(&[
        "compile", "--op", "matmul", "--m", "256", "--n", "256", "--k", "1024", "--emit", "launch", "-o", launch,
    ]));
    let time = || -> f64 {
        let text = stdout(&alcop(&["time", launch, "--json"]));
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&json["schema"], &json["time_kind"]), (&1.into(), &"simulated".into()));
        json["time_us"].as_f64().expect("a time")
    };
    let before = time();
    let ptx = directory.path().join("k.ptx");
    let text = std::fs::read_to_string(&ptx).expect("written");
    let edited = text.replace("cp.async.wait_group \t1;", "cp.async.wait_group \t0;");
    assert_ne!(text, edited);
    std::fs::write(&ptx, edited).expect("writable");
    assert!(time() > before);
    let table = stdout(&alcop(&["time", launch, "--device", "sim:h100"]));
    assert!(
        table.contains("sim:h100") && table.contains("where the time of a warp goes"),
        "{table}"
    );
}
