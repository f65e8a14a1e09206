"""What `inspect` found, as one HTML file: it fetches nothing, runs no script, and every name in it is escaped."""

from __future__ import annotations

import base64
import functools
import importlib.metadata
import importlib.resources
import os
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from patchcli.errors import UsageError
from patchcli.inspected import Inspection
from patchcli.io.publish import Draft, new_run, write_error
from patchcli.report.html import chapters
from patchcli.report.html.channels import channels
from patchcli.report.html.histograms import Histograms

if TYPE_CHECKING:
    import jinja2

_TEMPLATE: Final = "inspection.html"
_STYLE: Final = "inspection.css"
_MARK: Final = b'<meta name="generator" content="patchcli '
_MARKED_BYTES: Final = 1000  # of a report, in which its mark stands
_SUFFIXES: Final = (".html", ".htm")
_EXTENTS: Final = (("huge", 1400), ("large", 900))  # px from which a picture is not made as narrow as a phone
_SHORT: Final = 100  # characters of a name that are shown


def html_report(
    found: Inspection,
    *,
    sheet: tuple[bytes, str] | None,
    overlays: Sequence[tuple[bytes, str]],
    histograms: Histograms | None,
) -> str:
    """All of an inspection as one page; the same inspection gives the same text.

    Parameters
    ----------
    found : Inspection
    sheet : (bytes, str) or None
        A contact sheet as PNG, and what it shows.
    overlays : sequence of (bytes, str)
        Images with their patches, likewise.
    histograms : Histograms or None
    """
    import markupsafe

    found = chapters.portable(found)
    text: str = _page().render(
        found=found,
        version=_version(),
        style=markupsafe.Markup(_text(_STYLE)),  # noqa: S704 - a file of this package
        title=chapters.title(found),
        status=chapters.status(found),
        classes=chapters.classes(found),
        splits=chapters.splits(found),
        geometry=chapters.geometry(found),
        channels=channels(found, histograms),
        histograms=histograms,
        losses=chapters.losses(found),
        steps_made=chapters.augmentation(found),
        settings=chapters.settings(found),
        shards=chapters.shards(found),
        sheet=None if sheet is None else _picture(*sheet),
        overlays=[_picture(*one) for one in overlays],
    )
    return text.lstrip()


def _version() -> str:
    try:
        return importlib.metadata.version("patchcli")
    except importlib.metadata.PackageNotFoundError:  # a checkout that is run without being installed
        return "of a checkout"


def _text(name: str) -> str:
    return importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


@functools.cache
def _page() -> jinja2.Template:
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_printable
    )
    environment.filters.update(short=_short, thousands="{:,}".format, percent="{:.1%}".format)
    return environment.from_string(_text(_TEMPLATE))


def _printable(value: Any) -> Any:
    r"""A text with control characters, and halves of characters that UTF-8 cannot hold, as `\n`, `\x00` or `\udcff`."""
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)


def _short(text: str, most: int = _SHORT) -> str:
    """A name of at most a few lines, without its middle where it is longer."""
    text = str(_printable(text))
    if len(text) <= most:
        return text
    return f"{text[: most * 2 // 3]}… {text[-most // 4 :]} ({len(text):,} characters)"


def _picture(png: bytes, shows: str) -> dict[str, Any]:
    """A picture that stands in the page itself; its size is said, so that nothing moves when it is decoded."""
    width, height = struct.unpack(">II", png[16:24])  # where IHDR has them
    extent = next((name for name, least in _EXTENTS if width >= least), "small")
    return {"data": base64.b64encode(png).decode(), "shows": shows, "width": width, "height": height, "extent": extent}


def check_html(path: str) -> None:
    """Raise `UsageError` where a report must not go: it replaces reports that patchcli wrote, and nothing else."""
    if not path.lower().endswith(_SUFFIXES):
        raise UsageError(f"{path}: expected the name of a page to write, such as report.html")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise UsageError(f"{path}: the folder {folder} does not exist: create it first")
    if not os.path.lexists(path):
        return
    if not os.path.isfile(path):  # of a FIFO the first bytes may never come
        raise UsageError(f"{path}: is there and is no file: choose another name")
    try:
        with open(path, "rb") as file:
            if _MARK in file.read(_MARKED_BYTES):
                return
    except OSError as error:
        raise UsageError(f"{path}: is there and cannot be read: {error.strerror}: choose another name") from None
    raise UsageError(
        f"{path}: is there and is no report of patchcli: it is not replaced, remove it or choose another name"
    )


def write_html(path: bytes, text: str) -> None:
    """Write a page, atomically; what stands there is replaced.

    Raises
    ------
    NotEnoughSpace, OutputConflict
        It cannot be written; nothing half-written is left, and what was there stays.
    """
    block = memoryview(text.encode())
    try:
        with Draft(path, new_run()) as draft:
            draft.write(block, 0)
            draft.publish()
    except OSError as error:
        raise write_error(path, error, len(block)) from None
