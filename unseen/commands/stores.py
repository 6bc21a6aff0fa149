"""Commands that make a store, look into it and split it."""

from collections.abc import Callable
from dataclasses import asdict
from inspect import signature
from pathlib import Path
from typing import Any, Literal

from unseen.commands.preflight import Result, check_store, say
from unseen.errors import UnseenError

DIGESTS = ("ingest_id", "row_hash", "source_digest")  # of a log, for machines: printed by --verify and --json


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
    format: Literal["folder", "text"],
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
    poses: str | None = None,
    calibration: str | None = None,
    fps: str | None = None,
    every: int = 1,
    size: tuple[int, int] | None = None,
    modality: str = "camera",
    workers: int = 1,
    strict: bool = False,
    text: str | None = None,
    group: tuple[str, ...] = (),
    link: tuple[str, ...] = (),
    label: str | None = None,
    redacted: str | None = None,
) -> Result:
    """Copy recordings into a store, log by log; what cannot be read is named and counted.

    Passages of text are compared with all that stand in the store already: repeated ones are left out and counted, and
    logs whose passages begin alike are tied, as are those that share a value of --link, for `split --by template`.

    Args:
        format: how the source is laid out; `folder`: each folder, zip and video below `src` is a log; `text`: tables
            (csv, jsonl, parquet) with a column of passages, and plain files. Of `text`: columns, strict, text, group,
            link, label and redacted.
        src: the source.
        store: the store to create or to add to.
        pattern: regular expression over paths with (?P<log_id>...), (?P<sensor>...) for one camera of several, and
            (?P<seq>...), where folders do not tell them.
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
        poses: where the vehicle was: CSV or Parquet with x, y, z (m), qx, qy, qz, qw and t_ns, t_us, t_s or seq, or a
            TUM trajectory; of the vehicle (x forward, y left, z up, origin on the ground); {log_id} may stand in it.
        calibration: JSON by sensor (else "camera"): width, height, fx, fy, cx, cy, ego_from_camera (4 x 4), distortion.
        fps: frames per second, or the sidecar's column that holds it; without it times stay unknown.
        every: take each n-th frame.
        size: height and width to re-encode frames to, once; by default bytes stay as recorded.
        modality: camera or thermal.
        workers: processes.
        strict: refuse a source with unreadable files instead of skipping them.
        text: the column of the passages.
        group: columns that name what must not be divided (report, case, month): the log; date:6 is its first 6 letters.
        link: columns whose values tie logs together, such as an incident with several reports: for `split --by`.
        label: the column of a class.
        redacted: the column that says that a passage was withheld.
    """
    return _ingested(**locals())


def inspect(store: Path, /, *, verify: bool = False, out: Path | None = None) -> Result:
    """Count what a store holds: logs, frames, ranges, nulls, what was skipped; with a contact sheet as HTML.

    Args:
        store: the store.
        verify: read every byte against its checksum, and print digests; exit code 1 where one does not match.
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
        hidden = () if verify else DIGESTS
        say("  ".join(f"{n} {v}" for n, v in log.items() if v not in (None, {}, []) and n not in hidden))
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
        by: link keys (log_id, route, date, rig, ...; of text template and what --link named): logs that share a value
            of any of them stay together.
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


def tokenize(
    store: Path,
    /,
    *,
    split: str | None = None,
    out: Path | None = None,
    kind: Literal["wordpiece", "bpe"] = "wordpiece",
    vocabulary: int = 8192,
    case: Literal["lower", "keep"] = "lower",
) -> Result:
    """Train a tokenizer on the `train` logs of a split; the same passages give the same file.

    Args:
        store: a store of text.
        split: name of a split of the store; without one all logs are used, and nothing is held out.
        out: the file; by default tokenizer.json in the store, where recipes look for it.
        kind: wordpiece as BERT has it, or byte-level bpe.
        vocabulary: tokens at most; `pretrain` says how to fit a recipe to fewer.
        case: lower gives STALLED and stalled one token; keep keeps them apart.
    """
    store = Path(store)
    check_store(store, split)
    path = Path(out) if out else store / "tokenizer.json"
    if path.exists():
        raise UnseenError(f"{path} exists", "runs depend on it", "name another file with --out")
    from unseen.data.store import Store
    from unseen.data.tokenizer import train_tokenizer
    from unseen.recipes.run import training_logs

    logs, _ = training_logs(Store.open(store), split)
    made = train_tokenizer(Store.open(store), logs, path, kind=kind, vocabulary=vocabulary, case=case)
    say(f"{made['vocabulary']} tokens from {made['passages']} passages of {len(logs)} logs in {path}")
    return {"tokenizer": str(path), **made}


def _ingested(format: str, src: Path, store: Path, **options: Any) -> Result:
    """Ingest by the reader of a format, and say what came of it."""
    from unseen.data.ingest.folder import ingest_folder
    from unseen.data.ingest.text import ingest_text

    readers: dict[str, Callable[..., Any]] = {"folder": ingest_folder, "text": ingest_text}
    if format not in readers:
        raise UnseenError(f"no format {format!r}", f"the formats are {', '.join(readers)}")
    reader = readers[format]
    done = reader(Path(src), Path(store), **_understood(format, reader, options))
    for warning in done.warnings:
        say(warning)
    skipped = f"{sum(done.skipped_by_reason.values())} skipped {done.skipped_by_reason or ''}"
    there = f"{len(done.present)} logs were there"
    say(f"{len(done.written)} logs, {done.frames} frames, {done.labels} labels; {there}; {skipped}")
    return asdict(done)


def _understood(format: str, reader: Callable[..., Any], options: Result) -> Result:
    """The options that a format knows; UnseenError for one that was given and means nothing to it."""
    known = signature(reader).parameters
    usual = {name: one.default for name, one in signature(ingest).parameters.items()}
    for name, value in options.items():
        if name not in known and value != usual[name]:
            raise UnseenError(f"--{name.replace('_', '-')} with the format {format}", "it means nothing there")
    return {name: value for name, value in options.items() if name in known}
