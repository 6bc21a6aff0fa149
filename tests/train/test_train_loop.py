"""The loop: accumulation, resume, interruption, and every way in which a run can fail without damage."""

import dataclasses
import errno
import json
import os
import resource
import signal

import pytest
import torch
from safetensors.torch import load_file
from train_stand_ins import Memory, Tiny, objective, training

from unseen.errors import UnseenError
from unseen.models import MaskedAutoencoder, SelfAttention, ViT
from unseen.systems.objective import Term, sample_keys
from unseen.systems.teachers import Momentum
from unseen.train import checkpoint
from unseen.train.failure import replay
from unseen.train.loop import fit
from unseen.train.metrics import read_metrics
from unseen.train.training import Muon


def run(path, source=None, model=None, **changes):
    model = model or Tiny()
    source = source or Memory()
    return fit(
        run=path, model=model, objective=objective(), training=training(**changes), source=source, console=None
    ), model


def weights(path):
    return load_file(checkpoint.last(path) / "model.safetensors")


def assert_same_run(left, right, *more):
    for name in ("model", "optimiser", *more):
        a, b = (load_file(checkpoint.last(path) / f"{name}.safetensors") for path in (left, right))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a)


class Disturbed(Memory):
    """Does something when a position is asked for."""

    def __init__(self, at, act):
        super().__init__()
        self.at, self.act = at, act

    def batch(self, positions):
        clip = super().batch(positions)
        if self.at in positions:
            return self.act(clip) or clip
        return clip


def test_a_run_trains_and_leaves_what_it_says(tmp_path):
    result, model = run(tmp_path / "run", steps=12)
    assert result.finished and result.step == 12
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 13))
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert lines[-1]["loss"] == pytest.approx(
        0.7 * lines[-1]["losses"]["plain"] + 0.3 * lines[-1]["losses"]["plain.visible"]
    )
    assert sorted(p.name for p in (tmp_path / "run" / "checkpoints").iterdir()) == [
        "last",
        "step-000008",
        "step-000012",
    ]
    saved = weights(tmp_path / "run")
    assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items())


def test_accumulated_micro_batches_are_the_big_batch(tmp_path):
    _, whole = run(tmp_path / "whole", steps=5, batch=12)
    _, parts = run(tmp_path / "parts", steps=5, batch=12, micro_batch=5)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    a, b = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "parts"))
    assert [line["loss"] for line in a] == pytest.approx([line["loss"] for line in b], rel=1e-5)


def test_dividing_by_the_units_of_each_micro_batch_would_be_another_loss(tmp_path):
    """The test above can fail: weights of units differ between micro-batches."""
    source, task = Memory(), objective()
    clip = source.frames(range(12))
    from unseen.systems.objective import sample_keys, unit_weights

    batch = task.batch(clip, sample_keys(clip, 0, 0))
    count = unit_weights(batch)["plain"].sum(dim=1)
    assert count[:5].mean() != pytest.approx(float(count[5:].mean()), rel=1e-2)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("optimiser", [None, Muon()])
def test_an_interrupted_run_goes_on_to_the_bit(tmp_path, precision, optimiser):
    changes = {"precision": precision, **({"optimiser": optimiser} if optimiser else {})}
    run(tmp_path / "whole", **changes)
    ask = Disturbed(37, lambda clip: os.kill(os.getpid(), signal.SIGINT))
    first, _ = run(tmp_path / "cut", ask, **changes)
    assert not first.finished
    assert first.step == 5  # position 37 is read in the fifth step, which is finished
    assert first.summary()["exit"] == 130
    assert first.summary()["go_on"] == f"unseen resume {tmp_path / 'cut'}"
    assert checkpoint.last(tmp_path / "cut").name == "step-000005"
    second, _ = run(tmp_path / "cut", workers=2, **changes)
    assert second.finished
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_a_teacher_goes_on_to_the_bit_too(tmp_path):
    """Its weights are state: a run that took up the model alone would follow another path."""
    terms = {"features": Term(target=Momentum(momentum=(0.9, 1.0)))}
    goal = dataclasses.replace(objective(), targets=terms)
    encoder = ViT(width=8, depth=2, heads=2)
    spec = MaskedAutoencoder(encoder=encoder, predictor=SelfAttention(width=8, depth=1, heads=2))
    clip = Memory().frames(range(2))
    shapes = goal.shapes(goal.batch(clip, sample_keys(clip, 0, 0)))

    def part(path, source):
        quick = training(lr=0.02, checkpoint_every=3)
        return fit(
            run=path,
            model=spec.build(shapes),
            objective=goal,
            training=quick,
            source=source,
            monitor=clip,
            console=None,
        )

    part(tmp_path / "whole", Memory())
    assert not part(tmp_path / "cut", Disturbed(37, lambda _: os.kill(os.getpid(), signal.SIGINT))).finished
    assert part(tmp_path / "cut", Memory()).finished
    assert_same_run(tmp_path / "whole", tmp_path / "cut", "target-features")
    first = load_file(tmp_path / "whole" / "checkpoints" / "step-000009" / "target-features.safetensors")
    last = load_file(checkpoint.last(tmp_path / "whole") / "target-features.safetensors")
    assert any(not torch.equal(first[name], last[name]) for name in first), "the teacher stood still"


def test_signal_handlers_are_put_back(tmp_path):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    result, _ = run(tmp_path / "run", Disturbed(9, lambda clip: os.kill(os.getpid(), signal.SIGTERM)))
    assert result.step == 2
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_a_finished_run_is_left_as_it_is(tmp_path):
    run(tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    fresh = Tiny(16)
    result, model = run(tmp_path / "run", model=fresh)
    assert result.finished and result.loss is None
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before
    assert torch.equal(model.head.weight, weights(tmp_path / "run")["head.weight"])


def test_a_run_without_its_checkpoints_is_not_begun_again(tmp_path):
    run(tmp_path / "run")
    (tmp_path / "run" / "checkpoints" / "last").unlink()
    with pytest.raises(UnseenError, match="never overwritten"):
        run(tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "named"),
    [({"source": Memory(digest="other")}, "data"), ({"lr": 0.1}, "recipe"), ({"seed": 5}, "recipe")],
)
def test_other_data_or_another_recipe_is_refused(tmp_path, change, named):
    run(tmp_path / "run", Disturbed(20, lambda clip: os.kill(os.getpid(), signal.SIGINT)))
    with pytest.raises(UnseenError, match=f"made with {named}"):
        run(tmp_path / "run", **change)


def test_a_loss_that_is_not_finite_stops_the_run_and_can_be_replayed(tmp_path):
    def spoil(clip):
        clip["image"] = clip["image"].float() / 255
        clip["image"][3, 0, 2, 2] = float("nan")
        return clip

    with pytest.raises(UnseenError, match=r"step 6: .*plain.* is nan.*failed/step-000006") as caught:
        run(tmp_path / "run", Disturbed(45, spoil), micro_batch=4)
    assert "resume" not in caught.value.what
    folder = tmp_path / "run" / "failed" / "step-000006"
    facts = json.loads((folder / "failure.json").read_text())
    assert facts["step"] == 6
    again = replay(folder, Tiny(), objective())
    rows = {name: loss.isnan().any(dim=1).nonzero().flatten().tolist() for name, loss in again.items()}
    assert 7 in rows["plain"] or 7 in rows["plain.visible"]  # row 3 of the second micro-batch
    assert checkpoint.last(tmp_path / "run").name == "step-000004"


def test_a_gradient_that_is_not_finite_stops_the_run_too(tmp_path):
    class Steep(Tiny):
        def forward(self, *inputs):
            out = super().forward(*inputs)
            return {name: value + (self.cls_token * 0).sum().clamp(min=0).sqrt() for name, value in out.items()}

    with pytest.raises(UnseenError, match="step 1: the gradient is nan"):
        run(tmp_path / "run", model=Steep())
    assert (tmp_path / "run" / "failed" / "step-000001" / "model.safetensors").is_file()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_vanished_file_is_named_and_the_last_checkpoint_stands(tmp_path, workers):
    def vanish(clip):
        raise FileNotFoundError(errno.ENOENT, "No such file", "logs/a/obs-front.parquet")

    with pytest.raises(UnseenError, match=r"step 7 cannot read.*obs-front\.parquet"):
        run(tmp_path / "run", Disturbed(50, vanish), workers=workers)
    assert checkpoint.last(tmp_path / "run").name == "step-000004"
    run(tmp_path / "run")
    run(tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_a_full_disk_is_named_and_the_last_checkpoint_stands(tmp_path, monkeypatch):
    genuine, calls = checkpoint.save_file, []

    def full(tensors, path):
        calls.append(path)
        if len(calls) == 4:  # the optimiser of the second checkpoint
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        genuine(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(UnseenError, match=r"No space left.*last checkpoint is intact: step-000000.*unseen resume"):
        run(tmp_path / "run")
    assert [p.name for p in (tmp_path / "run" / "checkpoints").iterdir() if p.is_dir()] == ["step-000000"]
    monkeypatch.setattr(checkpoint, "save_file", genuine)
    run(tmp_path / "run")
    run(tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("limit", [900, 3000])  # bytes: in metrics.jsonl, in a weights file
def test_a_file_that_the_system_refuses_to_grow_is_named(tmp_path, limit):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def tighten(clip):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))

    try:
        with pytest.raises(UnseenError, match="could not write"):
            run(tmp_path / "run", Disturbed(20, tighten), log_every=1 if limit < 1000 else 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert checkpoint.last(tmp_path / "run").name == "step-000000"
    run(tmp_path / "run", log_every=100)
    run(tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_the_first_batches_are_checked_against_the_contract(tmp_path):
    def blind(units, key, metadata):
        from unseen.contract import Mask

        return Mask(torch.zeros_like(units.valid.expand(len(key), -1)), units.valid.expand(len(key), -1))

    from dataclasses import replace

    with pytest.raises(UnseenError, match="step 1: a sample has no visible unit"):
        fit(
            run=tmp_path / "run",
            model=Tiny(),
            objective=replace(objective(), mask=blind),
            training=training(),
            source=Memory(),
            console=None,
        )


def test_masks_of_two_visits_to_a_sample_differ():
    from unseen.systems.objective import sample_keys

    clip = Memory().frames([4, 4, 4])
    assert len(sample_keys(clip, 0, torch.tensor([1, 2, 30])).unique()) == 3
    assert torch.equal(sample_keys(clip, 7, torch.tensor([9, 9, 9])), sample_keys(clip, 7, 9))
