"""A visual tokenizer: an encoder whose tokens are rounded to the nearest of a table of codes, and a decoder.

VQ-VAE (van den Oord et al., NeurIPS 2017) with the table as an exponential moving average (appendix A.1 there), unit
vectors as in BEiT v2's VQ-KD (Peng et al., 2022, section 3.1), and codes that nobody uses put back among the data
(after Dhariwal et al., 2020). It is trained like any other model, with every unit visible; its encoder then gives the
ids that `Codes` predicts.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.distributed
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from unseen.contract import MaskedModel, Metadata, Shapes, Tree
from unseen.errors import UnseenError
from unseen.models.encoder import Encoder
from unseen.models.heads import Heads, named_masks, within
from unseen.models.initialise import construct
from unseen.models.positions import centre_of
from unseen.models.vit import VisionTransformer, ViT
from unseen.packing import Packing, gather, packing
from unseen.randomness import keys, normal, uniform


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantiser:
    """A ViT and a table of codes on the unit sphere."""

    vit: ViT = field(default_factory=ViT)
    codes: int = 1024
    code_width: int = 32
    decay: float = 0.99  # of the moving averages that the codes are
    revive_below: float = 0.1  # a code used less often than this share of the mean use is put back among the data

    def __post_init__(self) -> None:
        if self.codes < 2 or self.code_width < 1 or not 0 <= self.decay < 1:
            raise UnseenError(
                f"Quantiser: {self.codes} codes of width {self.code_width}, decay {self.decay}",
                "two codes or more, a width of 1 or more, and a decay below 1",
            )

    @property
    def width(self) -> int:
        return self.code_width

    @property
    def depth(self) -> int:
        return self.vit.depth

    def module(self, shapes: Shapes) -> "QuantiserEncoder":
        """The module, its weights not yet drawn."""
        return QuantiserEncoder(self, shapes)

    def build(self, shapes: Shapes) -> "QuantiserEncoder":
        """The module, with the weights of seed 0."""
        return construct(lambda: self.module(shapes))


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorQuantised:
    """Tokenizer as it is trained: `commitment` names the output that is the distance of tokens from their codes."""

    encoder: Quantiser = field(default_factory=Quantiser)
    decoder: ViT = field(default_factory=lambda: ViT(depth=1, class_token=False))  # over the codes
    commitment: str = "commitment.visible"

    hides: ClassVar[bool] = False

    def build(self, shapes: Shapes) -> "VectorQuantisedModel":
        """The model for data of these shapes, with the weights of seed 0."""
        return construct(lambda: VectorQuantisedModel(self, shapes))


class QuantiserEncoder(Encoder):
    """Tokens on the unit sphere, and the code next to each."""

    table: Tensor
    use: Tensor
    turn: Tensor

    def __init__(self, spec: Quantiser, shapes: Shapes):
        super().__init__()
        self.spec, self.unit, self.spacing = spec, shapes.unit, shapes.spacing
        self.vit = VisionTransformer(spec.vit, shapes)
        self.to_code = nn.Linear(spec.vit.width, spec.code_width)
        self.register_buffer("table", torch.empty(spec.codes, spec.code_width))
        self.register_buffer("use", torch.empty(spec.codes))  # moving average of how many units have each code
        self.register_buffer("turn", torch.empty(1, dtype=torch.int64))  # updates so far: the root of random choices

    def reset_buffers(self) -> None:
        draw = normal(keys(0, torch.arange(self.spec.codes), 0, "codes"), self.spec.code_width)
        self.table.copy_(F.normalize(draw, dim=1))
        self.use.fill_(1.0)
        self.turn.zero_()

    @property
    def patch_embed(self) -> nn.Module:
        return self.vit.patch_embed

    def run(
        self,
        tokens: Float[Tensor, "B N D"],
        centre: Float[Tensor, "#B N C"],
        live: Bool[Tensor, "B N"] | None = None,
        layers: tuple[int, ...] = (-1,),
        wanted: Packing | None = None,
    ) -> list[Tensor]:
        """Unit vectors [B, N, code_width] of each named block of the ViT, in float32."""
        n_class = int(self.spec.vit.class_token) if wanted is None else 0
        outputs = [output[:, n_class:] for output in self.vit.run(tokens, centre, live, layers, wanted)]
        return [F.normalize(self.to_code(output).float(), dim=-1) for output in outputs]

    def ids(self, tokens: Float[Tensor, "B N D"]) -> Int64[Tensor, "B N"]:
        """The nearest code of each token, in float32 also where all else is rounded: a rounding would change words."""
        with torch.autocast(tokens.device.type, enabled=False):
            return (tokens.float() @ self.table.T).argmax(dim=-1)

    @torch.no_grad()
    def learn(self, tokens: Float[Tensor, "M D"], ids: Int64[Tensor, "M"]) -> None:
        """Move each code towards the tokens that chose it; put codes that nobody uses back among the tokens."""
        count = torch.bincount(ids, minlength=self.spec.codes).to(tokens.dtype)
        total = torch.zeros_like(self.table).index_add_(0, ids, tokens)
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(count)
            torch.distributed.all_reduce(total)
        chosen = count > 0
        mean = F.normalize(total, dim=1)
        moved = F.normalize(torch.lerp(mean, self.table, self.spec.decay), dim=1)
        self.table.copy_(torch.where(chosen[:, None], moved, self.table))
        self.use.lerp_(count, 1 - self.spec.decay)
        self._revive(tokens)
        self.turn += 1

    def _revive(self, tokens: Float[Tensor, "M D"]) -> None:
        """A code that is hardly used takes the place of a random token; on several processes that of the first."""
        dead = (self.use < self.spec.revive_below * self.use.mean()) | (self.turn == 0)  # at first, all are
        pick = (uniform(keys(0, self.turn, 0, "revive"), self.spec.codes)[0] * len(tokens)).long()
        fresh = tokens[pick]
        if torch.distributed.is_initialized():
            torch.distributed.broadcast(fresh, 0)
        self.table.copy_(torch.where(dead[:, None], fresh, self.table))
        self.use.copy_(torch.where(dead, self.use.mean(), self.use))

    def measures(self) -> dict[str, float]:
        """How many codes are in use: exp of the entropy of their use."""
        share = self.use / self.use.sum().clamp(min=1e-12)
        return {"perplexity": float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))}


class VectorQuantisedModel(MaskedModel):
    """Encode, round to codes, decode: outputs on visible units, of which all are read."""

    def __init__(self, spec: VectorQuantised, shapes: Shapes):
        super().__init__()
        if any(output.on == "hidden" for output in shapes.outputs.values()):
            raise UnseenError("a tokenizer predicts hidden units", "it sees them all", "set weight=0, visible_weight=1")
        self.spec, self.shapes = spec, shapes
        self.encoder = spec.encoder.module(shapes)
        self.decoder = VisionTransformer(spec.decoder, shapes._replace(unit=(spec.encoder.code_width,)))
        decoded = {name: output for name, output in shapes.outputs.items() if name != spec.commitment}
        self.heads = Heads(spec.decoder.width, decoded, spec.encoder.code_width)

    def forward(self, x_visible: Tree, visible_mask: Tree, target_mask: Tree, metadata: Metadata | None = None) -> Tree:
        """Map [B, V, *P] to [B, V, *target], by output name; the straight-through estimator carries gradients."""
        masks = named_masks(target_mask, self.shapes.outputs)
        seen = packing(visible_mask)
        centre = gather(centre_of(metadata), seen)
        tokens = self.encoder(x_visible, centre, seen.live)
        ids = self.encoder.ids(tokens)
        codes = self.encoder.table[ids]
        if self.training:
            live = slice(None) if seen.live is None else seen.live
            self.encoder.learn(tokens.detach()[live].flatten(0, -2), ids[live].flatten())
        decoded = self.decoder(tokens + (codes - tokens).detach(), centre, seen.live)
        decoded = decoded[:, decoded.shape[1] - tokens.shape[1] :]
        prediction = {}
        for name, mask in masks.items():
            if name == self.spec.commitment:
                prediction[name] = within(tokens - codes.detach(), seen, visible_mask, mask)[0]
            else:
                prediction[name] = self.heads(name, *within(decoded, seen, visible_mask, mask))
        return next(iter(prediction.values())) if isinstance(target_mask, Tensor) else prediction
