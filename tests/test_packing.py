"""Packing puts chosen units side by side, in order, and back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from unseen.packing import gather, pack, packing, unpack


def slow_pack(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    most = int(mask.sum(dim=1).max())
    out = torch.zeros(len(x), most, *x.shape[2:], dtype=x.dtype)
    for b in range(len(x)):
        for place, unit in enumerate(i for i in range(x.shape[1]) if mask[b, i]):
            out[b, place] = x[b, unit]
    return out


def masks(batch: int = 3, n_units: int = 13, equal: bool = False, seed: int = 0) -> torch.Tensor:
    score = torch.rand(batch, n_units, generator=torch.Generator().manual_seed(seed))
    if equal:
        return score.argsort(dim=1).argsort(dim=1) < 5
    return score < torch.linspace(0.2, 0.9, batch)[:, None]


@given(seed=st.integers(0, 10_000), equal=st.booleans(), n_units=st.integers(6, 20))
def test_pack_equals_a_slow_loop(seed, equal, n_units):
    mask = masks(n_units=n_units, equal=equal, seed=seed)
    x = torch.rand(3, n_units, 2, 5)
    assert torch.equal(pack(x, mask), slow_pack(x, mask))
    assert (packing(mask).live is None) == (len(set(mask.sum(dim=1).tolist())) == 1)


@given(seed=st.integers(0, 10_000), equal=st.booleans())
def test_unpack_puts_everything_back(seed, equal):
    mask, x, fill = masks(equal=equal, seed=seed), torch.rand(3, 13, 2, 5), torch.full((1, 1, 2, 5), -7.0)
    restored = unpack(pack(x, mask), packing(mask), 13, fill)
    assert torch.equal(restored, torch.where(mask[..., None, None], x, fill))


def test_padding_is_zero_whatever_stands_there():
    mask = masks()
    x = torch.full((3, 13, 4), torch.nan)
    x[mask] = 1
    packed = pack(x, mask)
    counts = mask.sum(dim=1)
    assert torch.isfinite(packed).all() and torch.equal(packed.sum(dim=(1, 2)), 4.0 * counts)


def test_a_leading_one_is_broadcast():
    mask, x = masks(), torch.rand(1, 13, 2)
    assert torch.equal(gather(x, packing(mask)), pack(x.expand(3, -1, -1), mask))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float64, torch.bool])
def test_any_dtype(dtype):
    x = (torch.rand(3, 13, 2) * 2).to(dtype)
    assert torch.equal(pack(x, masks()), slow_pack(x, masks()))


def test_a_mask_without_any_unit_gives_nothing():
    assert pack(torch.rand(3, 13, 2), torch.zeros(3, 13, dtype=torch.bool)).shape == (3, 0, 2)


def test_gradients_go_to_the_chosen_units_only():
    x = torch.rand(3, 13, 2, requires_grad=True)
    pack(x, masks()).sum().backward()
    assert torch.equal(x.grad, masks()[..., None].expand_as(x).float())
