"""How a recorded frame becomes an image that a model is trained on or probed with."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, Shaped
from torch import Tensor

from unseen.contract import QUANTILES, Clip
from unseen.data.images import resize
from unseen.data.source import LogSource
from unseen.data.store import Store
from unseen.errors import UnseenError
from unseen.randomness import uniform

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as JPEG has it
_ENLARGE = 1.25  # how far the very smallest crop may be enlarged to save decoding


class Frame(NamedTuple):
    """A decoded frame and the statistics of the whole of it, in [0, 1] of the full scale of its dtype."""

    image: Shaped[np.ndarray, "h w C"]
    mean: Float[np.ndarray, "C"]
    std: Float[np.ndarray, "C"]
    quantiles: Float[np.ndarray, "Q C"]  # at QUANTILES


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """The nominal frame, and the random crop of it that one training sample is.

    Every frame counts as `frame_px` pixels, whatever its recorded size: where the aspect differs the picture is
    stretched. Positions of units live in the nominal frame. A flipped crop is a crop of the mirrored frame: its region
    lies at the mirrored place, with y0 < y1 and x0 < x1.
    """

    frame_px: tuple[int, int] = (192, 256)  # nominal frame (height, width): probes, pictures, positions
    crop_px: tuple[int, int] | None = None  # training crop after resize; None: the whole frame
    area: tuple[float, float] = (0.2, 1.0)  # share of the frame that a crop covers
    aspect: tuple[float, float] = (0.75, 1.3333)  # width to height of the crop, relative to crop_px's own
    flip: bool = True
    jitter: float = 0.0  # brightness, contrast and gain of each channel vary by +- this; frame_mean, frame_std do not
    channels: int = 3  # grey is repeated to 3; colour becomes luma for 1
    position: Literal["frame", "crop"] = "frame"  # where the crop lies in the frame, or as if each crop were the frame
    sensors: tuple[str, ...] = ()  # names of cameras; () = every camera

    def __post_init__(self):
        if not 0 < self.area[0] <= self.area[1] <= 1 or not 0 < self.aspect[0] <= self.aspect[1]:
            raise UnseenError(
                f"view with area {self.area}, aspect {self.aspect}", "0 < low <= high, and area at most 1"
            )
        if self.channels not in (1, 3) or not 0 <= self.jitter < 1:
            raise UnseenError(
                f"view with {self.channels} channels, jitter {self.jitter}", "1 or 3 channels, 0 <= jitter < 1"
            )
        if min(*self.frame_px, *(self.crop_px or (1, 1))) < 1:
            raise UnseenError(f"view with frame {self.frame_px} px, crop {self.crop_px} px", "sizes are positive")

    @property
    def image_px(self) -> tuple[int, int]:
        """Size (height, width) of a training image."""
        return self.crop_px or self.frame_px

    @property
    def sufficient_px(self) -> tuple[int, int]:
        """The decoded size (height, width) above which nothing is gained, for crops and for whole frames."""
        if self.crop_px is None:
            return self.frame_px
        share = math.sqrt(self.area[0]) * _ENLARGE
        height, width = (math.ceil(crop / share) for crop in self.crop_px)
        return max(height, self.frame_px[0]), max(width, self.frame_px[1])

    def open(
        self, store: Store, log_ids: Sequence[str], *, seed: int = 0, log_power: float = 0.0, cache_mb: int = 2048
    ) -> LogSource:
        """The frames of all cameras (or of `sensors`) of some logs."""
        from unseen.data.clips import ClipSource

        return ClipSource(store, log_ids, self, seed=seed, log_power=log_power, cache_mb=cache_mb)

    def present(self, raw: Any) -> Clip:
        """Images [B, C, H, W], uint8 or uint16, as whole frames: each spans the nominal frame, whatever its size."""
        check_images(raw, self.channels)
        return Clip(image=raw, region_px=torch.tensor([[0.0, 0.0, *self.frame_px]], device=raw.device))

    def blank(self) -> Tensor:
        """A black training image [1, C, H, W]."""
        return torch.zeros(1, self.channels, *self.image_px, dtype=torch.uint8)

    def frame(self, image: Shaped[np.ndarray, "h w C"]) -> Frame:
        """Reduce a decoded image to what the view can use; a pure function of image and view, so it may be cached."""
        if image.shape[2] not in (1, 3):
            raise UnseenError(f"an image of {image.shape[2]} channels", "images have 1 or 3 channels")
        if self.channels == 1 and image.shape[2] == 3:
            image = (image.astype(np.float32) @ _LUMA).round().astype(image.dtype)[:, :, None]
        size = self.sufficient_px
        if image.shape[0] >= 2 * size[0] and image.shape[1] >= 2 * size[1]:
            image = np.ascontiguousarray(resize(image, size).permute(1, 2, 0).numpy())
        return Frame(image, *measure(image))

    def draws(self, key: Int64[Tensor, "B"]) -> Float64[np.ndarray, "B D"]:
        """All random numbers that one crop each needs."""
        return uniform(key, 7 + self.channels).numpy()

    def train(
        self, frame: Frame, draw: Float64[np.ndarray, "D"], out: Shaped[Tensor, "C H W"]
    ) -> tuple[float, float, float, float]:
        """Write a training image into `out`; returns its region (y0, x0, y1, x1) in the nominal frame, pixels."""
        height, width = frame.image.shape[:2]
        top, left, bottom, right = self.box(height, width, draw)
        crop = resize(frame.image[top:bottom, left:right], self.image_px)
        if self.jitter:
            crop = self._jitter(crop, frame.mean, draw[5:])
        if self.mirrors(draw):
            crop, left, right = _mirror(crop), width - right, width - left
        out.copy_(crop)  # grey is repeated here
        if self.position == "crop":
            return 0.0, 0.0, float(self.frame_px[0]), float(self.frame_px[1])
        down, across = self.frame_px[0] / height, self.frame_px[1] / width
        return top * down, left * across, bottom * down, right * across

    def whole(self, frame: Frame) -> Shaped[Tensor, "C H W"]:
        """The whole frame at `frame_px`, nothing random."""
        return resize(frame.image, self.frame_px).expand(self.channels, -1, -1)

    def mirrors(self, draw: Float64[np.ndarray, "D"]) -> bool:
        """Whether the crop of this draw is mirrored."""
        return self.flip and bool(draw[4] < 0.5)

    def box(self, height: int, width: int, draw: Float64[np.ndarray, "D"]) -> tuple[int, int, int, int]:
        """The crop (top, left, bottom, right) of a decoded frame, before it is mirrored; the same for equal draws.

        Area uniform, aspect log-uniform, place uniform; a side that would leave the frame is cut to it.
        """
        if self.crop_px is None:
            return 0, 0, height, width
        crop, (low, high) = self.image_px, np.log(self.aspect)
        area = self.area[0] + draw[0] * (self.area[1] - self.area[0])
        aspect = math.exp(low + draw[1] * (high - low)) * crop[1] / crop[0] * self.frame_px[0] / self.frame_px[1]
        rows = min(height, max(1, round(height * math.sqrt(area / aspect))))
        columns = min(width, max(1, round(width * math.sqrt(area * aspect))))
        top, left = int(draw[2] * (height - rows + 1)), int(draw[3] * (width - columns + 1))
        return top, left, top + rows, left + columns

    def _jitter(self, crop: Tensor, mean: np.ndarray, draw: np.ndarray) -> Tensor:
        """Brightness, contrast about the frame's mean, gain of each channel: one table lookup per channel."""
        brightness, contrast, *gains = 1 + self.jitter * (2 * draw[: 2 + self.channels] - 1)
        full = np.iinfo(_numpy_type(crop)).max
        level = np.arange(full + 1, dtype=np.float32) / full
        out = torch.empty((self.channels, *crop.shape[1:]), dtype=crop.dtype)
        for channel, gain in enumerate(gains):
            source = min(channel, len(crop) - 1)
            table = ((level - mean[source]) * contrast + mean[source]) * brightness * gain
            table = (table.clip(0, 1) * full).round().astype(_numpy_type(crop))
            out[channel] = torch.from_numpy(table[crop[source].numpy()])
        return out


def check_images(image: Any, channels: int) -> None:
    """Refuse what is no batch of raw images [B, C, H, W] of so many channels."""
    if not isinstance(image, Tensor):
        raise UnseenError(
            f"the image is a {type(image).__module__}.{type(image).__qualname__}",
            "a torch.Tensor [B, C, H, W] is expected",
            "for a numpy array [H, W, C]: torch.from_numpy(image).permute(2, 0, 1)[None]",
        )
    if image.ndim != 4:
        raise UnseenError(
            f"the image has shape {tuple(image.shape)}",
            "a batch [B, C, H, W] is expected",
            "a single image [C, H, W] becomes one by image[None]" if image.ndim == 3 else "",
        )
    if min(image.shape[2:]) < 1:
        raise UnseenError(
            f"the image has shape {tuple(image.shape)}: no pixel at all",
            "features are made of at least one patch",
            "leave empty images out",
        )
    if image.dtype not in (torch.uint8, torch.uint16):
        raise UnseenError(
            f"the image is {image.dtype}",
            "raw uint8 or uint16 is expected: the encoder brings its own normalisation",
            "pass the image as it was decoded",
        )
    if image.shape[1] != channels:
        remedy = {(1, 3): "repeat it: image.expand(-1, 3, -1, -1)", (3, 1): "convert it to grey first"}
        raise UnseenError(
            f"the image has {image.shape[1]} channels",
            f"the encoder was trained on {channels}",
            remedy.get((image.shape[1], channels), "choose the channels it was trained on"),
        )


def measure(image: Shaped[np.ndarray, "h w C"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, standard deviation and quantiles of a whole frame, in [0, 1] of the full scale."""
    return *_statistics(image), quantiles(image)


def quantiles(image: Shaped[np.ndarray, "h w C"]) -> Float[np.ndarray, "Q C"]:
    """The grey level of each channel that a share of QUANTILES of the pixels does not exceed, in [0, 1] of full scale.

    Over every k-th row and column, 96 rows and 128 columns or more where there are as many.
    """
    image = image[:: max(1, image.shape[0] // 96), :: max(1, image.shape[1] // 128)]
    full = np.iinfo(image.dtype).max
    wanted = np.ceil(np.array(QUANTILES) * (image.shape[0] * image.shape[1]) - 1e-6)  # 0.98 is a little more in binary
    count = [np.bincount(image[:, :, c].ravel()).cumsum() for c in range(image.shape[2])]
    return (np.stack([np.searchsorted(c, wanted) for c in count], axis=1) / full).astype(np.float32)


def _mirror(image: Tensor) -> Tensor:
    if image.dtype == torch.uint16:  # for which torch has no flip
        return image.view(torch.int16).flip(2).view(torch.uint16)
    return image.flip(2)


def _numpy_type(image: Tensor) -> type:
    return np.uint8 if image.dtype == torch.uint8 else np.uint16


def _statistics(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel over every k-th row, 128 rows or more where there are as many."""
    rows = image[:: max(1, len(image) // 128)]
    values = torch.from_numpy(rows).flatten(1).float().div_(np.iinfo(image.dtype).max)  # [rows, w * C]
    column = torch.stack([values.mean(0), values.square_().mean(0)])
    mean, square = column.unflatten(1, image.shape[1:]).double().mean(1).numpy()
    return mean.astype(np.float32), np.sqrt(np.maximum(square - mean**2, 0)).astype(np.float32)
