//! A real GPU, through the CUDA driver API loaded at run time (cudarc): no CUDA is needed to build or to start.

use std::ffi::{CString, c_void};
use std::sync::Arc;

use alcop_spec::kernel::Kernel;
use cudarc::driver::{DriverError, result, sys};

use crate::device::{Device, DeviceError, Measurement, TimeSource, TimingOptions};
use crate::emulator::{EmulatorError, Param, entry_params};
use crate::launch::{ArgBuffer, check_arguments};

/// Bytes written between samples to empty the L2 cache: twice the largest of today (96 MB).
const FLUSH_BYTES: usize = 192 << 20;

/// One GPU.
#[derive(Debug)]
pub struct CudaDevice {
    device: sys::CUdevice,
    context: sys::CUcontext,
    name: String,
    /// Compute capability, e.g. (8, 0).
    pub capability: (u32, u32),
}

// SAFETY: the handles are names of driver objects, and the driver API may be called from any thread (CUDA Driver API,
// "Context management"); `run` makes the context current on its own thread.
unsafe impl Send for CudaDevice {}
// SAFETY: as above; nothing behind a shared reference is changed.
unsafe impl Sync for CudaDevice {}

impl CudaDevice {
    /// The GPU with that number.
    ///
    /// # Errors
    /// [`DeviceError::DeviceAbsent`] without a driver or without such a GPU.
    pub fn open(ordinal: u32) -> Result<CudaDevice, DeviceError> {
        let absent = |reason: String| DeviceError::DeviceAbsent {
            device: format!("cuda:{ordinal}"),
            reason,
        };
        // SAFETY: looks for the driver's library and loads it; no state of ours is concerned.
        if !unsafe { sys::is_culib_present() } {
            return Err(absent("the CUDA driver (libcuda) is not installed".to_owned()));
        }
        let open = || -> Result<CudaDevice, DriverError> {
            result::init()?;
            let device = result::device::get(ordinal as i32)?;
            let name = result::device::get_name(device)?;
            use sys::CUdevice_attribute::{
                CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
                CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
            };
            // SAFETY: the device comes from `device::get`; the context is released when the value is dropped.
            let (capability, context) = unsafe {
                let major = result::device::get_attribute(device, MAJOR)?;
                let minor = result::device::get_attribute(device, MINOR)?;
                ((major as u32, minor as u32), result::primary_ctx::retain(device)?)
            };
            Ok(CudaDevice {
                device,
                context,
                name,
                capability,
            })
        };
        open().map_err(|error| absent(describe(error)))
    }

    fn failed(&self, error: DriverError) -> DeviceError {
        DeviceError::Failed {
            device: self.name.clone(),
            message: describe(error),
        }
    }
}

impl Drop for CudaDevice {
    fn drop(&mut self) {
        // SAFETY: retained in `open`, released once. An error here has nobody to go to but the log.
        if let Err(error) = unsafe { result::primary_ctx::release(self.device) } {
            tracing::warn!("releasing {}: {}", self.name, describe(error));
        }
    }
}

fn describe(error: DriverError) -> String {
    match error.error_string() {
        Ok(text) => text.to_string_lossy().into_owned(),
        Err(_) => format!("{error:?}"),
    }
}

/// Everything that a timing allocates on the device; freed together.
#[derive(Default)]
struct Resources {
    buffers: Vec<sys::CUdeviceptr>,
    modules: Vec<sys::CUmodule>,
    events: Vec<sys::CUevent>,
}

impl Resources {
    fn upload(&mut self, bytes: &[u8]) -> Result<sys::CUdeviceptr, DriverError> {
        // SAFETY: a context is current; the buffer is as long as what is copied, and is freed on drop only.
        unsafe {
            let buffer = result::malloc_sync(bytes.len().max(1))?;
            self.buffers.push(buffer);
            if !bytes.is_empty() {
                result::memcpy_htod_sync(buffer, bytes)?;
            }
            Ok(buffer)
        }
    }

    fn event(&mut self) -> Result<sys::CUevent, DriverError> {
        let event = result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT)?;
        self.events.push(event);
        Ok(event)
    }

    /// The by-value form of an argument; the device addresses of its arrays are appended in depth-first order.
    fn value(&mut self, arg: &ArgBuffer, addresses: &mut Vec<sys::CUdeviceptr>) -> Result<Vec<u8>, DriverError> {
        Ok(match arg {
            ArgBuffer::Array { bytes, .. } => {
                let address = self.upload(bytes)?;
                addresses.push(address);
                address.to_le_bytes().to_vec()
            }
            ArgBuffer::I32(value) => value.to_le_bytes().to_vec(),
            ArgBuffer::U64(value) => value.to_le_bytes().to_vec(),
            ArgBuffer::F32(value) => value.to_le_bytes().to_vec(),
            ArgBuffer::Null => vec![0; 8],
            ArgBuffer::Bytes(bytes) => bytes.clone(),
            ArgBuffer::Pointers(items) => {
                let mut table = Vec::new();
                for item in items {
                    let mut bytes = self.value(item, addresses)?;
                    bytes.resize(8, 0);
                    table.extend(bytes);
                }
                self.upload(&table)?.to_le_bytes().to_vec()
            }
        })
    }
}

impl Drop for Resources {
    fn drop(&mut self) {
        let warn = |result: Result<(), DriverError>| {
            if let Err(error) = result {
                tracing::warn!("freeing device resources: {}", describe(error));
            }
        };
        // SAFETY: each handle was made by us and is freed once; the stream was synchronised, or the context is lost.
        unsafe {
            self.buffers
                .drain(..)
                .for_each(|buffer| warn(result::free_sync(buffer)));
            self.events
                .drain(..)
                .for_each(|event| warn(result::event::destroy(event)));
            self.modules
                .drain(..)
                .for_each(|module| warn(result::module::unload(module)));
        }
    }
}

fn read_back(arg: &mut ArgBuffer, addresses: &mut impl Iterator<Item = sys::CUdeviceptr>) -> Result<(), DriverError> {
    match arg {
        ArgBuffer::Array { bytes, .. } => {
            if let Some(address) = addresses.next().filter(|_| !bytes.is_empty()) {
                // SAFETY: the buffer was uploaded from these bytes, so the lengths agree.
                unsafe { result::memcpy_dtoh_sync(bytes, address)? };
            }
            Ok(())
        }
        ArgBuffer::Pointers(items) => items.iter_mut().try_for_each(|item| read_back(item, addresses)),
        ArgBuffer::I32(_) | ArgBuffer::U64(_) | ArgBuffer::F32(_) | ArgBuffer::Null | ArgBuffer::Bytes(_) => Ok(()),
    }
}

impl Device for CudaDevice {
    fn source(&self) -> TimeSource {
        TimeSource::Measured {
            device: self.name.clone(),
        }
    }

    fn time(
        &self,
        kernel: &Kernel,
        args: &mut [ArgBuffer],
        options: &TimingOptions,
    ) -> Result<Measurement, DeviceError> {
        let module = Arc::new(crate::ptx::parse(&kernel.ptx).map_err(EmulatorError::from)?);
        let params: Vec<Param> = entry_params(&module, &kernel.entry)?;
        check_arguments(&kernel.entry, &params, args)?;
        let text = |text: &str, what: &str| {
            CString::new(text).map_err(|_| EmulatorError::BadLaunch {
                message: format!("{what} contains a NUL character"),
            })
        };
        let (ptx, entry) = (
            text(&kernel.ptx, "the PTX text")?,
            text(&kernel.entry, "the entry's name")?,
        );
        let samples_us = self
            .run(kernel, &ptx, entry, args, options)
            .map_err(|error| self.failed(error))?;
        Ok(Measurement {
            samples_us,
            source: self.source(),
        })
    }
}

impl CudaDevice {
    fn run(
        &self,
        kernel: &Kernel,
        ptx: &CString,
        entry: CString,
        args: &mut [ArgBuffer],
        options: &TimingOptions,
    ) -> Result<Vec<f64>, DriverError> {
        let stream = std::ptr::null_mut();
        // SAFETY: the context was retained in `open` and lives as long as `self`.
        unsafe { result::ctx::set_current(self.context)? };
        let mut resources = Resources::default();
        // SAFETY: the image is NUL-terminated text; the module outlives the function's last launch.
        let function = unsafe {
            let module = result::module::load_data(ptx.as_ptr().cast::<c_void>())?;
            resources.modules.push(module);
            let function = result::module::get_function(module, entry)?;
            let attribute = sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            result::function::set_function_attribute(function, attribute, kernel.dynamic_shared_bytes as i32)?;
            function
        };
        let mut addresses = Vec::new();
        let mut values = Vec::new();
        for arg in args.iter() {
            let mut own = Vec::new();
            values.push(resources.value(arg, &mut own)?);
            addresses.push(own);
        }
        let mut pointers: Vec<*mut c_void> = values.iter_mut().map(|value| value.as_mut_ptr().cast()).collect();
        let ([gx, gy, gz], [bx, by, bz]) = (kernel.grid, kernel.block);
        let mut launch = || {
            // SAFETY: `check_arguments` has compared number and sizes of the arguments with the entry's parameters.
            unsafe {
                let shared = kernel.dynamic_shared_bytes;
                result::launch_kernel(function, (gx, gy, gz), (bx, by, bz), shared, stream, &mut pointers)
            }
        };
        // The results are those of one run on the arguments as given: later runs may read what earlier ones wrote.
        launch()?;
        // SAFETY: the null stream belongs to the current context.
        unsafe { result::stream::synchronize(stream)? };
        for (arg, own) in args.iter_mut().zip(addresses) {
            read_back(arg, &mut own.into_iter())?;
        }
        for _ in 1..options.warm_up {
            launch()?;
        }
        let flush = if options.flush_l2 {
            Some(resources.upload(&vec![0; FLUSH_BYTES])?)
        } else {
            None
        };
        let (start, end) = (resources.event()?, resources.event()?);
        let mut samples = Vec::new();
        for round in 0..options.repeats.max(1) {
            // SAFETY: buffer and events are ours and alive; the null stream orders all of it.
            unsafe {
                if let Some(buffer) = flush {
                    result::memset_d8_async(buffer, round as u8, FLUSH_BYTES, stream)?;
                }
                result::event::record(start, stream)?;
                launch()?;
                result::event::record(end, stream)?;
                result::event::synchronize(end)?;
                samples.push(f64::from(result::event::elapsed(start, end)?) * 1e3);
            }
        }
        Ok(samples)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_driver_the_device_is_absent_and_nothing_panics() {
        match CudaDevice::open(0) {
            Ok(device) => assert!(!device.name.is_empty()),
            Err(DeviceError::DeviceAbsent { device, .. }) => assert_eq!(device, "cuda:0"),
            Err(other) => panic!("{other}"),
        }
        assert!(matches!(CudaDevice::open(4096), Err(DeviceError::DeviceAbsent { .. })));
    }
}
