"""`patchcli inspect`: how the user looks into a file."""

from __future__ import annotations

import os

import click

from patchcli.cli import options
from patchcli.cli.output import say
from patchcli.errors import DamagedFile


@click.command("inspect", short_help="Show what is in a patchcli file.")
@click.argument("file", type=click.Path(), metavar="FILE.h5")
@options.config
@options.json_
@options.debug
@options.version
def command(file: str, json: bool) -> None:
    """Show what is in FILE.h5: patches, classes, geometry, shards, what was left out, settings.

    \b
    patchcli inspect out.h5
    patchcli inspect out.h5 --json

    FILE.h5 may be a data set, its index, or one shard. No pixel is read. A shard that is missing or of the wrong size
    is listed, and the exit code is 1.
    """  # noqa: D301 - click reads a real backspace
    from patchcli.report.page import inspection_lines
    from patchcli.report.summary import inspect_file
    from patchcli.report.text import as_json_text

    try:
        found = inspect_file(os.fsencode(file))
    except FileNotFoundError:
        raise DamagedFile(f"{file}: no such file") from None
    say(as_json_text(found) if json else "\n".join(inspection_lines(found)))
    if found.damaged:
        raise DamagedFile(
            f"{file}: {len(found.damaged)} of {len(found.shards)} shards are missing or of the wrong size; "
            f"the same extract command rebuilds them"
        )
