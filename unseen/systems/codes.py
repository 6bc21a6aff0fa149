"""Visual words: the ids of a tokenizer's codes (BEiT: Bao et al., ICLR 2022), and what a tokenizer is trained by."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Shaped
from torch import Tensor, nn

from unseen.codec import PATH
from unseen.contract import Clip, MaskedModel, Units
from unseen.errors import UnseenError
from unseen.models.quantiser import QuantiserEncoder
from unseen.systems.encode import read_encoder
from unseen.systems.objective import Objective
from unseen.systems.teachers import matching_encoder, origin_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """Predict which code a tokenizer gives to each unit. The tokenizer's logs count as seen by the new run."""

    # the folder of a run whose model is `VectorQuantised`; the recipe's unit and normalisation
    tokenizer: str = field(default="", metadata=PATH)

    suits: ClassVar[str] = "semantic compression: classification, long schedules"
    risk: ClassVar[str] = "inherits the tokenizer's errors: one of foreign images knows no markings, cones or aircraft"

    def bind(self, model: MaskedModel, objective: Objective, precision: str) -> "BoundCodes":
        """The target with the tokenizer's network, which computes in float32: a rounding would change words."""
        return BoundCodes(self, matching_encoder(self.tokenizer, objective, ()))

    def lineage(self) -> dict[str, Any]:
        """Where the tokenizer comes from."""
        return origin_of(self.tokenizer)

    def make(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip) -> Int64[Tensor, "B N"]:
        """Zeros: the ids come with the network."""
        return torch.zeros(values.shape[:2], dtype=torch.int64, device=values.device)

    def weight(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip) -> Float[Tensor, "B N"]:
        """1 where the unit exists."""
        return units.valid.float()

    def prediction(self, target: Int64[Tensor, "B N"]) -> tuple[int, ...]:
        """One number per code. UnseenError where no tokenizer is named, or the folder holds none."""
        if not self.tokenizer:
            raise UnseenError(
                "no tokenizer is named",
                "visual words are those of a tokenizer, trained on the sensor at hand",
                "unseen pretrain tokenizer ..., then --set targets.codes.target.tokenizer=RUN",
            )
        _, state = read_encoder(self.tokenizer)
        if "table" not in state:
            raise UnseenError(
                f"{self.tokenizer} holds no tokenizer", "its model is VectorQuantised", "unseen pretrain tokenizer ..."
            )
        return (state["table"].shape[0],)

    def loss(self, prediction: Float[Tensor, "B K V"], target: Int64[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """Cross-entropy, nats."""
        return F.cross_entropy(prediction.float().transpose(1, 2), target, reduction="none")


class BoundCodes:
    """`Codes` with its tokenizer."""

    def __init__(self, spec: Codes, network: nn.Module):
        assert isinstance(network, QuantiserEncoder)
        self.spec, self.network = spec, network.requires_grad_(False).eval()
        self.suits, self.risk = spec.suits, spec.risk
        self.weight, self.loss = spec.weight, spec.loss

    @torch.no_grad()
    def make(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip) -> Int64[Tensor, "B N"]:
        """The id of every unit of the whole clip."""
        [tokens] = self.network.of_units(values, units, 1)
        return self.network.ids(tokens)

    def prediction(self, target: Int64[Tensor, "B N"]) -> tuple[int, ...]:
        """One number per code."""
        return (self.network.spec.codes,)

    def follow(self, model: MaskedModel, done: float) -> None:
        """A tokenizer stays as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """Zero: how far a tokenizer's tokens may lie from their codes (VQ-VAE: van den Oord et al., 2017, equation 3)."""

    code_width: int = 32

    suits: ClassVar[str] = "training a tokenizer, on visible units"
    risk: ClassVar[str] = "too heavy, and tokens stop moving before the codes are good"

    def make(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip) -> Float[Tensor, "B N D"]:
        """Zeros."""
        return torch.zeros(*values.shape[:2], self.code_width, device=values.device)

    def weight(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip) -> Float[Tensor, "B N"]:
        """1 where the unit exists."""
        return units.valid.float()

    def prediction(self, target: Float[Tensor, "B N D"]) -> tuple[int, ...]:
        """As wide as a code."""
        return (self.code_width,)

    def loss(self, prediction: Float[Tensor, "B K D"], target: Float[Tensor, "B K D"]) -> Float[Tensor, "B K"]:
        """The squared distance."""
        return (prediction.float() - target).square().sum(dim=2)
