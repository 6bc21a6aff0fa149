"""The future: see the early part of a clip, leave a gap, predict what comes after it.

Neighbouring frames are nearly equal, so without a gap the last visible frame is most of the answer.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Int64
from torch import Tensor

from unseen.contract import Mask, Metadata, Units
from unseen.errors import UnseenError
from unseen.masks.choose import choose

_SLACK_S = 1e-4  # times are float32 seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Future:
    """Visible: the first `observed_s` of a clip; guard: the next `gap_s`; target: the rest. Nothing is drawn.

    Needs units on a [slots, rows, columns] grid with times in `centre[..., 0]`, seconds; a slot whose centre lies in a
    part belongs to it. A sample of two units or more keeps one of each, the first and the last, whatever their
    times. UnseenError where there is no such grid, or where a clip ends before anything is left to predict.
    """

    observed_s: float = 1.0  # from the clip's first slot on
    gap_s: float = 0.0

    drawn: ClassVar[bool] = False  # the mask is where units are: no key moves it
    even_coverage: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not (self.observed_s > 0 and self.gap_s >= 0 and math.isfinite(self.observed_s + self.gap_s)):
            raise UnseenError(
                f"Future: observed_s {self.observed_s}, gap_s {self.gap_s}",
                "seconds; something is observed, gap from 0",
            )

    def __call__(self, units: Units, key: Int64[Tensor, "B"], metadata: Metadata) -> Mask:
        if units.grid is None or len(units.grid) != 3:
            raise UnseenError(
                f"units on grid {units.grid}", "a future needs a 3-D grid (slots, rows, columns)", "use clips of frames"
            )
        time_s = units.centre[..., 0]
        time_s = (time_s - time_s.amin(dim=1, keepdim=True)).expand(units.valid.shape)
        begin_s = self.observed_s + self.gap_s - _SLACK_S
        if bool((time_s.amax(dim=1) < begin_s).any()):
            raise UnseenError(
                f"a clip whose last slot is {float(time_s.amax(dim=1).min()):.3g} s after its first",
                f"observed_s {self.observed_s} and gap_s {self.gap_s} leave nothing to predict",
                "take longer clips, or observe less",
            )
        n_valid = units.valid.sum(dim=1)
        early = (units.valid & (time_s < self.observed_s - _SLACK_S)).sum(dim=1)
        late = (units.valid & (time_s >= begin_s)).sum(dim=1)
        n_visible = early.clamp(min=1).minimum((n_valid - 1).clamp(min=1)).minimum(n_valid)
        n_target = late.clamp(min=1).minimum((n_valid - 1).clamp(min=0))
        return choose(time_s, units.valid, n_visible, n_target)
