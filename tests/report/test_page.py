"""The page: complete, self-contained, escaped, and plain about what is missing."""

import base64
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from unseen.errors import UnseenError
from unseen.report import report

VOID = {"meta", "img", "br", "link", "input", "hr"}


class Checker(HTMLParser):
    """Collects tags, attributes, ids and text, and fails on a tag that is not closed in order."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "action", "srcset", "data", "poster")]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)


def read(path) -> Checker:
    checker = Checker()
    checker.feed(path.read_text(encoding="utf-8"))
    assert not checker.open, f"left open: {checker.open}"
    return checker


def words(checker: Checker) -> str:
    return re.sub(r"\s+", " ", " ".join(checker.words))


def assert_self_contained(checker: Checker, text: str) -> None:
    assert all(link.startswith(("data:image/", "#")) for link in checker.links)
    assert not {"script", "link", "iframe", "object", "embed", "form"} & set(checker.tags)
    assert not re.search(r"url\(|@import|http-equiv=.refresh", text)
    assert len(checker.ids) == len(set(checker.ids))
    assert {link[1:] for link in checker.links if link.startswith("#")} <= set(checker.ids)


def test_one_run_is_complete_and_self_contained(make_run, tmp_path):
    out = report([make_run()], tmp_path / "page" / "report.html")
    page, text = read(out), out.read_text()
    assert_self_contained(page, text)
    said = words(page)
    for needed in (
        "not by masked modelling", "random init", "raw pixels", "hand-made", "nearly-unmasked twin", "41.2",
        "38.7 to 43.7", "registered before training", "looks at these logs", "neighbour interpolation",
        "previous frame",
        "mean of visible", "cone", "small", "keys that do not cross", "route_id: 12",
        "interpolated from visible patches only",
        "unseen pretrain mae --data apron", "labelled logs", "ratio", "2.13.0", "unseen.masks.random:Random",
    ):  # fmt: skip
        assert needed in said, needed
    assert page.tags.count("img") == 4 * 3 + 3
    assert not list(out.parent.glob(".*tmp"))


@pytest.mark.parametrize(
    ("changes", "needed"),
    [
        ({}, "On 22 held-out logs the model completes better than all 2 trivial baselines."),
        ({"ahead": 0.01}, "the model is not shown to complete better than neighbour interpolation."),
        ({"ahead": -0.1}, "the model completes worse than neighbour interpolation."),
        ({"half": None, "n_logs": 4}, "4 held-out logs are too few for an interval: nothing is shown."),
        ({"losses": {}, "against": {}}, "no hidden unit counts there"),
    ],
)
def test_completion_is_told_with_its_intervals(make_run, make_completion, tmp_path, changes, needed):
    run = make_run(evaluation={"probes": [], "completion": make_completion(**changes)})
    out = report([run], tmp_path / "report.html")
    said = words(page := read(out))
    assert_self_contained(page, out.read_text())
    assert needed in said and "perplexity" not in said
    if not changes:
        assert "-0.12 to -0.08 ahead in 20 of 22" in said.replace("\N{MINUS SIGN}", "-")


def test_completion_of_words_has_perplexities_and_is_missed_where_it_is_not(make_run, make_completion, tmp_path):
    words_of = {"perplexity": {"model": 439.0, "neighbour": 900.0, "training mean": 888.0}}
    easy = make_completion("tokens.visible")
    run = make_run("text", evaluation={"completion": easy | make_completion("tokens", **words_of)})
    said = words(read(report([run], tmp_path / "text.html")))
    assert "perplexity" in said and "439" in said and "frequencies of the training" in said
    assert said.index("tokens loss, on hidden") < said.index("the easy one, not completion")
    said = words(read(report([make_run("bare", evaluation={"completion": None})], tmp_path / "bare.html")))
    assert "Not measured: no log was held out" in said


def test_losses_in_nats_have_curves_of_their_perplexity(make_run, tmp_path):
    def line(kind, step, loss):
        return {"kind": kind, "step": step, "losses": {"tokens": loss}}

    monitor = {"baselines": {"tokens": {"null": 9.0, "mean": 6.8, "neighbour": 13.4}}, "nats": ["tokens"]}
    lines = [line("train", 50, 8.0), *(line("monitor", step, loss) | monitor for step, loss in ((0, 8.5), (100, 6.1)))]
    out = report([make_run(metrics=lines, evaluation=None)], tmp_path / "report.html")
    said = words(read(out))
    assert "tokens loss, on hidden units" in said and "tokens perplexity, on hidden units" in said
    assert "446" in out.read_text(), "exp(6.1)"
    assert [said.count(name) for name in ("mean of visible", "predict zero", "neighbour interpolation")] == [2, 1, 1]
    said = words(read(report([make_run("image")], tmp_path / "image.html")))
    assert "perplexity" not in said


def test_pictures_decode_to_the_samples(make_run, make_samples, tmp_path):
    import simplejpeg

    page = read(report([make_run()], tmp_path / "report.html"))
    first = next(link for link in page.links if link.startswith("data:image/jpeg;base64,"))
    decoded = simplejpeg.decode_jpeg(base64.b64decode(first.split(",")[1])).astype(int)
    truth = make_samples(400)["input"][0].astype(int)
    assert abs(decoded - truth).mean() < 4


def test_films_get_the_width_of_the_page_and_say_where_time_runs(make_run, make_samples, tmp_path):
    run = make_run(samples=())
    still = make_samples(400)
    film = {name: value if name == "caption" else np.tile(value, (1, 1, 8, 1)) for name, value in still.items()}
    (run / "samples").mkdir(exist_ok=True)
    np.savez_compressed(run / "samples" / "step-000400.npz", **film)
    out = report([run], tmp_path / "film.html")
    assert 'class="triples film"' in out.read_text() and "Time runs to the right" in words(read(out))
    out = report([make_run("still")], tmp_path / "still.html")
    assert ' film"' not in out.read_text().split("<body")[1] and "Time runs" not in words(read(out))


def test_several_runs_are_compared_first(make_run, make_probe, tmp_path):
    runs = [make_run("one"), make_run("two", seed=1)]
    said = words(read(report(runs, tmp_path / "report.html")))
    assert said.index("Comparison") < said.index("What this run shows")
    assert "These scores do not compare" not in said
    other = make_run("three", evaluation={"format": 1, "probes": [make_probe(3)]})
    said = words(read(report([runs[0], other], tmp_path / "report.html")))
    assert "These scores do not compare" in said
    assert "no interval: 3 logs" in said


def test_what_is_missing_is_said(make_run, tmp_path):
    pieces = dict.fromkeys(("env", "lineage", "manifest", "evaluation", "metrics"))
    page = read(report([make_run(samples=(), **pieces)], tmp_path / "report.html"))
    said = words(page)
    for needed in (
        "Nothing is claimed: this run was not evaluated", "Not evaluated", "The split was not recorded",
        "No loss was recorded",
        "The run saved no samples", "Not measured", "The command was not recorded", "Lineage: not recorded",
        "Environment: not recorded",
    ):  # fmt: skip
        assert needed in said, needed
    assert not re.search(r"<(td|dd|th)[^>]*>\s*</\1>", (tmp_path / "report.html").read_text())


def test_a_run_without_a_split_says_that_nothing_is_held_out(make_run, tmp_path):
    said = words(read(report([make_run(manifest={"split": None})], tmp_path / "report.html")))
    assert "nothing is held out" in said


def test_no_cell_is_blank_when_everything_is_there(make_run, tmp_path):
    text = report([make_run(), make_run("b")], tmp_path / "report.html").read_text()
    assert not re.search(r"<(td|dd)[^>]*>\s*</\1>", text)


def test_missing_floors_are_named(make_run, make_probe, tmp_path):
    probe = make_probe()
    probe["rows"] = [row for row in probe["rows"] if row["features"] in ("pretrained", "random init")]
    probe["rows"][0]["against"] = {"random init": probe["rows"][0]["against"]["random init"]}
    said = words(read(report([make_run(evaluation={"probes": [probe]})], tmp_path / "report.html")))
    assert "Not evaluated on this probe: raw pixels, hand-made, nearly-unmasked twin" in said


def test_hostile_names_are_escaped(make_run, make_probe, tmp_path):
    evil = "<script>alert(1)</script>"
    probe = make_probe(name=evil, logs=[evil, '"><img src=http://x>'])
    probe["rows"][0]["per_log"] = {evil: {"miou": 0.3}, "'\"&": {"miou": 0.4}}
    probe["rows"][0]["features"] = "pretrained" + evil
    run = make_run(
        evil.replace("/", "_"),
        evaluation={"probes": [probe]},
        recipe={"class": evil},
        env={evil: evil, "command": evil},
    )
    manifest = {"split": {"assignment": {evil: evil}, "by": [evil]}, "warnings": [evil]}
    (run / "manifest.json").write_text(json.dumps(manifest))
    out = report([run], tmp_path / "report.html")
    page = read(out)
    assert_self_contained(page, out.read_text())
    assert words(page).count(evil) > 5


@pytest.mark.parametrize("name", ["recipe.json", "env.json", "manifest.json", "evaluation.json"])
@pytest.mark.parametrize("content", [b'{"a": ', b"\xff\xfe\x00", b"[1, 2]"])
def test_damaged_json_is_an_error_that_names_the_file(make_run, tmp_path, name, content):
    run = make_run()
    (run / name).write_bytes(content)
    with pytest.raises(UnseenError, match=name):
        report([run], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_damaged_line_of_metrics_is_named_and_an_unfinished_last_one_is_noted(make_run, tmp_path):
    run = make_run()
    metrics = run / "metrics.jsonl"
    lines = metrics.read_text().splitlines()
    metrics.write_text("\n".join(lines) + '\n{"kind": "train", "st')
    assert "incomplete" in words(read(report([run], tmp_path / "report.html")))
    metrics.write_text("\n".join([*lines[:3], "{oops", *lines[3:]]) + "\n")
    with pytest.raises(UnseenError, match=r"metrics\.jsonl.*line 4"):
        report([run], tmp_path / "report.html")


def test_a_damaged_sample_is_an_error_that_names_the_file(make_run, tmp_path):
    run = make_run()
    (run / "samples" / "step-000400.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(UnseenError, match=r"step-000400\.npz"):
        report([run], tmp_path / "report.html")


def test_values_that_are_not_finite_are_counted_and_left_out(make_run, tmp_path):
    run = make_run()
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 410, "losses": {"pixels": NaN}, "time_s": 130}\n')
    said = words(read(report([run], tmp_path / "report.html")))
    assert "1 values are not finite" in said
    assert "nan" not in said.lower().split()


def test_not_a_run(tmp_path):
    (tmp_path / "empty").mkdir()
    for run in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(UnseenError, match=run.name):
            report([run], tmp_path / "report.html")
    with pytest.raises(UnseenError, match="no run"):
        report([], tmp_path / "report.html")


def test_an_unwritable_place_is_an_error_and_leaves_nothing(make_run, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnseenError, match="cannot be written"):
        report([make_run()], tmp_path / "file" / "report.html")
    assert (tmp_path / "file").read_text() == "in the way"


def test_a_leak_that_a_control_found_stands_on_the_page(make_run, make_probe, tmp_path):
    line = {"name": "null", "of": "class", "metric": "accuracy", "features": "pretrained", "shuffles": 20}
    checks = [line | {"score": 0.5, "chance": 0.2, "above": 0.3, "spread": 0.01, "alarm": True}]
    told = {"format": 1, "probes": [make_probe()], "controls": checks}
    page = report([make_run(evaluation=told)], tmp_path / "page.html").read_text()
    assert "null, accuracy of class" in page and ">leak<" in page and "at chance" not in page


def test_the_spectrum_of_the_features_is_an_alarm(make_run, make_probe, tmp_path):
    numbers = {"dimensions": 64.0, "n": 1024.0, "effective_rank": 21.5, "rank_me_centred": None}
    told = {"format": 1, "probes": [make_probe()], "diagnostics": {"pretrained": numbers}}
    page = report([make_run(evaluation=told)], tmp_path / "page.html").read_text()
    assert "An alarm, no ranking" in page and "21.5" in page and "not defined" in page
    assert "An alarm, no ranking" not in report([make_run("other")], tmp_path / "page2.html").read_text()
