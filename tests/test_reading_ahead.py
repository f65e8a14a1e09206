"""What a shuffled order needs is asked for in time, and once; compressed chunks are kept while a window is read."""

from __future__ import annotations

import os
import threading
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

import patchcli
from patchcli.errors import DamagedFile
from patchcli.io import patchfile
from patchcli.io.guard.chunks import read_chunk
from patchcli.io.kept_chunks import KeptChunks
from patchcli.io.stored import Shards
from patchcli.readers import ahead as ahead_module
from patchcli.readers.ahead import Ahead
from patchcli.readers.samples import Samples

Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def sharded(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sharded") / "out.h5"
    assert patchcli.extract(root, out, patch=32, executor="serial", shard_size="70kB").shards > 3
    return out


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Rows that were asked for, (first, number), while the real requests go on."""
    calls: list[tuple[int, int]] = []
    bring = Shards.bring

    def noted(self: Shards, rows: npt.NDArray[np.int64], n: int) -> None:
        calls.extend((row, n) for row in rows.tolist())
        bring(self, rows, n)

    monkeypatch.setattr(Shards, "bring", noted)
    return calls


def test_every_piece_is_asked_for_once_and_before_it_is_read(
    sharded: Path, asked: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ps = patchcli.open(sharded)
    size = ps.whole.facts.patch_bytes
    monkeypatch.setattr(ahead_module, "_PIECE_BYTES", 4 * size)
    monkeypatch.setattr(ahead_module, "_HORIZON_BYTES", 8 * size)
    monkeypatch.setattr(ahead_module, "_SOON", 3)
    order = np.random.default_rng(0).permutation(len(ps))[: len(ps) // 2]
    ahead = Ahead(ps, order)
    starts = ps.whole.shards.starts_of(np.arange(len(ps))).tolist()

    def piece_of(row: int) -> int:
        return row - (row - int(starts[row])) % 4

    for place, row in enumerate(order.tolist()):
        ahead.reach(place)
        assert any(first <= row < first + n for first, n in asked), (place, row)
        needed = {piece_of(row) for row in order[: place + 4].tolist()}
        assert len(asked) <= max(len(needed), place // 4 + 2)  # and not much more
    assert len({first for first, _ in asked}) == len(asked)
    assert {first for first, _ in asked} == {piece_of(row) for row in order.tolist()}


def test_nothing_is_asked_for_in_compressed_shards(cut_sharded: Path, asked: list[tuple[int, int]]) -> None:
    ps = patchcli.open(cut_sharded)
    ahead = Ahead(ps, np.arange(len(ps)))
    for place in range(len(ps)):
        ahead.reach(place)
    assert asked == []


def test_the_system_is_asked_for_the_bytes_of_these_rows(cut: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ps = patchcli.open(cut)
    said: list[tuple[int, int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _fd, *rest: said.append(rest))
    ps.whole.shards.bring(np.array([3, len(ps) - 2]), 5)  # beyond the end: what is there
    offset, size = ps.whole.facts.offset, ps.whole.facts.patch_bytes
    assert offset is not None
    assert said == [
        (offset + 3 * size, 5 * size, os.POSIX_FADV_WILLNEED),
        (offset + (len(ps) - 2) * size, 2 * size, os.POSIX_FADV_WILLNEED),
    ]


def test_a_missing_shard_is_said_when_it_is_read_not_before(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    assert patchcli.extract(root, out, patch=32, executor="serial", shard_size="70kB").shards > 2
    ps = patchcli.open(out)
    for shard in (tmp_path / "out.shards").iterdir():
        shard.unlink()
    ps.whole.shards.bring(np.arange(len(ps)), 1)
    with pytest.raises(DamagedFile, match="missing"):
        ps[0]


def test_a_window_of_compressed_patches_is_decompressed_once(
    cut_sharded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks: list[tuple[str, int]] = []

    def noted(pixels: h5py.Dataset, compression: str, start: int) -> Array:
        chunks.append((pixels.file.filename, start))
        return read_chunk(pixels, compression, start)

    monkeypatch.setattr(patchfile, "read_chunk", noted)
    plain, ps = patchcli.open(cut_sharded), patchcli.open(cut_sharded)
    expected = plain[:]
    chunks.clear()
    samples = Samples(ps)
    for row in np.random.default_rng(0).permutation(len(ps)).tolist():
        assert np.array_equal(samples.read(np.array([row]), 0)[0], expected[row])
    assert len(chunks) == len(set(chunks))


def test_chunks_are_kept_within_a_budget_the_latest_ones() -> None:
    kept = KeptChunks(100)
    made: list[int] = []

    def make(place: int, n: int) -> Array:
        made.append(place)
        return np.full(n, place, np.uint8)

    for place in (1, 2, 3, 1, 4, 2):  # of 30 bytes each three stay; 2 was used least of late when 4 came
        assert (kept.get(place, partial(make, place, 30)) == place).all()
    assert made == [1, 2, 3, 4, 2]
    assert len(kept.get(9, lambda: make(9, 200))) == 200  # too large to be kept, and nothing else goes for it
    assert len(kept.get(9, lambda: make(9, 200))) == 200
    kept.get(2, lambda: make(2, 30))
    assert made == [1, 2, 3, 4, 2, 9, 9]
    assert KeptChunks(0).get(1, lambda: make(1, 0)).size == 0


def test_many_threads_may_ask_for_chunks() -> None:
    kept = KeptChunks(50)
    wrong: list[int] = []

    def ask() -> None:
        for turn in range(2000):
            place = turn % 7
            if not (kept.get(place, partial(np.full, 10, place, np.uint8)) == place).all():
                wrong.append(place)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
