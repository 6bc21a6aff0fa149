"""Where a run tells what happens: metrics.jsonl and the console, on the first process only."""

import time
from pathlib import Path
from typing import Any, TextIO

from unseen.errors import UnseenError
from unseen.train.metrics import Metrics, read_metrics
from unseen.train.progress import Progress


class Record:
    """The lines of a run from its last checkpoint (`done` steps; None: there is none) onwards."""

    def __init__(self, run: Path, done: int | None, steps: int, console: TextIO | None, writes: bool):
        if done is None and any(line["step"] > 0 for line in read_metrics(run / "metrics.jsonl")):
            raise UnseenError(
                f"{run} holds results but no checkpoint", "a run is never overwritten", "name another folder"
            )
        run.mkdir(parents=True, exist_ok=True)
        self.metrics = Metrics(run / "metrics.jsonl", -1 if done is None else done) if writes else None
        self.progress = Progress(steps, console if writes else None)
        if done is not None:
            self.progress.say(f"going on from step {done} of {run}")

    def add(self, line: dict[str, Any]) -> None:
        if self.metrics is not None:
            self.metrics.write(line)
        self.progress.show(line)

    def close(self) -> None:
        self.progress.close()
        if self.metrics is not None:
            self.metrics.close()


class Pace:
    """Seconds of training, over all parts of a run, and samples a second since the last line."""

    def __init__(self, seconds: float):
        self._before, self._start = seconds, time.monotonic()
        self._samples, self._since = 0, self._start

    def tick(self, samples: int) -> float:
        """Count the samples of a step; seconds so far."""
        self._samples += samples
        return self._before + time.monotonic() - self._start

    def samples_per_s(self) -> float:
        now = time.monotonic()
        rate = self._samples / max(now - self._since, 1e-9)
        self._samples, self._since = 0, now
        return rate
