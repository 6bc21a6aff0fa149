"""Read a recipe without running it, so that a misspelt name is answered at once.

Recipes are plain Python that returns dataclass calls; their field names can be read from the source. Importing them
takes seconds, because the components import torch. What cannot be read this way (a computed value, a call into other
code) is left to the real check that follows; nothing here decides what a recipe means.
"""

import ast
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from unseen.errors import UnseenError

Outline = dict[str, "Outline | None"]  # field name -> its own fields, or None where they cannot be read

HOME = "unseen.recipes"


def locate(reference: str) -> tuple[str, str]:
    """Module and function of `name`, of `module:function`; UnseenError with the nearest match when there is none."""
    if ":" in reference:
        module, _, function = reference.partition(":")
        if _source(module) is None:
            raise UnseenError(f"no module {module!r}", "a recipe is `name` or `module:function`", "check PYTHONPATH")
        known = {name: module for name in _recipes(module)}
    else:
        function = reference
        known = known_recipes()
    if function not in known:
        rule = "known: " + ", ".join(sorted(known)) if known else "a recipe takes nothing and is annotated `-> Recipe`"
        raise UnseenError(f"no recipe {reference!r}", rule, nearest(function, known) if known else "")
    return known[function], function


def known_recipes() -> dict[str, str]:
    """The recipes of the package by name, with the module of each."""
    return {name: module for module in _home_modules() for name in _recipes(module)}


def check_overrides(reference: str, assignments: tuple[str, ...]) -> None:
    """Refuse `path=value` assignments whose path the recipe does not have."""
    module, function = locate(reference)
    outline = _of_function(module, function)
    for assignment in assignments:
        path, equals, _ = assignment.partition("=")
        if not equals:
            raise UnseenError(f"--set {assignment}", "an override is path=value", f"write {assignment}=...")
        node: Outline | None = outline
        for depth, name in enumerate(path.split(".")):
            if not node:
                break  # below a value that only running the recipe can tell
            if name not in node:
                where = ".".join(path.split(".")[:depth]) or "the recipe"
                raise UnseenError(
                    f"--set {path}", f"{where} has no {name!r}, only {', '.join(node)}", nearest(name, node)
                )
            node = node[name]


def nearest(name: str, known) -> str:
    match = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {match[0]!r}?" if match else "name one of these"


@cache
def _home_modules() -> tuple[str, ...]:
    files = sorted((Path(__file__).parent).glob("*.py"))
    return tuple(f"{HOME}.{file.stem}" for file in files if file.stem not in ("__init__", "recipe", "outline"))


@cache
def _source(module: str) -> ast.Module | None:
    """The parsed source of a module, found without importing any package on the way."""
    root, *rest = module.split(".")
    spec = find_spec(root)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin)
    if rest:
        path = path.parent.joinpath(*rest)
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text()) if path.suffix == ".py" and path.is_file() else None


def _recipes(module: str) -> list[str]:
    """The public functions of a module that take nothing and are annotated `-> Recipe`."""
    tree = _source(module)
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)] if tree else []
    return [
        node.name
        for node in functions
        if not node.name.startswith("_")
        and not node.args.args
        and node.returns
        and ast.unparse(node.returns) == "Recipe"
    ]


def _find(module: str, name: str) -> tuple[str, ast.stmt | None]:
    """The module that really defines `name`, following re-exports, and the definition."""
    tree = _source(module)
    for node in tree.body if tree else []:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _find(node.module, alias.name)
    return module, None


def _of_function(module: str, function: str) -> Outline | None:
    _, node = _find(module, function)
    last = node.body[-1] if isinstance(node, ast.FunctionDef) else None
    return _of_value(module, last.value) if isinstance(last, ast.Return) and last.value is not None else None


def _of_value(module: str, value: ast.expr) -> Outline | None:
    if isinstance(value, ast.Dict):
        pairs = zip(value.keys, value.values, strict=True)
        return {str(key.value): _of_value(module, item) for key, item in pairs if isinstance(key, ast.Constant)}
    if not isinstance(value, ast.Call):
        return None
    given = {word.arg: _of_value(module, word.value) for word in value.keywords if word.arg}
    if isinstance(value.func, ast.Attribute) and isinstance(value.func.value, ast.Name):  # ViT.tiny(...)
        base = _of_class(*_find(module, value.func.value.id))
    elif isinstance(value.func, ast.Name) and value.func.id == "replace" and value.args:
        base = _of_value(module, value.args[0])
    elif isinstance(value.func, ast.Name):
        home, node = _find(module, value.func.id)
        base = _of_function(home, node.name) if isinstance(node, ast.FunctionDef) else _of_class(home, node)
    else:
        return None
    return None if base is None else base | given


def _of_class(module: str, node: ast.stmt | None) -> Outline | None:
    if not isinstance(node, ast.ClassDef):
        return None
    return {
        item.target.id: _of_value(module, item.value) if item.value else None
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and not ast.unparse(item.annotation).startswith("ClassVar")
    }
