"""Official MAE names <-> transformers ViTMAE and ViT, as versions 4 and 5 name them.

Version 5 writes version 4's names back on saving, but files the decoder under `decoder.decoder_encoder.layer`; both
spellings are read. What is written are version 4's names, which both versions load.
"""

from typing import Any

from torch import Tensor

from unseen.contract import Output, Shapes
from unseen.errors import UnseenError
from unseen.models.layouts.names import Names, Rows
from unseen.models.masked_autoencoder import MaskedAutoencoder
from unseen.models.predictors import SelfAttention
from unseen.models.vit import ViT

VIT_BLOCK: Rows = (  # version 4, then version 5
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("attention.attention.query.", "attn.query."),
    ("attention.attention.key.", "attn.key."),
    ("attention.attention.value.", "attn.value."),
    ("attention.output.dense.", "attn.proj."),
    ("intermediate.dense.", "mlp.fc1."),
    ("output.dense.", "mlp.fc2."),
    ("attention.q_proj.", "attn.query."),
    ("attention.k_proj.", "attn.key."),
    ("attention.v_proj.", "attn.value."),
    ("attention.o_proj.", "attn.proj."),
    ("mlp.fc1.", "mlp.fc1."),
    ("mlp.fc2.", "mlp.fc2."),
)
VIT_ENDS: Rows = (("embeddings.patch_embeddings.projection.", "patch_embed.proj."), ("layernorm.", "norm."))
VIT_POSITIONS: Rows = (("embeddings.position_embeddings", "pos_embed"),)
VIT_OUTER: Rows = (("embeddings.cls_token", "cls_token"), *VIT_POSITIONS, *VIT_ENDS)
VIT_BLOCKS: Rows = (("encoder.layer.", "blocks."), ("layers.", "blocks."))
_DECODER: Rows = tuple(
    (f"decoder.{name}", name)
    for name in ("mask_token", "decoder_pos_embed", "decoder_embed.", "decoder_norm.", "decoder_pred.")
)
_DECODER_BLOCKS: Rows = (
    ("decoder.decoder_layers.", "decoder_blocks."),
    ("decoder.decoder_encoder.layer.", "decoder_blocks."),
)


def prefixed(rows: Rows, prefix: str) -> Rows:
    """The same rows for a model inside another, which puts its prefix before their names."""
    return tuple((prefix + theirs, ours) for theirs, ours in rows)


VIT = Names(
    what="ViTMAE or ViT",
    outer=VIT_OUTER,
    blocks=VIT_BLOCKS,
    inner=VIT_BLOCK,
    ignored=r"(pooler\.dense|classifier)\.(weight|bias)",
)
VIT_MAE = Names(
    what="ViTMAE or ViT",
    outer=prefixed(VIT_OUTER, "vit.") + _DECODER,
    blocks=prefixed(VIT_BLOCKS, "vit.") + _DECODER_BLOCKS,
    inner=VIT_BLOCK,
    ignored=r"(vit\.)?(pooler\.dense|classifier)\.(weight|bias)",
)


def is_transformers(state: dict[str, Tensor]) -> bool:
    return any(name.endswith("embeddings.patch_embeddings.projection.weight") for name in state)


def to_official_names(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The state under official names, with fused qkv, and the keys that the allow-list lets fall."""
    inside = any(name.startswith(("vit.", "decoder.")) for name in state)
    return (VIT_MAE if inside else VIT).read(state)


def from_official_names(state: dict[str, Tensor], prefix: str = "vit.") -> dict[str, Tensor]:
    """Version 4's names; `prefix` is "vit." for ViTMAEForPreTraining and "" for ViTModel and ViTMAEModel."""
    return (VIT_MAE if prefix else VIT).write(state)


def describe(config: dict[str, Any], head: str = "pixels") -> tuple[MaskedAutoencoder, Shapes, bool]:
    """From a ViTMAE config.json: the model, the shapes it was made for, and whether its pixels are normalised.

    The norm eps is the file's own (the class default, 1e-12, is not that of the official weights, 1e-6).
    """
    encoder, shapes = describe_vit(config, head)
    predictor = SelfAttention(
        width=config["decoder_hidden_size"],
        depth=config["decoder_num_hidden_layers"],
        heads=config["decoder_num_attention_heads"],
        mlp_ratio=config["decoder_intermediate_size"] / config["decoder_hidden_size"],
        norm_eps=encoder.norm_eps,
    )
    return MaskedAutoencoder(encoder=encoder, predictor=predictor), shapes, bool(config.get("norm_pix_loss", False))


def describe_vit(config: dict[str, Any], head: str = "pixels", **settings: Any) -> tuple[ViT, Shapes]:
    """From the config.json of any ViT over image patches: the encoder, with other `settings`, and its shapes."""
    patch, grid = pair(config["patch_size"]), grid_of(config)
    unit = (*patch, config.get("num_channels", 3))
    encoder = ViT(
        width=config["hidden_size"],
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        mlp_ratio=config["intermediate_size"] / config["hidden_size"],
        norm_eps=config.get("layer_norm_eps", 1e-12),
        **settings,
    )
    return encoder, Shapes(unit, (float(patch[0]), float(patch[1])), grid, {head: Output(unit)})


def vit_config(spec: ViT, unit: tuple[int, ...], grid: tuple[int, ...]) -> dict[str, Any]:
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
        "image_size": scalar(grid[0] * rows, grid[1] * columns),
        "patch_size": scalar(rows, columns),
        "num_channels": channels,
        "qkv_bias": True,
    }


def vit_mae_config(
    spec: MaskedAutoencoder, unit: tuple[int, ...], grid: tuple[int, int], norm_pix: bool
) -> dict[str, Any]:
    """The config.json of a ViTMAEForPreTraining with these weights."""
    encoder, predictor = spec.encoder, spec.predictor
    if not (isinstance(encoder, ViT) and isinstance(predictor, SelfAttention) and encoder.class_token) or (
        grid[0] != grid[1]
    ):
        raise UnseenError(
            "this model is no ViTMAE", "it needs a ViT, a SelfAttention predictor, a class token and a square grid"
        )
    if predictor.norm_eps != encoder.norm_eps:
        raise UnseenError("encoder and predictor have different norm_eps", "ViTMAE has one")
    return vit_config(encoder, unit, grid) | {
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


def scalar(height: int, width: int) -> int | list[int]:
    return height if height == width else [height, width]
