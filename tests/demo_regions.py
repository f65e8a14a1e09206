"""Cuts the demo's textures into regions, some of them held out: `python tests/demo_regions.py FOLDER`.

Each class is one image, so whole images cannot be held out. Regions do not overlap and each is a file of its own, so no
patch of training shares a pixel with a patch that is held out.
"""

from __future__ import annotations

import os
import shutil
import sys

from demo_images import SETS, packaged
from PIL import Image

RASTER = 4
"""Regions along each side of an image of 512x512 px."""

SIDE = 128
"""Of a region, px."""

HELD_OUT = frozenset({(0, 1), (1, 3), (2, 0), (3, 2)})
"""(row, column) of the regions that are held out: one in each row and in each column, none of them neighbours."""


def cut(folder: str) -> str:
    """Write `folder/regions/{train,val}/<class>/region-<row>-<column>.png`, and return `folder/regions`.

    What stands there is replaced: a region that was left from another raster would be in both splits.
    """
    tree = os.path.join(folder, "regions")
    shutil.rmtree(tree, ignore_errors=True)
    for label, file in SETS["textures"].items():
        for split in ("train", "val"):
            os.makedirs(os.path.join(tree, split, label))
        with Image.open(packaged(file)) as image:
            for row in range(RASTER):
                for column in range(RASTER):
                    split = "val" if (row, column) in HELD_OUT else "train"
                    x, y = column * SIDE, row * SIDE
                    region = image.crop((x, y, x + SIDE, y + SIDE))
                    region.save(os.path.join(tree, split, label, f"region-{row}-{column}.png"))
    return tree


def main() -> None:
    """Cut the regions in the folder that the command line names."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: python tests/demo_regions.py FOLDER")
    print(cut(sys.argv[1]))


if __name__ == "__main__":
    main()
