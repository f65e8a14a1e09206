"""Training with TensorFlow: a `tf.data.Dataset` over what `patchcli extract` and `augment` wrote.

batches = patchcli.tensorflow.dataset("out.h5", batch_size=64, split="train", augment={"horizontal_flip": True})
model.fit(batches, epochs=10)
"""

from __future__ import annotations

try:
    import keras as _keras  # noqa: F401 - asked for by name, so that what is missing is said in our words
    import tensorflow as _tensorflow  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"patchcli.tensorflow needs TensorFlow ({error}): pip install 'patchcli[tensorflow]'"
    ) from None

from patchcli.readers.keras.stream import dataset

__all__ = ["dataset"]
