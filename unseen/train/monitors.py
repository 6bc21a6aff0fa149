"""The same frames under the same masks at every look: losses beside their floors, by class, and pictures."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unseen.contract import Clip, MaskedBatch, MaskedModel, Watched, walk
from unseen.data.cameras import IGNORE
from unseen.packing import pack
from unseen.precision import autocast
from unseen.systems.baselines import baselines
from unseen.systems.cues import labels_of
from unseen.systems.objective import VISIBLE, Objective, other_weights, predict, sample_keys, unit_weights
from unseen.systems.spectrum import effective_rank
from unseen.train.distributed import to_device
from unseen.train.pictures import draw
from unseen.units.normalise import apply

CHUNK = 8  # whole frames at once: several times the units of a training crop
PICTURES = 6

Sums = dict[str, tuple[float, float]]  # weighted losses and weights


class Monitor:
    """Looks at a model through a fixed clip of whole frames, every hidden unit of which is predicted."""

    def __init__(self, objective: Objective, clip: Clip, seed: int, class_names: tuple[str, ...], device: torch.device):
        self.objective, self.seed, self.class_names = replace(objective, decode=1.0), seed, class_names
        self.clips = [to_device(part, device) for part in chunks(clip, CHUNK)]
        self._make()
        self.shares = {
            "visible_share": share([batch.visible_mask for batch in self.batches]),
            "target_share": share([hidden_mask(batch) for batch in self.batches]),
        }

    @torch.no_grad()
    def _make(self) -> None:
        """The batches and the losses of their floors; made again where a target's network has moved."""
        self.batches = [self.objective.batch(part, sample_keys(part, self.seed, 0, "monitor")) for part in self.clips]
        self.floors = self._floors()

    @torch.no_grad()
    def measure(self, model: MaskedModel, precision: str) -> dict[str, Any]:
        """Losses and their floors by name, loss on hidden units by class, shares, effective rank of the features.

        The features are those that a user gets: of all units of the whole samples, nothing hidden.
        """
        if self.objective.networks():
            self._make()
        sums, others = Sums(), Sums()
        tally = ClassTally(self.class_names)
        features: list[Tensor] = []
        with looking(model):
            for clip, batch in zip(self.clips, self.batches, strict=True):
                with autocast(batch.input.device, precision):
                    prediction = predict(model, batch)
                    features += unmasked(model, self.objective, clip)
                losses = self.objective.losses(walk(Tensor.float, prediction), batch)
                weight = unit_weights(batch)
                add_up(sums, losses, weight)
                add_up(others, losses, other_weights(batch, self.objective))
                if "label" in clip:
                    self._by_class(tally, clip, batch, losses, weight)
        out: dict[str, Any] = {"losses": means(sums)}
        if others:
            out["losses_as_drawn" if self.objective.correct else "losses_corrected"] = means(others)
        if nats := [name for name, target in self.batches[0].target.items() if not target.is_floating_point()]:
            out["nats"] = nats  # cross-entropies over class ids
        out |= {"baselines": self.floors, "by_class": tally.table(), **self.shares}
        for part in model.modules():
            out |= part.measures() if isinstance(part, Watched) else {}
        if features:
            out["effective_rank"] = effective_rank(torch.cat(features))
        return out

    @torch.no_grad()
    def draw(self, model: MaskedModel, precision: str, path: Path) -> bool:
        """Write pictures of a few frames, where a target is made of pixels; whether there was one."""
        clip = next(chunks(self.clips[0], PICTURES))
        batch = self.objective.batch(clip, sample_keys(clip, self.seed, 0, "monitor"))
        with looking(model):
            with autocast(batch.input.device, precision):
                prediction = walk(Tensor.float, predict(model, batch))
        return draw(self.objective, clip, batch, prediction, path)

    def _floors(self) -> dict[str, dict[str, float]]:
        """The baselines over all chunks, each counting by its units; one without a past counts its neighbours."""
        pairs = list(zip(self.clips, self.batches, strict=True))
        rows = [baselines(self.objective, batch, clip) for clip, batch in pairs]
        units = [unit_weights(batch) for batch in self.batches]
        table: dict[str, dict[str, float]] = {}
        for name in rows[0]:
            count = [float(weight[name].sum()) for weight in units]
            kinds = dict.fromkeys(kind for row in rows for kind in row[name])
            table[name] = {
                kind: sum(n * row[name].get(kind, row[name]["neighbour"]) for n, row in zip(count, rows, strict=True))
                / max(sum(count), 1e-12)
                for kind in kinds
            }
        return table

    def _by_class(
        self,
        tally: "ClassTally",
        clip: Clip,
        batch: MaskedBatch,
        losses: dict[str, Tensor],
        weight: dict[str, Tensor],
    ) -> None:
        classes = unit_classes(self.objective, clip)
        factor = self.objective.weights()
        hidden = [name for name in losses if not name.endswith(VISIBLE)]
        for name in hidden:
            tally.add(pack(classes, batch.target_mask[name]), losses[name], factor[name] * weight[name])


class ClassTally:
    """Loss on hidden units by the class that most of their pixels have, averaged over targets by what they count."""

    def __init__(self, names: tuple[str, ...]):
        self.names = names
        self.sums: dict[int, list[float]] = {}

    def add(self, classes: Int64[Tensor, "B K"], loss: Float[Tensor, "B K"], weight: Float[Tensor, "B K"]) -> None:
        """Add units [B, K] by their class; those that weigh nothing, and ignored ones, are left out."""
        for number in classes[weight > 0].unique().tolist():
            if number != IGNORE:
                chosen = (classes == number) & (weight > 0)
                entry = self.sums.setdefault(number, [0.0, 0.0, 0.0])
                entry[0] += float((loss * weight)[chosen].double().sum())
                entry[1] += float(weight[chosen].double().sum())
                entry[2] += int(chosen.sum())

    def table(self) -> dict[str, dict[str, float]]:
        """By class: loss, and the number of units that it is the mean of."""
        return {
            self.names[number] if number < len(self.names) else str(number): {"loss": error / weight, "units": units}
            for number, (error, weight, units) in sorted(self.sums.items())
        }


def add_up(sums: Sums, losses: dict[str, Tensor], weights: dict[str, Tensor]) -> None:
    """Add weighted losses and weights, by name of the weights."""
    for name, weight in weights.items():
        error, count = sums.get(name, (0.0, 0.0))
        sums[name] = (error + float((losses[name] * weight).double().sum()), count + float(weight.double().sum()))


def means(sums: Sums) -> dict[str, float]:
    """Sums over their weights, by name."""
    return {name: error / max(count, 1e-12) for name, (error, count) in sums.items()}


def unit_classes(objective: Objective, clip: Clip) -> Int64[Tensor, "B N"]:
    """The class of most pixels of each unit; 255 where that is to be ignored, or does not show the labelled frame."""
    classes, shown = labels_of(objective.unit, clip)
    return torch.where(shown, classes.mode(dim=2).values, IGNORE)


def hidden_mask(batch: MaskedBatch) -> Bool[Tensor, "B N"]:
    """The hidden units that are predicted, the same for every target; none where all losses are on visible units."""
    masks = (mask for name, mask in batch.target_mask.items() if not name.endswith(VISIBLE))
    return next(masks, torch.zeros_like(batch.visible_mask))


def share(masks: list[Tensor]) -> float:
    """How much of all units the masks choose."""
    return sum(int(mask.sum()) for mask in masks) / sum(mask.numel() for mask in masks)


def chunks(clip: Clip, size: int) -> Iterator[Clip]:
    """The clip in pieces of at most `size` samples."""
    for start in range(0, len(clip["sample_id"]), size):
        yield Clip(**{name: value[start : start + size] for name, value in clip.items()})  # type: ignore


def unmasked(model: MaskedModel, objective: Objective, clip: Clip) -> list[Float[Tensor, "n D"]]:
    """Features of the units that exist, nothing hidden; an empty list for a model without an encoder of units."""
    of_units = getattr(getattr(model, "encoder", None), "of_units", None)
    if of_units is None:
        return []
    values, units = objective.unit.cut(apply(objective.normalise, clip))
    [features] = of_units(values, units, 1)
    return [features[units.valid].float()]


@contextmanager
def looking(model: MaskedModel) -> Iterator[None]:
    """Evaluation mode for a while."""
    training = model.training
    model.eval()
    try:
        with torch.compiler.set_stance("force_eager"):  # a look at other shapes is not worth a compilation
            yield
    finally:
        model.train(training)
