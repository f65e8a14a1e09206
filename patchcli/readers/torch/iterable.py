"""Patches one after the other for torch, in an order that does not depend on who reads them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import IterableDataset, get_worker_info

from patchcli.errors import UsageError
from patchcli.order import braided, dealt, interleaved, lanes, runs
from patchcli.readers.ahead import Ahead
from patchcli.readers.arrays import PatchSet
from patchcli.readers.samples import Path
from patchcli.readers.states import check_state, state_of
from patchcli.readers.torch.dataset import Layout, Shared, Tensors, Transform
from patchcli.readers.torch.ranks import check_share, rank_of
from patchcli.specs import check_switch, whole

_LANES: Final = 16  # as many readers as divide it have each its own part of the files
_RUN_BYTES: Final = 1 << 20  # shards are cut into such parts: class after class stands in them
_RUNS: Final = 64  # of a lane, at least: a batch comes from one lane, and its patches from many places
_READ_TOGETHER: Final = 64
_MOST_WORKERS: Final = 256  # that a start counts for once, each


class PatchIterable(Tensors, IterableDataset[Any]):
    """The patches of a data set one after the other, in a shuffled order that suits large files and slow disks.

    There is one order of batches for each seed and epoch, whatever the workers and ranks: batch k is for rank
    `k % world`, and there each worker of a DataLoader makes its share, reading its own parts of the shards.

        DataLoader(PatchIterable(ps, batch_size=64), batch_size=None, num_workers=4)     # the same for any num_workers
        DataLoader(PatchIterable(ps), batch_size=64, num_workers=4)                      # torch makes the batches

    Parameters
    ----------
    patches, split, layout, transform, target_transform, augment, seed
        As for `PatchDataset`; `seed` is that of the order too.
    batch_size : int, optional
        Yield batches, x (n, C, H, W) and y int64 (n,), instead of single patches. With transforms, what they give is
        put together as a DataLoader does it.
    shuffle : bool
        False: the order of the data set.
    buffer : int
        Patches of so many are mixed with each other, in each of the 16 parts that the data set is dealt to.
    rank, world : int, optional
        Number of this process, and of all that train together; by default what torch.distributed says.
    even : bool
        All ranks get equally many batches, as training in step needs it: at most `world - 1` are left out in an epoch,
        others in each. False: all batches are used.
    drop_last : bool
        Leave out the last batch when it is smaller.

    Raises
    ------
    UsageError, DamagedFile
    """

    def __init__(
        self,
        patches: PatchSet | Path,
        *,
        batch_size: int | None = None,
        split: str | None = None,
        layout: Layout = "chw",
        transform: Transform | None = None,
        target_transform: Transform | None = None,
        augment: object = None,
        seed: int = 0,
        shuffle: bool = True,
        buffer: int = 4096,
        rank: int | None = None,
        world: int | None = None,
        even: bool = True,
        drop_last: bool = False,
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
        for name, switch in (("shuffle", shuffle), ("even", even), ("drop_last", drop_last)):
            check_switch(name, switch)
        self.batch_size = None if batch_size is None else whole("batch_size", batch_size, 1, 2**31 - 1)
        self.shuffle, self.buffer = shuffle, whole("buffer", buffer, 1, 2**31 - 1)
        self.rank, self.world = rank_of(rank, world)
        self.even, self.drop_last = even, drop_last
        if drop_last and batch_size is None:
            raise UsageError(
                "drop_last has no effect without batch_size: say it to the DataLoader, which makes the batches"
            )
        check_share(len(self), len(self.patches), self.world, even=even)
        self._said, self._begun = Shared(0, 0, 0), Shared(*[0] * (1 + _MOST_WORKERS))
        self._next: tuple[int, int] | None = None  # while iterating: the epoch, and the batch that this one makes next
        self._resumed: tuple[int, int] | None = None
        self._loaded = -1, 0

    def __len__(self) -> int:
        n = len(self.patches)
        if self.batch_size is not None:
            n = n // self.batch_size if self.drop_last else -(-n // self.batch_size)
        return dealt(n, rank=self.rank, world=self.world, even=self.even)

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        number, step = (worker.id, worker.num_workers) if worker else (0, 1)
        epoch, start, saying = self._said.get()
        place = 1 + number if worker else 0  # a look in the main process is not a worker's
        if place <= _MOST_WORKERS:
            start = 0 if self._begun.get()[place] == saying else start  # it was for the iteration before
            self._begun.put(place, saying)
        self._loaded = -1, 0
        first = start + number
        if self._resumed is not None:  # one worker's own state: it has counted the others in
            epoch, first = self._resumed
            self._resumed = None
        self._next = epoch, first  # now, not with the first batch: a loader asks for the state before that
        mine = range(first, len(self), step)
        return self._singly(mine, epoch) if self.batch_size is None else self._batchwise(mine, epoch, self.batch_size)

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration shows."""
        return self._said.get()[0]

    def set_epoch(self, epoch: int, *, start: int | None = None) -> None:
        """Say which epoch the next iteration shows, in all workers, and how much of it has been seen before.

        Parameters
        ----------
        start : int, optional
            Batches that this rank has taken already (patches, without `batch_size`), for the next iteration alone. By
            default 0, or what `load_state_dict` said, when that was in this epoch.
        """
        is_said = start is not None
        if start is None:
            start = self._loaded[1] if epoch == self._loaded[0] else 0
        epoch, start = whole("epoch", epoch, 0, 2**31 - 1), whole("start", start, 0, 2**62)
        self._said.set(epoch, start, self._said.get()[2] + 1)
        self._next = self._resumed = None
        if is_said or epoch != self._loaded[0]:
            self._loaded = -1, 0

    def state_dict(self, taken: int | None = None) -> dict[str, Any]:
        """Where the iteration stands, for `load_state_dict`.

        Parameters
        ----------
        taken : int, optional
            Batches taken in this epoch. A DataLoader with workers fetches ahead, so that only who takes them knows;
            without workers, and within one (torchdata's StatefulDataLoader asks there), it is known. Without
            `batch_size`, and with workers, patches do not come in one order that a number could say.
        """
        epoch, start, _ = self._said.get()
        worker = get_worker_info()
        if taken is not None:
            start = taken
        elif self._next is not None:
            epoch, start = self._next
        elif worker is not None:
            start += worker.id
        own = {} if worker is None else {"worker": worker.id}
        return state_of(self._what(), epoch, start) | own

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was called: the next iteration gives what would have come next.

        When all of the epoch had been taken, that is the next epoch.

        Raises
        ------
        UsageError
            The state of something else, of another order, or of one of several workers.
        """
        epoch, start = check_state(state, self._what())
        if get_worker_info() is not None:
            self._resumed = epoch, start
        elif "worker" in state:
            raise UsageError("the state is that of one worker of a loader: load it into such a loader")
        else:
            epoch, start = (epoch, start) if start < len(self) else (epoch + 1, 0)
            self.set_epoch(epoch, start=start)
            self._loaded = epoch, start

    def _what(self) -> str:
        """What tells this order from others, in words."""
        own = f"PatchIterable of {len(self.patches)} patches of {self.patches.name}, seed {self.seed}"
        own += f", batch_size {self.batch_size}"
        own += f", buffer {self.buffer}" if self.shuffle else ", not shuffled"
        return f"{own}, rank {self.rank} of {self.world}" if self.world > 1 else own

    def _batches(self, epoch: int, size: int) -> list[npt.NDArray[np.int64]]:
        """Positions of all batches of an epoch, in their order."""
        if self.shuffle:
            return braided(self._lanes(epoch), size)
        n = len(self.patches)
        return [np.arange(start, min(n, start + size)) for start in range(0, n, size)]

    def _lanes(self, epoch: int) -> list[npt.NDArray[np.int64]]:
        n = len(self.patches)
        length = max(1, min(_RUN_BYTES // self.patches.whole.facts.patch_bytes, n // (_RUNS * _LANES)))
        return lanes(runs([0, n], length), _LANES, seed=self.seed, epoch=epoch, buffer=self.buffer)

    def _batchwise(self, numbers: range, epoch: int, size: int) -> Iterator[Any]:
        batches = self._batches(epoch, size)
        chosen = [batches[k * self.world + self.rank] for k in numbers]
        ahead = Ahead(self.patches, np.concatenate(chosen or [np.empty(0, np.int64)]))
        for turn, (k, positions) in enumerate(zip(numbers, chosen, strict=True)):
            ahead.reach(turn * size)
            self._next = epoch, k + numbers.step
            yield self._together(positions, epoch)

    def _singly(self, numbers: range, epoch: int) -> Iterator[Any]:
        order = interleaved(self._lanes(epoch)) if self.shuffle else np.arange(len(self.patches))
        order = order[np.asarray(numbers, np.int64) * self.world + self.rank]
        ahead = Ahead(self.patches, order)
        for begin in range(0, len(numbers), _READ_TOGETHER):
            ahead.reach(begin)
            span = slice(begin, begin + _READ_TOGETHER)
            for k, pair in zip(numbers[span], self.pairs(order[span], epoch), strict=True):
                self._next = epoch, k + numbers.step
                yield pair

    def _together(self, positions: npt.NDArray[np.int64], epoch: int) -> Any:
        if self.transform is None and self.target_transform is None:
            patches, labels = self.read(positions, epoch)
            return patches, torch.from_numpy(labels)
        return torch.utils.data.default_collate(self.pairs(positions, epoch))
