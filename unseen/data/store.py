"""The store: a folder of immutable logs in Parquet that any engine reads, with digests that this reader insists on.

STORE/store.json  classes.json  splits/<name>.json
STORE/logs/<log>/ manifest.json, the small tables of `schema`, obs-<sensor>.parquet and label-<kind>.parquet (payload)
"""

import json
import threading
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from unseen.data.parquet import ROWS_PER_FILE, BlobReader, file_digest, part_name, read_table
from unseen.data.schema import LOG_TABLES, identity, schema
from unseen.data.writer import LogWriter, folder_name
from unseen.errors import UnseenError
from unseen.files import write_whole

FORMAT = {"format": "unseen-store", "version": 1}
DIGEST = "digest"  # in classes.json, beside the kinds of labels; stores of before have none


class Problem(NamedTuple):
    """Something that `verify` found: where, and what."""

    log_id: str | None  # None: of the store itself
    file: str
    frame_id: str | None
    what: str


class ClassList(NamedTuple):
    """The names behind the class ids of one kind of label."""

    names: tuple[str, ...]
    ignore: int | None  # the id that is never scored
    small: tuple[str, ...]  # small or sparse classes, reported apart


class Store:
    """Reads a store; hands out writers. Cheap to make, safe to share between threads."""

    def __init__(self, path: Path):
        self.path = path
        self._blobs = BlobReader()
        self._index: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()

    @staticmethod
    def create(path: str | Path) -> "Store":
        """Make an empty store, or open the one that is there. UnseenError for a folder that holds anything else."""
        path = Path(path)
        if (path / "store.json").is_file():
            return Store.open(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise UnseenError(
                f"{path} is not a store and not empty", "a store gets its own folder", "name a new folder"
            )
        (path / "logs").mkdir(parents=True)
        (path / "splits").mkdir()
        write_whole(path / "store.json", json.dumps(FORMAT))
        return Store(path)

    @staticmethod
    def open(path: str | Path) -> "Store":
        """Open a store; UnseenError, which says why, where it is none or of another format."""
        path = Path(path)
        try:
            found = json.loads((path / "store.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UnseenError(
                f"{path} is not a store", "a store has a readable store.json", "make one with: unseen ingest"
            ) from error
        if found != FORMAT:
            raise UnseenError(f"{path} has format {found}", f"this version reads {FORMAT}")
        return Store(path)

    def log_ids(self) -> list[str]:
        """The logs that are there, sorted."""
        return sorted(unquote(path.parent.name) for path in self.path.glob("logs/*/manifest.json"))

    def __contains__(self, log_id: str) -> bool:
        return (self._folder(log_id) / "manifest.json").is_file()

    def manifest(self, log_id: str) -> dict[str, Any]:
        """What was written for a log: source, digests, rows, what was skipped."""
        path = self._folder(log_id) / "manifest.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise UnseenError(f"the store {self.path} has no log {log_id!r}", "", "see: unseen inspect") from error
        except ValueError as error:
            raise UnseenError(f"{path} of log {log_id!r} is damaged: {error}") from error

    def digest(self, log_ids: Iterable[str] | None = None) -> str:
        """Stands for the content of these logs (default: all), whichever machine or version wrote the files."""
        chosen = sorted(self.log_ids() if log_ids is None else log_ids)
        return identity(*(f"{log_id}:{self.manifest(log_id)['content']}" for log_id in chosen))

    def table(self, name: str, log_ids: Iterable[str] | None = None):
        """All rows of a small table over these logs (default: all), as pyarrow; `label-seg` is `label` of that kind."""
        import pyarrow as pa
        import pyarrow.compute as pc

        base, _, kind = name.partition("-")
        chosen = self.log_ids() if log_ids is None else list(log_ids)
        parts = [self._read(log_id, base) for log_id in chosen]
        table = pa.concat_tables(parts) if parts else schema(base).empty_table()
        return table.filter(pc.equal(table["kind"], kind)) if kind else table

    def read_blob(self, log_id: str, sensor: str, row: int) -> bytes:
        """The payload of a row of `obs`, as recorded; a changed byte or a vanished file is an error that names it."""
        crc, _ = self._checks(log_id, "obs", sensor)
        return self._payload(log_id, "obs", sensor, row, crc)

    def read_label(self, log_id: str, kind: str, frame_id: str) -> bytes | str | None:
        """The label of a frame: payload, or class name; None where there is none."""
        found = self._labels(log_id, kind).get(frame_id)
        if found is None:
            return None
        row, name = found
        return (
            name if row is None else self._payload(log_id, "label", kind, row, self._checks(log_id, "label", kind)[0])
        )

    def labelled(self, log_id: str, kind: str) -> set[str]:
        """The frames of a log that have a label of this kind."""
        return set(self._labels(log_id, kind))

    def writer(
        self, log_id: str, *, source_uri: str, source_digest: str | None = None, ingest: dict | None = None
    ) -> LogWriter:
        """A writer of a new log: `with store.writer(...) as log`. `ingest` is kept in the manifest as it is."""
        return LogWriter(self.path, log_id, source_uri=source_uri, source_digest=source_digest, ingest=ingest)

    def classes(self, kind: str) -> ClassList:
        """The class names of a kind of label; UnseenError where nobody has named them."""
        found = self._class_lists().get(kind)
        if found is None:
            raise UnseenError(
                f"the store {self.path} has no class names for labels of kind {kind!r}",
                "labels are ingested with the names of their classes",
                "ingest labels with names; a run is judged on another store by: unseen evaluate RUN --data LABELLED",
            )
        return ClassList(tuple(found["names"]), found.get("ignore"), tuple(found.get("small", ())))

    def has_classes(self, kind: str) -> bool:
        """Whether the classes of a kind of label are named."""
        return kind in self._class_lists()

    def set_classes(
        self, kind: str, names: Sequence[str], *, ignore: int | None = None, small: Sequence[str] = ()
    ) -> None:
        """Name the classes of a kind. A longer list may follow a shorter one that it begins with; ids never move."""
        lists = self._class_lists()
        before = lists.get(kind, {"names": []})["names"]
        if list(names[: len(before)]) != before:
            raise UnseenError(
                f"the store names its {kind!r} classes {before}, not {list(names)}", "ids keep their names"
            )
        if unknown := set(small) - set(names):
            raise UnseenError(f"small classes {sorted(unknown)} are not among {list(names)}")
        lists[kind] = {"names": list(names), "ignore": ignore, "small": list(small)}
        write_whole(self.path / "classes.json", json.dumps({**lists, DIGEST: _digest(lists)}, indent=1))

    def verify(self) -> list[Problem]:
        """Read everything: digests of files against the manifest, then the checksum of every payload."""
        problems = [problem for log_id in self.log_ids() for problem in self._verify_log(log_id)]
        try:
            self._class_lists()
        except UnseenError as error:
            problems.append(Problem(None, "classes.json", None, f"{error.what}; {error.remedy}"))
        return problems

    def _verify_log(self, log_id: str) -> list[Problem]:
        folder, problems = self._folder(log_id), []
        try:
            files = self.manifest(log_id)["files"]
        except UnseenError as error:
            return [Problem(log_id, "manifest.json", None, error.what)]
        for name, entry in files.items():
            path = folder / name
            if not path.is_file():
                problems.append(Problem(log_id, name, None, "the file is gone"))
            elif file_digest(path) != entry["blake2b"]:
                problems += self._blame(log_id, name) or [Problem(log_id, name, None, "the digest differs")]
        return problems

    def _blame(self, log_id: str, file: str) -> list[Problem]:
        """The frames whose payload in this file cannot be read."""
        base, _, rest = file.removesuffix(".parquet").partition("-")
        if not rest:
            return []
        problems = []
        column = "sensor" if base == "obs" else "kind"
        for entry in self._read(log_id, base).select([column, "row", "frame_id"]).to_pylist():
            name, row = entry[column], entry["row"]
            if row is None or part_name(f"{base}-{folder_name(name)}", row) != file:
                continue
            try:
                self._payload(log_id, base, name, row, self._checks(log_id, base, name)[0])
            except UnseenError as error:
                problems.append(Problem(log_id, file, entry["frame_id"], error.what))
        return problems

    def _payload(self, log_id: str, base: str, name: str, row: int, crc) -> bytes:
        import pyarrow as pa

        stem = f"{base}-{folder_name(name)}"
        if not 0 <= row < len(crc):
            raise UnseenError(f"log {log_id!r} has no row {row} of {stem}", f"it has {len(crc)}")
        try:
            blob = self._blobs.read(self._folder(log_id), stem, row)
            if zlib.crc32(blob) == crc[row]:
                return blob
            why = "the checksum of the payload differs"
        except (OSError, pa.ArrowException, IndexError) as error:
            why = str(error).splitlines()[0]
        path = self._folder(log_id) / part_name(stem, row)
        frame = self._checks(log_id, base, name)[1][row]
        raise UnseenError(
            f"cannot read {path}: log {log_id!r}, frame {frame} (row {row % ROWS_PER_FILE}): {why}",
            "payload is never substituted",
            "check the disk with: unseen inspect --verify, then remove the log's folder and ingest it again",
        )

    def _checks(self, log_id: str, base: str, name: str):
        """CRC and frame by row of one payload; read once."""
        key = (log_id, f"{base}-{name}")
        if key not in self._index:
            import pyarrow.compute as pc

            table = self._read(log_id, base)
            table = table.filter(pc.equal(table["sensor" if base == "obs" else "kind"], name)).sort_by("row")
            crc = table["crc32"].to_numpy(zero_copy_only=False) if len(table) else []
            self._index[key] = (crc, table["frame_id"].to_pylist())
        return self._index[key]

    def _labels(self, log_id: str, kind: str) -> dict[str, tuple[int | None, str | None]]:
        key = (log_id, f"labels of {kind}")
        if key not in self._index:
            columns = self._read(log_id, "label").select(["kind", "frame_id", "row", "class"]).to_pydict()
            rows = zip(*columns.values(), strict=True)
            self._index[key] = {frame: (row, name) for found, frame, row, name in rows if found == kind}
        return self._index[key]

    def _read(self, log_id: str, table: str):
        import pyarrow as pa

        if table not in LOG_TABLES:
            raise UnseenError(f"no table {table!r} in a log", f"the tables are {', '.join(LOG_TABLES)}")
        path = self._folder(log_id) / f"{table}.parquet"
        try:
            return read_table(path)
        except (OSError, pa.ArrowException) as error:
            if path.name not in self.manifest(log_id)["files"]:
                return schema(table).empty_table()
            raise UnseenError(f"cannot read {path} of log {log_id!r}: {error}") from error

    def _folder(self, log_id: str) -> Path:
        return self.path / "logs" / folder_name(log_id)

    def _class_lists(self) -> dict[str, Any]:
        path = self.path / "classes.json"
        if not path.is_file():
            return {}
        try:
            lists = json.loads(path.read_text(encoding="utf-8"))
            told = lists.pop(DIGEST, None)
            if told not in (None, _digest(lists)):
                raise ValueError("its digest differs")
            if not all(isinstance(name, str) for entry in lists.values() for name in entry["names"]):
                raise ValueError("a name is no text")
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise UnseenError(
                f"{path} is damaged or was changed by hand: {error}",
                "it names the class ids",
                "put a copy of it back, or remove it and run the same ingest again: logs that are there stay",
            ) from error
        return lists


def _digest(lists: dict[str, Any]) -> str:
    return identity(json.dumps(lists, sort_keys=True))
