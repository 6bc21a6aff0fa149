"""Splits: which log plays which part. Logs that share a link key stay together; frames are never divided.

A component is what the link keys (log, route, date, rig, ...) tie together, directly or through others. It lies in one
role only. An unknown key links nothing: it is counted and said, never taken for equal to another unknown.
"""

import fnmatch
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from unseen.data.links import Links, link_values, tied_components, ties, witness
from unseen.data.schema import BETWEEN, identity
from unseen.data.store import Store
from unseen.data.writer import folder_name
from unseen.errors import UnseenError
from unseen.files import write_whole
from unseen.randomness import keys, name_hash, uniform

FAR = 0.5  # of a share that was asked for: further from it, it is said
ROLES = ("train", "probe", "val", "test", "excluded")  # pretraining; labelled, for probes; choices; the last look; none


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Which log plays which part, and why it could not be otherwise."""

    name: str
    by: list[str]  # link keys
    seed: int
    assignment: dict[str, str]  # log -> role
    components: list[dict[str, Any]]  # {"logs", "role", "frames", "shared": {key: [values that tie it together]}}
    unknown: dict[str, int]  # link key -> logs that do not have it
    warnings: list[str]
    store_digest: str
    digest: str = field(default="")

    def logs(self, role: str) -> list[str]:
        """The logs of a role, sorted. UnseenError for a role that no split knows."""
        if role not in ROLES:
            raise UnseenError(f"no role {role!r}", f"the roles are {', '.join(ROLES)}")
        return sorted(log for log, found in self.assignment.items() if found == role)


def split_store(
    store: Store,
    name: str,
    *,
    by: Sequence[str] = ("log_id",),
    fractions: Mapping[str, float] | None = None,
    assignment: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
) -> Split:
    """Assign every log of a store to a role and write `splits/<name>.json`; the same arguments give the same file.

    Args:
        by: columns of the log table, what people call them (rig, date, route), or attributes. What must not cross.
        fractions: role -> share of the frames, met as well as whole components allow, each role at least one component.
        assignment: role -> logs or patterns of log names (`kitti_*`); `*` alone is all that nothing else names.
            With fractions too, they divide the logs that no role names.

    UnseenError, with the path of shared keys, where an assignment would put one component into two roles.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
        raise UnseenError(
            f"a split cannot be called {name!r}",
            "a name is made of letters, digits, dots, dashes and underscores, and begins with no dot",
            "give a plain name, such as default",
        )
    logs, frames = store.log_ids(), _frame_counts(store)
    if not logs:
        raise UnseenError(f"the store {store.path} is empty", "", "ingest something first")
    _check_roles(fractions, assignment)
    values, unknown = link_values(store, by)
    component = tied_components(logs, values)
    roles = _explicit(logs, assignment or {}, rest_is_open=fractions is not None)
    _refuse_crossing(logs, values, component, roles)
    members = [[log for log, of in zip(logs, component, strict=True) if of == one] for one in range(max(component) + 1)]
    chosen = _fill(members, frames, roles, fractions or {}, seed)
    components: list[dict[str, Any]] = [
        {"logs": group, "role": role, "frames": sum(frames[log] for log in group), "shared": ties(group, values)}
        for group, role in zip(members, chosen, strict=True)
    ]
    split = Split(
        name=name,
        by=list(by),
        seed=seed,
        assignment=roles_of(components),
        components=components,
        unknown=unknown,
        warnings=_warnings(store, unknown, len(logs)) + _astray(store, by, roles_of(components), fractions),
        store_digest=store.digest(),
    )
    return _write(store, split)


def load_split(store: Store, name: str) -> Split:
    """Read a split; UnseenError where it is not there, was changed by hand, or names logs that the store lacks."""
    path = store.path / "splits" / f"{folder_name(name)}.json"
    try:
        split = Split(**json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        known = sorted(found.stem for found in path.parent.glob("*.json"))
        raise UnseenError(
            f"the store {store.path} has no split {name!r}", f"it has: {', '.join(known) or 'none'}", "unseen split"
        ) from error
    except (ValueError, TypeError) as error:
        raise UnseenError(f"{path} is no split: {error}") from error
    if split.digest != _digest(split):
        raise UnseenError(f"{path} was changed after it was made", "its digest differs", "make a new split instead")
    if gone := sorted(set(split.assignment) - set(store.log_ids())):
        raise UnseenError(f"split {name!r} names logs that the store lacks: {', '.join(gone[:3])}")
    return split


def _check_roles(fractions: Mapping[str, float] | None, assignment: Mapping[str, Sequence[str]] | None) -> None:
    if not fractions and not assignment:
        raise UnseenError(
            "a split without fractions or an assignment", "say who plays which part", "train=0.8 test=0.2"
        )
    for role in [*(fractions or {}), *(assignment or {})]:
        if role not in ROLES:
            raise UnseenError(f"no role {role!r}", f"the roles are {', '.join(ROLES)}")
    if fractions and (min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-6):
        raise UnseenError(f"fractions {dict(fractions)}", "they are positive and sum to 1")


def _frame_counts(store: Store) -> dict[str, int]:
    counts = Counter(store.table("frame")["log_id"].to_pylist())
    return {log: counts[log] for log in store.log_ids()}


def _explicit(logs: list[str], assignment: Mapping[str, Sequence[str]], rest_is_open: bool) -> dict[str, str]:
    """Log -> role as the user names them."""
    roles: dict[str, str] = {}
    rest = [role for role, names in assignment.items() if "*" in names]
    for role, names in assignment.items():
        for name in names:
            found = [log for log in logs if log == name] or fnmatch.filter(logs, name)
            if not found:
                raise UnseenError(f"no log is called {name!r}", "", "see: unseen inspect")
            for log in found if name != "*" else ():
                if roles.setdefault(log, role) != role:
                    raise UnseenError(f"log {log!r} is named for {roles[log]} and for {role}", "a log has one role")
    if len(rest) > 1 or (rest and rest_is_open):
        raise UnseenError("'*' beside another '*' or beside fractions", "the rest goes one way")
    open_logs = [log for log in logs if log not in roles]
    if open_logs and not rest and not rest_is_open:
        raise UnseenError(
            f"{len(open_logs)} logs are not named, such as {open_logs[0]!r}",
            "every log has a role",
            "name the rest: '*'",
        )
    return roles | {log: rest[0] for log in open_logs if rest}


def _refuse_crossing(logs: list[str], values: dict[str, Links], component: list[int], roles: dict[str, str]) -> None:
    first: dict[int, str] = {}
    for log, one in zip(logs, component, strict=True):
        if log not in roles:
            continue
        other = first.setdefault(one, log)
        if roles[other] != roles[log]:
            raise UnseenError(
                f"{roles[other]} and {roles[log]} would share data: {witness(other, log, values)}",
                "what shares a link key lies in one role",
                "put these logs into one role, or split by fewer keys",
            )


def _fill(
    members: list[list[str]], frames: dict[str, int], roles: dict[str, str], fractions: Mapping[str, float], seed: int
) -> list[str]:
    """The role of each component: the named ones, then, in keyed order, always the role that lacks most frames."""
    chosen = [next((roles[log] for log in group if log in roles), "") for group in members]
    still_open = [place for place, role in enumerate(chosen) if not role]
    if not still_open:
        return chosen
    if len(still_open) < len(fractions):
        raise UnseenError(
            f"{len(still_open)} components cannot fill {len(fractions)} roles",
            f"logs that share a key stay together: {[group[:3] for group in members][:4]}",
            "split by fewer keys, or into fewer roles",
        )
    size = [sum(frames[log] for log in group) for group in members]
    total = sum(size[place] for place in still_open)
    lack = {role: share * total for role, share in fractions.items()}
    empty = set(fractions)
    ids = torch.tensor([name_hash(members[place][0]) for place in still_open])
    rank = uniform(keys(seed, ids, 0, "split"), 1)[:, 0].argsort().tolist()
    for done, place in enumerate(still_open[number] for number in rank):
        wanted = empty if len(still_open) - done == len(empty) else lack
        role = max(sorted(wanted), key=lambda role: lack[role])
        chosen[place] = role
        lack[role] -= size[place]
        empty.discard(role)
    return chosen


def _warnings(store: Store, unknown: dict[str, int], total: int) -> list[str]:
    warnings = [
        f"{count} of {total} logs have no {key}: they are linked by nothing there"
        for key, count in unknown.items()
        if count
    ]
    groups = {row["log_id"]: dict(row["attributes"] or ()).get("groups") for row in store.table("log").to_pylist()}
    if blind := sorted(log for log, kind in groups.items() if kind == "unknown"):
        warnings.append(
            f"groups inside {', '.join(blind[:3])} are unknown: what belongs together cannot be kept together"
        )
    return warnings


def roles_of(components: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The role of each log."""
    return {log: entry["role"] for entry in components for log in entry["logs"]}


def _astray(
    store: Store, by: Sequence[str], roles: Mapping[str, str], fractions: Mapping[str, float] | None
) -> list[str]:
    """What a reader would not expect: ties that were found at ingest and cross roles, and shares far from those asked.

    An attribute that ties logs has the name of one of them as its value, or of several.
    """
    parts: dict[tuple[str, str], set[str]] = {}
    for row in store.table("log").to_pylist():
        for key, values in dict(row["attributes"] or ()).items():
            for value in () if key in by else roles.keys() & set(values.split(BETWEEN)):
                parts.setdefault((key, value), set()).add(roles[row["log_id"]])
    crossing = Counter(key for (key, _), found in parts.items() if len(found - {"excluded"}) > 1)
    warnings = [
        f"{count} groups of logs with the same {key} lie in several roles: add {key} to --by to keep them together"
        for key, count in sorted(crossing.items())
    ]
    frames = _frame_counts(store)
    for role, share in (fractions or {}).items():
        got = sum(frames[log] for log, of in roles.items() if of == role) / max(1, sum(frames.values()))
        if abs(got - share) > FAR * share:
            warnings.append(f"{role} has {got:.1%} of the frames, not {share:.0%}: whole groups do not divide finer")
    return warnings


def _write(store: Store, split: Split) -> Split:
    path = store.path / "splits" / f"{folder_name(split.name)}.json"
    made = Split(**{**asdict(split), "digest": _digest(split)})
    if path.exists() and load_split(store, split.name) != made:
        raise UnseenError(
            f"the store has another split {split.name!r}", "a split is never overwritten", "use another name"
        )
    path.parent.mkdir(exist_ok=True)
    write_whole(path, json.dumps(asdict(made), indent=1))
    return made


def _digest(split: Split) -> str:
    content = {key: value for key, value in asdict(split).items() if key != "digest"}
    return identity(json.dumps(content, sort_keys=True))
