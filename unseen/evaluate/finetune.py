"""Fine-tuning on a few labelled frames: does the pretrained start beat the same net from scratch?

The whole encoder and a linear head learn from crops, by soft-label cross-entropy per unit. Frames, crops and the
start of the head are the same for every encoder, and so is the grid of learning rates, which is searched on inner
folds of the few frames themselves.
"""

import copy
import math
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unseen.contract import Clip
from unseen.errors import UnseenError
from unseen.evaluate.features import Source, device_of, unit_shares
from unseen.evaluate.folds import frame_draws, inner_folds
from unseen.evaluate.linear import best_of, class_weights
from unseen.evaluate.metrics import Counts, mean_iou
from unseen.evaluate.probes import FineTune
from unseen.evaluate.score import Plan, upsampled
from unseen.models.in_place import ForeignEncoder
from unseen.randomness import keys, normal, uniform
from unseen.systems.encode import FrozenEncoder
from unseen.units.normalise import apply


class Segmenter(nn.Module):
    """A trainable copy of a frozen encoder with a linear head on its units."""

    def __init__(self, frozen: FrozenEncoder, n_classes: int, seed: int, size: tuple[int, ...]):
        super().__init__()
        self.encoder = copy.deepcopy(frozen.encoder).requires_grad_(True)
        self.unit, self.normalise = frozen.unit, frozen.normalise
        device = device_of(frozen)
        width = frozen(torch.zeros(1, *size, dtype=torch.uint8, device=device)).units.shape[-1]
        self.head = nn.Linear(width, n_classes, device=device)
        draw = normal(keys(seed, torch.zeros(1, dtype=torch.int64), 0, "head"), n_classes * width)
        with torch.no_grad():
            self.head.weight.copy_(0.01 * draw.view(n_classes, width))
            self.head.bias.zero_()

    def forward(self, clip: Clip) -> tuple[Float[Tensor, "B N K"], tuple[int, int]]:
        """Scores per unit, and the grid of the units."""
        clip = apply(self.normalise, _moved(clip, self.head.weight.device))
        if isinstance(self.encoder, ForeignEncoder):
            maps = self.encoder(clip["image"])
            return self.head(maps.flatten(2).mT), (maps.shape[2], maps.shape[3])
        values, places = self.unit.cut(clip)
        tokens = self.encoder(values, places.centre.expand(len(values), -1, -1), None, None)
        grid = places.grid or (1, values.shape[1])
        return self.head(tokens[:, tokens.shape[1] - values.shape[1] :]), (grid[0], grid[1])


def score(plan: Plan, probe: FineTune, frozen: FrozenEncoder, source: Source, seed: int) -> tuple[Counts, list[float]]:
    """Counts per frame [F, ...] summed over draws, and the learning rate that each draw of each fold chose."""
    counts, chosen = plan.empty(len(plan.indices)), []
    for fold_number, fold in enumerate(plan.folds):
        own = np.flatnonzero(np.isin(plan.log_of, fold.learn))
        test = np.flatnonzero(np.isin(plan.log_of, fold.test))
        for draw in range(probe.draws):
            few = own[next((m for _, m in frame_draws(plan.log_of[own], (probe.frames,), seed, draw)), slice(None))]
            key = seed + 1000 * fold_number + draw
            lr = choose_lr(plan, probe, frozen, source, few, key)
            model = train(plan, probe, frozen, source, few, lr, key)
            for place, prediction in zip(test.tolist(), predict(plan, model, source, test), strict=True):
                counts.confusion[place] += plan.confuse(place, prediction)
            chosen.append(lr)
    return counts, chosen


def choose_lr(
    plan: Plan, probe: FineTune, frozen: FrozenEncoder, source: Source, few: Int64[np.ndarray, "n"], seed: int
) -> float:
    """The learning rate that is best on inner folds of the few frames themselves."""
    if len(probe.lrs) == 1:
        return probe.lrs[0]
    fold, scores = inner_folds(plan.log_of[few]), []
    for lr in probe.lrs:
        counts = plan.empty(1).confusion[0]
        for f in np.unique(fold):
            model, held = train(plan, probe, frozen, source, few[fold != f], lr, seed), few[fold == f]
            for place, prediction in zip(held.tolist(), predict(plan, model, source, held), strict=True):
                counts = counts + plan.confuse(place, prediction)
        scores.append(float(mean_iou(counts, plan.over)))
    return probe.lrs[best_of(scores)]


def train(
    plan: Plan,
    probe: FineTune,
    frozen: FrozenEncoder,
    source: Source,
    few: Int64[np.ndarray, "n"],
    lr: float,
    seed: int,
) -> Segmenter:
    """AdamW with warm-up and cosine on random crops of the few frames, half of them mirrored."""
    clip, labels = source.frames(plan.indices[few]), torch.from_numpy(plan.labels[few])
    model = Segmenter(frozen, len(plan.names), seed, tuple(clip["image"].shape[1:])).train()
    groups = [
        {"params": list(model.encoder.parameters()), "lr": lr, "peak": lr},
        {"params": list(model.head.parameters()), "lr": probe.head_lr, "peak": probe.head_lr},
    ]
    optimiser = torch.optim.AdamW(groups, weight_decay=probe.weight_decay, betas=(0.9, 0.95))
    weight = class_weights(unit_shares(plan.labels[few], (1, 1), len(plan.names)), probe.tau)
    for step in range(probe.steps):
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * schedule(step, probe.steps, probe.warmup)
        crops, truth = crop(clip, labels, probe, seed, step)
        scores, grid = model(crops)
        h = (unit_shares(truth.numpy(), grid, len(plan.names)) * weight).to(scores.device)
        loss = -(h * scores.log_softmax(dim=-1)).sum() / h.sum().clamp(min=1e-6)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return model.eval()


@torch.no_grad()
def predict(plan: Plan, model: Segmenter, source: Source, places: Int64[np.ndarray, "n"]):
    """Class of every pixel of whole frames, one after the other."""
    for start in range(0, len(places), 16):
        scores, grid = model(source.frames(plan.indices[places[start : start + 16]]))
        yield from upsampled(scores, grid, plan.labels.shape[1:]).cpu().numpy()


def crop(clip: Clip, labels: Tensor, probe: FineTune, seed: int, step: int) -> tuple[Clip, Tensor]:
    """One batch of crops with their places in the frame; a mirrored crop is a crop of the mirrored frame."""
    image, (h, w) = clip["image"], probe.crop_px
    height, width = image.shape[2:]
    if h > height or w > width:
        raise UnseenError(
            f"fine-tuning crops of {h} x {w} px from frames of {height} x {width} px",
            "a crop lies inside the frame",
            f"set crop_px of the probe {probe.name!r}",
        )
    key = keys(seed, torch.tensor([step]), 0, "fine-tuning crops")
    draw = uniform(key, 4 * probe.batch).view(4, probe.batch)
    frame = (draw[0] * len(image)).long()
    top, left = ((draw[1] * (height - h + 1)).long(), (draw[2] * (width - w + 1)).long())
    images, truth, region = [], [], []
    for f, y, x, mirrored in zip(frame.tolist(), top.tolist(), left.tolist(), (draw[3] < 0.5).tolist(), strict=True):
        part, label = image[f, :, y : y + h, x : x + w], labels[f, y : y + h, x : x + w]
        images.append(part.flip(2) if mirrored else part)
        truth.append(label.flip(1) if mirrored else label)
        left_px = width - x - w if mirrored else x
        region.append([y, left_px, y + h, left_px + w])
    crops = Clip(image=torch.stack(images), region_px=torch.tensor(region, dtype=torch.float32))
    if "frame_mean" in clip and "frame_std" in clip:
        crops["frame_mean"], crops["frame_std"] = clip["frame_mean"][frame], clip["frame_std"][frame]
    return crops, torch.stack(truth)


def schedule(step: int, steps: int, warmup: int) -> float:
    """Share of the peak learning rate: linear warm-up, then cosine to zero."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _moved(clip: Clip, device: torch.device) -> Clip:
    names = ("image", "region_px", "frame_mean", "frame_std")
    return cast(Clip, {name: clip[name].to(device) for name in names if name in clip})  # type: ignore[literal-required]
