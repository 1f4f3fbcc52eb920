#!/usr/bin/env python3
"""Compares registers by liveness with those of ptxas: live-registers.py REGISTERS PTXAS TABLE COMPILER=GLOB …

REGISTERS is the example `registers` of alcop-runtime. Exits with 1 if the estimate is within 15 % for fewer than nine
of ten kernels in all, of ours, or of those that no constant was fitted on.
"""

import pathlib
import re
import subprocess
import sys

BOUND = 0.15


def main():
    registers, ptxas, table, *groups = sys.argv[1:]
    rows = []
    for group in groups:
        compiler, pattern = group.split("=")
        for path in sorted(pathlib.Path().glob(pattern)):
            run = subprocess.run([ptxas, "-arch=sm_80", "-v", path, "-o", "/dev/null"], capture_output=True, text=True)
            used = re.search(r"Used (\d+) registers", run.stderr)
            spilled = re.search(r"(\d+) bytes spill stores", run.stderr)
            if not used:
                sys.exit(f"live-registers: ptxas on {path}: {run.stderr.strip()}")
            text = subprocess.run([registers, path], capture_output=True, text=True, check=True).stdout
            live, early, late, estimate = (int(word) for word in text.split()[-4:])
            name = path.stem if path.stem != "k" else path.parent.name
            rows.append((compiler, name, live, early, late, estimate, int(used[1]), int(spilled[1])))
    lines = ["Registers of a thread: most live at a time in the text, in the early and in the late order of the assembler,",
             "the estimate made of these orders, and what ptxas reports (sm_80).",
             "Made by `make bench-registers`; the analysis is runtime/src/timing/liveness.rs (the text) and",
             "runtime/src/timing/assembled (the orders, the estimate). The share and the two constants of the estimate were",
             "fitted on every other kernel (`fitted`); `held out` are the others. The rules (unrolling, folding, wide loads,",
             "registers of a warp) and the latencies were found by looking at all of them: held out is not unseen.",
             "Kernels of ours: layout, block tile, warp tile, slots, register depth.", "",
             f"{'compiler':<9} {'kernels':>7} {'live within 15 %':>17} {'estimate within 15 %':>21} {'fitted':>9} {'held out':>9}"]
    within = lambda value, used: abs(value / used - 1) <= BOUND
    good = [within(row[5], row[6]) for row in rows]
    fitted = [at % 2 == 0 for at in range(len(rows))]
    compilers = list(dict.fromkeys(row[0] for row in rows))
    for compiler in [*compilers, "all"]:
        own = [at for at, row in enumerate(rows) if compiler in (row[0], "all")]
        share = lambda half: f"{sum(good[at] for at in own if fitted[at] == half)}/{sum(fitted[at] == half for at in own)}"
        live = sum(within(rows[at][2], rows[at][6]) for at in own)
        lines.append(f"{compiler:<9} {len(own):>7} {live:>17} {sum(good[at] for at in own):>21} {share(True):>9} {share(False):>9}")
    lines += ["", f"{'compiler':<9} {'kernel':<32} {'live':>5} {'early':>6} {'late':>5} {'estimate':>9} {'ptxas':>6} {'estimate / ptxas':>17} spilled bytes"]
    for compiler, name, live, early, late, estimate, used, spilled in rows:
        lines.append(f"{compiler:<9} {name:<32} {live:>5} {early:>6} {late:>5} {estimate:>9} {used:>6} {100 * (estimate / used - 1):>+15.1f} % "
                     f"{spilled:>13}")
    pathlib.Path(table).write_text("\n".join(lines) + "\n")
    print("\n".join(lines[lines.index("") + 1:][:2 + len(compilers)]))
    groups = [range(len(rows)), [at for at, row in enumerate(rows) if row[0] == "alcop"],
              [at for at in range(len(rows)) if not fitted[at]]]
    return 0 if all(10 * sum(good[at] for at in group) >= 9 * len(group) for group in groups) else 1


if __name__ == "__main__":
    sys.exit(main())
