"""Runs whose targets or tokens another run made: what that saw is known, and nothing is exchanged in secret."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from test_commands import begun, recordings

import unseen
from unseen.cli import main
from unseen.data.splits import load_split
from unseen.data.store import Store
from unseen.errors import UnseenError
from unseen.recipes.judge import completed
from unseen.recipes.load import read_recipe
from unseen.recipes.run import open_source, read_manifest

VIEW = ("view.frame_px=[16, 24]", "view.crop_px=[16, 24]")
STEPS = ("training.steps=2", "training.warmup=1", "training.batch=4", "training.monitor_samples=2")
CODES = ("model.encoder.vit.width=12", "model.encoder.vit.depth=1", "model.encoder.codes=8", "model.decoder.width=12")
BEIT = (*VIEW, *STEPS, "model.encoder.width=12", "model.encoder.depth=1")
WORDS = (*STEPS, "model.encoder.width=12", "model.encoder.depth=1")


def named(tokenizer: Path) -> tuple[str, ...]:
    return (*BEIT, f"targets.codes.target.tokenizer={tokenizer}")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path]:
    """A store, and a tokenizer of visual words that saw all of its logs."""
    folder = tmp_path_factory.mktemp("made")
    store = recordings(folder, "abcd", 0)
    unseen.pretrain("tokenizer", data=store, out=folder / "words", set=(*VIEW, *STEPS, *CODES))
    return store, folder / "words"


@pytest.fixture
def words(made, tmp_path) -> Path:
    """A copy of the tokenizer, to be broken."""
    shutil.copytree(made[1], tmp_path / "words")
    return tmp_path / "words"


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def test_a_tokenizer_that_saw_the_test_logs_is_told_at_once_and_refused_by_probes(made, tmp_path, capsys) -> None:
    store, tokenizer = made
    unseen.pretrain("beit", data=store, split="default", out=tmp_path / "run", set=named(tokenizer))
    assert "1 test logs of the split 'default' were seen by what this run is made of" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "run")]) == 2
    assert "tests on 1 logs of the pretraining" in capsys.readouterr().err
    run, opened = tmp_path / "run", Store.open(store)
    recipe, manifest = read_recipe(run / "recipe.json"), read_manifest(run)
    source = open_source(recipe, opened, manifest["logs"])
    assert completed(run, recipe, source, opened, load_split(opened, "default").logs("test")) is None
    assert "left out: 1 of them were seen in the pretraining" in capsys.readouterr().err


def test_one_of_the_training_logs_alone_is_taken_and_may_be_gone_when_the_run_is_judged(made, tmp_path, capsys) -> None:
    store, _ = made
    settings = (*VIEW, *STEPS, *CODES)
    unseen.pretrain("tokenizer", data=store, split="default", out=tmp_path / "words", set=settings)
    unseen.pretrain("beit", data=store, split="default", out=tmp_path / "run", set=named(tmp_path / "words"))
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert "were seen by" not in capsys.readouterr().err
    before = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    (tmp_path / "words").rename(tmp_path / "moved")
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    told = f"(completion) are left out: {tmp_path / 'words'} holds no encoder"
    assert told in capsys.readouterr().err
    after = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert before["completion"] and after["completion"] is None and told in after["warnings"][-1]
    assert [probe["rows"] for probe in after["probes"]] == [probe["rows"] for probe in before["probes"]]


def test_paths_of_a_run_mean_the_same_from_another_folder(made, words, reports, tmp_path, monkeypatch) -> None:
    (reports / "tokenizer.json").rename(tmp_path / "t.json")
    (reports / "tokenizer.lineage.json").rename(tmp_path / "t.lineage.json")
    monkeypatch.chdir(tmp_path)
    begun((made[0], None), tmp_path / "beit", monkeypatch, recipe="beit", settings=named(Path("words")))
    settings = (*WORDS, "view.tokenizer=t.json")
    begun((reports, None), tmp_path / "bert", monkeypatch, recipe="bert", settings=settings)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for run in ("beit", "bert"):
        assert unseen.resume(tmp_path / run)["step"] == 2
    assert json.loads((tmp_path / "beit" / "lineage.json").read_text())["teachers"][0]["run"] == str(words)


def test_a_tokenizer_in_the_store_moves_with_it(reports, tmp_path, monkeypatch) -> None:
    begun((reports, None), tmp_path / "run", monkeypatch, recipe="bert", settings=WORDS)
    reports.rename(tmp_path / "moved")
    assert unseen.resume(tmp_path / "run", data=tmp_path / "moved")["step"] == 2


def test_damaged_weights_of_a_tokenizer_are_no_teacher(made, words, tmp_path) -> None:
    flip(words / "encoder.safetensors")
    with pytest.raises(UnseenError, match=r"encoder\.safetensors is damaged"):
        unseen.pretrain("beit", data=made[0], split="default", out=tmp_path / "run", set=named(words))
    assert not (tmp_path / "run").exists()
    with pytest.raises(UnseenError, match="damaged"):
        unseen.load_encoder(words)


def test_a_tokenizer_that_was_exchanged_is_refused_before_and_after_the_first_checkpoint(
    made, words, tmp_path, monkeypatch
) -> None:
    store = made[0]
    begun((store, None), tmp_path / "early", monkeypatch, recipe="beit", settings=named(words))
    late = tmp_path / "late"
    unseen.pretrain("beit", data=store, split="default", out=late, set=named(words))
    shutil.rmtree(words)
    unseen.pretrain("tokenizer", data=store, out=words, set=(*VIEW, *STEPS, *CODES, "training.seed=1"))
    for run in (tmp_path / "early", late):
        with pytest.raises(UnseenError, match=r"words: no longer what .* was begun with"):
            unseen.resume(run)


def test_units_of_another_size_than_the_tokenizers_are_refused(made, tmp_path) -> None:
    settings = (*named(made[1]), "unit.size=[4, 4]")
    with pytest.raises(UnseenError, match="a network that makes targets reads the units of the recipe itself"):
        unseen.pretrain("beit", data=made[0], split="default", out=tmp_path / "run", set=settings)


@pytest.fixture
def reports(tmp_path) -> Path:
    """A store of text with a tokenizer of its training logs."""
    lines = "".join(f"r{n},the tug {'rolled ' * n}and stopped at stand {n * n}\n" for n in range(9))
    (tmp_path / "reports.csv").write_text("report,text\n" + lines)
    store = tmp_path / "store"
    assert (
        main(["ingest", "text", str(tmp_path / "reports.csv"), str(store), "--text", "text", "--group", "report"]) == 0
    )
    assert main(["split", str(store)]) == 0
    assert main(["tokenize", str(store), "--split", "default", "--kind", "bpe", "--vocabulary", "300"]) == 0
    return store


def test_a_text_tokenizer_that_was_exchanged_is_refused(reports, tmp_path, monkeypatch) -> None:
    begun((reports, None), tmp_path / "run", monkeypatch, recipe="bert", settings=WORDS)
    for file in ("tokenizer.json", "tokenizer.lineage.json"):
        (reports / file).unlink()
    unseen.tokenize(reports, kind="bpe", vocabulary=290)
    with pytest.raises(UnseenError, match="the tokenizer that reads them"):
        unseen.resume(tmp_path / "run")


def test_a_run_keeps_its_tokenizer_with_its_lineage_and_reads_no_other(reports, tmp_path, capsys) -> None:
    run = tmp_path / "run"
    unseen.pretrain("bert", data=reports, split="default", out=run, set=WORDS)
    asked = capsys.readouterr().err.partition("to fit it: --set ")[2].splitlines()[0].split()
    assert {word.partition("=")[0] for word in asked} == {
        "corruption.vocabulary",
        "targets.tokens.target.vocabulary",
        "model.encoder.stem.vocabulary",
    }
    unseen.pretrain("bert", data=reports, split="default", out=tmp_path / "fitting", set=(*WORDS, *asked))
    assert "to fit it" not in capsys.readouterr().err
    assert json.loads((run / "tokenizer.lineage.json").read_text())["pretrained_on"]
    assert unseen.load_encoder(run)(["the tug stopped"]).pooled.shape == (1, 12)
    content = json.loads((run / "tokenizer.json").read_text())
    (run / "tokenizer.json").write_text(json.dumps(content))  # other bytes
    with pytest.raises(UnseenError, match="not the tokenizer that this encoder was trained with"):
        unseen.load_encoder(run)(["the tug stopped"])
    (run / "tokenizer.json").unlink()
    with pytest.raises(UnseenError, match="kept with its tokenizer"):
        unseen.load_encoder(run)(["the tug stopped"])


def test_text_leaves_with_a_tokenizer_that_makes_the_same_rows(reports, tmp_path) -> None:
    transformers = pytest.importorskip("transformers")
    run, out = tmp_path / "run", tmp_path / "out"
    unseen.pretrain("bert_original", data=reports, split="default", out=run, set=WORDS)
    unseen.export(run, to="transformers", out=out)
    texts = ["The tug stopped at stand 64", "stand", "tug " * 200]
    clip = unseen.load_encoder(run).view.present(texts)
    begins = torch.tensor([clip["part_of"].tolist().index(number) for number in range(len(texts))])
    rows = clip["token"][begins]  # transformers cuts a text off where ours goes on in a further row
    read = transformers.AutoTokenizer.from_pretrained(out)
    told = read(texts, padding=True, truncation=True, return_tensors="pt")
    assert told["input_ids"].tolist() == rows.clamp(min=0).tolist()
    assert told["attention_mask"].bool().tolist() == (rows >= 0).tolist()
