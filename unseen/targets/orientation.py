"""Edges as numbers: the histogram of orientations under every gradient descriptor (Dalal and Triggs, CVPR 2005)."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from unseen.contract import Clip, Units
from unseen.errors import UnseenError


def central_differences(image: Float[Tensor, "B C H W"]) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B C H W"]]:
    """Change per pixel along y and along x; at the border, towards the inside."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    dy = (padded[:, :, 2:, 1:-1] - padded[:, :, :-2, 1:-1]) / 2
    dx = (padded[:, :, 1:-1, 2:] - padded[:, :, 1:-1, :-2]) / 2
    return dy, dx


def histogram(
    dy: Float[Tensor, "B C H W"], dx: Float[Tensor, "B C H W"], bins: int, cell_px: tuple[int, int]
) -> Float[Tensor, "B C bins R S"]:
    """Mean gradient magnitude per cell of `cell_px`, by orientation in `bins` equal parts of half a turn.

    Orientation is that of the gradient, without sign, each pixel in one bin; bin 0 starts at a gradient along x.
    """
    height, width = dy.shape[2] // cell_px[0], dy.shape[3] // cell_px[1]
    magnitude = (dy.square() + dx.square()).sqrt()
    index = (torch.atan2(dy, dx) * (bins / math.pi)).floor().long() % bins
    cell = torch.arange(height, device=dy.device)[:, None] * width + torch.arange(width, device=dy.device)
    cell = cell.repeat_interleave(cell_px[0], 0).repeat_interleave(cell_px[1], 1)
    place = (index * (height * width) + cell).flatten(2)
    total = magnitude.new_zeros(*dy.shape[:2], bins * height * width).scatter_add_(2, place, magnitude.flatten(2))
    return total.unflatten(2, (bins, height, width)) / math.prod(cell_px)


def unit_px(clip: Clip, units: Units, cells: int) -> tuple[int, int]:
    """The size of one of `cells` x `cells` parts of a unit, in pixels of the image; UnseenError where there is none."""
    if units.grid is None or len(units.grid) != 2:
        raise UnseenError(
            f"units on grid {units.grid} have no neighbours", "descriptors need a 2-D grid of image patches"
        )
    size = tuple(side // count for side, count in zip(clip["image"].shape[2:], units.grid, strict=True))
    if size[0] % cells or size[1] % cells:
        raise UnseenError(
            f"a unit of {size[0]} x {size[1]} px does not divide into {cells} x {cells} cells",
            "a cell is a whole number of pixels",
            "change `cells` of the target or `size` of the unit",
        )
    return size[0] // cells, size[1] // cells


def by_unit(value: Float[Tensor, "B K R S"], cells: int) -> Float[Tensor, "B N D"]:
    """[B, K, rows * cells, columns * cells] to [B, rows * columns, cells * cells * K]."""
    batch, kinds, rows, columns = value.shape
    value = value.view(batch, kinds, rows // cells, cells, columns // cells, cells)
    return value.permute(0, 2, 4, 3, 5, 1).reshape(batch, (rows // cells) * (columns // cells), -1)
