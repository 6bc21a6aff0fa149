"""Masked modelling for driving logs: unlabelled recordings in, pretrained encoders with evidence out.

One function a command, with the same arguments: `unseen.pretrain("mae", data="store", out="runs/first")`.
"""

import sys
from types import ModuleType
from typing import Any

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
    tokenize,
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
    "tokenize",
    "world",
]


class _Package(ModuleType):
    """Keeps `unseen.evaluate` the function: importing the room of that name would put the module in its place."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
