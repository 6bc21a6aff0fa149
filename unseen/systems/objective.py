"""The objective: clip -> MaskedBatch -> loss per unit. The same lines for every modality and every system."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unseen.contract import (
    Bound,
    Clip,
    Corruption,
    Mask,
    MaskedBatch,
    MaskedModel,
    MaskPolicy,
    Metadata,
    Output,
    Shapes,
    Target,
    Unbound,
    Unit,
    Units,
    walk,
)
from unseen.errors import UnseenError
from unseen.packing import pack
from unseen.precision import resolve_precision
from unseen.randomness import keys, uniform
from unseen.systems.cues import Importance, correction
from unseen.units.normalise import Normalise, apply

WITHHELD = ("weight", "inclusion")  # of the metadata: made of content, or of what only the policy knows
VISIBLE = ".visible"  # suffix of the loss that a target takes on visible units: logged apart from completion


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One target of a recipe and what it counts."""

    target: Target
    weight: float = 1.0  # of its loss on hidden units; 0: not predicted there
    visible_weight: float = 0.0  # of its loss on visible units, through a head on the encoder itself; 0: not predicted


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """From clips to masked batches and losses: what is hidden, what is predicted there, and what each loss counts."""

    normalise: Normalise | None  # None: the content is no image
    unit: Unit
    mask: MaskPolicy
    targets: dict[str, Term]
    corruption: Corruption | None = None  # None: hidden units are not read, visible ones as they are
    importance: Importance | None = None  # what is sparse and matters, for masks that favour it
    correct: bool = False  # divide losses by the probability to be hidden, where the mask knows it: no emphasis
    decode: float = 1.0  # share of the hidden units that is predicted: a uniform sample, so the mean stays unbiased

    def __post_init__(self) -> None:
        if not 0 < self.decode <= 1:
            raise UnseenError(f"decode is {self.decode}", "it is a share of the hidden units, above 0 and at most 1")
        for name, term in self.targets.items():
            if name.endswith(VISIBLE):
                raise UnseenError(f"a target is called {name!r}", f"{VISIBLE!r} marks a loss on visible units")
            if not all(math.isfinite(weight) and weight >= 0 for weight in (term.weight, term.visible_weight)):
                raise UnseenError(
                    f"target {name!r} weighs {term.weight} and {term.visible_weight}", "a weight is finite, 0 or more"
                )
        if not self.weights():
            raise UnseenError("no target weighs anything", "an objective has at least one loss", "raise a weight")

    def batch(self, clip: Clip, key: Int64[Tensor, "B"]) -> MaskedBatch:
        """Normalise, cut, mask, make the targets and corrupt; `key` is one random key per sample."""
        clip = apply(self.normalise, clip)
        values, units = self.unit.cut(clip)
        if self.importance is not None:
            units = self.importance(values, units, clip, self.unit)
        metadata = Metadata(centre=units.centre, valid=units.valid, grid=units.grid)
        for name in ("log_id", "timestamp_ns"):
            if name in clip:
                metadata[name] = clip[name]
        mask = masked(self.mask, units, key, metadata)
        if mask.inclusion is not None:
            metadata["inclusion"] = mask.inclusion
        hidden = sample(mask.target, self.decode, key)
        target: dict[str, Tensor] = {}
        target_mask: dict[str, Tensor] = {}
        metadata["weight"] = {}
        for name, term in self.targets.items():
            places = {name: hidden} if term.weight > 0 else {}
            if term.visible_weight > 0:
                places[name + VISIBLE] = mask.visible
            if places:
                target |= dict.fromkeys(places, term.target.make(values, units, clip))
                target_mask |= places
                metadata["weight"] |= dict.fromkeys(places, term.target.weight(values, units, clip))
                if name in places and mask.inclusion is not None and self.correct:
                    metadata["weight"][name] = metadata["weight"][name] * correction(mask.inclusion)
        if self.corruption is not None:
            values, mask = self.corruption(values, mask, key)
        return MaskedBatch(values, mask.visible, target, target_mask, metadata)

    def shapes(self, batch: MaskedBatch) -> Shapes:
        """What a model must know to be built for batches like this one."""
        outputs = {
            name: Output(self.target(name).prediction(value), "visible" if name.endswith(VISIBLE) else "hidden")
            for name, value in batch.target.items()
        }
        return Shapes(tuple(batch.input.shape[2:]), tuple(self.unit.spacing), batch.metadata["grid"], outputs)

    def weights(self) -> dict[str, float]:
        """What each loss counts in the total, by the names of the batch's targets."""
        pairs = {name: term.weight for name, term in self.targets.items()}
        pairs |= {name + VISIBLE: term.visible_weight for name, term in self.targets.items()}
        return {name: weight for name, weight in pairs.items() if weight > 0}

    def losses(self, prediction: dict[str, Tensor], batch: MaskedBatch) -> dict[str, Float[Tensor, "B K"]]:
        """The loss of every predicted unit, unreduced; padding is zero."""
        truth = walk(pack, batch.target, batch.target_mask)
        return {name: self.target(name).loss(value, truth[name]) for name, value in prediction.items()}

    def target(self, name: str) -> Target:
        """The target behind a loss, on hidden or on visible units."""
        return self.targets[name.removesuffix(VISIBLE)].target

    @property
    def read_and_scored(self) -> frozenset[str]:
        """The losses whose units the model may also read: those on visible units, and all under a corruption."""
        every = frozenset(self.weights())
        return every if self.corruption is not None else frozenset(name for name in every if name.endswith(VISIBLE))

    def bind(self, model: MaskedModel, precision: str = "auto") -> "Objective":
        """The same objective, in which every target that a network makes has that network, where the model is.

        `precision` is that of the run; "auto" follows the hardware.
        """
        device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
        precision = resolve_precision(precision, device)
        bound = {
            name: replace(term, target=term.target.bind(model, self, precision))
            if isinstance(term.target, Unbound)
            else term
            for name, term in self.targets.items()
        }
        objective = replace(self, targets=bound)
        for network in objective.networks().values():
            network.to(device)
        return objective

    def networks(self) -> dict[str, nn.Module]:
        """The networks of bound targets, by target name."""
        return {name: term.target.network for name, term in self.targets.items() if isinstance(term.target, Bound)}

    def follow(self, model: MaskedModel, done: float) -> None:
        """After a step of the optimiser, of which share `done` is behind: let those networks follow the model."""
        for term in self.targets.values():
            if isinstance(term.target, Bound):
                term.target.follow(model, done)


def predict(model: MaskedModel, batch: MaskedBatch) -> dict[str, Tensor]:
    """Give the model the visible units, and nothing else of the content: weights are made of hidden units too."""
    x_visible = walk(pack, batch.input, batch.visible_mask)
    known: Any = {name: value for name, value in batch.metadata.items() if name not in WITHHELD}
    return model(x_visible, batch.visible_mask, batch.target_mask, Metadata(**known))


def unit_weights(batch: MaskedBatch) -> dict[str, Float[Tensor, "B K"]]:
    """How much each predicted unit counts, packed like the losses; padding counts nothing."""
    return {name: pack(batch.metadata["weight"][name], mask) for name, mask in batch.target_mask.items()}


def other_weights(batch: MaskedBatch, objective: Objective) -> dict[str, Float[Tensor, "B K"]]:
    """Where the mask knows how likely it hides a unit: the weights of hidden units under the other setting of
    `correct`, so that both losses can stand in the log; empty where it does not."""
    if "inclusion" not in batch.metadata:
        return {}
    factor = correction(batch.metadata["inclusion"])
    factor = 1 / factor.clamp(min=1e-12) if objective.correct else factor
    return {
        name: pack(batch.metadata["weight"][name] * factor, mask)
        for name, mask in batch.target_mask.items()
        if not name.endswith(VISIBLE)
    }


def total(
    losses: dict[str, Tensor], counted: dict[str, Tensor], sums: dict[str, Tensor], objective: Objective
) -> Tensor:
    """Weighted sum over targets of sum(loss * weight) / sums; `sums` counts units over the whole step and all ranks."""
    factor = objective.weights()
    parts = [factor[name] * (loss * counted[name]).sum() / sums[name].clamp(min=1e-12) for name, loss in losses.items()]
    return torch.stack(parts).sum()


def masked(policy: MaskPolicy, units: Units, key: Int64[Tensor, "B"], metadata: Metadata) -> Mask:
    """What a policy chooses among the units that may be hidden; those of importance 0 are always visible."""
    if bool((units.importance > 0).all()):
        return policy(units, key, metadata)
    mask = policy(units._replace(valid=units.eligible), key, metadata)
    return mask._replace(visible=mask.visible | (units.valid & ~units.eligible))


def sample(mask: Bool[Tensor, "B N"], share: float, key: Int64[Tensor, "B"]) -> Bool[Tensor, "B N"]:
    """Keep a uniform sample of `round(count * share)` units, at least one, of each row."""
    if share >= 1:
        return mask
    count = mask.sum(dim=1)
    keep = (count * share).round().long().clamp(min=1).minimum(count)
    score = uniform(key ^ 0x5A3B1E, mask.shape[1]).masked_fill(~mask, torch.inf)
    chosen = torch.zeros_like(mask)
    order = score.argsort(dim=1, stable=True)
    return chosen.scatter(1, order, torch.arange(mask.shape[1], device=mask.device) < keep[:, None])


def sample_keys(clip: Clip, seed: int, visit: int | Int64[Tensor, "B"], purpose: str = "mask") -> Int64[Tensor, "B"]:
    """One key per sample of a clip; `visit` is an epoch, or each sample's position in the order of the run."""
    return keys(seed, clip["sample_id"], visit, purpose)
