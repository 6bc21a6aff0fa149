"""What is measured: a probe is a frozen description; its hash, taken before training, shows that nobody changed it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

from unseen.errors import UnseenError
from unseen.evaluate.metrics import Over

Protocol = Literal["split", "leave-one-log-out"]
Aggregate = Literal["sum", "logs"]
Pool = Literal["mean", "mean+std", "mean+max", "encoder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dense:
    """Segmentation from frozen units: a linear map per unit, scores upsampled bilinearly to the pixels of the label."""

    name: str
    labels: str = "seg"
    classifier: Literal["logistic", "ridge"] = "logistic"
    protocol: Protocol = "split"  # "leave-one-log-out": every labelled log of the split is the test log once
    tau: float = 0.5  # a class of pixel share f counts f^-tau; 0: every pixel alike, 1: every class alike
    over: Over = "truth"  # the classes of the mean IoU
    aggregate: Aggregate = "logs"  # mean of the logs' values, or the metric of the summed counts
    every: int = 1  # keep every n-th frame of each log
    most_frames: int = 0  # of a log: a longer one is thinned evenly to at most this many; 0: no limit
    unit_stride: int = 2  # logistic learns from every n-th unit, on shifted diagonals of the grid; 1: from all
    small: tuple[str, ...] = ()  # classes whose small objects are counted; (): those that the class list marks
    small_share: float = 0.005  # a small object covers less than this share of the frame ...
    small_px: int = 6  # ... and at least so many pixels of the label image
    few_logs: tuple[int, ...] = (1, 2, 5, 10, 20)  # budgets of the few-label curve, in training logs
    few_frames: tuple[int, ...] = ()  # budgets in frames, shared out among the training logs
    few_draws: int = 5
    few_alpha: float = 0.03  # ridge penalty of the few-label curve: too few labels to choose one

    @property
    def kind(self) -> str:
        return "dense"

    @property
    def primary(self) -> str:
        return "miou"


@dataclass(frozen=True, slots=True, kw_only=True)
class Classify:
    """One class per frame from pooled frozen features; the same pooling for every feature maker."""

    name: str
    labels: str = "class"
    classifier: Literal["ridge", "logistic", "knn"] = "ridge"
    protocol: Protocol = "split"
    tau: float = 0.0
    pool: Pool = "mean+std"  # over units; "encoder": the maker's own pooled vector
    aggregate: Aggregate = "sum"
    every: int = 1
    most_frames: int = 0
    few_logs: tuple[int, ...] = (1, 2, 5, 10, 20)
    few_frames: tuple[int, ...] = ()
    few_per_class: bool = False  # few_logs counts logs of each class: for sets where a log shows one object
    few_draws: int = 5
    few_alpha: float = 0.03

    @property
    def kind(self) -> str:
        return "classify"

    @property
    def primary(self) -> str:
        return "accuracy"


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTune:
    """Segmentation with the whole encoder trained on a few labelled frames, pretrained against from scratch."""

    name: str
    labels: str = "seg"
    protocol: Protocol = "split"
    frames: int = 10  # labelled frames in all, shared out among the training logs
    steps: int = 120
    batch: int = 8  # crops a step
    crop_px: tuple[int, int] = (120, 160)
    lrs: tuple[float, ...] = (5e-4, 1.5e-3)  # the same grid for every encoder; chosen on inner logs
    head_lr: float = 1e-2
    weight_decay: float = 0.05
    warmup: int = 10  # steps
    tau: float = 0.5
    over: Over = "truth"
    aggregate: Aggregate = "logs"
    every: int = 1
    most_frames: int = 0
    draws: int = 1  # draws of the labelled frames, the same for every encoder

    @property
    def kind(self) -> str:
        return "finetune"

    @property
    def primary(self) -> str:
        return "miou"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attentive:
    """One class per frame by a learned query that looks over the units of a frozen encoder (V-JEPA's probe).

    Some 12 D^2 parameters: it overfits few labels, and stands beside a linear probe, never in its place.
    """

    name: str
    labels: str = "class"
    protocol: Protocol = "split"
    heads: int = 8  # at most: a width that they do not divide has fewer
    epochs: int = 20
    batch: int = 64  # frames a step
    lrs: tuple[float, ...] = (1e-3,)  # the same grid for every encoder; of several one is chosen on inner logs
    weight_decay: float = 0.001
    tau: float = 0.0
    aggregate: Aggregate = "sum"
    every: int = 1
    most_frames: int = 0

    @property
    def kind(self) -> str:
        return "classify"

    @property
    def primary(self) -> str:
        return "accuracy"

    @property
    def classifier(self) -> str:
        return "attentive"


@dataclass(frozen=True, slots=True, kw_only=True)
class Permuted:
    """A control: the same probe on labels that belong to other logs must fall to chance, or something leaks."""

    name: str
    of: Dense | Classify  # ridge is cheap enough for many shuffles
    shuffles: int = 20

    def __post_init__(self) -> None:
        if self.shuffles < 2:
            raise UnseenError(
                f"{self.name!r} shuffles {self.shuffles} times", "a spread needs two shuffles", "set shuffles=20"
            )

    @property
    def kind(self) -> str:
        return "control"

    @property
    def labels(self) -> str:
        return self.of.labels


Scored = Dense | Classify | Attentive | FineTune
Probe = Scored | Permuted


def spec(probe: Probe) -> dict:
    """The probe as plain JSON values."""
    return {"type": type(probe).__name__, **json.loads(json.dumps(asdict(probe)))}


def spec_hash(probe: Probe) -> str:
    """32 hex digits of the probe's settings, its name included: register it before training.

    >>> spec_hash(Dense(name="a")) == spec_hash(Dense(name="a", tau=1.0))
    False
    """
    text = json.dumps(spec(probe), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
