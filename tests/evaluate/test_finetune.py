"""Fine-tuning: crops keep their place, every encoder gets the same crops, and the encoder itself learns."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import unseen.models as models
from unseen.contract import Shapes
from unseen.data.views import Frames
from unseen.errors import UnseenError
from unseen.evaluate.evaluate import evaluate
from unseen.evaluate.finetune import Segmenter, crop, schedule, train
from unseen.evaluate.probes import FineTune
from unseen.evaluate.score import prepare
from unseen.systems.encode import FrozenEncoder
from unseen.units import Patches, PerFrame

PROBE = FineTune(name="ten", frames=4, steps=25, batch=4, crop_px=(8, 16), lrs=(1e-2,), warmup=4)


def encoder(seed):
    vit = models.ViT(width=16, depth=1, heads=2, class_token=False)
    module = vit.build(Shapes((4, 4, 3), (4.0, 4.0), (4, 6), {}))
    models.initialise(module, seed)
    return FrozenEncoder(module, Patches(size=(4, 4)), PerFrame(), Frames(frame_px=(16, 24)))


def test_crops_carry_their_place_and_their_labels():
    frame = torch.arange(16 * 24).view(1, 1, 16, 24)
    clip, label = crop({"image": frame}, frame[:, 0], PROBE, seed=1, step=2)
    assert torch.equal(clip["image"][:, 0], label)
    mirrored = 0
    for image, (y0, x0, y1, x1) in zip(label, clip["region_px"].long().tolist(), strict=True):
        assert (y1 - y0, x1 - x0) == (8, 16) and y0 >= 0 and x0 >= 0 and y1 <= 16 and x1 <= 24
        plain = torch.equal(image, frame[0, 0, y0:y1, x0:x1])
        assert plain or torch.equal(image, frame[0, 0].flip(1)[y0:y1, x0:x1])
        mirrored += not plain
    assert 0 < mirrored < 4
    again, _ = crop({"image": frame}, frame[:, 0], PROBE, seed=1, step=2)
    assert torch.equal(again["region_px"], clip["region_px"])
    other, _ = crop({"image": frame}, frame[:, 0], PROBE, seed=1, step=3)
    assert not torch.equal(other["region_px"], clip["region_px"])


def test_crops_larger_than_the_frame_are_refused():
    frame = torch.zeros(1, 3, 16, 24)
    with pytest.raises(UnseenError, match="crop_px"):
        crop({"image": frame}, frame[:, 0], replace(PROBE, crop_px=(17, 16)), seed=1, step=2)


def test_a_segmenter_starts_as_the_frozen_encoder(source):
    frozen = encoder(0)
    model = Segmenter(frozen, 4, seed=0, size=(3, 16, 24))
    clip = source.frames([0, 7]) | {"region_px": torch.tensor([[0.0, 0, 16, 24]]).repeat(2, 1)}
    scores, grid = model(clip)
    assert grid == (4, 6)
    assert torch.allclose(scores, model.head(frozen(clip["image"]).units), atol=1e-5)


def test_training_moves_a_copy_and_repeats_bit_by_bit(source, split, classes):
    frozen = encoder(0)
    before = {name: value.clone() for name, value in frozen.encoder.state_dict().items()}
    plan = prepare(PROBE, source, split, classes["seg"], 16)
    few = np.array([0, 6, 12, 18])
    one, two = (train(plan, PROBE, frozen, source, few, 1e-2, seed=0) for _ in range(2))
    assert all(torch.equal(value, before[name]) for name, value in frozen.encoder.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert any(not torch.equal(value, before[name]) for name, value in one.encoder.state_dict().items())


def test_few_frames_teach_something_and_the_rate_is_chosen_inside(source, split, classes, tmp_path):
    makers = {"pretrained": encoder(0), "random init": encoder(1), "no module": lambda image: None}
    probe = replace(PROBE, lrs=(1e-6, 1e-2))
    result = evaluate(makers, source, [probe], split=split, lineage=(), ledger=tmp_path, classes=classes)["probes"][0]
    assert [row["features"] for row in result["rows"]] == ["pretrained", "random init"]
    for row in result["rows"]:
        assert row["chosen"] == [1e-2]
        assert row["metrics"]["miou"] > 0.3
    assert set(result["rows"][0]["against"]) == {"random init"}


def test_schedule():
    assert [schedule(s, 10, 2) for s in (0, 1, 2)] == [0.5, 1.0, 1.0]
    assert schedule(9, 10, 2) == pytest.approx(0.038, abs=1e-3)
