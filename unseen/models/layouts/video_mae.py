"""VideoMAE (Tong et al., NeurIPS 2022): the official files and transformers versions 4 and 5 <-> the hub's names.

Positions are the sinusoid of a flattened grid and are not in the files: encoder and predictor must be built with
`Sequence1D`. A unit is [frames, rows, columns, channels]. Keys have no bias: zeros are put in when reading.

The norm eps is 1e-6 in the original. transformers' configs say otherwise, and the norm before its prediction head has
1e-5 whatever they say; only with eps 1e-5 throughout are its predictions and ours the same to the last digits.
"""

from typing import Any

from torch import Tensor

from unseen.contract import Output, Shapes
from unseen.errors import UnseenError
from unseen.models.layouts.beit import BLOCK, refuse_pooled
from unseen.models.layouts.names import Names, strip
from unseen.models.layouts.official import to_hub
from unseen.models.layouts.transformers import VIT_BLOCK, VIT_ENDS, is_transformers, pair, prefixed, scalar
from unseen.models.masked_autoencoder import MaskedAutoencoder, MaskedAutoencoderModel
from unseen.models.positions import Sequence1D
from unseen.models.predictors import SelfAttention
from unseen.models.vit import VisionTransformer, ViT

_ENDS = (("patch_embed.proj.", "patch_embed.proj."), ("norm.", "norm."))
_DECODER = (
    ("encoder_to_decoder.", "decoder_embed."),
    ("mask_token", "mask_token"),
    ("decoder.norm.", "decoder_norm."),
    ("decoder.head.", "decoder_pred."),
)
_PEER_BLOCK = (  # q_bias and v_bias: version 4
    ("attention.attention.q_bias", "attn.query.bias"),
    ("attention.attention.v_bias", "attn.value.bias"),
    *VIT_BLOCK,
)

OFFICIAL = Names(
    what="VideoMAE",
    outer=(*prefixed(_ENDS, "encoder."), *_DECODER),
    blocks=(("encoder.blocks.", "blocks."), ("decoder.blocks.", "decoder_blocks.")),
    inner=BLOCK,
    key_bias=False,
)
OFFICIAL_ENCODER = Names(
    what="VideoMAE",
    outer=_ENDS,
    blocks=(("blocks.", "blocks."),),
    inner=BLOCK,
    ignored=r"head\.(weight|bias)",
    key_bias=False,
)
PEER = Names(
    what="transformers' VideoMAE",
    outer=VIT_ENDS,
    blocks=(("encoder.layer.", "blocks."),),
    inner=_PEER_BLOCK,
    key_bias=False,
)
PEER_WHOLE = Names(
    what="transformers' VideoMAE",
    outer=(*prefixed(VIT_ENDS, "videomae."), *_DECODER),
    blocks=(("videomae.encoder.layer.", "blocks."), ("decoder.decoder_layers.", "decoder_blocks.")),
    inner=_PEER_BLOCK,
    ignored=r"classifier\.(weight|bias)",
    key_bias=False,
)


def is_official(state: dict[str, Tensor]) -> bool:
    state = strip(state, "module.")
    weight = state.get("encoder.patch_embed.proj.weight", state.get("patch_embed.proj.weight"))
    return weight is not None and weight.ndim == 5 and any(name.endswith(".attn.q_bias") for name in state)


def is_peer(state: dict[str, Tensor]) -> bool:
    end = "embeddings.patch_embeddings.projection.weight"
    return any(name.endswith(end) and value.ndim == 5 for name, value in state.items())


def read(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Either layout under the hub's names, and what may be left out."""
    state = strip(state, "module.")
    refuse_pooled(state)
    if is_transformers(state):
        return (PEER_WHOLE if any(name.startswith("videomae.") for name in state) else PEER).read(state)
    return (OFFICIAL if "encoder.patch_embed.proj.weight" in state else OFFICIAL_ENCODER).read(state)


def to_official(model: MaskedAutoencoderModel | VisionTransformer, head: str | None = None) -> dict[str, Tensor]:
    """The official names; of a whole model with its decoder, and the head of the output `head` as decoder.head."""
    _, grid = _check(model)
    whole = isinstance(model, MaskedAutoencoderModel)
    return (OFFICIAL if whole else OFFICIAL_ENCODER).write(to_hub(model, grid, head))


def to_peer(
    model: MaskedAutoencoderModel | VisionTransformer, head: str | None = None, norm_pix: bool = True
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Weights and config.json: an encoder for `VideoMAEModel`, a whole model for `VideoMAEForPreTraining`."""
    encoder, grid = _check(model)
    spec, (frames, rows, columns, channels) = encoder.spec, encoder.unit
    if spec.layer_scale is not None or rows != columns:
        raise UnseenError("this encoder is no VideoMAE of transformers", "it has square patches and no LayerScale")
    whole = isinstance(model, MaskedAutoencoderModel)
    config = {
        "architectures": ["VideoMAEForPreTraining" if whole else "VideoMAEModel"],
        "model_type": "videomae",
        "image_size": scalar(grid[1] * rows, grid[2] * columns),
        "patch_size": rows,
        "num_channels": channels,
        "num_frames": grid[0] * frames,
        "tubelet_size": frames,
        "hidden_size": spec.width,
        "num_hidden_layers": spec.depth,
        "num_attention_heads": spec.heads,
        "intermediate_size": round(spec.width * spec.mlp_ratio),
        "layer_norm_eps": spec.norm_eps,
        "qv_bias": True,
        "use_mean_pooling": False,  # with it transformers leaves out the norm that the original has
        "norm_pix_loss": norm_pix,
    }
    if isinstance(model, MaskedAutoencoderModel):
        config |= _decoder_config(model)
    return (PEER_WHOLE if whole else PEER).write(to_hub(model, grid, head)), config


def describe(config: dict[str, Any], head: str = "pixels") -> tuple[MaskedAutoencoder, Shapes, bool]:
    """From a VideoMAE config.json: the model, the shapes it was made for, and whether its pixels are normalised."""
    image, patch = pair(config.get("image_size", 224)), pair(config.get("patch_size", 16))
    frames, eps = config.get("tubelet_size", 2), config.get("layer_norm_eps", 1e-12)
    grid = (config.get("num_frames", 16) // frames, image[0] // patch[0], image[1] // patch[1])
    width, decoder = config.get("hidden_size", 768), config.get("decoder_hidden_size", 384)
    encoder = ViT(
        width=width,
        depth=config.get("num_hidden_layers", 12),
        heads=config.get("num_attention_heads", 12),
        mlp_ratio=config.get("intermediate_size", 3072) / width,
        norm_eps=eps,
        class_token=False,
        positions=Sequence1D(grid=grid),
    )
    predictor = SelfAttention(
        width=decoder,
        depth=config.get("decoder_num_hidden_layers", 4),
        heads=config.get("decoder_num_attention_heads", 6),
        mlp_ratio=config.get("decoder_intermediate_size", 1536) / decoder,
        norm_eps=eps,
        positions=Sequence1D(grid=grid),
        embed_bias=False,
    )
    unit = (frames, *patch, config.get("num_channels", 3))
    shapes = Shapes(unit, tuple(float(side) for side in unit[:3]), grid, {head: Output(unit)})
    return MaskedAutoencoder(encoder=encoder, predictor=predictor), shapes, config.get("norm_pix_loss", True)


def _check(model: MaskedAutoencoderModel | VisionTransformer) -> tuple[VisionTransformer, tuple[int, ...]]:
    """The encoder and its grid [time slots, rows, columns], where it is a VideoMAE."""
    encoder = model if isinstance(model, VisionTransformer) else model.encoder
    positions = encoder.spec.positions if isinstance(encoder, VisionTransformer) else None
    if (
        not isinstance(encoder, VisionTransformer)
        or not isinstance(positions, Sequence1D)
        or encoder.spec.class_token
        or len(encoder.unit) != 4
    ):
        raise UnseenError(
            "this encoder is no VideoMAE", "it has Sequence1D positions, no class token, and units of several frames"
        )
    return encoder, positions.grid


def _decoder_config(model: MaskedAutoencoderModel) -> dict[str, Any]:
    spec = model.spec.predictor
    if not isinstance(spec, SelfAttention) or spec.embed_bias or spec.positions != model.encoder.spec.positions:
        raise UnseenError(
            "this predictor is not VideoMAE's", "it is SelfAttention with embed_bias=False and the encoder's positions"
        )
    if spec.norm_eps != model.encoder.spec.norm_eps:
        raise UnseenError("encoder and predictor have different norm_eps", "transformers' VideoMAE has one")
    return {
        "decoder_hidden_size": spec.width,
        "decoder_num_hidden_layers": spec.depth,
        "decoder_num_attention_heads": spec.heads,
        "decoder_intermediate_size": round(spec.width * spec.mlp_ratio),
    }
