"""The one primitive behind every mask: scores become exact counts.

In numpy on the CPU, whichever device asks: at the size of a batch's masks most of the time goes into calls, and numpy's
cost less than torch's; and a mask is the same to the bit everywhere.
"""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor

from unseen.contract import Mask, Units
from unseen.errors import UnseenError


def choose(
    score: Shaped[Tensor, "B N"],
    valid: Bool[Tensor, "B N"],
    n_visible: Int64[Tensor, "B"],
    n_target: Int64[Tensor, "B"],
) -> Mask:
    """Show the n_visible valid units of lowest score, hide the n_target of highest; what is left is guard.

    Equal scores are ranked by unit order. Where the counts ask for more units than are valid, visible ones win.
    """
    rank, exists, shown, aimed = (part.cpu().numpy() for part in (score, valid, n_visible, n_target))
    n_valid = number(exists)
    if n_valid.min() < exists.shape[1]:
        rank = np.where(exists, rank, np.inf if rank.dtype.kind == "f" else np.iinfo(rank.dtype).max)
    shown = np.minimum(shown, n_valid)
    spared = np.maximum(n_valid - aimed, shown)
    visible = _lowest(rank, exists, shown)
    target = exists & ~(visible if (spared == shown).all() else _lowest(rank, exists, spared))
    return Mask(torch.from_numpy(visible).to(valid.device), torch.from_numpy(target).to(valid.device))


def _lowest(score: np.ndarray, exists: np.ndarray, count: np.ndarray) -> np.ndarray:
    """The `count` units of lowest score in each row, equal scores by unit order: as a stable sort, without sorting.

    What does not exist has the highest score there is.
    """
    n = max(int(count[0]), 1)
    if (count == count[0]).all():
        threshold = np.partition(score, n - 1, axis=1)[:, n - 1 : n]
    else:
        threshold = np.take_along_axis(np.sort(score, axis=1), np.maximum(count - 1, 0)[:, None], axis=1)
    chosen = exists & (score <= threshold)
    if np.count_nonzero(chosen) == count.sum():
        return chosen
    tied = exists & (score == threshold)
    room = count - (chosen & ~tied).sum(axis=1)
    return chosen & ~(tied & (tied.cumsum(axis=1) > room[:, None]))


def counts(valid: Bool[Tensor, "B N"], ratio: float, whole: int = 1) -> tuple[Int64[Tensor, "B"], Int64[Tensor, "B"]]:
    """Visible and target counts for a mask ratio: `round(n * ratio)` once, and at least one of each where n >= 2.

    With `whole` the target count is the nearest multiple of it (a tube has as many units as there are time slots).
    UnseenError for a ratio that is no share.
    (The published `int(n * (1 - ratio))` truncates a float and is one short for 16 of 286 usual pairs.)
    """
    n_valid = number(valid.cpu().numpy())
    n_target = _targets(valid.shape[1], ratio, whole)[n_valid]
    visible, target = torch.from_numpy(n_valid - n_target), torch.from_numpy(n_target)
    return visible.to(valid.device), target.to(valid.device)


def number(exists: np.ndarray) -> np.ndarray:
    """How many units of each row exist; a sum over booleans takes ten times as long as the look whether all do."""
    return np.full(len(exists), exists.shape[1]) if exists.all() else exists.sum(axis=1)


@lru_cache
def _targets(n_units: int, ratio: float, whole: int) -> np.ndarray:
    """How many of 0, 1 .. n_units valid units are targets."""
    if not 0 <= ratio <= 1:
        raise UnseenError(f"a mask ratio of {ratio}", "it is a share of the units, from 0 to 1")
    n_valid = np.arange(n_units + 1)
    n_target = np.rint(n_valid * (ratio / whole)).astype(np.int64) * whole
    return np.minimum(np.maximum(n_target, 1), np.maximum(n_valid - 1, 0))


def choose_tubes(
    score: Shaped[Tensor, "B C"],
    units: Units,
    n_visible: Int64[Tensor, "B"],
    n_target: Int64[Tensor, "B"],
) -> Mask:
    """`choose` with one score for each place of the grid, the same in all its time slots.

    Counts are of units. Where each is a multiple of the number of slots and every unit exists, no place is split.
    """
    slots = grid_3d(units)[0]
    valid = units.valid
    if slots == 1:
        return choose(score, valid, n_visible, n_target)
    whole = not (n_visible.cpu().numpy() % slots).any() and not (n_target.cpu().numpy() % slots).any()
    if whole and valid.cpu().numpy().all():
        mask = choose(score, valid[:, : score.shape[1]], n_visible // slots, n_target // slots)
        return Mask(*(part[:, None].expand(-1, slots, -1).flatten(1) for part in mask[:2]))
    by_place = valid.unflatten(1, (slots, -1)).transpose(1, 2).flatten(1)
    mask = choose(score.repeat_interleave(slots, dim=1), by_place, n_visible, n_target)
    visible, target = (part.unflatten(1, (-1, slots)).transpose(1, 2).flatten(1) for part in mask[:2])
    return Mask(visible, target)


def cell_of(units: Units, size: int) -> tuple[Int64[Tensor, "N"], int]:
    """The index of the size x size cell of its time slot that each unit of a grid lies in, and the number of cells."""
    slots, rows, columns = grid_3d(units)
    device = units.valid.device
    row, column = torch.arange(rows, device=device) // size, torch.arange(columns, device=device) // size
    down, across = -(-rows // size), -(-columns // size)
    slot = torch.arange(slots, device=device)[:, None, None] * down
    return ((slot + row[:, None]) * across + column).flatten(), slots * down * across


def grid_2d(units: Units) -> tuple[int, int]:
    """The (rows, columns) of the units, or UnseenError when they do not fill a 2-D grid."""
    if units.grid is None or len(units.grid) != 2:
        raise UnseenError(
            f"units on grid {units.grid}", "this mask needs units on a 2-D grid", "use Random with cell=1 instead"
        )
    return units.grid[0], units.grid[1]


def grid_3d(units: Units) -> tuple[int, int, int]:
    """The (time slots, rows, columns) of the units; a 2-D grid is one slot. UnseenError where they fill neither."""
    if units.grid is None or len(units.grid) not in (2, 3):
        raise UnseenError(
            f"units on grid {units.grid}",
            "this mask needs units on a 2-D grid (rows, columns) or a 3-D grid (slots, rows, columns)",
            "use Random with cell=1 instead",
        )
    slots, rows, columns = (1, *units.grid)[-3:]
    return slots, rows, columns
