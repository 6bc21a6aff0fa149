"""Kills runs by SIGKILL, at random samples and before single file operations, and finishes them.

torch is imported once; every run is a forked child, so that a kill costs milliseconds. Prints one JSON object,
which test_train_killed reads.
"""

import json
import os
import random
import shutil
import signal
import sys
from pathlib import Path

import torch
import torch._dynamo  # the optimisers import it at their first step: here once, not in every child
from train_stand_ins import Memory, Tiny, objective, training

from unseen.train import checkpoint
from unseen.train.loop import fit

CHANGES = {"steps": 11, "checkpoint_every": 3, "monitor_every": 5}
OPERATIONS = ((os, "fsync"), (os, "rename"), (os, "replace"), (shutil, "rmtree"), (checkpoint, "save_file"))


class Deadly(Memory):
    """Kills the process when a position is asked for: with workers, at any moment of what the main thread does."""

    def __init__(self, position: int | None):
        super().__init__()
        self.position = position

    def batch(self, positions):
        if self.position in positions:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().batch(positions)


def train(run: Path, workers: int, deadly: int | None = None) -> None:
    source = Deadly(deadly)
    monitor = source.frames(range(3), previous=True, labels=True)
    settings = training(**CHANGES, workers=workers)
    fit(run=run, model=Tiny(), objective=objective(), training=settings, source=source, monitor=monitor, console=None)


def child(act) -> int:
    """Run `act` in a fork; its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        act()
        code = 0
    finally:
        os._exit(code)


def wait(pid: int) -> int | None:
    """None when it was killed, else its exit code."""
    status = os.waitpid(pid, 0)[1]
    return None if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def before_operation(number: int, act, count_file: Path | None = None) -> None:
    """Do `act`, but die just before file operation `number`; with `count_file`, count them instead."""
    done = 0

    def counted(genuine):
        def call(*arguments, **named):
            nonlocal done
            if done == number:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            return genuine(*arguments, **named)

        return call

    for owner, name in OPERATIONS:
        setattr(owner, name, counted(getattr(owner, name)))
    act()
    if count_file:
        count_file.write_text(str(done))


def traces(run: Path) -> tuple:
    """All that a finished run leaves which does not tell the time."""
    last = checkpoint.last(run)
    tensors = [(last / f"{name}.safetensors").read_bytes() for name in ("model", "optimiser")]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timeless = [{k: v for k, v in line.items() if k not in ("time_s", "eta_s", "samples_per_s")} for line in lines]
    return last.name, tensors, timeless, sorted(path.name for path in (run / "checkpoints").iterdir())


def finish(run: Path, workers: int) -> None:
    if wait(child(lambda: train(run, workers))) != 0:
        raise SystemExit(f"{run} could not be resumed")


def random_kills(home: Path, wanted: int, same: list[bool], reference: tuple) -> list[str]:
    """Kill at random samples, resume with another worker count, kill again; the checkpoints each kill left."""
    draw, kills, number = random.Random(0), [], 0
    while len(kills) < wanted:
        run = home / f"random-{number}"
        number += 1
        for position in sorted(draw.sample(range(CHANGES["steps"] * training().batch), 4)):
            if wait(child(lambda run=run, p=position: train(run, len(kills) % 3, p))) is None:
                last = checkpoint.last(run)
                kills.append(last.name if last else "none")
        finish(run, 1)
        same.append(traces(run) == reference)
    return kills


def main(home: Path) -> None:
    torch.set_num_threads(1)
    os.fsync = lambda handle: None  # SIGKILL loses no page cache, and waiting for the disk would take most of the time
    finish(home / "whole", 0)
    reference = traces(home / "whole")
    same: list[bool] = []
    kills = random_kills(home, 12, same, reference)
    counter = home / "count"
    wait(child(lambda: before_operation(-1, lambda: train(home / "counted", 0), counter)))
    operations = int(counter.read_text())
    killed = 0
    for number in range(0, operations, 2 if operations > 60 else 1):
        run = home / f"operation-{number}"
        killed += wait(child(lambda run=run, n=number: before_operation(n, lambda: train(run, 0)))) is None
        finish(run, number % 3)
        same.append(traces(run) == reference)
    report = {"kills": kills, "operations": operations, "killed": killed}
    print(json.dumps(report | {"same": sum(same), "runs": len(same)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
