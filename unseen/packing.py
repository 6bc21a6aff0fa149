"""How the contract lays units out: the chosen units of each sample side by side, in unit order, padded at the end."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor


class Packing(NamedTuple):
    """Where the chosen units of each sample stand."""

    index: Int64[Tensor, "B K"]  # type: ignore[assignment]  # which unit stands at each packed place
    live: Bool[Tensor, "B K"] | None  # False: padding; None: every row is full


def packing(mask: Bool[Tensor, "B N"]) -> Packing:
    """Find the places of the chosen units; `live` is None when all samples choose equally many (the fast path)."""
    count = mask.sum(dim=1)
    most, fewest = int(count.max()), int(count.min())
    if most == fewest:
        return Packing(mask.nonzero()[:, 1].view(len(mask), most), None)
    index = mask.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    return Packing(index, torch.arange(most, device=mask.device) < count[:, None])


def gather(x: Shaped[Tensor, "#B N *P"], places: Packing) -> Shaped[Tensor, "B K *P"]:
    """Take the units at `places`; padding is exactly zero, whatever stands there. A leading 1 in `x` is broadcast."""
    index, live = places
    row = index
    if x.shape[0] > 1:
        row = index + x.shape[1] * torch.arange(len(index), device=x.device)[:, None]
    packed = x.flatten(0, 1).index_select(0, row.flatten()).unflatten(0, index.shape)
    if live is None:
        return packed
    return torch.where(live.view(*live.shape, *[1] * (x.ndim - 2)), packed, packed.new_zeros(()))


def pack(x: Shaped[Tensor, "B N *P"], mask: Bool[Tensor, "B N"]) -> Shaped[Tensor, "B K *P"]:
    """Gather the chosen units of each sample in order; rows with fewer than K end in zeros."""
    return gather(x, packing(mask))


def unpack(
    x: Shaped[Tensor, "B K *P"], places: Packing, n: int, fill: Shaped[Tensor, "*#F"]
) -> Shaped[Tensor, "B {n} *P"]:
    """Put packed units back into their places among n; everywhere else stands `fill`."""
    index, live = places
    full = fill.to(x.dtype).expand(len(index), n, *x.shape[2:]).clone()
    rows = torch.arange(len(index), device=x.device)[:, None].expand_as(index)
    if live is not None:
        rows, index, x = rows[live], index[live], x[live]
    return full.index_put((rows, index), x)
