"""Arranges real images that scikit-image's wheel brings as class folders: `python tests/demo_images.py FOLDER`.

Nothing is downloaded and scikit-image is not imported: its image files are copied as they are, by their names.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys

SETS = {
    "textures": {"brick": "brick.png", "grass": "grass.png", "gravel": "gravel.png"},
    "medical": {
        "breast_ihc": "ihc.png",
        "cell_phase": "cell.png",
        "fundus": "retina.jpg",
        "microaneurysms": "microaneurysms.png",
    },
}
"""Set, class, file: gray PNG, RGB PNG and JPEG, 102 to 1,411 px, all of them inside the wheel."""


def packaged(name: str) -> str:
    """Path of an image within the installed scikit-image."""
    package = importlib.util.find_spec("skimage")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("scikit-image is not installed: python -m pip install scikit-image")
    return os.path.join(package.submodule_search_locations[0], "data", name)


def arrange(folder: str, name: str) -> str:
    """Make the class tree of one of `SETS` as `folder/name`, and return its path."""
    tree = os.path.join(folder, name)
    for label, file in SETS[name].items():
        os.makedirs(os.path.join(tree, label), exist_ok=True)
        shutil.copyfile(packaged(file), os.path.join(tree, label, file))
    return tree


def main() -> None:
    """Arrange all sets in the folder that the command line names."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python tests/demo_images.py FOLDER")
    for name, classes in SETS.items():
        print(f"{arrange(sys.argv[1], name)}: {', '.join(classes)}")


if __name__ == "__main__":
    main()
