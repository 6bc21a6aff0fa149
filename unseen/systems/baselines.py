"""What a loss is worth: the same loss for predictions that need no model. A curve that stays above them is empty."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from unseen.contract import Clip, MaskedBatch
from unseen.packing import gather, pack, packing
from unseen.systems.objective import Objective, unit_weights
from unseen.units.normalise import apply

NEIGHBOURS = 4


@torch.no_grad()
def baselines(objective: Objective, batch: MaskedBatch, clip: Clip) -> dict[str, dict[str, float]]:
    """The loss of `predictions`, by the names of the batch's losses and of the predictions; weighted as in training."""
    weights = unit_weights(batch)
    table: dict[str, dict[str, float]] = {name: {} for name in batch.target}
    for kind, prediction in predictions(objective, batch, clip).items():
        for name, loss in objective.losses(prediction, batch).items():
            weight = weights[name]
            table[name][kind] = float((loss * weight).sum() / weight.sum().clamp(min=1e-12))
    return table


def predictions(objective: Objective, batch: MaskedBatch, clip: Clip) -> dict[str, dict[str, Tensor]]:
    """What needs no model, packed like a model's predictions: by the names here, then by those of the batch's losses.

    null: zeros. mean: the mean target of the visible units of the batch. neighbour: the targets of the four nearest
    visible units of the same sample (a visible unit is no neighbour of itself), weighted by inverse distance.
    previous: the same place one frame before, where the clip brings it; the clip is raw, as the data room gave it.
    Where units fill a grid of slots in time: the last visible unit at the same place in an earlier slot. Where nothing
    was before it is neighbour, and where that holds for the whole batch it is left out.
    For class ids the same hold of probabilities, smoothed by one part in a hundred: null says that every class is as
    likely, mean how often each is visible, neighbour what lies near, previous what was there.
    """
    of_ids = [name for name, target in batch.target.items() if not target.is_floating_point()]
    numbers = {name: as_numbers(objective, name, target) for name, target in batch.target.items()}
    batch = batch._replace(target=numbers)
    made: dict[str, dict[str, Tensor]] = {kind: {} for kind in ("null", "mean", "neighbour")}
    for name, target in numbers.items():
        made["null"][name] = torch.zeros_like(pack(target, batch.target_mask[name]))
        made["mean"][name] = visible_mean(batch, name).expand_as(made["null"][name])
        made["neighbour"][name] = neighbour(batch, name, objective.unit.spacing)
    made["previous"] = before(objective, batch, clip, made["neighbour"])
    for name in of_ids:
        for kind in ("mean", "neighbour", "previous"):
            if name in made[kind]:
                made[kind][name] = log_share(made[kind][name])
    return made


def as_numbers(objective: Objective, name: str, target: Tensor) -> Float[Tensor, "B N *T"]:
    """A target as numbers that may be averaged: class ids [B, N] become one-hot [B, N, V]."""
    prediction = None if target.is_floating_point() else objective.target(name).prediction(target)
    if prediction is None:
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


def before(
    objective: Objective, batch: MaskedBatch, clip: Clip, otherwise: dict[str, Float[Tensor, "B K *T"]]
) -> dict[str, Float[Tensor, "B K *T"]]:
    """What was at the same place before, packed; `otherwise` where nothing was; no entry where nothing ever was."""
    found = {}
    if "previous" in clip:
        found = previous(objective, batch, clip)
    elif len(batch.metadata["grid"] or ()) == 3:
        found = {name: earlier(batch, name) for name in batch.target}
    return {
        name: torch.where(there.view(*there.shape, *[1] * (past.ndim - there.ndim)), past, otherwise[name])
        for name, (past, there) in found.items()
        if there.any()
    }


def earlier(batch: MaskedBatch, name: str) -> tuple[Float[Tensor, "B K *T"], Bool[Tensor, "B K"]]:
    """The target at the same place in the last earlier slot where it is visible, and where there is one; packed."""
    slots, *plane = batch.metadata["grid"] or (1,)
    n_places, device = math.prod(plane), batch.visible_mask.device
    slot = torch.arange(slots, device=device)[None, :, None]
    seen = torch.where(batch.visible_mask.unflatten(1, (slots, n_places)), slot, -1).cummax(dim=1).values
    last = torch.cat([torch.full_like(seen[:, :1], -1), seen[:, :-1]], dim=1)
    index = (last.clamp(min=0) * n_places + torch.arange(n_places, device=device)).flatten(1)
    rows = torch.arange(len(index), device=device)[:, None]
    held = pack(batch.target[name][rows, index], batch.target_mask[name])
    return held, pack((last >= 0).flatten(1), batch.target_mask[name])


def previous(
    objective: Objective, batch: MaskedBatch, clip: Clip
) -> dict[str, tuple[Float[Tensor, "B K *T"], Bool[Tensor, "B"]]]:
    """The targets of the frame before at the same places, normalised like the frame itself, and where there is one."""
    there = clip.get(
        "previous_there", torch.ones(len(clip["previous"]), dtype=torch.bool, device=clip["previous"].device)
    )
    past = apply(objective.normalise, clip)
    past["image"] = past["previous"]
    values, units = objective.unit.cut(past)
    return {
        name: (pack(as_numbers(objective, name, objective.target(name).make(values, units, past)), mask), there)
        for name, mask in batch.target_mask.items()
    }
