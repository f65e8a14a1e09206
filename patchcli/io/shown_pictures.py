"""What a network is shown, saved as pictures for eyes: any range of values becomes 0 to 255."""

from __future__ import annotations

import os
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from patchcli.errors import UsageError
from patchcli.io.publish import write_error

_KINDS: Final = {"jpg": "JPEG", "tif": "TIFF"}


def check_format(format: str) -> None:
    """Raise `UsageError` unless Pillow writes such files."""
    Image.init()
    if _kind(format) not in Image.SAVE:
        raise UsageError(f"save_format is {format!r}: expected a format such as png or jpeg")


def _kind(format: str) -> str:
    return _KINDS.get(format.lower(), format.upper())


def save_picture(patch: npt.NDArray[Any], folder: str, name: str, format: str) -> None:
    """Save a patch as `folder/name.format`; its least value is black, its largest white, as Keras' `array_to_img` does.

    Parameters
    ----------
    patch : array (H, W, C)
        1, 3 or 4 channels are shown as they are, of others the first.

    Raises
    ------
    NotEnoughSpace, OutputConflict
        It cannot be written.
    """
    levels = patch.astype(np.float32)
    levels -= levels.min(initial=np.inf)
    largest = levels.max(initial=0)
    levels *= 255 / largest if largest > 0 else 1
    shown = levels.astype(np.uint8)
    picture = Image.fromarray(shown if shown.shape[2] in (3, 4) else shown[..., 0])
    kind = _kind(format)
    if kind == "JPEG" and picture.mode == "RGBA":
        picture = picture.convert("RGB")
    path = os.path.join(folder, f"{name}.{format}")
    try:
        picture.save(path, kind)
    except OSError as error:
        raise write_error(os.fsencode(path), error, shown.nbytes) from None
