"""Two processes under torchrun draw the loss curve of one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from train_stand_ins import Memory, Tiny, objective, training

from unseen.errors import UnseenError
from unseen.train import checkpoint
from unseen.train.distributed import Ranks
from unseen.train.loop import Loop, fit
from unseen.train.metrics import read_metrics


def torchrun(run, steps):
    here = Path(__file__).parent
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{here}:{here.parents[1]}"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, here / "torchrun_harness.py", run, str(steps)], env=env, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr


def test_two_processes_draw_the_curve_of_one(tmp_path):
    torchrun(tmp_path / "two", 12)
    source = Memory()
    fit(
        run=tmp_path / "one",
        model=Tiny(),
        objective=objective(),
        training=training(micro_batch=3),
        source=source,
        monitor=source.frames(range(3)),
        console=None,
    )
    one, two = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("one", "two"))
    assert [line["step"] for line in one] == [line["step"] for line in two]  # rank 0 alone wrote, and each line once
    for a, b in zip(one, two, strict=True):
        assert b["losses"] == pytest.approx(a["losses"], rel=1e-5)
        if a["kind"] == "train":
            assert b["grad_norm"] == pytest.approx(a["grad_norm"], rel=1e-4)
    left, right = (load_file(checkpoint.last(tmp_path / name) / "model.safetensors") for name in ("one", "two"))
    for name in left:
        torch.testing.assert_close(left[name], right[name], rtol=1e-4, atol=1e-5)


def test_a_batch_that_does_not_divide_is_refused_before_anything_is_written(tmp_path):
    alone = Ranks(rank=1, world=3, device=torch.device("cpu"))
    with pytest.raises(UnseenError, match="equal share"):
        Loop(tmp_path / "run", Tiny(), objective(), training(batch=8), Memory(), alone)
    assert not (tmp_path / "run").exists()
