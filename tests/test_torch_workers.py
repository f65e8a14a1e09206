"""Worker processes of torch's DataLoader, and two of torch.distributed: the same batches whoever reads them.

Each test is a program of its own (`torch_loading.py`): workers are started from it, as from a training.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from distinct import distinct

pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return distinct(tmp_path_factory.mktemp("workers"))


def run(scenario: str, *arguments: object, seconds: float = 150) -> str:
    """What a scenario prints; it must end well."""
    program = Path(__file__).parent / "torch_loading.py"
    done = subprocess.run(
        [sys.executable, program, scenario, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=seconds,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize(
    ("method", "counts"),
    [("fork", "1,2,4"), ("spawn", "2"), pytest.param("forkserver", "2", marks=pytest.mark.slow)],
)
def test_workers_give_the_batches_of_one_process(sharded: Path, method: str, counts: str) -> None:
    run("same", sharded, method, counts)


def test_workers_decompress(cut_sharded: Path) -> None:
    run("same", cut_sharded, "fork", "2")


def test_an_epoch_goes_on_with_other_workers(sharded: Path) -> None:
    run("resume", sharded)


def test_a_start_counts_once_for_all_workers(sharded: Path) -> None:
    run("resume_unsaid", sharded)


@pytest.mark.skipif(importlib.util.find_spec("torchdata") is None, reason="torchdata is not installed")
def test_stateful_loaders_go_on_where_they_stood(sharded: Path) -> None:
    run("stateful", sharded)


@pytest.mark.skipif(importlib.util.find_spec("torchdata") is None, reason="torchdata is not installed")
def test_stateful_loaders_show_the_epochs_of_other_loaders(sharded: Path) -> None:
    run("stateful_epochs", sharded)


@pytest.mark.skipif(importlib.util.find_spec("torchdata") is None, reason="torchdata is not installed")
def test_stateful_loaders_go_on_from_the_begin(sharded: Path) -> None:
    run("stateful_early", sharded)


def test_a_truncated_shard_is_named_out_of_a_worker(tmp_path: Path) -> None:
    run("damage", distinct(tmp_path))


def test_two_processes_share_an_epoch(sharded: Path, tmp_path: Path) -> None:
    run("ranks", sharded, tmp_path / "meeting")


needs_rollup = pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="reads memory from /proc")


@needs_rollup
def test_workers_do_not_grow(sharded: Path) -> None:
    run("memory", sharded, 10, 4)


@needs_rollup
@pytest.mark.slow
def test_workers_do_not_grow_over_many_epochs(sharded: Path) -> None:
    run("memory", sharded, 60, 6, seconds=600)
