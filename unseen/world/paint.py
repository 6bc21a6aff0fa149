"""Paint on the ground: marking lines, areas and stains as rectangles, averaged over each pixel's footprint.

A thin line far away covers only part of a pixel. Point sampling would make it flicker, so the share of the footprint
that lies inside the paint is computed in closed form (a box filter along both sides of the rectangle).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from unseen.geometry.camera import RayField
from unseen.world.cast import inside, screen_rectangles
from unseen.world.solids import CLASSES, Vector


class Style(IntEnum):
    """How a rectangle is filled."""

    SOLID = 0
    DASHED = 1  # stripes across the long side: `period_m`, half of it painted
    HATCHED = 2  # stripes at 45 degrees
    STAIN = 3  # darkest in the middle, no edge, no class of its own
    DISC = 4  # the ellipse inside the rectangle


class Patch(NamedTuple):
    """One rectangle of paint. Later patches cover earlier ones."""

    centre_m: tuple[float, float]
    half_m: tuple[float, float]  # along its heading, across it
    heading_rad: float
    colour: Vector
    cls: str = "marking"
    style: Style = Style.SOLID
    period_m: float = 1.0
    opacity: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Paint:
    """All patches of a site as columns, in painting order."""

    centre_m: Float[np.ndarray, "D 2"]
    half_m: Float[np.ndarray, "D 2"]
    along: Float[np.ndarray, "D 2"]
    colour: Float[np.ndarray, "D 3"]
    cls: Int[np.ndarray, "D"]
    style: Int[np.ndarray, "D"]
    period_m: Float[np.ndarray, "D"]
    opacity: Float[np.ndarray, "D"]

    def __len__(self) -> int:
        return len(self.cls)

    @staticmethod
    def of(patches: Sequence[Patch]) -> "Paint":
        """Stack patches."""
        heading = np.array([p.heading_rad for p in patches], dtype=float)
        return Paint(
            centre_m=np.array([p.centre_m for p in patches], dtype=float).reshape(-1, 2),
            half_m=np.array([p.half_m for p in patches], dtype=float).reshape(-1, 2),
            along=np.stack([np.cos(heading), np.sin(heading)], axis=1),
            colour=np.array([p.colour for p in patches], dtype=float).reshape(-1, 3),
            cls=np.array([CLASSES.index(p.cls) for p in patches], dtype=np.int64),
            style=np.array([p.style for p in patches], dtype=np.int64),
            period_m=np.array([p.period_m for p in patches], dtype=float),
            opacity=np.array([p.opacity for p in patches], dtype=float),
        )

    def corners_m(self) -> Float[np.ndarray, "D 4 3"]:
        """The corners on the ground."""
        across = np.stack([-self.along[:, 1], self.along[:, 0]], axis=1)
        long, wide = self.along * self.half_m[:, :1], across * self.half_m[:, 1:]
        flat = self.centre_m[:, None] + np.stack([long + wide, long - wide, -long + wide, -long - wide], axis=1)
        return np.concatenate([flat, np.zeros((*flat.shape[:2], 1))], axis=2)


class Ground(NamedTuple):
    """Points of the ground seen by pixels, sorted by v, with the two ground vectors that a step of one pixel makes."""

    u: Float[np.ndarray, "N"]
    v: Float[np.ndarray, "N"]
    point_m: Float[np.ndarray, "N 2"]
    per_u_m: Float[np.ndarray, "N 2"]
    per_v_m: Float[np.ndarray, "N 2"]

    def footprint_m(self, direction: Float[np.ndarray, "#N 2"]) -> Float[np.ndarray, "N"]:
        """Width of each pixel's footprint along ground directions, one for each point or one for all."""
        x, y = direction.T
        step_u, step_v = (per[:, 0] * x + per[:, 1] * y for per in (self.per_u_m, self.per_v_m))
        return np.abs(step_u) + np.abs(step_v)

    def rows(self, index: np.ndarray) -> "Ground":
        """Some of the points."""
        return Ground(*(part[index] for part in self))

    def reach_m(self) -> Float[np.ndarray, "N"]:
        """An upper bound of the footprint's width in any direction."""
        return np.hypot(*self.per_u_m.T) + np.hypot(*self.per_v_m.T)


def ground_points(
    field: RayField, u: Float[np.ndarray, "N"], v: Float[np.ndarray, "N"], depth_m: Float[np.ndarray, "N"]
) -> Ground:
    """Where pixels that see the plane z = 0 meet it, and how fast that place moves with the pixel."""
    ray = field.at_zero + u[:, None] * field.per_u + v[:, None] * field.per_v
    slope_u = (field.per_u[:2] - ray[:, :2] / ray[:, 2:] * field.per_u[2]) * depth_m[:, None]
    slope_v = (field.per_v[:2] - ray[:, :2] / ray[:, 2:] * field.per_v[2]) * depth_m[:, None]
    return Ground(u, v, field.origin_m[:2] + ray[:, :2] * depth_m[:, None], slope_u, slope_v)


def painted(
    paint: Paint, field: RayField, ground: Ground, colour: Float[np.ndarray, "N 3"]
) -> tuple[Float[np.ndarray, "N 3"], Int[np.ndarray, "N"]]:
    """Albedo and class of the ground, all patches painted over `colour`; a class holds where it fills half a pixel."""
    d, place = _touched(paint, field, ground)
    share = coverage(paint, d, ground.rows(place))
    opacity = (paint.opacity[d] * share)[:, None]
    claims = (share >= 0.5) & (paint.style[d] != Style.STAIN)
    colour, cls = colour.copy(), np.full(len(colour), CLASSES.index("apron"))
    order = np.argsort(place, kind="stable")  # by pixel, then in painting order
    layer = np.empty(len(d), dtype=int)
    layer[order] = np.arange(len(d)) - np.searchsorted(place[order], place[order])
    for k in range(int(layer.max(initial=-1)) + 1):
        of = np.flatnonzero(layer == k)
        at, sure = place[of], of[claims[of]]
        colour[at] += opacity[of] * (paint.colour[d[of]] - colour[at])
        cls[place[sure]] = paint.cls[d[sure]]
    return colour, cls


def _touched(paint: Paint, field: RayField, ground: Ground) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (patch, point) that may overlap: a patch's screen rectangle, then its bounds on the ground."""
    first, last = screen_rectangles(paint.corners_m(), field, pad_px=1.0)
    x, y, reach = *np.ascontiguousarray(ground.point_m.T), ground.reach_m()
    patches, places = [np.empty(0, dtype=int)], [np.empty(0, dtype=int)]
    for d, index in inside(first, last, ground.u, ground.v):
        (cx, cy), (ax, ay), (half_a, half_b) = paint.centre_m[d], paint.along[d], paint.half_m[d]
        ox, oy, near = x[index] - cx, y[index] - cy, reach[index]
        index = index[(np.abs(ox * ax + oy * ay) < half_a + near) & (np.abs(oy * ax - ox * ay) < half_b + near)]
        patches.append(np.full(len(index), d))
        places.append(index)
    return np.concatenate(patches), np.concatenate(places)


def coverage(paint: Paint, d: Int[np.ndarray, "N"], ground: Ground) -> Float[np.ndarray, "N"]:
    """The share of each pixel's footprint that its patch d covers, in [0, 1]."""
    along = paint.along[d]
    across = np.stack([-along[:, 1], along[:, 0]], axis=1)
    offset, (half_a, half_b) = ground.point_m - paint.centre_m[d], paint.half_m[d].T
    a, b = (offset * along).sum(axis=1), (offset * across).sum(axis=1)
    wide_a, wide_b = ground.footprint_m(along), ground.footprint_m(across)
    share, style = _interval(a, half_a, wide_a) * _interval(b, half_b, wide_b), paint.style[d]
    at = np.flatnonzero(style == Style.STAIN)
    share[at] = np.exp(-3 * ((a[at] / half_a[at]) ** 2 + (b[at] / half_b[at]) ** 2))
    at = np.flatnonzero(style == Style.DISC)
    soft = np.minimum(half_a, half_b)[at] / np.maximum(wide_a, wide_b)[at].clip(min=1e-9)
    share[at] = np.clip((1 - np.hypot(a[at] / half_a[at], b[at] / half_b[at])) * soft + 0.5, 0, 1)
    at = np.flatnonzero(style == Style.DASHED)
    share[at] *= stripes(a[at] + half_a[at], wide_a[at], paint.period_m[d[at]])
    at = np.flatnonzero(style == Style.HATCHED)
    diagonal = (along[at] + across[at]) / np.sqrt(2)
    share[at] *= stripes(
        (offset[at] * diagonal).sum(axis=1), ground.rows(at).footprint_m(diagonal), paint.period_m[d[at]]
    )
    return share


def stripes(x: np.ndarray, width: np.ndarray, period: np.ndarray | float, duty: float = 0.5) -> np.ndarray:
    """Box-filtered square wave: 1 in the first `duty` of each period, averaged over `width` around x."""
    width = np.maximum(width, 1e-6)
    return (_painted_length(x + width / 2, period, duty) - _painted_length(x - width / 2, period, duty)) / width


def _painted_length(x: np.ndarray, period: np.ndarray | float, duty: float) -> np.ndarray:
    whole = np.floor(x / period)
    return whole * period * duty + np.minimum(x - whole * period, period * duty)


def _interval(x: np.ndarray, half: np.ndarray, width: np.ndarray) -> np.ndarray:
    """The share of [x - width / 2, x + width / 2] inside [-half, half]."""
    width = np.maximum(width, 1e-9)
    high, low = np.minimum(x + width / 2, half), np.maximum(x - width / 2, -half)
    return np.clip((high - low) / width, 0, 1)


def line(start_m: tuple[float, float], end_m: tuple[float, float], width_m: float, colour: Vector, **how) -> Patch:
    """A straight line of paint."""
    (x0, y0), (x1, y1) = start_m, end_m
    length = float(np.hypot(x1 - x0, y1 - y0))
    return Patch(
        ((x0 + x1) / 2, (y0 + y1) / 2), (length / 2, width_m / 2), float(np.arctan2(y1 - y0, x1 - x0)), colour, **how
    )


def polyline(points_m: Sequence[tuple[float, float]], width_m: float, colour: Vector) -> list[Patch]:
    """Lines through points."""
    return [line(a, b, width_m, colour) for a, b in pairwise(points_m)]


def arc(
    centre_m: tuple[float, float], radius_m: float, from_rad: float, to_rad: float, width_m: float, colour: Vector
) -> list[Patch]:
    """A curved line, as eight straight ones."""
    angles = np.linspace(from_rad, to_rad, 9)
    return polyline(
        [(centre_m[0] + radius_m * np.cos(t), centre_m[1] + radius_m * np.sin(t)) for t in angles], width_m, colour
    )


SEGMENTS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")  # of 0 to 9
_STROKES = {  # of a seven-segment digit: centre (right, up) in half heights, lying or standing
    "a": (0.0, 1.0, True),
    "b": (0.5, 0.5, False),
    "c": (0.5, -0.5, False),
    "d": (0.0, -1.0, True),
    "e": (-0.5, -0.5, False),
    "f": (-0.5, 0.5, False),
    "g": (0.0, 0.0, True),
}


def stand_number(text: str, centre_m: tuple[float, float], height_m: float, ink: Vector, board: Vector) -> list[Patch]:
    """Digits on a dark board, upright for a reader who looks toward -y (an aircraft that comes in to park)."""
    half, advance = height_m / 2, 0.75 * height_m
    patches = [Patch(centre_m, (0.5 * advance * len(text) + 0.2, half + 0.3), np.pi, board)]
    for i, digit in enumerate(text):
        x = centre_m[0] - (i - (len(text) - 1) / 2) * advance
        for stroke in SEGMENTS[int(digit)]:
            sx, sy, flat = _STROKES[stroke]
            size = (0.25 * height_m, 0.06 * height_m) if flat else (0.06 * height_m, 0.25 * height_m)
            patches.append(Patch((x - sx * 0.5 * height_m, centre_m[1] - sy * half), size, 0.0, ink))
    return patches
