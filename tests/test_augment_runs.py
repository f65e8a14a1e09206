"""Augment as a real process: signals, deaths, full disks; what is there is whole, and the same command goes on."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from photos import bytes_of, leftovers, many
from processes import drafting, running, session, wait_for

import patchcli
from patchcli.errors import DamagedFile
from patchcli.records import Progress
from patchcli.specs import ExecutorName

OPTIONS = ["--rotation-range", "20", "--zoom-range", "0.1", "--copies", "2", "--shard-size", "7MB", "-j", "2"]


@pytest.fixture(scope="module")
def src(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 3,700 patches of 64 px: 46 MB, and three times that when they are augmented; in shards."""
    folder = tmp_path_factory.mktemp("many")
    patchcli.extract(many(folder / "data", 2), folder / "in.h5", patch=64, overlap=0.5, shard_size="12MB")
    return folder / "in.h5"


@pytest.fixture(scope="module")
def expected(src: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("expected") / "out.h5"
    assert run(src, out, "--executor", "serial").returncode == 0
    return bytes_of(out)


def command(src: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "patchcli", "augment", str(src), str(out), *OPTIONS, *more]


def run(src: Path, out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(src, out, *more), capture_output=True, text=True, timeout=120)


def started(src: Path, out: Path, *more: str) -> AbstractContextManager[subprocess.Popen[str]]:
    return running(command(src, out, *more))


def check_whole(out: Path) -> None:
    """What has its final name is a whole file, whatever happened."""
    for path in [out, *out.with_suffix(".shards").glob("[!.]*")]:
        if path.exists():
            ps = patchcli.open(path)
            assert len(ps[:1]) == 1


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)], ids=["TERM", "USR1", "INT"]
)
@pytest.mark.parametrize("group", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["parent", "group"])
def test_signals_end_soon_and_truthfully(
    src: Path, expected: dict[str, str], tmp_path: Path, number: signal.Signals, code: int, group: bool
) -> None:
    out = tmp_path / "out.h5"
    with started(src, out) as process:
        wait_for(lambda: drafting(process.pid))
        sent = time.monotonic()
        (os.killpg if group else os.kill)(process.pid, number)
        stdout, stderr = process.communicate(timeout=20)
        assert time.monotonic() - sent < 10
        assert (process.returncode, stdout) == (code, "")
        assert "the same command goes on" in stderr
        assert "Traceback" not in stderr
        wait_for(lambda: not session(process.pid), 5)
    assert not out.exists()
    assert leftovers(tmp_path) == []
    check_whole(out)
    assert run(src, out).returncode == 0
    assert bytes_of(out) == expected


def test_a_killed_run_goes_on(src: Path, expected: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    with started(src, out) as process:
        wait_for(lambda: len(list(out.with_suffix(".shards").glob("[!.]*"))) > 3)
        process.kill()
        process.communicate(timeout=20)
        wait_for(lambda: not session(process.pid), 10)
    assert not out.exists()
    check_whole(out)
    kept = {path: path.stat().st_mtime_ns for path in out.with_suffix(".shards").glob("[!.]*")}
    assert 3 < len(kept) < len(expected) - 1
    again = run(src, out)
    assert (again.returncode, again.stderr) == (0, "")
    assert f"{len(kept)} kept from before" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert bytes_of(out) == expected
    assert leftovers(tmp_path) == []


def interrupt(src: Path, out: Path, moments: list[tuple[signal.Signals, float]]) -> None:
    for number, seconds in moments:
        with started(src, out) as process:
            time.sleep(seconds)
            process.send_signal(number)
            process.communicate(timeout=20)
            assert process.returncode in (0, 75, 130, -number)
            wait_for(functools.partial(_gone, process.pid), 10)
        check_whole(out)


def _gone(leader: int) -> bool:
    return not session(leader)


@pytest.mark.parametrize("n", [3, pytest.param(25, marks=pytest.mark.slow)])
def test_random_moments(src: Path, expected: dict[str, str], tmp_path: Path, n: int) -> None:
    out = tmp_path / "out.h5"
    rng = random.Random(n)
    kinds = [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, signal.SIGINT]
    interrupt(src, out, [(kinds[k % 4], rng.uniform(0.05, 1.5)) for k in range(n)])
    assert run(src, out).returncode == 0
    assert bytes_of(out) == expected
    assert leftovers(tmp_path) == []


def test_a_killed_worker_is_replaced(src: Path, expected: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    with started(src, out) as process:
        workers = wait_for(lambda: drafting(process.pid))
        assert isinstance(workers, dict)
        os.kill(next(iter(workers)), signal.SIGKILL)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0, stderr
    assert bytes_of(out) == expected
    assert leftovers(tmp_path) == []


@pytest.mark.slow
def test_a_shard_that_kills_its_worker_is_named(src: Path, expected: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    with started(src, out) as process:
        while process.poll() is None:
            for pid, draft in drafting(process.pid).items():
                if "-00001.h5." in draft:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "00001.h5: its worker died twice" in stderr
    assert "a copy of the patch at (" in stderr
    assert "Traceback" not in stderr
    assert not out.exists()
    assert leftovers(tmp_path) == []
    assert run(src, out).returncode == 0
    assert bytes_of(out) == expected


@pytest.mark.slow
def test_two_runs_at_once_do_no_harm(src: Path, expected: dict[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    with started(src, out) as first, started(src, out) as second:
        for process in (first, second):
            _, stderr = process.communicate(timeout=120)
            assert process.returncode == 0, stderr
    assert bytes_of(out) == expected
    assert leftovers(tmp_path) == []


def held(tmp_path: Path, arguments: list[str], step: str = "publish") -> subprocess.Popen[str]:
    """A run that waits at a step just before its data set takes its final name, until the file `go` is there."""
    code = (
        "import os, sys, time\n"
        "from patchcli.io.publish import Draft\n"
        f"before = Draft.{step}\n"
        "def held(draft, **how):\n"
        "    if draft.path.endswith(b'/out.h5'):\n"
        f"        open({str(tmp_path / 'waits')!r}, 'w').close()\n"
        f"        while not os.path.exists({str(tmp_path / 'go')!r}):\n"
        "            time.sleep(0.005)\n"
        "    before(draft, **how)\n"
        f"Draft.{step} = held\n"
        "sys.argv[0] = 'patchcli'\n"
        "from patchcli.cli import main\n"
        "main()\n"
    )
    return subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("verb", ["augment", "extract"])
@pytest.mark.parametrize("size", ["1GB", "12MB"], ids=["single", "sharded"])
@pytest.mark.parametrize("before", ["nothing", "another"])
def test_another_run_with_other_settings_meanwhile(
    src: Path, tmp_path: Path, verb: str, size: str, before: str
) -> None:
    """Whoever comes second is told, though it may replace what stood there at its start; equal settings are fine."""
    out = tmp_path / "out.h5"
    serial = ["--executor", "serial"]
    if verb == "augment":
        common = ["augment", str(min(src.with_suffix(".shards").iterdir())), str(out), "--rotation-range", "9"]
    else:
        common = ["extract", str(src.parent / "data"), str(out), "--patch", "64", "--shuffle"]
    common += ["--shard-size", size, "--overwrite", *serial]

    def ran(seed: int) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-m", "patchcli", *common, "--seed", str(seed)]
        return subprocess.run(arguments, capture_output=True, text=True, timeout=120)

    for other, code in ((2, 1), (1, 0)):
        if before == "another":
            assert ran(3).returncode == 0
        with held(tmp_path, [*common, "--seed", "1"], "publish" if before == "nothing" else "sync") as late:
            wait_for((tmp_path / "waits").exists)
            assert ran(other).returncode == 0
            made = out.read_bytes()
            (tmp_path / "go").touch()
            _, stderr = late.communicate(timeout=60)
        assert late.returncode == code, stderr
        assert out.read_bytes() == made
        if code:
            assert "another run made it meanwhile" in stderr
            assert "seed: 2 -> 1" in stderr or "seed 2 -> shuffle, seed 1" in stderr
            assert "Traceback" not in stderr
        assert leftovers(tmp_path) == []
        for path in (tmp_path / "waits", tmp_path / "go", out):
            path.unlink()
    assert ran(1).returncode == 0
    check_whole(out)


def test_what_is_not_ours_and_came_meanwhile_stays(src: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    shard = min(src.with_suffix(".shards").iterdir())
    with held(tmp_path, ["augment", str(shard), str(out), "--vertical-flip", "--executor", "serial"]) as late:
        wait_for((tmp_path / "waits").exists)
        out.write_text("precious")
        (tmp_path / "go").touch()
        _, stderr = late.communicate(timeout=60)
    assert late.returncode == 1
    assert "another run" in stderr
    assert out.read_text() == "precious"


@pytest.mark.parametrize("n", [1, pytest.param(6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("more", [["--shard-size", "1GB"], []], ids=["single", "sharded"])
def test_of_two_runs_at_once_one_wins(src: Path, tmp_path: Path, more: list[str], n: int) -> None:
    for k in range(n):
        out = tmp_path / f"{k}.h5"
        with started(src, out, *more, "--seed", "1") as first, started(src, out, *more, "--seed", "2") as second:
            ended = [(process.communicate(timeout=120)[1], process.returncode) for process in (first, second)]
        assert sorted(code for _, code in ended) == [0, 1], ended
        winner = 1 + [code for _, code in ended].index(0)
        assert patchcli.open(out).settings["augment"]["seed"] == winner
        check_whole(out)
        assert leftovers(tmp_path) == []


@pytest.mark.parametrize("executor", ["process", "serial"])
def test_an_input_that_goes_away_is_to_blame_itself(src: Path, tmp_path: Path, executor: ExecutorName) -> None:
    copy = tmp_path / "in.h5"
    shutil.copy(min(src.with_suffix(".shards").iterdir()), copy)

    def take_away(progress: Progress) -> None:
        if progress.phase == "augment":
            copy.unlink(missing_ok=True)

    with pytest.raises(DamagedFile, match=r"in\.h5: (the input cannot be read any more: No such file|missing)") as told:
        patchcli.augment(
            copy, tmp_path / "out.h5", vertical_flip=True, shard_size="1MB", executor=executor, progress=take_away
        )
    assert "out" not in str(told.value)
    assert leftovers(tmp_path) == []


def test_one_more_worker_and_a_pipeline_of_albumentations(src: Path, tmp_path: Path) -> None:
    """Killed in the middle with three workers, ended by one process alone: as if nothing had been."""
    (tmp_path / "aug.yaml").write_text(
        "copies: 1\nkeep_original: false\nshard_size: 2MB\npipeline:\n"
        "- D4\n- OneOf: [GaussNoise, Blur]\n- RandomBrightnessContrast: {p: 0.7}\n"
    )
    shard = min(src.with_suffix(".shards").iterdir())
    config = [sys.executable, "-m", "patchcli", "augment", str(shard), "--config", str(tmp_path / "aug.yaml")]
    out = tmp_path / "out.h5"
    with subprocess.Popen([*config, str(out), "-j", "3"], start_new_session=True) as process:
        wait_for(lambda: list(out.with_suffix(".shards").glob("[!.]*")))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=20)
    assert not out.exists()
    subprocess.run([*config, str(out), "--executor", "serial"], check=True, capture_output=True)
    patchcli.augment(shard, tmp_path / "other.h5", config=tmp_path / "aug.yaml", executor="serial")
    names = [path.with_suffix("").name for path in (out, tmp_path / "other.h5")]
    for path in sorted((tmp_path / "out.shards").iterdir()):
        assert path.read_bytes() == (tmp_path / f"{names[1]}.shards" / path.name).read_bytes()
    assert (patchcli.open(out).digest == patchcli.open(tmp_path / "other.h5").digest).all()
    assert leftovers(tmp_path) == []


def test_a_script_needs_no_guard(src: Path, tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        "import patchcli\n"
        "print('once')\n"
        f"done = patchcli.augment({str(src)!r}, {str(tmp_path / 'o.h5')!r}, vertical_flip=True, shard_size='30MB')\n"
        "print(done.shards > 1, done.state)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("once\nTrue made\n", "")


def test_exit_codes_of_processes(src: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    small = [sys.executable, "-m", "patchcli", "augment", str(min(src.with_suffix(".shards").iterdir())), str(out)]
    for more, code, said in (
        (["--horizontal-flip"], 0, "patches"),
        (["--vertical-flip"], 1, "horizontal_flip"),
        (["--vertcal-flip"], 2, "--vertical-flip"),
        (["--rotation-range", "1000"], 2, "rotation_range"),
    ):
        done = subprocess.run([*small, *more], capture_output=True, text=True, timeout=60)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
        assert said in (done.stderr if code else done.stdout)


# Disks


def limited(n_bytes: int) -> object:
    """Limit the size of files that a child may write, as a full disk or a quota does, unseen by our own check."""

    def apply() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))

    return apply


@pytest.mark.parametrize(
    "more", [(), ("--executor", "serial"), ("--compression", "gzip")], ids=["process", "serial", "gzip"]
)
def test_a_file_that_may_not_grow(src: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    out = tmp_path / "out.h5"
    arguments = command(src, out, *more)
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, preexec_fn=limited(1 << 20))  # type: ignore[call-overload]
    assert done.returncode == 1, done.stderr
    assert str(tmp_path) in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_too_small_is_said_before_any_work(src: Path, small_disk: Path) -> None:
    done = run(src, small_disk / "out.h5")
    assert done.returncode == 1
    assert "are free in" in done.stderr
    assert list(small_disk.iterdir()) == []


def test_a_disk_that_fills_up_on_the_way(src: Path, small_disk: Path, tmp_path: Path) -> None:
    out = small_disk / "out.h5"
    done = run(src, out, "--compression", "lz4")
    assert done.returncode == 1, done.stdout
    assert "No space left on device" in done.stderr
    assert not out.exists()
    assert leftovers(small_disk) == []
    check_whole(out)
    subprocess.run(["mount", "-o", "remount,size=600m", small_disk], check=True)
    assert run(src, out, "--compression", "lz4").returncode == 0
    assert run(src, tmp_path / "out.h5", "--compression", "lz4").returncode == 0
    assert bytes_of(out) == bytes_of(tmp_path / "out.h5")
