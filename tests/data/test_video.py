from pathlib import Path

import numpy as np
import pytest

from unseen.data.ingest.folder import ingest_folder
from unseen.data.store import Store
from unseen.errors import UnseenError

av = pytest.importorskip("av")


def clip(path: Path, n: int = 6, rate: int = 10, **options: str) -> Path:
    """A video of 48 x 64 whose frames get brighter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(n):
            image = np.full((48, 64, 3), 40 * number % 240, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(("name", "options"), [("cut.mkv", {}), ("cut.mp4", {"movflags": "faststart"})])
def test_a_video_that_ends_before_its_time_is_named(tmp_path, name, options):
    """Decoders end quietly where a file breaks off, so what the container says of its length is what tells."""
    path = clip(tmp_path / "src" / name, n=40, **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    result = ingest_folder(tmp_path / "src", tmp_path / "store")
    log = Store.open(tmp_path / "store").table("log").to_pylist()[0]
    assert 0 < result.frames < 40 and log["truncated"]
    assert result.skipped_by_reason == {"truncated or corrupt video": 1}
    with pytest.raises(UnseenError, match="truncated or corrupt video"):
        ingest_folder(tmp_path / "src", tmp_path / "strict", strict=True)


@pytest.mark.parametrize("name", ["whole.mkv", "whole.mp4", "whole.avi"])
def test_a_whole_video_is_not_called_truncated(tmp_path, name):
    clip(tmp_path / "src" / name, n=40)
    assert not ingest_folder(tmp_path / "src", tmp_path / "store", every=7).skipped
