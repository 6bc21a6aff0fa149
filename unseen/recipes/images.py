"""Recipes for single images: frames of a driving log, crops of signs, thumbnails.

Each function is one whole experiment. A variant is `replace(...)` of another, or `--set path=value` in a command.
"""

from dataclasses import replace

from unseen.data.views import Frames
from unseen.evaluate.probes import Classify, Dense
from unseen.masks import Block, Random
from unseen.models import CrossAttention, InPlace, LinearStem, MaskedAutoencoder, SelfAttention, ViT, WhitenedStem
from unseen.recipes.recipe import Recipe
from unseen.systems.objective import Term
from unseen.targets import Descriptors, Pixels
from unseen.train.training import Training
from unseen.units import Fixed, Patches, PerFrame

SEGMENT = Dense(name="segmentation")


def mae() -> Recipe:
    """Masked autoencoder on driving frames (He et al., CVPR 2022), at a size that trains on a laptop."""
    return Recipe(
        view=Frames(frame_px=(192, 256), crop_px=(96, 128), area=(0.2, 1.0)),
        normalise=Fixed(),
        unit=Patches(size=(8, 8)),
        mask=Random(ratio=0.75),
        targets={"pixels": Term(target=Pixels(normalise="patch"))},
        model=MaskedAutoencoder(
            encoder=ViT(width=192, depth=6, heads=3, class_token=True, stem=LinearStem()),
            predictor=SelfAttention(width=128, depth=2, heads=4),
        ),
        training=Training(steps=2000, batch=32, lr=1.2e-2),
        probes=(SEGMENT,),
    )


def crossmae() -> Recipe:
    """MAE with a cross-attention predictor on half of the hidden units (Fu et al., 2024)."""
    return replace(
        mae(),
        model=MaskedAutoencoder(
            encoder=ViT(width=192, depth=6, heads=3, class_token=True, stem=LinearStem()),
            predictor=CrossAttention(width=128, depth=2, heads=4),
        ),
        decode=0.5,
    )


def simmim() -> Recipe:
    """Full-length encoder, learned token in the hidden cells, raw pixels under L1 (Xie et al., CVPR 2022)."""
    return replace(
        mae(),
        mask=Random(ratio=0.6, cell=4),
        targets={"pixels": Term(target=Pixels(normalise="none", error="l1"))},
        model=InPlace(encoder=ViT(width=192, depth=6, heads=3, class_token=True, stem=LinearStem())),
    )


def blocks() -> Recipe:
    """MAE whose hidden units form rectangles: no hidden unit is a plain interpolation of its neighbours."""
    return replace(mae(), mask=Block(ratio=0.6))


def descriptors() -> Recipe:
    """Orientation and colour at three scales, on hidden units through a predictor and on visible ones by a linear head.

    The loss on visible units is descriptor regression, not masked prediction; both are logged apart, and
    `descriptors_seen` (5 % hidden) is the twin that tells how much of a gain is owed to which.
    """
    return Recipe(
        view=Frames(frame_px=(192, 256), crop_px=(64, 128), area=(0.1, 0.6), jitter=0.2),
        normalise=PerFrame(),
        unit=Patches(size=(8, 8)),
        mask=Random(ratio=0.75),
        targets={"descriptors": Term(target=Descriptors(scales=(1, 3, 7)), weight=1.0, visible_weight=1.0)},
        decode=0.5,
        model=MaskedAutoencoder(
            encoder=ViT(width=192, depth=6, heads=3, class_token=False, stem=WhitenedStem(hidden=576)),
            predictor=SelfAttention(width=96, depth=1, heads=3),
        ),
        training=Training(steps=3000, batch=32, lr=2.4e-2),
        probes=(SEGMENT,),
    )


def descriptors_seen() -> Recipe:
    """The nearly-unmasked twin of `descriptors`: 5 % hidden. What it reaches is not owed to masking."""
    return replace(descriptors(), mask=Random(ratio=0.05), decode=1.0)


def descriptors_hidden() -> Recipe:
    """`descriptors` with its loss on hidden units alone: masked prediction and nothing else."""
    return replace(descriptors(), targets={"descriptors": Term(target=Descriptors(scales=(1, 3, 7)))})


def signs() -> Recipe:
    """MAE on small crops with one class each (traffic signs by track)."""
    return replace(
        mae(),
        view=Frames(frame_px=(32, 32), area=(0.4, 1.0), flip=False, position="crop"),
        unit=Patches(size=(4, 4)),
        model=MaskedAutoencoder(
            encoder=ViT(width=192, depth=6, heads=3, class_token=True, stem=LinearStem()),
            predictor=SelfAttention(width=96, depth=2, heads=3),
        ),
        training=Training(steps=700, batch=128, lr=3e-3, monitor_every=350, checkpoint_every=350),
        probes=(Classify(name="class", few_per_class=True, few_logs=(1, 2)),),
    )


def signs_descriptors() -> Recipe:
    """Signs by their descriptors, hidden and visible."""
    return replace(
        signs(),
        normalise=PerFrame(),
        targets=descriptors().targets,
        decode=0.5,
        model=MaskedAutoencoder(
            encoder=ViT(width=192, depth=6, heads=3, class_token=False, stem=WhitenedStem(hidden=576)),
            predictor=SelfAttention(width=96, depth=1, heads=3),
        ),
    )


def thumbnails() -> Recipe:
    """Descriptors on 32 x 32 images such as CIFAR-10: a sanity run."""
    return replace(
        signs_descriptors(),
        view=Frames(frame_px=(32, 32), area=(0.4, 1.0), flip=True, position="crop"),
        probes=(Classify(name="class", few_logs=()),),
    )


def thumbnails_mae() -> Recipe:
    """The published masked autoencoder on the same images."""
    return replace(
        signs(),
        view=Frames(frame_px=(32, 32), area=(0.4, 1.0), flip=True, position="crop"),
        probes=(Classify(name="class", few_logs=()),),
    )
