"""The page of `unseen inspect`: what is in a store, in numbers and in pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unseen.report.render import jpeg_uri, write_page
from unseen.report.svg import number


def contact_sheet(inspection: Mapping[str, Any], out: Path) -> Path:
    """Write the inspection of a store as one self-contained HTML page; returns `out`.

    `inspection` may hold (what is absent is named as missing): `store` and `digest` (text), `counts` {name: n},
    `ranges` {column: [low, high]}, `nulls` {column: n or [n, of]}, `logs` [one dict a log, same keys],
    `skipped_by_reason` {reason: n}, `problems` [text or dict], `thumbnails` [{"jpeg": bytes, "log_id": ..., ...}] or
    {caption: bytes}.
    """
    return write_page(
        Path(out),
        "contact_sheet.html",
        store=str(inspection.get("store", "store")),
        digest=str(inspection.get("digest") or "not computed"),
        counts=[(str(name), number(value)) for name, value in (inspection.get("counts") or {}).items()],
        ranges=[(str(name), _range(value)) for name, value in (inspection.get("ranges") or {}).items()],
        nulls=[(str(name), _null(value)) for name, value in (inspection.get("nulls") or {}).items()],
        log_table=_table(inspection.get("logs") or []),
        skipped=[(str(reason), number(n)) for reason, n in (inspection.get("skipped_by_reason") or {}).items()],
        problems=None if "problems" not in inspection else [_text(one) for one in inspection["problems"] or []],
        thumbnails=_thumbnails(inspection.get("thumbnails") or []),
    )


def _table(logs: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """One row a log; the columns are all keys, in the order of their first appearance."""
    if not logs:
        return None
    columns = list(dict.fromkeys(key for log in logs for key in log))
    return {
        "columns": [column.replace("_", " ") for column in columns],
        "rows": [[_text(log.get(column)) for column in columns] for log in logs],
        "numeric": [all(isinstance(log.get(column), int | float) for log in logs) for column in columns],
    }


def _thumbnails(found: Any) -> list[tuple[str, str]]:
    """(data URI, caption) of every thumbnail."""
    if isinstance(found, Mapping):
        return [(jpeg_uri(content), str(caption)) for caption, content in found.items()]
    return [
        (jpeg_uri(one["jpeg"]), ", ".join(_text(value) for key, value in one.items() if key != "jpeg")) for one in found
    ]


def _range(value: Any) -> str:
    if isinstance(value, list | tuple) and len(value) == 2:
        return f"{_text(value[0])} to {_text(value[1])}"
    return _text(value)


def _null(value: Any) -> str:
    if isinstance(value, list | tuple) and len(value) == 2:
        return f"{value[0]} of {value[1]}"
    return _text(value)


def _text(value: Any) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(one)}" for key, one in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(_text(one) for one in value) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
