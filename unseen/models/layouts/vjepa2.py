"""V-JEPA 2 (Assran et al., 2025): the official files and transformers <-> our names, which are the official ones.

An official file holds `encoder`, its exponential average `target_encoder`, and `predictor`; the official loader and
transformers' converter take `encoder`, as is done here unless told. The predictor has several mask tokens, one for each
way of masking in training; the one that transformers takes by itself is taken, the others are left out by name.
"""

from typing import Any

from torch import Tensor

from unseen.contract import Output, Shapes
from unseen.errors import UnseenError
from unseen.models.layouts.names import OWN_BLOCK, OWN_QKV, PARTS, Names, Rows
from unseen.models.layouts.siblings import HEAD, Layout, State, require
from unseen.models.masked_autoencoder import MaskedAutoencoder, MaskedAutoencoderModel
from unseen.models.rotary_predictor import RotaryPredictor, RotarySelfAttention
from unseen.models.rotary_vit import RotaryVisionTransformer, RotaryViT

MASK_INDEX = 1  # transformers' own choice
PREDICTOR = "predictor."
_PEER_BLOCK: Rows = (
    *(row for row in OWN_BLOCK if not row[0].startswith("attn.")),
    ("attention.proj.", "attn.proj."),
    *((f"attention.{part}.", f"attn.{part}.") for part in PARTS),
)

OFFICIAL_ENCODER = Names(
    what="V-JEPA 2",
    outer=(("patch_embed.proj.", "patch_embed.proj."), ("norm.", "norm.")),
    blocks=(("blocks.", "blocks."),),
    inner=(*OWN_BLOCK, *OWN_QKV),
)
OFFICIAL_PREDICTOR = Names(
    what="V-JEPA 2's predictor",
    outer=(
        ("predictor_embed.", "embed."),
        ("predictor_norm.", "norm."),
        ("predictor_proj.", HEAD),
        ("mask_tokens.", "mask_tokens."),
    ),
    blocks=(("predictor_blocks.", "blocks."),),
    inner=(*OWN_BLOCK, *OWN_QKV),
)
PEER_ENCODER = Names(
    what="transformers' V-JEPA 2",
    outer=(("encoder.embeddings.patch_embeddings.proj.", "patch_embed.proj."), ("encoder.layernorm.", "norm.")),
    blocks=(("encoder.layer.", "blocks."),),
    inner=_PEER_BLOCK,
    ignored=r"(pooler|classifier)\..+",
)
PEER_PREDICTOR = Names(
    what="transformers' V-JEPA 2 predictor",
    outer=(
        ("predictor.embeddings.predictor_embeddings.", "embed."),
        ("predictor.embeddings.mask_tokens", "mask_tokens"),
        ("predictor.layernorm.", "norm."),
        ("predictor.proj.", HEAD),
    ),
    blocks=(("predictor.layer.", "blocks."),),
    inner=_PEER_BLOCK,
)


def is_official(state: State) -> bool:
    return any(name.startswith("encoder.backbone.") for name in state)


def is_peer(state: State) -> bool:
    return any(name.endswith("encoder.embeddings.patch_embeddings.proj.weight") for name in state)


def read_official(state: State, spec: RotaryViT) -> tuple[State, tuple[str, ...]]:
    """A file of the official code, one encoder of which has been chosen, under the names of a model."""
    bare = {name.replace(".backbone.", ".", 1): value for name, value in state.items()}
    encoder = {n.removeprefix("encoder."): v for n, v in bare.items() if not n.startswith(PREDICTOR)}
    predictor = {n.removeprefix(PREDICTOR): v for n, v in bare.items() if n.startswith(PREDICTOR)}
    return _to_model(OFFICIAL_ENCODER.read(encoder), OFFICIAL_PREDICTOR.read(predictor), spec)


def read_peer(state: State, spec: RotaryViT) -> tuple[State, tuple[str, ...]]:
    """A VJEPA2Model, or one with a classifier, under the names of a model."""
    bare = {name.removeprefix("vjepa2."): value for name, value in state.items()}
    predictor = {name: value for name, value in bare.items() if name.startswith(PREDICTOR)}
    encoder = {name: value for name, value in bare.items() if name not in predictor}
    return _to_model(PEER_ENCODER.read(encoder), PEER_PREDICTOR.read(predictor), spec)


def to_official(model: MaskedAutoencoderModel | RotaryVisionTransformer) -> dict[str, State]:
    """What the official loader reads: the states of `encoder` and, of a whole model, `predictor`."""
    encoder, predictor = _to_hub(model)
    written = {"encoder": OFFICIAL_ENCODER.write(encoder)}
    if predictor:
        written["predictor"] = OFFICIAL_PREDICTOR.write(predictor | {"mask_tokens.0": predictor.pop("mask_token")})
    return {part: {f"module.backbone.{n}": v for n, v in state.items()} for part, state in written.items()}


def to_peer(
    model: MaskedAutoencoderModel | RotaryVisionTransformer, grid: tuple[int, ...] | None = None
) -> tuple[State, dict[str, Any]]:
    """Weights and config.json for `VJEPA2Model`, where an encoder alone is used with `skip_predictor=True`.

    `grid` [time slots, rows, columns] is that of the clips it will read; None: of those it was built for.
    """
    encoder, predictor = _to_hub(model)
    state = PEER_ENCODER.write(encoder)
    if predictor:
        state |= PEER_PREDICTOR.write(predictor | {"mask_tokens": predictor.pop("mask_token")[None]})
    return state, config(model, grid)


def config(model: MaskedAutoencoderModel | RotaryVisionTransformer, grid: tuple[int, ...] | None) -> dict[str, Any]:
    encoder: Any = model.encoder if isinstance(model, MaskedAutoencoderModel) else model
    spec, unit, grid = encoder.spec, encoder.unit, grid or encoder.grid
    if grid is None or len(grid) != 3 or unit[1] != unit[2] or grid[1] != grid[2]:
        raise UnseenError(
            f"patches of {unit[1:3]} px on the grid {grid}",
            "in transformers, V-JEPA 2 has square ones on square frames",
        )
    told = {
        "architectures": ["VJEPA2Model"],
        "model_type": "vjepa2",
        "patch_size": unit[1],
        "crop_size": grid[1] * unit[1],
        "frames_per_clip": grid[0] * unit[0],
        "tubelet_size": unit[0],
        "in_chans": unit[3],
        "hidden_size": spec.width,
        "num_hidden_layers": spec.depth,
        "num_attention_heads": spec.heads,
        "mlp_ratio": spec.mlp_ratio,
        "layer_norm_eps": spec.norm_eps,
        "qkv_bias": True,
        "hidden_act": "gelu",
        "pred_num_mask_tokens": 1,
    }
    predictor = model.predictor if isinstance(model, MaskedAutoencoderModel) else None
    return (
        told
        if predictor is None
        else told
        | {
            "pred_hidden_size": predictor.spec.width,
            "pred_num_hidden_layers": predictor.spec.depth,
            "pred_num_attention_heads": predictor.spec.heads,
            "pred_mlp_ratio": predictor.spec.mlp_ratio,
        }
    )


def describe(config: dict[str, Any], head: str = "latent") -> tuple[MaskedAutoencoder, Shapes]:
    """From a V-JEPA 2 config.json: the model, and the shapes it was made for (time in frames, not in seconds)."""
    require(config, {"model_type": "vjepa2", "qkv_bias": True, "hidden_act": "gelu"})
    eps, patch, width = config.get("layer_norm_eps", 1e-6), config["patch_size"], config["hidden_size"]
    frames, side = config["tubelet_size"], config["crop_size"] // patch
    encoder = RotaryViT(
        width=width,
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        mlp_ratio=config["mlp_ratio"],
        norm_eps=eps,
        pairing="released",
    )
    predictor = RotarySelfAttention(
        width=config["pred_hidden_size"],
        depth=config["pred_num_hidden_layers"],
        heads=config["pred_num_attention_heads"],
        mlp_ratio=config["pred_mlp_ratio"],
        norm_eps=eps,
        pairing="released",
    )
    unit, spacing = (frames, patch, patch, config.get("in_chans", 3)), (float(frames), float(patch), float(patch))
    grid = (config["frames_per_clip"] // frames, side, side)
    return MaskedAutoencoder(encoder=encoder, predictor=predictor), Shapes(
        unit, spacing, grid, {head: Output((width,))}
    )


def _to_model(
    encoder: tuple[State, tuple[str, ...]], predictor: tuple[State, tuple[str, ...]], spec: RotaryViT
) -> tuple[State, tuple[str, ...]]:
    """Both parts under the names of a model; the mask tokens become the one that is taken."""
    _check_pairing(spec)
    (inside, ignored), (others, _) = encoder, predictor
    out = {f"encoder.{name}": value for name, value in inside.items()}
    tokens = _mask_tokens(others)
    if tokens:
        others = others | {"mask_token": tokens[MASK_INDEX % len(tokens)]}
        ignored += tuple(f"mask token {n}" for n in range(len(tokens)) if n != MASK_INDEX % len(tokens))
    return out | {n if n.startswith(HEAD) else PREDICTOR + n: v for n, v in others.items()}, ignored


def _mask_tokens(predictor: State) -> list[Tensor]:
    """Take the mask tokens [1, 1, D] out of a predictor's state: one tensor in transformers, a list officially."""
    if "mask_tokens" in predictor:
        return list(predictor.pop("mask_tokens"))
    names = sorted((n for n in predictor if n.startswith("mask_tokens.")), key=lambda name: int(name.split(".")[1]))
    return [predictor.pop(name) for name in names]


def _to_hub(model: MaskedAutoencoderModel | RotaryVisionTransformer) -> tuple[State, State]:
    """The states of the encoder and of the predictor with its head, the latter empty of an encoder alone."""
    encoder: Any = model.encoder if isinstance(model, MaskedAutoencoderModel) else model
    if not isinstance(encoder, RotaryVisionTransformer) or len(encoder.unit) != 4:
        raise UnseenError("this encoder is no V-JEPA 2", "it is a RotaryViT over tubes")
    _check_pairing(encoder.spec)
    state = {name: value.detach().clone() for name, value in encoder.state_dict().items()}
    if not isinstance(model, MaskedAutoencoderModel):
        return state, {}
    if not isinstance(model.predictor, RotaryPredictor) or len(model.heads.shapes) != 1:
        raise UnseenError("this predictor is not V-JEPA 2's", "it is a RotarySelfAttention with one output")
    _check_pairing(model.predictor.spec)
    [head] = model.heads.values()
    parts = {"": model.predictor, HEAD: head}
    return state, {p + n: v.detach().clone() for p, part in parts.items() for n, v in part.state_dict().items()}


def _check_pairing(spec: RotaryViT | RotarySelfAttention) -> None:
    """Neither names nor shapes show how pairs are turned."""
    if spec.pairing != "released":
        raise UnseenError(
            f"V-JEPA 2's files and code turn queries and keys in their own form, the {type(spec).__name__} "
            f"in that of {spec.pairing!r}",
            "the features would be others without a word",
            f'build it with {type(spec).__name__}(pairing="released")',
        )


def _settings(config: dict[str, Any], spec: Any) -> RotaryViT:
    encoder: Any = describe(config)[0].encoder
    return encoder


OFFICIAL = Layout("official V-JEPA 2", is_official, read_official, _settings, ())
PEER = Layout("transformers' V-JEPA 2", is_peer, read_peer, _settings, ("heads", "norm_eps", "pairing"))
