"""A kernel of the corpus: its PTX, its launch file, its inputs and what it must compute, in a folder of its own.

    write("target/corpus/triton/softmax-64", ptx, (3, 1, 1), (32, 1, 1), 512, [x, Out(zeros, *close), 64])
      -> k.ptx, launch.json, 0.npy, 1.npy, 1.expected.npy, 1.bound.npy

Only NumPy is needed, so that every compiler's environment can write cases and a single one can check them.
"""

import json
import math
import pathlib
import re
import zlib

import numpy as np


class Out:
    """An array that the kernel writes, with the values it must hold and how far they may be off, by element."""

    def __init__(self, array, expected, bound):
        self.array, self.expected, self.bound = array, expected, bound


class Pointers:
    """A device array of pointers to these arrays."""

    def __init__(self, *members):
        self.members = members


def write(folder, ptx, grid, block, shared_bytes, args, ring=None):
    """Writes a case. `args`: arrays, `Out`, `Pointers`, floats (f32), integers (i32) and None (a null pointer).

    `ring`: the kernel with one slot less in its rings, for the mutants, where that is an edit of its source.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / "k.ptx").write_text(ptx)
    if ring:
        (folder / "ring.ptx").write_text(ring)

    def entry(name, value):
        if isinstance(value, Pointers):
            return {"pointers": [entry(f"{name}-{index}", member) for index, member in enumerate(value.members)]}
        if isinstance(value, Out):
            np.save(folder / f"{name}.npy", value.array)
            np.save(folder / f"{name}.expected.npy", np.asarray(value.expected, np.float64))
            np.save(folder / f"{name}.bound.npy", np.broadcast_to(np.asarray(value.bound, np.float64), value.array.shape))
            return {"npy": f"{name}.npy", "output": f"{name}.out.npy"}
        if isinstance(value, np.ndarray):
            np.save(folder / f"{name}.npy", value)
            return {"npy": f"{name}.npy"}
        if value is None:
            return {"null": True}
        return {"f32": value} if isinstance(value, float) else {"i32": int(value)}

    launch = {"ptx": "k.ptx", "entry": re.search(r"\.entry\s+(\w+)", ptx)[1], "grid": list(grid), "block": list(block),
              "dynamic_shared_bytes": int(shared_bytes), "args": [entry(str(at), arg) for at, arg in enumerate(args)]}
    (folder / "launch.json").write_text(json.dumps(launch, indent=1))


def verify(folder):
    """Compares all outputs of a case. Returns whether they hold, and the worst error as a part of its bound."""
    worst = 0.0
    for expected in sorted(folder.glob("*.expected.npy")):
        name = expected.name.removesuffix(".expected.npy")
        out = folder / f"{name}.out.npy"
        if not out.exists():
            return False, f"argument {name} was not written"
        error = np.abs(np.load(out).astype(np.float64) - np.load(expected)) / np.load(folder / f"{name}.bound.npy")
        part = float(np.max(error))
        worst = part if math.isnan(part) else max(worst, part)
        if not worst <= 1.0:
            return False, f"argument {name}: {part:.3f} of the bound"
    return True, f"{worst:.3f} of the bound"


def seeded(name):
    """Random numbers that belong to one case, whatever cases are written before it."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def f16(rng, *shape):
    return rng.standard_normal(shape).astype(np.float16)


def f32(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def bf16(rng, *shape):
    """Bits of bf16 in u16, and their values."""
    bits = (f32(rng, *shape).view(np.uint32) >> 16).astype(np.uint16)
    return bits, (bits.astype(np.uint32) << 16).view(np.float32)


def product(a, b, input_error=0.0, output_error=0.0):
    """The f64 product, and a bound for sums in f32 of its terms, which have a relative error each; and the result."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    exact, size = a @ b, np.abs(a) @ np.abs(b)
    return exact, (a.shape[-1] * 2.0**-22 + input_error) * size + output_error * np.abs(exact) + 1e-30


def softmax(x):
    e = np.exp(x.astype(np.float64) - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def layer_norm(x, w, b, epsilon=1e-5):
    d = x.astype(np.float64) - x.astype(np.float64).mean(-1, keepdims=True)
    return d / np.sqrt((d * d).mean(-1, keepdims=True) + epsilon) * w + b


def attention(q, k, v, causal):
    """softmax(q kᵀ / √d) v for arrays of heads × sequence × d."""
    s, d = q.shape[-2:]
    scores = q.astype(np.float64) @ np.swapaxes(k.astype(np.float64), -1, -2) / d**0.5
    if causal:
        scores = np.where(np.tril(np.ones((s, s), bool)), scores, -np.inf)
    return softmax(scores) @ v.astype(np.float64)
