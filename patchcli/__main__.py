"""`patchcli` and `python -m patchcli`."""

from __future__ import annotations

import signal
import sys
from types import FrameType


class HeldSignals:
    """A handler that keeps signals for later: a run that has not begun can still end truthfully.

    Attributes
    ----------
    numbers : list of int
        What came so far; `Meter.listening` and `interruptible` act on it.
    """

    def __init__(self) -> None:
        self.numbers: list[int] = []

    def __call__(self, number: int, _: FrameType | None) -> None:
        self.numbers.append(number)


def main() -> None:
    """Run the command line.

    For a long run, two things come before anything else: signals are held, and the workers begin to import what they
    need, which takes a fifth of a second.
    """
    command_name = "".join(sys.argv[1:2])
    at_once = {"-h", "--help", "--dry-run", "serial"}
    if command_name in ("augment", "extract", "inspect") and not at_once & set(sys.argv):
        held = HeldSignals()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, held)
        if command_name == "extract":  # what augment's workers need depends on its pipeline
            from patchcli.run.executors import warm_up

            warm_up("patchcli.run.build")
    from patchcli.cli import main as command

    command(prog_name="patchcli")


if __name__ == "__main__":
    main()
