#!/usr/bin/env python3
"""Compares registers by liveness with those of ptxas: live-registers.py REGISTERS PTXAS TABLE COMPILER=GLOB …

REGISTERS is the example `registers` of alcop-runtime. Exits with 1 if the estimate is within 15 % for fewer than 20
kernels, or for fewer than nine of ten of ours.
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
            live, estimate = (int(word) for word in text.split()[-2:])
            name = path.stem if path.stem != "k" else path.parent.name
            rows.append((compiler, name, live, estimate, int(used[1]), int(spilled[1])))
    lines = ["Registers of a thread: most live at a time, the estimate made of it, and what ptxas reports (sm_80).",
             "Made by `make bench-registers`; the analysis is runtime/src/timing/liveness.rs.",
             "Kernels of ours: layout, block tile, warp tile, slots, register depth. TileLang and TVM leave loops rolled",
             "that ptxas unrolls, and its loads then run further ahead than any liveness of the text can say. Of ours, one",
             "slot is too low for the same reason, and a depth of three sets for four chunks too high: ptxas loads later.", "",
             f"{'compiler':<9} {'kernels':>7} {'live within 15 %':>17} {'estimate within 15 %':>21}"]
    within = lambda value, used: abs(value / used - 1) <= BOUND
    for compiler in dict.fromkeys(row[0] for row in rows):
        own = [row for row in rows if row[0] == compiler]
        live = sum(within(row[2], row[4]) for row in own)
        estimate = sum(within(row[3], row[4]) for row in own)
        lines.append(f"{compiler:<9} {len(own):>7} {live:>17} {estimate:>21}")
    lines += ["", f"{'compiler':<9} {'kernel':<32} {'live':>5} {'estimate':>9} {'ptxas':>6} {'estimate / ptxas':>17} spilled bytes"]
    for compiler, name, live, estimate, used, spilled in rows:
        lines.append(f"{compiler:<9} {name:<32} {live:>5} {estimate:>9} {used:>6} {100 * (estimate / used - 1):>+15.1f} % "
                     f"{spilled:>13}")
    pathlib.Path(table).write_text("\n".join(lines) + "\n")
    print("\n".join(lines[lines.index("") + 1:][:1 + len(groups)]))
    ours = [row for row in rows if row[0] == "alcop"]
    good = [row for row in rows if within(row[3], row[4])]
    return 0 if len(good) >= 20 and 10 * sum(row in good for row in ours) >= 9 * len(ours) else 1


if __name__ == "__main__":
    sys.exit(main())
