"""Target blocks and a context that never touches them: I-JEPA's masks (Assran et al., CVPR 2023, section 3) on images,
V-JEPA's (Bardes et al., 2024, section 3.2; V-JEPA 2) on clips, where a block spans all time slots.

Kept of the originals: rectangular target blocks of random area and aspect that may overlap, predicted from one context
block that is cut free of them; on clips the same places in every slot, with short-range samples (many small blocks)
and long-range ones (few large blocks) side by side.

Absent, by construction: blocks that never reach the last row and column; lists cut to the batch's smallest, which takes
the context's lower rows and a clip's last slots; one draw for both area and aspect; a target left inside the context
when retries run out; a least count that is one off and blocks that never span the grid.

Different: the number of blocks follows from their area and the exact count, and the last one is cut to it (I-JEPA's
settings give 3 to 6); targets are one set, their union, not one prediction pass a block; the context block wraps around
the border, so that every place is context equally often.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Int32, Int64
from torch import Tensor

from unseen.contract import Mask, Metadata, Units
from unseen.errors import UnseenError
from unseen.masks.choose import choose, choose_tubes, counts, grid_3d
from unseen.masks.rectangles import as_pair, covering_order
from unseen.randomness import words


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiBlock:
    """Hide `ratio` of the places as blocks, show `context` of them as one block, leave the rest as guard.

    A sample draws one entry of `area` for its blocks; its counts do not depend on which. I-JEPA: the defaults. V-JEPA:
    `MultiBlock(ratio=0.8, context=0.2, area=((0.15, 0.15), (0.7, 0.7)))`, short and long range in turn. Units on a grid
    of [rows, columns] or [slots, rows, columns], otherwise UnseenError. Counts are whole tubes.
    """

    ratio: float = 0.5  # share of the units that is predicted
    context: float = 0.4  # share of the units that is visible
    area: tuple[tuple[float, float], ...] = ((0.15, 0.2),)  # share of a slot that one block covers, smallest, largest
    aspect: tuple[float, float] = (0.75, 1.5)  # height over width, log-uniform

    whole_tubes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "area", tuple(as_pair(one, "MultiBlock: area") for one in self.area))
        object.__setattr__(self, "aspect", as_pair(self.aspect, "MultiBlock: aspect"))
        if not self.area or not all(0.005 <= low <= high <= 1 for low, high in self.area):
            raise UnseenError(f"MultiBlock: area is {self.area}", "pairs of rising shares of the grid, 0.005 to 1")
        if not 0 < self.aspect[0] <= self.aspect[1]:
            raise UnseenError(f"MultiBlock: aspect is {self.aspect}", "height over width, smallest and largest")
        if not (min(self.context, self.ratio) > 0 and self.ratio + self.context <= 1 + 1e-9):
            raise UnseenError(
                f"MultiBlock: ratio {self.ratio} and context {self.context}",
                "both are shares above 0 of the same units, together at most 1",
            )

    def __call__(self, units: Units, key: Int64[Tensor, "B"], metadata: Metadata) -> Mask:
        slots, *grid = grid_3d(units)
        rows, columns = grid
        left, n_target = counts(units.valid, self.ratio, whole=slots)
        n_visible = left.minimum(counts(units.valid, 1 - self.context, whole=slots)[0])
        exists = units.valid.unflatten(1, (slots, -1)).any(dim=1) if slots > 1 else units.valid
        n_cells = -(-n_target // slots)
        blocks = covering_order(key, (rows, columns), exists, n_cells, self.area, self.aspect)
        chosen = choose(blocks, exists, exists.sum(dim=1) - n_cells, n_cells).target
        # what belongs to the context is near its centre; what is a target lies behind all of that, in covering order
        score = torch.where(chosen, blocks.add_(2**30), _box_distance(key ^ 0xCE27, rows, columns))
        return choose_tubes(score, units, n_visible, n_target)


def _box_distance(key: Int64[Tensor, "B"], rows: int, columns: int) -> Int32[Tensor, "B C"]:
    """How large a block around a random centre must be to take each cell in, on a grid that wraps; below 2^29."""
    away = []
    for side, centre in zip((rows, columns), words(key, 2, bits=16).split(1, dim=1), strict=True):
        middle = (2 * torch.arange(side, device=key.device) + 1) * 2**15 // side
        away.append((middle.short() - centre).int().abs())  # 16 bits wrap as the grid does
    y, x = away[0][:, :, None], away[1][:, None, :]
    middle_out = (y + x).bitwise_right_shift_(4)  # along one side of the block
    return torch.maximum(y, x).mul_(2**13).add_(middle_out).flatten(1)
