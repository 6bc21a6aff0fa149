"""A vision transformer that reads visible units only (Dosovitskiy et al., ICLR 2021; MAE: He et al., CVPR 2022)."""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn

from unseen.contract import Shapes
from unseen.errors import UnseenError
from unseen.models.blocks import Block, call, check_heads, join_live
from unseen.models.initialise import construct
from unseen.models.positions import Positions, SinCos
from unseen.models.relative import Relative, RelativeBias
from unseen.models.stems import LinearStem, Stem


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
        if self.depth < 1:
            raise UnseenError(f"ViT: depth is {self.depth}", "an encoder has at least one block")
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

    def build(self, shapes: Shapes) -> "VisionTransformer":
        """The module, with the weights of seed 0."""
        return construct(lambda: VisionTransformer(self, shapes))


class VisionTransformer(nn.Module):
    """Tokens for the units that it is given; state dict with timm's names. See `ViT` for the settings."""

    cls_token: nn.Parameter | None
    pos_embed: nn.Parameter | None
    relative: RelativeBias | None

    def __init__(self, spec: ViT, shapes: Shapes):
        super().__init__()
        self.spec, self.unit, self.spacing = spec, shapes.unit, shapes.spacing
        self.recompute = False  # trade time for memory: recompute each block's activations in the backward pass
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

    def forward(
        self,
        x_visible: Shaped[Tensor, "B V *P"],
        centre: Float[Tensor, "#B V C"],
        live: Bool[Tensor, "B V"] | None = None,
        layers: tuple[int, ...] | None = None,
    ) -> Tensor | list[Tensor]:
        """Tokens [B, (1 +) V, width] through the final norm, the class token first where there is one.

        `centre` are the coordinates of these very units (one row where all samples have the same); units that are not
        `live` are padding and are never read.
        With `layers`, a list: the output of each named block, through the same final norm. Block -1 is the last.
        """
        outputs = self.run(self.patch_embed(x_visible), centre, live, (-1,) if layers is None else layers)
        return outputs[0] if layers is None else outputs

    def run(
        self,
        tokens: Float[Tensor, "B V D"],
        centre: Float[Tensor, "#B V C"],
        live: Bool[Tensor, "B V"] | None = None,
        layers: tuple[int, ...] = (-1,),
    ) -> list[Tensor]:
        """The same from embedded units, positions not yet added: a list of the layers' outputs."""
        wanted = [self._layer(layer) for layer in layers]
        x = self._placed(tokens, centre)
        biases = [None] if self.relative is None else self.relative(centre)
        if self.cls_token is not None:
            x = torch.cat([self._class_row(self.cls_token).expand(x.shape[0], 1, -1).to(x.dtype), x], dim=1)
            live = join_live([(None, 1), (live, tokens.shape[1])], x)
        outputs = {}
        for number, block in enumerate(self.blocks):
            x = call(block, x, live, biases[number % len(biases)], recompute=self.recompute)
            if number in wanted:
                outputs[number] = self.norm(x)
        return [outputs[number] for number in wanted]

    def _placed(self, tokens: Float[Tensor, "B V D"], centre: Float[Tensor, "#B V C"]) -> Float[Tensor, "B V D"]:
        """Embeddings with positions added, where there are any."""
        if self.spec.positions is None:
            return tokens
        table = None if self.pos_embed is None else self.pos_embed[0, int(self.spec.class_token) :]
        return tokens + self.spec.positions(centre, self.spacing, self.spec.width, table)

    def _class_row(self, token: Float[Tensor, "1 1 D"]) -> Float[Tensor, "1 1 D"]:
        """The class token with its position: a learned table has a row for it, a computed one adds nothing (as MAE)."""
        return token if self.pos_embed is None else token + self.pos_embed[:, :1]

    def _layer(self, layer: int) -> int:
        if not -self.spec.depth <= layer < self.spec.depth:
            raise UnseenError(f"layer {layer} of an encoder with {self.spec.depth} blocks", "it must exist")
        return layer % self.spec.depth
