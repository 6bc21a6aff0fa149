"""Load weights from any known layout into a model: all or nothing, with the lists of keys when they do not fit."""

import math
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from unseen.errors import UnseenError
from unseen.models.layouts.files import read_config, read_state
from unseen.models.layouts.official import TABLES, check_sincos, from_official, head_prefix
from unseen.models.layouts.transformers import grid_of, is_transformers, to_official_names
from unseen.models.masked_autoencoder import MaskedAutoencoderModel
from unseen.models.positions import resample
from unseen.models.vit import VisionTransformer

DECODER_KEYS = re.compile(r"(mask_token$|decoder_|predictor\.|heads\.|visible_heads\.)")  # left out for part="encoder"
TASK_HEADS = re.compile(r"(head|head_dist|fc_norm)\.(weight|bias)")  # of timm encoders, never loaded


class Matched(NamedTuple):
    """What was read, for the eyes of the user."""

    layout: str
    loaded: tuple[str, ...]
    ignored: tuple[str, ...]
    note: str = ""

    def __str__(self) -> str:
        ignored = f"; left out: {', '.join(self.ignored)}" if self.ignored else ""
        return f"{self.layout}: {len(self.loaded)} tensors loaded{self.note}{ignored}"


def load_weights(
    model: nn.Module,
    path: Path | str,
    *,
    part: Literal["encoder", "all"] = "encoder",
    head: str | None = None,
    grid: tuple[int, int] | None = None,
) -> Matched:
    """Fill `model` (a MaskedModel with our ViT, or that ViT) from our own, timm, official MAE or transformers weights.

    `part="all"` also takes the decoder of a masked autoencoder, its prediction head as the output `head`. `grid` is the
    patch grid of the file, needed where it is not square and no config.json tells.

    Raises UnseenError, and changes nothing, when a key is missing, unknown or of another shape, when the file's
    positions are not the model's, or when its norm eps or number of heads (where a file beside it tells) is another.
    """
    state, config = read_state(path), read_config(path)
    layout, state, ignored = _official(state)
    encoder = model if isinstance(model, VisionTransformer) else model.encoder
    if not isinstance(encoder, VisionTransformer):
        raise UnseenError("the model's encoder is a user's backbone", "only the package's ViT has known layouts")
    if layout == "transformers" and config is not None:
        grid = grid or grid_of(config)
        _check_settings(encoder, config["num_attention_heads"], config.get("layer_norm_eps", 1e-12))
    if layout == "timm" and config is not None:
        grid = grid or _grid_of_timm(config)
    own = read_config(path, "encoder.json") if layout == "unseen" else None
    if own is not None and "heads" in own["encoder"]["fields"]:
        _check_settings(encoder, own["encoder"]["fields"]["heads"], own["encoder"]["fields"]["norm_eps"])
    if layout == "unseen":
        chosen = {name: value for name, value in state.items() if part == "all" or name.startswith("encoder.")}
        left = tuple(name for name in state if name not in chosen)
    else:
        _check_known(state, part)
        prefix = head_prefix(_whole(model), head) if part == "all" else None
        chosen = from_official(state, prefix)
        left = tuple(n for n in state if TASK_HEADS.fullmatch(n) or (part == "encoder" and DECODER_KEYS.match(n)))
        chosen |= _positions(encoder, state, grid, part)
    note = _fill(model, encoder, chosen, part)
    return Matched(layout, tuple(chosen), ignored + left, note)


def _official(state: dict[str, Tensor]) -> tuple[str, dict[str, Tensor], tuple[str, ...]]:
    """Which layout it is, and its state under official names (our own: under ours)."""
    if is_transformers(state):
        return "transformers", *to_official_names(state)
    if any(name.startswith("encoder.blocks.") for name in state):
        return "unseen", state, ()
    if "pos_embed" not in state or any(name.startswith("patch_embed.mean") for name in state):
        return "unseen", {f"encoder.{name}": value for name, value in state.items()}, ()
    return ("official MAE" if "decoder_pos_embed" in state else "timm"), state, ()


def _check_known(state: dict[str, Tensor], part: str) -> None:
    known = re.compile(r"(cls_token$|pos_embed$|patch_embed\.proj\.|blocks\.|norm\.)")
    unknown = [n for n in state if not (known.match(n) or DECODER_KEYS.match(n) or TASK_HEADS.fullmatch(n))]
    if unknown:
        raise UnseenError(f"unknown keys {unknown}", "no key is skipped in silence")


def _positions(
    encoder: VisionTransformer, state: dict[str, Tensor], grid: tuple[int, int] | None, part: str
) -> dict[str, Tensor]:
    """The table to load, if the encoder has one; otherwise a check that what is computed is what the file holds."""
    missing = [name for name in TABLES[: 2 if part == "all" else 1] if name not in state]
    if missing:
        raise UnseenError(f"the file has no {missing}", "the positions of encoder and decoder must be known")
    table = state["pos_embed"]
    rows = _rows(table, "cls_token" in state, grid)
    if part == "all":
        check_sincos(state["decoder_pos_embed"], rows, "decoder_pos_embed")
    if encoder.spec.table is None:
        check_sincos(table, rows, "pos_embed")
        return {}
    n_units, with_class = rows[0] * rows[1], encoder.spec.class_token
    units, prefix = table[0, table.shape[1] - n_units :], table[0, : table.shape[1] - n_units]
    if with_class and not len(prefix):
        prefix = table.new_zeros(1, table.shape[2])
    rows_of_table = torch.cat([prefix[: int(with_class)], resample(units, rows, encoder.spec.table)])
    return {"encoder.pos_embed": rows_of_table[None]}


def _rows(table: Tensor, class_token: bool, grid: tuple[int, int] | None) -> tuple[int, int]:
    """The grid of a table with or without a class row."""
    n_rows = table.shape[1]
    if grid is not None:
        if n_rows - grid[0] * grid[1] in (0, 1):
            return grid
        raise UnseenError(f"a table of {n_rows} rows for the grid {grid}", "rows times columns, and one for the class")
    for prefix in (1, 0) if class_token else (0,):
        side = math.isqrt(n_rows - prefix)
        if side * side == n_rows - prefix:
            return side, side
    raise UnseenError(f"a position table of {n_rows} rows is of no square grid", "the grid must be told", "pass grid=")


def _grid_of_timm(config: dict[str, Any]) -> tuple[int, int] | None:
    """The patch grid that the model_args of a timm config.json tell; None where they do not."""
    arguments = config.get("model_args") or {}
    image, patch = arguments.get("img_size"), arguments.get("patch_size")
    if image is None or patch is None:
        return None
    (height, width), (rows, columns) = ((v, v) if isinstance(v, int) else v for v in (image, patch))
    return height // rows, width // columns


def _check_settings(encoder: VisionTransformer, heads: int, eps: float) -> None:
    """Refuse what the shapes of weights do not show, and what would give other features without a word."""
    for name, theirs, ours in (("heads", heads, encoder.spec.heads), ("norm_eps", eps, encoder.spec.norm_eps)):
        if not math.isclose(theirs, ours, rel_tol=1e-6):
            raise UnseenError(
                f"the file was made with {name}={theirs}, the encoder has {name}={ours}",
                "they must be the same",
                f"build it with ViT({name}={theirs})",
            )


def _whole(model: nn.Module) -> MaskedAutoencoderModel:
    if not isinstance(model, MaskedAutoencoderModel) or model.predictor is None:
        raise UnseenError(f"a {type(model).__name__} has no decoder to fill", "part='all' needs a MaskedAutoencoder")
    return model


def _fill(model: nn.Module, encoder: VisionTransformer, chosen: dict[str, Tensor], part: str) -> str:
    """Copy after everything has been checked. Returns what was said of tensors that stay as they are."""
    if part == "encoder" or model is encoder:
        target: nn.Module = encoder
        chosen = {name.removeprefix("encoder."): value for name, value in chosen.items()}
    else:
        target = model
    own = {name: tuple(value.shape) for name, value in target.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in chosen.items()}
    others = [n for n in own if n not in found and n.startswith(("visible_heads.", "heads."))]
    missing = [n for n in own if n not in found and n not in others]
    unexpected = [n for n in found if n not in own]
    shapes = [f"{n} {found[n]} for {own[n]}" for n in found if n in own and found[n] != own[n]]
    if missing or unexpected or shapes:
        raise UnseenError(
            f"the weights do not fit: missing {missing}, unexpected {unexpected}, other shape {shapes}",
            "a file fills the model exactly",
        )
    target.load_state_dict(chosen, strict=False)
    return f"; kept as they were: {', '.join(others)}" if others else ""
