"""Videos through the commands, and the doors to V-JEPA 2 and ONNX, on a few tiny frames."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import unseen
from unseen.cli import main
from unseen.errors import UnseenError
from unseen.units import Fixed

ROTARY = """model.encoder={"class": "unseen.models:RotaryViT",
 "fields": {"width": 12, "depth": 1, "heads": 1, "mlp_ratio": 2.0, "pairing": "released"}}"""
PREDICTOR = """model.predictor={"class": "unseen.models:RotarySelfAttention",
 "fields": {"width": 12, "depth": 1, "heads": 1, "pairing": "released"}}"""
SMALL = (
    "view.frames=4",
    "view.picture.frame_px=[24, 24]",
    "view.picture.crop_px=[24, 24]",
    "training.steps=2",
    "training.warmup=1",
    "training.batch=2",
    "training.monitor_samples=2",
)
VIT = ("model.encoder.width=12", "model.encoder.depth=1", "model.predictor.width=12", "model.predictor.depth=1")


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    """Two logs of eight noisy frames at 5 fps."""
    from PIL import Image

    folder, noise = tmp_path_factory.mktemp("videos"), np.random.default_rng(0)
    for log in "ab":
        (folder / "src" / log).mkdir(parents=True)
        for number in range(8):
            image = noise.integers(0, 255, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(image).save(folder / "src" / log / f"{number}.png")
    assert main(["ingest", "folder", str(folder / "src"), str(folder / "store"), "--fps", "5"]) == 0
    return folder / "store"


def trained(store: Path, run: Path, recipe: str, *words: str) -> Path:
    assert main(["pretrain", recipe, "--data", str(store), "--out", str(run), "--set", *SMALL, *words]) == 0
    return run


def video() -> torch.Tensor:
    return torch.randint(0, 255, (2, 4, 3, 24, 24), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)


def test_v_jepa_2_goes_through_the_commands_and_back(store, tmp_path) -> None:
    """Weights of transformers begin a run, and what it trained loads there and gives the same features."""
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    config = transformers.VJEPA2Config(
        patch_size=8, crop_size=24, frames_per_clip=4, tubelet_size=2, hidden_size=12, num_hidden_layers=1,
        num_attention_heads=1, mlp_ratio=2.0, pred_hidden_size=12, pred_num_hidden_layers=1, pred_num_attention_heads=1,
        num_pooler_layers=1,
    )  # fmt: skip
    begun = transformers.VJEPA2Model(config)
    begun.save_pretrained(tmp_path / "theirs")
    words = ["--init", str(tmp_path / "theirs"), "--set", *SMALL, ROTARY, PREDICTOR]
    run = tmp_path / "run"
    assert main(["pretrain", "vjepa", "--data", str(store), "--out", str(run), *words, "training.lr=0.0"]) == 0
    assert main(["export", str(run), "--to", "transformers", "--out", str(tmp_path / "out")]) == 0
    theirs, report = transformers.VJEPA2Model.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not report["unexpected_keys"] and all(name.startswith("predictor") for name in report["missing_keys"])
    mean, std = (torch.tensor(part).view(3, 1, 1) for part in (Fixed().mean, Fixed().std))
    clip = (video() / 255 - mean) / std
    ours = unseen.load_encoder(run)(video()).units
    for model in (theirs, begun):  # a learning rate of zero: what came in goes out
        features = model.eval()(clip, skip_predictor=True).last_hidden_state.detach()
        torch.testing.assert_close(features, ours, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_a_video_encoder_goes_to_onnx(store, tmp_path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    run = trained(store, tmp_path / "run", "videomae", *VIT)
    assert main(["export", str(run), "--to", "onnx", "--out", str(tmp_path / "out")]) == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "out/encoder.onnx"), providers=["CPUExecutionProvider"])
    pooled = session.run(["pooled"], {"image": video().numpy()})[0]
    np.testing.assert_allclose(pooled, unseen.load_encoder(run)(video()).pooled.numpy(), atol=1e-4)
    assert json.loads((tmp_path / "out/unseen.json").read_text())["checked_px"][0] == [24, 24]


def test_an_export_that_cannot_be_names_one_that_can(store, tmp_path) -> None:
    run = trained(store, tmp_path / "run", "videomae", *VIT)
    for peer in ("timm", "transformers"):
        with pytest.raises(UnseenError, match=r"times and pixels.*or export to onnx"):
            unseen.export(run, to=peer, out=tmp_path / peer)


def test_features_of_windows_name_the_logs_that_have_none(store, tmp_path, capsys) -> None:
    from PIL import Image

    run = trained(store, tmp_path / "run", "videomae", *VIT)
    for log, count in (("long", 4), ("short", 2)):
        (tmp_path / "src" / log).mkdir(parents=True)
        for number in range(count):
            Image.new("RGB", (24, 24), (9 * number, 40, 80)).save(tmp_path / "src" / log / f"{number}.png")
    assert main(["ingest", "folder", str(tmp_path / "src"), str(tmp_path / "other"), "--fps", "5"]) == 0
    assert main(["embed", str(run), str(tmp_path / "other"), "--out", str(tmp_path / "features.parquet")]) == 0
    assert "log short gives no sample: no 4 frames 0.2 s apart" in capsys.readouterr().err
