"""What all regression targets share: how far a prediction is from the truth, and which units are worth predicting."""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor


def distance(
    prediction: Shaped[Tensor, "B K *T"], target: Shaped[Tensor, "B K *T"], kind: Literal["l2", "l1", "smooth_l1"]
) -> Float[Tensor, "B K"]:
    """Mean error over the values of each unit, in float32; ValueError unless the shapes are equal (no broadcast)."""
    if prediction.shape != target.shape:
        raise ValueError(f"prediction is {tuple(prediction.shape)} but target is {tuple(target.shape)}")
    error = prediction.float() - target.float()
    if kind == "l2":
        error = error.square()
    elif kind == "l1":
        error = error.abs()
    else:
        size = error.abs()
        error = torch.where(size < 1, 0.5 * size.square(), size - 0.5)
    return error.flatten(2).mean(dim=2)


def centre(
    values: Float[Tensor, "B N *P"], dims: tuple[int, ...]
) -> tuple[Float[Tensor, "B N *P"], Float[Tensor, "B N *Q"]]:
    """Values minus their mean over `dims`, and their unbiased variance (in two passes, as fast as it is exact)."""
    centred = values - values.mean(dim=dims, keepdim=True)
    count = math.prod(values.shape[dim] for dim in dims)
    return centred, centred.square().sum(dim=dims, keepdim=True) / max(count - 1, 1)


def textured(std: Float[Tensor, "B N"], flat_std: float, valid: Bool[Tensor, "B N"]) -> Float[Tensor, "B N"]:
    """1 where a unit exists and its standard deviation reaches `flat_std`, else 0."""
    return ((std >= flat_std) & valid).to(std.dtype)
