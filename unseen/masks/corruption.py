"""What of the hidden units the model reads all the same: content that is changed, and a declared share that is not."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from unseen.contract import Mask
from unseen.errors import UnseenError
from unseen.masks.choose import choose
from unseen.randomness import normal, uniform, words

_REPLACE, _NOISE = 0x2E91, 0x4D5B  # further draws of a sample's key


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepOrReplace:
    """BERT's rule (Devlin et al., NAACL 2019, section 3.1): of the targets most stay hidden, some are read as they are,
    some as a random token.

    The counts are exact for each sample: round(n * keep) and round(n * replace), the rest is hidden. Random ids run
    over ordinary tokens only (published collators may draw padding and separators) and do not depend on the true id.
    """

    vocabulary: int  # ids run from 0 to this
    hide: float = 0.8
    keep: float = 0.1  # share of the targets that the model reads as they are
    replace: float = 0.1
    special: int = 5  # ids below are padding, separators and the like

    def __post_init__(self) -> None:
        shares = (self.hide, self.keep, self.replace)
        if not (all(0 <= share <= 1 for share in shares) and abs(sum(shares) - 1) < 1e-6):
            raise UnseenError(f"KeepOrReplace: hide, keep, replace are {shares}", "they are shares that sum to 1")
        if not 0 <= self.special < self.vocabulary:
            raise UnseenError(f"KeepOrReplace: {self.special} of {self.vocabulary} ids are special", "some are not")

    @property
    def kept(self) -> float:
        """The share of the targets whose own content the model may read."""
        return self.keep

    def __call__(
        self, values: Shaped[Tensor, "B N *P"], mask: Mask, key: Int64[Tensor, "B"]
    ) -> tuple[Shaped[Tensor, "B N *P"], Mask]:
        if values.ndim != 2 or values.is_floating_point():
            raise UnseenError(f"KeepOrReplace got units {tuple(values.shape[2:])}", "it replaces ids", "use Noise")
        score, pick = words(key ^ _REPLACE, 2 * values.shape[1]).split(values.shape[1], dim=1)
        count = mask.target.sum(dim=1)
        n_keep, n_replace = (count * self.keep).round().long(), (count * self.replace).round().long()
        replaced, kept, _ = choose(score, mask.target, n_replace, n_keep)
        drawn = self.special + ((pick.long() + 2**31) * (self.vocabulary - self.special) >> 32)
        visible = mask.visible | kept | replaced
        return torch.where(replaced, drawn, values), mask._replace(visible=visible)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """The denoising autoencoder's corruption (Vincent et al., JMLR 2010, section 3.1), of the hidden units.

    They become visible with changed content and stay targets, clean. kind="masking": a share `amount` of their values
    is 0; "gaussian": each value moves by a normal number of that standard deviation; "salt_pepper": a share `amount` of
    the values is one of the two `extremes`. In normalised units. Emphasis is full: only these units are scored.
    """

    kind: Literal["masking", "gaussian", "salt_pepper"] = "masking"
    amount: float = 0.5
    extremes: tuple[float, float] = (-2.0, 2.0)  # of salt and pepper

    def __post_init__(self) -> None:
        if not self.amount > 0 or (self.kind != "gaussian" and self.amount > 1):
            raise UnseenError(f"Noise: amount is {self.amount}", "above 0; as a share of the values at most 1")

    @property
    def kept(self) -> float:
        """The share of the targets whose own content the model may read, in part."""
        return 1.0 if self.kind == "gaussian" or self.amount < 1 else 0.0

    def __call__(
        self, values: Shaped[Tensor, "B N *P"], mask: Mask, key: Int64[Tensor, "B"]
    ) -> tuple[Shaped[Tensor, "B N *P"], Mask]:
        if not values.is_floating_point():
            raise UnseenError("Noise got ids", "it changes numbers", "use KeepOrReplace")
        flat = values.flatten(2) if values.ndim > 2 else values[..., None]
        noisy = self.corrupted(flat, key ^ _NOISE)
        changed = torch.where(mask.target[..., None], noisy, flat).view_as(values)
        return changed, mask._replace(visible=mask.visible | mask.target)

    def corrupted(self, flat: Float[Tensor, "B N D"], key: Int64[Tensor, "B"]) -> Float[Tensor, "B N D"]:
        """Every unit with noise."""
        count = flat[0].numel()
        if self.kind == "gaussian":
            return flat + self.amount * normal(key, count).view_as(flat).to(flat.dtype)
        hit = (uniform(key, count) < self.amount).view(flat.shape)
        if self.kind == "masking":
            return flat.masked_fill(hit, 0.0)
        low, high = self.extremes
        coin = (uniform(key ^ 1, count) < 0.5).view(flat.shape)
        return torch.where(hit, torch.where(coin, low, high).to(flat.dtype), flat)
