"""Percentile scaling of thermal images: 14 bits in 16 keep their contrast, and a few hot pixels change nothing."""

import numpy as np
import pytest
import torch

from unseen.contract import QUANTILES, Clip
from unseen.data.images import encode
from unseen.data.ingest.folder import ingest_folder
from unseen.data.store import Store
from unseen.data.views import Frames, quantiles
from unseen.errors import UnseenError
from unseen.masks import Random
from unseen.systems.objective import Objective, Term, sample_keys
from unseen.targets import Pixels
from unseen.units import Patches, PerClip, PerFrame
from unseen.units.normalise import apply

VIEW = Frames(frame_px=(48, 64), channels=1, flip=False)


def radiometric(seed: int = 0) -> np.ndarray:
    """14 bit counts about 7,400 +- 100 (a cold apron), two hot exhausts near the end of the scale, one dead pixel."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:96, :128]
    scene = 7400 + 100 * np.sin(x / 9) * np.cos(y / 7) + rng.normal(0, 3, (96, 128))
    scene[40:44, 60:66] = scene[10:12, 100:103] = 16300
    scene[5, 5] = 0
    return scene.round().astype(np.uint16)[:, :, None]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    folder = tmp_path_factory.mktemp("thermal")
    (folder / "in" / "night").mkdir(parents=True)
    for seq in range(4):
        (folder / "in" / "night" / f"{seq}.png").write_bytes(encode(radiometric(seq)))
    ingest_folder(folder / "in", folder / "s", modality="thermal", fps=9)
    return Store.open(folder / "s")


def test_quantiles_are_those_of_the_pixels():
    image = np.arange(1000, dtype=np.uint16).reshape(20, 50, 1)[:, ::-1]
    found = quantiles(image)[:, 0] * 65535
    assert found.tolist() == pytest.approx([np.ceil(q * 1000) - 1 for q in QUANTILES], abs=1e-2)
    colour = np.random.default_rng(0).integers(0, 256, (37, 41, 3), dtype=np.uint8)
    for channel in range(3):
        ranked = np.sort(colour[:, :, channel].ravel())
        expected = [ranked[int(np.ceil(q * ranked.size)) - 1] for q in QUANTILES]
        assert (quantiles(colour)[:, channel] * 255).round().tolist() == expected


def test_radiometric_frames_fill_the_range_where_per_frame_crushes_them(store):
    clip = VIEW.open(store, ["night"]).frames(range(4))
    assert clip["image"].dtype == torch.uint16 and clip["image"].shape == (4, 1, 48, 64)
    scaled = apply(PerClip(), clip)["image"]
    assert ((scaled.std(dim=(1, 2, 3)) > 0.4) & (scaled.abs().amax(dim=(1, 2, 3)) == 3)).all()
    inside = (scaled.abs() <= 1.001).float().mean(dim=(1, 2, 3))
    assert ((inside > 0.95) & (inside < 1)).all()
    ordinary = scaled.flatten(1).sort(dim=1).values[:, 200:-200]
    assert ordinary.std(dim=1).min() > 0.4
    crushed = apply(PerFrame(), clip)["image"].flatten(1).sort(dim=1).values[:, 200:-200]
    assert crushed.std(dim=1).max() < 0.1


def test_hot_pixels_do_not_set_the_scale():
    plain = torch.from_numpy(np.random.default_rng(0).integers(7000, 7400, (1, 1, 60, 60)).astype(np.uint16))
    hot = plain.clone()
    hot[0, 0, :2, :9] = 16000
    low, high = (apply(PerClip(), Clip(image=image))["image"][0, 0, 30] for image in (plain, hot))
    assert (low - high).abs().max() < 0.05


def test_a_crop_is_scaled_by_its_frame_and_a_user_s_image_by_itself(store):
    source = VIEW.open(store, ["night"])
    clip = source.frames([1])
    by_frame = PerClip().statistics(clip)
    by_itself = PerClip().statistics(VIEW.present(source.raw(clip)))
    for one, two in zip(by_frame, by_itself, strict=True):
        torch.testing.assert_close(one, two, rtol=0.05, atol=0)
    part = Clip(**{**clip, "image": clip["image"][:, :, :8, :8]})
    assert torch.equal(PerClip().statistics(part)[0], by_frame[0])


@pytest.mark.parametrize(("dtype", "level"), [(torch.uint8, 1), (torch.uint16, 1)])
def test_a_constant_image_stays_calm(dtype, level):
    image = torch.full((1, 1, 20, 20), 90).to(dtype)
    image[0, 0, 3, 3] = 90 + level
    scaled = apply(PerClip(), Clip(image=image))["image"]
    assert torch.isfinite(scaled).all() and scaled.abs().max() <= 1 + 1e-4


def test_wrong_percentiles_are_refused():
    for wrong in ({"low": 3.0}, {"low": 99.0, "high": 1.0}, {"least": 0.0}, {"limit": 0.0}):
        with pytest.raises(UnseenError, match="PerClip"):
            PerClip(**wrong)


def test_sixteen_bits_go_through_the_objective_as_one_channel(store):
    clip = VIEW.open(store, ["night"]).batch(np.arange(4))
    terms = {"pixels": Term(target=Pixels())}
    goal = Objective(normalise=PerClip(), unit=Patches(size=(8, 8)), mask=Random(), targets=terms)
    batch = goal.batch(clip, sample_keys(clip, 0, 0))
    assert batch.input.shape == (4, 48, 8, 8, 1) and float(batch.metadata["weight"]["pixels"].mean()) > 0.95


def test_real_thermal_images_come_in_grey(shared_data, tmp_path):
    file = shared_data / "thermal" / "roadscene.zip"
    ingest_folder(file, tmp_path / "s", pattern=r"(?P<log_id>ir)/", modality="thermal", every=10)
    clip = VIEW.open(Store.open(tmp_path / "s"), ["ir"]).frames(range(8))
    assert clip["image"].shape == (8, 1, 48, 64) and clip["image"].dtype == torch.uint8
    scaled = apply(PerClip(), clip)["image"]
    assert ((scaled.abs() <= 1.02).float().mean(dim=(1, 2, 3)) > 0.95).all()
