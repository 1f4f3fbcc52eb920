//! Where PTX kernels run: an emulator with hazard checks, a timing simulator, CUDA devices.
