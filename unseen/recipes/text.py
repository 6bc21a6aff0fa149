"""Recipes for passages of text: incident reports, tower speech, bulletins.

A tokenizer comes first, from the training logs: `unseen tokenize STORE --split NAME` writes the one that is read here.
"""

from dataclasses import replace

from unseen.data.passages import Passages
from unseen.evaluate.probes import Classify
from unseen.masks import KeepOrReplace, Span, WholeWord
from unseen.models import Bert, InPlace, TiedHead, TokenStem, ViT
from unseen.recipes.recipe import Recipe
from unseen.systems.objective import Term
from unseen.targets import TokenIds
from unseen.train.training import AdamW, Training
from unseen.units import Tokens

VOCABULARY = 8192


def bert() -> Recipe:
    """Whole words, 15 % of the tokens, 80/10/10 (BERT: Devlin et al., NAACL 2019), at a size for a laptop.

    Pre-norm blocks and sin-cos positions instead of BERT's own, no next-sentence task, no dropout.
    """
    return Recipe(
        view=Passages(tokenizer="tokenizer.json", length=128),
        normalise=None,
        unit=Tokens(),
        mask=WholeWord(ratio=0.15),
        corruption=KeepOrReplace(vocabulary=VOCABULARY),
        targets={"tokens": Term(target=TokenIds(vocabulary=VOCABULARY))},
        model=InPlace(
            encoder=ViT(width=192, depth=4, heads=3, class_token=False, stem=TokenStem(vocabulary=VOCABULARY))
        ),
        training=Training(
            steps=900,
            batch=16,
            lr=1e-3,
            scale_lr="none",
            warmup=90,
            optimiser=AdamW(betas=(0.9, 0.98), weight_decay=0.01),
            log_power=0.0,
            monitor_every=300,
            checkpoint_every=300,
            monitor_samples=64,
        ),
        probes=(Classify(name="class", pool="encoder", tau=1.0, few_logs=()),),
    )


def bert_original() -> Recipe:
    """`bert` with the published architecture: post-norm blocks, learned positions, a head tied to the table."""
    encoder = Bert(width=192, depth=4, heads=3, vocabulary=VOCABULARY, positions=128)
    return replace(bert(), model=InPlace(encoder=encoder, head=TiedHead()))


def bert_spans() -> Recipe:
    """`bert` with spans of whole words hidden (SpanBERT: Joshi et al., TACL 2020), without its boundary task."""
    return replace(bert(), mask=Span(ratio=0.15, mean_length=2.5, words=True))
