"""BERT: transformers (versions 4 and 5, and the old `gamma`, `beta` of the first files) <-> our names.

The model's mask token is the row of [MASK] in the file's table. Ours is a parameter of its own: when it is written it
takes that row's place, which moves the score of the token [MASK] alone, and that is never the answer.
"""

import re
from typing import Any

from unseen.errors import UnseenError
from unseen.models.bert import Bert, BertEncoder
from unseen.models.encoder import Encoder
from unseen.models.in_place import InPlaceViT
from unseen.models.layouts.names import Names
from unseen.models.layouts.siblings import HEAD, Layout, State, require, untied
from unseen.models.words import TiedHead

TABLE = "bert.embeddings.word_embeddings.weight"
COPIES = {"cls.predictions.decoder.weight": TABLE, "cls.predictions.decoder.bias": "cls.predictions.bias"}

NAMES = Names(
    what="BERT",
    outer=(
        (TABLE, "patch_embed.weight"),
        ("bert.embeddings.position_embeddings.weight", "pos_embed"),
        ("bert.embeddings.token_type_embeddings.weight", "segment_embed"),
        ("bert.embeddings.LayerNorm.", "norm_embed."),
        ("cls.predictions.transform.dense.", f"{HEAD}dense."),
        ("cls.predictions.transform.LayerNorm.", f"{HEAD}norm."),
        ("cls.predictions.bias", f"{HEAD}bias"),
    ),
    blocks=(("bert.encoder.layer.", "blocks."),),
    inner=(
        ("attention.self.query.", "attn.query."),
        ("attention.self.key.", "attn.key."),
        ("attention.self.value.", "attn.value."),
        ("attention.output.dense.", "attn.proj."),
        ("attention.output.LayerNorm.", "norm1."),
        ("intermediate.dense.", "mlp.fc1."),
        ("output.dense.", "mlp.fc2."),
        ("output.LayerNorm.", "norm2."),
    ),
    ignored=r"bert\.pooler\..+|cls\.seq_relationship\..+|classifier\..+|qa_outputs\..+|bert\.embeddings\.position_ids",
)


def recognises(state: State) -> bool:
    """Whether a file is BERT's, with or without heads."""
    return any(re.fullmatch(r"(bert\.)?embeddings\.word_embeddings\.weight", name) for name in state)


def read(state: State, spec: Bert) -> tuple[State, tuple[str, ...]]:
    """A BertModel, with or without heads, under the names of an InPlace model."""
    inside = any(name.startswith("bert.") for name in state)
    full = {name if inside or name.startswith("cls.") else f"bert.{name}": value for name, value in state.items()}
    full = {re.sub(r"\.gamma$", ".weight", re.sub(r"\.beta$", ".bias", name)): value for name, value in full.items()}
    hub, ignored = NAMES.read(untied(full, COPIES))
    return to_model(hub, spec.mask_id, tables=("pos_embed", "segment_embed")), ignored


def to_model(hub: State, mask_id: int, tables: tuple[str, ...] = ()) -> State:
    """Names of a model: the encoder's get their prefix, the mask token is read from the table."""
    out = {name if name.startswith(HEAD) else f"encoder.{name}": value for name, value in hub.items()}
    out |= {f"encoder.{name}": hub[name][None] for name in tables if name in hub}
    words = hub.get("patch_embed.weight")
    return out | ({"mask_token": words[mask_id].view(1, 1, -1)} if words is not None and mask_id < len(words) else {})


def to_hub(model: InPlaceViT | Encoder, head: str | None, tables: tuple[str, ...] = ()) -> State:
    """The reverse of `to_model`; of an InPlace model with its mask token and the head of one output."""
    encoder = model.encoder if isinstance(model, InPlaceViT) else model
    hub = {name: value.detach().clone() for name, value in encoder.state_dict().items()}
    hub |= {name: hub[name][0] for name in tables}
    if isinstance(model, InPlaceViT):
        hub["patch_embed.weight"][encoder.spec.mask_id] = model.mask_token.detach()[0, 0]
        hub |= {HEAD + name: value.detach().clone() for name, value in tied_head(model, head).state_dict().items()}
    return hub


def tied_head(model: InPlaceViT, head: str | None) -> Any:
    """The module of one output's head, which must be a TiedHead."""
    names = list(model.heads.shapes)
    head = names[0] if head is None and len(names) == 1 else head
    if head not in names:
        raise UnseenError(f"the head {head!r} is not there", f"choose one of {names}", "pass head=...")
    if not isinstance(model.spec.head, TiedHead):
        raise UnseenError(f"the model has a {type(model.spec.head).__name__}", "a file of this kind has a TiedHead")
    return model.heads.of(head)


def to_peer(model: InPlaceViT | BertEncoder, head: str | None = None) -> tuple[State, dict[str, Any]]:
    """Weights and config.json: an encoder for `BertModel`, an InPlace model for `BertForMaskedLM`."""
    encoder: Any = model.encoder if isinstance(model, InPlaceViT) else model
    if not isinstance(encoder, BertEncoder):
        raise UnseenError(f"the encoder is a {type(encoder).__name__}", "a BERT file holds a Bert")
    state = NAMES.write(to_hub(model, head, tables=("pos_embed", "segment_embed")))
    if isinstance(model, InPlaceViT):
        check_head(model, bias=True, norm_eps=encoder.spec.norm_eps)
        return state, config(encoder.spec, "BertForMaskedLM")
    return {name.removeprefix("bert."): value for name, value in state.items()}, config(encoder.spec, "BertModel")


def config(spec: Bert, architecture: str) -> dict[str, Any]:
    """A config.json that versions 4 and 5 read."""
    return {
        "architectures": [architecture],
        "model_type": "bert",
        "hidden_size": spec.width,
        "num_hidden_layers": spec.depth,
        "num_attention_heads": spec.heads,
        "intermediate_size": round(spec.width * spec.mlp_ratio),
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "layer_norm_eps": spec.norm_eps,
        "vocab_size": spec.vocabulary,
        "max_position_embeddings": spec.positions,
        "type_vocab_size": spec.segments,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
    }


def describe(config: dict[str, Any], mask_id: int) -> Bert:
    """From a BERT config.json, which does not tell the row of [MASK]: the tokenizer does."""
    require(
        config,
        {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute", "is_decoder": False},
    )
    return Bert(
        width=config["hidden_size"],
        depth=config["num_hidden_layers"],
        heads=config["num_attention_heads"],
        mlp_ratio=config["intermediate_size"] / config["hidden_size"],
        vocabulary=config["vocab_size"],
        positions=config["max_position_embeddings"],
        segments=config.get("type_vocab_size", 2),
        norm_eps=config.get("layer_norm_eps", 1e-12),
        mask_id=mask_id,
    )


def check_head(model: InPlaceViT, *, bias: bool, norm_eps: float) -> None:
    """UnseenError where the head is not the one that transformers builds."""
    wanted = TiedHead(bias=bias, norm_eps=norm_eps)
    if model.spec.head != wanted:
        raise UnseenError(f"the head is {model.spec.head}", f"transformers has {wanted}")


LAYOUT = Layout(
    "transformers' BERT", recognises, read, lambda config, spec: describe(config, spec.mask_id), ("heads", "norm_eps")
)
