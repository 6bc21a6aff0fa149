"""What all regression targets share: how far a prediction is from the truth, and which units are worth predicting."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

Distance = Literal["l2", "l1", "smooth_l1", "cosine"]


def distance(
    prediction: Shaped[Tensor, "B K *T"], target: Shaped[Tensor, "B K *T"], kind: Distance, beta: float = 1.0
) -> Float[Tensor, "B K"]:
    """Mean error over the values of each unit, in float32; ValueError unless the shapes are equal (no broadcast).

    smooth_l1: error^2 / (2 beta) below beta, then |error| - beta / 2. cosine: 1 - cosine of the angle between the two.
    """
    if prediction.shape != target.shape:
        raise ValueError(f"prediction is {tuple(prediction.shape)} but target is {tuple(target.shape)}")
    if kind == "cosine":
        return 1 - torch.cosine_similarity(prediction.float().flatten(2), target.float().flatten(2), dim=2)
    if kind == "l2":
        error = F.mse_loss(prediction.float(), target.float(), reduction="none").flatten(2)
    else:
        error = (prediction.float() - target.float()).abs().flatten(2)
    if kind == "smooth_l1":
        error = torch.where(error < beta, 0.5 * error.square() / beta, error - 0.5 * beta)
    return error.sum(dim=2) / error.shape[2]  # not mean(): its gradient is written out for every value


def centre(
    values: Float[Tensor, "B N *P"], dims: tuple[int, ...]
) -> tuple[Float[Tensor, "B N *P"], Float[Tensor, "B N *Q"]]:
    """Values minus their mean over `dims`, and their unbiased variance (in two passes, as fast as it is exact)."""
    centred = values - along_rows(values.mean(dim=dims, keepdim=True), values)
    count = math.prod(values.shape[dim] for dim in dims)
    return centred, along_rows(centred.square().sum(dim=dims, keepdim=True) / max(count - 1, 1), values)


def along_rows(statistic: Float[Tensor, "B N *Q"], values: Float[Tensor, "B N *P"]) -> Float[Tensor, "B N *R"]:
    """Repeat what is known of each channel along a row of pixels: arithmetic over three numbers at a time is slow."""
    if values.ndim < 5 or statistic.shape[-1] == 1:
        return statistic
    return statistic.expand(*statistic.shape[:-2], *values.shape[-2:]).contiguous()


def space(values: Float[Tensor, "B N *P"]) -> tuple[int, ...]:
    """The axes of a unit's content but the last, its channels; a unit of one axis is all one channel."""
    return tuple(range(2, max(values.ndim - 1, 3)))


def textured(
    values: Float[Tensor, "B N *P"], flat_std: float, valid: Bool[Tensor, "B N"], *, each_channel: bool = False
) -> Float[Tensor, "B N"]:
    """1 where a unit exists and varies in space by `flat_std` (root mean square over channels, or in each), else 0.

    Colour alone is no texture: after standardisation a patch of one grey differs between channels, and is flat.
    """
    if flat_std <= 0:
        return valid.to(values.dtype)
    variance = centre(values, space(values))[1].flatten(2)
    variance = variance.amin(dim=2) if each_channel else variance.mean(dim=2)
    return ((variance.sqrt() >= flat_std) & valid).to(values.dtype)
