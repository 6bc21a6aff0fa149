"""Load weights from any known layout into a model: all or nothing, with the lists of keys when they do not fit."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unseen.errors import UnseenError
from unseen.models.bert import BertEncoder
from unseen.models.encoder import Encoder
from unseen.models.layouts import beit, bert, ijepa, modernbert, siblings, video_mae, vjepa2
from unseen.models.layouts.adapt import Inflation, adapt_channels, inflate
from unseen.models.layouts.files import read_config, read_state
from unseen.models.layouts.official import TABLES, check_sincos, from_hub, head_prefix, predicting
from unseen.models.layouts.transformers import grid_of, is_transformers, to_official_names
from unseen.models.masked_autoencoder import MaskedAutoencoderModel
from unseen.models.modernbert import ModernBertEncoder
from unseen.models.positions import Learned, Sequence1D, SinCos, resample
from unseen.models.relative import extent, resample_relative
from unseen.models.rotary_vit import RotaryVisionTransformer
from unseen.models.vit import VisionTransformer

SIBLINGS: dict[type, tuple[siblings.Layout, ...]] = {
    BertEncoder: (bert.LAYOUT,),
    ModernBertEncoder: (modernbert.LAYOUT,),
    RotaryVisionTransformer: (vjepa2.OFFICIAL, vjepa2.PEER),
}
DECODER_KEYS = re.compile(r"(mask_token$|decoder_|predictor\.|heads\.|visible_heads\.|lm_head\.)")  # not of the encoder
TASK_HEADS = re.compile(r"(head|head_dist|fc_norm)\.(weight|bias)")  # of timm encoders, never loaded

Hub = tuple[dict[str, Tensor], tuple[str, ...]]  # a state under the hub's names, and the names that are left out


class Layout(NamedTuple):
    """How weights are told apart by their names, and how they are read."""

    name: str
    recognises: Callable[[dict[str, Tensor]], bool]
    read: Callable[[dict[str, Tensor]], Hub]


LAYOUTS = (  # the first that recognises a state reads it
    Layout("transformers VideoMAE", video_mae.is_peer, video_mae.read),
    Layout("transformers BEiT", beit.is_peer, beit.read),
    Layout("transformers I-JEPA", ijepa.is_peer, ijepa.read),
    Layout("transformers", is_transformers, to_official_names),
    Layout("official VideoMAE", video_mae.is_official, video_mae.read),
    Layout("official BEiT", beit.is_official, beit.read),
    Layout("official I-JEPA", ijepa.is_official, ijepa.read),
    Layout(
        "unseen", lambda state: any(name.startswith("encoder.blocks.") for name in state), lambda state: (state, ())
    ),
    Layout("official MAE", lambda state: "decoder_pos_embed" in state, lambda state: (state, ())),
)


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
    grid: tuple[int, ...] | None = None,
    branch: str = "encoder",
    channels: Literal["same", "adapt"] = "same",
    video: Inflation | None = None,
) -> Matched:
    """Fill `model` (a MaskedModel, or its encoder alone) from our own weights or those of any layout known for it.

    `part="all"` also takes what predicts, its head as that of the output `head`. `grid` is the patch grid of the file,
    needed where it is not square and no config.json tells. `branch` chooses the encoder of a JEPA file. With
    `channels="adapt"` colour may become grey and back, with `video` images become tubes (see `adapt`).

    Raises UnseenError, and changes nothing, when a key is missing, unknown or of another shape, when the file's
    positions are not the model's, or when its norm eps or number of heads (where a file beside it tells) is another.
    """
    encoder = model if isinstance(model, Encoder) else model.encoder
    if not isinstance(encoder, Encoder):
        raise UnseenError("the model's encoder is a user's backbone", "only the package's encoders have known layouts")
    if not isinstance(encoder, VisionTransformer):
        if grid is not None or channels != "same" or video is not None:
            raise UnseenError("grid, channels and video adapt files to a ViT", f"this is a {type(encoder).__name__}")
        return _load_sibling(model, encoder, Path(path), part, head, branch)
    state, config = read_state(path), read_config(path)
    layout, state, ignored = _read(state, branch)
    if layout == "unseen":
        own = read_config(path, "encoder.json")
        if own is not None and "heads" in own["encoder"]["fields"]:
            _check_settings(encoder.spec, own["encoder"]["fields"]["heads"], own["encoder"]["fields"]["norm_eps"])
        chosen = {name: value for name, value in state.items() if part == "all" or name.startswith("encoder.")}
        left = tuple(name for name in state if name not in chosen)
    else:
        if layout.startswith("transformers") and config is not None:
            _check_config(model, encoder, config, part)
        grid = grid or _told_grid(layout, config)
        _check_known(state)
        state = _adapted(encoder, state, channels, video)
        chosen = from_hub(state, predicting(model, head) if part == "all" else {})
        left = tuple(n for n in state if TASK_HEADS.fullmatch(n) or (part == "encoder" and DECODER_KEYS.match(n)))
        chosen |= _positions(model, encoder, layout, state, grid, part) | _relative(encoder, state, grid)
    note = _fill(model, encoder, chosen, part)
    if video is not None and layout != "unseen":
        note += f"; {video} inflation, computed positions are the encoder's own"
    return Matched(layout, tuple(chosen), ignored + left, note)


def _load_sibling(model: nn.Module, encoder: Encoder, path: Path, part: str, head: str | None, branch: str) -> Matched:
    """The same for an encoder beside the ViT."""
    state, others = siblings.choose_branch(read_state(path), branch)
    layouts, own = SIBLINGS[type(encoder)], siblings.own_state(state, encoder)
    if own is not None:
        siblings.check_own(read_config(path, "encoder.json"), encoder, layouts)
    layout, found, ignored = (
        ("unseen", own, ()) if own is not None else siblings.read_sibling(layouts, state, encoder, read_config(path))
    )
    chosen = {name: value for name, value in found.items() if part == "all" or name.startswith("encoder.")}
    left = tuple(name for name in found if name not in chosen and name != "mask_token")
    if part == "all" and own is None:
        prefix = head_prefix(model, head)
        chosen = {
            prefix + n.removeprefix(siblings.HEAD) if n.startswith(siblings.HEAD) else n: v for n, v in chosen.items()
        }
        absent = [name for name in model.state_dict() if name.startswith(prefix) and name not in chosen]
        if absent:
            raise UnseenError(f"the weights do not fit: missing {absent}", "part='all' takes the head too")
    note = _fill(model, encoder, chosen, part)
    return Matched(layout, tuple(chosen), others + ignored + left, note)


def _read(state: dict[str, Tensor], branch: str) -> tuple[str, dict[str, Tensor], tuple[str, ...]]:
    """Which layout it is, and its state under the hub's names (our own: under ours)."""
    for layout in LAYOUTS:
        if layout.recognises(state):
            read = ijepa.read(state, branch) if layout.name == "official I-JEPA" else layout.read(state)
            return layout.name, *read
    if "pos_embed" not in state or any(name.startswith("patch_embed.mean") for name in state):
        return "unseen", {f"encoder.{name}": value for name, value in state.items()}, ()
    return "timm", state, ()


def _check_known(state: dict[str, Tensor]) -> None:
    known = re.compile(r"(cls_token$|pos_embed$|patch_embed\.proj\.|relative\.table$|blocks\.|norm\.)")
    unknown = [n for n in state if not (known.match(n) or DECODER_KEYS.match(n) or TASK_HEADS.fullmatch(n))]
    if unknown:
        raise UnseenError(f"unknown keys {unknown}", "no key is skipped in silence")


def _told_grid(layout: str, config: dict[str, Any] | None) -> tuple[int, ...] | None:
    """The patch grid that a config.json tells."""
    if config is None:
        return None
    if layout == "transformers VideoMAE":
        return video_mae.describe(config)[1].grid
    return grid_of(config) if layout.startswith("transformers") else _grid_of_timm(config)


def _adapted(
    encoder: VisionTransformer, state: dict[str, Tensor], channels: str, video: Inflation | None
) -> dict[str, Tensor]:
    """With the patch convolution for the encoder's own channels and frames, where the caller allows it."""
    name = "patch_embed.proj.weight"
    weight, unit = state.get(name), encoder.unit
    if weight is not None and channels == "adapt":
        weight = adapt_channels(weight, unit[-1])
    if weight is not None and video is not None and weight.ndim == 4 and len(unit) == 4:
        weight = inflate(weight, unit[0], video)
    return state if weight is None else state | {name: weight}


def _positions(
    model: Any,
    encoder: VisionTransformer,
    layout: str,
    state: dict[str, Tensor],
    grid: tuple[int, ...] | None,
    part: str,
) -> dict[str, Tensor]:
    """The table to load, if the encoder has one; otherwise a check that what is computed is what the file holds."""
    spec = encoder.spec.positions
    if layout.endswith("VideoMAE"):
        return _check_sequence(spec, model.spec.predictor.positions if part == "all" else spec, grid)
    if layout.endswith("BEiT") and "pos_embed" not in state:
        if spec is not None:
            raise UnseenError("the file has no positions that are added", f"the encoder has {spec}", "positions=None")
        return {}
    missing = [
        name
        for name in TABLES[: 2 if part == "all" and isinstance(model, MaskedAutoencoderModel) else 1]
        if name not in state
    ]
    if missing:
        raise UnseenError(f"the file has no {missing}", "the positions of encoder and decoder must be known")
    table = state["pos_embed"]
    rows = _rows(table, "cls_token" in state, grid)
    if "decoder_pos_embed" in state and part == "all":
        check_sincos(state["decoder_pos_embed"], rows, "decoder_pos_embed")
    if isinstance(spec, Learned):
        return {"encoder.pos_embed": _table_of(encoder, spec.grid, table, rows)}
    if isinstance(spec, SinCos) and len(encoder.spacing) == 2:
        check_sincos(table, rows, "pos_embed")
    elif len(encoder.spacing) == 2:
        raise UnseenError(f"the file has a table of positions, the encoder {spec}", "they must be the same")
    return {}  # images become video: the encoder's own positions of time and place stay


def _table_of(
    encoder: VisionTransformer, grid: tuple[int, ...], table: Tensor, rows: tuple[int, int]
) -> Float[Tensor, "1 N D"]:
    """The file's table at the cells of the encoder's, the row of the class token first; for video at each time slot."""
    n_units, with_class = rows[0] * rows[1], encoder.spec.class_token
    units, prefix = table[0, table.shape[1] - n_units :], table[0, : table.shape[1] - n_units]
    if with_class and not len(prefix):
        prefix = table.new_zeros(1, table.shape[2])
    slots = grid[0] if len(grid) == 3 else 1
    return torch.cat([prefix[: int(with_class)], resample(units, rows, grid[-2:]).repeat(slots, 1)])[None]


def _check_sequence(encoder: Any, predictor: Any, grid: tuple[int, ...] | None) -> dict[str, Tensor]:
    """A VideoMAE file holds no positions: refuse a model that computes others."""
    for name, positions in (("encoder", encoder), ("predictor", predictor)):
        if not isinstance(positions, Sequence1D) or (grid is not None and positions.grid != grid):
            raise UnseenError(
                f"the positions of the {name} are {positions}",
                f"those of VideoMAE are a sequence over its grid{f' {grid}' if grid else ''}",
                f"build it with positions=Sequence1D(grid={grid or '(time slots, rows, columns)'})",
            )
    return {}


def _relative(encoder: VisionTransformer, state: dict[str, Tensor], grid: tuple[int, ...] | None) -> dict[str, Tensor]:
    """The tables of relative positions for the encoder's window and blocks."""
    table, spec = state.get("relative.table"), encoder.spec.relative
    if table is None or spec is None:
        return {}
    n_cells = table.shape[1] - 3 * encoder.spec.class_token
    side = (math.isqrt(max(n_cells, 0)) + 1) // 2
    old = (side, side) if grid is None else (grid[0], grid[1])
    if extent(old)[0] * extent(old)[1] != n_cells:
        raise UnseenError(f"{n_cells} displacements are not those of {old}", "the grid must be told", "pass grid=")
    table = resample_relative(table, old, spec.grid)
    if len(table) == 1 and not spec.shared:
        table = table.repeat(encoder.spec.depth, 1, 1)
    return {"encoder.relative.table": table}


def _rows(table: Tensor, class_token: bool, grid: tuple[int, ...] | None) -> tuple[int, int]:
    """The grid of a table with or without a class row."""
    n_rows = table.shape[1]
    if grid is not None:
        if n_rows - grid[0] * grid[1] in (0, 1):
            return grid[0], grid[1]
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


def _check_config(model: Any, encoder: VisionTransformer, config: dict[str, Any], part: str) -> None:
    """Hold the settings of a transformers config.json against the encoder, and the predictor where it is read."""
    eps = config.get("layer_norm_eps", 1e-12)
    _check_settings(encoder.spec, config["num_attention_heads"], eps)
    if part == "all" and "decoder_num_attention_heads" in config and isinstance(model, MaskedAutoencoderModel):
        _check_settings(model.spec.predictor, config["decoder_num_attention_heads"], eps)


def _check_settings(spec: Any, heads: int, eps: float) -> None:
    """Refuse what the shapes of weights do not show, and what would give other features without a word."""
    owner = type(spec).__name__
    for name, theirs, ours in (("heads", heads, spec.heads), ("norm_eps", eps, spec.norm_eps)):
        if not math.isclose(theirs, ours, rel_tol=1e-6):
            raise UnseenError(
                f"the file was made with {name}={theirs}, the {owner} has {name}={ours}",
                "they must be the same",
                f"build it with {owner}({name}={theirs})",
            )


def _fill(model: nn.Module, encoder: Encoder, chosen: dict[str, Tensor], part: str) -> str:
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
