#!/bin/sh
# Registers of a thread by the emulator against those that NVIDIA's ptxas reports: our kernels over a spread of schedules,
# and those of the corpus that scripts/check-corpus.sh has compiled. Writes the table named by the first argument.
#
#   ALCOP   the alcop binary (target/release/alcop)
set -eu
cd "$(dirname "$0")/.."
alcop="${ALCOP:-target/release/alcop}"
table="${1:?usage: live-registers.sh TABLE}"
work=target/registers
if [ ! -x "$alcop" ]; then
    echo "live-registers: no $alcop: \`cargo build --release\` first" >&2
    exit 1
fi
if [ ! -e "$work/venv/complete" ]; then
    mkdir -p "$work"
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet 'nvidia-cuda-nvcc==13.*'
    touch "$work/venv/complete"
fi
ptxas="$(find "$work/venv" -type f -name ptxas -path '*/bin/*')"
rm -rf "$work/ours"
mkdir -p "$work/ours"
# block, warp, slots, register depth
while read -r block warp slots depth; do
    for layout in nn nt; do
        "$alcop" compile --op matmul --m 512 --n 768 --k 3072 --dtype f16 --out-dtype f32 --layout "$layout" \
            --target sm_80 --block "$block" --warp "$warp" --shared-stages "$slots" --register-stages "$depth" \
            --emit ptx -o "$work/ours/$layout-$block-$warp-$slots-$depth.ptx"
    done
done <<SCHEDULES
128x128x32 64x64 1 1
128x128x32 64x64 3 1
128x128x32 64x64 3 2
128x128x64 64x64 1 1
128x128x64 64x64 2 1
128x128x64 64x64 3 2
256x128x32 64x64 3 1
256x128x32 64x64 3 2
128x64x32 64x32 3 1
128x64x32 64x32 3 2
64x128x64 32x64 3 1
64x128x64 32x64 3 2
64x64x32 32x32 3 1
64x64x32 32x32 3 2
64x64x64 32x32 3 3
64x64x64 32x32 4 4
64x128x64 32x64 3 3
64x128x64 32x64 3 4
128x128x32 64x32 3 1
128x128x32 64x32 3 2
SCHEDULES
cargo build --release -p alcop-runtime --example registers
exec python3 scripts/live-registers.py target/release/examples/registers "$ptxas" "$table" \
    alcop="$work/ours/*.ptx" triton='target/corpus/kernels/triton/*/k.ptx' \
    tilelang='target/corpus/kernels/tilelang/*/k.ptx' tvm='target/corpus/kernels/tvm/*/k.ptx'
