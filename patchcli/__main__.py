"""`patchcli` and `python -m patchcli`."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command line.

    For `extract`, two things come before anything else: signals are held back until the command can end truthfully
    (`Meter.listening` takes them), and the workers begin to import what they need, which takes a fifth of a second.
    """
    if sys.argv[1:2] == ["extract"] and not {"-h", "--help", "--dry-run", "serial"} & set(sys.argv):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGUSR1})
        from patchcli.run.executors import warm_up

        warm_up()
    from patchcli.cli import main as command

    command(prog_name="patchcli")


if __name__ == "__main__":
    main()
