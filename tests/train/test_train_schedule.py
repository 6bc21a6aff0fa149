"""The spec of a training: schedule, parameter groups, optimisers."""

import math

import pytest
import torch
from torch import nn

from unseen.errors import UnseenError
from unseen.precision import resolve_precision
from unseen.train.training import AdamW, Muon, Training, decays, set_lr, trainable


def test_warm_up_is_linear_and_reaches_the_scaled_peak():
    training = Training(steps=100, warmup=10, batch=512, lr=1e-3)
    assert training.peak_lr() == pytest.approx(2e-3)
    assert [training.lr_at(step) for step in range(10)] == pytest.approx([2e-4 * (i + 1) for i in range(10)])


def test_half_cosine_against_its_formula_and_its_ends():
    training = Training(steps=110, warmup=10, batch=256, lr=1.0, min_lr=0.2)
    for step in (10, 37, 60, 109):
        expected = 0.2 + 0.8 * (1 + math.cos(math.pi * (step - 10) / 100)) / 2
        assert training.lr_at(step) == pytest.approx(expected)
    assert training.lr_at(10) == 1.0
    assert training.lr_at(60) == pytest.approx(0.6)
    assert training.lr_at(110) == pytest.approx(0.2)


@pytest.mark.parametrize(("scale", "peak"), [("linear", 4.0), ("sqrt", 2.0), ("none", 1.0)])
def test_the_peak_scales_with_the_batch_as_told(scale, peak):
    assert Training(batch=1024, lr=1.0, scale_lr=scale).peak_lr() == pytest.approx(peak)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"steps": 10, "warmup": 10}, {"micro_batch": 0}, {"lr": math.nan}, {"clip_norm": 0.0}, {"keep": 0}],
)
def test_a_training_that_cannot_run_is_refused(wrong):
    with pytest.raises(UnseenError, match="training"):
        Training(**wrong)


def test_what_touches_no_weight_may_change_and_nothing_else():
    here = Training()
    assert Training(workers=5, cache_mb=1, checkpoint_every=7, keep=9, log_every=3).decisive() == here.decisive()
    for change in ({"lr": 1e-3}, {"seed": 1}, {"micro_batch": 8}, {"precision": "float32"}, {"log_power": 0.0}):
        assert Training(**change).decisive() != here.decisive()


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.cls_token = nn.Parameter(torch.ones(1, 1, 4))
        self.pos_embed = nn.Parameter(torch.ones(1, 5, 4))
        self.mask_patch = nn.Parameter(torch.ones(1, 1, 2, 2, 1))
        self.patch_embed = nn.Conv2d(1, 4, 2)
        self.blocks = nn.ModuleList([nn.Linear(4, 4)])
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 3)
        self.frozen = nn.Parameter(torch.ones(4, 4), requires_grad=False)


def test_only_matrices_and_kernels_decay():
    chosen = [name for name, p in trainable(Parts()) if decays(name, p)]
    assert chosen == ["patch_embed.weight", "blocks.0.weight", "head.weight"]


@pytest.mark.parametrize("spec", [AdamW(weight_decay=0.5), Muon(weight_decay=0.5, rest=AdamW(weight_decay=0.5))])
def test_every_parameter_has_one_place_and_the_exempt_do_not_shrink(spec):
    model = Parts()
    named = trainable(model)
    optimisers = spec.build(named)
    placed = [id(p) for o in optimisers for group in o.param_groups for p in group["params"]]
    assert sorted(placed) == sorted(id(p) for _, p in named)
    before = {name: p.detach().clone() for name, p in named}
    for _, p in named:
        p.grad = torch.zeros_like(p)
    set_lr(optimisers, 0.1)
    for optimiser in optimisers:
        optimiser.step()
    for name, p in named:
        factor = 0.95 if decays(name, p) else 1.0
        if name == "blocks.0.weight" and isinstance(spec, Muon):
            continue  # its step length is adjusted, and its decay is of the same rate
        torch.testing.assert_close(p.detach(), before[name] * factor)


def test_muon_takes_inner_matrices_only():
    optimisers = Muon().build(trainable(Parts()))
    assert [type(o).__name__ for o in optimisers] == ["AdamW", "Muon"]
    assert [tuple(p.shape) for p in optimisers[1].param_groups[0]["params"]] == [(4, 4)]


def test_precision_that_is_asked_for_is_kept():
    assert resolve_precision("float32", torch.device("cpu")) == "float32"
    assert resolve_precision("bfloat16", torch.device("cpu")) == "bfloat16"
    assert resolve_precision("auto", torch.device("cpu")) in ("float32", "bfloat16")
