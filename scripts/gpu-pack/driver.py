"""A GPU through the CUDA driver's library, by ctypes: no CuPy, no PyTorch, no toolkit.

    gpu = Cuda(); kernel = gpu.load(ptx, "entry", shared_bytes); gpu.launch(kernel, grid, block, arguments)

`Fake` has the same methods and no GPU: it answers with the outputs that the pack expects, or with a fault.
"""

import ctypes
import os
import time

JIT_LOG_BYTES = 16384
# CUjit_option, CUfunction_attribute, CUdevice_attribute of cuda.h.
JIT_ERROR_LOG_BUFFER, JIT_ERROR_LOG_BYTES = 5, 6
FUNCTION_LOCAL_BYTES, FUNCTION_REGISTERS, FUNCTION_MAX_DYNAMIC_SHARED = 3, 4, 8
DEVICE_MAX_THREADS, DEVICE_SMS, DEVICE_CLOCK_KHZ, DEVICE_L2_BYTES = 1, 16, 13, 38
DEVICE_MAJOR, DEVICE_MINOR, DEVICE_SHARED_OPTIN = 75, 76, 97


class DeviceError(Exception):
    """The driver refused, or there is none."""


class Absent(DeviceError):
    """There is no GPU here."""


def signatures():
    """What each function of the library takes: a handle is a pointer, CUdeviceptr 64 bits."""
    pointer, address, size, integer, unsigned = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_size_t, ctypes.c_int, ctypes.c_uint
    out = ctypes.c_void_p
    return {
        "cuInit": [unsigned],
        "cuDriverGetVersion": [out],
        "cuDeviceGetCount": [out],
        "cuDeviceGet": [out, integer],
        "cuDeviceGetName": [ctypes.c_char_p, integer, integer],
        "cuDeviceGetAttribute": [out, integer, integer],
        "cuDevicePrimaryCtxRetain": [out, integer],
        "cuCtxSetCurrent": [pointer],
        "cuCtxSynchronize": [],
        "cuModuleLoadDataEx": [out, pointer, unsigned, pointer, pointer],
        "cuModuleUnload": [pointer],
        "cuModuleGetFunction": [out, pointer, ctypes.c_char_p],
        "cuFuncSetAttribute": [pointer, integer, integer],
        "cuFuncGetAttribute": [out, integer, pointer],
        "cuLaunchKernel": [pointer] + [unsigned] * 7 + [pointer, pointer, pointer],
        "cuMemAlloc_v2": [out, size],
        "cuMemFree_v2": [address],
        "cuMemcpyHtoD_v2": [address, pointer, size],
        "cuMemcpyDtoH_v2": [pointer, address, size],
        "cuMemsetD8Async": [address, ctypes.c_ubyte, size, pointer],
        "cuStreamCreate": [out, unsigned],
        "cuEventCreate": [out, unsigned],
        "cuEventRecord": [pointer, pointer],
        "cuEventSynchronize": [pointer],
        "cuEventElapsedTime": [out, pointer, pointer],
        "cuEventDestroy_v2": [pointer],
        "cuGetErrorString": [integer, out],
    }


class Cuda:
    """The first GPU."""

    def __init__(self):
        try:
            self.library = ctypes.CDLL(os.environ.get("GPU_PACK_LIBCUDA", "libcuda.so.1"))
        except OSError as error:
            raise Absent("the NVIDIA driver's libcuda.so.1 cannot be loaded: %s" % error)
        for name, arguments in signatures().items():
            try:
                function = getattr(self.library, name)
            except AttributeError:
                raise DeviceError("libcuda has no %s" % name)
            function.argtypes, function.restype = arguments, ctypes.c_int
        code = self.library.cuInit(0)
        if code:
            raise Absent("cuInit: %s" % self.error_text(code))
        devices = self.integer("cuDeviceGetCount")
        if devices == 0:
            raise Absent("the driver sees no GPU")
        self.device = self.integer("cuDeviceGet", 0)
        context = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self.device)
        self.call("cuCtxSetCurrent", context)
        # Work of the other stream runs beside that of the null stream: CU_STREAM_NON_BLOCKING.
        self.other = ctypes.c_void_p()
        self.call("cuStreamCreate", ctypes.byref(self.other), 1)

    def error_text(self, code):
        text = ctypes.c_char_p()
        if self.library.cuGetErrorString(code, ctypes.byref(text)) or not text.value:
            return "error %d" % code
        return "%s (%d)" % (text.value.decode("utf-8", "replace"), code)

    def call(self, name, *arguments):
        code = getattr(self.library, name)(*arguments)
        if code:
            raise DeviceError("%s: %s" % (name, self.error_text(code)))

    def integer(self, name, *arguments):
        value = ctypes.c_int()
        self.call(name, ctypes.byref(value), *arguments)
        return value.value

    def describe(self):
        name = ctypes.create_string_buffer(256)
        self.call("cuDeviceGetName", name, len(name), self.device)
        attribute = lambda number: self.integer("cuDeviceGetAttribute", number, self.device)
        return {
            "name": name.value.decode("utf-8", "replace"),
            "capability": [attribute(DEVICE_MAJOR), attribute(DEVICE_MINOR)],
            "sm_count": attribute(DEVICE_SMS),
            "clock_khz": attribute(DEVICE_CLOCK_KHZ),
            "l2_bytes": attribute(DEVICE_L2_BYTES),
            "shared_bytes_per_block": attribute(DEVICE_SHARED_OPTIN),
            "driver": self.integer("cuDriverGetVersion"),
        }

    def load(self, ptx, entry, shared_bytes):
        log = ctypes.create_string_buffer(JIT_LOG_BYTES)
        options = (ctypes.c_int * 2)(JIT_ERROR_LOG_BUFFER, JIT_ERROR_LOG_BYTES)
        # A number among the values is passed as a pointer of that number (cuda.h, CUjit_option).
        values = (ctypes.c_void_p * 2)(ctypes.addressof(log), JIT_LOG_BYTES)
        module, function = ctypes.c_void_p(), ctypes.c_void_p()
        image = ctypes.create_string_buffer(ptx)
        try:
            self.call("cuModuleLoadDataEx", ctypes.byref(module), image, 2, options, values)
        except DeviceError as error:
            raise DeviceError("%s: %s" % (error, log.value.decode("utf-8", "replace").strip()))
        self.call("cuModuleGetFunction", ctypes.byref(function), module, entry.encode())
        if shared_bytes:
            self.call("cuFuncSetAttribute", function, FUNCTION_MAX_DYNAMIC_SHARED, shared_bytes)
        return {
            "module": module,
            "function": function,
            "registers": self.integer("cuFuncGetAttribute", FUNCTION_REGISTERS, function),
            "local_bytes": self.integer("cuFuncGetAttribute", FUNCTION_LOCAL_BYTES, function),
        }

    def unload(self, kernel):
        self.call("cuModuleUnload", kernel["module"])

    def allocate(self, size):
        address = ctypes.c_uint64()
        self.call("cuMemAlloc_v2", ctypes.byref(address), max(size, 1))
        return address.value

    def free(self, address):
        self.call("cuMemFree_v2", address)

    def upload(self, address, data):
        if data:
            self.call("cuMemcpyHtoD_v2", address, data, len(data))

    def download(self, address, size):
        data = ctypes.create_string_buffer(max(size, 1))
        if size:
            self.call("cuMemcpyDtoH_v2", data, address, size)
        return data.raw[:size]

    def fill(self, address, byte, size, beside=False):
        """Fills memory; `beside` what runs on the null stream, or in order with it."""
        self.call("cuMemsetD8Async", address, byte, size, self.other if beside else None)

    def launch(self, kernel, grid, block, shared_bytes, arguments):
        """`arguments` are the bytes of each parameter: addresses and values."""
        cells = [ctypes.create_string_buffer(data, len(data)) for data in arguments]
        pointers = (ctypes.c_void_p * max(len(cells), 1))(*[ctypes.addressof(cell) for cell in cells])
        self.call("cuLaunchKernel", kernel["function"], *grid, *block, shared_bytes, None, pointers, None)

    def synchronize(self):
        self.call("cuCtxSynchronize")

    def event(self):
        event = ctypes.c_void_p()
        self.call("cuEventCreate", ctypes.byref(event), 0)
        return event

    def record(self, event):
        self.call("cuEventRecord", event, None)

    def elapsed_us(self, start, end):
        self.call("cuEventSynchronize", end)
        milliseconds = ctypes.c_float()
        self.call("cuEventElapsedTime", ctypes.byref(milliseconds), start, end)
        return milliseconds.value * 1e3

    def drop_event(self, event):
        self.call("cuEventDestroy_v2", event)


class Fake:
    """No GPU: memory is Python's, and a launch writes what the pack expects. For `check.py`, which tries the script.

    `answer`, a function of the memory and the arguments' bytes, writes into the memory and says how long that took.
    """

    def __init__(self):
        self.memory, self.next, self.answer, self.now = {}, 4096, lambda memory, arguments: 1.0, 0.0

    def describe(self):
        return {
            "name": "NVIDIA H200 (rehearsal: there is no GPU)",
            "capability": [9, 0],
            "sm_count": 132,
            "clock_khz": 0,
            "l2_bytes": 1,
            "shared_bytes_per_block": 232448,
            "driver": 0,
        }

    def load(self, ptx, entry, shared_bytes):
        return {"ptx": ptx, "entry": entry, "registers": 1, "local_bytes": 0}

    def unload(self, kernel):
        kernel.clear()

    def allocate(self, size):
        address, self.next = self.next, self.next + 4096 + size
        self.memory[address] = bytearray(size)
        return address

    def free(self, address):
        del self.memory[address]

    def upload(self, address, data):
        assert len(data) == len(self.memory[address])
        self.memory[address][:] = data

    def download(self, address, size):
        assert size == len(self.memory[address])
        return bytes(self.memory[address])

    def fill(self, address, byte, size, beside=False):
        assert size == len(self.memory[address])

    def launch(self, kernel, grid, block, shared_bytes, arguments):
        assert kernel["ptx"]
        self.now += self.answer(self.memory, arguments)

    def synchronize(self):
        pass

    def event(self):
        return [0.0]

    def record(self, event):
        event[0] = self.now

    def elapsed_us(self, start, end):
        return end[0] - start[0]

    def drop_event(self, event):
        event.clear()


def hang():
    """What a kernel that never ends looks like to the script."""
    while True:
        time.sleep(3600)
