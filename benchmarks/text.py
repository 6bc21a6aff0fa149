"""One step of masked language modelling against transformers BERT and ModernBERT, each in its best mode.

Same sizes, tokens and masks; alternating in one process, one thread, CPU clock, bfloat16 autocast, fused AdamW.
`python -m benchmarks.text`.
"""

import os
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.rounds import Job, alternate, command, gemm_peak, ratio
from benchmarks.stepping import adamw, in_half, peer_step, step_of
from unseen.contract import Output, Shapes
from unseen.models import Bert, InPlace, LinearHead, ModernBert, TiedHead
from unseen.packing import pack

VOCABULARY, MASK = 30522, 103
BERT, MODERN = "transformers BERT", "transformers ModernBERT, sparse"


class Size(NamedTuple):
    width: int
    depth: int
    heads: int
    length: int
    batch: int


SIZES = {"W256": Size(256, 4, 4, 128, 32), "W384": Size(384, 6, 6, 256, 8)}


class Passages:
    """Random token ids without padding, 15 % of them hidden in every passage."""

    def __init__(self, size: Size):
        generator = torch.Generator().manual_seed(0)
        shape = size.batch, size.length
        self.ids = torch.randint(1000, VOCABULARY, shape, generator=generator)
        rank = torch.rand(shape, generator=generator).argsort(dim=1).argsort(dim=1)
        self.hidden = rank < round(0.15 * size.length)
        self.read, self.labels = self.ids.where(~self.hidden, MASK), self.ids.where(self.hidden, -100)
        self.attention = torch.ones(shape, dtype=torch.long)
        self.centre = torch.arange(float(size.length))[None, :, None]


def peer(model: Any, passages: Passages) -> Job:
    given = {"input_ids": passages.read, "attention_mask": passages.attention, "labels": passages.labels}
    return peer_step(model, lambda: model(**given).loss, decay=0.01)


def bert(size: Size, dropout: float) -> nn.Module:
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=size.width,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.width,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        attn_implementation="eager",
    )
    return BertForMaskedLM(config)


def modern_bert(size: Size, sparse: bool) -> nn.Module:
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    config = ModernBertConfig(
        vocab_size=VOCABULARY,
        hidden_size=size.width,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        intermediate_size=round(1.5 * size.width),
        sparse_prediction=sparse,
        attn_implementation="eager",
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0),
    )
    return ModernBertForMaskedLM(config)


def unseen(spec: InPlace, passages: Passages) -> Job:
    model = spec.build(Shapes((), (1.0,), None, {"token": Output((VOCABULARY,))}))
    metadata = {"centre": passages.centre, "valid": passages.attention.bool()}

    def loss_of() -> Tensor:
        visible, hidden = ~passages.hidden, passages.hidden
        prediction = model(pack(passages.ids, visible), visible, hidden, metadata)
        return F.cross_entropy(prediction.flatten(0, 1), pack(passages.ids, hidden).flatten())

    return step_of(adamw(model, decay=0.01), in_half(loss_of))


def jobs(size: Size) -> dict[str, Job]:
    passages = Passages(size)
    same: dict[str, Any] = {"width": size.width, "depth": size.depth, "heads": size.heads, "vocabulary": VOCABULARY}
    like_bert, like_modern = Bert(**same, mask_id=MASK), ModernBert(**same, mask_id=MASK)
    return {
        f"{BERT}, as people start it (dropout 0.1)": peer(bert(size, 0.1), passages),
        BERT: peer(bert(size, 0.0), passages),
        "transformers ModernBERT, as people start it": peer(modern_bert(size, sparse=False), passages),
        MODERN: peer(modern_bert(size, sparse=True), passages),
        "unseen Bert": unseen(InPlace(encoder=like_bert, head=TiedHead()), passages),
        "unseen Bert, linear head": unseen(InPlace(encoder=like_bert, head=LinearHead()), passages),
        "unseen ModernBert": unseen(InPlace(encoder=like_modern, head=TiedHead(bias=False, norm_eps=1e-5)), passages),
    }


def compare(name: str, rounds: int, seconds: float) -> dict[str, Any]:
    size = SIZES[name]
    taken = alternate(jobs(size), rounds, seconds)
    print(f"\n{name}: {size.width}/{size.depth}, {size.length} tokens x {size.batch}, 15 % hidden, vocabulary "
          f"{VOCABULARY}; 1 = {BERT}, then {MODERN}; bf16 GEMM peak {gemm_peak() / 1e9:.0f} GFLOP/s")  # fmt: skip
    rows = {}
    for label, times in taken.items():
        tokens_per_s = size.batch * size.length / sorted(times)[len(times) // 2]
        rows[label] = {"tokens_per_s": tokens_per_s, "bert": ratio(taken, label, BERT)}
        rows[label]["modernbert"] = ratio(taken, label, MODERN)
        print(f"  {label:52s} {tokens_per_s:8.0f} tok/s  {rows[label]['bert']:22s} {rows[label]['modernbert']}")
    return rows


if __name__ == "__main__":
    command(__doc__, "sizes", SIZES, compare)
