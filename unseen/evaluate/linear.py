"""Linear classifiers on frozen features: ridge in closed form, and soft-label logistic regression.

Both standardise by training statistics, weigh classes, and choose their penalty on inner folds of training LOGS by the
probe's own metric, at the level of units. No test log is ever seen here.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

RIDGE_ALPHAS = tuple(10.0**e for e in range(-4, 5))  # times the summed weight of the units
LOGISTIC_L2 = (1e-3, 1e-4, 1e-5)
CHUNK = 32_768  # units that are converted to float64 at a time

Model = Callable[..., Any]  # features [*B, D] -> scores [*B, K]
Score = Callable[[np.ndarray], float]  # confusion of units [K, K], soft counts -> the higher the better


class Examples(NamedTuple):
    """Labelled units of some frames. A frame-level task has one unit a frame."""

    x: Float[Tensor, "F N D"]
    h: Float[Tensor, "F N K"]  # share of the unit's area that is class k; the rest is unlabelled
    fold: np.ndarray  # [F] inner fold of each frame

    def inside(self, keep: np.ndarray) -> "Examples":
        """Those of the frames in `keep` [F] bool."""
        place = torch.from_numpy(np.flatnonzero(keep))
        return Examples(self.x[place], self.h[place], self.fold[keep])


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear map, as a probe fits it."""

    weight: Float[Tensor, "D K"]
    bias: Float[Tensor, "K"]
    chosen: float  # the penalty

    def __call__(self, x: Float[Tensor, "... D"]) -> Float[Tensor, "... K"]:
        return x.float() @ self.weight + self.bias


class Moments(NamedTuple):
    """Weighted sums over units, float64: all that ridge needs; those of different frames add up."""

    n: Tensor
    x: Tensor  # [D]
    y: Tensor  # [K]
    xx: Tensor  # [D, D]
    xy: Tensor  # [D, K]

    def __add__(self, other: "Moments") -> "Moments":  # type: ignore[override]
        return Moments(*(a + b for a, b in zip(self, other, strict=True)))


def class_weights(h: Float[Tensor, "F N K"], tau: float) -> Float[Tensor, "K"]:
    """frequency^-tau, scaled so that the labelled area weighs 1 on average; an absent class weighs 0."""
    share = h.double().sum(dim=(0, 1))
    share = share / share.sum()
    weight = torch.where(share > 0, share.clamp(min=1e-12) ** -tau, 0)
    return (weight / (weight * share).sum()).float()


def moments(x: Float[Tensor, "F N D"], h: Float[Tensor, "F N K"], class_weight: Float[Tensor, "K"]) -> Moments:
    """Stream the sums of w, w x, h' , w x x' and x h' with h' = h * class_weight and w = sum_k h'_k."""
    x, h = x.flatten(0, 1), h.flatten(0, 1)
    d, k = x.shape[1], h.shape[1]
    sums = Moments(*(torch.zeros(shape, dtype=torch.float64) for shape in ((), (d,), (k,), (d, d), (d, k))))
    for start in range(0, len(x), CHUNK):
        part, y = x[start : start + CHUNK].double(), h[start : start + CHUNK].double() * class_weight
        w = y.sum(dim=1)
        sums += Moments(w.sum(), w @ part, y.sum(dim=0), part.T @ (part * w[:, None]), part.T @ y)
    return sums


def solve(sums: Moments, alphas: Sequence[float]) -> Iterator[Linear]:
    """Ridge with unpenalised bias on standardised columns, one solution per alpha from one eigendecomposition.

    Minimises sum w |y/w - f(x)|^2 + alpha * sum(w) * |B|^2. A constant column gets no weight.
    """
    mean, y = sums.x / sums.n, sums.y / sums.n
    covariance = sums.xx / sums.n - torch.outer(mean, mean)
    std = covariance.diagonal().clamp(min=0).sqrt()
    varies = std > 1e-6 * (mean.abs() + std) + 1e-12
    scale = torch.where(varies, 1 / std.where(varies, torch.ones_like(std)), 0)
    eigenvalue, vector = torch.linalg.eigh(covariance * torch.outer(scale, scale))
    rotated = vector.T @ ((sums.xy / sums.n - torch.outer(mean, y)) * scale[:, None])
    for alpha in alphas:
        weight = vector @ (rotated / (eigenvalue.clamp(min=0) + alpha)[:, None]) * scale[:, None]
        yield Linear(weight.float(), (y - mean @ weight).float(), alpha)


def fit_ridge(examples: Examples, tau: float, score: Score, alphas: Sequence[float] = RIDGE_ALPHAS) -> Linear:
    """Choose alpha on the inner folds, then solve on all of them; a single alpha needs no choice and no folds."""
    weight = class_weights(examples.h, tau)
    parts = {f: moments(*examples.inside(examples.fold == f)[:2], weight) for f in np.unique(examples.fold)}
    best = 0
    if len(alphas) > 1:
        best = choose(examples, lambda out: solve(_sum(p for f, p in parts.items() if f != out), alphas), score)
    return next(solve(_sum(parts.values()), [alphas[best]]))


def fit_logistic(
    examples: Examples,
    tau: float,
    score: Score,
    l2s: Sequence[float] = LOGISTIC_L2,
    iterations: int = 40,
    inner_stride: int = 2,
) -> Linear:
    """Choose the penalty on the inner folds (on every `inner_stride`-th unit), then fit on all units."""
    weight = class_weights(examples.h, tau)
    best = 0
    if len(l2s) > 1:
        thin = Examples(examples.x[:, ::inner_stride], examples.h[:, ::inner_stride], examples.fold)
        best = choose(thin, lambda out: descend(thin.inside(thin.fold != out), weight, l2s, iterations), score)
    return next(descend(examples, weight, [l2s[best]], iterations))


def choose(examples: Examples, models: Callable[[int], Iterable[Model]], score: Score) -> int:
    """Which candidate is best over the inner folds; `models(fold)` are all candidates, fitted without that fold."""
    counts: list[np.ndarray] = []
    for fold in np.unique(examples.fold).tolist():
        held = examples.inside(examples.fold == fold)
        own = [unit_confusion(model(held.x), held.h) for model in models(fold)]
        counts = [a + b for a, b in zip(counts, own, strict=True)] if counts else own
    return best_of([score(c) for c in counts])


def descend(
    examples: Examples, class_weight: Float[Tensor, "K"], l2s: Sequence[float], iterations: int
) -> Iterator[Linear]:
    """L-BFGS on the weighted soft-label cross-entropy per unit + l2 / 2 |W|^2, from zero for every l2."""
    x, h = examples.x.flatten(0, 1), examples.h.flatten(0, 1) * class_weight
    labelled = h.sum(dim=1) > 0
    x, h = x[labelled].float(), h[labelled]
    mean, std = x.mean(dim=0), x.std(dim=0, correction=0)
    varies = std > 1e-5 * (mean.abs() + std) + 1e-12
    scale = torch.where(varies, 1 / std.where(varies, torch.ones_like(std)), 0)
    x = (x - mean) * scale
    unit, total = h.sum(dim=1, keepdim=True), h.sum()

    for l2 in l2s:
        parameter = torch.zeros(x.shape[1] + 1, h.shape[1])
        optimiser = torch.optim.LBFGS(
            [parameter], max_iter=iterations, history_size=10, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
        )

        def closure(l2: float = l2, parameter: Tensor = parameter) -> Tensor:
            logits = torch.addmm(parameter[-1], x, parameter[:-1])
            log_p = logits.log_softmax(dim=1)
            residual = (log_p.exp() * unit - h) / total
            parameter.grad = torch.cat([x.T @ residual + l2 * parameter[:-1], residual.sum(dim=0, keepdim=True)])
            return -(h * log_p).sum() / total + l2 / 2 * parameter[:-1].square().sum()

        optimiser.step(closure)
        weight = parameter[:-1] * scale[:, None]
        yield Linear(weight.clone(), parameter[-1] - mean @ weight, l2)


def unit_confusion(scores: Float[Tensor, "F N K"], h: Float[Tensor, "F N K"]) -> np.ndarray:
    """Soft confusion [K, K] at the level of units: the area of class c under units that were called k."""
    n_classes = h.shape[-1]
    called = scores.argmax(dim=-1).flatten()
    counts = torch.zeros(n_classes, n_classes, dtype=torch.float64)
    return counts.index_add(0, called, h.flatten(0, 1).double()).T.numpy()


def best_of(scores: Sequence[float]) -> int:
    """The best; among equals the middle one, so that a flat criterion does not push the penalty to an end."""
    top = np.flatnonzero(np.asarray(scores) >= max(scores) - 1e-12)
    return int(top[(len(top) - 1) // 2])


def _sum(parts: Iterable[Moments]) -> Moments:
    first, *rest = parts
    for part in rest:
        first = first + part
    return first
