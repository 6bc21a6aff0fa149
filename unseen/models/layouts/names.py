"""A layout as a table: its names beside those of the hub, read and written by the same rows."""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unseen.errors import UnseenError

Rows = tuple[tuple[str, str], ...]  # beginnings of names: theirs, the hub's
PARTS = ("query", "key", "value")

OWN_BLOCK: Rows = tuple((name, name) for name in ("norm1.", "norm2.", "attn.proj.", "mlp.fc1.", "mlp.fc2."))
OWN_QKV: Rows = (("attn.qkv.", "attn.qkv."),)


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """One layout. All spellings of a name are read; of several the first is written.

    Inside a block the hub's query, key and value are one matrix, rows [0:D] query, [D:2D] key, [2D:3D] value.
    """

    what: str  # for messages
    outer: Rows  # outside of blocks
    blocks: Rows  # up to the number of a block
    inner: Rows  # after it
    ignored: str = r"(?!)"  # a pattern of names that may be left out: heads of other tasks, buffers
    key_bias: bool = True  # False: keys have none there; here it is 0, and none of its values changes the attention

    def read(self, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """The state under the hub's names, and the names that may be left out. Any other name is an error."""
        out: dict[str, Tensor] = {}
        unknown, ignored, twice = [], [], []
        for name, value in state.items():
            hub = self._hub(name)
            if re.fullmatch(self.ignored, name):
                ignored.append(name)
            elif hub is None:
                unknown.append(name)
            elif hub in out:
                twice.append(name)
            else:
                out[hub] = value
        if unknown or twice:
            raise UnseenError(
                f"keys that are not of {self.what}: {unknown}" + (f", keys that come twice: {twice}" if twice else ""),
                "no key is skipped in silence",
            )
        return fuse(out, self.key_bias), tuple(ignored)

    def write(self, hub: dict[str, Tensor]) -> dict[str, Tensor]:
        """The state under their names; a name of the hub that they do not have is an error."""
        out: dict[str, Tensor] = {}
        unknown = []
        for name, value in hub.items():
            parts = list(self._theirs(name, value))
            out |= {theirs: part.contiguous() for theirs, part in parts}
            if not parts:
                unknown.append(name)
        if unknown:
            raise UnseenError(f"{self.what} has no place for {unknown}", "nothing is left out in silence", "use onnx")
        return out

    def _hub(self, name: str) -> str | None:
        for theirs, ours in self.outer:
            if name.startswith(theirs):
                return ours + name[len(theirs) :]
        for path, place in self.blocks:
            block = re.match(rf"{re.escape(path)}(\d+)\.", name)
            for theirs, ours in self.inner if block else ():
                if block and name[block.end() :].startswith(theirs):
                    return f"{place}{block[1]}.{ours}{name[block.end() + len(theirs) :]}"
        return None

    def _theirs(self, name: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
        block = re.fullmatch(r"((?:decoder_)?blocks\.)(\d+)\.(.+)", name)
        if block is None:
            found = ((theirs + name[len(ours) :], value) for theirs, ours in self.outer if name.startswith(ours))
            yield from _first(found)
            return
        path = next((theirs for theirs, place in self.blocks if place == block[1]), None)
        for inner, part in self._split(block[3], value) if path is not None else ():
            found = ((t + inner[len(ours) :], part) for t, ours in self.inner if inner.startswith(ours))
            yield from ((f"{path}{block[2]}.{theirs}", rows) for theirs, rows in _first(found))

    def _split(self, inner: str, value: Tensor) -> list[tuple[str, Tensor]]:
        """One name of the hub inside a block: itself, or three parts where they keep query, key and value apart."""
        leaf = inner.removeprefix("attn.qkv.")
        together = ("attn.qkv.", "attn.qkv.") in self.inner
        if leaf == inner or (together and (leaf == "weight" or self.key_bias)):
            return [(inner, value)]
        parts = zip(PARTS, value.chunk(3), strict=True)
        return [(f"attn.{p}.{leaf}", rows) for p, rows in parts if p != "key" or leaf == "weight" or self.key_bias]


def fuse(state: dict[str, Tensor], key_bias: bool = True) -> dict[str, Tensor]:
    """Query, key and value of each block as one matrix and one bias; without `key_bias` that of the keys is zeros.

    UnseenError names the parts that are missing.
    """
    pattern = re.compile(r"(.+\.attn\.)(query|key|value)\.(weight|bias)")
    out = {name: value for name, value in state.items() if not pattern.fullmatch(name)}
    for stem, leaf in dict.fromkeys((m[1], m[3]) for m in map(pattern.fullmatch, state) if m):
        parts = {part: state.get(f"{stem}{part}.{leaf}") for part in PARTS}
        if leaf == "bias" and not key_bias and parts["key"] is None and parts["query"] is not None:
            parts["key"] = torch.zeros_like(parts["query"])
        missing = [f"{stem}{part}.{leaf}" for part, value in parts.items() if value is None]
        if missing:
            raise UnseenError(f"missing {missing}", "query, key and value come together")
        out[f"{stem}qkv.{leaf}"] = torch.cat([value for value in parts.values() if value is not None])
    return out


def strip(state: dict[str, Tensor], *prefixes: str) -> dict[str, Tensor]:
    """Without a prefix that all names have (DistributedDataParallel's `module.`, a wrapper's `model.`)."""
    for prefix in prefixes:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _first(found: Iterator[Any]) -> list[Any]:
    return list(itertools.islice(found, 1))
