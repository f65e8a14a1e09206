"""What the first bytes of an image file say: format by content, size, colour model, orientation. No px is decoded.

Without numpy, since the parent of the workers needs no more than this.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import logging
import os
import struct
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NamedTuple

from PIL import Image as Pillow
from PIL import ImageColor, UnidentifiedImageError

from patchcli.errors import NotEnoughSpace, UsageError

# Formats by content. Nothing that runs an interpreter (EPS, PDF) can ever be opened, whatever the file is called.
_MAGIC: Final = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    *((b"P%d%c" % (kind, blank), "PPM") for kind in range(1, 7) for blank in b" \n\r\t"),
)
_PLUGINS: Final = {
    "JPEG": "JpegImagePlugin",
    "PNG": "PngImagePlugin",
    "TIFF": "TiffImagePlugin",
    "GIF": "GifImagePlugin",
    "BMP": "BmpImagePlugin",
    "WEBP": "WebPImagePlugin",
    "PPM": "PpmImagePlugin",
    "JPEG2000": "Jpeg2KImagePlugin",
}
_IMAGE_SUFFIXES: Final = frozenset(
    (
        b".jpg .jpeg .jpe .jfif .mpo .png .apng .tif .tiff .svs .bmp .dib .webp .gif .ppm .pgm .pbm .pnm .jp2 .j2k "
        b".avif .heic .heif .jxl .psd .tga .exr .hdr .dng .cr2 .nef .arw .dcm .ndpi .scn .mrxs"
    ).split()
)
_MODELS: Final = frozenset(["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB"])
_ORIENTATION: Final = 0x0112


class Header(NamedTuple):
    """What the first bytes of an image say; sizes are upright."""

    width: int
    height: int
    model: str
    alpha: bool
    orientation: int


class NotAnImage(Exception):
    """The file does not even claim to be an image; the text says what it is."""


class Unreadable(Exception):
    """The file is an image by name or content, and cannot be used; the text says why."""


@contextlib.contextmanager
def quiet_pillow(max_pixels: int) -> Iterator[None]:
    """Let Pillow open images of up to `max_pixels`, and keep its warnings and log lines off the terminal.

    Oddities in a file become its skip reason or do not matter. Not for several threads at once.
    """
    limit, level = Pillow.MAX_IMAGE_PIXELS, logging.getLogger("PIL").level
    Pillow.MAX_IMAGE_PIXELS = max_pixels
    logging.getLogger("PIL").setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Pillow.MAX_IMAGE_PIXELS = limit
        logging.getLogger("PIL").setLevel(level)


def parse_color(color: object) -> tuple[int, int, int]:
    """A CSS colour name, `#rrggbb` or `rgb(r, g, b)` as three bytes; three whole numbers stay as they are."""
    try:
        levels: Any = ImageColor.getrgb(color) if isinstance(color, str) else color
        red, green, blue = levels  # a fourth would be transparency, which a background cannot have
    except (ValueError, TypeError):
        raise UsageError(f"background is {color!r}: expected a colour such as white, #rrggbb or rgb(r, g, b)") from None
    return red, green, blue


def read_header(path: bytes, max_pixels: int) -> Header:
    """Size, colour model and orientation of an image, from its first bytes.

    Raises
    ------
    NotAnImage, Unreadable
    """
    try:
        with open(path, "rb") as file:
            head = file.read(32)
            file.seek(0)
            return _read_header(file, path, head, max_pixels)
    except (NotAnImage, Unreadable, NotEnoughSpace):
        raise
    except OSError as error:
        raise blame(error, path) from None
    except Exception as error:  # a broken header raises nearly anything (DATA: SyntaxError, OverflowError, MemoryError)
        raise Unreadable(said(error)) from None


def _read_header(file: BinaryIO, path: bytes, head: bytes, max_pixels: int) -> Header:
    kind = sniff(head)
    claims = os.path.splitext(path)[1].lower() in _IMAGE_SUFFIXES
    if kind is None:
        if claims:
            raise Unreadable(_disguise(head))
        raise NotAnImage("not an image")
    try:
        image = open_image(file, kind)
    except Pillow.DecompressionBombError:
        raise Unreadable(f"more than {max_pixels:,} px, see --max-pixels") from None
    except Exception as error:
        if not claims and kind in ("BMP", "PPM"):  # two letters are a weak claim
            raise NotAnImage("not an image") from None
        raise Unreadable(said(error, kind)) from None
    with image:
        _check(image, kind, file, max_pixels)
        orientation, (width, height) = _orientation(image, kind, file), image.size
        if kind == "TIFF":  # Pillow turns these itself; their size is turned already when a tag of its own says so
            tagged = image.tag_v2.get(_ORIENTATION)  # type: ignore[attr-defined]
            turned, orientation = orientation >= 5 and tagged not in (5, 6, 7, 8), 1
        else:
            turned = orientation >= 5
        if turned:
            width, height = height, width
        alpha = image.has_transparency_data or image.mode in ("PA", "La", "RGBa")
        return Header(width, height, image.mode, alpha, orientation)


def sniff(head: bytes) -> str | None:
    """Format of a file by its first 32 bytes, as Pillow names it; None when it is none of ours."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)


def _disguise(head: bytes) -> str:
    """What a file is that has an image's name and not its content."""
    text = head.lstrip().lower()
    if not head:
        return "empty file"
    if text.startswith((b"<!doctype html", b"<html")):
        return "an HTML page, not an image: a failed download?"
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the image: run `git lfs pull`"
    if head[4:8] == b"ftyp":
        return "AVIF or HEIF is not read: convert it to PNG or JPEG"
    return "no image format that is read (JPEG, PNG, TIFF, BMP, WEBP, GIF, PPM, JPEG 2000)"


def open_image(file: BinaryIO, kind: str) -> Pillow.Image:
    """Open with the decoder of one format, and with no other."""
    importlib.import_module(f"PIL.{_PLUGINS[kind]}")
    return Pillow.open(file, formats=(kind,))


def blame(error: OSError, path: bytes) -> Exception:
    """What an error while reading means: the image is unreadable, or the machine is out of handles or memory."""
    if error.errno is None:
        return Unreadable(said(error))
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        return NotEnoughSpace(f"{os.fsdecode(path)}: {os.strerror(error.errno)}")
    return Unreadable(f"cannot be read: {os.strerror(error.errno)}")


def said(error: Exception, kind: str | None = None) -> str:
    """An exception in one short line, without paths."""
    if isinstance(error, UnidentifiedImageError):
        return f"a broken {kind or 'image'} header, or a kind of it that Pillow cannot read"
    if isinstance(error, MemoryError):
        return "not enough memory to decode it"
    text = " ".join(str(error).split())[:160]
    return f"cannot be decoded: {text or type(error).__name__}"


def _check(image: Pillow.Image, kind: str, file: BinaryIO, max_pixels: int) -> None:
    """Refuse what would lose something: more px than allowed, more than 8 bits, more bands than Pillow hands out."""
    n_pixels = image.width * image.height
    if n_pixels > max_pixels:
        raise Unreadable(f"{image.width}x{image.height} is more than {max_pixels:,} px, see --max-pixels")
    bits = _bits(image, kind, file)
    if bits > 8 or image.mode not in _MODELS:
        what = {"F": "float samples", "I": "integer samples of 16 or 32 bits"}.get(
            image.mode, f"{max(bits, 16)}-bit samples"
        )
        raise Unreadable(f"{what}: only 8-bit images can be read")
    if kind == "TIFF":
        n_samples = int(image.tag_v2.get(277) or 1)  # type: ignore[attr-defined]
        if n_samples > len(image.getbands()):
            n_bands = len(image.getbands())
            raise Unreadable(f"{n_samples} bands, of which only {n_bands} could be read")


def _bits(image: Pillow.Image, kind: str, file: BinaryIO) -> int:
    """Bits of a sample in the file; Pillow hands out 8 of 16-bit colour without a word."""
    if kind == "TIFF":
        bits = image.tag_v2.get(258, (1,))  # type: ignore[attr-defined]
        return max(bits) if isinstance(bits, tuple) else int(bits)
    tile = getattr(image, "tile", None)
    arguments = tile[0][3] if tile else None
    if kind == "PNG":
        return 16 if isinstance(arguments, str) and arguments.endswith("16B") else 8
    if kind == "PPM" and isinstance(arguments, tuple) and isinstance(arguments[-1], int):
        return max(8, arguments[-1].bit_length()) if arguments[0] != "1" else 1
    if kind == "JPEG2000":
        return _jpeg2000_bits(file)
    return 8


def _jpeg2000_bits(file: BinaryIO) -> int:
    """Largest depth of a component, from the SIZ segment of the codestream (ISO/IEC 15444-1, A.5.1 and I.4)."""
    position = file.tell()
    try:
        file.seek(0)
        if file.read(2) != b"\xff\x4f":
            file.seek(0)
            while True:
                length, name = struct.unpack(">I4s", file.read(8))
                if name == b"jp2c":
                    break
                if length == 1:
                    file.seek(struct.unpack(">Q", file.read(8))[0] - 16, os.SEEK_CUR)
                else:
                    file.seek(length - 8, os.SEEK_CUR)
            file.seek(2, os.SEEK_CUR)
        segment = file.read(40)
        n_components = struct.unpack_from(">H", segment, 38)[0]
        return max((depth & 0x7F) + 1 for depth in file.read(3 * n_components)[::3])
    finally:
        file.seek(position)


def _orientation(image: Pillow.Image, kind: str, file: BinaryIO) -> int:
    """Orientation by EXIF or XMP, 1 to 8."""
    if kind not in ("JPEG", "PNG", "WEBP", "TIFF"):
        return 1
    try:
        if kind == "PNG" and _png_has_late_text(file):
            image.load()  # tags after the pixels are only seen by reading past them
        value = Pillow.Image.getexif(image).get(_ORIENTATION, 1)
    except (Unreadable, MemoryError):
        raise
    except Exception:  # tags that cannot be parsed turn nothing
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _png_has_late_text(file: BinaryIO) -> bool:
    position = file.tell()
    try:
        file.seek(8)
        seen_pixels = False
        while len(chunk := file.read(8)) == 8:
            length, name = struct.unpack(">I4s", chunk)
            if name == b"IDAT":
                seen_pixels = True
            elif seen_pixels and name in (b"eXIf", b"iTXt", b"tEXt", b"zTXt"):
                return True
            file.seek(length + 4, os.SEEK_CUR)
        return False
    finally:
        file.seek(position)
