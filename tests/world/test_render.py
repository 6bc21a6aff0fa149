"""Frames and their truth: same key same frame, labels equal to an independent cast, paint equal to counting samples."""

import numpy as np
import pytest

from unseen.geometry import pose
from unseen.geometry.camera import Camera
from unseen.world import props
from unseen.world.apron import make_apron
from unseen.world.cast import GROUND, SKY, cast_image
from unseen.world.paint import Ground, Paint, Patch, Style, coverage, ground_points, painted
from unseen.world.render import Renderer, detailed
from unseen.world.site import make_site
from unseen.world.solids import CLASSES, Solids, place

SIZE = (72, 96)


@pytest.fixture(scope="module")
def apron():
    return make_apron(make_site(5, 0), 5, 1, size_px=SIZE)


@pytest.fixture(scope="module")
def frame(apron):
    return Renderer(apron, 5, 1).frame(0.4)


def test_a_frame_is_a_function_of_seed_log_and_time(apron, frame):
    renderer = Renderer(make_apron(make_site(5, 0), 5, 1, size_px=SIZE), 5, 1)
    later = renderer.frame(0.6)
    again = renderer.frame(0.4)
    np.testing.assert_array_equal(again.image, frame.image)
    np.testing.assert_array_equal(again.label, frame.label)
    assert (later.image != frame.image).mean() > 0.5
    assert (later.label == frame.label).mean() > 0.8  # neighbours in time look alike
    other = make_apron(make_site(6, 0), 6, 1, size_px=SIZE)
    assert (Renderer(other, 6, 1).frame(0.4).label != frame.label).mean() > 0.05


def test_labels_are_those_of_a_brute_force_cast(apron, frame):
    field = apron.camera.ray_field(frame.site_from_ego)
    solids = detailed(apron.solids(0.4), field)
    hits = cast_image(solids, field, SIZE, culled=False)
    expected = np.where(hits.solid >= 0, solids.cls[hits.solid.clip(0)], CLASSES.index("sky"))
    np.testing.assert_array_equal(frame.label[hits.solid != GROUND], expected[hits.solid != GROUND])
    on_ground = np.isin(frame.label, [CLASSES.index(name) for name in ("apron", "marking", "vegetation")])
    assert on_ground[hits.solid == GROUND].all() and not on_ground[hits.solid == SKY].any()


def test_what_is_left_out_is_small(apron):
    field = apron.camera.ray_field(apron.drive.at(0.4))
    whole, drawn = apron.solids(0.4), detailed(apron.solids(0.4), field)
    assert 0 < len(drawn) < len(whole)
    before, after = (cast_image(solids, field, SIZE) for solids in (whole, drawn))
    assert (before.depth_m != after.depth_m).mean() < 0.02


def test_nothing_drives_into_the_ego():
    for log in range(6):
        apron = make_apron(make_site(2, log % 2), 2, log, size_px=(24, 32))
        for time_s in np.arange(0.0, 6.0, 0.5):
            hits = cast_image(apron.moving(time_s), apron.camera.ray_field(apron.drive.at(time_s)), (24, 32))
            assert hits.depth_m[hits.solid >= 0].min(initial=9.0) > 0.6
            assert (hits.solid >= 0).mean() < 0.6


def test_a_picture_has_light_and_detail(frame):
    assert frame.image.dtype == np.uint8 and frame.label.max() < len(CLASSES)
    assert 40 < frame.image.mean() < 210 and frame.image.std() > 15


def test_a_cone_stands_where_calibration_and_pose_say():
    camera, site_from_ego = Camera.facing(SIZE, 60.0, 2.0, yaw_deg=8.0, pitch_deg=3.0), pose.planar(40.0, 7.0, 2.2)
    forward = site_from_ego[:3, 0] * 9.0 + site_from_ego[:3, 3]
    solids = Solids.of(place(props.safety_cone(0.75), forward[0], forward[1]))
    hits = cast_image(solids, camera.ray_field(site_from_ego), SIZE)
    camera_from_site = pose.inverse(site_from_ego @ camera.ego_from_camera)
    u, v, depth = camera.project(pose.transform(camera_from_site, np.array([forward[0], forward[1], 0.35])))
    row, column = round(float(v)), round(float(u))
    assert hits.solid[row, column] == 1 and abs(hits.depth_m[row, column] - depth) < 0.25
    rows, columns = np.nonzero(hits.solid >= 0)
    assert abs(columns.mean() - u) < 1.0 and rows.min() <= v <= rows.max()


@pytest.mark.parametrize("style", [Style.SOLID, Style.DASHED, Style.HATCHED, Style.DISC])
def test_coverage_is_the_share_of_samples_inside(style):
    patch = Patch((0.3, -0.2), (1.4, 0.5), 0.4, (1, 1, 1), style=style, period_m=0.8)
    paint, n = Paint.of([patch]), 40
    rng = np.random.default_rng(0)
    centre = rng.uniform(-1.6, 1.6, (300, 2))
    along = paint.along[0]
    across = np.array([-along[1], along[0]])
    step_u, step_v = (np.tile(axis * 0.15, (300, 1)) for axis in (along, across))  # a footprint along the patch
    share = coverage(paint, np.zeros(300, dtype=int), Ground(centre[:, 0], centre[:, 1], centre, step_u, step_v))
    offsets = (np.stack(np.meshgrid(np.arange(n), np.arange(n)), axis=-1).reshape(-1, 2) + 0.5) / n - 0.5
    sample = centre[:, None] + (offsets @ np.stack([along, across]) * 0.15)[None] - np.array(patch.centre_m)
    a, b = sample @ along, sample @ across
    inside = (np.abs(a) < 1.4) & (np.abs(b) < 0.5)
    if style == Style.DASHED:
        inside &= ((a + 1.4) % 0.8) < 0.4
    if style == Style.HATCHED:
        inside &= ((sample @ ((along + across) / np.sqrt(2))) % 0.8) < 0.4
    if style == Style.DISC:
        inside = np.hypot(a / 1.4, b / 0.5) < 1
    exact = style == Style.SOLID or (style == Style.DASHED and np.abs(a).max(axis=1) < 1.4)  # product of two filters
    limit = np.where(exact, 0.03, 0.3)  # slanted and round edges are filtered roughly
    assert (np.abs(share - inside.mean(axis=1)) < limit).all()
    assert abs(share.mean() - inside.mean()) < 0.02


def test_later_paint_covers_earlier_and_owns_the_pixel():
    camera = Camera.facing((40, 50), 60.0, 2.0, pitch_deg=20.0)
    field = camera.ray_field(pose.planar(0.0, 0.0, 0.0))
    v, u = (part.ravel().astype(float) for part in np.mgrid[20:40, :50])
    depth = -field.origin_m[2] / (field.at_zero + u[:, None] * field.per_u + v[:, None] * field.per_v)[:, 2]
    ground = ground_points(field, u, v, depth)
    road, bar = Patch((0, 0), (90, 90), 0.0, (0.1, 0.1, 0.1), "apron"), Patch((6, 0), (0.5, 9), 0.0, (1.0, 0.0, 0.0))
    colour, cls = painted(Paint.of([bar, road, bar]), field, ground, np.full((len(u), 3), 0.5))
    marked = np.abs(ground.point_m[:, 0] - 6) < 0.2
    assert marked.any() and (cls[marked] == CLASSES.index("marking")).all()
    np.testing.assert_allclose(colour[marked], [[1.0, 0.0, 0.0]] * marked.sum(), atol=1e-9)
    far = np.abs(ground.point_m[:, 0] - 6) > 2.0
    np.testing.assert_allclose(colour[far], 0.1, atol=1e-9)
    assert (cls[far] == CLASSES.index("apron")).all()
