"""Leaks through time: does a mask of a clip hide places, or only pixels?

Numbers about one mask, in the image and in the world that its units show. `seen` says which unit shows each sampled
place in each frame (`geometry.places.seen_at`); it may come from truer depth and poses than the mask did, and then it
judges them too. Samples of a unit stand for equal parts of its area.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from unseen.contract import Clip, Mask, MaskPolicy, Units
from unseen.geometry.motion import poses_at, rotation
from unseen.geometry.places import Shots, clip_places, is_direction, seen_at
from unseen.masks.choose import grid_3d
from unseen.randomness import normal
from unseen.systems.objective import masked

RANGES_M = (0.0, 5.0, 10.0, 20.0, 40.0, 80.0)


class PlaceAudit(NamedTuple):
    """Means over a batch of clips; NaN where there is nothing to count."""

    leak: float  # share of the target area that another slot shows the model; 1 % at most is the aim
    again: float  # share of the target area, where it is in view in another slot, that is target there too
    stay: float  # share of the units of the first frame whose place keeps to them, in all frames: what moves otherwise
    in_view: float  # share of known places that another frame shows, over places and other frames
    unknown: float  # share of units none of whose places is known
    steady: float  # intersection over union of the targets with those under errors of poses (`shaken`)
    counts: list[tuple[int, int]]  # (visible, target) units of each slot, of the first clip
    visible_by_range: list[float]  # share of the area that is visible: the bins of RANGES_M and beyond, directions


def image_leak(mask: Mask, slots: int) -> float:
    """The share of the targets whose place in the image is visible in another slot."""
    target, visible = (part.unflatten(1, (slots, -1)) for part in (mask.target, mask.visible))
    elsewhere = visible.any(dim=1, keepdim=True) & ~visible  # a target itself is not visible
    return float((target & elsewhere).sum() / target.sum().clamp(min=1))


def audit_places(
    policy: MaskPolicy, units: Units, clip: Clip, key: Int64[Tensor, "B"], *, samples: int = 8
) -> PlaceAudit | None:
    """What a policy does to the places of a clip's video, judged at `samples` x `samples` points of each unit.

    `units` are what the clip was cut into; the mask is made of the places that they have. None where the clip is no
    video, or lacks poses or calibration.
    """
    if "video" not in clip:
        return None
    grid, frames = grid_3d(units), clip["video"].shape[1]
    tube, size = frames // grid[0], (clip["video"].shape[3], clip["video"].shape[4])
    fine = clip_places(clip, grid, tube, samples=samples)
    if fine is None:
        return None
    k, poses, depth = clip["intrinsics"], clip["world_from_camera"], clip.get("depth_m")
    seen = seen_at(fine, grid, k, poses, size, tube, depth)
    mask, true, shots = masked(policy, units, key, {}), units._replace(place=fine), Shots.of(k, poses, size[0])
    return PlaceAudit(
        leak=_mean(leak_share(mask, true, seen)),
        again=_mean(again_share(mask, true, seen)),
        stay=_mean(stay_share(fine, shots, size, grid)),
        in_view=_mean(in_view_share(true, seen)),
        unknown=_mean(unknown_share(units)),
        steady=_steady(policy, units, clip, key, mask),
        counts=[(int(v), int(t)) for v, t in slot_counts(mask, units)[0]],
        visible_by_range=visible_by_range(mask, true, shots.positions_m(grid[0])).nanmean(dim=0).tolist(),
    )


def _steady(policy: MaskPolicy, units: Units, clip: Clip, key: Tensor, mask: Mask) -> float:
    if units.place is None or "frame_time_s" not in clip or clip["video"].shape[1] < 2:
        return float("nan")
    grid, n_samples = grid_3d(units), units.place.shape[2]
    tube = clip["video"].shape[1] // grid[0]
    shaky = Clip(**clip)
    shaky["world_from_camera"] = shaken(clip["world_from_camera"], clip["frame_time_s"], key)
    place = clip_places(shaky, grid, tube, samples=round((n_samples / tube) ** 0.5))
    return _mean(overlap(mask.target, masked(policy, units._replace(place=place), key, {}).target))


def leak_share(mask: Mask, units: Units, seen: Int64[Tensor, "B N S T"]) -> Float64[Tensor, "B"]:
    """The share of the target area with a known place that a visible unit of another slot shows."""
    elsewhere = _elsewhere(units, seen)
    leaked = (_role(mask.visible, seen) & elsewhere).any(dim=-1)
    return _share(leaked, mask.target[..., None] & _known(units))


def again_share(mask: Mask, units: Units, seen: Int64[Tensor, "B N S T"]) -> Float64[Tensor, "B"]:
    """Of the target area that another slot has in view, over frames: the share that is target there too."""
    return _share(_role(mask.target, seen), _elsewhere(units, seen) & mask.target[..., None, None])


def in_view_share(units: Units, seen: Int64[Tensor, "B N S T"]) -> Float64[Tensor, "B"]:
    """Of the known places of all units, over the frames of other slots: the share that is in view."""
    slot, n_frames = _slot(units), seen.shape[3]
    other = slot[:, None, None] != torch.arange(n_frames, device=seen.device) // (n_frames // grid_3d(units)[0])
    return _share(seen >= 0, other & (_known(units) & units.valid[..., None])[..., None])


def unknown_share(units: Units) -> Float64[Tensor, "B"]:
    """The share of the units that show no known place."""
    return _share(~_known(units).any(dim=2), units.valid)


def slot_counts(mask: Mask, units: Units) -> Int64[Tensor, "B slots 2"]:
    """How many units of each slot are visible, and how many are target."""
    slots = grid_3d(units)[0]
    return torch.stack([part.unflatten(1, (slots, -1)).sum(dim=2) for part in mask[:2]], dim=-1)


def overlap(one: Bool[Tensor, "B N"], other: Bool[Tensor, "B N"]) -> Float64[Tensor, "B"]:
    """Intersection over union of two sets of units: how much of a mask noise leaves as it was."""
    return _share(one & other, one | other)


def visible_by_range(
    mask: Mask, units: Units, position_m: Float[Tensor, "B slots 3"], edges_m: tuple[float, ...] = RANGES_M
) -> Float64[Tensor, "B bins"]:
    """For places by their distance from the camera of their slot, and for directions last: the visible share."""
    place = _place(units)
    away = (place - position_m[:, _slot(units), None].to(place)).norm(dim=-1)
    away = away.masked_fill(is_direction(place), torch.inf)
    counted, bins = _known(units) & units.valid[..., None], []
    for low, high in zip(edges_m, (*edges_m[1:], float("inf")), strict=True):
        bins.append(counted & (away >= low) & (away < high))
    bins.append(counted & away.isinf())
    return torch.stack([_share(mask.visible[..., None].expand_as(part), part) for part in bins], dim=1)


def stay_share(
    place: Float[Tensor, "B N S 3"], shots: Shots, image_px: tuple[int, int], grid: tuple[int, int, int]
) -> Float64[Tensor, "B"]:
    """Of the units of the first frame whose middle place is known: the share that lies within half a unit of where it
    was, in all frames. What a static tube would have to be for hiding to hide."""
    first = place[:, : grid[1] * grid[2]]
    middle = first[:, :, first.shape[2] * grid[0] // shots.intrinsics.shape[1] // 2]
    u, v, depth = shots.project(middle.double()).unbind(dim=-1)
    height, width = image_px[0] / grid[1], image_px[1] / grid[2]
    near = ((u - u[:, :1]).abs() <= width / 2) & ((v - v[:, :1]).abs() <= height / 2) & (depth > 0)
    return _share(near.all(dim=1), ~middle.isnan().any(dim=-1) & ~is_direction(middle))


def shaken(
    world_from_camera: Float[Tensor, "B T 4 4"],
    frame_time_s: Float[Tensor, "B T"],
    key: Int64[Tensor, "B"],
    *,
    turn_deg: float = 0.1,
    shift_m: float = 0.05,
    time_s: float = 0.01,
) -> Float64[Tensor, "B T 4 4"]:
    """The poses with normal errors of these standard deviations, along each axis and for each frame apart."""
    n_frames = world_from_camera.shape[1]
    turn, shift, late = normal(key, 7 * n_frames).split([3 * n_frames, 3 * n_frames, n_frames], dim=1)
    noisy = poses_at(world_from_camera.double(), frame_time_s.double(), frame_time_s.double() + time_s * late)
    noisy[..., :3, :3] = noisy[..., :3, :3] @ rotation(turn.unflatten(1, (n_frames, 3)) * torch.pi / 180 * turn_deg)
    noisy[..., :3, 3] += shift.unflatten(1, (n_frames, 3)) * shift_m
    return noisy


def _place(units: Units) -> Tensor:
    if units.place is None:
        return torch.full((*units.valid.shape, 1, 3), torch.nan, device=units.valid.device)
    return units.place


def _known(units: Units) -> Bool[Tensor, "B N S"]:
    return ~_place(units).isnan().any(dim=-1)


def _slot(units: Units) -> Int64[Tensor, "N"]:
    _, rows, columns = grid_3d(units)
    return torch.arange(units.valid.shape[1], device=units.valid.device) // (rows * columns)


def _elsewhere(units: Units, seen: Tensor) -> Bool[Tensor, "B N S T"]:
    """Whether a place is in view in a frame of another slot than its own."""
    slot = _slot(units)
    return (seen >= 0) & (slot[seen.clamp(min=0)] != slot[:, None, None])


def _role(chosen: Bool[Tensor, "B N"], seen: Tensor) -> Bool[Tensor, "B N S T"]:
    """Whether the unit that shows a place in a frame is among the chosen."""
    return chosen.gather(1, seen.clamp(min=0).flatten(1)).view_as(seen) & (seen >= 0)


def _share(part: Tensor, whole: Tensor) -> Float64[Tensor, "B"]:
    """How much of `whole` is in `part`, per sample; NaN where there is nothing."""
    whole = whole.expand(torch.broadcast_shapes(part.shape, whole.shape))
    return (part & whole).flatten(1).sum(dim=1).double() / whole.flatten(1).sum(dim=1)


def _mean(share: Tensor) -> float:
    return float(share.nanmean())
