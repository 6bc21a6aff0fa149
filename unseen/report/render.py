"""Templates to files, pictures to data URIs. Pages load nothing from anywhere: their own policy forbids it."""

import base64
import contextlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from unseen.errors import UnseenError


def write_page(out: Path, template: str, **context: Any) -> Path:
    """Fill a template of this folder, everything escaped, and write it whole or not at all."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return write_text(out, environment.get_template(template).render(**context))


def write_text(out: Path, text: str) -> Path:
    """Write under a temporary name, flush to disk, rename."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, out)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise UnseenError(f"{out} cannot be written ({error})", "", "choose another place for the page") from error
    return out


def picture_uri(image: UInt8[np.ndarray, "H W 3"], quality: int = 85) -> str:
    """An RGB picture as a JPEG data URI."""
    import simplejpeg

    return jpeg_uri(simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=quality, colorspace="RGB"))


def jpeg_uri(content: bytes) -> str:
    """JPEG or PNG bytes as a data URI; other bytes are decoded first, so that only pictures get into a page."""
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    if kind == "jpeg" and not content.startswith(b"\xff\xd8"):
        content = _as_jpeg(content)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _as_jpeg(content: bytes) -> bytes:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as image:
            buffer = io.BytesIO()
            image.convert("RGB").save(buffer, "JPEG", quality=85)
    except (UnidentifiedImageError, OSError) as error:
        raise UnseenError(
            "a thumbnail is not a picture", "it must be JPEG, PNG or what Pillow reads", str(error)
        ) from error
    return buffer.getvalue()
