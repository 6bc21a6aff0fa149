"""`check` names the rule that a batch breaks; `walk` treats a Tensor and a dict of Tensors alike."""

import pytest
import torch

from unseen.contract import MaskedBatch, check, walk

B, N = 3, 7


def batch(**changes) -> MaskedBatch:
    """A batch that keeps every rule."""
    visible = torch.zeros(B, N, dtype=torch.bool)
    visible[:, :2] = True
    hidden = torch.zeros(B, N, dtype=torch.bool)
    hidden[:, 3:] = True
    hidden[1, 3] = False
    parts = {
        "input": torch.rand(B, N, 4),
        "visible_mask": visible,
        "target": {"a": torch.rand(B, N, 5)},
        "target_mask": {"a": hidden},
        "metadata": {"valid": torch.ones(B, N, dtype=torch.bool)},
    }
    return MaskedBatch(**parts | changes)


def changed(mask: torch.Tensor, row: int, unit: int | slice, value: bool) -> torch.Tensor:
    mask = mask.clone()
    mask[row, unit] = value
    return mask


def test_a_good_batch_comes_back():
    good = batch()
    assert check(good) is good
    alone = good._replace(target=good.target["a"], target_mask=good.target_mask["a"])
    assert check(alone) is alone
    without_valid = good._replace(metadata={})
    assert check(without_valid) is without_valid


GOOD = batch()
ABSENT = {"valid": changed(GOOD.metadata["valid"], 2, 1, False)}
ABSENT_TARGET = {"valid": changed(GOOD.metadata["valid"], 2, 6, False)}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"target": {"b": GOOD.target["a"]}}, "different names"),
        ({"input": GOOD.input[:, :-1]}, "input is"),
        ({"metadata": ABSENT}, "does not exist is visible"),
        ({"visible_mask": changed(GOOD.visible_mask, 1, slice(None), False)}, "no visible unit"),
        ({"target": {"a": GOOD.target["a"][:, 1:]}}, "mask is"),
        ({"visible_mask": changed(GOOD.visible_mask, 0, 4, True)}, "both visible and a target"),
        ({"metadata": ABSENT_TARGET}, "does not exist is a target"),
        ({"target_mask": {"a": changed(GOOD.target_mask["a"], 2, slice(None), False)}}, "no target"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else None,
)
def test_each_rule_is_named(change, rule):
    with pytest.raises(ValueError, match=rule):
        check(batch(**change))


def test_only_declared_targets_may_be_scored_on_visible_units():
    overlapping = GOOD._replace(
        target={"a": GOOD.target["a"], "a.visible": GOOD.target["a"]},
        target_mask={"a": GOOD.target_mask["a"], "a.visible": GOOD.visible_mask},
    )
    assert check(overlapping, frozenset({"a.visible"})) is overlapping
    with pytest.raises(ValueError, match=r"'a.visible'.*both visible and a target"):
        check(overlapping)
    with pytest.raises(ValueError, match="both visible and a target"):
        check(overlapping, frozenset({"a"}))


def test_walk_goes_key_by_key():
    x, y = torch.tensor(2), torch.tensor(3)
    assert walk(torch.add, x, y) == 5
    assert walk(torch.add, {"a": x, "b": {"c": y}}, {"b": {"c": x}, "a": y}) == {"a": 5, "b": {"c": 5}}
