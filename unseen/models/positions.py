"""Where a unit is, as numbers that are added to its embedding; always from coordinates, never from content.

Sin-cos tables as in MAE (He et al., CVPR 2022): of the coordinates (y, x) the last comes first, [x | y], and each part
is [sin | cos] over frequencies 10000^(-i/n). Other codes use [y | x]; a swap passes every shape test, so values are
pinned in the tests.
The table is computed anew at every call: that costs less than looking up whether the coordinates are the same.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unseen.contract import Metadata
from unseen.errors import UnseenError


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


def look_up(
    table: Float[Tensor, "N D"], grid: tuple[int, int], centre: Float[Tensor, "B V 2"], spacing: tuple[float, ...]
) -> Float[Tensor, "B V D"]:
    """Read a learned table [rows * columns, D] at any place: bicubic between its cells, clamped at its border."""
    if len(spacing) != 2:
        raise UnseenError(f"a learned table was given for {len(spacing)} coordinates", "it has rows and columns only")
    cells = table.float().T.unflatten(1, grid)[None]  # [1, D, rows, columns]
    y, x = (2 * centre[..., axis].float() / (spacing[axis] * grid[axis]) - 1 for axis in (0, 1))
    place = torch.stack([x, y], dim=-1).flatten(0, 1)[None, None]
    read = F.grid_sample(cells, place, mode="bicubic", padding_mode="border", align_corners=False)
    return read[0, :, 0].T.unflatten(0, centre.shape[:2])


def resample(table: Float[Tensor, "N D"], old: tuple[int, int], new: tuple[int, int]) -> Float[Tensor, "M D"]:
    """Resize a learned table from one explicit grid to another (bicubic, no antialiasing, as MAE and DINO do)."""
    if old == new:
        return table
    cells = table.float().T.unflatten(1, old)[None]
    return F.interpolate(cells, size=new, mode="bicubic", align_corners=False)[0].flatten(1).T.to(table.dtype)


def centre_of(metadata: Metadata | None) -> Float[Tensor, "B N C"]:
    """The centres of all units, or an error that says who should have given them."""
    if metadata is None or "centre" not in metadata:
        raise UnseenError(
            "the model got no coordinates", "positions come from metadata['centre']", "pass the batch's metadata"
        )
    return metadata["centre"]
