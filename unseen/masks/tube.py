"""Tubes: one spatial mask for all time slots of a clip, so that a hidden place is never seen (VideoMAE: Tong et al.,
NeurIPS 2022, section 3.3).

A tube keeps to its place in the image, not in the world: when the camera moves, what it hides moves out of it.
"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Int64
from torch import Tensor

from unseen.contract import Mask, Metadata, Units
from unseen.errors import UnseenError
from unseen.masks.choose import cell_of, choose_tubes, counts, grid_3d
from unseen.randomness import words


@dataclass(frozen=True, slots=True, kw_only=True)
class Tube:
    """`ratio` of the places of a [slots, rows, columns] grid is hidden in every slot; a 2-D grid is one slot.

    Counts are whole tubes: slots * round(places * ratio). Where some units do not exist the count is the multiple of
    the slots that is nearest to `ratio`, and one place may be split. UnseenError for units without such a grid.
    """

    ratio: float = 0.9  # share of the places that is hidden
    cell: int = 1  # hide `cell` x `cell` neighbouring places together

    whole_tubes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.cell < 1:
            raise UnseenError(f"Tube: cell is {self.cell}", "it counts units along one side, from 1")

    def __call__(self, units: Units, key: Int64[Tensor, "B"], metadata: Metadata) -> Mask:
        slots, rows, columns = grid_3d(units)
        n_places = rows * columns
        score = words(key, n_places)
        if self.cell > 1:
            cell, n_cells = cell_of(units._replace(grid=(rows, columns)), self.cell)
            score = (words(key ^ 1, n_cells).long()[:, cell] << 31) + (score >> 1)
        return choose_tubes(score, units, *counts(units.valid, self.ratio, whole=slots))
