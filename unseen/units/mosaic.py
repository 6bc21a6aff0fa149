"""Patches of several cameras side by side: none crosses a seam, none is made of a camera that is not there."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from unseen.contract import Clip, Units
from unseen.errors import UnseenError
from unseen.units.patches import Patches


@dataclass(frozen=True, slots=True, kw_only=True)
class Mosaic:
    """One unit is a patch of one camera; its content is [rows, columns, channels].

    Its centre is (y, x) in px of the canvas on which the cameras' nominal frames stand side by side. With `step_deg` it
    is (down, right) in degrees instead, seen from the vehicle: where the ray through its middle points, straight ahead
    (0, 0), right positive to 180; that needs cameras with calibration. Units of missing cameras do not exist.
    """

    size: tuple[int, int] = (16, 16)  # rows, columns
    step_deg: tuple[float, float] | None = None  # nominal angle that a patch covers, down and across; None: px

    def __post_init__(self) -> None:
        if min(self.size) < 1 or (self.step_deg is not None and not min(self.step_deg) > 0):
            raise UnseenError(
                f"Mosaic: size is {self.size}, step_deg {self.step_deg}", "at least one pixel, angles above 0"
            )

    @property
    def spacing(self) -> tuple[float, ...]:
        return self.step_deg or (float(self.size[0]), float(self.size[1]))

    def cut(self, clip: Clip) -> tuple[Shaped[Tensor, "B N h w C"], Units]:
        image = clip["image"]
        there = clip.get("camera_there", torch.ones(len(image), 1, dtype=torch.bool, device=image.device))
        cameras, width = there.shape[1], image.shape[3] // max(there.shape[1], 1)
        if width * cameras != image.shape[3] or width % self.size[1]:
            raise UnseenError(
                f"{cameras} cameras in an image {image.shape[3]} px wide do not divide into patches of {self.size}",
                "the patch must divide the width of each camera",
                "change the crop of the view, or the patch",
            )
        values, units = Patches(size=self.size).cut(Clip(image=image))
        rows, columns = units.grid or (0, 0)
        valid = there[:, None, :, None].expand(-1, rows, -1, columns // cameras).flatten(1)
        centre = self._pixels(clip, rows, columns // cameras, cameras)
        if self.step_deg is not None:
            centre = self._angles(clip, rows, columns // cameras, there)
        return values, Units(centre, valid, units.importance, (rows, columns))

    def join(self, values: Shaped[Tensor, "B N h w C"], units: Units) -> Shaped[Tensor, "B C H W"]:
        """Put patches back into the image; the exact inverse of `cut`."""
        return Patches(size=self.size).join(values, units)

    picture = join

    def _pixels(self, clip: Clip, rows: int, columns: int, cameras: int) -> Float[Tensor, "B N 2"]:
        """Centres on the canvas: those in a camera's own frame, moved to where it stands."""
        image = clip["image"]
        own = Patches(size=self.size).centres(rows, columns, clip.get("region_px"), image.device)
        own = own.unflatten(1, (rows, 1, columns))
        x = torch.arange(cameras, device=image.device) * (image.shape[3] / cameras)
        place = clip.get("camera_px", torch.stack([torch.zeros_like(x), x], dim=1)[None])
        return (own + place[:, None, :, None]).flatten(1, 3)

    def _angles(self, clip: Clip, rows: int, columns: int, there: Tensor) -> Float[Tensor, "B N 2"]:
        """Elevation downwards, azimuth to the right, of the ray through each patch's middle; 0 for missing cameras."""
        if "intrinsics" not in clip or "world_from_camera" not in clip:
            raise UnseenError(
                "the cameras have no calibration", "angles are made of intrinsics and poses", "step_deg=None counts px"
            )
        h, w = self.size
        v = (torch.arange(rows, device=there.device) + 0.5) * h - 0.5
        u = (torch.arange(columns, device=there.device) + 0.5) * w - 0.5
        pixel = torch.stack(torch.meshgrid(u, v, indexing="xy"), dim=2)  # [rows, columns, (u, v)]
        pixel = torch.cat([pixel, torch.ones_like(pixel[..., :1])], dim=2)
        world_from_pixel = clip["world_from_camera"][:, :, :3, :3] @ clip["intrinsics"].inverse()
        ray = torch.einsum("bkij,rcj->brkci", world_from_pixel, pixel)
        down = torch.rad2deg(torch.atan2(-ray[..., 2], ray[..., :2].norm(dim=-1)))
        right = torch.rad2deg(torch.atan2(-ray[..., 1], ray[..., 0]))
        angle = torch.stack([down, right], dim=-1)
        if not torch.isfinite(angle[there[:, None, :, None].expand(angle.shape[:-1])]).all():
            raise UnseenError("a camera has no calibration", "with step_deg every camera that is there needs one")
        return angle.nan_to_num(0.0).flatten(1, 3)
