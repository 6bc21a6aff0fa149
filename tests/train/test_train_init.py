"""Real models on stand-in data: weights to start from, recomputation, feature ranks."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from train_stand_ins import GREY, Memory, Tiny, training

from unseen.errors import UnseenError
from unseen.masks.random import Random
from unseen.models import InPlace, LinearStem, MaskedAutoencoder, Relative, SelfAttention, ViT
from unseen.models.layouts import beit, to_timm
from unseen.systems.objective import Objective, Term, sample_keys
from unseen.targets import Pixels
from unseen.train.init import load_init
from unseen.train.loop import fit
from unseen.train.metrics import read_metrics
from unseen.train.training import compile_blocks, compile_whole
from unseen.units.patches import Patches

TASK = Objective(
    normalise=GREY,
    unit=Patches(size=(4, 4)),
    mask=Random(ratio=0.5),
    targets={"pixels": Term(target=Pixels(normalise="none"))},
)


def build(width=16, predictor=8, spec=None):
    source = Memory()
    clip = source.batch(np.arange(2))
    encoder = ViT(width=width, depth=2, heads=2, stem=LinearStem())
    spec = spec or MaskedAutoencoder(encoder=encoder, predictor=SelfAttention(width=predictor, depth=1, heads=2))
    return spec.build(TASK.shapes(TASK.batch(clip, sample_keys(clip, 0, 0))))


def trained(path, model, **changes):
    source = Memory()
    settings = training(**{"steps": 4, "warmup": 1, "lr": 0.05} | changes)
    monitor = source.frames(range(3), previous=True)
    fit(run=path, model=model, objective=TASK, training=settings, source=source, monitor=monitor, console=None)
    return model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("init") / "run"
    return path, trained(path, build())


def test_a_run_fills_the_same_model_whole(run):
    path, model = run
    fresh = build()
    told = load_init(fresh, path)
    assert told.fresh == () and told.left_out == ()
    assert all(torch.equal(a, b) for a, b in zip(fresh.state_dict().values(), model.state_dict().values(), strict=True))
    assert "a run of ours" in str(told)


def test_a_beit_file_fills_the_encoder_of_an_in_place_model(tmp_path):
    positions = {"positions": None, "relative": Relative(grid=(4, 4)), "layer_scale": 0.1}
    spec = InPlace(encoder=ViT(width=16, depth=2, heads=2, **positions))
    model, fresh = trained(tmp_path / "run", build(spec=spec)), build(spec=spec)
    save_file(beit.to_unilm(model.encoder, (4, 4)), tmp_path / "beit.safetensors")
    told = load_init(fresh, tmp_path / "beit.safetensors")
    assert told.layout == "official BEiT" and told.fresh == ("mask_token", "heads.pixels.weight", "heads.pixels.bias")
    assert torch.equal(fresh.encoder.relative.table, model.encoder.relative.table)
    assert fresh.encoder.relative.table.any()
    assert torch.equal(fresh.encoder.blocks[1].ls2.gamma, model.encoder.blocks[1].ls2.gamma)


def test_another_predictor_keeps_its_own_weights_and_says_so(run):
    path, model = run
    fresh = build(predictor=12)
    own = fresh.state_dict()["predictor.blocks.0.attn.qkv.weight"].clone()
    told = load_init(fresh, path)
    assert torch.equal(fresh.encoder.norm.weight, model.encoder.norm.weight)
    assert torch.equal(fresh.state_dict()["predictor.blocks.0.attn.qkv.weight"], own)
    assert "predictor.blocks.0.attn.qkv.weight" in told.fresh and "freshly drawn: " in str(told)


def test_another_encoder_is_refused_and_nothing_changes(run):
    fresh = build(width=24)
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    with pytest.raises(UnseenError, match="does not fill the encoder"):
        load_init(fresh, run[0])
    assert all(torch.equal(value, before[name]) for name, value in fresh.state_dict().items())


def test_a_timm_file_fills_the_encoder(run, tmp_path):
    model = run[1]
    save_file({n: v.contiguous() for n, v in to_timm(model.encoder, (4, 4)).items()}, tmp_path / "timm.safetensors")
    fresh = build()
    told = load_init(fresh, tmp_path / "timm.safetensors")
    assert told.layout == "timm"
    assert all(torch.equal(v, model.encoder.state_dict()[n]) for n, v in fresh.encoder.state_dict().items())
    assert all(name.startswith(("predictor.", "heads.", "mask_token")) for name in told.fresh)


def test_recomputed_activations_are_the_same_run(run, tmp_path):
    trained(tmp_path / "run", build(), recompute=True)
    left, right = (path / "checkpoints/step-000004/model.safetensors" for path in (run[0], tmp_path / "run"))
    assert left.read_bytes() == right.read_bytes()


@pytest.mark.parametrize("spec", [None, InPlace(encoder=ViT(width=16, depth=1, heads=2, stem=LinearStem()))])
def test_real_models_are_watched(tmp_path, spec):
    trained(tmp_path / "run", build(spec=spec))
    lines = [line for line in read_metrics(tmp_path / "run" / "metrics.jsonl") if line["kind"] == "monitor"]
    assert [line["step"] for line in lines] == [0, 4]
    assert all(1 < line["effective_rank"] <= 16 for line in lines)
    assert lines[0]["baselines"]["pixels"].keys() == {"null", "mean", "neighbour", "previous"}
    assert sorted(path.name for path in (tmp_path / "run" / "samples").iterdir()) == [
        "step-000000.npz",
        "step-000004.npz",
    ]


def test_compilation_takes_the_blocks_and_keeps_every_name(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(module))
    model = build()
    names = list(model.state_dict())
    compile_blocks(model)
    assert compiled == [*model.encoder.blocks, *model.predictor.blocks]
    assert list(model.state_dict()) == names
    compiled.clear()
    compile_blocks(Tiny())
    assert [type(part) for part in compiled] == [Tiny]
    compiled.clear()
    own = build(spec=InPlace(backbone=torch.nn.Conv2d(1, 4, 4, stride=4)))
    compile_blocks(own)
    assert compiled == [own.encoder.net], "packing stays outside"


def test_whole_compilation_takes_encoder_and_predictor(monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: compiled.append(module))
    model = build()
    compile_whole(model)
    assert compiled == [model.encoder, model.predictor]
    compiled.clear()
    compile_whole(Tiny())
    assert [type(part) for part in compiled] == [Tiny], "what is no autoencoder goes by blocks"


def test_recomputation_that_nothing_can_do_is_refused(tmp_path):
    own = build(spec=InPlace(backbone=torch.nn.Conv2d(1, 4, 4, stride=4)))
    with pytest.raises(UnseenError, match="recompute"):
        trained(tmp_path / "run", own, recompute=True)
    assert not (tmp_path / "run").exists()
