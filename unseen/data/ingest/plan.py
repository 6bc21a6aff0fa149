"""Which file is which frame of which log: decided from names and the sidecar, before any image is read."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from unseen.data.ingest.calibration import Calibrated
from unseen.data.ingest.listing import VIDEOS, Skip, Source, natural
from unseen.data.ingest.poses import Trajectory
from unseen.data.ingest.sidecar import LOG_FIELDS, Sidecar, file_names, log_columns, read_sidecar
from unseen.data.schema import identity
from unseen.errors import UnseenError

_OF_FRAME = ("log_id", "seq", "sensor", "class", "t_ns", "t_us", "t_s", "split_hint")  # the rest describes the log


@dataclass(slots=True)
class Item:
    """One image (or one whole video) and what is known of it."""

    source: Source
    log_id: str
    fields: dict[str, str]  # from the pattern and the sidecar
    sensor: str = "camera"
    seq: int = 0
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class LogPlan:
    """Everything that a worker needs to write one log."""

    log_id: str
    uri: str
    groups: str  # where the log's identity comes from: folder, archive, pattern, sidecar, video, declared independent
    items: list[Item]
    columns: dict[str, Any] = field(default_factory=dict)
    fps: float | None = None
    labels: Path | None = None
    poses: Trajectory | None = None
    cameras: dict[str, Calibrated] = field(default_factory=dict)  # by sensor
    skips: list[Skip] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """How names become logs, frames and classes."""

    pattern: str | None = None
    class_folders: bool = False
    independent: int | None = None
    columns: dict[str, str] = field(default_factory=dict)


def make_plans(
    src: Path, sources: list[Source], naming: Naming, sidecar_path: Path | None, key: str | None
) -> tuple[list[LogPlan], list[Skip], list[str]]:
    """Group files into logs. Returns the plans, the files that no rule places, and warnings."""
    items, skips = _named(sources, naming)
    sidecar, warnings = None, []
    if sidecar_path is not None:
        logs, files = {item.log_id for item in items}, [item.source.name for item in items]
        sidecar = read_sidecar(sidecar_path, key, naming.columns, logs, files)
        if sidecar.by_file:
            items = [_joined(item, sidecar) for item in items]
    grouped = defaultdict(list)
    for item in items:
        item.log_id = _independent(item, naming.independent)
        grouped[item.log_id].append(item)
    plans = [_plan(src, log_id, found, naming, sidecar) for log_id, found in sorted(grouped.items())]
    warnings += _unknown_groups(naming, plans)
    if sidecar is not None:
        warnings += _unmatched(sidecar, plans, items)
    return plans, skips, warnings


def _named(sources: Iterable[Source], naming: Naming) -> tuple[list[Item], list[Skip]]:
    rule = _compiled(naming.pattern)
    items, skips = [], []
    for source in sources:
        match = rule.search(source.name) if rule else None
        if rule and match is None:
            skips.append(Skip(source.uri, "name does not match the pattern"))
            continue
        fields = {name: text for name, text in match.groupdict().items() if text} if match else {}
        path = PurePosixPath(source.name)
        folder = path.with_suffix("") if source.file.suffix.lower() in VIDEOS else path.parent
        if match and "sensor" in fields:  # cameras in folders of their own are one log
            folder = PurePosixPath(path.as_posix()[: match.start("sensor")].rpartition("/")[0])
        if naming.class_folders:
            fields.setdefault("class", folder.name)
            folder = folder.parent
        log_id = fields.get("log_id") or str(folder)
        items.append(Item(source, "unnamed" if log_id == "." else log_id, fields))
    return items, skips


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        rule = re.compile(pattern)
    except re.error as error:
        raise UnseenError(f"pattern {pattern!r}: {error}", "a Python regular expression") from error
    if not rule.groupindex:
        raise UnseenError(f"pattern {pattern!r} names nothing", "it holds named groups", "(?P<log_id>..)_(?P<seq>..)")
    return rule


def _unknown_groups(naming: Naming, plans: list[LogPlan]) -> list[str]:
    """What a pattern names that has no meaning here, where the pattern was perhaps meant to tell the log."""
    rule = _compiled(naming.pattern)
    unknown = sorted(set(rule.groupindex) - {*_OF_FRAME, *LOG_FIELDS}) if rule else []
    told = all(plan.groups in ("pattern", "sidecar", "declared independent") for plan in plans)
    if told or not unknown:
        return []
    known = f"the groups with a meaning are {', '.join((*_OF_FRAME, *LOG_FIELDS))}"
    if meant := [name for name in unknown if name.startswith("log")]:
        remedy = "write (?P<log_id>...) for what tells the log"
        raise UnseenError(f"the pattern names {meant[0]!r} and no log_id", known, remedy)
    return [
        f"the pattern names {', '.join(unknown)}, kept as attributes, and no log_id: each folder, archive and video is "
        f"a log; {known}"
    ]


def _joined(item: Item, sidecar: Sidecar) -> Item:
    fields = {**sidecar.find(*file_names(item.source.name)), **item.fields}
    item.fields, item.log_id = fields, fields.get("log_id", item.log_id)
    return item


def _independent(item: Item, buckets: int | None) -> str:
    if buckets is None:
        return item.log_id
    return f"{item.log_id}-{int(identity(item.source.name), 16) % buckets:04d}"


def _plan(src: Path, log_id: str, items: list[Item], naming: Naming, sidecar: Sidecar | None) -> LogPlan:
    groups = _groups(items, naming)
    uris = sorted({item.source.uri if _is_video(item) else str(item.source.file.parent) for item in items})
    archives = sorted({str(item.source.file) for item in items if item.source.member})
    if groups in ("folder", "archive", "video", "unknown") and len({*archives, *_folders(items)}) > 1:
        raise UnseenError(
            f"log {log_id!r} comes from {' and from '.join(_origins(items)[:2])}",
            "a log has one source",
            "rename one, or say with a pattern which file belongs to which log",
        )
    plan = LogPlan(log_id, _uri(src, (archives or uris)[0] if groups != "pattern" else log_id), groups, items)
    fields = sidecar.find(log_id) if sidecar is not None and not sidecar.by_file else {}
    shared = _shared(items)
    plan.columns = log_columns({**shared, **fields}, f"log {log_id!r}")
    for item in items:
        rest = {name: value for name, value in item.fields.items() if name not in _OF_FRAME and name not in shared}
        item.attributes = rest
    _number(plan)
    return plan


def _groups(items: list[Item], naming: Naming) -> str:
    if naming.independent is not None:
        return "declared independent"
    if "log_id" in items[0].fields:
        return "sidecar" if naming.columns.get("log_id") else "pattern"
    if naming.class_folders:
        return "unknown"
    if _is_video(items[0]):
        return "video"
    return "archive" if items[0].source.member else "folder"


def _is_video(item: Item) -> bool:
    return item.source.member is None and item.source.file.suffix.lower() in VIDEOS


def _folders(items: list[Item]) -> set[str]:
    """Loose files of one log are one source, however deep; each video is its own."""
    return {str(item.source.file) if _is_video(item) else "" for item in items if item.source.member is None}


def _origins(items: list[Item]) -> list[str]:
    loose = (item.source.file if _is_video(item) else item.source.file.parent for item in items)
    return sorted(
        {str(item.source.file if item.source.member else path) for item, path in zip(items, loose, strict=True)}
    )


def _uri(src: Path, place: str) -> str:
    """Where a log comes from, below the source's own name: the same on every machine."""
    path, base = Path(place), src.parent
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else f"{src.name}/{place}"


def _shared(items: list[Item]) -> dict[str, str]:
    """What all files of a log say alike: it describes the log."""
    first = items[0].fields
    same = {name for name in first if all(item.fields.get(name) == first[name] for item in items)}
    return {name: first[name] for name in first if name in same and name not in _OF_FRAME}


def _number(plan: LogPlan) -> None:
    """Give every file its number: as the pattern or sidecar says, else the last digits of the name, else its rank."""
    for item in plan.items:
        item.sensor = item.fields.get("sensor", item.sensor)
    by_sensor = defaultdict(list)
    for item in plan.items:
        by_sensor[item.sensor].append(item)
    for items in by_sensor.values():
        items.sort(key=lambda item: natural(item.source.name))
        stated = [item.fields.get("seq") for item in items]
        numbers = [_integer(text) for text in stated]
        if None in numbers:
            if any(stated) and plan.groups != "folder":
                items.sort(key=lambda item: natural(item.fields.get("seq", "") + "\0" + item.source.name))
            numbers = [_trailing(item.source.name) for item in items]
            if None in numbers or len(set(numbers)) < len(numbers) or any(stated):
                numbers = list(range(len(items)))
        seen: dict[int, str] = {}
        for item, number in zip(items, numbers, strict=True):
            assert number is not None
            if number in seen:
                raise UnseenError(
                    f"{seen[number]} and {item.source.uri} are both frame {number} of log {plan.log_id!r}",
                    "a number stands for one frame of a sensor",
                    "extend the pattern, or name a column for log_id or sensor",
                )
            seen[number], item.seq = item.source.uri, number
    plan.items.sort(key=lambda item: (item.seq, item.sensor))


def _integer(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,18}", text, re.ASCII) else None


def _trailing(name: str) -> int | None:
    digits = re.search(r"(\d{1,18})\D*$", PurePosixPath(name).stem, re.ASCII)
    return int(digits[1]) if digits else None


def _unmatched(sidecar: Sidecar, plans: list[LogPlan], items: list[Item]) -> list[str]:
    warnings = []
    if unused := set(sidecar.rows) - sidecar.used:
        warnings.append(f"{len(unused)} rows of {sidecar.path.name} match nothing, such as {min(unused)!r}")
    if sidecar.by_file:
        without = [
            item.source.name for item in items if not any(n in sidecar.rows for n in file_names(item.source.name))
        ]
    else:
        without = [plan.log_id for plan in plans if plan.log_id not in sidecar.rows]
    if without:
        kind = "files" if sidecar.by_file else "logs"
        warnings.append(f"{len(without)} {kind} have no row in {sidecar.path.name}, such as {without[0]!r}")
    return warnings
