"""Intervals over LOGS: frames of one log are no independent evidence (measured: 36 % coverage for a nominal 95 %).

At least 20 logs: percentile bootstrap over logs of the summed counts. 5 to 19: Student t on the values of the logs.
Fewer than 5: no interval, and the report lists the logs. Differences are paired: same logs, same resample.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from unseen.evaluate.metrics import Counts, Numbers, defined_mean, total
from unseen.evaluate.probes import Aggregate
from unseen.randomness import keys, uniform

BOOTSTRAP_LOGS, T_LOGS = 20, 5
FEWEST_BLOCKS = 5  # of a recording whose blocks are resampled
Metric = Callable[[Counts], Numbers]  # counts with free leading axes -> values on those axes


class Interval(NamedTuple):
    """An estimate and its interval over logs."""

    estimate: float  # what the interval is about: the metric of the summed counts, or the mean of the logs' values
    low: float
    high: float
    method: str
    n_logs: int


def aggregated(metric: Metric, counts: Counts, aggregate: Aggregate) -> float:
    """One number for the logs of `counts` [L, ...]: the metric of their sum, or the mean of their defined values."""
    if aggregate == "sum":
        return float(metric(total(counts)))
    return float(defined_mean(metric(counts)))


def over_logs(
    metric: Metric,
    counts: Counts,
    minus: Counts | None = None,
    *,
    aggregate: Aggregate,
    seed: int = 0,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval | None:
    """Interval of the metric of `counts` [L, ...], or of its paired difference to `minus` on the same logs.

    The mean of the logs' values always gets Student's t; the metric of the sum is resampled from 20 logs on and falls
    back on the values of the logs below.
    """
    n_logs = len(counts.confusion)
    if aggregate == "logs" or n_logs < BOOTSTRAP_LOGS:
        values = metric(counts) - (0 if minus is None else metric(minus))
        return student(values[np.isfinite(values)], level)
    weight = resample(n_logs, draws, seed)
    values, estimate = metric(total(counts, weight)), metric(total(counts))
    if minus is not None:
        values, estimate = values - metric(total(minus, weight)), estimate - metric(total(minus))
    low, high = np.nanquantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(estimate), float(low), float(high), f"bootstrap over {n_logs} logs, {draws} draws", n_logs)


def student(values: np.ndarray, level: float = 0.95) -> Interval | None:
    """Student t interval of the mean of one value per log; None below five logs."""
    from scipy import stats

    n = len(values)
    if n < T_LOGS:
        return None
    mean, error = values.mean(), values.std(ddof=1) / np.sqrt(n)
    reach = stats.t.ppf((1 + level) / 2, n - 1) * error
    return Interval(float(mean), float(mean - reach), float(mean + reach), f"Student t on the values of {n} logs", n)


def note(n_logs: int, least: int = T_LOGS) -> str:
    """Why there is no interval."""
    return f"{n_logs} logs are too few for an interval over logs (at least {least}); read the values of each log"


def inside_recordings(
    metric: Metric,
    frames: Counts,
    log_of: np.ndarray,
    minus: Counts | None = None,
    *,
    block: int = 10,
    seed: int = 0,
    draws: int = 1000,
    level: float = 0.95,
) -> dict | None:
    """Spread of the mean over logs when blocks of consecutive frames are resampled inside each log.

    `frames` [F, ...] are counts per frame in time order and `log_of` [F] the log of each. This says how much the value
    depends on which frames of THESE recordings were taken; it says nothing about another recording. None where
    a log has fewer than five blocks.
    """
    per_log = {}
    for number, log in enumerate(dict.fromkeys(log_of)):
        own = np.flatnonzero(log_of == log)
        edges = np.arange(0, len(own), block)
        if len(edges) < FEWEST_BLOCKS:
            return None
        weight = resample(len(edges), draws, seed + number)
        value = metric(total(_blocks(frames, own, edges), weight))
        if minus is not None:
            value = value - metric(total(_blocks(minus, own, edges), weight))
        per_log[str(log)] = value
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.nanquantile(np.mean(list(per_log.values()), axis=0), tails)
    method = f"blocks of {block} consecutive frames, {draws} draws: spread inside these recordings only"
    spread = {log: [float(end) for end in np.nanquantile(value, tails)] for log, value in per_log.items()}
    return {"low": float(low), "high": float(high), "method": method, "per_log": spread}


def resample(n: int, draws: int, seed: int) -> np.ndarray:
    """How often each of n members is drawn in each of `draws` resamples with replacement [draws, n], float64."""
    key = keys(seed, torch.arange(draws), 0, "bootstrap")
    index = (uniform(key, n) * n).long().numpy()
    return np.bincount((index + np.arange(draws)[:, None] * n).ravel(), minlength=draws * n).reshape(draws, n) * 1.0


def _blocks(frames: Counts, own: np.ndarray, edges: np.ndarray) -> Counts:
    return Counts(*(np.add.reduceat(part[own], edges, axis=0) for part in frames))
