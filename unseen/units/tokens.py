"""Tokens of a vocabulary: one unit is one piece of a text."""

from dataclasses import dataclass

import torch
from jaxtyping import Int64
from torch import Tensor

from unseen.contract import Clip, Units
from unseen.errors import UnseenError

PADDING = -1  # of `clip["token"]`; as content of a unit, which has to be an id, it becomes 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """One unit is a token: its content is an id, its centre its place in the row, its group the word it is a piece of.

    The token at index i has its centre at i + 0.5. Tokens of no word (separators) are of importance 0: never hidden.
    """

    @property
    def spacing(self) -> tuple[float, ...]:
        return (1.0,)

    def cut(self, clip: Clip) -> tuple[Int64[Tensor, "B N"], Units]:
        """The ids, and where they are; UnseenError where the clip holds no tokens."""
        if "token" not in clip:
            raise UnseenError("the clip holds no tokens", "tokens are cut from text", "use the view Passages")
        token = clip["token"]
        n_units = token.shape[1]
        centre = torch.arange(n_units, device=token.device)[None, :, None] + 0.5
        valid = token != PADDING
        group = clip.get("token_group")
        importance = torch.ones(1, n_units, device=token.device) if group is None else (group >= 0).float()
        return token.clamp(min=0), Units(centre, valid, importance, None, group)

    def join(self, values: Int64[Tensor, "B N"], units: Units) -> Int64[Tensor, "B N"]:
        """The tokens of the clip; the exact inverse of `cut`."""
        return torch.where(units.valid, values, PADDING)
