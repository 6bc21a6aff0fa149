"""A run killed at any point and resumed is the run that was never killed, to the bit."""

import json
import os
import subprocess
import sys
from pathlib import Path


def test_a_killed_run_ends_with_the_same_bits(tmp_path):
    here = Path(__file__).parent
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{here}:{here.parents[1]}"}
    done = subprocess.run(
        [sys.executable, here / "kill_harness.py", tmp_path], env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert len(report["kills"]) >= 10
    assert len(set(report["kills"])) >= 3  # they fell between different checkpoints
    assert report["killed"] >= 20  # while files were written, synced and renamed
    assert report["same"] == report["runs"]
