"""What `inspect` found, as a page of text of about 40 lines; colours come from whoever prints it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from textwrap import shorten, wrap
from typing import Any, Final, Literal

from patchcli.inspected import Finding, InspectedClass, Inspection, PatchFacts, Selection, Verification
from patchcli.records import show
from patchcli.report.text import (
    aligned,
    argument,
    channel_names,
    channels_name,
    left_out_facts,
    pair,
    pipeline_facts,
    size,
    table,
)

Tone = Literal["strong", "faint", "good", "bad"]
Ink = Callable[[str, Tone], str]

_CLASSES_SHOWN: Final = 9
_SPLITS_SHOWN: Final = 4
_CHANNELS_SHOWN: Final = 4
_LINES_SHOWN: Final = 3  # of each kind that has no bound of its own
_AUGMENT_SHOWN: Final = 7
_COMMANDS_SHOWN: Final = 5
_WIDTH: Final = 100
_ROLES: Final = {"single": "", "index": "", "shard": ", one shard of a larger set"}
_ROWS_SHOWN: Final = 5
_MEASURABLE: Final = 10**8  # bytes; of fewer, a rate is mostly start-up
_FINDINGS_SHOWN: Final = 12


def plain(text: str, _: Tone) -> str:
    """Ink without colour."""
    return text


def inspection_lines(found: Inspection, ink: Ink = plain) -> Iterator[str]:
    """What is in a file: a page, and what a verification came to.

    Parameters
    ----------
    found : Inspection
    ink : callable
        Gives a text in a tone; without colour by default.
    """
    if found.selection is not None:
        yield _title(found, ink)
        yield ""
        yield from _selection_lines(found.selection, ink)
    else:
        yield from _page(found, ink)
    if found.verification is not None:
        yield ""
        yield from verification_lines(found.verification, ink)
    if found.written:
        yield ""
        yield from (f"{show(one.path)}: {one.shows}" for one in found.written)


def _page(found: Inspection, ink: Ink) -> Iterator[str]:
    yield _title(found, ink)
    yield ""
    yield from _inked(table(class_rows(found.classes)), ink)
    if found.mean:
        yield ""
        yield from _inked(table(channel_rows(found)), ink)
    yield ""
    for line in aligned(_facts(found)):
        bad = line.startswith("  damaged")
        yield ink(line, "bad") if bad else line


def _title(found: Inspection, ink: Ink) -> str:
    height, width, channels = found.patch_shape
    what = f"{found.patches:,} patches of {width}x{height} px, {channels_name(channels)}, {found.dtype}"
    return f"{ink(show(found.path), 'strong')}: {what}{_ROLES[found.role]}"


def _inked(lines: Iterable[str], ink: Ink) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield line if number else ink(line, "faint")


def class_rows(classes: Sequence[InspectedClass]) -> list[tuple[str, ...]]:
    """Classes as rows of text with a heading and totals; the smallest of very many are left out, the totals are not."""
    splits = list(classes[0].split_patches)[:_SPLITS_SHOWN] if classes else []
    rows: list[tuple[str, ...]] = [("class", "images", "patches", "share", *splits, "px never covered", "")]
    shown = list(classes)
    if len(classes) > _CLASSES_SHOWN:
        order = sorted(range(len(classes)), key=lambda k: -classes[k].patches)[: _CLASSES_SHOWN - 1]
        shown = [classes[k] for k in sorted(order)]
    rows += [_class_row(one.name, [one], splits) for one in shown]
    if len(shown) < len(classes):
        rest = [one for one in classes if one not in shown]
        rows.append(_class_row(f"({len(rest)} smaller classes)", rest, splits))
    n = len(classes)
    rows.append(_class_row(f"{n:,} class{'es' * (n != 1)}", classes, splits))
    return rows


def _class_row(name: str, classes: Sequence[InspectedClass], splits: Sequence[str]) -> tuple[str, ...]:
    images, patches, pixels, uncovered = (
        sum(getattr(one, count) for one in classes) for count in ("images", "patches", "pixels", "pixels_uncovered")
    )
    share = f"{sum(one.share for one in classes):.1%}"
    by_split = (f"{sum(one.split_patches[split] for one in classes):,}" for split in splits)
    part = f"{uncovered / pixels:.1%}" if pixels else "-"
    return name, f"{images:,}", f"{patches:,}", share, *by_split, f"{uncovered:,}", part


def channel_rows(found: Inspection) -> list[tuple[str, ...]]:
    """Mean and deviation of each channel as rows of text with a heading."""
    channels = len(found.mean)
    names = channel_names(channels)
    digits = 4 if found.dtype == "float32" else 2
    rows: list[tuple[str, ...]] = [("channel", "mean", "std")]
    for name, mean, std in islice(zip(names, found.mean, found.std, strict=True), _CHANNELS_SHOWN):
        rows.append((name, f"{mean:,.{digits}f}", f"{std:,.{digits}f}"))
    if channels > _CHANNELS_SHOWN:
        rows.append((f"({channels - _CHANNELS_SHOWN} more)", "", ""))
    return rows


def _facts(found: Inspection) -> Iterator[tuple[str, str]]:
    yield "geometry", _geometry(found)
    if found.split_patches:
        parts = (f"{name} {n / max(1, found.patches):.1%}" for name, n in found.split_patches.items())
        yield "splits", shorten(", ".join(parts), _WIDTH, placeholder=" ...")
    covered = f" ({found.pixels_uncovered / found.pixels:.1%})" if found.pixels else ""
    yield "never covered", f"{found.pixels_uncovered:,} of {found.pixels:,} px{covered}"
    if found.pixels_padded:
        yield "padded", f"{found.pixels_padded:,} px outside the images"
    yield from _first(left_out_facts(found.left_out), "left out", "reasons")
    if "augment" in found.settings:
        originals = f"{found.patches - found.copies:,} originals"
        same = f"; {found.repeated:,} have the pixels of another copy of theirs" if found.repeated else ""
        yield "copies", f"{found.copies:,}, and {originals}{same}"
    yield from _first(_augmentations(found.settings.get("augment")), "", "lines", _AUGMENT_SHOWN)
    yield "size", f"{size(found.bytes)}, compression {found.compression}"
    yield "shards", _shards(found)
    damaged = [("damaged", f"{one.name}: {one.found}, expected {one.bytes:,} bytes") for one in found.damaged]
    yield from _first(damaged, "damaged", "shards")
    yield "plan", found.plan_id
    yield from _first(_commands(found.command), "", "lines", _COMMANDS_SHOWN)


def _shards(found: Inspection) -> str:
    if not found.shards:
        return "one, this file" if found.role == "single" else "this is one of them"
    first, last = found.shards[0], found.shards[-1]
    names = first.name if first is last else f"{first.name} to {last.name.rpartition('/')[2]}"
    return f"{len(found.shards):,}: {names}"


def _commands(commands: Sequence[str]) -> Iterator[tuple[str, str]]:
    name = "made by"
    for command in commands:
        for line in wrap(command, _WIDTH, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False):
            yield name, line
            name = ""


def _geometry(found: Inspection) -> str:
    height, width, _ = found.patch_shape
    part = f" ({found.overlap[0] / width:.0%})" if found.overlap[0] * height == found.overlap[1] * width else ""
    return f"stride {pair(found.stride)} px, overlap {pair(found.overlap)} px{part}, edge {found.edge}"


def _first(
    facts: Iterable[tuple[str, str]], name: str, what: str, most: int = _LINES_SHOWN
) -> Iterator[tuple[str, str]]:
    """The first few of some facts, and how many more there are."""
    listed = list(facts)
    many = len(listed) > most
    yield from listed[: most - 1] if many else listed
    if many:
        yield name, f"and {len(listed) - most + 1:,} more {what}: see --json"


def _augmentations(said: dict[str, Any] | None) -> Iterator[tuple[str, str]]:
    """What was done to the patches after they were cut, the latest first."""
    while said:
        yield "augmented", f"from plan {said['input']}"
        yield from pipeline_facts(said["pipeline"])
        if said["standardize"]:
            yield "standardized", ", ".join(map(argument, said["standardize"].items()))
        yield "with", _how(said)
        said = said.get("before")


def _how(said: dict[str, Any]) -> str:
    parts = [f"{said['copies']:,} cop{'y' if said['copies'] == 1 else 'ies'} of each patch"]
    parts[0] += " of the largest class, the others made even" * said["balance"]
    parts += ["the patches themselves left out"] * (not said["keep_original"])
    parts += [f"of split {said['only_split']} alone"] if said["only_split"] else []
    return ", ".join([*parts, f"seed {said['seed']}"])


def _selection_lines(selection: Selection, ink: Ink) -> Iterator[str]:
    if selection.single:
        yield from aligned(_patch_facts(selection.patches[0]))
        return
    n, where = selection.n_patches, selection.where or "no condition"
    if not n:
        yield f"no patch with {where}"
        return
    yield f"{n:,} patch{'es' * (n != 1)} with {where}"
    yield ""
    columns = [
        cells for cells in zip(_PATCH_HEADING, *map(_patch_row, selection.patches), strict=True) if any(cells[1:])
    ]
    align = "".join("<" if cells[0] in _PATCH_WORDS else ">" for cells in columns)
    yield from _inked(table(list(zip(*columns, strict=True)), align), ink)
    if n > len(selection.patches):
        yield f"  ({n - len(selection.patches):,} more; --json lists up to 10,000)"


_PATCH_HEADING: Final = ("row", "class", "split", "x", "y", "copy", "of row", "digest", "source")
_PATCH_WORDS: Final = ("class", "split", "digest", "source")


def _patch_row(one: PatchFacts) -> tuple[str, ...]:
    copy, origin = ("" if number is None else str(number) for number in (one.copy, one.origin))
    x, y = one.xy
    return str(one.row), one.class_name, one.split or "", str(x), str(y), copy, origin, one.digest, one.source


def _patch_facts(one: PatchFacts) -> Iterator[tuple[str, str]]:
    yield "row", f"{one.row:,}"
    yield "class", f"{one.class_name} (label {one.label})"
    if one.split is not None:
        yield "split", one.split
    yield "source", f"{one.source}, {one.source_size[0]}x{one.source_size[1]} px"
    yield "", f"SHA-256 {one.source_sha256}"
    if one.group:
        yield "group", one.group
    yield "coordinates", f"x {one.xy[0]}, y {one.xy[1]}: its top-left px in the upright image"
    if one.pixels_outside:
        yield "outside", f"{one.pixels_outside:,} px beyond the image's border"
    if one.copy is not None:
        kind = "the original, row" if one.copy == 0 else f"copy {one.copy} of row"
        yield "copy", f"{kind} {one.origin} of the augmented input"
    if one.mean:
        names = channel_names(len(one.mean))
        means = (f"{mean:,.2f}" if abs(mean) >= 10 else f"{mean:.4g}" for mean in one.mean)
        yield "mean", ", ".join(map(" ".join, zip(names, means, strict=True)))
    yield "digest", f"{one.digest} (XXH3-64)"
    yield "pixels", one.pixels


def verification_lines(found: Verification, ink: Ink = plain) -> Iterator[str]:
    """The verdict of `--verify`, what was found, what could not be looked at."""
    if found.ok:
        verdict = ink("whole", "good") if found.depth == "deep" else ink("nothing missing", "good")
    else:
        verdict = ink(f"{found.n_findings:,} finding{'s' * (found.n_findings != 1)}", "bad")
    yield f"verify {found.depth}: {verdict}; {_looked_at(found)}"
    for finding in found.findings[:_FINDINGS_SHOWN]:
        yield from finding_lines(finding, ink)
    if found.n_findings > _FINDINGS_SHOWN:
        yield f"  ({found.n_findings - _FINDINGS_SHOWN:,} more: see --json)"
    for note in found.notes:
        yield f"  note: {note}"


def _looked_at(found: Verification) -> str:
    files = f"{found.files:,} file{'s' * (found.files != 1)}"
    if found.depth == "quick":
        return f"{files} looked at, no patch read"
    rate = f", {found.bytes / found.seconds / 1e6:,.0f} MB/s" if found.bytes > _MEASURABLE else ""
    recut = f", {found.recut:,} cut again from the images" if found.recut else ""
    return f"{files}, {found.patches:,} patches, {size(found.bytes)} read in {found.seconds:,.1f} s{rate}{recut}"


def finding_lines(finding: Finding, ink: Ink = plain) -> Iterator[str]:
    """One finding: where and what, and what to do."""
    rows = ""
    if finding.rows:
        listed = ", ".join(f"{row}" for row in finding.rows[:_ROWS_SHOWN])
        more = f" and {finding.n_rows - _ROWS_SHOWN:,} more" if finding.n_rows > _ROWS_SHOWN else ""
        rows = f", row{'s' * (finding.n_rows != 1)} {listed}{more}"
    yield f"  {ink(finding.kind, 'bad')}  {finding.file}{rows}: {finding.what}"
    if finding.remedy:
        yield f"    {finding.remedy}"
