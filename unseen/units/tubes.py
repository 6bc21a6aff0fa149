"""Tubes: patches over a few frames of a video (VideoMAE: Tong et al., NeurIPS 2022, section 3.2). Exact inverse."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unseen.contract import Clip, Units
from unseen.errors import UnseenError
from unseen.geometry.places import clip_places
from unseen.units.patches import Patches


@dataclass(frozen=True, slots=True, kw_only=True)
class Tubes:
    """One unit is a patch over `size[0]` frames; its content is [frames, rows, columns, channels].

    Its centre is (t, y, x): seconds since the clip began and px of the nominal frame. A frame fills the time until the
    next one: at the nominal pace the first slot of two frames has its centre `frame_s` after the beginning. One frame a
    unit makes a frame-wise model. With `places` a unit also knows which places of the world it shows, as masks that
    follow the world need it (`EgoTube`): NaN where the clip has no calibration or no pose, and where depth is not
    known, unless `ground` permits to take the plane under the vehicle for the road. What stands on the road then
    counts as road further away.
    """

    size: tuple[int, int, int] = (2, 16, 16)  # frames, rows, columns
    frame_s: float = 0.2  # nominal time between frames: the step of position codes; clips bring their true times
    places: int = 0  # points along each side of each frame of a unit whose place is looked up (5 are enough); 0: none
    ground: bool = False  # where depth is not known, z = 0 of the vehicle's frame in the middle of the clip is the road

    def __post_init__(self) -> None:
        if min(self.size) < 1 or not self.frame_s > 0 or self.places < 0:
            raise UnseenError(
                f"Tubes: size is {self.size}, frame_s {self.frame_s}, places {self.places}",
                "at least one pixel of one frame, time passes, and points are counted from 0",
            )

    @property
    def spacing(self) -> tuple[float, ...]:
        return self.size[0] * self.frame_s, float(self.size[1]), float(self.size[2])

    def cut(self, clip: Clip) -> tuple[Shaped[Tensor, "B N t h w C"], Units]:
        if "video" not in clip:
            raise UnseenError("the clip has no video", "tubes are cut out of videos", "use the view Windows")
        video = clip["video"]
        sizes = (video.shape[1], video.shape[3], video.shape[4])
        if any(side % part for side, part in zip(sizes, self.size, strict=True)):
            raise UnseenError(
                f"a video of {sizes[0]} frames of {sizes[1]} x {sizes[2]} px does not divide into tubes of {self.size}",
                "the tube must divide frames and sides",
                "change the frames or the crop of the view, or the tube",
            )
        t, h, w = self.size
        grid = slots, rows, columns = sizes[0] // t, sizes[1] // h, sizes[2] // w
        pixels = video.movedim(2, 4).contiguous()  # channels last first: then whole rows of a tube are copied
        parts = pixels.unflatten(3, (columns, w)).unflatten(2, (rows, h)).unflatten(1, (slots, t))
        values = parts.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(1, 3)  # B, slots, rows, columns, t, h, w, C
        valid = torch.ones(values.shape[:2], dtype=torch.bool, device=video.device)
        importance = torch.ones(1, values.shape[1], device=video.device)
        centre, place = self._centres(clip, grid, video.device), self._places(clip, grid) if self.places else None
        return values, Units(centre, valid, importance, grid, place=place)

    def join(self, values: Shaped[Tensor, "B N t h w C"], units: Units) -> Shaped[Tensor, "B T C H W"]:
        """Put tubes back into the video; the exact inverse of `cut`."""
        parts = values.unflatten(1, units.grid or (0, 0, 0)).permute(0, 1, 4, 7, 2, 5, 3, 6)
        return parts.flatten(6, 7).flatten(4, 5).flatten(1, 2)

    def picture(self, values: Shaped[Tensor, "B N t h w C"], units: Units) -> Shaped[Tensor, "B C H _"]:
        """A film strip: the frames of the video side by side, the first on the left."""
        return self.join(values, units).permute(0, 2, 3, 1, 4).flatten(3)

    def _places(self, clip: Clip, grid: tuple[int, int, int]) -> Float[Tensor, "B N S 3"]:
        found = clip_places(clip, grid, self.size[0], ground=self.ground, samples=self.places)
        if found is None:
            unknown = torch.full((), torch.nan, device=clip["video"].device)
            return unknown.expand(len(clip["video"]), math.prod(grid), self.size[0] * self.places**2, 3)
        return found

    def _centres(
        self, clip: Clip, grid: tuple[int | torch.SymInt, ...], device: torch.device
    ) -> Float[Tensor, "B N 3"]:
        slots, rows, columns = grid
        nominal = torch.arange(slots * self.size[0], device=device)[None] * self.frame_s  # type: ignore[arg-type]
        times = clip.get("frame_time_s", nominal)
        t = times.unflatten(1, (slots, self.size[0])).mean(dim=2) + self.frame_s / 2
        plane = Patches(size=self.size[1:]).centres(rows, columns, clip.get("region_px"), device)
        batch = max(len(t), len(plane))
        t = t[:, :, None, None].expand(batch, -1, rows * columns, 1)
        return torch.cat([t, plane[:, None].expand(batch, slots, -1, -1)], dim=3).flatten(1, 2)
