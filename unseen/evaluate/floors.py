"""What an encoder must beat: raw pixels, and hand-made descriptors, which are the strong floor on driving frames.

A floor is a callable like any encoder: raw content (images [B, C, H, W], video [B, T, C, H, W], a list of passages) ->
Features (pooled, units, grid); `floors_of` tells which floors there are for a kind of unit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from unseen.errors import UnseenError
from unseen.evaluate.words import HashedWords
from unseen.systems.encode import Features
from unseen.targets.orientation import central_differences, histogram
from unseen.units.mosaic import Mosaic
from unseen.units.normalise import unit_scale
from unseen.units.patches import Patches
from unseen.units.tokens import Tokens
from unseen.units.tubes import Tubes


@singledispatch
def floors_of(unit: Any, seen: Callable[[], Any]) -> dict[str, Callable[[Any], Features]]:
    """The floors of a kind of unit, by name; `seen` gives raw content of the training, for floors that are fitted.

    A kind of unit of one's own registers what it must beat: `@floors_of.register`. None is known for others.
    """
    return {}


@floors_of.register(Patches)
@floors_of.register(Mosaic)
@floors_of.register(Tubes)
def _(unit: Patches | Mosaic | Tubes, seen: Callable[[], Any]) -> dict[str, Callable[[Any], Features]]:
    unit_px = (unit.size[-2], unit.size[-1])
    return {"hand-made": HandMade(unit_px=unit_px), "raw pixels": RawPixels(unit_px=unit_px)}


@floors_of.register
def _(unit: Tokens, seen: Callable[[], Any]) -> dict[str, Callable[[Any], Features]]:
    return {"tf-idf": HashedWords.fitted(seen())}


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPixels:
    """The content of the unit itself and its position: what a linear map finds without any features."""

    unit_px: tuple[int, int] = (8, 8)

    def __call__(self, image: Shaped[Tensor, "B *T C H W"]) -> Features:
        image = still(image)
        values, _ = Patches(size=self.unit_px).cut({"image": unit_scale(image)})
        grid = image.shape[2] // self.unit_px[0], image.shape[3] // self.unit_px[1]
        features = torch.cat([values.flatten(2), place(*grid)[None].expand(len(image), -1, -1)], dim=2)
        return Features(features.mean(dim=1), features, grid)


@dataclass(frozen=True, slots=True, kw_only=True)
class HandMade:
    """Orientation histogram, colour and edge energy of the unit, their means over neighbourhoods, and position.

    Every frame is standardised first, per channel. With three colours and the default windows: 49 numbers of the unit,
    49 for each window, 9 of position: 205.
    """

    unit_px: tuple[int, int] = (8, 8)
    bins: int = 9  # unsigned orientations
    windows: tuple[int, ...] = (3, 7, 15)  # odd sides of the neighbourhoods, in units

    def __call__(self, image: Shaped[Tensor, "B *T C H W"]) -> Features:
        image = still(image)
        own = self.describe(image)  # [B, D, rows, columns]
        maps = [own] + [F.avg_pool2d(own, w, 1, w // 2, count_include_pad=False) for w in self.windows]
        grid = (own.shape[2], own.shape[3])
        position = place(*grid)[None].expand(len(image), -1, -1)
        features = torch.cat([*(m.flatten(2).mT for m in maps), position], dim=2)
        return Features(features.mean(dim=1), features, grid)

    def describe(self, image: Shaped[Tensor, "B C H W"]) -> Float[Tensor, "B D r c"]:
        """Per unit: orientation histograms and mean colours of its four quarters, and the log of its edge energy."""
        x = unit_scale(image)
        x = (x - x.mean(dim=(2, 3), keepdim=True)) / (x.std(dim=(2, 3), keepdim=True, correction=0) + 0.02)
        quarter = self._quarter_px(*image.shape[2:])
        edges = histogram(*central_differences(x.mean(dim=1, keepdim=True)), self.bins, quarter)[:, 0]
        edges, colour = F.pixel_unshuffle(edges, 2), F.pixel_unshuffle(F.avg_pool2d(x, quarter), 2)
        energy = edges.square().sum(dim=1, keepdim=True).sqrt() + 0.05
        return torch.cat([(edges / energy).sqrt(), colour, energy.log()], dim=1)

    def _quarter_px(self, height: int, width: int) -> tuple[int, int]:
        h, w = self.unit_px
        if h % 2 or w % 2 or height % h or width % w:
            raise UnseenError(
                f"units of {h} x {w} px do not fit an image of {height} x {width} px",
                "sides of a unit are even and divide the image",
                "change unit_px",
            )
        return h // 2, w // 2


def still(raw: Shaped[Tensor, "B *T C H W"]) -> Shaped[Tensor, "B C H W"]:
    """Images as they are; of videos the middle frame, the one that labels are for."""
    return raw[:, raw.shape[1] // 2] if raw.ndim == 5 else raw


def place(rows: int, columns: int) -> Float[Tensor, "N 9"]:
    """Where units are in the frame, as the cubic polynomial of (y, x) in [-1, 1] without its constant."""
    y = (torch.arange(rows) + 0.5) / rows * 2 - 1
    x = (torch.arange(columns) + 0.5) / columns * 2 - 1
    y, x = torch.cartesian_prod(y, x).unbind(dim=1)
    return torch.stack([y, x, y * y, y * x, x * x, y**3, y * y * x, y * x * x, x**3], dim=1)
