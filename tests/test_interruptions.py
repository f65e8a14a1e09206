"""Real signals and real deaths at random moments: what is there is whole, and the same command goes on."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from photos import bytes_of, leftovers, many
from processes import drafting, running, session, wait_for

import patchcli
from patchcli.errors import WorkerDied
from patchcli.run import engine
from patchcli.run.executors import WorkerPool

OPTIONS = ["--patch", "64", "--overlap", "0.5", "--shard-size", "24MiB", "-j", "2"]
N_IMAGES = 16


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return many(tmp_path_factory.mktemp("many") / "data", N_IMAGES)


@pytest.fixture(scope="module")
def expected(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("expected") / "out.h5"
    assert run(tree, out).returncode == 0
    return bytes_of(out)


def command(tree: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "patchcli", "extract", str(tree), str(out), *OPTIONS, *more]


def run(tree: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(tree, out, *more), capture_output=True, text=True, timeout=120)


def started(tree: Path, out: Path, *more: str) -> AbstractContextManager[subprocess.Popen[str]]:
    return running(command(tree, out, *more))


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)], ids=["TERM", "USR1", "INT"]
)
@pytest.mark.parametrize("group", [False, True], ids=["parent", "group"])
def test_signals_end_soon_and_truthfully(
    tree: Path, expected: dict[str, str], tmp_path: Path, number: signal.Signals, code: int, group: bool
) -> None:
    out = tmp_path / "out.h5"
    with started(tree, out) as process:
        wait_for(lambda: drafting(process.pid))
        sent = time.monotonic()
        (os.killpg if group else os.kill)(process.pid, number)
        _, stderr = process.communicate(timeout=20)
        assert time.monotonic() - sent < 10
        assert process.returncode == code
        assert "the same command goes on" in stderr
        assert "Traceback" not in stderr
        wait_for(lambda: not session(process.pid), 5)
    assert not out.exists()
    assert leftovers(tmp_path) == []
    assert run(tree, out).returncode == 0
    assert bytes_of(out) == expected


def random_moments(seed: int, n: int) -> list[tuple[signal.Signals, float]]:
    rng = random.Random(seed)
    kinds = [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGKILL]
    return [(rng.choice(kinds), rng.uniform(0.05, 1.2)) for _ in range(n)]


def interrupt_until_done(tree: Path, out: Path, moments: list[tuple[signal.Signals, float]]) -> None:
    """Start the same command again and again and end it; what has its final name is always whole."""
    for number, seconds in moments:
        with started(tree, out) as process:
            time.sleep(seconds)
            process.send_signal(number)
            process.communicate(timeout=20)
            # before the handlers stand, the signal's own default ends the process
            assert process.returncode in (0, 75, 130, -number)
            wait_for(lambda pid=process.pid: not session(pid), 10)
        shards = out.with_suffix(".shards")
        for path in sorted(shards.glob("[!.]*")) if shards.is_dir() else []:
            assert len(patchcli.open(path)) > 0


def test_random_moments(tree: Path, expected: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    interrupt_until_done(tree, out, random_moments(1, 5))
    assert run(tree, out).returncode == 0
    assert bytes_of(out) == expected
    assert leftovers(tmp_path) == []


@pytest.mark.slow
def test_many_random_moments(tree: Path, expected: dict[str, str], tmp_path: Path) -> None:
    for seed in range(12):
        (tmp_path / str(seed)).mkdir()
        out = tmp_path / str(seed) / "out.h5"
        interrupt_until_done(tree, out, random_moments(seed, 6))
        assert run(tree, out).returncode == 0
        assert bytes_of(out) == expected
    assert leftovers(tmp_path) == []


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process runs our command by now (not what it was forked from) and catches a signal."""
    if b"extract" not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
        return False
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next(line for line in lines if line.startswith("SigCgt:")).split()[1]
    return bool(int(mask, 16) & (1 << (number - 1)))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_work_begins(tree: Path, tmp_path: Path, number: signal.Signals) -> None:
    """While modules are imported it is held, and then told truthfully; a second one changes nothing."""
    with started(tree, tmp_path / "out.h5") as process:
        wait_for(lambda: catches(process.pid, signal.SIGUSR1))  # Python itself catches SIGINT
        os.killpg(process.pid, number)
        time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == (130 if number == signal.SIGINT else 75), stderr
    assert "Traceback" not in stderr
    assert leftovers(tmp_path) == []


def test_a_killed_worker_is_replaced(tree: Path, expected: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    with started(tree, out) as process:
        workers = wait_for(lambda: drafting(process.pid))
        assert isinstance(workers, dict)
        os.kill(next(iter(workers)), signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert "patches" in stdout
    assert bytes_of(out) == expected
    assert leftovers(tmp_path) == []


def test_a_shard_that_kills_its_worker_is_named_and_the_others_are_made(
    tree: Path, expected: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out.h5"
    with started(tree, out) as process:
        while process.poll() is None:
            for pid, draft in drafting(process.pid).items():
                if "-00001.h5." in draft:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "00001.h5: its worker died twice" in stderr
    assert ".jpg (image " in stderr
    assert "Traceback" not in stderr
    assert not out.exists()
    made = {path.name for path in out.with_suffix(".shards").iterdir()}
    assert made == {name for name in expected if name != "out.h5" and "-00001" not in name}
    assert run(tree, out).returncode == 0
    assert bytes_of(out) == expected


def test_a_killed_parent_takes_its_workers_along(tree: Path, expected: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    with started(tree, out) as process:
        wait_for(lambda: drafting(process.pid))
        process.kill()
        process.communicate(timeout=20)
        wait_for(lambda: not session(process.pid), 5)
    assert not out.exists()
    assert run(tree, out).returncode == 0
    assert bytes_of(out) == expected
    assert leftovers(tmp_path) == []


def test_two_runs_at_once_do_no_harm(tree: Path, expected: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    with started(tree, out) as first, started(tree, out) as second:
        for process in (first, second):
            _, stderr = process.communicate(timeout=120)
            assert process.returncode == 0, stderr
    assert bytes_of(out) == expected
    assert leftovers(tmp_path) == []


class Doomed(WorkerPool):
    """Its workers die before they do anything: of a signal, or by themselves."""

    n_left = 99
    ends_with: ClassVar[tuple[Any, int]] = (signal.raise_signal, signal.SIGKILL)

    def __init__(self, n_workers: int) -> None:
        super().__init__(n_workers)
        if Doomed.n_left > 0:
            self._initializer, number = self.ends_with
            self._initargs = (number,)
        Doomed.n_left -= 1


@pytest.mark.parametrize(
    ("ends_with", "said"),
    [
        (
            (signal.raise_signal, signal.SIGKILL),
            r"workers were killed \(signal 9\) before they could begin: memory may",
        ),
        ((os._exit, 3), "worker processes cannot be started here: try --executor serial"),
    ],
)
def test_workers_that_die_before_they_begin(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends_with: tuple[Any, int], said: str
) -> None:
    monkeypatch.setattr(engine, "WorkerPool", Doomed)
    monkeypatch.setattr(Doomed, "ends_with", ends_with)
    monkeypatch.setattr(Doomed, "n_left", 99)
    with pytest.raises(WorkerDied, match=said):
        patchcli.extract(tree, tmp_path / "out.h5", patch=64, shard_size="24MiB", workers=2)
    assert leftovers(tmp_path) == []


def test_two_deaths_before_the_work_begins_are_borne(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "WorkerPool", Doomed)
    monkeypatch.setattr(Doomed, "n_left", 2)
    assert patchcli.extract(tree, tmp_path / "out.h5", patch=64, shard_size="24MiB", workers=2).state == "made"


def limited(n_bytes: int) -> object:
    """Limit the size of files that a child may write, as a full disk or a quota does, unseen by our own check."""

    def apply() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))

    return apply


@pytest.mark.parametrize("more", [(), ("--executor", "serial")], ids=["process", "serial"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_file_that_may_not_grow(tree: Path, tmp_path: Path, more: tuple[str, ...], compression: str) -> None:
    out = tmp_path / "out.h5"
    arguments = command(tree, out, *more, "--compression", compression)
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, preexec_fn=limited(1 << 20))  # type: ignore[call-overload]
    assert done.returncode == 1, done.stderr
    assert str(tmp_path) in done.stderr
    assert "bytes" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_said_before_any_work(tree: Path, small_disk: Path) -> None:
    done = run(tree, small_disk / "out.h5")
    assert done.returncode == 1
    assert "are free in" in done.stderr
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_up_on_the_way(tree: Path, small_disk: Path, tmp_path: Path) -> None:
    """Compressed sizes are not known before, so nothing is said before; the disk fills under the workers."""
    out = small_disk / "out.h5"
    done = run(tree, out, "--compression", "gzip")
    assert done.returncode == 1, done.stdout
    assert "No space left on device" in done.stderr
    assert str(small_disk) in done.stderr
    assert not out.exists()
    assert leftovers(small_disk) == []
    for path in out.with_suffix(".shards").glob("*"):
        assert len(patchcli.open(path)) > 0
    subprocess.run(["mount", "-o", "remount,size=600m", small_disk], check=True)
    assert run(tree, out, "--compression", "gzip").returncode == 0
    other = tmp_path / "out.h5"
    assert run(tree, other, "--compression", "gzip").returncode == 0
    assert bytes_of(out) == bytes_of(other)
