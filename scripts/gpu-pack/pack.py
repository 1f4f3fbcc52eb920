"""Reads a pack: its launch files, arrays from seeds, and what outputs must be. Needs nothing but Python.

    {"random": {"dtype": "f16", "shape": [4], "seed": 5, "low": -2, "values": 5}}  ->  8 bytes
    compare(expected, allowed, found)                                                 ->  None, or what is wrong
"""

import array
import hashlib
import json
import os
import struct
import sys
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
SCHEMA = 1
# Elements after which the numbers of a generated array repeat: `Generated::RING` in spec/src/kernel.rs.
RING = 65521
BYTES = {"i8": 1, "u8": 1, "f16": 2, "bf16": 2, "i16": 2, "u16": 2, "f32": 4, "i32": 4, "u32": 4, "f64": 8, "i64": 8, "u64": 8}
CODES = {"i8": "b", "u8": "B", "f16": "e", "i16": "h", "u16": "H", "f32": "f", "i32": "i", "u32": "I", "f64": "d", "i64": "q", "u64": "Q"}


class Damaged(Exception):
    """The pack is not what was made."""


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def path(name):
    return os.path.join(HERE, *name.split("/"))


def read(name):
    with open(path(name), "rb") as file:
        return file.read()


def load_index():
    index = json.loads(read("pack.json"))
    if index["schema"] != SCHEMA:
        raise Damaged("pack.json has schema %r; this script reads %d" % (index["schema"], SCHEMA))
    return index


def load_launch(name):
    return json.loads(read(name))


def expected_bytes(name):
    return zlib.decompress(read(name))


def bfloat16(value):
    """The bits of the nearest bfloat16; ties go to even."""
    (bits,) = struct.unpack("<I", struct.pack("<f", value))
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) & 0xFFFF


def number_bytes(dtype, number, scale):
    if dtype == "bf16":
        return struct.pack("<H", bfloat16(number * 2.0**scale))
    if dtype in ("f16", "f32", "f64"):
        return struct.pack("<" + CODES[dtype], number * 2.0**scale)
    return struct.pack("<" + CODES[dtype], number)


def split_mix(state):
    """The numbers of SplitMix64 (Steele, Lea, Flood, 2014)."""
    mask = (1 << 64) - 1
    while True:
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        yield z ^ (z >> 31)


_rings = {}


def generate(wanted):
    """The bytes of a generated array: `alcop_runtime::operands::generate` makes the same."""
    dtype, low, values = wanted["dtype"], wanted.get("low", -2), wanted.get("values", 5)
    elements = count(wanted["shape"])
    key = (dtype, wanted["seed"], low, values, wanted.get("scale", 0))
    have = min(elements, RING)
    ring = _rings.get(key)
    if ring is None or len(ring) < have * BYTES[dtype]:
        known, parts, numbers = {}, [], split_mix(wanted["seed"])
        for _ in range(have):
            number = low + (next(numbers) >> 40) % values
            data = known.get(number)
            if data is None:
                data = known[number] = number_bytes(dtype, number, key[4])
            parts.append(data)
        ring = _rings[key] = b"".join(parts)
    length = elements * BYTES[dtype]
    ring = ring[: RING * BYTES[dtype]]
    return (ring * (length // max(len(ring), 1) + 1))[:length]


def count(shape):
    elements = 1
    for extent in shape:
        elements *= extent
    return elements


def argument_array(arg):
    """The description of an array argument, or None for one that is passed by value."""
    return arg.get("random") or arg.get("zeros")


def argument_bytes(arg):
    """What is in an array, or the bytes of a value."""
    if "random" in arg:
        return generate(arg["random"])
    if "zeros" in arg:
        return bytes(count(arg["zeros"]["shape"]) * BYTES[arg["zeros"]["dtype"]])
    if "i32" in arg:
        return struct.pack("<i", arg["i32"])
    if "u64" in arg:
        return struct.pack("<Q", arg["u64"])
    if "f32" in arg:
        return struct.pack("<f", arg["f32"])
    if arg.get("null") is True:
        return bytes(8)
    raise Damaged("an argument that this script does not know: %s" % json.dumps(arg))


def inputs(launch, hashes):
    """The bytes of all arguments; arrays are those that the pack was made with."""
    found = [argument_bytes(arg) for arg in launch["args"]]
    for index, wanted in hashes.items():
        if sha256(found[int(index)]) != wanted:
            raise Damaged("argument %s is not the array that the pack was made with" % index)
    return found


def floats(dtype, data):
    """Numbers of an array, as Python floats."""
    if dtype == "bf16":
        words = array.array("I", [word << 16 for word in array.array("H", data)])
        return array.array("f", words.tobytes())
    if dtype == "f16":
        return [value for (value,) in struct.iter_unpack("<e", data)]
    return array.array(CODES[dtype], data)


def compare(dtype, expected, allowed, found):
    """Whether an output is right, and the largest share of what was allowed. `allowed` is None for bit for bit, otherwise
    binary32 by element. Returns (None or a message, share)."""
    if sys.byteorder != "little":
        raise Damaged("this script reads little-endian arrays only")
    if len(expected) != len(found):
        return "%d bytes where %d are expected" % (len(found), len(expected)), None
    if allowed is None:
        if expected == found:
            return None, 0.0
        width = BYTES[dtype]
        wrong = [at for at in range(0, len(found), width) if found[at : at + width] != expected[at : at + width]]
        first = wrong[0]
        pair = [floats(dtype, data[first : first + width])[0] for data in (found, expected)]
        message = "%d of %d elements differ; the first is element %d: %r instead of %r"
        return message % (len(wrong), len(found) // width, first // width, pair[0], pair[1]), None
    worst, wrong, first = 0.0, 0, None
    bounds = array.array("f", allowed)
    for at, (got, want, bound) in enumerate(zip(floats(dtype, found), floats(dtype, expected), bounds)):
        error = abs(got - want)
        if error <= bound:
            # A bound of zero is met by equality alone.
            worst = max(worst, error / bound if bound else 0.0)
        else:
            # Not-a-number is not within any bound.
            wrong += 1
            first = first or (at, got, want, bound)
    if wrong:
        message = "%d of %d elements are off by more than is allowed; the first is element %d: %r instead of %r ± %r"
        return message % ((wrong, len(bounds)) + first), None
    return None, worst


def check_results(case, launch, found):
    """Compares all arrays of a case after a launch. Returns (None or a message, share)."""
    worst = 0.0
    for result in case["results"]:
        index = result["argument"]
        data = found[index]
        if "allowed" not in result and sha256(data) == result["sha256"]:
            continue
        name = "argument %d: " % index
        if "file" not in result:
            return name + "the kernel changed an array that it must leave as it is", None
        allowed = expected_bytes(result["allowed"]) if "allowed" in result else None
        dtype = argument_array(launch["args"][index])["dtype"]
        message, share = compare(dtype, expected_bytes(result["file"]), allowed, data)
        if message:
            return name + message, None
        worst = max(worst, share)
    return None, worst


def check_rows(operator, data):
    """Compares the rows of a timed matmul that the pack knows."""
    expected = expected_bytes(operator["rows_file"])
    width = operator["n"] * BYTES[operator["out_dtype"]]
    for at, row in enumerate(operator["rows"]):
        message, _ = compare(
            operator["out_dtype"], expected[at * width : (at + 1) * width], None, data[row * width : (row + 1) * width]
        )
        if message:
            return "row %d: %s" % (row, message)
    return None
