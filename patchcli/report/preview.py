"""The contact sheet of `augment --preview`: each row a patch and its copies."""

from __future__ import annotations

import os
from collections.abc import Iterable

from patchcli.errors import UsageError
from patchcli.io.canvas import is_drawn
from patchcli.io.publish import new_run
from patchcli.report.drawing.contact import SheetRow, contact_sheet
from patchcli.summaries import Drawn, Sampled


def check_sheet(sheet: str) -> None:
    """Raise `UsageError` where a sheet must not go: it replaces pictures that patchcli drew, and nothing else."""
    if not sheet.lower().endswith(".png"):
        raise UsageError(f"{sheet}: expected the name of a picture to write, such as sheet.png")
    folder = os.path.dirname(sheet) or "."
    if not os.path.isdir(folder):
        raise UsageError(f"{sheet}: the folder {folder} does not exist: create it first")
    if not os.path.lexists(sheet):
        return
    try:
        if is_drawn(sheet):
            return
    except OSError as error:
        raise UsageError(f"{sheet}: is there and cannot be read: {error.strerror}: choose another name") from None
    raise UsageError(
        f"{sheet}: is there and is no PNG that patchcli drew: it is not replaced, remove it or choose another name"
    )


def draw(sheet: str, sampled: Iterable[Sampled], *, heading: str, caption: str) -> Drawn:
    """Write a PNG of some patches and their copies.

    Raises
    ------
    PatchcliError
        The file cannot be written, or would be too large.
    """
    rows = [SheetRow(one.class_name, f"{one.source} {one.xy}", one.patches) for one in sampled]
    n_copies = len(rows[0].patches) - 1
    columns = ["original", *(f"copy {number + 1}" for number in range(n_copies))]
    contact_sheet(rows, heading=heading, columns=columns, caption=caption).write(os.fsencode(sheet), new_run())
    return Drawn(sheet, len(rows), n_copies)
