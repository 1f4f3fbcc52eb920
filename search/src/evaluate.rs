//! One trial, the whole road: schedule → kernel → verified in the emulator → timed on a device.

use std::sync::Mutex;

use alcop_passes::Error;
use alcop_runtime::device::{Device, DeviceError, Measurement, TimeSource, TimingOptions};
use alcop_runtime::emulator::Counters;
use alcop_runtime::launch::ArgBuffer;
use alcop_runtime::operands::{Filling, matmul_operands};
use alcop_runtime::verify::{OutputTile, Scope, Verification, Verifier, VerifyError};
use alcop_runtime::{Arrival, EmulatorError};
use alcop_spec::tiles::workspace;
use alcop_spec::{GpuTarget, Kernel, OpSpec, TileSchedule};
use alcop_system::memory::{self, OutOfMemory};
use sha2::{Digest, Sha256};

use crate::compile::{CompileError, compile_operator};
use crate::journal::{Status, TimeKind, Verified, VerifiedBlocks};
use crate::tune::{Effort, Evaluated, TrialFailure, TrialOutcome};
use crate::watch::{Phase, Watch};

/// Evaluates schedules of one operator on one device; may be called on several threads.
pub struct Evaluator<'a> {
    op: OpSpec,
    target: &'a GpuTarget,
    verifier: Verifier,
    device: &'a (dyn Device + Sync),
    /// A, B and C for the device.
    operands: Vec<ArgBuffer>,
    /// [`FULL_WARP_INSTRUCTIONS`].
    full_limit: u64,
    /// Held while a real device measures: kernels must not disturb each other.
    measuring: Mutex<()>,
}

impl<'a> Evaluator<'a> {
    /// Compiles for `target`, times on `device`.
    ///
    /// # Errors
    /// There is not so much memory as the operands take.
    pub fn new(
        op: &OpSpec,
        target: &'a GpuTarget,
        device: &'a (dyn Device + Sync),
    ) -> Result<Evaluator<'a>, OutOfMemory> {
        let verifier = Verifier::new(op);
        let operands = arguments(op)?;
        verifier.make_operands()?;
        Ok(Evaluator {
            op: *op,
            target,
            verifier,
            device,
            operands,
            full_limit: FULL_WARP_INSTRUCTIONS,
            measuring: Mutex::new(()),
        })
    }

    /// Compiles, verifies and times one schedule. The same PTX is verified and timed.
    pub fn evaluate(&self, schedule: &TileSchedule, effort: Effort) -> TrialOutcome {
        self.evaluate_watched(schedule, effort, &Watch::start())
    }

    /// The same, telling `watch` what is being done.
    pub fn evaluate_watched(&self, schedule: &TileSchedule, effort: Effort, watch: &Watch) -> TrialOutcome {
        watch.enter(Phase::Compiling);
        let kernel = compile_operator(&self.op, schedule, self.target).map_err(compile_failure)?;
        watch.enter(Phase::Running);
        let verification = self.verify(&kernel, schedule, effort).map_err(verify_failure)?;
        let measurement = self.time(&kernel, schedule, watch).map_err(|error| TrialFailure {
            status: Status::RunFailed,
            reason: error.to_string(),
        })?;
        let (time_us, time_kind, device) = answer(&measurement);
        let OpSpec::Matmul(op) = self.op;
        Ok(Evaluated {
            time_us,
            time_kind,
            device,
            samples_us: measurement.samples_us,
            ptx_hash: ptx_hash(&kernel),
            verified: Verified {
                m: op.m,
                n: op.n,
                k: op.k,
                blocks: verification.blocks.map_or(VerifiedBlocks::All, VerifiedBlocks::Sample),
                arrival: verification
                    .arrivals
                    .iter()
                    .map(|arrival| arrival.name().to_owned())
                    .collect(),
                max_error: verification.max_share,
            },
        })
    }

    /// A sample of blocks; in full all of them under each arrival, where they execute at most [`FULL_WARP_INSTRUCTIONS`],
    /// otherwise the sample under each arrival.
    fn verify(&self, kernel: &Kernel, schedule: &TileSchedule, effort: Effort) -> Result<Verification, VerifyError> {
        let run = |scope, arrivals: &[Arrival]| {
            let tile = OutputTile::of(&self.op, schedule);
            self.verifier.verify(kernel, tile, scope, arrivals)
        };
        let sample = run(Scope::Sample, &ARRIVALS[..1])?;
        if effort == Effort::Sample {
            return Ok(sample);
        }
        let all: u64 = kernel.grid.iter().map(|&extent| u64::from(extent)).product();
        let Counters {
            kernel: counts, blocks, ..
        } = &sample.counters;
        let scope = if of_all_blocks(counts.total, *blocks, all) <= self.full_limit {
            Scope::All
        } else {
            Scope::Sample
        };
        run(scope, &ARRIVALS)
    }

    fn time(&self, kernel: &Kernel, schedule: &TileSchedule, watch: &Watch) -> Result<Measurement, DeviceError> {
        let OpSpec::Matmul(op) = &self.op;
        let copies = self.operands.iter().map(ArgBuffer::try_clone);
        let zeros = workspace(op, schedule);
        let mut args = copies
            .chain(zeros.iter().map(ArgBuffer::zeros))
            .collect::<Result<Vec<_>, _>>()
            .map_err(EmulatorError::from)?;
        let alone = match self.device.source() {
            TimeSource::Measured { .. } => {
                watch.enter(Phase::Queueing);
                Some(self.measuring.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
            }
            TimeSource::Simulated { .. } => None,
        };
        watch.enter(Phase::Running);
        let measurement = self.device.time(kernel, &mut args, &TimingOptions::default());
        drop(alone);
        measurement
    }
}

/// A winner whose blocks all together execute more warp instructions than these is verified on a sample of its blocks.
///
/// A count, so that the same search verifies the same blocks on every machine, busy or not. The emulator executes some
/// 0.4 million a second on each core of a 2-core x86-64 machine, and each block four times (three arrivals, and whole
/// numbers): about a minute.
pub const FULL_WARP_INSTRUCTIONS: u64 = 10_000_000;

const ARRIVALS: [Arrival; 3] = [Arrival::Latest, Arrival::Earliest, Arrival::Random];

/// Warp instructions of `all` blocks, after a sample of `blocks` executed `executed`.
fn of_all_blocks(executed: u64, blocks: u64, all: u64) -> u64 {
    let estimate = u128::from(executed) * u128::from(all) / u128::from(blocks.max(1));
    u64::try_from(estimate).unwrap_or(u64::MAX)
}

/// The time of a measurement, what kind of time it is, and the device as the journal names it.
pub fn answer(measurement: &Measurement) -> (f64, TimeKind, String) {
    match &measurement.source {
        TimeSource::Simulated { device } => (measurement.median_us(), TimeKind::Simulated, format!("sim:{device}")),
        TimeSource::Measured { device } => (measurement.median_us(), TimeKind::Measured, device.clone()),
    }
}

/// SHA-256 of a kernel's PTX text, 64 hexadecimal digits.
pub fn ptx_hash(kernel: &Kernel) -> String {
    sha256(kernel.ptx.as_bytes())
}

/// SHA-256 of bytes, 64 hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A and B of an operator: whole numbers.
///
/// # Errors
/// There is not so much memory.
pub fn operands(op: &OpSpec) -> Result<[ArgBuffer; 2], OutOfMemory> {
    let OpSpec::Matmul(op) = op;
    let operands = matmul_operands(op, Filling::Integers, 1)?;
    Ok(operands.map(|bytes| ArgBuffer::Array {
        dtype: op.dtype.into(),
        bytes,
    }))
}

/// A, B and C of an operator: [`operands`], and zeros in C.
///
/// # Errors
/// There is not so much memory.
pub fn arguments(op: &OpSpec) -> Result<Vec<ArgBuffer>, OutOfMemory> {
    let OpSpec::Matmul(matmul) = op;
    let bytes = memory::product([matmul.batch, matmul.m, matmul.n, matmul.out_dtype.bytes()]);
    let c = ArgBuffer::Array {
        dtype: matmul.out_dtype.into(),
        bytes: memory::zeroed(bytes, &format!("C of {op}"))?,
    };
    let [a, b] = operands(op)?;
    Ok(vec![a, b, c])
}

/// All arguments of our kernel for an operator and a schedule: [`arguments`], and zeros for its [`workspace`].
///
/// # Errors
/// There is not so much memory.
pub fn kernel_arguments(op: &OpSpec, schedule: &TileSchedule) -> Result<Vec<ArgBuffer>, OutOfMemory> {
    let OpSpec::Matmul(matmul) = op;
    let mut all = arguments(op)?;
    for zeros in workspace(matmul, schedule) {
        all.push(ArgBuffer::zeros(&zeros)?);
    }
    Ok(all)
}

fn compile_failure(error: CompileError) -> TrialFailure {
    let status = match &error {
        CompileError::Tile(_) | CompileError::Budget(_) | CompileError::Pass(Error::Refused { .. }) => Status::Refused,
        CompileError::Pass(Error::Hazards(_)) => Status::Hazard,
        CompileError::Pass(_) => Status::CompileFailed,
    };
    TrialFailure {
        status,
        reason: error.to_string(),
    }
}

fn verify_failure(error: VerifyError) -> TrialFailure {
    let status = match &error {
        VerifyError::Hazards { .. } => Status::Hazard,
        VerifyError::Wrong { .. }
        | VerifyError::Stray { .. }
        | VerifyError::NotReset { .. }
        | VerifyError::ArrivalMatters { .. } => Status::WrongResult,
        VerifyError::Emulator(_) => Status::RunFailed,
    };
    TrialFailure {
        status,
        reason: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use alcop_compiler::ir::{Context, preorder};
    use alcop_compiler::tile_program::tile_program;
    use alcop_runtime::timing::SimDevice;

    use super::*;
    use crate::compile::compile_program;
    use crate::fixtures::{a100, matmul, schedule};

    #[test]
    fn all_blocks_run_where_they_are_little_work_and_the_record_says_which_ran() {
        let (op, target) = (matmul([256, 256, 128]), a100());
        let device = SimDevice::new(&target).expect("it has rates");
        let mut evaluator = Evaluator::new(&op, &target, &device).expect("memory");
        let verified = |evaluator: &Evaluator<'_>, effort| {
            let evaluated = evaluator.evaluate(&schedule(3, 2), effort).expect("right");
            (evaluated.verified.blocks, evaluated.verified.arrival.len())
        };
        let VerifiedBlocks::Sample(sample) = verified(&evaluator, Effort::Sample).0 else {
            panic!("a sample")
        };
        assert_eq!(verified(&evaluator, Effort::Full), (VerifiedBlocks::All, 3));
        // 16 equal blocks: what one of them executes is known from the sample, to the instruction.
        let kernel = compile_operator(&op, &schedule(3, 2), &target).expect("legal");
        let all = evaluator.verify(&kernel, &schedule(3, 2), Effort::Full).expect("right");
        evaluator.full_limit = all.counters.kernel.total;
        assert_eq!(verified(&evaluator, Effort::Full), (VerifiedBlocks::All, 3));
        evaluator.full_limit -= 1;
        assert_eq!(verified(&evaluator, Effort::Full), (VerifiedBlocks::Sample(sample), 3));
    }

    #[test]
    fn all_blocks_execute_as_much_more_as_they_are_more() {
        assert_eq!(of_all_blocks(1000, 4, 1024), 256_000);
        assert_eq!(of_all_blocks(u64::MAX, 1, 1024), u64::MAX);
        assert_eq!(of_all_blocks(0, 0, 1024), 0);
    }

    /// A kernel that would have been timed as if it had its pipeline: what only the loop's barriers order, which the
    /// barrier behind the loop is there against.
    #[test]
    fn a_schedule_that_is_not_obeyed_fails_the_trial_with_the_reason() {
        let (op, target) = (matmul([130, 100, 200]), a100());
        let failure = |shared_stages, register_stages| {
            let schedule = TileSchedule {
                split_k: 2,
                ..schedule(shared_stages, register_stages)
            };
            let context = Context::new();
            let program = tile_program(&context, &op, &schedule).expect("legal tiles");
            let barrier = preorder(program.module.op())
                .into_iter()
                .find(|op| op.is("gpu.barrier") && op.parent().is_some_and(|parent| parent.is("gpu.func")))
                .expect("it stands behind the loop");
            barrier.erase();
            compile_program(program, &op, &schedule, &target)
                .map(|_| ())
                .map_err(compile_failure)
        };
        for (shared_stages, register_stages) in [(3, 2), (2, 1)] {
            let TrialFailure { status, reason } = failure(shared_stages, register_stages).expect_err("not obeyed");
            assert_eq!(status, Status::Refused);
            for part in [
                &format!("{shared_stages} shared stages are asked for, and workgroup attribution 0 gets 1") as &str,
                "llvm.fence may meet vector.load",
                "(barrier-orders-other-memory)",
                "[schedule-not-obeyed]",
            ] {
                assert!(reason.contains(part), "{part}: {reason}");
            }
        }
        assert_eq!(failure(1, 1), Ok(()), "nothing is asked for");
    }
}
