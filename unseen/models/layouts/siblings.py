"""Files of the encoders beside the ViT: each kind of encoder has its own layouts, and their names say which it is."""

import math
from collections.abc import Callable
from dataclasses import fields
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unseen.errors import UnseenError
from unseen.models.encoder import Encoder, EncoderSpec

HEAD = "head."  # what stands before the names of the one head that a file holds
BRANCHES = ("encoder", "target_encoder")

State = dict[str, Tensor]


class Layout(NamedTuple):
    """One layout of files for one kind of encoder."""

    name: str
    recognises: Callable[[State], bool]
    read: Callable[[State, Any], tuple[State, tuple[str, ...]]]  # for an encoder of a spec: the state under a model's
    # names (`encoder.`, `predictor.`, `mask_token`, `head.`), and the keys that may be left out
    describe: Callable[[dict[str, Any], Any], EncoderSpec]  # from config.json, beside the spec that is to be filled
    settings: tuple[str, ...]  # fields of the spec that the shapes of weights do not show


def read_sibling(
    layouts: tuple[Layout, ...], state: State, encoder: Encoder, config: dict[str, Any] | None
) -> tuple[str, State, tuple[str, ...]]:
    """The layout's name, all that the file holds under the names of a model, and what may be left out.

    Raises UnseenError for a file of no known layout, for unknown keys, and where config.json tells other settings.
    """
    for layout in layouts:
        if layout.recognises(state):
            if config is not None:
                _check_settings(layout.describe(config, encoder.spec), encoder.spec, layout.settings)
            return layout.name, *layout.read(state, encoder.spec)
    raise UnseenError(
        f"the file is not of a {type(encoder.spec).__name__}: it starts with {list(state)[:3]}",
        f"known: {', '.join(layout.name for layout in layouts)}",
        "take the file of such a model, or build the encoder that fits the file",
    )


def own_state(state: State, encoder: Encoder) -> State | None:
    """A state of ours under the names of a model; None where it is not ours."""
    if any(name.startswith("encoder.blocks.") for name in state):
        return state
    own = set(encoder.state_dict())
    shared = own & set(state)
    return {f"encoder.{name}": value for name, value in state.items()} if 2 * len(shared) > len(own) else None


def choose_branch(state: State, branch: str) -> tuple[State, tuple[str, ...]]:
    """Of a file that holds several encoders the one that is asked for, as `encoder.`; and the names of the others."""
    found = [name for name in BRANCHES if any(key.startswith(f"{name}.") for key in state)]
    if branch not in found and (branch != "encoder" or "target_encoder" in found):
        raise UnseenError(f"no branch {branch!r}", f"the file has {found or 'one encoder'}", "pass branch=...")
    left = tuple(key for key in state if any(key.startswith(f"{name}.") for name in BRANCHES if name != branch))
    kept = {key: value for key, value in state.items() if key not in left}
    prefix = f"{branch}."
    return {"encoder." + k.removeprefix(prefix) if k.startswith(prefix) else k: v for k, v in kept.items()}, left


def untied(state: State, copies: dict[str, str]) -> State:
    """Without the copies (of what) that some writers keep of tied weights; a copy that differs is an error."""
    for copy, of in copies.items():
        if copy in state and of in state and not torch.equal(state[copy], state[of]):
            raise UnseenError(f"{copy} is not {of}", "the head shares the table of the embedding here")
    return {name: value for name, value in state.items() if not (name in copies and copies[name] in state)}


def require(config: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse a config.json that asks for what the package's encoder does not do; an absent key is the default."""
    others = {name: config[name] for name, value in wanted.items() if config.get(name, value) != value}
    if others:
        raise UnseenError(
            f"config.json has {others}", f"only { ({name: wanted[name] for name in others}) } is known here"
        )


def check_own(card: dict[str, Any] | None, encoder: Encoder, layouts: tuple[Layout, ...]) -> None:
    """The same for a file of ours, where its encoder.json is beside it."""
    told = {} if card is None else card["encoder"]["fields"]
    names = {name for layout in layouts for name in layout.settings} & set(told)
    _check_settings(SimpleNamespace(**told), encoder.spec, tuple(names))


def _check_settings(theirs: Any, ours: Any, names: tuple[str, ...]) -> None:
    """Refuse what the shapes of weights do not show, and what would give other features without a word."""
    known = [field.name for field in fields(ours) if field.name in names]
    other = [name for name in known if not _same(getattr(theirs, name), getattr(ours, name))]
    if other:
        asked = ", ".join(f"{name}={getattr(theirs, name)!r}" for name in other)
        has = ", ".join(f"{name}={getattr(ours, name)!r}" for name in other)
        raise UnseenError(
            f"the file was made with {asked}, the encoder has {has}",
            "they must be the same",
            f"build it with {type(ours).__name__}({asked})",
        )


def _same(a: Any, b: Any) -> bool:
    return math.isclose(a, b, rel_tol=1e-6) if isinstance(a, float) else bool(a == b)
