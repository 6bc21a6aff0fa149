"""Rectangular blocks with an exact count and even coverage.

The idea is BEiT's block-wise masking (Bao et al., ICLR 2022, algorithm 1): rectangles of random area and aspect until
the count is reached. Two defects of the published sampler are absent by construction: it misses the count in a third
of its draws, and it hides corner cells 4 % of the time where central ones reach 71 %. Here rectangles may hang over the
border, so that every cell is covered equally often, and the last one is cut to the exact count.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from unseen.contract import Mask, Metadata, Units
from unseen.errors import UnseenError
from unseen.masks.choose import choose, counts, grid_2d
from unseen.randomness import uniform


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    ratio: float = 0.5  # share of the valid units that is hidden
    area: tuple[float, float] = (0.08, 0.3)  # share of the grid that one rectangle covers, smallest and largest
    aspect: float = 3.0  # height over width lies in [1 / aspect, aspect], log-uniform

    def __post_init__(self) -> None:
        if not 0.005 <= self.area[0] <= self.area[1] <= 1:
            raise UnseenError(f"Block: area is {self.area}", "two shares of the grid, rising, from 0.005 to 1")
        if self.aspect < 1:
            raise UnseenError(f"Block: aspect is {self.aspect}", "it is the larger side over the smaller, from 1")

    def __call__(self, units: Units, key: Int64[Tensor, "B"], metadata: Metadata) -> Mask:
        rows, columns = grid_2d(units)
        n_visible, n_target = counts(units.valid, self.ratio)
        # enough rectangles to fill the grid at the smallest area, then noise for the cells that none covers
        n_blocks = math.ceil(4 / self.area[0])
        size, shape, top, left = uniform(key, 4 * n_blocks).float().split(n_blocks, dim=1)
        cells = rows * columns * (self.area[0] + size * (self.area[1] - self.area[0]))
        stretch = torch.exp((2 * shape - 1) * math.log(self.aspect)).sqrt()
        side = cells.sqrt()
        height, width = (side * stretch).clamp(1, rows).round(), (side / stretch).clamp(1, columns).round()
        y0 = torch.floor(top * (rows + height - 1)) - height + 1  # every offset that touches the grid, equally likely
        x0 = torch.floor(left * (columns + width - 1)) - width + 1
        y, x = torch.arange(rows, device=key.device), torch.arange(columns, device=key.device)
        in_rows = (y >= y0[..., None]) & (y < (y0 + height)[..., None])  # [B, K, rows]
        in_columns = (x >= x0[..., None]) & (x < (x0 + width)[..., None])
        covered = (in_rows[..., :, None] & in_columns[..., None, :]).flatten(2)  # [B, K, N]
        first = torch.where(covered.any(dim=1), covered.byte().argmax(dim=1), n_blocks)
        ragged = uniform(key ^ 1, 1) > 0.5  # the last rectangle is cut from below or from above, at random
        line = torch.arange(rows * columns, device=key.device) / (rows * columns)
        score = -first.double() - torch.where(ragged, line, 1 - line)
        return choose(score, units.valid, n_visible, n_target)
