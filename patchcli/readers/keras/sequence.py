"""A data set as batches for Keras."""

from __future__ import annotations

from typing import Any

from patchcli.readers.arrays import PatchSet
from patchcli.readers.keras.arguments import ClassMode, check_class_mode, check_dtype, data_format_of
from patchcli.readers.keras.flows import SetFlow
from patchcli.readers.samples import Path, Samples, augmentation, patches_of


class PatchSequence(SetFlow):
    """Batches `(x, y)` of a data set that `patchcli extract` or `augment` wrote: a `keras.utils.PyDataset`.

    What stands in a batch depends on seed, epoch and its number alone, so that workers, threads, processes and restarts
    change nothing.

    Parameters
    ----------
    patches : PatchSet or path
    batch_size : int
    class_mode : {"sparse", "categorical", "binary", "input", None}
        y is int64 (k,), one-hot (k, n_classes), float (k,), x itself, or left out.
    shuffle : bool
        Another order in each epoch; False: the order of the data set.
    seed : int
        Of the order and of the augmentation.
    split : str, optional
        Only this split.
    augment : path, list or dict, optional
        Online augmentation, as for `patchcli.torch.PatchDataset`.
    data_format : {"channels_last", "channels_first"}, optional
        By default Keras' setting.
    dtype : str, optional
        Of x; by default as stored, or float32 when patches are standardised.
    drop_last : bool
        Leave out the last batch when it is smaller.
    loading
        `workers`, `use_multiprocessing`, `max_queue_size`, as for `keras.utils.PyDataset`.

    Raises
    ------
    UsageError, DamagedFile
    """

    def __init__(
        self,
        patches: PatchSet | Path,
        batch_size: int = 32,
        *,
        class_mode: ClassMode = "sparse",
        shuffle: bool = True,
        seed: int = 0,
        split: str | None = None,
        augment: object = None,
        data_format: str | None = None,
        dtype: str | None = None,
        drop_last: bool = False,
        **loading: Any,
    ) -> None:
        own = patches_of(patches, split)
        check_class_mode(class_mode, len(own.classes))
        check_dtype(dtype)
        super().__init__(
            own,
            Samples(own, augmentation(augment, seed)),
            batch_size=batch_size,
            class_mode=class_mode,
            shuffle=shuffle,
            seed=seed,
            data_format=data_format_of(data_format),
            dtype=dtype,
            drop_last=drop_last,
            **loading,
        )

    def class_weight(self) -> dict[int, float]:
        """Weight of each label, for `model.fit(class_weight=...)`: n / (n_classes * count)."""
        return self.patches.class_weight()
