"""Over every valid combination of model, target and unit, each under one policy, and every policy on every unit under
one model and target: what is hidden cannot matter.

A policy sees where units are and nothing else, so it cannot know model or target; the product with all policies would
repeat the same masks. They take turns instead: each triple of model, target and unit is tried under the next policy
that takes such units.
"""

import dataclasses
import itertools
import types
from collections import Counter

import pytest
import torch

from unseen.contract import QUANTILES, Clip, MaskPolicy, ModelSpec, Target, Unit, Units
from unseen.masks import Random
from unseen.systems.objective import Objective, Term, predict
from unseen.targets import Pixels
from unseen.units import Fixed, Patches, PerFrame, Tokens

from . import broken, laws
from .discover import (
    built,
    clip,
    first_target,
    fits,
    key_of,
    members,
    models,
    name_of,
    normalisers,
    objective,
    policies,
    suits,
    targets,
    units,
    works,
)

SMALL = Patches(size=(4, 4))
every_model = pytest.mark.parametrize("model", models(), ids=name_of)


def triples() -> list[tuple]:
    """Every valid model, target and unit, with a policy: those that take such units take turns."""
    found, turn = [], Counter()
    for model, unit, target in itertools.product(models(), units(), targets()):
        if fits(model, unit) and suits(unit, Random(), target):
            taken = [policy for policy in policies() if suits(unit, policy, first_target(unit))]
            found.append((model, target, unit, taken[turn[repr(unit)] % len(taken)]))
            turn[repr(unit)] += 1
    return found


combinations = pytest.mark.parametrize(
    ("model", "target", "unit", "policy"), triples(), ids=lambda member: name_of(member)
)


@dataclasses.dataclass(frozen=True)
class Strips(Patches):
    """An image as a clip: its upper and its lower half are two time slots, a second apart."""

    size: tuple[int, int] = (4, 4)

    @property
    def spacing(self) -> tuple[float, ...]:
        return (1.0, *self.size)

    def cut(self, clip: Clip) -> tuple[torch.Tensor, Units]:
        values, units = Patches.cut(self, clip)
        (rows, columns), (y, x) = units.grid, units.centre.unbind(dim=-1)
        slot = (torch.arange(rows * columns) // (rows // 2 * columns)).expand(y.shape)
        centre = torch.stack([slot.float(), y - slot * (rows // 2 * self.size[0]), x], dim=-1)
        return values, units._replace(centre=centre, grid=(2, rows // 2, columns))

    def join(self, values: torch.Tensor, units: Units) -> torch.Tensor:
        slots, rows, columns = units.grid
        return Patches.join(self, values, units._replace(grid=(slots * rows, columns)))


@dataclasses.dataclass(frozen=True)
class Ragged:
    """A unit of which every sample has another number."""

    inner: Patches = SMALL

    @property
    def spacing(self) -> tuple[float, ...]:
        return self.inner.spacing

    def cut(self, clip: Clip) -> tuple[torch.Tensor, Units]:
        values, units = self.inner.cut(clip)
        return values, units._replace(valid=laws.some_valid(*units.valid.shape))


def several_targets(unit, **settings) -> Objective:
    """All targets at once, on hidden and on visible units; the first on hidden only, the second on visible only."""
    known = [target for target in targets() if getattr(target, "last", 1) == 1]  # a user's backbone has no layers
    known = [target for target in known if suits(unit, Random(), target)]
    names = range(max(3, len(known)))
    terms = {f"t{i}": Term(target=known[i % len(known)], visible_weight=0.5) for i in names}
    terms["t0"] = dataclasses.replace(terms["t0"], visible_weight=0.0)
    terms["t1"] = dataclasses.replace(terms["t1"], weight=0.0)
    return Objective(normalise=Fixed(), unit=unit, mask=Random(), targets=terms, **settings)


def bound(model, goal: Objective):
    """The model of an objective, and the objective with the networks that its targets are made by."""
    net = built(model, goal, laws.checked(goal, clip(), key_of(3)))
    return goal.bind(net), net


@combinations
def test_what_is_hidden_cannot_matter(model, target, unit, policy):
    hidden_cannot_matter(model, target, unit, policy)


@pytest.mark.parametrize(
    ("unit", "policy"),
    [
        (unit, policy)
        for unit, policy in itertools.product(units(), policies())
        if suits(unit, policy, first_target(unit))
    ],
    ids=lambda member: name_of(member),
)
def test_no_policy_lets_what_is_hidden_matter(unit, policy):
    model = next(model for model in models() if fits(model, unit))
    hidden_cannot_matter(model, first_target(unit), unit, policy)


def hidden_cannot_matter(model, target, unit, policy):
    goal, net = bound(model, objective(unit, policy, target))
    if not works(lambda: goal.batch(clip(), key_of(3))):
        pytest.skip("no teacher for this model")
    batch = laws.checked(goal, clip(), key_of(3))
    laws.hidden_input_cannot_matter(goal, net, batch)
    laws.hidden_gradient_is_zero(net, batch)
    laws.hidden_content_cannot_matter(goal, net, clip(), key_of(3))


@every_model
@pytest.mark.parametrize("policy", policies(), ids=name_of)
def test_hidden_input_cannot_matter_on_a_clip(model, policy):
    if not (fits(model, Strips()) and suits(Strips(), policy, Pixels())):
        pytest.skip("not for clips")
    goal = objective(Strips(), policy, Pixels())
    batch = laws.checked(goal, clip(), key_of(3))
    net = built(model, goal, batch)
    if not works(lambda: predict(net, batch)):
        pytest.skip("not for three coordinates")
    laws.hidden_input_cannot_matter(goal, net, batch)
    laws.hidden_content_cannot_matter(goal, net, clip(), key_of(3))


@pytest.mark.parametrize("normalise", normalisers(), ids=name_of)
def test_normalisation_tells_nothing_of_hidden_units(normalise):
    """Given the numbers of the whole frame, which are metadata (docs/design.md, section 10)."""
    goal = dataclasses.replace(objective(SMALL, Random(), Pixels()), normalise=normalise)
    of_frame = {"frame_mean": torch.full((3, 3), 0.4), "frame_std": torch.full((3, 3), 0.2)}
    of_frame["frame_quantiles"] = torch.linspace(0, 1, len(QUANTILES))[None, :, None].expand(3, -1, 3)
    raw = Clip(**{**clip(), **of_frame})
    net = built(models()[0], goal, laws.checked(goal, raw, key_of(3)))
    laws.hidden_content_cannot_matter(goal, net, raw, key_of(3))


@pytest.mark.parametrize("decode", [1.0, 0.5])
@pytest.mark.parametrize(
    ("model", "unit"),
    [(model, unit) for unit in (SMALL, Ragged(), Tokens()) for model in models() if fits(model, unit)],
    ids=lambda member: name_of(member),
)
def test_several_targets_at_once(model, unit, decode):
    goal, net = bound(model, several_targets(unit, decode=decode))
    batch = laws.checked(goal, clip(), key_of(3))
    assert {"t0", "t1.visible", "t2", "t2.visible"} <= batch.target.keys()
    assert "t1" not in batch.target and "t0.visible" not in batch.target
    laws.hidden_input_cannot_matter(goal, net, batch)
    laws.hidden_gradient_is_zero(net, batch)
    laws.batch_mates_cannot_matter(goal, net, clip(), key_of(3))


@every_model
@pytest.mark.parametrize("policy", policies(), ids=name_of)
def test_batch_mates_and_padding_cannot_matter(model, policy):
    combined = itertools.product((Ragged(), Ragged(Strips()), Tokens()), targets())
    taken = [(unit, target) for unit, target in combined if fits(model, unit) and suits(unit, policy, target)]
    if not taken:
        pytest.skip("not for such units")
    unit, target = taken[0]
    goal = objective(unit, policy, target)
    batch = laws.checked(goal, clip(), key_of(3))
    net = built(model, goal, batch)
    if not works(lambda: predict(net, batch)):
        pytest.skip("not for three coordinates")
    laws.batch_mates_cannot_matter(goal, net, clip(), key_of(3))


def test_each_law_can_fail():
    goal = objective(SMALL, Random(), Pixels())
    batch = laws.checked(goal, clip(), key_of(3))

    def standing(mixes=""):
        return built(broken.Standing(mixes), goal, batch)

    laws.hidden_input_cannot_matter(goal, standing(), batch)
    laws.hidden_gradient_is_zero(standing(), batch)
    with pytest.raises(AssertionError, match="reached"):
        laws.hidden_input_cannot_matter(goal, standing(), batch, broken.masks_by_multiplying)
    with pytest.raises(AssertionError, match="gradient"):
        laws.hidden_gradient_is_zero(standing(), batch, broken.centres_by_all_units)
    leaky = objective(broken.CentresOfMass(), Random(), Pixels())
    with pytest.raises(AssertionError, match="centres"):
        laws.hidden_content_cannot_matter(leaky, standing(), clip(), key_of(3))
    laws.hidden_content_cannot_matter(goal, standing(), clip(), key_of(3))
    with pytest.raises(AssertionError, match="is given"):
        laws.hidden_content_cannot_matter(goal, standing(), clip(), key_of(3), broken.hands_over_weights)
    by_crop = dataclasses.replace(goal, normalise=PerFrame())  # without its frame: hidden units are in the statistics
    with pytest.raises(AssertionError, match="is given"):
        laws.hidden_content_cannot_matter(by_crop, standing(), clip(), key_of(3))
    ragged = objective(Ragged(), Random(), Pixels())
    laws.batch_mates_cannot_matter(ragged, standing(), clip(), key_of(3))
    for mixes in ("batch", "padding"):
        with pytest.raises(AssertionError):
            laws.batch_mates_cannot_matter(ragged, standing(mixes), clip(), key_of(3))


def test_discovery_finds_every_room():
    found = {type(member).__name__ for room in (policies, units, targets, models) for member in room()}
    assert {
        "Random",
        "Block",
        "Grid",
        "Tube",
        "RunningCell",
        "MultiBlock",
        "Future",
        "Weighted",
        "Patches",
        "Tubes",
        "Mosaic",
        "Pixels",
        "Descriptors",
        "Hog",
        "MaskedAutoencoder",
        "InPlace",
    } <= found
    assert not {"ViT", "SelfAttention", "Fixed", "LinearStem"} & found
    assert {type(member).__name__ for member in normalisers()} == {"Fixed", "PerFrame", "PerClip"}


def test_every_member_stands_in_some_combination():
    assert all(any(fits(model, unit) for unit in units()) for model in models())
    assert all(any(fits(model, unit) for model in models()) for unit in units())
    assert all(any(suits(unit, Random(), target) for unit in units()) for target in targets())
    every = list(itertools.product((*units(), Strips()), targets()))
    assert all(any(suits(unit, policy, target) for unit, target in every) for policy in policies())


def test_discovery_passes_over_no_member_in_silence():
    """A policy whose arguments have other names, a target without `risk`: an error, not a member without tests."""

    @dataclasses.dataclass(frozen=True)
    class Half:
        suits: str = "nothing"

        def __call__(self, units, key):
            return None

    room = types.ModuleType("room")
    room.Half, room.__all__ = Half, ["Half"]
    for protocol in (MaskPolicy, Target, Unit, ModelSpec):
        with pytest.raises(AssertionError, match="Half"):
            list(members(room, protocol))
