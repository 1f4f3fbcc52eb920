#!/usr/bin/env bash
# Runs the pack on the GPU of this machine and compares outputs and times with what the pack expects.
#
#   bash run.sh [RESULT.json]     at most six minutes; also writes RESULT.txt, the same as a table
#   bash run.sh --check           no GPU: is the pack whole, and does the comparison find what is wrong?
#
# Needs python3 and the NVIDIA driver. PyTorch is used for cuBLAS's times, where it is there.
# Exit: 0 all right, 1 a wrong output or a kernel that failed, 2 the pack is damaged, 3 no GPU, 4 out of time for some.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
if [[ "${1:-}" == --check ]]; then
    exec python3 "$here/check.py"
fi
exec python3 "$here/run.py" "${1:-gpu-result.json}"
