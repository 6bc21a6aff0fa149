"""Pre-norm transformer blocks with timm's parameter names and one fused projection for queries, keys and values."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unseen.errors import UnseenError
from unseen.models.attention import attend


class Attention(nn.Module):
    """Multi-head self-attention.

    The bias of the keys adds the same to all scores of a query, so softmax removes it: leaving it out (BEiT, VideoMAE)
    and any value give the same attention.
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
    ) -> Float[Tensor, "B N D"]:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(attend(query, key, value, live, bias).transpose(1, 2).flatten(2))


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
    """x + attention(norm(x)), then x + mlp(norm(x)); `scale`: where a LayerScale of each addition starts."""

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
    ) -> Float[Tensor, "B N D"]:
        x = x + self.ls1(self.attn(self.norm1(x), live, bias))
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


def call(block: nn.Module, *inputs: Tensor | None, recompute: bool) -> Tensor:
    """Run a block; with `recompute` its activations are thrown away and computed again in the backward pass."""
    if recompute and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)
    return block(*inputs)


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
