"""The images that a data set was cut from, as their folder has them today."""

from __future__ import annotations

import os

from patchcli.errors import DamagedFile, UsageError
from patchcli.io.dataset import Dataset
from patchcli.io.headers import NotAnImage, Unreadable, quiet_pillow, read_header
from patchcli.io.images import Decoder, Pixels
from patchcli.records import Image, show


def decode_file(
    root: bytes, path: bytes, *, channels: int, background: tuple[int, int, int], max_pixels: int
) -> tuple[Pixels, bytes]:
    """Decode an image of a folder as `extract` does.

    Parameters
    ----------
    path : bytes
        Relative to `root`. Files may say anything: one that leads out of the folder is not opened.

    Returns
    -------
    uint8 (height, width, channels), upright, and the SHA-256 of its file, 64 hex digits

    Raises
    ------
    Unreadable, NotAnImage
        Its text says why.
    NotEnoughSpace
    """
    full = os.path.join(root, path)
    if not stays_inside(path):
        raise Unreadable("its path leads out of the folder")
    if not os.path.exists(full):
        raise Unreadable("is not there")
    if not os.path.isfile(full):  # a FIFO would keep us waiting
        raise Unreadable("is no regular file")
    with quiet_pillow(max_pixels):
        header = read_header(full, max_pixels)
        image = Image(path, 0, -1, os.path.getsize(full), *header)
        return Decoder(channels, background).decode(root, image)


def stays_inside(path: bytes) -> bool:
    """Whether a path that a file names stays in the folder: the file may come from anywhere."""
    return bool(path) and not path.startswith(b"/") and b".." not in path.split(b"/")


def original(data: Dataset, source: int, *, root: bytes, max_pixels: int) -> Pixels:
    """The image of a source, the very file that patches were cut from: uint8 (height, width, channels), upright.

    Raises
    ------
    UsageError
        There is no such file below `root`, it cannot be read, or it is another one now.
    DamagedFile
        The data set contradicts itself.
    """
    path = data.sources.path[source]
    shown, folder = show(path), show(root)
    background = tuple(data.facts.settings.get("background", (255, 255, 255)))
    channels = data.facts.patch_shape[2]
    if channels not in (1, 3, 4):
        raise DamagedFile(f"{show(data.path)}: has {channels} channels, and no image was decoded to so many")
    try:
        pixels, sha256 = decode_file(root, path, channels=channels, background=background, max_pixels=max_pixels)
    except (Unreadable, NotAnImage) as error:
        raise UsageError(
            f"{shown}: cannot be taken from {folder}: {error}; expected the folder that {show(data.path)} was cut "
            f"from; without a folder, the stored patches are shown"
        ) from None
    expected = bytes(data.sources.sha256[source])
    if sha256 != expected:
        raise UsageError(
            f"{shown}: in {folder} it is no longer the file that patches were cut from: its SHA-256 is "
            f"{sha256.decode()[:16]}..., expected {expected.decode(errors='replace')[:16]}...; put that file back; "
            f"without a folder, the stored patches are shown"
        )
    size = int(data.sources.width[source]), int(data.sources.height[source])
    if size != (pixels.shape[1], pixels.shape[0]):
        raise DamagedFile(
            f"{show(data.path)}: says that {shown} has {size[0]}x{size[1]} px, the file that was cut has "
            f"{pixels.shape[1]}x{pixels.shape[0]}"
        )
    return pixels
