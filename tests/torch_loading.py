"""What torch's worker processes read, as programs of their own: `python tests/torch_loading.py SCENARIO PATCHES ...`.

A scenario ends with exit code 0 where all is as it should be. They are no tests themselves: workers are forked from,
or import, what starts them.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import itertools
import json
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import xxhash
from distinct import RowOf
from torch import distributed
from torch.utils.data import DataLoader

import patchcli
from patchcli.errors import DamagedFile
from patchcli.torch import PatchDataset, PatchIterable, ShuffleWindow, WeightedSampler

CONFIGS = Path(__file__).parents[1] / "configs"
KERAS = {"rotation_range": 25, "zoom_range": 0.2, "horizontal_flip": True, "fill_mode": "reflect"}
BATCH = 16
EPOCHS = (0, 1, 7)
SIDE_BY_SIDE = 2
WAYS: tuple[dict[str, Any], ...] = (
    {"num_workers": 0},
    {"num_workers": 2},
    {"num_workers": 2, "persistent_workers": True},
)

Seen = list[tuple[int, list[int]]]


def seen(batches: Iterable[Any]) -> Seen:
    """What batches hold, in short: a digest of the pixels, and the labels."""
    return [(xxhash.xxh3_64_intdigest(x.numpy().tobytes()), y.tolist()) for x, y in batches]


def by_number(path: str, augment: object, **loading: Any) -> tuple[Any, DataLoader[Any]]:
    """A sampler, and a loader that goes by it."""
    ds = PatchDataset(path, augment=augment, seed=3)
    sampler = ShuffleWindow(ds, seed=3, block=4, window=4)
    return sampler, DataLoader(ds, batch_size=BATCH, sampler=sampler, **loading)


def one_by_one(path: str, augment: object, **loading: Any) -> tuple[Any, DataLoader[Any]]:
    """A data set that says the order itself, and its loader."""
    it = PatchIterable(path, batch_size=BATCH, augment=augment, seed=3, buffer=32)
    return it, DataLoader(it, batch_size=None, **loading)


KINDS: dict[str, Callable[..., tuple[Any, DataLoader[Any]]]] = {"by number": by_number, "one by one": one_by_one}


def same(path: str, method: str, counts: str) -> None:
    """Persistent workers give the batches of one process, epoch after epoch; a file of transforms where they spawn."""
    augment: object = KERAS if method == "fork" else CONFIGS / "histology.yaml"
    for name, make in KINDS.items():
        order, loader = make(path, augment)
        expected = []
        for epoch in EPOCHS:
            order.set_epoch(epoch)
            expected.append(seen(loader))
        assert len({batch for epoch in expected for batch, _ in epoch}) == sum(map(len, expected))
        for n_workers in map(int, counts.split(",")):
            order, loader = make(
                path, augment, num_workers=n_workers, persistent_workers=True, multiprocessing_context=method
            )
            assert len(loader) == len(expected[0])
            for epoch, batches in zip(EPOCHS, expected, strict=True):
                order.set_epoch(epoch)
                assert seen(loader) == batches, f"{name}, {n_workers} workers, epoch {epoch}"
            del loader
            gc.collect()


def resume(path: str) -> None:
    """An epoch that was left in its middle goes on with other workers, and the next ones are as ever."""
    for name, make in KINDS.items():
        order, loader = make(path, KERAS)
        expected = []
        for epoch in range(3):
            order.set_epoch(epoch)
            expected.append(seen(loader))
        for taken, before, after in ((3, 2, 4), (1, 3, 0), (5, 0, 2)):
            order, loader = make(path, KERAS, num_workers=before)
            order.set_epoch(1)
            first = seen(itertools.islice(loader, taken))
            state = json.loads(json.dumps(order.state_dict(taken * (BATCH if name == "by number" else 1))))
            order, loader = make(path, KERAS, num_workers=after)
            order.load_state_dict(state)
            assert order.epoch == 1
            assert first + seen(loader) == expected[1], f"{name}: {before} workers, then {after}"
            order.set_epoch(2)
            assert seen(loader) == expected[2], name


def stateful(path: str) -> None:
    """torchdata's StatefulDataLoader goes on exactly where it stood."""
    StatefulDataLoader = importlib.import_module("torchdata.stateful_dataloader").StatefulDataLoader  # noqa: N806

    def loaders(name: str, **loading: Any) -> tuple[Any, Any]:
        order, loader = KINDS[name](path, KERAS)
        sampler = order if name == "by number" else None
        size = BATCH if name == "by number" else None
        return order, StatefulDataLoader(loader.dataset, batch_size=size, sampler=sampler, **loading)

    for name, n_workers in itertools.product(KINDS, (0, 2)):
        order, loader = loaders(name)
        expected = []
        for epoch in (1, 2):
            order.set_epoch(epoch)
            expected.append(seen(loader))
        for taken, every in ((0, 1), (1, 1), (5, 1), (5, 4)):
            order, loader = loaders(name, num_workers=n_workers, snapshot_every_n_steps=every)
            order.set_epoch(1)
            batches = iter(loader)
            first = seen(itertools.islice(batches, taken))
            state = loader.state_dict()
            del batches
            order, loader = loaders(name, num_workers=n_workers, snapshot_every_n_steps=every)
            loader.load_state_dict(state)
            told = f"{name}, {n_workers} workers, {taken} batches, a snapshot every {every}"
            assert first + seen(loader) == expected[0], told
            order.set_epoch(2)
            assert seen(loader) == expected[1], told


def stateful_epochs(path: str) -> None:
    """Its epochs are those of torch's own loader, however many it has shown, when it is said which comes."""
    for name, make in KINDS.items():
        order, loader = make(path, KERAS)
        expected = {}
        for epoch in (0, 1, 2, 5):
            order.set_epoch(epoch)
            expected[epoch] = seen(loader)
        for loading in WAYS:
            told = f"{name}, {loading}"
            order, loader = _stateful(make, path, **loading)
            for epoch in (0, 1, 5, 0, 2):
                order.set_epoch(epoch)
                assert seen(loader) == expected[epoch], f"{told}, epoch {epoch}"
            order.set_epoch(1)
            first, state = _left(loader, 5)
            for says_epoch in (True, False):
                order, loader = _stateful(make, path, **loading)
                if says_epoch:
                    order.set_epoch(1)
                loader.load_state_dict(state)
                assert first + seen(loader) == expected[1], told
                for epoch in (2, 5):
                    order.set_epoch(epoch)
                    assert seen(loader) == expected[epoch], f"{told}, resumed, epoch {epoch}"


def _stateful(make: Callable[..., tuple[Any, DataLoader[Any]]], path: str, **loading: Any) -> tuple[Any, Any]:
    """What `make` makes, with torchdata's loader."""
    loader_type = importlib.import_module("torchdata.stateful_dataloader").StatefulDataLoader
    order, loader = make(path, KERAS)
    sampler = None if loader.batch_size is None else order
    return order, loader_type(loader.dataset, batch_size=loader.batch_size, sampler=sampler, **loading)


def resume_unsaid(path: str) -> None:
    """Who loads a state and says no epochs sees the rest once, and whole epochs from then on: an iterable's workers."""
    order, loader = one_by_one(path, KERAS)
    epochs = []
    for epoch in range(1, 5):
        order.set_epoch(epoch)
        epochs.append(seen(loader))
    for loading, start in itertools.product(WAYS, (4, 9)):
        order, loader = one_by_one(path, KERAS, **loading)
        order.set_epoch(1)
        state = order.state_dict(taken=start)
        order, loader = one_by_one(path, KERAS, **loading)
        order.load_state_dict(state)
        shown = [seen(loader) for _ in range(3)]
        told = f"{loading}, from {start}: {list(map(len, shown))} batches"
        assert shown[0] == epochs[0][start:], told
        assert all(epoch in epochs for epoch in shown[1:]), told
        order.set_epoch(2, start=start)  # as every start does
        assert seen(loader) == epochs[1][start:], told
        assert seen(loader) == epochs[1], told
        order.set_epoch(3, start=start)
        next(iter(loader))  # an epoch that was left is over
        assert seen(loader) == epochs[2], told


def stateful_early(path: str) -> None:
    """So it does at the begin of an epoch: what a worker saw before, or what its start knew, is not in its state."""
    StatefulDataLoader = importlib.import_module("torchdata.stateful_dataloader").StatefulDataLoader  # noqa: N806
    expected = []
    for epoch in (0, 1):
        order, loader = one_by_one(path, None)
        order.set_epoch(epoch)
        expected.append(seen(loader))

    def fresh(**loading: Any) -> tuple[Any, Any]:
        order, loader = one_by_one(path, None)
        return order, StatefulDataLoader(loader.dataset, batch_size=None, num_workers=2, **loading)

    for taken in (0, 1, 2):
        order, loader = fresh()
        next(iter(order))  # who looks at a batch first, in this process
        first, state = _left(loader, taken)
        _, other = fresh()
        other.load_state_dict(state)
        assert first + seen(other) == expected[0], taken
        order, loader = fresh(persistent_workers=True)
        assert seen(loader) == expected[0]
        order.set_epoch(1)
        first, state = _left(loader, taken)
        _, other = fresh()
        other.load_state_dict(state)
        assert first + seen(other) == expected[1], taken


def _left(loader: Any, taken: int) -> tuple[Seen, Any]:
    batches = iter(loader)
    first = seen(itertools.islice(batches, taken))
    return first, loader.state_dict()


def damage(path: str) -> None:
    """A shard that is cut short while workers read ends the epoch with its name."""
    ds = PatchDataset(path)
    sampler = ShuffleWindow(ds, block=4, window=1)
    last = list(sampler)[-1]
    shards = sorted(Path(path).with_suffix(".shards").iterdir())
    victim = shards[int(ds.patches.whole.shards.of_rows(last))]
    content = victim.read_bytes()
    sampler.set_epoch(0)
    left = []
    for loader in (
        DataLoader(ds, batch_size=4, sampler=sampler, num_workers=2),
        DataLoader(PatchIterable(path, batch_size=4, shuffle=False), batch_size=None, num_workers=2),
    ):
        batches = iter(loader)
        next(batches)
        os.truncate(victim, 100)  # its metadata stand at the end: only the patches are looked for again
        said = _failure(batches)
        assert victim.name in said, said
        assert "truncated" in said or "expected" in said, said
        assert "worker process" in said, said
        left.append(batches)
        victim.write_bytes(content)
    assert len(list(DataLoader(ds, batch_size=4))) == -(-len(ds) // 4)
    os._exit(0)  # torch waits five seconds for each worker whose batches were not taken


def _failure(batches: Iterable[Any]) -> str:
    try:
        for _ in batches:
            pass
    except DamagedFile as error:
        return str(error)
    raise AssertionError("a damaged shard was read without a word")


def ranks(path: str, meeting: str) -> None:
    """Two processes of torch.distributed share an epoch, and stay in step."""
    torch.multiprocessing.spawn(_rank, (path, meeting), nprocs=SIDE_BY_SIDE)


def _rank(rank: int, path: str, meeting: str) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=SIDE_BY_SIDE)
    ps = patchcli.open(path)
    row_of, n = RowOf(ps), len(ps)
    seen_by_all = torch.zeros(1, dtype=torch.int64)

    def mine(loader: DataLoader[Any], *, step: bool) -> list[list[int]]:
        rows: list[int] = []
        for x, y in loader:
            rows += row_of(x.numpy())
            assert ps.labels[rows[-len(y) :]].tolist() == y.tolist()
            if step:  # as gradients are: with fewer batches on the other rank this would wait for ever
                n_both = torch.tensor([len(y)])
                distributed.all_reduce(n_both)
                seen_by_all.add_(n_both)
        everyone: list[Any] = [None] * SIDE_BY_SIDE
        distributed.all_gather_object(everyone, rows)
        return everyone

    n_in_step = 0
    for epoch in range(2):
        it = PatchIterable(ps, batch_size=BATCH)
        assert (it.rank, it.world) == (rank, SIDE_BY_SIDE)
        it.set_epoch(epoch)
        even = mine(DataLoader(it, batch_size=None), step=True)
        assert len(even[0]) > n // 2 - BATCH
        assert len(set(even[0] + even[1])) == len(even[0]) + len(even[1])
        n_in_step += sum(map(len, even))
        it = PatchIterable(ps, batch_size=BATCH - 1, even=False)
        it.set_epoch(epoch)
        everything = mine(DataLoader(it, batch_size=None), step=False)
        assert sorted(everything[0] + everything[1]) == list(range(n))

        sampler = ShuffleWindow(ps, block=4, window=2)
        sampler.set_epoch(epoch)
        even = mine(DataLoader(PatchDataset(ps), batch_size=BATCH, sampler=sampler), step=True)
        assert len(even[0]) == len(even[1]) == n // 2
        assert not set(even[0]) & set(even[1])
        n_in_step += sum(map(len, even))
        sampler = ShuffleWindow(ps, block=4, window=2, even=False)
        sampler.set_epoch(epoch)
        everything = mine(DataLoader(PatchDataset(ps), batch_size=BATCH, sampler=sampler), step=False)
        assert sorted(everything[0] + everything[1]) == list(range(n))

        weighted = WeightedSampler(ps, n_samples=60)
        weighted.set_epoch(epoch)
        even = mine(DataLoader(PatchDataset(ps), batch_size=10, sampler=weighted), step=True)
        assert len(even[0]) == len(even[1]) == 30
        n_in_step += sum(map(len, even))
    assert int(seen_by_all) == n_in_step
    distributed.destroy_process_group()


def memory(path: str, n_epochs: str, warm: str) -> None:
    """Persistent workers hold no more after many epochs than after a few: prints MB by epoch."""
    for name, make in KINDS.items():
        _, loader = make(path, KERAS, num_workers=SIDE_BY_SIDE, persistent_workers=True)
        held = []
        for _ in range(int(n_epochs)):
            batches = iter(loader)
            for _ in batches:
                pass
            held.append(sum(_pss(worker.pid) for worker in batches._workers) / 2**20)
        print(name, " ".join(f"{one:.1f}" for one in held))
        most = max(held[: int(warm)])
        assert max(held[int(warm) :]) < most + 4, f"{name}: grew from {most:.1f} to {max(held):.1f} MB"


def _pss(pid: int) -> int:
    """Bytes of a process, what it shares counted in part."""
    (line,) = (one for one in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if one.startswith("Pss:"))
    return int(line.split()[1]) * 1024


SCENARIOS: dict[str, Callable[..., None]] = {
    one.__name__: one
    for one in (same, resume, resume_unsaid, stateful, stateful_epochs, stateful_early, damage, ranks, memory)
}


def main() -> None:
    """Run the scenario that was named."""
    warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than cores
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("arguments", nargs="+")
    said = parser.parse_args()
    SCENARIOS[said.scenario](*said.arguments)


if __name__ == "__main__":
    main()
