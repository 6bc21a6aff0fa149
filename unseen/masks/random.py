"""Uniform random units at any ratio (He et al., CVPR 2022, section 3), or cells of them (SimMIM: Xie et al., 2022).

On a clip's 3-D grid this is space-time random masking (Feichtenhofer et al., NeurIPS 2022): slots are independent.
"""

from dataclasses import dataclass

from jaxtyping import Int64
from torch import Tensor

from unseen.contract import Mask, Metadata, Units
from unseen.errors import UnseenError
from unseen.masks.choose import cell_of, choose, counts
from unseen.randomness import words


@dataclass(frozen=True, slots=True, kw_only=True)
class Random:
    """Every valid unit, or every cell of them, is as likely to be hidden; UnseenError for cells without a grid."""

    ratio: float = 0.75  # share of the valid units that is hidden
    cell: int = 1  # hide `cell` x `cell` neighbours of one time slot together; above 1 units must be on a grid

    def __post_init__(self) -> None:
        if self.cell < 1:
            raise UnseenError(f"Random: cell is {self.cell}", "it counts units along one side, from 1")

    def __call__(self, units: Units, key: Int64[Tensor, "B"], metadata: Metadata) -> Mask:
        n_units = units.valid.shape[1]
        if self.cell == 1:
            return choose(words(key, n_units), units.valid, *counts(units.valid, self.ratio))
        cell, n_cells = cell_of(units, self.cell)
        score = words(key, n_cells).long()[:, cell] << 31
        score = score + (words(key ^ 1, n_units) >> 1)  # the one cell that the exact count splits, at random
        return choose(score, units.valid, *counts(units.valid, self.ratio))
