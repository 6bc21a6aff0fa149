"""From raw pixels to the numbers that a model reads."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unseen.contract import Clip
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


def apply(normalise: Normalise | None, clip: Clip) -> Clip:
    """The clip with its images and video as normalised float32; as it is without a rule."""
    if normalise is None:
        return clip
    mean, std = (value[:, :, None, None] for value in normalise.statistics(clip))
    out = Clip(**clip)
    for name in ("image", "previous"):
        if name in clip:
            out[name] = (unit_scale(clip[name]) - mean) / std
    if "video" in clip:
        out["video"] = (unit_scale(clip["video"]) - mean[:, None]) / std[:, None]
    return out


def pixels_of(clip: Clip) -> Shaped[Tensor, "B C H W"]:
    """The pixels that statistics are taken of: the image, or all frames of the video, one below another."""
    return clip["image"] if "image" in clip else clip["video"].transpose(1, 2).flatten(2, 3)


def unit_scale(image: Shaped[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """Integers to [0, 1] of their full scale; floats are taken to be there already."""
    if image.dtype.is_floating_point:
        return image
    return image.float() / torch.iinfo(image.dtype).max
