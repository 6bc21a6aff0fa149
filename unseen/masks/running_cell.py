"""Running cells: a fixed pattern in every cell that rolls on by one unit per time slot (VideoMAE V2: Wang et al.,
CVPR 2023, section 3.2, where it picks what the decoder predicts).

Every place is visible in some slot, so what hides a unit is time alone: neighbouring slots nearly show it. The
published sampler tiles whole cells and loses the last row or column of an odd grid; here the pattern goes on to the
edge.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from unseen.contract import Mask, Metadata, Units
from unseen.errors import UnseenError
from unseen.masks.choose import choose, counts, grid_3d
from unseen.randomness import uniform, words


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningCell:
    """Of the `cell` x `cell` places of a cell, the hidden ones follow each other in raster order, from a random phase.

    The count is round(units * ratio) exactly: where the pattern misses it, units at its edge are dropped or added at
    random. A 2-D grid is one slot. UnseenError for units without a grid.
    """

    ratio: float = 0.5  # share of the units that is hidden
    cell: int = 2  # places along one side of a cell

    def __post_init__(self) -> None:
        if self.cell < 2:
            raise UnseenError(f"RunningCell: cell is {self.cell}", "a pattern needs cells of 2 x 2 units or more")

    def __call__(self, units: Units, key: Int64[Tensor, "B"], metadata: Metadata) -> Mask:
        slots, rows, columns = grid_3d(units)
        draw = uniform(key, 3)
        shift = (draw[:, :2] * self.cell).long()  # where cells begin: on an odd grid, else, some places are favoured
        row = (torch.arange(rows, device=key.device) + shift[:, :1]) % self.cell  # [B, rows]
        column = (torch.arange(columns, device=key.device) + shift[:, 1:]) % self.cell
        slot = torch.arange(slots, device=key.device)[:, None, None]
        turn = row[:, None, :, None] * self.cell + column[:, None, None, :] - slot  # [B, slots, rows, columns]
        phase = (draw[:, 2:] * self.cell**2).long()
        score = ((turn.flatten(1) + phase) % self.cell**2 << 31) + (words(key ^ 1, slots * rows * columns) >> 1)
        return choose(score, units.valid, *counts(units.valid, self.ratio))
