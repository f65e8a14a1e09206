"""Images in another size, the very pixels that `keras.utils.load_img` gives."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image as Pillow

from patchcli.io.images import Pixels
from patchcli.specs import Size

_FILTERS: Final = {
    "nearest": Pillow.Resampling.NEAREST,
    "bilinear": Pillow.Resampling.BILINEAR,
    "bicubic": Pillow.Resampling.BICUBIC,
    "hamming": Pillow.Resampling.HAMMING,
    "box": Pillow.Resampling.BOX,
    "lanczos": Pillow.Resampling.LANCZOS,
}
INTERPOLATIONS: Final = tuple(_FILTERS)


def resize(pixels: Pixels, size: Size, *, interpolation: str, keep_aspect_ratio: bool) -> Pixels:
    """Resize an image (height, width, C); one that has the size already is given back as it is.

    Parameters
    ----------
    pixels : uint8 (height, width, C)
        Of 1, 3 or 4 channels: gray, RGB or RGBA, whose colours are weighted by their alpha.
    size : Size
        Width and height wanted, px.
    interpolation : str
        One of `INTERPOLATIONS`.
    keep_aspect_ratio : bool
        Whether the image is first cropped, about its centre, to the aspect ratio of `size`.

    Returns
    -------
    uint8 (size.height, size.width, C), C-contiguous
    """
    height, width, channels = pixels.shape
    if (width, height) == size:
        return pixels
    image = Pillow.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    box = _centre(Size(width, height), size) if keep_aspect_ratio else None
    scaled = np.asarray(image.resize(size, _FILTERS[interpolation], box=box))
    return scaled.reshape(size.height, size.width, channels)


def _centre(size: Size, target: Size) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the largest part with the target's aspect ratio, rounded as Keras rounds it."""
    # Keras asks Pillow for an empty part, which it refuses, where less than 1 px would be left
    width = max(1, min(size.width, size.height * target.width // target.height))
    height = max(1, min(size.height, size.width * target.height // target.width))
    left, top = (size.width - width) // 2, (size.height - height) // 2
    return left, top, left + width, top + height
