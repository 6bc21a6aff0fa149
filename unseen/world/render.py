"""A camera image and its classes: cast, shade, then what a sensor does to it.

Radiance is linear until the last step. Classes come from the ray through each pixel's centre and, on the ground, from
the paint that fills at least half of the pixel. Colour at the edges of solids is the mean of four rays.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from unseen.geometry.camera import RayField
from unseen.world.apron import Apron, Light
from unseen.world.cast import (
    GROUND,
    SKY,
    Hits,
    cast_image,
    cast_points,
    local_points,
    normals,
    screen_rectangles,
    shaded,
)
from unseen.world.paint import Ground, ground_points, painted, stripes
from unseen.world.site import generator
from unseen.world.solids import CLASSES, Material, Solids
from unseen.world.texture import Surface, albedo

SHADOW_STEP_M = 0.25
SHADOW_REACH_M = 60.0  # what moves farther away casts none
SMALLEST_PX = 1.5
_EXTRA_RAYS = ((-0.125, -0.375), (0.375, -0.125), (-0.375, 0.125))  # with the centre: four rays per edge pixel
_SHINE = np.zeros(len(Material))
_SHINE[[Material.GLOSS, Material.FUSELAGE, Material.NOSE, Material.ENGINE, Material.CABIN]] = 0.2
_SHINE[[Material.GLASS, Material.FACADE]] = 0.5, 0.15


class Frame(NamedTuple):
    """One frame: what the camera hands over, and the truth."""

    image: UInt8[np.ndarray, "H W 3"]
    label: UInt8[np.ndarray, "H W"]  # index in CLASSES
    depth_m: Float[np.ndarray, "H W"]  # along the optical axis through each pixel's centre; inf in the sky
    site_from_ego: Float[np.ndarray, "4 4"]


class Renderer:
    """Renders one log; keeps what all its frames share (noise texture, shadows of what stands)."""

    def __init__(self, apron: Apron, seed: int, log: int):
        self.apron, self.seed, self.log = apron, seed, log
        self.cloud = _texture(generator(seed, "texture", log), 2.2)
        self.grain = _texture(generator(seed, apron.site.site_id, "grain"), 1.2)
        reach = apron.site.half_length_m + 60.0
        self.x_m = np.arange(-reach, reach, SHADOW_STEP_M)
        self.y_m = np.arange(-5.0, apron.site.taxilane_y_m + 25.0, SHADOW_STEP_M)
        self.standing_shadow = shaded(apron.standing, apron.light.toward_sun, self.x_m, self.y_m)

    def frame(self, time_s: float) -> Frame:
        """Render the log at one time: a pure function of (seed, log, time)."""
        apron, (height, width) = self.apron, self.apron.camera.size_px
        site_from_ego = apron.drive.at(time_s)
        field = apron.camera.ray_field(site_from_ego)
        moving = apron.moving(time_s)
        solids = detailed(Solids.join([apron.standing, moving]), field)
        near = np.linalg.norm(moving.centre_m[:, :2] - site_from_ego[:2, 3], axis=1) < SHADOW_REACH_M
        cast = shaded(moving.rows(np.flatnonzero(near)), apron.light.toward_sun, self.x_m, self.y_m)
        shadow = self.standing_shadow | cast
        hits = cast_image(solids, field, (height, width))
        v, u = (grid.ravel().astype(float) for grid in np.mgrid[:height, :width])
        colour, cls = self._shade(solids, field, Hits(*(part.ravel() for part in hits)), u, v, shadow)
        colour = self._smooth_edges(solids, field, hits, colour, shadow)
        image = self._expose(colour.reshape(height, width, 3), time_s)
        return Frame(image, cls.reshape(height, width).astype(np.uint8), hits.depth_m, site_from_ego)

    def _smooth_edges(self, solids, field, hits, colour, shadow) -> np.ndarray:
        edge = np.zeros(hits.solid.shape, dtype=bool)
        for axis in (0, 1):
            step = np.diff(hits.solid, axis=axis) != 0
            edge |= np.pad(step, [(1, 0) if a == axis else (0, 0) for a in (0, 1)])
            edge |= np.pad(step, [(0, 1) if a == axis else (0, 0) for a in (0, 1)])
        row, column = np.nonzero(edge)
        pixel = np.tile(row * edge.shape[1] + column, len(_EXTRA_RAYS))
        v = np.concatenate([row + dv for dv, _ in _EXTRA_RAYS])
        u = np.concatenate([column + du for _, du in _EXTRA_RAYS])
        order = np.argsort(v, kind="stable")
        u, v, pixel = u[order], v[order], pixel[order]
        extra, _ = self._shade(solids, field, cast_points(solids, field, u, v), u, v, shadow)
        total = np.stack([np.bincount(pixel, extra[:, c], minlength=edge.size) for c in range(3)], axis=1)
        at = np.flatnonzero(edge)
        colour[at] = (colour[at] + total[at]) / (1 + len(_EXTRA_RAYS))
        return colour

    def _shade(self, solids: Solids, field: RayField, hits: Hits, u, v, shadow) -> tuple[np.ndarray, np.ndarray]:
        """Linear radiance [N, 3] and class [N] of rays sorted by v."""
        ray = field.at_zero + u[:, None] * field.per_u + v[:, None] * field.per_v
        length = np.linalg.norm(ray, axis=1)
        view = ray / length[:, None]
        colour, cls = np.empty_like(view), np.full(len(u), CLASSES.index("sky"))
        sky, ground, solid = (
            np.flatnonzero(mask) for mask in (hits.solid == SKY, hits.solid == GROUND, hits.solid >= 0)
        )
        colour[sky] = self._sky(view[sky])
        points = ground_points(field, u[ground], v[ground], hits.depth_m[ground])
        colour[ground], cls[ground] = self._ground(points, field, view[ground], shadow)
        hit = hits.solid[solid]
        point = field.origin_m + ray[solid] * hits.depth_m[solid, None]
        footprint = hits.depth_m[solid] * np.linalg.norm(field.per_u)
        colour[solid], cls[solid] = self._solid(solids, hit, point, view[solid], footprint), solids.cls[hit]
        light, seen = self.apron.light, np.concatenate([ground, solid])
        air = np.exp(-length[seen] * hits.depth_m[seen] / light.visibility_m)[:, None]
        colour[seen] = colour[seen] * air + _haze(light, view[seen]) * (1 - air)
        return colour, cls

    def _sky(self, view: np.ndarray) -> np.ndarray:
        light, up = self.apron.light, view[:, 2].clip(0)
        colour = _haze(light, view) * (1 - up[:, None]) ** 3 + light.zenith * (1 - (1 - up[:, None]) ** 3)
        at = view[:, :2] / (up[:, None] + 0.06)
        thick = _sample(self.cloud, at[:, 0] * 28, at[:, 1] * 28)
        share = (
            np.clip((thick + 3 * light.cloud - 1.6) * 0.8, 0, 1)
            * np.clip(up * 9, 0, 1)
            * (0.35 + 0.35 * (light.cloud < 0.95))
        )
        white = 0.5 * light.horizon + 0.35 * light.sun + 0.15
        return colour + (white * (1 - 0.15 * thick[:, None].clip(-1, 2)) - colour) * share[:, None]

    def _ground(
        self, ground: Ground, field: RayField, view: np.ndarray, shadow: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        apron, light, style = self.apron, self.apron.light, self.apron.site.style
        x, y = ground.point_m.T
        wide_x, wide_y = (ground.footprint_m(axis) for axis in np.eye(2)[:, None])
        near = np.clip(1.2 - np.maximum(wide_x, wide_y), 0, 1)
        tone = 1 + 0.10 * _sample(self.grain, x / 0.9, y / 0.9) + 0.08 * near * _sample(self.grain, x * 14, y * 14)
        base = np.asarray(style.slab) * np.ones((len(x), 1))
        if style.slab_m:
            column, row = np.floor(x / style.slab_m), np.floor(y / style.slab_m)
            cell = np.sin(column * 12.9898 + row * 78.233) * 43758.5453
            blur = np.clip(1.5 - np.maximum(wide_x, wide_y) / style.slab_m, 0, 1)
            tone *= 1 + 0.12 * (cell - np.floor(cell) - 0.5) * blur
            joint = 1 - (1 - stripes(x, wide_x, style.slab_m, 0.05 / style.slab_m)) * (
                1 - stripes(y, wide_y, style.slab_m, 0.05 / style.slab_m)
            )
            base = base * (1 - 0.75 * joint[:, None])
        colour, cls = painted(apron.paint, field, ground, base)
        colour *= tone.clip(0.4, 1.6)[:, None]
        lit = 1 - _shadow_at(shadow, self.x_m, self.y_m, x, y)
        sun = light.sun * light.toward_sun[2] * lit[:, None]
        if light.weather == "rain":
            mirror = self._sky(view * [1, 1, -1])
            gloss = (0.12 + 0.5 * (1 + view[:, 2:].clip(-1, 0)) ** 5) * (
                0.7 + 0.3 * np.tanh(_sample(self.grain, x * 1.5, y * 1.5))
            )[:, None]
            return colour * 0.55 * (sun + 0.85 * light.zenith) * (1 - gloss) + mirror * gloss, cls
        return colour * (sun + 0.6 * light.zenith + 0.25 * light.horizon), cls

    def _solid(
        self, solids: Solids, hit: np.ndarray, point: np.ndarray, view: np.ndarray, footprint: np.ndarray
    ) -> np.ndarray:
        light, style = self.apron.light, self.apron.site.style
        local = local_points(solids, hit, point)
        normal = normals(solids, hit, local)
        normal *= -np.sign((normal * view).sum(axis=1, keepdims=True) - 1e-9)
        size = np.linalg.norm(solids.axes_m, axis=2)[hit]
        material = solids.material[hit]
        surface = Surface(local, size, normal, footprint, solids.colour[hit], solids.accent[hit], solids.pattern[hit])
        colour = albedo(surface, material)
        up = normal[:, 2:]
        bounce = np.asarray(style.slab) * (light.zenith * 0.6 + light.sun * light.toward_sun[2] * 0.6)
        ambient = light.zenith * (0.5 + 0.5 * up) * 0.75 + light.horizon * 0.25 + bounce * (0.5 - 0.5 * up)
        ambient *= 0.65 + 0.35 * np.clip(point[:, 2:] / 1.5, 0, 1) * (0.7 + 0.3 * up)
        sun = light.sun * (normal @ light.toward_sun).clip(0)[:, None]
        mirrored = view - 2 * (view * normal).sum(axis=1, keepdims=True) * normal
        shine = _SHINE[material][:, None]
        graze = (1 - np.abs((view * normal).sum(axis=1, keepdims=True))) ** 3
        reflected = np.where(mirrored[:, 2:] > 0, light.zenith * 0.5 + light.horizon * 0.5, bounce)
        glint = light.sun * (mirrored @ light.toward_sun).clip(0)[:, None] ** 60 * 2.0
        return colour * (ambient + sun) + shine * ((0.25 + 0.75 * graze) * reflected + glint)

    def _expose(self, colour: np.ndarray, time_s: float) -> UInt8[np.ndarray, "H W 3"]:
        """Vignetting, gain, shot and read noise, tone curve, quantisation."""
        light, (height, width) = self.apron.light, colour.shape[:2]
        colour = colour.astype(np.float32)
        rng = generator(self.seed, "sensor", self.log, round(time_s * 1e6))
        v, u = np.linspace(-1, 1, height, dtype=np.float32)[:, None], np.linspace(-1, 1, width, dtype=np.float32)
        middle, bright = np.quantile(colour[::2, ::2], (0.5, 0.9))
        gain = 0.36 * light.exposure / np.sqrt(max(middle, 0.02) * max(bright, 0.05))
        colour = (colour * np.float32(gain)) * (1 - 0.16 * (u * u + v * v))[..., None]
        soft = np.pad(colour, ((1, 1), (1, 1), (0, 0)), mode="edge")
        soft = 0.86 * soft + 0.07 * (np.roll(soft, 1, axis=1) + np.roll(soft, -1, axis=1))
        soft = 0.86 * soft + 0.07 * (np.roll(soft, 1, axis=0) + np.roll(soft, -1, axis=0))
        colour = soft[1:-1, 1:-1]
        deviation = np.sqrt(np.float32(light.noise**2) + 0.0006 * colour.clip(0))
        colour = colour + deviation * rng.standard_normal(colour.shape, dtype=np.float32)
        bright = colour.clip(0)
        return np.round(255 * np.clip(bright / (1 + 0.18 * bright) * 1.12, 0, 1) ** (1 / 2.2)).astype(np.uint8)


def detailed(solids: Solids, field: RayField) -> Solids:
    """The solids that are at least SMALLEST_PX wide or high on the image: what is smaller is not drawn."""
    first, last = screen_rectangles(solids.corners_m(), field)
    return solids.rows(np.flatnonzero((last - first).max(axis=1) >= SMALLEST_PX))


def _haze(light: Light, view: np.ndarray) -> np.ndarray:
    """The colour of thick air: the horizon, warmer toward the sun."""
    toward = (view @ light.toward_sun).clip(0)[:, None]
    return light.horizon + 0.25 * (1 - light.cloud) * light.sun * (toward**6 + 2 * toward**200)


def _texture(rng: np.random.Generator, roughness: float, n: int = 256) -> Float[np.ndarray, "n n"]:
    """Periodic 1 / f noise of mean 0 and deviation 1."""
    frequency = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n)[None, :])
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(rng.standard_normal((n, n))) / frequency**roughness
    field = np.fft.irfft2(spectrum, (n, n))
    return field / field.std()


def _sample(texture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear look-up in a periodic texture, one unit a texel."""
    n = len(texture)
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = x - column, y - row
    c0, r0, c1, r1 = column % n, row % n, (column + 1) % n, (row + 1) % n
    low = texture[r0, c0] * (1 - fx) + texture[r0, c1] * fx
    return low * (1 - fy) + (texture[r1, c0] * (1 - fx) + texture[r1, c1] * fx) * fy


def _shadow_at(shadow: np.ndarray, x_m: np.ndarray, y_m: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear look-up in the shadow raster; 0 outside."""
    column, row = (x - x_m[0]) / SHADOW_STEP_M, (y - y_m[0]) / SHADOW_STEP_M
    inside = (column >= 0) & (column < len(x_m) - 1) & (row >= 0) & (row < len(y_m) - 1)
    column, row = np.where(inside, column, 0.0), np.where(inside, row, 0.0)
    c, r = column.astype(int), row.astype(int)
    fx, fy = column - c, row - r
    low = shadow[r, c] * (1 - fx) + shadow[r, c + 1] * fx
    high = shadow[r + 1, c] * (1 - fx) + shadow[r + 1, c + 1] * fx
    return (low * (1 - fy) + high * fy) * inside
