#!/bin/sh
# Kernels of other compilers in the emulator: makes environments with Triton, TileLang and TVM under target/, compiles a
# spread of kernels for sm_80 without a GPU, and compares what the emulator computes with NumPy. Arguments go to
# check-corpus.py; with COMPILERS="triton tilelang tvm" only some of the compilers run.
set -eu
cd "$(dirname "$0")/.."
corpus=target/corpus
compilers="${COMPILERS:-triton tilelang tvm}"
# nvcc for those that print CUDA C++.
nvcc="nvidia-cuda-nvcc==13.* nvidia-cuda-cccl==13.* nvidia-cuda-crt==13.* nvidia-cuda-runtime==13.*"

environment() { # name, packages
    name="$1"
    shift
    if [ ! -e "$corpus/$name/complete" ]; then
        rm -rf "${corpus:?}/$name"
        python3 -m venv "$corpus/$name"
        "$corpus/$name/bin/pip" install --quiet "$@"
        touch "$corpus/$name/complete"
    fi
}

for compiler in $compilers; do
    case "$compiler" in
        triton) environment triton 'triton==3.9.0' 'numpy>=2' ;;
        # shellcheck disable=SC2086 # several packages
        tilelang) environment tilelang 'tilelang==0.1.15' 'numpy>=2' $nvcc ;;
        # shellcheck disable=SC2086
        tvm) environment tvm 'apache-tvm==0.27.0.post1' 'numpy>=2' $nvcc ;;
        *)
            echo "check-corpus: no compiler \`$compiler\`: triton, tilelang or tvm" >&2
            exit 2
            ;;
    esac
    kernels="$corpus/kernels/$compiler"
    # Compiling takes minutes: only after a change of the scripts.
    if [ -z "$(find "$kernels/complete" -newer "scripts/corpus/${compiler}_cases.py" -newer scripts/corpus/case.py \
        -newer scripts/corpus/nvcc.py 2>/dev/null)" ]; then
        rm -rf "$kernels"
        "$corpus/$compiler/bin/python" "scripts/corpus/${compiler}_cases.py" "$kernels"
        touch "$kernels/complete"
    fi
    python="$corpus/$compiler/bin/python"
done
cargo build --release -p alcop-runtime --example emulate
exec "$python" scripts/check-corpus.py target/release/examples/emulate "$@"
