"""What a run is, as a digest: a resume with another recipe is refused."""

import hashlib
import json
from dataclasses import fields, is_dataclass
from typing import Any

from torch import nn

from unseen.systems.objective import Objective
from unseen.train.training import Training


def recipe_digest(objective: Objective, training: Training, model: nn.Module) -> str:
    """Of all that decides a weight: the objective, the training (`Training.decisive`), the model's spec and shapes."""
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    parts = [describe(objective), describe(training.decisive()), describe(getattr(model, "spec", None)), shapes]
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()


def describe(node: Any) -> Any:
    """A tree of dataclasses as JSON: class names and fields. Of any other object only the class is told."""
    name = f"{type(node).__module__}.{type(node).__qualname__}"
    if is_dataclass(node):
        return {"class": name, **{field.name: describe(getattr(node, field.name)) for field in fields(node)}}
    if isinstance(node, dict):
        return {str(key): describe(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [describe(value) for value in node]
    return node if node is None or isinstance(node, bool | int | float | str) else name
