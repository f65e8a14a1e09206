"""Where the value of an option was said: click blames the command line for all of them."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click
from click.core import ParameterSource


def blame_origin(error: click.BadParameter, arguments: Sequence[str]) -> None:
    """Name the file or the variable in the message about a value that came from there.

    Parameters
    ----------
    arguments : sequence of str
        Those of the command.
    """
    ctx, param = error.ctx, error.param
    if ctx is None or param is None or param.name is None:
        return
    source = ctx.get_parameter_source(param.name)
    if source is ParameterSource.ENVIRONMENT:
        error.param_hint = _variable(ctx, param)
    elif source is ParameterSource.DEFAULT_MAP:
        error.param_hint = f"{param.name} in {_config_file(ctx, arguments)}"


def _variable(ctx: click.Context, param: click.Parameter) -> str:
    said = [param.envvar] if isinstance(param.envvar, str) else list(param.envvar or ())
    said.append(f"{ctx.auto_envvar_prefix}_{(param.name or '').upper()}")
    return next((name for name in said if os.environ.get(name)), said[-1])


def _config_file(ctx: click.Context, arguments: Sequence[str]) -> str:
    """The file that was given by --config, which does not hold on to its name."""
    given, _, _ = ctx.command.make_parser(ctx).parse_args(list(arguments))
    config = next(param for param in ctx.command.params if param.name == "config")
    return str(config.consume_value(ctx, given)[0])
