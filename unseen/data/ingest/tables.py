"""Rows of text: from tables with a column of passages, and from plain files."""

import csv
import json
import re
import sys
from collections import Counter
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
    except UnseenError:
        raise
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from error
    except Exception as error:  # readers raise whatever they like on damaged files
        raise UnseenError(f"cannot read {path}: {error}", "a table has named columns and whole rows") from error
    if not rows:
        raise UnseenError(f"{name} has no rows", "a table holds passages", "remove it, or export it again")
    known = {column for row in rows for column in row}
    if missing := sorted({text, *wanted} - known):
        raise UnseenError(
            f"{name} has no column {missing[0]!r}",
            f"its columns are {', '.join(sorted(known))}",
            "name one of them; cells of a CSV are parted by commas",
        )
    for number, row in enumerate(rows, 1):
        where = f"{name}:{number}"
        cells = {column: _cell(value, where, column) for column, value in row.items() if column in {*wanted, text}}
        passage = cells.get(text, "") if text in wanted else cells.pop(text, "")
        yield Row(where, passage, {k: v for k, v in cells.items() if v})


def not_utf8(path: Path, error: UnicodeDecodeError) -> UnseenError:
    """The refusal of a file in another encoding: guessing one would change letters without a word."""
    return UnseenError(
        f"{path} is not UTF-8: it holds the byte 0x{error.object[error.start]:02x}",
        "text is UTF-8",
        f"convert it, say with: iconv -f LATIN1 -t UTF-8 {path.name} > utf8_{path.name} "
        "(or -f CP1252, -f UTF-16: what it was written in)",
    )


def _plain(path: Path, name: str) -> Iterator[Row]:
    try:
        content = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise not_utf8(path, error) from error
    except OSError as error:
        raise UnseenError(f"cannot read {path}: {error}") from error
    parts = re.split(r"\n[ \t]*\n", content.strip("\n")) if re.search(r"\n[ \t]*\n", content.strip()) else None
    for number, part in enumerate(content.splitlines() if parts is None else parts, 1):
        yield Row(f"{name}:{number}", part.strip(), {}, False)


def _csv(path: Path) -> list[dict[str, Any]]:
    before = csv.field_size_limit(sys.maxsize)  # a passage may be longer than the reader's 131,072 characters
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            names = next(reader, [])
            rows = [cells for cells in reader if cells]
    finally:
        csv.field_size_limit(before)
    if twice := sorted(name for name, count in Counter(names).items() if count > 1):
        raise UnseenError(f"{path} names the column {twice[0]!r} twice", "names of columns differ", "rename one")
    for number, cells in enumerate(rows, 1):
        if len(cells) > len(names):
            raise UnseenError(
                f"row {number} of {path} has {len(cells)} cells, its header {len(names)}",
                "a cell beyond the header belongs to no column",
                "quote passages that hold commas",
            )
    return [dict(zip(names, cells, strict=False)) for cells in rows]


def _lines(path: Path) -> list[dict[str, Any]]:
    rows = []
    with open(path, encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise UnseenError(f"line {number} of {path} is not JSON: {error}", "one object a line") from error
            if not isinstance(row, dict):
                raise UnseenError(f"line {number} of {path} is a {type(row).__name__}", "one object a line")
            rows.append(row)
    return rows


def _parquet(path: Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return pq.read_table(path).to_pylist()


def _cell(value: Any, where: str, column: str) -> str:
    if value is None or value != value:  # NaN is how some writers say unknown
        return ""
    if isinstance(value, bytes | list | tuple | dict):
        raise UnseenError(f"{column!r} of {where} is a {type(value).__name__}", "a cell is text, a number or a date")
    cell = str(value).strip()
    if any("\ud800" <= letter <= "\udfff" for letter in cell):
        raise UnseenError(f"{column!r} of {where} holds half of a surrogate pair", "text is Unicode")
    return cell


TABLES: dict[str, Callable[[Path], list[dict[str, Any]]]] = {".csv": _csv, ".jsonl": _lines, ".parquet": _parquet}
