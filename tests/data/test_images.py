"""Images: upright whatever EXIF says, and no bit of depth lost in silence."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from unseen.data.clips import ClipSource
from unseen.data.images import BadImage, decode, encode, examine, upright
from unseen.data.ingest.folder import ingest_folder
from unseen.data.store import Store
from unseen.data.views import Frames

RNG = np.random.default_rng(0)
SMOOTH = np.linspace(0, 255, 16 * 32 * 3).reshape(16, 32, 3).astype(np.uint8)
DEEP = RNG.integers(0, 65535, (6, 9, 3), dtype=np.uint16)


def told(image: np.ndarray, orientation: int, kind: str = "JPEG") -> bytes:
    """An image file whose EXIF asks to turn it."""
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    Image.fromarray(image).save(out, kind, exif=exif, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_viewers_turn_them(kind, orientation):
    blob = told(SMOOTH, orientation, kind)
    info = examine(blob)
    with Image.open(io.BytesIO(blob)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    assert info.shape == expected.shape == ((16, 32, 3) if orientation < 5 else (32, 16, 3))
    assert info.orientation == (orientation if kind != "TIFF" else 1)  # Pillow turns a TIFF itself
    pixels = decode(blob, info.encoding)
    assert pixels.flags.c_contiguous
    np.testing.assert_allclose(pixels.astype(int), expected, atol=12 if kind == "JPEG" else 0)


def test_a_jpeg_stops_early_at_a_size_of_the_upright_image():
    blob = told(np.zeros((64, 128, 3), np.uint8), 6)
    assert decode(blob, "jpeg", (32, 32)).shape == (64, 32, 3)
    assert decode(blob, "jpeg", (64, 16)).shape == (64, 32, 3)
    assert decode(blob, "jpeg", (16, 8), channels=1).shape == (16, 8, 1)


@pytest.mark.parametrize("orientation", [0, 1, 9])
def test_an_orientation_that_means_nothing_turns_nothing(orientation):
    assert examine(told(SMOOTH, orientation)).orientation == 1


@pytest.mark.parametrize("size", [None, (16, 8)])
def test_turned_frames_keep_their_bytes_and_their_labels(tmp_path, size):
    """Labels may be drawn over the frame as it is shown or as it was recorded: the shape tells."""
    recorded = np.zeros((16, 32), np.uint8)
    recorded[:, 24:] = 1  # of the upright frame (turned clockwise): the lowest quarter
    blob = told(np.stack([recorded * 200] * 3, axis=2), 6)
    files = {"src/log/1.jpg": blob, "src/log/2.jpg": blob, "src/log/3.jpg": told(SMOOTH, 3)}
    labels = {"labels/1.png": recorded, "labels/2.png": upright(recorded, 6), "labels/3.png": recorded}
    for name, data in (files | {name: encode(ids[:, :, None]) for name, ids in labels.items()}).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    asked = {"labels": str(tmp_path / "labels"), "classes": ["far", "near"], "size": size}
    done = ingest_folder(tmp_path / "src", tmp_path / "store", **asked)
    assert done.labels == 2 and not done.warnings
    assert ["shape does not tell" in reason for reason in done.skipped_by_reason] == [True]  # half a turn
    store = Store.open(tmp_path / "store")
    if size is None:
        assert store.read_blob("log", "camera", 0) == blob
    assert store.table("obs")["shape"].to_pylist()[0] == [*(size or (32, 16)), 3]
    clip = ClipSource(store, ["log"], Frames(frame_px=(32, 16))).frames([0, 1], labels=True)
    near = clip["image"][:, 0] > 100
    np.testing.assert_array_equal(clip["label"].numpy(), np.broadcast_to(np.arange(32)[:, None] >= 24, (2, 32, 16)))
    assert (near == clip["label"].bool()).float().mean() > 0.9


@pytest.mark.parametrize("orientation", [1, 8])
def test_sixteen_bits_of_colour_stay_sixteen(tmp_path, orientation):
    blob = encode(DEEP)
    if orientation != 1:
        blob = with_exif(blob, orientation)
    info = examine(blob)
    pixels = decode(blob, "png")
    assert pixels.dtype == np.uint16 and info.shape == pixels.shape
    np.testing.assert_array_equal(pixels, upright(DEEP, orientation))
    (tmp_path / "src/log").mkdir(parents=True)
    (tmp_path / "src/log/1.png").write_bytes(blob)
    ingest_folder(tmp_path / "src", tmp_path / "store", size=pixels.shape[:2])
    kept = Store.open(tmp_path / "store").read_blob("log", "camera", 0)
    np.testing.assert_array_equal(decode(kept, "png"), pixels)
    clip = ClipSource(Store.open(tmp_path / "store"), ["log"], Frames(frame_px=pixels.shape[:2])).frames([0])
    np.testing.assert_array_equal(clip["image"][0].numpy(), pixels.transpose(2, 0, 1))


def test_sixteen_bits_with_alpha_lose_alpha_only():
    alpha = np.concatenate([DEEP, DEEP[:, :, :1]], axis=2)
    np.testing.assert_array_equal(decode(as_png(alpha, 6), "png"), DEEP)


def test_a_depth_that_cannot_be_kept_is_refused(tmp_path):
    blob = as_png(np.ascontiguousarray(DEEP[:, :, :2]), 4)
    with pytest.raises(BadImage, match="16 bits"):
        examine(blob)
    (tmp_path / "src/log").mkdir(parents=True)
    (tmp_path / "src/log/1.png").write_bytes(blob)
    (tmp_path / "src/log/2.png").write_bytes(encode(DEEP))
    done = ingest_folder(tmp_path / "src", tmp_path / "store")
    assert done.frames == 1 and any("16 bits" in reason for reason in done.skipped_by_reason)


def as_png(pixels: np.ndarray, colour_type: int) -> bytes:
    """A 16-bit PNG of any colour type, from the one that is written for RGB."""
    import struct
    import zlib

    height, width, _ = pixels.shape
    rows = pixels.astype(">u2").view(np.uint8).reshape(height, -1)
    data = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def with_exif(png: bytes, orientation: int) -> bytes:
    """The same PNG with an eXIf chunk at its end, where it may stand too."""
    import struct
    import zlib

    exif = Image.Exif()
    exif[0x0112] = orientation
    name, data = b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return png[:-12] + chunk + png[-12:]
