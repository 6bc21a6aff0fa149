"""Every recipe of the package builds, survives its JSON, and learns on a handful of images."""

import json
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unseen.codec import from_json, to_json
from unseen.contract import Clip, check
from unseen.errors import UnseenError
from unseen.models import initialise
from unseen.recipes import outline
from unseen.recipes.judge import lineage_of
from unseen.recipes.load import load_recipe
from unseen.recipes.recipe import Recipe
from unseen.recipes.run import origin
from unseen.systems.codes import Codes
from unseen.systems.encode import save_encoder
from unseen.systems.objective import Term, predict, sample_keys, total, unit_weights

NAMES = sorted(name for module in outline._home_modules() for name in outline._recipes(module))


def a_clip(recipe: Recipe, samples: int = 4) -> Clip:
    """Waves, as an image, as a video and as several cameras, and rows of tokens: each unit takes what it cuts."""
    picture = getattr(recipe.view, "picture", recipe.view)
    height, width = getattr(picture, "crop_px", None) or getattr(picture, "frame_px", (32, 32))
    cameras, channels = len(getattr(recipe.view, "cameras", ("one",))), getattr(picture, "channels", 3)
    y, x = torch.arange(height)[:, None] / 7.0, torch.arange(width * cameras) / 5.0
    waves = [torch.sin(y * (n + 1) / 3 + x * (c + 1) / 2) for n in range(samples) for c in range(channels)]
    image = (127 + 100 * torch.stack(waves)).view(samples, channels, height, width * cameras).to(torch.uint8)
    video = torch.stack([image.roll(step, dims=3) for step in range(getattr(recipe.view, "frames", 1))], dim=1)
    there = torch.ones(samples, cameras, dtype=torch.bool)
    token = 5 + torch.arange(samples * 40).view(samples, 40) * 7 % 90
    text = {"token": token, "token_group": (torch.arange(40) // 2).expand(samples, -1)}
    n_frames = video.shape[1]
    drive = {  # straight ahead, a metre a frame, past a wall
        "intrinsics": torch.tensor([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]]).expand(
            samples, n_frames, 3, 3
        ),
        "world_from_camera": torch.eye(4).repeat(samples, n_frames, 1, 1),
        "depth_m": torch.full((samples, n_frames, height, width * cameras), 20.0),
    }
    drive["world_from_camera"][:, :, 2, 3] = torch.arange(n_frames)
    drive["depth_m"] -= torch.arange(n_frames)[:, None, None]
    return Clip(image=image, video=video, camera_there=there, sample_id=torch.arange(samples), **text, **drive)


def complete(recipe: Recipe, folder: Path) -> Recipe:
    """A recipe that asks for a tokenizer gets an untrained one."""
    if not any(isinstance(term.target, Codes) for term in recipe.targets.values()):
        return recipe
    words = load_recipe("tokenizer")
    goal, clip = words.objective(), a_clip(words)
    net = words.model.build(goal.shapes(goal.batch(clip, sample_keys(clip, 0, 0))))
    save_encoder(folder, net, words.unit, words.normalise, words.view, lineage={"pretrained_on": []})
    return replace(recipe, targets={"codes": Term(target=Codes(tokenizer=str(folder)))})


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_builds_trains_and_survives_its_json(name, tmp_path) -> None:
    recipe = complete(load_recipe(name), tmp_path)
    assert from_json(json.loads(json.dumps(to_json(recipe)))) == recipe
    objective, clip = recipe.objective(), a_clip(recipe)
    batch = objective.batch(clip, sample_keys(clip, 0, 0))
    check(batch, objective.read_and_scored)
    model = initialise(recipe.model.build(objective.shapes(batch)), 0)
    for part in model.modules():
        if hasattr(part, "calibrate") and part is not model and part is not model.encoder:
            part.calibrate(batch.input.flatten(0, 1))
    objective = objective.bind(model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    curve = []
    for step in range(6):
        batch = objective.batch(clip, sample_keys(clip, 0, step))
        losses, counted = objective.losses(predict(model, batch), batch), unit_weights(batch)
        loss = total(losses, counted, {key: value.sum() for key, value in counted.items()}, objective)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        curve.append(float(loss.detach()))
    assert curve[-1] < curve[0]


def test_overrides_are_typed_and_named() -> None:
    recipe = load_recipe("mae", ("mask.ratio=0.9", "training.steps=77", "view.crop_px=[64, 64]"))
    assert (recipe.mask.ratio, recipe.training.steps, recipe.view.crop_px) == (0.9, 77, (64, 64))
    assert load_recipe("mae", ("training.steps=40", "training.warmup=10")).training.steps == 40
    assert load_recipe("mae", ("training.compile=whole",)).training.compile == "whole"
    assert load_recipe("mae", ("training.compile=true",)).training.compile is True
    with pytest.raises(UnseenError, match="compile"):
        load_recipe("mae", ("training.compile=sometimes",))
    with pytest.raises(UnseenError, match="ratio"):
        load_recipe("mae", ("mask.ratoi=0.9",))
    with pytest.raises(UnseenError, match=r"steps"):
        load_recipe("mae", ("training.steps=many",))


def test_a_recipe_built_in_python_is_held_to_its_types() -> None:
    good = load_recipe("mae")
    assert load_recipe(good) == good
    encoder, training = replace(good.model.encoder, stem=3), replace(good.training, seed="x")
    for field, value in {
        "mask": 3,
        "decode": "1",
        "targets": {"pixels": 3},
        "probes": (3,),
        "model.encoder.stem": replace(good.model, encoder=encoder),
        "training.seed": training,
        "view": good.mask,
        "normalise": print,
    }.items():
        with pytest.raises(UnseenError, match=rf"recipe\.{field}"):
            load_recipe(replace(good, **{field.split(".")[0]: value}))


def test_the_outline_knows_what_the_recipes_hold() -> None:
    for name in NAMES:
        module, function = outline.locate(name)
        fields = outline._of_function(module, function)
        assert set(fields) == set(Recipe.__dataclass_fields__)
        assert set(fields["mask"]) == {field.name for field in dataclass_fields(load_recipe(name).mask)}


def test_a_variant_is_replace_of_another() -> None:
    recipe = load_recipe("mae")
    assert replace(recipe, decode=0.5) != recipe


def test_a_run_inherits_the_logs_of_what_it_began_with(tmp_path) -> None:
    """However an encoder is named: a test log that it was trained on must stay known."""
    first, copied, second = (tmp_path / name for name in ("first", "copied", "second"))
    known = {"pretrained_on": ["a", "b"], "store_digest": "0", "init": None}
    for folder in (first, copied, second):
        folder.mkdir()
    for folder in (first, copied):
        (folder / "encoder.json").write_text(json.dumps({"lineage": known}))
        (folder / "encoder.safetensors").write_bytes(b"")
    (first / "lineage.json").write_text(json.dumps(known))
    for named in (first, first / "encoder.safetensors", copied, copied / "encoder.safetensors"):
        mine = {"pretrained_on": ["c"], "init": origin(named)}
        (second / "lineage.json").write_text(json.dumps(mine))
        assert lineage_of(second) == {"a", "b", "c"}, named
    foreign = tmp_path / "first" / "timm.safetensors"
    foreign.write_bytes(b"")
    assert origin(foreign)["lineage"] == "unknown" and origin(None) is None
