"""From raw pixels to the numbers that a model reads."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unseen.contract import QUANTILES, Clip
from unseen.errors import UnseenError


@runtime_checkable
class Normalise(Protocol):
    """Maps the raw image of a clip to float32; the same in training and in the hands of a user."""

    def statistics(self, clip: Clip) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
        """Mean and standard deviation that are taken out, per channel, in [0, 1] of the dtype's full scale."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixed:
    """The same mean and standard deviation for every image; the defaults are ImageNet's RGB values."""

    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not all(std > 0 for std in self.std):
            raise UnseenError(f"Fixed: mean {self.mean}, std {self.std}", "as many of each, and every std above 0")

    def statistics(self, clip: Clip) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
        image = pixels_of(clip)
        if image.shape[1] != len(self.mean):
            raise UnseenError(
                f"the image has {image.shape[1]} channels but the recipe normalises {len(self.mean)}",
                "one mean and one standard deviation per channel",
                "change `channels` of the view, or mean and std",
            )
        mean, std = (torch.tensor(v, device=image.device).expand(image.shape[0], -1) for v in (self.mean, self.std))
        return mean, std


@dataclass(frozen=True, slots=True, kw_only=True)
class PerFrame:
    """Standardise by the whole frame, per channel, so that dusk and glare look alike.

    A training crop brings the statistics of its frame along (a crop of sky must not lose its colour); without them the
    image is taken to be the whole frame. Six numbers of the frame thus reach the model whatever is hidden.
    """

    eps: float = 0.02  # a frame of one grey stays finite; about five grey levels of 255

    def __post_init__(self) -> None:
        if not self.eps > 0:
            raise UnseenError(f"PerFrame: eps is {self.eps}", "above 0, or a frame of one grey is divided by nothing")

    def statistics(self, clip: Clip) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
        if "frame_mean" in clip and "frame_std" in clip:
            return clip["frame_mean"], clip["frame_std"] + self.eps
        values = unit_scale(pixels_of(clip))
        return values.mean(dim=(2, 3)), values.std(dim=(2, 3), correction=0) + self.eps


@dataclass(frozen=True, slots=True, kw_only=True)
class PerClip:
    """Map two percentiles of the whole frame to -1 and 1, per channel: for radiometric images, whose range is unknown.

    14 bits in a file of 16, a hot engine in a cold night: a few pixels of either kind do not set the scale, and what
    lies beyond `limit` is cut to it, so that they do not fill the loss either. A training crop brings the quantiles of
    its frame along (of a video or a rig their mean over the frames); without them the image is taken to be the whole
    frame. Two numbers a channel of the frame thus reach the model whatever is hidden.
    """

    low: float = 1.0  # percentiles; 100 times one of `contract.QUANTILES`
    high: float = 99.0
    least: float = 2.5e-4  # of the full scale, a range that counts as contrast: 16 counts of 16 bit; 2 counts at least
    limit: float = 3.0

    def __post_init__(self) -> None:
        known = [round(100 * share, 3) for share in QUANTILES]
        if not {self.low, self.high} <= set(known) or self.low >= self.high or not min(self.least, self.limit) > 0:
            raise UnseenError(
                f"PerClip: low {self.low}, high {self.high}, least {self.least}, limit {self.limit}",
                f"low < high are among {', '.join(f'{percent:g}' for percent in known)}; the rest is above 0",
            )

    def statistics(self, clip: Clip) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"]]:
        pixels = pixels_of(clip)
        levels = [round(100 * share, 3) for share in QUANTILES]
        if "frame_quantiles" in clip:
            low, high = (clip["frame_quantiles"][:, levels.index(level)] for level in (self.low, self.high))
        else:
            flat = unit_scale(pixels).flatten(2)
            low, high = (
                flat.kthvalue(max(1, math.ceil(QUANTILES[levels.index(level)] * flat.shape[2] - 1e-6)), dim=2).values
                for level in (self.low, self.high)
            )
        least = self.least if pixels.dtype.is_floating_point else max(self.least, 2 / torch.iinfo(pixels.dtype).max)
        return (low + high) / 2, (high - low).clamp(min=least) / 2


def apply(normalise: Normalise | None, clip: Clip) -> Clip:
    """The clip with its images and video as normalised float32; as it is without a rule.

    A rule that has a `limit` cuts what lies beyond it, above and below.
    """
    if normalise is None:
        return clip
    mean, std = (value[:, :, None, None] for value in normalise.statistics(clip))
    limit = getattr(normalise, "limit", math.inf)
    out = Clip(**clip)
    for name in ("image", "previous"):
        if name in clip:
            out[name] = bounded((unit_scale(clip[name]) - mean).div_(std), limit)
    if "video" in clip:
        out["video"] = bounded((unit_scale(clip["video"]) - mean[:, None]).div_(std[:, None]), limit)
    return out


def bounded(values: Float[Tensor, "*S"], limit: float) -> Float[Tensor, "*S"]:
    """Cut to [-limit, limit]; as they are where there is no limit."""
    return values.clamp(-limit, limit) if limit < math.inf else values


def pixels_of(clip: Clip) -> Shaped[Tensor, "B C H W"]:
    """The pixels that statistics are taken of: the image, or all frames of the video, one below another."""
    return clip["image"] if "image" in clip else clip["video"].transpose(1, 2).flatten(2, 3)


def unit_scale(image: Shaped[Tensor, "B *T C H W"]) -> Float[Tensor, "B *T C H W"]:
    """Integers to [0, 1] of their full scale; floats are taken to be there already."""
    if image.dtype.is_floating_point:
        return image
    return image.float() / torch.iinfo(image.dtype).max
