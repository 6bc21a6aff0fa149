"""Tokens of a vocabulary: the table that embeds them, and the head that predicts them with the same table."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from unseen.contract import Shapes
from unseen.errors import UnseenError


class Words(nn.Embedding):
    """Token ids [B, V] to their rows of a table; what stands at padding (-1) is never read."""

    def forward(self, ids: Int64[Tensor, "B V"]) -> Float[Tensor, "B V D"]:
        return look(self.weight, ids.clamp(min=0), "token id")


@dataclass(frozen=True, slots=True, kw_only=True)
class TiedHead:
    """BERT's head for masked tokens: dense, GELU, norm, then the table of the embedding and a bias per token.

    Devlin et al., NAACL 2019. Like every head it is computed on the predicted units only.
    """

    bias: bool = True  # of dense and norm; ModernBERT has none
    norm_eps: float = 1e-12  # ModernBERT: 1e-5

    def build(self, encoder: nn.Module, n_values: int) -> nn.Module:
        """The module [B, K, width] -> [B, K, vocabulary]; n_values: the size of its vocabulary.

        UnseenError where the encoder has no table of tokens, or one of another size.
        """
        table = getattr(encoder, "patch_embed", None)
        if not isinstance(table, Words):
            raise UnseenError("TiedHead needs an encoder with a table of tokens", "as Bert and ModernBert have")
        if n_values != table.num_embeddings:
            raise UnseenError(
                f"TiedHead predicts {table.num_embeddings} tokens and the output has {n_values} values",
                "it predicts ids of the encoder's vocabulary",
                "give the encoder the tokenizer's vocabulary",
            )
        return TiedProjection(self, table)


class TiedProjection(nn.Module):
    """See `TiedHead`."""

    def __init__(self, spec: TiedHead, table: Words):
        super().__init__()
        self.borrowed = (table,)  # in a tuple: the table is the encoder's, and stands in its state only
        width = table.embedding_dim
        self.dense = nn.Linear(width, width, bias=spec.bias)
        self.norm = nn.LayerNorm(width, eps=spec.norm_eps, bias=spec.bias)
        self.bias = nn.Parameter(torch.empty(table.num_embeddings))

    def forward(self, tokens: Float[Tensor, "B K D"]) -> Float[Tensor, "B K V"]:
        return F.linear(self.norm(F.gelu(self.dense(tokens))), self.borrowed[0].weight, self.bias)


def look(table: Float[Tensor, "R D"], index: Int64[Tensor, "B V"], what: str) -> Float[Tensor, "B V D"]:
    """Rows of a table; UnseenError, which says how many there are, for an index beyond them."""
    try:
        return F.embedding(index, table)
    except IndexError as error:
        raise UnseenError(
            f"{what} {int(index.max())} of a table of {len(table)}",
            f"0 to {len(table) - 1} exist",
            "build the encoder for this tokenizer and this length",
        ) from error


def check_tokens(owner: str, shapes: Shapes) -> None:
    """Refuse units that are not tokens in a row."""
    if shapes.unit or len(shapes.spacing) != 1:
        raise UnseenError(
            f"{owner} got units of shape {shapes.unit} with {len(shapes.spacing)} coordinates",
            "it reads token ids, one for each unit, with their index as the only coordinate",
        )


def check_vocabulary(owner: str, spec: Any) -> None:
    """UnseenError where the row of [MASK] is no row of the table."""
    if not 0 <= spec.mask_id < spec.vocabulary:
        raise UnseenError(
            f"{owner}: mask_id is {spec.mask_id}", f"it is one of the {spec.vocabulary} tokens", "ask the tokenizer"
        )
