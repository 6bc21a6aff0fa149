"""Clips of single frames of a store, as training crops or whole, as a pure function of (seed, position)."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from unseen.contract import Clip
from unseen.data.cameras import Cameras, CameraSource
from unseen.data.store import Store
from unseen.data.views import Frames
from unseen.randomness import keys


class ClipSource(CameraSource):
    """The samples (frame, camera) of some logs of a store, seen through a view; see `CameraSource` for their order."""

    def __init__(
        self,
        store: Store,
        log_ids: Sequence[str],
        view: Frames,
        *,
        seed: int = 0,
        log_power: float = 0.0,
        cache_mb: int = 2048,
    ):
        cameras = Cameras(store, log_ids, view, cache_mb)
        super().__init__(cameras, np.arange(len(cameras)), view, seed, log_power)

    def batch(self, positions: Int64[np.ndarray, "B"]) -> Clip:
        """Training crops [B, C, *view.image_px]; a pure function of (seed, position), whoever asks and when."""
        positions = np.asarray(positions, dtype=np.int64)
        indices = self.order(positions)
        frames = [self.cameras.frame(int(index)) for index in indices]
        draws = self.view.draws(keys(self.seed, torch.from_numpy(positions), 0, "view"))
        image = self.cameras.blank(indices, frames, self.view.image_px)
        pairs = zip(frames, draws, image, strict=True)
        region = [self.view.train(frame, draw, out) for frame, draw, out in pairs]
        return self._clip(indices, image, torch.tensor(region, dtype=torch.float32))

    def frames(self, indices: Sequence[int] | np.ndarray, *, previous: bool = False, labels: bool = False) -> Clip:
        """Whole frames [B, C, *view.frame_px], nothing random; with the frame before, and with class ids, on request.

        `previous` is the frame of the same camera just before (itself for the first of a log, of which
        `previous_there` [B] is False). `label` [B, H, W] is
        the seg label resized by nearest neighbour; 255 where the class is ignored or the frame has no label.
        """
        indices = np.asarray(indices, dtype=np.int64)
        region = torch.tensor([[0.0, 0.0, *self.view.frame_px]]).repeat(len(indices), 1)
        clip = self._clip(indices, self.cameras.whole(indices), region)
        if previous:
            before = self.cameras.previous[indices]
            clip["previous"] = self.cameras.whole(before)
            clip["previous_there"] = torch.from_numpy(before != indices)
        if labels:
            clip["label"] = self.labels(indices)
        return clip

    def raw(self, clip: Clip) -> Tensor:
        """The images of a clip, as a user would hand them to an encoder."""
        return clip["image"]

    def _clip(self, indices: np.ndarray, image: Tensor, region: Tensor) -> Clip:
        about, statistics = self.about(indices, indices), self.cameras.statistics(indices[:, None])
        return Clip(image=image, region_px=region, **statistics, **about)
