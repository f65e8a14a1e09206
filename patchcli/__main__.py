"""`patchcli` and `python -m patchcli`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line.

    Workers need a fifth of a second to import what they need; for `extract` that begins before anything else.
    """
    if sys.argv[1:2] == ["extract"] and not {"-h", "--help", "--dry-run", "serial"} & set(sys.argv):
        from patchcli.run.executors import warm_up

        warm_up()
    from patchcli.cli import main as command

    command(prog_name="patchcli")


if __name__ == "__main__":
    main()
