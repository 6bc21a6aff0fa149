"""ModernBERT: transformers (versions 4 and 5 have the same names, but another config.json) <-> our names.

The mask token is the row of [MASK], as for BERT.
"""

import re
from typing import Any

from unseen.errors import UnseenError
from unseen.models.in_place import InPlaceViT
from unseen.models.layouts.bert import check_head, to_hub, to_model
from unseen.models.layouts.names import Names
from unseen.models.layouts.siblings import HEAD, Layout, State, require, untied
from unseen.models.modernbert import ModernBert, ModernBertEncoder

TABLE = "model.embeddings.tok_embeddings.weight"
LOCAL, GLOBAL = "sliding_attention", "full_attention"

NAMES = Names(
    what="ModernBERT",
    outer=(
        (TABLE, "patch_embed.weight"),
        ("model.embeddings.norm.", "norm_embed."),
        ("model.final_norm.", "norm."),
        ("head.dense.", f"{HEAD}dense."),
        ("head.norm.", f"{HEAD}norm."),
        ("decoder.bias", f"{HEAD}bias"),
    ),
    blocks=(("model.layers.", "blocks."),),
    inner=(
        ("attn_norm.", "norm1."),
        ("attn.Wqkv.", "attn.qkv."),
        ("attn.Wo.", "attn.proj."),
        ("mlp_norm.", "norm2."),
        ("mlp.Wi.", "mlp.fc1."),
        ("mlp.Wo.", "mlp.fc2."),
        ("attn.qkv.", "attn.qkv."),
    ),
    ignored=r"classifier\..+",
)


def recognises(state: State) -> bool:
    """Whether a file is ModernBERT's, with or without heads."""
    return any(re.fullmatch(r"(model\.)?embeddings\.tok_embeddings\.weight", name) for name in state)


def read(state: State, spec: ModernBert) -> tuple[State, tuple[str, ...]]:
    """A ModernBertModel, with or without heads, under the names of an InPlace model."""
    inside = TABLE in state
    full = {name if inside else f"model.{name}": value for name, value in state.items()}
    hub, ignored = NAMES.read(untied(full, {"decoder.weight": TABLE}))
    return to_model(hub, spec.mask_id), ignored


def to_peer(model: InPlaceViT | ModernBertEncoder, head: str | None = None) -> tuple[State, dict[str, Any]]:
    """Weights and config.json: an encoder for `ModernBertModel`, an InPlace model for `ModernBertForMaskedLM`."""
    encoder: Any = model.encoder if isinstance(model, InPlaceViT) else model
    if not isinstance(encoder, ModernBertEncoder):
        raise UnseenError(f"the encoder is a {type(encoder).__name__}", "a ModernBERT file holds a ModernBert")
    state = NAMES.write(to_hub(model, head))
    if isinstance(model, InPlaceViT):
        check_head(model, bias=False, norm_eps=encoder.spec.norm_eps)
        return state, config(encoder.spec, "ModernBertForMaskedLM")
    bare = {name.removeprefix("model."): value for name, value in state.items()}
    return bare, config(encoder.spec, "ModernBertModel")


def config(spec: ModernBert, architecture: str) -> dict[str, Any]:
    """A config.json that versions 4 and 5 read."""
    return {
        "architectures": [architecture],
        "model_type": "modernbert",
        "hidden_size": spec.width,
        "num_hidden_layers": spec.depth,
        "num_attention_heads": spec.heads,
        "intermediate_size": round(spec.width * spec.mlp_ratio),
        "hidden_activation": "gelu",
        "classifier_activation": "gelu",
        "norm_eps": spec.norm_eps,
        "vocab_size": spec.vocabulary,
        "local_attention": spec.window,
        "global_attn_every_n_layers": spec.global_every,
        "global_rope_theta": spec.global_base,
        "local_rope_theta": spec.local_base,
        "tie_word_embeddings": True,
        "pad_token_id": None,
        "bos_token_id": None,
        "eos_token_id": None,
        "cls_token_id": None,
        "sep_token_id": None,
    }


def describe(config: dict[str, Any], mask_id: int) -> ModernBert:
    """From a ModernBERT config.json of version 4 or 5, which does not tell the row of [MASK]: the tokenizer does."""
    flags = ("norm_bias", "attention_bias", "mlp_bias", "classifier_bias")
    known = {"hidden_activation": "gelu", "classifier_activation": "gelu", "decoder_bias": True}
    require(config, {"model_type": "modernbert", **known, **dict.fromkeys(flags, False)})
    rotary = config.get("rope_parameters") or {}
    depth = config["num_hidden_layers"]
    return ModernBert(
        width=config["hidden_size"],
        depth=depth,
        heads=config["num_attention_heads"],
        mlp_ratio=config["intermediate_size"] / config["hidden_size"],
        vocabulary=config["vocab_size"],
        window=config.get("local_attention", 128),
        global_every=_global_every(config, depth),
        global_base=_base(rotary.get(GLOBAL), config.get("global_rope_theta", 160_000.0)),
        local_base=_base(rotary.get(LOCAL), config.get("local_rope_theta", 10_000.0)),
        norm_eps=config.get("norm_eps", 1e-5),
        mask_id=mask_id,
    )


def _global_every(config: dict[str, Any], depth: int) -> int:
    """Version 4 tells a number, version 5 a list of kinds."""
    kinds = config.get("layer_types")
    if kinds is None:
        return int(config.get("global_attn_every_n_layers", 3))
    every = next((number for number in range(1, depth) if kinds[number] == GLOBAL), depth)
    if kinds != [LOCAL if number % every else GLOBAL for number in range(depth)]:
        raise UnseenError(f"config.json has layer_types {kinds}", "known: every n-th block is global, from the first")
    return every


def _base(parameters: dict[str, Any] | None, fallback: float) -> float:
    """The base of the frequencies; scaled forms are not known here."""
    parameters = parameters or {}
    require(parameters, {"rope_type": "default"})
    return float(parameters.get("rope_theta", fallback))


LAYOUT = Layout(
    "transformers' ModernBERT",
    recognises,
    read,
    lambda config, spec: describe(config, spec.mask_id),
    ("heads", "norm_eps", "window", "global_every", "global_base", "local_base"),
)
