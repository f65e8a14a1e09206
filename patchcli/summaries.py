"""Facts for people and programs: what a run made, and what a file holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from patchcli.records import SkipKind, Skipped, show

if TYPE_CHECKING:
    import numpy.typing as npt

_KINDS: Final = get_args(SkipKind)
_EXAMPLES: Final = 3


@dataclass(frozen=True, slots=True)
class ClassSummary:
    """One class of a data set in numbers.

    Attributes
    ----------
    images : int
        With at least one patch.
    pixels, pixels_uncovered, pixels_padded : int
        Of those images: all, in no patch, and added at their borders (summed over patches).
    """

    name: str
    images: int
    patches: int
    pixels: int
    pixels_uncovered: int
    pixels_padded: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files left out for one reason, with the first few as examples."""

    kind: SkipKind
    reason: str
    files: int
    examples: tuple[str, ...]


def made_by(settings: dict[str, Any]) -> Literal["extract", "augment"]:
    """The command that made a data set with such settings, and that mends it."""
    return "augment" if "augment" in settings else "extract"


def setting_text(value: Any) -> str:
    """A setting's value for people: `64`, `64x48`, `255,255,255`, `default`."""
    if isinstance(value, list) and len(value) == 2 and all(isinstance(one, int) for one in value):
        return str(value[0]) if value[0] == value[1] else f"{value[0]}x{value[1]}"
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "default" if value is None else str(value)


def group_left_out(skipped: Sequence[Skipped]) -> tuple[LeftOut, ...]:
    """Files left out, grouped by reason: the worst kind first, then the largest group."""
    groups: dict[tuple[SkipKind, str], list[bytes]] = {}
    for one in skipped:
        reason = "smaller than a patch" if one.kind == "small" else one.reason
        groups.setdefault((one.kind, reason), []).append(one.path)
    order = sorted(groups.items(), key=lambda item: (-_KINDS.index(item[0][0]), -len(item[1]), item[0]))
    return tuple(
        LeftOut(kind, reason, len(paths), tuple(show(path) for path in paths[:_EXAMPLES]))
        for (kind, reason), paths in order
    )


@dataclass(frozen=True, slots=True)
class ExtractSummary:
    """What `extract` made, or would make.

    Attributes
    ----------
    state : {"made", "already done", "planned"}
    patch_shape : (int, int, int)
        Height, width, channels.
    stride : (int, int)
        Along x and y, px.
    bytes : int
        On disk; when planned, of the pixels uncompressed.
    notes : tuple of str
        Conversions that took place, with counts.
    left_out : tuple of LeftOut
    worker_bytes : int
        Memory that a worker needs at most.
    """

    output: str
    state: Literal["made", "already done", "planned"]
    plan_id: str
    patches: int
    patch_shape: tuple[int, int, int]
    stride: tuple[int, int]
    edge: str
    images: int
    classes: tuple[ClassSummary, ...]
    splits: tuple[str, ...]
    shards: int
    shards_kept: int
    bytes: int
    pixels: int
    pixels_uncovered: int
    pixels_padded: int
    notes: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    workers: int
    worker_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CopiedClass:
    """One class of an augmented data set in numbers.

    Attributes
    ----------
    patches_in : int
        Of the input.
    augmented : int
        Those of them that copies are made of.
    copies : (int, int)
        Of each of these, least and most.
    patches : int
        Originals and copies.
    """

    name: str
    patches_in: int
    augmented: int
    copies: tuple[int, int]
    patches: int


@dataclass(frozen=True, slots=True)
class AugmentSummary:
    """What `augment` made, or would make.

    Attributes
    ----------
    input : str
    state : {"made", "already done", "planned"}
    originals, copies : int
        Of `patches`.
    repeated : int
        Rows whose px are those of another row of the same patch; 0 when planned.
    patch_shape : (int, int, int)
        Height, width, channels.
    split : str or None
        The one that is augmented; None: all patches are.
    bytes : int
        On disk; when planned, of the pixels uncompressed.
    pipeline : list
        As it was resolved, every argument said.
    worker_bytes : int
        Memory that a worker needs at most.
    """

    output: str
    input: str
    state: Literal["made", "already done", "planned"]
    plan_id: str
    patches: int
    originals: int
    copies: int
    repeated: int
    patch_shape: tuple[int, int, int]
    dtype: str
    classes: tuple[CopiedClass, ...]
    split: str | None
    balance: bool
    seed: int
    pipeline: list[Any]
    standardize: dict[str, Any]
    shards: int
    shards_kept: int
    bytes: int
    notes: tuple[str, ...]
    workers: int
    worker_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """A patch and its copies, for a look: names as they are shown, arrays (H, W, C) from the original on."""

    class_name: str
    source: str
    xy: tuple[int, int]
    patches: tuple[npt.NDArray[Any], ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A contact sheet: patches, and copies of each."""

    sheet: str
    patches: int
    copies: int
