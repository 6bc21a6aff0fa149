"""Recipes as plain JSON: a tree of frozen dataclasses to `{"class": ..., "fields": ...}` and back, checked on the way.

Reading never runs anything but the constructors of dataclasses in this package, and in modules that the caller trusts.
"""

import dataclasses
import difflib
import importlib
import json
import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unseen.errors import UnseenError

# `metadata` of a field that names a file or a folder; `absolute` reads it
PATH = {"path": "here"}  # from the working folder
PATH_IN_STORE = {"path": "store"}  # in the store, where it is there, else from the working folder
Json = Any  # None, bool, int, float, str, list or dict with str keys


def to_json(node: Any) -> Json:
    """The JSON of a tree of dataclasses, tuples, lists, dicts and plain values; anything else is refused."""
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        name = f"{type(node).__module__}:{type(node).__qualname__}"
        return {"class": name, "fields": {f.name: to_json(getattr(node, f.name)) for f in dataclasses.fields(node)}}
    if isinstance(node, (list, tuple)):
        return [to_json(item) for item in node]
    if isinstance(node, dict) and all(isinstance(key, str) for key in node):
        return {key: to_json(value) for key, value in node.items()}
    if node is None or isinstance(node, (bool, int, str)) or (isinstance(node, float) and math.isfinite(node)):
        return node
    raise UnseenError(
        f"{node!r} cannot be stored in a recipe", "only dataclasses, tuples, lists, dicts and plain values can be"
    )


def from_json(value: Json, trust: Sequence[str] = ()) -> Any:
    """Rebuild what `to_json` wrote; classes outside `unseen` only from the modules in `trust`."""
    return _decode(value, Any, trust, "recipe")


def check_types(node: Any, hint: Any = Any, where: str = "recipe") -> None:
    """UnseenError, naming the field, where a tree built in Python holds what `from_json` would refuse to read."""
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        _fits(node, hint, where)
        hints = typing.get_type_hints(type(node))
        for name in (field.name for field in dataclasses.fields(node)):
            check_types(getattr(node, name), hints[name], f"{where}.{name}")
    elif isinstance(node, (dict, list, tuple)) and _has_node(node):
        container = dict if isinstance(node, dict) else tuple
        if not any(typing.get_origin(arm) in (container, list) or arm is Any for arm in _arms(hint)):
            raise UnseenError(f"{where} is a {type(node).__name__}", f"expected {_name(hint)}")
        for place, (key, item) in enumerate(node.items() if isinstance(node, dict) else enumerate(node)):
            check_types(item, _item(hint, container, 1 if isinstance(node, dict) else place), f"{where}.{key}")
    elif not any(isinstance(arm, type) and _is_component(arm) and isinstance(node, arm) for arm in _arms(hint)):
        try:
            value = to_json(node)
        except UnseenError as error:
            raise UnseenError(f"{where} = {error.what}", error.rule, f"expected {_name(hint)}") from error
        _leaf(value, hint, where)


def fields_called(name: str, node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The path, as `--set` takes it, and the value of every field of a tree that has this name."""
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        parts = {field.name: getattr(node, field.name) for field in dataclasses.fields(node)}
    else:
        parts = node if isinstance(node, dict) else {}
    for key, value in parts.items():
        if key == name:
            yield f"{path}{key}", value
        yield from fields_called(name, value, f"{path}{key}.")


def absolute(node: Any, store: Path) -> Any:
    """A copy of the tree whose paths (`PATH`, `PATH_IN_STORE`) mean the same from any working folder.

    What lies in the store keeps its name, so that a store may move; so does what is nowhere, for its reader to refuse.
    """
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        fields = dataclasses.fields(node)
        new = {f.name: _placed(getattr(node, f.name), f.metadata.get("path"), store) for f in fields if f.init}
        return dataclasses.replace(
            node, **{name: value for name, value in new.items() if value is not getattr(node, name)}
        )
    if type(node) in (tuple, list):
        return type(node)(absolute(item, store) for item in node)
    return {key: absolute(value, store) for key, value in node.items()} if type(node) is dict else node


def _placed(value: Any, path: str | None, store: Path) -> Any:
    if path is None or not isinstance(value, str):
        return absolute(value, store)
    if not value or (path == "store" and (store / value).exists()) or not Path(value).exists():
        return value
    return str(Path(value).absolute())


def replace_at(node: Any, changes: Mapping[str, str], *, trust: Sequence[str] = ()) -> Any:
    """A copy of the tree with some values changed, as in `--set mask.ratio=0.9`.

    `changes` maps paths (fields, keys of dicts and indices of tuples, joined by dots) to JSON or bare strings. All
    changes of one node are made at once, so that two values which must agree may change together.
    """
    return _replace(node, {path: (path.split("."), text) for path, text in changes.items()}, Any, trust)


def _replace(node: Any, changes: dict[str, tuple[list[str], str]], hint: Any, trust: Sequence[str]) -> Any:
    below: dict[str, dict[str, tuple[list[str], str]]] = {}
    for path, (parts, text) in changes.items():
        if not parts:
            return _parse(text, hint, trust, path)
        _known(parts[0], _names_in(node, path), f"{path}: {type(node).__name__}")
        below.setdefault(parts[0], {})[path] = (parts[1:], text)
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        hints = typing.get_type_hints(type(node))
        new = {name: _replace(getattr(node, name), inner, hints[name], trust) for name, inner in below.items()}
        try:
            return dataclasses.replace(node, **new)
        except (TypeError, ValueError) as error:
            raise UnseenError(f"{', '.join(changes)}: {type(node).__name__} refuses", str(error)) from error
    if isinstance(node, dict):
        return node | {k: _replace(node[k], inner, _item(hint, dict, 1), trust) for k, inner in below.items()}
    items = list(node)
    for index, inner in below.items():
        items[int(index)] = _replace(items[int(index)], inner, _item(hint, tuple, int(index)), trust)
    return type(node)(items)


def _names_in(node: Any, path: str) -> list[str]:
    """What a path may name inside a node."""
    if dataclasses.is_dataclass(node) and not isinstance(node, type):
        return [field.name for field in dataclasses.fields(node)]
    if isinstance(node, dict):
        return list(node)
    if isinstance(node, (tuple, list)):
        return [str(index) for index in range(len(node))]
    raise UnseenError(f"{path}: {node!r} has nothing inside", "the path must end where the value is")


def _parse(text: str, hint: Any, trust: Sequence[str], path: str) -> Any:
    try:
        return _decode(json.loads(text), hint, trust, path)
    except json.JSONDecodeError:
        return _decode(text, hint, trust, path)
    except UnseenError:
        if str not in _arms(hint):
            raise
        return text


def _decode(value: Json, hint: Any, trust: Sequence[str], where: str) -> Any:
    if isinstance(value, dict) and value.keys() == {"class", "fields"}:
        return _fits(_build(value, trust, where), hint, where)
    if not _holds_node(value):
        return _leaf(value, hint, where)
    if isinstance(value, dict):
        return {k: _decode(v, _item(hint, dict, 1), trust, f"{where}.{k}") for k, v in value.items()}
    items = [_decode(item, _item(hint, tuple, i), trust, f"{where}.{i}") for i, item in enumerate(value)]
    return items if typing.get_origin(hint) is list else tuple(items)


def _build(value: dict[str, Json], trust: Sequence[str], where: str) -> Any:
    module, _, name = str(value["class"]).partition(":")
    if module.split(".")[0] != "unseen" and module not in trust:
        raise UnseenError(
            f"{where}: the class {value['class']!r} is not part of unseen",
            "a file may only name classes of modules that you trust",
            f"pass --trust {module} if you do",
        )
    try:
        cls = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise UnseenError(
            f"{where}: {value['class']!r} cannot be imported ({error})",
            "the module of a class is needed in every command that reads it",
            "put the folder of the module on PYTHONPATH",
        ) from error
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise UnseenError(f"{where}: {value['class']!r} is not a component", "it must be a dataclass")
    hints = typing.get_type_hints(cls)
    for field in value["fields"]:
        _known(field, [f.name for f in dataclasses.fields(cls)], f"{where}: {name}")
    fields = {k: _decode(v, hints[k], trust, f"{where}.{k}") for k, v in value["fields"].items()}
    try:
        return cls(**fields)
    except (TypeError, ValueError) as error:
        raise UnseenError(f"{where}: {name} cannot be built", str(error)) from error


def _leaf(value: Json, hint: Any, where: str) -> Any:
    from pydantic import TypeAdapter, ValidationError
    from pydantic.errors import PydanticSchemaGenerationError

    plain = [arm for arm in _arms(hint) if not _is_component(arm)]
    if not plain:
        raise UnseenError(f"{where} = {value!r}", f"expected a component, {_name(hint)}")
    try:
        anything: Any = typing.Union[tuple(plain)]  # noqa: UP007
        return TypeAdapter(anything).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise UnseenError(
            f"{where} = {value!r}",
            f"expected {_name(hint)}: {error.errors()[0]['msg']}",
            "values are JSON: 3, 0.5, true, null, [64, 96]",
        ) from error
    except PydanticSchemaGenerationError as error:  # a dict of components, and there is none in `value`
        if value == {} and any(typing.get_origin(arm) is dict for arm in plain):
            return {}
        raise UnseenError(f"{where} = {value!r}", f"expected {_name(hint)}") from error


def _fits(node: Any, hint: Any, where: str) -> Any:
    arms = _arms(hint)
    if Any not in arms and not any(isinstance(arm, type) and isinstance(node, arm) for arm in arms):
        raise UnseenError(f"{where} is a {type(node).__name__}", f"expected {_name(hint)}")
    return node


def _arms(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _item(hint: Any, container: type, index: int) -> Any:
    """What a container's annotation says of one item; for a dict, index 1 is the value."""
    for arm in _arms(hint):
        origin, arguments = typing.get_origin(arm), typing.get_args(arm)
        if container is dict and origin is dict:
            return arguments[1]
        if container is tuple and origin in (tuple, list) and arguments:
            return arguments[0] if origin is list or arguments[-1] is ... else arguments[min(index, len(arguments) - 1)]
    return Any


def _is_component(arm: Any) -> bool:
    return (
        arm is not Any
        and isinstance(arm, type)
        and (dataclasses.is_dataclass(arm) or arm.__module__ not in ("builtins", "types"))
    )


def _holds_node(value: Json) -> bool:
    if isinstance(value, dict):
        return value.keys() == {"class", "fields"} or any(map(_holds_node, value.values()))
    return isinstance(value, list) and any(map(_holds_node, value))


def _has_node(node: Any) -> bool:
    if isinstance(node, (dict, list, tuple)):
        return any(map(_has_node, node.values() if isinstance(node, dict) else node))
    return dataclasses.is_dataclass(node)


def _known(name: str, names: Iterable[str], where: str) -> None:
    names = list(names)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        remedy = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(names)}"
        raise UnseenError(f"{where} has no {name!r}", "unknown names are never ignored", remedy)


def _name(hint: Any) -> str:
    return " or ".join(
        getattr(arm, "__name__", str(arm)) if not typing.get_args(arm) else str(arm) for arm in _arms(hint)
    )
