"""Intervals hold what they promise: coverage on simulated logs, pairing, and none where there are too few logs."""

import numpy as np
import pytest

from unseen.evaluate.intervals import aggregated, inside_recordings, over_logs, resample, student
from unseen.evaluate.metrics import Counts, accuracy


def metric(counts):
    return accuracy(counts.confusion)


def logs_of(share, frames=40):
    """Counts of logs in which a given share of the frames is right."""
    right = np.round(np.asarray(share) * frames)
    confusion = np.zeros((len(right), 2, 2))
    confusion[:, 0, 0], confusion[:, 0, 1] = right, frames - right
    return Counts(confusion, np.zeros((len(right), 2, 2)))


@pytest.mark.parametrize(("n_logs", "aggregate"), [(6, "sum"), (24, "sum"), (24, "logs")])
def test_coverage_on_logs_that_differ(n_logs, aggregate):
    """95 % intervals of correlated frames cover the truth in 90 % of draws or more; frame intervals cover half."""
    draw, hits, naive, runs = np.random.default_rng(1), 0, 0, 200
    for run in range(runs):
        own = draw.beta(4, 4, n_logs)  # the logs' own accuracies; the mean is 0.5
        counts = logs_of(draw.binomial(40, own) / 40)
        interval = over_logs(metric, counts, aggregate=aggregate, seed=run, draws=400)
        hits += interval.low <= 0.5 <= interval.high
        estimate = float(metric(Counts(*(part.sum(axis=0) for part in counts))))
        naive += abs(estimate - 0.5) < 1.96 * np.sqrt(0.25 / (40 * n_logs))
    assert hits / runs >= 0.90
    assert naive / runs < 0.75


def test_no_interval_below_five_logs():
    assert over_logs(metric, logs_of([0.5, 0.6, 0.7, 0.8]), aggregate="logs") is None
    assert over_logs(metric, logs_of([0.5, 0.6, 0.7, 0.8]), aggregate="sum") is None


def test_pinned_student_of_paired_differences():
    pinned = np.array([0.02, 0.01, 0.03, 0.0])
    assert student(pinned) is None  # four logs
    from unseen.evaluate import intervals as module

    kept, module.T_LOGS = module.T_LOGS, 4
    try:
        interval = student(pinned)
    finally:
        module.T_LOGS = kept
    assert interval.estimate == pytest.approx(0.015, abs=1e-12)
    assert (interval.low, interval.high) == pytest.approx((-0.0055426, 0.0355426), abs=1e-7)


def test_bootstrap_of_two_logs_has_its_known_distribution():
    mean = resample(2, 4000, seed=3) @ np.array([0.0, 1.0]) / 2
    share = [float((mean == value).mean()) for value in (0.0, 0.5, 1.0)]
    assert share == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_resample_draws_n_members_and_depends_on_the_seed_only():
    weight = resample(7, 50, seed=5)
    assert weight.shape == (50, 7) and (weight.sum(axis=1) == 7).all()
    assert (weight == resample(7, 50, seed=5)).all()
    assert (weight != resample(7, 50, seed=6)).any()


@pytest.mark.parametrize("n_logs", [8, 25])
def test_differences_are_paired(n_logs):
    """Logs differ wildly, the difference is the same in all: its interval is far narrower than either side's."""
    draw = np.random.default_rng(2)
    base = np.round(draw.uniform(0.1, 0.8, n_logs) * 40) / 40
    one, other = logs_of(base + 0.1), logs_of(base)
    paired = over_logs(metric, one, other, aggregate="sum")
    alone = over_logs(metric, one, aggregate="sum")
    assert paired.estimate == pytest.approx(0.1) and paired.low > 0.09 and paired.high < 0.11
    assert alone.high - alone.low > 0.1


def test_aggregates_differ_as_named():
    uneven = Counts(np.array([[[90.0, 10], [0, 0]], [[1, 9], [0, 0]]]), np.zeros((2, 2, 2)))
    assert aggregated(metric, uneven, "sum") == pytest.approx(91 / 110)
    assert aggregated(metric, uneven, "logs") == pytest.approx(0.5)


def test_inside_recordings_resamples_blocks_of_each_log():
    draw = np.random.default_rng(4)
    right = np.repeat(draw.integers(0, 2, 12), 5)  # frames of a block are alike
    frames = Counts(np.zeros((60, 2, 2)), np.zeros((60, 2, 2)))
    frames.confusion[np.arange(60), 0, 1 - right] = 1
    log_of = np.repeat(["b", "a"], 30)
    wide = inside_recordings(metric, frames, log_of, block=5)
    narrow = inside_recordings(metric, frames, log_of, block=1)
    assert wide["high"] - wide["low"] > 1.5 * (narrow["high"] - narrow["low"])
    assert list(wide["per_log"]) == ["b", "a"]
    assert "inside these recordings only" in wide["method"]
    same = inside_recordings(metric, frames, log_of, minus=frames, block=5)
    assert same["low"] == same["high"] == 0
    assert inside_recordings(metric, frames, log_of, block=10) is None  # three blocks a log
