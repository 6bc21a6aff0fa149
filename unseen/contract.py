"""The language of the project: what a unit, a mask, a target, a batch and a model are. Imports torch only.

Polarity is decided once, here: ``visible_mask`` True = the model may read the unit, ``target_mask`` True = the loss is
taken there, neither = guard. Where a batch holds several modalities or several targets, a Tensor becomes a dict of
Tensors with the same keys, and `walk` applies the same function to both.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypedDict, runtime_checkable

from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor, nn

QUANTILES = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
Tree = Any  # a Tensor, or a dict of Trees with the same keys


class Clip(TypedDict, total=False):
    """A batch of windows of logs, as the data room hands it out: content, and what is known about it."""

    image: Shaped[Tensor, "B C H W"]  # raw uint8 or uint16, or float once normalised
    previous: Shaped[Tensor, "B C H W"]  # the same region of the frame before (itself where there is none)
    previous_there: Bool[Tensor, "B"]  # False: there is none before it, or before one of its cameras
    video: Shaped[Tensor, "B T C H W"]  # the same region of T frames; raw, or float once normalised
    frame_time_s: Float[Tensor, "B T"]  # of each frame of the video, from its first
    intrinsics: Float[Tensor, "B T 3 3"]  # of the pixels of the video, or of T cameras, as they are here; NaN unknown
    world_from_camera: Float[Tensor, "B T 4 4"]  # m; x right, y down, z forward; the world is fixed within the clip
    camera_there: Bool[Tensor, "B K"]  # of K cameras side by side in the image; False: nothing came from this one
    camera_px: Float[Tensor, "B K 2"]  # (y, x) of each camera's frame on their canvas; regions are within a frame
    depth_m: Float[Tensor, "B T H W"]  # along z of the camera; NaN where it is not known
    token: Int64[Tensor, "B N"]  # ids of a vocabulary; -1 = padding
    token_group: Int64[Tensor, "B N"]  # which word of the passage a token is a piece of; -1 = none
    part_of: Int64[Tensor, "R"]  # where long samples take several of the R rows: the sample of each row, ascending
    region_px: Float[Tensor, "B 4"]  # (y0, x0, y1, x1) of the image inside the nominal frame, pixels
    frame_mean: Float[Tensor, "B C"]  # of the whole frame, in [0, 1] of the full scale of its dtype
    frame_std: Float[Tensor, "B C"]
    frame_quantiles: Float[Tensor, "B Q C"]  # of the whole frame at QUANTILES, in the same scale
    label: Int64[Tensor, "B H W"]  # class ids, 255 = ignore; only where a monitor asks for them
    sample_id: Int64[Tensor, "B"]  # content-derived identity of each sample: the root of all its random keys
    timestamp_ns: Int64[Tensor, "B"]
    log_id: list[str]


class Metadata(TypedDict, total=False):
    """What the model and the report may know about a batch besides its content. Unknown is absent, never a default."""

    centre: Float[Tensor, "B N C"]  # or [1, N, C]: where all units are, also the hidden ones
    valid: Bool[Tensor, "B N"]
    grid: tuple[int, ...] | None
    weight: dict[str, Float[Tensor, "B N"]]  # per target: how much a unit counts; made of content, no model gets it
    inclusion: Float[Tensor, "B N"]  # probability that the policy hides the unit, where it knows it; no model gets it
    timestamp_ns: Int64[Tensor, "B"]
    log_id: list[str]
    route_id: list[str]
    site_id: list[str]
    calibration_id: list[str]
    map_version: list[str]
    sensor_health: Float[Tensor, "B"]
    ego_motion: Float[Tensor, "B T 4 4"]


class Units(NamedTuple):
    """Where units are and whether they exist; never what they contain."""

    centre: Float[Tensor, "B N C"]  # or [1, N, C]; image: (y, x) px of the frame; geometry: m, ego; text: index
    valid: Bool[Tensor, "B N"]  # False: padding, no return, unobserved, sensor down
    importance: Float[Tensor, "B N"]  # or [1, N]; 1 is ordinary, larger for sparse structure, 0 is never hidden
    grid: tuple[int, ...] | None = None  # C-order shape when the units fill a grid
    group: Int64[Tensor, "B N"] | None = None  # or [1, N]: units that belong together (the pieces of a word)
    place: Float[Tensor, "B N S 3"] | None = None  # or [1, N, S, 3]; m, fixed: what a unit shows; NaN unknown

    @property
    def eligible(self) -> Bool[Tensor, "B N"]:
        """The units that may be hidden: those that exist and matter at all."""
        return self.valid & (self.importance > 0)


class Mask(NamedTuple):
    """Which units the model may read, and where the loss is taken."""

    visible: Bool[Tensor, "B N"]
    target: Bool[Tensor, "B N"]  # a unit in neither is guard: not read, not scored
    inclusion: Float[Tensor, "B N"] | None = None  # probability that the policy hides the unit, where it knows it


class MaskedBatch(NamedTuple):
    """What the loop gives to a model and to the losses; see `check` for its rules."""

    input: Tree  # [B, N, *P] content of every unit; what is hidden never reaches the model
    visible_mask: Tree  # [B, N] bool
    target: Tree  # [B, N, *T], or a dict of them by target name
    target_mask: Tree  # [B, N] bool, with the keys of `target`
    metadata: Metadata


class Output(NamedTuple):
    """One prediction that a model owes: its shape per unit, and whether it is made on hidden or on visible units."""

    shape: tuple[int, ...] | None  # None: as wide as the encoder's own tokens
    on: Literal["hidden", "visible"] = "hidden"


class Shapes(NamedTuple):
    """All that a model must know of its data to be built."""

    unit: tuple[int, ...]  # P, the content of one unit
    spacing: tuple[float, ...]  # distance between neighbouring centres along each coordinate of `centre`
    grid: tuple[int, ...] | None
    outputs: dict[str, Output]  # by target name


class MaskedModel(nn.Module):
    """Predict masked targets from visible units."""

    def forward(self, x_visible: Tree, visible_mask: Tree, target_mask: Tree, metadata: Metadata | None = None) -> Tree:
        """Map [B, V, *P] to [B, T, *target], both packed in unit order; a dict of targets gives a dict."""
        raise NotImplementedError


@runtime_checkable
class Calibrated(Protocol):
    """A part of a model that fits statistics to data once, before training (a whitening stem)."""

    def calibrate(self, values: Shaped[Tensor, "M *P"]) -> None:
        """Fit them to units of training samples."""
        ...


@runtime_checkable
class Watched(Protocol):
    """A part of a model that has numbers of its own to tell at every look of the monitors (a codebook's use)."""

    def measures(self) -> dict[str, float]: ...


@runtime_checkable
class Unit(Protocol):
    """WHAT can be hidden: cuts the content of a clip into units and says where they are."""

    @property
    def spacing(self) -> tuple[float, ...]: ...

    def cut(self, clip: Clip) -> tuple[Shaped[Tensor, "B N *P"], Units]: ...


@runtime_checkable
class MaskPolicy(Protocol):
    """WHICH units are hidden: a pure function of where they are, one key per sample, and metadata."""

    def __call__(self, units: Units, key: Int64[Tensor, "B"], metadata: Metadata) -> Mask: ...


class Promises(NamedTuple):
    """What a mask policy says of itself: what laws and audits hold it to, and what they do not.

    A policy that differs from a default has a class attribute or a property of that name.
    """

    hides: bool = True  # False: every unit is visible
    drawn: bool = True  # False: the mask follows from where units are, no key moves it
    even_coverage: bool = True  # False: it means to hide some units more often than others
    whole_words: bool = False  # units of one group are hidden together: at most round(n * ratio) of n
    whole_tubes: bool = False  # a place of the grid is treated alike in all time slots
    follows_the_world: bool = False  # a place of the world (`Units.place`) is treated alike in all time slots


def promises(policy: MaskPolicy) -> Promises:
    """What a policy says of itself."""
    return Promises(*(bool(getattr(policy, name, usual)) for name, usual in Promises._field_defaults.items()))


@runtime_checkable
class Corruption(Protocol):
    """Changes what the model reads: it may let the model read targets, with other content or (declared) their own."""

    def __call__(
        self, values: Shaped[Tensor, "B N *P"], mask: Mask, key: Int64[Tensor, "B"]
    ) -> tuple[Shaped[Tensor, "B N *P"], Mask]: ...


@runtime_checkable
class Target(Protocol):
    """WHAT is predicted, and its loss per unit, unreduced.

    One that a network makes is `Unbound` besides: until it is bound, `make` gives zeros, from which shapes can be told.
    """

    suits: ClassVar[str]  # the downstream use that this target serves
    risk: ClassVar[str]  # how it fails

    def make(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip) -> Shaped[Tensor, "B N *T"]: ...

    def weight(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip) -> Float[Tensor, "B N"]: ...

    def prediction(self, target: Shaped[Tensor, "B N *T"]) -> tuple[int, ...] | None:
        """The shape per unit of what a model owes for such targets; None: as wide as its encoder's tokens."""
        ...

    def loss(self, prediction: Shaped[Tensor, "B K *Q"], target: Shaped[Tensor, "B K *T"]) -> Float[Tensor, "B K"]: ...


@runtime_checkable
class Unbound(Protocol):
    """What a target that a network makes is besides, as recipes hold it."""

    def bind(self, model: MaskedModel, objective: Any, precision: str) -> Target:
        """The same target with its network (`Bound`), which computes in that precision."""
        ...


@runtime_checkable
class Bound(Protocol):
    """What a target that a network makes becomes once it is bound to a model: a Target that has state."""

    network: nn.Module  # kept in checkpoints

    def follow(self, model: MaskedModel, done: float) -> None:
        """Called after each step of the optimiser, with the share of the run that is done."""
        ...


@runtime_checkable
class Pretrained(Protocol):
    """A node of a recipe that was trained before, such as a teacher: what it has seen, the run has seen too."""

    def lineage(self) -> dict[str, Any]:
        """Its folder ("run"), the "digest" of its weights, and what it was trained on ("lineage": with "pretrained_on",
        or "unknown")."""
        ...


@runtime_checkable
class ModelSpec(Protocol):
    """A model as a recipe names it: a frozen description that builds the module once the shapes are known."""

    def build(self, shapes: Shapes) -> MaskedModel: ...


@runtime_checkable
class Source(Protocol):
    """Samples, as the loop reads them. Safe to share between threads."""

    digest: str  # of all that decides a batch

    def __len__(self) -> int: ...

    def batch(self, positions: Any) -> Clip:
        """Training samples: a pure function of (seed, position); position p belongs to epoch p // len."""
        ...

    def frames(self, indices: Any, *, previous: bool = False, labels: bool = False) -> Clip:
        """Whole samples, nothing random; with what came before, and with labels, where there are any."""
        ...


def walk(function: Callable, *trees: Tree) -> Tree:
    """Apply `function` to Tensors, or key by key to dicts of them."""
    if isinstance(trees[0], dict):
        return {key: walk(function, *(tree[key] for tree in trees)) for key in trees[0]}
    return function(*trees)


def check(batch: MaskedBatch, on_visible: frozenset[str] = frozenset()) -> MaskedBatch:
    """Return the batch, or raise ValueError naming the rule that it breaks.

    `on_visible` names the targets that declare to be scored on visible units (corruption, auxiliary descriptors);
    for every other target a unit may not be both read and scored. Runs in tests and on the first batches of a run.
    """
    masks = batch.target_mask if isinstance(batch.target_mask, dict) else {"": batch.target_mask}
    targets = batch.target if isinstance(batch.target, dict) else {"": batch.target}
    if targets.keys() != masks.keys():
        raise ValueError(f"targets {sorted(targets)} and target masks {sorted(masks)} have different names")
    visible, valid = batch.visible_mask, batch.metadata.get("valid")
    if batch.input.shape[:2] != visible.shape:
        raise ValueError(f"input is {tuple(batch.input.shape)} but visible_mask is {tuple(visible.shape)}")
    if valid is not None and (visible & ~valid).any():
        raise ValueError("a unit that does not exist is visible")
    if not visible.any(dim=1).all():
        raise ValueError("a sample has no visible unit")
    for name, mask in masks.items():
        label = f"target {name!r}: " if name else ""
        if mask.shape != targets[name].shape[:2]:
            raise ValueError(f"{label}mask is {tuple(mask.shape)} but target is {tuple(targets[name].shape)}")
        if name not in on_visible and (visible & mask).any():
            raise ValueError(f"{label}a unit is both visible and a target")
        if valid is not None and (mask & ~valid).any():
            raise ValueError(f"{label}a unit that does not exist is a target")
        if not mask.any(dim=1).all():
            raise ValueError(f"{label}a sample has no target")
    return batch
