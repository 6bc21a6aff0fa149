"""The contact sheet, and the README's pictures: drawn by the real units and policies."""

import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
import simplejpeg
import torch

from unseen import masks
from unseen.errors import UnseenError
from unseen.masks import Random
from unseen.report import contact_sheet
from unseen.report.pictures import draw_mask, hidden_units, main, make_pictures, mask_gallery, masked_picture, policies
from unseen.units import Patches

UNIT = Patches(size=(8, 8))


@pytest.fixture
def image(make_samples):
    return make_samples(100)["input"][0]


def inspection(image, **changes) -> dict:
    """As `unseen.data.inspect` writes it."""
    jpeg = simplejpeg.encode_jpeg(image, colorspace="RGB")
    frame = {
        "t_ns": {"nulls": 3, "rows": 12, "low": 0, "high": 5},
        "frame_id": {"nulls": 0, "rows": 12, "distinct": 12},
        "route_id": {"nulls": 12, "rows": 12, "distinct": 0},
    }
    log = {"rig": "r1", "log_id": "<script>a", "frames": 12, "date": None, "labels": {"seg": 4}}
    found = {"path": "apron", "digest": "ab12", "counts": {"log": 1, "frame": 12}, "columns": {"frame": frame}}
    found |= {"logs": [log], "skipped_by_reason": {"truncated <b>": 2}, "splits": ["default"], "warnings": ["w<"]}
    found |= {"classes": {"seg": {"names": ["apron"], "ignore": 255, "small": []}}}
    return found | {"thumbnails": [{"log_id": "<i>", "sensor": "cam", "seq": 0, "jpeg": jpeg}]} | changes


def test_a_contact_sheet_shows_all_and_escapes(image, tmp_path):
    text = contact_sheet(inspection(image, problems=[]), tmp_path / "sheet.html").read_text()
    for needed in ("apron", "ab12", "0 to 5", "3 of 12", "12 different", "Unknown in every row: route_id", "seg 4",
                   "truncated &lt;b&gt;: 2", "&lt;script&gt;a", "unknown", "data:image/jpeg", "w&lt;",
                   "default"):  # fmt: skip
        assert needed in text, needed
    assert "<script" not in text and "http:" not in text
    assert "Every digest and every checksum holds" in text
    assert text.index("<th>log id") < text.index("<th>rig")


def test_problems_are_listed(image, tmp_path):
    problem = {"file": "obs-cam.parquet", "log_id": "a", "frame_id": "f1", "what": "page CRC"}
    text = contact_sheet(inspection(image, problems=[problem]), tmp_path / "sheet.html").read_text()
    assert "obs-cam.parquet" in text and "page CRC" in text
    assert "checksum holds" not in text


def test_an_empty_inspection_says_what_is_missing(tmp_path):
    text = contact_sheet({}, tmp_path / "sheet.html").read_text()
    for needed in (
        "Nothing was counted",
        "holds no log",
        "No frame could be shown",
        "Not verified",
        "No table has a row",
    ):
        assert needed in text


def test_thumbnails_are_pictures_or_an_error(image, tmp_path):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "BMP")
    text = contact_sheet(
        {"thumbnails": [{"log_id": "bmp", "jpeg": buffer.getvalue()}]}, tmp_path / "sheet.html"
    ).read_text()
    assert "data:image/jpeg;base64,/9j/" in text
    with pytest.raises(UnseenError, match="not a picture"):
        contact_sheet({"thumbnails": [{"log_id": "x", "jpeg": b"<svg onload=alert(1)>"}]}, tmp_path / "sheet.html")


def test_every_policy_is_in_the_gallery_with_its_own_mask(image):
    assert set(policies()) <= {name for name in masks.__all__ if isinstance(getattr(masks, name), type)}
    assert {"Random", "Block", "Grid", "Tube", "MultiBlock", "Weighted"} <= set(policies())
    assert not {"Future", "Nothing"} & set(policies()), "they need a clip, or hide nothing"
    svg = mask_gallery(image, policies(), UNIT)
    root = ElementTree.fromstring(svg)
    notes = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    for name, policy in policies().items():
        assert f"{int(draw_mask(image, policy, UNIT).sum())} of 192 hidden" in notes[notes.index(name) + 1]


def test_the_mask_of_a_saved_sample_is_found_again(image):
    hidden = draw_mask(image, Random(ratio=0.75), UNIT, seed=3)
    assert torch.equal(hidden_units(image, masked_picture(image, hidden, UNIT), UNIT), hidden)
    with pytest.raises(UnseenError, match="all or nothing"):
        hidden_units(image, image, UNIT)


def test_pictures_are_made_from_a_run(make_run, tmp_path, capsys):
    main([str(tmp_path / "out"), "--run", str(make_run())])
    files = [tmp_path / "out" / name for name in ("pipeline.svg", "masks.svg", "reconstruction.svg")]
    assert capsys.readouterr().out.split() == [str(file) for file in files]
    for file in files:
        text = file.read_text()
        ElementTree.fromstring(text)
        assert all(link.startswith("data:image/") for link in re.findall(r'href="([^"]*)"', text))
    assert "144 of 192 hidden" in files[0].read_text()


def test_a_run_without_samples_or_patches_is_refused(make_run, tmp_path):
    with pytest.raises(UnseenError, match="no samples"):
        make_pictures(tmp_path, make_run("a", samples=()))
    with pytest.raises(UnseenError, match="no image patch"):
        make_pictures(tmp_path, make_run("b", recipe={"class": "x", "fields": {}}))


def test_grey_and_black_frames_have_pictures_too(make_run, tmp_path):
    run = make_run(samples=())
    black = np.zeros((1, 96, 128, 3), np.uint8)
    masked = black.copy()
    masked[:, :48] = 128
    np.savez(run / "samples" / "step-000001.npz", input=black, masked=masked, prediction=black, caption=np.array("x"))
    assert len(make_pictures(tmp_path / "out", run)) == 3
