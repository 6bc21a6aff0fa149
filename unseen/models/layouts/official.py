"""Our names <-> those of the official MAE files, whose encoder half is timm's ViT.

Ours differ in the decoder only, and hold no table where positions are computed. A unit is flattened as (row, column,
channel) by all of us, the patch convolution as (channel, row, column).
"""

from typing import Any

import torch
from torch import Tensor

from unseen.errors import UnseenError
from unseen.models.in_place import InPlaceViT
from unseen.models.masked_autoencoder import MaskedAutoencoderModel
from unseen.models.positions import Learned, Sequence1D, SinCos, sincos_grid
from unseen.models.predictors import SelfAttentionPredictor
from unseen.models.relative import Relative
from unseen.models.vit import VisionTransformer

DECODER = {  # official prefix: ours
    "decoder_embed.": "predictor.embed.",
    "decoder_blocks.": "predictor.blocks.",
    "decoder_norm.": "predictor.norm.",
    "mask_token": "predictor.mask_token",
}
ENCODER = ("cls_token", "pos_embed", "patch_embed.", "relative.", "blocks.", "norm.")
TABLES = ("pos_embed", "decoder_pos_embed")


def to_hub(model: Any, grid: tuple[int, ...], head: str | None = None) -> dict[str, Tensor]:
    """A model of ours under the hub's names: an encoder, or one with what predicts (the head of one output, `head`).

    Computed sin-cos positions become the table of this grid; a learned one must be of this grid.
    """
    if isinstance(model, VisionTransformer):
        return _encoder_to_hub(model, grid)
    state, ours = _encoder_to_hub(model.encoder, grid), model.state_dict()
    for theirs, prefix in predicting(model, head).items():
        state |= {theirs + n[len(prefix) :]: v.detach().clone() for n, v in ours.items() if n.startswith(prefix)}
    return state


def _encoder_to_hub(encoder: VisionTransformer, grid: tuple[int, ...]) -> dict[str, Tensor]:
    stem: Any = encoder.patch_embed
    positions, relative = encoder.spec.positions, encoder.spec.relative
    state = {name: value.detach().clone() for name, value in encoder.state_dict().items()}
    if hasattr(stem, "fold"):
        state = {name: value for name, value in state.items() if not name.startswith("patch_embed.")}
        state["patch_embed.proj.weight"], state["patch_embed.proj.bias"] = stem.fold()
    elif set(stem.state_dict()) != {"proj.weight", "proj.bias"}:
        raise UnseenError("this stem is not a patch convolution", "timm and transformers know no other", "use onnx")
    for table in (positions, relative):
        own = table.grid if isinstance(table, (Learned, Sequence1D, Relative)) else tuple(grid)
        if own != tuple(grid):
            raise UnseenError(f"the table is {own} and the grid asked for {grid}", "they must be the same")
    if isinstance(positions, SinCos):
        state["pos_embed"] = _table(grid, encoder.spec.width, encoder.spec.class_token)
    return {name: value.contiguous() for name, value in state.items()}


def to_timm(encoder: VisionTransformer, grid: tuple[int, ...]) -> dict[str, Tensor]:
    """The encoder as timm's ViT stores it: a patch convolution, and a position table for this grid.

    UnseenError for relative or other positions, and for units that are no patches.
    """
    spec = encoder.spec
    if not isinstance(spec.positions, (SinCos, Learned)) or spec.relative is not None or len(encoder.unit) != 3:
        raise UnseenError(
            "this encoder is no ViT of timm", "its positions are a table over image patches", "use transformers or onnx"
        )
    return to_hub(encoder, grid)


def to_official(model: MaskedAutoencoderModel, grid: tuple[int, int], head: str | None = None) -> dict[str, Tensor]:
    """A whole masked autoencoder in the official layout; `head` names the output that becomes decoder_pred.

    UnseenError for another predictor, or where that output is not told.
    """
    predictor = model.predictor
    if not isinstance(predictor, SelfAttentionPredictor) or predictor.positions != SinCos():
        raise UnseenError("the official layout has a self-attention decoder with sin-cos", "this predictor is another")
    return to_hub(model, grid, head) | {"decoder_pos_embed": _table(grid, predictor.width, class_token=True)}


def from_hub(state: dict[str, Tensor], predicting: dict[str, str]) -> dict[str, Tensor]:
    """Our names for the hub's, tables left out; of what predicts, the beginnings of names in `predicting`."""
    renames = {prefix: f"encoder.{prefix}" for prefix in ENCODER} | predicting
    out = {}
    for name, value in state.items():
        for theirs, ours in renames.items():
            if name.startswith(theirs) and name not in TABLES:
                out[ours + name[len(theirs) :]] = value
    return out


def predicting(model: Any, head: str | None) -> dict[str, str]:
    """Beginnings of names, the hub's and ours, of the part that predicts, its head that of one hidden output."""
    if isinstance(model, InPlaceViT):
        return {"mask_token": "mask_token", "lm_head.": head_prefix(model, head)}
    if isinstance(model, MaskedAutoencoderModel) and isinstance(model.predictor, SelfAttentionPredictor):
        return DECODER | {"decoder_pred.": head_prefix(model, head)}
    raise UnseenError(
        f"a {type(model).__name__} has no decoder that other libraries know",
        "it is a MaskedAutoencoder with a SelfAttention predictor, or an InPlace model",
        "take the encoder alone",
    )


def head_prefix(model: Any, head: str | None) -> str:
    """Where the head of one hidden output stands in our state dict."""
    names: list[str] = list(model.heads.shapes)
    if head is None and len(names) == 1:
        head = names[0]
    if head is None or head not in names:
        raise UnseenError(f"the head {head!r} is not there", f"choose one of {names}", "pass head=...")
    return f"heads.{head.replace('.', '@')}."


def check_sincos(table: Tensor, grid: tuple[int, int], name: str) -> None:
    """Refuse a table that our computed positions would not reproduce."""
    width, prefix = table.shape[2], table.shape[1] - grid[0] * grid[1]
    wanted = _table(grid, width, class_token=prefix == 1)
    if prefix not in (0, 1) or not torch.allclose(table.float(), wanted, atol=2e-3):
        zero = not table.any()
        raise UnseenError(
            f"{name} [{table.shape[1]}, {width}] is not the sin-cos table of a {grid[0]} x {grid[1]} grid"
            + (" but all zeros" if zero else ""),
            "a transformers ViTMAE built from a config has zero tables and cannot learn"
            if zero
            else "positions are computed, [x | y], unless the encoder has a learned table",
            f"build the encoder with ViT(positions=Learned(grid=({grid[0]}, {grid[1]})))"
            if name == "pos_embed"
            else "check the grid",
        )


def _table(grid: tuple[int, ...], width: int, class_token: bool) -> Tensor:
    table = sincos_grid(tuple(grid), width)
    return torch.cat([table.new_zeros(int(class_token), width), table])[None]
