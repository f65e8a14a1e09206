"""Class trees of real images for the tests: crops of what scikit-image's wheel brings."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from demo_images import packaged
from PIL import Image

FILES = {"brick": "brick.png", "grass": "grass.png", "ihc": "ihc.png", "retina": "retina.jpg"}


def crops(root: Path, *, per_class: int = 6, size: tuple[int, int] = (230, 170)) -> Path:
    """Make `root/<class>/<n>.<suffix>`: crops of different places, PNG and JPEG in turn, gray and RGB."""
    for label, file in FILES.items():
        (root / label).mkdir(parents=True, exist_ok=True)
        with Image.open(packaged(file)) as image:
            for number in range(per_class):
                left, top = 31 * number % (image.width - size[0]), 17 * number % (image.height - size[1])
                crop = image.crop((left, top, left + size[0], top + size[1] - 3 * (number % 3)))
                crop.save(root / label / f"{number}.{'png' if number % 2 else 'jpg'}")
    return root


def many(root: Path, n: int) -> Path:
    """Make a tree of `n` names for one 1,411 px JPEG photo, in two classes: quick to make, seconds to extract."""
    for number in range(n):
        folder = root / ("left" if number % 2 else "right")
        folder.mkdir(parents=True, exist_ok=True)
        first = root / "right" / "000.jpg"
        if number == 0:
            first.write_bytes(Path(packaged("retina.jpg")).read_bytes())
        else:
            os.link(first, folder / f"{number:03d}.jpg")
    return root


def bytes_of(out: Path) -> dict[str, str]:
    """SHA-256 of a data set's files by name: the output and all that stands beside it under its name."""
    folder = out.with_suffix(".shards")
    files = [out, *sorted(folder.iterdir())] if folder.is_dir() else [out]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def leftovers(folder: Path) -> list[str]:
    """Temporary files below a folder."""
    return [str(path) for path in folder.rglob(".*") if path.is_file()]
