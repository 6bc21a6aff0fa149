"""Time callables side by side: alternate, repeat, and report ratios with their range."""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

Job = Callable[[], object]


def alternate(jobs: dict[str, Job], rounds: int, seconds: float) -> dict[str, list[float]]:
    """CPU seconds per call of each job, one value a round; the order turns with every round."""
    repeats = {}
    for name, job in jobs.items():
        job()  # warm up
        start = time.process_time()
        job()
        repeats[name] = max(1, round(seconds / max(time.process_time() - start, 1e-6)))
    taken: dict[str, list[float]] = {name: [] for name in jobs}
    names = list(jobs)
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.process_time()
            for _ in range(repeats[name]):
                jobs[name]()
            taken[name].append((time.process_time() - start) / repeats[name])
    return taken


def ratio(taken: dict[str, list[float]], of: str, to: str) -> str:
    """How many times faster `of` is than `to`: median of the per-round ratios, with their range."""
    ratios = [slow / fast for fast, slow in zip(taken[of], taken[to], strict=True)]
    return f"{statistics.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]"


def gemm_peak() -> float:
    """The best bfloat16 matrix product of this thread right now, FLOP/s."""
    best = 0.0
    for rows, inner, columns in ((2048, 768, 768), (3136, 768, 3072), (4096, 1024, 1024)):
        x, w = torch.randn(rows, inner).bfloat16(), torch.randn(columns, inner).bfloat16()
        F.linear(x, w)
        start = time.process_time()
        for _ in range(5):
            F.linear(x, w)
        best = max(best, 5 * 2 * rows * inner * columns / (time.process_time() - start))
    return best


def machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    return f"{name}, torch {torch.__version__}, {torch.get_num_threads()} thread"


def command(what: str | None, option: str, choices: Iterable[str], compare: Callable[[str, int, float], Any]) -> None:
    """The command line of a benchmark: compare each of the choices on one thread, print, and keep the rows as JSON."""
    names = list(choices)
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument(f"--{option}", nargs="+", default=names, choices=names, dest="names")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each variant in each round")
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    rows = {name: compare(name, wanted.rounds, wanted.seconds) for name in wanted.names}
    if wanted.json:
        wanted.json.write_text(json.dumps(rows, indent=2) + "\n")
