"""What a loss is worth: the same loss for predictions that need no model. A curve that stays above them is empty."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from unseen.contract import Clip, MaskedBatch
from unseen.packing import gather, pack, packing
from unseen.systems.objective import VISIBLE, Objective, unit_weights
from unseen.units.normalise import apply

NEIGHBOURS = 4


@torch.no_grad()
def baselines(objective: Objective, batch: MaskedBatch, clip: Clip) -> dict[str, dict[str, float]]:
    """The loss of trivial predictions, by the names of the batch's losses and of the predictions.

    null: zeros. mean: the mean target of the visible units of the batch. neighbour: the targets of the four nearest
    visible units of the same sample (a visible unit is no neighbour of itself), weighted by inverse distance.
    previous: the same place one frame before, where the clip brings it; the clip is raw, as the data room gave it.
    Where units fill a grid of slots in time: the last visible unit at the same place in an earlier slot, and neighbour
    where there is none (left out where there is none for any unit).
    Units are weighted as in training. For class ids the same hold of probabilities, smoothed by one part in
    a hundred: null says that every class is as likely, mean how often each is visible, neighbour what lies near.
    """
    names = list(batch.target)
    classes = {name: objective.target(name).prediction(batch.target[name]) for name in names}
    asked, batch = batch, batch._replace(target={n: as_numbers(batch.target[n], classes[n]) for n in names})
    truth = {name: pack(batch.target[name], batch.target_mask[name]) for name in names}
    predictions = {
        "null": {name: torch.zeros_like(truth[name]) for name in names},
        "mean": {name: visible_mean(batch, name).expand_as(truth[name]) for name in names},
        "neighbour": {name: neighbour(batch, name, objective.unit.spacing) for name in names},
    }
    if "previous" in clip:
        predictions["previous"] = previous(objective, batch, clip, names)
    elif len(batch.metadata["grid"] or ()) == 3:
        kept = {name: earlier(batch, name, predictions["neighbour"][name]) for name in names}
        if all(value is not None for value in kept.values()):
            predictions["previous"] = kept  # type: ignore[assignment]
    for name in names:
        if not asked.target[name].is_floating_point():
            for baseline in ("mean", "neighbour"):
                predictions[baseline][name] = log_share(predictions[baseline][name])
            predictions.get("previous", {}).pop(name, None)
    weights, batch = unit_weights(asked), asked
    table: dict[str, dict[str, float]] = {name: {} for name in names}
    for baseline, prediction in predictions.items():
        for name, loss in objective.losses(prediction, batch).items():
            weight = weights[name]
            table[name][baseline] = float((loss * weight).sum() / weight.sum().clamp(min=1e-12))
    return table


def as_numbers(target: Tensor, prediction: tuple[int, ...] | None) -> Float[Tensor, "B N *T"]:
    """A target as numbers that may be averaged: class ids [B, N] become one-hot [B, N, V]."""
    if target.is_floating_point() or prediction is None:
        return target
    return torch.nn.functional.one_hot(target.clamp(min=0), prediction[0]).float()


def log_share(share: Float[Tensor, "B K V"]) -> Float[Tensor, "B K V"]:
    """Logits of a share per class, of which a hundredth is given to all classes alike."""
    total = share.sum(dim=-1, keepdim=True).clamp(min=1e-12)
    return (0.99 * share / total + 0.01 / share.shape[-1]).log()


def visible_mean(batch: MaskedBatch, name: str) -> Float[Tensor, "*T"]:
    """The mean target over the visible units of all samples, those that count nothing left out while any counts."""
    weight = batch.metadata["weight"][name] * batch.visible_mask
    chosen = weight > 0 if (weight > 0).any() else batch.visible_mask
    return batch.target[name][chosen].mean(dim=0)


def neighbour(batch: MaskedBatch, name: str, spacing: tuple[float, ...]) -> Float[Tensor, "B K *T"]:
    """Inverse-distance mean over the nearest visible units of the same sample, in steps of `spacing`; packed."""
    wanted, seen = packing(batch.target_mask[name]), packing(batch.visible_mask)
    centre = batch.metadata["centre"]
    centre = centre / centre.new_tensor(spacing)
    distance = torch.cdist(gather(centre, wanted), gather(centre, seen))  # [B, K, V]
    unusable = wanted.index[:, :, None] == seen.index[:, None, :]
    if seen.live is not None:
        unusable = unusable | ~seen.live[:, None, :]
    distance, nearest = distance.masked_fill(unusable, torch.inf).topk(
        min(NEIGHBOURS, distance.shape[2]), largest=False
    )
    share = 1 / distance.clamp(min=1e-6)
    share = share / share.sum(dim=2, keepdim=True).clamp(min=1e-12)
    known = gather(batch.target[name], seen).flatten(2)
    rows = torch.arange(len(known), device=known.device)[:, None, None]
    mixed = (known[rows, nearest] * share[..., None]).sum(dim=2)  # a unit without neighbours gets zeros
    return mixed.unflatten(2, batch.target[name].shape[2:])


def earlier(batch: MaskedBatch, name: str, otherwise: Float[Tensor, "B K *T"]) -> Float[Tensor, "B K *T"] | None:
    """The target at the same place in the last earlier slot where it is visible, packed; None where none ever is."""
    slots, *plane = batch.metadata["grid"] or (1,)
    n_places, device = math.prod(plane), batch.visible_mask.device
    slot = torch.arange(slots, device=device)[None, :, None]
    seen = torch.where(batch.visible_mask.unflatten(1, (slots, n_places)), slot, -1).cummax(dim=1).values
    before = torch.cat([torch.full_like(seen[:, :1], -1), seen[:, :-1]], dim=1)
    index = (before.clamp(min=0) * n_places + torch.arange(n_places, device=device)).flatten(1)
    there = pack((before >= 0).flatten(1), batch.target_mask[name])
    if not there.any():
        return None
    rows = torch.arange(len(index), device=device)[:, None]
    held = pack(batch.target[name][rows, index], batch.target_mask[name])
    return torch.where(there.view(*there.shape, *[1] * (held.ndim - 2)), held, otherwise)


def previous(objective: Objective, batch: MaskedBatch, clip: Clip, names: list[str]) -> dict[str, Tensor]:
    """The targets of the frame before at the same places, normalised like the frame itself; packed."""
    before = apply(objective.normalise, clip)
    before["image"] = before["previous"]
    values, units = objective.unit.cut(before)
    made = {}
    for name in names:
        target = objective.targets[name.removesuffix(VISIBLE)].target
        made[name] = pack(target.make(values, units, before), batch.target_mask[name])
    return made
