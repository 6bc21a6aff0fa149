"""The published samplers, run through the audit, fail as reading and running their code said; ours pass."""

import random

import pytest
import torch

from benchmarks import collators
from benchmarks.masks import SHORT, units_of, voxels
from unseen.evaluate.audit import audit, draw
from unseen.masks import Block, Future, MultiBlock, Random, Tube
from unseen.randomness import keys

IMAGE, CLIP = (14, 14), (8, 14, 14)


def found(policy, units) -> dict:
    key = keys(0, torch.arange(len(units.valid)), 0, "mask")
    return audit(draw(policy, units, key, (1.0,) * units.centre.shape[2]))


def failed(result: dict) -> set[str]:
    return {check["name"] for check in result["checks"] if check["ok"] is False}


def test_beit_misses_its_count_and_spares_the_corners():
    result = found(collators.BEIT, units_of(128, *IMAGE))
    assert {"exact", "hidden evenly"} <= failed(result)
    often = torch.tensor(result["measures"]["coverage"]["hidden"]["map"]).view(14, 14)
    assert float(often[[0, 0, -1, -1], [0, -1, 0, -1]].mean()) < 0.12 and float(often[6:8, 6:8].mean()) > 0.6


def test_ijepa_cuts_to_the_batch_and_drifts_to_the_top():
    result = found(collators.IJEPA, units_of(128, 16, 16))
    assert {"exact", "alone", "hidden evenly", "visible evenly"} <= failed(result)
    coverage = result["measures"]["coverage"]
    rows, columns = coverage["visible"]["by"]["row"], coverage["visible"]["by"]["column"]
    assert rows[0] > 0.6 and rows[14] < 0.1, "the cut keeps the upper rows"
    assert rows[15] == columns[15] == 0 == coverage["hidden"]["by"]["row"][15], "the bound is exclusive"


def test_vjepa_loses_late_slots_to_the_cut():
    result = found(collators.VJEPA, units_of(128, *CLIP))
    assert {"exact", "alone", "visible evenly", "nothing idle"} <= failed(result)
    by_slot = result["measures"]["coverage"]["visible"]["by"]["slot"]
    assert by_slot[0] > 0.2 and by_slot[7] < 0.2 * by_slot[0]


def test_occupancy_mae_hides_another_share_than_it_is_told():
    result = found(collators.OCCUPANCY_MAE, voxels(128))
    assert {"ratio", "exact", "alone"} <= failed(result)
    assert 0.6 < result["measures"]["counts"]["hidden_share"] < 0.7, "told 0.5, it hides about 0.65"


@pytest.mark.parametrize(
    ("policy", "units"),
    [
        (Block(ratio=75 / 196), units_of(128, *IMAGE)),
        (MultiBlock(), units_of(128, 16, 16)),
        (SHORT, units_of(128, *CLIP)),
        (Random(ratio=0.5), voxels(128)),
        (Tube(), units_of(128, *CLIP)),
        (Future(observed_s=1.0, gap_s=0.3), units_of(64, *CLIP)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_ours_pass(policy, units):
    assert failed(found(policy, units)) == set()


def test_the_collators_are_the_published_ones():
    """Numbers that were measured on the official code."""
    counts = [int(collators.beit(14, 14, 75, random.Random(seed)).sum()) for seed in range(600)]
    assert 0.6 < sum(count == 75 for count in counts) / 600 < 0.75 and 74.2 < sum(counts) / 600 < 74.8
    context = {
        batch: collators.ijepa(batch, (16, 16), torch.Generator().manual_seed(1))[0].shape[1] for batch in (1, 64)
    }
    assert context[1] > context[64] + 15
    visible, target = collators.vjepa(24, CLIP, torch.Generator().manual_seed(2))
    assert 0.6 < (visible.shape[1] + target.shape[1]) / 1568 < 0.85
