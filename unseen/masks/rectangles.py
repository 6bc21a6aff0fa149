"""Random rectangles on a grid: which of them covers a cell first. Block and MultiBlock are made of it.

The rectangles of a sample come in an endless order, and as many are looked at as its count of cells takes. Every
rectangle that touches the grid is equally likely, also where it hangs over the border, so no cell is favoured.
"""

import math

import torch
from jaxtyping import Bool, Float, Int, Int64
from torch import Tensor

from unseen.randomness import words

_AT_ONCE = 24  # rectangles looked at together: more than nearly all samples need, and as many as a float32 has bits
_MOST = 40  # batches of them; whatever is not covered then follows by line


def covering_order(
    key: Int64[Tensor, "B"],
    grid: tuple[int, int],
    valid: Bool[Tensor, "B C"],
    count: Int64[Tensor, "B"],
    area: Float[Tensor, "B 2"],
    aspect: tuple[float, float],
) -> Int64[Tensor, "B C"]:
    """A score for each cell of a [rows, columns] grid: the later a rectangle covers it, the lower; 0 or less.

    The `count` valid cells of highest score are whole rectangles but for the last, which is cut by a straight line from
    above or from below. `area` is a share of the grid, smallest and largest, for each sample; it is drawn uniformly and
    the aspect (height over width) log-uniformly, each by itself.
    """
    first = _first(key, grid, area, aspect)
    missing = _uncovered(first, valid, count)
    for turn in range(1, _MOST):
        if not len(missing):
            break
        more = _first(key[missing] ^ (turn + 1), grid, area[missing], aspect) + turn * _AT_ONCE
        known = first[missing]
        first[missing] = torch.where(known < turn * _AT_ONCE, known, more)
        missing = missing[_uncovered(first[missing], valid[missing], count[missing], (turn + 1) * _AT_ONCE)]
    n_cells = first.shape[1]
    line = torch.arange(n_cells, device=key.device)
    from_below = words(key ^ 1, 1) < 0
    return torch.where(from_below, line, line.flip(0)) - first * n_cells


def _uncovered(first: Tensor, valid: Tensor, count: Tensor, drawn: int = _AT_ONCE) -> Tensor:
    """Rows in which the rectangles drawn so far do not cover enough cells."""
    return (((first < drawn) & valid).sum(dim=1) < count).nonzero()[:, 0]


def _first(key: Tensor, grid: tuple[int, int], area: Tensor, aspect: tuple[float, float]) -> Int[Tensor, "B C"]:
    """The number of the first of `_AT_ONCE` rectangles that covers each cell [B, C]; `_AT_ONCE` where none does."""
    draw = words(key, 4 * _AT_ONCE, bits=16).float().add_(2**15).mul_(2**-16).view(-1, 4, _AT_ONCE)
    low, high = math.log(aspect[0]) / 2, math.log(aspect[1]) / 2
    side = (area[:, :1] + draw[:, 0] * (area[:, 1:] - area[:, :1])).mul_(grid[0] * grid[1]).sqrt_()
    stretch = draw[:, 1].mul(high - low).add_(low).exp_()
    limit = side.new_tensor(grid)[:, None]
    size = torch.stack([side * stretch, side / stretch], dim=1).round_().clamp_(min=1).minimum(limit)  # [B, 2, K]
    start = draw[:, 2:].mul_(limit + size - 1).floor_().sub_(size).add_(1)  # every offset that touches the grid
    place = torch.arange(float(max(grid)), device=key.device)[:, None] - start[:, :, None]  # [B, 2, longer side, K]
    inside = (size[:, :, None] - place).clamp_(0, 1).mul_(place.add_(1).clamp_(0, 1))  # 1 where 0 <= place < size
    rows, columns = (inside @ _POWERS.to(key.device)).int().unbind(dim=1)
    covered = (rows[:, : grid[0], None] & columns[:, None, : grid[1]]).flatten(1)  # bit k: rectangle k covers the cell
    covered.bitwise_or_(1 << _AT_ONCE)
    lowest_bit = (covered & -covered).float()
    return (lowest_bit.view(torch.int32) >> 23) - 127  # the exponent of a float: many times faster than its logarithm


_POWERS = 2.0 ** torch.arange(_AT_ONCE)  # float32 holds their sums exactly, up to 24 of them
