"""`patchcli extract`: how the user asks for patches."""

from __future__ import annotations

from typing import Any

import click

from patchcli import specs
from patchcli.cli import options
from patchcli.cli.output import say
from patchcli.cli.progress import Meter
from patchcli.specs import ExtractSpec, RunSpec

_SPEC, _RUN = ExtractSpec(), RunSpec()


@click.command("extract", short_help="Cut the images of class folders into patches.")
@click.argument("src", type=click.Path(exists=True, file_okay=False), metavar="SRC")
@click.argument("out", type=click.Path(), metavar="OUT.h5")
@click.option(
    "--patch",
    "--patch-size",
    "patch",
    envvar=["PATCHCLI_EXTRACT_PATCH", "PATCHCLI_EXTRACT_PATCH_SIZE"],
    default=str(_SPEC.patch_size),
    show_default=True,
    metavar="N|WxH",
    help="Patch size, px.",
)
@click.option(
    "--overlap",
    metavar="F|N",
    help="Overlap of neighbours: a fraction below 1 of the patch, or px from 2.  [default: 0]",
)
@click.option("--stride", metavar="N|WxH", help="Step between patches, px; instead of --overlap.  [default: the patch]")
@click.option(
    "--edge",
    type=options.choice(specs.Edge),
    default=_SPEC.edge,
    show_default=True,
    help="At the right and bottom border: drop what fits no whole patch; shift the last patch inwards; pad with "
    "--pad-value; reflect the image.",
)
@click.option(
    "--pad-value",
    type=int,
    default=_SPEC.pad_value,
    show_default=True,
    metavar="0-255",
    help="Gray level for --edge pad.",
)
@click.option(
    "--layout",
    type=options.choice(specs.Layout),
    default=_SPEC.layout,
    show_default=True,
    help="SRC/<class>/**/image, or SRC/{train,val,test}/<class>/**/image; auto looks.",
)
@click.option(
    "--classes",
    metavar="A,B,C",
    help="Only these folders, labelled in this order.  [default: all, in byte order of their names]",
)
@click.option(
    "--mode",
    type=options.choice(specs.Mode),
    default=_SPEC.mode,
    show_default=True,
    help="Channels; auto: gray when all images are gray, otherwise RGB.",
)
@click.option(
    "--background",
    default="white",
    show_default=True,
    metavar="COLOR",
    help="What transparency is composited on, unless --mode rgba keeps it.",
)
@click.option(
    "--shuffle",
    is_flag=True,
    show_default="off",
    help="Order images by a hash of --seed and path, so that shards mix classes.",
)
@options.seed
@options.shard_size("256MiB", " An image is split only when its patches alone exceed four shards.")
@options.compression
@options.workers
@options.executor
@click.option(
    "--on-error",
    type=options.choice(specs.OnError),
    default=_RUN.on_error,
    show_default=True,
    help="Unreadable images: stop looks at every image, lists all bad ones, makes no data set and exits 3; "
    "skip records them and goes on.",
)
@options.max_pixels
@options.dry_run
@options.overwrite
@options.config
@options.progress
@options.json_
@options.debug
@options.version
@click.pass_context
def command(ctx: click.Context, /, src: str, out: str, progress: str, json: bool, **given: Any) -> None:
    """Cut the images of SRC/<class>/** into overlapping patches and write them to OUT.h5.

    \b
    patchcli extract data/ out.h5 --patch 64 --overlap 0.5
    patchcli extract data/ out.h5 --patch 256 --edge shift --shuffle --on-error skip
    patchcli extract data/ out.h5 --config configs/histology-tiles.toml --dry-run

    OUT.h5 appears last and whole: it is the data set itself, or the index of the shards in OUT.shards/. Run the same
    command again to go on after an interruption or to mend a damaged shard; a finished data set is only checked.
    The result has the same bytes whatever the workers, the order and the restarts.

    Every option can also come from a file (--config) or from the environment, as PATCHCLI_EXTRACT_PATCH=64; the command
    line wins over the environment, and that over the file.
    """  # noqa: D301 - click reads a real backspace
    from patchcli.report.text import as_json_text, extract_lines
    from patchcli.run.extract import extract

    stronger = options.strongest(ctx, "overlap", "stride")
    if stronger is not None:
        given["stride" if stronger == "overlap" else "overlap"] = None
    with Meter(progress).listening() as meter:
        summary = extract(src, out, progress=meter, **given)
    say(as_json_text(summary) if json else "\n".join(extract_lines(summary)))
