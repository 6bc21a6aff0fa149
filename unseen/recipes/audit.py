"""A recipe's masks on its own units: imagined ones, or those of a store."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from unseen.codec import to_json
from unseen.contract import Clip, Units
from unseen.data.cameras import IGNORE
from unseen.data.source import Imagined
from unseen.data.store import Store
from unseen.errors import UnseenError
from unseen.evaluate.audit import BATCH, Draws, audit, draw, steps_of
from unseen.evaluate.leaks import audit_places
from unseen.files import write_whole
from unseen.randomness import keys, uniform
from unseen.recipes.load import load_recipe
from unseen.recipes.recipe import Recipe
from unseen.recipes.run import open_source, training_logs
from unseen.systems.objective import sample_keys
from unseen.units.normalise import apply

EXAMPLES = 8
WAVES = 6  # of which imagined content consists


def audit_recipe(
    reference: str | Path | Recipe,
    *,
    data: Path | None,
    split: str | None,
    draws: int,
    out: Path,
    overrides: tuple[str, ...] = (),
    trust: tuple[str, ...] = (),
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Audit the masks of a recipe and write masks.json into `out`; returns its content, and pictures of masks.

    Pictures: `mask` [K, slots, rows, columns], 0 no unit, 1 visible, 2 target, 3 guard, for units on a grid; `frame`
    [K, slots, H, W, 3] where there are recordings.
    """
    recipe = load_recipe(reference, overrides, trust)
    names: tuple[str, ...] = ()
    if data is None:
        drawn, frames = imagined(recipe, draws), None
    else:
        store = Store.open(data)
        drawn, frames = recorded(recipe, store, split, draws)
        names = tuple(store.classes("seg").names) if store.has_classes("seg") else ()
    found = audit(drawn)
    for one in found["measures"].get("classes", ()):
        one["name"] = names[one["class"]] if one["class"] < len(names) else str(one["class"])
    result = {
        "recipe": str(reference) if not isinstance(reference, Recipe) else "a recipe",
        "overrides": list(overrides),
        "data": None if data is None else str(data),
        "policy": to_json(recipe.mask),
        "unit": to_json(recipe.unit),
        **found,
    }
    out.mkdir(parents=True, exist_ok=True)
    write_whole(out / "masks.json", json.dumps(finite(result), indent=2) + "\n")
    pictures = {"mask": codes(drawn)} if drawn.units.grid is not None and len(drawn.units.grid) > 1 else {}
    return result, pictures | ({} if frames is None else {"frame": frames})


def imagined(recipe: Recipe, draws: int) -> Draws:
    """The units of one blank sample of the recipe's size, under many keys; their content is a few smooth waves."""
    units = recipe.unit.cut(apply(recipe.normalise, blank(recipe)))[1]
    key = keys(recipe.training.seed, torch.arange(draws), 0, "mask")
    units = units._replace(valid=units.valid.expand(draws, -1))
    try:
        drawn = draw(recipe.mask, units, key, recipe.unit.spacing)
    except UnseenError as error:
        remedy = f"audit these masks on recordings: --data STORE; {error.remedy}"
        raise UnseenError(f"without --data: {error.what}", error.rule, remedy) from error
    return replace(drawn, values=smooth(drawn))


def blank(recipe: Recipe) -> Clip:
    """One sample of the size that the recipe trains on, and nothing in it."""
    if not isinstance(recipe.view, Imagined):
        kind = type(recipe.view).__name__
        raise UnseenError(f"units of {kind} cannot be imagined", "their number is in the recordings", "--data STORE")
    return recipe.view.present(recipe.view.blank())


def recorded(
    recipe: Recipe, store: Store, split: str | None, draws: int
) -> tuple[Draws, UInt8[np.ndarray, "*"] | None]:
    """Training samples of a store, in their order; whole frames instead where these have labels."""
    source = open_source(recipe, store, training_logs(store, split)[0])
    labelled = source.labelled("seg").nonzero()[0]
    parts, raw = [], []
    for start in range(0, draws, BATCH):
        places = np.arange(start, min(start + BATCH, draws))
        if len(labelled):
            clip = source.frames(labelled[places * 7919 % len(labelled)], labels=True)
        else:
            clip = source.batch(places)
        key = sample_keys(clip, recipe.training.seed, torch.from_numpy(places))
        values, units = recipe.unit.cut(apply(recipe.normalise, clip))
        content = values.flatten(2) if values.is_floating_point() else None
        parts.append((units, key, content, shares(clip, recipe)))
        raw.append(clip)
    units = joined([part[0] for part in parts])
    drawn = draw(
        recipe.mask,
        units,
        torch.cat([part[1] for part in parts]),
        recipe.unit.spacing,
        values=stacked([part[2] for part in parts]),
        classes=stacked([part[3] for part in parts]),
        real=True,
    )
    return replace(drawn, **places_of(recipe, raw[0], drawn)), frames_of(raw[0], units)


def places_of(recipe: Recipe, clip: Clip, drawn: Draws) -> dict[str, Any]:
    """What the masks of the first recordings do to the places of the world; nothing where no poses are known."""
    whole: Any = clip
    some: Any = {name: part[:EXAMPLES] for name, part in whole.items()}
    found = audit_places(recipe.mask, recipe.unit.cut(apply(recipe.normalise, some))[1], some, drawn.key[:EXAMPLES])
    by = "measured depth" if "depth_m" in clip else "the ground plane alone"
    return {} if found is None else {"places": found, "places_by": by}


def joined(parts: list[Units]) -> Units:
    """The units of several batches as those of one; where batches differ in length, the rest does not exist."""
    fields = {}
    for name in ("centre", "valid", "importance", "group", "place"):
        each = [getattr(part, name) for part in parts]
        if each[0] is not None:
            fields[name] = stacked([x.expand(len(p.valid), *x.shape[1:]) for x, p in zip(each, parts, strict=True)])
    return Units(**fields, grid=parts[0].grid)


def stacked(parts: list[Any]) -> Any:
    """Batches [B, N, ...] one after another, with zeros where one is smaller along any axis; None where one is."""
    if any(part is None for part in parts):
        return None
    shape = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    whole = parts[0].new_zeros(sum(len(part) for part in parts), *shape)
    start = 0
    for part in parts:
        whole[(slice(start, start + len(part)), *(slice(size) for size in part.shape[1:]))] = part
        start += len(part)
    return whole


def shares(clip: Clip, recipe: Recipe) -> Float[Tensor, "B N K"] | None:
    """What share of each unit has each class: the label map cut like an image; None without labels of pixels."""
    label = clip.get("label")
    if label is None or label.ndim != 3 or "image" not in clip:
        return None
    n_classes = int(label[label != IGNORE].max()) + 1 if bool((label != IGNORE).any()) else 1
    one_hot = torch.stack([(label == number) for number in range(n_classes)], dim=1).to(torch.uint8)
    image, blank_clip = [], Clip(**clip)
    for number in range(n_classes):
        blank_clip["image"] = one_hot[:, number : number + 1].expand(-1, clip["image"].shape[1], -1, -1).contiguous()
        image.append(recipe.unit.cut(blank_clip)[0].flatten(2).float().mean(dim=2))
    return torch.stack(image, dim=2)


def smooth(drawn: Draws) -> Float[Tensor, "B N 1"]:
    """A few plane waves of 4 to 16 units' length in random directions: content that has neighbours."""
    place, key = steps_of(drawn), drawn.key
    axes = place.shape[2]
    direction, phase = uniform(key ^ 0x77A4E, WAVES * (axes + 2)).unflatten(1, (WAVES, -1)).split((axes, 2), dim=2)
    direction = direction - 0.5
    direction = direction / direction.norm(dim=2, keepdim=True).clamp(min=1e-6)
    frequency = 2 * torch.pi / (4 + 12 * phase[..., :1])
    angle = torch.einsum("bnc,bwc->bnw", place.expand(len(key), -1, -1), direction * frequency)
    return (angle + 2 * torch.pi * phase[:, None, :, 1]).sin().sum(dim=2, keepdim=True).float()


def codes(drawn: Draws) -> UInt8[np.ndarray, "K T H W"]:
    """The first masks as numbers: 0 no unit, 1 visible, 2 target, 3 guard."""
    grid = (1, *(drawn.units.grid or ()))[-3:]
    valid, visible, target = (x[:EXAMPLES] for x in (drawn.units.valid, drawn.mask.visible, drawn.mask.target))
    code = valid.byte() * 3 - 2 * visible.byte() - target.byte()
    return code.unflatten(1, grid).numpy()


def frames_of(clip: Clip, units: Units) -> UInt8[np.ndarray, "*"] | None:
    """The first recordings [K, slots, H, W, 3], as 8 bit RGB, one frame a slot; None where they are no pictures."""
    if "video" in clip:
        slots = units.grid[0] if units.grid is not None and len(units.grid) == 3 else 1
        video = clip["video"][:EXAMPLES]
        image = video[:, :: max(1, video.shape[1] // slots)][:, :slots]
    elif "image" in clip:
        image = clip["image"][:EXAMPLES, None]
    else:
        return None
    picture = image.numpy()
    if picture.dtype == np.uint16:
        picture = (picture >> 8).astype(np.uint8)
    return np.repeat(picture, 3 if picture.shape[2] == 1 else 1, axis=2)[:, :, :3].transpose(0, 1, 3, 4, 2)


def finite(value: Any) -> Any:
    """JSON knows no NaN: what could not be measured is null."""
    if isinstance(value, dict):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value
