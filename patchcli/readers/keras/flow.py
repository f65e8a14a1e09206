"""Batches for Keras: each is a pure function of seed, epoch and its number, whoever makes it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from patchcli.errors import UsageError
from patchcli.io.shown_pictures import save_picture
from patchcli.order import Rows
from patchcli.readers.cuts import OfImages
from patchcli.readers.keras.arguments import ClassMode, DataFormat, Saving
from patchcli.readers.keras.fitting import resetting_adapter, settle
from patchcli.readers.keras.sources import Source
from patchcli.readers.planes import channels_first
from patchcli.readers.states import check_state, state_of
from patchcli.specs import check_switch, whole

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Targets:
    """What belongs to each patch.

    Attributes
    ----------
    values : array (n, ...) or OfImages, optional
        Labels, or whatever `flow` was given.
    n_classes : int
        Of labels; 0 for values that are handed out as they are.
    weights : array (n,) or OfImages, optional
    more : tuple of array (n, ...) or OfImages
        Further inputs.
    """

    values: Array | OfImages | None = None
    n_classes: int = 0
    weights: Array | OfImages | None = None
    more: tuple[Array | OfImages, ...] = ()


class Flow(keras.utils.PyDataset):
    """Batches `(x, y)` of patches: `flow[k]` is batch k of the present epoch, `next(flow)` goes on epoch after epoch.

    What stands in a batch depends on seed, epoch and its number alone, so that workers, threads, processes and restarts
    change nothing. `model.fit` moves on to the next epoch after each, and leaves the order to a flow that shuffles.

    Attributes
    ----------
    n, samples : int
        Patches.
    batch_size : int
    seed, epoch : int
    batch_index : int
        Number of the batch that `next` gives.
    image_shape : (int, int, int)
        Of a patch in x.
    class_mode : str or None
    """

    def __init__(
        self,
        source: Source,
        targets: Targets,
        *,
        batch_size: int,
        class_mode: ClassMode,
        shuffle: bool,
        seed: int,
        data_format: DataFormat,
        dtype: npt.DTypeLike | None,
        drop_last: bool = False,
        saving: Saving | None = None,
        workers: int = 1,
        use_multiprocessing: bool = False,
        max_queue_size: int = 10,
    ) -> None:
        check_switch("shuffle", shuffle)
        check_switch("drop_last", drop_last)
        check_switch("use_multiprocessing", use_multiprocessing)
        self.batch_size = whole("batch_size", batch_size, 1, 2**31 - 1)
        self.seed = whole("seed", seed, 0, 2**63 - 1)
        self._source, self._targets, self._saving = source, targets, saving
        self.class_mode, self.shuffle = class_mode, shuffle
        self.data_format, self.dtype, self.drop_last = data_format, dtype, drop_last
        self.n = self.samples = len(source)
        height, width, channels = source.shape
        self.image_shape = (channels, height, width) if data_format == "channels_first" else (height, width, channels)
        self.epoch, self.batch_index, self._loaded = 0, 0, (-1, 0)
        self._own()
        if drop_last and not len(self):
            raise UsageError(
                f"drop_last, and {self.n} patches are no whole batch of {self.batch_size}: nothing is left"
            )
        whole("workers", workers, 0, 2**16)
        whole("max_queue_size", max_queue_size, 1, 2**31 - 1)
        super().__init__(workers=workers, use_multiprocessing=use_multiprocessing, max_queue_size=max_queue_size)
        if use_multiprocessing:
            source.share()

    def _own(self) -> None:
        """What belongs to one process."""
        self._lock = threading.Lock()
        self._order: tuple[int, Any] = -1, None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_order")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._own()

    def __len__(self) -> int:
        return self.n // self.batch_size if self.drop_last else -(-self.n // self.batch_size)

    def untouched(self, size: int) -> Iterator[Array]:
        """All patches as they are before anything is done to them, in order and in blocks (k, H, W, C)."""
        for start in range(0, self.n, size):
            yield self._source.untouched(np.arange(start, min(self.n, start + size)))

    def __getitem__(self, index: int) -> Any:
        n = len(self)
        if not -n <= index < n:
            raise IndexError(f"batch {index} is out of range: an epoch has {n}")
        return self.batch(self.epoch, index % n)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        if not len(self):
            raise StopIteration
        with self._lock:
            self._loaded = -1, 0
            epoch, number = self.epoch, self.batch_index
            self.batch_index += 1
            if self.batch_index >= len(self):
                self.epoch, self.batch_index = epoch + 1, 0
        return self.batch(epoch, number)

    def reset(self) -> None:
        """Let `next` begin at the first batch of the present epoch again."""
        self.batch_index = 0

    def on_epoch_end(self) -> None:
        """Move on to the next epoch; Keras calls this after each."""
        adapter = resetting_adapter()
        if adapter is None:
            self.set_epoch(self.epoch + 1)
        else:
            settle(adapter, in_order=self.shuffle)

    def set_epoch(self, epoch: int, *, start: int | None = None) -> None:
        """Say which epoch comes next, for instance in a training that goes on, and with which batch `next` begins.

        By default with the first; with the one that `load_state_dict` said, when that was in this epoch.
        """
        if start is not None or epoch != self._loaded[0]:
            self._loaded = -1, 0
        if start is None:
            start = self._loaded[1]
        start = whole("start", start, 0, max(0, len(self) - 1))
        self.epoch, self.batch_index = whole("epoch", epoch, 0, 2**31 - 1), start

    def state_dict(self) -> dict[str, Any]:
        """Where `next` stands, for `load_state_dict`."""
        with self._lock:
            return state_of(self._what(), self.epoch, self.batch_index)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was called.

        Raises
        ------
        UsageError
            The state of something else, or of another order: another seed, other patches.
        """
        epoch, start = check_state(state, self._what())
        self.set_epoch(epoch, start=start)
        self._loaded = epoch, start

    def _what(self) -> str:
        """What tells this order from others, in words."""
        own = f"{type(self).__name__} of {self.n} patches of {self._source.name}, seed {self.seed}"
        own += f", batch_size {self.batch_size}"
        return own if self.shuffle else f"{own}, not shuffled"

    @property
    def use_multiprocessing(self) -> bool:
        """Whether Keras' workers are processes, which then decode each image once together."""
        return bool(super().use_multiprocessing)

    @use_multiprocessing.setter
    def use_multiprocessing(self, value: bool) -> None:
        self._use_multiprocessing = value
        if value:
            self._source.share()

    def _positions(self, epoch: int, number: int) -> Rows:
        start, stop = number * self.batch_size, min(self.n, (number + 1) * self.batch_size)
        if not self.shuffle:
            return np.arange(start, stop)
        with self._lock:
            known, order = self._order
            if known != epoch:
                order = self._source.order(seed=self.seed, epoch=epoch)
                self._order = epoch, order
        positions: Rows = order[start:stop]
        return positions

    def batch(self, epoch: int, number: int) -> Any:
        """A batch of any epoch."""
        positions = self._positions(epoch, number)
        shown = self._source.read(positions, epoch)
        x = shown if self.dtype is None else shown.astype(self.dtype, copy=False)
        if self._saving is not None:
            for position, patch in zip(positions.tolist(), x, strict=True):
                self._save(self._saving, patch, position, epoch)
        x = channels_first(x) if self.data_format == "channels_first" else x
        return self._with_targets(x, positions)

    def _save(self, saving: Saving, patch: Array, position: int, epoch: int) -> None:
        save_picture(patch, saving.folder, f"{saving.prefix}_{position}_{epoch}", saving.format)

    def _with_targets(self, x: Array, positions: Rows) -> Any:
        targets = self._targets
        inputs = (x, *(more[positions] for more in targets.more)) if targets.more else x
        if self.class_mode == "input":
            y: Any = x.copy()
        elif targets.values is None:
            return (inputs,) if targets.more else x  # of a bare pair Keras takes the second for the targets
        else:
            y = self._y(targets.values[positions])
        return (inputs, y) if targets.weights is None else (inputs, y, targets.weights[positions])

    def _y(self, values: Array) -> Array:
        if not self._targets.n_classes:
            return values
        kind = keras.config.floatx() if self.dtype is None or np.dtype(self.dtype).kind != "f" else self.dtype
        if self.class_mode == "categorical":
            return np.eye(self._targets.n_classes, dtype=kind)[values]
        return values.astype(kind) if self.class_mode == "binary" else values
