"""Options that several commands share, and where their values come from.

A value is looked for on the command line, then in PATCHCLI_<COMMAND>_<OPTION>, then in the file given by --config, then
in the defaults that --help shows.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar, get_args

import click
from click.core import ParameterSource

from patchcli import __version__, specs
from patchcli.errors import UsageError
from patchcli.io.config import read_config
from patchcli.specs import ExtractSpec, RunSpec

F = TypeVar("F", bound=Callable[..., Any])

DEBUG = "patchcli.debug"
"""Key of the context's notes: whether --debug was given."""

_RANK = {
    ParameterSource.COMMANDLINE: 3,
    ParameterSource.ENVIRONMENT: 2,
    ParameterSource.DEFAULT_MAP: 1,
}


_SPEC, _RUN = ExtractSpec(), RunSpec()


def choice(kind: Any) -> click.Choice[str]:
    """A choice among the names of a Literal type."""
    return click.Choice(get_args(kind))


def _load_config(ctx: click.Context, _: click.Parameter, path: str | None) -> str | None:
    if path is not None:
        ctx.default_map = {
            **(ctx.default_map or {}),
            **read_config(os.fsencode(path), ctx.info_name or "", *_names(ctx), _several(ctx)),
        }
    return path


def _load_pipeline(ctx: click.Context, _: click.Parameter, path: str | None) -> Any:
    if path is None:
        return None
    from patchcli.io.pipelines import read_pipeline

    found, pipeline = read_pipeline(os.fsencode(path), *_names(ctx))
    ctx.default_map = {**(ctx.default_map or {}), **found}
    return pipeline


def _names(ctx: click.Context) -> tuple[list[str], list[str]]:
    """The options of a command, and those of them that take true or false."""
    options = [param for param in ctx.command.params if isinstance(param, click.Option)]
    return [one.name or "" for one in options], [one.name or "" for one in options if one.is_flag or one.is_bool_flag]


def _several(ctx: click.Context) -> list[str]:
    """The options of a command that take more than one value."""
    options = [param for param in ctx.command.params if isinstance(param, click.Option)]
    return [one.name or "" for one in options if one.multiple or one.nargs > 1]


class _Line(click.types.StringParamType):
    """Text of an option that may be repeated: in the environment one value a line, since values may hold blanks."""

    envvar_list_splitter = "\n"


LINE = _Line()


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


def pipeline(command: F) -> F:
    """`--config FILE` of `augment`: YAML, with a pipeline, options by name, or both."""
    return click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False),
        callback=_load_pipeline,
        is_eager=True,
        metavar="FILE.yaml",
        show_default="none",
        help="A pipeline: a list of transforms (see --list-transforms), or what albumentations saves; or options by "
        "name, with the pipeline under `pipeline`. The command line wins over it.",
    )(command)


def seed(command: F) -> F:
    """`--seed`."""
    return click.option(
        "--seed",
        type=click.IntRange(0),
        default=_SPEC.seed,
        show_default=True,
        metavar="N",
        help="The only source of randomness.",
    )(command)


def shard_size(default: str, more: str) -> Callable[[F], F]:
    """`--shard-size`, with its default and more to say about it."""
    return click.option(
        "--shard-size", default=default, show_default=True, metavar="BYTES", help=f"Target size of a shard.{more}"
    )


def compression(command: F) -> F:
    """`--compression`."""
    return click.option(
        "--compression",
        type=choice(specs.Compression),
        default=_SPEC.compression,
        show_default=True,
        help="none reads fastest; lz4 and zstd need patchcli[compression].",
    )(command)


def workers(command: F) -> F:
    """`--workers`, `-j`."""
    return click.option(
        "--workers",
        "-j",
        type=click.IntRange(1),
        metavar="N",
        help="Processes; never changes the result.  [default: one a processor, as many as memory allows]",
    )(command)


def executor(command: F) -> F:
    """`--executor`."""
    return click.option(
        "--executor", type=choice(specs.ExecutorName), default=_RUN.executor, show_default=True, help="Who works."
    )(command)


def max_pixels(command: F) -> F:
    """`--max-pixels`."""
    return click.option(
        "--max-pixels",
        type=click.IntRange(1),
        default=_RUN.max_pixels,
        show_default=True,
        metavar="N",
        help="Refuse images of more px.",
    )(command)


def dry_run(command: F) -> F:
    """`--dry-run`."""
    return click.option(
        "--dry-run",
        is_flag=True,
        show_default="off",
        help="Print what would be made, with memory and disk; write nothing.",
    )(command)


def overwrite(command: F) -> F:
    """`--overwrite`."""
    return click.option(
        "--overwrite",
        is_flag=True,
        show_default="off",
        help="Replace a data set that was made with other settings or inputs.",
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
