"""The tables of README that say what there is: made of the code, so that they cannot fall behind it.

`python -m docs.catalogue` writes them between their marks in README.md; a test compares.
"""

import dataclasses
import inspect
from pathlib import Path
from typing import Any

import unseen.masks
import unseen.targets
import unseen.units
from unseen.contract import Corruption, MaskPolicy, Target, Unit
from unseen.recipes.load import load_recipe
from unseen.recipes.outline import known_recipes
from unseen.recipes.recipe import Recipe
from unseen.systems import codes, teachers
from unseen.systems.objective import Term

README = Path(__file__).parent.parent / "README.md"
PUBLIC = ("__call__",)
BEGIN, END = "<!-- catalogue: made by `python -m docs.catalogue` -->", "<!-- end of catalogue -->"


def catalogue() -> str:
    """Markdown: the members of each room, then the recipes as units x masks x targets x models."""
    kinds: list[tuple[str, list[type]]] = [
        ("units", members(unseen.units, Unit)),
        ("masks", members(unseen.masks, MaskPolicy) + members(unseen.masks, Corruption)),
        (
            "targets",
            members(unseen.targets, Target) + [teachers.Momentum, teachers.Frozen, codes.Codes, codes.Commitment],
        ),
    ]
    parts = ["| | |", "|---|---|"]
    parts += [f"| **{name}** | {' · '.join(one(kind) for kind in found)} |" for name, found in kinds]
    parts += ["", "| recipe | unit | mask | predicts | model |", "|---|---|---|---|---|"]
    parts += [row(name, load_recipe(name)) for name in known_recipes()]
    return "\n".join(parts)


def members(room: Any, wanted: type) -> list[type]:
    """The exported classes of a room whose methods take what those of a protocol take."""
    found = [kind for name in room.__all__ if inspect.isclass(kind := getattr(room, name))]
    return sorted(
        (kind for kind in found if methods(wanted).items() <= methods(kind).items()), key=lambda k: k.__name__
    )


def methods(kind: type) -> dict[str, tuple[str, ...]]:
    """The arguments of its own methods, by name; the constructor left out."""
    own = {name: value for name, value in vars(kind).items() if inspect.isfunction(value)}
    return {name: tuple(inspect.signature(own[name]).parameters) for name in own if name in PUBLIC or name[0] != "_"}


def one(kind: type) -> str:
    return f"`{kind.__name__}`"


def row(name: str, recipe: Recipe) -> str:
    """One recipe: its parts by the settings that differ from their defaults."""
    mask = part(recipe.mask) + (f" + {part(recipe.corruption)}" if recipe.corruption else "")
    predicts = ", ".join(term(one) for one in recipe.targets.values())
    cells = [f"`{name}`", part(recipe.unit), mask, predicts, type(recipe.model).__name__]
    return "| " + " | ".join(cells) + " |"


def term(term: Term) -> str:
    places = [where for where, weight in (("hidden", term.weight), ("visible", term.visible_weight)) if weight]
    return part(term.target) + ("" if places == ["hidden"] else f" on {' and '.join(places)} units")


def part(node: Any) -> str:
    """`Random(ratio=0.6, cell=4)`: what is not at its default."""
    changed = [
        f"{field.name}={getattr(node, field.name)!r}"
        for field in dataclasses.fields(node)
        if field.default is dataclasses.MISSING or getattr(node, field.name) != field.default
    ]
    return f"{type(node).__name__}({', '.join(changed)})" if changed else type(node).__name__


def written(readme: str, table: str) -> str:
    """README with the table between its marks."""
    before, rest = readme.split(BEGIN)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    README.write_text(written(README.read_text(), catalogue()))
