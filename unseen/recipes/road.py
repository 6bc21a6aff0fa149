"""Recipes for driving frames whose evidence stands in EXPERIMENTS.md: one net, one budget, one set of probes.

Pretrained on unlabelled drives, judged by segmentation of recordings that no encoder and no choice saw. The rows of the
table are these functions; `unseen evaluate RUN --against ...` puts their runs side by side.
"""

from dataclasses import replace

from unseen.data.views import Frames
from unseen.evaluate.probes import Dense
from unseen.masks import Random
from unseen.models import InPlace, LinearStem, MaskedAutoencoder, SelfAttention, ViT, WhitenedStem
from unseen.recipes.images import descriptors, mae
from unseen.recipes.recipe import Recipe
from unseen.systems.objective import Term
from unseen.targets import Descriptors
from unseen.train.training import Training

PROBES = (
    Dense(name="held-out recording", most_frames=124, few_logs=()),
    Dense(name="each recording once", protocol="leave-one-log-out", most_frames=124, few_logs=(), few_frames=(10, 20)),
)


def road_mae() -> Recipe:
    """The published masked autoencoder at this size: linear stem, class token, normalised pixels, all decoded."""
    return replace(
        mae(),
        view=Frames(frame_px=(192, 256), crop_px=(64, 128), area=(0.1, 0.6)),
        model=MaskedAutoencoder(
            encoder=ViT(width=192, depth=6, heads=3, class_token=True, stem=LinearStem()),
            predictor=SelfAttention(width=96, depth=2, heads=3),
        ),
        training=Training(steps=1350, batch=32, lr=1.2e-2, monitor_every=400, checkpoint_every=400),
        probes=PROBES,
    )


def road_descriptors() -> Recipe:
    """Descriptors on hidden units through a predictor and on visible ones by a linear head."""
    return replace(
        descriptors(),
        training=Training(steps=1300, batch=32, lr=2.4e-2, monitor_every=400, checkpoint_every=400),
        probes=PROBES,
    )


def road_unmasked() -> Recipe:
    """The nearly-unmasked twin of `road_descriptors`, at the same compute: 5 % hidden."""
    return replace(
        road_descriptors(),
        mask=Random(ratio=0.05),
        decode=1.0,
        training=Training(steps=820, batch=16, lr=3.2e-2, monitor_every=400, checkpoint_every=400),
    )


def road_completion() -> Recipe:
    """Masked prediction and nothing else: full-length encoder, 16 px cells hidden, descriptors of hidden units."""
    return replace(
        road_descriptors(),
        mask=Random(ratio=0.5, cell=2),
        decode=1.0,
        targets={"descriptors": Term(target=Descriptors(scales=(1, 3, 7)))},
        model=InPlace(
            encoder=ViT(width=192, depth=6, heads=3, class_token=False, stem=WhitenedStem(hidden=576)),
        ),
        training=Training(steps=900, batch=16, lr=3.2e-2, monitor_every=400, checkpoint_every=400),
    )
