"""Token ids under cross-entropy (BERT: Devlin et al., NAACL 2019), as logits of the whole vocabulary."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from unseen.contract import Clip, Units
from unseen.errors import UnseenError

CHUNK = 2**23  # logits that are reduced at once


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenIds:
    """Predict which token of a vocabulary stands in a unit: [B, N] ids, of which each owes `vocabulary` logits."""

    vocabulary: int  # ids run from 0 to this
    smoothing: float = 0.0  # share of the truth that is spread over all tokens alike

    suits: ClassVar[str] = "text features for classification and search; fine-tuning on reports"
    risk: ClassVar[str] = "frequent words and templates are learned first; the hard words are rare in the loss"

    def __post_init__(self) -> None:
        if self.vocabulary < 2 or not 0 <= self.smoothing < 1:
            raise UnseenError(
                f"TokenIds: vocabulary {self.vocabulary}, smoothing {self.smoothing}",
                "a vocabulary has two tokens or more, smoothing is a share below 1",
            )

    def make(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip) -> Int64[Tensor, "B N"]:
        """The ids themselves; 0 where there is padding, which weighs nothing.

        UnseenError for units that are no ids, and for ids beyond the vocabulary.
        """
        if values.ndim != 2 or values.is_floating_point():
            raise UnseenError(f"TokenIds got units {tuple(values.shape[2:])}", "it needs token ids", "use Tokens")
        if int(values.max()) >= self.vocabulary:
            raise UnseenError(
                f"token {int(values.max())} in a vocabulary of {self.vocabulary}",
                "the tokenizer and the recipe agree on the vocabulary",
                "set the vocabulary of target, stem and corruption to that of the tokenizer",
            )
        return values

    def weight(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip) -> Float[Tensor, "B N"]:
        """1 where there is a token, 0 at padding."""
        return units.valid.float()

    def prediction(self, target: Shaped[Tensor, "B N *T"]) -> tuple[int, ...]:
        return (self.vocabulary,)

    def loss(self, prediction: Shaped[Tensor, "B K V"], target: Int64[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """Cross-entropy of each unit, nats; some units at a time, so that no second copy of all logits is made.

        UnseenError for a prediction that is not one logit for each token.
        """
        if prediction.shape != (*target.shape, self.vocabulary):
            raise UnseenError(
                f"a prediction of shape {tuple(prediction.shape)} for {tuple(target.shape)} ids",
                f"each owes {self.vocabulary} logits",
            )
        if not target.numel():
            return prediction.sum(dim=-1)
        parts = max(1, CHUNK // self.vocabulary)
        pairs = zip(prediction.flatten(0, 1).split(parts), target.flatten().split(parts), strict=True)
        return torch.cat([self.cross_entropy(logits, ids) for logits, ids in pairs]).view_as(target)

    def cross_entropy(self, logits: Float[Tensor, "n V"], ids: Int64[Tensor, "n"]) -> Float[Tensor, "n"]:
        """The loss of each row, nats, its truth smoothed."""
        expected = logits.gather(1, ids[:, None])[:, 0]
        if self.smoothing:
            expected = (1 - self.smoothing) * expected + self.smoothing * logits.mean(dim=1)
        return logits.logsumexp(dim=1) - expected
