"""A vision transformer that reads visible units only (Dosovitskiy et al., ICLR 2021; MAE: He et al., CVPR 2022)."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unseen.contract import Shapes
from unseen.errors import UnseenError
from unseen.models.blocks import Block, check_heads, join_live
from unseen.models.encoder import Encoder, check_depth
from unseen.models.initialise import construct
from unseen.models.positions import Positions, SinCos
from unseen.models.relative import Relative, RelativeBias
from unseen.models.stems import LinearStem, Stem
from unseen.packing import Packing


@dataclass(frozen=True, slots=True, kw_only=True)
class ViT:
    """An encoder as a recipe names it."""

    width: int = 192
    depth: int = 12
    heads: int = 3
    mlp_ratio: float = 4.0
    class_token: bool = True
    stem: Stem = field(default_factory=LinearStem)
    norm_eps: float = 1e-6
    positions: Positions | None = field(default_factory=SinCos)  # added to embeddings; None: nothing
    relative: Relative | None = None  # added to attention scores
    layer_scale: float | None = None  # where the factors of what a block adds start; None: no factors

    def __post_init__(self) -> None:
        check_heads("ViT", self.width, self.heads)
        check_depth("ViT", self.depth)
        if self.layer_scale is not None and not self.layer_scale > 0:
            raise UnseenError(f"ViT: layer_scale is {self.layer_scale}", "it is above 0, or None")

    @classmethod
    def tiny(cls, **changes: Any) -> "ViT":
        return cls(**{"width": 192, "depth": 12, "heads": 3} | changes)

    @classmethod
    def small(cls, **changes: Any) -> "ViT":
        return cls(**{"width": 384, "depth": 12, "heads": 6} | changes)

    @classmethod
    def base(cls, **changes: Any) -> "ViT":
        return cls(**{"width": 768, "depth": 12, "heads": 12} | changes)

    @classmethod
    def large(cls, **changes: Any) -> "ViT":
        return cls(**{"width": 1024, "depth": 24, "heads": 16} | changes)

    def module(self, shapes: Shapes) -> "VisionTransformer":
        return VisionTransformer(self, shapes)

    def build(self, shapes: Shapes) -> "VisionTransformer":
        """The module, with the weights of seed 0."""
        return construct(lambda: self.module(shapes))


class VisionTransformer(Encoder):
    """Tokens for the units that it is given; state dict with timm's names. See `ViT` for the settings."""

    cls_token: nn.Parameter | None
    pos_embed: nn.Parameter | None
    relative: RelativeBias | None

    def __init__(self, spec: ViT, shapes: Shapes):
        super().__init__()
        self.spec, self.unit, self.spacing = spec, shapes.unit, shapes.spacing
        width = spec.width
        rows = 0 if spec.positions is None else spec.positions.rows
        table = nn.Parameter(torch.empty(1, spec.class_token + rows, width)) if rows else None
        self.register_parameter("cls_token", nn.Parameter(torch.empty(1, 1, width)) if spec.class_token else None)
        self.register_parameter("pos_embed", table)
        self.patch_embed = spec.stem.build(shapes.unit, width)
        self.relative = None
        if spec.relative is not None:
            self.relative = spec.relative.build(spec.depth, spec.heads, shapes.spacing, spec.class_token)
        self.blocks = nn.ModuleList(
            Block(width, spec.heads, spec.mlp_ratio, spec.norm_eps, spec.layer_scale) for _ in range(spec.depth)
        )
        self.norm = nn.LayerNorm(width, eps=spec.norm_eps)

    def run(
        self,
        tokens: Float[Tensor, "B V D"],
        centre: Float[Tensor, "#B V C"],
        live: Bool[Tensor, "B V"] | None = None,
        layers: tuple[int, ...] = (-1,),
        wanted: Packing | None = None,
    ) -> list[Tensor]:
        """The same from embedded units, positions not yet added: a list of the layers' outputs."""
        x = self._placed(tokens, centre)
        biases = [None] if self.relative is None else self.relative(centre)
        if self.cls_token is not None:
            x = torch.cat([self._class_row(self.cls_token).expand(x.shape[0], 1, -1).to(x.dtype), x], dim=1)
            live = join_live([(None, 1), (live, tokens.shape[1])], x)
            wanted = None if wanted is None else wanted._replace(index=wanted.index + 1)
        depth = self.spec.depth
        return self.through(x, [(live, biases[number % len(biases)]) for number in range(depth)], layers, wanted)

    def _placed(self, tokens: Float[Tensor, "B V D"], centre: Float[Tensor, "#B V C"]) -> Float[Tensor, "B V D"]:
        """Embeddings with positions added, where there are any."""
        if self.spec.positions is None:
            return tokens
        table = None if self.pos_embed is None else self.pos_embed[0, int(self.spec.class_token) :]
        return tokens + self.spec.positions(centre, self.spacing, self.spec.width, table)

    def _class_row(self, token: Float[Tensor, "1 1 D"]) -> Float[Tensor, "1 1 D"]:
        """The class token with its position: a learned table has a row for it, a computed one adds nothing (as MAE)."""
        return token if self.pos_embed is None else token + self.pos_embed[:, :1]
