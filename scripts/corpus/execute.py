"""Runs a case of the corpus in the example `emulate`."""

import json
import subprocess
from typing import NamedTuple


class Run(NamedTuple):
    code: int
    remark: str
    hazards: list
    notes: list


def execute(emulate, folder, arrival, seed=7, hazards=True):
    """Outputs are written where the run was clean; those of an earlier run are removed first."""
    for old in folder.glob("*.out.npy"):
        old.unlink()
    command = [emulate, folder / "launch.json", arrival, str(seed), *([] if hazards else ["--no-hazards"])]
    run = subprocess.run(command, capture_output=True, text=True)
    remark = (run.stderr.strip().splitlines() or [""])[-1]
    if run.returncode != 0:
        return Run(run.returncode, remark, [], [])
    report = json.loads(run.stdout[:run.stdout.rindex("}") + 1])
    return Run(0, remark, report["hazards"], report["notes"])
