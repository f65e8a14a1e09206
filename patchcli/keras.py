"""Training with Keras, on any of its backends: from images, from arrays, from what `extract` and `augment` wrote.

generator = patchcli.keras.PatchImageDataGenerator(rescale=1 / 255, horizontal_flip=True, patch_size=64, overlap=0.5)
model.fit(generator.flow_from_directory("data"), epochs=10)

model.fit(patchcli.keras.PatchSequence("out.h5", split="train"), epochs=10)
"""

from __future__ import annotations

try:
    import keras as _keras  # noqa: F401 - asked for by name, so that what is missing is said in our words
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"patchcli.keras needs Keras and a backend ({error}): pip install 'patchcli[keras]'"
    ) from None

from patchcli.readers.keras.generator import PatchImageDataGenerator
from patchcli.readers.keras.sequence import PatchSequence

__all__ = ["PatchImageDataGenerator", "PatchSequence"]
