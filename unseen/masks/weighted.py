"""Sparse structure more often: an exact count, drawn by the importance of units, with known inclusion probabilities.

Keys log(w) + Gumbel noise, the largest K hidden (Efraimidis and Spirakis, 2006; Kool et al., ICML 2019). The
probability that a unit is hidden follows from sum(1 - exp(-w tau)) = K (exponential clocks stopped at time tau), to
about 0.001 at 1000 units. Dividing a unit's loss by it makes the mean over hidden units an unbiased estimate over all
units; not doing so keeps the emphasis. Both are worth a log line.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from unseen.contract import Mask, Metadata, Units
from unseen.errors import UnseenError
from unseen.masks.choose import choose, counts
from unseen.randomness import gumbel

_BISECTIONS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighted:
    """Hide round(n * ratio) units, a unit of importance w about w times as eagerly as one of importance 1.

    At high ratios even w = 3 hides a unit nearly always, and it is never context: so the probability to be hidden is
    held between `least` and `most`, and importance says only how the rest is shared out. `Mask.inclusion` holds the
    probabilities. Importance 0: hidden last.
    """

    ratio: float = 0.75  # share of the valid units that is hidden
    most: float = 0.9  # no unit is hidden with a higher probability (than this or than `ratio`)
    least: float = 0.05  # nor with a lower one

    even_coverage: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.least <= self.ratio <= self.most < 1:
            raise UnseenError(
                f"Weighted: least {self.least}, ratio {self.ratio}, most {self.most}",
                "probabilities that rise in this order, between 0 and 1",
            )

    def __call__(self, units: Units, key: Int64[Tensor, "B"], metadata: Metadata) -> Mask:
        n_visible, n_target = counts(units.valid, self.ratio)
        inclusion = inclusion_probability(
            units.importance.expand(units.valid.shape), units.valid, n_target, self.least, self.most
        )
        weight = -torch.log1p(-inclusion)  # clocks that all stop at time 1
        mask = choose(weight.log() + gumbel(key, weight.shape[1]), units.valid, n_visible, n_target)
        return Mask(mask.visible, mask.target, inclusion.float())


def inclusion_probability(
    importance: Float[Tensor, "B N"],
    valid: Bool[Tensor, "B N"],
    count: Int64[Tensor, "B"],
    least: float = 0.0,
    most: float = 1.0,
) -> Float[Tensor, "B N"]:
    """min(max(1 - exp(-importance * tau), least), most) in float64, tau by bisection so that a row sums to its count.

    Units of importance 0, and those that do not exist, have probability 0; where the count asks for more than `most`
    of every unit, or for less than `least`, that bound gives way.
    """
    weight = torch.where(valid, importance, 0).double().clamp(min=0)
    weight = weight / weight.amax(dim=1, keepdim=True).clamp(min=1e-300)
    can = weight > 0
    share = count.double() / can.sum(dim=1).clamp(min=1)
    low, high = share.clamp(max=least)[:, None], share.clamp(min=most, max=1 - 1e-9)[:, None]

    def probability(log_tau: Tensor) -> Tensor:
        rising = -torch.expm1(-weight * log_tau.exp()[:, None])
        return torch.where(can, rising.maximum(low).minimum(high), 0)

    below, above = share.new_full(share.shape, -30.0), share.new_full(share.shape, 30.0)
    for _ in range(_BISECTIONS):
        middle = (below + above) / 2
        short = probability(middle).sum(dim=1) < count
        below, above = torch.where(short, middle, below), torch.where(short, above, middle)
    return probability((below + above) / 2)
