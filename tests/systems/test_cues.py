"""Cues find what they are named after, and nothing else."""

import pytest
import torch

from unseen.contract import Clip
from unseen.errors import UnseenError
from unseen.masks import Weighted
from unseen.systems.cues import Importance, Markings, SmallClasses, Texture, correction, ranked
from unseen.units import Patches, Tubes

UNIT = Patches(size=(8, 8))


def a_clip() -> Clip:
    """A flat ramp; a line of paint in the second column of patches, noise in one patch, a small thing in another."""
    image = torch.linspace(0.2, 0.5, 48).view(1, 1, 1, 48).repeat(2, 3, 32, 1)
    image[:, :, :, 11:14] += 0.4
    image[:, :, 24:, 40:] += 0.3 * torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    label = torch.zeros(2, 32, 48, dtype=torch.int64)
    label[0, 2:6, 34:38] = 4
    return Clip(image=image, label=label)


def score(cue) -> torch.Tensor:
    clip = a_clip()
    values, units = UNIT.cut(clip)
    found = cue(values, units, clip, UNIT).view(2, 4, 6)
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    return found


def test_markings_are_found_where_the_line_is():
    found = score(Markings())
    assert (found[:, :3, 1] > 0.7).all() and float(found[:, :, [0, 2, 3]].max()) < 0.5
    wide = score(Markings(width_px=3))
    assert not wide[:, :3, 1].any(), "a line as wide as the element is no marking"


def test_texture_is_highest_where_the_noise_is():
    found = score(Texture())
    assert (found[:, 3, 5] == 1).all()


def test_small_classes_are_where_the_labels_are():
    found = score(SmallClasses(classes=(4,)))
    assert float(found[0, 0, 4]) == 1 and float(found.sum()) == 1
    clip = a_clip()
    values, units = UNIT.cut(clip)
    del clip["label"]
    assert not SmallClasses(classes=(4,))(values, units, clip, UNIT).any()


def test_small_classes_of_a_video_are_in_the_slot_of_its_middle_frame():
    still, unit = a_clip(), Tubes(size=(2, 8, 8))
    clip = Clip(video=still["image"][:, None].repeat(1, 4, 1, 1, 1), label=still["label"])
    values, units = unit.cut(clip)
    found = SmallClasses(classes=(4,))(values, units, clip, unit).view(2, 2, 4, 6)
    assert float(found[0, 1, 0, 4]) == 1 and float(found.sum()) == 1


def test_importance_reaches_the_policy_and_its_probabilities():
    clip = a_clip()
    values, units = UNIT.cut(clip)
    weighed = Importance(cues=(SmallClasses(classes=(4,)), Markings()), factor=5.0)(values, units, clip, UNIT)
    assert weighed.importance.shape == (2, 24) and float(weighed.importance[0, 4]) == pytest.approx(5)
    mask = Weighted(ratio=0.5)(weighed, torch.arange(2), {})
    assert mask.inclusion[0, 4] == mask.inclusion[0].max() and mask.inclusion[0, 4] > mask.inclusion[1, 4]


def test_ranks_ignore_what_does_not_exist():
    units = UNIT.cut(a_clip())[1]
    units.valid[:, 20:] = False
    found = ranked(torch.arange(24.0).expand(2, -1), units)
    assert float(found[0, 19]) == 1 and not found[:, 20:].any() and float(found[0, 0]) == 0


def test_correction_is_the_clipped_inverse():
    assert correction(torch.tensor([[0.5, 0.05, 0.0, 1.0]])).tolist() == [[2.0, 10.0, 0.0, 1.0]]


@pytest.mark.parametrize(
    "cue",
    [
        lambda: Markings(width_px=4),
        lambda: SmallClasses(classes=()),
        lambda: Importance(cues=()),
        lambda: Importance(cues=(Texture(),), factor=0.5),
    ],
)
def test_settings_that_mean_nothing_are_refused(cue):
    with pytest.raises(UnseenError):
        cue()
