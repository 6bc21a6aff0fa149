"""What a text encoder must beat: hashed words and pairs of words, the strong floor on short reports."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import torch

from unseen.systems.encode import Features

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True, kw_only=True)
class HashedWords:
    """Words and pairs of neighbouring words, hashed with a sign into `size` numbers (Weinberger et al., ICML 2009).

    Each counts 1 + log(count), times how rare its place is (Salton and Buckley, 1988) where `rarity` says so; the
    vector has length 1. Case is ignored.
    """

    size: int = 1024
    rarity: tuple[float, ...] = ()  # of each place; (): every word counts alike

    @staticmethod
    def fitted(texts: Sequence[str], size: int = 1024) -> "HashedWords":
        """With rarity log((1 + n) / (1 + texts that have it)) + 1, of texts of the training."""
        seen = sum((HashedWords(size=size).count(text) != 0).astype(np.float64) for text in texts)
        rarity = np.log((1 + len(texts)) / (1 + np.asarray(seen))) + 1
        return HashedWords(size=size, rarity=tuple(np.broadcast_to(rarity, size).tolist()))

    def __call__(self, texts: Sequence[str]) -> Features:
        counts = np.stack([self.count(text) for text in texts])
        values = np.sign(counts) * (1 + np.log(np.maximum(np.abs(counts), 1))) * (counts != 0)
        values = values * np.asarray(self.rarity) if self.rarity else values
        values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
        pooled = torch.from_numpy(values).float()
        return Features(pooled, pooled[:, None], None)

    def count(self, text: str) -> np.ndarray:
        """[size]: signed counts of words and pairs."""
        words = _WORD.findall(text.lower())
        counts = np.zeros(self.size)
        for term in (*words, *(f"{one} {two}" for one, two in pairwise(words))):
            number = _hash(term)
            counts[(number >> 1) % self.size] += 1 - 2 * (number & 1)
        return counts


@lru_cache(maxsize=1 << 18)
def _hash(term: str) -> int:
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=8).digest(), "big")
