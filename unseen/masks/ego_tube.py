"""Tubes that follow the world: the same places are hidden in every frame of a clip, however the vehicle moves.

A static tube (VideoMAE: Tong et al., NeurIPS 2022, section 3.3) keeps to its pixels. At 7 m/s a patch of the road has
left it after one frame, and is seen. Here the world is cut into cells, each with a random key; a unit is hidden by the
keys of the places that it shows. Nothing is tracked, and every time slot has its exact counts.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from unseen.contract import Mask, Metadata, Units
from unseen.errors import UnseenError
from unseen.geometry.places import is_direction
from unseen.masks.choose import choose, counts, grid_3d
from unseen.randomness import uniform, uniform_at


@dataclass(frozen=True, slots=True, kw_only=True)
class EgoTube:
    """In each slot the `visible` share of units whose places have the lowest keys is read, and of the rest the `target`
    share of highest keys is predicted. What is left is guard: it keeps a hidden place from being seen in another frame
    by a unit that lies half on it.

    A unit is judged by the places that it shows (`Units.place`): by the highest of their keys for being visible, by the
    lowest for being a target. Cells are `cell` units wide, whichever size units have in the clip. For cameras
    (`by="view"`) they are solid angles around the origin of the places, so that they look alike near and far; for units
    that lie on the ground (`by="ground"`) they are columns of the world, and a direction is no place. Their lattice
    lies differently in each sample. importance w makes a key k to k^(1/w): a place keeps its role if its importance is
    the same in all frames. A unit that shows no known place keeps to its static tube. UnseenError for a sample none of
    whose places is known, unless `fallback` is "tube".
    """

    visible: float = 0.25
    target: float = 0.5
    cell: float = 8.0  # units along its side; smaller ones leak more (6: 2 % at 14 m/s), larger ones hide fewer regions
    by: Literal["view", "ground"] = "view"
    fallback: Literal["refuse", "tube"] = "refuse"

    even_coverage: ClassVar[bool] = False  # importance decides
    follows_the_world: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if min(self.visible, self.target) <= 0 or self.visible + self.target > 1:
            raise UnseenError(
                f"EgoTube: visible is {self.visible}, target is {self.target}",
                "two shares above 0 that leave room for each other; what is left of 1 is guard",
            )
        if not self.cell > 0:
            raise UnseenError(f"EgoTube: cell is {self.cell}", "it counts units along one side, above 0")

    def __call__(self, units: Units, key: Int64[Tensor, "B"], metadata: Metadata) -> Mask:
        slots, rows, columns = grid_3d(units)
        tube = uniform(key ^ 1, rows * columns).repeat(1, slots)
        low, high, known = self._extremes(units, key)
        self._refuse(known, units.valid)
        weight = units.importance.clamp(min=1e-6).reciprocal().double()
        low, high = (torch.where(known, value, tube).pow(weight) for value in (low, high))
        n_visible, n_target = self.counts(units.valid, slots)
        by_slot = units.valid.unflatten(1, (slots, -1)).flatten(0, 1)
        visible = choose(high.view_as(by_slot), by_slot, n_visible.flatten(), n_visible.new_zeros(len(by_slot))).visible
        rest = by_slot & ~visible
        target = choose(low.view_as(by_slot), rest, n_target.new_zeros(len(by_slot)), n_target.flatten()).target
        return Mask(visible.view_as(units.valid), target.view_as(units.valid))

    def counts(self, valid: Bool[Tensor, "B N"], slots: int) -> tuple[Int64[Tensor, "B T"], Int64[Tensor, "B T"]]:
        """Visible and target counts of each slot. Where all units exist, slots are alike.

        The counts of a sample follow its number of valid units alone (`choose.counts`, in whole tubes) and are shared
        out among its slots in proportion.
        """
        n_target = counts(valid, self.target, whole=slots)[1]
        n_visible = (valid.sum(dim=1) - n_target).minimum(counts(valid, 1 - self.visible, whole=slots)[0])
        by_slot = valid.unflatten(1, (slots, -1)).sum(dim=2)
        visible = _share_out(n_visible, by_slot)
        return visible, _share_out(n_target, by_slot - visible)

    def _extremes(self, units: Units, key: Tensor) -> tuple[Tensor, Tensor, Bool[Tensor, "B N"]]:
        """The lowest and highest key of the known places of each unit, and which units have any."""
        if units.place is None:
            nothing = torch.zeros(units.valid.shape, dtype=torch.float64, device=key.device)
            return nothing, nothing, torch.zeros_like(units.valid)
        lattice = self._lattice(units.place.double())
        known = ~lattice.isnan().any(dim=-1)
        first, last = (lattice.masked_fill(~known[..., None], sign * torch.inf) for sign in (1, -1))
        extent = last.amax(dim=2) - first.amin(dim=2)
        side = extent.masked_fill(~(known.any(dim=2) & units.valid)[..., None], torch.nan).nanmedian(dim=1).values
        lattice = lattice / (self.cell * side[:, None, None].clamp(min=1e-9)) + uniform(key ^ 2, 2)[:, None, None]
        keys = uniform_at(key ^ 3, lattice.nan_to_num(0.0).floor().long())
        low, high = (keys.masked_fill(~known, sign * torch.inf) for sign in (1, -1))
        return low.amin(dim=2), high.amax(dim=2), known.any(dim=2)

    def _lattice(self, place: Float64[Tensor, "B N S 3"]) -> Float64[Tensor, "B N S 2"]:
        """Two coordinates of each place: azimuth and elevation, or x and y; NaN where it has none."""
        x, y, z = place.unbind(dim=-1)
        if self.by == "view":
            return torch.stack([torch.atan2(y, x), torch.atan2(z, torch.hypot(x, y))], dim=-1)
        return place[..., :2].masked_fill(is_direction(place)[..., None], torch.nan)

    def _refuse(self, known: Tensor, valid: Tensor) -> None:
        lost = valid.any(dim=1) & ~(known & valid).any(dim=1)
        if self.fallback == "refuse" and bool(lost.any()):
            raise UnseenError(
                f"{int(lost.sum())} of {len(lost)} clips have no place in the world",
                "EgoTube follows places: units need `place`, from calibration, poses, and depth or the ground",
                "give logs both (unseen ingest folder --poses --calibration); where depth is not known, permit the "
                "plane under the vehicle to be the road (--set unit.ground=true); or let such clips have tubes that "
                "keep to their pixels (--set mask.fallback=tube)",
            )


def _share_out(total: Int64[Tensor, "B"], room: Int64[Tensor, "B T"]) -> Int64[Tensor, "B T"]:
    """`total` of each row in proportion to the room of each slot, never more than it: differences of rounded sums."""
    until = room.cumsum(dim=1)
    filled = (2 * total[:, None] * until + until[:, -1:]) // (2 * until[:, -1:]).clamp(min=1)
    return filled.diff(dim=1, prepend=torch.zeros_like(filled[:, :1]))
