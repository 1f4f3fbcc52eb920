"""What driver.py hands to the driver, against tests/gpu_pack/libcuda.cpp: called by tests/gpu_pack.rs."""

import struct

import driver

PTX = b".version 7.0\n.target sm_80\n.visible .entry store(.param .u64 a, .param .u32 b) {}\n.visible .entry faulty() {}\n"

gpu = driver.Cuda()
described = gpu.describe()
assert described["name"] == "NVIDIA A100-SXM4-80GB" and described["sm_count"] == 108, described
assert described["capability"] == [8, 0] and described["l2_bytes"] == 41943040, described

address = gpu.allocate(16)
gpu.upload(address, bytes(range(16)))
assert gpu.download(address, 16) == bytes(range(16))
gpu.fill(address, 255, 16, beside=True)
assert gpu.download(address, 16) == b"\xff" * 16

kernel = gpu.load(PTX, "store", 100000)
assert kernel["registers"] == 99 and kernel["local_bytes"] == 0
gpu.launch(kernel, [3, 1, 1], [32, 2, 1], 100000, [struct.pack("<Q", address), struct.pack("<i", -5)])
gpu.synchronize()
assert gpu.download(address, 16) == struct.pack("<i", -5) * 3 + b"\xff" * 4

start, end = gpu.event(), gpu.event()
gpu.record(start)
gpu.record(end)
assert gpu.elapsed_us(start, end) == 500.0
gpu.drop_event(start)


def refused(text, function, *arguments):
    try:
        function(*arguments)
    except driver.DeviceError as error:
        assert text in str(error), error
    else:
        raise AssertionError("not refused: " + text)


refused("ptxas error: line 3", gpu.load, b"broken", "store", 0)
refused("cuModuleGetFunction", gpu.load, PTX, "absent", 0)
refused("cuFuncSetAttribute", gpu.load, PTX, "store", 200000)
gpu.launch(gpu.load(PTX, "faulty", 0), [1, 1, 1], [1, 1, 1], 0, [])
refused("illegal memory access was encountered (700)", gpu.synchronize)
refused("(700)", gpu.download, address, 16)
print("driver: right")
