"""Rectangular blocks with an exact count and even coverage.

The idea is BEiT's block-wise masking (Bao et al., ICLR 2022, algorithm 1): rectangles of random area and aspect until
the count is reached. Two defects of the published sampler are absent by construction: it misses the count in a third
of its draws, and it hides corner cells 4 % of the time where central ones reach 71 %. Here rectangles may hang over the
border, so that each covers every cell equally often, and the last one is cut to the exact count. Of 14 x 14 cells all
are then hidden equally often at a ratio of 0.4, and at 0.75 the corners 73 %, the middle 77 % of the time.
"""

from dataclasses import dataclass

from jaxtyping import Int64
from torch import Tensor

from unseen.contract import Mask, Metadata, Units
from unseen.errors import UnseenError
from unseen.masks.choose import choose, counts, grid_2d
from unseen.masks.rectangles import as_pair, covering_order


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Rectangles hide `ratio` of the valid units of a 2-D grid; UnseenError for units without one."""

    ratio: float = 0.5  # share of the valid units that is hidden
    area: tuple[float, float] = (0.08, 0.3)  # share of the grid that one rectangle covers, smallest and largest
    aspect: float = 3.0  # height over width lies in [1 / aspect, aspect], log-uniform

    def __post_init__(self) -> None:
        object.__setattr__(self, "area", as_pair(self.area, "Block: area"))
        if not 0.005 <= self.area[0] <= self.area[1] <= 1:
            raise UnseenError(f"Block: area is {self.area}", "two shares of the grid, rising, from 0.005 to 1")
        if self.aspect < 1:
            raise UnseenError(f"Block: aspect is {self.aspect}", "it is the larger side over the smaller, from 1")

    def __call__(self, units: Units, key: Int64[Tensor, "B"], metadata: Metadata) -> Mask:
        grid = grid_2d(units)
        n_visible, n_target = counts(units.valid, self.ratio)
        score = covering_order(key, grid, units.valid, n_target, (self.area,), (1 / self.aspect, self.aspect))
        return choose(score, units.valid, n_visible, n_target)
