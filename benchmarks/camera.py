"""From JPEG bytes to a normalised float32 crop, against the PIL recipe: `python -m benchmarks.camera`."""

import io
import os
from functools import partial

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image

from benchmarks.rounds import alternate, machine, ratio
from unseen.contract import Clip
from unseen.data import images
from unseen.units import Fixed
from unseen.units.normalise import apply

CROP = 800  # px of the recorded frame that become 224 x 224


def frame(height: int, width: int) -> bytes:
    """A textured picture as a camera would store it: 4:2:0, quality 90."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (7 + 3 * c)) + np.sin(y / (11 - 2 * c)) + np.sin((x + y) / 53) for c in range(3)]
    noise = np.random.Generator(np.random.Philox(0)).normal(0, 14, (height, width, 3))
    picture = (127 + 38 * np.stack(waves, axis=-1) + noise).clip(0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=90, subsampling="4:2:0")
    return out.getvalue()


def pil(jpeg: bytes) -> torch.Tensor:
    """Decode, crop, bicubic resize, normalise in numpy: what most loaders do."""
    picture = Image.open(io.BytesIO(jpeg)).convert("RGB").crop((100, 50, 100 + CROP, 50 + CROP))
    array = np.asarray(picture.resize((224, 224), Image.Resampling.BICUBIC), dtype=np.float32) / 255
    array = (array - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225])
    return torch.from_numpy(array.transpose(2, 0, 1).copy())


def unseen(jpeg: bytes, height: int, width: int) -> torch.Tensor:
    """Decode at half size while that suffices, crop a view, resize in uint8, normalise."""
    scale = 224 / CROP
    image = images.decode(jpeg, "jpeg", at_least=(int(height * scale), int(width * scale)))
    down = height / image.shape[0]
    top, left, side = int(50 / down), int(100 / down), int(CROP / down)
    crop = images.resize(image[top : top + side, left : left + side], (224, 224))
    return apply(Fixed(), Clip(image=crop[None]))["image"][0]


def main() -> None:
    torch.set_num_threads(1)
    print(machine())
    for height, width in ((900, 1600), (1208, 1920)):
        jpeg = frame(height, width)
        jobs = {"PIL": partial(pil, jpeg), "unseen": partial(unseen, jpeg, height, width)}
        taken = alternate(jobs, rounds=9, seconds=0.5)
        middle = {name: sorted(times)[4] * 1e3 for name, times in taken.items()}
        print(f"{width}x{height}, {len(jpeg) / 1024:.0f} KiB: PIL {middle['PIL']:.1f} ms, "
              f"unseen {middle['unseen']:.1f} ms, ratio {ratio(taken, 'unseen', 'PIL')}")  # fmt: skip


if __name__ == "__main__":
    main()
