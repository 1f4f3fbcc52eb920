#!/usr/bin/env bash
# Compares the emulator and the timing simulator with a real GPU, over a spread of schedules of one operator:
#
#   outputs   emulator and GPU must agree bit for bit (whole numbers, whose sums are exact)
#   times     simulated and measured microseconds side by side, and Spearman's rho between them
#
#   scripts/check-gpu.sh [RESULT.txt]     ALCOP (the command), DEVICE (cuda:0), TARGET (a100), M, N, K, LAYOUT
#
# Exit: 0 all outputs agree, 1 one does not, 3 there is no such GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

alcop="${ALCOP:-target/release/alcop}" device="${DEVICE:-cuda:0}" target="${TARGET:-a100}"
m="${M:-512}" n="${N:-768}" k="${K:-3072}" layout="${LAYOUT:-nn}"
result="${1:-/dev/stdout}"
work="$(mktemp -d)"
trap 'rm -rf -- "$work"' EXIT

# block, warp: from one block a few SMs to many; every legal depth of the list is tried on each.
tiles=("128x128x32 64x64" "128x128x64 64x64" "128x64x32 64x32" "64x64x32 32x32" "64x64x64 32x32" "64x128x64 32x64"
    "32x64x64 16x32")
depths=("1 1" "2 1" "2 2" "3 1" "3 2" "4 2" "6 2")

: >"$work/rows"
wrong=0
for tile in "${tiles[@]}"; do
    for depth in "${depths[@]}"; do
        read -r block warp <<<"$tile"
        read -r shared registers <<<"$depth"
        launch="$work/k.json"
        "$alcop" compile --op matmul --m "$m" --n "$n" --k "$k" --layout "$layout" --target "$target" --block "$block" \
            --warp "$warp" --shared-stages "$shared" --register-stages "$registers" --emit launch -o "$launch" \
            2>"$work/refused" || { sed 's/^/check-gpu: left out: /' "$work/refused" >&2; continue; }
        "$alcop" run "$launch" >"$work/run.txt"
        mv "$work/k.c.npy" "$work/emulated.npy"
        "$alcop" run "$launch" --device "$device" >/dev/null
        agrees=yes
        cmp -s "$work/emulated.npy" "$work/k.c.npy" || { agrees=NO wrong=1; }
        simulated="$("$alcop" time "$launch" --device "sim:$target" --json | sed -n 's/^ *"time_us": \([0-9.e+-]*\),*$/\1/p')"
        measured="$("$alcop" time "$launch" --device "$device" --json | sed -n 's/^ *"time_us": \([0-9.e+-]*\),*$/\1/p')"
        printf '%s %s %s/%s %s %.2f %.2f\n' "$block" "$warp" "$shared" "$registers" "$agrees" "$simulated" "$measured" \
            >>"$work/rows"
    done
done

# Spearman's rho is Pearson's of the ranks; ties have their average rank.
ranks() {
    sort -g -k1,1 | awk '{ v[NR] = $1; id[NR] = $2 }
        END { for (i = 1; i <= NR; i = j + 1) { for (j = i; j < NR && v[j + 1] == v[i]; j++);
              for (l = i; l <= j; l++) print id[l], (i + j) / 2 } }' | sort -n | cut -d' ' -f2
}
{
    echo "matmul $layout ${m}x${n}x${k}, f16 to f32: sim:$target against $device, $(date -u +%F)"
    echo "command: M=$m N=$n K=$k LAYOUT=$layout TARGET=$target DEVICE=$device scripts/check-gpu.sh"
    printf '%-12s %-7s %-6s %-7s %12s %12s\n' block warp stages agrees "simulated us" "measured us"
    awk '{ printf "%-12s %-7s %-6s %-7s %12s %12s\n", $1, $2, $3, $4, $5, $6 }' "$work/rows"
    paste <(awk '{ print $5, NR }' "$work/rows" | ranks) <(awk '{ print $6, NR }' "$work/rows" | ranks) |
        awk '{ x += $1; y += $2; xx += $1 * $1; yy += $2 * $2; xy += $1 * $2 }
            END { d = sqrt((xx - x * x / NR) * (yy - y * y / NR));
                  printf "%d kernels, Spearman rho %.3f\n", NR, d ? (xy - x * y / NR) / d : 0 }'
} >"$result"
exit "$wrong"
