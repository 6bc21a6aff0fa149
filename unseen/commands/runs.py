"""Commands that make a run, judge it and hand its encoder on."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from unseen.commands.preflight import Result, check_finished, check_new, check_run, check_store, say
from unseen.commands.stores import split as split_logs
from unseen.commands.stores import world
from unseen.errors import UnseenError

if TYPE_CHECKING:
    from unseen.recipes.recipe import Recipe
    from unseen.systems.encode import FrozenEncoder

    RecipeLike = str | Recipe
else:
    RecipeLike = str  # what a command line can say; a Recipe itself may come from Python

DEMO_MARK = "demo.txt"
BEFORE_RECIPE = ("probes.json", "manifest.json", "lineage.json", "env.json")  # of a run


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
        check_store(Path(data), split)
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
        say(f"{verdict:4}  {check['name']}: {check['value']:.4g} (at most {check['limit']:.4g}) {check['says']}")
    page = mask_page(result, pictures, Path(out) / "masks.html")
    say(f"{'passed' if result['passed'] else 'FAILED'}; as a page: {page}")
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
    check_store(data, split)
    if int(os.environ.get("RANK", "0")) == 0:  # under torchrun the first process makes the folder
        check_new(out, besides=BEFORE_RECIPE)
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
    check_run(Path(run))
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
    check_finished(Path(run))
    for other in against:
        check_finished(Path(other))
    from unseen.recipes.judge import judge

    result = judge(Path(run), data=data, split=split, against=[Path(other) for other in against], trust=trust)
    for probe in result["probes"]:
        for row in probe["rows"]:
            say(_standing(probe, row))
    for warning in result["warnings"]:
        say(warning)
    say(f"{Path(run) / 'evaluation.json'}; as a page: unseen report {run}")
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
        check_run(Path(run))
    from unseen.report.page import report as write

    page = write([Path(run) for run in runs], Path(out) if out else Path(runs[0]) / "report.html")
    say(f"the report lies at {page}")
    return {"report": str(page)}


def embed(run: Path, source: Path, /, *, out: Path, trust: tuple[str, ...] = ()) -> Result:
    """Write one feature vector per frame of a store, by a run's frozen encoder, as Parquet.

    Args:
        run: a finished run.
        source: the store whose frames are embedded.
        out: the Parquet file.
        trust: modules outside the package whose classes the recipe names.
    """
    check_finished(Path(run))
    check_store(Path(source), None)
    if Path(out).is_dir():
        raise UnseenError(f"{out} is a folder", "features are written into one file", "--out features.parquet")
    from unseen.recipes.judge import embed_store

    done = embed_store(Path(run), Path(source), Path(out), trust=trust)
    say(f"{done['frames']} frames, {done['width']} numbers each: {out}")
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
    check_finished(Path(run))
    check_new(Path(out))
    from unseen.systems.export import export as write

    done = write(Path(run), to=to, out=Path(out), trust=trust)
    say(f"{out}: {', '.join(done['files'])}")
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
    check_new(out)
    out.mkdir(parents=True, exist_ok=True)
    (out / DEMO_MARK).write_text("made by `unseen demo`, which replaces this folder\n")
    store, run = out / "store", out / "run"
    world(store, logs=32, frames=10, seed=seed)
    split_logs(store, name="demo", share=(0.4, 0.3, 0.3), seed=seed)
    pretrain("apron", data=store, out=run, split="demo", set=(f"training.seed={seed}",))
    evaluate(run)
    return {"store": str(store), "run": str(run), **report(run)}


def load_encoder(run: Path, /, *, trust: tuple[str, ...] = ()) -> "FrozenEncoder":
    """A run's encoder as nn.Module: raw uint8 [B, C, H, W] in, pooled [B, D] and per-unit [B, N, D] features out.

    Nothing is masked, the same image always gives the same features, and any size that the patch divides will do.
    """
    check_finished(Path(run))
    from unseen.systems.encode import load_encoder as load

    return load(Path(run), trust=trust)


def _standing(probe: Result, row: Result) -> str:
    """A row of a probe's table as one line."""
    measured, interval = row["metrics"][probe["primary"]], row["interval"]
    value = "none" if measured is None else f"{measured:.3f}"
    between = f" [{interval['low']:.3f}, {interval['high']:.3f}]" if interval else ""
    return f"{probe['name']}  {row['features']} ({row['classifier']})  {probe['primary']} {value}{between}"
