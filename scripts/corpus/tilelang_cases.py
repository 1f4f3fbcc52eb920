#!/usr/bin/env python3
"""Writes the cases of the corpus that TileLang compiles: tilelang_cases.py FOLDER [WORD]. Needs `tilelang`, nvcc."""

import pathlib
import sys

import nvcc  # before tilelang, which looks for nvcc on PATH
import os

os.environ["CUDA_HOME"] = str(nvcc.TOOLKIT)
os.environ["PATH"] = f"{nvcc.TOOLKIT / 'bin'}:{os.environ['PATH']}"

import numpy as np
import tilelang
import tilelang.language as T
from tilelang import tvm

import case

HEADERS = pathlib.Path(tilelang.__file__).parent
TARGET = tvm.target.Target({"kind": "cuda", "arch": "sm_80"})


def matmul(m, n, k, bm, bn, bk, stages, layout, dtype, out, threads, batch=1, sums=None):
    """C = A·B with A stored as `layout[0]` (n: m×k, t: k×m) and B as `layout[1]` (n: k×n, t: n×k)."""
    sums = sums or ("int32" if dtype == "int8" else "float32")
    ta, tb = layout[0] == "t", layout[1] == "t"
    shape_a, shape_b = ((k, m) if ta else (m, k)), ((n, k) if tb else (k, n))
    tile_a, tile_b = ((bk, bm) if ta else (bm, bk)), ((bn, bk) if tb else (bk, bn))

    @T.prim_func
    def main(A: T.Tensor((batch, *shape_a), dtype), B: T.Tensor((batch, *shape_b), dtype),
             C: T.Tensor((batch, m, n), out)):
        with T.Kernel(T.ceildiv(n, bn), T.ceildiv(m, bm), batch, threads=threads) as (bx, by, bz):
            a = T.alloc_shared(tile_a, dtype)
            b = T.alloc_shared(tile_b, dtype)
            c = T.alloc_fragment((bm, bn), sums)
            T.clear(c)
            for step in T.Pipelined(T.ceildiv(k, bk), num_stages=stages):
                if ta:
                    T.copy(A[bz, step * bk, by * bm], a)
                else:
                    T.copy(A[bz, by * bm, step * bk], a)
                if tb:
                    T.copy(B[bz, bx * bn, step * bk], b)
                else:
                    T.copy(B[bz, step * bk, bx * bn], b)
                T.gemm(a, b, c, transpose_A=ta, transpose_B=tb)
            T.copy(c, C[bz, by * bm, bx * bn])

    return main, ((n + bn - 1) // bn, (m + bm - 1) // bm, batch), threads, stages


def softmax(rows, n, threads):
    @T.prim_func
    def main(A: T.Tensor((rows, n), "float32"), B: T.Tensor((rows, n), "float32")):
        with T.Kernel(rows, threads=threads) as row:
            x = T.alloc_fragment((1, n), "float32")
            most = T.alloc_fragment((1,), "float32")
            total = T.alloc_fragment((1,), "float32")
            T.copy(A[row, 0], x)
            T.reduce_max(x, most, dim=1)
            for i, j in T.Parallel(1, n):
                x[i, j] = T.exp(x[i, j] - most[i])
            T.reduce_sum(x, total, dim=1)
            for i, j in T.Parallel(1, n):
                x[i, j] = x[i, j] / total[i]
            T.copy(x, B[row, 0])

    return main, (rows, 1, 1), threads, 1


def layer_norm(rows, n, threads):
    @T.prim_func
    def main(A: T.Tensor((rows, n), "float32"), W: T.Tensor((n,), "float32"), V: T.Tensor((n,), "float32"),
             B: T.Tensor((rows, n), "float32")):
        with T.Kernel(rows, threads=threads) as row:
            x = T.alloc_fragment((1, n), "float32")
            square = T.alloc_fragment((1, n), "float32")
            total = T.alloc_fragment((1,), "float32")
            variance = T.alloc_fragment((1,), "float32")
            T.copy(A[row, 0], x)
            T.reduce_sum(x, total, dim=1)
            for i, j in T.Parallel(1, n):
                x[i, j] = x[i, j] - total[i] / n
            for i, j in T.Parallel(1, n):
                square[i, j] = x[i, j] * x[i, j]
            T.reduce_sum(square, variance, dim=1)
            for i, j in T.Parallel(1, n):
                x[i, j] = x[i, j] * T.rsqrt(variance[i] / n + 1e-5) * W[j] + V[j]
            T.copy(x, B[row, 0])

    return main, (rows, 1, 1), threads, 1


def attention(heads, s, d, bm, bn, causal, stages, threads):
    scale = 1.4426950408889634 / d**0.5

    @T.prim_func
    def main(Q: T.Tensor((heads, s, d), "float16"), K: T.Tensor((heads, s, d), "float16"),
             V: T.Tensor((heads, s, d), "float16"), O: T.Tensor((heads, s, d), "float16")):
        with T.Kernel(T.ceildiv(s, bm), heads, threads=threads) as (bx, by):
            q = T.alloc_shared((bm, d), "float16")
            k = T.alloc_shared((bn, d), "float16")
            v = T.alloc_shared((bn, d), "float16")
            scores = T.alloc_fragment((bm, bn), "float32")
            p = T.alloc_fragment((bm, bn), "float16")
            o = T.alloc_fragment((bm, d), "float32")
            most = T.alloc_fragment((bm,), "float32")
            before = T.alloc_fragment((bm,), "float32")
            fix = T.alloc_fragment((bm,), "float32")
            row = T.alloc_fragment((bm,), "float32")
            total = T.alloc_fragment((bm,), "float32")
            T.copy(Q[by, bx * bm, 0], q)
            T.fill(o, 0)
            T.fill(total, 0)
            T.fill(most, -T.infinity("float32"))
            # With several stages TileLang wants a constant trip count.
            end = T.ceildiv((bx + 1) * bm, bn) if causal and stages == 1 else T.ceildiv(s, bn)
            for step in T.Pipelined(end, num_stages=stages):
                T.copy(K[by, step * bn, 0], k)
                if causal:
                    for i, j in T.Parallel(bm, bn):
                        scores[i, j] = T.if_then_else(bx * bm + i >= step * bn + j, 0, -T.infinity("float32"))
                else:
                    T.clear(scores)
                T.gemm(q, k, scores, transpose_B=True, policy=T.GemmWarpPolicy.FullRow)
                T.copy(V[by, step * bn, 0], v)
                T.copy(most, before)
                T.reduce_max(scores, most, dim=1, clear=False)
                for i in T.Parallel(bm):
                    fix[i] = T.exp2(before[i] * scale - most[i] * scale)
                for i, j in T.Parallel(bm, d):
                    o[i, j] *= fix[i]
                for i, j in T.Parallel(bm, bn):
                    scores[i, j] = T.exp2(scores[i, j] * scale - most[i] * scale)
                T.copy(scores, p)
                T.gemm(p, v, o, policy=T.GemmWarpPolicy.FullRow)
                T.reduce_sum(scores, row, dim=1)
                for i in T.Parallel(bm):
                    total[i] = total[i] * fix[i] + row[i]
            for i, j in T.Parallel(bm, d):
                o[i, j] /= total[i]
            T.copy(o, O[by, bx * bm, 0])

    return main, ((s + bm - 1) // bm, heads, 1), threads, stages


def write(folder, kernel, args):
    function, grid, threads, stages = kernel
    with TARGET:
        artifact = tilelang.lower(function, target=TARGET)
    source = artifact.kernel_source
    shared = 0
    for device in artifact.device_mod.functions.values():
        shared = max(shared, int(device.attrs.get("dyn_shared_memory_buf", 0)))
    include = (HEADERS / "src", HEADERS / "3rdparty" / "cutlass" / "include")
    ring = nvcc.with_a_slot_less(source, stages) if stages > 1 else None
    case.write(folder, nvcc.to_ptx(source, include), grid, (threads, 1, 1), shared,
               [args[name] for name in nvcc.parameters(source)], ring and nvcc.to_ptx(ring, include))


def matmuls():
    def one(name, m, n, k, bm, bn, bk, stages, layout="nn", dtype="float16", out="float32", threads=128, batch=1):
        rng = case.seeded(name)
        shape_a = (batch, k, m) if layout[0] == "t" else (batch, m, k)
        shape_b = (batch, n, k) if layout[1] == "t" else (batch, k, n)
        if dtype == "int8":
            a, b = rng.integers(-128, 128, shape_a, np.int8), rng.integers(-128, 128, shape_b, np.int8)
        elif dtype == "bfloat16":
            (a, va), (b, vb) = case.bf16(rng, *shape_a), case.bf16(rng, *shape_b)
        else:
            make = case.f32 if dtype == "float32" else case.f16
            a, b = make(rng, *shape_a), make(rng, *shape_b)
        left, right = (va, vb) if dtype == "bfloat16" else (a, b)
        left = np.swapaxes(left, 1, 2) if layout[0] == "t" else left
        right = np.swapaxes(right, 1, 2) if layout[1] == "t" else right
        exact, bound = case.product(left, right, 2.0**-9 if dtype == "float32" else 0.0,
                                    2.0**-10 if out == "float16" else 0.0)
        bound = np.full_like(exact, 0.5) if dtype == "int8" else bound + (1e-4 if out == "float16" else 0.0)
        c = np.zeros(exact.shape, {"float32": np.float32, "float16": np.float16, "int32": np.int32}[out])
        yield name, lambda: matmul(m, n, k, bm, bn, bk, stages, layout, dtype, out, threads, batch), {
            "A": a, "B": b, "C": case.Out(c, exact, bound)}

    for layout in ("nn", "nt"):
        for stages in (1, 2, 3, 4):
            yield from one(f"matmul-{layout}-{stages}", 128, 128, 192, 64, 64, 32, stages, layout)
    yield from one("matmul-tn-2", 64, 128, 128, 64, 64, 32, 2, "tn")
    yield from one("matmul-tt-3", 64, 128, 128, 64, 64, 32, 3, "tt")
    yield from one("matmul-ragged-100x72x56", 100, 72, 56, 64, 64, 32, 3)
    yield from one("matmul-ragged-33x40x96", 33, 40, 96, 32, 32, 32, 2, "nt")
    yield from one("matmul-tile-128x128x32", 128, 128, 128, 128, 128, 32, 3)
    yield from one("matmul-f16-sums", 64, 64, 96, 64, 64, 32, 2, out="float16")
    yield from one("matmul-bf16", 64, 64, 96, 64, 64, 32, 2, dtype="bfloat16")
    yield from one("matmul-tf32", 64, 64, 96, 64, 64, 32, 2, layout="nt", dtype="float32")
    yield from one("matmul-int8", 64, 64, 128, 64, 64, 64, 2, layout="nt", dtype="int8", out="int32")
    yield from one("batched", 64, 64, 96, 64, 64, 32, 3, batch=3)


def cases():
    yield from matmuls()
    for n, threads in ((128, 32), (1024, 128)):
        x = case.f32(case.seeded(f"softmax-{n}"), 3, n)
        y = case.softmax(x)
        yield f"softmax-{n}", lambda: softmax(3, n, threads), {"A": x, "B": case.Out(np.zeros_like(x), y, 1e-5 * y + 1e-9)}
    rng, n = case.seeded("layer-norm"), 512
    x, w, b = case.f32(rng, 4, n), case.f32(rng, n), case.f32(rng, n)
    y = case.layer_norm(x, w, b)
    yield "layer-norm-512", lambda: layer_norm(4, n, 128), {
        "A": x, "W": w, "V": b, "B": case.Out(np.zeros_like(x), y, 1e-5 * (np.abs(y) + 10))}
    for causal, stages in ((False, 1), (False, 2), (True, 1), (True, 2)):
        name, heads, s, d = f"attention-{'causal' if causal else 'full'}-{stages}", 2, 128, 64
        rng = case.seeded(name)
        q, k, v = (case.f16(rng, heads, s, d) for _ in range(3))
        o = case.attention(q, k, v, causal)
        yield name, lambda: attention(heads, s, d, 64, 64, causal, stages, 128), {
            "Q": q, "K": k, "V": v, "O": case.Out(np.zeros(o.shape, np.float16), o, 4e-3 * (np.abs(o) + 1))}


def main():
    folder, word = pathlib.Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    for name, kernel, args in cases():
        if word in name:
            write(folder / name, kernel(), args)
            print(f"tilelang: {name}", flush=True)


if __name__ == "__main__":
    main()
