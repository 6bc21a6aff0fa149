"""BEiT (Bao et al., ICLR 2022): the official unilm files and transformers versions 4 and 5 <-> the hub's names.

Their keys have no bias: zeros are put in when reading, and it is dropped when writing (no value of it changes the
attention). One table of relative positions for all blocks, as in pretraining, or one for each, as after fine-tuning, is
the hub's `relative.table` [tables, entries, heads].
"""

import re
from typing import Any

import torch
from torch import Tensor

from unseen.contract import Shapes
from unseen.errors import UnseenError
from unseen.models.in_place import InPlaceViT
from unseen.models.layouts.names import OWN_BLOCK, OWN_QKV, Names, strip
from unseen.models.layouts.official import to_hub
from unseen.models.layouts.transformers import (
    VIT_BLOCK,
    VIT_BLOCKS,
    VIT_OUTER,
    describe_vit,
    grid_of,
    is_transformers,
    prefixed,
    vit_config,
)
from unseen.models.positions import Learned
from unseen.models.relative import Relative
from unseen.models.vit import VisionTransformer, ViT

_TABLE = "relative_position_bias_table"
_INDEX = r".*relative_position_index"
_PEER_OUTER = (
    *VIT_OUTER,
    ("embeddings.mask_token", "mask_token"),
    (f"encoder.relative_position_bias.{_TABLE}", "relative"),
    (f"shared_position_bias.{_TABLE}", "relative"),
)
_PEER_BLOCK = (
    *VIT_BLOCK,
    ("lambda_1", "ls1.gamma"),
    ("lambda_2", "ls2.gamma"),
    (f"attention.attention.relative_position_bias.{_TABLE}", "relative"),
    (f"relative_position_bias.{_TABLE}", "relative"),
)

BLOCK = (  # also of VideoMAE's files
    *OWN_BLOCK,
    *OWN_QKV,
    ("attn.q_bias", "attn.query.bias"),
    ("attn.v_bias", "attn.value.bias"),
    ("gamma_1", "ls1.gamma"),
    ("gamma_2", "ls2.gamma"),
)
UNILM = Names(
    what="BEiT",
    outer=(
        ("cls_token", "cls_token"),
        ("mask_token", "mask_token"),
        ("pos_embed", "pos_embed"),
        ("patch_embed.proj.", "patch_embed.proj."),
        (f"rel_pos_bias.{_TABLE}", "relative"),
        ("norm.", "norm."),
        ("lm_head.", "lm_head."),
    ),
    blocks=(("blocks.", "blocks."),),
    inner=(*BLOCK, (f"attn.{_TABLE}", "relative")),
    ignored=rf"{_INDEX}|head\.(weight|bias)|cls_pt_layers\..+",  # the last: of BEiT v2's second loss
    key_bias=False,
)
PEER = Names(
    what="transformers' BEiT",
    outer=_PEER_OUTER,
    blocks=VIT_BLOCKS,
    inner=_PEER_BLOCK,
    ignored=_INDEX,
    key_bias=False,
)
PEER_WHOLE = Names(
    what="transformers' BEiT",
    outer=(*prefixed(_PEER_OUTER, "beit."), ("layernorm.", "norm."), ("lm_head.", "lm_head.")),
    blocks=prefixed(VIT_BLOCKS, "beit."),
    inner=_PEER_BLOCK,
    ignored=rf"{_INDEX}|classifier\.(weight|bias)",
    key_bias=False,
)


def is_official(state: dict[str, Tensor]) -> bool:
    state, weight = strip(state, "module."), "patch_embed.proj.weight"
    return weight in state and state[weight].ndim == 4 and any(name.endswith(".attn.q_bias") for name in state)


def is_peer(state: dict[str, Tensor]) -> bool:
    return is_transformers(state) and any(re.search(r"(layer|layers)\.\d+\.lambda_1$|^beit\.", name) for name in state)


def read(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Either layout under the hub's names, and what may be left out."""
    state = strip(state, "module.")
    refuse_pooled(state)
    names = UNILM if not is_transformers(state) else PEER_WHOLE if "beit.embeddings.cls_token" in state else PEER
    hub, ignored = names.read(state)
    tables = [hub.pop(name) for name in sorted(hub, key=_number) if name.endswith("relative")]
    return hub | ({"relative.table": torch.stack(tables)} if tables else {}), ignored


def to_unilm(
    model: InPlaceViT | VisionTransformer, grid: tuple[int, ...], head: str | None = None
) -> dict[str, Tensor]:
    """The official names; of an InPlace model with its mask token, and the head of the output `head` as lm_head."""
    return UNILM.write(_apart(to_hub(model, grid, head), _encoder(model).spec))


def to_peer(
    model: InPlaceViT | VisionTransformer, grid: tuple[int, ...], head: str | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and config.json: an encoder for `BeitModel`, an InPlace model for `BeitForMaskedImageModeling`.

    Raises UnseenError for a window that is not square: transformers reads the table of such a one wrongly.
    """
    encoder, whole = _encoder(model), isinstance(model, InPlaceViT)
    spec, unit = encoder.spec, encoder.unit
    if not spec.class_token or len(unit) != 3 or spec.layer_scale is None:
        raise UnseenError(
            "this encoder is no BEiT", "transformers' has a class token, LayerScale and image patches", "export to onnx"
        )
    if unit[0] != unit[1] or (grid[0] != grid[1] and (spec.relative is not None or spec.positions is not None)):
        raise UnseenError(
            f"patches of {unit[0]} x {unit[1]} px on a {grid[0]} x {grid[1]} grid",
            "transformers' BEiT is right for square patches and square frames only",
            "export to onnx",
        )
    hub = to_hub(model, grid, head)
    config = vit_config(spec, unit, grid) | {
        "architectures": ["BeitForMaskedImageModeling" if whole else "BeitModel"],
        "model_type": "beit",
        "use_mask_token": whole,
        "use_absolute_position_embeddings": spec.positions is not None,
        "use_relative_position_bias": spec.relative is not None and not spec.relative.shared,
        "use_shared_relative_position_bias": spec.relative is not None and spec.relative.shared,
        "layer_scale_init_value": spec.layer_scale,
        "drop_path_rate": 0.0,
        "use_mean_pooling": whole,  # what decides there whether the encoder ends in a norm of its own
        "vocab_size": len(hub["lm_head.weight"]) if whole else 8192,
    }
    return (PEER_WHOLE if whole else PEER).write(_apart(hub, spec)), config


def describe(config: dict[str, Any], head: str = "pixels") -> tuple[ViT, Shapes]:
    """From a BEiT config.json: the encoder and the shapes it was made for, with `vocab_size` classes to predict."""
    encoder, shapes = describe_vit(
        config,
        head,
        positions=Learned(grid=grid_of(config)) if config.get("use_absolute_position_embeddings") else None,
        relative=_relative(config),
        layer_scale=config.get("layer_scale_init_value", 0.1) or None,
    )
    output = shapes.outputs[head]._replace(shape=(config.get("vocab_size", 8192),))
    return encoder, shapes._replace(outputs={head: output})


def refuse_pooled(state: dict[str, Tensor]) -> None:
    """Refuse fine-tuned files that pool before they normalise."""
    pooled = [
        n for n in state if n.startswith("fc_norm.") or n.endswith(("pooler.layernorm.weight", "pooler.layernorm.bias"))
    ]
    if pooled:
        raise UnseenError(
            f"the file normalises after pooling: {pooled}",
            "here the final norm is of every unit, so its features would be others",
            "take the file of the pretraining",
        )


def _apart(hub: dict[str, Tensor], spec: ViT) -> dict[str, Tensor]:
    """The tables of relative positions where both layouts keep them: one outside, or one in each block."""
    tables = hub.pop("relative.table", None)
    if tables is None or spec.relative is None:
        return hub
    names = ["relative"] if spec.relative.shared else [f"blocks.{i}.relative" for i in range(len(tables))]
    return hub | dict(zip(names, tables, strict=True))


def _relative(config: dict[str, Any]) -> Relative | None:
    shared = bool(config.get("use_shared_relative_position_bias"))
    own = bool(config.get("use_relative_position_bias"))
    if shared and own:
        raise UnseenError("the config has a shared and an own relative bias in each block", "one of them is known")
    return Relative(grid=grid_of(config), shared=shared) if shared or own else None


def _encoder(model: InPlaceViT | VisionTransformer) -> VisionTransformer:
    encoder = model.encoder if isinstance(model, InPlaceViT) else model
    if not isinstance(encoder, VisionTransformer):
        raise UnseenError(f"the encoder is a {type(encoder).__name__}", "a BEiT file holds a ViT")
    return encoder


def _number(name: str) -> int:
    found = re.match(r"blocks\.(\d+)\.", name)
    return int(found[1]) if found else -1
