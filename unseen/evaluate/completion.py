"""Whether a model completes what is hidden on logs that it never saw, better than by how common things are."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unseen.contract import Clip, MaskedBatch, MaskedModel
from unseen.contract import Source as Samples
from unseen.evaluate.intervals import BOOTSTRAP_LOGS, note, resample
from unseen.systems.baselines import log_share
from unseen.systems.objective import Objective, predict, sample_keys, unit_weights

BATCH = 16


@torch.no_grad()
def completion(
    model: MaskedModel, objective: Objective, tested: Samples, trained: Samples, *, samples: int = 512, seed: int = 0
) -> dict[str, Any]:
    """By loss: of the model and of the training mean, on hidden units of whole samples of `tested`.

    The training mean is the mean target over `trained` (for class ids their share, of which a hundredth is spread over
    all): unigram frequencies, for tokens. Differences (model minus that) are resampled by log; below 20 logs no
    interval is given. For class ids the losses are nats, and their exponential, the perplexity, is given too.
    """
    model.eval()
    means = training_means(objective, trained, samples, seed)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in means}
    logs: list[str] = []
    for clip, batch in batches(objective, tested, samples, seed):
        logs += clip["log_id"]
        own = objective.losses(predict(model, batch), batch)
        flat = {name: one.prediction.expand(*own[name].shape, *one.prediction.shape) for name, one in means.items()}
        common = objective.losses(flat, batch)
        for name, count in unit_weights(batch).items():
            sums = [(own[name] * count).sum(dim=1), (common[name] * count).sum(dim=1), count.sum(dim=1)]
            rows[name].append(torch.stack(sums, dim=1).double().numpy())
    number = np.unique(logs, return_inverse=True)[1]
    by_log = {name: [np.bincount(number, column) for column in np.concatenate(part).T] for name, part in rows.items()}
    return {name: summary(*sums, of_ids=means[name].of_ids, seed=seed) for name, sums in by_log.items()}


class Mean(NamedTuple):
    """What is predicted of a unit when nothing is known but the training."""

    prediction: Tensor  # [*T]; for class ids [V] logits
    of_ids: bool


def training_means(objective: Objective, source: Samples, samples: int, seed: int) -> dict[str, Mean]:
    """The mean target of each loss over the units that count."""
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
    means = {name: torch.stack(parts).sum(dim=0) / counts[name] for name, parts in sums.items()}
    return {
        name: Mean((log_share(mean[None, None])[0, 0] if of_ids[name] else mean).float(), of_ids[name])
        for name, mean in means.items()
    }


def summary(own: np.ndarray, mean: np.ndarray, count: np.ndarray, *, of_ids: bool, seed: int) -> dict[str, Any]:
    """From sums per log [L]: losses per unit, their difference, and its interval over logs."""
    losses = {"model": own.sum() / count.sum(), "training mean": mean.sum() / count.sum()}
    found: dict[str, Any] = {"losses": {name: float(value) for name, value in losses.items()}}
    if of_ids:
        found["perplexity"] = {name: float(np.exp(value)) for name, value in losses.items()}
    found |= {
        "difference": float(losses["model"] - losses["training mean"]),
        "n_logs": len(own),
        "units": float(count.sum()),
    }
    if len(own) < BOOTSTRAP_LOGS:
        return found | {"interval": None, "note": note(len(own), BOOTSTRAP_LOGS)}
    weight = resample(len(own), 2000, seed)
    low, high = np.quantile((weight @ (own - mean)) / (weight @ count), [0.025, 0.975])
    return found | {"interval": {"low": float(low), "high": float(high)}}


def batches(objective: Objective, source: Samples, samples: int, seed: int) -> Iterator[tuple[Clip, MaskedBatch]]:
    """Whole samples, evenly spread, under masks that follow from the seed."""
    index = np.linspace(0, len(source) - 1, min(samples, len(source))).round().astype(int)
    for start in range(0, len(index), BATCH):
        clip = source.frames(index[start : start + BATCH])
        yield clip, objective.batch(clip, sample_keys(clip, seed, 0, "completion"))
