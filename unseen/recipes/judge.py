"""What a run's encoder is worth: its probes, beside everything that must be beaten."""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import Tensor

from unseen.contract import Pretrained
from unseen.data.source import ForMasks, LogSource, View
from unseen.data.splits import load_split
from unseen.data.store import Store
from unseen.errors import UnseenError
from unseen.evaluate.completion import completion
from unseen.evaluate.evaluate import evaluate
from unseen.evaluate.features import FeatureMaker
from unseen.evaluate.floors import floors_of
from unseen.evaluate.probes import Permuted, Probe
from unseen.files import write_whole
from unseen.models.vit import VisionTransformer
from unseen.recipes.lineage import lineage_of, teachers, unknown_origins
from unseen.recipes.load import read_recipe
from unseen.recipes.recipe import Recipe
from unseen.recipes.run import build, open_source, open_store, read_manifest, spread, tell_left_out
from unseen.systems.encode import FrozenEncoder, load_encoder
from unseen.systems.teachers import Momentum
from unseen.train import checkpoint
from unseen.train.distributed import default_device

PRETRAINED, RANDOM = "pretrained", "random init"
FLOOR_SAMPLES = 4096  # of the training, from which a floor learns how common its features are


def judge(
    run: Path, *, data: Path | None, split: str | None, against: Sequence[Path] = (), trust: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Evaluate a finished run by the probes of its recipe and write evaluation.json into it.

    Probes for which the store has no labels are left out and said; completion of hidden units needs none.
    `against` names other runs (a plain MAE, a nearly-unmasked twin): each becomes one more row of every table.
    """
    recipe, manifest = read_recipe(run / "recipe.json", trust), read_manifest(run)
    if not recipe.probes:
        raise UnseenError(f"the recipe of {run} names no probe", "probes are fixed before training", "add probes=(...)")
    store = open_store(manifest, data, f"unseen evaluate {run}")
    trained_on, unknown = lineage_of(run), unknown_origins(run)
    device = default_device()
    encoder = load_encoder(run, trust=trust).to(device)
    recipe = replace(recipe, view=encoder.view)  # with whatever file it brings
    seen = open_source(recipe, training_store(manifest, store), manifest["logs"])
    features: dict[str, FeatureMaker] = {PRETRAINED: encoder}
    features[RANDOM] = random_twin(recipe, seen, encoder.view).to(device)
    floors = floors_of(recipe.unit, lambda: seen.raw(seen.frames(spread(len(seen), FLOOR_SAMPLES))))
    for other in against:
        name = other.resolve().name
        if name in (*features, *floors):
            raise UnseenError(f"two rows would be called {name!r}", "--against names each row by its run folder")
        features[name] = load_encoder(other, trust=trust).to(device)
        trained_on |= lineage_of(other)
        unknown |= unknown_origins(other)
    features |= floors
    assigned = roles(store, split, manifest, trained_on)
    result = evaluate(
        features,
        unmasked(recipe.view).open(store, store.log_ids(), seed=0, log_power=0.0, cache_mb=recipe.training.cache_mb),
        [probe for probe in recipe.probes if store.has_classes(kind_of(probe))],
        split=assigned,
        lineage=trained_on,
        unknown_lineage=sorted(unknown),
        ledger=store.path,
        registered={probe["hash"] for probe in _read(run / "probes.json")["probes"]},
        model_digest=hashlib.blake2b((run / "encoder.safetensors").read_bytes(), digest_size=16).hexdigest(),
        run=run.name,
        progress=lambda line: print(line, file=sys.stderr),
    )
    result["warnings"] += cautions(recipe, store, unknown)
    tested = [log for log in assigned if assigned[log] == "test"]
    gone = unreadable(recipe)
    result["warnings"] += [f"the run's own losses on the test logs (completion) are left out: {gone}"] if gone else []
    result["completion"] = None if gone else completed(run, recipe, seen, store, tested)
    write_whole(run / "evaluation.json", json.dumps(result, indent=2) + "\n")
    return result


def cautions(recipe: Recipe, store: Store, unknown: set[str]) -> list[str]:
    """What was not asked for want of labels, and initial weights of which nobody knows what they were trained on."""
    unasked = [
        f"probe {probe.name!r} was not asked: {store.path} has no labels of kind {kind_of(probe)!r}; "
        "name a store that has: unseen evaluate RUN --data LABELLED"
        for probe in recipe.probes
        if not store.has_classes(kind_of(probe))
    ]
    return unasked + [
        f"the lineage of the initial weights {name} is unknown: they may have been trained on the test logs"
        for name in sorted(unknown)
    ]


def kind_of(probe: Probe) -> str:
    """The kind of labels that a probe, or the one that it controls, asks for."""
    return (probe.of if isinstance(probe, Permuted) else probe).labels


def unreadable(recipe: Recipe) -> UnseenError | None:
    """Why a network that makes targets (a tokenizer, a teacher) cannot be had; None where all can."""
    try:
        teachers(recipe)
    except UnseenError as error:
        return error
    return None


def completed(run: Path, recipe: Recipe, seen: LogSource, store: Store, tested: list[str]) -> dict[str, Any] | None:
    """The run's own losses on the test logs; None, with the reason said, where its last checkpoint is gone, one of them
    was seen by the run or by anything that it is made of, or none of them can be masked."""
    path = checkpoint.last(run)
    if not tested:
        return None
    try:
        if path is None:
            raise UnseenError(f"{run} has no checkpoint any more")
        if spoiled := sorted(lineage_of(run) & set(tested)):
            raise UnseenError(f"{len(spoiled)} of them were seen in the pretraining, such as {spoiled[0]}")
        unseen = recipe.view.open(store, tested, seed=0, log_power=0.0, cache_mb=0)
    except UnseenError as error:
        print(f"the run's own losses on the test logs are left out: {error}", file=sys.stderr)
        return None
    model = build(recipe, seen)
    model.load_state_dict(checkpoint.load_tensors(path, "model"))
    objective = recipe.objective().bind(model)
    for name, network in objective.networks().items():
        network.load_state_dict(checkpoint.load_tensors(path, f"target-{name}"))
    return completion(model, objective, unseen, seen)


def unmasked(view: View) -> View:
    """The view for probes and features, which hide nothing."""
    return view.unmasked() if isinstance(view, ForMasks) else view


def roles(store: Store, split: str | None, manifest: dict[str, Any], trained_on: set[str]) -> dict[str, str]:
    """The role of each log: a split of the store, the run's own, or every log that no encoder was trained on."""
    if split is not None:
        return load_split(store, split).assignment
    if manifest["split"] is not None and manifest["store_digest"] == store.digest():
        return manifest["split"]["assignment"]
    return {log: "train" if log in trained_on else "probe" for log in store.log_ids()}


def training_store(manifest: dict[str, Any], judged: Store) -> Store:
    """Where a run's own frames lie: the judged store, if it is the same, or the one that the run remembers."""
    if judged.digest() == manifest["store_digest"]:
        return judged
    try:
        return Store.open(Path(manifest["store"]))
    except UnseenError as error:
        rule = "the row `random init` is fitted to frames of the training, as the run was"
        raise UnseenError(error.what, rule, "put the training store back, or link it there") from error


def random_twin(recipe: Recipe, source: LogSource, view: View) -> FrozenEncoder:
    """The same encoder, never trained, from another seed; a whitening stem still sees the data, as in training.

    No encoder depends on the targets, and the networks that make some may be gone: others that need none stand in.
    """
    targets = {
        name: replace(term, target=Momentum()) if isinstance(term.target, Pretrained) else term
        for name, term in recipe.targets.items()
    }
    model = build(replace(recipe, targets=targets), source, seed=recipe.training.seed + 1)
    encoder = cast(VisionTransformer, model.encoder)
    return FrozenEncoder(encoder, recipe.unit, recipe.normalise, view)


def embed_store(run: Path, data: Path, out: Path, *, trust: tuple[str, ...] = (), batch: int = 32) -> dict[str, Any]:
    """Pooled features of every sample of a store, whole or not at all: one Parquet row for each frame; for a
    window of frames, that of its middle one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    device = default_device()
    encoder = load_encoder(run, trust=trust).to(device)
    store = Store.open(data)
    source = unmasked(encoder.view).open(store, store.log_ids(), seed=0, log_power=0.0, cache_mb=0)
    tell_left_out(source)
    parts = []
    for start in range(0, len(source), batch):
        clip = source.frames(range(start, min(start + batch, len(source))))
        raw = source.raw(clip)
        parts.append(encoder(raw.to(device) if isinstance(raw, Tensor) else raw).pooled.cpu().numpy())
    pooled = np.concatenate(parts)
    table = pa.table(
        {
            "log_id": [source.log_ids[number] for number in source.log_of],
            "sensor": source.sensor_of,
            "frame_id": source.frame_id,
            "feature": pa.FixedSizeListArray.from_arrays(pa.array(pooled.ravel()), pooled.shape[1]),
        }
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, write_page_checksum=True)
    write_whole(out, buffer.getvalue().to_pybytes())
    return {"embeddings": str(out), "frames": len(source), "width": int(pooled.shape[1])}


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())
