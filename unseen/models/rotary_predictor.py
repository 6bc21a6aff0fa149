"""V-JEPA 2's predictor (Assran et al., 2025): a small rotary transformer over visible tokens and mask tokens."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unseen.errors import UnseenError
from unseen.models.blocks import check_heads, join_live, last_tokens, run_blocks
from unseen.models.encoder import EncoderSpec
from unseen.models.rotary import Pairing
from unseen.models.rotary_vit import RotaryBlock, check_parts, grid_turns


@dataclass(frozen=True, slots=True, kw_only=True)
class RotarySelfAttention:
    """Like `SelfAttention`, with rotary positions; its head, a linear map to the encoder's width, is the model's."""

    width: int = 384
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    norm_eps: float = 1e-6
    pairing: Pairing = "neighbours"

    def __post_init__(self) -> None:
        check_heads("RotarySelfAttention", self.width, self.heads)

    def build(self, encoder: EncoderSpec, spacing: tuple[float, ...]) -> nn.Module:
        if getattr(encoder, "class_token", False):
            raise UnseenError("RotarySelfAttention got an encoder with a class token", "every token needs a place")
        return RotaryPredictor(self, encoder.width, spacing)


class RotaryPredictor(nn.Module):
    """The sequence is [visible, hidden]: attention does not mind the order, places are turned into queries and keys."""

    layers: tuple[int, ...] | None = None

    def __init__(self, spec: RotarySelfAttention, encoder_width: int, spacing: tuple[float, ...]):
        super().__init__()
        check_parts("RotarySelfAttention", spec.width // spec.heads, len(spacing))
        self.spec, self.width, self.spacing, self.recompute = spec, spec.width, spacing, False
        self.embed = nn.Linear(encoder_width, spec.width)
        self.mask_token = nn.Parameter(torch.empty(1, 1, spec.width))
        self.blocks = nn.ModuleList(
            RotaryBlock(spec.width, spec.heads, spec.mlp_ratio, spec.norm_eps, spec.pairing) for _ in range(spec.depth)
        )
        self.norm = nn.LayerNorm(spec.width, eps=spec.norm_eps)

    def forward(
        self,
        features: Float[Tensor, "B V E"],
        centre_visible: Float[Tensor, "B V C"],
        live_visible: Bool[Tensor, "B V"] | None,
        centre_hidden: Float[Tensor, "B T C"],
        live_hidden: Bool[Tensor, "B T"] | None,
    ) -> Float[Tensor, "B T D"]:
        n_visible, n_hidden = centre_visible.shape[1], centre_hidden.shape[1]
        seen = self.embed(features)
        x = torch.cat([seen, self.mask_token.to(seen.dtype).expand(len(seen), n_hidden, -1)], dim=1)
        live = join_live([(live_visible, n_visible), (live_hidden, n_hidden)], x)
        centre = torch.cat([centre_visible, centre_hidden], dim=1)
        cos, sin = grid_turns(centre, self.spacing, self.width // self.spec.heads, self.spec.pairing)
        wanted = last_tokens(x, n_hidden)
        return self.norm(run_blocks(self.blocks, x, cos, sin, live, wanted=wanted, recompute=self.recompute))
