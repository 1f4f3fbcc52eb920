//! Devices that time kernels, and measurements that say where they come from.

use alcop_spec::kernel::Kernel;
use serde::{Deserialize, Serialize};

use crate::emulator::EmulatorError;
use crate::launch::ArgBuffer;

/// Where a time comes from. A simulated time never passes for a measured one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "time_kind", rename_all = "snake_case")]
pub enum TimeSource {
    /// The timing simulator's model of a device.
    Simulated {
        /// The device that is modelled, e.g. `a100`.
        device: String,
    },
    /// A clock on real hardware.
    Measured {
        /// The device's own name.
        device: String,
    },
}

impl TimeSource {
    /// The device's name.
    pub fn device(&self) -> &str {
        match self {
            TimeSource::Simulated { device } | TimeSource::Measured { device } => device,
        }
    }
}

impl std::fmt::Display for TimeSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TimeSource::Simulated { device } => write!(f, "simulated: {device}"),
            TimeSource::Measured { device } => write!(f, "measured: {device}"),
        }
    }
}

/// Times of one kernel on one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Times of single runs in microseconds, in the order in which they were made. Never empty.
    pub samples_us: Vec<f64>,
    /// Where they come from.
    pub source: TimeSource,
}

impl Measurement {
    /// The median in microseconds.
    pub fn median_us(&self) -> f64 {
        let mut sorted = self.samples_us.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[middle],
            _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
        }
    }

    /// The fastest in microseconds.
    pub fn best_us(&self) -> f64 {
        self.samples_us.iter().copied().fold(f64::INFINITY, f64::min)
    }
}

/// How often to run a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimingOptions {
    /// Runs before the first sample.
    pub warm_up: u32,
    /// Samples.
    pub repeats: u32,
    /// Overwrite the L2 cache before each sample, so that operands come from DRAM.
    pub flush_l2: bool,
}

impl Default for TimingOptions {
    fn default() -> Self {
        TimingOptions {
            warm_up: 3,
            repeats: 20,
            flush_l2: true,
        }
    }
}

/// Why a device gave no time.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// There is no such device here: not the user's mistake.
    #[error("no device {device}: {reason}; without a GPU use --device sim")]
    DeviceAbsent {
        /// The device asked for.
        device: String,
        /// What is missing.
        reason: String,
    },
    /// The device was lost, or the kernel failed on it.
    #[error("{device}: {message}")]
    Failed {
        /// The device.
        device: String,
        /// What the driver says.
        message: String,
    },
    /// The kernel, its arguments or the launch do not fit.
    #[error(transparent)]
    Kernel(#[from] EmulatorError),
}

/// Something that times kernels.
pub trait Device {
    /// What its times are.
    fn source(&self) -> TimeSource;

    /// Times a kernel. Arrays among the arguments hold its results afterwards where the device computes them.
    ///
    /// # Errors
    /// See [`DeviceError`].
    fn time(
        &self,
        kernel: &Kernel,
        args: &mut [ArgBuffer],
        options: &TimingOptions,
    ) -> Result<Measurement, DeviceError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_says_what_it_is() {
        let source = TimeSource::Simulated { device: "a100".into() };
        let measurement = Measurement {
            samples_us: vec![3.0, 1.0, 2.0, 10.0],
            source,
        };
        assert_eq!(measurement.median_us(), 2.5);
        assert_eq!(measurement.best_us(), 1.0);
        assert_eq!(measurement.source.to_string(), "simulated: a100");
        let json = serde_json::to_value(&measurement.source).expect("plain data");
        assert_eq!(json, serde_json::json!({"time_kind": "simulated", "device": "a100"}));
    }
}
