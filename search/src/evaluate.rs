//! One trial, the whole road: schedule → kernel → verified in the emulator → timed on a device.

use std::sync::Mutex;

use alcop_passes::Error;
use alcop_runtime::Arrival;
use alcop_runtime::device::{Device, DeviceError, Measurement, TimeSource, TimingOptions};
use alcop_runtime::launch::ArgBuffer;
use alcop_runtime::operands::{Filling, matmul_operands};
use alcop_runtime::verify::{OutputTile, Scope, Verifier, VerifyError};
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
        let (scope, arrivals): (Scope, &[Arrival]) = match effort {
            Effort::Sample => (Scope::Sample, &[Arrival::Latest]),
            Effort::Full => (Scope::All, &[Arrival::Latest, Arrival::Earliest, Arrival::Random]),
        };
        let tile = OutputTile::of(&self.op, schedule);
        let verification = self
            .verifier
            .verify(&kernel, tile, scope, arrivals)
            .map_err(verify_failure)?;
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

/// The time of a measurement, what kind of time it is, and the device as the journal names it.
pub fn answer(measurement: &Measurement) -> (f64, TimeKind, String) {
    match &measurement.source {
        TimeSource::Simulated { device } => (measurement.median_us(), TimeKind::Simulated, format!("sim:{device}")),
        TimeSource::Measured { device } => (measurement.median_us(), TimeKind::Measured, device.clone()),
    }
}

/// SHA-256 of a kernel's PTX text, 64 hexadecimal digits.
pub fn ptx_hash(kernel: &Kernel) -> String {
    Sha256::digest(kernel.ptx.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
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
