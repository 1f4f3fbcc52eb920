#!/usr/bin/env python3
"""Writes the cases of the corpus that Triton compiles: triton_cases.py FOLDER [WORD]. Needs `triton`; no GPU."""

import itertools
import pathlib
import sys
from math import erf

import numpy as np
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import case
from case import Out, Pointers


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


TYPES = {"float16": "*fp16", "float32": "*fp32", "int32": "*i32", "int8": "*i8", "uint16": "*bf16"}


def write(folder, kernel, grid, args, constants, warps=4, stages=3):
    """Compiles a kernel for the types of its arguments, and writes it with them."""
    signature, attributes, constants, passed = {}, {}, dict(constants), []
    for index, (name, value) in enumerate(zip(kernel.arg_names, args)):
        if isinstance(value, int) and value == 1:
            constants[name] = 1  # as Triton's launcher does: a stride of one is what lets loads be vectors
            continue
        passed.append(value)
        if isinstance(value, Pointers):
            signature[name] = "*i64"
        elif isinstance(value, (Out, np.ndarray)):
            signature[name] = TYPES[(value.array if isinstance(value, Out) else value).dtype.name]
            attributes[(index,)] = [["tt.divisibility", 16]]
        elif isinstance(value, float):
            signature[name] = "fp32"
        else:
            signature[name] = "i32"
            if value % 16 == 0:
                attributes[(index,)] = [["tt.divisibility", 16]]
    signature |= {name: "constexpr" for name in constants}
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    built = triton.compile(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": warps, "num_stages": stages})
    ptx = built.asm["ptx"]
    header = ptx[ptx.index(".entry"):]
    parameters = header[:header.index(")")].count(".param")
    scratch = [None] * (parameters - len(passed))  # memory that these kernels do not use
    case.write(folder, ptx, grid, (32 * warps, 1, 1), built.metadata.shared, [*passed, *scratch])


def cases():
    """Name, kernel, grid, arguments, constants, and options where they are not the usual ones."""
    def dense(name, m, n, k, bm=64, bn=64, bk=32, layout="nn", make=case.f16, tf32=False, **options):
        rng = case.seeded(name)
        a = make(rng, *((m, k) if layout[0] == "n" else (k, m)))
        b = make(rng, *((k, n) if layout[1] == "n" else (n, k)))
        (a, va), (b, vb) = (a, b) if make is case.bf16 else ((a, a), (b, b))
        left, right = (va if layout[0] == "n" else va.T), (vb if layout[1] == "n" else vb.T)
        strides = [*((k, 1) if layout[0] == "n" else (1, m)), *((n, 1) if layout[1] == "n" else (1, k)), n]
        out = Out(np.zeros((m, n), np.float32), *case.product(left, right, 2.0**-9 if tf32 else 0.0))
        return (name, matmul, (-(-m // bm), -(-n // bn), 1), [a, b, out, m, n, k, *strides],
                dict(BM=bm, BN=bn, BK=bk, TF32=tf32), options)

    for layout, stages in itertools.product(["nn", "nt", "tn", "tt"], [1, 2, 3, 4]):
        yield dense(f"matmul-{layout}-{stages}", 128, 128, 192, layout=layout, stages=stages)
    for m, n, k in [(100, 75, 50), (1, 33, 17), (129, 130, 131)]:
        yield dense(f"matmul-ragged-{m}x{n}x{k}", m, n, k)
    for warps, (bm, bn, bk) in [(8, (128, 128, 32)), (4, (128, 64, 64)), (2, (32, 32, 32)), (1, (16, 16, 16))]:
        yield dense(f"matmul-tile-{bm}x{bn}x{bk}-{warps}w", 128, 128, 256, bm, bn, bk, warps=warps)
    yield dense("matmul-bf16", 64, 64, 96, make=case.bf16)
    yield dense("matmul-tf32", 64, 64, 96, make=case.f32, tf32=True)
    yield dense("matmul-f32", 64, 64, 96, make=case.f32)

    rng = case.seeded("matmul-int8")
    a, b = rng.integers(-128, 128, (64, 128), np.int8), rng.integers(-128, 128, (64, 128), np.int8)
    out = Out(np.zeros((64, 64), np.int32), a.astype(np.int64) @ b.T.astype(np.int64), 0.5)
    yield "matmul-int8", int8_matmul, (1, 1, 1), [a, b, out, 64, 64, 128], dict(BM=64, BN=64, BK=64), {}
    rng = case.seeded("batched")
    a, b = case.f16(rng, 3, 64, 64), case.f16(rng, 3, 64, 64)
    exact, bound = case.product(a, b, output_error=2.0**-10)
    out = Out(np.zeros((3, 64, 64), np.float16), exact, bound + 1e-4)
    yield "batched", batched, (1, 1, 3), [a, b, out, 64, 64, 64], dict(BM=64, BN=64, BK=32), {}
    rng, shapes = case.seeded("grouped"), [(64, 48, 32), (33, 64, 64), (17, 20, 96)]
    pairs = [(case.f16(rng, m, k), case.f16(rng, k, n)) for m, n, k in shapes]
    outs = [Out(np.zeros((m, n), np.float32), *case.product(a, b)) for (m, n, _), (a, b) in zip(shapes, pairs)]
    args = [Pointers(*(a for a, _ in pairs)), Pointers(*(b for _, b in pairs)), Pointers(*outs),
            np.array(shapes, np.int32)]
    yield "grouped", grouped, (2, 3, 1), args, dict(BM=32, BN=32, BK=32), {}
    rng = case.seeded("split-k")
    a, b = case.f16(rng, 32, 256), case.f16(rng, 256, 32)
    out = Out(np.zeros((32, 32), np.float32), *case.product(a, b))
    yield "split-k", split_k, (1, 1, 4), [a, b, out, 32, 32, 256], dict(BM=32, BN=32, BK=32, SPLIT=4), {}

    for n, warps in [(64, 1), (100, 2), (1000, 4), (2048, 8)]:
        x = case.f32(case.seeded(f"softmax-{n}"), 3, n)
        y = case.softmax(x)
        yield (f"softmax-{n}", softmax, (3, 1, 1), [x, Out(np.zeros_like(x), y, 1e-5 * y + 1e-9), n],
               dict(BLOCK=triton.next_power_of_2(n)), dict(warps=warps))
    for n in [128, 1000]:
        rng = case.seeded(f"layer-norm-{n}")
        x, w, b = case.f16(rng, 4, n), case.f32(rng, n), case.f32(rng, n)
        y = case.layer_norm(x, w, b)
        out = Out(np.zeros((4, n), np.float32), y, 1e-5 * (np.abs(y) + 10))
        yield f"layer-norm-{n}", layer_norm, (4, 1, 1), [x, w, b, out, n, 1e-5], dict(BLOCK=triton.next_power_of_2(n)), {}
    for causal, d, stages in [(False, 64, 2), (True, 64, 3), (False, 128, 3), (True, 32, 1)]:
        name, s, heads = f"attention-{'causal' if causal else 'full'}-{d}-{stages}", 128, 2
        rng = case.seeded(name)
        q, k, v = (case.f16(rng, heads, s, d) for _ in range(3))
        o = case.attention(q, k, v, causal)
        out = Out(np.zeros((heads, s, d), np.float16), o, 4e-3 * (np.abs(o) + 1))
        yield (name, attention, (s // 64, heads, 1), [q, k, v, out, s, float(1.4426950408889634 / d**0.5)],
               dict(D=d, BM=64, BN=64, CAUSAL=causal), dict(stages=stages))
    x = case.seeded("scan-sort").integers(-50, 50, 256).astype(np.int32)
    outs = [Out(np.zeros_like(x), np.cumsum(x), 0.5), Out(np.zeros_like(x), np.sort(x), 0.5)]
    yield "scan-sort", scan_sort, (1, 1, 1), [x, *outs], dict(BLOCK=256), {}
    x = case.seeded("histogram").integers(0, 10, 500).astype(np.int32)
    out = Out(np.zeros(10, np.int32), np.bincount(x, minlength=10), 0.5)
    yield "histogram", histogram, (4, 1, 1), [x, out, 500], dict(BLOCK=128), {}
    x = case.f32(case.seeded("element-wise"), 300)
    v = x.astype(np.float64)
    y = (v / (1 + np.exp(-v)) + np.sin(v) - np.cos(v) + np.log(np.abs(v) + 1) + np.sqrt(np.abs(v))
         + np.vectorize(erf)(v) + np.floor(v) + np.ceil(v))
    out = Out(np.zeros_like(x), y, 1e-5 * (np.abs(y) + 1))
    yield "element-wise", element_wise, (3, 1, 1), [x, out, 300], dict(BLOCK=128), {}


def main():
    folder, word = pathlib.Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    for name, kernel, grid, args, constants, options in cases():
        if word in name:
            write(folder / name, kernel, grid, args, constants, **options)
            print(f"triton: {name}", flush=True)


if __name__ == "__main__":
    main()
