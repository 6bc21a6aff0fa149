"""Recipes for the embedded apron: small enough for a laptop's coffee break."""

from dataclasses import replace

from unseen.evaluate.probes import Dense
from unseen.recipes.images import descriptors
from unseen.recipes.recipe import Recipe
from unseen.systems.objective import Term
from unseen.targets import Descriptors, Pixels
from unseen.train.training import Training


def apron() -> Recipe:
    """The recipe of `unseen demo`: descriptors of hidden and visible units, on two synthetic airports."""
    return replace(
        descriptors(),
        targets={
            "descriptors": Term(target=Descriptors(scales=(1, 3, 7)), weight=1.0, visible_weight=1.0),
            "pixels": Term(target=Pixels(normalise="none"), weight=0.2),  # so that there is something to look at
        },
        training=Training(steps=600, batch=32, lr=2.4e-2, monitor_every=100, checkpoint_every=300),
        probes=(Dense(name="segmentation", classifier="ridge"),),
    )
