"""Between encoded images and arrays [h, w, C] of uint8 or uint16: decode no more than is wanted, resize as integers.

JPEG goes through libjpeg-turbo, which can decode at 1/2, 1/4 or 1/8 of the size; everything else through Pillow.
Bytes stay as recorded and arrays are upright: what EXIF asks of a viewer is done here, at each decode.
"""

import io
import struct
import warnings
import zlib
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, Shaped
from torch import Tensor

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
_ORIENTATION = 0x0112  # in EXIF: 1 upright, 2 to 8 as in _TURNS
_TURNS = {2: "c", 3: "rc", 4: "r", 5: "t", 6: "tc", 7: "trc", 8: "tr"}  # transpose, then reverse rows, columns
_DEEP = ("RGB;16B", "RGBA;16B")  # Pillow's names of how a PNG holds 16 bits of colour
MAX_PIXELS = 1 << 27  # 134 megapixels: above it a file is a mistake or a bomb


class ImageInfo(NamedTuple):
    encoding: str  # jpeg, png, webp, bmp, tiff
    shape: tuple[int, int, int]  # height, width, channels of the upright image
    orientation: int  # of the pixels as recorded, in EXIF's numbers; 1: upright


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
            pixels, orientation = _decode(blob, encoding, None, None)
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage("not an image") from None
    except Image.DecompressionBombError:
        raise BadImage("too many pixels") from None
    except Exception as error:  # decoders raise whatever they like on hostile bytes
        raise BadImage("truncated" if "truncated" in str(error).lower() else "corrupt image") from error
    return ImageInfo(encoding, (pixels.shape[0], pixels.shape[1], pixels.shape[2]), orientation)


def decode(
    blob: bytes, encoding: str, at_least: tuple[int, int] | None = None, channels: int | None = None
) -> Shaped[np.ndarray, "h w C"]:
    """Decode to upright [h, w, C], C 1 or 3; `at_least` (height, width) lets JPEG stop at the smallest size above it.

    `channels=1` takes the luma plane of a JPEG as it is. ValueError or OSError on damaged bytes.
    """
    return _decode(blob, encoding, at_least, channels)[0]


def upright(pixels: Shaped[np.ndarray, "h w *C"], orientation: int) -> Shaped[np.ndarray, "H W *C"]:
    """Turn and mirror pixels as recorded into what EXIF's `orientation` asks a viewer to show."""
    turns = _TURNS.get(orientation, "")
    if not turns:
        return pixels
    pixels = pixels.swapaxes(0, 1) if "t" in turns else pixels
    return np.ascontiguousarray(pixels[:: -1 if "r" in turns else 1, :: -1 if "c" in turns else 1])


def decode_labels(blob: bytes) -> Shaped[np.ndarray, "h w"]:
    """Decode an image of class ids [h, w] uint8: palette indices or grey values as they are, upright.

    BadImage where it holds colours, or ids beyond 0 to 255.
    """
    from PIL import Image

    with Image.open(io.BytesIO(blob)) as image:
        if image.mode not in ("L", "P", "1", "I;16", "I"):
            raise BadImage(f"label image is {image.mode}, not class ids")
        ids = upright(np.asarray(image), image.getexif().get(_ORIENTATION, 1))
    if ids.min() < 0 or ids.max() > 255:
        raise BadImage("label ids outside 0..255")
    return ids.astype(np.uint8)


def decode_depth(blob: bytes) -> Float32[np.ndarray, "h w"]:
    """Decode an image of depths in metres: 16 bit grey, 256 to the metre, as KITTI stores it.

    0 is not known (NaN), 65535 nothing within 256 m (inf). BadImage where it is anything else.
    """
    image, _ = _decode_pillow(blob)
    if image.dtype != np.uint16:
        raise BadImage("depth image is not 16 bit grey")
    steps = image[:, :, 0].astype(np.float32)
    return np.select([steps == 0, steps == 65535], [np.float32(np.nan), np.float32(np.inf)], steps / 256)


def encode(image: Shaped[np.ndarray, "h w C"], encoding: str = "png", quality: int = 95) -> bytes:
    """Encode [h, w, C]: jpeg (8 bit) or png (8 or 16 bit)."""
    if encoding == "jpeg":
        import simplejpeg

        space = "GRAY" if image.shape[2] == 1 else "RGB"
        return simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality, space, "444" if space == "RGB" else "Gray")
    if image.dtype == np.uint16 and image.shape[2] == 3:
        return _deep_png(image)
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


def _decode(
    blob: bytes, encoding: str, at_least: tuple[int, int] | None, channels: int | None
) -> tuple[np.ndarray, int]:
    """Upright pixels, and the orientation in which they were recorded."""
    if encoding == "jpeg":
        orientation = _jpeg_orientation(blob)
        if at_least is not None and "t" in _TURNS.get(orientation, ""):
            at_least = at_least[1], at_least[0]
        image = _decode_jpeg(blob, at_least, channels)
        if image is not None:
            return upright(image, orientation), orientation
    image, orientation = _decode_pillow(blob)
    return upright(image, orientation), orientation


def _jpeg_orientation(blob: bytes) -> int:
    if b"Exif\0\0" not in blob and b"tiff:Orientation" not in blob:  # most of a recording: no need to parse it
        return 1
    from PIL import Image

    with Image.open(io.BytesIO(blob), formats=("JPEG", "MPO")) as image:
        return _orientation(image)


def _orientation(image: Any) -> int:
    """What is left for others to turn: Pillow turns a TIFF as it loads it."""
    told = image.getexif().get(_ORIENTATION, 1)
    return told if told in _TURNS else 1


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


def _decode_pillow(blob: bytes) -> tuple[np.ndarray, int]:
    from PIL import Image

    with Image.open(io.BytesIO(blob)) as image:
        if image.mode in ("I;16", "I;16B", "I;16L", "I"):
            values = np.asarray(image)
            if values.min() < 0 or values.max() > 65535:
                raise BadImage("more than 16 bits")
            return values.astype(np.uint16)[:, :, None], _orientation(image)
        if image.mode == "F":
            raise BadImage("floating point image")
        if (rawmode := _rawmode(image)) in _DEEP:
            return _decode_deep(blob, rawmode), _orientation(image)
        if rawmode.endswith((";16B", ";16L", ";16N")):
            raise BadImage(f"16 bits of colour in a {image.format}: only PNG without grey alpha keeps them")
        pixels = np.array(image.convert("L" if image.mode in ("1", "L", "LA") else "RGB"))
        return pixels if pixels.ndim == 3 else pixels[:, :, None], _orientation(image)


def _rawmode(image: Any) -> str:
    """How Pillow will unpack the bytes of an image that is open but not loaded."""
    arguments = image.tile[0][3] if image.tile else ""
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)


def _decode_deep(blob: bytes, rawmode: str) -> np.ndarray:
    """16 bits of colour of a PNG. Pillow has no such image, but can be asked for the upper and for the lower bytes."""
    from PIL import Image

    halves = []
    for order in ("16B", "16L"):
        with Image.open(io.BytesIO(blob)) as image:
            image.tile = [(*tile[:3], rawmode.replace("16B", order)) for tile in image.tile]  # type: ignore[misc]
            halves.append(np.asarray(image)[:, :, :3].astype(np.uint16))
    return halves[0] << 8 | halves[1]


def _deep_png(image: Shaped[np.ndarray, "h w 3"]) -> bytes:
    """A PNG of 16 bits of colour; each row is written as its difference to the row above."""
    height, width, _ = image.shape
    rows = np.ascontiguousarray(image.astype(">u2")).view(np.uint8).reshape(height, -1)
    differences = np.diff(rows, axis=0, prepend=np.zeros_like(rows[:1]))
    filtered = np.concatenate([np.full((height, 1), 2, np.uint8), differences], axis=1)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 3)), (b"IEND", b""))
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
