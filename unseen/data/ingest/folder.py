"""Ingest of what people have: folders, zip archives and videos of frames, with labels and a CSV beside them."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from unseen.data.ingest import video
from unseen.data.ingest.asked import attach, check, check_names, fps_of
from unseen.data.ingest.beside import cameras_of, companions, labels_of, poses_of
from unseen.data.ingest.labels import grow_classes
from unseen.data.ingest.listing import VIDEOS, Skip, find
from unseen.data.ingest.outcome import IngestResult, counted, result_of, warnings_of
from unseen.data.ingest.plan import LogPlan, Naming, make_plans
from unseen.data.ingest.record import Outcome, Settings, record_all, record_list
from unseen.data.store import Store
from unseen.errors import UnseenError


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
    poses: str | None = None,
    calibration: str | None = None,
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
        poses: where the vehicle was in the world: a table (csv, jsonl, parquet) with x, y, z in metres, qx, qy, qz, qw
            and one of t_ns, t_us, t_s (the clock of the frames) or seq (numbers of frames), or a TUM trajectory (txt).
            The vehicle's frame has x forward, y left, z up, its origin on the ground.
        calibration: JSON, by the name of the sensor ("camera", unless the pattern says otherwise): width, height, fx,
            fy, cx, cy in pixels with centres at integers, ego_from_camera 4 x 4 (camera: x right, y down, z forward),
            and distortion, if any. It is scaled to the frames where they have its shape. `{log_id}` may stand in both
            paths; poses of several logs need it.
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
    check(every, size, workers, independent, labels, classes)
    check_names(modality, classes, ignore, small)
    naming = Naming(pattern=pattern, class_folders=class_folders, independent=independent, columns=columns or {})
    poses, calibration = (str(path) if path is not None else None for path in (poses, calibration))
    plans, loose, warnings = _planned(src, place, naming, sidecar, key, (labels, poses, calibration), fps)
    _refuse(plans, loose, src, strict)
    settings = Settings(
        every=every,
        size=size,
        modality=modality,
        label_suffix=label_suffix,
        n_classes=len(classes) or None,
        strict=strict,
    )
    with _store_or_nothing(place) as made:
        if classes:
            made.set_classes("seg", list(classes), ignore=list(classes).index(ignore) if ignore else None, small=small)
        outcomes = _write(plans, settings, made, workers, progress)
    return result_of(outcomes, loose, warnings + warnings_of(plans, outcomes, labels))


def _refuse(plans: list[LogPlan], loose: list[Skip], src: Path, strict: bool) -> None:
    """UnseenError where nothing would come in, or where all must and some would not."""
    if strict and loose:
        raise UnseenError(f"{loose[0].file}: {loose[0].reason}", "strict: every file must be usable")
    if not plans:
        raise UnseenError(f"no frames in {src}", f"{len(loose)} files were skipped: {counted(loose)}", "check the path")


def _planned(
    src: Path,
    place: Path,
    naming: Naming,
    sidecar: str | Path | None,
    key: str | None,
    beside: tuple[str | None, str | None, str | None],
    fps: float | str | None,
) -> tuple[list[LogPlan], list[Skip], list[str]]:
    """The logs of a source with their times and what lies `beside` (labels, poses, calibration), files that belong to
    none of them, and warnings."""
    sources, skips = find(src, companions(src, sidecar, beside, place))
    labels, poses, calibration = beside
    if any(source.file.suffix.lower() in VIDEOS for source in sources):
        video.require()
    plans, misnamed, warnings = make_plans(src, sources, naming, Path(sidecar) if sidecar else None, key)
    for plan in plans:
        plan.fps = fps_of(plan, fps)
        plan.labels = labels_of(plan, labels, src)
    if plans and fps is not None and all(plan.fps is None for plan in plans):
        raise UnseenError(f"fps {fps!r} is neither a number nor a column that a log of the sidecar fills")
    warnings += poses_of(plans, poses, src) + cameras_of(plans, calibration, src)
    return plans, attach(plans, skips + misnamed), warnings


@contextmanager
def _store_or_nothing(place: Path) -> Iterator[Store]:
    """A store, made if need be; one that was made and into which nothing came before an error is taken back."""
    new, new_folder = not (place / "store.json").is_file(), not place.exists()
    store = Store.create(place)
    try:
        yield store
    except UnseenError:
        if new:
            _remove_empty(store, new_folder)
        raise


def _write(
    plans: list[LogPlan],
    settings: Settings,
    store: Store,
    workers: int,
    progress: Callable[[int, int, str], None] | None,
) -> list[Outcome]:
    outcomes = []
    for number, outcome in enumerate(_run(plans, settings, store.path, workers), 1):
        outcomes.append(outcome)
        if progress is not None:
            progress(number, len(plans), outcome.log_id)
    grow_classes(store, {name for outcome in outcomes for name in outcome.classes})
    return outcomes


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
