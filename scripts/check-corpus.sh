#!/bin/sh
# Kernels of another compiler in the emulator: makes an environment with Triton and NumPy under target/, compiles a
# spread of kernels for sm_80 without a GPU, and compares what the emulator computes. Arguments go to check-corpus.py.
set -eu
cd "$(dirname "$0")/.."
environment=target/corpus/environment
if [ ! -x "$environment/bin/python" ]; then
    python3 -m venv "$environment"
    "$environment/bin/pip" install --quiet 'triton==3.9.0' 'numpy>=2'
fi
cargo build --release -p alcop-runtime --example emulate
exec "$environment/bin/python" scripts/check-corpus.py target/release/examples/emulate "$@"
