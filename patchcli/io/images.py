"""Pixels of image files, as Pillow gives them.

JPEG goes through simplejpeg, which is about three times as fast and was found to give the same bytes; whatever it
refuses is Pillow's to decide.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from patchcli.errors import NotEnoughSpace
from patchcli.io.headers import Unreadable, blame, open_image, said, sniff
from patchcli.records import Image
from patchcli.specs import IN_MEMORY_BYTES, Size

Pixels = npt.NDArray[np.uint8]

_STRIP_PX: Final = 1 << 20


class Decoder:
    """Decodes one image after another into the same memory.

    Fresh buffers cost page faults, a third of the time of a fast decoder, so the array that `decode` returns is
    overwritten by the next call.

    Parameters
    ----------
    channels : {1, 3, 4}
        Gray, RGB or RGBA.
    background : (int, int, int)
        RGB that transparency is composited on, unless it is kept (4 channels).
    """

    def __init__(self, channels: int, background: tuple[int, int, int]) -> None:
        self.channels = channels
        self.background = background
        self._buffer = np.empty(0, np.uint8)
        self._ahead: dict[bytes, io.FileIO] = {}

    def expect(self, root: bytes, image: Image) -> None:
        """Open an image that will soon be decoded, and let the disk bring it in the meantime."""
        path = os.path.join(root, image.path)
        with contextlib.suppress(OSError):  # said when it is decoded
            file = self._ahead[path] = io.FileIO(path)
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(file.fileno(), 0, min(image.n_bytes, IN_MEMORY_BYTES), os.POSIX_FADV_WILLNEED)

    def close(self) -> None:
        """Close what was opened ahead and not decoded."""
        while self._ahead:
            self._ahead.popitem()[1].close()

    def decode(self, root: bytes, image: Image, *, hashed: bool = True) -> tuple[Pixels, bytes]:
        """Pixels of an image, upright, and the SHA-256 of its file, which takes as long as many a decoder.

        Returns
        -------
        uint8 (height, width, channels), C-contiguous, and 64 hex digits; none unless `hashed`

        Raises
        ------
        Unreadable
            Broken, or no longer the file that was planned.
        """
        path = os.path.join(root, image.path)
        try:
            with self._ahead.pop(path, None) or io.FileIO(path) as file:
                if os.fstat(file.fileno()).st_size != image.n_bytes:
                    raise Unreadable("the file has changed since it was scanned")
                source: BinaryIO
                if image.n_bytes <= IN_MEMORY_BYTES:
                    encoded = file.readall()
                    digest = hashlib.sha256(encoded).hexdigest() if hashed else ""
                    pixels = self._fast(encoded, image)
                    if pixels is not None:
                        return self._upright(pixels, image), digest.encode()
                    source = io.BytesIO(encoded)
                else:
                    digest = _sha256(file) if hashed else ""
                    source = io.BufferedReader(file)
                return self._upright(self._pillow(source, image), image), digest.encode()
        except (Unreadable, NotEnoughSpace):
            raise
        except OSError as error:
            raise blame(error, path) from None
        except Exception as error:  # whatever a decoder raises, the file is the reason
            raise Unreadable(said(error)) from None

    def _room(self, size: Size) -> Pixels:
        """An array (height, width, channels) in the memory that every image uses."""
        n = size.width * size.height * self.channels
        if self._buffer.size < n:
            self._buffer = np.empty(0, np.uint8)  # let the old one go first
            self._buffer = np.empty(n, np.uint8)
        return self._buffer[:n].reshape(size.height, size.width, self.channels)

    def _fast(self, encoded: bytes, image: Image) -> Pixels | None:
        """A gray or RGB JPEG, bit for bit as Pillow decodes it, or None when simplejpeg has the least doubt."""
        model = {1: "L", 3: "RGB"}.get(self.channels)
        if encoded[:3] != b"\xff\xd8\xff" or image.model != model:
            return None
        import simplejpeg

        room = self._room(_stored(image))
        try:
            pixels: Pixels = simplejpeg.decode_jpeg(
                encoded, "GRAY" if self.channels == 1 else "RGB", fastdct=False, fastupsample=False, buffer=room
            )
        except ValueError:
            return None
        return pixels if pixels.shape == room.shape else None

    def _pillow(self, source: BinaryIO, image: Image) -> Pixels:
        """Any image, strip by strip, so that no second copy of the whole is ever made."""
        kind = sniff(source.read(32))
        if kind is None:
            raise Unreadable("the file has changed since it was scanned")
        source.seek(0)
        with open_image(source, kind) as opened:
            if opened.width * opened.height != image.width * image.height:
                raise Unreadable("the file has changed since it was scanned")
            opened.load()
            if opened.size != _stored(image):
                raise Unreadable("the file has changed since it was scanned")
            convert = _Converter(opened, image.alpha, self.channels, self.background)
            room = self._room(Size(*opened.size))
            step = max(1, _STRIP_PX // opened.width)
            for top in range(0, opened.height, step):
                bottom = min(opened.height, top + step)
                strip = np.asarray(convert(opened.crop((0, top, opened.width, bottom))))
                room[top:bottom] = strip.reshape(bottom - top, opened.width, self.channels)
            return room

    def _upright(self, pixels: Pixels, image: Image) -> Pixels:
        turned = turn(pixels, image.orientation)
        if turned is not pixels:
            pixels = np.ascontiguousarray(turned)
        if pixels.shape[:2] != (image.height, image.width):
            raise Unreadable("the file has changed since it was scanned")
        return pixels


def _stored(image: Image) -> Size:
    """Size of the pixels as the file holds them, before they are turned upright."""
    return Size(image.height, image.width) if image.orientation >= 5 else image.size


def turn(pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation (EXIF 2.32, tag 0x0112) to (height, width, C); a view, upright."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


class _Converter:
    """From the colour model of a file to gray, RGB or RGBA, by Pillow's own conversions."""

    def __init__(self, image: Pillow.Image, alpha: bool, channels: int, background: tuple[int, int, int]) -> None:
        self.target = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
        self.background = background if alpha and channels != 4 else None
        self.transform = None
        if image.mode == "LAB":
            from PIL import ImageCms

            lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            self.transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")

    def __call__(self, strip: Pillow.Image) -> Pillow.Image:
        if self.transform is not None:
            from PIL import ImageCms

            converted = ImageCms.applyTransform(strip, self.transform)
            assert converted is not None
            strip = converted
        elif strip.mode in ("CMYK", "YCbCr"):
            strip = strip.convert("RGB")
        if self.background is not None:
            ground = Pillow.new("RGBA", strip.size, self.background)
            ground.alpha_composite(strip.convert("RGBA"))
            strip = ground
        if strip.mode == "La":
            strip = strip.convert("LA")
        return strip if strip.mode == self.target else strip.convert(self.target)


def file_sha256(path: bytes) -> bytes:
    """SHA-256 of a file as 64 hex digits; empty when it cannot be read."""
    try:
        with io.FileIO(path) as file:
            return _sha256(file).encode()
    except OSError:
        return b""


def _sha256(file: io.FileIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    file.seek(0)
    return digest.hexdigest()
