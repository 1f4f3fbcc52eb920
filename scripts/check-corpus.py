#!/usr/bin/env python3
"""Runs kernels that Triton compiles in the emulator, and compares their results with NumPy's.

    check-corpus.py EMULATE [--work DIR] [--only WORD] [--arrivals earliest,latest,random] [--mutants]

EMULATE is the example `emulate` of alcop-runtime. Needs `triton` and `numpy` (scripts/check-corpus.sh makes an
environment with them); no GPU: the kernels are compiled for sm_80 and run from launch files. With --mutants every wait,
commit and barrier of the kernels is dropped or weakened in turn: a mutant that gives a wrong result must be reported,
and a kernel with another barrier or a stricter wait must not.
"""

import argparse
import itertools
import json
import pathlib
import re
import subprocess
import sys
import time

import numpy as np
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def matmul(a, b, c, M, N, K, sam, sak, sbk, sbn, scm, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
           TF32: tl.constexpr):
    pm, pn = tl.program_id(0), tl.program_id(1)
    rm, rn, rk = pm * BM + tl.arange(0, BM), pn * BN + tl.arange(0, BN), tl.arange(0, BK)
    pa = a + rm[:, None] * sam + rk[None, :] * sak
    pb = b + rk[:, None] * sbk + rn[None, :] * sbn
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for k in range(0, tl.cdiv(K, BK)):
        left = K - k * BK
        x = tl.load(pa, mask=(rm[:, None] < M) & (rk[None, :] < left), other=0.0)
        y = tl.load(pb, mask=(rk[:, None] < left) & (rn[None, :] < N), other=0.0)
        acc = tl.dot(x, y, acc, input_precision="tf32" if TF32 else "ieee")
        pa += BK * sak
        pb += BK * sbk
    tl.store(c + rm[:, None] * scm + rn[None, :], acc, mask=(rm[:, None] < M) & (rn[None, :] < N))


@triton.jit
def batched(a, b, c, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    z = tl.program_id(2).to(tl.int64)
    rm, rn, rk = tl.program_id(0) * BM + tl.arange(0, BM), tl.program_id(1) * BN + tl.arange(0, BN), tl.arange(0, BK)
    pa = a + z * M * K + rm[:, None] * K + rk[None, :]
    pb = b + z * K * N + rk[:, None] * N + rn[None, :]
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for k in range(0, K, BK):
        acc = tl.dot(tl.load(pa), tl.load(pb), acc)
        pa += BK
        pb += BK * N
    tl.store(c + z * M * N + rm[:, None] * N + rn[None, :], acc.to(tl.float16))


@triton.jit
def grouped(pas, pbs, pcs, sizes, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    g = tl.program_id(1)
    M, N, K = tl.load(sizes + 3 * g), tl.load(sizes + 3 * g + 1), tl.load(sizes + 3 * g + 2)
    a = tl.load(pas + g).to(tl.pointer_type(tl.float16))
    b = tl.load(pbs + g).to(tl.pointer_type(tl.float16))
    c = tl.load(pcs + g).to(tl.pointer_type(tl.float32))
    tiles = tl.cdiv(N, BN)
    for tile in range(tl.program_id(0), tl.cdiv(M, BM) * tiles, tl.num_programs(0)):
        rm, rn, rk = tile // tiles * BM + tl.arange(0, BM), tile % tiles * BN + tl.arange(0, BN), tl.arange(0, BK)
        acc = tl.zeros((BM, BN), dtype=tl.float32)
        for k in range(0, K, BK):
            x = tl.load(a + rm[:, None] * K + k + rk[None, :], mask=rm[:, None] < M, other=0.0)
            y = tl.load(b + (k + rk[:, None]) * N + rn[None, :], mask=rn[None, :] < N, other=0.0)
            acc = tl.dot(x, y, acc)
        tl.store(c + rm[:, None] * N + rn[None, :], acc, mask=(rm[:, None] < M) & (rn[None, :] < N))


@triton.jit
def split_k(a, b, c, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr, SPLIT: tl.constexpr):
    rm, rn = tl.program_id(0) * BM + tl.arange(0, BM), tl.program_id(1) * BN + tl.arange(0, BN)
    rk = tl.program_id(2) * BK + tl.arange(0, BK)
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for k in range(0, K, BK * SPLIT):
        acc = tl.dot(tl.load(a + rm[:, None] * K + k + rk[None, :]), tl.load(b + (k + rk[:, None]) * N + rn[None, :]), acc)
    tl.atomic_add(c + rm[:, None] * N + rn[None, :], acc)


@triton.jit
def int8_matmul(a, b, c, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    rm, rn, rk = tl.program_id(0) * BM + tl.arange(0, BM), tl.program_id(1) * BN + tl.arange(0, BN), tl.arange(0, BK)
    acc = tl.zeros((BM, BN), dtype=tl.int32)
    for k in range(0, K, BK):
        acc = tl.dot(tl.load(a + rm[:, None] * K + k + rk[None, :]), tl.load(b + rn[None, :] * K + k + rk[:, None]), acc)
    tl.store(c + rm[:, None] * N + rn[None, :], acc)


@triton.jit
def softmax(x, y, N, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    v = tl.load(x + row * N + at, mask=at < N, other=-float("inf"))
    e = tl.exp(v - tl.max(v, 0))
    tl.store(y + row * N + at, e / tl.sum(e, 0), mask=at < N)


@triton.jit
def layer_norm(x, w, b, y, N, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    at = tl.arange(0, BLOCK)
    v = tl.load(x + row * N + at, mask=at < N, other=0.0).to(tl.float32)
    mean = tl.sum(v, 0) / N
    d = tl.where(at < N, v - mean, 0.0)
    r = 1 / tl.sqrt(tl.sum(d * d, 0) / N + eps)
    out = d * r * tl.load(w + at, mask=at < N) + tl.load(b + at, mask=at < N)
    tl.store(y + row * N + at, out, mask=at < N)


@triton.jit
def attention(q, k, v, o, S, scale, D: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, CAUSAL: tl.constexpr):
    head = tl.program_id(1) * S * D
    rm, rd = tl.program_id(0) * BM + tl.arange(0, BM), tl.arange(0, D)
    x = tl.load(q + head + rm[:, None] * D + rd[None, :])
    m = tl.zeros((BM,), tl.float32) - float("inf")
    l = tl.zeros((BM,), tl.float32)
    acc = tl.zeros((BM, D), tl.float32)
    end = (tl.program_id(0) + 1) * BM if CAUSAL else S
    for n in range(0, end, BN):
        rn = n + tl.arange(0, BN)
        s = tl.dot(x, tl.load(k + head + rn[None, :] * D + rd[:, None])) * scale
        if CAUSAL:
            s = tl.where(rm[:, None] >= rn[None, :], s, -float("inf"))
        new = tl.maximum(m, tl.max(s, 1))
        p = tl.exp2(s - new[:, None])
        fix = tl.exp2(m - new)
        l = l * fix + tl.sum(p, 1)
        acc = acc * fix[:, None]
        acc = tl.dot(p.to(tl.float16), tl.load(v + head + rn[:, None] * D + rd[None, :]), acc)
        m = new
    tl.store(o + head + rm[:, None] * D + rd[None, :], (acc / l[:, None]).to(tl.float16))


@triton.jit
def scan_sort(x, y, z, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    v = tl.load(x + at)
    tl.store(y + at, tl.cumsum(v, 0))
    tl.store(z + at, tl.sort(v))


@triton.jit
def histogram(x, h, N, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.atomic_add(h + tl.load(x + at, mask=at < N, other=0), 1, mask=at < N)


@triton.jit
def element_wise(x, y, N, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(x + at, mask=at < N)
    g = tl.sigmoid(v) * v + tl.sin(v) - tl.cos(v) + tl.log(tl.abs(v) + 1.0) + tl.sqrt(tl.abs(v)) + tl.erf(v)
    tl.store(y + at, g + tl.floor(v) + tl.ceil(v), mask=at < N)


rng = np.random.default_rng(1)


def f16(*shape):
    return rng.standard_normal(shape).astype(np.float16)


def f32(*shape):
    return rng.standard_normal(shape).astype(np.float32)


def bf16(*shape):
    """Bits of bf16 in u16, and their values."""
    bits = (f32(*shape).view(np.uint32) >> 16).astype(np.uint16)
    return bits, (bits.astype(np.uint32) << 16).view(np.float32)


def close(expected, bound):
    def check(out):
        worst = float(np.max(np.abs(out.astype(np.float64) - expected) / bound))
        return worst <= 1.0, f"{worst:.3f} of the bound"
    return check


def product(a, b):
    """f64 product, and a bound for sums in f32 of exact products."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    k = a.shape[-1]
    return a @ b, k * 2.0**-22 * (np.abs(a) @ np.abs(b)) + 1e-30


TYPES = {"float16": "*fp16", "float32": "*fp32", "int32": "*i32", "int8": "*i8", "uint16": "*bf16"}


class Case:
    """A kernel with its arguments: arrays, `("out", array)`, scalars, `("pointers", arrays)`."""

    def __init__(self, name, kernel, grid, args, constants, checks, warps=4, stages=3):
        self.name, self.kernel, self.grid, self.args, self.constants = name, kernel, grid, args, constants
        self.checks, self.warps, self.stages = checks, warps, stages

    def write(self, folder):
        names = self.kernel.arg_names
        signature, attributes, entries, self.outputs = {}, {}, [], []
        for index, (name, value) in enumerate(zip(names, self.args)):
            out = isinstance(value, tuple) and value[0] == "out"
            if isinstance(value, tuple) and value[0] == "pointers":
                members = []
                for j, (array, written) in enumerate(value[1]):
                    np.save(folder / f"{name}{j}.npy", array)
                    members.append({"npy": f"{name}{j}.npy"})
                    if written:
                        members[-1]["output"] = f"{name}{j}.out.npy"
                        self.outputs.append(f"{name}{j}.out.npy")
                entries.append({"pointers": members})
                signature[name] = "*i64"
            elif out or isinstance(value, np.ndarray):
                array = value[1] if out else value
                np.save(folder / f"{name}.npy", array)
                entries.append({"npy": f"{name}.npy"})
                if out:
                    entries[-1]["output"] = f"{name}.out.npy"
                    self.outputs.append(f"{name}.out.npy")
                signature[name] = TYPES[array.dtype.name]
                attributes[(index,)] = [["tt.divisibility", 16]]
            elif isinstance(value, float):
                entries.append({"f32": value})
                signature[name] = "fp32"
            else:
                entries.append({"i32": value})
                signature[name] = "i32"
                if value % 16 == 0:
                    attributes[(index,)] = [["tt.divisibility", 16]]
        for name in self.constants:
            signature[name] = "constexpr"
        constants = {name: value for name, value in self.constants.items()}
        source = ASTSource(fn=self.kernel, signature=signature, constexprs=constants, attrs=attributes)
        options = {"num_warps": self.warps, "num_stages": self.stages}
        built = triton.compile(source, target=GPUTarget("cuda", 80, 32), options=options)
        ptx = built.asm["ptx"]
        (folder / "k.ptx").write_text(ptx)
        header = ptx[ptx.index(".entry"):]
        parameters = header[:header.index(")")].count(".param")
        entries += [{"null": True}] * (parameters - len(entries))  # scratch memory that these kernels do not use
        launch = {"ptx": "k.ptx", "entry": re.search(r"\.entry\s+(\w+)", ptx)[1], "grid": list(self.grid),
                  "block": [32 * self.warps, 1, 1], "dynamic_shared_bytes": built.metadata.shared, "args": entries}
        (folder / "launch.json").write_text(json.dumps(launch, indent=1))

    def verify(self, folder):
        for output, check in zip(self.outputs, self.checks):
            good, remark = check(np.load(folder / output))
            if not good:
                return False, f"{output}: {remark}"
        return True, remark


def cases():
    for layout, stages in itertools.product(["nn", "nt", "tn", "tt"], [1, 2, 3, 4]):
        m, n, k = 128, 128, 192
        a, b = f16(m, k) if layout[0] == "n" else f16(k, m), f16(k, n) if layout[1] == "n" else f16(n, k)
        left, right = (a if layout[0] == "n" else a.T), (b if layout[1] == "n" else b.T)
        sa, sb = ((k, 1) if layout[0] == "n" else (1, m)), ((n, 1) if layout[1] == "n" else (1, k))
        args = [a, b, ("out", np.zeros((m, n), np.float32)), m, n, k, *sa, *sb, n]
        yield Case(f"matmul-{layout}-{stages}", matmul, (2, 2, 1), args, dict(BM=64, BN=64, BK=32, TF32=False),
                   [close(*product(left, right))], stages=stages)
    for m, n, k in [(100, 75, 50), (1, 33, 17), (129, 130, 131)]:
        a, b = f16(m, k), f16(k, n)
        args = [a, b, ("out", np.zeros((m, n), np.float32)), m, n, k, k, 1, n, 1, n]
        yield Case(f"matmul-ragged-{m}x{n}x{k}", matmul, (-(-m // 64), -(-n // 64), 1), args,
                   dict(BM=64, BN=64, BK=32, TF32=False), [close(*product(a, b))])
    for warps, tile in [(8, (128, 128, 32)), (4, (128, 64, 64)), (2, (32, 32, 32)), (1, (16, 16, 16))]:
        m, n, k = 128, 128, 256
        a, b = f16(m, k), f16(k, n)
        args = [a, b, ("out", np.zeros((m, n), np.float32)), m, n, k, k, 1, n, 1, n]
        yield Case(f"matmul-tile-{tile[0]}x{tile[1]}x{tile[2]}-{warps}w", matmul, (m // tile[0], n // tile[1], 1), args,
                   dict(BM=tile[0], BN=tile[1], BK=tile[2], TF32=False), [close(*product(a, b))], warps=warps)
    m, n, k = 64, 64, 96
    (a, av), (b, bv) = bf16(m, k), bf16(k, n)
    args = [a, b, ("out", np.zeros((m, n), np.float32)), m, n, k, k, 1, n, 1, n]
    yield Case("matmul-bf16", matmul, (1, 1, 1), args, dict(BM=64, BN=64, BK=32, TF32=False), [close(*product(av, bv))])
    a, b = f32(m, k), f32(k, n)
    args = [a, b, ("out", np.zeros((m, n), np.float32)), m, n, k, k, 1, n, 1, n]
    exact, bound = product(a, b)
    yield Case("matmul-tf32", matmul, (1, 1, 1), args, dict(BM=64, BN=64, BK=32, TF32=True),
               [close(exact, bound + 2.0**-9 * (np.abs(a).astype(np.float64) @ np.abs(b)))])
    yield Case("matmul-f32", matmul, (1, 1, 1), args, dict(BM=64, BN=64, BK=32, TF32=False), [close(exact, bound)])
    a, b = rng.integers(-128, 128, (64, 128), np.int8), rng.integers(-128, 128, (64, 128), np.int8)
    args = [a, b, ("out", np.zeros((64, 64), np.int32)), 64, 64, 128]
    yield Case("matmul-int8", int8_matmul, (1, 1, 1), args, dict(BM=64, BN=64, BK=64),
               [close(a.astype(np.int64) @ b.T.astype(np.int64), 0.5)])
    a, b = f16(3, 64, 64), f16(3, 64, 64)
    exact, bound = product(a, b)
    yield Case("batched", batched, (1, 1, 3), [a, b, ("out", np.zeros((3, 64, 64), np.float16)), 64, 64, 64],
               dict(BM=64, BN=64, BK=32), [close(exact, bound + 2.0**-10 * np.abs(exact) + 1e-4)])
    shapes = [(64, 48, 32), (33, 64, 64), (17, 20, 96)]
    pairs = [(f16(m, k), f16(k, n)) for m, n, k in shapes]
    outs = [np.zeros((m, n), np.float32) for m, n, _ in shapes]
    args = [("pointers", [(a, False) for a, _ in pairs]), ("pointers", [(b, False) for _, b in pairs]),
            ("pointers", [(o, True) for o in outs]), np.array(shapes, np.int32)]
    yield Case("grouped", grouped, (2, 3, 1), args, dict(BM=32, BN=32, BK=32), [close(*product(a, b)) for a, b in pairs])
    a, b = f16(32, 256), f16(256, 32)
    exact, bound = product(a, b)
    yield Case("split-k", split_k, (1, 1, 4), [a, b, ("out", np.zeros((32, 32), np.float32)), 32, 32, 256],
               dict(BM=32, BN=32, BK=32, SPLIT=4), [close(exact, bound)])
    for n, warps in [(64, 1), (100, 2), (1000, 4), (2048, 8)]:
        x = f32(3, n)
        e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
        y = e / e.sum(1, keepdims=True)
        yield Case(f"softmax-{n}", softmax, (3, 1, 1), [x, ("out", np.zeros_like(x)), n],
                   dict(BLOCK=triton.next_power_of_2(n)), [close(y, 1e-5 * y + 1e-9)], warps=warps)
    for n in [128, 1000]:
        x, w, b = f16(4, n), f32(n), f32(n)
        d = x.astype(np.float64) - x.astype(np.float64).mean(1, keepdims=True)
        y = d / np.sqrt((d * d).mean(1, keepdims=True) + 1e-5) * w + b
        yield Case(f"layer-norm-{n}", layer_norm, (4, 1, 1), [x, w, b, ("out", np.zeros((4, n), np.float32)), n, 1e-5],
                   dict(BLOCK=triton.next_power_of_2(n)), [close(y, 1e-5 * (np.abs(y) + 10))])
    for causal, d, stages in [(False, 64, 2), (True, 64, 3), (False, 128, 3), (True, 32, 1)]:
        s, heads = 128, 2
        q, k, v = f16(heads, s, d), f16(heads, s, d), f16(heads, s, d)
        scores = np.einsum("hsd,htd->hst", q.astype(np.float64), k.astype(np.float64)) / d**0.5
        if causal:
            scores = np.where(np.tril(np.ones((s, s), bool)), scores, -np.inf)
        p = np.exp(scores - scores.max(2, keepdims=True))
        o = p / p.sum(2, keepdims=True) @ v.astype(np.float64)
        args = [q, k, v, ("out", np.zeros((heads, s, d), np.float16)), s, float(1.4426950408889634 / d**0.5)]
        yield Case(f"attention-{'causal' if causal else 'full'}-{d}-{stages}", attention, (s // 64, heads, 1), args,
                   dict(D=d, BM=64, BN=64, CAUSAL=causal), [close(o, 4e-3 * (np.abs(o) + 1))], stages=stages)
    x = rng.integers(-50, 50, 256).astype(np.int32)
    yield Case("scan-sort", scan_sort, (1, 1, 1), [x, ("out", np.zeros_like(x)), ("out", np.zeros_like(x))],
               dict(BLOCK=256), [close(np.cumsum(x), 0.5), close(np.sort(x), 0.5)])
    x = rng.integers(0, 10, 500).astype(np.int32)
    yield Case("histogram", histogram, (4, 1, 1), [x, ("out", np.zeros(10, np.int32)), 500], dict(BLOCK=128),
               [close(np.bincount(x, minlength=10), 0.5)])
    x = f32(300)
    v = x.astype(np.float64)
    from math import erf
    y = (v / (1 + np.exp(-v)) + np.sin(v) - np.cos(v) + np.log(np.abs(v) + 1) + np.sqrt(np.abs(v))
         + np.vectorize(erf)(v) + np.floor(v) + np.ceil(v))
    yield Case("element-wise", element_wise, (3, 1, 1), [x, ("out", np.zeros_like(x)), 300], dict(BLOCK=128),
               [close(y, 1e-5 * (np.abs(y) + 1))])


def edits(ptx):
    """Edits of one line each: (what, text, whether it is harmless)."""
    lines = ptx.splitlines()
    for at, line in enumerate(lines):
        word = line.strip()

        def edit(*new):
            return "\n".join(lines[:at] + list(new) + lines[at + 1:]) + "\n"

        if word.startswith("cp.async.wait_group"):
            count = int(re.search(r"wait_group\s+(\d+)", word)[1])
            yield f"line {at + 1}: no wait", edit(), False
            yield f"line {at + 1}: wait for one fewer", edit(f"cp.async.wait_group {count + 1};"), False
            yield f"line {at + 1}: wait for all", edit("cp.async.wait_all;"), True
        if word.startswith("bar.sync"):
            yield f"line {at + 1}: no barrier", edit(), False
            yield f"line {at + 1}: two barriers", edit(line, line), True
        if word.startswith("cp.async.commit_group"):
            yield f"line {at + 1}: no commit", edit(), False


def execute(emulate, folder, arrival, *flags):
    """Return code, the report if there is one, and the last line of the errors."""
    command = [emulate, folder / "launch.json", arrival, "7", *flags]
    run = subprocess.run(command, capture_output=True, text=True)
    report = json.loads(run.stdout[:run.stdout.rindex("}") + 1]) if run.returncode == 0 else None
    return run.returncode, report, (run.stderr.strip().splitlines() or [""])[-1]


def check_mutants(case, folder, emulate, arrivals):
    """Prints what is wrong, and a line of counts. Returns the number of failures."""
    original = (folder / "k.ptx").read_text()
    failed, reported, harmless = 0, 0, 0
    for what, text, clean in edits(original):
        (folder / "k.ptx").write_text(text)
        found, wrong = False, False
        for arrival in arrivals:
            code, report, _ = execute(emulate, folder, arrival)
            found |= code != 0 or bool(report["hazards"])
            code, _, _ = execute(emulate, folder, arrival, "--no-hazards")
            wrong |= code != 0 or not case.verify(folder)[0]
        reported += found
        harmless += not found and not wrong
        if (clean and (found or wrong)) or (wrong and not found):
            failed += 1
            print(f"FAIL {case.name}, {what}: {'reported' if found else 'silent'}, {'wrong' if wrong else 'right'}", flush=True)
    (folder / "k.ptx").write_text(original)
    print(f"{'FAIL' if failed else 'ok  '} {case.name}: {reported} edits reported, {harmless} harmless", flush=True)
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("emulate", type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("target/corpus"))
    parser.add_argument("--only", default="")
    parser.add_argument("--arrivals", default="earliest,latest,random")
    parser.add_argument("--mutants", action="store_true")
    options = parser.parse_args()
    failed = 0
    for case in cases():
        if options.only not in case.name:
            continue
        folder = options.work / case.name
        folder.mkdir(parents=True, exist_ok=True)
        case.write(folder)
        arrivals = options.arrivals.split(",")
        if options.mutants:
            failed += check_mutants(case, folder, options.emulate, arrivals)
            continue
        for arrival in arrivals:
            start = time.monotonic()
            code, report, remark = execute(options.emulate, folder, arrival)
            good = code == 0
            if good and report["hazards"]:
                good, remark = False, "; ".join(str(hazard) for hazard in report["hazards"][:2])
            elif good:
                good, remark = case.verify(folder)
                remark += "".join(f"; note: {note}" for note in report["notes"])
            failed += not good
            print(f"{'ok  ' if good else 'FAIL'} {case.name} {arrival}: {remark} ({time.monotonic() - start:.1f} s)",
                  flush=True)
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
