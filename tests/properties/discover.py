"""Find every policy, unit, target and model that the package exports, in small variants.

A new member is covered the day its room's `__init__` exports it: as its default construction, or, where the default is
too large or another setting deserves a test, as what `VARIANTS` lists for it.
"""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

import unseen.masks
import unseen.models
import unseen.targets
import unseen.units
from unseen.contract import (
    Clip,
    Corruption,
    MaskedBatch,
    MaskedModel,
    MaskPolicy,
    ModelSpec,
    Target,
    Unit,
    Units,
    promises,
)
from unseen.errors import UnseenError
from unseen.models import (
    ConvStem,
    CrossAttention,
    InPlace,
    Learned,
    MaskedAutoencoder,
    Relative,
    RotarySelfAttention,
    RotaryViT,
    SelfAttention,
    TokenStem,
    ViT,
    WhitenedStem,
)
from unseen.models.encoder import EncoderSpec
from unseen.models.heads import Head
from unseen.models.positions import Positions
from unseen.models.predictors import Predictor
from unseen.models.stems import Stem
from unseen.systems.objective import Objective, Term
from unseen.systems.teachers import Momentum
from unseen.units import Fixed
from unseen.units.normalise import Normalise


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SmallBackbone:
    """A user's network: [B, 3, H, W] to [B, 6, H / 4, W / 4]."""

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.GELU(), nn.Conv2d(6, 6, 3, padding=1))


SMALL = ViT(width=8, depth=2, heads=2)
VOCABULARY = 97
WORDS = dataclasses.replace(SMALL, class_token=False, stem=TokenStem(vocabulary=VOCABULARY))
SELF, CROSS = SelfAttention(width=8, depth=1, heads=2), CrossAttention(width=8, depth=2, heads=2)

VARIANTS: dict[type, tuple[Any, ...]] = {
    unseen.masks.Random: (
        unseen.masks.Random(),
        unseen.masks.Random(ratio=0.4),
        unseen.masks.Random(ratio=0.9),
        unseen.masks.Random(ratio=0.6, cell=2),
    ),
    unseen.masks.Grid: (unseen.masks.Grid(), unseen.masks.Grid(stride=3)),
    unseen.masks.Block: (unseen.masks.Block(), unseen.masks.Block(ratio=0.75, area=(0.1, 0.2))),
    unseen.masks.Tube: (unseen.masks.Tube(ratio=0.7), unseen.masks.Tube(ratio=0.6, cell=2)),
    unseen.masks.EgoTube: (
        unseen.masks.EgoTube(),
        unseen.masks.EgoTube(visible=0.15, target=0.6, cell=4.0),
        unseen.masks.EgoTube(by="ground"),
        unseen.masks.EgoTube(fallback="tube"),
    ),
    unseen.masks.RunningCell: (unseen.masks.RunningCell(), unseen.masks.RunningCell(ratio=0.75)),
    unseen.masks.MultiBlock: (
        unseen.masks.MultiBlock(),
        unseen.masks.MultiBlock(ratio=0.8, context=0.2, area=((0.15, 0.15), (0.7, 0.7))),
    ),
    unseen.masks.Future: (unseen.masks.Future(observed_s=0.5, gap_s=0.25), unseen.masks.Future(observed_s=0.25)),
    unseen.masks.Weighted: (unseen.masks.Weighted(), unseen.masks.Weighted(ratio=0.5, most=0.8, least=0.3)),
    unseen.units.Mosaic: (unseen.units.Mosaic(size=(4, 4)),),
    unseen.units.Tubes: (
        unseen.units.Tubes(size=(2, 8, 4)),
        unseen.units.Tubes(size=(1, 8, 8), frame_s=0.4, places=2, ground=True),
    ),
    unseen.masks.WholeWord: (unseen.masks.WholeWord(), unseen.masks.WholeWord(ratio=0.4)),
    unseen.masks.Span: (
        unseen.masks.Span(),
        unseen.masks.Span(ratio=0.5, mean_length=1.0),
        unseen.masks.Span(ratio=0.3, words=True),
    ),
    unseen.masks.KeepOrReplace: (
        unseen.masks.KeepOrReplace(vocabulary=VOCABULARY),
        unseen.masks.KeepOrReplace(vocabulary=VOCABULARY, hide=0.2, keep=0.0, replace=0.8),
    ),
    unseen.masks.Noise: (
        unseen.masks.Noise(),
        unseen.masks.Noise(amount=1.0),
        unseen.masks.Noise(kind="gaussian"),
        unseen.masks.Noise(kind="salt_pepper", amount=0.3),
    ),
    unseen.targets.TokenIds: (unseen.targets.TokenIds(vocabulary=VOCABULARY),),
    unseen.units.Patches: (unseen.units.Patches(size=(4, 4)), unseen.units.Patches(size=(4, 2))),
    unseen.targets.Pixels: tuple(
        unseen.targets.Pixels(normalise=rule, error=error)
        for rule in ("none", "patch", "channel")
        for error in ("l2", "l1")
    ),
    unseen.targets.Descriptors: (
        unseen.targets.Descriptors(),
        unseen.targets.Descriptors(scales=(1, 5), bins=4, cells=1, error="smooth_l1"),
    ),
    MaskedAutoencoder: (
        MaskedAutoencoder(encoder=SMALL, predictor=SELF),
        MaskedAutoencoder(
            encoder=dataclasses.replace(SMALL, class_token=False, stem=WhitenedStem(hidden=5)), predictor=CROSS
        ),
        MaskedAutoencoder(
            encoder=dataclasses.replace(SMALL, stem=ConvStem(channels=(4,)), positions=Learned(grid=(3, 2))),
            predictor=dataclasses.replace(CROSS, feature_mix=True),
        ),
        MaskedAutoencoder(
            encoder=RotaryViT(width=8, depth=2, heads=2), predictor=RotarySelfAttention(width=8, depth=1, heads=2)
        ),
        MaskedAutoencoder(encoder=WORDS, predictor=SELF),
    ),
    InPlace: (
        InPlace(encoder=dataclasses.replace(SMALL, relative=Relative(grid=(3, 2)), layer_scale=0.5)),
        InPlace(encoder=RotaryViT(width=8, depth=2, heads=2)),
        InPlace(backbone=SmallBackbone()),
        InPlace(encoder=WORDS),
    ),
}


def policies() -> list[MaskPolicy]:
    """Those that hide something."""
    found = members(unseen.masks, MaskPolicy, others=(Corruption,))
    return [policy for policy in found if promises(policy).hides]


def corruptions() -> list[Corruption]:
    return list(members(unseen.masks, Corruption, others=(MaskPolicy,)))


def units() -> list[Unit]:
    return list(members(unseen.units, Unit, others=(Normalise,)))


def normalisers() -> list[Normalise]:
    return list(members(unseen.units, Normalise, others=(Unit,)))


def targets() -> list[Target]:
    """Those of the room, and the teacher that needs no file; it is bound once there is a model."""
    return [*members(unseen.targets, Target), Momentum(), Momentum(last=2, error="l1")]


def models() -> list[ModelSpec]:
    """Those that predict what is hidden; a tokenizer sees everything (tests/systems/test_teachers.py)."""
    found = members(unseen.models, ModelSpec, others=(EncoderSpec, Head, Positions, Predictor, Relative, Stem))
    return [model for model in found if getattr(model, "hides", True)]


def members(room: ModuleType, wanted: type, others: tuple[type, ...] = ()) -> Iterator[Any]:
    """An instance of each variant of each frozen dataclass that the room exports, and that does what is wanted.

    Whatever is neither that nor one of the others that live in the room is an error: nothing goes untested in silence.
    """
    for name in room.__all__:
        kind = getattr(room, name)
        if not (inspect.isclass(kind) and dataclasses.is_dataclass(kind)):
            continue
        assert kind.__dataclass_params__.frozen, f"{name} is a node of recipes, so it must be a frozen dataclass"
        if not does(kind, wanted):
            assert any(does(kind, other) for other in others), f"{name} does not do what a {wanted.__name__} does"
            continue
        try:
            yield from VARIANTS.get(kind) or (kind(),)
        except TypeError as error:
            raise TypeError(
                f"{name} cannot be built without arguments: list it in tests/properties/discover.py"
            ) from error


def does(kind: type, wanted: type) -> bool:
    """Whether a class is what is wanted: of a protocol it has all names, and methods with the same arguments."""
    if not getattr(wanted, "_is_protocol", False):
        return issubclass(kind, wanted)
    names = [n for n in {**vars(wanted), **wanted.__annotations__} if n == "__call__" or not n.startswith("_")]
    if not all(hasattr(kind, name) for name in names):
        return False
    methods = [name for name in names if inspect.isfunction(getattr(wanted, name, None))]
    return all(agrees(getattr(kind, name), getattr(wanted, name)) for name in methods)


def agrees(method, wanted) -> bool:
    """The same names of arguments, and where a module is promised, that kind of module."""
    promised = typing.get_type_hints(wanted).get("return")
    if inspect.isclass(promised) and issubclass(promised, nn.Module):
        given = typing.get_type_hints(method).get("return")
        if not (inspect.isclass(given) and issubclass(given, promised)):
            return False
    return parameters(method) == parameters(wanted)


def parameters(function) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


def name_of(member: Any) -> str:
    """A short test id: the class, and which of its variants."""
    variants = VARIANTS.get(type(member), ())
    return type(member).__name__ + (str(variants.index(member)) if len(variants) > 1 and member in variants else "")


def clip(batch: int = 3, channels: int = 3, height: int = 16, width: int = 24, seed: int = 0) -> Clip:
    """Images with structure, of two cameras of which some are missing, videos of them with poses, tokens.

    Sizes are pairwise different, so that no swapped axis passes by luck.
    """
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, channels, 5, 7, generator=generator)
    image = nn.functional.interpolate(coarse, (height, width), mode="bilinear")
    image = (image + 0.1 * torch.rand(image.shape, generator=generator)).clamp(0, 1)
    region = torch.tensor([[8.0, 16.0, 8.0 + height, 16.0 + width]]).repeat(batch, 1) + torch.arange(batch)[:, None]
    ids = torch.arange(batch) * 7919 + seed
    image = (image * 255).to(torch.uint8)
    video = torch.stack([image.roll(step, dims=3) for step in range(4)], dim=1)
    times = torch.tensor([0.0, 0.21, 0.39, 0.6]) * torch.linspace(1, 1.1, batch)[:, None]
    there = (torch.arange(batch)[:, None] + torch.arange(2)) % 3 < 2  # the second of the second sample is missing
    known = {"frame_time_s": times, "camera_there": there, **tokens(batch, generator), **drive(times)}
    return Clip(image=image, video=video, region_px=region, sample_id=ids, **known)


def drive(times: Tensor, speed_mps: float = 3.0) -> dict[str, Tensor]:
    """A camera that looks ahead and drives, 1.5 m above the plane z = 0."""
    batch, frames = times.shape
    intrinsics = torch.tensor([[18.0, 0, 11.5], [0, 18.0, 5.5], [0, 0, 1]]).expand(batch, frames, 3, 3)
    poses = torch.eye(4).repeat(batch, frames, 1, 1)
    poses[:, :, :3, :3] = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    poses[:, :, 0, 3], poses[:, :, 2, 3] = speed_mps * times, 1.5
    return {"intrinsics": intrinsics, "world_from_camera": poses}


def tokens(batch: int, generator: torch.Generator, length: int = 26) -> dict[str, Tensor]:
    """Words of one to three pieces between separators, rows of different length, padding at their ends."""
    token = torch.randint(5, VOCABULARY, (batch, length), generator=generator)
    starts = torch.rand(batch, length, generator=generator) < 0.6
    group = (starts.cumsum(dim=1) - 1).clamp(min=0)
    place, end = torch.arange(length), length - 1 - 2 * torch.arange(batch)[:, None] % 7
    separator = (place == 0) | (place == end) | (place == 11)
    token = token.masked_fill(separator, 3).masked_fill(place > end, -1)
    return {"token": token, "token_group": group.masked_fill(separator | (place > end), -1)}


def sequence(units: Units) -> Units:
    """The same number of units in a row, with words of one to four pieces."""
    n_units = units.valid.shape[1]
    length = torch.tensor([1, 2, 1, 3, 1, 1, 4]).repeat(n_units)
    group = torch.arange(len(length)).repeat_interleave(length)[None, :n_units]
    return units._replace(centre=torch.arange(n_units)[None, :, None] + 0.5, grid=None, group=group, place=None)


def objective(unit: Unit, mask: MaskPolicy, target: Target, **settings) -> Objective:
    """One target, scored on hidden units and on visible ones too."""
    term = Term(target=target, visible_weight=0.5)
    return Objective(normalise=Fixed(), unit=unit, mask=mask, targets={"only": term}, **settings)


_known: dict[str, bool] = {}  # what fits what: members are frozen, and their repr tells all of them


def fits(model: ModelSpec, unit: Unit) -> bool:
    """Whether the model takes such units; one that does not must say so in one line. Found once for each pair."""
    if (pair := repr((model, unit))) not in _known:
        goal = objective(unit, unseen.masks.Random(), first_target(unit))
        _known[pair] = works(lambda: model.build(goal.shapes(goal.batch(clip(), key_of(3)))))
    return _known[pair]


def first_target(unit: Unit) -> Target:
    """The first target that takes such units."""
    return next(target for target in targets() if suits(unit, unseen.masks.Random(), target))


_models: dict[str, MaskedModel] = {}


def built(model: ModelSpec, goal: Objective, batch: MaskedBatch) -> MaskedModel:
    """The model for such batches. Building one is slower than running it: each is kept by its spec and shapes."""
    shapes = goal.shapes(batch)
    known = repr((model, shapes))
    if known not in _models:
        _models[known] = model.build(shapes)
    return _models[known].eval()


def suits(unit: Unit, mask: MaskPolicy, target: Target) -> bool:
    """Whether policy and target take such units; one that needs a grid, say, must say so in one line. Found once."""
    if (three := repr((unit, mask, target))) not in _known:
        _known[three] = works(lambda: objective(unit, mask, target).batch(clip(), key_of(3)))
    return _known[three]


def works(attempt: Callable[[], Any]) -> bool:
    try:
        attempt()
    except UnseenError:
        return False
    return True


def key_of(batch: int, seed: int = 0) -> Tensor:
    return torch.arange(batch) * 1_000_003 + seed
