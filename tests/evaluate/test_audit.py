"""The mask audit measures what it says, on masks of which the answer is known."""

import pytest
import torch

from unseen.contract import Mask, Units
from unseen.errors import UnseenError
from unseen.evaluate.audit import audit, batch_dependence, classes, counts, distance, draw, inpainting
from unseen.masks import Random, Weighted
from unseen.masks.choose import choose


def grid_units(batch: int, *grid: int) -> Units:
    centre = torch.cartesian_prod(*(torch.arange(side) + 0.5 for side in grid))[None]
    valid = torch.ones(batch, centre.shape[1], dtype=torch.bool)
    return Units(centre, valid, torch.ones(1, centre.shape[1]), tuple(grid))


class Striped:
    """Hides every second column; with `shared`, a column more in batches of more than one."""

    def __init__(self, shared: bool = False):
        self.shared = shared

    def __call__(self, units, key, metadata):
        column = torch.arange(units.grid[1])
        hidden = (column % 2 == 1) | ((column == 2) & (self.shared and len(key) > 1))
        hidden = hidden.repeat(units.grid[0]).expand(len(key), -1)
        return Mask(~hidden & units.valid, hidden & units.valid)


def drawn(policy, units, **content):
    return draw(policy, units, torch.arange(len(units.valid)), (1.0,) * units.centre.shape[2], **content)


def check(result: dict, name: str) -> dict:
    return next(one for one in result["checks"] if one["name"] == name)


def test_stripes_are_measured_as_stripes():
    stripes = drawn(Striped(), grid_units(40, 4, 6))
    assert counts(stripes)["hidden_share"] == 0.5 and counts(stripes)["count_range"] == 0
    assert distance(stripes)["mean"] == 1 and distance(stripes)["adjacent_share"] == 1
    result = audit(stripes)
    assert check(result, "hidden evenly")["value"] == 1 and check(result, "hidden evenly")["ok"] is False
    assert result["measures"]["coverage"]["hidden"]["by"]["column"] == [0, 1, 0, 1, 0, 1]
    assert not result["passed"]


def test_a_mask_that_depends_on_its_batch_is_found():
    assert batch_dependence(drawn(Striped(), grid_units(9, 4, 6))) == 0
    assert batch_dependence(drawn(Striped(shared=True), grid_units(9, 4, 6))) == 1


def test_interpolation_explains_a_ramp_and_not_noise():
    units = grid_units(70, 8, 9)
    ramp = (units.centre[..., :1] + 2 * units.centre[..., 1:]).expand(70, -1, -1).contiguous()
    noise = torch.rand(70, 72, 3, generator=torch.Generator().manual_seed(0))
    easy, hard = (inpainting(drawn(Random(ratio=0.5), units, values=values))["explained"] for values in (ramp, noise))
    assert easy > 0.9 and hard < 0.1
    judged = audit(drawn(Random(ratio=0.5), units, values=ramp, real=True))
    assert check(judged, "no shortcut")["ok"] is False
    assert check(audit(drawn(Random(ratio=0.5), units, values=ramp)), "no shortcut")["ok"] is None


def test_classes_are_counted_by_area():
    units = grid_units(30, 2, 4)
    share = torch.zeros(30, 8, 3)
    share[:, :, 0], share[:, 1, :] = 1, torch.tensor([0.25, 0.75, 0.0])
    found = classes(drawn(Striped(), units, classes=share))
    assert [one["class"] for one in found] == [0, 1], "a class that does not occur is left out"
    assert found[1]["share"] == pytest.approx(0.75 / 8) and found[1]["of_hidden"] == pytest.approx(0.75 / 4)
    assert found[1]["of_visible"] == 0 and found[1]["hidden"] == 1


def test_wrong_inclusion_probabilities_are_found():
    class Boasts:
        even_coverage = False

        def __call__(self, units, key, metadata):
            return Weighted()(units, key, metadata)._replace(inclusion=torch.full(units.valid.shape, 0.9))

    units = grid_units(64, 5, 8)
    units = units._replace(importance=torch.linspace(1, 4, 40)[None])
    assert check(audit(drawn(Weighted(), units)), "inclusion")["ok"]
    assert check(audit(drawn(Boasts(), units)), "inclusion")["ok"] is False


def test_a_sample_without_units_is_refused():
    units = grid_units(3, 2, 4)
    units.valid[1] = False
    with pytest.raises(UnseenError, match="without any unit"):
        drawn(Random(), units)


def test_ragged_samples_of_one_size_have_one_count():
    units = grid_units(50, 4, 6)
    units.valid[::2, 20:] = False

    class Wobbles:
        def __call__(self, units, key, metadata):
            n_valid = units.valid.sum(dim=1)
            n_target = n_valid // 2 + key % 2 * (n_valid < 24)
            score = torch.arange(24).expand(len(key), -1)
            return choose(score, units.valid, n_valid - n_target, n_target)

    assert counts(drawn(Random(ratio=0.5), units))["count_range"] == 0
    assert counts(draw(Wobbles(), units, torch.arange(50) // 2, (1.0, 1.0)))["count_range"] == 1
