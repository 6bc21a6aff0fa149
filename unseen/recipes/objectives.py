"""One encoder, one budget, one set of probes, every objective: which gives the best frozen features for an hour?

The rows of the table in EXPERIMENTS.md. Each function differs from `objective_mae` in what its name says and in the
number of steps, which is set so that all cost about the same CPU time.
"""

from dataclasses import replace

from unseen.data.views import Frames
from unseen.masks import Block, MultiBlock, Noise, Nothing, Random
from unseen.models import (
    CrossAttention,
    InPlace,
    LinearStem,
    MaskedAutoencoder,
    Quantiser,
    SelfAttention,
    VectorQuantised,
    ViT,
)
from unseen.recipes.recipe import Recipe
from unseen.recipes.road import PROBES
from unseen.systems.codes import Codes, Commitment
from unseen.systems.objective import Term
from unseen.systems.teachers import Momentum
from unseen.targets import Hog, Pixels
from unseen.train.training import Training
from unseen.units import Patches, PerFrame

ENCODER = ViT(width=192, depth=6, heads=3, class_token=False, stem=LinearStem())


def objective_mae() -> Recipe:
    """MAE (He et al., CVPR 2022): three quarters hidden, normalised pixels."""
    return Recipe(
        view=Frames(frame_px=(192, 256), crop_px=(64, 128), area=(0.1, 0.6), jitter=0.2),
        normalise=PerFrame(),
        unit=Patches(size=(8, 8)),
        mask=Random(ratio=0.75),
        targets={"pixels": Term(target=Pixels(normalise="patch"))},
        model=MaskedAutoencoder(encoder=ENCODER, predictor=SelfAttention(width=96, depth=2, heads=3)),
        training=Training(steps=1500, batch=32, lr=1.2e-2, monitor_every=500, checkpoint_every=500),
        probes=PROBES,
    )


def objective_crossmae() -> Recipe:
    """CrossMAE (Fu et al., 2024): queries of half of the hidden units read the encoder."""
    return replace(
        objective_mae(),
        decode=0.5,
        model=MaskedAutoencoder(encoder=ENCODER, predictor=CrossAttention(width=96, depth=2, heads=3)),
        training=Training(steps=2000, batch=32, lr=1.2e-2, monitor_every=500, checkpoint_every=500),
    )


def objective_simmim() -> Recipe:
    """SimMIM (Xie et al., CVPR 2022): full-length encoder, cells of 32 px, raw pixels under L1."""
    return replace(
        objective_mae(),
        mask=Random(ratio=0.6, cell=4),
        targets={"pixels": Term(target=Pixels(normalise="none", error="l1"))},
        model=InPlace(encoder=ENCODER),
        training=Training(steps=950, batch=16, lr=1.6e-2, monitor_every=500, checkpoint_every=500),
    )


def maskfeat() -> Recipe:
    """MaskFeat (Wei et al., CVPR 2022): full-length encoder, blocks, orientation histograms."""
    return replace(objective_simmim(), mask=Block(ratio=0.4), targets={"hog": Term(target=Hog())})


def denoising() -> Recipe:
    """Denoising autoencoder (Vincent et al., JMLR 2010): half of the patches are read with noise, and scored clean."""
    return replace(
        objective_simmim(),
        mask=Random(ratio=0.5),
        corruption=Noise(kind="gaussian", amount=1.0),
        targets={"pixels": Term(target=Pixels(normalise="none"))},
    )


def data2vec() -> Recipe:
    """data2vec (Baevski et al., ICML 2022): full-length encoder, blocks, the mean of a slow copy's upper layers."""
    return replace(
        objective_simmim(),
        mask=Block(ratio=0.6),
        targets={"features": Term(target=Momentum(momentum=(0.99, 1.0), last=3, beta=2.0))},
        training=Training(steps=750, batch=16, lr=1.6e-2, monitor_every=500, checkpoint_every=500),
    )


def ijepa() -> Recipe:
    """I-JEPA (Assran et al., CVPR 2023) as a composition: blocks, visible units only, features of a slow copy."""
    return replace(
        objective_mae(),
        mask=MultiBlock(),
        targets={"features": Term(target=Momentum(momentum=(0.99, 1.0)))},
        training=Training(steps=900, batch=32, lr=1.2e-2, monitor_every=500, checkpoint_every=500),
    )


def tokenizer() -> Recipe:
    """A visual tokenizer of the sensor at hand: every patch becomes one of 1024 codes and is painted from it."""
    return replace(
        objective_mae(),
        mask=Nothing(),
        targets={
            "pixels": Term(target=Pixels(normalise="none"), weight=0.0, visible_weight=1.0),
            "commitment": Term(target=Commitment(code_width=32), weight=0.0, visible_weight=0.25),
        },
        model=VectorQuantised(
            encoder=Quantiser(vit=ViT(width=96, depth=2, heads=3, class_token=False, stem=LinearStem())),
            decoder=ViT(width=96, depth=1, heads=3, class_token=False, stem=LinearStem()),
        ),
        training=Training(steps=600, batch=16, lr=1.6e-2, monitor_every=200, checkpoint_every=200),
        probes=(),
    )


def beit() -> Recipe:
    """BEiT (Bao et al., ICLR 2022): full-length encoder, blocks, the ids of a tokenizer trained before."""
    return replace(
        objective_simmim(),
        mask=Block(ratio=0.4),
        targets={"codes": Term(target=Codes())},
        training=Training(steps=850, batch=16, lr=1.6e-2, monitor_every=500, checkpoint_every=500),
    )
