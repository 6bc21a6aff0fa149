"""BERT's encoder (Devlin et al., NAACL 2019) over token ids, without dropout."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unseen.contract import Shapes
from unseen.models.blocks import Attention, Mlp, check_heads, of_wanted
from unseen.models.encoder import Encoder, cells, check_depth
from unseen.models.initialise import construct
from unseen.models.words import Words, check_tokens, check_vocabulary, look
from unseen.packing import Packing


@dataclass(frozen=True, slots=True, kw_only=True)
class Bert:
    """An encoder of tokens as a recipe names it: post-norm blocks, learned positions; all tokens are of segment 0."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    vocabulary: int = 30522
    positions: int = 512  # the longest passage
    segments: int = 2  # rows of the published table of segments, of which the first is read
    norm_eps: float = 1e-12
    mask_id: int = 103  # the row that stands for a hidden token in exchanged files

    def __post_init__(self) -> None:
        check_heads("Bert", self.width, self.heads)
        check_depth("Bert", self.depth)
        check_vocabulary("Bert", self)

    def module(self, shapes: Shapes) -> "BertEncoder":
        return BertEncoder(self, shapes)

    def build(self, shapes: Shapes) -> "BertEncoder":
        """The module, with the weights of seed 0."""
        return construct(lambda: self.module(shapes))


class BertEncoder(Encoder):
    """Units are token ids [B, N], their centre is their index; see `Bert` for the settings."""

    def __init__(self, spec: Bert, shapes: Shapes):
        super().__init__()
        check_tokens("Bert", shapes)
        self.spec, self.unit, self.spacing = spec, shapes.unit, shapes.spacing
        self.patch_embed = Words(spec.vocabulary, spec.width)
        self.pos_embed = nn.Parameter(torch.empty(1, spec.positions, spec.width))
        self.segment_embed = nn.Parameter(torch.empty(1, spec.segments, spec.width))
        self.norm_embed = nn.LayerNorm(spec.width, eps=spec.norm_eps)
        self.blocks = nn.ModuleList(PostNormBlock(spec) for _ in range(spec.depth))
        self.norm = nn.Identity()  # each block ends in a norm

    def run(
        self,
        tokens: Float[Tensor, "B V D"],
        centre: Float[Tensor, "#B V 1"],
        live: Bool[Tensor, "B V"] | None = None,
        layers: tuple[int, ...] = (-1,),
        wanted: Packing | None = None,
    ) -> list[Tensor]:
        place = cells(centre, self.spacing)[..., 0].long()
        x = tokens + self.segment_embed[:, :1] + look(self.pos_embed[0], place, "position")
        return self.through(self.norm_embed(x), [(live,)] * self.spec.depth, layers, wanted)


class PostNormBlock(nn.Module):
    """norm(x + attention(x)), then norm(x + mlp(x)); with `wanted`, the output of those tokens only."""

    def __init__(self, spec: Bert):
        super().__init__()
        self.attn = Attention(spec.width, spec.heads)
        self.norm1 = nn.LayerNorm(spec.width, eps=spec.norm_eps)
        self.mlp = Mlp(spec.width, round(spec.width * spec.mlp_ratio))
        self.norm2 = nn.LayerNorm(spec.width, eps=spec.norm_eps)

    def forward(
        self, x: Float[Tensor, "B N D"], live: Bool[Tensor, "B N"] | None = None, wanted: Packing | None = None
    ) -> Float[Tensor, "B K D"]:
        x = self.norm1(of_wanted(x, wanted) + self.attn(x, live, wanted=wanted))
        return self.norm2(x + self.mlp(x))
