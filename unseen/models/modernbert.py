"""ModernBERT's encoder (Warner et al., 2024): pre-norm, rotary, gated, mostly local attention; no bias, no dropout."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unseen.contract import Shapes
from unseen.errors import UnseenError
from unseen.models.blocks import check_heads, of_wanted
from unseen.models.encoder import Encoder, check_depth
from unseen.models.initialise import construct
from unseen.models.rotary import RotaryAttention, turns
from unseen.models.words import Words, check_tokens, check_vocabulary
from unseen.packing import Packing


@dataclass(frozen=True, slots=True, kw_only=True)
class ModernBert:
    """An encoder of tokens as a recipe names it."""

    width: int = 768
    depth: int = 22
    heads: int = 12
    mlp_ratio: float = 1.5
    vocabulary: int = 50368
    window: int = 128  # tokens: local attention reaches half of it to either side
    global_every: int = 3  # blocks 0, 3, 6, ... read everything
    global_base: float = 160_000.0  # of the rotary frequencies
    local_base: float = 10_000.0
    norm_eps: float = 1e-5
    mask_id: int = 50284  # the row that stands for a hidden token in exchanged files

    def __post_init__(self) -> None:
        check_heads("ModernBert", self.width, self.heads)
        check_depth("ModernBert", self.depth)
        check_vocabulary("ModernBert", self)
        if self.window < 2 or self.global_every < 1:
            raise UnseenError(
                f"ModernBert: window {self.window}, global_every {self.global_every}",
                "a window has at least 2 tokens, and global_every counts from 1",
            )

    def module(self, shapes: Shapes) -> "ModernBertEncoder":
        return ModernBertEncoder(self, shapes)

    def build(self, shapes: Shapes) -> "ModernBertEncoder":
        """The module, with the weights of seed 0."""
        return construct(lambda: self.module(shapes))


class ModernBertEncoder(Encoder):
    """Units are token ids [B, N], their centre is their index; see `ModernBert` for the settings."""

    def __init__(self, spec: ModernBert, shapes: Shapes):
        super().__init__()
        check_tokens("ModernBert", shapes)
        self.spec, self.unit, self.spacing = spec, shapes.unit, shapes.spacing
        self.patch_embed = Words(spec.vocabulary, spec.width)
        self.norm_embed = _norm(spec)
        self.blocks = nn.ModuleList(GatedBlock(spec, first=number == 0) for number in range(spec.depth))
        self.norm = _norm(spec)

    def run(
        self,
        tokens: Float[Tensor, "B V D"],
        centre: Float[Tensor, "#B V 1"],
        live: Bool[Tensor, "B V"] | None = None,
        layers: tuple[int, ...] = (-1,),
        wanted: Packing | None = None,
    ) -> list[Tensor]:
        spec, place = self.spec, centre / self.spacing[0]
        if len(place) > 1 and bool((place == place[:1]).all()):
            place = place[:1]  # every passage has the same places: one table of angles for all
        width = spec.width // spec.heads
        far = (*turns(place, width, spec.global_base, "halves"), live, None)
        near = (*turns(place, width, spec.local_base, "halves"), *reach(place, spec.window // 2, live))
        inputs = [near if number % spec.global_every else far for number in range(spec.depth)]
        return self.through(self.norm_embed(tokens), inputs, layers, wanted)


class GatedBlock(nn.Module):
    """x + attention(norm(x)), then x + gated mlp(norm(x)); the first block reads the norm of the embedding.

    With `wanted`, the output of those tokens only.
    """

    def __init__(self, spec: ModernBert, *, first: bool):
        super().__init__()
        self.norm1 = nn.Identity() if first else _norm(spec)
        self.attn = RotaryAttention(spec.width, spec.heads, "halves", bias=False)
        self.norm2 = _norm(spec)
        self.mlp = GatedMlp(spec.width, round(spec.width * spec.mlp_ratio))

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        cos: Float[Tensor, "#B 1 N 1 W"],
        sin: Float[Tensor, "#B 1 N 1 W"],
        live: Bool[Tensor, "B N"] | None = None,
        bias: Float[Tensor, "#B 1 N N"] | None = None,
        wanted: Packing | None = None,
    ) -> Float[Tensor, "B K D"]:
        x = of_wanted(x, wanted) + self.attn(self.norm1(x), cos, sin, live, bias, wanted)
        return x + self.mlp(self.norm2(x))


class GatedMlp(nn.Module):
    """GeGLU (Shazeer, 2020): gelu of one half times the other."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, 2 * hidden, bias=False)
        self.fc2 = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        value, gate = self.fc1(x).chunk(2, dim=-1)
        return self.fc2(F.gelu(value) * gate)


def reach(
    place: Float[Tensor, "#B N 1"], steps: int, live: Bool[Tensor, "B N"] | None
) -> tuple[Bool[Tensor, "B N"] | None, Float[Tensor, "#B 1 N N"] | None]:
    """What keeps each query to the live keys at most `steps` away: a mask of keys, or a bias that is -inf elsewhere."""
    near = (place - place.transpose(1, 2)).abs() <= steps
    if bool(near.all()):
        return live, None
    if live is not None:
        itself = torch.eye(place.shape[1], dtype=torch.bool, device=place.device)  # padding far off reads nothing else
        near = near & (live[:, None, :] | itself)
    return None, torch.zeros_like(near, dtype=torch.float32).masked_fill(~near, -torch.inf)[:, None]


def _norm(spec: ModernBert) -> nn.LayerNorm:
    return nn.LayerNorm(spec.width, eps=spec.norm_eps, bias=False)
