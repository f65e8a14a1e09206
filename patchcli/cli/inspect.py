"""`patchcli inspect`: how the user looks into a file."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from patchcli.cli import options
from patchcli.cli.output import say
from patchcli.cli.progress import Meter, interruptible
from patchcli.errors import DamagedFile, NotWhole, PatchcliError, Stopped, UsageError

if TYPE_CHECKING:
    from patchcli.inspected import Verification
    from patchcli.report.page import Tone

_DEPTHS = ("quick", "deep")
_MOST_LISTED = 10_000  # of the patches that --where selects, in --json


class _Command(click.Command):
    """Takes `--verify` without a value: click would take the next word for it, which may be the file."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        words = list(args)
        for number, word in enumerate(words):
            if word == "--":
                break
            if word == "--verify" and (number + 1 == len(words) or words[number + 1] not in _DEPTHS):
                words[number] = "--verify=deep"
        return super().parse_args(ctx, words)


@click.command("inspect", cls=_Command, short_help="Show, check and draw what is in a file.")
@click.argument("file", type=click.Path(), metavar="FILE.h5")
@click.option(
    "--verify",
    type=click.Choice(_DEPTHS),
    metavar="[quick|deep]",
    show_default="off",
    help="Check the file and its shards; exit code 4 when something is found. quick: every shard there, its size, "
    "identity and rows. deep, which --verify alone means: every byte and patch, the tables, the statistics, and images "
    "or patches that stand in two splits or two classes.",
)
@click.option(
    "--source",
    type=click.Path(),
    metavar="DIR",
    show_default="none",
    help="The folder of images that FILE.h5 was cut from: --verify cuts every patch again and compares, --overlay and "
    "--html draw on the images themselves.",
)
@click.option(
    "--sample", type=click.IntRange(1), metavar="N", show_default="all", help="Cut only N patches again, by --seed."
)
@click.option(
    "--patch",
    type=(int, click.Path()),
    metavar="ROW OUT.png",
    show_default="none",
    help="Say where one patch comes from, and write its pixels.",
)
@click.option(
    "--where",
    type=options.LINE,
    multiple=True,
    metavar="KEY=VALUE,...",
    show_default="all",
    help="List the patches for which all hold, such as 'class=tumor|normal,split=val', 'source=a/*.png', 'row=10-20', "
    "'copy!=0'; a value that holds , | or = stands in double quotes. With --sheet, draw only these.",
)
@click.option(
    "--sheet", type=click.Path(), metavar="OUT.png", show_default="none", help="Draw patches of each class, by --seed."
)
@click.option(
    "--per-class",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    metavar="N",
    help="Patches in a row of --sheet.",
)
@click.option(
    "--overlay",
    type=options.LINE,
    multiple=True,
    metavar="N|IMAGE|OUT.png",
    show_default="none",
    help="Draw images with their patches outlined, what no patch covers hatched: N of them by --seed, or one by its "
    "path in the file. Repeat it to say more, such as --overlay 4 --overlay out.png; left unsaid, it is one image, and "
    "overlay.png.",
)
@click.option(
    "--html",
    type=click.Path(),
    metavar="OUT.html",
    show_default="none",
    help="Write all of it as one page that needs nothing else: tables, charts, pictures, and --verify, when given.",
)
@options.seed
@options.workers
@options.executor
@options.max_pixels
@options.progress
@options.config
@options.json_
@click.option(
    "--json-schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=lambda ctx, _, value: _print_schema(ctx) if value else None,
    show_default="off",
    help="Describe what --json prints, as JSON Schema, and exit.",
)
@options.debug
@options.version
def command(file: str, **asked: Any) -> None:
    """Show what is in FILE.h5: classes, splits, geometry, statistics, losses, shards, the commands that made it.

    \b
    patchcli inspect out.h5
    patchcli inspect out.h5 --verify --source data/
    patchcli inspect out.h5 --sheet sheet.png --overlay 4 --html report.html
    patchcli inspect out.h5 --where 'class=tumor,split=val' --sheet tumors.png
    patchcli inspect out.h5 --patch 1234 patch.png

    FILE.h5 may be a data set, its index, or one shard; of other HDF5 files (CLAM, TRIDENT, PatchCamelyon, ...) it says
    what they hold. Without --verify no pixel is read but those that are drawn; a shard that is missing or of the wrong
    size is listed then too, and the exit code is 1.
    """  # noqa: D301 - click reads a real backspace
    if not os.path.lexists(file):
        raise DamagedFile(f"{file}: no such file")
    if os.path.exists(file) and not os.path.isfile(file):
        raise DamagedFile(f"{file}: no regular file; expected an HDF5 file")
    _check(asked)
    with interruptible("nothing was lost, the same command begins again"):
        verification = _verify(file, asked) if asked["verify"] else None
        found, failure = _look(file, verification, asked), None
        try:
            found = _drawn(found, asked)
        except Stopped:
            raise
        except PatchcliError as error:
            if verification is None:
                raise
            failure = error  # what was verified is said all the same
    say(_text(found, json=asked["json"]))
    _judge(file, found, failure)


def _check(asked: dict[str, Any]) -> None:
    """Refuse options that have no effect, and files that must not be replaced, before anything is read."""
    if asked["source"] is not None and not (asked["verify"] or asked["overlay"] or asked["html"]):
        raise UsageError("--source is for --verify, --overlay and --html: give one of them")
    if asked["sample"] is not None and not (asked["verify"] and asked["source"]):
        raise UsageError("--sample says how many patches --verify --source cuts again: give both")
    if asked["source"] is not None and not os.path.isdir(asked["source"]):
        raise UsageError(f"{asked['source']}: no such folder; expected the one that FILE.h5 was cut from")
    if asked["source"] is not None and asked["verify"] == "quick" and not (asked["overlay"] or asked["html"]):
        raise UsageError("--verify quick reads no image: leave --source out, or --verify deep")
    if asked["patch"] is not None and asked["where"]:
        raise UsageError("--patch and --where both select patches: give one of them")
    pictures = [asked["sheet"], asked["patch"][1] if asked["patch"] else None]
    if any(pictures):
        from patchcli.report.preview import check_sheet

        for picture in filter(None, pictures):
            check_sheet(picture)
    if asked["html"]:
        from patchcli.report.html.page import check_html

        check_html(asked["html"])


def _verify(file: str, asked: dict[str, Any]) -> Verification:
    from patchcli.run.verify import verify

    names = ("sample", "seed", "workers", "executor", "max_pixels")
    with contextlib.closing(Meter(asked["progress"])) as meter:
        return verify(
            file,
            depth=asked["verify"],
            source=asked["source"] if asked["verify"] == "deep" else None,
            progress=meter,
            **{name: asked[name] for name in names},
        )


def _look(file: str, verification: Verification | None, asked: dict[str, Any]) -> Any:
    """The record of all that was asked for."""
    from patchcli.io.foreign.look import is_foreign, look_at
    from patchcli.report.summary import inspect

    path = os.fsencode(file)
    if verification is None and is_foreign(path):
        if _draws(asked):
            raise DamagedFile(f"{file}: patchcli did not make it: only what it holds can be shown")
        return look_at(path)
    try:
        found = inspect(path)
    except DamagedFile:
        if verification is None or verification.ok:
            raise
        from patchcli.inspected import Unreadable

        drawn = "nothing was drawn or selected: the tables of the file cannot be used"
        notes = (*verification.notes, *[drawn] * _draws(asked))
        return Unreadable(file, replace(verification, notes=notes))
    return replace(found, verification=verification)


def _draws(asked: dict[str, Any]) -> bool:
    return any(asked[name] for name in ("patch", "where", "sheet", "overlay", "html"))


def _drawn(found: Any, asked: dict[str, Any]) -> Any:
    """The record with selections, after pictures and pages were written."""
    from patchcli.inspected import Inspection

    if not _draws(asked) or not isinstance(found, Inspection):
        return found
    from patchcli.report.pictures import Asked, draw

    names = ("where", "patch", "sheet", "html", "overlay", "per_class", "seed", "source", "max_pixels")
    wanted = Asked(**{name: asked[name] for name in names})
    return draw(found, replace(wanted, most_listed=_MOST_LISTED) if asked["json"] else wanted)


def _text(found: Any, *, json: bool) -> str:
    from patchcli.inspected import Inspection, Unreadable
    from patchcli.report.page import inspection_lines, plain, verification_lines
    from patchcli.report.text import as_json_text

    if json:
        return as_json_text(found)
    ink = _colored if _may_color() else plain
    if isinstance(found, Inspection):
        return "\n".join(inspection_lines(found, ink))
    if isinstance(found, Unreadable):
        return "\n".join(verification_lines(found.verification, ink))
    from patchcli.report.foreign import foreign_lines

    return "\n".join(foreign_lines(found, ink))


def _may_color() -> bool:
    """Colour is for a terminal whose user has not asked for none (https://no-color.org)."""
    if sys.stdout is None:  # it was closed before we began
        return False
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _colored(text: str, tone: Tone) -> str:
    styles: dict[Tone, dict[str, Any]] = {
        "strong": {"bold": True},
        "faint": {"dim": True},
        "good": {"fg": "green"},
        "bad": {"fg": "red"},
    }
    return click.style(text, **styles[tone])


def _judge(file: str, found: Any, failure: PatchcliError | None) -> None:
    """The exit code: what was found ends it, after it was said."""
    verification = getattr(found, "verification", None)
    if verification is not None and not verification.ok:
        n = verification.n_findings
        also = f"\n{failure}" if failure else ""
        raise NotWhole(f"{file}: {n:,} finding{'s' * (n != 1)}, listed above{also}")
    if failure is not None:
        raise failure
    if verification is not None:
        return
    damaged: Sequence[Any] = getattr(found, "damaged", ())
    if damaged:
        from patchcli.summaries import made_by

        raise DamagedFile(
            f"{file}: {len(damaged)} of {len(found.shards)} shards are missing or of the wrong size; "
            f"the same {made_by(found.settings)} command rebuilds them"
        )


def _print_schema(ctx: click.Context) -> None:
    from patchcli.report.text import json_schema

    say(json_schema())
    ctx.exit()
