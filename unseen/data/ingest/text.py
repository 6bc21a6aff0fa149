"""Ingest of text: tables (CSV, JSON lines, Parquet) with a column of passages, and plain files."""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unseen.data.ingest.labels import grow_classes
from unseen.data.ingest.listing import Skip
from unseen.data.ingest.outcome import IngestResult
from unseen.data.ingest.sidecar import log_columns
from unseen.data.ingest.tables import TABLES, Row, read_rows
from unseen.data.ingest.ties import TEMPLATE, Standing, standing, tied, words_of
from unseen.data.schema import BETWEEN
from unseen.data.store import Store
from unseen.errors import UnseenError

_REDACTED = re.compile(r"\W*\[?[^\[\].]*\b(redacted|confidential)\b[^\[\].]*\]?\W*", re.IGNORECASE)
KNOWN = "stands in the store"
_NO = {"", "false", "0", "no", "n", "none"}


@dataclass(slots=True)
class TextLog:
    """The passages that go into one log, and what links it to others."""

    log_id: str
    rows: list[Row] = field(default_factory=list)
    columns: dict[str, Any] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    skips: list[Skip] = field(default_factory=list)  # rows of the same source; kept with its first log
    digest: str = ""  # of its source, whatever else is ingested or stands in the store


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What holds for every log of an ingest; kept in its manifest."""

    text: str | None
    group: tuple[str, ...]
    link: tuple[str, ...]
    label: str | None
    redacted: str | None
    columns: dict[str, str]


def ingest_text(
    src: str | Path,
    store: Store | str | Path,
    *,
    text: str | None = None,
    group: Sequence[str] = (),
    link: Sequence[str] = (),
    label: str | None = None,
    redacted: str | None = None,
    columns: dict[str, str] | None = None,
    strict: bool = False,
) -> IngestResult:
    """Bring passages into a store (made if need be): one passage is one frame of a sensor of modality "text".

    A source is one file or a folder of them. A plain file (.txt) is one log: passages are parted by blank lines, or
    stand one a line where there is none. In a table (.csv, .jsonl, .parquet) each row is a passage.

    Args:
        text: the column of the passages.
        group: columns whose values together name the log, what must not be divided (a report, a case, a month);
            `date:6` is the first six characters of `date`. A row without a value there is skipped and counted.
        link: columns whose values tie logs together (an incident with several reports). Each becomes an attribute of
            the log that all logs tied by it share, directly or through others: `unseen split --by COLUMN`.
        label: a column of classes.
        redacted: a column that says that a passage was withheld.
        columns: field of the log table (site, route, date, ...) -> column; unknown where the rows of a log differ.
        strict: refuse what would otherwise be skipped with a counted reason.

    Empty, redacted and repeated passages are skipped by name. Near-duplicates (equal in their first 120 characters,
    digits masked, case and spaces aside) stay, and tie their logs by the attribute `template`. Both are looked for in
    all passages that the store holds already, too, so that several calls leak no more than one.
    """
    src = Path(os.path.abspath(src))
    reading = Reading(
        text=text, group=tuple(group), link=tuple(link), label=label, redacted=redacted, columns=columns or {}
    )
    skips: list[Skip] = []
    logs = _logs(_usable(_read(src, reading, skips), reading, skips), reading, skips)
    _refuse_any(skips, strict)
    if not logs:
        raise UnseenError(
            f"no passages in {src}",
            f"skipped: {_counted(skips)}",
            f"check --text and --group; what is read is {', '.join(TABLES)} and .txt",
        )
    for log in logs:
        _describe(log, reading)
    there = _there(store)
    before = standing(there, reading.link) if there else Standing()
    known = _leave_known([log for log in logs if log.log_id not in before.logs], before)
    _refuse_any(known, strict)
    logs = [log for log in logs if log.rows]
    fresh = [log for log in logs if log.log_id not in before.logs]
    _attach(logs, skips)
    _attach(fresh, known)
    warnings = _warnings(logs, known)
    for name in (TEMPLATE, *reading.link):
        warnings += _tie(logs, name, before)
    store = store if isinstance(store, Store) else Store.create(store)
    written = [log.log_id for log in logs if _record(store, log, reading, src)]
    if label:
        grow_classes(store, {row.fields[label] for log in logs for row in log.rows if row.fields.get(label)})
    skips += known
    return IngestResult(
        written=sorted(written),
        present=sorted({log.log_id for log in logs} - set(written)),
        frames=sum(len(log.rows) for log in fresh),
        labels=sum(bool(label and row.fields.get(label)) for log in fresh for row in log.rows),
        skipped=skips,
        warnings=warnings,
        skipped_by_reason=_counted(skips),
    )


def _refuse_any(skips: list[Skip], strict: bool) -> None:
    if strict and skips:
        raise UnseenError(f"{skips[0].file}: {skips[0].reason}", "strict: every row must be usable")


def _there(store: Store | str | Path) -> Store | None:
    """The store, where it has been made."""
    if isinstance(store, Store):
        return store
    return Store.open(store) if (Path(store) / "store.json").is_file() else None


def file_of(where: str) -> str:
    """The file of a row."""
    return where.rpartition(":")[0]


def stem_of(where: str) -> str:
    """The file of a row, without its suffix."""
    return file_of(where).rpartition(".")[0]


def _read(src: Path, reading: Reading, skips: list[Skip]) -> Iterator[Row]:
    if not src.exists():
        raise UnseenError(f"{src} does not exist", "a source is a file or a folder", "check the path")
    files = sorted(path for path in src.rglob("*") if path.is_file()) if src.is_dir() else [src]
    wanted = {name.partition(":")[0] for name in reading.group} | {*reading.link, *reading.columns.values()}
    wanted |= {name for name in (reading.label, reading.redacted) if name}
    for path in files:
        name = path.relative_to(src.parent if src.is_file() else src).as_posix()
        if path.suffix.lower() not in (*TABLES, ".txt") or name.startswith("."):
            skips.append(Skip(str(path), f"foreign file ({path.suffix or 'no suffix'})"))
            continue
        yield from read_rows(path, name, reading.text, wanted)


def _usable(rows: Iterable[Row], reading: Reading, skips: list[Skip]) -> Iterator[Row]:
    """Rows that say something new; the others are skipped by name."""
    first: dict[str, str] = {}
    for row in rows:
        known = " ".join(row.text.split())
        withheld = reading.redacted is not None and row.fields.get(reading.redacted, "").lower() not in _NO
        if not known:
            skips.append(Skip(row.where, "empty"))
        elif withheld or _REDACTED.fullmatch(known):
            skips.append(Skip(row.where, "redacted"))
        elif known in first:
            skips.append(Skip(row.where, "duplicate"))
        else:
            first[known] = row.where
            yield row


def _logs(rows: Iterable[Row], reading: Reading, skips: list[Skip]) -> list[TextLog]:
    logs: dict[str, TextLog] = {}
    for row in rows:
        stem = stem_of(row.where)
        values = [_value(row, name) for name in reading.group] if row.table else []
        if not all(values):
            skips.append(Skip(row.where, "no group"))
            continue
        log_id = f"{stem}/{joined(values)}" if values else stem
        logs.setdefault(log_id, TextLog(log_id)).rows.append(row)
    for log_id, log in logs.items():
        if len(files := sorted({file_of(row.where) for row in log.rows})) > 1:
            raise UnseenError(
                f"log {log_id!r} would hold passages of {files[0]} and of {files[1]}",
                "a log has one source",
                "rename one",
            )
    return [logs[log_id] for log_id in sorted(logs)]


def joined(values: Sequence[str]) -> str:
    """Values as one name, that of no other values: of several, `_` in a value is not taken for the one between."""
    if len(values) == 1:
        return values[0]
    return "_".join(value.replace("%", "%25").replace("_", "%5F") for value in values)


def _value(row: Row, name: str) -> str:
    """The value of a group column, or its first characters."""
    column, colon, count = name.partition(":")
    if colon and not (count.isdecimal() and int(count)):
        raise UnseenError(f"group {name!r}", "a column, or a column and a number of characters", "as in date:6")
    value = row.fields.get(column, "")
    return value[: int(count)] if colon else value


def _describe(log: TextLog, reading: Reading) -> None:
    """Columns of the log's own row: what all its passages say alike; and the digest of all that they say."""
    told = {name: {row.fields.get(column, "") for row in log.rows} for name, column in reading.columns.items()}
    alike = {name: next(iter(values)) for name, values in told.items() if len(values) == 1 and "" not in values}
    log.columns = log_columns(alike, f"log {log.log_id!r}")
    log.attributes = log.columns.pop("attributes", {})
    table = log.rows[0].table
    log.attributes["groups"] = "column" if table and reading.group else "unknown" if table else "file"
    source = [[row.where, row.text, row.fields] for row in log.rows] + [log.columns, log.attributes]
    log.digest = hashlib.sha256(json.dumps(source, sort_keys=True, default=str).encode()).hexdigest()


def _attach(logs: list[TextLog], skips: list[Skip]) -> None:
    """Keep what was skipped of a file with the first log that came from it."""
    first: dict[str, TextLog] = {}
    for log in logs:
        first.setdefault(stem_of(log.rows[0].where), log)
    for skip in skips:
        if owner := first.get(stem_of(skip.file)):
            owner.skips.append(skip)


def _leave_known(logs: list[TextLog], before: Standing) -> list[Skip]:
    """Take out of new logs the passages that stand in the store, and name them."""
    skips = []
    for log in logs:
        skips += [Skip(row.where, KNOWN) for row in log.rows if words_of(row.text) in before.words]
        log.rows = [row for row in log.rows if words_of(row.text) not in before.words]
    return skips


def _tie(logs: list[TextLog], name: str, before: Standing) -> list[str]:
    """Give every log its groups as an attribute; warns of logs that have one in common."""
    held = before.groups.get(name, {})
    groups = tied({log.log_id: log.rows for log in logs}, name, held)
    for log in logs:
        if log.log_id in groups:
            log.attributes[name] = BETWEEN.join(sorted(groups[log.log_id]))
    warnings, remedy = [], f"split by {name} to keep them together"
    count = Counter(log.attributes[name] for log in logs if name in log.attributes)
    if many := [times for times in count.values() if times > 1]:
        shared = f"{sum(many)} of {len(logs)} logs share their {name} with another"
        warnings.append(f"{shared}, the largest {max(many)} of them: {remedy}")
    older = {group for found in held.values() for group in found}
    fresh = [log.log_id for log in logs if log.log_id not in before.logs]
    if found := sum(bool(groups.get(log_id, set()) & older) for log_id in fresh):
        shared = f"{found} of {len(fresh)} new logs share their {name} with logs that stood in the store before"
        warnings.append(f"{shared}: {remedy}")
    return warnings


def _record(store: Store, log: TextLog, reading: Reading, src: Path) -> bool:
    """Write a log; False where the same is there already."""
    settings = {name: getattr(reading, name) for name in Reading.__slots__}
    ingest = json.loads(json.dumps({"format": "text", "settings": settings}))
    if log.log_id in store:
        before = store.manifest(log.log_id)
        if (before["source_digest"], before["ingest"]) != (log.digest, ingest):
            raise UnseenError(
                f"log {log.log_id!r} is in the store already, from {before['source_uri']}, and differs",
                "a log is immutable",
                "remove that log's folder, or ingest into another store",
            )
        return False
    with store.writer(
        log.log_id, source_uri=f"{src.name}#{log.log_id}", source_digest=log.digest, ingest=ingest
    ) as writer:
        writer.sensor("text", modality="text")
        for seq, row in enumerate(log.rows):
            links = {name: row.fields[name] for name in reading.link if row.fields.get(name)}
            frame = writer.frame(seq, attributes=links or None)
            blob = row.text.encode("utf-8")
            writer.observe(frame, "text", blob, encoding="utf-8", shape=(len(row.text),), source_file=row.where)
            if reading.label and row.fields.get(reading.label):
                writer.label(frame, "class", cls=row.fields[reading.label])
        writer.log(source_format="text", attributes=log.attributes, **log.columns)
        for skip in log.skips:
            writer.skip(skip.file, skip.reason)
    return True


def _warnings(logs: list[TextLog], known: list[Skip]) -> list[str]:
    warnings = []
    if unknown := [log.log_id for log in logs if log.attributes["groups"] == "unknown"]:
        warnings.append(f"groups are unknown in {', '.join(unknown[:3])}: name what belongs together with --group")
    if known:
        warnings.append(f"{len(known)} passages stand in the store already, word for word: they are left out")
    return warnings


def _counted(skips: list[Skip]) -> dict[str, int]:
    return dict(sorted(Counter(skip.reason for skip in skips).items()))
