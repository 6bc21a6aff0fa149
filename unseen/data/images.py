"""Between encoded images and arrays [h, w, C] of uint8 or uint16: decode no more than is wanted, resize as integers.

JPEG goes through libjpeg-turbo, which can decode at 1/2, 1/4 or 1/8 of the size; everything else through Pillow.
"""

import io
import warnings
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Shaped
from torch import Tensor

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
MAX_PIXELS = 1 << 27  # 134 megapixels: above it a file is a mistake or a bomb


class ImageInfo(NamedTuple):
    encoding: str  # jpeg, png, webp, bmp, tiff
    shape: tuple[int, int, int]  # height, width, channels
    rotated: bool  # EXIF asks viewers to turn it; nothing here does


class BadImage(ValueError):
    """The bytes are no image that can be used; the message is the reason, short enough to count by."""


def examine(blob: bytes) -> ImageInfo:
    """Decode an image once to the end; BadImage where it is empty, foreign, truncated, corrupt or too large."""
    from PIL import Image, UnidentifiedImageError

    if not blob:
        raise BadImage("empty file")
    Image.init()  # or Pillow does not know the formats that it is restricted to
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(blob), formats=_FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise BadImage("too many pixels")
                encoding = "jpeg" if image.format == "MPO" else str(image.format).lower()
                rotated = image.getexif().get(0x0112, 1) not in (0, 1)
        pixels = decode(blob, encoding)
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage("not an image") from None
    except Image.DecompressionBombError:
        raise BadImage("too many pixels") from None
    except Exception as error:  # decoders raise whatever they like on hostile bytes
        raise BadImage("truncated" if "truncated" in str(error).lower() else "corrupt image") from error
    return ImageInfo(encoding, (pixels.shape[0], pixels.shape[1], pixels.shape[2]), rotated)


def decode(
    blob: bytes, encoding: str, at_least: tuple[int, int] | None = None, channels: int | None = None
) -> Shaped[np.ndarray, "h w C"]:
    """Decode to [h, w, C], C 1 or 3; `at_least` (height, width) lets JPEG stop at the smallest size not below it.

    `channels=1` takes the luma plane of a JPEG as it is. ValueError or OSError on damaged bytes.
    """
    if encoding == "jpeg":
        image = _decode_jpeg(blob, at_least, channels)
        if image is not None:
            return image
    return _decode_pillow(blob)


def decode_labels(blob: bytes) -> Shaped[np.ndarray, "h w"]:
    """Decode an image of class ids: palette indices or grey values as they are."""
    from PIL import Image

    with Image.open(io.BytesIO(blob)) as image:
        if image.mode not in ("L", "P", "1", "I;16", "I"):
            raise BadImage(f"label image is {image.mode}, not class ids")
        ids = np.asarray(image)
    if ids.min() < 0 or ids.max() > 255:
        raise BadImage("label ids outside 0..255")
    return ids.astype(np.uint8)


def encode(image: Shaped[np.ndarray, "h w C"], encoding: str = "png", quality: int = 95) -> bytes:
    """Encode [h, w, C]: jpeg (8 bit) or png (8 bit, or 16 bit grey)."""
    if encoding == "jpeg":
        import simplejpeg

        space = "GRAY" if image.shape[2] == 1 else "RGB"
        return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, space, "444" if space == "RGB" else "Gray")
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(out, "PNG", compress_level=3)
    return out.getvalue()


def resize(image: Shaped[np.ndarray, "h w C"], size: tuple[int, int]) -> Shaped[Tensor, "C H W"]:
    """Antialiased bicubic resize of integers to integers, 8 or 16 bit; a crop may be passed as a view."""
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]  # a channels-last view: the fast kernel
    if image.shape[:2] == tuple(size):
        return pixels[0].contiguous()
    if image.dtype == np.uint8:
        return F.interpolate(pixels, size, mode="bicubic", antialias=True)[0]
    smooth = F.interpolate(pixels.float(), size, mode="bicubic", antialias=True)
    return smooth.round_().clamp_(0, 65535)[0].to(pixels.dtype)


def resize_nearest(image: Shaped[np.ndarray, "h w"], size: tuple[int, int]) -> Shaped[np.ndarray, "H W"]:
    """The value at the centre of each output pixel: for class ids."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for old, new in zip(image.shape, size, strict=True)
    )
    return image[rows[:, None], columns]


def _decode_jpeg(blob: bytes, at_least: tuple[int, int] | None, channels: int | None) -> np.ndarray | None:
    import simplejpeg

    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(blob, strict=False)
    except (ValueError, KeyError):  # KeyError: a colour space that it has no name for
        return None
    if space in ("CMYK", "YCCK"):
        return None
    wanted = "GRAY" if space == "Gray" or channels == 1 else "RGB"
    factor = 1
    if at_least is not None:
        while factor < 8 and -(-height // (2 * factor)) >= at_least[0] and -(-width // (2 * factor)) >= at_least[1]:
            factor *= 2
    try:
        return simplejpeg.decode_jpeg(
            blob,
            wanted,
            fastdct=True,
            min_height=-(-height // factor),
            min_width=-(-width // factor),
            min_factor=factor,
        )
    except ValueError:
        return None  # a warning of libjpeg: Pillow tells stray bytes from missing ones


def _decode_pillow(blob: bytes) -> np.ndarray:
    from PIL import Image

    with Image.open(io.BytesIO(blob)) as image:
        if image.mode in ("I;16", "I;16B", "I;16L", "I"):
            values = np.asarray(image)
            if values.min() < 0 or values.max() > 65535:
                raise BadImage("more than 16 bits")
            return values.astype(np.uint16)[:, :, None]
        if image.mode == "F":
            raise BadImage("floating point image")
        pixels = np.array(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]
