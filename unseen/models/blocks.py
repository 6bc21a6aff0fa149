"""Pre-norm transformer blocks with timm's parameter names and one fused projection for queries, keys and values."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unseen.errors import UnseenError
from unseen.models.attention import attend
from unseen.packing import Packing, gather


class Attention(nn.Module):
    """Multi-head self-attention.

    The bias of the keys adds the same to all scores of a query, so softmax removes it: leaving it out (BEiT, VideoMAE)
    and any value give the same attention. With `wanted`, the output of those tokens only: all attend, and the
    projection is left out for the others.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        live: Bool[Tensor, "B N"] | None = None,
        bias: Float[Tensor, "#B H N N"] | None = None,
        wanted: Packing | None = None,
    ) -> Float[Tensor, "B K D"]:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(of_wanted(attend(query, key, value, live, bias).transpose(1, 2).flatten(2), wanted))


class CrossAttention(nn.Module):
    """Multi-head attention of queries over a memory of another width (CrossMAE: Fu et al., 2024)."""

    def __init__(self, width: int, heads: int, memory_width: int):
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(memory_width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "B T D"], memory: Float[Tensor, "B K M"], live: Bool[Tensor, "B K"] | None = None
    ) -> Float[Tensor, "B T D"]:
        query = self.q(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = self.kv(memory).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(attend(query, key, value, live).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Two linear maps with GELU between."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()  # exact: the tanh form is slower on a CPU
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        return self.fc2(self.act(self.fc1(x)))


class LayerScale(nn.Module):
    """A learned factor for each channel of what a block adds (CaiT: Touvron et al., ICCV 2021)."""

    def __init__(self, width: int, initial: float):
        super().__init__()
        self.initial = initial
        self.gamma = nn.Parameter(torch.empty(width))

    @torch.no_grad()
    def reset(self, seed: int) -> None:
        self.gamma.fill_(self.initial)

    def forward(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        return x * self.gamma


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); `scale`: where a LayerScale of each addition starts.

    With `wanted`, the output of those tokens only.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: float, eps: float, scale: float | None = None):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads)
        self.ls1 = nn.Identity() if scale is None else LayerScale(width, scale)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, round(width * mlp_ratio))
        self.ls2 = nn.Identity() if scale is None else LayerScale(width, scale)

    def forward(
        self,
        x: Float[Tensor, "B N D"],
        live: Bool[Tensor, "B N"] | None = None,
        bias: Float[Tensor, "#B H N N"] | None = None,
        wanted: Packing | None = None,
    ) -> Float[Tensor, "B K D"]:
        x = of_wanted(x, wanted) + self.ls1(self.attn(self.norm1(x), live, bias, wanted))
        return x + self.ls2(self.mlp(self.norm2(x)))


class CrossBlock(nn.Module):
    """x + cross-attention(norm(x), memory), then x + mlp(norm(x)); queries do not see each other."""

    def __init__(self, width: int, heads: int, mlp_ratio: float, eps: float, memory_width: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.cross_attn = CrossAttention(width, heads, memory_width)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, round(width * mlp_ratio))

    def forward(
        self, x: Float[Tensor, "B T D"], memory: Float[Tensor, "B K M"], live: Bool[Tensor, "B K"] | None = None
    ) -> Float[Tensor, "B T D"]:
        x = x + self.cross_attn(self.norm1(x), memory, live)
        return x + self.mlp(self.norm2(x))


def of_wanted(x: Float[Tensor, "B N D"], wanted: Packing | None) -> Float[Tensor, "B K D"]:
    """The tokens that something reads (padding is zero); None: all of them."""
    return x if wanted is None else gather(x, wanted)


def call(block: nn.Module, *inputs: Tensor | None, recompute: bool, **more: Any) -> Tensor:
    """Run a block; with `recompute` its activations are thrown away and computed again in the backward pass."""
    if recompute and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False, **more)
    return block(*inputs, **more)


def run_blocks(
    blocks: nn.ModuleList, x: Float[Tensor, "B N D"], *inputs: Tensor | None, wanted: Packing, recompute: bool
) -> Float[Tensor, "B K D"]:
    """Run blocks that all get the same; the last computes the wanted tokens only."""
    for block in blocks[:-1]:
        x = call(block, x, *inputs, recompute=recompute)
    return call(blocks[-1], x, *inputs, recompute=recompute, wanted=wanted)


def last_tokens(x: Float[Tensor, "B N D"], count: int) -> Packing:
    """The places of the last tokens of each sample."""
    return Packing(torch.arange(x.shape[1] - count, x.shape[1], device=x.device).expand(len(x), -1), None)


def join_live(parts: Sequence[tuple[Tensor | None, int]], like: Tensor) -> Bool[Tensor, "B N"] | None:
    """Put key masks side by side; a part is (mask or None for all, its length). None when nothing is padding."""
    if all(live is None for live, _ in parts):
        return None
    full = [torch.ones(like.shape[0], n, dtype=torch.bool, device=like.device) if m is None else m for m, n in parts]
    return torch.cat(full, dim=1)


def check_heads(owner: str, width: int, heads: int) -> None:
    """Refuse a width that the heads do not share evenly."""
    if width < 1 or heads < 1 or width % heads:
        raise UnseenError(
            f"{owner}: width {width} does not divide among {heads} heads",
            "width must be a multiple of heads",
            f"try width={max(1, round(width / max(heads, 1))) * max(heads, 1)}",
        )
