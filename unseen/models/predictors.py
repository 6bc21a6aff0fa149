"""Predictors: from the tokens of visible units, and the places of hidden ones, to tokens for the hidden units.

A predictor gets coordinates of what it predicts, never content. Its forward is plain tensor arithmetic without a
data-dependent shape, so it compiles.
"""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unseen.errors import UnseenError
from unseen.models.blocks import Block, CrossBlock, call, check_heads, join_live, last_tokens, run_blocks
from unseen.models.encoder import EncoderSpec
from unseen.models.positions import Positions, SinCos, sincos


@runtime_checkable
class Predictor(Protocol):
    """A predictor as a recipe names it; its module has `width` and `layers` (of the encoder; None: its output)."""

    def build(self, encoder: EncoderSpec, spacing: tuple[float, ...]) -> nn.Module: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SelfAttention:
    """MAE's decoder: a small ViT over visible tokens and mask tokens (He et al., CVPR 2022)."""

    width: int = 512
    depth: int = 8
    heads: int = 16
    mlp_ratio: float = 4.0
    norm_eps: float = 1e-6
    positions: Positions = field(default_factory=SinCos)  # a computed choice: there is no table here
    embed_bias: bool = True  # of the map from the encoder's width; False: as VideoMAE

    def __post_init__(self) -> None:
        check_heads("SelfAttention", self.width, self.heads)
        if self.positions.rows:
            raise UnseenError("SelfAttention: positions are a learned table", "a predictor computes its positions")

    def build(self, encoder: EncoderSpec, spacing: tuple[float, ...]) -> nn.Module:
        return SelfAttentionPredictor(self, encoder.width, spacing)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossAttention:
    """CrossMAE's decoder: each hidden unit asks the visible tokens, and no other hidden unit (Fu et al., 2024)."""

    width: int = 256
    depth: int = 8
    heads: int = 8
    mlp_ratio: float = 4.0
    norm_eps: float = 1e-6
    feature_mix: bool = False  # each layer reads its own learned mix of all encoder layers, not the last one only

    def __post_init__(self) -> None:
        check_heads("CrossAttention", self.width, self.heads)

    def build(self, encoder: EncoderSpec, spacing: tuple[float, ...]) -> nn.Module:
        return CrossAttentionPredictor(self, encoder, spacing)


class SelfAttentionPredictor(nn.Module):
    """The sequence is [class, visible, hidden] and is never unshuffled: positions are gathered instead."""

    layers: tuple[int, ...] | None = None

    def __init__(self, spec: SelfAttention, encoder_width: int, spacing: tuple[float, ...]):
        super().__init__()
        self.width, self.spacing, self.recompute = spec.width, spacing, False
        self.positions = spec.positions
        self.embed = nn.Linear(encoder_width, spec.width, bias=spec.embed_bias)
        self.mask_token = nn.Parameter(torch.empty(1, 1, spec.width))
        self.blocks = nn.ModuleList(
            Block(spec.width, spec.heads, spec.mlp_ratio, spec.norm_eps) for _ in range(spec.depth)
        )
        self.norm = nn.LayerNorm(spec.width, eps=spec.norm_eps)

    def forward(
        self,
        features: Float[Tensor, "B K E"],
        centre_visible: Float[Tensor, "B V C"],
        live_visible: Bool[Tensor, "B V"] | None,
        centre_hidden: Float[Tensor, "B T C"],
        live_hidden: Bool[Tensor, "B T"] | None,
    ) -> Float[Tensor, "B T D"]:
        n_visible, n_hidden = centre_visible.shape[1], centre_hidden.shape[1]
        n_class = features.shape[1] - n_visible
        seen = self.embed(features)
        visible = seen[:, n_class:] + self.positions(centre_visible, self.spacing, self.width)
        hidden = self.mask_token + self.positions(centre_hidden, self.spacing, self.width)
        x = torch.cat([seen[:, :n_class].to(visible.dtype), visible, hidden.to(visible.dtype)], dim=1)
        live = join_live([(None, n_class), (live_visible, n_visible), (live_hidden, n_hidden)], x)
        return self.norm(run_blocks(self.blocks, x, live, wanted=last_tokens(x, n_hidden), recompute=self.recompute))


class CrossAttentionPredictor(nn.Module):
    """Mask tokens with positions are the queries; encoder tokens, as they are, the keys and values."""

    def __init__(self, spec: CrossAttention, encoder: EncoderSpec, spacing: tuple[float, ...]):
        super().__init__()
        self.width, self.spacing, self.recompute = spec.width, spacing, False
        self.layers = tuple(range(encoder.depth)) if spec.feature_mix else None
        self.mask_token = nn.Parameter(torch.empty(1, 1, spec.width))
        if spec.feature_mix:
            self.mix = nn.Parameter(torch.empty(spec.depth, encoder.depth))
            self.mix_norms = nn.ModuleList(nn.LayerNorm(encoder.width, eps=spec.norm_eps) for _ in range(spec.depth))
        self.blocks = nn.ModuleList(
            CrossBlock(spec.width, spec.heads, spec.mlp_ratio, spec.norm_eps, encoder.width) for _ in range(spec.depth)
        )
        self.norm = nn.LayerNorm(spec.width, eps=spec.norm_eps)

    def forward(
        self,
        features: Tensor | list[Tensor],
        centre_visible: Float[Tensor, "B V C"],
        live_visible: Bool[Tensor, "B V"] | None,
        centre_hidden: Float[Tensor, "B T C"],
        live_hidden: Bool[Tensor, "B T"] | None,
    ) -> Float[Tensor, "B T D"]:
        memories = self._memories(features)
        n_class = memories[0].shape[1] - centre_visible.shape[1]
        live = join_live([(None, n_class), (live_visible, centre_visible.shape[1])], centre_visible)
        x = self.mask_token + sincos(centre_hidden, self.spacing, self.width)
        for block, memory in zip(self.blocks, memories, strict=True):
            x = call(block, x, memory, live, recompute=self.recompute)
        return self.norm(x)

    def _memories(self, features: Tensor | list[Tensor]) -> list[Tensor]:
        """What each layer reads."""
        if isinstance(features, Tensor):
            return [features] * len(self.blocks)
        mixed = torch.einsum("lk,kbnd->lbnd", self.mix, torch.stack(features).float())
        return [norm(memory) for norm, memory in zip(self.mix_norms, mixed, strict=True)]
