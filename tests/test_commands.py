"""The commands as a user meets them, one after another on a store of a few small pictures."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import unseen
from unseen.cli import main
from unseen.codec import replace_at
from unseen.errors import UnseenError
from unseen.recipes.images import mae
from unseen.recipes.run import environment

SMALL = (
    "view.frame_px=[16, 24]",
    "view.crop_px=[16, 24]",
    "model.encoder.width=12",
    "model.encoder.depth=1",
    "model.predictor.width=12",
    "model.predictor.depth=1",
    "training.steps=2",
    "training.warmup=1",
    "training.batch=4",
    "training.monitor_samples=2",
)


def recordings(folder: Path, names: str, seed: int) -> Path:
    """Logs of two noisy pictures with the brighter half as a second class."""
    from PIL import Image

    noise = np.random.default_rng(seed)
    for name in names:
        for part in ("frames", "labels"):
            (folder / part / name).mkdir(parents=True)
        for number in range(2):
            image = noise.integers(0, 255, (16, 24, 3), dtype=np.uint8)
            Image.fromarray(image).save(folder / "frames" / name / f"{number}.png")
            truth = np.repeat(np.repeat(image[::8, ::8, 0] > 127, 8, axis=0), 8, axis=1).astype(np.uint8)
            Image.fromarray(truth).save(folder / "labels" / name / f"{number}.png")
    store = folder / "store"
    words = ["--labels", str(folder / "labels" / "{log_id}"), "--classes", "dark", "bright"]
    assert main(["ingest", "folder", str(folder / "frames"), str(store), *words]) == 0
    assert main(["split", str(store)]) == 0
    return store


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Path, Path]:
    """A store and a finished run on it."""
    folder = tmp_path_factory.mktemp("line")
    store = recordings(folder, "abcd", 0)
    words = ["--data", str(store), "--split", "default", "--out", str(folder / "run"), "--set", *SMALL]
    assert main(["pretrain", "mae", *words]) == 0
    return store, folder / "run"


def test_masks_are_audited_without_and_with_recordings(trained, tmp_path, capsys) -> None:
    for number, words in enumerate(([], ["--data", str(trained[0]), "--split", "default"])):
        out = tmp_path / str(number)
        assert main(["masks", "mae", *words, "--draws", "70", "--out", str(out), "--set", *SMALL[:2]]) == 0
        assert "pass  exact: 0" in capsys.readouterr().err
        found = json.loads((out / "masks.json").read_text())
        assert found["passed"] and found["samples"] == 70 and found["policy"]["fields"]["ratio"] == 0.75
        page = (out / "masks.html").read_text()
        assert "<script" not in page and "http:" not in page and "data:image/jpeg" in page
        named = [one["name"] for one in found["measures"].get("classes", [])]
        assert named == (["dark", "bright"] if words else [])


def test_a_recipe_whose_masks_fail_gives_exit_code_1(tmp_path) -> None:
    given = ('mask={"class": "unseen.masks.multi_block:MultiBlock", "fields": {"context": 0.1}}', *SMALL[:2])
    assert main(["masks", "mae", "--out", str(tmp_path), "--draws", "64", "--set", *given]) == 1
    failed = [one["name"] for one in json.loads((tmp_path / "masks.json").read_text())["checks"] if one["ok"] is False]
    assert failed == ["nothing idle"]


def test_report_takes_runs_as_plain_words(trained, tmp_path, capsys) -> None:
    run = str(trained[1])
    assert main(["report", run, run, "--out", str(tmp_path / "page.html"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(tmp_path / "page.html")}
    assert main(["report"]) == 2


def test_evaluate_says_what_it_found_also_on_another_store(trained, tmp_path, capsys) -> None:
    _, run = trained
    other = recordings(tmp_path, "efgh", 1)
    assert main(["evaluate", str(run)]) == 0
    assert main(["evaluate", str(run), "--data", str(other), "--split", "default"]) == 0
    said = capsys.readouterr().err
    for features in ("pretrained", "random init", "hand-made", "raw pixels"):
        assert said.count(f"segmentation  {features} (") == 2


def test_functions_stay_functions_beside_rooms_of_the_same_name() -> None:
    import unseen.evaluate.evaluate
    import unseen.report.page
    import unseen.world.make

    assert all(callable(getattr(unseen, name)) for name in unseen.__all__)


def test_rows_of_one_name_are_refused(trained) -> None:
    _, run = trained
    with pytest.raises(UnseenError, match="two rows"):
        unseen.evaluate(run, against=(run, run))


def test_a_moved_store_is_asked_for_by_name(trained, tmp_path, capsys) -> None:
    store, run = trained
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    manifest = json.loads((copy / "manifest.json").read_text()) | {"store": str(tmp_path / "gone")}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    assert main(["resume", str(copy)]) == 2
    assert "--data STORE" in capsys.readouterr().err
    assert main(["resume", str(copy), "--data", str(store)]) == 0
    assert main(["evaluate", str(copy)]) == 2
    assert f"unseen evaluate {copy} --data STORE" in capsys.readouterr().err
    (copy / "manifest.json").unlink()
    assert main(["resume", str(copy)]) == 2


def test_masks_of_the_world_ask_for_recordings(tmp_path, capsys) -> None:
    assert main(["masks", "videomae_ego", "--draws", "2", "--out", str(tmp_path)]) == 2
    assert "audit these masks on recordings: --data STORE" in capsys.readouterr().err


def test_a_run_without_labels_asks_for_a_labelled_store(trained, tmp_path, capsys) -> None:
    store, run = tmp_path / "bare", tmp_path / "run"
    assert main(["ingest", "folder", str(trained[0].parent / "frames"), str(store)]) == 0
    assert main(["split", str(store)]) == 0
    shutil.copytree(trained[1], run)
    assert main(["evaluate", str(run), "--data", str(store), "--split", "default"]) == 0
    assert "unseen evaluate RUN --data LABELLED" in "".join(capsys.readouterr())


def test_a_module_is_recorded_as_one_calls_it(monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/unseen/cli.py", "pretrain", "mae"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", SimpleNamespace(name="unseen.cli"))
    assert environment()["command"] == "python -m unseen.cli pretrain mae"
    monkeypatch.setattr(sys, "argv", ["/venv/bin/unseen", "pretrain", "mae"])
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    assert environment()["command"] == "unseen pretrain mae"


@pytest.mark.parametrize("table", ["frame.parquet", "label.parquet", "obs-camera.parquet"])
def test_verify_names_a_flipped_byte_wherever_it_is(trained, tmp_path, capsys, table) -> None:
    store = tmp_path / "store"
    shutil.copytree(trained[0], store)
    file = store / "logs" / "b" / table
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    assert main(["inspect", str(store), "--verify"]) == 1
    said = capsys.readouterr().err
    assert "log_id b" in said and table in said


def test_digests_are_for_verify_and_machines(trained, capsys) -> None:
    for words, told in ((["--verify"], True), ([], False)):
        assert main(["inspect", str(trained[0]), "--json", *words]) == 0
        said = capsys.readouterr()
        assert "log_id a" in said.err and "frames 2" in said.err
        for name in ("ingest_id", "row_hash", "source_digest"):
            assert (name in said.err) == told and name in said.out


def test_damaged_class_names_are_a_line_and_not_a_traceback(trained, tmp_path, capsys) -> None:
    store = tmp_path / "store"
    shutil.copytree(trained[0], store)
    (store / "classes.json").write_text("{")
    assert main(["inspect", str(store), "--verify"]) == 1
    assert "PROBLEM file classes.json" in capsys.readouterr().err
    assert main(["inspect", str(store)]) == 2


def test_an_exported_encoder_of_a_wide_frame_starts_a_run(trained, tmp_path, capsys) -> None:
    store, run = trained
    for layout in ("timm", "transformers"):
        out = tmp_path / layout
        assert main(["export", str(run), "--to", layout, "--out", str(out)]) == 0
        words = ["--data", str(store), "--init", str(out), "--out", str(tmp_path / f"from-{layout}"), "--set", *SMALL]
        assert main(["pretrain", "mae", *words]) == 0
        assert f"({layout})" in capsys.readouterr().err


def test_embed_wants_a_file(trained, tmp_path) -> None:
    store, run = trained
    assert unseen.embed(run, store, out=tmp_path / "x.parquet")["frames"] == 8
    with pytest.raises(UnseenError, match="is a folder"):
        unseen.embed(run, store, out=tmp_path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("training.optimiser.betas", "[0.9, 2]"),
        ("training.optimiser.eps", "0"),
        ("training.monitor_samples", "0"),
        ("training.min_lr", "-1"),
        ("targets", '{"pixels": 3}'),
        ("view.sensors", "front"),
        ("model.encoder.stem", '{"class": "unseen.models.stems:WhitenedStem", "fields": {"hidden": 0}}'),
    ],
)
def test_settings_that_mean_nothing_are_refused_by_name(path, value) -> None:
    with pytest.raises(UnseenError, match="(?i)" + path.rpartition(".")[2]):
        replace_at(mae(), {path: value})


def test_no_target_at_all_is_refused() -> None:
    with pytest.raises(UnseenError, match="no target"):
        replace_at(mae(), {"targets": "{}"}).objective()


def test_initial_weights_of_unknown_lineage_are_said_to_be(trained, tmp_path, capsys) -> None:
    store, finished = trained
    first, second, weights = tmp_path / "first", tmp_path / "second", tmp_path / "found-somewhere.safetensors"
    shutil.copy(finished / "encoder.safetensors", weights)
    unseen.pretrain("mae", data=store, out=first, split="default", init=weights, set=SMALL)
    unseen.pretrain("mae", data=store, out=second, split="default", init=first, set=SMALL)
    capsys.readouterr()
    found = unseen.evaluate(second)
    assert "found-somewhere.safetensors is unknown" in capsys.readouterr().err
    assert found["probes"][0]["unknown_lineage"] == [weights.name]
    page = Path(unseen.report(second)["report"]).read_text()
    assert page.count(f"lineage of the initial weights ({weights.name}) is unknown") == 1  # in the claim
    assert f"unknown of {weights.name}" in page
    assert unseen.evaluate(finished)["warnings"] == []


def test_a_store_without_labels_is_completed_and_not_probed(trained, tmp_path, capsys) -> None:
    bare = tmp_path / "bare"
    assert main(["ingest", "folder", str(trained[0].parent / "frames"), str(bare)]) == 0
    assert main(["split", str(bare)]) == 0
    run = tmp_path / "run"
    shutil.copytree(trained[1], run)
    assert main(["evaluate", str(run), "--data", str(bare), "--split", "default"]) == 0
    assert "'segmentation' was not asked" in capsys.readouterr().err
    found = json.loads((run / "evaluation.json").read_text())
    assert found["probes"] == [] and found["completion"]["pixels"]["n_logs"] == 1


def begun(trained, run: Path, monkeypatch, *words: str, recipe: str = "mae", settings: tuple[str, ...] = SMALL) -> None:
    """A run that fails after its record and before its first checkpoint."""
    from unseen.train import checkpoint

    def full(tensors, path):
        raise OSError(28, "No space left on device", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save_file", full)
        words = ("--data", str(trained[0]), "--split", "default", "--out", str(run), *words)
        assert main(["pretrain", recipe, *words, "--set", *settings]) == 2
    assert (run / "recipe.json").is_file() and not (run / "checkpoints" / "last").exists()


def test_a_run_that_failed_before_its_first_checkpoint_begins_at_step_0(trained, tmp_path, monkeypatch, capsys) -> None:
    store, finished = trained
    run = tmp_path / "run"
    begun(trained, run, monkeypatch)
    assert "there is no checkpoint yet" in capsys.readouterr().err
    with pytest.raises(UnseenError, match=r"no checkpoint yet.*resume.*step 0"):
        unseen.pretrain("mae", data=store, out=run, split="default", set=SMALL)
    assert main(["resume", str(run)]) == 0
    assert "begins at step 0" in capsys.readouterr().err
    assert (run / "encoder.safetensors").read_bytes() == (finished / "encoder.safetensors").read_bytes()


def test_it_begins_with_the_weights_of_its_record_or_not_at_all(trained, tmp_path, monkeypatch) -> None:
    init, whole, run, moved = (tmp_path / name for name in ("init", "whole", "run", "moved"))
    shutil.copytree(trained[1], init)
    monkeypatch.chdir(tmp_path)
    begun(trained, run, monkeypatch, "--init", "init")  # a relative path: resume may be said elsewhere
    begun(trained, moved, monkeypatch, "--init", "init/encoder.safetensors")
    unseen.pretrain("mae", data=trained[0], out=whole, split="default", init=init, set=SMALL)
    monkeypatch.chdir("/")
    unseen.resume(run)
    assert (run / "encoder.safetensors").read_bytes() == (whole / "encoder.safetensors").read_bytes()
    shutil.copy(whole / "encoder.safetensors", init / "encoder.safetensors")
    with pytest.raises(UnseenError, match="no longer those"):
        unseen.resume(moved)


def test_a_record_that_was_never_finished_is_no_run(trained, tmp_path) -> None:
    """Killed while it was written: there is no recipe yet, and nothing to lose."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "probes.json").write_text("{}")
    (run / ".tmp-manifest.json-7").write_text("{")
    with pytest.raises(UnseenError, match="not a run"):
        unseen.resume(run)
    (run / "notes.txt").write_text("mine")
    with pytest.raises(UnseenError, match="never overwritten"):
        unseen.pretrain("mae", data=trained[0], out=run, split="default", set=SMALL)
    (run / "notes.txt").unlink()
    unseen.pretrain("mae", data=trained[0], out=run, split="default", set=SMALL)
    assert (run / "encoder.json").is_file() and json.loads((run / "probes.json").read_text())["probes"]
