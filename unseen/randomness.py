"""Random numbers as values: a draw is a pure function of a key, so it is the same on any worker, rank and device.

The generator is splitmix64 over a counter (Steele, Lea and Flood, OOPSLA 2014). No global generator is ever touched.
"""

import hashlib
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float64, Int, Int64
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # 2^64 / golden ratio, as int64
_Int64s = TypeVar("_Int64s", Tensor, np.ndarray)


def name_hash(text: str) -> int:
    """A 63-bit number that stands for a name: the same on every machine and in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def keys(seed: int, sample_id: Int64[Tensor, "B"], visit: int | Int64[Tensor, "B"], purpose: str) -> Int64[Tensor, "B"]:
    """One key per sample for one purpose: hash(seed, sample id, visit, purpose).

    `visit` tells the visits to one sample apart: an epoch, or the sample's position in the order of a whole run.
    """
    key = _mix(sample_id + _signed(seed * _GOLDEN))
    turn = visit * 0x1E3779B97F4A7C15  # a tensor wraps by itself
    key = _mix(key ^ (_signed(turn) if isinstance(turn, int) else turn))
    return _mix(key + name_hash(purpose))


def uniform(key: Int64[Tensor, "B"], n: int) -> Float64[Tensor, "B n"]:
    """Draw n numbers in [0, 1) per key."""
    return _shift(_draw(key, n), 11).double() * 2.0**-53


def uniform_at(key: Int64[Tensor, "B"], cell: Int64[Tensor, "B *N K"]) -> Float64[Tensor, "B *N"]:
    """A number in [0, 1) that belongs to a cell of a K-dimensional lattice: the same wherever the cell turns up."""
    state = key.view(-1, *[1] * (cell.ndim - 2)).expand(cell.shape[:-1])
    for coordinate in cell.unbind(dim=-1):
        state = _mix((coordinate + 1) * _GOLDEN + state)
    return _shift(state, 11).double() * 2.0**-53


def words(key: Int64[Tensor, "B"], n: int, bits: int = 32) -> Int[Tensor, "B n"]:
    """Draw n random integers of 32 or 16 signed bits per key: two or four for the price of one `uniform`."""
    draws = _draw(key, -(-n * bits // 64))
    return draws.view(torch.int32 if bits == 32 else torch.int16)[:, :n]


def normal(key: Int64[Tensor, "B"], n: int) -> Float64[Tensor, "B n"]:
    """Draw n standard normal numbers per key (Box and Muller, 1958)."""
    u, v = uniform(key, 2 * n).split(n, dim=1)
    return (-2 * torch.log1p(-u)).sqrt() * torch.cos(2 * torch.pi * v)


def gumbel(key: Int64[Tensor, "B"], n: int) -> Float64[Tensor, "B n"]:
    """Draw n standard Gumbel numbers per key; `log(weight) + gumbel` ranks a weighted sample without replacement."""
    return -torch.log(-torch.log(uniform(key, n).clamp(2.0**-53, 1 - 2.0**-53)))


def _draw(key: Tensor, n: int) -> Tensor:
    """The first n outputs [B, n] of splitmix64, as int64."""
    if not key.is_cpu:
        return _draw_on_device(key, n)
    # numpy multiplies int64 in vectors, torch one by one, and its calls cost less
    return torch.from_numpy(_mix(np.arange(1, n + 1) * _GOLDEN + key.numpy()[:, None]))


def _draw_on_device(key: Tensor, n: int) -> Tensor:
    return _mix(torch.arange(1, n + 1, device=key.device).mul_(_GOLDEN) + key[:, None])


def _mix(x: _Int64s) -> _Int64s:  # in place; int64 products wrap, as they should
    x ^= _shift(x, 30)
    x *= 0xBF58476D1CE4E5B9 - 2**64
    x ^= _shift(x, 27)
    x *= 0x94D049BB133111EB - 2**64
    x ^= _shift(x, 31)
    return x


def _shift(x: _Int64s, bits: int) -> _Int64s:  # logical, not arithmetic
    y = x >> bits
    y &= (1 << (64 - bits)) - 1
    return y


def _signed(x: int) -> int:
    return (x + 2**63) % 2**64 - 2**63
