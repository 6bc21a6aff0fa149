"""Whether a model completes what is hidden on logs that it never saw, better than what needs no model."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unseen.contract import Clip, MaskedBatch, MaskedModel
from unseen.contract import Source as Samples
from unseen.evaluate.intervals import BOOTSTRAP_LOGS, note, resample, student
from unseen.systems.baselines import log_share, predictions
from unseen.systems.objective import Objective, predict, sample_keys, unit_weights

BATCH, DRAWS = 16, 2000
MODEL, TRAINING_MEAN = "model", "training mean"
Sums = dict[str, np.ndarray]  # weighted losses by what is predicted, one number a sample or a log; "units": weights


@torch.no_grad()
def completion(
    model: MaskedModel, objective: Objective, tested: Samples, trained: Samples, *, samples: int = 512, seed: int = 0
) -> dict[str, Any]:
    """By loss: of the model, the training mean and the trivial `predictions`, on whole samples of `tested` (of a
    long passage its first row).

    The training mean is the mean target over `trained` (for class ids their share, of which a hundredth is spread over
    all): unigram frequencies, for tokens. "against" has the differences (model minus what needs none) with intervals
    over logs: bootstrap of the difference from 20 logs on, Student's t on the logs' own differences from five. For
    class ids the losses are nats, and their exponential, the perplexity, is given too.
    """
    model.eval()
    means = training_means(objective, trained, samples, seed)
    logs: list[str] = []
    parts: list[dict[str, Sums]] = []
    for clip, batch in batches(objective, tested, samples, seed):
        logs += clip["log_id"]
        made = {MODEL: predict(model, batch), **predictions(objective, batch, clip)}
        shape = {name: value.shape for name, value in made[MODEL].items()}
        made[TRAINING_MEAN] = {
            name: mean.prediction.expand(*shape[name][:2], *mean.prediction.shape) for name, mean in means.items()
        }
        parts.append(sample_sums(objective, batch, made))
    number = np.unique(logs, return_inverse=True)[1]
    return {
        name: summary(log_sums([part[name] for part in parts], number), of_ids=means[name].of_ids, seed=seed)
        for name in means
    }


def sample_sums(objective: Objective, batch: MaskedBatch, made: dict[str, dict[str, Tensor]]) -> dict[str, Sums]:
    """By loss: [B] weighted losses of each prediction, and [B] weights."""
    weights = unit_weights(batch)
    found = {name: {"units": weight.sum(dim=1).double().numpy()} for name, weight in weights.items()}
    for kind, prediction in made.items():
        for name, loss in objective.losses(prediction, batch).items():
            found[name][kind] = (loss * weights[name]).sum(dim=1).double().numpy()
    return found


def log_sums(parts: list[Sums], log: np.ndarray) -> Sums:
    """Sums [L] by log of the samples of all parts; in a part where nothing was before, the neighbours stand for it."""
    kinds = dict.fromkeys(kind for part in parts for kind in part)
    columns = {kind: np.concatenate([part.get(kind, part["neighbour"]) for part in parts]) for kind in kinds}
    return {kind: np.bincount(log, column) for kind, column in columns.items()}


class Mean(NamedTuple):
    """What is predicted of a unit when nothing is known but the training."""

    prediction: Tensor  # [*T]; for class ids [V] logits
    of_ids: bool


def training_means(objective: Objective, source: Samples, samples: int, seed: int) -> dict[str, Mean]:
    """The mean target of each loss over the units that count; zeros, or all classes alike, where none does."""
    sums: dict[str, list[Tensor]] = {}
    counts: dict[str, int] = {}
    of_ids: dict[str, bool] = {}
    for _, batch in batches(objective, source, samples, seed):
        for name, target in batch.target.items():
            chosen = target[batch.metadata["weight"][name] > 0]
            of_ids[name] = not target.is_floating_point()
            if of_ids[name]:
                chosen = torch.bincount(chosen, minlength=(objective.target(name).prediction(target) or (0,))[0])[None]
            sums.setdefault(name, []).append(chosen.double().sum(dim=0))
            counts[name] = counts.get(name, 0) + len(chosen)
    means = {name: torch.stack(parts).sum(dim=0) / max(counts[name], 1) for name, parts in sums.items()}
    return {
        name: Mean((log_share(mean[None, None])[0, 0] if of_ids[name] else mean).float(), of_ids[name])
        for name, mean in means.items()
    }


def summary(by_log: Sums, *, of_ids: bool, seed: int) -> dict[str, Any]:
    """From sums per log [L]: losses per unit, and the differences of the model to all others."""
    count = by_log["units"]
    sums = {kind: column[count > 0] for kind, column in by_log.items() if kind != "units"}
    count = count[count > 0]
    if not len(count):
        return {"losses": {}, "against": {}, "n_logs": 0, "units": 0.0}
    losses = {kind: float(column.sum() / count.sum()) for kind, column in sums.items()}
    found: dict[str, Any] = {"losses": losses, "n_logs": len(count), "units": float(count.sum())}
    if of_ids:
        found["perplexity"] = {kind: float(np.exp(value)) for kind, value in losses.items()}
    others = [kind for kind in sums if kind != MODEL]
    return found | {"against": {kind: against(sums[MODEL] - sums[kind], count, seed) for kind in others}}


def against(difference: np.ndarray, count: np.ndarray, seed: int) -> dict[str, Any]:
    """From summed differences and weights per log [L]: the difference that the interval over logs is about.

    Per unit, or below 20 logs the mean of the logs' own differences.
    """
    found: dict[str, Any] = {"difference": float(difference.sum() / count.sum())}
    found["logs_ahead"] = int((difference < 0).sum())
    if len(count) >= BOOTSTRAP_LOGS:
        weight = resample(len(count), DRAWS, seed)
        low, high = np.quantile((weight @ difference) / (weight @ count), [0.025, 0.975])
        method = f"bootstrap over {len(count)} logs, {DRAWS} draws"
        return found | {"low": float(low), "high": float(high), "method": method}
    interval = student(difference / count)
    if interval is None:
        return found | {"low": None, "high": None, "method": note(len(count))}
    return found | {
        "difference": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "method": interval.method,
    }


def batches(objective: Objective, source: Samples, samples: int, seed: int) -> Iterator[tuple[Clip, MaskedBatch]]:
    """Whole samples, evenly spread, under masks that follow from the seed."""
    index = np.linspace(0, len(source) - 1, min(samples, len(source))).round().astype(int)
    for start in range(0, len(index), BATCH):
        clip = source.frames(index[start : start + BATCH], previous=True)
        yield clip, objective.batch(clip, sample_keys(clip, seed, 0, "completion"))
