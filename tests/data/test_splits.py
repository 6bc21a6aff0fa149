"""Splits: what shares a link key lies in one role, and an unknown key links nothing."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unseen.data.splits import load_split, split_store
from unseen.data.store import Store
from unseen.errors import UnseenError


def make_store(path, logs: dict[str, dict], frames: int = 2) -> Store:
    store = Store.create(path)
    for log_id, columns in logs.items():
        with store.writer(log_id, source_uri=log_id) as writer:
            writer.log(**columns)
            for seq in range(frames):
                writer.frame(seq)
    return store


LOGS = {
    "a": {"route_id": "r1", "rig_id": "x"},
    "b": {"route_id": "r1"},
    "c": {"route_id": "r2", "attributes": {"batch": "7"}},
    "d": {"route_id": "r2", "attributes": {"batch": "8"}},
    "e": {"attributes": {"batch": "8"}},
    "f": {},
    "g": {"rig_id": "x", "attributes": {"groups": "unknown"}},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("splits") / "s", LOGS)


@pytest.mark.parametrize("seed", range(5))
def test_components_stay_whole(store, seed):
    split = split_store(store, f"s{seed}", by=("route", "batch"), fractions={"train": 0.5, "test": 0.5}, seed=seed)
    role = split.assignment
    assert role["a"] == role["b"] and role["c"] == role["d"] == role["e"]
    assert set(role) == set(LOGS) and set(role.values()) == {"train", "test"}
    assert split.unknown == {"route": 3, "batch": 4}
    assert any("no route" in warning for warning in split.warnings)
    assert any("groups inside g" in warning for warning in split.warnings)
    tied = next(entry for entry in split.components if "c" in entry["logs"])
    assert tied["shared"] == {"route": ["r2"], "batch": ["8"]}


def test_unknown_keys_do_not_link(store):
    split = split_store(store, "free", by=("route",), fractions={"train": 0.5, "test": 0.5})
    assert sorted(len(entry["logs"]) for entry in split.components) == [1, 1, 1, 2, 2]


def test_the_same_arguments_give_the_same_file(store):
    one = split_store(store, "twice", fractions={"train": 0.6, "val": 0.2, "test": 0.2}, seed=3)
    assert one == split_store(store, "twice", fractions={"train": 0.6, "val": 0.2, "test": 0.2}, seed=3)
    assert one == load_split(store, "twice")
    with pytest.raises(UnseenError, match="never overwritten"):
        split_store(store, "twice", fractions={"train": 0.5, "test": 0.5})


def test_a_crossing_assignment_is_refused_with_its_path(store):
    with pytest.raises(UnseenError, match=r"b -\[route=r1\]- a -\[rig=x\]- g|g -\[rig=x\]- a -\[route=r1\]- b"):
        split_store(
            store, "x", by=("route", "rig"), assignment={"test": ["g"], "train": ["b"]}, fractions={"train": 1.0}
        )
    assert not (store.path / "splits" / "x.json").exists()
    fine = split_store(store, "y", by=("route", "rig"), assignment={"test": ["g", "a", "b"], "train": ["*"]})
    assert fine.logs("test") == ["a", "b", "g"] and fine.logs("train") == ["c", "d", "e", "f"]


def test_named_logs_pull_their_component_and_fractions_share_the_rest(store):
    split = split_store(store, "z", by=("route",), assignment={"test": ["a"]}, fractions={"train": 0.5, "val": 0.5})
    assert split.logs("test") == ["a", "b"] and set(split.assignment.values()) == {"test", "train", "val"}


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"fractions": {"train": 0.5, "test": 0.4}},
        {"fractions": {"trian": 1.0}},
        {"assignment": {"test": ["nobody"], "train": ["*"]}},
        {"assignment": {"test": ["a"]}},
        {"assignment": {"test": ["a"], "train": ["a", "*"]}},
        {"assignment": {"test": ["*"], "train": ["*"]}},
        {"by": ("colour",), "fractions": {"train": 1.0}},
        {"by": ("weather",), "fractions": {"train": 1.0}},
    ],
)
def test_impossible_splits_are_refused(store, arguments):
    with pytest.raises(UnseenError):
        split_store(store, "bad", **arguments)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "..", "two words", "é"])
def test_names_that_are_not_plain_are_refused(store, name):
    before = sorted(store.path.rglob("*.json"))
    with pytest.raises(UnseenError, match="cannot be called"):
        split_store(store, name, fractions={"train": 0.5, "test": 0.5})
    assert sorted(store.path.rglob("*.json")) == before


def test_too_few_components(tmp_path):
    store = make_store(tmp_path / "s", {name: {"route_id": "r"} for name in "abc"})
    with pytest.raises(UnseenError, match="1 components cannot fill 2 roles"):
        split_store(store, "s", by=("route",), fractions={"train": 0.5, "test": 0.5})


def test_a_split_edited_by_hand_is_refused(store):
    split_store(store, "edited", fractions={"train": 0.5, "test": 0.5})
    path = store.path / "splits" / "edited.json"
    content = json.loads(path.read_text())
    content["assignment"]["a"] = "test" if content["assignment"]["a"] == "train" else "train"
    path.write_text(json.dumps(content))
    with pytest.raises(UnseenError, match="changed after it was made"):
        load_split(store, "edited")
    with pytest.raises(UnseenError, match="has no split"):
        load_split(store, "never")


@given(
    links=st.lists(st.tuples(*[st.sampled_from([None, "p", "q", "r", "s"])] * 2), min_size=4, max_size=9),
    seed=st.integers(0, 99),
)
@settings(max_examples=8)
def test_no_key_value_is_ever_on_both_sides(tmp_path_factory, links, seed):
    logs = {
        f"l{i}": {k: v for k, v in zip(("route_id", "rig_id"), pair, strict=True) if v} for i, pair in enumerate(links)
    }
    logs |= {"free0": {"route_id": "t", "rig_id": "t"}, "free1": {"route_id": "u"}}
    store = make_store(tmp_path_factory.mktemp("h") / "s", logs, frames=1)
    split = split_store(store, "s", by=("route", "rig"), fractions={"train": 0.7, "test": 0.3}, seed=seed)
    assert split.logs("train") and split.logs("test")
    for key in ("route_id", "rig_id"):
        sides = [{logs[log][key] for log in split.logs(role) if key in logs[log]} for role in ("train", "test")]
        assert not sides[0] & sides[1]
