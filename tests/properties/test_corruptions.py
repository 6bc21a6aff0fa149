"""Every corruption that the package exports lets through what it declares and no more, and each law can fail."""

import pytest
import torch

from unseen.masks import KeepOrReplace, Random
from unseen.systems.objective import Objective, Term
from unseen.units import Fixed

from . import broken, laws
from .discover import built, clip, corruptions, fits, key_of, models, name_of, suits, targets, units, works

LAWS = (
    laws.exact_shares,
    laws.corrupts_by_the_key,
    laws.corrupts_rows_alone,
    laws.hidden_content_is_kept_as_declared,
)


def material(corruption):
    """Values that the corruption takes, and a mask of them."""
    for unit in units():
        values, places = unit.cut(clip(batch=6))
        values = values if values.ndim == 2 else values.float() / 255
        mask = Random(ratio=0.6)(places, key_of(6), {})
        if works(lambda values=values, mask=mask: corruption(values, mask, key_of(6))):
            return values, mask, key_of(6)
    raise AssertionError(f"no unit suits {corruption}")


@pytest.mark.parametrize("corruption", corruptions(), ids=name_of)
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_laws(law, corruption):
    law(corruption, *material(corruption))


@pytest.mark.parametrize("corruption", corruptions(), ids=name_of)
def test_a_model_reads_and_predicts_under_it(corruption):
    """Through the objective: the contract holds, what stays hidden cannot matter, targets are clean."""
    found = False
    for unit in units():
        for target in (one for one in targets() if not hasattr(one, "bind") and suits(unit, Random(), one)):
            goal = Objective(
                normalise=Fixed(), unit=unit, mask=Random(), targets={"a": Term(target=target)}, corruption=corruption
            )
            if not works(lambda goal=goal: goal.batch(clip(), key_of(3))):
                continue
            found, batch = True, laws.checked(goal, clip(), key_of(3))
            clean = laws.checked(
                Objective(normalise=Fixed(), unit=unit, mask=Random(), targets=goal.targets), clip(), key_of(3)
            )
            assert torch.equal(batch.target["a"], clean.target["a"])
            model = next(model for model in models() if fits(model, unit))
            laws.hidden_input_cannot_matter(goal, built(model, goal, batch), batch)
    assert found


def test_each_law_can_fail():
    given = material(KeepOrReplace(vocabulary=97))
    for law in LAWS:
        law(broken.Corrupts(), *given)
    for law, wrongs in zip(LAWS, ("count", "generator", "mates", "content"), strict=True):
        with pytest.raises(AssertionError):
            law(broken.Corrupts(wrongs), *given)
    with pytest.raises(AssertionError, match="visible"):
        laws.exact_shares(broken.Corrupts("visible"), *given)
