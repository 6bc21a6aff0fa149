"""A CSV beside the frames: what is known of each log, or of each file."""

import csv
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path, PurePosixPath
from typing import Any

from unseen.data.ingest.tables import not_utf8
from unseen.data.schema import ALIASES, columns
from unseen.errors import UnseenError

_LOG_TEXT = {name for name, (kind, _) in columns("log").items() if kind in ("str", "date")} - {
    "log_id",
    "source_uri",
    "source_digest",
    "source_format",
    "ingest_id",
    "row_hash",
}


LOG_FIELDS = (*sorted(_LOG_TEXT), *ALIASES)  # names that become columns of the log table


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The rows of a CSV by the value of one column; empty cells are unknown and left out."""

    path: Path
    key: str
    by_file: bool  # the key names files; otherwise logs
    rows: dict[str, dict[str, str]]
    used: set[str] = field(default_factory=set)

    def find(self, *names: str) -> dict[str, str]:
        """The row of the first name that has one; empty where none has."""
        for name in names:
            if name in self.rows:
                self.used.add(name)
                return self.rows[name]
        return {}


def file_names(name: str) -> tuple[str, str, str]:
    """What a CSV may call a file: its path, the path below the first folder, its own name."""
    path = PurePosixPath(name)
    return name, "/".join(path.parts[1:]), path.name


def read_sidecar(
    path: Path, key: str | None, renamed: dict[str, str], logs: Collection[str], files: Collection[str]
) -> Sidecar:
    """Read a CSV and find out what it is keyed by: the given column, or the one that names most files or logs.

    `renamed` maps a field (log_id, seq, class, a column of `log`) to the column of the CSV that holds it.
    """
    header, table = _read(path)
    for wanted in [*renamed.values(), *([key] if key else [])]:
        if wanted not in header:
            raise UnseenError(f"{path} has no column {wanted!r}", f"its columns are {', '.join(header)}")
    known_files = {name for file in files for name in file_names(file) if name}
    score = {}
    for column in [key] if key else header:
        values = [row[column] for row in table]
        if len(set(values)) == len(values) and all(values):
            score[column, True] = sum(value in known_files for value in values)
            score[column, False] = sum(value in logs for value in values)
    best = max(score, key=lambda pair: score[pair], default=None)
    if best is None or not score[best]:
        what = f"column {key!r} of {path} names" if key else f"no column of {path} names"
        raise UnseenError(
            f"{what} neither the logs nor the files, or values repeat",
            f"logs are called like {sorted(logs)[:2]}, files like {sorted(files)[:1]}",
            "name the key column, one row for each log or file",
        )
    column, by_file = best
    back = {held: name for name, held in renamed.items()}
    rows = {row[column]: _fields(row, back) for row in table}
    return Sidecar(path, column, by_file, rows)


def log_columns(fields: dict[str, str], where: str) -> dict[str, Any]:
    """Fields as columns of a log: known names (or what people call them) typed, everything else an attribute."""
    known: dict[str, Any] = {}
    attributes: dict[str, str] = {}
    for name, value in fields.items():
        column = ALIASES.get(name, name)
        if column not in _LOG_TEXT:
            attributes[name] = value
        elif column == "local_date":
            known[column] = _date(value, where)
        else:
            known[column] = value
    return {**known, **({"attributes": attributes} if attributes else {})}


def _fields(row: dict[str, str], back: dict[str, str]) -> dict[str, str]:
    """The cells that hold something, under the names that the user gave them."""
    return {back.get(name, name): value for name, value in row.items() if value}


def _date(value: str, where: str) -> date:
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise UnseenError(
            f"{where}: date {value!r}",
            "dates are written YYYY-MM-DD, local to the site",
            "what is none is kept as it is under another name, such as month",
        ) from error


def _read(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            table = [{key: value.strip() for key, value in row.items()} for row in reader]
            header = list(reader.fieldnames or [])
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from error
    except (OSError, csv.Error) as error:
        raise UnseenError(f"cannot read the sidecar {path}: {error}", "a CSV with a header") from error
    except AttributeError as error:
        raise UnseenError(
            f"a row of {path} has more or fewer cells than its header", "one cell for each column"
        ) from error
    if not table:
        raise UnseenError(f"the sidecar {path} has no rows", "a header and one row for each log or file")
    return header, table
