"""Masked modelling for driving logs: unlabelled recordings in, pretrained encoders with evidence out.

One function a command, with the same arguments: `unseen.pretrain("mae", data="store", out="runs/first")`.
"""

from unseen.commands import (
    demo,
    embed,
    evaluate,
    export,
    ingest,
    inspect,
    load_encoder,
    pretrain,
    report,
    resume,
    split,
    world,
)
from unseen.errors import UnseenError

__all__ = [
    "UnseenError",
    "demo",
    "embed",
    "evaluate",
    "export",
    "ingest",
    "inspect",
    "load_encoder",
    "pretrain",
    "report",
    "resume",
    "split",
    "world",
]
