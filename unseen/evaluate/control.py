"""The permutation control: a probe that scores above chance on labels of other logs has been told what it may not know.

Every log gets the labels of another one, shifted in time, and label images are rolled, so that neither the order of a
log nor the place in the frame is left to learn from. Chance is what the same predictions score where they are
independent of the truth: the confusion that the margins alone give.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from unseen.errors import UnseenError
from unseen.evaluate.features import Frozen
from unseen.evaluate.folds import shuffled
from unseen.evaluate.intervals import aggregated
from unseen.evaluate.metrics import Counts, Numbers, compute
from unseen.evaluate.probes import Permuted, spec, spec_hash
from unseen.evaluate.score import Plan, score
from unseen.randomness import keys, name_hash, uniform

SPREADS = 3  # standard deviations of a shuffle above chance that raise the alarm


def check_permuted(control: Permuted, plan: Plan, frozen: Frozen, seed: int) -> dict[str, Any]:
    """Mean over shuffles of what the probe scores above chance; `alarm` from SPREADS standard deviations on."""
    found = [_shuffle(plan, frozen, seed, number) for number in range(control.shuffles)]
    scores, chances = np.array(found).T
    above = scores - chances
    mean, spread = float(np.nanmean(above)), float(np.nanstd(above, ddof=1))
    return {
        "name": control.name,
        "of": control.of.name,
        "spec": spec(control),
        "spec_hash": spec_hash(control),
        "metric": control.of.primary,
        "shuffles": control.shuffles,
        "score": float(np.nanmean(scores)),
        "chance": float(np.nanmean(chances)),
        "above": mean,
        "spread": spread,
        "alarm": mean > max(SPREADS * spread, 1e-9),
    }


def alarm(check: dict[str, Any]) -> str:
    """The warning that a check raises."""
    return (
        f"control {check['name']!r}: on permuted labels {check['features']} scores {check['score']:.3f}, chance is "
        f"{check['chance']:.3f} (spread of a shuffle {check['spread']:.3f}): labels leak into features or probe"
    )


def permuted(plan: Plan, seed: int, number: int) -> np.ndarray:
    """The labels of a plan, every log's from the next one in a keyed circle of the logs: no log keeps its own.

    UnseenError where one log has all labels.
    """
    logs = sorted(set(plan.log_of.tolist()))
    if len(logs) < 2:
        raise UnseenError("labels of one log cannot be permuted by log", "a control needs two logs", "label more logs")
    circle = [logs[i] for i in shuffled(len(logs), seed, f"permuted labels {number}")]
    out = np.empty_like(plan.labels)
    for log, other in zip(circle, [*circle[1:], circle[0]], strict=True):
        here, there = np.flatnonzero(plan.log_of == log), np.flatnonzero(plan.log_of == other)
        draw = uniform(keys(seed, torch.tensor([name_hash(log)]), number, "roll labels"), 1 + 2 * len(here))[0].numpy()
        taken = there[(np.arange(len(here)) + int(draw[0] * len(there))) % len(there)]
        out[here] = plan.labels[taken]
        if plan.labels.ndim == 3:
            for place, down, across in zip(here, *draw[1:].reshape(2, -1), strict=True):
                height, width = out.shape[1:]
                out[place] = np.roll(out[place], (int(down * height), int(across * width)), axis=(0, 1))
    return out


def independent(counts: Counts) -> Counts:
    """The same margins, without any tie between truth and prediction."""
    truth, prediction = counts.confusion.sum(axis=-1), counts.confusion.sum(axis=-2)
    together = truth[..., :, None] * prediction[..., None, :]
    n = counts.confusion.sum(axis=(-1, -2))[..., None, None]
    return counts._replace(confusion=np.divide(together, n, out=np.zeros_like(together), where=n > 0))


def _shuffle(plan: Plan, frozen: Frozen, seed: int, number: int) -> tuple[float, float]:
    """What one shuffle scores, and its chance."""
    other = replace(plan, labels=permuted(plan, seed, number))
    logs = other.by_log(score(other, frozen, seed)[0])
    metric = partial(_metric, plan)
    scored = aggregated(metric, logs, plan.probe.aggregate)
    return scored, aggregated(lambda counts: metric(independent(counts)), logs, plan.probe.aggregate)


def _metric(plan: Plan, counts: Counts) -> Numbers:
    return compute(counts, plan.over)[plan.probe.primary]
