"""Results on standard output, the one place where commands print them."""

from __future__ import annotations

import contextlib
import os
import sys

import click

from patchcli.errors import PatchcliError


def say(text: str) -> None:
    """Print a result.

    Raises
    ------
    BrokenPipeError
        Nobody reads on.
    PatchcliError
        It cannot be written, on a full disk for example; what it is about stands all the same.
    """
    try:
        click.echo(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        silence()
        raise PatchcliError(
            f"standard output cannot be written: {error.strerror or error}; the work itself is done: the same command "
            f"prints its result again"
        ) from error


def silence() -> None:
    """Send what standard output still holds to nowhere: Python would fail over it once more at its end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
