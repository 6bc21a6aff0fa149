"""Text from files to rows of tokens: what is repeated or withheld is named, and nothing leaks between logs."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from unseen.data.ingest.text import ingest_text
from unseen.data.ingest.ties import template
from unseen.data.inspect import inspect_store
from unseen.data.passages import Passages, parts, window
from unseen.data.splits import split_store
from unseen.data.store import Store
from unseen.data.tokenizer import load_tokenizer, train_tokenizer
from unseen.errors import UnseenError

ROWS = [
    ("r1", "jan", "The tug STRUCK the nose gear at stand 12 during pushback.", "ground"),
    ("r1", "jan", "The tug STRUCK the nose gear at stand 12 during pushback.", "ground"),
    ("r2", "feb", "The tug struck the nose gear at stand 47 during pushback.", "ground"),
    ("r3", "mar", "[REDACTED, MAY CONTAIN CONFIDENTIAL BUSINESS INFORMATION]", "air"),
    ("r3", "mar", "  ", "air"),
    ("r4", "mar", "Engine failed on climb; landed in a field near the runway.", "air"),
    ("", "apr", "Nobody knows which report this belongs to.", "air"),
    ("r5", "apr", "Wing hit a parked aircraft while taxiing to the apron in the rain.", ""),
]


def table(path, rows=ROWS):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("report", "month", "text", "kind"), *rows])
    return path


@pytest.fixture
def store(tmp_path):
    src = table(tmp_path / "reports.csv")
    found = ingest_text(src, tmp_path / "store", text="text", group=["report"], link=["month"], label="kind")
    return Store.open(tmp_path / "store"), found


def test_what_is_skipped_is_counted_and_named(store):
    store, found = store
    assert found.skipped_by_reason == {"duplicate": 1, "empty": 1, "no group": 1, "redacted": 1}
    assert [skip.file for skip in found.skipped if skip.reason == "duplicate"] == ["reports.csv:2"]
    assert store.log_ids() == ["reports/r1", "reports/r2", "reports/r4", "reports/r5"]
    assert found.frames == 4 and found.labels == 3 and store.classes("class").names == ("air", "ground")
    assert store.read_blob("reports/r1", "text", 0).decode() == ROWS[0][2]
    kept = [store.manifest(log)["skipped_by_reason"] for log in store.log_ids()]
    assert kept[0] == found.skipped_by_reason and not any(kept[1:])
    assert store.verify() == []


def test_templates_and_links_stay_together(store):
    store, _ = store
    assert template("Stand 12,  NOSE") == template("stand 47, nose") != template("stand 4, nose")
    for seed in range(6):
        roles = split_store(store, f"s{seed}", by=["template"], fractions={"train": 0.5, "test": 0.5}, seed=seed)
        assert roles.assignment["reports/r1"] == roles.assignment["reports/r2"]
    assert split_store(store, "m", by=["month"], fractions={"train": 0.5, "test": 0.5}).unknown == {"month": 0}


def test_a_split_says_what_it_tears_apart_and_which_share_it_misses(store):
    store, _ = store
    torn = split_store(store, "torn", assignment={"train": ["reports/r1"], "test": ["*"]})
    assert any("1 groups of logs with the same template lie in several roles" in line for line in torn.warnings)
    kept = split_store(store, "kept", by=["log_id", "template", "month"], fractions={"train": 0.5, "test": 0.5})
    assert kept.warnings == []
    few = split_store(store, "few", by=["template"], fractions={"train": 0.1, "probe": 0.1, "test": 0.8})
    assert any("of the frames, not 10%" in line for line in few.warnings)


SNAPSHOTS = {  # each holds the one before; a passage of the second resembles two of the first that are strangers
    "may": [("r1", "jan", "The tug struck the nose gear at stand 12.", ""), ("r2", "feb", "Wing hit a truck.", "")],
    "june": [
        ("r1", "jan", "The tug struck the nose gear at stand 12.", ""),
        ("r2", "feb", "Wing hit a truck.", ""),
        ("r3", "mar", "The tug struck the nose gear at stand 47.", ""),
        ("r3", "apr", "WING hit a truck.", ""),
        ("r4", "jan", "Engine failed on climb.", ""),
    ],
}


def ingest_snapshots(tmp_path, **given):
    paths = {name: table(tmp_path / f"{name}.csv", rows) for name, rows in SNAPSHOTS.items()}
    call = {"text": "text", "group": ["report"], "link": ["month"], **given}
    return [ingest_text(path, tmp_path / "store", **call) for path in paths.values()]


def test_several_calls_leak_no_more_than_one(tmp_path):
    _, found = ingest_snapshots(tmp_path)
    store = Store.open(tmp_path / "store")
    assert store.log_ids() == ["june/r3", "june/r4", "may/r1", "may/r2"]
    assert found.skipped_by_reason == {"stands in the store": 2} and found.frames == 3
    assert store.manifest("june/r3")["skipped_by_reason"] == found.skipped_by_reason
    assert "2 passages stand in the store already, word for word: they are left out" in found.warnings
    assert any("1 of 2 new logs share their template with logs that stood in" in line for line in found.warnings)
    assert any("1 of 2 new logs share their month with logs that stood in" in line for line in found.warnings)
    by_template = split_store(store, "t", by=["template"], fractions={"train": 0.5, "test": 0.5})
    tied = [part["logs"] for part in by_template.components]
    assert sorted(tied) == [["june/r3", "may/r1", "may/r2"], ["june/r4"]]
    by_month = split_store(store, "m", by=["month"], fractions={"train": 0.5, "test": 0.5})
    assert ["june/r4", "may/r1"] in [part["logs"] for part in by_month.components]
    torn = split_store(store, "torn", assignment={"train": ["may/r1", "may/r2"], "test": ["*"]})
    assert any("2 groups of logs with the same template lie in several roles" in line for line in torn.warnings)


def test_snapshots_again_are_left_alone(tmp_path):
    ingest_snapshots(tmp_path)
    may, june = ingest_snapshots(tmp_path)
    assert may.written == june.written == [] and may.present == ["may/r1", "may/r2"]
    assert june.present == ["june/r3", "june/r4"] and june.skipped_by_reason == {"stands in the store": 2}
    assert not any("stood in" in line for line in [*may.warnings, *june.warnings])
    with pytest.raises(UnseenError, match="strict: every row must be usable"):
        ingest_snapshots(tmp_path, strict=True)


def test_passages_of_many_lengths_fill_no_page(tmp_path):
    rows = [("a", "x", f"alpha {'i' * n} here", "") for n in range(1, 30)]
    ingest_text(table(tmp_path / "t.csv", rows), tmp_path / "store", text="text", group=["report"])
    (log,) = inspect_store(Store.open(tmp_path / "store"))["logs"]
    assert len(log["shapes"]) == 7 and log["shapes"]["23 others"] == 23


def test_the_same_again_is_left_alone_and_another_is_refused(store, tmp_path):
    again = {"text": "text", "group": ["report"], "link": ["month"], "label": "kind"}
    found = ingest_text(tmp_path / "reports.csv", tmp_path / "store", **again)
    assert found.written == [] and len(found.present) == 4
    table(tmp_path / "reports.csv", [(*ROWS[5][:2], "Something else was reported then.", "air")])
    with pytest.raises(UnseenError, match="r4"):
        ingest_text(tmp_path / "reports.csv", tmp_path / "store", **again)


def test_plain_files_lines_and_tables_of_json(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "speech.txt").write_text("Cleared to land.\nHold short of 26R.\n")
    (tmp_path / "in" / "story.txt").write_text("One paragraph\nof two lines.\n\nAnother one.\n")
    lines = [{"note": "first note here", "day": "20240131"}, {"note": "second note here", "day": "20240201"}]
    (tmp_path / "in" / "notes.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    found = ingest_text(tmp_path / "in", tmp_path / "store", text="note", group=["day:6"])
    assert found.written == ["notes/202401", "notes/202402", "speech", "story"] and found.frames == 6
    assert Store.open(tmp_path / "store").read_blob("story", "text", 0) == b"One paragraph\nof two lines."


@pytest.mark.parametrize(
    ("wrong", "match"),
    [({"text": "txt"}, "no column 'txt'"), ({}, "--text"), ({"text": "text", "group": ["report:x"]}, "date:6")],
)
def test_what_is_wrong_is_said(tmp_path, wrong, match):
    with pytest.raises(UnseenError, match=match):
        ingest_text(table(tmp_path / "reports.csv"), tmp_path / "store", **wrong)
    assert not (tmp_path / "store").exists()


def test_groups_of_several_columns_never_become_one_log(tmp_path):
    rows = [
        ("a_b", "c", "the first report of all", ""),
        ("a", "b_c", "the second report of all", ""),
        ("a%5Fb", "c", "the third report of all", ""),
    ]
    found = ingest_text(table(tmp_path / "r.csv", rows), tmp_path / "store", text="text", group=["report", "month"])
    assert found.written == ["r/a%255Fb_c", "r/a%5Fb_c", "r/a_b%5Fc"]


def test_two_files_never_become_one_log(tmp_path):
    (tmp_path / "in").mkdir()
    table(tmp_path / "in" / "r.csv")
    (tmp_path / "in" / "r.txt").write_text("Cleared to land.\n")
    with pytest.raises(UnseenError, match=r"'r' would hold passages of r\.csv and of r\.txt"):
        ingest_text(tmp_path / "in", tmp_path / "store", text="text")


@pytest.mark.parametrize(("name", "content"), [("r.csv", "text\nZürich\n"), ("r.txt", "Zürich\n"), ("r.jsonl", '"ü"')])
def test_another_encoding_is_refused_with_the_way_out(tmp_path, name, content):
    (tmp_path / name).write_text(content, encoding="latin-1")
    with pytest.raises(UnseenError, match=f"text is UTF-8; convert it, say with: iconv -f LATIN1 -t UTF-8 {name}"):
        ingest_text(tmp_path / name, tmp_path / "store", text="text")


def test_a_source_of_other_files_is_told_what_is_read(tmp_path):
    (tmp_path / "r.docx").write_bytes(b"PK")
    with pytest.raises(UnseenError, match=r"\.csv, \.jsonl, \.parquet and \.txt"):
        ingest_text(tmp_path / "r.docx", tmp_path / "store", text="text")


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_a_tokenizer_is_made_of_the_named_logs_and_always_the_same(store, tmp_path, kind):
    store, _ = store
    logs = ["reports/r1", "reports/r2"]
    made = train_tokenizer(store, logs, tmp_path / "a.json", kind=kind, vocabulary=400, case="lower")
    code = (
        "import sys; from pathlib import Path; from unseen.data.store import Store; "
        "from unseen.data.tokenizer import train_tokenizer as t; "
        f"t(Store.open(sys.argv[1]), {logs}, Path(sys.argv[2]), kind={kind!r}, vocabulary=400, case='lower')"
    )
    subprocess.run([sys.executable, "-c", code, str(store.path), str(tmp_path / "b.json")], check=True)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert made["pretrained_on"] == logs and made["vocabulary"] <= 400
    read = load_tokenizer(tmp_path / "a.json")
    assert read.encode("NOSE gear") == read.encode("nose gear")
    assert [read.id_of(token) for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")] == [0, 1, 2, 3, 4]
    assert read.encode("nose gear").words[0] == 0 and max(read.encode("nose gear").words) == 1


@pytest.fixture
def view(store, tmp_path):
    store, _ = store
    train_tokenizer(store, store.log_ids(), store.path / "tokenizer.json", kind="bpe", vocabulary=300, case="lower")
    return store, Passages(length=64)


def test_rows_are_a_function_of_seed_and_position(view):
    store, passages = view
    one, other = (passages.open(store, store.log_ids(), seed=3) for _ in range(2))
    together = one.batch(np.arange(8))
    for position in range(8):
        alone = other.batch(np.array([position]))
        assert torch.equal(alone["token"][0], together["token"][position])
        assert torch.equal(alone["token_group"][0], together["token_group"][position])
    assert together["token"].shape == (8, 64) and one.digest == other.digest
    assert ((together["token_group"] >= 0) <= (together["token"] >= 5)).all(), "a separator is in a word"
    assert sorted(set(together["log_id"][:4])) == store.log_ids()


def test_a_row_holds_one_log(tmp_path):
    rows = [("a", "x", f"alpha number {'i' * n} here", "") for n in range(1, 5)] + [("b", "x", "beta beta beta", "")]
    ingest_text(table(tmp_path / "t.csv", rows), tmp_path / "store", text="text", group=["report"])
    store = Store.open(tmp_path / "store")
    train_tokenizer(store, store.log_ids(), store.path / "tokenizer.json", kind="bpe", vocabulary=300, case="lower")
    packed = Passages(length=64).open(store, store.log_ids()).batch(np.arange(5))
    loose = Passages(length=64, pack=False).open(store, store.log_ids()).batch(np.arange(5))
    closed = (packed["token"] == 3).sum(dim=1)
    assert (closed > 1).sum() == 4 and (closed[[log == "t/b" for log in packed["log_id"]]] == 1).all()
    assert ((loose["token"] == 3).sum(dim=1) == 1).all()


def test_windows_of_long_passages_begin_at_a_word():
    passage = np.stack([np.arange(100, 130), np.arange(30) // 3])
    for draw in np.linspace(0, 0.999, 40):
        part = window(passage, 10, float(draw))
        assert part.shape[1] == 10 and (part[0, 0] - 100) % 3 == 0
    assert window(passage, 30, 0.9) is passage
    assert window(passage, 10, 0.999)[0, -1] >= 127


def test_what_a_user_hands_over_is_what_probes_read(view, tmp_path):
    store, passages = view
    source = passages.open(store, store.log_ids())
    clip = source.frames([0, 3])
    carried = passages.carry(tmp_path, store).found(tmp_path)
    assert torch.equal(carried.present(source.raw(clip))["token"], clip["token"])
    assert source.raw(clip)[0] == ROWS[0][2] and source.class_label(0) == 1
    assert source.labelled("class").tolist() == [True, True, True, False]
    for raw in ("one passage", [], [3]):
        with pytest.raises(UnseenError, match="list of str"):
            carried.present(raw)


def test_a_long_passage_is_handed_over_to_its_end(view):
    store, passages = view
    short, long = "nose gear", " ".join(f"stand {n} was struck by the tug" for n in range(60))
    clip = passages.found(store.path).present([short, long, short])
    reader = passages.found(store.path).reader()
    tokens = reader.tokens(long)
    assert clip["part_of"].tolist() == [0] + [1] * (len(clip["token"]) - 2) + [2] and len(clip["token"]) > 5
    own = clip["token"][1:-1]
    assert torch.equal(own[own > 3], torch.from_numpy(tokens[0])), "every token once, in turn"
    assert (own[:, 0] == 2).all() and ((own == 3).sum(dim=1) == 1).all(), "each row is [CLS] ... [SEP]"
    begins = np.cumsum([0] + [len(part[part > 3]) for part in own])[:-1]
    assert all(begin == 0 or tokens[1, begin] != tokens[1, begin - 1] for begin in begins), "a row begins at a word"
    assert "part_of" not in passages.found(store.path).present([short, short])
    one_word = np.stack([np.arange(50), np.zeros(50, dtype=int)])
    assert [part.shape[1] for part in parts(one_word, 20)] == [20, 20, 10]


def test_another_tokenizer_is_another_source(view):
    store, passages = view
    before = passages.open(store, store.log_ids()).digest
    path = store.path / "tokenizer.json"
    path.unlink()
    train_tokenizer(store, store.log_ids(), path, kind="bpe", vocabulary=290, case="keep")
    assert passages.open(store, store.log_ids()).digest != before
    (made,) = passages.origins(store)
    assert made["lineage"]["pretrained_on"] == store.log_ids(), "judges refuse to test on logs of the tokenizer"
    path.with_suffix(".lineage.json").write_text(json.dumps({"digest": "of another"}))
    with pytest.raises(UnseenError, match="digests differ"):
        passages.origins(store)
    path.unlink()
    with pytest.raises(UnseenError, match="no tokenizer"):
        passages.open(store, store.log_ids())


HOSTILE = {
    "a.jsonl": ("[1, 2]\n", "line 1 .* is a list"),
    "b.jsonl": ('{"note": "x"}\n\n{"note": \n', "line 3 .* is not JSON"),
    "c.jsonl": ('{"note": ["x", "y"]}\n', "'note' of c.jsonl:1 is a list"),
    "d.jsonl": ('{"note": "half \\ud800"}\n', "surrogate"),
    "e.csv": ("note,day\nHello, my world,jan\n", "row 1 .* has 3 cells"),
    "f.csv": ("note,note\na,b\n", "'note' twice"),
    "g.csv": ("note,day\n", "no rows"),
    "h.csv": ("", "no rows"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_table_that_would_lose_text_is_refused_by_name(name, tmp_path):
    content, told = HOSTILE[name]
    (tmp_path / name).write_text(content)
    with pytest.raises(UnseenError, match=told):
        ingest_text(tmp_path / name, tmp_path / "store", text="note")
    assert not (tmp_path / "store").exists()


def test_huge_passages_are_read_and_unknown_numbers_are_empty(tmp_path):
    (tmp_path / "huge.csv").write_text("note\n" + "word " * 60_000 + "\nshort\n")
    assert ingest_text(tmp_path / "huge.csv", tmp_path / "s", text="note").frames == 2
    assert csv.field_size_limit() == 131_072
    (tmp_path / "nan.jsonl").write_text('{"note": NaN}\n{"note": "said"}\n')
    assert ingest_text(tmp_path / "nan.jsonl", tmp_path / "n", text="note").skipped_by_reason == {"empty": 1}


@pytest.mark.parametrize("raw", [None, 5, "one", [], ["one", 2]])
def test_text_for_an_encoder_is_a_list_of_str(raw):
    with pytest.raises(UnseenError, match="list of str"):
        Passages().present(raw)
