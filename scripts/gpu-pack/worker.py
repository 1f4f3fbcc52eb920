"""The process that touches the GPU: a job a line comes in, a result a line goes out. `run.py` starts it, and starts another
when a kernel has hung, crashed or left the device in error.

    {"do": "case", "case": 0}                      ->  {"status": "right", "share": 0.0, "launches": 20, …}
    {"do": "time", "operator": 0, "schedule": 3}   ->  {"status": "right", "cold_us": 21.6, "warm_us": 18.9, …}
"""

import json
import os
import statistics
import struct
import sys
import time

import driver
import pack

# Of each kernel whose outputs are compared: a race shows as a difference between launches.
LAUNCHES = 20
# In the second half of them another stream writes this much at the same time, so that copies arrive at other times.
NOISE_BYTES = 64 << 20
# Of each schedule, cold and warm.
SAMPLES = 50
WARM_UP_SECONDS = 0.05
EMPTY = b".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry empty() {\nret;\n}\n"


class Kernel:
    """A kernel on the device with its arguments."""

    def __init__(self, gpu, launch_name, hashes):
        self.gpu, self.launch = gpu, pack.load_launch(launch_name)
        self.data = pack.inputs(self.launch, hashes)
        folder = launch_name.rsplit("/", 1)[0]
        ptx = pack.read(folder + "/" + self.launch["ptx"])
        self.shared_bytes = self.launch.get("dynamic_shared_bytes", 0)
        self.kernel = gpu.load(ptx, self.launch["entry"], self.shared_bytes)
        self.addresses, self.arguments = {}, []
        for index, (arg, data) in enumerate(zip(self.launch["args"], self.data)):
            if pack.argument_array(arg):
                self.addresses[index] = gpu.allocate(len(data))
                data = struct.pack("<Q", self.addresses[index])
            self.arguments.append(data)

    def reset(self):
        for index, address in self.addresses.items():
            self.gpu.upload(address, self.data[index])

    def run(self):
        self.gpu.launch(self.kernel, self.launch["grid"], self.launch["block"], self.shared_bytes, self.arguments)

    def arrays(self):
        return {index: self.gpu.download(address, len(self.data[index])) for index, address in self.addresses.items()}

    def array(self, index):
        return self.gpu.download(self.addresses[index], len(self.data[index]))

    def drop(self):
        for address in self.addresses.values():
            self.gpu.free(address)
        self.gpu.unload(self.kernel)


def run_case(gpu, case, faults):
    kernel = Kernel(gpu, case["launch"], case["inputs"])
    rehearse(gpu, faults.get(case["name"]), lambda: expected_arrays(case, kernel.data))
    result = {"registers": kernel.kernel["registers"], "local_bytes": kernel.kernel["local_bytes"]}
    noise_bytes = NOISE_BYTES if isinstance(gpu, driver.Cuda) else 4096
    noise = gpu.allocate(noise_bytes)
    first, differing, share = None, [], None
    for number in range(LAUNCHES):
        kernel.reset()
        if number >= LAUNCHES // 2:
            gpu.fill(noise, number, noise_bytes, beside=True)
        kernel.run()
        gpu.synchronize()
        found = kernel.arrays()
        if first is None:
            first = found
            message, share = pack.check_results(case, kernel.launch, found)
        elif found != first:
            differing.append(number + 1)
    gpu.free(noise)
    kernel.drop()
    messages = [message] if message else []
    if differing:
        messages.append("launches %s differ from the first" % ", ".join(map(str, differing)))
    status = "wrong" if messages else "right"
    return dict(result, status=status, message="; ".join(messages), share=share, launches=LAUNCHES)


def samples(gpu, run, flush):
    """Microseconds of single runs. `flush`, an address and its bytes, is overwritten before each; None: before the first."""
    address, size, each = flush
    events = [(gpu.event(), gpu.event()) for _ in range(SAMPLES)]
    # The first fill keeps the device busy while this process gets ahead of it: no run waits for its launch.
    gpu.fill(address, 1, size)
    for number, (start, end) in enumerate(events):
        if each:
            gpu.fill(address, number, size)
        elif number == 0:
            run()
        gpu.record(start)
        run()
        gpu.record(end)
    gpu.synchronize()
    found = [gpu.elapsed_us(start, end) for start, end in events]
    for pair in events:
        for event in pair:
            gpu.drop_event(event)
    return found


def flush_bytes(gpu):
    return max(2 * gpu.describe()["l2_bytes"], 128 << 20) if isinstance(gpu, driver.Cuda) else 4096


def times(gpu, run):
    """Median microseconds with an empty L2 and with a warm one."""
    size = flush_bytes(gpu)
    address = gpu.allocate(size)
    until = time.perf_counter() + (WARM_UP_SECONDS if isinstance(gpu, driver.Cuda) else 0.0)
    while True:
        for _ in range(5):
            run()
        gpu.synchronize()
        if time.perf_counter() >= until:
            break
    cold, warm = samples(gpu, run, (address, size, True)), samples(gpu, run, (address, size, False))
    gpu.free(address)
    spread = lambda found: [round(min(found), 3), round(max(found), 3)]
    return {
        "cold_us": round(statistics.median(cold), 3),
        "cold_range_us": spread(cold),
        "warm_us": round(statistics.median(warm), 3),
        "warm_range_us": spread(warm),
        "samples": SAMPLES,
    }


def run_time(gpu, operator, schedule, faults):
    kernel = Kernel(gpu, schedule["launch"], operator["inputs"])
    fault = faults.get(schedule["name"])
    time_us = next(iter(schedule["simulated_us"].values()))
    rehearse(gpu, fault, lambda: expected_product(operator, kernel.data), time_us, once=True)
    kernel.reset()
    kernel.run()
    gpu.synchronize()
    product = kernel.array(2)
    message = pack.check_rows(operator, product)
    result = {"registers": kernel.kernel["registers"], "local_bytes": kernel.kernel["local_bytes"]}
    result.update(times(gpu, kernel.run))
    if message is None and kernel.array(2) != product:
        message = "the last launch left another result than the first"
    kernel.drop()
    return dict(result, status="wrong" if message else "right", message=message or "", sha256=pack.sha256(product))


def run_empty(gpu):
    kernel = gpu.load(EMPTY, "empty", 0)
    rehearse(gpu, None, lambda: {})
    result = times(gpu, lambda: gpu.launch(kernel, [1, 1, 1], [32, 1, 1], 0, []))
    gpu.unload(kernel)
    return dict(result, status="right")


def run_cublas(operator):
    """The same matmul through PyTorch, in a process of its own: its times, and whether its rows are those expected."""
    try:
        import torch
    except ImportError as error:
        return {"status": "absent", "message": "no PyTorch: %s" % error}
    if not torch.cuda.is_available():
        return {"status": "absent", "message": "this PyTorch sees no GPU"}
    launch = pack.load_launch(operator["schedules"][0]["launch"])
    data = pack.inputs(launch, operator["inputs"])
    a, b = [
        torch.frombuffer(bytearray(data[index]), dtype=torch.float16).reshape(launch["args"][index]["random"]["shape"]).cuda()
        for index in range(2)
    ]
    a = a.t() if operator["layout"][0] == "t" else a
    b = b.t() if operator["layout"][1] == "t" else b
    try:
        torch.mm(a, b, out_dtype=torch.float32)
        run, result_type = (lambda: torch.mm(a, b, out_dtype=torch.float32)), "f32"
    except (TypeError, RuntimeError, NotImplementedError):
        run, result_type = (lambda: torch.mm(a, b)), "f16"
    product = run().float().cpu().contiguous()
    message = pack.check_rows(operator, product.numpy().tobytes()) if result_type == "f32" else None
    found = dict(times(Torch(torch), run), version=torch.__version__, result_type=result_type)
    return dict(found, status="wrong" if message else "right", message=message or "")


class Torch(driver.Cuda):
    """What `times` needs, through PyTorch: its allocator, its stream."""

    def __init__(self, torch):
        self.torch, self.buffers = torch, {}

    def describe(self):
        return {"l2_bytes": getattr(self.torch.cuda.get_device_properties(0), "L2_cache_size", 0)}

    def allocate(self, size):
        buffer = self.torch.empty(size, dtype=self.torch.uint8, device="cuda")
        self.buffers[buffer.data_ptr()] = buffer
        return buffer.data_ptr()

    def free(self, address):
        del self.buffers[address]

    def fill(self, address, byte, size, beside=False):
        self.buffers[address].fill_(byte)

    def synchronize(self):
        self.torch.cuda.synchronize()

    def event(self):
        return self.torch.cuda.Event(enable_timing=True)

    def record(self, event):
        event.record()

    def elapsed_us(self, start, end):
        end.synchronize()
        return start.elapsed_time(end) * 1e3

    def drop_event(self, event):
        pass


def expected_arrays(case, data):
    """What a launch of a case leaves in its arrays."""
    found = {}
    for result in case["results"]:
        found[result["argument"]] = pack.expected_bytes(result["file"]) if "file" in result else data[result["argument"]]
    return found


def expected_product(operator, data):
    """C with the rows that are known; the rest is left as it was."""
    product, rows = bytearray(data[2]), pack.expected_bytes(operator["rows_file"])
    width = len(rows) // len(operator["rows"])
    for at, row in enumerate(operator["rows"]):
        product[row * width : (row + 1) * width] = rows[at * width : (at + 1) * width]
    return {2: bytes(product)}


def rehearse(gpu, fault, expected, time_us=1.0, once=False):
    """Without a GPU: the next kernel's launches leave what is expected, or go wrong as `fault` says. `once`: only the first
    launch writes."""
    if not isinstance(gpu, driver.Fake):
        return
    arrays, launches = expected(), [0]

    def answer(memory, arguments):
        launches[0] += 1
        if fault == "hang":
            driver.hang()
        if fault == "die":
            os.abort()
        if fault == "fail":
            raise driver.DeviceError("cuCtxSynchronize: an illegal memory access was encountered (700)")
        # The launches that are timed find what the first has left.
        for index, data in arrays.items() if launches[0] == 1 or not once else ():
            (address,) = struct.unpack("<Q", arguments[index])
            memory[address][:] = data
        if fault == "wrong" or (fault == "differs" and launches[0] == 13):
            # The last array that a kernel takes and writes is its result.
            (address,) = struct.unpack("<Q", arguments[max(arrays)])
            memory[address][0] ^= 1
        return time_us

    gpu.answer = answer


def run(gpu, index, job, faults):
    if job["do"] == "describe":
        return {"status": "right", "device": gpu.describe()}
    if job["do"] == "case":
        return run_case(gpu, index["cases"][job["case"]], faults)
    operator = index["operators"][job["operator"]] if "operator" in job else None
    if job["do"] == "time":
        return run_time(gpu, operator, operator["schedules"][job["schedule"]], faults)
    if job["do"] == "empty":
        return run_empty(gpu)
    if isinstance(gpu, driver.Fake):
        return {"status": "absent", "message": "a rehearsal has no cuBLAS"}
    return run_cublas(operator)


def main():
    faults = json.loads(sys.argv[1]) if len(sys.argv) > 1 else None
    index, gpu = pack.load_index(), None
    for line in sys.stdin:
        job = json.loads(line)
        try:
            # cuBLAS has a process of its own, in which the driver is PyTorch's alone.
            if gpu is None and (faults is not None or job["do"] != "cublas"):
                gpu = driver.Fake() if faults is not None else driver.Cuda()
            result = run(gpu, index, job, faults or {})
        except driver.Absent as error:
            result = {"status": "no GPU", "message": str(error)}
        except Exception as error:  # Whatever it is, it is this job's result; the process ends with it.
            result = {"status": "failed", "message": "%s: %s" % (type(error).__name__, error)}
        print(json.dumps(result), flush=True)
        if result["status"] in ("failed", "no GPU"):
            # An error of the device stays with its context.
            return


if __name__ == "__main__":
    main()
