"""A regular lattice of visible units at a random phase: grid-wise masking (He et al., CVPR 2022, figure 6)."""

from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from unseen.contract import Mask, Metadata, Units
from unseen.errors import UnseenError
from unseen.masks.choose import choose, counts, grid_2d
from unseen.randomness import uniform


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """One unit of each cell of a 2-D grid is visible; UnseenError for units without one."""

    stride: int = 2  # one unit of each stride x stride cell stays visible

    def __post_init__(self) -> None:
        if self.stride < 2:
            raise UnseenError(f"Grid: stride is {self.stride}", "from 2 on, something is hidden")

    def __call__(self, units: Units, key: Int64[Tensor, "B"], metadata: Metadata) -> Mask:
        rows, columns = grid_2d(units)
        phase = (uniform(key, 2) * self.stride).long()
        row = (torch.arange(rows, device=key.device) + phase[:, :1]) % self.stride  # [B, rows]
        column = (torch.arange(columns, device=key.device) + phase[:, 1:]) % self.stride
        off_lattice = ((row[:, :, None] + column[:, None, :]) > 0).flatten(1)
        # phases differ in how many lattice points fit; noise settles the few that the exact count adds or drops
        score = off_lattice.double() + uniform(key ^ 1, rows * columns) / 2
        return choose(score, units.valid, *counts(units.valid, 1 - 1 / self.stride**2))
