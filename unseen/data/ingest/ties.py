"""What ties logs of text: beginnings that passages share, and values of columns; also with what a store holds already.

Logs that are tied, directly or through others, have a group in common: the name of one of them. A log that ties groups
which other ingests have made has all of their names, `BETWEEN` them (see `unseen.data.splits`).
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from unseen.data.ingest.tables import Row
from unseen.data.passages import texts_of
from unseen.data.schema import BETWEEN
from unseen.data.store import Store

TEMPLATE = "template"  # the attribute of a log that near-duplicates share
TEMPLATE_CHARACTERS = 120


@dataclass(slots=True)
class Standing:
    """What is in a store before an ingest."""

    logs: set[str] = field(default_factory=set)
    words: set[bytes] = field(default_factory=set)  # of its passages
    groups: dict[str, dict[str, set[str]]] = field(default_factory=dict)  # attribute -> value -> groups that hold it


def standing(store: Store, link: Iterable[str]) -> Standing:
    """Read all passages of a store; values of `link` are those that their frames keep."""
    found = Standing(groups={name: defaultdict(set) for name in (TEMPLATE, *link)})
    for log_id in store.log_ids():
        found.logs.add(log_id)
        (row,) = store.table("log", [log_id]).to_pylist()
        own = {name: value.split(BETWEEN) for name, value in row["attributes"] or ()}
        frames = store.table("frame", [log_id]).select(["frame_id", "attributes"]).to_pylist()
        told = {frame["frame_id"]: dict(frame["attributes"] or ()) for frame in frames}
        for _, frame_id, text in texts_of(store, log_id):
            found.words.add(words_of(text))
            for name, value in {**told[frame_id], TEMPLATE: template(text)}.items():
                if name in found.groups:
                    found.groups[name][value].update(own.get(name, ()))
    return found


def words_of(text: str) -> bytes:
    """Stands for a passage; spaces aside."""
    return hashlib.blake2b(" ".join(text.split()).encode(), digest_size=16).digest()


def template(text: str) -> str:
    """What near-duplicates have in common: the beginning, digits masked, case and spaces aside."""
    return re.sub(r"\d", "#", " ".join(text.lower().split()))[:TEMPLATE_CHARACTERS]


def values_of(row: Row, name: str) -> str | None:
    """What a passage has for an attribute; an unknown value is None and links nothing."""
    return template(row.text) if name == TEMPLATE else row.fields.get(name) or None


def tied(logs: Mapping[str, Iterable[Row]], name: str, held: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """The groups of every log that has a value: those that a store holds already, else one of its own."""
    parent = {log_id: log_id for log_id in logs}

    def root(log_id: str) -> str:
        while parent[log_id] != log_id:
            parent[log_id] = parent[parent[log_id]]
            log_id = parent[log_id]
        return log_id

    holders: dict[str, list[str]] = defaultdict(list)
    for log_id, rows in logs.items():
        for value in {value for row in rows if (value := values_of(row, name))}:
            holders[value].append(log_id)
    for together in holders.values():
        for other in together[1:]:
            low, high = sorted((root(together[0]), root(other)))
            parent[high] = low
    groups: dict[str, set[str]] = defaultdict(set)
    for value, together in holders.items():
        groups[root(together[0])] |= held.get(value, set())
    known = {log_id for together in holders.values() for log_id in together}
    return {log_id: groups[root(log_id)] or {root(log_id)} for log_id in sorted(known)}
