"""What is in a store: counts, ranges, unknowns, each log, what was skipped, and pictures for a contact sheet."""

from collections import Counter
from typing import Any

import numpy as np

from unseen.data.images import decode, encode, resize
from unseen.data.schema import CAMERA_LIKE, LOG_TABLES, columns
from unseen.data.store import Store
from unseen.errors import UnseenError

SHAPES = 6  # of a log that are told


def inspect_store(store: Store, *, verify: bool = False, thumbnails: int = 4, thumbnail_px: int = 96) -> dict[str, Any]:
    """A summary as plain values; `verify` also reads and checks every byte.

    Keys: path, digest, counts {table: rows}, columns {table: {column: {nulls, distinct | low, high}}}, logs [one dict
    each], skipped_by_reason, classes, splits, warnings, problems [only with verify] and thumbnails: `thumbnails`
    pictures of each log, evenly spread, {"log_id", "sensor", "seq", "jpeg": bytes} of `thumbnail_px` height.
    """
    tables = {name: store.table(name) for name in LOG_TABLES}
    manifests = {log: store.manifest(log) for log in store.log_ids()}
    report = {
        "path": str(store.path),
        "digest": store.digest(),
        "counts": {name: table.num_rows for name, table in tables.items()},
        "columns": {
            name: {c: _column(table[c]) for c in columns(name)} for name, table in tables.items() if table.num_rows
        },
        "logs": _logs(tables, manifests),
        "skipped_by_reason": _total(manifests),
        "classes": {kind: store.classes(kind)._asdict() for kind in ("seg", "class") if store.has_classes(kind)},
        "splits": sorted(path.stem for path in (store.path / "splits").glob("*.json")),
        "warnings": _warnings(tables),
        "thumbnails": [picture for log in manifests for picture in _thumbnails(store, log, thumbnails, thumbnail_px)],
    }
    if verify:
        report["problems"] = [problem._asdict() for problem in store.verify()]
    return report


def _column(column) -> dict[str, Any]:
    """Unknown rows, and the range of numbers and dates or the number of distinct texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    summary: dict[str, Any] = {"nulls": column.null_count, "rows": len(column)}
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_date(kind):
        extremes = pc.min_max(column).as_py()
        low, high = extremes["min"], extremes["max"]
        summary |= {"low": str(low), "high": str(high)} if pa.types.is_date(kind) else {"low": low, "high": high}
    elif pa.types.is_string(kind) or pa.types.is_boolean(kind):
        summary["distinct"] = pc.count_distinct(column).as_py()
    return summary


def _logs(tables: dict[str, Any], manifests: dict[str, Any]) -> list[dict[str, Any]]:
    frames = Counter(tables["frame"]["log_id"].to_pylist())
    labels = Counter(zip(tables["label"]["log_id"].to_pylist(), tables["label"]["kind"].to_pylist(), strict=True))
    poses = Counter(tables["pose"]["log_id"].to_pylist())
    calibrations = Counter(tables["calibration"]["log_id"].to_pylist())
    sensors: dict[str, list[str]] = {}
    for log, name in zip(*(tables["sensor"][c].to_pylist() for c in ("log_id", "name")), strict=True):
        sensors.setdefault(log, []).append(name)
    sizes: dict[str, Counter] = {}
    for log, shape in zip(*(tables["obs"][c].to_pylist() for c in ("log_id", "shape")), strict=True):
        sizes.setdefault(log, Counter())["x".join(map(str, shape))] += 1
    rows = []
    for row in tables["log"].to_pylist():
        log, attributes = row["log_id"], dict(row.pop("attributes") or ())
        known = {
            name: value if isinstance(value, int | str) else str(value)
            for name, value in row.items()
            if value is not None
        }
        rows.append(
            {
                **known,
                "attributes": attributes,
                "frames": frames[log],
                "sensors": sensors.get(log, []),
                "calibrations": calibrations[log] or None,
                "poses": poses[log] or None,
                "shapes": _most(sizes.get(log, Counter())),
                "labels": {kind: count for (of, kind), count in labels.items() if of == log},
                "seconds": (row["t_end_ns"] - row["t_start_ns"]) / 1e9 if row["t_end_ns"] is not None else None,
                "bytes": sum(file["bytes"] for file in manifests[log]["files"].values()),
                "skipped_by_reason": manifests[log]["skipped_by_reason"],
            }
        )
    return rows


def _most(shapes: Counter[str]) -> dict[str, int]:
    """The commonest shapes; passages of text have as many as there are lengths."""
    rest = len(shapes) - SHAPES
    most = dict(shapes.most_common(SHAPES))
    return most if rest <= 0 else most | {f"{rest} others": shapes.total() - sum(most.values())}


def _total(manifests: dict[str, Any]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for manifest in manifests.values():
        total.update(manifest["skipped_by_reason"])
    return dict(sorted(total.items()))


def _warnings(tables: dict[str, Any]) -> list[str]:
    warnings = []
    rows = tables["log"].to_pylist()
    if blind := [row["log_id"] for row in rows if dict(row["attributes"] or ()).get("groups") == "unknown"]:
        warnings.append(
            f"groups are unknown in {len(blind)} logs, such as {blind[0]!r}: a split cannot keep them apart"
        )
    if broken := [row["log_id"] for row in rows if row["truncated"]]:
        warnings.append(f"{len(broken)} logs break off, such as {broken[0]!r}")
    if timeless := tables["frame"]["t_ns"].null_count:
        warnings.append(f"{timeless} of {tables['frame'].num_rows} frames have no time")
    return warnings


def _thumbnails(store: Store, log_id: str, count: int, height: int) -> list[dict[str, Any]]:
    """Pictures spread evenly over the log; one that cannot be read is left out, `verify` names it."""
    cameras = {
        row["sensor_id"] for row in store.table("sensor", [log_id]).to_pylist() if row["modality"] in CAMERA_LIKE
    }
    seq = dict(zip(*(store.table("frame", [log_id])[c].to_pylist() for c in ("frame_id", "seq")), strict=True))
    rows = [row for row in store.table("obs", [log_id]).to_pylist() if row["sensor_id"] in cameras]
    rows.sort(key=lambda row: (seq[row["frame_id"]], row["sensor"]))
    pictures = []
    for place in sorted({round(x) for x in np.linspace(0, len(rows) - 1, min(count, len(rows)))}):
        row = rows[place]
        try:
            blob = store.read_blob(log_id, row["sensor"], row["row"])
            jpeg = thumbnail(decode(blob, row["encoding"], (height, height)), height)
        except (UnseenError, ValueError, OSError):
            continue
        pictures.append({"log_id": log_id, "sensor": row["sensor"], "seq": seq[row["frame_id"]], "jpeg": jpeg})
    return pictures


def thumbnail(image: np.ndarray, height: int) -> bytes:
    """A small JPEG; 16 bit images are stretched to their own range."""
    if image.dtype == np.uint16:
        low, high = int(image.min()), max(int(image.max()), int(image.min()) + 1)
        image = ((image.astype(np.float32) - low) * (255 / (high - low))).astype(np.uint8)
    width = max(1, round(height * image.shape[1] / image.shape[0]))
    return encode(resize(image, (height, width)).permute(1, 2, 0).contiguous().numpy(), "jpeg", quality=80)
