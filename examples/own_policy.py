"""A mask policy of your own, and a recipe that uses it. Run: python examples/own_policy.py"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from jaxtyping import Int64
from torch import Tensor

import unseen
from unseen.contract import Mask, Metadata, Units
from unseen.masks.choose import choose, counts
from unseen.randomness import uniform
from unseen.recipes.apron import apron


@dataclass(frozen=True, slots=True, kw_only=True)
class Stripes:
    """Hide whole columns: what stands there must be told from left and right."""

    ratio: float = 0.6

    def __call__(self, units: Units, key: Int64[Tensor, "B"], metadata: Metadata) -> Mask:
        rows, columns = units.grid
        score = uniform(key, columns).repeat(1, rows)
        return choose(score, units.valid, *counts(units.valid, self.ratio))


if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp())
    unseen.world(folder / "store", logs=4, frames=6)
    recipe = replace(apron(), mask=Stripes())
    unseen.pretrain(recipe, data=folder / "store", out=folder / "run", set=("training.steps=40", "training.warmup=4"))
    print(unseen.load_encoder(folder / "run"))
