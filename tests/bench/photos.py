"""The photos to measure with: copies of real ones under other names, as many as make the volume asked for."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass

from demo_images import packaged
from PIL import Image

NEIGHBOUR = os.path.join("..", "shared", "data", "clothing10", "data")
PACKAGED = ("hubble_deep_field.jpg", "retina.jpg", "rocket.jpg")


@dataclass(frozen=True)
class Photos:
    """A class tree of copies.

    Attributes
    ----------
    tree : str
    part : str
        A class tree with the first copy of each photo: what slow programs get.
    paths : tuple of str
        All copies.
    n_copies : int
        Of each photo: `part` is this fraction of the whole.
    n_bytes : int
        Of the decoded copies, RGB.
    story : str
        Which and how many, for the reader of the results.
    """

    tree: str
    part: str
    paths: tuple[str, ...]
    n_copies: int
    n_bytes: int
    story: str


def copy_photos(source: str | None, folder: str, n_bytes: int) -> Photos:
    """Copy photos into `folder` until they decode to `n_bytes`.

    Parameters
    ----------
    source : str or None
        A class tree of images; None for the phone photos beside the repository, or else scikit-image's JPEG photos.
    """
    originals, origin = _originals(source)
    decoded = sum(map(_decoded_bytes, originals))
    n_copies = max(1, -(-n_bytes // decoded))
    tree, part = os.path.join(folder, "photos"), os.path.join(folder, "part")
    paths = []
    for number in range(n_copies):
        for original in originals:
            label, name = os.path.basename(os.path.dirname(original)), os.path.basename(original)
            paths.append(_copy(original, os.path.join(tree, label, f"{number:03}-{name}")))
            if number == 0:
                _copy(original, os.path.join(part, label, name))
    story = (
        f"{len(originals)} {origin}, {n_copies} {'copy' if n_copies == 1 else 'copies'} of each under other names: "
        f"{len(paths):,} files, {n_copies * decoded / 1e6:,.0f} MB decoded"
    )
    return Photos(tree, part, tuple(paths), n_copies, n_copies * decoded, story)


def _originals(source: str | None) -> tuple[list[str], str]:
    if source is None and not os.path.isdir(NEIGHBOUR):
        return [packaged(name) for name in PACKAGED], "JPEG photos of scikit-image"
    top = source or NEIGHBOUR
    found = [os.path.join(place, name) for place, _, names in os.walk(top) for name in names if name[0] != "."]
    if not found:
        raise SystemExit(f"{top}: no photos")
    return sorted(found), "phone photos" if source is None else f"images of {os.path.basename(os.path.normpath(top))}"


def _copy(original: str, path: str) -> str:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    return shutil.copyfile(original, path)


def _decoded_bytes(path: str) -> int:
    with Image.open(path) as image:
        return image.width * image.height * 3
