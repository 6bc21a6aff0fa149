"""A model, a source and an objective that are small enough to train hundreds of times in a test."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from unseen.contract import Clip, MaskedModel
from unseen.masks.random import Random
from unseen.packing import gather, packing
from unseen.randomness import keys, uniform
from unseen.systems.objective import Objective, Term
from unseen.train.training import Training
from unseen.units.normalise import Fixed
from unseen.units.patches import Patches

GREY = Fixed(mean=(0.5,), std=(0.25,))


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """The patch itself; patches whose mean is dark count less, so that units do not all weigh the same."""

    suits = risk = "tests"

    def make(self, values, units, clip):
        return values.flatten(2)

    def weight(self, values, units, clip):
        return (values.flatten(2).mean(dim=2) > 0).float() + 0.25

    def prediction(self, target):
        return tuple(target.shape[2:])

    def loss(self, prediction, target):
        return (prediction - target).square().mean(dim=2)


class Tiny(MaskedModel):
    """Mean of the visible patches and the place of each target, through one hidden layer."""

    def __init__(self, width: int = 16, patch: int = 16):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.encoder = nn.Sequential(nn.Linear(patch, width), nn.GELU(), nn.LayerNorm(width))
        self.place = nn.Linear(2, width)
        self.head = nn.Linear(width, patch)
        for number, (name, parameter) in enumerate(self.named_parameters()):
            if name != "cls_token":
                draw = uniform(torch.tensor([number]), parameter.numel()).view_as(parameter).float()
                parameter.data = (draw - 0.5) * 0.5

    def forward(self, x_visible, visible_mask, target_mask, metadata=None):
        pooled = self.encoder(x_visible.flatten(2)).mean(dim=1, keepdim=True) + self.cls_token
        centre = metadata["centre"].expand(len(x_visible), -1, -1) / 16
        return {name: self.head(pooled + self.place(gather(centre, packing(m)))) for name, m in target_mask.items()}


class Memory:
    """Grey 16 x 16 noise with a gradient, in memory; the interface of ClipSource."""

    def __init__(self, n: int = 23, seed: int = 0, digest: str = "memory"):
        self.n, self.seed, self.digest = n, seed, digest

    def __len__(self) -> int:
        return self.n

    def batch(self, positions: np.ndarray) -> Clip:
        place = torch.from_numpy(np.asarray(positions))
        return self.frames(keys(self.seed, place, 0, "order") % self.n)

    def frames(self, indices, *, previous: bool = False, labels: bool = False) -> Clip:
        sample = torch.as_tensor(indices)
        noise = uniform(keys(1, sample, 0, "content"), 256).view(-1, 1, 16, 16) * 100
        image = (noise + torch.linspace(0, 150, 16)[:, None] * (sample % 3 / 2)[:, None, None, None]).byte()
        clip = Clip(image=image, sample_id=sample, log_id=[f"log-{s % 2}" for s in sample.tolist()])
        if previous:
            clip["previous"] = image.roll(1, dims=3)
        if labels:
            clip["label"] = (torch.arange(16)[:, None] // 8).expand(16, 16).repeat(len(sample), 1, 1)
            clip["label"][:, :4, :4] = 255
        return clip


def objective(decode: float = 1.0) -> Objective:
    terms = {"plain": Term(target=Plain(), weight=0.7, visible_weight=0.3)}
    return Objective(normalise=GREY, unit=Patches(size=(4, 4)), mask=Random(ratio=0.6), targets=terms, decode=decode)


def training(**changes) -> Training:
    quick = {"steps": 12, "batch": 8, "lr": 0.3, "warmup": 2, "precision": "float32", "workers": 0}
    quick |= {"checkpoint_every": 4, "monitor_every": 6, "log_every": 1, "monitor_samples": 5}
    return Training(**quick | changes)
