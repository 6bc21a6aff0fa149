"""The store that the world writes: the same whatever the workers, complete, resumable, with small classes in view."""

import io

import numpy as np
import pytest
import torch

from unseen.data.images import decode_depth
from unseen.data.store import Store
from unseen.data.views import Frames
from unseen.data.windows import Windows
from unseen.errors import UnseenError
from unseen.evaluate.leaks import audit_places
from unseen.geometry import pose
from unseen.geometry.places import Shots, is_direction
from unseen.masks import EgoTube, Tube
from unseen.recipes.audit import audit_recipe
from unseen.report.audit import mask_page
from unseen.units import Tubes
from unseen.world.make import CAMERA, DEPTH_STEP_M, log_name, make_world, write_log
from unseen.world.solids import CLASSES, SMALL_CLASSES

SETTINGS = {"sites": 2, "logs": 4, "frames": 2, "size": (60, 80), "seed": 11}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("world") / "store", **SETTINGS, workers=1)


def labels(store):
    from PIL import Image

    frames = store.table("frame").to_pylist()
    return [np.asarray(Image.open(io.BytesIO(store.read_label(f["log_id"], "seg", f["frame_id"])))) for f in frames]


def test_any_number_of_workers_writes_the_same_store(world, tmp_path):
    assert make_world(tmp_path / "store", **SETTINGS, workers=2).digest() == world.digest()


def test_another_seed_writes_another_store(world, tmp_path):
    assert make_world(tmp_path / "store", **{**SETTINGS, "seed": 12, "logs": 1}, workers=1).digest() != world.digest()


def test_a_started_world_is_finished(world, tmp_path):
    store = Store.create(tmp_path / "store")
    write_log(store.path, 2, SETTINGS["sites"], SETTINGS["frames"], SETTINGS["size"], SETTINGS["seed"])
    assert make_world(store.path, **SETTINGS, workers=1).digest() == world.digest()


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"seed": 5}, "seed 11, not 5"),
        ({"frames": 3}, "frames 2, not 3"),
        ({"size": (30, 40)}, r"size \[60, 80\], not \[30, 40\]"),
        ({"sites": 1}, "sites 2, not 1"),
        ({"logs": 3}, "more than 3 logs"),
    ],
)
def test_another_world_is_refused_where_one_is(world, changed, match):
    digest = world.digest()
    with pytest.raises(UnseenError, match=match):
        make_world(world.path, **{**SETTINGS, **changed}, workers=1)
    assert make_world(world.path, **SETTINGS, workers=1).digest() == digest


def test_the_store_is_whole_and_says_what_it_holds(world):
    assert world.verify() == []
    assert world.log_ids() == sorted(log_name(i, 2) for i in range(4))
    logs = world.table("log").to_pylist()
    assert {log["site_id"] for log in logs} == {"site-00", "site-01"}
    assert all(log["route_id"] and log["local_date"] and log["weather"] and log["light"] for log in logs)
    assert len({log["local_date"] for log in logs}) == 4
    classes = world.classes("seg")
    assert tuple(classes.names) == CLASSES and set(classes.small) == set(SMALL_CLASSES)
    assert {row["source"] for row in world.table("label").to_pylist()} == {"sim"}


def test_times_poses_and_calibration_fit_together(world):
    frames = world.table("frame").to_pylist()
    poses = {row["pose_id"]: row for row in world.table("pose").to_pylist()}
    for before, after in zip(frames[::2], frames[1::2], strict=True):
        assert after["t_ns"] - before["t_ns"] == 200_000_000
        a, b = (poses[frame["ego_pose_id"]] for frame in (before, after))
        moved = np.hypot(b["tx"] - a["tx"], b["ty"] - a["ty"])
        assert abs(moved - 0.2 * a["vx"]) < 0.02
        ahead = pose.from_quaternion((a["qw"], a["qx"], a["qy"], a["qz"]), (0.0, 0.0, 0.0))[:3, 0]
        assert ahead @ [b["tx"] - a["tx"], b["ty"] - a["ty"], 0] > 0.9 * moved  # it drives where it looks
    for row in world.table("calibration").to_pylist():
        assert len(row["K"]) == 4 and 1.5 < row["tz"] < 2.6


def test_frames_are_jpeg_of_the_asked_size_and_labels_match(world):
    import simplejpeg

    row = world.table("obs").to_pylist()[0]
    image = simplejpeg.decode_jpeg(world.read_blob(row["log_id"], CAMERA, row["row"]))
    assert image.shape == (60, 80, 3)
    assert all(
        label.shape == (60, 80) and label.dtype == np.uint8 and label.max() < len(CLASSES) for label in labels(world)
    )


def test_depth_is_asked_for_and_exact(world, tmp_path):
    from PIL import Image

    deep = make_world(tmp_path / "store", **{**SETTINGS, "logs": 1}, workers=1, depth=True)
    log = log_name(0, 2)
    assert world.labelled(log, "depth") == set() and deep.labelled(log, "depth") == deep.labelled(log, "seg")
    frame = deep.table("frame").to_pylist()[0]["frame_id"]
    depth = decode_depth(deep.read_label(log, "depth", frame))
    seg = np.asarray(Image.open(io.BytesIO(deep.read_label(log, "seg", frame))))
    assert depth.dtype == np.float32 and np.isinf(depth[seg == CLASSES.index("sky")]).all()
    ground = seg == CLASSES.index("apron")
    row = deep.table("calibration").to_pylist()[0]
    ego_from_camera = pose.from_quaternion((row["qw"], row["qx"], row["qy"], row["qz"]), (0.0, 0.0, row["tz"]))
    v, u = np.nonzero(ground & (depth < 60))
    ray = np.stack([(u - row["K"][2]) / row["K"][0], (v - row["K"][3]) / row["K"][1], np.ones(len(u))], axis=1)
    height = pose.transform(ego_from_camera, ray * depth[v, u, None])[:, 2]
    assert np.abs(height).max() < DEPTH_STEP_M and len(v) > 300
    with pytest.raises(UnseenError, match="depth True, not None"):
        make_world(deep.path, **{**SETTINGS, "logs": 1}, workers=1)
    with pytest.raises(UnseenError, match="depth None, not True"):
        make_world(world.path, **SETTINGS, workers=1, depth=True)


def test_scenes_are_more_than_sky_and_ground(world):
    seen = np.array([np.bincount(label.ravel(), minlength=len(CLASSES)) for label in labels(world)])
    share = dict(zip(CLASSES, seen.sum(axis=0) / seen.sum(), strict=True))
    assert share["sky"] + share["apron"] < 0.85
    assert share["aircraft"] > 0.01 and share["gse"] > 0.005 and share["marking"] > 0.003
    present = dict(zip(CLASSES, (seen > 0).mean(axis=0), strict=True))
    assert present["marking"] > 0.9 and present["aircraft"] > 0.7 and max(present["person"], present["cone"]) > 0.6


def test_nonsense_is_refused(tmp_path):
    with pytest.raises(UnseenError, match="positive"):
        make_world(tmp_path / "store", logs=0)
    assert not (tmp_path / "store").exists()


def test_video_of_the_world_says_which_places_it_shows(tmp_path):
    """From the store to units: poses, calibration and depth agree, and what is hidden stays hidden."""
    store = make_world(tmp_path / "store", sites=1, logs=1, frames=6, size=(96, 128), seed=3, workers=1, depth=True)
    view = Windows(frames=6, step_s=0.2, picture=Frames(frame_px=(96, 128)))
    clip, key = view.open(store, store.log_ids()).frames([0]), torch.tensor([5])
    units = Tubes(size=(1, 8, 8), places=5).cut(clip)[1]
    shots = Shots.of(clip["intrinsics"], clip["world_from_camera"], 96)
    height, far = units.place[..., 2] + shots.viewpoint_m[0, 2], is_direction(units.place)
    assert far.any() and not units.place.isnan().any()
    assert (height[~far] > -0.02).all() and (height.abs() < 0.02)[~far].float().mean() > 0.3  # the apron, and above
    follows = audit_places(EgoTube(), units, clip, key)
    assert 4 * follows.leak < audit_places(Tube(ratio=0.75), units, clip, key).leak
    assert follows.counts == [(48, 96)] * 6 and follows.unknown == 0


def test_the_audit_of_masks_tells_what_other_slots_show_of_a_hidden_place(tmp_path):
    store = make_world(tmp_path / "store", sites=1, logs=1, frames=8, size=(48, 64), seed=3, workers=1, depth=True)
    small = ("view.frames=4", "unit.places=2", "view.picture.frame_px=[48, 64]", "view.picture.crop_px=[48, 64]")
    found = {}
    for recipe, words in (("videomae", ("mask.ratio=0.7", *small)), ("videomae_ego", small)):
        out = tmp_path / recipe
        result = audit_recipe(recipe, data=store.path, split=None, draws=4, out=out, overrides=words)[0]
        found[recipe] = next(check for check in result["checks"] if check["name"] == "no place leak")
        assert result["measures"]["places"]["by"] == "measured depth"
        assert "by measured depth" in mask_page(result, {}, out / "masks.html").read_text()
    assert found["videomae"]["value"] > 0.05 and found["videomae"]["ok"] is None  # a tube does not promise it
    assert found["videomae_ego"]["value"] < 0.05 and found["videomae_ego"]["ok"] is True
