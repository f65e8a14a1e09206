"""Files are whole or not there, and nothing of a run that is over stays behind."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from patchcli.io import publish
from patchcli.io.publish import Draft, new_run, remove_drafts, remove_stale_drafts, write_error

DAY = 24 * 3600


@pytest.fixture
def dead_pid() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def run_of(pid: int, *, host: str | None = None) -> str:
    """The name of a run of another process."""
    here, _, random = new_run().split("-")
    return f"{host or here}-{pid}-{random}"


def leave(path: Path, run: str) -> Path:
    """A draft as a killed process leaves it."""
    draft = Draft(os.fsencode(path), run)
    draft.write(memoryview(b"half"), 0)
    os.close(draft.fd)
    return Path(os.fsdecode(draft.temp))


def names(folder: Path) -> list[bytes]:
    return sorted(os.listdir(os.fsencode(folder)))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_a_draft_that_fails_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    fd: list[int] = []

    def fail() -> None:
        with Draft(os.fsencode(tmp_path / "a.h5"), new_run()) as draft:
            draft.write(memoryview(b"half"), 0)
            assert len(names(tmp_path)) == 1
            fd.append(draft.fd)
            raise error

    with pytest.raises(error):
        fail()
    assert names(tmp_path) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd[0])


def test_a_draft_that_is_not_published_leaves_nothing(tmp_path: Path) -> None:
    with Draft(os.fsencode(tmp_path / "a.h5"), new_run()) as draft:
        draft.write(memoryview(b"whole"), 0)
    assert names(tmp_path) == []


def test_what_stands_there_stays_until_a_whole_file_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(b"old")
    with contextlib.suppress(RuntimeError), Draft(os.fsencode(path), new_run()) as draft:
        draft.write(memoryview(b"new, half"), 0)
        raise RuntimeError
    assert path.read_bytes() == b"old"
    with Draft(os.fsencode(path), new_run()) as draft:
        draft.write(memoryview(b"new"), 0)
        assert path.read_bytes() == b"old"
        draft.publish()
        assert path.read_bytes() == b"new"
    assert names(tmp_path) == [b"a.h5"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_disk_that_fails_at_the_end_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, Draft(os.fsencode(tmp_path / "a.h5"), new_run()) as draft:
        draft.write(memoryview(b"whole"), 0)
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space left"):
            draft.publish()
    assert names(tmp_path) == []


def test_a_published_file_is_seen_whole_or_not_at_all(tmp_path: Path) -> None:
    """Another thread looks all the time while large files take each other's place."""
    path, n_bytes = tmp_path / "a.h5", 1 << 21
    seen: set[tuple[int, int]] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            try:
                content = path.read_bytes()
            except FileNotFoundError:
                continue
            seen.add((len(content), len(set(content))))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        for value in range(20):
            with Draft(os.fsencode(path), new_run()) as draft:
                for start in range(0, n_bytes, n_bytes // 8):
                    draft.write(memoryview(bytes([value]) * (n_bytes // 8)), start)
                draft.publish()
    finally:
        done.set()
        thread.join()
    assert seen == {(n_bytes, 1)}


def test_bytes_are_synced_before_the_name_and_the_folder_after(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(fd: int) -> None:
        steps.append("fsync folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "fsync file")
        fsync(fd)

    def noted_replace(old: bytes, new: bytes) -> None:
        steps.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    with Draft(os.fsencode(tmp_path / "a.h5"), new_run()) as draft:
        draft.publish()
    assert steps == ["fsync file", "rename", "fsync folder"]


def test_blocks_may_come_in_any_order_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, block, at: pwrite(fd, block[:7], at))  # the kernel may take less
    monkeypatch.setattr(publish, "_FLUSH_BYTES", 50)
    content = bytes(range(256)) * 3
    with Draft(os.fsencode(tmp_path / "a.h5"), new_run()) as draft:
        draft.write(memoryview(content[300:]), 300)
        draft.write(memoryview(content[:300]), 0)
        draft.write(memoryview(b""), 10)
        draft.publish()
    assert (tmp_path / "a.h5").read_bytes() == content


def test_permissions_are_those_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with Draft(os.fsencode(tmp_path / "a.h5"), new_run()) as draft:
            draft.publish()
    finally:
        os.umask(before)
    assert (tmp_path / "a.h5").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "name",
    [
        b"n" * 252 + b".h5",
        "\u65e5".encode() * 80 + b".h5",
        b"\xff\xfe.h5",
        b"new\nline.h5",
        b" blanks and 'quotes'.h5",
        b".hidden",
        b"-dash",
    ],
)
def test_any_name_that_the_file_system_takes(tmp_path: Path, name: bytes, dead_pid: int) -> None:
    path = os.path.join(os.fsencode(tmp_path), name)
    with Draft(path, new_run()) as draft:
        draft.write(memoryview(b"whole"), 0)
        draft.publish()
    assert names(tmp_path) == [name]
    run = run_of(dead_pid)
    leave(Path(os.fsdecode(path)), run)
    remove_drafts([os.fsencode(tmp_path)], run)
    assert names(tmp_path) == [name]
    leave(Path(os.fsdecode(path)), run)
    remove_stale_drafts([os.fsencode(tmp_path)], [name], time.time())
    assert names(tmp_path) == [name]


def test_a_name_relative_to_the_folder_of_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dead_pid: int) -> None:
    monkeypatch.chdir(tmp_path)
    leave(Path("a.h5"), run_of(dead_pid))
    remove_stale_drafts([b""], [b"a.h5"], time.time())
    with Draft(b"a.h5", new_run()) as draft:
        draft.publish()
    assert names(tmp_path) == [b"a.h5"]


def test_drafts_of_a_run_are_removed_and_no_others(tmp_path: Path) -> None:
    mine, other = new_run(), new_run()
    leave(tmp_path / "a.h5", mine)
    leave(tmp_path / "b.h5", mine)
    kept = leave(tmp_path / "a.h5", other)
    (tmp_path / "a.h5").write_bytes(b"")
    remove_drafts([os.fsencode(tmp_path), os.fsencode(tmp_path / "missing")], mine)
    assert names(tmp_path) == sorted([os.fsencode(kept.name), b"a.h5"])


def test_drafts_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path: Path, dead_pid: int) -> None:
    leave(tmp_path / "a.h5", run_of(dead_pid))
    mine = leave(tmp_path / "a.h5", run_of(os.getpid()))
    root = leave(tmp_path / "a.h5", run_of(1))  # belongs to somebody else, and lives
    remove_stale_drafts([os.fsencode(tmp_path)], [b"a.h5"], time.time())
    assert set(names(tmp_path)) == {os.fsencode(mine.name), os.fsencode(root.name)}


def test_a_draft_of_the_living_stays_however_long_it_waits(tmp_path: Path) -> None:
    mine = leave(tmp_path / "a.h5", run_of(os.getpid()))
    remove_stale_drafts([os.fsencode(tmp_path)], [b"a.h5"], time.time() + 2 * DAY)
    assert mine.exists()


def test_drafts_of_other_hosts_are_removed_after_a_day(tmp_path: Path, dead_pid: int) -> None:
    far = leave(tmp_path / "a.h5", run_of(dead_pid, host="elsewhere"))
    remove_stale_drafts([os.fsencode(tmp_path)], [b"a.h5"], time.time() + DAY - 60)
    assert far.exists()
    remove_stale_drafts([os.fsencode(tmp_path)], [b"a.h5"], time.time() + DAY + 60)
    assert not far.exists()


def test_files_of_others_are_never_removed(tmp_path: Path, dead_pid: int) -> None:
    other_output = leave(tmp_path / "b.h5", run_of(dead_pid))
    for name in (".a.h5.tmp", ".a.h5.host-x-12345678.tmp", "a.h5.host-1-12345678.tmp", ".a.h5.swp"):
        (tmp_path / name).write_bytes(b"")
    before = names(tmp_path)
    remove_stale_drafts([os.fsencode(tmp_path)], [b"a.h5"], time.time() + 9 * DAY)
    assert names(tmp_path) == before
    assert other_output.exists()


@pytest.mark.parametrize("code", [None, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.ENOSYS])
def test_a_name_that_is_free_is_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None) -> None:
    """By a link, which never replaces; where there are no links, by a rename."""

    def fail(*_: object) -> None:
        raise OSError(code, "no links here")

    if code is not None:
        monkeypatch.setattr(os, "link", fail)
    path = os.fsencode(tmp_path / "a.h5")
    with Draft(path, new_run()) as first, Draft(path, new_run()) as second:
        first.write(memoryview(b"first"), 0)
        first.publish(replacing=False)
        with pytest.raises(FileExistsError):
            second.publish(replacing=False)
        assert (tmp_path / "a.h5").read_bytes() == b"first"
        second.publish()
    assert (tmp_path / "a.h5").read_bytes() == b""
    assert names(tmp_path) == [b"a.h5"]


def test_a_link_whose_answer_was_lost_leaves_one_name(tmp_path: Path) -> None:
    """NFS: the link is there and the client hears that it was before."""
    with Draft(os.fsencode(tmp_path / "a.h5"), new_run()) as draft:
        os.link(draft.temp, draft.path)
        with pytest.raises(FileExistsError):
            draft.publish(replacing=False)
        draft.publish()
    assert names(tmp_path) == [b"a.h5"]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_temporary_names_are_not_for_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    path = os.fsencode(tmp_path / "ro/a.h5")
    temp = os.path.join(os.path.dirname(path), b".a.h5." + new_run().encode() + b".tmp")
    said = str(write_error(path, OSError(code, os.strerror(code), temp), 1))
    assert ".tmp" not in said
    assert f"the folder {tmp_path}/ro takes no files: {os.strerror(code)}" in said
    assert ".tmp" not in str(write_error(path, IsADirectoryError(errno.EISDIR, "Is a directory", temp, None, path), 1))


def test_two_drafts_of_one_name_do_not_meet(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "a.h5")
    with Draft(path, new_run()) as first, Draft(path, new_run()) as second:
        first.write(memoryview(b"first"), 0)
        second.write(memoryview(b"2"), 0)
        first.publish()
        second.publish()
    assert (tmp_path / "a.h5").read_bytes() == b"2"
    assert names(tmp_path) == [b"a.h5"]


def test_a_draft_never_writes_through_a_link(tmp_path: Path) -> None:
    run = new_run()
    (tmp_path / "precious").write_bytes(b"precious")
    with Draft(os.fsencode(tmp_path / "a.h5"), run) as draft:
        temp = Path(os.fsdecode(draft.temp))
    temp.symlink_to("precious")
    with pytest.raises(FileExistsError):
        Draft(os.fsencode(tmp_path / "a.h5"), run)
    assert (tmp_path / "precious").read_bytes() == b"precious"


KILLED = """
    import os, signal, sys, time
    from patchcli.io.publish import Draft, new_run
    with Draft(os.fsencode(sys.argv[1]), new_run()) as draft:
        draft.write(memoryview(b"half"), 0)
        print("written", flush=True)
        time.sleep(60)
"""


def test_a_killed_process_leaves_a_draft_that_the_next_run_removes(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "a.h5")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        remove_stale_drafts([os.fsencode(tmp_path)], [b"a.h5"], time.time())
        assert len(names(tmp_path)) == 1
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(names(tmp_path)) == 1
    remove_stale_drafts([os.fsencode(tmp_path)], [b"a.h5"], time.time())
    assert names(tmp_path) == []
