"""Checks a pack without a GPU: whether it is whole, whether the comparison finds what is wrong, and whether a run survives
kernels that hang, die or fail. `run.sh --check` calls it. Needs nothing but Python.
"""

import os
import re
import struct
import sys
import tempfile

import pack
import report
import run

# Of sm_80, for which all kernels are compiled (CUDA C++ Programming Guide, "Compute Capabilities").
MOST_THREADS, MOST_BLOCK, MOST_GRID, MOST_SHARED = 1024, [1024, 1024, 64], [(1 << 31) - 1, 65535, 65535], 166912
PARAMETER = re.compile(r"\.param\s+(?:\.align\s+\d+\s+)?\.([a-z]+\d+)[^,)\[]*(?:\[(\d+)\])?")
TYPE_BYTES = {"b8": 1, "u8": 1, "s8": 1, "b16": 2, "u16": 2, "s16": 2, "f16": 2, "b32": 4, "u32": 4, "s32": 4, "f32": 4, "b64": 8, "u64": 8, "s64": 8, "f64": 8}
INEXACT = re.compile(r"^\s*(?:@!?%\w+\s+)?[a-z]\w*(?:\.\w+)*\.(?:approx|full)\b", re.MULTILINE)

problems = []


def problem(where, message):
    problems.append("%s: %s" % (where, message))


def expect(condition, where, message):
    if not condition:
        problem(where, message)
    return bool(condition)


# --- the files -------------------------------------------------------------------------------------------------------


def check_files(index):
    total = len(pack.read("pack.json"))
    for name, entry in index["files"].items():
        try:
            data = pack.read(name)
        except OSError as error:
            problem(name, "cannot be read: %s" % error)
            continue
        total += len(data)
        expect(len(data) == entry["bytes"], name, "%d bytes, made with %d" % (len(data), entry["bytes"]))
        expect(pack.sha256(data) == entry["sha256"], name, "its content is not what was made")
    for folder in ("kernels", "expected"):
        for name in sorted(os.listdir(pack.path(folder))):
            # Outputs of `alcop run` may lie beside the launch files.
            known = folder + "/" + name in index["files"] or name.endswith(".npy")
            expect(known, folder + "/" + name, "is not a file of the pack")
    expect(total <= index["size_limit"], "pack", "%d bytes; at most %d are allowed" % (total, index["size_limit"]))
    return total


def entry_parameters(ptx, entry):
    """Bytes of each parameter of an entry; None where there is no such entry."""
    found = re.search(r"\.entry\s+" + re.escape(entry) + r"\s*\(([^)]*)\)", ptx)
    if found is None:
        return None
    sizes = []
    for kind, elements in PARAMETER.findall(found.group(1)):
        sizes.append(TYPE_BYTES[kind] * int(elements or 1))
    return sizes


def check_launch(name, hashes):
    """Checks a launch file; returns it, its PTX and the bytes of its arguments, or None."""
    launch = pack.load_launch(name)
    ptx = pack.read(name.rsplit("/", 1)[0] + "/" + launch["ptx"]).decode()
    expect(".target sm_80" in ptx, name, "its PTX is not for sm_80")
    sizes = entry_parameters(ptx, launch["entry"])
    if not expect(sizes is not None, name, "its PTX has no entry %s" % launch["entry"]):
        return None
    grid, block, shared = launch["grid"], launch["block"], launch.get("dynamic_shared_bytes", 0)
    threads = block[0] * block[1] * block[2]
    expect(1 <= threads <= MOST_THREADS, name, "%d threads a block; at most %d" % (threads, MOST_THREADS))
    for what, given, most in [("block", block, MOST_BLOCK), ("grid", grid, MOST_GRID)]:
        fits = all(1 <= extent <= limit for extent, limit in zip(given, most))
        expect(fits, name, "a %s of %s; at most %s" % (what, given, most))
    for directive in ("reqntid", "maxntid"):
        found = re.search(r"\.%s\s+([\d, ]+)" % directive, ptx)
        if found:
            wanted = [int(extent) for extent in found.group(1).split(",")]
            wanted += [1] * (3 - len(wanted))
            expect(wanted == block, name, ".%s %s and a block of %s" % (directive, wanted, block))
    expect(0 <= shared <= MOST_SHARED, name, "%d bytes of shared memory; at most %d" % (shared, MOST_SHARED))
    try:
        data = pack.inputs(launch, hashes)
    except pack.Damaged as error:
        problem(name, str(error))
        return None
    given = [8 if pack.argument_array(arg) else len(value) for arg, value in zip(launch["args"], data)]
    expect(given == sizes, name, "arguments of %s bytes for parameters of %s" % (given, sizes))
    return launch, ptx, data


def check_case(case):
    name = case["name"]
    checked = check_launch(case["launch"], case["inputs"])
    if checked is None:
        return
    launch, ptx, data = checked
    expect(case["results"], name, "nothing of it is compared")
    bounded = any("allowed" in result for result in case["results"])
    expect(bounded or not INEXACT.search(ptx), name, "bits are compared, and an instruction has no defined bits")
    changed, outputs = False, {}
    for result in case["results"]:
        at = result["argument"]
        description = pack.argument_array(launch["args"][at])
        if not expect(description, name, "argument %d is compared and is not an array" % at):
            return
        found = pack.expected_bytes(result["file"]) if "file" in result else data[at]
        changed = changed or found != data[at]
        expect(pack.sha256(found) == result["sha256"], name, "the expected bytes of argument %d are others" % at)
        expect(len(found) == len(data[at]), name, "argument %d has %d bytes, expected are %d" % (at, len(data[at]), len(found)))
        if "allowed" in result:
            elements = len(found) // pack.BYTES[description["dtype"]]
            allowed = pack.expected_bytes(result["allowed"])
            expect(len(allowed) == 4 * elements, name, "%d bytes of bounds for %d elements" % (len(allowed), elements))
        outputs[at] = found
    expect(changed, name, "its launch changes nothing, so that a kernel that does nothing would pass")
    if not problems:
        check_comparison(case, launch, data, outputs)


# --- the comparison: what is right passes, what is not does not ------------------------------------------------------


def check_comparison(case, launch, data, outputs):
    name = case["name"]
    found = dict(enumerate(data))
    found.update(outputs)
    message, _ = pack.check_results(case, launch, found)
    expect(message is None, name, "the expected outputs do not pass: %s" % message)
    for result in case["results"]:
        at = result["argument"]
        dtype = pack.argument_array(launch["args"][at])["dtype"]
        for what, other in perturbed(result, dtype, outputs[at]):
            message, _ = pack.check_results(case, launch, replaced(found, at, other))
            expect(message is not None, name, "argument %d passes with %s" % (at, what))
        if "allowed" in result:
            closer = shifted(dtype, outputs[at], pack.expected_bytes(result["allowed"]), 0.4)
            message, share = pack.check_results(case, launch, replaced(found, at, closer))
            expect(message is None and share > 0.0, name, "what is allowed does not pass: %s" % message)


def replaced(found, at, other):
    found = dict(found)
    found[at] = other
    return found


def perturbed(result, dtype, data):
    """Outputs that are wrong."""
    middle = len(data) // 2 // pack.BYTES[dtype] * pack.BYTES[dtype]
    yield "its last element left out", data[: -pack.BYTES[dtype]]
    if "allowed" not in result:
        for at in (0, middle, len(data) - 1):
            yield "a bit changed in byte %d" % at, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        return
    bounds = pack.expected_bytes(result["allowed"])
    yield "errors of thrice what is allowed", shifted(dtype, data, bounds, 3.0)
    nan = {"f16": b"\x00\x7e", "bf16": b"\xc0\x7f", "f32": b"\x00\x00\xc0\x7f"}[dtype]
    yield "not-a-number", data[:middle] + nan + data[middle + len(nan) :]


def shifted(dtype, data, bounds, share):
    """Numbers that are off by a share of what is allowed, as nearly as the type can say."""
    found, width = [], pack.BYTES[dtype]
    for value, (bound,) in zip(pack.floats(dtype, data), struct.iter_unpack("<f", bounds)):
        found.append(pack.number_bytes(dtype, value + share * bound, 0))
    assert len(found) * width == len(data)
    return b"".join(found)


def check_operator(index, operator):
    name = operator["name"]
    size = operator["m"] * operator["n"] * pack.BYTES[operator["out_dtype"]]
    rows = pack.expected_bytes(operator["rows_file"])
    width = operator["n"] * pack.BYTES[operator["out_dtype"]]
    expect(len(rows) == width * len(operator["rows"]), name, "%d bytes for %d rows" % (len(rows), len(operator["rows"])))
    expect(all(0 <= row < operator["m"] for row in operator["rows"]), name, "rows beyond the result")
    for schedule in operator["schedules"]:
        checked = check_launch(schedule["launch"], operator["inputs"])
        if checked is None:
            continue
        expect(len(checked[2][2]) == size, schedule["name"], "argument 2 is not C")
        for entry in index["devices"]:
            time_us = schedule["simulated_us"].get(entry["target"])
            expect(time_us is not None and time_us > 0, schedule["name"], "no simulated time for %s" % entry["target"])
    product = bytearray(size)
    for at, row in enumerate(operator["rows"]):
        product[row * width : (row + 1) * width] = rows[at * width : (at + 1) * width]
    expect(pack.check_rows(operator, product) is None, name, "the expected rows do not pass")
    product[operator["rows"][-1] * width] ^= 1
    expect(pack.check_rows(operator, product) is not None, name, "a wrong row passes")


def check_statistics():
    same, turned = report.spearman([1, 2, 3, 4], [10, 20, 30, 40]), report.spearman([1, 2, 3, 4], [4, 3, 2, 1])
    expect(abs(same - 1) < 1e-12 and abs(turned + 1) < 1e-12, "report", "Spearman's rho is wrong: %r, %r" % (same, turned))
    tied = report.ranks([5, 9, 5])
    expect(tied == [1.5, 3.0, 1.5], "report", "ties have the ranks %r" % tied)
    found = report.compare_times([(10.0, 20.0), (20.0, 30.0), (30.0, 15.0)])
    right = found["fastest_over_chosen"] == 0.75 and found["measured_over_simulated"]["median"] == 1.5
    expect(right, "report", "times are compared wrongly: %r" % found)


# --- a rehearsal: the whole run, on a device that is none ------------------------------------------------------------


def rehearse(index, name, faults, limits=None, clock=lambda: 0.0):
    """A run whose clock stands still, so that it does not matter how fast this machine is."""
    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, "result.json")
        limits = dict({"*": run.STOP_SECONDS}, **(limits or {}))
        attempt = run.Run(index, output, faults=faults, limits=limits, clock=clock, say=lambda text: None)
        code = attempt.run()
        with open(output, encoding="utf-8") as file:
            expect(file.read().startswith("{"), name, "no result was written")
        with open(run.text_name(output), encoding="utf-8") as file:
            expect("all schedules" in file.read(), name, "no table was written")
    return code, attempt.result


def rehearse_all(index):
    code, result = rehearse(index, "rehearsal", {})
    bad = [row for row in result["correctness"]["cases"] if row["status"] != "right"]
    bad += [row for operator in result["times"]["operators"] for row in operator["schedules"] if row["status"] != "right"]
    for row in bad[:5]:
        problem("rehearsal", "%s: %s: %s" % (row["name"], row["status"], row["message"]))
    expect(code == 0 and result["complete"], "rehearsal", "ended with %r" % code)
    for found, wanted in [(result["correctness"]["cases"], index["cases"])] + [
        (found["schedules"], wanted["schedules"]) for found, wanted in zip(result["times"]["operators"], index["operators"])
    ]:
        same = sorted(row["name"] for row in found) == sorted(row["name"] for row in wanted)
        expect(same, "rehearsal", "%d of %d kernels were run" % (len(found), len(wanted)))
    expect(len(result["times"]["operators"]) == len(index["operators"]), "rehearsal", "a matmul was not timed")
    expect(result["times"]["compared_with"] == "h200", "rehearsal", "compared with %r" % result["times"]["compared_with"])


def rehearse_faults(index):
    names = [case["name"] for case in index["cases"]]
    faults = dict(zip(names, ["wrong", "differs", "hang", "die", "fail"]))
    # A bounded output with one bit changed is still right.
    bounded = {case["name"] for case in index["cases"] if any("allowed" in result for result in case["results"])}
    wrong_schedule = index["operators"][0]["schedules"][1]["name"]
    faults[wrong_schedule] = "wrong"
    hanging = [name for name, fault in faults.items() if fault == "hang"]
    code, result = rehearse(index, "faults", faults, limits={name: 1.0 for name in hanging})
    words = {
        "wrong": ("wrong", "elements differ"),
        "differs": ("wrong", "launches 13 differ"),
        "hang": ("failed", "no answer"),
        "die": ("failed", "the process died"),
        "fail": ("failed", "illegal memory access"),
    }
    rows = result["correctness"]["cases"] + result["times"]["operators"][0]["schedules"]
    for row in rows:
        fault = faults.get(row["name"])
        if row["name"] in bounded:
            continue
        status, text = words[fault] if fault else ("right", "")
        right = row["status"] == status and text in row["message"]
        expect(right, "faults", "%s, which must be %r, is %s: %s" % (row["name"], fault, row["status"], row["message"]))
    expect(code == 1, "faults", "ended with %r" % code)


def rehearse_out_of_time(index):
    ticks = [0.0]

    def clock():
        # Each look at the clock takes two minutes.
        ticks[0] += 120.0
        return ticks[0]

    code, result = rehearse(index, "out of time", {}, clock=clock)
    cases = result["correctness"]["cases"]
    skipped = [case for case in cases if case["status"] == "skipped" and case["message"] == "out of time"]
    expect(code == 4 and not result["complete"], "out of time", "ended with %r" % code)
    expect(len(cases) == len(index["cases"]) and skipped, "out of time", "what was skipped is not named")


def main():
    try:
        index = pack.load_index()
    except (OSError, ValueError, KeyError, pack.Damaged) as error:
        print("gpu-pack: pack.json: %s" % error, file=sys.stderr)
        sys.exit(2)
    total = check_files(index)
    check_statistics()
    try:
        if not problems:
            for case in index["cases"]:
                check_case(case)
            for operator in index["operators"]:
                check_operator(index, operator)
            names = [case["name"] for case in index["cases"]]
            names += [schedule["name"] for operator in index["operators"] for schedule in operator["schedules"]]
            expect(len(set(names)) == len(names), "pack.json", "two kernels have one name")
        if not problems:
            rehearse_all(index)
            rehearse_faults(index)
            rehearse_out_of_time(index)
    except (OSError, ValueError, KeyError, IndexError, TypeError, struct.error, pack.Damaged) as error:
        problem("pack", "%s: %s" % (type(error).__name__, error))
    for text in problems:
        print("gpu-pack: " + text, file=sys.stderr)
    if problems:
        sys.exit(2)
    schedules = sum(len(operator["schedules"]) for operator in index["operators"])
    forms = len({case["form"] for case in index["cases"]})
    counts = (len(index["cases"]), forms, schedules, len(index["operators"]), total / 1e6)
    print("gpu-pack: %d kernels of %d forms, %d schedules of %d matmuls, %.1f MB: whole, and the comparison finds faults" % counts)


if __name__ == "__main__":
    main()
