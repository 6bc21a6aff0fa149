"""Where units are relative to each other, as numbers that are added to attention scores (BEiT: Bao et al., ICLR 2022).

Displacements come from the coordinates of the units that are there, so the bias also works on the visible units only,
on crops and on frames of another size.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unseen.errors import UnseenError


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """A learned bias for each displacement inside a window, one for all blocks or one for each."""

    grid: tuple[int, int]  # rows, columns of the window
    shared: bool = True  # one table for all blocks, as BEiT pretrains; False: one for each, as it fine-tunes

    def __post_init__(self) -> None:
        if min(self.grid) < 1:
            raise UnseenError(f"Relative: grid is {self.grid}", "a window has rows and columns")

    def build(self, depth: int, heads: int, spacing: tuple[float, ...], class_token: bool) -> "RelativeBias":
        return RelativeBias(self, 1 if self.shared else depth, heads, spacing, class_token)


class RelativeBias(nn.Module):
    """`table` [tables, (2R-1)(2C-1) (+ 3), heads]: displacements query minus key in C order, (-(R-1), -(C-1)) first.

    With a class token three entries follow: class to unit, unit to class, class to class.
    """

    def __init__(self, spec: Relative, tables: int, heads: int, spacing: tuple[float, ...], class_token: bool):
        super().__init__()
        if len(spacing) != 2:
            raise UnseenError(f"a relative bias over {spec.grid} for {len(spacing)} coordinates", "it has two")
        self.spec, self.spacing, self.class_token = spec, spacing, class_token
        entries = extent(spec.grid)[0] * extent(spec.grid)[1] + 3 * class_token
        self.table = nn.Parameter(torch.empty(tables, entries, heads))

    @torch.no_grad()
    def reset(self, seed: int) -> None:
        self.table.zero_()

    def forward(self, centre: Float[Tensor, "B V 2"]) -> list[Float[Tensor, "B H Q Q"]]:
        """The bias of each table between units at `centre`, the class token first where there is one.

        Between whole displacements it is interpolated linearly, beyond the window it is that of its border.
        """
        steps = [centre[..., axis].float() / self.spacing[axis] for axis in (0, 1)]
        sides = extent(self.spec.grid)
        y, x = (2 * (s[:, :, None] - s[:, None, :]) / n for s, n in zip(steps, sides, strict=True))
        place = torch.stack([x, y], dim=-1).flatten(0, 1)[None]  # [1, B * V, V, 2]
        cells = self.table[:, : sides[0] * sides[1]].float().transpose(1, 2).flatten(0, 1).unflatten(1, sides)
        read = F.grid_sample(cells[None], place, mode="bilinear", padding_mode="border", align_corners=False)
        bias = read[0].unflatten(1, centre.shape[:2]).unflatten(0, (len(self.table), -1)).transpose(1, 2)
        return list(self._frame(bias) if self.class_token else bias)

    def _frame(self, bias: Float[Tensor, "L B H V V"]) -> Float[Tensor, "L B H Q Q"]:
        """Put the row and the column of the class token before those of the units."""
        tables, batch, heads, n_units, _ = bias.shape
        to_unit, to_class, itself = self.table[:, -3:].float()[:, None, :, :, None, None].unbind(2)
        row = torch.cat([itself, to_unit.expand(-1, -1, -1, 1, n_units)], dim=-1)
        rest = torch.cat([to_class.expand(tables, batch, heads, n_units, 1), bias], dim=-1)
        return torch.cat([row.expand(tables, batch, heads, 1, n_units + 1), rest], dim=-2)


def extent(grid: tuple[int, int]) -> tuple[int, int]:
    """How many displacements a window has along each side."""
    return 2 * grid[0] - 1, 2 * grid[1] - 1


def resample_relative(
    table: Float[Tensor, "L N H"], old: tuple[int, int], new: tuple[int, int]
) -> Float[Tensor, "L M H"]:
    """Resize tables from one window to another, bicubic; displacement 0 and the class entries keep their biases."""
    if old == new:
        return table
    rows, columns = extent(old)
    cells = table[:, : rows * columns].float().transpose(1, 2).unflatten(2, (rows, columns))
    cells = F.interpolate(cells, size=extent(new), mode="bicubic", align_corners=False)
    return torch.cat([cells.flatten(2).transpose(1, 2).to(table.dtype), table[:, rows * columns :]], dim=1)
