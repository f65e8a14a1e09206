"""Samplers for torch: in which order a DataLoader asks for patches, and how often for those of each class."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Sampler

from patchcli.errors import UsageError
from patchcli.order import Rows, Windows, dealt, runs, weighted
from patchcli.readers.ahead import Ahead
from patchcli.readers.arrays import PatchSet
from patchcli.readers.samples import Path, patches_of
from patchcli.readers.states import check_state, state_of
from patchcli.readers.torch.dataset import PatchDataset
from patchcli.readers.torch.iterable import PatchIterable
from patchcli.readers.torch.ranks import check_share, rank_of
from patchcli.specs import check_switch, whole

Weights = Mapping[int, float] | Sequence[float]
Source = PatchSet | PatchDataset | PatchIterable | Path

_BLOCK_BYTES: Final = 1 << 20
_BETWEEN: Final = 256  # patches between two looks ahead


def class_weights(patches: Source) -> torch.Tensor:
    """Weights for a loss, n / (n_classes * count) as scikit-learn's `balanced`: float32 (n_classes,), 0 for no patches.

    Examples
    --------
    >>> torch.nn.CrossEntropyLoss(weight=patchcli.torch.class_weights(ps))   # doctest: +SKIP
    """
    own = _patches(patches)
    weight = own.class_weight()
    return torch.tensor([weight.get(label, 0.0) for label in range(len(own.classes))], dtype=torch.float32)


def _patches(source: Source) -> PatchSet:
    if not isinstance(source, (PatchDataset, PatchIterable, PatchSet, str, os.PathLike)):
        raise UsageError(
            f"{type(source).__name__}: expected a PatchDataset, a PatchSet or a path; some patches of a data set are "
            f"ps.subset(indices)"
        )
    return source.patches if isinstance(source, (PatchDataset, PatchIterable)) else patches_of(source)


class _Epochs(Sampler[int]):
    """An order of positions for each epoch, dealt to ranks, that can begin in its middle."""

    _is_local = False  # whether what comes soon stands in a few places

    def __init__(self, source: Source, *, seed: int, rank: int | None, world: int | None, even: bool) -> None:
        check_switch("even", even)
        self._source = source if isinstance(source, PatchDataset) else None
        self.patches, self.even = _patches(source), even
        self.seed = whole("seed", seed, 0, 2**63 - 1)
        self.rank, self.world = rank_of(rank, world)
        self._epoch, self._start = 0, 0
        self._at = (0, 0)

    def _order(self, epoch: int) -> Rows:
        raise NotImplementedError

    def _n(self) -> int:
        """Positions in an epoch, of all ranks."""
        raise NotImplementedError

    def _what(self) -> str:
        """What tells this order from others, in words."""
        own = f"{type(self).__name__} of {len(self.patches)} patches of {self.patches.name}, seed {self.seed}"
        return f"{own}, rank {self.rank} of {self.world}" if self.world > 1 else own

    def __len__(self) -> int:
        return dealt(self._n(), rank=self.rank, world=self.world, even=self.even)

    def __iter__(self) -> Iterator[int]:
        # only when the first position is asked for: loaders make iterators that they never use
        epoch, start = self._at = self._epoch, self._start
        self._epoch, self._start = epoch + 1, 0  # unless the user says otherwise, the next iteration is the next epoch
        if self._source is not None:
            self._source.set_epoch(epoch)
        order = self._order(epoch)
        first = self._begin(order)
        mine = order[first + start : first + len(self)]
        ahead = Ahead(self.patches, mine) if self._is_local else None
        for begin in range(0, len(mine), _BETWEEN):
            if ahead is not None:
                ahead.reach(begin)
            for taken, position in enumerate(mine[begin : begin + _BETWEEN].tolist(), start + begin + 1):
                self._at = epoch, taken
                yield position

    def _begin(self, order: Rows) -> int:
        """Where the part of this rank begins: neighbours stay together, on one rank."""
        each, rest = divmod(len(order), self.world)
        return self.rank * each + (0 if self.even else min(self.rank, rest))

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration shows."""
        return self._epoch

    def set_epoch(self, epoch: int, *, start: int | None = None) -> None:
        """Say which epoch the next iteration shows, and how many of its positions this rank has seen before.

        By default none, or as many as `load_state_dict` said, when that was in this epoch.
        """
        if start is None:
            start = self._start if epoch == self._epoch else 0
        self._at = whole("epoch", epoch, 0, 2**31 - 1), whole("start", start, 0, 2**62)
        self._epoch, self._start = self._at

    def state_dict(self, taken: int | None = None) -> dict[str, Any]:
        """Where the present iteration stands, for `load_state_dict`.

        Save within an epoch rather than at its end, where torchdata's StatefulDataLoader is used: with workers it takes
        from an iterator that it throws away then, and an epoch is left out.

        Parameters
        ----------
        taken : int, optional
            Patches taken in this epoch: batches times their size. A DataLoader with workers fetches ahead, so that only
            who takes them knows; by default those that were handed out.
        """
        epoch, start = self._at
        return state_of(self._what(), epoch, start if taken is None else taken)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state_dict` was called; when all of the epoch had been taken, with the next epoch.

        Raises
        ------
        UsageError
            The state of something else, or of another order: another seed, other patches, other ranks.
        """
        epoch, start = check_state(state, self._what())
        self.set_epoch(epoch, start=start) if start < len(self) else self.set_epoch(epoch + 1)


class ShuffleWindow(_Epochs):
    """Nearly random order at nearly the speed of reading from end to end.

    Blocks of consecutive patches are permuted, and patches are shuffled within windows of several blocks: what is read
    at a time stands in a few places of the files. Every iteration is another epoch.

    Parameters
    ----------
    patches : PatchDataset, PatchSet or path
        Of a PatchDataset the epoch is set, too, whenever an iteration begins.
    seed : int
    block : int, optional
        Patches in a block; about 1 MiB of them by default.
    window : int
        Blocks that are shuffled together.
    rank, world : int, optional
        Number of this process, and of all that train together; by default what torch.distributed says. No patch is for
        two ranks. Frameworks that deal a loader's batches to ranks themselves (accelerate, Lightning) want `rank=0,
        world=1`: dealt twice, most patches are left out.
    even : bool
        All ranks get equally many patches, as training in step needs it: at most `world - 1` are left out in an epoch,
        others in each. False: all are used.

    Examples
    --------
    >>> DataLoader(ds, batch_size=64, sampler=ShuffleWindow(ds), num_workers=2)   # doctest: +SKIP
    """

    _is_local = True

    def __init__(
        self,
        patches: Source,
        *,
        seed: int = 0,
        block: int | None = None,
        window: int = 64,
        rank: int | None = None,
        world: int | None = None,
        even: bool = True,
    ) -> None:
        super().__init__(patches, seed=seed, rank=rank, world=world, even=even)
        if block is None:
            block = max(1, _BLOCK_BYTES // self.patches.whole.facts.patch_bytes)
        check_share(len(self), len(self.patches), self.world, even=even)
        self.block, self.window = whole("block", block, 1, 2**31 - 1), whole("window", window, 1, 2**31 - 1)

    def _n(self) -> int:
        return len(self.patches)

    def _what(self) -> str:
        return f"{super()._what()}, blocks of {self.block} in windows of {self.window}"

    def _order(self, epoch: int) -> Rows:
        bounds = runs([0, len(self.patches)], self.block)
        return Windows(bounds, np.ones(len(bounds) - 1, np.int64), self.window, seed=self.seed, epoch=epoch)[:]


class WeightedSampler(_Epochs):
    """Patches of each class as often as its weight says: evenly, by default.

    All patches of a class are taken before any is taken again, in another order in each epoch.

    Parameters
    ----------
    patches : PatchDataset, PatchSet or path
    weights : dict or sequence of float, optional
        By label: how much more often a patch of the class is taken than one of weight 1. By default `class_weight()`,
        with which classes come out even.
    n_samples : int, optional
        Patches in an epoch, of all ranks; by default as many as there are.
    seed, rank, world
        As for `ShuffleWindow`. A patch that is taken several times may be so on several ranks.
    """

    def __init__(
        self,
        patches: Source,
        *,
        weights: Weights | None = None,
        n_samples: int | None = None,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        super().__init__(patches, seed=seed, rank=rank, world=world, even=True)
        self.n_samples = len(self.patches) if n_samples is None else whole("n_samples", n_samples, 0, 2**40)
        counts = np.bincount(self.patches.labels, minlength=len(self.patches.classes))
        self._shares = counts * _by_label(self.patches.class_weight() if weights is None else weights, len(counts))
        check_share(len(self), self.n_samples, self.world, even=True)
        if self.n_samples and not self._shares.sum() > 0:
            raise UsageError("weights are 0 for every class that has patches: there is nothing to take")

    def _n(self) -> int:
        return self.n_samples

    def _what(self) -> str:
        return f"{super()._what()}, {self.n_samples} by shares {np.round(self._shares, 9).tolist()}"

    def _order(self, epoch: int) -> Rows:
        return weighted(self.patches.labels, self._shares, self.n_samples, seed=self.seed, epoch=epoch)


def _by_label(weights: Weights, n_labels: int) -> npt.NDArray[np.float64]:
    """Weights as float64 (n_labels,), at most 1; 0 for labels that a mapping does not name."""
    expected = f"expected a number from 0 on for each label from 0 to {n_labels - 1}"
    try:
        said = weights if isinstance(weights, Mapping) else dict(enumerate(np.asarray(weights, np.float64).tolist()))
        values = np.array([float(said.get(label, 0.0)) for label in range(n_labels)])
    except (TypeError, ValueError):
        raise UsageError(f"weights are {weights!r:.80}: {expected}") from None
    outside = [label for label in said if label not in range(n_labels)]
    if outside or (not isinstance(weights, Mapping) and len(said) != n_labels):
        raise UsageError(f"weights are for labels {list(said)!r:.80}: {expected}")
    if not np.isfinite(values).all() or (values < 0).any():
        raise UsageError(f"weights are {values.tolist()!r:.80}: {expected}")
    relative: npt.NDArray[np.float64] = values / max(values.max(initial=0), np.finfo(np.float64).tiny)
    return relative
