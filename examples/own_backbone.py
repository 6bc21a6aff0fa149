"""Pretrain the convolutional network that you already ship. Run: python examples/own_backbone.py"""

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import mkdtemp

from torch import nn

import unseen
from unseen.models import InPlace
from unseen.recipes.apron import apron


class ConvBlock(nn.Module):
    """Depthwise 7 x 7, norm, expand, GELU, project: the block of ConvNeXt (Liu et al., CVPR 2022)."""

    def __init__(self, width: int):
        super().__init__()
        mix = (nn.Conv2d(width, width, 7, padding=3, groups=width), nn.GroupNorm(1, width))
        self.layers = nn.Sequential(*mix, nn.Conv2d(width, 4 * width, 1), nn.GELU(), nn.Conv2d(4 * width, width, 1))

    def forward(self, x):
        return x + self.layers(x)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallConvNet:
    width: int = 64
    depth: int = 3

    def build(self) -> nn.Module:  # [B, 3, H, W] -> [B, width, H / 8, W / 8]
        return nn.Sequential(nn.Conv2d(3, self.width, 8, 8), *[ConvBlock(self.width) for _ in range(self.depth)])


if __name__ == "__main__":
    unseen.world((folder := Path(mkdtemp())) / "store", logs=4, frames=6)
    recipe = replace(apron(), model=InPlace(backbone=SmallConvNet()))
    unseen.pretrain(recipe, data=folder / "store", out=folder / "run", set=("training.steps=80", "training.warmup=8"))
    print(unseen.load_encoder(folder / "run", trust=("__main__",)))
