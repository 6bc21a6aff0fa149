"""The order of samples: a pure function of (seed, position), so that the state of a loader is one integer.

`Shuffle` visits every sample once per epoch: it permutes blocks of consecutive rows, then permutes inside windows of
16 blocks, so that neighbouring positions read few files and yet are mixed over a thousand rows. Both are keyed Feistel
networks (Luby and Rackoff, 1988) that walk their cycle until they are in range (Black and Rogaway, 2002): no memory,
no dependence on workers or ranks. `Weighted` draws with replacement instead (alias table: Walker, 1977; Vose, 1991).
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64

from unseen.errors import UnseenError
from unseen.randomness import keys, uniform

VERSION = 1  # of the rules below: another order gets another number
BLOCK, WINDOW = 64, 16
_M1, _M2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def positions(step: int, batch: int, rank: int = 0, world: int = 1) -> Int64[np.ndarray, "b"]:
    """The positions of a step on one rank: step s covers [s * batch, (s + 1) * batch), cut into equal slices.

    UnseenError where the ranks cannot have equal slices, or there is no such rank.
    """
    if batch < 1 or batch % world or not 0 <= rank < world:
        raise UnseenError(f"batch {batch} on rank {rank} of {world}", "every rank takes an equal share of the batch")
    share = batch // world
    return np.arange(share, dtype=np.int64) + step * batch + rank * share


class Shuffle:
    """Position -> index: in every epoch of n positions each of the n indices comes once."""

    def __init__(self, n: int, seed: int, block: int = BLOCK, window: int = WINDOW):
        if n < 1:
            raise UnseenError("there is nothing to draw from", "an order needs at least one sample")
        self.n, self.seed, self.block, self.window = n, seed, block, window

    def __call__(self, position: Int64[np.ndarray, "b"]) -> Int64[np.ndarray, "b"]:
        epoch, place = np.divmod(np.asarray(position, dtype=np.int64), self.n)
        index = np.empty_like(place)
        for one in np.unique(epoch):
            chosen = epoch == one
            index[chosen] = self._epoch(int(one), place[chosen])
        return index

    def _epoch(self, epoch: int, place: np.ndarray) -> np.ndarray:
        """A permutation of the rows padded to whole blocks, walked until a real row comes up."""
        place = self._step(epoch, place)
        while (outside := place >= self.n).any():
            place[outside] = self._step(epoch, place[outside])
        return place

    def _step(self, epoch: int, place: np.ndarray) -> np.ndarray:
        blocks = -(-self.n // self.block)
        rows = self.window * self.block
        number, offset = np.divmod(place, rows)
        size = np.minimum(rows, blocks * self.block - number * rows)
        key = keys(self.seed, torch.from_numpy(number), epoch, "order of a window").numpy()
        place = number * rows + feistel(offset, size, key)
        key = keys(self.seed, torch.zeros(1, dtype=torch.long), epoch, "order of blocks").numpy()
        slot, row = np.divmod(place, self.block)
        return feistel(slot, np.full_like(slot, blocks), np.broadcast_to(key, slot.shape)) * self.block + row


class Weighted:
    """Position -> index, drawn with replacement: first a group by its weight, then a member of it uniformly.

    Groups are runs of consecutive indices of the given sizes. A group whose weight is its size to the power 1 - p is
    a sampling in which each of its members counts size^-p.
    """

    def __init__(self, sizes: Sequence[int], weights: Float[np.ndarray, "g"], seed: int):
        self.sizes = np.asarray(sizes, dtype=np.int64)
        if len(self.sizes) != len(weights) or self.sizes.min(initial=1) < 1 or not len(self.sizes):
            raise UnseenError(f"{len(weights)} weights for groups of sizes {self.sizes}", "no group is empty")
        self.first = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        self.n, self.seed = int(self.sizes.sum()), seed
        self.share, self.other = alias_table(weights)

    def __call__(self, position: Int64[np.ndarray, "b"]) -> Int64[np.ndarray, "b"]:
        place = torch.from_numpy(np.asarray(position, dtype=np.int64))
        column, coin, member = uniform(keys(self.seed, place, 0, "weighted order"), 3).numpy().T
        group = (column * len(self.share)).astype(np.int64)
        group = np.where(coin < self.share[group], group, self.other[group])
        return self.first[group] + (member * self.sizes[group]).astype(np.int64)


def alias_table(weights: Float[np.ndarray, "g"]) -> tuple[Float[np.ndarray, "g"], Int64[np.ndarray, "g"]]:
    """Share and substitute of each column, such that a uniform column and a coin draw by weight."""
    weights = np.asarray(weights, dtype=np.float64)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise UnseenError("sampling weights must be finite, not negative and not all zero")
    share = weights * (len(weights) / weights.sum())
    other = np.arange(len(weights))
    poor = [i for i in other if share[i] < 1]
    rich = [i for i in other if share[i] >= 1]
    while poor and rich:
        low, high = poor.pop(), rich[-1]
        other[low] = high
        share[high] -= 1 - share[low]
        if share[high] < 1:
            poor.append(rich.pop())
    share[poor + rich] = 1.0  # what is left differs from 1 by rounding only
    return share, other


def feistel(x: np.ndarray, n: np.ndarray, key: np.ndarray, rounds: int = 4) -> np.ndarray:
    """A keyed permutation of [0, n) applied to x, element by element; equal (n, key) make one permutation."""
    half = np.maximum(1, (np.ceil(np.log2(np.maximum(n, 2))).astype(np.int64) + 1) // 2)
    out, walking = x.copy(), np.ones(len(x), dtype=bool)
    while walking.any():
        out[walking] = _rounds(out[walking], half[walking], key[walking], rounds)
        walking &= out >= n
    return out


def _rounds(x: np.ndarray, half: np.ndarray, key: np.ndarray, rounds: int) -> np.ndarray:
    bits = half.astype(np.uint64)
    mask = (np.uint64(1) << bits) - np.uint64(1)
    left, right = x.astype(np.uint64) >> bits, x.astype(np.uint64) & mask
    for number in range(1, rounds + 1):
        salted = right + key.view(np.uint64) + np.uint64(number * 0x9E3779B97F4A7C15 % 2**64)
        left, right = right, left ^ (_mix(salted) & mask)
    return ((left << bits) | right).astype(np.int64)


def _mix(x: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64, as `unseen.randomness` has it for torch; products wrap."""
    x = (x ^ (x >> np.uint64(30))) * _M1
    x = (x ^ (x >> np.uint64(27))) * _M2
    return x ^ (x >> np.uint64(31))
