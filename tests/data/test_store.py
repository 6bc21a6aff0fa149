"""The store: a log is there whole or not at all, and a changed byte never comes back as data."""

import os
import subprocess
import sys

import numpy as np
import pytest

from unseen.data import parquet
from unseen.data.images import encode
from unseen.data.schema import TABLES, schema
from unseen.data.store import Store
from unseen.errors import UnseenError

PNG = encode(np.full((3, 5, 1), 7, dtype=np.uint8))


def write_log(store: Store, log_id: str = "a", frames: int = 3, **log) -> list[bytes]:
    """A log of noise frames with a seg label on the first; returns the payload."""
    rng = np.random.default_rng(5)
    blobs = [encode(rng.integers(0, 256, (9, 13, 3), dtype=np.uint8)) for _ in range(frames)]
    with store.writer(log_id, source_uri=f"test/{log_id}", source_digest="d") as writer:
        writer.log(**log)
        writer.sensor("front", width=13, height=9)
        for seq in reversed(range(frames)):
            frame = writer.frame(seq, t_ns=seq * 10)
            writer.observe(frame, "front", blobs[seq], encoding="png", shape=(9, 13, 3), t_ns=seq * 10)
            if seq == 0:
                writer.label(frame, "seg", PNG)
                writer.label(frame, "class", cls="stop")
    return blobs


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "store")


def test_what_goes_in_comes_out(store):
    blobs = write_log(store, "sité/a..b", rig_id="r1", attributes={"operator": "x"})
    assert Store.open(store.path).log_ids() == ["sité/a..b"]
    obs = store.table("obs").to_pylist()
    frames = {frame["frame_id"]: frame for frame in store.table("frame").to_pylist()}
    for row in obs:
        assert store.read_blob("sité/a..b", "front", row["row"]) == blobs[frames[row["frame_id"]]["seq"]]
    by_seq = sorted(frames.values(), key=lambda frame: frame["seq"])
    assert [frame["prev_frame_id"] for frame in by_seq] == [None, by_seq[0]["frame_id"], by_seq[1]["frame_id"]]
    log = store.table("log").to_pylist()[0]
    assert (log["rig_id"], log["t_end_ns"], dict(log["attributes"])) == ("r1", 20, {"operator": "x"})
    assert log["weather"] is None
    first = by_seq[0]["frame_id"]
    assert store.read_label("sité/a..b", "seg", first) == PNG
    assert store.read_label("sité/a..b", "class", first) == "stop"
    assert store.read_label("sité/a..b", "seg", by_seq[1]["frame_id"]) is None
    assert store.table("label-seg").num_rows == 1
    assert store.verify() == []


def test_payload_continues_in_further_files(store, monkeypatch):
    monkeypatch.setattr(parquet, "ROWS_PER_FILE", 4)
    blobs = write_log(store, frames=11)
    assert len(list(store.path.glob("logs/a/obs-front*.parquet"))) == 3
    assert [store.read_blob("a", "front", 10 - seq) for seq in range(11)] == blobs


def test_same_source_gives_the_same_digest(store, tmp_path):
    other = Store.create(tmp_path / "other")
    for one in (store, other):
        write_log(one)
    assert store.digest() == other.digest()
    write_log(other, "b")
    assert store.digest() == other.digest(["a"]) != other.digest()


def test_an_error_inside_leaves_nothing(store):
    with pytest.raises(KeyboardInterrupt), store.writer("a", source_uri="x") as writer:  # noqa: PT012
        writer.frame(0)
        raise KeyboardInterrupt
    assert store.log_ids() == []
    assert list(store.path.glob(".tmp-*")) == []
    write_log(store)
    with pytest.raises(UnseenError, match="already in the store"):
        write_log(store)


def test_folders_of_dead_writers_go_and_those_of_live_ones_stay(store):
    host = next(iter({os.path.basename(p) for p in [_temporary_name(store)]})).split("-")[-2]
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    gone = store.path / f".tmp-x-{host}-{dead.stdout.strip()}"
    alive = store.path / f".tmp-y-{host}-{os.getppid()}"
    elsewhere = store.path / ".tmp-z-anotherhost-1"
    for folder in (gone, alive, elsewhere):
        folder.mkdir()
    write_log(store)
    assert [folder.exists() for folder in (gone, alive, elsewhere)] == [False, True, True]


def _temporary_name(store):
    with store.writer("probe", source_uri="x") as writer:
        name = writer._folder.name
        writer.frame(0)
    return name


def test_every_flipped_byte_of_payload_is_refused_and_named(store):
    blobs = write_log(store)
    path = store.path / "logs" / "a" / "obs-front.parquet"
    good, obs = path.read_bytes(), store.table("obs").to_pylist()
    rng, silent, unnamed = np.random.default_rng(3), [], []
    for place in rng.choice(len(good), 60, replace=False):
        path.write_bytes(good[:place] + bytes([good[place] ^ 0x10]) + good[place + 1 :])
        fresh = Store.open(store.path)
        for row in range(3):
            try:
                if fresh.read_blob("a", "front", row) != blobs[2 - row]:
                    silent.append(place)
            except UnseenError as error:
                said = str(error)
                unnamed += [place] * (not all(name in said for name in ("obs-front", "'a'", obs[row]["frame_id"])))
    assert (silent, unnamed) == ([], [])


def test_verify_names_the_frame(store):
    blobs = write_log(store)
    path = store.path / "logs" / "a" / "obs-front.parquet"
    place = path.read_bytes().index(blobs[1][40:60])
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    problems = Store.open(store.path).verify()
    frame = store.table("obs").to_pylist()[1]["frame_id"]
    assert [(p.log_id, p.file, p.frame_id) for p in problems] == [("a", "obs-front.parquet", frame)]
    path.unlink()
    assert [p.what for p in Store.open(store.path).verify()] == ["the file is gone"]
    with pytest.raises(UnseenError, match=r"obs-front.parquet.*'a'"):
        Store.open(store.path).read_blob("a", "front", 0)


def test_rows_are_checked_against_the_schema(store):
    with pytest.raises(UnseenError, match="no column 'wether'"):
        write_log(store, wether="rain")
    assert store.log_ids() == []
    for misuse in (
        lambda w: (w.frame(0), w.frame(0)),
        lambda w: w.observe(w.frame(0), "front", b"x", encoding="png", shape=(1, 1, 1)),
        lambda w: w.label("nobody", "seg", b"x"),
        lambda w: w.label(w.frame(0), "seg"),
    ):
        with pytest.raises(UnseenError):
            with store.writer("a", source_uri="x") as writer:
                misuse(writer)


def test_class_names_only_grow(store):
    with pytest.raises(UnseenError, match=r"no class names .* --data LABELLED"):
        store.classes("seg")
    store.set_classes("seg", ["sky", "road"], ignore=1, small=["road"])
    store.set_classes("seg", ["sky", "road", "sign"], ignore=1)
    assert store.classes("seg").names == ("sky", "road", "sign")
    with pytest.raises(UnseenError, match="ids keep their names"):
        store.set_classes("seg", ["road", "sky", "sign"])


def test_damaged_class_names_are_named_and_found_by_verify(store):
    store.set_classes("seg", ["sky", "road"])
    file = store.path / "classes.json"
    whole = file.read_text()
    assert store.verify() == []
    for damaged in ("{", "[]", '{"seg": {}}', '{"seg": {"names": [1]}}', whole.replace("road", "rood")):
        file.write_text(damaged)
        with pytest.raises(UnseenError, match=r"classes.json is damaged.*put a copy of it back"):
            store.has_classes("seg")
        assert [(problem.log_id, problem.file) for problem in store.verify()] == [(None, "classes.json")]
    file.write_text('{"seg": {"names": ["sky", "road"], "ignore": null, "small": []}}')  # as before there were digests
    assert store.classes("seg").names == ("sky", "road") and store.verify() == []


def test_what_is_no_store_is_refused(tmp_path):
    with pytest.raises(UnseenError, match="not a store"):
        Store.open(tmp_path)
    (tmp_path / "x").write_text("x")
    with pytest.raises(UnseenError, match="not empty"):
        Store.create(tmp_path)


@pytest.mark.parametrize("table", TABLES)
def test_every_table_has_a_schema_with_lineage(table):
    assert {"ingest_id", "row_hash"} <= set(schema(table).names)
