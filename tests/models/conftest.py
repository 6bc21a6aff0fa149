"""Small models and batches whose sizes are pairwise different."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from unseen.contract import Output, Shapes
from unseen.models import (
    ConvStem,
    CrossAttention,
    InPlace,
    Learned,
    MaskedAutoencoder,
    Relative,
    SelfAttention,
    Sequence1D,
    ViT,
    WhitenedStem,
)

UNIT, GRID = (4, 6, 3), (2, 6)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallNet:
    """A backbone as a user would bring it; stride 2, 4 x 6 or 8 x 12 px a cell."""

    stride: tuple[int, int] = (4, 6)

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 7, self.stride, stride=self.stride), nn.Tanh())


def tiny(**changes) -> ViT:
    return ViT(**{"width": 24, "depth": 2, "heads": 3} | changes)


def shapes(**outputs: Output) -> Shapes:
    return Shapes(UNIT, (4.0, 6.0), GRID, outputs or {"pixels": Output(UNIT)})


SPECS = {
    "mae": MaskedAutoencoder(encoder=tiny(), predictor=SelfAttention(width=16, depth=2, heads=4)),
    "mae without class token": MaskedAutoencoder(
        encoder=tiny(class_token=False, stem=WhitenedStem(hidden=11)),
        predictor=SelfAttention(width=16, depth=1, heads=2),
    ),
    "mae with a table": MaskedAutoencoder(
        encoder=tiny(positions=Learned(grid=GRID), stem=ConvStem(channels=(5, 9))),
        predictor=SelfAttention(width=16, depth=1, heads=2),
    ),
    "crossmae": MaskedAutoencoder(encoder=tiny(), predictor=CrossAttention(width=16, depth=2, heads=4)),
    "crossmae with mixed layers": MaskedAutoencoder(
        encoder=tiny(), predictor=CrossAttention(width=16, depth=3, heads=4, feature_mix=True)
    ),
    "mae with relative positions": MaskedAutoencoder(
        encoder=tiny(positions=None, relative=Relative(grid=GRID, shared=False), layer_scale=0.125),
        predictor=SelfAttention(width=16, depth=1, heads=2, positions=Sequence1D(grid=GRID), embed_bias=False),
    ),
    "in place, as beit": InPlace(encoder=tiny(positions=None, relative=Relative(grid=GRID), layer_scale=0.125)),
    "in place": InPlace(encoder=tiny()),
    "in place, same grid": InPlace(backbone=SmallNet()),
    "in place, finer": InPlace(backbone=SmallNet(stride=(2, 3))),
    "in place, coarser": InPlace(backbone=SmallNet(stride=(8, 12))),
}


class Batch:
    """B samples of N units, with masks; `centre` differs from sample to sample."""

    def __init__(self, batch: int = 3, seed: int = 0, ragged: bool = False):
        generator = torch.Generator().manual_seed(seed)
        n_units = GRID[0] * GRID[1]
        self.values = torch.randn(batch, n_units, *UNIT, generator=generator)
        rank = torch.rand(batch, n_units, generator=generator).argsort(dim=1).argsort(dim=1)
        visible = torch.tensor([3, 5, 2, 4][:batch])[:, None] if ragged else torch.tensor(3)
        hidden = torch.tensor([2, 1, 4, 3][:batch])[:, None] if ragged else torch.tensor(4)
        self.visible, self.target = rank < visible, rank >= n_units - hidden
        y, x = torch.meshgrid(torch.arange(GRID[0]) + 0.5, torch.arange(GRID[1]) + 0.5, indexing="ij")
        centre = torch.stack([y.flatten() * UNIT[0], x.flatten() * UNIT[1]], dim=-1)
        shift = torch.rand(batch, 1, 2, generator=generator)
        self.metadata = {"centre": centre + shift, "valid": torch.ones(batch, n_units, dtype=torch.bool), "grid": GRID}

    def rows(self, keep: list[int]) -> "Batch":
        other = object.__new__(Batch)
        other.values, other.visible, other.target = self.values[keep], self.visible[keep], self.target[keep]
        other.metadata = {
            **self.metadata,
            "centre": self.metadata["centre"][keep],
            "valid": self.metadata["valid"][keep],
        }
        return other


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Random values everywhere, also in biases and norms, so that no wrong name passes by luck."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module


def close(a: Tensor, b: Tensor, atol: float = 1e-5) -> bool:
    return torch.allclose(a, b, atol=atol, rtol=1e-5)


@pytest.fixture(params=SPECS, ids=list(SPECS))
def spec(request):
    return SPECS[request.param]
