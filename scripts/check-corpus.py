#!/usr/bin/env python3
"""Runs kernels of other compilers in the emulator, and compares their results with NumPy's.

    check-corpus.py EMULATE [--kernels DIR] [--only WORD] [--arrivals earliest,latest,random] [--mutants TABLE]

EMULATE is the example `emulate` of alcop-runtime, DIR holds what the scripts in scripts/corpus write (a folder a
compiler, a folder a kernel). Needs NumPy. With --mutants every wait, commit, barrier and ring of the kernels is dropped
or weakened in turn (see scripts/corpus/mutants.py), and the table of what was reported is written.
"""

import argparse
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "corpus"))
import case
import mutants
from execute import execute


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("emulate", type=pathlib.Path)
    parser.add_argument("--kernels", type=pathlib.Path, default=pathlib.Path("target/corpus/kernels"))
    parser.add_argument("--only", default="")
    parser.add_argument("--arrivals", default="earliest,latest,random")
    parser.add_argument("--mutants", type=pathlib.Path)
    options = parser.parse_args()
    folders = [launch.parent for launch in sorted(options.kernels.glob("*/*/launch.json"))]
    folders = [folder for folder in folders if options.only in f"{folder.parent.name}/{folder.name}"]
    if not folders:
        print(f"no kernels in {options.kernels}", file=sys.stderr)
        return 2
    if options.mutants:
        return mutants.check(options.emulate, folders, options.mutants)
    failed = 0
    for folder in folders:
        for arrival in options.arrivals.split(","):
            start = time.monotonic()
            run = execute(options.emulate, folder, arrival)
            good, remark = run.code == 0, run.remark
            if good and run.hazards:
                good, remark = False, "; ".join(str(hazard) for hazard in run.hazards[:2])
            elif good:
                good, remark = case.verify(folder)
                remark += "".join(f"; note: {note}" for note in run.notes)
            failed += not good
            print(f"{'ok  ' if good else 'FAIL'} {folder.parent.name}/{folder.name} {arrival}: {remark} "
                  f"({time.monotonic() - start:.1f} s)", flush=True)
    print(f"{len(folders)} kernels, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
