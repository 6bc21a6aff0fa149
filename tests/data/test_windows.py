"""Windows: the same crop of frames at a steady pace, never across a break; geometry that projects where it should."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from unseen.data.images import encode
from unseen.data.loader import prefetch
from unseen.data.order import positions
from unseen.data.store import Store
from unseen.data.views import Frames
from unseen.data.windows import Windows
from unseen.errors import UnseenError
from unseen.geometry.pose import planar, pose, quaternion

PICTURE = Frames(frame_px=(24, 32), crop_px=(16, 16), area=(0.3, 0.8), jitter=0.2)
VIEW = Windows(frames=4, step_s=0.2, picture=PICTURE)
WHOLE = replace(VIEW, picture=Frames(frame_px=(24, 32), flip=False))


def image(seq: int, size=(48, 64)) -> np.ndarray:
    """A ramp to the right whose blue says which frame it is."""
    ramp = np.broadcast_to(np.linspace(0, 250, size[1]), size)
    return np.stack([ramp, ramp[::-1], np.full(size, 10 * seq)], axis=2).astype(np.uint8)


def record(store: Store, log: str, times_s, *, sensors=("front",), size=(48, 64), frame=lambda seq: {}) -> None:
    with store.writer(log, source_uri=log) as writer:
        for sensor in sensors:
            writer.sensor(sensor)
        for seq, time_s in enumerate(times_s):
            t_ns = None if time_s is None else round(time_s * 1e9)
            frame_id = writer.frame(seq, t_ns, **frame(seq))
            for sensor in sensors:
                blob = encode(image(seq, size))
                writer.observe(frame_id, sensor, blob, encoding="png", shape=(*size, 3), t_ns=t_ns)


def starts(store: Store, log: str, view: Windows = WHOLE) -> list[list[int]]:
    """The frame numbers of every window of a log."""
    source = view.open(store, [log])
    return [[source.cameras.shots[index].seq for index in window] for window in source.window]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    store = Store.create(tmp_path_factory.mktemp("windows") / "store")
    record(store, "steady", np.arange(12) / 10, sensors=("front", "rear"))
    record(store, "other", np.arange(9) / 5)
    return store


def same(one, two) -> bool:
    return one.keys() == two.keys() and all(
        torch.equal(one[k], two[k]) if isinstance(one[k], torch.Tensor) else one[k] == two[k] for k in one
    )


def test_windows_are_frames_at_the_step(store):
    assert starts(store, "steady")[:6] == [[n, n + 2, n + 4, n + 6] for n in range(6)]
    assert starts(store, "other") == [[n, n + 1, n + 2, n + 3] for n in range(6)]
    source = WHOLE.open(store, ["steady"])
    assert len(source) == 12 and set(source.sensor_of) == {"front", "rear"}
    for window in source.window:
        assert len({source.cameras.shots[index].sensor for index in window}) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_is_a_pure_function_of_seed_and_position(store, workers):
    source = VIEW.open(store, ["steady", "other"], seed=1)
    cold = VIEW.open(store, ["steady", "other"], seed=1, cache_mb=0)
    plain = [source.batch(positions(step, 6)) for step in range(3)]
    ahead = list(prefetch(cold, (positions(step, 6) for step in range(3)), workers))
    assert all(same(one, two) for one, two in zip(plain, ahead, strict=True))
    parts = [cold.batch(positions(0, 6, rank, 2)) for rank in range(2)]
    assert torch.equal(plain[0]["video"], torch.cat([part["video"] for part in parts]))
    assert not same(plain[0], VIEW.open(store, ["steady", "other"], seed=2).batch(positions(0, 6)))
    assert plain[0]["video"].shape == (6, 4, 3, 16, 16) and plain[0]["video"].dtype == torch.uint8


def test_all_frames_of_a_window_are_cut_and_jittered_alike(store):
    """Frames differ in blue alone, so after the same crop and jitter red and green are equal."""
    video = VIEW.open(store, ["steady"]).batch(np.arange(12))["video"]
    assert torch.equal(video[:, :1, :2].expand(-1, 4, -1, -1, -1), video[:, :, :2])
    assert (video[:, 1:, 2] != video[:, :1, 2]).any()


def test_times_are_the_true_ones_and_statistics_those_of_the_window(store, tmp_path):
    jittered = Store.create(tmp_path / "s")
    record(jittered, "a", [0.0, 0.21, 0.39, 0.61, 0.8])
    clip = WHOLE.open(jittered, ["a"]).frames([0])
    assert clip["frame_time_s"][0].tolist() == pytest.approx([0, 0.21, 0.39, 0.61])
    whole = clip["video"].float() / 255
    assert torch.allclose(clip["frame_mean"], whole.mean(dim=(1, 3, 4)), atol=0.01)
    assert torch.allclose(clip["frame_std"], whole.std(dim=(1, 3, 4), correction=0), atol=0.01)


def test_no_window_crosses_a_gap_a_jump_or_a_break(tmp_path):
    store = Store.create(tmp_path / "s")
    record(store, "gap", [0.0, 0.2, 0.4, 0.6, 0.8, 2.0, 2.2, 2.4, 2.6])
    record(store, "clock", [5.0, 5.2, 5.4, 5.6, 5.8, 0.0, 0.2, 0.4, 0.6])
    record(store, "cut", np.arange(9) / 5, frame=lambda seq: {"prev_frame_id": None} if seq == 5 else {})
    for log in ("gap", "clock", "cut"):
        assert starts(store, log) == [[0, 1, 2, 3], [1, 2, 3, 4], [5, 6, 7, 8]], log
    record(store, "late", [0.0, 0.2, 0.4, 0.67, 0.8])
    with pytest.raises(UnseenError, match="no window of 4 frames"):
        starts(store, "late")
    assert starts(store, "late", replace(WHOLE, tolerance=0.4)) == [[0, 1, 2, 3], [1, 2, 3, 4]]


def test_logs_without_times_are_refused_unless_told(tmp_path):
    store = Store.create(tmp_path / "s")
    record(store, "timed", np.arange(5) / 5)
    record(store, "untimed", [None] * 5)
    logs = ["timed", "untimed"]
    with pytest.raises(UnseenError, match=r"no times, such as 'untimed'.*fps"):
        WHOLE.open(store, logs)
    left = replace(WHOLE, untimed="leave out").open(store, logs)
    assert len(left) == 2 and left.left_out == {"untimed": "its frames have no times"}
    with pytest.raises(UnseenError, match=r"its frames have no times.*ingest with --fps"):
        replace(WHOLE, untimed="leave out").open(store, ["untimed"])
    told = replace(WHOLE, fps=10).open(store, logs)
    assert "untimed" in told.left_out  # 5 frames at 10 a second are no 0.8 s
    told = replace(WHOLE, fps=5).open(store, logs)
    assert len(told) == 4 and told.frames([2, 3])["frame_time_s"][1].tolist() == pytest.approx([0, 0.2, 0.4, 0.6])


def test_stills_stand_beside_windows(tmp_path):
    store = Store.create(tmp_path / "s")
    record(store, "a", [0.0, 0.2, 0.4, 0.6, 9.0])
    source = replace(WHOLE, stills=True).open(store, ["a"])
    assert starts(store, "a", source.view) == [[0] * 4, [1] * 4, [0, 1, 2, 3], [3] * 4, [4] * 4]
    clip = source.frames([2, 4])
    assert clip["frame_time_s"].tolist()[1] == pytest.approx([0, 0.2, 0.4, 0.6])
    assert (clip["video"][1] == clip["video"][1, :1]).all() and (clip["video"][0] != clip["video"][0, :1]).any()


def test_the_middle_frame_names_and_labels_a_window(tmp_path):
    store = Store.create(tmp_path / "s")
    store.set_classes("seg", ["a", "b", "c", "d", "e"])
    with store.writer("x", source_uri="x") as writer:
        writer.sensor("front")
        for seq in range(5):
            frame = writer.frame(seq, seq * 2 * 10**8)
            writer.observe(frame, "front", encode(image(seq)), encoding="png", shape=(48, 64, 3))
            if seq != 3:
                writer.label(frame, "seg", encode(np.full((48, 64, 1), seq, np.uint8)))
    source = WHOLE.open(store, ["x"])
    clip = source.frames([0, 1], labels=True)
    assert clip["label"].shape == (2, 24, 32) and clip["label"][:, 0, 0].tolist() == [2, 255]
    assert source.labelled("seg").tolist() == [True, False]
    assert [source.cameras.shots[i].seq for i in source.named_by] == [2, 3]
    assert clip["timestamp_ns"].tolist() == [0, 2 * 10**8]


def test_present_gives_a_video_its_times(store):
    clip = VIEW.present(torch.zeros(2, 6, 3, 24, 32, dtype=torch.uint8))
    assert clip["frame_time_s"].tolist()[0] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    source = WHOLE.open(store, ["steady"])
    assert torch.equal(WHOLE.present(source.raw(source.frames([3])))["video"], source.frames([3])["video"])
    with pytest.raises(UnseenError, match=r"expand\(-1, 4"):
        VIEW.present(torch.zeros(2, 3, 24, 32, dtype=torch.uint8))
    with pytest.raises(UnseenError, match="uint8"):
        VIEW.present(torch.zeros(2, 4, 3, 24, 32))
    with pytest.raises(UnseenError, match="Tensor"):
        VIEW.present("video.mp4")


# --- geometry

EGO_FROM_CAMERA = pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([1.5, 0.0, 1.2]))
POINT = np.array([14.0, 1.5, 0.7])  # in the map


def columns(a_from_b: np.ndarray) -> dict[str, float]:
    names = ("tx", "ty", "tz", "qw", "qx", "qy", "qz")
    return dict(zip(names, (*a_from_b[:3, 3].tolist(), *quaternion(a_from_b)), strict=True))


def map_from_ego(time_s: float) -> np.ndarray:
    return planar(2 * time_s, 0.1 * time_s, 0.3 * time_s)


@pytest.fixture(scope="module")
def driven(tmp_path_factory) -> Store:
    """Frames with one bright spot: the point of the map as this very camera sees it; poses between frames only."""
    store = Store.create(tmp_path_factory.mktemp("driven") / "store")
    y, x = np.mgrid[:96, :128]
    with store.writer("a", source_uri="a") as writer:
        writer.sensor("front", height=96, width=128)
        writer.calibration("front", K=[100.0, 90.0, 63.5, 40.0], **columns(EGO_FROM_CAMERA))
        for seq in range(6):
            time_s = seq * 0.2
            camera_from_map = np.linalg.inv(map_from_ego(time_s) @ EGO_FROM_CAMERA)
            cx, cy, cz = (camera_from_map @ [*POINT, 1])[:3]
            u, v = 100 * cx / cz + 63.5, 90 * cy / cz + 40
            spot = 250 * np.exp(-((x - u) ** 2 + (y - v) ** 2) / 8)
            frame = writer.frame(seq, round(time_s * 1e9))
            blob = encode(spot[:, :, None].astype(np.uint8))
            writer.observe(frame, "front", blob, encoding="png", shape=(96, 128, 1))
            depth = np.where(spot > 1, cz * 256, 0).astype(np.uint16)
            writer.label(frame, "depth", encode(depth[:, :, None]))
        for number in range(11):
            writer.pose(round((number - 0.5) * 1e8), **columns(map_from_ego((number - 0.5) * 0.1)))
        writer.pose(round(1.05e9), **columns(map_from_ego(1.05)))
    return store


@pytest.mark.parametrize("flip", [False, True])
def test_a_point_of_the_world_is_where_geometry_says_in_every_crop(driven, flip):
    picture = Frames(frame_px=(48, 64), crop_px=(40, 56), area=(0.7, 0.95), channels=1, flip=flip)
    source = Windows(frames=3, step_s=0.2, picture=picture).open(driven, ["a"])
    clip = source.batch(np.arange(12))
    world = torch.from_numpy(POINT)
    seen = 0
    for sample, index in enumerate(source.order(np.arange(12))):
        shots = source.window[index]
        middle = map_from_ego(source.cameras.shots[shots[1]].t_ns * 1e-9)
        point = torch.from_numpy(np.linalg.inv(middle) @ [*world.tolist(), 1.0])
        for t in range(3):
            camera = torch.linalg.inv(clip["world_from_camera"][sample, t].double()) @ point
            pixel = clip["intrinsics"][sample, t].double() @ camera[:3]
            u, v = (pixel[:2] / pixel[2]).tolist()
            if not (3 < u < 53 and 3 < v < 37):
                continue
            seen += 1
            weight = clip["video"][sample, t, 0].double() ** 2
            rows, columns_ = torch.meshgrid(torch.arange(40.0), torch.arange(56.0), indexing="ij")
            found = float((columns_ * weight).sum() / weight.sum()), float((rows * weight).sum() / weight.sum())
            assert found == pytest.approx((u, v), abs=0.35)
            depth = clip["depth_m"][sample, t, round(v), round(u)]
            assert float(depth) == pytest.approx(float(camera[2]), abs=0.02)
    assert seen > 15
    assert torch.isnan(clip["depth_m"]).any()


def test_a_mirrored_crop_has_a_negative_focal_length(driven):
    picture = Frames(frame_px=(48, 64), crop_px=(40, 56), channels=1, flip=True)
    k = Windows(frames=2, picture=picture).open(driven, ["a"]).batch(np.arange(16))["intrinsics"]
    assert (k[:, :, 0, 0] < 0).any() and (k[:, :, 0, 0] > 0).any() and (k[:, :, 1, 1] > 0).all()


def test_what_is_not_calibrated_is_absent_or_nan(driven, store, tmp_path):
    assert "intrinsics" not in WHOLE.open(store, ["steady"]).frames([0])
    bent = Store.create(tmp_path / "s")
    with bent.writer("b", source_uri="b") as writer:
        writer.sensor("front")
        writer.calibration("front", K=[100.0, 100.0, 32.0, 24.0], D=[0.1, 0.0], **columns(EGO_FROM_CAMERA))
        writer.sensor("rear")
        writer.calibration("rear", K=[100.0, 100.0, 31.5, 23.5], **columns(EGO_FROM_CAMERA))
        for seq in range(4):
            frame = writer.frame(seq, seq * 2 * 10**8)
            for sensor in ("front", "rear"):
                writer.observe(frame, sensor, encode(image(seq)), encoding="png", shape=(48, 64, 3))
    source = WHOLE.open(bent, ["b"])
    clip = source.frames([0, 1])
    assert source.sensor_of == ["front", "rear"]
    assert torch.isnan(clip["intrinsics"][0]).all() and "world_from_camera" not in clip  # distorted; no poses
    assert clip["intrinsics"][1, 0].flatten().tolist() == pytest.approx([50, 0, 15.5, 0, 50, 11.5, 0, 0, 1])


def test_depth_is_decoded_once(driven, monkeypatch):
    picture = Frames(frame_px=(48, 64), crop_px=(40, 56), channels=1)
    source = Windows(frames=3, step_s=0.2, picture=picture).open(driven, ["a"])
    first = source.batch(np.arange(4))["depth_m"]
    monkeypatch.setattr("unseen.data.cameras.decode_depth", None)
    assert torch.equal(source.batch(np.arange(4))["depth_m"].nan_to_num(-1), first.nan_to_num(-1))
