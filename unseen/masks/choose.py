"""The one primitive behind every mask: scores become exact counts."""

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
    n_valid = valid.sum(dim=1)
    full = min(n_valid.tolist()) == valid.shape[1]
    if not full:
        score = score.double().masked_fill(~valid, torch.inf)
    n_visible = n_visible.minimum(n_valid)
    n_spared = (n_valid - n_target).maximum(n_visible)
    visible = lowest(score, n_visible)
    spared = visible if torch.equal(n_spared, n_visible) else lowest(score, n_spared)
    return Mask(visible, ~spared if full else ~spared & valid)


def lowest(score: Shaped[Tensor, "B N"], count: Int64[Tensor, "B"]) -> Bool[Tensor, "B N"]:
    """The `count` units of lowest score in each row, equal scores by unit order: as a stable sort, without sorting."""
    wanted = count.tolist()
    if min(wanted) == max(wanted):
        threshold = nth(score, max(wanted[0], 1))
    else:
        threshold = score.sort(dim=1).values.gather(1, (count - 1).clamp(min=0)[:, None])
    chosen = score <= threshold
    if int(chosen.sum()) == sum(wanted):
        return chosen
    below, tied = score < threshold, score == threshold
    room = count - below.sum(dim=1)
    return below | (tied & (tied.cumsum(dim=1) <= room[:, None]))


def nth(score: Shaped[Tensor, "B N"], n: int) -> Shaped[Tensor, "B 1"]:
    """The n-th lowest score of each row, from 1; numpy's selection has no branches to mispredict, torch's has."""
    if score.device.type == "cpu":
        return torch.from_numpy(np.partition(score.numpy(), n - 1, axis=1)[:, n - 1 : n])
    return score.kthvalue(n, dim=1, keepdim=True).values


def counts(valid: Bool[Tensor, "B N"], ratio: float, whole: int = 1) -> tuple[Int64[Tensor, "B"], Int64[Tensor, "B"]]:
    """Visible and target counts for a mask ratio: `round(n * ratio)` once, and at least one of each where n >= 2.

    With `whole` the target count is the nearest multiple of it (a tube has as many units as there are time slots).
    UnseenError for a ratio that is no share.
    (The published `int(n * (1 - ratio))` truncates a float and is one short for 16 of 286 usual pairs.)
    """
    if not 0 <= ratio <= 1:
        raise UnseenError(f"a mask ratio of {ratio}", "it is a share of the units, from 0 to 1")
    n_valid = valid.sum(dim=1)
    n_target = (n_valid.double() * (ratio / whole)).round_().long().mul_(whole).clamp_(min=1)
    n_target = n_target.minimum((n_valid - 1).clamp_(min=0))
    return n_valid - n_target, n_target


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
    whole = not bool((n_visible % slots).any() | (n_target % slots).any())
    if whole and bool(valid.all()):
        mask = choose(score, valid[:, : score.shape[1]], n_visible // slots, n_target // slots)
        return Mask(mask.visible.repeat(1, slots), mask.target.repeat(1, slots))
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
