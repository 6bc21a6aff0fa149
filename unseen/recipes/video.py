"""Recipes for frames in time: drives at a steady pace. Each trains in minutes on one core."""

from dataclasses import replace

from unseen.data.views import Frames
from unseen.data.windows import Windows
from unseen.evaluate.probes import Dense
from unseen.masks import EgoTube, Future, MultiBlock, Random, Tube
from unseen.models import LinearStem, MaskedAutoencoder, SelfAttention, ViT
from unseen.recipes.recipe import Recipe
from unseen.systems.objective import Term
from unseen.systems.teachers import Momentum
from unseen.targets import Pixels
from unseen.train.training import Training
from unseen.units import Fixed, Tubes


def videomae() -> Recipe:
    """VideoMAE (Tong et al., NeurIPS 2022): 90 % of the places hidden in all frames, pixels standardised per channel.

    Logs without times are left out; `unseen ingest folder ... --fps` gives times to frames that are numbered.
    """
    return Recipe(
        view=_windows(),
        normalise=Fixed(),
        unit=Tubes(size=(2, 8, 8), frame_s=0.2),
        mask=Tube(ratio=0.9),
        targets={"pixels": Term(target=Pixels(normalise="channel"))},
        model=MaskedAutoencoder(
            encoder=ViT(width=192, depth=6, heads=3, class_token=False, stem=LinearStem()),
            predictor=SelfAttention(width=96, depth=2, heads=3),
        ),
        decode=0.5,
        training=Training(steps=1000, batch=16, lr=2.4e-2, monitor_samples=16, monitor_every=250, checkpoint_every=250),
        probes=(Dense(name="segmentation"),),
    )


def videomae_spacetime() -> Recipe:
    """90 % of the tubes hidden wherever they are in space and time (Feichtenhofer et al., NeurIPS 2022)."""
    return replace(videomae(), mask=Random(ratio=0.9))


def videomae_ego() -> Recipe:
    """The same places of the world hidden in all frames, however the vehicle moves; needs calibration and poses.

    `unseen ingest folder ... --poses --calibration` brings them. Places come from depth, as `unseen world --depth` has
    it; without depth, `--set unit.ground=true` permits to take all that is below the horizon for level road.
    """
    return replace(
        videomae(),
        view=replace(_windows(), posed=True),
        unit=Tubes(size=(2, 8, 8), frame_s=0.2, places=5),
        mask=EgoTube(visible=0.1, target=0.7),
        decode=0.6,
    )


def vjepa() -> Recipe:
    """V-JEPA (Bardes et al., 2024) as a composition: tubes in blocks, visible tubes only, features of a slow copy."""
    return replace(
        videomae(),
        mask=MultiBlock(ratio=0.8, context=0.2, area=((0.15, 0.15), (0.7, 0.7))),
        targets={"features": Term(target=Momentum(momentum=(0.99, 1.0), error="l1"))},
        training=Training(steps=600, batch=16, lr=2.4e-2, monitor_samples=16, monitor_every=200, checkpoint_every=200),
    )


def future_frames() -> Recipe:
    """See two slots of a drive (0.8 s), skip one, predict the pixels of the next.

    The borders lie between slots, at 0.6 and 1.0 s: true times of frames differ from the nominal ones a little.
    """
    return replace(
        videomae(),
        mask=Future(observed_s=0.6, gap_s=0.4),
        training=Training(steps=500, batch=16, lr=2.4e-2, monitor_samples=16, monitor_every=250, checkpoint_every=250),
    )


def _windows() -> Windows:
    """Eight frames over 1.4 s."""
    return Windows(
        frames=8,
        step_s=0.2,
        picture=Frames(frame_px=(96, 160), crop_px=(64, 96), area=(0.2, 0.8), flip=False),
        untimed="leave out",
    )
