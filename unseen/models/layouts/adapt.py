"""Patch convolutions for other input: video instead of images, grey instead of colour and back."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from unseen.errors import UnseenError

Inflation = Literal["mean", "central"]


def inflate(
    weight: Float[Tensor, "D C h w"], frames: int, how: Inflation = "mean"
) -> Float[Tensor, "D C {frames} h w"]:
    """A convolution over patches as one over tubes of `frames` (Carreira & Zisserman, CVPR 2017).

    "mean" puts 1/frames of the weight at each frame; "central" all of it at frame `frames // 2`. Both respond to a clip
    that stands still as the image convolution does to its frame.
    """
    if frames < 1 or how not in ("mean", "central"):
        raise UnseenError(f"inflation {how!r} to {frames} frames", "mean or central, to 1 or more")
    if how == "mean":
        return (weight / frames)[:, :, None].repeat(1, 1, frames, 1, 1)
    tubes = weight.new_zeros(*weight.shape[:2], frames, *weight.shape[2:])
    tubes[:, :, frames // 2] = weight
    return tubes


def adapt_channels(weight: Float[Tensor, "D C *S"], channels: int) -> Float[Tensor, "D {channels} *S"]:
    """A convolution over colour as one over grey, or back, with the same response to a grey image shown in colour.

    3 to 1: the sum over the channels. 1 to 3: a third of the weight at each channel.
    """
    found = weight.shape[1]
    if found == channels:
        return weight
    if (found, channels) == (3, 1):
        return weight.sum(dim=1, keepdim=True)
    if (found, channels) == (1, 3):
        return torch.cat([weight / 3] * 3, dim=1)
    raise UnseenError(f"a convolution over {found} channels for {channels}", "only 3 to 1 and 1 to 3 have a rule")
