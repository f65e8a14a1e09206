"""An inspection as what an HTML page sets: rows, words and charts, chapter by chapter."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from collections.abc import Iterator
from typing import Any, Final

from patchcli.inspected import Inspection
from patchcli.records import show
from patchcli.report.html.charts import bar, columns, svg, swatch
from patchcli.report.text import argument, channels_name, pair
from patchcli.summaries import setting_text

_MOST_BARS: Final = 30  # classes with a bar and a name of their own; more stand side by side as columns
_MOST_SHARDS: Final = 12
_MOST_DAMAGED: Final = 50
_MOST_SAID: Final = 4  # splits whose parts stand beside the bars in numbers
_DEPTH: Final = 8  # of groups within groups of a pipeline


def portable(found: Inspection) -> Inspection:
    """The same inspection without where the file lies: reports are passed on."""
    folder, name = os.path.split(found.path)
    folders = {folder, os.path.abspath(folder), os.path.realpath(folder)} - {"", ".", "/"}

    def moved(value: Any) -> Any:
        if isinstance(value, str):
            for one in sorted(folders, key=len, reverse=True):
                value = value.replace(shlex.quote(os.path.join(one, name)), shlex.quote(name)).replace(one + os.sep, "")
            return value
        if isinstance(value, tuple):
            return tuple(map(moved, value))
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: moved(getattr(value, field.name)) for field in dataclasses.fields(value)}
            return dataclasses.replace(value, **fields)
        return value

    moving = ("command", "verification", "selection")
    return dataclasses.replace(found, path=show(name), **{name: moved(getattr(found, name)) for name in moving})


def title(found: Inspection) -> dict[str, Any]:
    """What it is, in a line and in a few numbers."""
    height, width, channels = found.patch_shape
    n_shards = max(1, len(found.shards))
    return {
        "width": width,
        "height": height,
        "channels": channels_name(channels),
        "bytes": _in_words(found.bytes),
        "n_shards": n_shards,
        "one_of_many": found.role == "shard",
        "verify": f"patchcli inspect {shlex.quote(found.path)} --verify",
    }


def _in_words(n_bytes: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:,.1f} {unit}"
    return f"{n_bytes:,} bytes"


def status(found: Inspection) -> dict[str, str]:
    """Whether it can be relied on: `kind` is good, bad or open; a name and a line."""
    checked = found.verification
    if checked is not None and not checked.ok:
        n = checked.n_findings
        return _said("bad", f"{n:,} finding{'s' * (n != 1)}", f"A {checked.depth} check found that not all is well.")
    if found.damaged:
        n, total = len(found.damaged), len(found.shards)
        text = f"{n:,} of {total:,} shards {'is' if n == 1 else 'are'} missing or not of the size that the index says."
        return _said("bad", "Damaged", text)
    if checked is None:
        return _said("open", "Not verified", "No patch was compared with its checksum.")
    if checked.depth == "quick":
        return _said("good", "Nothing missing", "A quick check: no patch was read.")
    return _said("good", "Whole", "A deep check read every patch and found nothing wrong.")


def _said(kind: str, name: str, text: str) -> dict[str, str]:
    return {"kind": kind, "name": name, "text": text}


def classes(found: Inspection) -> dict[str, Any]:
    """Class balance: a bar for each class, or all classes as columns, the largest first."""
    listed = found.classes
    most = max((one.patches for one in listed), default=0)
    filled = sorted((one for one in listed if one.patches), key=lambda one: -one.patches)
    few = len(listed) <= _MOST_BARS
    titles = [f"{one.name}: {one.patches:,} patches ({one.share:.1%})" for one in filled]
    return {
        "bars": [(one, svg(bar([one.patches], most))) for one in listed] if few else [],
        "columns": None if few else svg(columns([[one.patches] for one in filled], titles)),
        "filled": filled,
        "empty": [one.name for one in listed if not one.patches],
        "ratio": filled[0].patches / filled[-1].patches if filled else 1.0,
        "padded": any(one.pixels_padded for one in listed),
    }


def splits(found: Inspection) -> dict[str, Any]:
    """How each class is divided: a bar for each, as wide as all, or all classes as columns of the same height."""
    names = tuple(found.split_patches)
    filled = sorted((one for one in found.classes if one.patches), key=lambda one: -one.patches)
    rows = [("all classes", found.patches, list(found.split_patches.values()))]
    few = len(found.classes) <= _MOST_BARS
    if few:
        rows += [(one.name, one.patches, list(one.split_patches.values())) for one in found.classes if one.patches]
    stacks = [[part / one.patches for part in one.split_patches.values()] for one in filled]
    return {
        "names": names,
        "said": len(names) <= _MOST_SAID,
        "legend": [(name, svg(swatch(number))) for number, name in enumerate(names)],
        "bars": [(name, total, parts, svg(bar(parts, total))) for name, total, parts in rows],
        "columns": None if few else svg(columns(stacks, [one.name for one in filled])),
    }


def geometry(found: Inspection) -> list[tuple[str, str]]:
    """How patches were cut, as names and values."""
    height, width, _ = found.patch_shape
    part = f" ({found.overlap[0] / width:.0%})" if found.overlap[0] * height == found.overlap[1] * width else ""
    edges = {
        "drop": "drop: only whole windows",
        "shift": "shift: the last window of a row or column moves inwards",
        "pad": "pad: windows beyond the border are filled with a constant",
        "reflect": "reflect: windows beyond the border are filled with the mirrored image",
    }
    return [
        ("Patch", f"{width}x{height} px"),
        ("Stride", f"{pair(found.stride)} px"),
        ("Overlap", f"{pair(found.overlap)} px{part}"),
        ("At the border", edges.get(found.edge, found.edge)),
    ]


def losses(found: Inspection) -> dict[str, Any]:
    """What became of the images' px, and what would have kept more of them."""
    height, width, _ = found.patch_shape
    covered = found.pixels - found.pixels_uncovered
    advice = ""
    if found.pixels_uncovered and (found.stride[0] > width or found.stride[1] > height):
        advice = "The stride is larger than the patch."
    elif found.pixels_uncovered and found.edge == "drop":
        advice = "With --edge shift, pad or reflect they would be covered."
    return {
        "covered": covered,
        "bar": svg(bar([covered, found.pixels_uncovered], found.pixels)),
        "swatches": [svg(swatch(number)) for number in range(2)],
        "advice": advice,
        "files": sum(one.files for one in found.left_out),
    }


def augmentation(found: Inspection) -> list[dict[str, Any]]:
    """What was done to the patches after they were cut, the first step first."""
    steps: list[dict[str, Any]] = []
    said = found.settings.get("augment")
    while isinstance(said, dict):
        shown = ("copies", "seed", "keep_original", "balance", "only_split", "input")
        facts = [(name.replace("_", " "), _setting(said[name])) for name in shown if said.get(name) is not None]
        standard = said.get("standardize")
        steps.insert(
            0,
            {
                "facts": facts,
                "pipeline": list(_transforms(said.get("pipeline"), 0)),
                "standardize": [argument(item) for item in standard.items()] if isinstance(standard, dict) else [],
            },
        )
        said = said.get("before")
    return steps


def _transforms(steps: Any, depth: int) -> Iterator[dict[str, Any]]:
    """A pipeline as a tree of names and arguments; what is no such thing is said as it stands."""
    for step in steps if isinstance(steps, list) else ():
        name, said = next(iter(step.items())) if isinstance(step, dict) and len(step) == 1 else (step, None)
        if not isinstance(name, str) or not isinstance(said, dict) or depth == _DEPTH:
            yield {"name": "", "arguments": json.dumps(step), "inner": []}
            continue
        inner = said.get("transforms")
        listed = [item for item in said.items() if item[0] != "transforms" or not isinstance(inner, list)]
        arguments = ", ".join(map(argument, sorted(listed, key=lambda item: item[0] == "p")))
        yield {"name": name, "arguments": arguments, "inner": list(_transforms(inner, depth + 1))}


def settings(found: Inspection) -> list[tuple[str, str]]:
    """All that decides a file's bytes, those of augmentations apart."""
    said = sorted(found.settings.items())
    listed = [(name.replace("_", " "), _setting(value)) for name, value in said if name != "augment"]
    return [*listed, ("plan", found.plan_id)]


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    nested = isinstance(value, dict) or (
        isinstance(value, list) and any(isinstance(one, (dict, list)) for one in value)
    )
    return json.dumps(value) if nested else setting_text(value)


def shards(found: Inspection) -> dict[str, Any]:
    """The shards that are worth a line: damaged ones first, then the first of the others."""
    damaged = found.damaged[:_MOST_DAMAGED]
    whole = [one for one in found.shards if not one.found][: max(0, _MOST_SHARDS - len(damaged))]
    n_damaged = len(found.damaged)
    return {
        "listed": [*damaged, *whole],
        "more": len(found.shards) - n_damaged - len(whole),
        "more_damaged": n_damaged - len(damaged),
    }
