"""Every objective of `unseen.recipes.objectives` on small images with one class each: signs by track, thumbnails.

From this folder: `unseen pretrain objectives_on_small_images:mae --trust objectives_on_small_images --data STORE ...`
"""

from dataclasses import replace

from unseen.data.views import Frames
from unseen.evaluate.probes import Classify
from unseen.masks import Random
from unseen.recipes import objectives
from unseen.recipes.recipe import Recipe
from unseen.units import Patches


def small(recipe: Recipe) -> Recipe:
    """32 px images as 64 units of 4 px, twice as many of them in a step at the same rate per image."""
    few = replace(recipe.training, batch=2 * recipe.training.batch, lr=recipe.training.lr / 2)
    return replace(
        recipe,
        view=Frames(frame_px=(32, 32), area=(0.4, 1.0), flip=False, position="crop"),
        unit=Patches(size=(4, 4)),
        training=few,
        probes=(Classify(name="class", few_per_class=True, few_logs=(1, 2)),),
    )


def mae() -> Recipe:
    return small(objectives.objective_mae())


def crossmae() -> Recipe:
    return small(objectives.objective_crossmae())


def simmim() -> Recipe:
    """Cells of 8 px: a quarter of the side."""
    return replace(small(objectives.objective_simmim()), mask=Random(ratio=0.6, cell=2))


def maskfeat() -> Recipe:
    return small(objectives.maskfeat())


def denoising() -> Recipe:
    return small(objectives.denoising())


def data2vec() -> Recipe:
    return small(objectives.data2vec())


def ijepa() -> Recipe:
    return small(objectives.ijepa())


def tokenizer() -> Recipe:
    return replace(small(objectives.tokenizer()), probes=())


def beit() -> Recipe:
    return small(objectives.beit())
