"""Ingest of what people have: folders, zip archives and videos of frames, with labels and a CSV beside them."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

from unseen.data.ingest import video
from unseen.data.ingest.labels import resolve
from unseen.data.ingest.listing import VIDEOS, Skip, find, natural
from unseen.data.ingest.plan import LogPlan, Naming, make_plans
from unseen.data.ingest.record import Outcome, Settings, record_all, record_list
from unseen.data.schema import CAMERA_LIKE
from unseen.data.store import Store
from unseen.errors import UnseenError


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestResult:
    """What an ingest did."""

    written: list[str]  # logs
    present: list[str]  # logs that were there already, identical
    frames: int  # written now
    labels: int
    skipped: list[Skip]
    warnings: list[str]
    skipped_by_reason: dict[str, int] = field(default_factory=dict)


def ingest_folder(
    src: str | Path,
    store: Store | str | Path,
    *,
    pattern: str | None = None,
    class_folders: bool = False,
    independent: int | None = None,
    sidecar: str | Path | None = None,
    key: str | None = None,
    columns: dict[str, str] | None = None,
    labels: str | None = None,
    label_suffix: str = "",
    classes: Sequence[str] = (),
    ignore: str | None = None,
    small: Sequence[str] = (),
    fps: float | str | None = None,
    every: int = 1,
    size: tuple[int, int] | None = None,
    modality: str = "camera",
    workers: int = 1,
    strict: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> IngestResult:
    """Bring frames into a store (made if need be). Recorded bytes stay as they are, unless `size` asks otherwise.

    Which log: by default each folder, zip archive and video below `src` is one. A `pattern`, searched in the path below
    `src` (an archive counts as a folder named by its stem), may say it with `(?P<log_id>..)`, and with further named
    groups `seq`, `sensor`, `class`, `t_ns`, `t_us`, `t_s` or any column of the log table (site, route, date, weather,
    rig, light, licence, ...); a sidecar may say it with `columns={"log_id": "its column"}`.

    Args:
        class_folders: the innermost folder of an image is its class, not its log (cats/001.jpg). What belongs
            together is then unknown, unless a pattern or the sidecar says it.
        independent: declares that the images are stills that have nothing to do with each other, and deals them into
            this many logs by a hash of their names.
        sidecar: a CSV with one row for each log or for each file; cells without a column of their own become
            attributes.
        key: its column that names them (default: the one that does).
        columns: field -> column of the sidecar, where names differ, as {"log_id": "track", "class": "class_id"}.
        labels: class ids of each frame: a folder or a zip of images with the same stems plus `label_suffix`, or an npz
            with labels [N, h, w] and names [N] or frame_index [N]; `{log_id}` may stand in the path.
        classes: names of those ids, from 0. `ignore` is the one that is never scored, `small` the sparse ones.
        fps: frames a second, or the column of the sidecar that holds it: gives times (since frame 0) to numbers.
            Without it, and without times in names, times stay unknown.
        every: take each n-th frame only.
        size: (height, width) to re-encode to, once.
        strict: refuse what would otherwise be skipped with a counted warning: corrupt, truncated, empty, foreign files.

    A log that is there already, from the same source with the same settings, is left alone; so an ingest that was
    killed is simply run again. UnseenError where two sources give one log, or a log differs from what the store holds.
    """
    src = Path(os.path.abspath(src))
    place = store.path if isinstance(store, Store) else Path(store)
    _check(every, size, workers, independent, labels, classes)
    _check_names(modality, classes, ignore, small)
    sources, skips = find(src, _companions(src, sidecar, labels, place))
    if any(source.file.suffix.lower() in VIDEOS for source in sources):
        video.require()
    naming = Naming(pattern=pattern, class_folders=class_folders, independent=independent, columns=columns or {})
    plans, misnamed, warnings = make_plans(src, sources, naming, Path(sidecar) if sidecar else None, key)
    loose = _attach(plans, skips + misnamed)
    if strict and loose:
        raise UnseenError(f"{loose[0].file}: {loose[0].reason}", "strict: every file must be usable")
    if not plans:
        raise UnseenError(
            f"no frames in {src}", f"{len(loose)} files were skipped: {_counted(loose)}", "check the path"
        )
    for plan in plans:
        plan.fps = _fps(plan, fps)
        plan.labels = _labels(plan, labels, src)
    if fps is not None and all(plan.fps is None for plan in plans):
        raise UnseenError(f"fps {fps!r} is neither a number nor a column that a log of the sidecar fills")
    settings = Settings(
        every=every,
        size=size,
        modality=modality,
        label_suffix=label_suffix,
        n_classes=len(classes) or None,
        strict=strict,
    )
    new, new_folder = not (place / "store.json").is_file(), not place.exists()
    store = Store.create(place)
    outcomes = []
    try:
        if classes:
            _name_classes(store, classes, ignore, small)
        for number, outcome in enumerate(_run(plans, settings, store.path, workers), 1):
            outcomes.append(outcome)
            if progress is not None:
                progress(number, len(plans), outcome.log_id)
    except UnseenError:
        if new:
            _remove_empty(store, new_folder)
        raise
    _grow_classes(store, outcomes)
    return _result(plans, outcomes, loose, warnings + _warnings(plans, outcomes, labels))


def _check(
    every: int,
    size: tuple[int, int] | None,
    workers: int,
    independent: int | None,
    labels: str | None,
    classes: Sequence,
) -> None:
    if (
        every < 1
        or workers < 1
        or (size is not None and min(size) < 1)
        or (independent is not None and independent < 1)
    ):
        raise UnseenError(
            f"every {every}, workers {workers}, size {size}, independent {independent}", "all are positive"
        )
    if labels and not classes:
        raise UnseenError(
            "labels without the names of their classes", "ids need names", "give classes, in order of ids"
        )


def _check_names(modality: str, classes: Sequence[str], ignore: str | None, small: Sequence[str]) -> None:
    if modality not in CAMERA_LIKE:
        raise UnseenError(f"modality {modality!r}", f"frames are of {' or '.join(CAMERA_LIKE)}", "--modality camera")
    if ignore is not None and ignore not in classes:
        raise UnseenError(f"ignored class {ignore!r} is not among the classes ({', '.join(classes) or 'none'})")
    if unknown := sorted(set(small) - set(classes)):
        raise UnseenError(f"small classes {unknown} are not among the classes ({', '.join(classes) or 'none'})")


def _name_classes(store: Store, classes: Sequence[str], ignore: str | None, small: Sequence[str]) -> None:
    store.set_classes("seg", list(classes), ignore=None if ignore is None else list(classes).index(ignore), small=small)


def _companions(src: Path, sidecar: str | Path | None, labels: str | None, store: Path) -> list[Path]:
    """Files below the source that have another purpose than to be frames."""
    found = [store]
    if sidecar is not None:
        found.append(Path(sidecar))
    if labels is not None:
        base = src if src.is_dir() else src.parent
        found += base.glob(labels.replace("{log_id}", "*")) if not Path(labels).is_absolute() else [Path(labels)]
    return found


def _attach(plans: list[LogPlan], skips: list[Skip]) -> list[Skip]:
    """Give each skipped file to the log that its neighbours belong to; returns those without one."""
    owner: dict[str, LogPlan] = {}
    for plan in plans:
        for item in plan.items:
            owner.setdefault(str(Path(item.source.uri).parent), plan)
    loose: list[Skip] = []
    for skip in skips:
        found = owner.get(str(Path(skip.file).parent))
        (loose if found is None else found.skips).append(skip)
    return loose


def _fps(plan: LogPlan, fps: float | str | None) -> float | None:
    if fps is None or isinstance(fps, int | float):
        value = fps
    else:
        text = plan.columns.get("attributes", {}).get(fps) or fps
        try:
            value = float(text)
        except ValueError:
            return None  # this log's is unknown
    if value is not None and not 0 < value < float("inf"):
        raise UnseenError(f"{value} frames a second for log {plan.log_id!r}", "a rate is positive")
    return value


def _labels(plan: LogPlan, labels: str | None, src: Path) -> Path | None:
    if labels is None:
        return None
    path = resolve(labels, plan.log_id, src)
    if path.exists():
        return path
    if "{log_id}" in labels:
        return None  # this log has none
    raise UnseenError(f"labels {labels} are neither in {src} nor here", "labels are a folder, a zip or an npz")


def _run(plans: list[LogPlan], settings: Settings, store: Path, workers: int) -> Iterator[Outcome]:
    if workers == 1 or len(plans) == 1:
        yield from record_all(plans, settings, store)
        return
    size = max(1, min(16, len(plans) // (4 * workers)))
    chunks = [plans[start : start + size] for start in range(0, len(plans), size)]
    with ProcessPoolExecutor(min(workers, len(plans)), mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(record_list, chunk, settings, store) for chunk in chunks]
        try:
            for job in as_completed(jobs):
                yield from job.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _remove_empty(store: Store, with_folder: bool) -> None:
    """Take back a store that this ingest made and wrote nothing into; its folder stays where it was there before."""
    if store.log_ids() or any(store.path.glob(".tmp-*")):
        return
    for file in ("store.json", "classes.json"):
        (store.path / file).unlink(missing_ok=True)
    for folder in ("logs", "splits", *([""] if with_folder else [])):
        (store.path / folder).rmdir()


def _grow_classes(store: Store, outcomes: list[Outcome]) -> None:
    """Name the inline classes: those that the store knows keep their ids, new ones follow in natural order."""
    found = {name for outcome in outcomes for name in outcome.classes}
    known = list(store.classes("class").names) if store.has_classes("class") else []
    new = sorted(found - set(known), key=natural)
    if new:
        store.set_classes("class", known + new)


def _warnings(plans: list[LogPlan], outcomes: list[Outcome], labels: str | None) -> list[str]:
    warnings = []
    if unknown := [plan.log_id for plan in plans if plan.groups == "unknown"]:
        warnings.append(
            f"groups are unknown in {', '.join(unknown[:3])}: a split by log cannot part what belongs together; say it "
            "with a pattern, with columns={'log_id': ...}, or with independent=N if nothing does"
        )
    if nothing := [o.log_id for o in outcomes if not o.written and not o.frames and o.skipped]:
        warnings.append(f"{len(nothing)} logs have no usable frame, such as {nothing[0]!r}")
    if labels and sum(outcome.labels for outcome in outcomes) == 0 and any(outcome.written for outcome in outcomes):
        warnings.append(f"no label in {labels} has the stem of a frame")
    return warnings


def _result(plans: list[LogPlan], outcomes: list[Outcome], loose: list[Skip], warnings: list[str]) -> IngestResult:
    skipped = loose + [skip for outcome in outcomes for skip in outcome.skipped]
    return IngestResult(
        written=sorted(outcome.log_id for outcome in outcomes if outcome.written),
        present=sorted(outcome.log_id for outcome in outcomes if not outcome.written and not outcome.skipped),
        frames=sum(outcome.frames for outcome in outcomes),
        labels=sum(outcome.labels for outcome in outcomes),
        skipped=skipped,
        warnings=warnings,
        skipped_by_reason=dict(sorted(Counter(skip.reason for skip in skipped).items())),
    )


def _counted(skips: list[Skip]) -> str:
    return (
        ", ".join(f"{count} {reason}" for reason, count in sorted(Counter(s.reason for s in skips).items())) or "none"
    )
