#!/usr/bin/env bash
# Searches the paper's matmuls exhaustively in the paper's space, keeps the journals, and replays the strategies on them.
#
#   ALCOP=target/release/alcop scripts/bench-search.sh WORK KEPT [NAME …]
#
# Journals grow in WORK and are compressed into KEPT when they are complete. Stopped at any moment, it goes on where it
# was: with the next operator, and within one with the next trial (a journal that other code wrote is set aside). NAMEs
# choose operators; without any it is all of them, the cheapest first.
set -euo pipefail

work=${1:?WORK folder}
kept=${2:?KEPT folder}
shift 2
alcop=${ALCOP:-target/release/alcop}
target=${TARGET:-a100}
mkdir -p "$work" "$kept"

# Name, M, N, K: the matmuls of the paper's evaluation, f16 with f32 sums. The squares' shapes are their names; those of
# BERT's layers (sequences of 512) and of ResNet-50's are inferred from the networks: the paper does not print them.
operators='
MM_Conv1x1_2  50176    64    64
MM_Conv1x1_1  12544    64   256
MM_BERT_MHA1    512   768   768
MM_RN50_FC     1024    64  2048
MM_BERT_MHA2    512  2304   768
MM_Square_1k   1024  1024  1024
MM_BERT_FC1     512  3072   768
MM_BERT_FC2     512   768  3072
MM_Square_2k   2048  2048  2048
MM_Square_4k   4096  4096  4096
'

wanted() {
    [ $# -eq 1 ] && return 0
    local name=$1
    shift
    for one in "$@"; do [ "$one" = "$name" ] && return 0; done
    return 1
}

while read -r name m n k; do
    [ -n "$name" ] && wanted "$name" "$@" || continue
    done_file="$kept/$name-$target-sim.jsonl.gz"
    if [ -e "$done_file" ]; then
        echo "$name: kept in $done_file"
        continue
    fi
    journal="$work/$name-$target-sim.jsonl"
    search=("$alcop" tune --op matmul --m "$m" --n "$n" --k "$k" --target "$target" --space artifact
        --strategy exhaustive --trials 100000 --trials-at-once 16 --no-cache --journal "$journal" --out "$work/$name")
    echo "$name: $m × $n × $k"
    if ! "${search[@]}" --resume >"$work/$name.txt" 2>"$work/$name.log"; then
        if grep -q "compiler version" "$work/$name.log"; then
            mv "$journal" "$journal.of-older-code"
            "${search[@]}" --resume >"$work/$name.txt" 2>"$work/$name.log"
        else
            tail -n 3 "$work/$name.log" >&2
            exit 1
        fi
    fi
    # Written whole or not at all.
    gzip -9n <"$journal" >"$done_file.partial"
    mv "$done_file.partial" "$done_file"
done <<<"$operators"

journals=("$kept"/*-"$target"-sim.jsonl.gz)
"$alcop" bench search "${journals[@]}" --csv "$kept/shares.csv" --svg "$kept/shares.svg" | tee "$kept/shares.txt"
