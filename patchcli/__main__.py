"""`python -m patchcli` is `patchcli`."""

from __future__ import annotations

from patchcli.cli import main

main(prog_name="patchcli")
