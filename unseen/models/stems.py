"""Stems: from the content of one unit to one token. Each reads its own unit only, so nothing leaks between units."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from unseen.errors import UnseenError


@runtime_checkable
class Stem(Protocol):
    """A stem as a recipe names it: a frozen description that builds the module [B, V, *P] -> [B, V, width]."""

    def build(self, unit: tuple[int, ...], width: int) -> nn.Module: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearStem:
    """One linear map, stored as the convolution weight that published ViTs have."""

    def build(self, unit: tuple[int, ...], width: int) -> nn.Module:
        _need_numbers("LinearStem", unit)
        return _Linear(unit, width)


@dataclass(frozen=True, slots=True, kw_only=True)
class WhitenedStem:
    """PCA-whitened patches, then a linear map or a small MLP, so that fine detail weighs as much as brightness.

    The whitening is fitted once by `calibrate`, before training, and never trained; until then it is the identity.
    The linear form folds exactly into a `LinearStem`.
    """

    hidden: int | None = None  # width of the MLP; None: linear
    eps: float = 1e-3  # added to each variance, as a share of the mean variance: how little is still amplified

    def __post_init__(self) -> None:
        if self.hidden is not None and self.hidden < 1:
            raise UnseenError(
                f"WhitenedStem: hidden is {self.hidden}", "it counts from 1, or is None for a linear stem"
            )
        if not self.eps >= 0:
            raise UnseenError(f"WhitenedStem: eps is {self.eps}", "it is a share of the variance, 0 or more")

    def build(self, unit: tuple[int, ...], width: int) -> nn.Module:
        _need_numbers("WhitenedStem", unit)
        return _Whitened(unit, width, self.hidden, self.eps)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvStem:
    """Strided 3x3 convolutions inside each patch, then a linear map (after Xiao et al., NeurIPS 2021)."""

    channels: tuple[int, ...] = (32, 64)  # each halves both sides of the patch

    def build(self, unit: tuple[int, ...], width: int) -> nn.Module:
        if len(unit) != 3:
            raise UnseenError(f"ConvStem got units of shape {unit}", "it needs patches [rows, columns, channels]")
        return _Convolutions(unit, width, self.channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenStem:
    """A learned vector for each id of a vocabulary, normalised, so that it weighs as much as its sin-cos position."""

    vocabulary: int  # ids run from 0 to this
    eps: float = 1e-6

    def __post_init__(self) -> None:
        if self.vocabulary < 2:
            raise UnseenError(f"TokenStem: a vocabulary of {self.vocabulary}", "it has two tokens or more")

    def build(self, unit: tuple[int, ...], width: int) -> nn.Module:
        if unit:
            raise UnseenError(f"TokenStem got units of shape {unit}", "it needs token ids, one a unit", "use Tokens")
        return _Tokens(self.vocabulary, width, self.eps)


class _Tokens(nn.Module):
    def __init__(self, vocabulary: int, width: int, eps: float):
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Int64[Tensor, "B V"]) -> Float[Tensor, "B V D"]:
        return self.norm(self.embed(x))


class _Linear(nn.Module):
    def __init__(self, unit: tuple[int, ...], width: int):
        super().__init__()
        self.proj = ConvWeight(unit, width)

    def forward(self, x: Float[Tensor, "B V *P"]) -> Float[Tensor, "B V D"]:
        return F.linear(x.flatten(2), self.proj.matrix(), self.proj.bias)


class ConvWeight(nn.Module):
    """Weight [width, channels, *space] and bias of a patch convolution; units hold [*space, channels]."""

    def __init__(self, unit: tuple[int, ...], width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, unit[-1], *unit[:-1]))
        self.bias = nn.Parameter(torch.empty(width))

    def matrix(self) -> Float[Tensor, "D P"]:
        """The weight with its columns in the order of a flattened unit."""
        return self.weight.movedim(1, -1).flatten(1)


class _Whitened(nn.Module):
    mean: Tensor
    whitening: Tensor

    def __init__(self, unit: tuple[int, ...], width: int, hidden: int | None, eps: float):
        super().__init__()
        n_values = math.prod(unit)
        self.unit, self.eps = unit, eps
        self.register_buffer("mean", torch.empty(n_values))
        self.register_buffer("whitening", torch.empty(n_values, n_values))  # row i: the i-th component, scaled
        if hidden is None:
            self.proj: nn.Module = nn.Linear(n_values, width)
        else:
            self.proj = nn.Sequential(nn.Linear(n_values, hidden), nn.GELU(), nn.Linear(hidden, width))

    def reset_buffers(self) -> None:
        self.mean.zero_()
        self.whitening.copy_(torch.eye(len(self.mean)))

    @torch.no_grad()
    def calibrate(self, values: Shaped[Tensor, "M *P"]) -> None:
        """Fit mean and principal components to units of the training split (a few thousand are enough)."""
        flat = values.flatten(1)
        mean = flat.double().mean(dim=0)
        covariance = sum(part.T @ part for part in (rows.double() - mean for rows in flat.split(4096))) / len(flat)
        variance, component = torch.linalg.eigh(covariance)
        scale = (variance.clamp(min=0) + self.eps * variance.mean().clamp(min=1e-12)).rsqrt()
        order = variance.argsort(descending=True)
        self.mean.copy_(mean)
        self.whitening.copy_((component * scale).T[order])

    def forward(self, x: Float[Tensor, "B V *P"]) -> Float[Tensor, "B V D"]:
        return self.proj(F.linear(x.flatten(2) - self.mean, self.whitening))

    @torch.no_grad()
    def fold(self) -> tuple[Float[Tensor, "D C *space"], Float[Tensor, "D"]]:
        """Weight and bias of the `LinearStem` that computes the same."""
        if not isinstance(self.proj, nn.Linear):
            raise UnseenError(
                "a WhitenedStem with a hidden layer has no equal convolution",
                "only hidden=None folds",
                "export to onnx",
            )
        matrix = self.proj.weight.double() @ self.whitening.double()
        bias = self.proj.bias.double() - matrix @ self.mean.double()
        return matrix.float().unflatten(1, self.unit).movedim(-1, 1).contiguous(), bias.float()


class _Convolutions(nn.Module):
    def __init__(self, unit: tuple[int, ...], width: int, channels: tuple[int, ...]):
        super().__init__()
        rows, columns, n_in = unit
        self.convs = nn.ModuleList()
        for n_out in channels:
            self.convs.append(nn.Conv2d(n_in, n_out, 3, stride=2, padding=1))
            rows, columns, n_in = (rows + 1) // 2, (columns + 1) // 2, n_out
        self.proj = nn.Linear(rows * columns * n_in, width)

    def forward(self, x: Float[Tensor, "B V h w C"]) -> Float[Tensor, "B V D"]:
        image = x.flatten(0, 1).permute(0, 3, 1, 2)
        for conv in self.convs:
            image = F.gelu(conv(image))
        return self.proj(image.flatten(1)).unflatten(0, x.shape[:2])


def _need_numbers(owner: str, unit: tuple[int, ...]) -> None:
    if not unit:
        raise UnseenError(f"{owner} got units without numbers", "it reads pixels or points", "use TokenStem for ids")
