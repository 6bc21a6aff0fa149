"""Leaks through time: a hidden place that another slot of the clip shows, in the image or in the world."""

import torch
from jaxtyping import Float
from torch import Tensor

from unseen.contract import Mask

SAMPLES, POINTS = 4, 1024  # clips and target points of each that are compared: distances are quadratic
REACH = 0.75  # a point is seen where a visible one is nearer than so many sub-sample spacings (half a diagonal: 0.71)


def image_leak(mask: Mask, slots: int) -> float:
    """The share of the targets whose place in the image is visible in another slot."""
    target, visible = (part.unflatten(1, (slots, -1)) for part in (mask.target, mask.visible))
    elsewhere = visible.any(dim=1, keepdim=True) & ~visible  # a target itself is not visible
    return float((target & elsewhere).sum() / target.sum().clamp(min=1))


def place_leak(mask: Mask, place: Float[Tensor, "B N S 3"], slots: int) -> float | None:
    """The share of target sub-samples that lie where a visible unit of another slot lies; None where none is known."""
    seen, known = 0, 0
    for row in range(min(SAMPLES, len(mask.target))):
        points = place[row if len(place) > 1 else 0].double()  # [N, S, 3]
        slot = torch.arange(len(points)) // (len(points) // slots)
        reach = REACH * spacing_m(points)
        for number in range(slots):
            wanted = _known(points[mask.target[row] & (slot == number)])
            wanted = wanted[:: max(1, len(wanted) * slots // POINTS)]
            shown = _known(points[mask.visible[row] & (slot != number)])
            known += len(wanted)
            if len(wanted) and len(shown):
                seen += int((torch.cdist(wanted, shown).amin(dim=1) <= reach).sum())
    return seen / known if known else None


def stay_share(place: Float[Tensor, "B N S 3"], slots: int) -> dict[str, float] | None:
    """The share of places in the image that show the same place of the world, within half a unit, one slot on and at
    the end of the clip; of those whose place is known in both."""
    points = place.double().unflatten(1, (slots, -1))  # [B, slots, C, S, 3]
    middle = points.nanmean(dim=3)
    half = (points - middle[:, :, :, None]).norm(dim=4).nan_to_num(0).amax(dim=3)
    if points.shape[3] == 1:
        half = half + spacing_m(points[0].flatten(0, 1)) / 2
    found = {}
    for name, later in (("next_slot", 1), ("whole_clip", slots - 1)):
        moved = (middle[:, 0] - middle[:, later]).norm(dim=2)
        known = moved.isfinite()
        if not known.any():
            return None
        found[name] = float((moved[known] <= half[:, 0][known]).double().mean())
    return found


def spacing_m(points: Float[Tensor, "N S 3"]) -> float:
    """The usual distance between neighbouring sub-samples of a unit; with one sub-sample, between units."""
    some = points[:: max(1, len(points) // 256)]
    if points.shape[1] == 1:
        some = _known(points)[:512][None]
    apart = torch.cdist(some, some)
    apart = apart.masked_fill(torch.eye(apart.shape[1], dtype=torch.bool), torch.inf).nan_to_num(torch.inf)
    nearest = apart.amin(dim=2)
    nearest = nearest[nearest.isfinite()]
    return float(nearest.median()) if len(nearest) else 0.0


def _known(points: Tensor) -> Tensor:
    points = points.reshape(-1, 3)
    return points[points.isfinite().all(dim=1)]
