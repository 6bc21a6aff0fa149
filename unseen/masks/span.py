"""Runs of neighbours in a row of units: spans of geometric length (SpanBERT: Joshi et al., TACL 2020, section 3.1).

The published sampler cuts lengths at 10 and starts spans inside the row only, so that its ends are hidden less often.
Here spans may hang over the ends, all units are covered nearly equally often, and the last is cut to the exact count.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from unseen.contract import Mask, Metadata, Units
from unseen.errors import UnseenError
from unseen.masks.choose import choose, counts
from unseen.masks.word import hide_words, words_of
from unseen.randomness import uniform


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Spans over pieces (exact count), or over whole words (`WholeWord`'s count)."""

    ratio: float = 0.15  # share of the valid units that is hidden
    mean_length: float = 3.0  # of a span, in pieces or in words
    words: bool = False  # spans are made of whole words

    def __post_init__(self) -> None:
        if not (self.mean_length >= 1 and math.isfinite(self.mean_length)):
            raise UnseenError(f"Span: mean_length is {self.mean_length}", "a span has at least one unit")

    @property
    def whole_words(self) -> bool:
        return self.words

    @property
    def even_coverage(self) -> bool:
        return not self.words

    def __call__(self, units: Units, key: Int64[Tensor, "B"], metadata: Metadata) -> Mask:
        if units.grid is not None and len(units.grid) > 1:
            raise UnseenError(f"units on grid {units.grid}", "spans need units in a row", "use Block on a 2-D grid")
        if not self.words:
            return choose(-self.rank(units.valid, key), units.valid, *counts(units.valid, self.ratio))
        word = words_of(units)
        blank = torch.zeros(len(word), 2 * word.shape[1], dtype=torch.bool, device=word.device)
        exists = blank.scatter(1, word.masked_fill(~units.valid, 0), True)
        exists[:, 0] = ((word == 0) & units.valid).any(dim=1)
        return hide_words(self.rank(exists, key), word, units.valid, self.ratio, key)

    def rank(self, exists: Bool[Tensor, "B N"], key: Int64[Tensor, "B"]) -> Float64[Tensor, "B N"]:
        """Lower is hidden earlier: which span covers a unit first; within one, in line; units that none covers last.

        Spans run over those that exist, as if nothing else stood between them.
        """
        n_units = exists.shape[1]
        n_spans = math.ceil(4 * n_units / self.mean_length)  # four deep, then noise for what is not covered
        long, start = uniform(key, 2 * n_spans).split(n_spans, dim=1)
        stop = math.log1p(-1 / self.mean_length) if self.mean_length > 1 else -math.inf
        length = 1 + (torch.log1p(-long) / stop).floor()
        n_exist = exists.sum(dim=1, keepdim=True)
        length = length.minimum(n_exist.clamp(min=1))
        first = torch.floor(start * (n_exist + length - 1)) - length + 1  # every offset that touches the row
        place = exists.cumsum(dim=1) - 1
        inside = (place[:, None] >= first[..., None]) & (place[:, None] < (first + length)[..., None])
        covered = inside.any(dim=1)
        span = torch.where(covered, inside.byte().argmax(dim=1), n_spans)
        line = place / max(n_units, 1)
        line = torch.where(uniform(key ^ 2, 1) > 0.5, line, 1 - line) / 2  # the last span is cut at either end
        return span + torch.where(covered, line, uniform(key ^ 3, n_units))
