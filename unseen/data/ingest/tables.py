"""Rows of text: from tables with a column of passages, and from plain files."""

import csv
import json
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from unseen.errors import UnseenError


class Row(NamedTuple):
    """One passage and the cells beside it."""

    where: str  # file and number of the row, from 1
    text: str
    fields: dict[str, str]  # the named cells that hold something
    table: bool = True


def read_rows(path: Path, name: str, text: str | None, wanted: Collection[str]) -> Iterator[Row]:
    """The passages of a file in order. UnseenError where it cannot be read or lacks a column."""
    if path.suffix.lower() == ".txt":
        yield from _plain(path, name)
        return
    if text is None:
        raise UnseenError(f"{name} is a table", "its passages stand in a column", "name it with --text COLUMN")
    try:
        rows = TABLES[path.suffix.lower()](path)
    except Exception as error:  # readers raise whatever they like on damaged files
        raise UnseenError(f"cannot read {path}: {error}", "a table in UTF-8 with named columns") from error
    known = {column for row in rows for column in row}
    if missing := sorted({text, *wanted} - known):
        raise UnseenError(f"{name} has no column {missing[0]!r}", f"its columns are {', '.join(sorted(known))}")
    for number, row in enumerate(rows, 1):
        cells = {column: _cell(value) for column, value in row.items() if column in wanted}
        yield Row(f"{name}:{number}", _cell(row.get(text)), {k: v for k, v in cells.items() if v})


def _plain(path: Path, name: str) -> Iterator[Row]:
    try:
        content = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UnseenError(f"cannot read {path}: {error}", "plain text is UTF-8") from error
    parts = re.split(r"\n[ \t]*\n", content.strip("\n")) if re.search(r"\n[ \t]*\n", content.strip()) else None
    for number, part in enumerate(content.splitlines() if parts is None else parts, 1):
        yield Row(f"{name}:{number}", part.strip(), {}, False)


def _csv(path: Path) -> list[dict[str, Any]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file, strict=True))


def _lines(path: Path) -> list[dict[str, Any]]:
    with open(path, encoding="utf-8-sig") as file:
        return [json.loads(line) for line in file if line.strip()]


def _parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()


def _cell(value: Any) -> str:
    return "" if value is None else str(value).strip()


TABLES: dict[str, Callable[[Path], list[dict[str, Any]]]] = {".csv": _csv, ".jsonl": _lines, ".parquet": _parquet}
