"""Ingest: what people have comes in as recorded, what is broken is named, and a kill leaves nothing half-done."""

import io
import os
import signal
import struct
import subprocess
import sys
import time
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from unseen.data.clips import ClipSource
from unseen.data.images import BadImage, decode, encode
from unseen.data.ingest import video
from unseen.data.ingest.folder import ingest_folder
from unseen.data.ingest.listing import natural
from unseen.data.inspect import inspect_store
from unseen.data.store import Store
from unseen.data.views import Frames
from unseen.errors import UnseenError

RNG = np.random.default_rng(0)


def picture(shape=(20, 30, 3), dtype=np.uint8) -> np.ndarray:
    return RNG.integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


def jpeg(shape=(20, 30, 3)) -> bytes:
    return encode(picture(shape), "jpeg")


def pillow(image: np.ndarray, kind: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, kind)
    return out.getvalue()


def tree(root, files: dict[str, bytes]):
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def archive(path, files: dict[str, bytes]):
    with zipfile.ZipFile(path, "w") as out:
        for name, data in files.items():
            out.writestr(name, data)
    return path


def numbers(store: Store, log_id: str) -> list[int]:
    return store.table("frame", [log_id])["seq"].to_pylist()


def test_folders_zips_and_their_bytes(tmp_path):
    frames = {f"{n}.jpg": jpeg() for n in (10, 9, 2)}
    src = tree(tmp_path / "src", {f"morning/cam/{name}": data for name, data in frames.items()})
    archive(src / "evening.zip", frames)
    result = ingest_folder(src, tmp_path / "store")
    store = Store.open(tmp_path / "store")
    assert result.written == store.log_ids() == ["evening", "morning/cam"] and result.frames == 6
    assert numbers(store, "evening") == numbers(store, "morning/cam") == [2, 9, 10]
    blobs = [store.read_blob("evening", "camera", row) for row in range(3)]
    assert blobs == [frames["2.jpg"], frames["9.jpg"], frames["10.jpg"]]
    assert store.table("frame")["t_ns"].null_count == 6 and store.table("obs")["t_source"].null_count == 6
    assert natural("a10") > natural("a9")


def test_again_is_a_no_op_and_a_change_is_an_error(tmp_path):
    src = tree(tmp_path / "src", {"a/1.jpg": jpeg(), "b/1.jpg": jpeg()})
    ingest_folder(src, tmp_path / "store")
    digest = Store.open(tmp_path / "store").digest()
    again = ingest_folder(src, tmp_path / "store")
    assert (again.written, again.present) == ([], ["a", "b"])
    assert Store.open(tmp_path / "store").digest() == digest
    with pytest.raises(UnseenError, match="what was asked for"):
        ingest_folder(src, tmp_path / "store", size=(8, 8))
    tree(src, {"b/1.jpg": jpeg()})
    with pytest.raises(UnseenError, match=r"'b' is in the store already.*the source now differs"):
        ingest_folder(src, tmp_path / "store")


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("PNG", picture()),
        ("PNG", picture((20, 30))),
        ("PNG", picture((20, 30), np.uint16)),
        ("WEBP", picture()),
        ("BMP", picture()),
        ("TIFF", picture((20, 30), np.uint16)),
    ],
)
def test_lossless_formats_come_back_as_they_were(tmp_path, kind, image):
    data = io.BytesIO()
    Image.fromarray(image).save(data, kind, **({"lossless": True} if kind == "WEBP" else {}))
    ingest_folder(tree(tmp_path / "src", {f"log/1.{kind.lower()}": data.getvalue()}), tmp_path / "store")
    store = Store.open(tmp_path / "store")
    row = store.table("obs").to_pylist()[0]
    back = decode(store.read_blob("log", "camera", 0), row["encoding"])
    assert row["encoding"] == kind.lower() and tuple(row["shape"]) == back.shape and back.dtype == image.dtype
    np.testing.assert_array_equal(back, image.reshape(back.shape))


def test_broken_files_are_named_and_counted_or_refused(tmp_path):
    good, bomb = jpeg((64, 64, 3)), io.BytesIO()
    Image.new("1", (20000, 20000)).save(bomb, "PNG")
    files = {
        "log/1.jpg": good,
        "log/2.jpg": b"",
        "log/3.jpg": good[: len(good) // 2],
        "log/4.jpg": b"hello",
        "log/5.png": bomb.getvalue(),
        "log/6.txt": b"notes",
        "log/.DS_Store": b"x",
        "log/7.jpg": good,
        "bad.zip": b"PK not a zip",
    }
    result = ingest_folder(tree(tmp_path / "src", files), tmp_path / "store")
    reasons = {
        "empty file": 1,
        "truncated": 1,
        "not an image": 1,
        "too many pixels": 1,
        "foreign file (.txt)": 1,
        "hidden file": 1,
        "not a readable zip": 1,
    }
    assert result.skipped_by_reason == reasons
    manifest = Store.open(tmp_path / "store").manifest("log")
    assert manifest["skipped_by_reason"] == {k: v for k, v in reasons.items() if k != "not a readable zip"}
    assert {"file": "src/log/3.jpg", "reason": "truncated"} in manifest["skipped"]
    assert numbers(Store.open(tmp_path / "store"), "log") == [1, 7]
    with pytest.raises(UnseenError, match="strict"):
        ingest_folder(tmp_path / "src", tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict").exists()


def test_hostile_archives_are_harmless(tmp_path):
    src = tmp_path / "src"
    src.mkdir()
    names = {"../../evil.jpg": jpeg(), "/abs.jpg": jpeg(), "ok/1.jpg": jpeg(), "c\\..\\x.jpg": jpeg(), "n.zip": b"PK"}
    archive(src / "a.zip", names)
    with zipfile.ZipFile(src / "b.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("1.jpg", bytes(300 << 20))
    result = ingest_folder(src, tmp_path / "store")
    assert result.skipped_by_reason == {"unsafe member name": 3, "foreign file (.zip)": 1, "file too large": 1}
    assert result.written == ["a/ok"]
    assert not list(tmp_path.glob("*evil*")) and len(list(tmp_path.iterdir())) == 2
    damaged = bytearray((src / "a.zip").read_bytes())
    place = damaged.index(names["ok/1.jpg"][-60:-30])
    damaged[place] ^= 0xFF
    (tmp_path / "damaged.zip").write_bytes(damaged)
    with zipfile.ZipFile(tmp_path / "damaged.zip", "a") as out:
        out.writestr("ok/2.jpg", jpeg())
    result = ingest_folder(tmp_path / "damaged.zip", tmp_path / "store2")
    assert result.skipped_by_reason["unreadable"] == 1 and result.frames == 1


def test_two_sources_of_one_log_are_named(tmp_path):
    src = tree(tmp_path / "src", {"a/1.jpg": jpeg()})
    archive(src / "a.zip", {"1.jpg": jpeg()})
    with pytest.raises(UnseenError, match=r"a' comes from .*src/a and from .*src/a\.zip"):
        ingest_folder(src, tmp_path / "store")
    same = tree(tmp_path / "same", {"x/run1_05.jpg": jpeg(), "y/run1_5.jpg": jpeg()})
    with pytest.raises(UnseenError, match=r"run1_05.jpg and .*run1_5.jpg are both frame 5 of log 'run1'"):
        ingest_folder(same, tmp_path / "store", pattern=r"(?P<log_id>run\d)_(?P<seq>\d+)")


def test_a_pattern_names_log_number_sensor_time_and_more(tmp_path):
    files = {
        f"all/{site}_{sensor}_{n}_{n * 1000}.jpg": jpeg() for site in "pq" for sensor in ("l", "r") for n in (1, 12)
    }
    pattern = r"(?P<log_id>(?P<site>[pq]))_(?P<sensor>[lr])_(?P<seq>\d+)_(?P<t_us>\d+)"
    ingest_folder(tree(tmp_path / "src", {**files, "all/other.jpg": jpeg()}), tmp_path / "store", pattern=pattern)
    store = Store.open(tmp_path / "store")
    log = store.table("log", ["p"]).to_pylist()[0]
    assert (log["site_id"], log["t_start_ns"], log["t_end_ns"]) == ("p", 1_000_000, 12_000_000)
    assert numbers(store, "p") == [1, 12] and store.table("obs", ["p"]).num_rows == 4
    assert set(store.table("obs")["t_source"].to_pylist()) == {"filename"}
    assert set(store.table("sensor", ["p"])["name"].to_pylist()) == {"l", "r"}
    for bad in ("(", "no groups"):
        with pytest.raises(UnseenError, match="pattern"):
            ingest_folder(tmp_path / "src", tmp_path / "s2", pattern=bad)


def test_a_group_that_was_meant_to_tell_the_log_is_refused_and_others_are_said(tmp_path):
    src = tree(tmp_path / "src", {f"all/{log}_{n}.jpg": jpeg() for log in "pq" for n in (1, 2)})
    with pytest.raises(UnseenError, match=r"'log' and no log_id.*log_id, seq, sensor.*weather"):
        ingest_folder(src, tmp_path / "s", pattern=r"(?P<log>[pq])_\d")
    assert not (tmp_path / "s").exists()
    (warning,) = ingest_folder(src, tmp_path / "s", pattern=r"(?P<drive>[pq])_\d").warnings
    assert "names drive, kept as attributes, and no log_id" in warning
    assert ingest_folder(src, tmp_path / "t", pattern=r"(?P<log_id>(?P<drive>[pq]))_(?P<seq>\d)").warnings == []


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"modality": "lidar"}, "camera or thermal"),
        ({"classes": ["sky"], "ignore": "void"}, "ignored class"),
        ({"classes": ["sky"], "small": ["cone"]}, "small classes"),
        ({"pattern": "(?P<log_id>nothing)"}, "no frames"),
        ({"labels": "nowhere", "classes": ["sky"]}, "neither in"),
        ({"strict": True}, "truncated"),
        ({"strict": True, "workers": 2}, "truncated"),
    ],
)
def test_a_refused_ingest_makes_no_store(tmp_path, options, match):
    src = tree(tmp_path / "src", {f"{log}/1.jpg": jpeg()[:200] for log in "ab"})
    with pytest.raises(UnseenError, match=match):
        ingest_folder(src, tmp_path / "store", **options)
    assert not (tmp_path / "store").exists()
    (tmp_path / "store").mkdir()
    with pytest.raises(UnseenError, match=match):
        ingest_folder(src, tmp_path / "store", **options)
    assert list((tmp_path / "store").iterdir()) == []


def test_a_sidecar_by_log_gives_columns_attributes_and_rates(tmp_path):
    src = tree(tmp_path / "src", {"a/10.jpg": jpeg(), "b/10.jpg": jpeg()})
    (src / "about.csv").write_text(
        "drive,rate,date,rig,weather,operator\na,5,2026-03-01,r1,rain,Kim\nb,,,r1,,\nz,1,,,,\n"
    )
    result = ingest_folder(src, tmp_path / "store", sidecar=src / "about.csv", fps="rate")
    store = Store.open(tmp_path / "store")
    a, b = store.table("log").to_pylist()
    assert (str(a["local_date"]), a["rig_id"], a["weather"]) == ("2026-03-01", "r1", "rain")
    assert dict(a["attributes"])["operator"] == "Kim"
    assert (b["local_date"], b["weather"], b["rig_id"]) == (None, None, "r1")
    assert store.table("frame")["t_ns"].to_pylist() == [2 * 10**9, None]
    assert result.warnings == ["1 rows of about.csv match nothing, such as 'z'"] and not result.skipped
    with pytest.raises(UnseenError, match="fps 'rat' is neither"):
        ingest_folder(src, tmp_path / "s1", sidecar=src / "about.csv", fps="rat")
    (src / "about.csv").write_text("drive,date\na,1.3.26\n")
    with pytest.raises(UnseenError, match="YYYY-MM-DD"):
        ingest_folder(src, tmp_path / "s2", sidecar=src / "about.csv")
    (src / "about.csv").write_text("drive,date\nx,2026-03-01\n")
    with pytest.raises(UnseenError, match="names neither the logs nor the files"):
        ingest_folder(src, tmp_path / "s3", sidecar=src / "about.csv")


def test_a_sidecar_by_file_gives_logs_and_classes(tmp_path):
    src = tree(tmp_path / "src", {f"{n}.jpg": jpeg() for n in range(6)})
    rows = "".join(f"{n}.jpg,t{n // 3},{n % 3},c{n // 3},{n * 2}\n" for n in range(6))
    (tmp_path / "index.csv").write_text("name,track,number,kind,speed\n" + rows)
    columns = {"log_id": "track", "class": "kind", "seq": "number"}
    ingest_folder(src, tmp_path / "store", sidecar=tmp_path / "index.csv", columns=columns)
    store = Store.open(tmp_path / "store")
    assert store.log_ids() == ["t0", "t1"] and numbers(store, "t1") == [0, 1, 2]
    assert dict(store.table("frame", ["t1"]).to_pylist()[2]["attributes"])["speed"] == "10"
    source = ClipSource(store, ["t1", "t0"], Frames(frame_px=(8, 8)))
    assert store.classes("class").names == ("c0", "c1")
    assert [source.class_label(i) for i in range(6)] == [1, 1, 1, 0, 0, 0]


def test_class_folders_are_no_logs(tmp_path):
    src = archive(tmp_path / "train.zip", {f"{c}/{n}.jpg": jpeg() for c in ("cat", "dog") for n in range(8)})
    result = ingest_folder(src, tmp_path / "store", class_folders=True)
    store = Store.open(tmp_path / "store")
    assert store.log_ids() == ["train"] and "groups are unknown" in result.warnings[0]
    assert store.classes("class").names == ("cat", "dog") and result.labels == 16
    assert numbers(store, "train") == list(range(16))
    ingest_folder(src, tmp_path / "dealt", class_folders=True, independent=3)
    dealt = Store.open(tmp_path / "dealt")
    assert len(dealt.log_ids()) == 3 and dealt.table("frame").num_rows == 16
    assert dict(dealt.table("log").to_pylist()[0]["attributes"])["groups"] == "declared independent"


@pytest.mark.parametrize("form", ["folder", "zip", "npz"])
def test_labels_beside_the_frames(tmp_path, form):
    ids = {f"{n}": RNG.integers(0, 3, (10, 15), dtype=np.uint8) for n in (4, 7)}
    src = tree(tmp_path / "src", {f"a/{n}.jpg": jpeg() for n in (4, 7, 9)})
    if form == "folder":
        tree(src, {f"labels/a/{n}_L.png": pillow(x, "PNG") for n, x in ids.items()})
    elif form == "zip":
        archive(src / "labels", {f"a/{n}_L.png": pillow(x, "PNG") for n, x in ids.items()})
        (src / "labels").rename(src / "a_labels.zip")
    else:
        np.savez(src / "a_labels.npz", labels=np.stack(list(ids.values())), frame_index=[4, 7])
    where = {"folder": "labels", "zip": "a_labels.zip", "npz": "{log_id}_labels.npz"}[form]
    kind = {"classes": ["sky", "road", "void"], "ignore": "void", "label_suffix": "_L"}
    result = ingest_folder(src, tmp_path / "store", labels=where, **kind)
    assert (result.labels, result.skipped) == (2, [])
    store = Store.open(tmp_path / "store")
    label = ClipSource(store, ["a"], Frames(frame_px=(10, 15))).frames([0, 1, 2], labels=True)["label"].numpy()
    for place, n in enumerate(("4", "7")):
        np.testing.assert_array_equal(label[place], np.where(ids[n] == 2, 255, ids[n]))
    assert (label[2] == 255).all()
    with pytest.raises(UnseenError, match="holds class 2"):
        ingest_folder(src, tmp_path / "s2", labels=where, classes=["sky", "road"], label_suffix="_L")
    with pytest.raises(UnseenError, match="names of their classes"):
        ingest_folder(src, tmp_path / "s3", labels=where)


def test_colour_labels_are_no_class_ids(tmp_path):
    src = tree(tmp_path / "src", {"a/1.jpg": jpeg(), "labels/1.png": pillow(picture(), "PNG")})
    result = ingest_folder(src, tmp_path / "store", labels="labels", classes=["sky"])
    assert result.skipped_by_reason == {"label: label image is RGB, not class ids": 1}


def test_size_re_encodes_once(tmp_path):
    src = tree(tmp_path / "src", {"a/1.jpg": jpeg((40, 60, 3)), "a/2.png": pillow(picture((40, 60), np.uint16), "PNG")})
    ingest_folder(src, tmp_path / "store", size=(10, 12))
    rows = Store.open(tmp_path / "store").table("obs").to_pylist()
    assert [(row["encoding"], row["shape"]) for row in rows] == [("jpeg", [10, 12, 3]), ("png", [10, 12, 1])]


def test_videos_keep_the_clock_of_their_container(tmp_path):
    av = pytest.importorskip("av")
    (tmp_path / "src").mkdir()
    with av.open(str(tmp_path / "src" / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for n in range(6):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 40 * n, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    (tmp_path / "src" / "broken.mp4").write_bytes(b"no video at all")
    result = ingest_folder(tmp_path / "src", tmp_path / "store", every=2)
    store = Store.open(tmp_path / "store")
    assert result.written == ["clip"] and result.skipped_by_reason == {"truncated or corrupt video": 1}
    assert numbers(store, "clip") == [0, 2, 4]
    assert np.diff(store.table("frame")["t_ns"].to_pylist()).tolist() == [2 * 10**8] * 2
    means = [decode(store.read_blob("clip", "camera", row), "jpeg").mean() for row in range(3)]
    np.testing.assert_allclose(means, [0, 80, 160], atol=6)


TURNS = {  # what a container may ask of a player, and what that makes of a picture
    (90, False): lambda image: np.rot90(image, 1),
    (-90, False): lambda image: np.rot90(image, -1),
    (180, False): lambda image: np.rot90(image, 2),
    (0, True): lambda image: image[:, ::-1],
    (90, True): lambda image: np.rot90(image, 1)[:, ::-1],
    (-90, True): lambda image: np.rot90(image, -1)[:, ::-1],
}


@pytest.mark.parametrize("turn", TURNS)
def test_videos_are_upright(tmp_path, turn):
    av = pytest.importorskip("av")
    (tmp_path / "src").mkdir()
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24, :32], image[24:, :32] = (230, 20, 20), (20, 20, 230)
    with av.open(str(tmp_path / "src" / "phone.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuv420p", 2_000_000
        stream.set_display_rotation(turn[0], hflip=turn[1])
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    ingest_folder(tmp_path / "src", tmp_path / "store")
    store, shown = Store.open(tmp_path / "store"), TURNS[turn](image)
    assert [row["shape"] for row in store.table("obs").to_pylist()] == [list(shown.shape)] * 2
    for row in range(2):
        assert np.abs(decode(store.read_blob("phone", "camera", row), "jpeg").astype(int) - shown).mean() < 12


def test_a_video_that_is_shown_askew_is_skipped_by_name():
    askew = SimpleNamespace(side_data={"DISPLAYMATRIX": struct.pack("9i", 60000, 26000, 0, -26000, 60000, 0, 0, 0, 1)})
    with pytest.raises(BadImage, match="quarter turn"):
        video.orientation(askew)


def test_workers_write_the_same_store(tmp_path):
    src = tree(tmp_path / "src", {f"{log}/{n}.jpg": jpeg() for log in "abc" for n in range(3)})
    ingest_folder(src, tmp_path / "one")
    ingest_folder(src, tmp_path / "two", workers=2)
    assert Store.open(tmp_path / "one").digest() == Store.open(tmp_path / "two").digest()


def test_a_killed_ingest_leaves_whole_logs_and_the_next_run_goes_on(tmp_path):
    src = tree(tmp_path / "src", {f"log{log:02d}/{n}.jpg": jpeg() for log in range(12) for n in range(40)})
    code = (
        f"from unseen.data.ingest.folder import ingest_folder; ingest_folder({str(src)!r}, {str(tmp_path / 'store')!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "store").glob("logs/*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    while not list((tmp_path / "store").glob(".tmp-*")) and process.poll() is None:
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    store = Store.open(tmp_path / "store")
    before = store.log_ids()
    assert 2 <= len(before) < 12 and store.verify() == []
    result = ingest_folder(src, tmp_path / "store")
    assert result.present == before and len(store.log_ids()) == 12
    assert store.verify() == [] and not list((tmp_path / "store").glob(".tmp-*"))
    ingest_folder(src, tmp_path / "whole")
    assert store.digest() == Store.open(tmp_path / "whole").digest()


def test_inspection_tells_counts_unknowns_and_shows_pictures(tmp_path):
    src = tree(
        tmp_path / "src", {"a/1.jpg": jpeg(), "a/2.jpg": b"", "b/1.png": pillow(picture((20, 30), np.uint16), "PNG")}
    )
    ingest_folder(src, tmp_path / "store")
    report = inspect_store(Store.open(tmp_path / "store"), verify=True, thumbnails=2, thumbnail_px=24)
    assert report["counts"]["frame"] == 2 and report["problems"] == []
    assert report["columns"]["log"]["weather"]["nulls"] == 2 and report["columns"]["frame"]["seq"]["high"] == 1
    assert [(log["log_id"], log["frames"], log["shapes"]) for log in report["logs"]] == [
        ("a", 1, {"20x30x3": 1}),
        ("b", 1, {"20x30x1": 1}),
    ]
    assert report["skipped_by_reason"] == {"empty file": 1}
    assert [decode(p["jpeg"], "jpeg").shape[:2] for p in report["thumbnails"]] == [(24, 36), (24, 36)]


def test_real_archives_come_in_by_arguments_alone(shared_data, tmp_path):
    names = ["sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"]
    result = ingest_folder(
        shared_data / "camvid" / "0006R0_frames.zip",
        tmp_path / "store",
        pattern=r"(?P<log_id>[^/_]+)_(?P<seq>\d+)\.",
        labels="{log_id}_labels.npz",
        classes=[*names, "void"],
        ignore="void",
    )
    assert (result.written, result.frames, result.labels, result.skipped) == (["0006R0"], 101, 101, [])
    source = ClipSource(Store.open(tmp_path / "store"), ["0006R0"], Frames())
    label = source.frames([0], labels=True)["label"]
    assert label.shape == (1, 192, 256) and set(label.unique().tolist()) <= {*range(11), 255}
