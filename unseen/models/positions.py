"""Where a unit is, as numbers that are added to its embedding; always from coordinates, never from content.

`SinCos`, `Sequence1D` and `Learned` are the choices of a recipe; what is added to attention scores is in `relative`.

Sin-cos tables as in MAE (He et al., CVPR 2022): of the coordinates (y, x) the last comes first, [x | y], and each part
is [sin | cos] over frequencies 10000^(-i/n). Other codes use [y | x]; a swap passes every shape test, so values are
pinned in the tests.
The table is computed anew at every call: that costs less than looking up whether the coordinates are the same.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unseen.contract import Metadata
from unseen.errors import UnseenError


@runtime_checkable
class Positions(Protocol):
    """What is added to the embedding of a unit, as a recipe names it."""

    @property
    def rows(self) -> int:
        """Rows of the learned table that the encoder keeps, without the one of the class token; 0: none."""

    def __call__(
        self, centre: Float[Tensor, "B V C"], spacing: tuple[float, ...], width: int, table: Tensor | None = None
    ) -> Float[Tensor, "B V {width}"]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SinCos:
    """Sin-cos of physical coordinates, each of them encoded on its own (MAE, I-JEPA)."""

    @property
    def rows(self) -> int:
        return 0

    def __call__(
        self, centre: Float[Tensor, "B V C"], spacing: tuple[float, ...], width: int, table: Tensor | None = None
    ) -> Float[Tensor, "B V {width}"]:
        return sincos(centre, spacing, width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequence1D:
    """Sinusoid of a cell's number in the flattened grid (VideoMAE: Tong et al., 2022); interpolated between cells.

    Rows above each other get unlike codes: use it for weights that were trained so, else `SinCos`.
    """

    grid: tuple[int, ...]  # (rows, columns) or (time slots, rows, columns)

    def __post_init__(self) -> None:
        _check_grid("Sequence1D", self.grid)

    @property
    def rows(self) -> int:
        return 0

    def __call__(
        self, centre: Float[Tensor, "B V C"], spacing: tuple[float, ...], width: int, table: Tensor | None = None
    ) -> Float[Tensor, "B V {width}"]:
        return look_up(sinusoid(math.prod(self.grid), width, centre.device), self.grid, centre, spacing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A learned table over a grid (ViT: Dosovitskiy et al., 2021), read at any place by interpolation."""

    grid: tuple[int, ...]  # (rows, columns) or (time slots, rows, columns)

    def __post_init__(self) -> None:
        _check_grid("Learned", self.grid)

    @property
    def rows(self) -> int:
        return math.prod(self.grid)

    def __call__(
        self, centre: Float[Tensor, "B V C"], spacing: tuple[float, ...], width: int, table: Tensor | None = None
    ) -> Float[Tensor, "B V {width}"]:
        if table is None:
            raise UnseenError(
                "learned positions without their table", "the encoder keeps it", "use a computed table here"
            )
        return look_up(table, self.grid, centre, spacing)


def sincos(centre: Float[Tensor, "*B C"], spacing: tuple[float, ...], width: int) -> Float[Tensor, "*B {width}"]:
    """Encode coordinates; one `spacing` is one step of a patch index, the first patch has its centre at half a step.

    Each coordinate takes `width // C` numbers (rounded down to an even count); what is left over at the end is zero.
    """
    n_frequencies = width // (2 * len(spacing))
    exponent = torch.arange(n_frequencies, device=centre.device, dtype=torch.float32) / max(n_frequencies, 1)
    frequency = 10000.0**-exponent
    parts = []
    for axis in reversed(range(len(spacing))):
        angle = (centre[..., axis, None].float() / spacing[axis] - 0.5) * frequency
        parts += [angle.sin(), angle.cos()]
    return F.pad(torch.cat(parts, dim=-1), (0, width - 2 * n_frequencies * len(spacing)))


def sincos_grid(grid: tuple[int, ...], width: int) -> Float[Tensor, "N {width}"]:
    """The table of a whole grid in C order, as published checkpoints store it (without a row for the class token)."""
    index = torch.cartesian_prod(*(torch.arange(side, dtype=torch.float32) for side in grid))
    return sincos(index.view(-1, len(grid)) + 0.5, (1.0,) * len(grid), width)


def sinusoid(count: int, width: int, device: torch.device | None = None) -> Float[Tensor, "{count} {width}"]:
    """Sin and cos of 0, 1, 2, ... interleaved: entries 2i and 2i+1 are sin and cos of n * 10000^(-2i/width)."""
    exponent = 2 * torch.arange((width + 1) // 2, device=device, dtype=torch.float64) / width
    angle = torch.arange(count, device=device, dtype=torch.float64)[:, None] * 10000.0**-exponent
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width].float()


def look_up(
    table: Float[Tensor, "N D"], grid: tuple[int, ...], centre: Float[Tensor, "B V C"], spacing: tuple[float, ...]
) -> Float[Tensor, "B V D"]:
    """Read a table over a grid of 2 or 3 axes, in C order, at any place; clamped at its border.

    Between cells it is interpolated: bicubic in two dimensions, linear in three. UnseenError where a coordinate has no
    axis.
    """
    if len(spacing) != len(grid):
        raise UnseenError(
            f"a table over the grid {grid} was given for {len(spacing)} coordinates", "each axis is one coordinate"
        )
    cells = table.float().T.unflatten(1, grid)[None]  # [1, D, *grid]
    axes = [2 * centre[..., axis].float() / (spacing[axis] * grid[axis]) - 1 for axis in reversed(range(len(grid)))]
    place = torch.stack(axes, dim=-1).flatten(0, 1)[(None,) * len(grid)]  # x comes first
    mode = "bicubic" if len(grid) == 2 else "bilinear"
    read = F.grid_sample(cells, place, mode=mode, padding_mode="border", align_corners=False)
    return read.flatten(1).unflatten(1, (table.shape[1], -1))[0].T.unflatten(0, centre.shape[:2])


def resample(table: Float[Tensor, "N D"], old: tuple[int, ...], new: tuple[int, ...]) -> Float[Tensor, "M D"]:
    """Resize a learned table from one explicit grid to another: bicubic in space, no antialiasing, as MAE and DINO do.

    Of three axes the first is time, and is resized linearly.
    """
    if old == new:
        return table
    cells = table.float().T.unflatten(1, old)  # [D, (slots,) rows, columns]
    if len(old) == 2:
        cells = F.interpolate(cells[None], size=new, mode="bicubic", align_corners=False)[0]
    else:
        cells = F.interpolate(cells.transpose(0, 1), size=new[1:], mode="bicubic", align_corners=False)
        series = cells.flatten(1).T.unflatten(0, (-1, 1))  # [D * rows * columns, 1, slots]
        series = F.interpolate(series, size=new[0], mode="linear", align_corners=False)
        cells = series[:, 0].unflatten(0, (table.shape[1], *new[1:])).movedim(-1, 1)
    return cells.flatten(1).T.to(table.dtype)


def centre_of(metadata: Metadata | None) -> Float[Tensor, "B N C"]:
    """The centres of all units, or an error that says who should have given them."""
    if metadata is None or "centre" not in metadata:
        raise UnseenError(
            "the model got no coordinates", "positions come from metadata['centre']", "pass the batch's metadata"
        )
    return metadata["centre"]


def _check_grid(owner: str, grid: tuple[int, ...]) -> None:
    if len(grid) not in (2, 3) or min(grid) < 1:
        raise UnseenError(f"{owner}: grid is {grid}", "it is (rows, columns) or (time slots, rows, columns), from 1")
