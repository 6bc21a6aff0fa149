"""Parquet files that are whole or absent, and that know when a byte of theirs has changed.

Payload has one row per row group: a random read touches its own bytes only. Checksums of pages are written, and
verified on every read; both are off by default in every engine, and several return the damaged value without a word.
"""

import hashlib
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from unseen.files import sync

ROWS_PER_FILE = 1024  # the footer grows by about 300 bytes a row and is read at once


def write_table(path: Path, rows: list[dict[str, Any]], schema) -> None:
    """Write a small table, durable before this returns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows, schema), path, compression="zstd", write_page_checksum=True)
    sync(path)


def read_table(path: Path, columns: list[str] | None = None):
    """Read a small table; a damaged page raises OSError."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read(columns)


class BlobWriter:
    """Appends blobs to `<stem>.parquet`, `<stem>-0001.parquet`, ... of at most `ROWS_PER_FILE` rows each."""

    def __init__(self, folder: Path, stem: str, schema):
        self.folder, self.stem, self.schema = folder, stem, schema
        self.rows = 0
        self._pending: list[dict[str, Any]] = []
        self._writer: Any = None

    def append(self, identity: str, blob: bytes) -> int:
        """Add a blob and return its row, counted over all files of this stem."""
        if self.rows % ROWS_PER_FILE == 0:
            self._next_file()
        self._pending.append({"id": identity, "blob": blob})
        self.rows += 1
        if len(self._pending) >= 32:
            self._flush()
        return self.rows - 1

    def close(self) -> None:
        """Write what is pending and the footer."""
        self._flush()
        if self._writer is not None:
            path = self._writer.where
            self._writer.close()
            sync(Path(path))
            self._writer = None

    def _next_file(self) -> None:
        import pyarrow.parquet as pq

        self.close()
        path = self.folder / part_name(self.stem, self.rows)
        if path.exists():
            raise FileExistsError(path)
        self._writer = pq.ParquetWriter(
            path,
            self.schema,
            compression="none",
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )

    def _flush(self) -> None:
        import pyarrow as pa

        if self._pending:
            self._writer.write_table(pa.Table.from_pylist(self._pending, self.schema), row_group_size=1)
            self._pending = []


class BlobReader:
    """Random reads of payload: keeps up to `limit` files open; safe to share between threads."""

    def __init__(self, limit: int = 128):
        self._limit = limit
        self._lock = threading.Lock()
        self._open: OrderedDict[Path, tuple[Any, threading.Lock]] = OrderedDict()

    def read(self, folder: Path, stem: str, row: int) -> bytes:
        """The blob of a row; OSError (or pyarrow's ArrowException) where the file is damaged or gone."""
        file, lock = self._file(folder / part_name(stem, row))
        with lock:
            column = file.read_row_group(row % ROWS_PER_FILE, columns=["blob"], use_threads=False).column(0)
        return column.chunk(0)[0].as_py()

    def _file(self, path: Path) -> tuple[Any, threading.Lock]:
        import pyarrow.parquet as pq

        with self._lock:
            if path in self._open:
                self._open.move_to_end(path)
                return self._open[path]
            handle = (pq.ParquetFile(path, page_checksum_verification=True, pre_buffer=False), threading.Lock())
            self._open[path] = handle
            if len(self._open) > self._limit:
                self._open.popitem(last=False)
            return handle


def part_name(stem: str, row: int) -> str:
    """The file that holds a row of the payload `stem`."""
    part = row // ROWS_PER_FILE
    return f"{stem}-{part:04d}.parquet" if part else f"{stem}.parquet"


def file_digest(path: Path) -> str:
    """blake2b-128 of a file, 32 hex digits."""
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
