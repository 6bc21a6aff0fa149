"""Every target that the package exports scores each unit alone, and the truth with zero."""

import pytest
import torch

from unseen.contract import Clip, Unbound
from unseen.masks import Random
from unseen.models import MaskedAutoencoder, SelfAttention, ViT
from unseen.units import Fixed, Patches, Tokens
from unseen.units.normalise import apply

from . import broken, laws
from .discover import clip, key_of, name_of, objective, suits, targets

SMALL = MaskedAutoencoder(encoder=ViT(width=8, depth=2, heads=2), predictor=SelfAttention(width=8, depth=1, heads=2))


def ready(target):
    """A target with its network, where a network makes it."""
    if not isinstance(target, Unbound):
        return target
    goal = objective(Patches(size=(4, 4)), Random(), target)
    net = SMALL.build(goal.shapes(goal.batch(clip(), key_of(3))))
    return goal.bind(net).targets["only"].target


every_target = pytest.mark.parametrize("target", [ready(target) for target in targets()], ids=name_of)


def material(target=None):
    """Values, units and clip, of patches or of tokens; one patch is constant, one channel of another is."""
    if target is not None and not suits(Patches(size=(4, 4)), Random(), target):
        return *Tokens().cut(clip()), clip()
    normalised = apply(Fixed(), clip())
    normalised["image"][0, :, :4, :4] = 0.3
    normalised["image"][1, 2, 4:8, 4:8] = -1.2
    return *Patches(size=(4, 4)).cut(normalised), normalised


@every_target
def test_the_truth_has_no_loss_flat_patches_included(target):
    laws.zero_at_the_truth(target, *material(target))


@every_target
def test_each_unit_is_scored_alone(target):
    laws.scores_each_unit_alone(target, *material(target))


@every_target
def test_weights_are_sane(target):
    laws.weighs_sanely(target, *material(target))


@every_target
def test_samples_are_separate(target):
    unit = Patches(size=(4, 4)) if suits(Patches(size=(4, 4)), Random(), target) else Tokens()
    laws.samples_are_separate(target, unit, material(target)[2])


@every_target
def test_a_prediction_of_another_shape_is_refused(target):
    truth = target.make(*material(target))
    with pytest.raises(Exception, match=r"prediction|shape|type"):
        target.loss(laws.certain(target, truth)[:, :, :1], truth)


@every_target
def test_it_says_what_it_is_good_for(target):
    for word in (target.suits, target.risk):
        assert isinstance(word, str) and 10 < len(word) < 200


def test_each_law_can_fail():
    for law, member in (
        (laws.zero_at_the_truth, broken.NaNOnFlat()),
        (laws.zero_at_the_truth, broken.OneNumberPerSample()),
        (laws.scores_each_unit_alone, broken.ReadsNeighbours()),
        (laws.weighs_sanely, broken.CountsTheAbsent()),
    ):
        with pytest.raises(AssertionError):
            law(member, *material())
    normalised = apply(Fixed(), Clip(image=torch.cat([clip()["image"][:2], clip()["image"][2:] // 2])))
    with pytest.raises(AssertionError):
        laws.samples_are_separate(broken.ByTheBatch(), Patches(size=(4, 4)), normalised)
