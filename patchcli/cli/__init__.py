"""The command line: the group, and the one place where errors become exit codes."""

from __future__ import annotations

import importlib
import os
import traceback
from typing import Any

import click

from patchcli.cli.options import DEBUG, version
from patchcli.cli.origins import blame_origin
from patchcli.cli.output import silence
from patchcli.errors import PatchcliError

_COMMANDS = {
    "extract": "patchcli.cli.extract",
    "augment": "patchcli.cli.augment",
    "inspect": "patchcli.cli.inspect",
}


class _Group(click.Group):
    """Imports a command when it is used, and turns what it raises into one message and a documented exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name]).command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        arguments = list(ctx.args)
        try:
            return super().invoke(ctx)
        except click.BadParameter as error:
            blame_origin(error, arguments)
            raise
        except PatchcliError as error:
            _fail(ctx, f"Error: {error}", error.exit_code)
        except KeyboardInterrupt:
            _fail(ctx, "Stopped by Ctrl-C; the same command goes on.", 130)
        except BrokenPipeError:
            silence()  # nobody reads on: not an error of ours, and nothing to say it to
            ctx.exit(0)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            _fail(
                ctx,
                f"Error: unexpected {type(error).__name__} in {os.path.basename(where.filename)}, line {where.lineno}: "
                f"{error}\nThis is a bug in patchcli: please report it with the output of --debug.",
                1,
            )


def _fail(ctx: click.Context, message: str, exit_code: int) -> None:
    if ctx.meta.get(DEBUG):
        traceback.print_exc()
    click.echo(message.encode("utf-8", "backslashreplace").decode(), err=True)
    raise click.exceptions.Exit(exit_code)


@click.group(
    cls=_Group,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "PATCHCLI",
        "max_content_width": 110,
        "token_normalize_func": lambda token: token.replace("_", "-"),
    },
)
@version
def main() -> None:
    """Folders of class-labelled images to training patches.

    \b
    patchcli extract data/ out.h5 --patch 64 --overlap 0.5
    patchcli augment out.h5 more.h5 --rotation-range 20 --horizontal-flip --copies 4
    patchcli inspect out.h5 --verify --html report.html

    Exit codes: 0 done, 1 failed, 2 usage, 3 unreadable images (listed), 4 inspect --verify found damage or a leak, 75
    stopped by SIGTERM or SIGUSR1 (the same command goes on), 130 Ctrl-C.
    """  # noqa: D301 - click reads a real backspace
