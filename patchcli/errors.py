"""The errors of patchcli and the exit code that each one ends a command with.

PatchcliError                 1   root of all of them
├── UsageError                2   options that cannot be, or that fit no image
├── UnreadableInputs          3   images that could not be read, all listed
├── OutputConflict            1   the output belongs to other settings, inputs or programs
├── NotEnoughSpace            1   memory or disk will not suffice, or did not
├── DamagedFile               1   a patchcli file that is missing, foreign or broken
├── NotWhole                  4   a verification found damage or a leak
├── WorkerDied                1   a worker process was killed, twice, over the same shard
└── Stopped              75, 130  a signal asked for it; the same command goes on
"""

from __future__ import annotations

__all__ = [
    "DamagedFile",
    "NotEnoughSpace",
    "NotWhole",
    "OutputConflict",
    "PatchcliError",
    "Stopped",
    "UnreadableInputs",
    "UsageError",
    "WorkerDied",
]


class PatchcliError(Exception):
    """Root of the errors that patchcli raises on purpose; `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(PatchcliError, ValueError):
    """Options that contradict each other or the images; nothing was decoded or written. A ValueError, too."""

    exit_code = 2


class UnreadableInputs(PatchcliError):
    """Some images could not be read and `on_error` is `stop`; the message lists them all."""

    exit_code = 3


class OutputConflict(PatchcliError):
    """The output exists and was made from other settings or inputs, or by another program."""


class NotEnoughSpace(PatchcliError):
    """Memory or disk will not suffice (said before the first decode), or the disk ran full."""


class DamagedFile(PatchcliError):
    """A patchcli file is missing, foreign, truncated or fails a checksum."""


class NotWhole(PatchcliError):
    """A verification found damage, a contradiction or a leak; the findings are said before."""

    exit_code = 4


class WorkerDied(PatchcliError):
    """A worker process died twice over the same shard."""


class Stopped(PatchcliError):
    """A signal asked the run to stop.

    Parameters
    ----------
    reason : str
        What asked, for the message: `SIGTERM`.
    exit_code : int
        75 (EX_TEMPFAIL: try again) for SIGTERM and SIGUSR1, 130 for Ctrl-C.
    """

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code
