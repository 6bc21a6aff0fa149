"""What ties logs together: values of link keys (log, route, date, rig, ...) that they share, and paths of such ties."""

from collections import Counter, deque
from collections.abc import Sequence

import numpy as np

from unseen.data.schema import ALIASES, BETWEEN
from unseen.data.store import Store
from unseen.errors import UnseenError

Links = set[tuple[str, str]]  # key and value; of one key there may be several


def link_values(store: Store, by: Sequence[str]) -> tuple[dict[str, Links], dict[str, int]]:
    """The links of each log, known ones only; and how many logs lack each key. UnseenError for a key that none has."""
    rows = {row["log_id"]: row for row in store.table("log").to_pylist()}
    attributes = {log: dict(row["attributes"] or ()) for log, row in rows.items()}
    values: dict[str, Links] = {log: set() for log in rows}
    unknown = {}
    for key in by:
        column = ALIASES.get(key, key)
        if column not in next(iter(rows.values())) and not any(column in own for own in attributes.values()):
            raise UnseenError(
                f"no log has {key!r}", "link keys are columns of the log table, or attributes of a sidecar"
            )
        for log, row in rows.items():
            value = row.get(column) if row.get(column) is not None else attributes[log].get(column)
            if value not in (None, ""):
                values[log] |= {(key, one) for one in str(value).split(BETWEEN)}
        unknown[key] = sum(all(key != found for found, _ in own) for own in values.values())
        if unknown[key] == len(rows):
            raise UnseenError(
                f"{key!r} is unknown in every log", "an unknown key links nothing", "split by another key"
            )
    return values, unknown


def tied_components(logs: list[str], values: dict[str, Links]) -> list[int]:
    """The component of each log, numbered in the order of logs."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    nodes = {pair: len(logs) + place for place, pair in enumerate(sorted({p for own in values.values() for p in own}))}
    edges = [(place, nodes[pair]) for place, log in enumerate(logs) for pair in values[log]]
    rows, columns = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    size = len(logs) + len(nodes)
    graph = coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(size, size))
    label = connected_components(graph, directed=False)[1][: len(logs)]
    number: dict[int, int] = {}
    return [number.setdefault(int(one), len(number)) for one in label]


def witness(start: str, end: str, values: dict[str, Links]) -> str:
    """The shortest path of shared keys from one log to another."""
    came: dict[str, tuple[str, str] | None] = {start: None}
    queue = deque([start])
    while queue and end not in came:
        log = queue.popleft()
        for other in sorted(values):
            shared = sorted(values[log] & values[other])
            if other not in came and shared:
                came[other] = (log, "{}={}".format(*shared[0]))
                queue.append(other)
    path, step = end, came[end]
    while step is not None:
        path = f"{step[0]} -[{step[1]}]- {path}"
        step = came[step[0]]
    return path


def ties(group: list[str], values: dict[str, Links]) -> dict[str, list[str]]:
    """The key values that two or more logs of a component share."""
    count = Counter(pair for log in group for pair in values[log])
    ties: dict[str, list[str]] = {}
    for (key, value), times in sorted(count.items()):
        if times > 1:
            ties.setdefault(key, []).append(value)
    return ties
