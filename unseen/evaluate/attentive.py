"""The attentive probe: one learned query pools the frozen units of a frame by cross-attention (V-JEPA, 2024, app. D).

What a linear probe on the mean of the units cannot see, such as a small thing in one corner, this one can.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unseen.evaluate.folds import shuffled
from unseen.evaluate.linear import Examples, Score, choose, class_weights
from unseen.evaluate.probes import Attentive
from unseen.models.blocks import CrossBlock
from unseen.models.initialise import initialise

EPS = 1e-6
CHUNK = 256  # frames that are pooled at once


class AttentivePool(nn.Module):
    """A query [1, 1, D] through one cross-attention block over the units, then a linear map to the classes."""

    def __init__(self, width: int, heads: int, n_classes: int):
        super().__init__()
        heads = next(n for n in range(min(heads, width), 0, -1) if width % n == 0)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.block = CrossBlock(width, heads, 4.0, EPS, width)
        self.head = nn.Linear(width, n_classes)

    def forward(self, units: Float[Tensor, "B N D"]) -> Float[Tensor, "B 1 K"]:
        return self.head(self.block(self.cls_token.expand(len(units), -1, -1), self.norm(units)))


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained pool with the standardisation of the frames that it learned from."""

    mean: Float[Tensor, "D"]
    scale: Float[Tensor, "D"]
    pool: AttentivePool
    chosen: float  # the learning rate

    @torch.no_grad()
    def __call__(self, x: Float[Tensor, "F N D"]) -> Float[Tensor, "F 1 K"]:
        return torch.cat([self.pool((part.float() - self.mean) * self.scale) for part in x.split(CHUNK)])


def fit_attentive(examples: Examples, tau: float, score: Score, *, probe: Attentive, seed: int) -> Fitted:
    """Train on units [F, N, D] against one class a frame [F, 1, K]; of several rates, choose on inner folds."""
    best = 0
    if len(probe.lrs) > 1:

        def candidates(out: int) -> Iterator[Fitted]:
            rest = examples.inside(examples.fold != out)
            return (train(rest, lr, probe, seed) for lr in probe.lrs)

        best = choose(examples, candidates, score)
    return train(examples, probe.lrs[best], probe, seed)


def train(examples: Examples, lr: float, probe: Attentive, seed: int) -> Fitted:
    """AdamW, cosine to zero without warm-up; weights and the order of frames follow from the seed."""
    x, h = examples.x.float(), examples.h[:, 0]
    mean, std = x.mean(dim=(0, 1)), x.std(dim=(0, 1), correction=0)
    varies = std > 1e-5 * (mean.abs() + std) + 1e-12
    scale = torch.where(varies, 1 / std.where(varies, torch.ones_like(std)), 0)
    pool = initialise(AttentivePool(x.shape[2], probe.heads, h.shape[1]), seed)
    optimiser = torch.optim.AdamW(pool.parameters(), lr=lr, weight_decay=probe.weight_decay)
    weight = class_weights(examples.h, probe.tau)
    parts = -(-len(x) // probe.batch)
    for step in range(probe.epochs * parts):
        order = torch.from_numpy(shuffled(len(x), seed, f"attentive {step // parts}"))
        own = order.tensor_split(parts)[step % parts]
        for group in optimiser.param_groups:
            group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / (probe.epochs * parts)))
        target = h[own] * weight
        loss = -(target * pool((x[own] - mean) * scale)[:, 0].log_softmax(dim=1)).sum() / target.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return Fitted(mean, scale, pool.eval().requires_grad_(False), lr)
