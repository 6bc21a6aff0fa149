"""Rigs: all cameras of a frame side by side, missing ones without a single made-up unit; and how they are ingested."""

import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from unseen.data.images import encode
from unseen.data.ingest.folder import ingest_folder
from unseen.data.order import positions
from unseen.data.rig import Rig
from unseen.data.store import Store
from unseen.data.views import Frames
from unseen.errors import UnseenError
from unseen.masks import Random
from unseen.models import MaskedAutoencoder, SelfAttention, ViT
from unseen.systems.encode import FrozenEncoder
from unseen.systems.objective import Objective, Term, sample_keys
from unseen.targets import Pixels
from unseen.units import Fixed, Mosaic, PerFrame

NAMES = ("left", "front", "right")
PICTURE = Frames(frame_px=(16, 24), crop_px=(8, 8), area=(0.2, 0.5), flip=False)
RIG = Rig(cameras=NAMES, picture=PICTURE)
GREY = {"left": 40, "front": 120, "right": 200}
MISSING = {(1, "left"), (2, "front"), (2, "right"), (3, "right")}


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Five frames, each camera one grey plus the frame's number; some are missing, the right one is down in frame 4."""
    store = Store.create(tmp_path_factory.mktemp("rig") / "store")
    store.set_classes("seg", ["a", "b"])
    with store.writer("a", source_uri="a") as writer:
        down = {name: writer.sensor(name) for name in NAMES}["right"]
        writer.health("down", sensor_id=down, t_from_ns=4, t_to_ns=5)
        for seq in range(5):
            frame = writer.frame(seq, seq)
            for name in NAMES:
                if (seq, name) not in MISSING:
                    blob = encode(np.full((32, 48, 3), GREY[name] + seq, np.uint8))
                    writer.observe(frame, name, blob, encoding="png", shape=(32, 48, 3), t_ns=seq)
        label = encode(np.ones((32, 48, 1), np.uint8))
        writer.label(frame, "seg", label, encoding="png", shape=[32, 48], frame_of_reference="front")
    return store


def test_cameras_stand_in_the_order_of_the_rig(store):
    clip = RIG.open(store, ["a"]).frames([0], previous=True)
    assert clip["image"].shape == (1, 3, 16, 72)
    assert clip["image"][0, 0, 5, [3, 30, 60]].tolist() == [40, 120, 200]
    turned = replace(RIG, cameras=("right", "left")).open(store, ["a"]).frames([0])["image"]
    assert turned[0, 0, 5, [3, 30]].tolist() == [200, 40]
    assert clip["camera_px"][0].tolist() == [[0, 0], [0, 24], [0, 48]]


def test_missing_and_broken_cameras_are_zero_and_not_there(store):
    source = RIG.open(store, ["a"])
    clip = source.frames(range(5), previous=True)
    there = [[True] * 3, [False, True, True], [True, False, False], [True, True, False], [True, True, False]]
    assert clip["camera_there"].tolist() == there
    cameras = clip["image"].unflatten(3, (3, 24)).movedim(3, 1)
    assert (cameras[~clip["camera_there"]] == 0).all() and (cameras[clip["camera_there"]] > 0).all()
    assert clip["previous"][3, 0, 0, [3, 30]].tolist() == [42, 123]  # front was not there before: itself
    assert clip["previous_there"].tolist() == [False, True, False, False, True]
    mean = clip["frame_mean"][:, 0] * 255
    assert mean.tolist() == pytest.approx([120, 161, 42, 83, 84], abs=0.01)
    assert len(replace(RIG, least=2).open(store, ["a"])) == 4
    with pytest.raises(UnseenError, match="no frame with 3"):
        replace(RIG, cameras=("left", "front", "rear"), least=3).open(store, ["a"])


def test_a_log_of_other_cameras_is_named(tmp_path):
    made = Store.create(tmp_path / "store")
    for name in ("left", "rear"):
        with made.writer(name, source_uri=name) as writer:
            writer.sensor(name)
            blob = encode(np.full((32, 48, 3), 9, np.uint8))
            writer.observe(writer.frame(0, 0), name, blob, encoding="png", shape=(32, 48, 3), t_ns=0)
    assert RIG.open(made, ["left", "rear"]).left_out == {"rear": "no frame of the cameras that the view takes"}
    with pytest.raises(UnseenError, match="names the sensors left, front, right; the sensors of these logs: rear"):
        RIG.open(made, ["rear"])


def test_a_label_belongs_to_its_camera(store):
    source = RIG.open(store, ["a"])
    label = source.frames([4, 0], labels=True)["label"]
    assert label[0, 3, [3, 30, 60]].tolist() == [255, 1, 255] and (label[1] == 255).all()
    assert source.labelled().tolist() == [False] * 4 + [True]


def test_training_crops_are_alike_and_a_function_of_the_position(store):
    source, cold = RIG.open(store, ["a"], seed=1), RIG.open(store, ["a"], seed=1, cache_mb=0)
    one, two = source.batch(positions(2, 4)), cold.batch(positions(2, 4))
    assert one["image"].shape == (4, 3, 8, 24)
    for name in one:
        assert one[name] == two[name] if name == "log_id" else torch.equal(one[name], two[name])
    assert one["region_px"].unique(dim=0).shape[0] == 4


def objective(normalise) -> Objective:
    terms = {"pixels": Term(target=Pixels(normalise="none"))}
    return Objective(normalise=normalise, unit=Mosaic(size=(4, 4)), mask=Random(ratio=0.5), targets=terms)


def test_units_of_missing_cameras_are_neither_read_nor_scored(store):
    clip = RIG.open(store, ["a"]).frames(range(5))
    goal = objective(Fixed())
    batch = goal.batch(clip, sample_keys(clip, 0, 0))
    there = clip["camera_there"][:, None, :, None].expand(-1, 4, -1, 6).flatten(1)
    assert torch.equal(batch.visible_mask | batch.target_mask["pixels"], there)


def test_an_encoder_reads_what_a_user_has(store):
    source, goal = RIG.open(store, ["a"]), objective(PerFrame())
    clip = source.frames(range(5))
    spec = MaskedAutoencoder(
        encoder=ViT(width=8, depth=1, heads=2, class_token=False), predictor=SelfAttention(width=8, depth=1, heads=2)
    )
    model = spec.build(goal.shapes(goal.batch(clip, sample_keys(clip, 0, 0))))
    frozen = FrozenEncoder(model.encoder, goal.unit, PerFrame(), RIG)
    known, told = RIG.present(source.raw(clip)), PerFrame().statistics(clip)[0]
    torch.testing.assert_close(PerFrame().statistics(known)[0], told)
    assert torch.equal(known["camera_there"], clip["camera_there"])
    features = frozen(source.raw(clip))
    assert features.grid == (4, 18) and features.pooled.shape == (5, 8)
    alone = frozen(source.raw(source.frames([2])))
    torch.testing.assert_close(features.pooled[2], alone.pooled[0])
    with pytest.raises(UnseenError, match="3 cameras side by side"):
        frozen(torch.zeros(1, 3, 16, 70, dtype=torch.uint8))


@pytest.mark.parametrize(
    "wrong",
    [
        {"cameras": ()},
        {"cameras": ("a", "a")},
        {"picture": Frames()},
        {"picture": replace(PICTURE, sensors=("a",))},
        {"least": 4},
    ],
)
def test_what_no_rig_can_be_is_refused(wrong):
    with pytest.raises(UnseenError):
        replace(RIG, **wrong)


# --- ingest of several cameras


def write(path, names, archive: bool) -> None:
    files = {name: encode(np.full((8, 8, 3), 7, np.uint8), "jpeg") for name in names}
    if archive:
        with zipfile.ZipFile(path.with_suffix(".zip"), "w") as out:
            for name, blob in files.items():
                out.writestr(name, blob)
        return
    for name, blob in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(blob)


@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize(
    ("pattern", "name"),
    [
        (r"(?P<sensor>cam_\w+)/(?P<seq>\d+)", "{sensor}/{seq:06d}.jpg"),
        (r"(?P<sensor>cam_\w+?)_(?P<seq>\d+)\.", "{sensor}_{seq}.jpg"),
    ],
)
def test_cameras_of_one_log_share_their_frames(tmp_path, archive, pattern, name):
    """Also where each camera has a folder of its own; a frame that one camera lacks stays without it."""
    source = tmp_path / "in"
    for log in ("monday", "tuesday"):
        shots = [(sensor, seq) for sensor in ("cam_l", "cam_r") for seq in range(3) if (sensor, seq) != ("cam_r", 1)]
        (source / log).parent.mkdir(parents=True, exist_ok=True)
        write(source / log, [name.format(sensor=sensor, seq=seq) for sensor, seq in shots], archive)
    done = ingest_folder(source, tmp_path / "s", pattern=pattern)
    assert (done.written, done.frames) == (["monday", "tuesday"], 6)
    rig = Rig(cameras=("cam_l", "cam_r"), picture=replace(PICTURE, crop_px=None))
    clip = rig.open(Store.open(tmp_path / "s"), ["monday"]).frames(range(3))
    assert clip["camera_there"].tolist() == [[True, True], [True, False], [True, True]]


def test_a_real_rig_comes_in_by_a_pattern(shared_data, tmp_path):
    file = shared_data / "multicam" / "nuscenes_keyframe.zip"
    done = ingest_folder(file, tmp_path / "s", pattern=r"(?P<sensor>CAM_\w+)\.jpg")
    assert done.frames == 1 and done.skipped_by_reason == {"foreign file (.json)": 1}
    names = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT")
    rig = Rig(cameras=names, picture=Frames(frame_px=(45, 80), flip=False))
    store = Store.open(tmp_path / "s")
    image = rig.open(store, store.log_ids()).frames([0])["image"]
    assert image.shape == (1, 3, 45, 480) and image.unflatten(3, (6, 80)).float().std(dim=(1, 2, 4)).min() > 10


def test_a_real_stereo_pair_in_folders_is_one_log(shared_data, tmp_path):
    file = shared_data / "multicam" / "radiate_stereo.zip"
    done = ingest_folder(file, tmp_path / "s", pattern=r"(?P<sensor>zed_\w+)/(?P<seq>\d+)")
    assert done.written == ["radiate_stereo"] and done.frames == 13
    rig = Rig(cameras=("zed_left", "zed_right"), picture=Frames(frame_px=(48, 80), flip=False), least=2)
    assert len(rig.open(Store.open(tmp_path / "s"), done.written)) == 13
    with zipfile.ZipFile(file) as archive:
        assert len({index for _, index, _ in json.loads(archive.read("timestamps.json"))}) >= 13
