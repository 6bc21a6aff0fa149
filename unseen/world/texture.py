"""Albedo of solids: one small function per material, in the solid's unit coordinates.

Every function gets `Surface` rows of one material and answers linear albedo [N, 3]. Detail fades where the pixel's
footprint is larger than the detail, so that distant windows do not flicker.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from unseen.world.paint import stripes
from unseen.world.solids import Material

GLASS_ALBEDO = np.array([0.05, 0.07, 0.09])


class Surface(NamedTuple):
    """Surface points of solids of one material."""

    local: Float[np.ndarray, "N 3"]  # unit coordinates
    size_m: Float[np.ndarray, "N 3"]  # half extents
    normal: Float[np.ndarray, "N 3"]  # site frame
    footprint_m: Float[np.ndarray, "N"]
    colour: Float[np.ndarray, "N 3"]
    accent: Float[np.ndarray, "N 3"]
    pattern: Float[np.ndarray, "N"]

    def rows(self, index: np.ndarray) -> "Surface":
        """Some of the points."""
        return Surface(*(part[index] for part in self))


def albedo(surface: Surface, material: np.ndarray) -> Float[np.ndarray, "N 3"]:
    """Albedo of points of any materials."""
    colour = surface.colour.copy()
    for kind, paint in _PAINTS.items():
        chosen = np.flatnonzero(material == kind)
        if len(chosen):
            colour[chosen] = paint(surface.rows(chosen))
    return colour


def _mix(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    return a + (b - a) * np.clip(share, 0, 1)[:, None]


def _band(x: np.ndarray, low: np.ndarray | float, high: np.ndarray | float, soft: np.ndarray) -> np.ndarray:
    """1 inside [low, high], 0 outside, with an edge as soft as the footprint."""
    soft = np.maximum(soft, 1e-6)
    return np.clip((x - low) / soft + 0.5, 0, 1) * np.clip((high - x) / soft + 0.5, 0, 1)


def _fuselage(s: Surface) -> np.ndarray:
    """Local x up, z forward: windows, a cheat line or not, doors and the belly colour."""
    up, along, soft = s.local[:, 0], s.local[:, 2] * s.size_m[:, 2], s.footprint_m / s.size_m[:, 0]
    colour = _mix(s.colour, s.accent, np.clip((-0.35 - up) / soft + 0.5, 0, 1))
    line = _band(up, -0.12, 0.02, soft) * (s.pattern > 0.5)
    colour = _mix(colour, s.accent * 0.8, line)
    windows = _band(up, 0.2, 0.36, soft) * stripes(along, s.footprint_m, 0.53, 0.5)
    colour = _mix(colour, GLASS_ALBEDO, windows * 0.9)
    door = _band(np.abs(s.local[:, 2]), 0.86, 0.89, s.footprint_m / s.size_m[:, 2]) * _band(up, -0.15, 0.6, soft)
    return _mix(colour, 0.55 * s.colour, door)


def _nose(s: Surface) -> np.ndarray:
    """The cockpit windows, on the front half of an ellipsoid."""
    up, ahead, soft = s.local[:, 0], s.local[:, 2], s.footprint_m / s.size_m[:, 0]
    colour = _mix(s.colour, s.accent, np.clip((-0.35 - up) / soft + 0.5, 0, 1))
    return _mix(colour, GLASS_ALBEDO, _band(up, 0.28, 0.52, soft) * _band(ahead, 0.66, 0.86, soft))


def _fin(s: Surface) -> np.ndarray:
    """A tail with a disc or with slanted bands in the body colour."""
    across, up, soft = s.local[:, 0], s.local[:, 2], s.footprint_m / s.size_m[:, 2]
    disc = np.clip((0.32 - np.hypot(across * 0.6, up - 0.1)) / soft + 0.5, 0, 1)
    bands = stripes(up + 0.5 * across + s.pattern, soft, 0.7, 0.35)
    return _mix(s.colour, s.accent, np.where(s.pattern < 0.5, disc, bands))


def _high_visibility(s: Surface) -> np.ndarray:
    """Two bands around the body and two braces, retro-reflecting."""
    up, soft = s.local[:, 2] / (s.size_m[:, 2] / s.size_m[:, 2]), s.footprint_m / s.size_m[:, 2]
    bands = _band(up, -0.55, -0.1, soft) + _band(up, 0.35, 0.7, soft)
    return _mix(s.colour, s.accent, bands * 0.85)


def _bands(s: Surface) -> np.ndarray:
    """White bands of a cone: one (pattern 0.25) or two (0.5)."""
    up, soft = s.local[:, 2], s.footprint_m / s.size_m[:, 2]
    share = _band(up, -0.1, 0.35, soft) + _band(up, 0.55, 0.8, soft) * (s.pattern > 0.3)
    return _mix(s.colour, s.accent, share)


def _facade(s: Surface) -> np.ndarray:
    """Storeys of glass with mullions; a high `pattern` gives wide ribs of sheet metal instead."""
    side = np.abs(s.normal[:, 0]) > np.abs(s.normal[:, 1])
    along = np.where(side, s.local[:, 1] * s.size_m[:, 1], s.local[:, 0] * s.size_m[:, 0])
    up = (s.local[:, 2] + 1) * s.size_m[:, 2]
    pane = 1.0 + 3.0 * s.pattern
    phase = along / pane
    glass = stripes(phase, s.footprint_m / pane, 1.0, 0.88) * stripes(up - 0.9, s.footprint_m, 4.2, 0.68)
    ribs = stripes(along, s.footprint_m, 1.2, 0.5) * 0.35
    share = np.where(s.pattern > 0.9, ribs, glass) * (np.abs(s.normal[:, 2]) < 0.5)
    return _mix(s.colour, s.accent, share)


def _engine(s: Surface) -> np.ndarray:
    """A bright lip, a dark intake and a spinner on the front face (local z forward)."""
    radius, front, soft = (
        np.hypot(s.local[:, 0], s.local[:, 1]) / 1.28,
        s.local[:, 2] > 0.999,
        s.footprint_m / s.size_m[:, 0],
    )
    colour = _mix(s.colour, np.array([0.75, 0.76, 0.78]), _band(s.local[:, 2], 0.86, 1.1, soft))
    intake = np.clip((0.88 - radius) / soft + 0.5, 0, 1) * front
    colour = _mix(colour, np.array([0.03, 0.03, 0.035]), intake)
    return _mix(colour, np.array([0.3, 0.3, 0.31]), np.clip((0.22 - radius) / soft + 0.5, 0, 1) * front)


def _checker(s: Surface) -> np.ndarray:
    """Squares of two colours; `pattern` above 0.8 gives one band of the accent instead."""
    metres = s.local * s.size_m
    period = 0.75
    flat = np.abs(s.normal[:, 2]) > 0.7
    a = stripes(metres[:, 0] + metres[:, 1] * flat, s.footprint_m, period)
    b = stripes(np.where(flat, metres[:, 1], metres[:, 2]) + 0.1, s.footprint_m, period)
    band = _band(s.local[:, 2], -0.75, -0.45, s.footprint_m / s.size_m[:, 2])
    return _mix(s.colour, s.accent, np.where(s.pattern > 0.8, band, a + b - 2 * a * b))


def _cabin(s: Surface) -> np.ndarray:
    """A window band all around; a bus (`pattern` 0.5) has posts between its panes."""
    up, soft = s.local[:, 2], s.footprint_m / s.size_m[:, 2]
    share = _band(up, 0.0, 0.78, soft) * (np.abs(s.normal[:, 2]) < 0.6)
    posts = stripes(s.local[:, 0] * s.size_m[:, 0], s.footprint_m, 1.5, 0.85)
    return _mix(s.colour, GLASS_ALBEDO, share * np.where(s.pattern > 0.4, posts, 1.0))


def _foliage(s: Surface) -> np.ndarray:
    a = np.sin(s.local @ np.array([9.0, 13.0, 17.0]) + 40 * s.pattern) * np.sin(s.local @ np.array([21.0, -16.0, 11.0]))
    return s.colour * (1 + 0.35 * a * np.clip(1 - s.footprint_m, 0, 1))[:, None]


_PAINTS = {
    Material.FUSELAGE: _fuselage,
    Material.NOSE: _nose,
    Material.FIN: _fin,
    Material.HIGH_VISIBILITY: _high_visibility,
    Material.BANDS: _bands,
    Material.FACADE: _facade,
    Material.ENGINE: _engine,
    Material.CHECKER: _checker,
    Material.CABIN: _cabin,
    Material.FOLIAGE: _foliage,
}
