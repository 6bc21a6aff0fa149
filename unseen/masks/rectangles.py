"""Random rectangles on a grid: which of them covers a cell first. Block and MultiBlock are made of it.

The rectangles of a sample come in an endless order, and as many are looked at as its count of cells takes. Every
place at which a rectangle touches the grid is equally likely, also where it hangs over the border: each rectangle
covers every cell equally often. Their union, cut to an exact count, is even but for a little more in the middle.

All is small whole numbers, in numpy on the CPU, whichever device asks: the same to the bit on all machines that store
the low byte first.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int32, Int64
from torch import Tensor

from unseen.errors import UnseenError
from unseen.randomness import words

_AT_ONCE = 16  # rectangles looked at together: the bits of a cell's number; few images need more
_MOST = 60  # batches of them; whatever is not covered then follows by line
_FIRST = 127  # the number of the last rectangle of the first batch; 0: none covers the cell
_NEXT = _AT_ONCE + 1  # how far the numbers of one further batch lie above those of the next
_LEVELS = 64  # of area, and of aspect: 12 bits together
_LONGEST, _LARGEST = 2**14, 2**19  # side and number of cells of a grid: beyond, 32 bits are too few


def as_pair(value: Any, name: str) -> tuple[float, float]:
    """Two numbers, as Python or JSON have them, as a tuple, which recipes and caches can hash."""
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(isinstance(one, int | float) for one in value):
        raise UnseenError(f"{name} has {value!r}", "two numbers belong together", "such as (0.15, 0.2)")
    return value[0], value[1]


def covering_order(
    key: Int64[Tensor, "B"],
    grid: tuple[int, int],
    valid: Bool[Tensor, "B C"],
    count: Int64[Tensor, "B"],
    area: tuple[tuple[float, float], ...],
    aspect: tuple[float, float],
) -> Int32[Tensor, "B C"]:
    """A score for each cell of a [rows, columns] grid: the later a rectangle covers it, the lower.

    The `count` valid cells of highest score are whole rectangles but for the last, which is cut by a straight line from
    above or from below. A sample draws one entry of `area`: the share of the grid that a rectangle covers, smallest and
    largest. Areas are uniform, aspects (height over width) log-uniform, each by itself. UnseenError for a grid of a
    longer side than 16384 or of more than 524288 cells.
    """
    key, exists, wanted, sizes = key.cpu(), valid.cpu().numpy(), count.cpu().numpy(), _sizes(grid, area, aspect)
    draw = _draw(key)
    kind = draw[:, -1] * len(area) >> 16
    order = _order(draw, grid, sizes, kind)
    for turn in range(1, _MOST):
        covered = order > _NEXT * (1 - turn)
        short = np.flatnonzero((covered & exists).sum(axis=1) < wanted)
        if not len(short):
            break
        more = np.maximum(_order(_draw(key[short] ^ turn), grid, sizes, kind[short]) - _FIRST, -1) + 1 - _NEXT * turn
        order[short] = np.where(covered[short], order[short], more)
    n_cells = order.shape[1]
    order *= n_cells
    order += ((draw[:, -2:-1] & 2) - 1) * np.arange(n_cells, dtype=np.int32)
    return torch.from_numpy(order).to(valid.device)


def _draw(key: Tensor) -> np.ndarray:
    """16-bit numbers [B, 3 * _AT_ONCE + 2]: size and place of the rectangles of one turn, and two more."""
    return words(key, 3 * _AT_ONCE + 2, bits=16).numpy().view(np.uint16).astype(np.int32)


def _order(draw: np.ndarray, grid: tuple[int, int], sizes: np.ndarray, kind: np.ndarray) -> np.ndarray:
    """A number for each cell [B, C]: 142 where the first of `_AT_ONCE` rectangles covers it, down to 127; 0: none."""
    draw = draw[:, : 3 * _AT_ONCE].reshape(-1, 3, _AT_ONCE).transpose(1, 0, 2)
    size = sizes.take(kind[:, None] * _LEVELS**2 + (draw[0] >> 4), axis=1)  # [2, B, K]
    sides = np.array(grid, dtype=np.int32)[:, None, None]
    last = (draw[1:] * (size + sides - 1) >> 16).astype(size.dtype)  # any row or column at which it touches the grid
    place = np.arange(max(grid), dtype=size.dtype)[:, None, None]
    inside = last[:, None] - place < size[:, None]  # [2, longer side, B, K]; a place behind the last wraps to far away
    rows, columns = np.packbits(inside.ravel(), bitorder="little").view(np.uint16).reshape(2, max(grid), -1)
    covered = rows[: grid[0], None] & columns[None, : grid[1]]  # bit k: rectangle k covers the cell
    number = covered.reshape(-1, len(kind)).T.astype(np.float32, order="C").view(np.int32)
    number >>= 23  # the exponent of a float is the number of its highest bit, and 127
    return number


@lru_cache(maxsize=64)
def _sizes(grid: tuple[int, int], area: tuple[tuple[float, float], ...], aspect: tuple[float, float]) -> np.ndarray:
    """The height and width [2, entries of `area` * _LEVELS^2] of equally likely rectangles of each entry."""
    if max(grid) > _LONGEST or grid[0] * grid[1] > _LARGEST:
        raise UnseenError(
            f"a grid of {grid[0]} x {grid[1]} units",
            f"rectangles are drawn on sides up to {_LONGEST} and up to {_LARGEST} units",
            "cut larger units",
        )
    level = (np.arange(_LEVELS) + 0.5) / _LEVELS
    low, high = np.array(area).T[..., None, None]
    side = np.sqrt((low + level[:, None] * (high - low)) * grid[0] * grid[1])
    stretch = np.sqrt(aspect[0] * (aspect[1] / aspect[0]) ** level)
    size = np.stack([side * stretch, side / stretch]).reshape(2, -1)
    return size.round().clip(1, np.array(grid)[:, None]).astype(np.min_scalar_type(2 * max(grid)))
