"""What is measured: a probe is a frozen description; its hash, taken before training, shows that nobody changed it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

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


Probe = Dense | Classify | FineTune


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
