"""Official MAE names <-> transformers ViTMAE and ViT, as versions 4 and 5 name them.

Version 5 writes version 4's names back on saving, but files the decoder under `decoder.decoder_encoder.layer`; both
spellings are read. What is written are version 4's names, which both versions load.
"""

import re
from typing import Any

import torch
from torch import Tensor

from unseen.contract import Output, Shapes
from unseen.errors import UnseenError
from unseen.models.masked_autoencoder import MaskedAutoencoder
from unseen.models.predictors import SelfAttention
from unseen.models.vit import ViT

IGNORABLE = re.compile(r"(pooler\.dense|classifier)\.(weight|bias)")  # heads of other tasks

_OUTER = (  # transformers (after an optional "vit."), official
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("layernorm.", "norm."),
    ("decoder.mask_token", "mask_token"),
    ("decoder.decoder_pos_embed", "decoder_pos_embed"),
    ("decoder.decoder_embed.", "decoder_embed."),
    ("decoder.decoder_norm.", "decoder_norm."),
    ("decoder.decoder_pred.", "decoder_pred."),
)
_BLOCKS = (
    (re.compile(r"(?:encoder\.layer|layers)\.(\d+)\."), "blocks."),
    (re.compile(r"decoder\.(?:decoder_layers|decoder_encoder\.layer)\.(\d+)\."), "decoder_blocks."),
)
_INNER = (  # version 4, version 5, official
    ("layernorm_before.", "layernorm_before.", "norm1."),
    ("layernorm_after.", "layernorm_after.", "norm2."),
    ("attention.attention.query.", "attention.q_proj.", "attn.query."),
    ("attention.attention.key.", "attention.k_proj.", "attn.key."),
    ("attention.attention.value.", "attention.v_proj.", "attn.value."),
    ("attention.output.dense.", "attention.o_proj.", "attn.proj."),
    ("intermediate.dense.", "mlp.fc1.", "mlp.fc1."),
    ("output.dense.", "mlp.fc2.", "mlp.fc2."),
)


def is_transformers(state: dict[str, Tensor]) -> bool:
    return any(name.endswith("embeddings.patch_embeddings.projection.weight") for name in state)


def to_official_names(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The state under official names, with fused qkv, and the keys that the allow-list lets fall."""
    out: dict[str, Tensor] = {}
    unknown: list[str] = []
    ignored: list[str] = []
    for name, value in state.items():
        bare = name.removeprefix("vit.")
        official = _outer(bare) or _inner(bare)
        if official:
            out[official] = value
        else:
            (ignored if IGNORABLE.fullmatch(bare) else unknown).append(name)
    if unknown:
        raise UnseenError(f"keys that are not of ViTMAE or ViT: {unknown}", "no key is skipped in silence")
    return _fuse(out), tuple(ignored)


def from_official_names(state: dict[str, Tensor], prefix: str = "vit.") -> dict[str, Tensor]:
    """Version 4's names; `prefix` is "vit." for ViTMAEForPreTraining and "" for ViTModel and ViTMAEModel."""
    out = {}
    for name, value in state.items():
        for theirs, official in _OUTER:
            if name.startswith(official):
                out[(prefix if not theirs.startswith("decoder.") else "") + theirs + name[len(official) :]] = value
        block = re.fullmatch(r"(decoder_)?blocks\.(\d+)\.(.+)", name)
        if block:
            place = "decoder.decoder_layers." if block[1] else f"{prefix}encoder.layer."
            out |= {f"{place}{block[2]}.{inner}": part for inner, part in _split(block[3], value)}
    return {name: value.contiguous() for name, value in out.items()}


def describe(config: dict[str, Any], head: str = "pixels") -> tuple[MaskedAutoencoder, Shapes, bool]:
    """From a ViTMAE config.json: the model, the shapes it was made for, and whether its pixels are normalised.

    The norm eps is the file's own (the class default, 1e-12, is not that of the official weights, 1e-6).
    """
    eps = config.get("layer_norm_eps", 1e-12)
    patch, channels = pair(config["patch_size"]), config.get("num_channels", 3)
    grid = grid_of(config)
    unit = (*patch, channels)
    encoder = ViT(
        width=config["hidden_size"],
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        mlp_ratio=config["intermediate_size"] / config["hidden_size"],
        norm_eps=eps,
    )
    predictor = SelfAttention(
        width=config["decoder_hidden_size"],
        depth=config["decoder_num_hidden_layers"],
        heads=config["decoder_num_attention_heads"],
        mlp_ratio=config["decoder_intermediate_size"] / config["decoder_hidden_size"],
        norm_eps=eps,
    )
    shapes = Shapes(unit, (float(patch[0]), float(patch[1])), grid, {head: Output(unit)})
    return MaskedAutoencoder(encoder=encoder, predictor=predictor), shapes, bool(config.get("norm_pix_loss", False))


def vit_config(spec: ViT, unit: tuple[int, ...], grid: tuple[int, int]) -> dict[str, Any]:
    """The config.json of a ViTModel with these weights (load it with `add_pooling_layer=False`)."""
    rows, columns, channels = unit
    return {
        "architectures": ["ViTModel"],
        "model_type": "vit",
        "hidden_size": spec.width,
        "num_hidden_layers": spec.depth,
        "num_attention_heads": spec.heads,
        "intermediate_size": round(spec.width * spec.mlp_ratio),
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": spec.norm_eps,
        "image_size": _scalar(grid[0] * rows, grid[1] * columns),
        "patch_size": _scalar(rows, columns),
        "num_channels": channels,
        "qkv_bias": True,
    }


def vit_mae_config(
    spec: MaskedAutoencoder, unit: tuple[int, ...], grid: tuple[int, int], norm_pix: bool
) -> dict[str, Any]:
    """The config.json of a ViTMAEForPreTraining with these weights."""
    predictor = spec.predictor
    if not isinstance(predictor, SelfAttention) or not spec.encoder.class_token or grid[0] != grid[1]:
        raise UnseenError(
            "this model is no ViTMAE", "it needs a SelfAttention predictor, a class token and a square grid"
        )
    if predictor.norm_eps != spec.encoder.norm_eps:
        raise UnseenError("encoder and predictor have different norm_eps", "ViTMAE has one")
    return vit_config(spec.encoder, unit, grid) | {
        "architectures": ["ViTMAEForPreTraining"],
        "model_type": "vit_mae",
        "decoder_hidden_size": predictor.width,
        "decoder_num_hidden_layers": predictor.depth,
        "decoder_num_attention_heads": predictor.heads,
        "decoder_intermediate_size": round(predictor.width * predictor.mlp_ratio),
        "norm_pix_loss": norm_pix,
    }


def grid_of(config: dict[str, Any]) -> tuple[int, int]:
    """Rows and columns of patches that a config.json tells."""
    image, patch = pair(config["image_size"]), pair(config["patch_size"])
    return image[0] // patch[0], image[1] // patch[1]


def pair(value: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _scalar(height: int, width: int) -> int | list[int]:
    return height if height == width else [height, width]


def _outer(name: str) -> str | None:
    return next((o + name[len(t) :] for t, o in _OUTER if name.startswith(t)), None)


def _inner(name: str) -> str | None:
    for pattern, place in _BLOCKS:
        block = pattern.match(name)
        rest = name[block.end() :] if block else ""
        for version4, version5, official in _INNER:
            for theirs in (version4, version5):
                if block and rest.startswith(theirs):
                    return f"{place}{block[1]}.{official}{rest[len(theirs) :]}"
    return None


def _fuse(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """One matrix: rows [0:D] query, [D:2D] key, [2D:3D] value."""
    out = {name: value for name, value in state.items() if not re.search(r"attn\.(query|key|value)\.", name)}
    for name in state:
        if ".attn.query." in name:
            names = [name.replace("query", part) for part in ("query", "key", "value")]
            missing = [part for part in names if part not in state]
            if missing:
                raise UnseenError(f"missing {missing}", "query, key and value come together")
            out[name.replace("query", "qkv")] = torch.cat([state[part] for part in names])
    return out


def _split(inner: str, value: Tensor) -> list[tuple[str, Tensor]]:
    """One official name inside a block as version 4 has it: itself renamed, or three for qkv."""
    if inner.startswith("attn.qkv."):
        leaf = inner.removeprefix("attn.qkv.")
        parts = zip(("query", "key", "value"), value.chunk(3), strict=True)
        return [(f"attention.attention.{part}.{leaf}", rows) for part, rows in parts]
    return [(version4 + inner[len(o) :], value) for version4, _, o in _INNER if inner.startswith(o)]
