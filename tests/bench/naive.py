"""What one writes on a Friday: Pillow, a loop, a list, `np.stack` and h5py's gzip.

    naive.py TREE OUT PATCH STRIDE

prints the wall seconds of the work, without its start.
"""

from __future__ import annotations

import os
import sys
import time

import h5py
import numpy as np
from PIL import Image


def main() -> None:
    """Cut all images of a class tree into one file."""
    tree, out, patch, stride = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    began = time.perf_counter()
    patches, labels = [], []
    for label, name in enumerate(sorted(os.listdir(tree))):
        for file in sorted(os.listdir(os.path.join(tree, name))):
            pixels = np.asarray(Image.open(os.path.join(tree, name, file)).convert("RGB"))
            for y in range(0, pixels.shape[0] - patch + 1, stride):
                for x in range(0, pixels.shape[1] - patch + 1, stride):
                    patches.append(pixels[y : y + patch, x : x + patch])
                    labels.append(label)
    with h5py.File(out, "w") as output:
        output.create_dataset("patches", data=np.stack(patches), compression="gzip")
        output.create_dataset("labels", data=np.array(labels))
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
