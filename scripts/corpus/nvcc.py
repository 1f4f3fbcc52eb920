"""CUDA C++ as TileLang and TVM print it, to PTX for sm_80: nvcc as NVIDIA's packages bring it, no CUDA install."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

TOOLKIT = next(pathlib.Path(sys.prefix).glob("lib/python*/site-packages/nvidia/cu13"))


def to_ptx(source, include=()):
    """Compiles a source with one kernel. `include`: folders of headers."""
    with tempfile.TemporaryDirectory() as folder:
        cuda, ptx = pathlib.Path(folder, "k.cu"), pathlib.Path(folder, "k.ptx")
        cuda.write_text(source)
        folders = [f"-I{path}" for path in (*include, TOOLKIT / "include", TOOLKIT / "include" / "cccl")]
        environment = os.environ | {"PATH": f"{TOOLKIT / 'bin'}:{os.environ['PATH']}"}
        # PyTorch, which TileLang needs, brings headers of an older minor version than nvcc: the check is for linking.
        flags = ["-ptx", "-arch=sm_80", "-std=c++17", "-w", "-DCCCL_DISABLE_CTK_COMPATIBILITY_CHECK"]
        subprocess.run([TOOLKIT / "bin" / "nvcc", *flags, *folders, cuda, "-o", ptx], check=True, env=environment)
        return ptx.read_text()


def parameters(source):
    """Names of the kernel's parameters, in their order: compilers sort them as they like."""
    signature = re.findall(r"__global__ void[^{;]*?(\w+)\(([^)]*)\)\s*\{", source)[-1][1]
    return [parameter.split()[-1].lstrip("*") for parameter in signature.split(",")]


def with_a_slot_less(source, slots):
    """The source with every index of a ring of so many slots wrapping one slot early; `None` where it has none."""
    names = r"(\((?:\(?(?:r_0|step)\w*(?: \+ \d+)?\)?)) "
    wrap = rf"& {slots - 1}" if slots & (slots - 1) == 0 else rf"% {slots}"
    edited, count = re.subn(names + re.escape(wrap) + r"\)", rf"\1 % {slots - 1})", source)
    return edited if count else None
