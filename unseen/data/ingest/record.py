"""Writes one planned log into the store. A pure function of the source and the settings: safe to repeat anywhere."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unseen.data.cameras import IGNORE
from unseen.data.images import BadImage, ImageInfo, decode, encode, examine, resize
from unseen.data.ingest import video
from unseen.data.ingest.labels import LabelSource, open_labels, turned_with
from unseen.data.ingest.listing import VIDEOS, Reader, Skip
from unseen.data.ingest.plan import Item, LogPlan
from unseen.data.ingest.poses import CLOCKS, Coverage, coverage, to_ns, write_poses
from unseen.data.store import Store
from unseen.data.writer import LogWriter
from unseen.errors import UnseenError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What holds for every log of an ingest; kept in its manifest."""

    every: int = 1
    size: tuple[int, int] | None = None
    modality: str = "camera"
    label_suffix: str = ""
    n_classes: int | None = None  # of the seg labels
    strict: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of one log."""

    log_id: str
    written: bool  # False: it was there already, or nothing of it could be used
    frames: int = 0
    labels: int = 0
    classes: set[str] = field(default_factory=set)
    posed: Coverage | None = None
    skipped: list[Skip] = field(default_factory=list)


class _Shot(NamedTuple):
    """One frame on its way into the store."""

    item: Item
    seq: int
    t_ns: int | None
    t_source: str | None
    blob: bytes
    encoding: str
    shape: tuple[int, int, int]
    image_px: tuple[int, int]  # as it came, before any change of size
    recorded: ImageInfo | None = None  # of the file that it came from; None: a video


def record_all(plans: list[LogPlan], settings: Settings, store_path: Path) -> Iterator[Outcome]:
    """Write logs one after the other; an archive that holds several of them is opened once."""
    reader = Reader()
    try:
        for plan in plans:
            yield record(plan, settings, store_path, reader)
    finally:
        reader.close()


def record_list(plans: list[LogPlan], settings: Settings, store_path: Path) -> list[Outcome]:
    """The same for a worker process."""
    return list(record_all(plans, settings, store_path))


def record(plan: LogPlan, settings: Settings, store_path: Path, reader: Reader) -> Outcome:
    """Write a log, or find that it is there already. UnseenError where the store holds another log of that name."""
    store = Store.open(store_path)
    outcome = Outcome(plan.log_id, written=False, skipped=list(plan.skips))
    labels = open_labels(plan.labels, settings.label_suffix) if plan.labels else None
    if settings.strict and outcome.skipped:
        _refuse(outcome.skipped[0])
    digest = _source_digest(plan, labels)
    ingest = {"format": "folder", "groups": plan.groups, "settings": asdict(settings), "fields": _fields_digest(plan)}
    ingest = json.loads(json.dumps(ingest))
    if plan.log_id in store:
        _same_or_refuse(store, plan, digest, ingest)
        outcome.classes = set(store.table("label-class", [plan.log_id])["class"].to_pylist())
        return outcome
    shots = _shots(plan, settings, outcome, reader)
    first = next(shots, None)
    if first is None:
        return outcome
    with store.writer(plan.log_id, source_uri=plan.uri, source_digest=digest, ingest=ingest) as writer:
        _write(writer, plan, settings, labels, first, shots, outcome)
        for skip in outcome.skipped:
            writer.skip(_relative(skip.file), skip.reason)
    outcome.written = True
    return outcome


def _write(
    writer: LogWriter,
    plan: LogPlan,
    settings: Settings,
    labels: LabelSource | None,
    first: _Shot,
    shots: Iterator[_Shot],
    outcome: Outcome,
) -> None:
    columns = dict(plan.columns)
    columns["attributes"] = {**columns.get("attributes", {}), "groups": plan.groups}
    frame_ids: dict[int, str] = {}
    frame_ns: dict[int, int | None] = {}
    declared: dict[str, _Declared] = {}
    shot: _Shot | None = first
    while shot is not None:
        item = shot.item
        if item.sensor not in declared:
            declared[item.sensor] = _declare(writer, plan, settings, shot)
        if shot.seq not in frame_ids:
            hint = {"split_hint": item.fields["split_hint"]} if "split_hint" in item.fields else {}
            frame_ids[shot.seq] = writer.frame(shot.seq, shot.t_ns, attributes=item.attributes or None, **hint)
            frame_ns[shot.seq] = shot.t_ns
            outcome.frames += 1
            _label(writer, plan, settings, labels, shot, frame_ids[shot.seq], outcome)
        writer.observe(
            frame_ids[shot.seq],
            item.sensor,
            shot.blob,
            encoding=shot.encoding,
            shape=shot.shape,
            calib_id=declared[item.sensor].calibrates(shot),
            t_ns=shot.t_ns,
            t_source=shot.t_source,
            source_file=item.source.name,
        )
        shot = next(shots, None)
    if plan.poses is not None:
        times = write_poses(writer, plan.poses, frame_ns)
        outcome.posed = coverage(times, [t_ns for t_ns in frame_ns.values() if t_ns is not None])
    broken = any("video" in skip.reason for skip in outcome.skipped)
    writer.log(source_format="video" if plan.groups == "video" else "images", truncated=broken, **columns)


class _Declared(NamedTuple):
    """A sensor as its first frame introduced it."""

    calib_id: str | None
    sizes: tuple[tuple[int, ...], ...]  # as they came, as they are kept

    def calibrates(self, shot: _Shot) -> str | None:
        """The calibration of a further frame; UnseenError where it has another size, and so another camera."""
        if self.calib_id is not None and (shot.image_px, shot.shape[:2]) != self.sizes:
            raise UnseenError(
                f"{shot.item.source.uri} has {shot.image_px[1]} x {shot.image_px[0]} px, frames before it "
                f"{self.sizes[0][1]} x {self.sizes[0][0]}",
                f"one calibration of sensor {shot.item.sensor!r} is of images of one size",
                "name sensors apart by the pattern, or ingest them apart",
            )
        return self.calib_id


def _declare(writer: LogWriter, plan: LogPlan, settings: Settings, shot: _Shot) -> _Declared:
    sensor, (height, width) = shot.item.sensor, shot.shape[:2]
    rig = plan.columns.get("rig_id")
    writer.sensor(sensor, modality=settings.modality, rig_id=rig, height=height, width=width)
    calib_id, camera = None, plan.cameras.get(sensor)
    if camera is not None:
        calib_id = writer.calibration(sensor, **camera.columns(sensor, shot.image_px, shot.shape[:2]))
    return _Declared(calib_id, (shot.image_px, shot.shape[:2]))


def _label(
    writer: LogWriter,
    plan: LogPlan,
    settings: Settings,
    labels: LabelSource | None,
    shot: _Shot,
    frame_id: str,
    outcome: Outcome,
) -> None:
    item = shot.item
    if "class" in item.fields:
        writer.label(frame_id, "class", cls=item.fields["class"])
        outcome.classes.add(item.fields["class"])
        outcome.labels += 1
    if labels is None:
        return
    try:
        ids = labels.read(item.source.name, plan.log_id, shot.seq)
        if ids is not None and shot.recorded is not None:
            ids = turned_with(ids, shot.recorded)
    except (BadImage, OSError, SyntaxError) as error:
        reason = str(error) if isinstance(error, BadImage) else "corrupt image"
        _skip(outcome, settings, Skip(f"label of {item.source.uri}", f"label: {reason}"))
        return
    if ids is None:
        return
    top = int(ids[ids != IGNORE].max(initial=0))
    if settings.n_classes is not None and top >= settings.n_classes:
        raise UnseenError(
            f"the label of {item.source.uri} holds class {top}",
            f"{settings.n_classes} classes are named, from 0",
            "classes",
        )
    writer.label(
        frame_id, "seg", encode(ids[:, :, None]), encoding="png", shape=list(ids.shape), frame_of_reference=item.sensor
    )
    outcome.labels += 1


def _shots(plan: LogPlan, settings: Settings, outcome: Outcome, reader: Reader) -> Iterator[_Shot]:
    """The usable frames of a log in order; what is not usable is skipped by name, or refused."""
    counts: dict[str, int] = {}
    for item in plan.items:
        if item.source.file.suffix.lower() in VIDEOS and item.source.member is None:
            yield from _video_shots(item, settings, outcome)
            continue
        place = counts[item.sensor] = counts.get(item.sensor, -1) + 1
        if place % settings.every:
            continue
        try:
            blob = reader.read(item.source)
            info = examine(blob)
        except BadImage as error:
            _skip(outcome, settings, Skip(item.source.uri, str(error)))
            continue
        encoding, shape = info.encoding, info.shape
        if settings.size is not None:
            blob, encoding, shape = _resized(decode(blob, encoding, settings.size), encoding, settings.size)
        yield _Shot(item, item.seq, *_time(item, plan.fps), blob, encoding, shape, info.shape[:2], info)


def _video_shots(item: Item, settings: Settings, outcome: Outcome) -> Iterator[_Shot]:
    try:
        for frame in video.frames(item.source.file, settings.every):
            image, image_px = frame.image, frame.image.shape[:2]
            if settings.size is not None:
                image = resize(image, settings.size).permute(1, 2, 0).numpy()
            source = "container" if frame.t_ns is not None else None
            blob = video.as_jpeg(image)
            yield _Shot(item, frame.number, frame.t_ns, source, blob, "jpeg", image.shape, image_px)
    except BadImage as error:
        _skip(outcome, settings, Skip(item.source.uri, str(error)))


def _resized(image: np.ndarray, encoding: str, size: tuple[int, int]) -> tuple[bytes, str, tuple[int, int, int]]:
    small = resize(image, size).permute(1, 2, 0).contiguous().numpy()
    encoding = "jpeg" if encoding == "jpeg" else "png"
    return encode(small, encoding), encoding, small.shape


def _time(item: Item, fps: float | None) -> tuple[int | None, str | None]:
    """The time of a frame and where it comes from; unknown stays unknown."""
    for clock in CLOCKS:
        if text := item.fields.get(clock):
            try:
                return to_ns(text, clock), "filename"
            except ValueError as error:
                raise UnseenError(f"{item.source.uri}: {clock} is {text!r}", "times are numbers") from error
    if fps is not None:
        return round(item.seq / fps * 10**9), "fps"
    return None, None


def _source_digest(plan: LogPlan, labels: LabelSource | None) -> str:
    """sha256 over names and content; members of archives count by the CRC in its directory, so nothing is unpacked."""
    digest = hashlib.sha256()
    for item in plan.items:
        source = item.source
        content = _file_sha256(source.file) if source.member is None else f"crc32 {source.crc32}"
        label = labels.digest(source.name, plan.log_id, item.seq) if labels else ""
        digest.update(f"{source.name}:{source.size}:{content}:{label}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _file_sha256(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "unreadable"


def _fields_digest(plan: LogPlan) -> str:
    told: list[Any] = [plan.columns, plan.fps, [(item.seq, item.sensor, item.fields) for item in plan.items]]
    if plan.poses is not None:
        told.append(hashlib.sha256(plan.poses.at.tobytes() + plan.poses.numbers.tobytes()).hexdigest())
    if plan.cameras:
        told.append([(name, one.told) for name, one in sorted(plan.cameras.items())])
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def _same_or_refuse(store: Store, plan: LogPlan, digest: str, ingest: dict) -> None:
    before = store.manifest(plan.log_id)
    if before["source_digest"] == digest and before["ingest"] == ingest:
        return
    what = (
        "the source"
        if before["source_digest"] != digest
        else "what was asked for (settings, sidecar, poses, calibration)"
    )
    raise UnseenError(
        f"log {plan.log_id!r} is in the store already, from {before['source_uri']}, but {what} now differs: {plan.uri}",
        "a log is immutable",
        f"remove {store.path / 'logs'} folder of that log, or ingest into another store, or name logs by a pattern",
    )


def _skip(outcome: Outcome, settings: Settings, skip: Skip) -> None:
    if settings.strict:
        _refuse(skip)
    outcome.skipped.append(skip)


def _refuse(skip: Skip) -> None:
    raise UnseenError(f"{skip.file}: {skip.reason}", "strict: every file must be usable", "leave strict out to skip it")


def _relative(file: str) -> str:
    """The last parts of a path: enough to find it, the same on every machine."""
    return "/".join(Path(file).parts[-3:])
