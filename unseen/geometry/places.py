"""Which places of the world the units of a clip show, and which unit of another frame shows a place.

A place is given in metres along the axes of the world (z up), from the clip's viewpoint: a fixed point so far back that
the clip sees all that it sees ahead of it. It comes from measured depth, else from the ground, else it is only a
direction (sky, far away); NaN where not even that is known. A direction is a point `FAR_M` away: moving does not change
it. What moves by itself is treated as standing: its place in another frame is where it was.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from unseen.contract import Clip
from unseen.errors import UnseenError
from unseen.geometry.motion import poses_at

FAR_M = 1e6  # so far away is a direction
REACH_M = 100.0  # the ground is trusted so far: beyond, a tenth of a degree of pitch moves it by a tenth and more
ON_GROUND_M = 0.3  # a patch whose measured depth is this near to the ground is ground
LEAST = 3  # measurements that a patch needs for a depth of its own
BEHIND = 1.05, 0.3  # a place is hidden in a frame where its depth is above measured depth * 1.05 + 0.3 m


class Shots(NamedTuple):
    """The frames of clips: pinhole cameras without distortion, whose rows may be taken one after another."""

    intrinsics: Float64[Tensor, "B T 3 3"]  # px of the frames as they are here
    place_from_camera: Float64[Tensor, "B T 4 4"]  # at `frame_time_s`, when the middle row is exposed
    viewpoint_m: Float64[Tensor, "B 3"]  # in the world
    height_px: int
    frame_time_s: Float64[Tensor, "B T"] | None = None
    row_time_s: float = 0.0  # from one row to the next: t(v) = t0 + (v - v_middle) * row_time_s; 0 is a global shutter

    @staticmethod
    def of(
        intrinsics: Float[Tensor, "B T 3 3"],
        world_from_camera: Float[Tensor, "B T 4 4"],
        height_px: int,
        frame_time_s: Float[Tensor, "B T"] | None = None,
        row_time_s: float = 0.0,
    ) -> "Shots":
        """In double precision, seen from their viewpoint. UnseenError for rows in time without times."""
        if row_time_s and frame_time_s is None:
            raise UnseenError("a rolling shutter without times", "rows in time need the times of the frames")
        pose = world_from_camera.double()
        viewpoint = _viewpoint(pose)
        here = pose.clone()
        here[..., :3, 3] -= viewpoint[:, None]
        times = None if frame_time_s is None else frame_time_s.double()
        return Shots(intrinsics.double(), here, viewpoint, height_px, times, row_time_s)

    def poses(self, v: Float64[Tensor, "B T K"]) -> Float64[Tensor, "B T K 4 4"]:
        """place_from_camera when pixel rows v are exposed."""
        if not self.row_time_s or self.frame_time_s is None:
            return self.place_from_camera[:, :, None].expand(-1, -1, v.shape[2], -1, -1)
        time = self.frame_time_s[..., None] + (v - (self.height_px - 1) / 2) * self.row_time_s
        return poses_at(self.place_from_camera, self.frame_time_s, time.flatten(1)).unflatten(1, v.shape[1:])

    def positions_m(self, slots: int) -> Float64[Tensor, "B slots 3"]:
        """Where the camera is, on average, in each of `slots` equal parts of the clip."""
        return self.place_from_camera[..., :3, 3].unflatten(1, (slots, -1)).mean(dim=2)

    def project(self, point: Float64[Tensor, "B K 3"]) -> Float64[Tensor, "B T K 3"]:
        """(u px, v px, depth m) of places in every frame; where depth <= 0, u and v mean nothing.

        With a rolling shutter the row tells the time and the time the pose: two rounds of fixed-point iteration.
        """
        middle = point.new_full((*self.intrinsics.shape[:2], point.shape[1]), (self.height_px - 1) / 2)
        pixel = self._pixel(point, self.place_from_camera[:, :, None])
        for _ in range(2 if self.row_time_s else 0):
            row = torch.where(pixel[..., 2] > 0, pixel[..., 1], middle).clamp(-1, self.height_px)
            pixel = self._pixel(point, self.poses(row))
        return pixel

    def _pixel(self, point: Tensor, pose: Tensor) -> Tensor:
        offset = point[:, None] - pose[..., :3, 3]
        in_camera = (pose[..., :3, :3] * offset[..., None]).sum(dim=-2)  # the transpose of the rotation
        scaled = torch.einsum("btij,btkj->btki", self.intrinsics, in_camera)
        depth = scaled[..., 2:]
        return torch.cat([scaled[..., :2] / torch.where(depth > 0, depth, 1.0), depth], dim=-1)


def unit_places(
    grid: tuple[int, int, int],
    intrinsics: Float[Tensor, "B T 3 3"],
    world_from_camera: Float[Tensor, "B T 4 4"],
    image_px: tuple[int, int],
    tube_frames: int,
    depth_m: Float[Tensor, "B T H W"] | None = None,
    ground: Float[Tensor, "#B #T 4"] | None = None,
    *,
    frame_time_s: Float[Tensor, "B T"] | None = None,
    row_time_s: float = 0.0,
    samples: int = 5,
) -> Float64[Tensor, "B N S 3"]:
    """Places of samples of what each unit of a (slots, rows, columns) grid shows, from `Shots.viewpoint_m`.

    Every frame of a tube is sampled, at `samples` x `samples` pixels from the unit's first to its last: S is
    `tube_frames * samples ** 2`, and a unit stands for all that it ever shows. `depth_m` is along the optical axis, inf
    for sky, NaN where unknown. `ground` are planes of the world, (normal up, offset) with normal . x + offset = 0; see
    `ground_below`. In this order: the depth of the pixel; the median depth of the unit, then of its neighbours (the
    ground, where that is what they measured); the ground within REACH_M; with a ground, the direction. Else NaN.
    """
    slots, rows, columns = grid
    frames = intrinsics.shape[1]
    if image_px[0] % rows or image_px[1] % columns or slots * tube_frames != frames:
        raise UnseenError(
            f"a grid of {grid} units of {tube_frames} frames over {frames} frames of {image_px} px",
            "units divide the frames and the image",
        )
    shots = Shots.of(intrinsics, world_from_camera, image_px[0], frame_time_s, row_time_s)
    size = image_px[0] // rows, image_px[1] // columns
    v, u = (_samples(count, side, samples).to(intrinsics.device) for count, side in zip(grid[1:], size, strict=True))
    if depth_m is not None:  # depth belongs to the middle of a pixel: half a pixel up the road may be metres away
        v, u = v.round(), u.round()
    pixel = torch.stack([u.expand(len(v), -1), v[:, None].expand(-1, len(u)), torch.ones(len(v), len(u)).to(v)], dim=-1)
    in_camera = torch.einsum("btij,yxj->btyxi", torch.linalg.inv(shots.intrinsics), pixel)
    pose = shots.poses(v.expand(*intrinsics.shape[:2], -1))
    ray = torch.einsum("btyij,btyxj->btyxi", pose[..., :3, :3], in_camera)
    origin = pose[..., None, :3, 3].expand_as(ray)
    measured = None if depth_m is None else _measured(depth_m.double(), size, samples, v, u)
    depth = _along(origin, ray, shots, samples, measured, ground)
    near = origin + ray * depth[..., None]
    place = torch.where(depth[..., None].isinf(), ray / ray.norm(dim=-1, keepdim=True) * FAR_M, near)
    blocks = place.unflatten(1, (slots, tube_frames)).unflatten(4, (columns, samples)).unflatten(3, (rows, samples))
    return blocks.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(1, 3).flatten(2, 4)


def clip_places(
    clip: Clip, grid: tuple[int, int, int], tube_frames: int, *, ground: bool = True, samples: int = 5
) -> Float[Tensor, "B N S 3"] | None:
    """`unit_places` of a clip's video by what the clip knows; None where it has no calibration or no poses.

    `ground`: where depth is not known, the plane z = 0 of the clip's world is taken for the ground.
    """
    if "intrinsics" not in clip or "world_from_camera" not in clip:
        return None
    size = (clip["video"].shape[3], clip["video"].shape[4])
    plane = torch.tensor([[[0.0, 0.0, 1.0, 0.0]]], device=clip["video"].device) if ground else None
    k, poses, depth = clip["intrinsics"], clip["world_from_camera"], clip.get("depth_m")
    return unit_places(grid, k, poses, size, tube_frames, depth, plane, samples=samples).float()


def seen_at(
    place: Float[Tensor, "B N S 3"],
    grid: tuple[int, int, int],
    intrinsics: Float[Tensor, "B T 3 3"],
    world_from_camera: Float[Tensor, "B T 4 4"],
    image_px: tuple[int, int],
    tube_frames: int,
    depth_m: Float[Tensor, "B T H W"] | None = None,
    *,
    frame_time_s: Float[Tensor, "B T"] | None = None,
    row_time_s: float = 0.0,
) -> Int64[Tensor, "B N S T"]:
    """The unit that shows each place in each frame; -1 where none does: unknown, out of view, or behind something.

    What stands in front is known only with `depth_m`.
    """
    shots = Shots.of(intrinsics, world_from_camera, image_px[0], frame_time_s, row_time_s)
    point = place.flatten(1, 2).double()
    u, v, depth = shots.project(point).unbind(dim=-1)
    inside = (depth > 0) & (v >= -0.5) & (v < image_px[0] - 0.5) & (u >= -0.5) & (u < image_px[1] - 0.5)
    x, y = (torch.where(inside, axis + 0.5, 0.0).floor().long() for axis in (u, v))
    if depth_m is not None:
        measured = depth_m.flatten(2).gather(2, y * image_px[1] + x)
        factor, slack = BEHIND
        inside &= ~(depth > measured * factor + slack)
    height, width = image_px[0] // grid[1], image_px[1] // grid[2]
    slot = torch.arange(intrinsics.shape[1], device=place.device)[:, None] // tube_frames
    unit = (slot * grid[1] + y // height) * grid[2] + x // width
    return torch.where(inside, unit, -1).transpose(1, 2).unflatten(1, place.shape[1:3])


def ground_below(
    world_from_camera: Float[Tensor, "B T 4 4"], height_m: float, up: tuple[float, float, float] = (0.0, 0.0, 1.0)
) -> Float[Tensor, "B T 4"]:
    """Planes (normal up, offset) of level ground, `height_m` below each camera."""
    if not height_m > 0:
        raise UnseenError(f"a camera {height_m} m above the ground", "above 0")
    normal = torch.tensor(up, dtype=world_from_camera.dtype, device=world_from_camera.device)
    normal = (normal / normal.norm()).expand(*world_from_camera.shape[:2], 3)
    offset = height_m - (normal * world_from_camera[..., :3, 3]).sum(dim=-1, keepdim=True)
    return torch.cat([normal, offset], dim=-1)


def is_direction(place: Float[Tensor, "*N 3"]) -> Bool[Tensor, "*N"]:
    """Whether a place is only a direction; NaN is none."""
    return place.norm(dim=-1) > FAR_M / 2


def patch_depth(depth_m: Float[Tensor, "B T H W"], size: tuple[int, int]) -> Float[Tensor, "B T rows columns"]:
    """The median depth of each patch with LEAST measurements; without, the median of its eight neighbours; NaN."""
    patch = depth_m.unflatten(3, (-1, size[1])).unflatten(2, (-1, size[0])).transpose(3, 4).flatten(4)
    known = (~patch.isnan()).sum(dim=-1) >= LEAST
    own = patch.nanmedian(dim=-1).values.masked_fill(~known, torch.nan)
    padded = torch.nn.functional.pad(own, (1, 1, 1, 1), value=torch.nan)
    around = padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(4).nanmedian(dim=-1).values
    return own.where(known, around)


def _samples(count: int, side: int, samples: int) -> Float64[Tensor, "K"]:
    """Pixel coordinates along one axis: for each unit, from its first pixel to its last."""
    share = (torch.arange(samples) / (samples - 1) if samples > 1 else torch.tensor([0.5])).double()
    return (torch.arange(count)[:, None] * side + share * (side - 1)).flatten()


def _viewpoint(world_from_camera: Float64[Tensor, "B T 4 4"]) -> Float64[Tensor, "B 3"]:
    """The mean position, moved back along the mean optical axis until no camera is behind it."""
    position, axis = world_from_camera[..., :3, 3], world_from_camera[..., :3, 2].mean(dim=1, keepdim=True)
    axis = axis / axis.norm(dim=-1, keepdim=True)
    middle = position.mean(dim=1, keepdim=True)
    back = ((position - middle) * axis).sum(dim=-1, keepdim=True).amin(dim=1, keepdim=True)
    return (middle + back * axis)[:, 0]


class _Measured(NamedTuple):
    pixel: Float64[Tensor, "B T Y X"]  # the depth of each sampled pixel
    patch: Float64[Tensor, "B T Y X"]  # of its unit, or of the units around


def _measured(depth_m: Tensor, size: tuple[int, int], samples: int, v: Tensor, u: Tensor) -> _Measured:
    patch = patch_depth(depth_m, size).repeat_interleave(samples, dim=2).repeat_interleave(samples, dim=3)
    return _Measured(depth_m[:, :, v.long()][..., u.long()], patch)


def _along(
    origin: Tensor, ray: Tensor, shots: Shots, samples: int, measured: _Measured | None, ground: Tensor | None
) -> Float64[Tensor, "B T Y X"]:
    """The best known depth along each ray: inf for a direction, NaN for nothing."""
    plane = torch.full_like(ray[..., 0], torch.nan)
    if ground is not None:
        normal, offset = ground[..., None, None, :3].double(), ground[..., None, None, 3].double()
        start = ((origin + shots.viewpoint_m[:, None, None, None]) * normal).sum(dim=-1) + offset
        rise = (ray * normal).sum(dim=-1)
        plane = torch.where(rise < 0, start / -rise.clamp(max=-1e-12), torch.inf)
        plane = plane.masked_fill((plane <= 0) | (plane * ray.norm(dim=-1) > REACH_M), torch.inf)
    if measured is None:
        return plane
    patch = measured.patch
    if ground is not None:
        middle = slice(samples // 2, None, samples)
        height = (start + rise * patch)[:, :, middle, middle].abs()  # of the measured middle of the unit
        height = height.repeat_interleave(samples, dim=2).repeat_interleave(samples, dim=3)
        patch = torch.where(height < ON_GROUND_M, plane, patch)
    return measured.pixel.where(~measured.pixel.isnan(), patch.where(~patch.isnan(), plane))
