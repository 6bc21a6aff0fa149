"""Recipes for the embedded apron: small enough for a laptop's coffee break."""

from dataclasses import replace

from unseen.data.views import View
from unseen.evaluate.probes import Dense
from unseen.recipes.images import descriptors
from unseen.recipes.recipe import Recipe
from unseen.train.training import Training


def apron() -> Recipe:
    """The recipe of `unseen demo`: descriptors of hidden and visible units, on two synthetic airports."""
    return replace(
        descriptors(),
        view=View(frame_px=(192, 256), crop_px=(64, 128), area=(0.1, 0.6), jitter=0.2),
        training=Training(steps=600, batch=32, lr=2.4e-2, monitor_every=100, checkpoint_every=300),
        probes=(Dense(name="segmentation"),),
    )
