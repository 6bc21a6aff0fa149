"""metrics.jsonl: one JSON object a line, flushed as it is written; a resume cuts it back to its checkpoint."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unseen.errors import UnseenError
from unseen.files import write_whole


class Metrics:
    """Appends records; whatever was written after `step`, whole or half, is cut away first."""

    def __init__(self, path: Path, step: int):
        self.path = path
        kept = [json.dumps(record) for record in read_metrics(path) if record["step"] <= step]
        try:
            write_whole(path, "".join(f"{line}\n" for line in kept))
            self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115  closed by `close`
        except OSError as error:
            raise self._refused(error) from error

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one record; UnseenError when the disk refuses."""
        try:
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._refused(error) from error

    def sync(self) -> None:
        """Force what was written to disk: before a checkpoint that stands for it."""
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._refused(error) from error

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what could not be flushed has been reported by `write`
            self._file.close()

    def _refused(self, error: OSError) -> UnseenError:
        return UnseenError(
            f"could not write {self.path}: {error}",
            "the last checkpoint is intact",
            f"make room, then `unseen resume {self.path.parent}`",
        )


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All complete records; a last line without its end is what a killed run leaves. UnseenError names any other."""
    if not path.is_file():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        try:
            records.append(json.loads(line))
        except ValueError as error:
            raise UnseenError(f"{path} line {number} is not JSON", "one object a line", "delete the line") from error
    return records
