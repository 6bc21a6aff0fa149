"""Whole words: the pieces of a word are hidden together or not at all (whole word masking of BERT, May 2019).

A hidden piece beside its visible rest is guessed from the spelling; a hidden word has to be guessed from its sentence.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from unseen.contract import Mask, Metadata, Units
from unseen.errors import UnseenError
from unseen.masks.choose import choose, counts
from unseen.randomness import uniform


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeWord:
    """Words in random order, each hidden unless it would exceed the count, until no further one fits.

    So the count of hidden units is never above round(n * ratio), but for a row whose shortest word is longer: that
    word is hidden. A row that is a single word cannot keep it whole: then the count of its pieces is hidden.
    """

    ratio: float = 0.15  # share of the valid units that is hidden

    whole_words: ClassVar[bool] = True
    even_coverage: ClassVar[bool] = False  # a long word fits less often than a short one

    def __call__(self, units: Units, key: Int64[Tensor, "B"], metadata: Metadata) -> Mask:
        word = words_of(units)
        n_words = 2 * word.shape[1]
        return hide_words(uniform(key, n_words), word, units.valid, self.ratio, key)


def words_of(units: Units) -> Int64[Tensor, "B N"]:
    """The word of each unit, from 0; a unit of no word is a word of its own, numbered from N. UnseenError without."""
    if units.group is None:
        raise UnseenError("the units have no groups", "whole words need the word of each piece", "use Random or Span")
    place = torch.arange(units.group.shape[1], device=units.group.device)
    group = units.group.expand(units.valid.shape)
    if bool((group >= len(place)).any()):
        raise UnseenError(f"a word is numbered {int(group.max())} among {len(place)} units", "words count from 0")
    return torch.where(group < 0, len(place) + place, group)


def hide_words(
    score: Float64[Tensor, "B W"],
    word: Int64[Tensor, "B N"],
    valid: Bool[Tensor, "B N"],
    ratio: float,
    key: Int64[Tensor, "B"],
) -> Mask:
    """Hide words in rising order of their score, skipping what would exceed the count; all of a row's rest is visible.

    A greedy pass over whole words, after which none that is left would fit.
    """
    n_visible, n_target = counts(valid, ratio)
    size = torch.zeros_like(score, dtype=torch.long).scatter_add_(1, word, valid.long())
    order = score.masked_fill(size == 0, torch.inf).argsort(dim=1, stable=True)
    n_words = (size > 0).sum(dim=1)
    hidden, left = torch.zeros_like(size, dtype=torch.bool), n_target.clone()
    for place in range(int(n_words.max())):
        one = order[:, place : place + 1]
        length = size.gather(1, one)[:, 0]
        fits = (length > 0) & (length <= left)
        hidden.scatter_(1, one, fits[:, None])
        left = left - length * fits
        if not left.any():
            break
    shortest = size.masked_fill(size == 0, 2**62).argmin(dim=1, keepdim=True)
    none = ~hidden.any(dim=1) & (n_words > 1)
    hidden |= none[:, None] & torch.zeros_like(hidden).scatter_(1, shortest, True)
    target = hidden.gather(1, word) & valid
    pieces = choose(uniform(key ^ 1, valid.shape[1]), valid, n_visible, n_target).target
    target = torch.where((n_words == 1)[:, None], pieces, target)
    return Mask(valid & ~target, target)
