//! One trial, the whole road: schedule → kernel → verified in the emulator → timed on a device.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use alcop_passes::Error;
use alcop_runtime::Arrival;
use alcop_runtime::device::{Device, DeviceError, Measurement, TimeSource, TimingOptions};
use alcop_runtime::launch::ArgBuffer;
use alcop_runtime::operands::{Filling, matmul_operands};
use alcop_runtime::verify::{OutputTile, Scope, Verification, Verifier, VerifyError};
use alcop_spec::tiles::workspace;
use alcop_spec::{GpuTarget, Kernel, OpSpec, TileSchedule};
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
    full_limit: Duration,
    /// Held while a real device measures: kernels must not disturb each other.
    measuring: Mutex<()>,
}

impl<'a> Evaluator<'a> {
    /// Compiles for `target`, times on `device`.
    pub fn new(op: &OpSpec, target: &'a GpuTarget, device: &'a (dyn Device + Sync)) -> Evaluator<'a> {
        Evaluator {
            op: *op,
            target,
            verifier: Verifier::new(op),
            device,
            operands: arguments(op),
            full_limit: FULL_LIMIT,
            measuring: Mutex::new(()),
        }
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

    /// A sample of blocks; in full all of them under each arrival, where that takes less than [`FULL_LIMIT`], otherwise the
    /// sample under each arrival.
    fn verify(&self, kernel: &Kernel, schedule: &TileSchedule, effort: Effort) -> Result<Verification, VerifyError> {
        let run = |scope, arrivals: &[Arrival]| {
            let tile = OutputTile::of(&self.op, schedule);
            self.verifier.verify(kernel, tile, scope, arrivals)
        };
        let started = Instant::now();
        let sample = run(Scope::Sample, &ARRIVALS[..1])?;
        if effort == Effort::Sample {
            return Ok(sample);
        }
        let all: u64 = kernel.grid.iter().map(|&extent| u64::from(extent)).product();
        let scope = if full_time(started.elapsed(), sample.counters.blocks, all) < self.full_limit {
            Scope::All
        } else {
            Scope::Sample
        };
        run(scope, &ARRIVALS)
    }

    fn time(&self, kernel: &Kernel, schedule: &TileSchedule, watch: &Watch) -> Result<Measurement, DeviceError> {
        let mut args = self.operands.clone();
        let OpSpec::Matmul(op) = &self.op;
        args.extend(workspace(op, schedule).iter().map(ArgBuffer::zeros));
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

/// What executing all blocks may take.
pub const FULL_LIMIT: Duration = Duration::from_secs(60);

const ARRIVALS: [Arrival; 3] = [Arrival::Latest, Arrival::Earliest, Arrival::Random];

/// What executing `all` blocks under each arrival takes, after a sample under one took so long: one execution of whole
/// numbers, and one of fractions for each arrival.
fn full_time(sample: Duration, blocks: u64, all: u64) -> Duration {
    let executions = (1 + ARRIVALS.len()) as f64 / 2.0;
    sample.mul_f64(executions * all as f64 / blocks.max(1) as f64)
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

/// A, B and C of an operator: whole numbers in A and B, zeros in C.
pub fn arguments(op: &OpSpec) -> Vec<ArgBuffer> {
    let OpSpec::Matmul(op) = op;
    let [a, b] = matmul_operands(op, Filling::Integers, 1);
    let c = vec![0; (op.batch * op.m * op.n * op.out_dtype.bytes()) as usize];
    [(op.dtype, a), (op.dtype, b), (op.out_dtype, c)]
        .map(|(element, bytes)| ArgBuffer::Array {
            dtype: element.into(),
            bytes,
        })
        .into()
}

/// All arguments of our kernel for an operator and a schedule: [`arguments`], and zeros for its [`workspace`].
pub fn kernel_arguments(op: &OpSpec, schedule: &TileSchedule) -> Vec<ArgBuffer> {
    let OpSpec::Matmul(matmul) = op;
    let mut all = arguments(op);
    all.extend(workspace(matmul, schedule).iter().map(ArgBuffer::zeros));
    all
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
    use alcop_runtime::timing::SimDevice;

    use super::*;
    use crate::fixtures::{a100, matmul, schedule};

    #[test]
    fn all_blocks_run_where_that_is_quick_and_the_record_says_which_ran() {
        let (op, target) = (matmul([256, 256, 128]), a100());
        let device = SimDevice::new(&target).expect("it has rates");
        let mut evaluator = Evaluator::new(&op, &target, &device);
        let verified = |evaluator: &Evaluator<'_>, effort| {
            let evaluated = evaluator.evaluate(&schedule(3, 2), effort).expect("right");
            (evaluated.verified.blocks, evaluated.verified.arrival.len())
        };
        let VerifiedBlocks::Sample(sample) = verified(&evaluator, Effort::Sample).0 else {
            panic!("a sample")
        };
        assert_eq!(verified(&evaluator, Effort::Full), (VerifiedBlocks::All, 3));
        evaluator.full_limit = Duration::ZERO;
        assert_eq!(verified(&evaluator, Effort::Full), (VerifiedBlocks::Sample(sample), 3));
    }

    #[test]
    fn all_blocks_take_as_much_longer_as_they_are_more() {
        // 4 of 1024 blocks in a tenth of a second, twice; all of them four times.
        assert_eq!(
            full_time(Duration::from_millis(100), 4, 1024),
            Duration::from_millis(51_200)
        );
    }
}
