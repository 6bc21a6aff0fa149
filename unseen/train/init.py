"""Weights to start from: a run of ours, or a file of any layout that `models.layouts` reads."""

from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from unseen.contract import MaskedModel
from unseen.errors import UnseenError
from unseen.models.layouts import load_weights
from unseen.train import checkpoint


class Initialised(NamedTuple):
    """What came from elsewhere and what keeps its own initial weights; prints as lines for the user."""

    source: str
    layout: str
    matched: tuple[str, ...]
    fresh: tuple[str, ...]  # of the model, not in the file
    left_out: tuple[str, ...]  # of the file, not in the model

    def __str__(self) -> str:
        lines = [f"{self.source} ({self.layout}): {len(self.matched)} tensors matched"]
        if self.fresh:
            lines.append(f"  not in the file, freshly drawn: {', '.join(self.fresh)}")
        if self.left_out:
            lines.append(f"  in the file, left out: {', '.join(self.left_out)}")
        return "\n".join(lines)


def load_init(model: MaskedModel, path: Path | str) -> Initialised:
    """Fill the encoder of `model` from `path`: all of it, or UnseenError and no change.

    A run folder (its last checkpoint) also fills whatever else has the same name and shape. Of a foreign file, or of an
    encoder.safetensors, only the encoder is taken: predictors of other widths and targets would not fit.
    """
    path = Path(path)
    last = checkpoint.last(path) if path.is_dir() else None
    if last is not None:
        checkpoint.load_state(last)
        return _from_run(model, checkpoint.load_tensors(last, "model"), last)
    found = load_weights(model, path, part="encoder")
    matched = tuple(name for name in model.state_dict() if name.startswith("encoder."))
    fresh = tuple(name for name in model.state_dict() if name not in matched)
    return Initialised(str(path), found.layout, matched, fresh, found.ignored)


def _from_run(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> Initialised:
    own = model.state_dict()
    fits = {name: value for name, value in tensors.items() if name in own and own[name].shape == value.shape}
    missing = [name for name in own if name.startswith("encoder.") and name not in fits]
    if missing:
        other = ", ".join(f"{name} {tuple(own[name].shape)}" for name in missing[:3])
        raise UnseenError(
            f"{path} does not fill the encoder: it has no {other}{', ...' if len(missing) > 3 else ''}",
            "an encoder is taken whole or not at all",
            "use the recipe of that run, or the same model in yours",
        )
    model.load_state_dict(fits, strict=False)
    fresh = tuple(name for name in own if name not in fits)
    return Initialised(str(path), "a run of ours", tuple(fits), fresh, tuple(n for n in tensors if n not in fits))
