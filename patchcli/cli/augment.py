"""`patchcli augment`: how the user asks for copies."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from patchcli.cli import options
from patchcli.cli.output import say
from patchcli.cli.progress import Meter
from patchcli.errors import UsageError
from patchcli.summaries import Drawn

F = TypeVar("F", bound=Callable[..., Any])


def _range(name: str, metavar: str, default: str, text: str) -> Callable[[F], F]:
    return click.option(f"--{name}", metavar=metavar, show_default=default, help=text)


def _switch(name: str, text: str) -> Callable[[F], F]:
    return click.option(f"--{name}/--no-{name}", default=False, show_default="off", help=text)


@click.command("augment", short_help="Make augmented copies of patches.")
@click.argument("src", type=click.Path(exists=True, dir_okay=False), metavar="IN.h5", required=False)
@click.argument("out", type=click.Path(), metavar="OUT.h5", required=False)
@options.pipeline
@click.option(
    "--copies",
    type=click.IntRange(0),
    metavar="N",
    help="Copies of each patch; with --balance, of those of the largest class.  [default: 1; 0 where patches are only "
    "standardised]",
)
@options.seed
@click.option(
    "--keep-original/--no-keep-original",
    default=True,
    show_default=True,
    help="Whether the patches themselves stand before their copies.",
)
@_switch("balance", "More copies of rarer classes: each comes to as many patches as the largest has with --copies.")
@click.option(
    "--only-split",
    metavar="NAME",
    help="The split that is augmented; the others pass as they are. all: every split.  "
    "[default: train, if there is one]",
)
@_range("rotation-range", "DEG", "0", "Turn by up to so many degrees either way.")
@_range(
    "width-shift-range",
    "F|N|A,B,...",
    "0",
    "Shift along x: below 1 a fraction, 3.0 up to 3 px, 3 whole px below 3, a list one of these px.",
)
@_range("height-shift-range", "F|N|A,B,...", "0", "Shift along y, likewise.")
@_range(
    "shear-range",
    "DEG|Nrad",
    "0",
    "Shear by up to so many degrees, as Keras does today; 0.2 is next to nothing. Keras' documentation up to 2.0.8 "
    "said radians: for what an old tutorial means by 0.2, say 0.2rad.",
)
@_range("zoom-range", "F|LO,HI", "0", "Zoom x and y by factors from 1-F to 1+F, or LO to HI; above 1 shows more.")
@_range("channel-shift-range", "LEVELS", "0", "Add up to so many grey levels to all channels, or take them.")
@_range("brightness-range", "LO,HI", "none", "Multiply by a factor from LO to HI.")
@_switch("horizontal-flip", "Mirror left and right, every second time.")
@_switch("vertical-flip", "Mirror top and bottom, every second time.")
@_range(
    "fill-mode",
    "nearest|reflect|wrap|constant",
    "nearest",
    "What shows beyond the patch's border: nearest, reflect, wrap, or constant (--cval).",
)
@_range("cval", "LEVEL", "0", "Grey level for --fill-mode constant.")
@_range("interpolation-order", "1|0", "1", "1: linear; 0: the nearest pixel as it is.")
@_range(
    "rescale", "F", "none", "Multiply every patch, originals too, at last: 1/255. Gives float32, as do those below."
)
@_switch("samplewise-center", "Take each patch's mean from it.")
@_switch("samplewise-std-normalization", "Divide each patch by its deviation too.")
@_switch("featurewise-center", "Take the data set's mean from every channel; with splits, that of the augmented one.")
@_switch("featurewise-std-normalization", "Divide every channel by the data set's deviation too.")
@_switch("zca-whitening", "Whiten with a matrix worked out from the data set; small patches only.")
@_range("zca-epsilon", "F", "1e-6", "Added to the deviations that whitening divides by.")
@click.option(
    "--preview",
    type=click.Path(dir_okay=False),
    metavar="SHEET.png",
    show_default="none",
    help="Draw some patches and their copies, each row a patch; write nothing else.",
)
@click.option(
    "--rows", type=click.IntRange(1, 1000), default=8, show_default=True, metavar="N", help="Rows of the --preview."
)
@click.option(
    "--list-transforms",
    is_flag=True,
    show_default="off",
    help="Print what a pipeline can hold, with parameters and defaults, and for which patches.",
)
@options.shard_size("64MiB", " One worker makes one.")
@options.compression
@options.workers
@options.executor
@options.dry_run
@options.overwrite
@options.progress
@options.json_
@options.debug
@options.version
def command(
    src: str | None,
    out: str | None,
    progress: str,
    json: bool,
    preview: str | None,
    rows: int,
    list_transforms: bool,
    **given: Any,
) -> None:
    """Make augmented copies of the patches of IN.h5 and write them, with the patches themselves, to OUT.h5.

    \b
    patchcli augment in.h5 out.h5 --rotation-range 20 --zoom-range 0.2 --horizontal-flip --copies 4
    patchcli augment in.h5 out.h5 --config configs/histology.yaml --copies 4 --balance
    patchcli augment in.h5 --config aug.yaml --preview sheet.png

    Every patch is augmented by itself, after it was cut: nothing crosses its border. What happens to it depends on the
    seed, its image's path, its coordinates and the number of the copy alone, so that the result is the same for any
    number of workers, after restarts, and for the same patches when others are added.

    The options from --rotation-range to --cval are those of Keras' ImageDataGenerator, combined into one warp as there;
    --config gives any pipeline of albumentations' transforms instead. Where IN.h5 has splits, train alone is augmented.

    Every option can also come from the environment, as PATCHCLI_AUGMENT_COPIES=4; the command line wins over the
    environment, and that over the file.
    """  # noqa: D301 - click reads a real backspace
    from patchcli.report.text import as_json_text, augment_lines, drawn_line

    if list_transforms:
        from patchcli.report.catalogue import transform_lines

        say("\n".join(transform_lines()))
        return
    if src is None or (out is None and preview is None):
        raise UsageError(f"{'IN.h5' if src is None else 'OUT.h5'} is missing: patchcli augment IN.h5 OUT.h5 ...")
    if preview is not None:
        drawn = _drawn(src, preview, rows, given)
        say(as_json_text(drawn) if json else drawn_line(drawn))
        return
    from patchcli.run.augment import augment

    with Meter(progress).listening() as meter:
        summary = augment(src, out or "", progress=meter, **given)
    say(as_json_text(summary) if json else "\n".join(augment_lines(summary)))


def _drawn(src: str, sheet: str, n_rows: int, given: dict[str, Any]) -> Drawn:
    """Write the contact sheet of `--preview`."""
    from patchcli.readers.augmented import Augmented
    from patchcli.report.preview import check_sheet, draw
    from patchcli.report.text import pipeline_facts

    check_sheet(sheet)
    if given["dry_run"]:
        raise UsageError("--dry-run writes nothing, --preview a picture: give one of them")
    for name in ("workers", "executor", "dry_run", "overwrite"):
        given.pop(name)
    augmented = Augmented(src, **given)
    name = os.path.basename(src).encode("utf-8", "backslashreplace").decode()
    steps = "; ".join(" ".join(line.split()) for _, line in pipeline_facts(augmented.pipeline))
    rest = "" if augmented.spec.standard.is_nothing else "; before standardising"
    return draw(
        sheet,
        augmented.sample(n_rows),
        heading=f"{name}: patches and their copies",
        caption=f"{steps}; seed {augmented.spec.seed}{rest}",
    )
