"""The command line answers fast, names what is wrong, and never imports torch to say so."""

import json
import subprocess
import sys

import pytest

from unseen import cli, commands
from unseen.errors import UnseenError
from unseen.recipes.outline import check_overrides, locate

PROBE = """
import sys, time
sys.argv = ["unseen", *{words!r}]
from unseen.cli import main
try:
    code = main()
except SystemExit as stop:
    code = stop.code
print("\\n#", code, "torch" in sys.modules, "numpy" in sys.modules, time.process_time())
"""


def answer(*words: str) -> tuple[int, bool, float, str]:
    """Exit code, whether torch or numpy was imported, CPU seconds with the interpreter's own start, and the output."""
    done = subprocess.run([sys.executable, "-c", PROBE.format(words=list(words))], capture_output=True, text=True)
    _, code, torch, numpy, seconds = done.stdout.strip().rsplit("\n", 1)[-1].split()
    return int(code or 0), torch == "True" or numpy == "True", float(seconds), done.stdout + done.stderr


@pytest.fixture
def empty_store(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json").write_text(json.dumps({"format": "unseen-store", "version": 1}))
    return str(tmp_path / "store")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--help"], 0, "pretrain"),
        (["pretrain", "--help"], 0, "overrides as path=value"),
        (["pretrian"], 2, "pretrain"),
        (["pretrain", "mae", "--data", "nowhere", "--out", "run"], 2, "is not a store"),
        (["pretrain", "mea", "--data", "STORE", "--out", "run"], 2, "did you mean 'mae'?"),
        (["pretrain", "mae", "--data", "STORE", "--out", "run", "--set", "mask.ratoi=0.9"], 2, "did you mean 'ratio'?"),
        (["pretrain", "mae", "--data", "STORE", "--out", "run", "--split", "x"], 2, "has no split"),
        (["evaluate", "nowhere"], 2, "is not a run"),
        (["masks", "mea"], 2, "did you mean 'mae'?"),
        (["masks", "mae", "--data", "nowhere"], 2, "is not a store"),
        (["export", "nowhere", "--to", "tim", "--out", "x"], 2, "tim"),
    ],
)
def test_help_and_mistakes_are_answered_at_once(words, code, says, empty_store) -> None:
    got, heavy, seconds, text = answer(*[empty_store if word == "STORE" else word for word in words])
    assert (got, heavy) == (code, False), text
    assert says in text
    assert seconds < 0.5  # of CPU: a busy machine does not make it lie


def test_every_command_is_a_function_of_the_package() -> None:
    import unseen

    assert {name.replace("-", "_") for name in cli.COMMANDS} == set(commands.__all__)
    # `unseen.masks` stays the room of policies; the command of that name is `unseen.commands.masks`
    assert set(commands.__all__) - {"masks"} <= set(unseen.__all__)


def test_a_recipe_outside_the_package_is_read_too(tmp_path, monkeypatch) -> None:
    (tmp_path / "night_shift.py").write_text(
        "from dataclasses import replace\n"
        "from unseen.masks import Grid\n"
        "from unseen.recipes.images import mae\n"
        "from unseen.recipes.recipe import Recipe\n\n\n"
        "def late() -> Recipe:\n"
        "    return replace(mae(), mask=Grid(stride=3))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert locate("night_shift:late") == ("night_shift", "late")
    check_overrides("night_shift:late", ("mask.stride=2", "training.steps=3"))
    with pytest.raises(UnseenError, match="has no 'ratio'"):
        check_overrides("night_shift:late", ("mask.ratio=0.5",))


def test_overrides_that_are_no_assignment_are_refused() -> None:
    with pytest.raises(UnseenError, match="path=value"):
        check_overrides("mae", ("mask.ratio",))
