"""Targets that a network makes of the whole clip: a copy of the encoder that follows it slowly, or a frozen encoder.

No teacher ever reaches the model: its features are targets, and the leak tests hold for them as for pixels. Each layer
is standardised over its width without learned scale, so that a teacher cannot win by shrinking.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from unseen.codec import PATH
from unseen.contract import Clip, MaskedModel, Units
from unseen.errors import UnseenError
from unseen.precision import autocast
from unseen.systems.encode import load_encoder, read_encoder
from unseen.systems.objective import Objective
from unseen.targets.distance import Distance, distance


@dataclass(frozen=True, slots=True, kw_only=True)
class _Features:
    """What a teacher's features are compared by."""

    last: int = 1  # blocks from the top; of several the mean
    error: Distance = "smooth_l1"
    beta: float = 1.0  # of smooth_l1: below this error it is a square

    def __post_init__(self) -> None:
        if self.last < 1 or not self.beta > 0:
            raise UnseenError(
                f"a teacher with last {self.last}, beta {self.beta}", "last counts from 1, beta is above 0"
            )

    def weight(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip) -> Float[Tensor, "B N"]:
        """1 where the unit exists."""
        return units.valid.float()

    def loss(self, prediction: Shaped[Tensor, "B K D"], target: Float[Tensor, "B K D"]) -> Float[Tensor, "B K"]:
        """The error, averaged over the features of each unit."""
        return distance(prediction, target, self.error, self.beta)


@dataclass(frozen=True, slots=True, kw_only=True)
class Momentum(_Features):
    """Features of an exponential moving average of the encoder that is being trained, on the whole clip.

    last=1: its output (I-JEPA: Assran et al., CVPR 2023; V-JEPA: Bardes et al., 2024). last=k: the mean over its last k
    blocks, each standardised, standardised again (data2vec: Baevski et al., ICML 2022). The momentum grows linearly
    over the run.
    """

    momentum: tuple[float, float] = (0.996, 1.0)  # at the first and at the last step

    suits: ClassVar[str] = "frozen features at long schedules: abstract, no capacity for pixels"
    risk: ClassVar[str] = "collapse: watch the rank of the features and the loss of the mean beside this one"

    def __post_init__(self) -> None:
        _Features.__post_init__(self)
        if not all(0 <= m <= 1 for m in self.momentum):
            raise UnseenError(f"Momentum: momentum is {self.momentum}", "each is a share, from 0 to 1")

    def bind(self, model: MaskedModel, objective: Objective, precision: str) -> "BoundTeacher":
        """The target with a copy of the model's encoder."""
        return BoundTeacher(self, copy.deepcopy(encoder_of(model)), self.momentum, precision)

    def make(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip) -> Float[Tensor, "B N 0"]:
        """Nothing yet: the features come with the network."""
        return torch.zeros(*values.shape[:2], 0, device=values.device)

    def prediction(self, target: Float[Tensor, "B N D"]) -> None:
        """As wide as the encoder's tokens."""
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen(_Features):
    """Features of an encoder that was trained before: the folder of a run. Its logs count as seen by the new run."""

    encoder: str = field(metadata=PATH)  # a folder with encoder.json; the same unit and normalisation as the recipe's
    trust: tuple[str, ...] = field(default=())  # modules outside the package that its encoder.json may name

    suits: ClassVar[str] = "handing on what a larger or longer run has learnt"
    risk: ClassVar[str] = "inherits the teacher's blind spots, and every log that the teacher saw"

    def bind(self, model: MaskedModel, objective: Objective, precision: str) -> "BoundTeacher":
        """The target with its network; UnseenError where that reads other units than the recipe cuts."""
        return BoundTeacher(self, matching_encoder(self.encoder, objective, self.trust), (1.0, 1.0), precision)

    def lineage(self) -> dict[str, Any]:
        """Where the teacher comes from."""
        return origin_of(self.encoder)

    def make(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip) -> Float[Tensor, "B N D"]:
        """Zeros as wide as the teacher's tokens: the features come with the network."""
        _, state = read_encoder(self.encoder)
        return torch.zeros(*values.shape[:2], state["norm.weight"].shape[0], device=values.device)

    def prediction(self, target: Float[Tensor, "B N D"]) -> tuple[int, ...]:
        """As wide as the teacher's tokens."""
        return tuple(target.shape[2:])


class BoundTeacher:
    """A teacher's description with its network, which computes in `precision`, as the model of the run does."""

    def __init__(self, spec: Momentum | Frozen, network: nn.Module, momentum: tuple[float, float], precision: str):
        self.spec, self.momentum, self.precision = spec, momentum, precision
        self.network: Any = network.requires_grad_(False).eval()
        self.suits, self.risk = spec.suits, spec.risk
        self.weight, self.prediction, self.loss = spec.weight, spec.prediction, spec.loss

    @torch.no_grad()
    def make(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip) -> Float[Tensor, "B N D"]:
        """Standardised features of every unit of the whole clip."""
        with autocast(values.device, self.precision):
            layers = self.network.of_units(values, units, self.spec.last)
        layers = [standardised(layer.float()) for layer in layers]
        return layers[0] if len(layers) == 1 else standardised(torch.stack(layers).mean(dim=0))

    @torch.no_grad()
    def follow(self, model: MaskedModel, done: float) -> None:
        """Move the network towards the model's encoder by 1 - momentum."""
        momentum = self.momentum[0] + done * (self.momentum[1] - self.momentum[0])
        if momentum == 1.0:
            return
        trained = encoder_of(model).state_dict()
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                value.lerp_(trained[name], 1 - momentum)
            else:
                value.copy_(trained[name])


def origin_of(path: str) -> dict[str, Any]:
    """The folder of an encoder, the digest of its weights, and what it was trained on."""
    card, _ = read_encoder(path)
    return {"run": path, "digest": card["digest"], "lineage": card["lineage"]}


def encoder_of(model: MaskedModel) -> nn.Module:
    """The part of a model that is kept for use."""
    encoder = model.encoder
    assert isinstance(encoder, nn.Module)
    return encoder


def standardised(features: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
    """Mean 0 and variance 1 over the width of each unit."""
    return F.layer_norm(features, features.shape[-1:])


def matching_encoder(path: str, objective: Objective, trust: Sequence[str]) -> Any:
    """The encoder of a run folder; UnseenError unless it reads just the units that the objective cuts."""
    frozen = load_encoder(path, trust=trust)
    for name, own, its in (
        ("unit", objective.unit, frozen.unit),
        ("normalise", objective.normalise, frozen.normalise),
    ):
        if own != its:
            raise UnseenError(
                f"the encoder in {path} has {name} {its}, the recipe {own}",
                "a network that makes targets reads the units of the recipe itself",
                f"set {name} of one of them to that of the other",
            )
    return frozen.encoder
