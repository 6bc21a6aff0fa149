"""Attention by the kernel that is fastest where it runs.

Measured on CPU, forward and backward: in bfloat16 torch's fused kernel is 1.3 to 6 times slower than plain
matmul-softmax-matmul, in float32 it is up to 1.5 times faster; on a GPU the fused kernels win. Test again on each torch
release (`benchmarks/`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

Kernel = Literal["plain", "fused"]
VECTOR = 32  # bfloat16 numbers in 512 bits
PLAIN_LIMIT_BYTES = 256 * 2**20  # plain attention keeps batch * heads * queries * keys numbers per layer

_forced: Kernel | None = None


def attend(
    query: Float[Tensor, "B H Q d"],
    key: Float[Tensor, "B H K d"],
    value: Float[Tensor, "B H K d"],
    live: Bool[Tensor, "B K"] | None = None,
    bias: Float[Tensor, "#B H Q K"] | None = None,
) -> Float[Tensor, "B H Q d"]:
    """Scaled dot-product attention; keys that are not `live` are never read (each sample needs one that is).

    `bias` is added to the scores.
    """
    if choose_kernel(query, key) == "fused":
        mask = None if live is None else live[:, None, None, :]
        if bias is not None:
            mask = bias.to(query.dtype) if mask is None else bias.to(query.dtype).masked_fill(~mask, -torch.inf)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    score = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if bias is not None:
        score = score + bias.to(score.dtype)
    if live is not None:
        score = score.masked_fill(~live[:, None, None, :], -torch.inf)
    return softmax(score) @ value


def softmax(score: Float[Tensor, "B H Q K"]) -> Float[Tensor, "B H Q K"]:
    """Over the keys; of few keys in float32, since bfloat16 is two to three times slower below one vector of them."""
    if score.shape[-1] < VECTOR and score.dtype == torch.bfloat16:
        return score.softmax(dim=-1, dtype=torch.float32).to(score.dtype)
    return score.softmax(dim=-1)


def choose_kernel(query: Tensor, key: Tensor) -> Kernel:
    """Plain for half precision on a CPU while its scores fit PLAIN_LIMIT_BYTES, else fused; `kernel` overrides."""
    if _forced is not None:
        return _forced
    if query.device.type != "cpu" or query.dtype == torch.float32 or query.dtype == torch.float64:
        return "fused"
    scores = query.shape[0] * query.shape[1] * query.shape[2] * key.shape[2] * query.element_size()
    return "plain" if scores <= PLAIN_LIMIT_BYTES else "fused"


@contextmanager
def kernel(name: Kernel) -> Iterator[None]:
    """Use one kernel for every attention inside the `with` block, whatever device, dtype and size say."""
    global _forced
    before, _forced = _forced, name
    try:
        yield
    finally:
        _forced = before
