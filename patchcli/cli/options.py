"""Options that several commands share, and where their values come from.

A value is looked for on the command line, then in PATCHCLI_<COMMAND>_<OPTION>, then in the file given by --config, then
in the defaults that --help shows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from patchcli import __version__
from patchcli.errors import UsageError
from patchcli.io.config import read_config

F = TypeVar("F", bound=Callable[..., Any])

DEBUG = "patchcli.debug"
"""Key of the context's notes: whether --debug was given."""

_RANK = {
    ParameterSource.COMMANDLINE: 3,
    ParameterSource.ENVIRONMENT: 2,
    ParameterSource.DEFAULT_MAP: 1,
}


def _load_config(ctx: click.Context, _: click.Parameter, path: str | None) -> str | None:
    if path is not None:
        options = [param for param in ctx.command.params if isinstance(param, click.Option)]
        known = [option.name or "" for option in options]
        switches = {option.name or "" for option in options if option.is_flag}
        found = read_config(os.fsencode(path), ctx.info_name or "", known, switches)
        ctx.default_map = {**(ctx.default_map or {}), **found}
    return path


def config(command: F) -> F:
    """`--config FILE`: a TOML file with options by name."""
    return click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False),
        callback=_load_config,
        is_eager=True,
        expose_value=False,
        metavar="FILE",
        show_default="none",
        help="Take options from a TOML file, under their names; the command line wins over it.",
    )(command)


def json_(command: F) -> F:
    """`--json`: the same facts for programs."""
    return click.option(
        "--json", "json", is_flag=True, show_default="off", help="Print the same facts as one JSON object."
    )(command)


def debug(command: F) -> F:
    """`--debug`: tracebacks, looked up by the boundary of errors."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        ctx.meta[DEBUG] = value

    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        show_default="off",
        callback=remember,
        help="Show a traceback when something fails.",
    )(command)


def version(command: F) -> F:
    """`--version`: on every command, as on the group."""
    return click.version_option(__version__, "--version", prog_name="patchcli")(command)


def progress(command: F) -> F:
    """`--progress`: how a long run shows that it is alive."""
    return click.option(
        "--progress",
        type=click.Choice(["auto", "bar", "log", "none"]),
        default="auto",
        show_default=True,
        help="On stderr: a bar, one plain line every 10 s (log), or nothing. auto: a bar on a terminal, else log.",
    )(command)


def strongest(ctx: click.Context, first: str, second: str) -> str | None:
    """Of two options that exclude each other, the one that was said in the stronger place; None when neither was.

    Raises
    ------
    UsageError
        Both were said in the same place.
    """
    ranks = [_RANK.get(ctx.get_parameter_source(name) or ParameterSource.DEFAULT, 0) for name in (first, second)]
    if max(ranks) == 0:
        return None
    if ranks[0] == ranks[1]:
        raise UsageError(f"--{first} and --{second} say the same thing: give one of them")
    return first if ranks[0] > ranks[1] else second
