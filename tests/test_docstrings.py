"""What a room exports says what it is."""

import inspect
from importlib import import_module

import pytest

ROOMS = ("masks", "units", "targets", "models", "contract", "evaluate.probes", "systems.objective", "systems.encode")


@pytest.mark.parametrize("room", ROOMS)
def test_every_exported_class_has_a_docstring_of_its_own(room):
    """A dataclass without one is given its signature, a Protocol that of its base."""
    module = import_module(f"unseen.{room}")
    names = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
    classes = {name: value for name in names if inspect.isclass(value := getattr(module, name))}
    own = {name: value for name, value in classes.items() if value.__module__.startswith(f"unseen.{room}")}
    silent = [name for name, value in own.items() if (vars(value).get("__doc__") or f"{name}(").startswith(f"{name}(")]
    assert own and not silent
