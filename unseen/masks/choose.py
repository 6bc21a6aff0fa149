"""The one primitive behind every mask: scores become exact counts."""

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
    order = score.masked_fill(~valid, torch.inf).argsort(dim=1, stable=True)
    place = torch.arange(score.shape[1], device=score.device)
    n_valid = valid.sum(dim=1)
    n_visible = n_visible.minimum(n_valid)
    first_target = (n_valid - n_target).maximum(n_visible)
    visible, target = torch.zeros_like(valid), torch.zeros_like(valid)
    visible.scatter_(1, order, place < n_visible[:, None])
    target.scatter_(1, order, (place >= first_target[:, None]) & (place < n_valid[:, None]))
    return Mask(visible, target)


def counts(valid: Bool[Tensor, "B N"], ratio: float) -> tuple[Int64[Tensor, "B"], Int64[Tensor, "B"]]:
    """Visible and target counts for a mask ratio: `round(n * ratio)` once, and at least one of each where n >= 2.

    UnseenError for a ratio that is no share.
    (The published `int(n * (1 - ratio))` truncates a float and is one short for 16 of 286 usual pairs.)
    """
    if not 0 <= ratio <= 1:
        raise UnseenError(f"a mask ratio of {ratio}", "it is a share of the units, from 0 to 1")
    n_valid = valid.sum(dim=1)
    n_target = (n_valid.double() * ratio).round().long().clamp(min=1).minimum((n_valid - 1).clamp(min=0))
    return n_valid - n_target, n_target


def cell_of(units: Units, size: int) -> tuple[Int64[Tensor, "N"], int]:
    """The index of the size x size cell that each unit of a 2-D grid lies in, and the number of cells."""
    rows, columns = grid_2d(units)
    device = units.valid.device
    row, column = torch.arange(rows, device=device) // size, torch.arange(columns, device=device) // size
    across = -(-columns // size)
    return (row[:, None] * across + column).flatten(), -(-rows // size) * across


def grid_2d(units: Units) -> tuple[int, int]:
    """The (rows, columns) of the units, or UnseenError when they do not fill a 2-D grid."""
    if units.grid is None or len(units.grid) != 2:
        raise UnseenError(
            f"units on grid {units.grid}", "this mask needs units on a 2-D grid", "use Random with cell=1 instead"
        )
    return units.grid[0], units.grid[1]
