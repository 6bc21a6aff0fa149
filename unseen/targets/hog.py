"""Histograms of oriented gradients, MaskFeat's target (Wei et al., CVPR 2022)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from unseen.contract import Clip, Units
from unseen.targets.distance import distance, textured
from unseen.targets.orientation import by_unit, histogram, unit_px


@dataclass(frozen=True, slots=True, kw_only=True)
class Hog:
    """Sobel gradients per channel, unsigned hard bins, sums over `cells` x `cells` parts of a unit, L2 norm over bins.

    A 16 px unit with 2 x 2 cells of 8 px in RGB gives MaskFeat's 108 numbers. The norm blows up the noise of flat
    cells, so units whose standard deviation is below `flat_std` (in normalised units, as in `Pixels`) weigh nothing.
    """

    bins: int = 9
    cells: int = 2
    flat_std: float = 0.02  # 0 counts every unit, as the published loss does

    suits: ClassVar[str] = "classification and detection by fine-tuning; robust to light and contrast"
    risk: ClassVar[str] = "colour and absolute brightness are not in the target"

    @torch.no_grad()
    def make(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip) -> Float[Tensor, "B N D"]:
        """D = cells * cells * C * bins."""
        edges = histogram(*sobel(clip["image"]), self.bins, unit_px(clip, units, self.cells))
        return by_unit(F.normalize(edges, dim=2).flatten(1, 2), self.cells)

    def weight(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip) -> Float[Tensor, "B N"]:
        """1 where the unit exists and has texture, else 0."""
        return textured(values, self.flat_std, units.valid)

    def prediction(self, target: Shaped[Tensor, "B N *T"]) -> tuple[int, ...]:
        """The shape of a unit's target itself."""
        return tuple(target.shape[2:])

    def loss(self, prediction: Shaped[Tensor, "B K D"], target: Float[Tensor, "B K D"]) -> Float[Tensor, "B K"]:
        """Squared error, averaged over the numbers of each unit."""
        return distance(prediction, target, "l2")


def sobel(image: Float[Tensor, "B C H W"]) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B C H W"]]:
    """(gx, gy), in the order in which MaskFeat bins them: atan2(gx, gy), so its bin 0 starts at gradients along y."""
    padded = F.pad(image, (1, 1, 1, 1), mode="reflect")
    smooth_y = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    smooth_x = padded[:, :, :, :-2] + 2 * padded[:, :, :, 1:-1] + padded[:, :, :, 2:]
    gx = smooth_y[:, :, :, :-2] - smooth_y[:, :, :, 2:]
    gy = smooth_x[:, :, :-2] - smooth_x[:, :, 2:]
    return gx, gy
