"""Writes one log into a store: whole or not at all."""

import json
import os
import re
import shutil
import socket
import zlib
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from unseen.data.parquet import BlobWriter, file_digest, write_table
from unseen.data.schema import LOG_TABLES, identity, payload_schema, row, schema
from unseen.errors import UnseenError
from unseen.files import sync, write_whole

BLOCK = 64  # rows of one log that are read near each other
_TEMPORARY = re.compile(r"\.tmp-.*-(?P<host>[^-]*)-(?P<pid>\d+)", re.DOTALL)


class LogWriter:
    """A context: what it was told becomes a log when the block ends cleanly; an error inside leaves nothing.

    Identities follow from `source_uri` and the natural key of each row, so that the same source gives the same store.
    """

    def __init__(
        self, root: Path, log_id: str, *, source_uri: str, source_digest: str | None = None, ingest: dict | None = None
    ):
        self.log_id, self.source_uri, self.ingest = log_id, source_uri, ingest or {}
        self.ingest_id = identity(source_uri, source_digest, json.dumps(self.ingest, sort_keys=True))
        self._final = root / "logs" / folder_name(log_id)
        self._folder = root / f".tmp-{folder_name(log_id)}-{_host()}-{os.getpid()}"
        self._rows: dict[str, list[dict[str, Any]]] = {name: [] for name in LOG_TABLES}
        self._log: dict[str, Any] = {"log_id": log_id, "source_uri": source_uri, "source_digest": source_digest}
        self._sensors: dict[str, str] = {}
        self._frames: dict[str, dict[str, Any]] = {}
        self._seq: set[int] = set()
        self._payload: dict[str, BlobWriter] = {}
        self._skipped: list[dict[str, str]] = []

    def __enter__(self) -> Self:
        remove_abandoned(self._folder.parent)
        if self._final.exists():
            raise UnseenError(
                f"log {self.log_id!r} is already in the store",
                "a log is immutable",
                f"remove {self._final} or use another log id",
            )
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if kind is None:
                self._commit()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def log(self, **columns: Any) -> None:
        """Set columns of the log's own row; `attributes` takes a dict of whatever has no column."""
        self._log.update(columns)

    def site(self, site_id: str, **columns: Any) -> None:
        """Describe the site of this log."""
        self._add("site", site_id=site_id, **columns)
        self._log["site_id"] = site_id

    def sensor(self, name: str, *, modality: str = "camera", **columns: Any) -> str:
        """Declare a sensor before its first observation; returns its id."""
        if name in self._sensors:
            raise UnseenError(f"log {self.log_id!r} declares sensor {name!r} twice", "names are unique within a log")
        self._sensors[name] = identity(self.source_uri, self.log_id, "sensor", name)
        self._add("sensor", sensor_id=self._sensors[name], name=name, modality=modality, **columns)
        return self._sensors[name]

    def calibration(self, sensor: str, **columns: Any) -> str:
        """A calibration of a sensor, valid from `valid_from_ns` to `valid_to_ns` (null: open); returns its id."""
        sensor_id = self._sensor(sensor)
        calib_id = identity(sensor_id, "calibration", columns.get("valid_from_ns"))
        self._add("calibration", calib_id=calib_id, sensor_id=sensor_id, **columns)
        return calib_id

    def frame(self, seq: int, t_ns: int | None = None, **columns: Any) -> str:
        """A training sample at number `seq` of the log; returns its id. Any order; numbers are unique."""
        if seq in self._seq:
            raise UnseenError(f"log {self.log_id!r} has two frames with number {seq}", "numbers are unique in a log")
        self._seq.add(seq)
        frame_id = identity(self.source_uri, self.log_id, "frame", seq)
        self._frames[frame_id] = {"frame_id": frame_id, "seq": seq, "t_ns": t_ns, **columns}
        return frame_id

    def observe(
        self,
        frame_id: str,
        sensor: str,
        blob: bytes,
        *,
        encoding: str,
        shape: tuple[int, ...],
        t_ns: int | None = None,
        **columns: Any,
    ) -> str:
        """What a sensor saw: payload as recorded and its decoded shape (images: height, width, channels)."""
        sensor_id, obs_id = self._sensor(sensor), identity(frame_id, sensor)
        self._known(frame_id)
        place = self._blob(f"obs-{folder_name(sensor)}", obs_id, blob)
        columns = {"frame_id": frame_id, "sensor": sensor, "t_ns": t_ns, "encoding": encoding, **columns}
        self._add("obs", obs_id=obs_id, sensor_id=sensor_id, shape=list(shape), **place, **columns)
        return obs_id

    def pose(self, t_ns: int, **columns: Any) -> str:
        """The vehicle in the map at a time: `map_T_ego` as tx..tz, qw..qz."""
        pose_id = identity(self.source_uri, self.log_id, "pose", t_ns)
        self._add("pose", pose_id=pose_id, t_ns=t_ns, **columns)
        return pose_id

    def health(self, kind: str, **columns: Any) -> None:
        """Something was wrong with a sensor or a clock for a while."""
        self._add("health", kind=kind, **columns)

    def label(
        self,
        frame_id: str,
        kind: str,
        blob: bytes | None = None,
        cls: str | None = None,
        *,
        source: str = "human",
        **columns: Any,
    ) -> str:
        """What somebody says about a frame: a payload (kind seg: PNG of class ids), or a class name, and whence."""
        self._known(frame_id)
        if (blob is None) == (cls is None):
            raise UnseenError(f"label {kind!r} of frame {frame_id}", "a label is either a payload or a class name")
        label_id = identity(frame_id, "label", kind, columns.get("instance_id"))
        place = self._blob(f"label-{folder_name(kind)}", label_id, blob) if blob is not None else {}
        self._add(
            "label",
            label_id=label_id,
            frame_id=frame_id,
            kind=kind,
            source=source,
            **{"class": cls},
            **place,
            **columns,
        )
        return label_id

    def skip(self, file: str, reason: str) -> None:
        """Record that a file of the source did not come in, and why."""
        self._skipped.append({"file": file, "reason": reason})

    def _add(self, table: str, **values: Any) -> None:
        if table != "site":
            values["log_id"] = self.log_id
        self._rows[table].append(row(table, self.ingest_id, values))

    def _blob(self, stem: str, identity: str, blob: bytes) -> dict[str, int]:
        writer = self._payload.setdefault(stem, BlobWriter(self._folder, stem, payload_schema()))
        return {"row": writer.append(identity, blob), "nbytes": len(blob), "crc32": zlib.crc32(blob)}

    def _sensor(self, name: str) -> str:
        if name not in self._sensors:
            raise UnseenError(f"log {self.log_id!r} has no sensor {name!r}", "declare it first", "writer.sensor(name)")
        return self._sensors[name]

    def _known(self, frame_id: str) -> None:
        if frame_id not in self._frames:
            raise UnseenError(f"log {self.log_id!r} has no frame {frame_id}", "declare it first", "writer.frame(seq)")

    def _commit(self) -> None:
        self._finish_frames()
        self._finish_log()
        for writer in self._payload.values():
            writer.close()
        for table, rows in self._rows.items():
            if rows or table in ("log", "frame", "obs"):
                write_table(self._folder / f"{table}.parquet", rows, schema(table))
        write_whole(self._folder / "manifest.json", json.dumps(self._manifest(), indent=1, sort_keys=True))
        self._final.parent.mkdir(exist_ok=True)
        try:
            os.rename(self._folder, self._final)
        except OSError as error:
            raise UnseenError(f"log {self.log_id!r} cannot be put in place: {error}") from error
        sync(self._final.parent)

    def _finish_frames(self) -> None:
        calib: dict[str, list[str | None]] = {}
        for obs in self._rows["obs"]:
            calib.setdefault(obs["frame_id"], []).append(obs["calib_id"])
        previous = None
        for number, frame in enumerate(sorted(self._frames.values(), key=lambda frame: frame["seq"])):
            ids = calib.get(frame["frame_id"], [None])
            known = identity(*sorted(map(str, ids))) if all(ids) else None
            derived = {"prev_frame_id": previous, "calib_set_id": known, "block_id": number // BLOCK}
            self._add("frame", **{**derived, **frame})
            previous = frame["frame_id"]

    def _finish_log(self) -> None:
        times = [frame["t_ns"] for frame in self._rows["frame"]]
        span = {"t_start_ns": min(times), "t_end_ns": max(times)} if times and None not in times else {}
        self._add("log", **{**span, **self._log})

    def _manifest(self) -> dict[str, Any]:
        hashes = (f"{table}:{entry['row_hash']}" for table, rows in self._rows.items() for entry in rows)
        return {
            "log_id": self.log_id,
            "source_uri": self.source_uri,
            "source_digest": self._log["source_digest"],
            "content": identity(*hashes),  # of the rows, whatever wrote the files; payload enters by its CRC and size
            "files": {path.name: _describe(path) for path in sorted(self._folder.glob("*.parquet"))},
            "ingest": self.ingest,
            "skipped": self._skipped,
            "skipped_by_reason": dict(sorted(Counter(entry["reason"] for entry in self._skipped).items())),
        }


def folder_name(log_id: str) -> str:
    """A log id (or sensor name) as a file name: reversible, and harmless whatever it holds."""
    name = quote(log_id, safe=" +=,@()")
    name = name.replace(".", "%2E", 1) if name.startswith(".") else name
    if not name or len(name) > 180:
        raise UnseenError(f"{log_id!r} cannot name a log", "1 to 180 characters", "give shorter names with a pattern")
    return name


def remove_abandoned(root: Path) -> list[str]:
    """Remove the temporary folders of writers of this machine that are no more; returns their names."""
    gone = [path for path in root.glob(".tmp-*") if _dead(path.name)]
    for path in gone:
        shutil.rmtree(path, ignore_errors=True)
    return [path.name for path in gone]


def _dead(name: str) -> bool:
    match = _TEMPORARY.fullmatch(name)
    if match is None or match["host"] != _host():
        return False
    try:
        os.kill(int(match["pid"]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]", "", socket.gethostname()) or "host"


def _describe(path: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

    rows = pq.read_metadata(path).num_rows
    return {"rows": rows, "bytes": path.stat().st_size, "blake2b": file_digest(path)}
