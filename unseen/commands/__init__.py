"""One function a command, with the same name and the same arguments: `unseen pretrain ...` is `unseen.pretrain(...)`.

Nothing heavy is imported here; each function brings in what it needs once its cheap checks have passed.
"""

from unseen.commands.preflight import Result as Result
from unseen.commands.runs import demo, embed, evaluate, export, masks, pretrain, report, resume
from unseen.commands.runs import load_encoder as load_encoder  # for Python only: it returns a module
from unseen.commands.stores import ingest, inspect, split, tokenize, world

__all__ = [
    "demo",
    "embed",
    "evaluate",
    "export",
    "ingest",
    "inspect",
    "masks",
    "pretrain",
    "report",
    "resume",
    "split",
    "tokenize",
    "world",
]
