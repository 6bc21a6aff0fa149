"""k nearest neighbours on frozen features: cosine, votes exp(s / T) (Wu et al., CVPR 2018; DINO's T = 0.07)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from unseen.errors import UnseenError
from unseen.evaluate.linear import Examples, Score, choose

KS = (1, 5, 10, 20, 50, 100, 200)


@dataclass(frozen=True, slots=True)
class Neighbours:
    mean: Float[Tensor, "D"]
    scale: Float[Tensor, "D"]
    bank: Float[Tensor, "n D"]
    label: Int64[Tensor, "n"]
    n_classes: int
    chosen: int  # k
    temperature: float

    def __call__(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... K"]:
        query = F.normalize((x.float() - self.mean) * self.scale, dim=-1)
        return vote(query @ self.bank.T, self.label, self.n_classes, self.chosen, self.temperature)


def vote(
    similarity: Float[Tensor, "... n"], label: Int64[Tensor, "n"], n_classes: int, k: int, temperature: float = 0.07
) -> Float[Tensor, "... K"]:
    """Sum of exp((s - largest s) / T) of the k most similar, per class."""
    top, place = similarity.topk(min(k, similarity.shape[-1]), dim=-1)
    weight = ((top - top[..., :1]) / temperature).exp()
    votes = weight.new_zeros(*similarity.shape[:-1], n_classes)
    return votes.scatter_add(-1, label[place], weight)


def fit_neighbours(
    examples: Examples, tau: float, score: Score, ks: Sequence[int] = KS, temperature: float = 0.07
) -> Neighbours:
    """Standardise by training statistics, choose k on the inner folds; `tau` has no meaning here and must be 0."""
    if tau != 0:
        raise UnseenError(f"kNN with tau {tau}", "its votes have no class weights", "set tau=0")
    fits = [k for k in ks if k <= len(examples.x)]
    best = 0
    if len(fits) > 1:

        def candidates(out: int) -> Iterator[Neighbours]:
            bank = _bank(examples.inside(examples.fold != out))
            return (replace(bank, chosen=k, temperature=temperature) for k in fits)

        best = choose(examples, candidates, score)
    return replace(_bank(examples), chosen=fits[best], temperature=temperature)


def _bank(examples: Examples) -> Neighbours:
    x = examples.x.flatten(0, 1).float()
    mean, std = x.mean(dim=0), x.std(dim=0, correction=0)
    scale = torch.where(std > 1e-12, 1 / std.clamp(min=1e-12), 0)
    label = examples.h.flatten(0, 1).argmax(dim=1)
    return Neighbours(mean, scale, F.normalize((x - mean) * scale, dim=1), label, examples.h.shape[-1], 1, 0.07)
