"""A run's encoder for other libraries: timm, transformers, ONNX."""

import json
import logging
import math
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from unseen.codec import to_json
from unseen.data.source import WithFile
from unseen.data.views import Frames
from unseen.data.windows import Windows
from unseen.errors import UnseenError
from unseen.models.bert import BertEncoder
from unseen.models.in_place import ForeignEncoder
from unseen.models.layouts import beit, bert, ijepa, modernbert, video_mae, vjepa2
from unseen.models.layouts.official import to_timm
from unseen.models.layouts.transformers import from_official_names, vit_config
from unseen.models.modernbert import ModernBertEncoder
from unseen.models.positions import Sequence1D
from unseen.models.rotary_vit import RotaryVisionTransformer
from unseen.models.vit import VisionTransformer
from unseen.systems.encode import FrozenEncoder, load_encoder
from unseen.units.normalise import Fixed, Normalise
from unseen.units.patches import Patches

PEERS: dict[type, Callable[[Any], tuple[dict[str, Tensor], dict[str, Any]]]] = {  # encoders that need no nominal frame
    BertEncoder: bert.to_peer,
    ModernBertEncoder: modernbert.to_peer,
    RotaryVisionTransformer: vjepa2.to_peer,
}
TIMM_NAMES = {192: "vit_tiny", 384: "vit_small", 768: "vit_base", 1024: "vit_large"}
TIMM_EPS = 1e-6  # timm's ViT has no setting for it in its model arguments
ELSEWHERE = "load it with unseen.load_encoder; of text and clips, transformers knows the encoders Bert and RotaryViT"
ONNX_TOLERANCE = 1e-3  # of the largest feature, float32


def export(
    run: Path, *, to: Literal["timm", "transformers", "onnx"], out: Path, trust: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Write the encoder of a run folder into the new folder `out`, whole or not at all.

    timm and transformers get the position table of the nominal frame and a config; they want normalised pixels.
    ONNX takes raw uint8 images [B, C, H, W], or videos [B, T, C, H, W], and gives `pooled` and `units`; it is checked
    against ONNX Runtime.
    """
    writers: dict[str, Callable[[FrozenEncoder, Path], dict[str, Any]]] = {
        "timm": _write_timm,
        "transformers": _write_transformers,
        "onnx": _write_onnx,
    }
    if to not in writers:
        raise UnseenError(f"no export to {to!r}", f"there are {', '.join(writers)}")
    frozen, out = load_encoder(run, trust=trust), Path(out)
    with _new_folder(out) as folder:
        told = writers[to](frozen, folder)
        (folder / "unseen.json").write_text(json.dumps(_card(frozen, to) | told, indent=1))
    return {"to": to, "out": str(out), "files": sorted(file.name for file in out.iterdir()), **told}


def _write_timm(frozen: FrozenEncoder, folder: Path) -> dict[str, Any]:
    """For `timm.create_model("local-dir:FOLDER")`."""
    encoder, grid, unit = _vit(frozen)
    spec = encoder.spec
    if not math.isclose(spec.norm_eps, TIMM_EPS):
        raise UnseenError(f"norm_eps is {spec.norm_eps}", f"timm's ViT has {TIMM_EPS}", "export to onnx")
    _save(to_timm(encoder, grid), folder)
    rows, columns, channels = unit
    size = [grid[0] * rows, grid[1] * columns]
    arguments = {
        "img_size": size,
        "patch_size": [rows, columns],
        "in_chans": channels,
        "embed_dim": spec.width,
        "depth": spec.depth,
        "num_heads": spec.heads,
        "mlp_ratio": spec.mlp_ratio,
        "class_token": spec.class_token,
        "global_pool": "avg",
        "init_values": spec.layer_scale,
        "fc_norm": False,  # the final norm comes before pooling, as here
    }
    name = TIMM_NAMES.get(spec.width, "vit_base") + "_patch16_224"  # a registered name; the arguments say the rest
    data = {"input_size": [channels, *size], "num_classes": 0, **_statistics(frozen.normalise)}
    card = {"architecture": name, "num_classes": 0, "model_args": arguments, "pretrained_cfg": data}
    (folder / "config.json").write_text(json.dumps(card, indent=1))
    return {"grid": list(grid)}


def _write_transformers(frozen: FrozenEncoder, folder: Path) -> dict[str, Any]:
    """For `from_pretrained(FOLDER)` of the model class that the config names; ViTMAEModel reads a ViTModel too."""
    peer = PEERS.get(type(frozen.encoder))
    if peer is not None:
        state, config = peer(frozen.encoder)
        _save(state, folder)
        (folder / "config.json").write_text(json.dumps(config, indent=1))
        if isinstance(frozen.view, WithFile):
            frozen.view.publish(folder)
        return {"model": config["architectures"][0]}
    encoder, grid, unit = _vit(frozen)
    state, config = _for_transformers(encoder, grid)
    _save(state, folder)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    statistics = _statistics(frozen.normalise)
    if statistics and len(unit) == 3:
        processor = {
            "image_processor_type": "ViTImageProcessor",
            "size": {"height": grid[0] * unit[0], "width": grid[1] * unit[1]},
            "image_mean": statistics["mean"],
            "image_std": statistics["std"],
        }
        (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=1))
    return {"grid": list(grid), "model": config["architectures"][0]}


def _for_transformers(encoder: VisionTransformer, grid: tuple[int, ...]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and config of the model there that computes what this encoder does."""
    spec = encoder.spec
    if len(encoder.unit) == 4:
        return video_mae.to_peer(encoder)
    if spec.relative is not None or spec.layer_scale is not None or spec.positions is None:
        return beit.to_peer(encoder, grid)
    if not spec.class_token:
        return ijepa.to_peer(encoder, grid)
    return from_official_names(to_timm(encoder, grid), prefix=""), vit_config(spec, encoder.unit, grid)


class _Tensors(nn.Module):
    """What ONNX can give back: tensors only."""

    def __init__(self, frozen: FrozenEncoder):
        super().__init__()
        self.frozen = frozen

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.frozen(image)
        return features.pooled, features.units


def _write_onnx(frozen: FrozenEncoder, folder: Path) -> dict[str, Any]:
    try:
        import onnxruntime
        import onnxscript  # noqa: F401  (torch's exporter needs it, and says so late)
    except ImportError as error:
        raise UnseenError(f"{error.name} is not installed", "", "pip install 'unseen[export]'") from None
    model, path = _Tensors(frozen).eval(), folder / "encoder.onnx"
    sizes = _sizes(frozen)
    example = _raw(frozen, 2, sizes[0])
    with _quiet():
        program: Any = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            dynamic_shapes={"image": _dimensions(frozen)},
            input_names=["image"],
            output_names=["pooled", "units"],
            verbose=False,
        )
        program.save(str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    difference, scale = 0.0, 0.0
    for batch, size in enumerate(sizes, start=1):
        image = _raw(frozen, batch, size)
        for ours, theirs in zip(model(image), session.run(None, {"image": image.numpy()}), strict=True):
            difference = max(difference, float((ours - torch.from_numpy(theirs)).abs().max()))
            scale = max(scale, float(ours.abs().max()))
    if not difference <= ONNX_TOLERANCE * scale:
        raise UnseenError(
            f"ONNX Runtime differs from torch by {difference:.2e} (largest feature {scale:.2e})",
            f"at most {ONNX_TOLERANCE} of the largest feature is allowed",
        )
    checked = [list(size) for size in sizes]
    return {"checked_px": checked, "max_difference": difference, "largest_feature": scale}


def _sizes(frozen: FrozenEncoder) -> list[tuple[int, int]]:
    """Image sizes that the exported file is checked at: the nominal frame, and for a ViT two others."""
    height, width = _frame_px(frozen)
    if not isinstance(frozen.encoder, VisionTransformer):
        return [(height, width)] * 3
    rows, columns = (  # what the tracer made constant stays
        patch if side > patch else 0 for side, patch in zip(_frame_px(frozen), frozen.encoder.unit[-3:-1], strict=True)
    )
    return [(height, width), (height + rows, width), (height + 2 * rows, width + columns)]


def _dimensions(frozen: FrozenEncoder) -> dict[int, Any]:
    """Which sides of the input may change: the batch, and for a ViT whole patches along both sides."""
    dynamic: dict[int, Any] = {0: torch.export.Dim("batch")}
    if isinstance(frozen.encoder, VisionTransformer):
        for axis, name in ((0, "rows"), (1, "columns")):
            patch = frozen.encoder.unit[axis - 3]
            if _frame_px(frozen)[axis] > patch:  # of a single row the tracer makes a constant
                dynamic[_shape(frozen, 1, (0, 0)).index(0) + axis] = patch * torch.export.Dim(name, min=2)
    return dynamic


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter trips over its own deprecations and reports each library that is not installed."""
    log = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _vit(frozen: FrozenEncoder) -> tuple[VisionTransformer, tuple[int, ...], tuple[int, ...]]:
    """The encoder, the patch grid of its nominal frame, and its unit, where other libraries know such an encoder."""
    encoder = frozen.encoder
    if isinstance(encoder, ForeignEncoder):
        raise UnseenError("the encoder is a user's backbone", "other libraries know the ViT", "export to onnx")
    if not isinstance(encoder, VisionTransformer):
        raise UnseenError(
            f"timm has no {type(encoder.spec).__name__}", "it has ViTs of images", "export to transformers"
        )
    if len(encoder.unit) == 4 and isinstance(encoder.spec.positions, Sequence1D):
        return encoder, encoder.spec.positions.grid, encoder.unit
    if len(encoder.unit) == 4:
        raise UnseenError(
            "the positions of the encoder are those of times and pixels",
            "VideoMAE elsewhere numbers its tubes (positions Sequence1D), and V-JEPA 2 turns them (RotaryViT)",
            "train one of these, or export to onnx",
        )
    if not isinstance(frozen.unit, Patches):
        raise UnseenError(f"units are {type(frozen.unit).__name__}", "a ViT elsewhere cuts patches", ELSEWHERE)
    rows, columns, _ = encoder.unit
    return encoder, (_frame_px(frozen)[0] // rows, _frame_px(frozen)[1] // columns), encoder.unit


def _frame_px(frozen: FrozenEncoder) -> tuple[int, int]:
    """Height and width of the frame, or of the frames of the window, that the encoder was taught on."""
    view = frozen.view.picture if isinstance(frozen.view, Windows) else frozen.view
    if not isinstance(view, Frames):
        raise UnseenError(
            f"the encoder reads {type(view).__name__}", "this export is for frames of one camera", ELSEWHERE
        )
    return view.frame_px


def _statistics(normalise: Normalise | None) -> dict[str, list[float]]:
    """Constants of the normalisation; empty where it depends on the image, and unseen.json says how."""
    return {"mean": list(normalise.mean), "std": list(normalise.std)} if isinstance(normalise, Fixed) else {}


def _card(frozen: FrozenEncoder, to: str) -> dict[str, Any]:
    return {
        "format": f"unseen-export-{to}",
        "normalise": to_json(frozen.normalise),
        "unit": to_json(frozen.unit),
        **({"frame_px": list(frozen.view.frame_px)} if isinstance(frozen.view, Frames) else {}),
        "view": to_json(frozen.view),
    }


def _shape(frozen: FrozenEncoder, batch: int, size: tuple[int, int]) -> tuple[int, ...]:
    """Of what the encoder takes: images [B, C, H, W] or videos [B, T, C, H, W]."""
    view: Any = frozen.view
    return batch, *view.blank().shape[1:-2], *size


def _raw(frozen: FrozenEncoder, batch: int, size: tuple[int, int]) -> Tensor:
    """Some images or videos, the same at every call, with all grey levels."""
    shape = _shape(frozen, batch, size)
    ramp = torch.arange(math.prod(shape)) * 2654435761 % 2**32 >> 24
    return ramp.view(shape).to(torch.uint8)


def _save(state: dict[str, Tensor], folder: Path) -> None:
    from safetensors.torch import save_file

    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


@contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder that appears under its name only when all went well."""
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise UnseenError(f"{out} is not empty", "nothing is overwritten", "name a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        os.replace(temporary, out)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
