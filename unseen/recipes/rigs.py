"""Recipes for other sensors than one colour camera: several cameras side by side, thermal images."""

from dataclasses import replace

from unseen.data.rig import Rig
from unseen.data.views import Frames
from unseen.masks import Random
from unseen.models import LinearStem, MaskedAutoencoder, SelfAttention, ViT
from unseen.recipes.images import mae
from unseen.recipes.recipe import Recipe
from unseen.systems.objective import Term
from unseen.targets import Pixels
from unseen.train.training import Training
from unseen.units import Fixed, Mosaic, Patches, PerClip


def mosaic_mae() -> Recipe:
    """Masked autoencoder over the cameras of a rig: what one camera hides, another may show.

    `--set view.cameras='["left", "front", "right"]'` names the sensors of the store from left to right.
    """
    return Recipe(
        view=Rig(
            cameras=("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT"),
            picture=Frames(frame_px=(96, 160), crop_px=(64, 96), area=(0.2, 1.0), flip=False),
        ),
        normalise=Fixed(),
        unit=Mosaic(size=(8, 8)),
        mask=Random(ratio=0.75),
        targets={"pixels": Term(target=Pixels(normalise="patch"))},
        model=MaskedAutoencoder(
            encoder=ViT(width=192, depth=6, heads=3, class_token=False, stem=LinearStem()),
            predictor=SelfAttention(width=96, depth=2, heads=3),
        ),
        decode=0.5,
        training=Training(steps=1000, batch=16, lr=2.4e-2, monitor_samples=16),
    )


def thermal_mae() -> Recipe:
    """Masked autoencoder on thermal images of 8 or 16 bits: one channel, each frame scaled by its own percentiles."""
    return replace(
        mae(),
        view=Frames(frame_px=(120, 160), crop_px=(64, 96), area=(0.2, 1.0), channels=1),
        normalise=PerClip(low=1.0, high=99.0),
        unit=Patches(size=(8, 8)),
        probes=(),
    )
