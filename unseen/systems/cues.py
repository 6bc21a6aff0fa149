"""What is sparse and matters, as importance of units: computed from a clip, for `Weighted` masks.

A cue reads content, hidden content too, so where a unit is hidden then tells a little of what it holds; the model never
gets importance itself. Use it to share out the loss, and judge by probes, not by the loss.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from unseen.contract import Clip, Unit, Units
from unseen.errors import UnseenError

BINS = 64  # of the histogram whose entropy is texture


@runtime_checkable
class Cue(Protocol):
    """How much more than ordinary a unit matters: a score in [0, 1]."""

    def __call__(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip, unit: Unit) -> Tensor: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """importance = 1 + (factor - 1) * the largest score of its cues; 0 stays 0 (never hidden)."""

    cues: tuple[Cue, ...]
    factor: float = 3.0  # importance where a cue is certain

    def __post_init__(self) -> None:
        if not self.cues or not self.factor >= 1:
            raise UnseenError(f"Importance: {len(self.cues)} cues, factor {self.factor}", "one cue, a factor from 1")

    def __call__(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip, unit: Unit) -> Units:
        """The same units with their importance [B, N]; values are normalised, as the model gets them."""
        score = torch.stack([cue(values, units, clip, unit) for cue in self.cues]).amax(dim=0)
        return units._replace(importance=units.importance * (1 + (self.factor - 1) * score))


@dataclass(frozen=True, slots=True, kw_only=True)
class Texture:
    """Entropy of a unit's own grey values, ranked inside its sample: 0 the flattest unit, 1 the richest."""

    def __call__(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip, unit: Unit) -> Float[Tensor, "B N"]:
        grey = values.float().flatten(2, -2).mean(dim=3) if values.ndim > 3 else values.float()
        low, high = (f(grey.flatten(1), dim=1)[:, None, None] for f in (torch.amin, torch.amax))
        level = ((grey - low) / (high - low).clamp(min=1e-9) * (BINS - 1)).long()
        share = torch.zeros(*grey.shape[:2], BINS, device=grey.device)
        share.scatter_add_(2, level, torch.full_like(grey, 1 / grey.shape[2]))
        return ranked(-torch.xlogy(share, share).sum(dim=2), units)


@dataclass(frozen=True, slots=True, kw_only=True)
class Markings:
    """White top-hat: what is brighter than its surroundings and narrower than `width_px`, as paint on ground is.

    The 90th percentile over a unit's pixels, ranked inside its sample; units of less contrast have 0. Needs images.
    """

    width_px: int = 7  # odd; lines narrower than this count, px of the training image
    contrast: float = 0.2  # how much brighter they must be, in standard deviations of the image

    def __post_init__(self) -> None:
        if self.width_px < 3 or self.width_px % 2 == 0:
            raise UnseenError(f"Markings: width_px is {self.width_px}", "an odd number of pixels from 3 on")

    def __call__(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip, unit: Unit) -> Float[Tensor, "B N"]:
        if "image" not in clip:
            raise UnseenError("markings are looked for in a clip without images", "the cue is made for cameras")
        grey = clip["image"].float().mean(dim=1, keepdim=True)
        pad = self.width_px // 2

        def dilated(image: Tensor) -> Tensor:
            return F.max_pool2d(image, self.width_px, stride=1, padding=pad)

        hat = grey - dilated(-dilated(-grey))
        hat = hat.expand(-1, clip["image"].shape[1], -1, -1).contiguous()
        inside = unit.cut(Clip(**{**clip, "image": hat}))[0].flatten(2)
        score = inside.quantile(0.9, dim=2)
        least = self.contrast * grey.flatten(1).std(dim=1, keepdim=True).clamp(min=1e-6)
        return torch.where(score > least, ranked(score, units), 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallClasses:
    """Whether a unit holds pixels of classes that are small or rare, from labels, where a run may use labels.

    1 where at least `share` of the unit's pixels is of such a class, less in proportion; 0 in clips without labels, and
    for units of a video that do not show its labelled frame.
    """

    classes: tuple[int, ...]
    share: float = 0.05

    def __post_init__(self) -> None:
        if not self.classes or not 0 < self.share <= 1:
            raise UnseenError(f"SmallClasses: {self.classes}, share {self.share}", "class ids, and a share above 0")

    def __call__(self, values: Shaped[Tensor, "B N *P"], units: Units, clip: Clip, unit: Unit) -> Float[Tensor, "B N"]:
        if "label" not in clip:
            return torch.zeros(values.shape[:2], device=values.device)
        classes, shown = labels_of(unit, clip)
        small = torch.isin(classes, torch.tensor(self.classes, device=values.device)).float().mean(dim=2)
        return torch.where(shown, (small / self.share).clamp(max=1), 0)


def labels_of(unit: Unit, clip: Clip) -> tuple[Int64[Tensor, "B N P"], Bool[Tensor, "B N"]]:
    """The class ids of each unit's pixels, and whether it shows the labelled frame: of a video, the middle one."""
    label, frames = clip["label"], clip["video"].shape[1] if "video" in clip else 1
    labelled = (torch.arange(frames, device=label.device) == frames // 2).long()[None, :, None, None]
    planes = torch.stack(torch.broadcast_tensors(label[:, None], labelled), dim=2)  # [B, T, 2, H, W]
    content = Clip(video=planes) if "video" in clip else Clip(image=planes[:, 0])
    cut, _ = unit.cut(Clip(**{**clip, **content}))  # type: ignore
    return cut[..., 0].flatten(2), cut[..., 1].flatten(2).any(dim=2)


def ranked(score: Float[Tensor, "B N"], units: Units) -> Float[Tensor, "B N"]:
    """Scores as ranks among the units that exist, 0 to 1; equal scores have equal ranks; the others are 0."""
    known = score.masked_fill(~units.valid, torch.inf)
    below = torch.searchsorted(known.sort(dim=1).values, known.contiguous(), right=False)
    rank = below / (units.valid.sum(dim=1, keepdim=True) - 1).clamp(min=1)
    return torch.where(units.valid, rank.clamp(max=1), 0)


def correction(inclusion: Float[Tensor, "B N"], most: float = 10.0) -> Float[Tensor, "B N"]:
    """What a hidden unit's loss is multiplied by, so that the mean over hidden units estimates the mean over all:
    1 / probability, at most `most`; 0 where a unit is never hidden."""
    return torch.where(inclusion > 0, (1 / inclusion.clamp(min=1e-9)).clamp(max=most), 0)
