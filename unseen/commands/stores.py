"""Commands that make a store, look into it and split it."""

from dataclasses import asdict
from pathlib import Path
from typing import Literal

from unseen.commands.preflight import Result, check_store, say


def world(
    store: Path,
    /,
    *,
    sites: int = 2,
    logs: int = 16,
    frames: int = 24,
    size: tuple[int, int] = (192, 256),
    seed: int = 0,
    workers: int = 2,
    depth: bool = False,
) -> Result:
    """Make the embedded apron: a store of synthetic camera logs with exact poses, calibration and semantic truth.

    Args:
        store: folder to create.
        sites: airports; each has its own layout, markings and fleet.
        logs: recordings, spread over the sites.
        frames: adjacent frames of each recording.
        size: height and width in pixels.
        seed: the world is a pure function of it.
        workers: processes.
        depth: also the exact depth of every pixel, as labels of kind `depth`.
    """
    from unseen.world.make import make_world

    made = make_world(
        Path(store), sites=sites, logs=logs, frames=frames, size=size, seed=seed, workers=workers, depth=depth
    )
    say(f"{len(made.log_ids())} logs in {made.path}")
    return {"store": str(made.path), "logs": len(made.log_ids())}


def ingest(
    format: Literal["folder"],
    src: Path,
    store: Path,
    /,
    *,
    pattern: str | None = None,
    class_folders: bool = False,
    independent: int | None = None,
    sidecar: Path | None = None,
    key: str | None = None,
    columns: dict[str, str] = {},  # noqa: B006 - never changed
    labels: str | None = None,
    label_suffix: str = "",
    classes: tuple[str, ...] = (),
    ignore: str | None = None,
    small: tuple[str, ...] = (),
    fps: str | None = None,
    every: int = 1,
    size: tuple[int, int] | None = None,
    modality: str = "camera",
    workers: int = 1,
    strict: bool = False,
) -> Result:
    """Copy recordings into a store, log by log; what cannot be read is named and counted.

    Args:
        format: how the source is laid out; `folder`: each folder, zip and video below `src` is a log.
        src: the source.
        store: the store to create or to add to.
        pattern: regular expression over paths with (?P<log_id>...) and (?P<seq>...), where folders do not tell the log.
        class_folders: the innermost folder of an image is its class, not its log.
        independent: the images are unrelated stills; deal them into this many logs by a hash of their names.
        sidecar: CSV with one row per log or per file: route, date, site, weather, rig, class and so on.
        key: the column of the sidecar that names logs or files.
        columns: field and its column of the sidecar, where names differ, e.g. log_id track_id class class_id.
        labels: class ids of each frame: a folder or zip of images, or an npz; {log_id} may stand in the path.
        label_suffix: what a label image's name has after the frame's.
        classes: names of the class ids, from 0.
        ignore: the class that is never scored.
        small: classes of small or sparse things.
        fps: frames per second, or the sidecar's column that holds it; without it times stay unknown.
        every: take each n-th frame.
        size: height and width to re-encode frames to, once; by default bytes stay as recorded.
        modality: camera or thermal.
        workers: processes.
        strict: refuse a source with unreadable files instead of skipping them.
    """
    from unseen.data.ingest.folder import ingest_folder

    options = {name: value for name, value in locals().items() if name not in ("format", "src", "store")}
    options.pop("ingest_folder")
    done = ingest_folder(Path(src), Path(store), **options)
    for warning in done.warnings:
        say(warning)
    skipped = sum(done.skipped_by_reason.values())
    say(f"{len(done.written)} logs, {done.frames} frames, {done.labels} labels; {len(done.present)} logs were there; "
         f"{skipped} files skipped {done.skipped_by_reason or ''}")  # fmt: skip
    return asdict(done)


def inspect(store: Path, /, *, verify: bool = False, out: Path | None = None) -> Result:
    """Count what a store holds: logs, frames, ranges, nulls, what was skipped; with a contact sheet as HTML.

    Args:
        store: the store.
        verify: read every byte against its checksum; exit code 1 where one does not match.
        out: where to write the contact sheet; by default inspection.html in the store.
    """
    check_store(Path(store), None)
    from unseen.data.inspect import inspect_store
    from unseen.data.store import Store
    from unseen.report.contact_sheet import contact_sheet

    problems = [problem._asdict() for problem in Store.open(store).verify()] if verify else []
    for problem in problems:
        say("PROBLEM " + "  ".join(f"{name} {value}" for name, value in problem.items() if value is not None))
    if problems:  # what is damaged cannot be counted
        return {"path": str(store), "problems": problems, "exit": 1}
    found = inspect_store(Store.open(store)) | {"problems": problems}
    found["page"] = str(contact_sheet(found, Path(out) if out else Path(store) / "inspection.html"))
    found.pop("thumbnails")
    for log in found["logs"]:
        say("  ".join(f"{name} {value}" for name, value in log.items() if value not in (None, {}, [])))
    say(f"{found['counts']}; contact sheet: {found['page']}")
    return found


def split(
    store: Path,
    /,
    *,
    name: str = "default",
    by: tuple[str, ...] = ("log_id",),
    train: tuple[str, ...] = (),
    probe: tuple[str, ...] = (),
    test: tuple[str, ...] = (),
    share: tuple[float, float, float] = (0.6, 0.2, 0.2),
    seed: int = 0,
) -> Result:
    """Assign whole groups of logs to roles; frames of one log never part.

    Args:
        store: the store to split.
        name: the split's name; it is kept in the store.
        by: link keys (log_id, route, date, rig, ...): logs that share a value of any of them stay together.
        train: logs, or patterns of log names, for pretraining. Where none of the three is named, groups are drawn.
        probe: logs whose labels may train probes.
        test: logs that no choice may see.
        share: of the frames that are drawn: train, probe, test.
        seed: of the draw.
    """
    from unseen.data.splits import split_store
    from unseen.data.store import Store

    check_store(Path(store), None)
    named = {role: list(logs) for role, logs in (("train", train), ("probe", probe), ("test", test)) if logs}
    drawn = None if named else dict(zip(("train", "probe", "test"), share, strict=True))
    made = split_store(Store.open(store), name, by=by, assignment=named or None, fractions=drawn, seed=seed)
    for warning in made.warnings:
        say(warning)
    say(", ".join(f"{role}: {len(made.logs(role))} logs" for role in ("train", "probe", "test")))
    return asdict(made)
