"""The contact sheet of `augment --preview`: each row a patch and its copies."""

from __future__ import annotations

import os
from collections.abc import Iterable

from patchcli.io.publish import new_run
from patchcli.report.figures import SheetRow, contact_sheet
from patchcli.summaries import Drawn, Sampled


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
