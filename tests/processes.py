"""What the tests of signals and deaths see of a run's processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

_FIELD_SESSION = 3


def session(leader: int) -> list[int]:
    """Processes of a session that live."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[_FIELD_SESSION]) == leader and fields[0] != "Z":
                    found.append(int(entry.name))
    return found


def drafting(leader: int) -> dict[int, str]:
    """Workers of a session by the draft that they have open."""
    found = {}
    for pid in session(leader):
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                target = os.readlink(link)
                if target.endswith(".tmp"):
                    found[pid] = target
    return found


def wait_for(condition: object, seconds: float = 20.0) -> object:
    """Poll until a callable gives something true."""
    assert callable(condition)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError("waited in vain")


@contextlib.contextmanager
def running(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A run in a session of its own, so that all its processes can be found."""
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            for pid in session(process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
