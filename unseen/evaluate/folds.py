"""Who learns and who is tested: always whole logs. Draws of few labels are nested, and the same for every encoder."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from unseen.errors import UnseenError
from unseen.evaluate.probes import Protocol
from unseen.randomness import keys, name_hash, uniform

LEARN, TEST = ("probe",), ("test",)
INNER_FOLDS = 5


class Fold(NamedTuple):
    learn: tuple[str, ...]  # logs
    test: tuple[str, ...]


def folds(protocol: Protocol, roles: dict[str, str], labelled: Sequence[str]) -> list[Fold]:
    """The outer folds over logs that have labels.

    "split": logs with role probe learn, logs with role test are scored. "leave-one-log-out": all logs with role probe,
    val or test take turns.
    """
    if protocol == "split":
        learn = tuple(log for log in labelled if roles.get(log) in LEARN)
        test = tuple(log for log in labelled if roles.get(log) in TEST)
        if not learn or not test:
            raise UnseenError(
                f"the split gives {len(learn)} labelled logs to learn from and {len(test)} to test on",
                "a probe needs logs with role probe and logs with role test",
                "make such a split, or use protocol='leave-one-log-out'",
            )
        return [Fold(learn, test)]
    judged = tuple(log for log in labelled if roles.get(log) in ("probe", "val", "test"))
    if len(judged) < 2:
        raise UnseenError(
            f"{len(judged)} labelled logs can take turns",
            "leave-one-log-out needs two",
            "give more logs role probe or test",
        )
    return [Fold(tuple(other for other in judged if other != log), (log,)) for log in judged]


def inner_folds(log_of: np.ndarray) -> np.ndarray:
    """Inner fold of each training frame [F]: whole logs, dealt out in order to at most five folds.

    A single log is cut at its middle: neighbours in time then stand on both sides only at the cut.
    """
    logs, number = np.unique(log_of, return_inverse=True)
    if len(logs) > 1:
        return number % INNER_FOLDS
    if len(log_of) < 2:
        raise UnseenError(
            "one labelled frame cannot choose a penalty", "inner folds need two frames", "label more frames"
        )
    return (np.arange(len(log_of)) >= len(log_of) / 2).astype(int)


def shuffled(n: int, seed: int, purpose: str) -> np.ndarray:
    """A permutation of n as a pure function of (seed, purpose)."""
    key = keys(seed, torch.tensor([name_hash(purpose)]), 0, "few labels")
    return uniform(key, n)[0].argsort(stable=True).numpy()


def log_draws(
    logs: Sequence[str], budgets: Sequence[int], seed: int, draw: int
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(budget, logs) for every budget that is smaller than the number of logs; a larger one contains the smaller."""
    order = shuffled(len(logs), seed, f"logs {draw}")
    for budget in sorted(budgets):
        if budget < len(logs):
            yield budget, tuple(logs[i] for i in order[:budget])


def class_draws(
    logs: Sequence[str], class_of: dict[str, int], budgets: Sequence[int], seed: int, draw: int
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Like `log_draws`, with `budget` logs of each class (all of them, where a class has fewer)."""
    order = [logs[i] for i in shuffled(len(logs), seed, f"logs {draw}")]
    rank, seen = {}, dict.fromkeys(class_of.values(), 0)
    for log in order:
        rank[log] = seen[class_of[log]]
        seen[class_of[log]] += 1
    for budget in sorted(budgets):
        if budget < max(seen.values()):
            yield budget, tuple(log for log in order if rank[log] < budget)


def frame_draws(log_of: np.ndarray, budgets: Sequence[int], seed: int, draw: int) -> Iterator[tuple[int, np.ndarray]]:
    """(budget, which frames [F] bool): the budget is shared out evenly among the logs, earlier logs get the rest."""
    logs = list(dict.fromkeys(log_of))
    for budget in sorted(budgets):
        if budget >= len(log_of):
            continue
        chosen = np.zeros(len(log_of), dtype=bool)
        for i, log in enumerate(logs):
            own = np.flatnonzero(log_of == log)
            n = budget // len(logs) + (i < budget % len(logs))
            chosen[own[shuffled(len(own), seed, f"frames {log} {draw}")[:n]]] = True
        yield budget, chosen


def thinned(log_of: np.ndarray, every: int, most: int) -> np.ndarray:
    """Which samples to keep [n] bool: every n-th of each log, and of a longer log at most `most`, evenly spaced."""
    keep = np.zeros(len(log_of), dtype=bool)
    for log in np.unique(log_of):
        own = np.flatnonzero(log_of == log)[::every]
        keep[own[:: -(-len(own) // most) if most else 1]] = True
    return keep
