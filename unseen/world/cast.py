"""Exact ray casting: every pixel's nearest solid, by formulas instead of triangles.

Each solid is tested only in the screen rectangle of its bounding corners. The rectangle never loses a hit, so the
result equals testing every pixel against every solid; `culled=False` does just that. The arithmetic is elementwise,
hence the two agree to the last bit. Of equally near solids the first in the table is seen.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from unseen.geometry.camera import RayField
from unseen.world.solids import Shape, Solids

NEAR_M = 0.05  # nothing nearer to the camera plane is seen
LARGE = 2000  # pixels: larger solids are tested one by one, smaller ones all together
SKY, GROUND = -2, -1  # ids of what is not a solid


class Hits(NamedTuple):
    """What the ray of each pixel meets first."""

    solid: Int[np.ndarray, "*N"]  # row in Solids, or SKY, or GROUND (the plane z = 0)
    depth_m: Float[np.ndarray, "*N"]  # along the optical axis; inf in the sky


def cast_image(solids: Solids, field: RayField, size_px: tuple[int, int], *, culled: bool = True) -> Hits:
    """Cast the centre of every pixel of an image: arrays of shape [H, W]."""
    height, width = size_px
    u, v = np.arange(width, dtype=float), np.arange(height, dtype=float)
    hits, local = _ground(field, u[None, :], v[:, None]), _local_rays(solids, field)
    first, last = screen_rectangles(solids.corners_m(), field) if culled else _whole(len(solids))
    low = np.clip(np.ceil(first), 0, (width, height)).astype(int)
    high = np.clip(np.floor(last) + 1, 0, (width, height)).astype(int)
    area = (high - low).clip(min=0).prod(axis=1)
    for large in np.flatnonzero(area > LARGE).tolist():
        columns, rows = (slice(low[large, axis], high[large, axis]) for axis in (0, 1))
        depth = _solid_depth(solids, local, large, u[None, columns], v[rows, None])
        _keep_nearer(hits.solid[rows, columns], hits.depth_m[rows, columns], depth, large)
    p, column, row = _pairs(low, high, np.flatnonzero((area > 0) & (area <= LARGE)))
    _resolve(hits, row * width + column, p, _pair_depth(solids, local, p, u[column], v[row]))
    return hits


def cast_points(solids: Solids, field: RayField, u: Float[np.ndarray, "N"], v: Float[np.ndarray, "N"]) -> Hits:
    """Cast any pixel coordinates, sorted by v: arrays of shape [N]."""
    hits, local = _ground(field, u, v), _local_rays(solids, field)
    owners, places = [np.empty(0, dtype=int)], [np.empty(0, dtype=int)]
    for number, index in inside(*screen_rectangles(solids.corners_m(), field), u, v):
        if len(index) > LARGE:
            solid, nearest = hits.solid[index], hits.depth_m[index]
            _keep_nearer(solid, nearest, _solid_depth(solids, local, number, u[index], v[index]), number)
            hits.solid[index], hits.depth_m[index] = solid, nearest
        else:
            owners.append(np.full(len(index), number))
            places.append(index)
    p, place = np.concatenate(owners), np.concatenate(places)
    _resolve(hits, place, p, _pair_depth(solids, local, p, u[place], v[place]))
    return hits


def inside(
    first_px: Float[np.ndarray, "P 2"], last_px: Float[np.ndarray, "P 2"], u: np.ndarray, v: np.ndarray
) -> Iterator[tuple[int, np.ndarray]]:
    """For each (u, v) rectangle that holds any of the points, which are sorted by v: its number and their indices."""
    if not len(u):
        return
    start, stop = np.searchsorted(v, first_px[:, 1], "left"), np.searchsorted(v, last_px[:, 1], "right")
    for p in np.flatnonzero((start < stop) & (first_px[:, 0] <= u.max()) & (last_px[:, 0] >= u.min())):
        part = u[start[p] : stop[p]]
        index = np.flatnonzero((part >= first_px[p, 0]) & (part <= last_px[p, 0]))
        if len(index):
            yield int(p), index + start[p]


def screen_rectangles(
    corners_m: Float[np.ndarray, "P C 3"], field: RayField, pad_px: float = 0.01
) -> tuple[Float[np.ndarray, "P 2"], Float[np.ndarray, "P 2"]]:
    """Rectangles (first, last) in (u, v) that hold the image of each convex hull of corners.

    A hull behind the camera gets an empty rectangle, one that straddles the camera plane the whole plane.
    """
    to_pixels = np.linalg.inv(np.stack([field.per_u, field.per_v, field.at_zero], axis=1))
    scaled = (corners_m - field.origin_m) @ to_pixels.T  # (u * depth, v * depth, depth)
    depth = scaled[..., 2]
    pixels = scaled[..., :2] / np.where(depth > NEAR_M, depth, 1.0)[..., None]
    first, last = pixels.min(axis=1) - pad_px, pixels.max(axis=1) + pad_px
    behind, straddles = (depth <= NEAR_M).all(axis=1), (depth <= NEAR_M).any(axis=1)
    first[straddles], last[straddles] = -np.inf, np.inf
    first[behind], last[behind] = np.inf, -np.inf
    return first, last


def shaded(
    solids: Solids, toward_sun: Float[np.ndarray, "3"], x_m: np.ndarray, y_m: np.ndarray
) -> Bool[np.ndarray, "Y X"]:
    """Which points (x, y, 0) of a regular raster of the ground lie in the shadow of a solid."""
    corners, inverse = solids.corners_m(), solids.local_from_frame()
    on_ground = corners[..., :2] - corners[..., 2:].clip(min=0) * (toward_sun[:2] / toward_sun[2])
    low = np.stack([np.searchsorted(axis, on_ground[..., i].min(axis=1)) for i, axis in enumerate((x_m, y_m))], axis=1)
    high = np.stack([np.searchsorted(axis, on_ground[..., i].max(axis=1)) for i, axis in enumerate((x_m, y_m))], axis=1)
    direction = inverse @ toward_sun
    dark = np.zeros((len(y_m), len(x_m)), dtype=bool)
    for part in np.array_split(np.arange(len(solids)), 1 + len(solids) // 50):  # keeps the arrays small
        p, column, row = _pairs(low, high, part)
        x, y, z = x_m[column] - solids.centre_m[p, 0], y_m[row] - solids.centre_m[p, 1], -solids.centre_m[p, 2]
        origin = [inverse[p, i, 0] * x + inverse[p, i, 1] * y + inverse[p, i, 2] * z for i in range(3)]
        hit = np.isfinite(_depths(solids, p, origin, [direction[p, i] for i in range(3)]))
        dark[row[hit], column[hit]] = True
    return dark


def local_points(
    solids: Solids, solid: Int[np.ndarray, "N"], point_m: Float[np.ndarray, "N 3"]
) -> Float[np.ndarray, "N 3"]:
    """Points in the unit coordinates of the solid that each belongs to."""
    return np.einsum("nij,nj->ni", solids.local_from_frame()[solid], point_m - solids.centre_m[solid])


def normals(solids: Solids, solid: Int[np.ndarray, "N"], local: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3"]:
    """Outward unit normals at surface points given in unit coordinates."""
    shape, form = solids.shape[solid], solids.form[solid]
    gradient = local.copy()
    gradient[shape == Shape.CAPSULE, 2] -= np.clip(local[:, 2], -form, form)[shape == Shape.CAPSULE]
    for kind, rule in ((Shape.BOX, _box_gradient), (Shape.WEDGE, _wedge_gradient), (Shape.CONE, _cone_gradient)):
        chosen = shape == kind
        gradient[chosen] = rule(local[chosen], form[chosen])
    normal = np.einsum("nij,ni->nj", solids.local_from_frame()[solid], gradient)
    return normal / np.linalg.norm(normal, axis=1, keepdims=True).clip(min=1e-12)


def _box_gradient(local: np.ndarray, _form: np.ndarray) -> np.ndarray:
    face = np.abs(local).argmax(axis=1)
    return np.eye(3)[face] * np.sign(np.take_along_axis(local, face[:, None], axis=1))


def _wedge_gradient(local: np.ndarray, form: np.ndarray) -> np.ndarray:
    width = (1 + form) / 2 + (form - 1) / 2 * local[:, 2]
    face = np.abs(local / np.stack([width, width, np.ones_like(width)], axis=1)).argmax(axis=1)
    gradient = np.eye(3)[face] * np.sign(np.take_along_axis(local, face[:, None], axis=1))
    gradient[face < 2, 2] = (1 - form[face < 2]) / 2
    return gradient


def _cone_gradient(local: np.ndarray, form: np.ndarray) -> np.ndarray:
    radius = (1 + form) / 2 + (form - 1) / 2 * local[:, 2]
    gradient = np.stack([local[:, 0], local[:, 1], (1 - form) / 2 * radius], axis=1)
    cap = np.abs(local[:, 2]) > 1 - 1e-6
    gradient[cap] = np.sign(local[cap, 2:]) * [[0.0, 0.0, 1.0]]
    return gradient


def _ground(field: RayField, u: np.ndarray, v: np.ndarray) -> Hits:
    down = (field.at_zero[2] + v * field.per_v[2]) + u * field.per_u[2]
    with np.errstate(divide="ignore"):
        depth = np.where(down < 0, -field.origin_m[2] / down, np.inf)
    return Hits(np.where(np.isfinite(depth), GROUND, SKY), depth)


def _whole(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full((n, 2), -np.inf), np.full((n, 2), np.inf)


def _local_rays(solids: Solids, field: RayField) -> tuple[np.ndarray, ...]:
    inverse = solids.local_from_frame()
    origin = np.einsum("pij,pj->pi", inverse, field.origin_m - solids.centre_m)
    return origin, inverse @ field.at_zero, inverse @ field.per_u, inverse @ field.per_v


def _solid_depth(solids: Solids, local: tuple[np.ndarray, ...], p: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Depths at which the rays through (u, v) meet solid p."""
    origin, at_zero, per_u, per_v = (part[p] for part in local)
    direction = [(at_zero[i] + v * per_v[i]) + u * per_u[i] for i in range(3)]
    with np.errstate(divide="ignore", invalid="ignore"):
        return _seen(_RULES[Shape(solids.shape[p])](solids.form[p], *origin, *direction))


def _pair_depth(
    solids: Solids, local: tuple[np.ndarray, ...], p: np.ndarray, u: np.ndarray, v: np.ndarray
) -> np.ndarray:
    """Depths for pairs of a solid and a pixel: many small solids in a few calls."""
    origin, at_zero, per_u, per_v = local
    direction = [(at_zero[p, i] + v * per_v[p, i]) + u * per_u[p, i] for i in range(3)]
    return _depths(solids, p, [origin[p, i] for i in range(3)], direction)


def _depths(solids: Solids, p: np.ndarray, origin: list[np.ndarray], direction: list[np.ndarray]) -> np.ndarray:
    """The smallest ray parameter above NEAR_M at which each local ray meets its solid, inf where it misses."""
    depth, shape = np.empty(len(p)), solids.shape[p]
    for kind, rule in _RULES.items():
        of = np.flatnonzero(shape == kind)
        with np.errstate(divide="ignore", invalid="ignore"):
            depth[of] = _seen(rule(solids.form[p[of]], *(o[of] for o in origin), *(d[of] for d in direction)))
    return depth


def _seen(depth: np.ndarray) -> np.ndarray:
    return np.where(depth > NEAR_M, depth, np.inf)  # also where it is NaN


def _pairs(low: np.ndarray, high: np.ndarray, part: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All (solid, column, row) of the half-open integer rectangles of some solids."""
    size = (high[part] - low[part]).clip(min=0)
    count = size.prod(axis=1)
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    width = np.repeat(size[:, 0], count)
    p = np.repeat(part, count)
    return p, low[p, 0] + number % width, low[p, 1] + number // width


def _keep_nearer(solid: np.ndarray, nearest: np.ndarray, depth: np.ndarray, p: int) -> None:
    """Let solid p have, in place, the pixels where it is nearer; of equally near solids the first has it."""
    nearer = (depth < nearest) | ((depth == nearest) & (p < solid) & np.isfinite(depth))
    nearest[nearer], solid[nearer] = depth[nearer], p


def _resolve(hits: Hits, place: np.ndarray, p: np.ndarray, depth: np.ndarray) -> None:
    """The rule of `_keep_nearer` for pairs in order of p; `place` counts pixels in C order."""
    nearest, solid = hits.depth_m.reshape(-1), hits.solid.reshape(-1)
    before = nearest[place]
    np.minimum.at(nearest, place, depth)
    wins = np.isfinite(depth) & (depth == nearest[place]) & ((depth < before) | (p < solid[place]))
    solid[place[wins][::-1]] = p[wins][::-1]


def _box(_form, ox, oy, oz, dx, dy, dz):
    enter, leave = _slab(ox, dx, 1.0)
    for o, d in ((oy, dy), (oz, dz)):
        near, far = _slab(o, d, 1.0)
        enter, leave = np.maximum(enter, near), np.minimum(leave, far)
    return np.where(enter <= leave, enter, np.inf)


def _wedge(form, ox, oy, oz, dx, dy, dz):
    """Five of the six faces lean: each is a half space, entered where the ray runs against its normal."""
    middle, slope = (1 + form) / 2, (form - 1) / 2
    enter, leave = _slab(oz, dz, 1.0)
    for o, d in ((ox, dx), (-ox, -dx), (oy, dy), (-oy, -dy)):
        room, rate = middle + slope * oz - o, d - slope * dz  # inside while room >= t * rate
        t = room / rate
        enter = np.where(rate < 0, np.maximum(enter, t), enter)
        leave = np.where(rate > 0, np.minimum(leave, t), np.where((rate == 0) & (room < 0), -np.inf, leave))
    return np.where(enter <= leave, enter, np.inf)


def _ellipsoid(_form, ox, oy, oz, dx, dy, dz):
    return _quadratic(dx * dx + dy * dy + dz * dz, ox * dx + oy * dy + oz * dz, ox * ox + oy * oy + oz * oz - 1.0)[0]


def _cone(form, ox, oy, oz, dx, dy, dz):
    middle, slope = (1 + form) / 2, (form - 1) / 2
    radius, shrink = middle + slope * oz, slope * dz
    a = dx * dx + dy * dy - shrink * shrink
    b = ox * dx + oy * dy - radius * shrink
    best = np.inf
    for t in _quadratic(a, b, ox * ox + oy * oy - radius * radius):
        best = np.where((np.abs(oz + t * dz) <= 1) & (t > NEAR_M), np.minimum(best, t), best)
    for end, size in ((-1.0, 1.0), (1.0, form)):
        t = (end - oz) / dz
        x, y = ox + t * dx, oy + t * dy
        best = np.where((x * x + y * y <= size * size) & (t > NEAR_M), np.minimum(best, t), best)
    return best


def _capsule(form, ox, oy, oz, dx, dy, dz):
    a, b = dx * dx + dy * dy, ox * dx + oy * dy
    side = _quadratic(a, b, ox * ox + oy * oy - 1.0)[0]
    on_side = np.abs(oz + side * dz) <= form
    best = np.where(on_side, side, np.inf)
    for sign in (-1.0, 1.0):
        z = oz - sign * form
        cap = _quadratic(a + dz * dz, b + z * dz, ox * ox + oy * oy + z * z - 1.0)[0]
        beyond = (oz + cap * dz) * sign >= form
        best = np.where(beyond, np.minimum(best, cap), best)
    return best


def _slab(o, d, reach):
    t0, t1 = (-reach - o) / d, (reach - o) / d
    return np.fmin(t0, t1), np.fmax(t0, t1)


def _quadratic(a, b, c):
    """Both roots of a t^2 + 2 b t + c = 0, the smaller first where a > 0; NaN where there is none."""
    root = np.sqrt(b * b - a * c)
    return (-b - root) / a, (-b + root) / a


_RULES = {
    Shape.BOX: _box,
    Shape.WEDGE: _wedge,
    Shape.ELLIPSOID: _ellipsoid,
    Shape.CONE: _cone,
    Shape.CAPSULE: _capsule,
}
