"""A data set as batches for tf.data."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from patchcli.readers.arrays import PatchSet
from patchcli.readers.keras.arguments import ClassMode
from patchcli.readers.keras.sequence import PatchSequence
from patchcli.readers.samples import Path
from patchcli.specs import whole


def dataset(
    patches: PatchSet | Path,
    batch_size: int = 32,
    *,
    class_mode: ClassMode = "sparse",
    shuffle: bool = True,
    seed: int = 0,
    split: str | None = None,
    augment: object = None,
    data_format: str | None = "channels_last",
    dtype: str | None = None,
    drop_last: bool = False,
    epoch: int = 0,
) -> Any:
    """A `tf.data.Dataset` of batches `(x, y)`; each pass over it is the next epoch.

    The batches are those of `patchcli.keras.PatchSequence` with the same arguments. One thread of Python reads them,
    ahead of who takes them; `dataset.shard(n, i)` deals them to several processes.

    Parameters
    ----------
    patches, batch_size, class_mode, shuffle, seed, split, augment, data_format, dtype, drop_last
        As for `PatchSequence`.
    epoch : int
        That the first pass shows.

    Returns
    -------
    tf.data.Dataset
        With an `element_spec` and a cardinality. x has the shape (None, H, W, C), or that of `data_format`; its first
        axis is `batch_size` with `drop_last`.

    Raises
    ------
    UsageError, DamagedFile
    """
    batches = PatchSequence(
        patches,
        batch_size,
        class_mode=class_mode,
        shuffle=shuffle,
        seed=seed,
        split=split,
        augment=augment,
        data_format=data_format,
        dtype=dtype,
        drop_last=drop_last,
    )
    epochs = itertools.count(whole("epoch", epoch, 0, 2**31 - 1))

    def one_pass() -> Iterator[Any]:
        number = next(epochs)
        for k in range(len(batches)):
            yield batches.batch(number, k)

    signature = tf.nest.map_structure(
        lambda array: _spec(array, batch_size if drop_last else None), batches.batch(0, 0)
    )
    made = tf.data.Dataset.from_generator(one_pass, output_signature=signature)
    return made.apply(tf.data.experimental.assert_cardinality(len(batches))).prefetch(tf.data.AUTOTUNE)


def _spec(array: Any, first: int | None) -> Any:
    return tf.TensorSpec((first, *array.shape[1:]), np.asarray(array).dtype)
