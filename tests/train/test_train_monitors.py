"""What the monitor says of a model, and its pictures."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from train_stand_ins import GREY, Memory, Tiny, objective, training

from unseen.contract import Clip
from unseen.masks.random import Random
from unseen.models import InPlace, TokenStem, ViT
from unseen.systems.baselines import baselines
from unseen.systems.objective import Objective, Term, predict, sample_keys, unit_weights
from unseen.targets import Pixels, TokenIds
from unseen.train.loop import fit
from unseen.train.metrics import read_metrics
from unseen.train.monitors import Monitor, unit_classes
from unseen.train.pictures import draw
from unseen.train.progress import Progress
from unseen.units import Mosaic, Patches, PerClip, Tokens, Tubes

CPU = torch.device("cpu")


def whole(task, clip):
    """The monitor's numbers by one straight batch."""
    batch = task.batch(clip, sample_keys(clip, 3, 0, "monitor"))
    with torch.no_grad():
        losses = task.losses(predict(Tiny(), batch), batch)
    return batch, losses, unit_weights(batch)


def test_losses_and_floors_over_chunks_are_those_of_one_batch():
    task, clip = objective(), Memory().frames(range(11), previous=True)
    found = Monitor(task, clip, 3, (), CPU).measure(Tiny(), "float32")
    batch, losses, weight = whole(task, clip)
    floors = baselines(task, batch, clip)
    for name in ("plain", "plain.visible"):
        assert found["losses"][name] == pytest.approx(float((losses[name] * weight[name]).sum() / weight[name].sum()))
        for kind in ("null", "neighbour", "previous"):
            assert found["baselines"][name][kind] == pytest.approx(floors[name][kind], rel=1e-5)
    assert found["visible_share"] == pytest.approx(6 / 16)
    assert found["target_share"] == pytest.approx(10 / 16)
    assert found["by_class"] == {}


def test_a_chunk_without_a_past_counts_its_neighbours():
    task, clip = objective(), Memory().frames(range(11), previous=True)
    clip["previous_there"] = torch.arange(11) < 5
    found = Monitor(task, clip, 3, (), CPU).measure(Tiny(), "float32")
    floors = baselines(task, whole(task, clip)[0], clip)
    assert found["baselines"]["plain"]["previous"] == pytest.approx(floors["plain"]["previous"], rel=1e-5)


def test_losses_over_class_ids_are_told_to_be_nats():
    words = Objective(
        normalise=None, unit=Tokens(), mask=Random(ratio=0.3), targets={"words": Term(target=TokenIds(vocabulary=9))}
    )
    clip = Clip(token=torch.arange(24).view(2, 12) % 9, sample_id=torch.arange(2), log_id=["a", "b"])
    model = InPlace(encoder=ViT(width=8, depth=1, heads=1, class_token=False, stem=TokenStem(vocabulary=9)))
    net = model.build(words.shapes(words.batch(clip, sample_keys(clip, 0, 0))))
    assert Monitor(words, clip, 3, (), CPU).measure(net, "float32")["nats"] == ["words"]
    assert "nats" not in Monitor(objective(), Memory().frames(range(2)), 3, (), CPU).measure(Tiny(), "float32")


def test_every_hidden_unit_is_judged_though_training_samples_them():
    clip = Memory().frames(range(4))
    found = Monitor(objective(decode=0.3), clip, 3, (), CPU).measure(Tiny(), "float32")
    assert found["target_share"] == pytest.approx(10 / 16)


def test_visible_units_are_no_target_share():
    seen_first = {"a": Term(target=Pixels(), weight=0.0, visible_weight=1.0), "b": Term(target=Pixels())}
    for terms, share in ((seen_first, 10 / 16), ({"a": seen_first["a"]}, 0.0)):
        found = Monitor(replace(objective(), targets=terms), Memory().frames(range(2)), 3, (), CPU)
        assert found.shares["target_share"] == pytest.approx(share)


def test_loss_by_class_counts_each_unit_by_its_majority():
    task, clip = objective(), Memory().frames(range(11), labels=True)
    clip["label"][:, 8:, 12:] = 3
    clip["label"][:, 8, 12:] = 7  # a quarter of a patch: no majority
    found = Monitor(task, clip, 3, ("sky", "road"), CPU).measure(Tiny(), "float32")["by_class"]
    assert found.keys() == {"sky", "road", "3"}
    batch, losses, weight = whole(task, clip)
    unit = torch.tensor([255, *[0] * 7, *[1, 1, 1, 3] * 2]).expand(11, 16)
    of_loss = unit[batch.target_mask["plain"]].view(11, 10)
    for name, number in (("sky", 0), ("road", 1), ("3", 3)):
        chosen = of_loss == number
        expected = (losses["plain"] * weight["plain"])[chosen].sum() / weight["plain"][chosen].sum()
        assert found[name]["loss"] == pytest.approx(float(expected), rel=1e-5)
        assert found[name]["units"] == int(chosen.sum())


def test_the_class_of_a_tube_is_that_of_the_labelled_frame():
    """Only the slot of the middle frame has classes, by the majority of its pixels."""
    label = torch.zeros(2, 8, 12, dtype=torch.int64)
    label[:, :4, 4:8], label[:, 4:, :7], label[1, :, 8:] = 2, 1, 255
    for slots, frames in ((2, 1), (3, 2), (1, 2)):
        task = Objective(
            normalise=GREY, unit=Tubes(size=(frames, 4, 4)), mask=Random(), targets={"pixels": Term(target=Pixels())}
        )
        clip = Clip(video=torch.zeros(2, slots * frames, 1, 8, 12, dtype=torch.uint8), label=label)
        found = unit_classes(task, clip).unflatten(1, (slots, 6))
        middle = slots * frames // 2 // frames
        assert found[:, middle].tolist() == [[0, 2, 0, 1, 1, 0], [0, 2, 255, 1, 1, 255]]
        others = [slot for slot in range(slots) if slot != middle]
        assert (found[:, others] == 255).all()


def test_a_label_is_cut_as_the_cameras_are():
    """A unit that needs calibration gets that of the clip."""
    eye = torch.eye(4).repeat(1, 2, 1, 1)
    known = Clip(intrinsics=eye[..., :3, :3], world_from_camera=eye, camera_there=torch.ones(1, 2, dtype=torch.bool))
    clip = Clip(
        image=torch.zeros(1, 1, 8, 16, dtype=torch.uint8), label=torch.ones(1, 8, 16, dtype=torch.int64), **known
    )
    task = Objective(
        normalise=GREY,
        unit=Mosaic(size=(4, 4), step_deg=(2.0, 2.0)),
        mask=Random(),
        targets={"p": Term(target=Pixels())},
    )
    assert unit_classes(task, clip).tolist() == [[1] * 8]


def test_looking_changes_nothing(tmp_path):
    source = Memory()
    for name, monitor in (("with", source.frames(range(5), labels=True)), ("without", None)):
        fit(
            run=tmp_path / name,
            model=Tiny(),
            objective=objective(),
            training=training(),
            source=source,
            monitor=monitor,
            console=None,
        )
    weights = [(tmp_path / n / "checkpoints/step-000012/model.safetensors").read_bytes() for n in ("with", "without")]
    assert weights[0] == weights[1]
    kinds = [line["step"] for line in read_metrics(tmp_path / "with" / "metrics.jsonl") if line["kind"] == "monitor"]
    assert kinds == [0, 6, 12]


def pixel_task(rule):
    terms = {"pixels": Term(target=Pixels(normalise=rule))}
    return Objective(normalise=GREY, unit=Patches(size=(4, 4)), mask=Random(ratio=0.5), targets=terms)


def drawn(task, clip, prediction, path):
    batch = task.batch(clip, sample_keys(clip, 0, 0))
    assert draw(task, clip, batch, prediction or truth(batch), path)
    return batch, np.load(path)


def truth(batch):
    return {n: batch.target[n][m].view(len(m), -1, *batch.target[n].shape[2:]) for n, m in batch.target_mask.items()}


def test_a_perfect_prediction_of_raw_pixels_is_the_input(tmp_path):
    _, file = drawn(pixel_task("none"), Memory().frames(range(3)), None, tmp_path / "a.npz")
    assert file["input"].shape == (3, 16, 16, 3)
    assert np.array_equal(file["prediction"], file["input"])
    assert (file["masked"] == 128).sum() >= 3 * 128 * 3  # half of the pixels are grey
    assert (file["masked"] != file["input"]).any()


@pytest.mark.parametrize("rule", ["none", "patch", "channel"])
def test_pictures_owe_nothing_to_the_hidden_truth(tmp_path, rule):
    task, clip = pixel_task(rule), Memory().frames(range(3))
    batch, before = drawn(task, clip, None, tmp_path / "a.npz")
    hidden = batch.target_mask["pixels"].view(3, 4, 4).repeat_interleave(4, 1).repeat_interleave(4, 2)[:, None]
    changed = clip | {"image": torch.where(hidden, 255 - clip["image"] // 2, clip["image"])}
    _, after = drawn(task, changed, truth(batch), tmp_path / "b.npz")
    assert not np.array_equal(before["input"], after["input"])
    for name in ("masked", "prediction"):
        assert np.array_equal(before[name], after[name])
    assert "never from the hidden truth" in str(after["caption"])


def film(rule, dtype=torch.uint8):
    """A task on tubes, and a clip of four frames."""
    image = Memory().frames(range(3))["image"]
    video = torch.stack([image.roll(step, dims=3) for step in range(4)], dim=1)
    if dtype == torch.uint16:
        video = (7000 + video.to(torch.int32)).to(dtype)
    task = replace(pixel_task(rule), unit=Tubes(size=(2, 4, 4)))
    return task, Clip(video=video, sample_id=torch.arange(3))


@pytest.mark.parametrize("rule", ["none", "patch", "channel"])
def test_films_are_drawn_as_strips_without_the_hidden_truth(tmp_path, rule):
    task, clip = film(rule)
    batch, before = drawn(task, clip, None, tmp_path / "a.npz")
    assert before["input"].shape == (3, 16, 4 * 16, 3)
    assert np.array_equal(before["input"][0, :, 16:32, 0], clip["video"][0, 1, 0].numpy())
    if rule == "none":
        assert np.array_equal(before["prediction"], before["input"])
    values, units = task.unit.cut(clip)
    hidden = batch.target_mask["pixels"][:, :, None, None, None, None]
    changed = clip | {"video": task.unit.join(torch.where(hidden, 255 - values // 2, values), units)}
    _, after = drawn(task, changed, truth(batch), tmp_path / "b.npz")
    assert not np.array_equal(before["input"], after["input"])
    for name in ("masked", "prediction"):
        assert np.array_equal(before[name], after[name])


def test_sixteen_bits_are_shown_with_a_contrast_that_can_be_seen(tmp_path):
    task, clip = film("none", torch.uint16)
    _, file = drawn(replace(task, normalise=PerClip()), clip, None, tmp_path / "a.npz")
    for name in ("input", "prediction"):
        assert 20 < file[name].std() < 100 and 90 < file[name].mean() < 165
    assert np.abs(file["prediction"].astype(int) - file["input"]).max() <= 1


def test_standardised_patches_get_back_a_plausible_brightness(tmp_path):
    """The stand-in has a smooth gradient: what visible neighbours suggest must come close."""
    _, file = drawn(pixel_task("patch"), Memory().frames(range(3)), None, tmp_path / "a.npz")
    error = np.abs(file["prediction"].astype(float) - file["input"]).mean()
    grey = np.abs(file["masked"].astype(float) - file["input"]).mean()
    assert error < grey / 2


def test_a_target_that_is_no_picture_draws_none(tmp_path):
    clip, task = Memory().frames(range(2)), objective()
    batch = task.batch(clip, sample_keys(clip, 0, 0))
    assert not draw(task, clip, batch, truth(batch), tmp_path / "a.npz")
    assert not list(tmp_path.iterdir())


def test_plain_lines_show_the_loss_beside_its_floor():
    stream = io.StringIO()
    progress = Progress(100, stream)
    floors = {"pixels": {"null": 1.0, "mean": 0.5, "neighbour": 2.0}}
    progress.show({"kind": "monitor", "step": 0, "losses": {"pixels": 0.75}, "baselines": floors})
    progress.show({"kind": "train", "step": 10, "loss": 0.8125, "samples_per_s": 123.4, "eta_s": 61.2})
    progress.close()
    first, second = stream.getvalue().splitlines()
    assert "pixels 0.7500 (null 1.0000, mean 0.5000, neighbour 2.0000)" in first
    assert second == (
        "step 10/100  loss 0.8125 (on the monitor 1.50 of the best baseline, mean)  123 samples/s  ETA 0:01:01"
    )


def test_a_terminal_gets_a_bar(tmp_path):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    progress = Progress(20, stream)
    progress.show({"kind": "train", "step": 10, "loss": 0.5, "samples_per_s": 9.0, "eta_s": 3})
    progress.say("a word")
    progress.close()
    assert "a word" in stream.getvalue() and "10/20" in stream.getvalue()


def test_bfloat16_looks_nearly_the_same():
    watch = Monitor(replace(objective()), Memory().frames(range(6)), 0, (), CPU)
    exact, rough = watch.measure(Tiny(), "float32"), watch.measure(Tiny(), "bfloat16")
    assert rough["losses"]["plain"] != exact["losses"]["plain"]
    assert rough["losses"]["plain"] == pytest.approx(exact["losses"]["plain"], rel=0.02)
