"""The page of `unseen inspect`: what is in a store, in numbers and in pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unseen.report.render import jpeg_uri, write_page
from unseen.report.svg import number

FIRST = ("log_id", "frames", "seconds", "shapes", "sensors", "labels", "bytes", "skipped_by_reason")


def contact_sheet(inspection: Mapping[str, Any], out: Path) -> Path:
    """Write what `unseen.data.inspect.inspect_store` found as one self-contained HTML page; returns `out`.

    Keys that are read: `path`, `digest`, `counts` {table: rows}, `columns` {table: {column: {nulls, rows, low, high,
    distinct}}}, `logs` [dict], `skipped_by_reason` {reason: n}, `classes`, `splits` [name], `warnings` [text],
    `problems` [dict; only after verification] and `thumbnails` [{"log_id", ..., "jpeg": bytes}]. What is absent is
    named as missing. Raises UnseenError where a thumbnail is no picture or the page cannot be written.
    """
    return write_page(
        Path(out),
        "contact_sheet.html",
        store=str(inspection.get("path", "store")),
        digest=str(inspection.get("digest") or "not computed"),
        counts=[(str(name), number(value)) for name, value in (inspection.get("counts") or {}).items()],
        columns=[(str(name), _columns(table)) for name, table in (inspection.get("columns") or {}).items()],
        log_table=_table(inspection.get("logs") or []),
        skipped=[(str(reason), number(n)) for reason, n in (inspection.get("skipped_by_reason") or {}).items()],
        classes=[(str(kind), _text(one)) for kind, one in (inspection.get("classes") or {}).items()],
        splits=_text(inspection.get("splits") or []),
        warnings=[_text(one) for one in inspection.get("warnings") or []],
        problems=None if "problems" not in inspection else [_text(one) for one in inspection["problems"] or []],
        thumbnails=_by_log(inspection.get("thumbnails") or []),
    )


def _table(logs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One row a log: what matters first, then every other key that some log has."""
    keys = list(dict.fromkeys(key for log in logs for key in log))
    shown = [key for key in FIRST if key in keys] + [key for key in keys if key not in FIRST]
    return {
        "columns": [key.replace("_", " ") for key in shown],
        "rows": [[_text(log.get(key)) for key in shown] for log in logs],
        "numeric": [all(isinstance(log.get(key), int | float) for log in logs) for key in shown],
    }


def _columns(table: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Rows of (column, unknown, values); columns that nobody filled in are only named."""
    known = {name: one for name, one in table.items() if one["nulls"] < one["rows"]}
    rows = [
        (name, f"{one['nulls']} of {one['rows']}" if one["nulls"] else "none", _values(one))
        for name, one in known.items()
    ]
    return {"rows": rows, "unknown": ", ".join(name for name in table if name not in known)}


def _values(column: Mapping[str, Any]) -> str:
    if column.get("low") is not None:
        return f"{_text(column['low'])} to {_text(column['high'])}"
    return f"{column['distinct']} different" if "distinct" in column else "not summarised"


def _by_log(thumbnails: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[str, str]]]:
    """(data URI, caption) of every thumbnail, log by log."""
    logs: dict[str, list[tuple[str, str]]] = {}
    for one in thumbnails:
        rest = {key: value for key, value in one.items() if key not in ("jpeg", "log_id")}
        logs.setdefault(str(one["log_id"]), []).append((jpeg_uri(one["jpeg"]), _text(rest)))
    return logs


def _text(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(one)}" for key, one in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_text(one) for one in value) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
