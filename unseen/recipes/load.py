"""From a name, a function or a JSON file to a Recipe."""

import json
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path

from unseen.codec import check_types, from_json, replace_at, to_json
from unseen.errors import UnseenError
from unseen.files import write_whole
from unseen.recipes.outline import locate
from unseen.recipes.recipe import Recipe


def load_recipe(reference: str | Path | Recipe, overrides: tuple[str, ...] = (), trust: tuple[str, ...] = ()) -> Recipe:
    """Resolve `name`, `module:function`, a recipe.json or a Recipe, and apply `path=value` overrides.

    UnseenError for a name, a class or a field that is not there, and for a value of another type.
    """
    if isinstance(reference, Recipe):
        recipe = reference
    elif str(reference).endswith(".json"):
        recipe = read_recipe(Path(reference), trust)
    else:
        module, function = locate(str(reference))
        recipe = getattr(import_module(module), function)()
    if not (is_dataclass(recipe) and isinstance(recipe, Recipe)):
        raise UnseenError(f"{reference} returned {type(recipe).__name__}", "a recipe function returns a Recipe")
    check_types(recipe)
    changes = dict(assignment.split("=", 1) for assignment in overrides)
    return replace_at(recipe, changes, trust=trust) if changes else recipe


def read_recipe(path: Path, trust: tuple[str, ...] = ()) -> Recipe:
    """A recipe that was written; UnseenError for a file that is missing, no JSON, or names classes not trusted."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise UnseenError(f"no file {path}", "a run keeps its recipe as recipe.json") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UnseenError(f"{path} is not JSON: {error}", "a recipe file is written by `unseen pretrain`") from None
    return from_json(content, trust)


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write it as JSON, whole or not at all."""
    write_whole(path, json.dumps(to_json(recipe), indent=2) + "\n")
