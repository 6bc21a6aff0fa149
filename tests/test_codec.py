"""Recipes as JSON: what is written comes back, what is wrong is refused by name, nothing foreign is run."""

import json
import subprocess
import sys
from dataclasses import dataclass, field

import pytest

from unseen.codec import from_json, replace_at, to_json
from unseen.errors import UnseenError


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    ratio: float = 0.75
    cell: int = 1
    name: str = "x"
    rate: float | None = None
    flip: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    ratio: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    leaf: Leaf = field(default_factory=Leaf)
    either: Leaf | Other | None = None
    many: tuple[Leaf, ...] = ()
    named: dict[str, Leaf] = field(default_factory=dict)
    size: tuple[int, int] = (16, 16)
    betas: tuple[float, ...] = (0.9, 0.95)


HERE = (__name__,)
TREE = Tree(
    leaf=Leaf(ratio=0.9, name="7"),
    either=Other(),
    many=(Leaf(cell=2), Leaf(rate=0.1)),
    named={"a.b": Leaf(flip=False)},
    size=(8, 12),
)


def back(value):
    return from_json(json.loads(json.dumps(value)), HERE)


def test_a_tree_comes_back_through_text():
    assert back(to_json(TREE)) == TREE
    assert isinstance(back(to_json(TREE)).size, tuple)


def test_an_int_is_a_float_where_one_is_wanted():
    stored = to_json(Leaf())
    stored["fields"]["ratio"] = 1
    assert isinstance(back(stored).ratio, float)


def test_absent_fields_take_their_defaults():
    assert back({"class": f"{__name__}:Leaf", "fields": {}}) == Leaf()


@pytest.mark.parametrize(
    ("name", "value"), [("ratio", "0.5"), ("cell", 1.5), ("cell", True), ("name", 3), ("flip", 1), ("rate", "high")]
)
def test_a_value_of_the_wrong_type_is_refused(name, value):
    stored = to_json(Leaf())
    stored["fields"][name] = value
    with pytest.raises(UnseenError, match=name):
        back(stored)


def test_a_tuple_of_the_wrong_length_is_refused():
    stored = to_json(Tree())
    stored["fields"]["size"] = [1, 2, 3]
    with pytest.raises(UnseenError, match="size"):
        back(stored)


def test_an_unknown_field_names_the_nearest():
    stored = to_json(Leaf())
    stored["fields"]["rato"] = 0.5
    with pytest.raises(UnseenError, match="did you mean 'ratio'"):
        back(stored)


def test_a_component_of_the_wrong_kind_is_refused():
    stored = to_json(Tree())
    stored["fields"]["leaf"] = to_json(Other())
    with pytest.raises(UnseenError, match="leaf is a Other"):
        back(stored)


def test_a_plain_value_in_the_place_of_a_component_is_refused():
    stored = to_json(Tree())
    stored["fields"]["leaf"] = 3
    with pytest.raises(UnseenError, match="component"):
        back(stored)


@pytest.mark.parametrize("name", ["os:system", "subprocess:Popen", "unseenish.x:Leaf", __name__ + ":Leaf"])
def test_classes_of_other_packages_are_refused(name):
    with pytest.raises(UnseenError, match="trust"):
        from_json({"class": name, "fields": {}})


@pytest.mark.parametrize("name", ["unseen.codec:importlib", "unseen.codec:to_json", "unseen.errors:UnseenError"])
def test_only_dataclasses_are_built(name):
    with pytest.raises(UnseenError, match="dataclass"):
        from_json({"class": name, "fields": {}})


@pytest.mark.parametrize("name", ["unseen.nowhere:Leaf", "unseen.codec:Nothing"])
def test_classes_that_are_not_there_are_named(name):
    with pytest.raises(UnseenError, match=name.split(":")[1]):
        from_json({"class": name, "fields": {}})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, {"a"}, object()])
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(UnseenError, match="stored"):
        to_json({"value": value})


@pytest.mark.parametrize(
    ("path", "text", "read"),
    [
        ("leaf.ratio", "0.25", lambda t: t.leaf.ratio == 0.25),
        ("leaf.name", "12", lambda t: t.leaf.name == "12"),
        ("leaf.name", "bare", lambda t: t.leaf.name == "bare"),
        ("leaf.rate", "null", lambda t: t.leaf.rate is None),
        ("leaf.flip", "false", lambda t: t.leaf.flip is False),
        ("size", "[4, 6]", lambda t: t.size == (4, 6)),
        ("size.1", "5", lambda t: t.size == (8, 5)),
        ("many.1.cell", "3", lambda t: t.many == (Leaf(cell=2), Leaf(rate=0.1, cell=3))),
        ("either.ratio", "0.125", lambda t: t.either == Other(ratio=0.125)),
    ],
)
def test_one_value_is_replaced(path, text, read):
    before = to_json(TREE)
    assert read(replace_at(TREE, {path: text}))
    assert to_json(TREE) == before


def test_a_component_is_replaced_whole():
    text = json.dumps(to_json(Other(ratio=0.1)))
    assert replace_at(TREE, {"either": text}, trust=HERE).either == Other(ratio=0.1)


@pytest.mark.parametrize(
    ("path", "text", "match"),
    [
        ("leaf.rato", "1", "did you mean 'ratio'"),
        ("leaf.ratio", "much", "expected float"),
        ("leaf.cell", "1.5", "cell"),
        ("many.5.cell", "1", "'5'"),
        ("leaf.ratio.deeper", "1", "deeper"),
        ("named.c", "1", "'c'"),
    ],
)
def test_a_wrong_replacement_is_refused(path, text, match):
    with pytest.raises(UnseenError, match=match):
        replace_at(TREE, {path: text})


def test_it_needs_no_torch():
    code = "import sys, unseen.codec; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_trusted_module_that_is_not_there_says_where_it_is_looked_for():
    with pytest.raises(UnseenError, match=r"No module named 'not_there'.*PYTHONPATH"):
        from_json({"class": "not_there:Mask", "fields": {}}, trust=("not_there",))
