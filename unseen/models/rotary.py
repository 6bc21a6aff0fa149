"""Rotary positions: queries and keys are turned by angles that grow with their place (RoFormer: Su et al., 2021).

With C coordinates the head is cut into C parts of equal even width, one for each; what is left over is not turned.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from unseen.models.attention import attend
from unseen.models.blocks import of_wanted
from unseen.packing import Packing

Pairing = Literal["halves", "neighbours", "released"]
"""Which two numbers of a part are turned together, each pair at its own frequency base^(-i/n):

- halves: i and i + n (ModernBERT)
- neighbours: 2i and 2i + 1 (RoFormer)
- released: neighbours, but with the cosines and sines of halves, so that the two numbers of a pair are turned by two
  different angles, and the score depends on more than the distance. V-JEPA 2's weights were trained so.
"""


def turns(
    place: Float[Tensor, "B N C"], head_width: int, base: float, pairing: Pairing
) -> tuple[Float[Tensor, "B 1 N C W"], Float[Tensor, "B 1 N C W"]]:
    """Cosine and sine for each place (in steps of its grid) and each number of a part, float32."""
    width = part_width(head_width, place.shape[-1])
    step = torch.arange(width // 2, device=place.device, dtype=torch.float32) / max(width // 2, 1)
    angle = place.float()[:, None, :, :, None] * base**-step
    angle = angle.repeat_interleave(2, dim=-1) if pairing == "neighbours" else torch.cat([angle, angle], dim=-1)
    return angle.cos(), angle.sin()


def rotate(
    x: Float[Tensor, "*S B H N d"],
    cos: Float[Tensor, "#B 1 N C W"],
    sin: Float[Tensor, "#B 1 N C W"],
    pairing: Pairing,
) -> Float[Tensor, "*S B H N d"]:
    """Turn queries or keys; computed in float32."""
    n_parts, width = cos.shape[-2:]
    part = x[..., : n_parts * width].unflatten(-1, (n_parts, width)).float()
    if pairing == "halves":
        first, second = part.chunk(2, dim=-1)
        across = torch.cat([-second, first], dim=-1)
    else:
        first, second = part.unflatten(-1, (-1, 2)).unbind(dim=-1)
        across = torch.stack([-second, first], dim=-1).flatten(-2)
    turned = (part * cos + across * sin).flatten(-2).to(x.dtype)
    rest = x[..., n_parts * width :]
    return torch.cat([turned, rest], dim=-1) if rest.shape[-1] else turned


def part_width(head_width: int, n_coordinates: int) -> int:
    """How many numbers of a head belong to each coordinate."""
    return 2 * (head_width // n_coordinates // 2)


class RotaryAttention(nn.Module):
    """Multi-head self-attention over turned queries and keys."""

    def __init__(self, width: int, heads: int, pairing: Pairing, *, bias: bool = True):
        super().__init__()
        self.heads = heads
        self.pairing: Pairing = pairing
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.proj = nn.Linear(width, width, bias=bias)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        cos: Float[Tensor, "#B 1 N C W"],
        sin: Float[Tensor, "#B 1 N C W"],
        live: Bool[Tensor, "B N"] | None = None,
        bias: Float[Tensor, "#B 1 N N"] | None = None,
        wanted: Packing | None = None,
    ) -> Float[Tensor, "B K D"]:
        """Keys that are not `live` are never read; `bias` is added to the scores of all heads."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = rotate(qkv[:2], cos, sin, self.pairing).unbind(0)
        bias = None if bias is None else bias.expand(-1, self.heads, -1, -1)
        return self.proj(of_wanted(attend(query, key, qkv[2], live, bias).transpose(1, 2).flatten(2), wanted))
