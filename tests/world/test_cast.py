"""The caster against brute force, and every shape against a slow marcher that only knows what is inside."""

import numpy as np
import pytest

from unseen.geometry import pose
from unseen.geometry.camera import Camera
from unseen.world.apron import make_apron
from unseen.world.cast import GROUND, SKY, cast_image, cast_points, local_points, normals, shaded
from unseen.world.site import make_site
from unseen.world.solids import Shape, Solids, box, capsule, cone, ellipsoid, place, wing

SIZE = (48, 61)
WHITE = (1.0, 1.0, 1.0)
SHAPES = {
    "box": box((0, 0, 1.5), (2.0, 3.0, 1.0), "gse", WHITE, pitch_rad=0.3),
    "wedge": wing((0, -1.5, 1.0), (0.5, 1.5, 2.0), 2.0, 0.8, 0.3, "aircraft", WHITE),
    "ellipsoid": ellipsoid((0, 0, 1.5), (3.0, 1.5, 2.0), "aircraft", WHITE),
    "funnel": cone((0, -1, 0.8), (0.5, 1.5, 1.6), 0.5, 1.6, "aircraft", WHITE),
    "cone": cone((0, -1, 0.8), (0.5, 1.5, 2.0), 1.0, 0.3, "cone", WHITE),
    "capsule": capsule((0, -1, 1.2), (1, 1, 2.2), 0.6, "person", WHITE),
}


def field_at(x_m=-7.0, yaw_rad=0.0, size=SIZE):
    camera = Camera.facing(size, 50.0, 2.2, pitch_deg=4.0)
    return camera.ray_field(pose.planar(x_m, 0.0, yaw_rad))


def inside_of(shape, form, local):
    """Which points [N, 3] in unit coordinates lie in a shape: its definition, with no ray in sight."""
    x, y, z = local.T
    width = (1 + form) / 2 + (form - 1) / 2 * z
    return {
        Shape.BOX: np.abs(local).max(axis=1) <= 1,
        Shape.WEDGE: (np.maximum(np.abs(x), np.abs(y)) <= width) & (np.abs(z) <= 1),
        Shape.ELLIPSOID: (local**2).sum(axis=1) <= 1,
        Shape.CONE: (np.hypot(x, y) <= width) & (np.abs(z) <= 1),
        Shape.CAPSULE: x**2 + y**2 + (z - np.clip(z, -form, form)) ** 2 <= 1,
    }[shape]


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_are_hit_where_marching_enters_them(name):
    solids, field, step = Solids.of([SHAPES[name]]), field_at(), 0.004
    hits = cast_image(solids, field, SIZE)
    v, u = np.mgrid[: SIZE[0], : SIZE[1]]
    ray = field.at_zero + u[..., None] * field.per_u + v[..., None] * field.per_v
    entered = np.full(SIZE, np.inf)
    for t in np.arange(9.0, 2.0, -step):
        local = local_points(solids, np.zeros(u.size, dtype=int), (field.origin_m + t * ray).reshape(-1, 3))
        entered[inside_of(solids.shape[0], solids.form[0], local).reshape(SIZE)] = t
    both = np.isfinite(entered) & (hits.solid == 0)
    assert both.sum() > 100
    assert (np.isfinite(entered) != (hits.solid == 0)).mean() < 0.005  # rays that graze
    assert np.quantile(np.abs(entered[both] - hits.depth_m[both]), 0.99) < 2 * step


@pytest.mark.parametrize("name", SHAPES)
def test_normals_point_out_and_agree_with_the_surface_around(name):
    solids, field, size = Solids.of([SHAPES[name]]), field_at(size=(192, 244)), (192, 244)
    hits = cast_image(solids, field, size)
    row, column = np.nonzero(hits.solid == 0)
    ray = field.at_zero + column[:, None] * field.per_u + row[:, None] * field.per_v
    point = field.origin_m + hits.depth_m[row, column][:, None] * ray
    normal = normals(solids, np.zeros(len(row), dtype=int), local_points(solids, np.zeros(len(row), dtype=int), point))
    assert ((normal * ray).sum(axis=1) < 1e-6).all()
    grid, normal_grid = np.full((*size, 3), np.nan), np.full((*size, 3), np.nan)
    grid[row, column], normal_grid[row, column] = point, normal
    numeric = np.cross(grid[2:, 1:-1] - grid[:-2, 1:-1], grid[1:-1, 2:] - grid[1:-1, :-2])
    numeric /= np.linalg.norm(numeric, axis=-1, keepdims=True)
    agreement = np.abs((numeric * normal_grid[1:-1, 1:-1]).sum(axis=-1))
    assert np.nanquantile(agreement, 0.2) > 0.99  # the rest lies at edges


@pytest.mark.parametrize(("site", "log", "time_s"), [(0, 0, 0.0), (1, 2, 1.3), (1, 5, 2.0)])
def test_culling_changes_nothing(site, log, time_s):
    apron = make_apron(make_site(3, site), 3, log, size_px=SIZE)
    field, solids = apron.camera.ray_field(apron.drive.at(time_s)), apron.solids(time_s)
    fast, slow = cast_image(solids, field, SIZE), cast_image(solids, field, SIZE, culled=False)
    np.testing.assert_array_equal(fast.solid, slow.solid)
    np.testing.assert_array_equal(fast.depth_m, slow.depth_m)
    v, u = (part.ravel().astype(float) for part in np.mgrid[: SIZE[0], : SIZE[1]])
    points = cast_points(solids, field, u, v)
    np.testing.assert_array_equal(points.solid, slow.solid.ravel())
    assert len(np.unique(slow.solid)) > 20


def test_a_solid_around_or_behind_the_camera():
    room = Solids.of([box((0, 0, 2), (40, 40, 8), "building", WHITE), box((-30, 0, 2), (2, 9, 9), "other", WHITE)])
    hits = cast_image(room, field_at(), SIZE)
    assert set(np.unique(hits.solid)) <= {
        GROUND,
        SKY,
    }  # walls seen from inside are not drawn, what is behind not either


def test_shadow_falls_away_from_the_sun_and_has_the_right_length():
    pole = Solids.of(place([cone((0, 0, 0), (0, 0, 4), 0.3, 1.0, "other", WHITE)], 2.0, 1.0))
    x_m = y_m = np.arange(-8, 8, 0.1)
    toward_sun = np.array([0.0, np.sqrt(0.5), np.sqrt(0.5)])  # 45 degrees high, from +y
    dark = shaded(pole, toward_sun, x_m, y_m)
    rows, columns = np.nonzero(dark)
    np.testing.assert_allclose([x_m[columns].min(), x_m[columns].max()], [1.7, 2.3], atol=0.11)
    assert abs(y_m[rows].min() - (1.0 - 4.0 - 0.3)) < 0.15


def test_the_apron_of_a_seed_is_what_it_was():
    """Stores name a world by its seed: moving code about may not draw another one."""
    expected = {
        (0, 0): (694, 24037.848102934302, 2085.8006785065436),
        (3, 5): (797, 48573.42099321536, 2038.164230980476),
    }
    for (seed, log), (count, places, axes) in expected.items():
        apron = make_apron(make_site(seed, log % 2), seed, log, size_px=(48, 64))
        solids = apron.solids(1.5)
        assert len(solids.centre_m) == count
        assert (solids.centre_m.sum(), solids.axes_m.sum()) == pytest.approx((places, axes), rel=1e-9)
