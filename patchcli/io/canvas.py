"""White paper to draw on: pixels, text and rules, written as PNG; the same drawing gives the same bytes.

Text is set in the font that Pillow brings, so that it looks the same wherever it is drawn. That font knows ASCII and a
few signs more; other characters are shown escaped, as Python would write them.
"""

from __future__ import annotations

import functools
import io
import os
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from patchcli.errors import PatchcliError, UsageError
from patchcli.io.publish import Draft, write_error

Color = tuple[int, int, int]

_PAPER: Final = (255, 255, 255)
_MOST_PIXELS: Final = 178_000_000  # what Pillow, and so whoever looks with it, opens without a word
_ELLIPSIS: Final = "…"
_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_MARK: Final = b"tEXtSoftware\0patchcli"  # the first chunk after the header, so it stands in the first bytes
_HEAD_BYTES: Final = 128
_REDUCING_GAP: Final = 3.0  # much smaller px are averaged first: as good to the eye, and fast


class Style(NamedTuple):
    """How text looks: height of a line of type in px, colour, and px by which strokes are made bolder."""

    size: int
    color: Color
    bold: float = 0.0


class Canvas:
    """White paper of a fixed size; places are (x, y) in px from the top-left corner.

    Raises
    ------
    UsageError
        The paper is larger than programs that show images open.
    """

    def __init__(self, width: int, height: int) -> None:
        if width * height > _MOST_PIXELS:
            raise UsageError(
                f"a picture of {width:,} x {height:,} px is more than programs open ({_MOST_PIXELS:,} px): "
                f"ask for fewer rows, images or patches"
            )
        self._image = Image.new("RGB", (width, height), _PAPER)
        self._draw = ImageDraw.Draw(self._image)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self._image.size

    def paste(self, pixels: npt.NDArray[Any], xy: tuple[int, int], *, size: tuple[int, int]) -> None:
        """Draw uint8 pixels (H, W, 3) as wide and high as `size`: enlarged px stay sharp, smaller ones are mixed."""
        self._image.paste(Image.fromarray(resized(pixels, size)), xy)

    def frame(self, xy: tuple[int, int], *, size: tuple[int, int], color: Color) -> None:
        """A line of 1 px around a rectangle, outside of it."""
        (x, y), (width, height) = xy, size
        self._draw.rectangle((x - 1, y - 1, x + width, y + height), outline=color)

    def fill(self, xy: tuple[int, int], *, size: tuple[int, int], color: Color) -> None:
        """A filled rectangle."""
        (x, y), (width, height) = xy, size
        self._draw.rectangle((x, y, x + width - 1, y + height - 1), fill=color)

    def rule(self, xy: tuple[int, int], *, width: int, color: Color) -> None:
        """A horizontal line of 1 px."""
        self._draw.line((*xy, xy[0] + width - 1, xy[1]), fill=color)

    def text(self, text: str, xy: tuple[int, int], *, style: Style) -> None:
        """One line of text; `xy` is where its baseline begins."""
        (x, y), font, blank = xy, _font(style.size), _blank(style.size)
        for word in escaped(text).split(" "):
            self._draw.text((x, y), word, style.color, font, anchor="ls", stroke_width=style.bold)
            x += round(font.getlength(word)) + blank

    def png(self) -> bytes:
        """The picture as PNG, marked as drawn by patchcli."""
        return _packed(self._image)

    def write(self, path: bytes, run: str) -> None:
        """Write as PNG, atomically.

        Parameters
        ----------
        path : bytes
            Replaced when it exists.
        run : str
            From `patchcli.io.publish.new_run`.

        Raises
        ------
        NotEnoughSpace, OutputConflict
            It cannot be written; nothing half-written is left, and what was there stays.
        """
        _publish(self.png(), path, run)


def write_png(pixels: npt.NDArray[Any], path: bytes, run: str) -> None:
    """Write px as they are, marked and atomically as `Canvas.write` does.

    Parameters
    ----------
    pixels : ndarray
        uint8 (H, W), (H, W, 3) or (H, W, 4), or uint16 (H, W): what PNG holds without loss.
    """
    _publish(_packed(Image.fromarray(pixels)), path, run)


def _packed(image: Image.Image) -> bytes:
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", "patchcli")
    packed = io.BytesIO()
    image.save(packed, "PNG", compress_level=6, pnginfo=mark)
    return packed.getvalue()


def _publish(block: bytes, path: bytes, run: str) -> None:
    try:
        with Draft(path, run) as draft:
            draft.write(memoryview(block), 0)
            draft.publish()
    except OSError as error:
        raise write_error(path, error, len(block)) from None


def resized(pixels: npt.NDArray[Any], size: tuple[int, int]) -> npt.NDArray[Any]:
    """uint8 pixels (H, W, 3) as wide and high as `size`: enlarged px stay sharp, smaller ones are mixed."""
    height, width = pixels.shape[:2]
    if size == (width, height):
        return pixels
    larger = size[0] >= width and size[1] >= height
    how = Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(pixels).resize(size, how, reducing_gap=None if larger else _REDUCING_GAP))


def is_drawn(path: str) -> bool:
    """Whether a file is a picture that `Canvas.write` made, and no other program has written anew.

    Raises
    ------
    OSError
        It cannot be read.
    """
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    return head.startswith(_SIGNATURE) and _MARK in head


def text_width(text: str, style: Style) -> int:
    """Width of a line of text, px."""
    words, font = escaped(text).split(" "), _font(style.size)
    width = sum(round(font.getlength(word)) for word in words) + (len(words) - 1) * _blank(style.size)
    return int(width + 2 * style.bold + 1)


def shortened(text: str, style: Style, width: int) -> str:
    """The text with as much of its middle left out as it must be to fit a width: names differ at both ends."""
    text = escaped(text)
    if text_width(text, style) <= width:
        return text
    least, most = 0, len(text) - 1  # characters that stay
    while least < most:
        n = (least + most + 1) // 2
        least, most = (n, most) if text_width(_without_middle(text, n), style) <= width else (least, n - 1)
    return _without_middle(text, least)


def _without_middle(text: str, n: int) -> str:
    return text[: n - n // 2].rstrip() + _ELLIPSIS + text[len(text) - n // 2 :].lstrip()


def wrapped(text: str, style: Style, width: int) -> list[str]:
    """The text in lines that fit a width, broken between words; a word wider than that is shortened."""
    lines: list[str] = []
    for word in map(escaped, text.split()):
        if lines and text_width(f"{lines[-1]} {word}", style) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(shortened(word, style, width))
    return lines


def escaped(text: str) -> str:
    r"""The text with what the font cannot show, and what would break the line, as `\n`, `\xe9` or `\u4e2d`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if _is_known(c) else c.encode("unicode_escape").decode() for c in text)


@functools.lru_cache(maxsize=4096)
def _is_known(character: str) -> bool:
    if not character.isprintable():
        return False
    font = _font(16)
    return bytes(font.getmask(character)) != bytes(font.getmask("\U0010fffe"))  # the box for what is not there


def _blank(size: int) -> int:
    """Px between words: the font's own blank is so narrow, rounded to whole px, that digits touch what follows."""
    return round(_font(size).getlength(" ")) + 1


@functools.lru_cache(maxsize=16)
def _font(size: int) -> ImageFont.FreeTypeFont:
    try:
        font = ImageFont.load_default(size)
    except ImportError:
        font = None
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise PatchcliError(
            "this Pillow was built without FreeType and cannot draw text: pip install --force-reinstall pillow"
        )
    # the other layout engine asks a library of the machine, which may be there or not
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)
