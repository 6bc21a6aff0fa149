"""One function a command, with the same name and the same arguments: `unseen pretrain ...` is `unseen.pretrain(...)`.

Nothing heavy is imported here; each function brings in what it needs once its cheap checks have passed.
"""

import os
import shutil
import sys
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unseen.errors import UnseenError

if TYPE_CHECKING:
    from unseen.recipes.recipe import Recipe
    from unseen.systems.encode import FrozenEncoder

    RecipeLike = str | Recipe
else:
    RecipeLike = str  # what a command line can say; a Recipe itself may come from Python

Result = dict[str, Any]
DEMO_MARK = "demo.txt"
BEFORE_RECIPE = ("probes.json", "manifest.json", "lineage.json", "env.json")  # of a run


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
) -> Result:
    """Make the embedded apron: a store of synthetic camera logs with exact semantic truth.

    Args:
        store: folder to create.
        sites: airports; each has its own layout, markings and fleet.
        logs: recordings, spread over the sites.
        frames: adjacent frames of each recording.
        size: height and width in pixels.
        seed: the world is a pure function of it.
        workers: processes.
    """
    from unseen.world.make import make_world

    made = make_world(Path(store), sites=sites, logs=logs, frames=frames, size=size, seed=seed, workers=workers)
    _say(f"{len(made.log_ids())} logs in {made.path}")
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
        _say(warning)
    skipped = sum(done.skipped_by_reason.values())
    _say(f"{len(done.written)} logs, {done.frames} frames, {done.labels} labels; {len(done.present)} logs were there; "
         f"{skipped} files skipped {done.skipped_by_reason or ''}")  # fmt: skip
    return asdict(done)


def inspect(store: Path, /, *, verify: bool = False, out: Path | None = None) -> Result:
    """Count what a store holds: logs, frames, ranges, nulls, what was skipped; with a contact sheet as HTML.

    Args:
        store: the store.
        verify: read every byte against its checksum; exit code 1 where one does not match.
        out: where to write the contact sheet; by default inspection.html in the store.
    """
    _check_store(Path(store), None)
    from unseen.data.inspect import inspect_store
    from unseen.data.store import Store
    from unseen.report.contact_sheet import contact_sheet

    problems = [problem._asdict() for problem in Store.open(store).verify()] if verify else []
    for problem in problems:
        _say("PROBLEM " + "  ".join(f"{name} {value}" for name, value in problem.items() if value is not None))
    if problems:  # what is damaged cannot be counted
        return {"path": str(store), "problems": problems, "exit": 1}
    found = inspect_store(Store.open(store)) | {"problems": problems}
    found["page"] = str(contact_sheet(found, Path(out) if out else Path(store) / "inspection.html"))
    found.pop("thumbnails")
    for log in found["logs"]:
        _say("  ".join(f"{name} {value}" for name, value in log.items() if value not in (None, {}, [])))
    _say(f"{found['counts']}; contact sheet: {found['page']}")
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

    _check_store(Path(store), None)
    named = {role: list(logs) for role, logs in (("train", train), ("probe", probe), ("test", test)) if logs}
    drawn = None if named else dict(zip(("train", "probe", "test"), share, strict=True))
    made = split_store(Store.open(store), name, by=by, assignment=named or None, fractions=drawn, seed=seed)
    for warning in made.warnings:
        _say(warning)
    _say(", ".join(f"{role}: {len(made.logs(role))} logs" for role in ("train", "probe", "test")))
    return asdict(made)


def masks(
    recipe: RecipeLike,
    /,
    *,
    data: Path | None = None,
    split: str | None = None,
    out: Path = Path("masks"),
    draws: int = 512,
    set: tuple[str, ...] = (),
    trust: tuple[str, ...] = (),
) -> Result:
    """Audit the masks of a recipe: counts, coverage, independence of the batch, shortcuts; exit code 1 on a failure.

    Args:
        recipe: a name (`mae`), `module:function` of your own, or the recipe.json of a run.
        data: a store; without one the units of a blank sample of the recipe's size.
        split: name of a split of the store; its `train` logs are read.
        out: folder for masks.json and masks.html; what an earlier audit wrote there is replaced.
        draws: masks to draw.
        set: overrides as path=value, e.g. mask.ratio=0.9.
        trust: modules outside the package whose classes a recipe.json may name.
    """
    if draws < 1:
        raise UnseenError(f"{draws} draws", "an audit draws one mask or more")
    if data is not None:
        _check_store(Path(data), split)
    if isinstance(recipe, str) and not recipe.endswith(".json"):
        from unseen.recipes.outline import check_overrides

        check_overrides(recipe, set)
    from unseen.recipes.audit import audit_recipe
    from unseen.report.audit import mask_page

    source = None if data is None else Path(data)
    result, pictures = audit_recipe(
        recipe, data=source, split=split, draws=draws, out=Path(out), overrides=set, trust=trust
    )
    for check in result["checks"]:
        verdict = {True: "pass", False: "FAIL", None: "-"}[check["ok"]]
        _say(f"{verdict:4}  {check['name']}: {check['value']:.4g} (at most {check['limit']:.4g}) {check['says']}")
    page = mask_page(result, pictures, Path(out) / "masks.html")
    _say(f"{'passed' if result['passed'] else 'FAILED'}; as a page: {page}")
    return {**result, "page": str(page), "exit": 0 if result["passed"] else 1}


def pretrain(
    recipe: RecipeLike,
    /,
    *,
    data: Path,
    out: Path,
    split: str | None = None,
    init: Path | None = None,
    set: tuple[str, ...] = (),
    trust: tuple[str, ...] = (),
) -> Result:
    """Pretrain an encoder on the `train` logs of a split.

    Args:
        recipe: a name (`mae`), `module:function` of your own, or the recipe.json of a run.
        data: the store.
        out: the run folder to create.
        split: name of a split of the store; without one all logs are used, and nothing is held out.
        init: weights to start from: a run of ours, or a file of timm, transformers, MAE, BEiT, VideoMAE or I-JEPA.
        set: overrides as path=value, e.g. mask.ratio=0.9 training.steps=500.
        trust: modules outside the package whose classes a recipe.json may name.
    """
    data, out = Path(data), Path(out)
    _check_store(data, split)
    if int(os.environ.get("RANK", "0")) == 0:  # under torchrun the first process makes the folder
        _check_new(out, besides=BEFORE_RECIPE)
    if isinstance(recipe, str) and not recipe.endswith(".json"):
        from unseen.recipes.outline import check_overrides

        check_overrides(recipe, set)
    from unseen.recipes.run import start

    return start(recipe, data=data, out=out, split=split, init=init, overrides=set, trust=trust)


def resume(run: Path, /, *, data: Path | None = None, trust: tuple[str, ...] = ()) -> Result:
    """Go on with an interrupted run from its last checkpoint, to the bit; where it has none yet, from step 0.

    Args:
        run: the run folder.
        data: the store, where it has moved since.
        trust: modules outside the package whose classes the recipe names.
    """
    _check_run(Path(run))
    from unseen.recipes.run import go_on

    return go_on(Path(run), data=data, trust=trust)


def evaluate(
    run: Path,
    /,
    *,
    data: Path | None = None,
    split: str | None = None,
    against: tuple[Path, ...] = (),
    trust: tuple[str, ...] = (),
) -> Result:
    """Judge a run's frozen encoder by its registered probes, beside random init, raw pixels and hand-made features.

    Args:
        run: a finished run.
        data: the labelled store; by default the one that the run was trained on.
        split: a split of that store; by default the run's own.
        against: further runs (a plain MAE, a nearly-unmasked twin) as rows of the same tables.
        trust: modules outside the package whose classes the recipe names.
    """
    _check_finished(Path(run))
    for other in against:
        _check_finished(Path(other))
    from unseen.recipes.judge import judge

    result = judge(Path(run), data=data, split=split, against=[Path(other) for other in against], trust=trust)
    for probe in result["probes"]:
        for row in probe["rows"]:
            _say(_standing(probe, row))
    for warning in result["warnings"]:
        _say(warning)
    _say(f"{Path(run) / 'evaluation.json'}; as a page: unseen report {run}")
    return result


def report(*runs: Path, out: Path | None = None) -> Result:
    """Write one self-contained HTML page about one run or several.

    Args:
        runs: run folders.
        out: the page; by default report.html in the first run.
    """
    if not runs:
        raise UnseenError("no run named", "a report is about one run or several", "unseen report RUN...")
    for run in runs:
        _check_run(Path(run))
    from unseen.report.page import report as write

    page = write([Path(run) for run in runs], Path(out) if out else Path(runs[0]) / "report.html")
    _say(f"the report lies at {page}")
    return {"report": str(page)}


def embed(run: Path, source: Path, /, *, out: Path, trust: tuple[str, ...] = ()) -> Result:
    """Write one feature vector per frame of a store, by a run's frozen encoder, as Parquet.

    Args:
        run: a finished run.
        source: the store whose frames are embedded.
        out: the Parquet file.
        trust: modules outside the package whose classes the recipe names.
    """
    _check_finished(Path(run))
    _check_store(Path(source), None)
    if Path(out).is_dir():
        raise UnseenError(f"{out} is a folder", "features are written into one file", "--out features.parquet")
    from unseen.recipes.judge import embed_store

    done = embed_store(Path(run), Path(source), Path(out), trust=trust)
    _say(f"{done['frames']} frames, {done['width']} numbers each: {out}")
    return done


def export(
    run: Path, /, *, to: Literal["timm", "transformers", "onnx"], out: Path, trust: tuple[str, ...] = ()
) -> Result:
    """Write a run's encoder for other libraries; ONNX is checked against ONNX Runtime.

    Args:
        run: a finished run.
        to: the library that will load it.
        out: folder to create.
        trust: modules outside the package whose classes the encoder names.
    """
    _check_finished(Path(run))
    _check_new(Path(out))
    from unseen.systems.export import export as write

    done = write(Path(run), to=to, out=Path(out), trust=trust)
    _say(f"{out}: {', '.join(done['files'])}")
    return done


def demo(*, out: Path = Path(".demo"), seed: int = 0) -> Result:
    """The whole line on the embedded apron: world, split, pretrain, evaluate, report. Four minutes on two cores.

    Args:
        out: folder for the store and the run; a finished demo there is replaced.
        seed: of the world and of the training.
    """
    out = Path(out)
    if (out / DEMO_MARK).is_file():
        shutil.rmtree(out)
    _check_new(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / DEMO_MARK).write_text("made by `unseen demo`, which replaces this folder\n")
    store, run = out / "store", out / "run"
    world(store, logs=32, frames=10, seed=seed)
    split(store, name="demo", share=(0.4, 0.3, 0.3), seed=seed)
    pretrain("apron", data=store, out=run, split="demo", set=(f"training.seed={seed}",))
    evaluate(run)
    return {"store": str(store), "run": str(run), **report(run)}


def load_encoder(run: Path, /, *, trust: tuple[str, ...] = ()) -> "FrozenEncoder":
    """A run's encoder as nn.Module: raw uint8 [B, C, H, W] in, pooled [B, D] and per-unit [B, N, D] features out.

    Nothing is masked, the same image always gives the same features, and any size that the patch divides will do.
    """
    _check_finished(Path(run))
    from unseen.systems.encode import load_encoder as load

    return load(Path(run), trust=trust)


def _standing(probe: Result, row: Result) -> str:
    """A row of a probe's table as one line."""
    measured, interval = row["metrics"][probe["primary"]], row["interval"]
    value = "none" if measured is None else f"{measured:.3f}"
    between = f" [{interval['low']:.3f}, {interval['high']:.3f}]" if interval else ""
    return f"{probe['name']}  {row['features']} ({row['classifier']})  {probe['primary']} {value}{between}"


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def _check_store(path: Path, split: str | None) -> None:
    if not (path / "store.json").is_file():
        raise UnseenError(f"{path} is not a store", "a store holds store.json", "make one with `unseen ingest`")
    if split is not None and not (path / "splits" / f"{split}.json").is_file():
        known = ", ".join(sorted(file.stem for file in (path / "splits").glob("*.json"))) or "none"
        raise UnseenError(f"{path} has no split {split!r}", f"its splits: {known}", "make one with `unseen split`")


def _check_new(path: Path, besides: Collection[str] = ()) -> None:
    """Refuse a file, and a folder that holds anything `besides` what a killed process leaves before it has a result."""
    held = {file.name for file in path.iterdir() if not file.name.startswith(".tmp-")} if path.is_dir() else {path.name}
    if not path.exists() or (path.is_dir() and held <= {*besides}):
        return
    what, remedy = f"{path} exists", "name another folder"
    if (path / "recipe.json").is_file():
        remedy += f", or `unseen resume {path}`"
        if not (path / "checkpoints" / "last").is_file():
            what = f"{path} holds a run that has no checkpoint yet"
            remedy = f"`unseen resume {path}` begins it at step 0; or remove the folder, or name another"
    raise UnseenError(what, "a result is never overwritten", remedy)


def _check_run(path: Path) -> None:
    if not (path / "recipe.json").is_file():
        raise UnseenError(f"{path} is not a run", "a run holds recipe.json", "make one with `unseen pretrain`")


def _check_finished(path: Path) -> None:
    _check_run(path)
    if not (path / "encoder.json").is_file():
        raise UnseenError(f"{path} has no encoder yet", "training has not ended", f"go on with `unseen resume {path}`")


__all__ = [
    "demo",
    "embed",
    "evaluate",
    "export",
    "ingest",
    "inspect",
    "masks",
    "pretrain",
    "report",
    "resume",
    "split",
    "world",
]
