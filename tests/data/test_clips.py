"""Clips: a pure function of (seed, position), whatever the cache, the workers and the ranks."""

import threading

import numpy as np
import pytest
import torch

from unseen.contract import Clip
from unseen.data.clips import ClipSource
from unseen.data.images import encode
from unseen.data.loader import prefetch
from unseen.data.order import positions
from unseen.data.store import Store
from unseen.data.views import Frames
from unseen.errors import UnseenError

VIEW = Frames(frame_px=(24, 32), crop_px=(16, 16))
LABEL = np.repeat(np.arange(4, dtype=np.uint8), 12)[:, None].repeat(64, 1)[:, :, None]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    store = Store.create(tmp_path_factory.mktemp("clips") / "store")
    rng = np.random.default_rng(0)
    for log, frames in (("a", 9), ("b", 5)):
        with store.writer(log, source_uri=log) as writer:
            for sensor in ("front", "rear"):
                writer.sensor(sensor)
            for seq in range(frames):
                frame = writer.frame(seq, t_ns=seq if log == "a" else None)
                for sensor in ("front", "rear"):
                    image = np.full((48, 64, 3), (seq * 20, 200 * (sensor == "rear"), 100 * (log == "b")), np.uint8)
                    image += rng.integers(0, 8, image.shape, dtype=np.uint8)
                    writer.observe(frame, sensor, encode(image, "jpeg"), encoding="jpeg", shape=image.shape)
                if log == "a" and seq != 3:
                    writer.label(frame, "seg", encode(LABEL))
                    writer.label(frame, "class", cls=("go", "stop")[seq % 2])
    store.set_classes("seg", ["sky", "road", "sign", "void"], ignore=3)
    store.set_classes("class", ["go", "stop"])
    return store


def same(one: Clip, two: Clip) -> bool:
    assert one.keys() == two.keys()
    return all(torch.equal(one[k], two[k]) if isinstance(one[k], torch.Tensor) else one[k] == two[k] for k in one)


def test_a_batch_is_a_pure_function_of_seed_and_position(store):
    source = ClipSource(store, ["a", "b"], VIEW, seed=1)
    cold = ClipSource(store, ["a", "b"], VIEW, seed=1, cache_mb=0)
    whole = source.batch(positions(3, 12))
    assert whole["image"].shape == (12, 3, 16, 16) and whole["image"].dtype == torch.uint8
    assert same(whole, source.batch(positions(3, 12)))
    assert same(whole, cold.batch(positions(3, 12)))
    parts = [cold.batch(positions(3, 12, rank, 3)) for rank in range(3)]
    for name in ("image", "region_px", "frame_mean", "sample_id"):
        assert torch.equal(whole[name], torch.cat([part[name] for part in parts]))
    assert not same(whole, ClipSource(store, ["a", "b"], VIEW, seed=2).batch(positions(3, 12)))
    assert not torch.equal(source.batch(np.array([0, 28]))["image"][0], source.batch(np.array([28]))["image"][0])


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_any_number_of_workers_gives_the_same_clips(store, workers):
    source = ClipSource(store, ["a", "b"], VIEW, log_power=0.5)
    plain = [source.batch(positions(step, 4)) for step in range(7)]
    ahead = list(prefetch(source, (positions(step, 4) for step in range(7)), workers))
    assert len(ahead) == 7 and all(same(one, two) for one, two in zip(plain, ahead, strict=True))


def test_prefetch_ends_its_threads_when_the_consumer_stops(store):
    before = threading.active_count()
    clips = prefetch(ClipSource(store, ["a"], VIEW), (positions(step, 4) for step in range(10**6)), 2)
    next(clips)
    clips.close()
    assert threading.active_count() == before


def test_an_epoch_visits_every_camera_of_every_frame_once(store):
    source = ClipSource(store, ["b", "a"], VIEW)
    ids = torch.cat([source.batch(positions(step, 7))["sample_id"] for step in range(4)])
    assert len(source) == 28 and sorted(ids.tolist()) == sorted(source.sample_id.tolist())
    assert len(ClipSource(store, ["b"], Frames(sensors=("rear",)))) == 5
    with pytest.raises(UnseenError, match="no camera frames"):
        ClipSource(store, ["b"], Frames(sensors=("left",)))


def test_log_power_evens_out_the_logs(store):
    source = ClipSource(store, ["a", "b"], VIEW, log_power=1.0)
    share = np.mean(source.log_of[source.order(np.arange(4000))])
    assert abs(share - 0.5) < 0.04


def test_whole_frames_with_the_frame_before_and_labels(store):
    source = ClipSource(store, ["a"], VIEW)
    clip = source.frames([0, 1, 3, 9, 10], previous=True, labels=True)
    assert clip["image"].shape == (5, 3, 24, 32)
    assert clip["region_px"].tolist() == [[0, 0, 24, 32]] * 5
    assert torch.equal(clip["previous"][0], clip["image"][0])  # the first of its camera
    assert torch.equal(clip["previous"][1], clip["image"][0])
    assert torch.equal(clip["previous"][3], clip["image"][3])  # the first of the other camera, same log
    assert clip["previous_there"].tolist() == [False, True, True, False, True]
    rows = clip["label"][:, :, 5]
    assert rows[0].tolist() == [0] * 6 + [1] * 6 + [2] * 6 + [255] * 6
    assert (rows[2] == 255).all()  # not labelled
    assert source.labelled("seg").tolist() == ([True] * 3 + [False] + [True] * 5) * 2
    assert [source.class_label(i) for i in (0, 1, 3)] == [0, 1, None]
    assert clip["timestamp_ns"].tolist() == [0, 1, 3, 0, 1]
    assert "timestamp_ns" not in ClipSource(store, ["b"], VIEW).frames([0])


def test_statistics_are_those_of_the_whole_frame(store):
    source = ClipSource(store, ["a"], VIEW)
    crops, whole = source.batch(np.arange(18)), source.frames(np.arange(18))
    by_id = dict(zip(whole["sample_id"].tolist(), whole["frame_mean"], strict=True))
    assert all(torch.equal(by_id[i], m) for i, m in zip(crops["sample_id"].tolist(), crops["frame_mean"], strict=True))
    assert torch.allclose(whole["frame_mean"], whole["image"].float().mean((2, 3)) / 255, atol=0.01)


def test_the_digest_follows_logs_and_view(store):
    one = ClipSource(store, ["a"], VIEW).digest
    assert one == ClipSource(store, ["a"], VIEW, cache_mb=1, seed=9).digest
    assert one != ClipSource(store, ["a", "b"], VIEW).digest
    assert one != ClipSource(store, ["a"], Frames(frame_px=(24, 32), crop_px=(16, 20))).digest


@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_vanishes_in_mid_run_is_named(store, tmp_path, workers):
    broken = Store.create(tmp_path / "broken")
    image = np.zeros((48, 64, 3), np.uint8)
    with broken.writer("c", source_uri="c") as writer:
        writer.sensor("front")
        for seq in range(4):
            blob = encode(image, "jpeg") if seq else b"\xff\xd8 no jpeg"
            writer.observe(writer.frame(seq), "front", blob, encoding="jpeg", shape=image.shape)
    source = ClipSource(broken, ["c"], VIEW)
    with pytest.raises(UnseenError, match=rf"log 'c'.*frame {source.frame_id[0]}"):
        list(prefetch(source, iter([np.arange(4)]), workers))
    next(broken.path.glob("logs/c/obs-*")).unlink()
    with pytest.raises(UnseenError, match=r"obs-front.parquet: log 'c', frame"):
        list(prefetch(ClipSource(Store.open(broken.path), ["c"], VIEW), iter([np.arange(4)]), workers))


def test_8_and_16_bit_do_not_mix_in_a_batch(tmp_path):
    store = Store.create(tmp_path / "s")
    with store.writer("c", source_uri="c") as writer:
        writer.sensor("front", modality="thermal")
        for seq, dtype in enumerate((np.uint8, np.uint16, np.uint16)):
            blob = encode(np.full((30, 40, 1), 9, dtype))
            writer.observe(writer.frame(seq), "front", blob, encoding="png", shape=(30, 40, 1))
    source = ClipSource(store, ["c"], Frames(frame_px=(24, 32), channels=1))
    assert source.frames([1, 2])["image"].dtype == torch.uint16
    with pytest.raises(UnseenError, match=r"8 and 16 bit.*a store of its own"):
        source.frames([0, 1])
