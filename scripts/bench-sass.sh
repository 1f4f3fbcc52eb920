#!/usr/bin/env bash
# Assembles the reference kernels with NVIDIA's ptxas and holds their main loops to the bounds below.
# No GPU and no CUDA install: ptxas, cuobjdump and nvdisasm come from PyPI into a virtual environment.
#
#   ALCOP      the alcop binary       (target/release/alcop)
#   SASS_DIR   where everything goes  (target/sass)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ALCOP="${ALCOP:-target/release/alcop}"
SASS_DIR="${SASS_DIR:-target/sass}"
# The bounds were set with CUDA 13; another major version schedules differently.
readonly TOOLS=("nvidia-cuda-nvcc==13.*" "nvidia-cuda-cuobjdump==13.*" "nvidia-cuda-nvdisasm==13.*")
readonly BLOCK=128x128x32 WARP=64x64 SHARED_STAGES=3 REGISTER_STAGES=2
readonly BOUNDS=(--max-loop 165 --max-registers 246 --hmma 64)

if [[ ! -x "$ALCOP" ]]; then
    echo "bench-sass: no $ALCOP: run \`make bench-sass\`, or \`cargo build --release\` first" >&2
    exit 1
fi

venv="$SASS_DIR/venv"
find_bin() { find "$venv" -type f -name "$1" -path '*/bin/*' -print -quit 2>/dev/null; }
if [[ -z "$(find_bin ptxas)" || -z "$(find_bin cuobjdump)" || -z "$(find_bin nvdisasm)" ]]; then
    echo "bench-sass: installing ${TOOLS[*]} into $venv"
    mkdir -p "$SASS_DIR"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "${TOOLS[@]}"
fi
ptxas="$(find_bin ptxas)" cuobjdump="$(find_bin cuobjdump)" nvdisasm="$(find_bin nvdisasm)"
for tool in "$ptxas" "$cuobjdump" "$nvdisasm"; do
    if [[ -z "$tool" ]]; then
        echo "bench-sass: ptxas, cuobjdump or nvdisasm is not in $venv after the install" >&2
        exit 1
    fi
done
# cuobjdump starts nvdisasm by name.
PATH="$(dirname "$nvdisasm"):$PATH"
export PATH

failed=0
for layout in nn nt; do
    stem="$SASS_DIR/matmul_$layout"
    "$ALCOP" compile --op matmul --m 512 --n 768 --k 3072 --dtype f16 --out-dtype f32 --layout "$layout" \
        --target sm_80 --block "$BLOCK" --warp "$WARP" \
        --shared-stages "$SHARED_STAGES" --register-stages "$REGISTER_STAGES" --emit ptx -o "$stem.ptx"
    "$ptxas" -arch=sm_80 -v "$stem.ptx" -o "$stem.cubin" 2>"$stem.ptxas.txt" || {
        echo "bench-sass: ptxas refuses $stem.ptx:" >&2
        cat "$stem.ptxas.txt" >&2
        exit 1
    }
    "$cuobjdump" -sass "$stem.cubin" >"$stem.sass"
    python3 scripts/sass_loop.py "$layout" "$stem.sass" "$stem.ptxas.txt" "${BOUNDS[@]}" || failed=1
done

if ((failed)); then
    echo "bench-sass: a bound is broken" >&2
    exit 1
fi
echo "bench-sass: all bounds hold ($BLOCK, warps $WARP, $SHARED_STAGES slots, register depth $REGISTER_STAGES)"
