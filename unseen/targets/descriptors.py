"""What a patch and its surroundings look like, in numbers: edges by orientation and colour, at several scales."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from unseen.contract import Clip, Units
from unseen.errors import UnseenError
from unseen.targets.distance import distance
from unseen.targets.orientation import by_unit, central_differences, histogram, unit_px


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptors:
    """Predict, for each unit and each scale s, the mean over the s x s units around it of

    - the orientation histogram of the grey image, in `cells` x `cells` parts of the unit: [cells * cells * bins];
    - the mean colour [C] and the standard deviation [C] of all pixels there.

    Made of the whole normalised image of the clip, visible or not, as a target may be. At the border of the image the
    neighbourhood is clipped and the mean divides by the true count of units. Fixed transforms bring every number to
    order 1 without statistics of the batch: (log(h + 0.01) + 3.9) / (0.7 s^-0.2) for histograms, mean / 0.8,
    (sqrt(std) - 0.55) / 0.24; measured on 176 driving frames at patches of 8 and 16 px, standardised by frame.

    The histogram is that of Dalal and Triggs (CVPR 2005) without block normalisation; as a masked target it follows
    MaskFeat (Wei et al., CVPR 2022), which `Hog` reproduces.
    """

    scales: tuple[int, ...] = (1, 3, 7)  # odd numbers of units
    bins: int = 9
    cells: int = 2
    error: Literal["l2", "smooth_l1"] = "l2"

    suits: ClassVar[str] = "frozen features at small compute: dense segmentation probes, few labels"
    risk: ClassVar[str] = (
        "much of the gain is descriptor regression, not masking: show a nearly unmasked twin beside it"
    )

    def __post_init__(self):
        if not self.scales or any(scale < 1 or scale % 2 == 0 for scale in self.scales):
            raise UnseenError(
                f"Descriptors: scales are {self.scales}",
                "each is an odd number of units, so that the unit is its centre",
            )

    @torch.no_grad()
    def make(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip) -> Float[Tensor, "B N D"]:
        """D = len(scales) * (cells * cells * bins + 2 C), scale by scale."""
        cell = unit_px(clip, units, self.cells)
        size = (cell[0] * self.cells, cell[1] * self.cells)
        image = clip["image"]
        edges = histogram(*central_differences(image.mean(dim=1, keepdim=True)), self.bins, cell)[:, 0]
        rows, columns = units.grid or (0, 0)
        edges = by_unit(edges, self.cells).transpose(1, 2).unflatten(2, (rows, columns))
        mean, square = F.avg_pool2d(image, size), F.avg_pool2d(image.square(), size)
        scaled = [self._at(scale, edges, mean, square) for scale in self.scales]
        return torch.cat(scaled, dim=1).flatten(2).transpose(1, 2).contiguous()

    def weight(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip) -> Float[Tensor, "B N"]:
        """1 where the unit exists: that a patch is flat is worth knowing, and no division blows its noise up."""
        return units.valid.to(values.dtype)

    def prediction(self, target: Shaped[Tensor, "B N *T"]) -> tuple[int, ...]:
        """The shape of a unit's target itself."""
        return tuple(target.shape[2:])

    def loss(self, prediction: Shaped[Tensor, "B K D"], target: Float[Tensor, "B K D"]) -> Float[Tensor, "B K"]:
        """Squared error (or smooth L1), averaged over the numbers of each unit; every scale counts the same."""
        return distance(prediction, target, self.error)

    def _at(self, scale: int, edges: Tensor, mean: Tensor, square: Tensor) -> Tensor:
        edges, mean, square = (around(value, scale) for value in (edges, mean, square))
        std = (square - mean.square()).clamp(min=0).sqrt()
        energy = ((edges + 0.01).log() + 3.9) / (0.7 * scale**-0.2)
        return torch.cat([energy, mean / 0.8, (std.sqrt() - 0.55) / 0.24], dim=1)


def around(value: Float[Tensor, "B K R S"], scale: int) -> Float[Tensor, "B K R S"]:
    """Mean over the scale x scale neighbours that exist."""
    return F.avg_pool2d(value, scale, stride=1, padding=scale // 2, count_include_pad=False)
