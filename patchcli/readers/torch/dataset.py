"""Patches by number for torch, and what every data set for torch has."""

from __future__ import annotations

import operator
import os
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset, default_collate
from torch.utils.data._utils.collate import default_collate_fn_map

from patchcli.readers.arrays import PatchSet
from patchcli.readers.planes import channels_first
from patchcli.readers.samples import Path, Samples, augmentation, patches_of
from patchcli.specs import check_choice, whole

Layout = Literal["chw", "hwc"]
Transform = Callable[[Any], Any]

_ROOM: Final = 2048  # torch copies more than 32 KiB with threads, which a forked process waits for in vain
_N_READ: Final = 2


class Shared:
    """Whole numbers that all copies of a data set in worker processes see, persistent workers too."""

    # one piece of shared memory for many, since each takes a file descriptor; of one process alone
    _room = torch.empty(0, dtype=torch.int64)
    _pid = -1
    _lock = threading.Lock()

    def __init__(self, *numbers: int) -> None:
        with Shared._lock:
            if len(Shared._room) < len(numbers) or Shared._pid != os.getpid():
                Shared._room = torch.zeros(max(_ROOM, len(numbers)), dtype=torch.int64, device="cpu").share_memory_()
                Shared._pid = os.getpid()
            self._tensor, Shared._room = Shared._room[: len(numbers)], Shared._room[len(numbers) :]
        self.set(*numbers)

    # by numpy: torch refuses to change outside of its inference mode what was made in it

    def get(self) -> tuple[int, ...]:
        """The numbers as they are now."""
        return tuple(self._tensor.numpy().tolist())

    def set(self, *numbers: int) -> None:
        """Change them for all."""
        self._tensor.numpy()[:] = numbers

    def put(self, place: int, number: int) -> None:
        """Change one of them for all."""
        self._tensor.numpy()[place] = number

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if not self._tensor.is_shared():  # pickled to a file, or copied: all of the room came with it
            self._tensor = self._tensor.clone().share_memory_()


class Tensors:
    """What both kinds have: patches as tensors, and what is known of them."""

    def __init__(
        self,
        patches: PatchSet | Path,
        *,
        split: str | None,
        layout: Layout,
        transform: Transform | None,
        target_transform: Transform | None,
        augment: object,
        seed: int,
    ) -> None:
        check_choice("layout", layout, get_args(Layout))
        self.patches, self.layout = patches_of(patches, split), layout
        self.seed = whole("seed", seed, 0, 2**63 - 1)
        self.transform, self.target_transform = transform, target_transform
        spec = augmentation(augment, self.seed)
        self._samples = Samples(self.patches, spec)
        self.is_augmenting = self._samples.is_augmenting

    @property
    def labels(self) -> npt.NDArray[np.int64]:
        """Row of `classes` of each patch, int64 (n,)."""
        return self.patches.labels

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.patches.classes

    def class_weight(self) -> dict[int, float]:
        """Weight of each label, n / (n_classes * count)."""
        return self.patches.class_weight()

    def read(self, positions: npt.NDArray[np.int64], epoch: int) -> tuple[torch.Tensor, npt.NDArray[np.int64]]:
        """Patches at some positions (k,) in one tensor, and their labels (k,)."""
        is_moved = self.layout == "chw" and self.patches.patch_shape[2] > 1
        patches = self._samples.read(positions, epoch, scratch=is_moved)
        return torch.from_numpy(channels_first(patches) if self.layout == "chw" else patches), self.labels[positions]

    def pairs(self, positions: npt.NDArray[np.int64], epoch: int) -> list[tuple[Any, Any]]:
        """Patches at some positions and their labels, one by one, transformed."""
        patches, labels = self.read(positions, epoch)
        xs: Sequence[Any] = patches.unbind(0)
        ys: Sequence[Any] = labels.tolist()
        if self.transform is not None:
            xs = list(map(self.transform, xs))
        if self.target_transform is not None:
            ys = list(map(self.target_transform, ys))
        return list(zip(xs, ys, strict=True))


class Pair(tuple[Any, ...]):
    """A tensor and its label, of a batch that was read together."""

    __slots__ = ()


class Together(list[Pair]):
    """The pairs of a batch, which `default_collate` need not put together again: they are in one tensor already."""

    def __init__(self, patches: torch.Tensor, labels: npt.NDArray[np.int64]) -> None:
        super().__init__(map(Pair, zip(patches.unbind(0), labels.tolist(), strict=True)))
        self.patches, self.labels, self._made = patches, labels, tuple(self)

    @property
    def is_as_made(self) -> bool:
        """Whether nobody has put other pairs into the list since, or taken some out."""
        return len(self) == len(self._made) and all(map(operator.is_, self, self._made))


def _collated(batch: list[Pair], *, collate_fn_map: object = None) -> Any:  # noqa: ARG001 - torch calls it so
    if isinstance(batch, Together) and batch.is_as_made:
        return [batch.patches, torch.from_numpy(batch.labels)]
    return default_collate(list(map(tuple, batch)))


default_collate_fn_map[Pair] = _collated  # torch's own way to teach it: see the docstring of default_collate


class PatchDataset(Tensors, Dataset[tuple[Any, Any]]):
    """The patches of a data set by number, for a DataLoader: `ds[i]` is a tensor and its label.

    A DataLoader asks for whole batches at once (`__getitems__`), which are read together. May be read after fork, spawn
    and forkserver, by persistent workers, and pickled.

    Parameters
    ----------
    patches : PatchSet or path
    split : str, optional
        Only this split.
    layout : {"chw", "hwc"}
        Axes of the tensors: channels first or last.
    transform, target_transform : callable, optional
        Called with the tensor, and with the label (an int), of each patch.
    augment : path, list or dict, optional
        Online augmentation: a pipeline as `patchcli augment --config` takes it, or options of `patchcli.augment`, such
        as `{"rotation_range": 20, "rescale": "1/255"}`. Epoch e shows the copies number e + 1 of `patchcli augment`
        with the same seed, whatever the workers. Validation and test splits are not augmented, only standardised. Say
        `set_epoch(epoch)` before each epoch, or sample with `ShuffleWindow(ds)`, which does: else copies stay the same.
    seed : int
        Of the augmentation.

    Attributes
    ----------
    patches : PatchSet
    labels : int64 (n,)
    classes : tuple of str
    epoch : int

    Raises
    ------
    UsageError, DamagedFile
    """

    def __init__(
        self,
        patches: PatchSet | Path,
        *,
        split: str | None = None,
        layout: Layout = "chw",
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        augment: object = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            patches,
            split=split,
            layout=layout,
            transform=transform,
            target_transform=target_transform,
            augment=augment,
            seed=seed,
        )
        self._shared = Shared(0, 0, 0)  # epoch, whether it was said, patches read: roughly, workers count at once
        self._warned = False

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, index: Any) -> Any:
        """A tensor and its label; of several indices a batch: tensors (k, C, H, W) and (k,)."""
        if not hasattr(index, "__index__") or getattr(index, "ndim", False):
            several = np.asarray(index)
            if several.dtype.kind not in "iu" or several.ndim != 1:
                raise TypeError(f"patches are indexed by numbers and lists of numbers, not by {index!r:.60}")
            return default_collate(self.__getitems__(several.tolist()))
        n, at = len(self), operator.index(index)
        if not -n <= at < n:
            raise IndexError(f"index {at} is out of range for {n} patches")
        return self.pairs(self._noted(np.array([at % n])), self.epoch)[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Pairs as `ds[i]`, for several numbers at once: reading them together takes a tenth of the time."""
        positions = self._noted(np.fromiter(map(operator.index, indices), np.int64))
        if self.transform is None and self.target_transform is None:
            return Together(*self.read(positions, self.epoch))
        return self.pairs(positions, self.epoch)

    def _noted(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Warn who augments and shows the same copies again: a loader begins another epoch, and nobody has said so."""
        if self.is_augmenting:
            epoch, said, n_read = self._shared.get()
            self._shared.put(_N_READ, n_read + len(positions))
            if n_read > 2 * len(self) and not said and not self._warned:
                self._warned = True
                warnings.warn(
                    f"epoch {epoch} is shown again and again, with the same copies: call set_epoch(epoch) before each "
                    f"epoch, or use ShuffleWindow, which does so",
                    stacklevel=3,
                )
        return positions

    @property
    def epoch(self) -> int:
        """Which copies an online augmentation shows."""
        return self._shared.get()[0]

    def set_epoch(self, epoch: int) -> None:
        """Show the copies of another epoch from now on, in the workers too; `ShuffleWindow` does so by itself."""
        self._shared.set(whole("epoch", epoch, 0, 2**31 - 1), 1, 0)
