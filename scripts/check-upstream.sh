#!/bin/sh
# Explains the kernels of upstream MLIR's own tests, and fails when one crashes.
#
#   scripts/check-upstream.sh LLVM_SRC [TABLE.tsv]
#
# LLVM_SRC is a checkout of llvm-project. Each piece of a file (they are split at "// -----") is explained by itself.
# Pieces that are meant not to parse are counted. The table has file, kernel, level, buffer, loop, verdict, codes.
set -eu
source=${1:?usage: check-upstream.sh LLVM_SRC [TABLE.tsv]}
table=${2:-target/upstream.tsv}
alcop=${ALCOP:-target/release/alcop}
[ -x "$alcop" ] || { echo "no $alcop: run cargo build --release first" >&2; exit 2; }
[ -d "$source/mlir/test" ] || { echo "$source holds no mlir/test" >&2; exit 2; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$(dirname "$table")"
: > "$table"
explained=0 unparsed=0 crashed=0
for folder in Dialect/NVGPU Dialect/MemRef Dialect/SCF Dialect/GPU Dialect/Vector Integration/GPU/CUDA; do
  [ -d "$source/mlir/test/$folder" ] || continue
  find "$source/mlir/test/$folder" -name '*.mlir' | sort > "$work/files"
  while read -r file; do
    rm -f "$work"/piece.*
    awk -v out="$work/piece" 'BEGIN { n = 1 } /^\/\/ -----/ { n++; next } { print > (out "." n) }' "$file"
    for piece in "$work"/piece.*; do
      status=0
      timeout 60 "$alcop" explain "$piece" --json --allow-unregistered-dialect > "$work/out" 2> "$work/err" || status=$?
      case $status in
        0) explained=$((explained + 1)) ;;
        2) unparsed=$((unparsed + 1)); continue ;;
        *) crashed=$((crashed + 1)); echo "exit $status: $file, piece ${piece##*.}" >&2; head -3 "$work/err" >&2; continue ;;
      esac
      python3 - "$work/out" "${file#"$source"/}" >> "$table" <<'PYTHON'
import json, sys
for kernel in json.load(open(sys.argv[1]))["kernels"]:
    for buffer in kernel["buffers"]:
        name = " ".join(str(part) for part in list(buffer["id"].values())[1:])
        codes = sorted({reason["code"] for reason in buffer["reasons"]})
        loop = buffer["loop"] if buffer["loop"] is not None else buffer.get("loop_op", "-")
        row = [sys.argv[2], kernel["name"], buffer["level"], name, loop, buffer["verdict"], ",".join(codes)]
        print("\t".join(str(cell) for cell in row))
PYTHON
    done
  done < "$work/files"
done
echo "$explained pieces explained, $unparsed do not parse, $crashed crashed; verdicts in $table:"
cut -f 3,6 "$table" | sort | uniq -c
[ "$crashed" -eq 0 ]
