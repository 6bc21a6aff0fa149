"""Pixels of the hidden units: raw (SimMIM), or standardised by the patch in MAE's or in VideoMAE's way."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unseen.contract import Clip, Units
from unseen.errors import UnseenError
from unseen.targets.distance import centre, distance, space, textured


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """Predict the content itself, [B, N, *P] with channels last.

    normalise="none": as the model reads it (SimMIM: Xie et al., CVPR 2022, with error="l1").
    normalise="patch": (x - mean) / sqrt(var + 1e-6) over all values of the unit jointly, var unbiased (MAE: He et al.,
    CVPR 2022, `norm_pix_loss`).
    normalise="channel": (x - mean) / (std + 1e-6) per channel, std unbiased (VideoMAE: Tong et al., NeurIPS 2022, on
    [0, 1] pixels, where its 1e-6 is 4e-6 of ours: below any quantisation).

    Under the last two a flat unit is a free win (its target is zero, or its colour alone) or amplified sensor noise.
    Units whose standard deviation in space is below `flat_std` therefore weigh nothing: root mean square over the
    channels, or under "channel" in any of them.
    """

    normalise: Literal["none", "patch", "channel"] = "patch"
    error: Literal["l2", "l1"] = "l2"
    # in normalised units: one grey level of 8 bits is 1 / 255 / 0.225 = 0.017 under the usual standardisation.
    # 0 counts every unit, as the published losses do.
    flat_std: float = 0.02

    suits: ClassVar[str] = "reconstruction, fine-tuning with many labels, texture and small edges"
    risk: ClassVar[str] = "brightness and fine noise use up the capacity; frozen features gain little at small compute"

    @torch.no_grad()
    def make(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip) -> Float[Tensor, "B N *P"]:
        """The target of every unit, hidden or not; UnseenError for units that are no pixels."""
        if values.ndim < 3:
            raise UnseenError("Pixels got units of one number each", "it needs patches of pixels", "use TokenIds")
        if self.normalise == "none":
            return values
        dims = space(values) if self.normalise == "channel" else tuple(range(2, values.ndim))
        centred, variance = centre(values, dims)
        return centred.div_((variance + 1e-6).sqrt() if self.normalise == "patch" else variance.sqrt() + 1e-6)

    def weight(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip) -> Float[Tensor, "B N"]:
        """1 where the unit exists and has texture to predict, else 0."""
        if self.normalise == "none":
            return units.valid.to(values.dtype)
        return textured(values, self.flat_std, units.valid, each_channel=self.normalise == "channel")

    def prediction(self, target: Shaped[Tensor, "B N *T"]) -> tuple[int, ...]:
        """The shape of a unit's target itself."""
        return tuple(target.shape[2:])

    def loss(self, prediction: Shaped[Tensor, "B K *P"], target: Float[Tensor, "B K *P"]) -> Float[Tensor, "B K"]:
        """Squared (or absolute) error, averaged over the values of each unit."""
        return distance(prediction, target, self.error)
