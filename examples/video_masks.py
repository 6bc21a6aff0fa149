"""What should a video mask hide? Four masks of one net on clips with poses and depth, and the control that tells them.

From this folder: `unseen pretrain video_masks:ego --trust video_masks --data STORE --split s --out runs/ego`
"""

from dataclasses import dataclass, replace

from unseen.contract import Mask, Metadata, Units
from unseen.data.views import Frames
from unseen.evaluate.probes import Dense
from unseen.masks import EgoTube, Random, Tube
from unseen.recipes.recipe import Recipe
from unseen.recipes.video import future_frames, videomae, videomae_ego
from unseen.recipes.video import vjepa as published_vjepa


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingCells(EgoTube):
    """`EgoTube` as it would be if the vehicle stood still: its cells and its guard, kept to the pixels of slot 0."""

    def __call__(self, units: Units, key, metadata: Metadata) -> Mask:
        slots = units.grid[0]
        first = units.place.unflatten(1, (slots, -1))[:, :1]
        return EgoTube.__call__(
            self, units._replace(place=first.repeat(1, slots, 1, 1, 1).flatten(1, 2)), key, metadata
        )


def alike(recipe: Recipe, decode: float) -> Recipe:
    """Of 384 units in a crop, 40 are read and 172 predicted, whichever mask hides the rest."""
    view = replace(recipe.view, picture=Frames(frame_px=(96, 128), crop_px=(64, 96), area=(0.2, 0.8), flip=False))
    training = replace(recipe.training, steps=500, warmup=50, monitor_samples=8)
    probe = Dense(name="segmentation", classifier="ridge", every=8)
    return replace(recipe, view=view, decode=decode, training=training, probes=(probe,))


def tube() -> Recipe:
    return replace(alike(videomae(), 0.5), mask=Tube(ratio=0.9))


def spacetime() -> Recipe:
    return replace(alike(videomae(), 0.5), mask=Random(ratio=344 / 384))


def ego() -> Recipe:
    return alike(videomae_ego(), 0.642)


def standing() -> Recipe:
    """The control: regions as large as those of `ego`, which do not follow the world."""
    return replace(ego(), mask=StandingCells(visible=0.1, target=0.7))


def vjepa() -> Recipe:
    """Features of a slow copy in place of pixels, its own blocks; 20 % of the units are read."""
    recipe = alike(published_vjepa(), 0.5)
    return replace(recipe, training=replace(recipe.training, steps=300))


def future() -> Recipe:
    return alike(future_frames(), 0.5)
