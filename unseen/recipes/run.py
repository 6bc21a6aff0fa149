"""A recipe meets a store: build what it names, keep a record of it in the run folder, train."""

import hashlib
import json
import os
import platform
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from unseen.codec import absolute, fields_called, to_json
from unseen.contract import Calibrated, Clip, MaskedModel, Shapes
from unseen.data.source import LogSource, WithFile
from unseen.data.splits import load_split
from unseen.data.store import Store
from unseen.errors import UnseenError
from unseen.evaluate.probes import spec_hash
from unseen.files import write_whole
from unseen.models.initialise import initialise
from unseen.recipes.lineage import lineage_of, origin, teachers
from unseen.recipes.load import load_recipe, read_recipe, write_recipe
from unseen.recipes.recipe import Recipe
from unseen.systems.encode import save_encoder
from unseen.systems.objective import Objective, sample_keys
from unseen.train import checkpoint
from unseen.train.distributed import first_process
from unseen.train.init import load_init
from unseen.train.loop import fit

CALIBRATION_FRAMES = 256  # frames from which a whitening stem learns its statistics


def start(
    reference: str | Path | Recipe,
    *,
    data: Path,
    out: Path,
    split: str | None,
    init: Path | None,
    overrides: tuple[str, ...] = (),
    trust: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Begin a run: the record first, then the training."""
    store = Store.open(data)
    recipe = absolute(load_recipe(reference, overrides, trust), store.path)
    logs, splits = training_logs(store, split)
    source = open_source(recipe, store, logs)
    model = build(recipe, source)
    if init:
        found = load_init(model, init)
        if first_process():
            print(found, file=sys.stderr)
    if first_process():
        begun_with = origin(init)
        if begun_with is not None:
            begun_with["encoder_digest"] = encoder_digest(model)
        out.mkdir(parents=True, exist_ok=True)
        record(out, recipe, store, logs, splits, source, begun_with)
        write_recipe(recipe, out / "recipe.json")  # last: a folder with a recipe is a run that can be resumed
        warn_of_held_out(out, splits)
        warn_of_sizes(recipe, store)
    return train(out, recipe, store, source, model)


def go_on(run: Path, *, data: Path | None, trust: tuple[str, ...] = ()) -> dict[str, Any]:
    """Continue a run from its last checkpoint; one that failed before its first begins at step 0."""
    recipe = read_recipe(run / "recipe.json", trust)
    manifest = read_manifest(run)
    store = open_store(manifest, data, f"unseen resume {run}")
    source = open_source(recipe, store, manifest["logs"])
    check_unchanged(run, recipe, source, manifest)
    model = build(recipe, source)
    if checkpoint.last(run) is None:
        begin_again(run, model)
    return train(run, recipe, store, source, model)


def warn_of_held_out(run: Path, split: dict[str, Any] | None) -> None:
    """Say at once what evaluation will refuse: test logs that the tokenizer, a teacher or the first weights saw."""
    if split is None:
        return
    if seen := sorted(log for log in lineage_of(run) if split["assignment"].get(log) == "test"):
        print(
            f"{len(seen)} test logs of the split {split['name']!r} were seen by what this run is made of (a tokenizer, "
            f"a teacher, its first weights), such as {seen[0]}: probes on them will be refused",
            file=sys.stderr,
        )


def warn_of_sizes(recipe: Recipe, store: Store) -> None:
    """Say where a recipe is larger than the file of its view: random tokens are then drawn that no text holds."""
    for name, size in recipe.view.sizes(store).items() if isinstance(recipe.view, WithFile) else ():
        if larger := [f"{path}={size}" for path, value in fields_called(name, recipe) if value > size]:
            print(f"the {name} is {size}, the recipe's is larger; to fit it: --set {' '.join(larger)}", file=sys.stderr)


def check_unchanged(run: Path, recipe: Recipe, source: LogSource, manifest: dict[str, Any]) -> None:
    """UnseenError where the samples of a run, or a network that makes its targets, are not those of its record."""
    recorded = json.loads((run / "lineage.json").read_text())["teachers"]
    changed = [made["run"] for made in teachers(recipe) if made not in recorded]
    if source.digest != manifest["source_digest"]:
        changed.append(f"{manifest['store']} (its logs, or the tokenizer that reads them)")
    if changed:
        raise UnseenError(
            f"{', '.join(changed)}: no longer what {run} was begun with",
            "a run goes on only with what it began with",
            "restore it, or begin a new run with `unseen pretrain`",
        )


def begin_again(run: Path, model: MaskedModel) -> None:
    """Give a run without any checkpoint the initial weights that its record names; UnseenError where they changed."""
    begun_with = json.loads((run / "lineage.json").read_text())["init"]
    if first_process():
        print(f"{run} has no checkpoint yet: it begins at step 0", file=sys.stderr)
    if begun_with is None:
        return
    load_init(model, Path(begun_with.get("run") or begun_with["file"]))
    if encoder_digest(model) != begun_with["encoder_digest"]:
        raise UnseenError(
            f"the initial weights of {run} are no longer those that it was begun with",
            "a run goes on only with what it began with",
            "restore them, or remove the folder, which has no checkpoint yet, and begin again with `unseen pretrain`",
        )


def encoder_digest(model: nn.Module) -> str:
    """Of the encoder's weights, which initial weights fill to the last one."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in sorted(model.state_dict().items()):
        if name.startswith("encoder."):
            digest.update(f"{name}{value.dtype}{tuple(value.shape)}".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def read_manifest(run: Path) -> dict[str, Any]:
    """On what a run was trained."""
    try:
        return json.loads((run / "manifest.json").read_text())
    except (OSError, ValueError) as error:
        raise UnseenError(
            f"{run / 'manifest.json'} cannot be read: {error}", "it names the store and the logs of a run"
        ) from error


def open_store(manifest: dict[str, Any], data: Path | None, command: str) -> Store:
    """The store that is named, or the one that the run remembers; where it has moved, `command` is to name it."""
    try:
        return Store.open(data or Path(manifest["store"]))
    except UnseenError as error:
        remedy = error.remedy if data else f"if it has moved: {command} --data STORE"
        raise UnseenError(error.what, error.rule, remedy) from error


def train(run: Path, recipe: Recipe, store: Store, source: LogSource, model: MaskedModel) -> dict[str, Any]:
    result = fit(
        run=run,
        model=model,
        objective=recipe.objective(),
        training=recipe.training,
        source=source,
        monitor=monitor_clip(source, recipe.training.monitor_samples),
        class_names=store.classes("seg").names if store.has_classes("seg") else (),
    )
    if result.finished and first_process():
        lineage = json.loads((run / "lineage.json").read_text())
        view = recipe.view.carry(run, store) if isinstance(recipe.view, WithFile) else recipe.view
        save_encoder(run, model, recipe.unit, recipe.normalise, view, lineage=lineage)
        print(f"{run}: {result.step} of {result.steps} steps, its encoder is written", file=sys.stderr)
    return {"run": str(run), **result.summary()}


def training_logs(store: Store, split: str | None) -> tuple[list[str], dict[str, Any] | None]:
    """The logs that a run may see, and the split that says so."""
    if split is None:
        if first_process():
            print(f"no split named: training on all {len(store.log_ids())} logs, nothing is held out", file=sys.stderr)
        return store.log_ids(), None
    roles = load_split(store, split)
    if not roles.logs("train"):
        raise UnseenError(f"split {split!r} gives no log the role train", "pretraining reads the role train only")
    return roles.logs("train"), asdict(roles)


def open_source(recipe: Recipe, store: Store, logs: list[str]) -> LogSource:
    training = recipe.training
    source = recipe.view.open(store, logs, seed=training.seed, log_power=training.log_power, cache_mb=training.cache_mb)
    tell_left_out(source)
    return source


def tell_left_out(source: LogSource) -> None:
    """Name the logs that give no sample, or fewer than they could."""
    for line in left_out(source) if first_process() else ():
        print(line, file=sys.stderr)


def left_out(source: LogSource) -> list[str]:
    """What `tell_left_out` says; a run's manifest keeps it."""
    lines = [f"log {log} gives no sample: {reason}" for log, reason in source.left_out.items()]
    return lines + [f"log {log} gives fewer samples: {reason}" for log, reason in source.thinned.items()]


def build(recipe: Recipe, source: LogSource, seed: int | None = None) -> MaskedModel:
    """The recipe's model with keyed initial weights, its stem fitted to units of the source where it wants that."""
    objective = recipe.objective()
    few = source.batch(np.arange(min(2, len(source))))
    model = recipe.model.build(shapes_of(objective, few))
    initialise(model, recipe.training.seed if seed is None else seed)
    calibrate(model, objective, source)
    return model


def shapes_of(objective: Objective, clip: Clip) -> Shapes:
    return objective.shapes(objective.batch(clip, sample_keys(clip, 0, 0)))


def calibrate(model: nn.Module, objective: Objective, source: LogSource) -> None:
    """Show units of training crops to every part that fits statistics to data (a whitening stem)."""
    parts = [part for part in model.modules() if isinstance(part, Calibrated)]
    if not parts:
        return
    clip = source.batch(np.arange(min(CALIBRATION_FRAMES, len(source))))
    values = objective.batch(clip, sample_keys(clip, 0, 0)).input
    for part in parts:
        part.calibrate(values.flatten(0, 1))


def monitor_clip(source: LogSource, samples: int) -> Clip:
    """Frames spread evenly over the training logs, with the frame before and the labels where there are any."""
    return source.frames(spread(len(source), samples), previous=True, labels=True)


def spread(n: int, samples: int) -> np.ndarray:
    """At most `samples` of n indices, evenly spaced."""
    return np.linspace(0, n - 1, min(samples, n)).round().astype(int)


def record(
    run: Path,
    recipe: Recipe,
    store: Store,
    logs: list[str],
    split: dict[str, Any] | None,
    source: LogSource,
    begun_with: dict[str, Any] | None,
) -> None:
    """Write what the run is, on what and from what, before the first step: so it cannot be fitted to the result."""
    probes = [{"name": probe.name, "hash": spec_hash(probe), "spec": to_json(probe)} for probe in recipe.probes]
    _write(run / "probes.json", {"registered": "before training", "probes": probes})
    _write(
        run / "manifest.json",
        {
            "store": str(store.path.resolve()),
            "store_digest": store.digest(),
            "source_digest": source.digest,
            "logs": logs,
            "samples": len(source),
            "warnings": left_out(source),
            "split": split,
        },
    )
    fitted = recipe.view.origins(store) if isinstance(recipe.view, WithFile) else []
    seen = {log for made in fitted if isinstance(made["lineage"], dict) for log in made["lineage"]["pretrained_on"]}
    lineage = {"pretrained_on": sorted(seen | set(logs)), "store_digest": store.digest(), "init": begun_with}
    _write(run / "lineage.json", {**lineage, "teachers": [*teachers(recipe), *fitted]})
    _write(run / "env.json", environment())


def environment() -> dict[str, Any]:
    return {
        "unseen": version("unseen"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "machine": platform.machine(),
        "system": platform.system(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "command": " ".join([program(), *sys.argv[1:]]),
    }


def program() -> str:
    """What was called: a script by its name, a module as one calls it."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    return Path(sys.argv[0]).name if module is None else f"python -m {module.name.removesuffix('.__main__')}"


def _write(path: Path, content: dict[str, Any]) -> None:
    write_whole(path, json.dumps(content, indent=2) + "\n")
