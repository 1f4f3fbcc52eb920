#!/bin/sh
# Explains the kernels of upstream MLIR's own tests, and fails when one crashes or a verdict differs from the reviewed one.
#
#   scripts/check-upstream.sh LLVM_SRC [TABLE.tsv]
#
# LLVM_SRC is a checkout of llvm-project (its mlir/test is enough). Each piece of a file (they are split at "// -----")
# is explained by itself; pieces that do not parse, as some are meant to, are counted. The verdicts are written to
# TABLE.tsv, in the columns of benches/results/upstream.tsv, and compared with it: a different verdict for the same buffer
# fails. Buffers that only one of the two tables has are listed: releases of LLVM differ in their tests.
set -eu
source=${1:?usage: check-upstream.sh LLVM_SRC [TABLE.tsv]}
table=${2:-target/upstream.tsv}
alcop=${ALCOP:-target/release/alcop}
[ -x "$alcop" ] || { echo "no $alcop: run cargo build --release first" >&2; exit 2; }
[ -d "$source/mlir/test" ] || { echo "$source holds no mlir/test" >&2; exit 2; }
exec python3 - "$source" "$table" "$alcop" benches/results/upstream.tsv <<'PYTHON'
import collections, json, os, re, subprocess, sys, tempfile

source, table, alcop, reviewed = sys.argv[1:]
folders = ["Dialect/NVGPU", "Dialect/MemRef", "Dialect/SCF", "Dialect/GPU", "Dialect/Vector", "Integration/GPU/CUDA"]
paths = sorted(
    os.path.relpath(os.path.join(folder, name), source)
    for part in folders
    for folder, _, names in os.walk(os.path.join(source, "mlir/test", part))
    for name in names
    if name.endswith(".mlir")
)
explained = unparsed = crashed = kernels = 0
rows = []
with tempfile.TemporaryDirectory() as work:
    piece_path = os.path.join(work, "piece.mlir")
    for path in paths:
        text = open(os.path.join(source, path), encoding="utf-8").read()
        for number, piece in enumerate(re.split(r"(?m)^// -----.*\n", text), 1):
            open(piece_path, "w", encoding="utf-8").write(piece)
            command = [alcop, "explain", piece_path, "--json", "--allow-unregistered-dialect"]
            try:
                run = subprocess.run(command, capture_output=True, text=True, timeout=60)
                code = run.returncode
            except subprocess.TimeoutExpired:
                code = "timeout"
            if code == 2:
                unparsed += 1
                continue
            if code != 0:
                crashed += 1
                print(f"exit {code}: {path}, piece {number}", file=sys.stderr)
                continue
            explained += 1
            for kernel in json.loads(run.stdout)["kernels"]:
                kernels += 1
                for buffer in kernel["buffers"]:
                    name = " ".join(str(part) for part in buffer["id"].values())
                    loop = buffer["loop"] if buffer["loop"] is not None else buffer.get("loop_op", "-")
                    codes = ",".join(sorted({reason["code"] for reason in buffer["reasons"]}))
                    rows.append([path, kernel["name"], buffer["level"], name, str(loop), buffer["verdict"], codes])

os.makedirs(os.path.dirname(table) or ".", exist_ok=True)
with open(table, "w", encoding="utf-8") as out:
    out.writelines("\t".join(row) + "\n" for row in rows)
print(f"{len(paths)} files: {explained} pieces explained, {unparsed} do not parse, {crashed} crashed; "
      f"{kernels} kernels, {len(rows)} candidates, in {table}")


def keyed(rows):
    """The n-th row of each buffer, since pieces repeat names."""
    seen, out = collections.Counter(), {}
    for row in rows:
        key = tuple(row[:5])
        out[key + (seen[key],)] = (row[5], row[6])
        seen[key] += 1
    return out


lines = [line.rstrip("\n").split("\t") for line in open(reviewed, encoding="utf-8") if not line.startswith("#")]
old, new = keyed(lines[1:]), keyed(rows)
for key in sorted(old.keys() - new.keys()):
    print("only in the reviewed table:", *key)
for key in sorted(new.keys() - old.keys()):
    print("not reviewed yet:", *key, *new[key])
wrong = [key for key in old.keys() & new.keys() if old[key] != new[key]]
for key in sorted(wrong):
    print("differs from the reviewed verdict:", *key, "was", *old[key], "is", *new[key], file=sys.stderr)
print(f"{len(old.keys() & new.keys()) - len(wrong)} of {len(old)} reviewed verdicts are the same")
sys.exit(1 if wrong or crashed else 0)
PYTHON
