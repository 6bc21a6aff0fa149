"""What a run's encoder is worth: its probes, beside everything that must be beaten."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unseen.data.clips import ClipSource
from unseen.data.splits import load_split
from unseen.data.store import Store
from unseen.errors import UnseenError
from unseen.evaluate.evaluate import evaluate
from unseen.evaluate.floors import HandMade, RawPixels
from unseen.recipes.load import read_recipe
from unseen.recipes.recipe import Recipe
from unseen.recipes.run import build, open_source
from unseen.systems.encode import FrozenEncoder, load_encoder

PRETRAINED, RANDOM = "pretrained", "random init"


def judge(
    run: Path, *, data: Path | None, split: str | None, against: Sequence[Path] = (), trust: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Evaluate a finished run by the probes of its recipe and write evaluation.json into it.

    `against` names other runs (a plain MAE, a nearly-unmasked twin): each becomes one more row of every table.
    """
    recipe, manifest = read_recipe(run / "recipe.json", trust), json.loads((run / "manifest.json").read_text())
    if not recipe.probes:
        raise UnseenError(f"the recipe of {run} names no probe", "probes are fixed before training", "add probes=(...)")
    store = Store.open(data or Path(manifest["store"]))
    roles = load_split(store, split) if split else manifest["split"]
    pretrained_on = set(manifest["logs"])
    features = {PRETRAINED: load_encoder(run), RANDOM: random_twin(recipe, store, manifest["logs"])}
    for other in against:
        features[other.name] = load_encoder(other)
        pretrained_on |= set(json.loads((other / "manifest.json").read_text())["logs"])
    features |= {"hand-made": HandMade(unit_px=recipe.unit.size), "raw pixels": RawPixels(unit_px=recipe.unit.size)}
    source = ClipSource(store, store.log_ids(), recipe.view, cache_mb=recipe.training.cache_mb)
    registered = {probe["hash"] for probe in json.loads((run / "probes.json").read_text())["probes"]}
    result = evaluate(
        features, source, recipe.probes, split=roles, lineage=pretrained_on, registered=registered, ledger=run
    )
    (run / "evaluation.json").write_text(json.dumps(result, indent=2) + "\n")
    return result


def random_twin(recipe: Recipe, store: Store, logs: list[str]) -> FrozenEncoder:
    """The same encoder, never trained, from another seed; a whitening stem still sees the data, as in training."""
    model = build(recipe, open_source(recipe, store, logs), seed=recipe.training.seed + 1)
    return FrozenEncoder(model.encoder, recipe.unit, recipe.normalise, recipe.view.frame_px)
