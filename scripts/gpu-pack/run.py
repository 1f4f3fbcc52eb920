"""Runs a pack on the GPU of this machine: outputs first, then times, then the other depths of each form. Writes one JSON.

    python3 run.py RESULT.json     and RESULT.txt; see run.sh for the exit codes

A kernel runs in another process (`worker.py`), which is ended when it takes too long and replaced when it dies, so that a
kernel that hangs or corrupts the device costs its own result only. What no time is left for is recorded as skipped.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time

import pack
import report

# Nothing is started later, and nothing runs on later, so that six minutes are enough.
STOP_STARTING_SECONDS, STOP_SECONDS = 330.0, 350.0
# Of a job; the first one of a process also starts CUDA.
CASE_SECONDS, TIME_SECONDS, CUBLAS_SECONDS = 30.0, 30.0, 90.0
SKIPPED = {"status": "skipped", "message": "out of time"}


class Worker:
    """A process that answers jobs one by one. It is started when it is needed."""

    def __init__(self, faults=None):
        self.faults, self.process = faults, None

    def start(self):
        command = [sys.executable, pack.path("worker.py")]
        if self.faults is not None:
            command.append(json.dumps(self.faults))
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, start_new_session=True
        )
        self.lines = queue.Queue()
        threading.Thread(target=self.pump, args=(self.process.stdout, self.lines), daemon=True).start()

    @staticmethod
    def pump(stream, lines):
        for line in stream:
            lines.put(line)
        lines.put(None)

    def ask(self, job, seconds):
        if self.process is None:
            self.start()
        try:
            self.process.stdin.write((json.dumps(job) + "\n").encode())
            self.process.stdin.flush()
            line = self.lines.get(timeout=max(seconds, 0.1))
        except queue.Empty:
            self.stop()
            return {"status": "failed", "message": "no answer in %.0f s: the process was ended" % seconds}
        except BrokenPipeError:
            line = None
        if line is None:
            return {"status": "failed", "message": self.death()}
        result = json.loads(line)
        if result["status"] in ("failed", "no GPU"):
            self.stop()
        return result

    def death(self):
        code = self.stop()
        self.errors.seek(0)
        last = self.errors.read().decode("utf-8", "replace").strip().splitlines()[-1:]
        return "the process died (%s)%s" % (code, "".join(": " + line for line in last))

    def stop(self):
        """Ends the process. One that the driver keeps is left behind after a while."""
        process, self.process = self.process, None
        if process is None:
            return None
        try:
            process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            code = process.poll()
            if code is None:
                process.kill()
            return process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "and cannot be ended"


class Clocks:
    """What nvidia-smi says about the device, once and while times are taken. Nothing is changed."""

    FIELDS = "timestamp,clocks.sm,clocks.mem,temperature.gpu,power.draw,utilization.gpu"

    def __init__(self):
        self.process, self.file = None, None

    @staticmethod
    def describe():
        fields = "name,driver_version,clocks.max.sm,clocks.max.mem,power.limit,memory.total"
        command = ["nvidia-smi", "-i", "0", "--query-gpu=" + fields, "--format=csv,noheader,nounits"]
        try:
            found = subprocess.run(command, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired) as error:
            return {"error": str(error)}
        values = [value.strip() for value in found.stdout.strip().split(",")]
        names = fields.split(",")
        if found.returncode or len(values) != len(names):
            return {"error": (found.stderr or found.stdout).strip()[:300]}
        return dict(zip(names, values))

    def start(self):
        self.file = tempfile.TemporaryFile()
        command = ["nvidia-smi", "-i", "0", "--query-gpu=" + self.FIELDS, "--format=csv,noheader,nounits", "-lms", "1000"]
        try:
            self.process = subprocess.Popen(command, stdout=self.file, stderr=subprocess.DEVNULL)
        except OSError:
            self.process = None

    def stop(self):
        if self.process is None:
            return []
        self.process.terminate()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.process = None
        self.file.seek(0)
        names = self.FIELDS.split(",")
        rows = [line.split(",") for line in self.file.read().decode("utf-8", "replace").splitlines()]
        return [dict(zip(names, (value.strip() for value in row))) for row in rows if len(row) == len(names)]


class Run:
    """One run of a pack."""

    def __init__(self, index, output, faults=None, limits=None, clock=time.monotonic, say=print):
        self.index, self.output, self.limits, self.clock, self.say = index, output, limits or {}, clock, say
        self.worker, self.faults = Worker(faults), faults
        self.started = clock()
        self.result = {
            "schema": 1,
            "pack": pack.sha256(pack.read("pack.json")),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "complete": False,
            "rehearsal": faults is not None,
        }

    def elapsed(self):
        return self.clock() - self.started

    def job(self, job, seconds, name=None, worker=None):
        """The result of a job, or why there is none."""
        if self.elapsed() > STOP_STARTING_SECONDS:
            return dict(SKIPPED)
        seconds = min(self.limits.get(name, self.limits.get("*", seconds)), STOP_SECONDS - self.elapsed())
        return (worker or self.worker).ask(job, seconds)

    def case(self, number):
        case = self.index["cases"][number]
        found = self.job({"do": "case", "case": number}, CASE_SECONDS, case["name"])
        bounded = any("allowed" in result for result in case["results"])
        self.result["correctness"]["cases"].append(
            dict({"name": case["name"], "form": case["form"], "bounded": bounded, "message": ""}, **found)
        )
        if found["status"] not in ("right", "skipped"):
            self.say("%s: %s: %s" % (case["name"], found["status"], found["message"]))

    def cases(self, first):
        for number, case in enumerate(self.index["cases"]):
            if case["first"] == first:
                self.case(number)

    def operator(self, number):
        operator, rows, products = self.index["operators"][number], [], {}
        target = self.result["times"]["compared_with"]
        for at, schedule in enumerate(operator["schedules"]):
            job = {"do": "time", "operator": number, "schedule": at}
            found = self.job(job, TIME_SECONDS, schedule["name"])
            simulated = schedule["simulated_us"].get(target)
            row = dict({"name": schedule["name"], "schedule": schedule["schedule"], "message": ""}, **found)
            row["simulated_us"] = simulated
            if row["status"] == "right":
                row["tflops"] = round(2e-6 * operator["m"] * operator["n"] * operator["k"] / row["cold_us"], 2)
                products.setdefault(row["sha256"], []).append(row)
            rows.append(row)
        # The rows that the pack knows were right; the rest must be what most schedules found.
        for other in sorted(products.values(), key=len)[:-1]:
            for row in other:
                row["status"], row["message"] = "wrong", "the result is not that of most other schedules"
        separate = Worker(self.faults)
        cublas = self.job({"do": "cublas", "operator": number}, CUBLAS_SECONDS, "cublas", separate)
        separate.stop()
        self.result["times"]["operators"].append({"name": operator["name"], "schedules": rows, "cublas": cublas})
        self.say("%s: %s" % (operator["name"], report.describe_counts(counts(rows))))

    def run(self):
        """All of it; the exit code."""
        found = self.job({"do": "describe"}, CASE_SECONDS, "describe")
        if found["status"] != "right":
            self.say("no GPU: %s" % found["message"])
            return 3
        device = found["device"]
        target, note = report.pick_target(self.index, device)
        self.result.update(device=device, nvidia_smi=Clocks.describe(), correctness={"launches": "of each kernel", "cases": []})
        self.result["times"] = {
            "method": "CUDA events around single launches; cold: memory of twice the L2 is overwritten before each; medians",
            "compared_with": target,
            "note": note,
            "operators": [],
        }
        self.say("%s, compared with simulated times of: %s" % (device["name"], target or note))
        clocks = Clocks()
        try:
            self.cases(first=True)
            self.write()
            clocks.start()
            self.result["times"]["empty_kernel"] = self.job({"do": "empty"}, TIME_SECONDS, "empty")
            for number in range(len(self.index["operators"])):
                self.operator(number)
            self.result["times"]["clocks"] = clocks.stop()
            self.write()
            self.cases(first=False)
            self.result["complete"] = not self.skipped()
        finally:
            self.result["times"].setdefault("clocks", clocks.stop())
            self.worker.stop()
            self.write()
        return self.code()

    def everything(self):
        rows = [row for operator in self.result["times"]["operators"] for row in operator["schedules"] + [operator["cublas"]]]
        return self.result["correctness"]["cases"] + rows + [self.result["times"]["empty_kernel"]]

    def skipped(self):
        return any(row["status"] == "skipped" for row in self.everything())

    def code(self):
        if any(row["status"] not in ("right", "skipped", "absent") for row in self.everything()):
            return 1
        return 4 if self.skipped() else 0

    def write(self):
        self.result["elapsed_s"] = round(self.elapsed(), 1)
        report.summarize(self.result)
        text = report.table(self.result)
        for name, content in [(self.output, json.dumps(self.result, indent=1) + "\n"), (text_name(self.output), text)]:
            with open(name, "w", encoding="utf-8") as file:
                file.write(content)
        return text


def text_name(output):
    return (output[:-5] if output.endswith(".json") else output) + ".txt"


def counts(rows):
    found = {}
    for row in rows:
        found[row["status"]] = found.get(row["status"], 0) + 1
    return found


def end(number, frame):
    raise SystemExit("gpu-pack: ended by signal %d; what was measured is in the result" % number)


def main():
    output = sys.argv[1]
    for name in (output, text_name(output)):
        if os.path.exists(name) and not os.path.isfile(name):
            sys.exit("gpu-pack: %s is not a regular file; name another" % name)
    signal.signal(signal.SIGTERM, end)
    try:
        index = pack.load_index()
        run = Run(index, output)
        code = run.run()
    except (OSError, ValueError, KeyError, pack.Damaged) as error:
        print("gpu-pack: %s: %s; run.sh --check says what is damaged" % (type(error).__name__, error), file=sys.stderr)
        sys.exit(2)
    if code != 3:
        print("\n" + report.table(run.result) + "\nwritten: %s, %s" % (output, text_name(output)))
    sys.exit(code)


if __name__ == "__main__":
    main()
