#!/usr/bin/env python3
"""Writes the cases of the corpus that TVM schedules: tvm_cases.py FOLDER [WORD]. Needs `apache-tvm`, nvcc."""

import pathlib
import re
import sys

import numpy as np
import tvm
from tvm import s_tir, te, topi
from tvm.s_tir import dlight

import case
import nvcc

TARGET = tvm.target.Target({"kind": "cuda", "arch": "sm_80", "max_shared_memory_per_block": 49152,
                            "max_threads_per_block": 1024, "thread_warp_size": 32})
# TVM's own bound for shared memory that it allots dynamically; the kernels here stay below it.
DYNAMIC_SHARED_BYTES = 49152


def matmul(m, n, k, dtype, out, transposed, batch=1):
    """C = A·B, batched; B stored n×k where `transposed`."""
    outer = (batch,) if batch > 1 else ()
    a = te.placeholder((*outer, m, k), dtype, "A")
    b = te.placeholder((*outer, n, k) if transposed else (*outer, k, n), dtype, "B")
    r = te.reduce_axis((0, k), "r")

    def term(*at):
        (*z, i, j) = at
        x, y = a[(*z, i, r)], b[(*z, j, r)] if transposed else b[(*z, r, j)]
        return te.sum(x.astype(out) * y.astype(out) if dtype != out else x * y, axis=r)

    return [a, b, te.compute((*outer, m, n), term, "C")]


def pipelined(stages, vector):
    """Threads that compute 4×4 results each from tiles of 32×32×16, loaded `stages` deep by `cp.async`."""
    def apply(function):
        schedule = s_tir.Schedule(function)
        block = schedule.get_sblock("C")
        *batch, i, j, k = schedule.get_loops(block)
        i0, i1, i2 = schedule.split(i, [None, 8, 4])
        j0, j1, j2 = schedule.split(j, [None, 8, 4])
        k0, k1 = schedule.split(k, [None, 16])
        schedule.reorder(i0, j0, i1, j1, k0, k1, i2, j2)
        for loop, axis in zip((i0, j0, i1, j1, *batch), ("blockIdx.y", "blockIdx.x", "threadIdx.y", "threadIdx.x",
                                                         "blockIdx.z")):
            schedule.bind(loop, axis)
        sums = schedule.cache_write(block, 0, "local")
        schedule.reverse_compute_at(sums, j1)
        for index in (0, 1):
            copy = schedule.cache_read(block, index, "shared")
            schedule.compute_at(copy, k0)
            fused = schedule.fuse(*schedule.get_loops(copy)[-2:])
            _, ty, tx, lane = schedule.split(fused, [None, 8, 8, vector])
            schedule.bind(ty, "threadIdx.y")
            schedule.bind(tx, "threadIdx.x")
            schedule.vectorize(lane)
        schedule.decompose_reduction(block, k0)
        if stages > 1:
            schedule.annotate(k0, "software_pipeline_stage", [0, 0, stages - 1])
            schedule.annotate(k0, "software_pipeline_order", [0, 1, 2])
            schedule.annotate(k0, "software_pipeline_async_stages", [0])
        return schedule

    return apply


def write(folder, tensors, rule, args):
    function = te.create_prim_func(tensors)
    schedule = rule(function)
    bound = re.findall(r'T\.thread_binding\((\d+), thread="(\w+\.\w)"', schedule.mod.script())
    extents = {axis: int(extent) for extent, axis in bound}
    with TARGET, tvm.transform.PassContext(config={"tirx.use_async_copy": 1}):
        source = tvm.compile(schedule.mod, TARGET).mod.imports[0].inspect_source()
    shape = [[extents.get(f"{axis}Idx.{d}", 1) for d in "xyz"] for axis in ("block", "thread")]
    shared = DYNAMIC_SHARED_BYTES if "extern __shared__" in source else 0
    names = [re.sub(r"_ptr$", "", name) for name in nvcc.parameters(source)]
    stages = [int(stage) + 1 for stage in re.findall(r'"software_pipeline_stage": \[0, 0, (\d)\]', schedule.mod.script())]
    ring = nvcc.with_a_slot_less(source, stages[0]) if stages else None
    case.write(folder, nvcc.to_ptx(source), *shape, shared, [args[name] for name in names], ring and nvcc.to_ptx(ring))


def matmuls():
    def one(name, rule, m, n, k, dtype="float16", out="float32", transposed=True, batch=1):
        rng = case.seeded(name)
        shapes = (batch, m, k), ((batch, n, k) if transposed else (batch, k, n))
        if dtype == "int8":
            a, b = (rng.integers(-128, 128, shape, np.int8) for shape in shapes)
        else:
            a, b = ((case.f32 if dtype == "float32" else case.f16)(rng, *shape) for shape in shapes)
        right = np.swapaxes(b, 1, 2) if transposed else b
        exact, bound = case.product(a, right, k * 2.0**-10 if out == "float16" else 0.0)
        bound = np.full_like(exact, 0.5) if dtype == "int8" else bound
        c = np.zeros(exact.shape, {"float32": np.float32, "float16": np.float16, "int32": np.int32}[out])
        return name, matmul(m, n, k, dtype, out, transposed, batch), rule, {"A": a, "B": b, "C": case.Out(c, exact, bound)}

    for transposed in (False, True):
        layout = "nt" if transposed else "nn"
        for stages in (1, 2, 3, 4):
            yield one(f"matmul-{layout}-{stages}", pipelined(stages, 4), 64, 64, 128, "float32", transposed=transposed)
        yield one(f"matmul-{layout}-f16-3", pipelined(3, 8), 64, 64, 128, transposed=transposed)
    yield one("batched-3", pipelined(3, 4), 64, 32, 96, "float32", batch=2)
    simt = plain(dlight.gpu.Matmul())
    yield one("matmul-f32", simt, 64, 64, 96, "float32", transposed=False)
    yield one("matmul-ragged-f32", simt, 50, 33, 70, "float32")
    yield one("batched-f32", simt, 64, 64, 64, "float32", batch=2)


def plain(rule):
    """A rule of dlight as it is."""
    return lambda function: rule.apply(function.with_attr("global_symbol", "main"), TARGET, False)


def cases():
    yield from matmuls()
    general = plain(dlight.gpu.GeneralReduction())
    for n in (128, 1000):
        x = te.placeholder((3, n), "float32", "A")
        values = case.f32(case.seeded(f"softmax-{n}"), 3, n)
        y = case.softmax(values)
        out = case.Out(np.zeros_like(values), y, 1e-5 * y + 1e-9)
        yield f"softmax-{n}", [x, topi.nn.softmax(x)], general, {"A": values, "T_softmax_norm": out}
    rng, n = case.seeded("layer-norm"), 1000
    x, w, b = te.placeholder((4, n), "float32", "A"), te.placeholder((n,), "float32", "W"), te.placeholder((n,), "float32", "V")
    vx, vw, vb = case.f32(rng, 4, n), case.f32(rng, n), case.f32(rng, n)
    y = case.layer_norm(vx, vw, vb)
    out = case.Out(np.zeros_like(vx), y, 1e-5 * (np.abs(y) + 10))
    yield "layer-norm-1000", [x, w, b, topi.nn.layer_norm(x, w, b, [1], 1e-5)], general, {
        "A": vx, "W": vw, "V": vb, "T_layer_norm": out}
    values = case.f32(case.seeded("sum"), 37, 500)
    x = te.placeholder((37, 500), "float32", "A")
    exact = values.astype(np.float64).sum(1)
    out = case.Out(np.zeros(37, np.float32), exact, 1e-4)
    yield "row-sum", [x, topi.sum(x, 1)], plain(dlight.gpu.Reduction()), {"A": values, "A_red": out}
    values = case.f32(case.seeded("transpose"), 70, 50)
    x = te.placeholder((70, 50), "float32", "A")
    out = case.Out(np.zeros((50, 70), np.float32), values.T, 1e-30)
    yield "transpose", [x, topi.transpose(x, (1, 0))], plain(dlight.gpu.Transpose()), {"A": values, "T_transpose": out}


def main():
    folder, word = pathlib.Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    for name, tensors, rule, args in cases():
        if word in name:
            write(folder / name, tensors, rule, args)
            print(f"tvm: {name}", flush=True)


if __name__ == "__main__":
    main()
