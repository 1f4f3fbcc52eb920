//! `--device`: where kernels run or are timed.

use alcop_runtime::cuda::CudaDevice;
use alcop_runtime::device::{Device, DeviceError};
use alcop_runtime::launch::Outside;
use alcop_runtime::timing::SimDevice;
use alcop_search::worker::DeviceSpec;
use alcop_spec::GpuTarget;

use super::Failure;

/// A device as it is named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// `emulator`: executes, and knows no time.
    Emulator,
    /// `sim` or `sim:TARGET`: the timing simulator, of the command's target where none is named.
    Simulator(Option<String>),
    /// `cuda:N`.
    Cuda(u32),
}

impl std::str::FromStr for DeviceName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let unknown = || format!("unknown device {name:?}; known: emulator, sim, sim:TARGET, cuda:N");
        match name.split_once(':') {
            None if name == "emulator" => Ok(DeviceName::Emulator),
            None if name == "sim" => Ok(DeviceName::Simulator(None)),
            Some(("sim", target)) if !target.is_empty() => Ok(DeviceName::Simulator(Some(target.to_owned()))),
            Some(("cuda", number)) => number.parse().map(DeviceName::Cuda).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

/// A device that tells times; `target` is what `sim` alone stands for.
pub fn timing_device(name: &DeviceName, target: &str) -> Result<Box<dyn Device + Sync>, Failure> {
    Ok(match device_spec(name, target)? {
        DeviceSpec::Simulator(target) => Box::new(SimDevice::new(&target).map_err(Failure::usage)?),
        DeviceSpec::Cuda(ordinal) => Box::new(CudaDevice::open(ordinal).map_err(failure)?),
    })
}

/// The same device, not yet opened.
pub fn device_spec(name: &DeviceName, target: &str) -> Result<DeviceSpec, Failure> {
    match name {
        DeviceName::Emulator => Err(Failure::usage(
            "the emulator tells no times; use --device sim:a100 (or another device), or cuda:0",
        )),
        DeviceName::Simulator(named) => GpuTarget::resolve(named.as_deref().unwrap_or(target))
            .map(|target| DeviceSpec::Simulator(Box::new(target)))
            .map_err(Failure::usage),
        DeviceName::Cuda(ordinal) => Ok(DeviceSpec::Cuda(*ordinal)),
    }
}

/// What a device's error means for the exit code.
pub fn failure(error: DeviceError) -> Failure {
    match error {
        DeviceError::DeviceAbsent { .. } | DeviceError::Failed { .. } => Failure::device(error),
        DeviceError::Kernel(error) => emulator_failure(error),
    }
}

/// What `--allow-outside` means.
pub fn outside(allowed: bool) -> Outside {
    match allowed {
        true => Outside::Allowed,
        false => Outside::Refused,
    }
}

/// A kernel that cannot be run as it is called is the user's (2); one that cannot be executed, or faults, is refused (1).
pub fn emulator_failure(error: alcop_runtime::EmulatorError) -> Failure {
    use alcop_runtime::EmulatorError::{BadArgument, BadLaunch, Memory, Parse, UnknownEntry};
    match error {
        Parse(_) | UnknownEntry { .. } | BadLaunch { .. } | BadArgument { .. } | Memory(_) => Failure::usage(error),
        _ => Failure::refused(error),
    }
}
