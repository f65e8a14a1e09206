"""Files that patchcli did not make, looked at from a safe distance: by another process, with limits."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import stat
import subprocess
import sys
import types
from collections.abc import Mapping
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from patchcli.errors import DamagedFile, NotEnoughSpace
from patchcli.foreign.records import ForeignFile
from patchcli.io.h5 import SIGNATURE
from patchcli.io.names import shards_folder
from patchcli.io.patchfile import holds_mark

_SECONDS: Final = 4.0
_MARK: Final = b"patchset"
_SHOWN: Final = 300
# An interpreter of its own with our module path and nothing else: a fork would inherit threads and their locks, and a
# module in the current folder, beside a stranger's file, must not be imported.
_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.readline()); "
    "from patchcli.io.foreign.child import main; main()"
)
_ENVIRONMENT: Final = {
    "HDF5_PLUGIN_PRELOAD": "::",  # HDF5's word for: load no filter plugins
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


def is_foreign(path: bytes) -> bool:
    """Whether a file is HDF5 by its signature and carries no mark of patchcli; it is not opened as HDF5.

    Raises
    ------
    OSError
    """
    return _is_hdf5(path) and not is_ours(path)


def is_ours(path: bytes) -> bool:
    """Whether a file, damaged or not, carries a mark of patchcli.

    An index has it near its end: one that was cut off there is known by the folder of shards beside it.

    Raises
    ------
    OSError
    """
    return holds_mark(path, _MARK) or os.path.isdir(shards_folder(path))


def _is_hdf5(path: bytes) -> bool:
    """Whether a regular file has the signature of HDF5, at 0, 512, 1024, 2048, ..."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        return False
    with open(path, "rb") as file:
        offset = 0
        while signature := file.read(len(SIGNATURE)):
            if signature == SIGNATURE:
                return True
            offset = max(512, 2 * offset)
            file.seek(offset)
    return False


def look_at(path: bytes) -> ForeignFile:
    """Look into an HDF5 file of any origin, within 4 s and 400 MB: names, shapes, coordinates, labels.

    No link is followed out of the file, no other file is opened, no filter plugin is loaded, no pixel is read.

    Raises
    ------
    FileNotFoundError
    DamagedFile
        Not HDF5, damaged, or such that the HDF5 library crashes, hangs or takes too much memory over it.
    NotEnoughSpace
        There is no memory for another process.
    """
    shown = os.fsdecode(path)
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise DamagedFile(f"{shown}: not a regular file; expected an HDF5 file")
    command: list[str | bytes] = [sys.executable, "-I", "-c", _PROGRAM, path]
    try:
        run = subprocess.run(  # noqa: S603 - a program of ours; the path is an argument of it
            command,
            input=json.dumps(sys.path).encode() + b"\n",
            capture_output=True,
            timeout=_SECONDS,
            env={**os.environ, **_ENVIRONMENT},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DamagedFile(f"{shown}: cannot be looked at within {_SECONDS:g} s: damaged, or very large") from None
    except OSError as error:
        raise NotEnoughSpace(f"{shown}: no process can be started to look at it ({error.strerror})") from None
    if run.returncode < 0:
        name = signal.strsignal(-run.returncode) or f"signal {-run.returncode}"
        raise DamagedFile(f"{shown}: the HDF5 library died over it ({name}): damaged, or made to do harm")
    try:
        said = json.loads(run.stdout)
    except ValueError:
        last = run.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        raise DamagedFile(f"{shown}: cannot be looked at ({last[0][:_SHOWN]})") from None
    if "failed" in said:
        raise DamagedFile(said["failed"])
    found: ForeignFile = _built(ForeignFile, said["found"])
    return found


def _built(kind: Any, plain: Any) -> Any:
    """A record from what JSON made of it: lists become tuples, objects the records that the fields name."""
    if get_origin(kind) in (Union, types.UnionType):  # X or None
        return None if plain is None else _built(get_args(kind)[0], plain)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints: Mapping[str, Any] = get_type_hints(kind)
        return kind(**{name: _built(hints[name], value) for name, value in plain.items()})
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        each = inner[:1] * len(plain) if inner[1:] == (...,) else inner
        return tuple(_built(one, value) for one, value in zip(each, plain, strict=True))
    return plain
