"""Nothing is hidden: for models that learn from what they see, such as a visual tokenizer."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor

from unseen.contract import Mask, Metadata, Units


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """Every unit that exists is visible and none is a target; losses are taken on visible units."""

    hides: ClassVar[bool] = False

    def __call__(self, units: Units, key: Int64[Tensor, "B"], metadata: Metadata) -> Mask:
        return Mask(units.valid, torch.zeros_like(units.valid))
