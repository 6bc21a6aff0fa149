"""Trivial predictions against slow loops; each is good exactly where it should be."""

import math
from dataclasses import dataclass

import pytest
import torch

from unseen.contract import Clip
from unseen.masks import Future, Grid, Random, Tube
from unseen.packing import packing, unpack
from unseen.systems.baselines import baselines, neighbour, predictions
from unseen.systems.objective import Objective, Term, sample_keys
from unseen.targets import Descriptors, Pixels, TokenIds
from unseen.units import Fixed, Patches, PerFrame, Tubes


def frames(batch: int = 3, height: int = 16, width: int = 24) -> Clip:
    generator = torch.Generator().manual_seed(0)
    smooth = torch.nn.functional.interpolate(
        torch.rand(batch, 3, 4, 5, generator=generator), (height, width), mode="bilinear"
    )
    image = (smooth * 255).to(torch.uint8)
    return Clip(image=image, previous=image.roll(1, dims=3), sample_id=torch.arange(batch))


def objective(*targets, mask=None, visible: float = 0.0) -> Objective:
    terms = {f"t{i}": Term(target=target, visible_weight=visible) for i, target in enumerate(targets)}
    return Objective(normalise=PerFrame(), unit=Patches(size=(4, 4)), mask=mask or Random(), targets=terms)


def table(goal: Objective, clip: Clip) -> dict[str, dict[str, float]]:
    return baselines(goal, goal.batch(clip, sample_keys(clip, 0, 0)), clip)


def slow(goal: Objective, clip: Clip, name: str, kind: str) -> float:
    """One baseline, unit by unit."""
    batch = goal.batch(clip, sample_keys(clip, 0, 0))
    target, hidden, seen = batch.target[name].flatten(2), batch.target_mask[name], batch.visible_mask
    weight, centre = batch.metadata["weight"][name], batch.metadata["centre"][0] / torch.tensor([4.0, 4.0])
    mean = target[seen & (weight > 0)].mean(dim=0)
    total = count = 0.0
    for b, n in hidden.nonzero().tolist():
        guess = torch.zeros_like(mean) if kind == "null" else mean
        if kind == "neighbour":
            others = [(float((centre[n] - centre[m]).norm()), m) for m in seen[b].nonzero()[:, 0].tolist() if m != n]
            near = sorted(others)[:4]
            assert len(near) < len(others), "the test needs a choice"
            guess = sum(target[b, m] / d for d, m in near) / sum(1 / d for d, _ in near)
        total += float(weight[b, n] * (guess - target[b, n]).square().mean())
        count += float(weight[b, n])
    return total / count


@pytest.mark.parametrize("kind", ["null", "mean", "neighbour"])
@pytest.mark.parametrize("name", ["t0", "t0.visible", "t1"])
def test_baselines_equal_slow_loops(name, kind):
    """Distances tie on a grid, so centres are sheared a little to make the nearest four unique."""
    goal = objective(Pixels(normalise="none"), Pixels(), visible=1.0)
    clip = frames()
    clip["image"][0, :, :4, :8] = 30
    goal = Objective(
        normalise=goal.normalise, unit=Sheared(size=(4, 4)), mask=goal.mask, targets=goal.targets, decode=goal.decode
    )
    assert table(goal, clip)[name][kind] == pytest.approx(slow(goal, clip, name, kind), rel=1e-4)


class Sheared(Patches):
    __slots__ = ()

    def centres(self, rows, columns, region_px, device):
        centre = Patches.centres(self, rows, columns, region_px, device)
        return centre + torch.stack([0.0137 * centre[..., 1], 0.0071 * centre[..., 0] ** 1.5 / 4], dim=-1)


def test_previous_frame_is_perfect_when_nothing_moves():
    clip = frames()
    moved = table(objective(Pixels(normalise="none"), Descriptors(), visible=1.0), clip)
    clip["previous"] = clip["image"].clone()
    still = table(objective(Pixels(normalise="none"), Descriptors(), visible=1.0), clip)
    assert {"t0", "t0.visible", "t1", "t1.visible"} == still.keys()
    for name in still:
        assert still[name]["previous"] == 0 < moved[name]["previous"] < moved[name]["null"]


def test_previous_frame_is_normalised_like_the_frame_itself():
    """A frame before at half the brightness is not standardised on its own: its loss shows the change."""
    clip = frames()
    clip["previous"] = clip["image"] // 2
    assert table(objective(Pixels(normalise="none")), clip)["t0"]["previous"] > 0.05


def test_a_frame_without_one_before_takes_its_neighbours():
    """Its `previous` is the frame itself: that would be the truth."""
    goal = objective(Pixels(normalise="none"))
    clip = frames()
    clip["previous"] = clip["image"].clone()
    for there in (torch.tensor([True, False, True]), torch.zeros(3, dtype=torch.bool)):
        clip["previous_there"] = there
        batch = goal.batch(clip, sample_keys(clip, 0, 0))
        made = predictions(goal, batch, clip)
        if not there.any():
            assert "t0" not in made["previous"] and "previous" not in baselines(goal, batch, clip)["t0"]
            continue
        assert torch.equal(made["previous"]["t0"][1], made["neighbour"]["t0"][1])
        losses = goal.losses(made["previous"], batch)["t0"].sum(dim=1)
        assert losses[1] > 0 and losses[[0, 2]].tolist() == [0, 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shade(TokenIds):
    """The brightness of a patch as one of four classes."""

    vocabulary: int = 4

    def make(self, values, units, clip):
        return (values.flatten(2).mean(dim=2) + 1).clamp(0, 3).long()


def test_class_ids_have_a_frame_before_as_numbers_have():
    goal, clip = objective(Shade()), frames()
    moved = table(goal, clip)["t0"]
    clip["previous"] = clip["image"].clone()
    still = table(goal, clip)["t0"]
    assert still["previous"] == pytest.approx(-math.log(0.99 + 0.01 / 4), rel=1e-4)
    assert still["previous"] < moved["previous"]
    clip["previous_there"] = torch.tensor([True, False, True])
    assert still["previous"] < table(goal, clip)["t0"]["previous"]


def film(mask) -> tuple[Objective, Clip]:
    """Four slots of a picture that moves one pixel to the right in each."""
    image = frames()["image"]
    video = torch.stack([image.roll(step, dims=3) for step in range(4)], dim=1)
    terms = {"t": Term(target=Pixels(normalise="none"))}
    goal = Objective(normalise=PerFrame(), unit=Tubes(size=(1, 4, 4), frame_s=0.2), mask=mask, targets=terms)
    return goal, Clip(video=video, sample_id=torch.arange(3))


def test_in_a_film_the_last_visible_unit_of_the_same_place_stays():
    goal, clip = film(Random(ratio=0.6))
    batch = goal.batch(clip, sample_keys(clip, 0, 0))
    hidden, n_units = batch.target_mask["t"], batch.visible_mask.shape[1]
    near = neighbour(batch, "t", goal.unit.spacing)
    near = unpack(near, packing(hidden), n_units, near.new_zeros(()))
    slots, seen = batch.target["t"].unflatten(1, (4, 24)), batch.visible_mask.unflatten(1, (4, 24))
    total, count, held = 0.0, 0, 0
    for b, n in hidden.nonzero().tolist():
        slot, place = divmod(n, 24)
        before = [k for k in range(slot) if seen[b, k, place]]
        guess = slots[b, before[-1], place] if before else near[b, n]
        total += float((guess - slots[b, slot, place]).square().mean())
        count, held = count + 1, held + bool(before)
    assert 0 < held < count
    assert baselines(goal, batch, clip)["t"]["previous"] == pytest.approx(total / count, rel=1e-5)


def test_a_film_that_stands_still_is_told_by_its_past():
    goal, clip = film(Future(observed_s=0.4))
    clip["video"] = clip["video"][:, :1].expand(-1, 4, -1, -1, -1).contiguous()
    assert table(goal, clip)["t"]["previous"] == 0 < table(goal, clip)["t"]["mean"]


def test_a_tube_is_never_seen_so_it_has_no_past():
    assert "previous" not in table(*film(Tube(ratio=0.75)))["t"]


def test_without_a_previous_frame_there_is_no_such_baseline():
    clip = frames()
    del clip["previous"]
    assert table(objective(Pixels()), clip)["t0"].keys() == {"null", "mean", "neighbour"}


def test_smooth_images_are_ranked_as_one_expects():
    losses = table(objective(Pixels(normalise="none"), mask=Grid()), frames(3, 48, 64))["t0"]
    assert losses["neighbour"] < 0.5 * losses["mean"] and losses["mean"] < 1.05 * losses["null"]


def test_a_visible_unit_is_no_neighbour_of_itself():
    losses = table(objective(Pixels(normalise="none"), visible=1.0), frames())
    assert losses["t0.visible"]["neighbour"] > 0.01


def test_one_visible_unit_alone_gives_finite_numbers():
    """Two units: the visible one has no neighbour but itself."""
    goal = Objective(
        normalise=Fixed(),
        unit=Patches(size=(16, 12)),
        mask=Random(ratio=0.5),
        targets={"t": Term(target=Pixels(normalise="none"), visible_weight=1.0)},
    )
    losses = table(goal, frames())
    assert losses["t.visible"]["neighbour"] == pytest.approx(losses["t.visible"]["null"])
    assert all(value == value for row in losses.values() for value in row.values())
