"""What the user asked for, checked once on construction: frozen parameters that go in."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from numbers import Integral
from typing import Any, Final, Literal, NamedTuple, get_args

from patchcli.errors import UsageError

Edge = Literal["drop", "shift", "pad", "reflect"]
Mode = Literal["auto", "gray", "rgb", "rgba"]
Layout = Literal["auto", "classes", "splits"]
Compression = Literal["none", "gzip", "lzf", "lz4", "zstd"]
OnError = Literal["stop", "skip"]
ExecutorName = Literal["process", "serial"]

MAX_PIXELS: Final = 178_956_970
"""Largest image that is decoded by default, in px: where Pillow speaks of a decompression bomb."""

PLUGGED: Final = ("lz4", "zstd")
NO_PLUGIN: Final = "compression {} needs the package hdf5plugin: pip install 'patchcli[compression]'"

IN_MEMORY_BYTES: Final = 64 << 20
"""A larger image file is decoded from disk, not from a copy of its bytes."""

SHARD_BYTES: Final = 256 * 2**20


class Size(NamedTuple):
    """Width and height in px, written `64` or `64x48`."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}" if self.width == self.height else f"{self.width}x{self.height}"


def parse_size(text: object, *, name: str) -> Size:
    """`64` and `"64"` are squares, `"64x48"` and `(64, 48)` are width by height, in px."""
    match = re.fullmatch(r"(\d{1,9})(?:\s*[xX]\s*(\d{1,9}))?", str(text).strip(), re.ASCII)
    if isinstance(text, (tuple, list)) and len(text) == 2:
        match = re.fullmatch(r"(\d{1,9})x(\d{1,9})", f"{text[0]}x{text[1]}", re.ASCII)
    if not match or isinstance(text, bool):
        raise UsageError(f"{name} is {text!r}: expected a whole number of px, or WxH such as 64x48")
    size = Size(int(match[1]), int(match[2] or match[1]))
    if min(size) < 1:
        raise UsageError(f"{name} is {text!r}: expected at least 1 px")
    return size


def parse_bytes(text: object, *, name: str) -> int:
    """`268435456`, `"256MiB"` or `"250MB"` in bytes; the unit's case does not matter."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?))?b?", str(text).strip().lower(), re.ASCII)
    if not match or isinstance(text, bool):
        raise UsageError(f"{name} is {text!r}: expected bytes with a unit, such as 256MiB or 1GB")
    power = " kmgt".index(match[2]) if match[2] else 0
    exact = Fraction(match[1]) * (1024 if match[3] else 1000) ** power
    if exact < 1 or (power == 0 and exact.denominator > 1):
        raise UsageError(f"{name} is {text!r}: expected whole bytes, at least 1")
    return int(exact)


def stride_from_overlap(patch: int, overlap: object) -> int:
    """Stride in px of one axis: `floor(patch * (1 - overlap))`, exact in decimal, at least 1.

    Parameters
    ----------
    patch : int
        Patch size along the axis, px.
    overlap : number or str
        Below 1 a fraction of the patch; a whole number from 2 is px; 1 could be either and is refused.

    Examples
    --------
    >>> stride_from_overlap(10, "0.9")   # binary floats would give 0
    1
    >>> stride_from_overlap(64, 16)
    48
    """
    try:
        value = Decimal(str(overlap))
    except InvalidOperation:
        raise UsageError(f"overlap is {overlap!r}: expected a fraction such as 0.5, or px such as 16") from None
    if not value.is_finite() or value < 0:
        raise UsageError(f"overlap is {overlap}: expected 0 or more")
    if value < 1:
        return max(1, math.floor(patch * (1 - Fraction(value))))
    if value == 1:
        raise UsageError("overlap is 1, which could be 1 px or the whole patch: say --stride instead")
    if value != value.to_integral_value():
        raise UsageError(f"overlap is {overlap}: expected a fraction below 1, or a whole number of px from 2")
    if value >= patch:
        raise UsageError(f"overlap is {overlap} px: expected less than the patch, which is {patch} px")
    return patch - int(value)


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise `UsageError` unless a value is one of some names."""
    if value not in choices:
        raise UsageError(f"{name} is {value!r}: expected one of {', '.join(choices)}")


def check_switch(name: str, value: object) -> None:
    """Raise `UsageError` unless a value is True or False."""
    if not isinstance(value, bool):
        raise UsageError(f"{name} is {value!r}: expected True or False")


def check_whole(name: str, value: object, least: int, most: int) -> None:
    """Raise `UsageError` unless a value is a whole number within bounds."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise UsageError(f"{name} is {value!r}: expected a whole number from {least} to {most}")


def whole(name: str, value: object, least: int, most: int) -> int:
    """A whole number of any kind, numpy's too, as Python's; raises `UsageError` unless it is within bounds."""
    number: Any = value
    if not isinstance(value, bool) and isinstance(value, Integral):
        number = int(value)
    check_whole(name, number, least, most)
    return int(number)


@dataclass(frozen=True)
class ExtractSpec:
    """What `extract` cuts and how it is stored: everything that decides bytes, and nothing else.

    `of` accepts what users write. Raises `UsageError` when a value is out of range.
    """

    patch_size: Size = Size(64, 64)
    stride: Size = Size(64, 64)
    edge: Edge = "drop"
    pad_value: int = 0
    layout: Layout = "auto"
    classes: tuple[bytes, ...] | None = None
    mode: Mode = "auto"
    background: tuple[int, int, int] = (255, 255, 255)
    shuffle: bool = False
    seed: int = 0
    shard_size: int = SHARD_BYTES
    compression: Compression = "none"

    def __post_init__(self) -> None:
        check_choice("edge", self.edge, get_args(Edge))
        check_choice("layout", self.layout, get_args(Layout))
        check_choice("mode", self.mode, get_args(Mode))
        check_choice("compression", self.compression, get_args(Compression))
        for name in ("patch_size", "stride"):
            for length in getattr(self, name):
                check_whole(name, length, 1, 2**31 - 1)
        check_whole("pad_value", self.pad_value, 0, 255)
        check_whole("seed", self.seed, 0, 2**63 - 1)
        check_whole("shard_size", self.shard_size, 1, 2**63 - 1)
        for level in self.background:
            check_whole("background", level, 0, 255)
        check_switch("shuffle", self.shuffle)
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise UsageError("classes: a name stands twice")
        if self.classes is not None and not self.classes:
            raise UsageError("classes: expected at least one name")

    @classmethod
    def of(
        cls,
        *,
        patch: object = 64,
        overlap: object = None,
        stride: object = None,
        classes: str | Iterable[str] | None = None,
        shard_size: object = SHARD_BYTES,
        **others: Any,
    ) -> ExtractSpec:
        """From the options as users write them: sizes as text or numbers, classes as `a,b,c` or a list."""
        patch_size = parse_size(patch, name="patch")
        if stride is not None:
            if overlap is not None:
                raise UsageError("overlap and stride say the same thing: give one of them")
            step = parse_size(stride, name="stride")
        else:
            step = Size(*(stride_from_overlap(length, 0 if overlap is None else overlap) for length in patch_size))
        names = [name for name in classes.split(",") if name] if isinstance(classes, str) else classes
        return cls(
            patch_size=patch_size,
            stride=step,
            classes=None if names is None else tuple(os.fsencode(name) for name in names),
            shard_size=parse_bytes(shard_size, name="shard_size"),
            **others,
        )

    def settings(self) -> dict[str, Any]:
        """The settings that decide bytes, as plain values under stable names; what has no effect is left out."""
        settings: dict[str, Any] = {
            "patch_size": list(self.patch_size),
            "stride": list(self.stride),
            "edge": self.edge,
            "layout": self.layout,
            "classes": None
            if self.classes is None
            else [name.decode(errors="surrogateescape") for name in self.classes],
            "mode": self.mode,
            "background": list(self.background),
            "order": f"shuffle, seed {self.seed}" if self.shuffle else "path",
            "shard_size": self.shard_size,
            "compression": self.compression,
        }
        if self.edge == "pad":
            settings["pad_value"] = self.pad_value
        return settings


@dataclass(frozen=True)
class RunSpec:
    """How the work is done: nothing here changes a byte of the result."""

    workers: int | None = None
    executor: ExecutorName = "process"
    on_error: OnError = "stop"
    max_pixels: int = MAX_PIXELS
    overwrite: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        check_choice("executor", self.executor, get_args(ExecutorName))
        check_choice("on_error", self.on_error, get_args(OnError))
        if self.workers is not None:
            check_whole("workers", self.workers, 1, 2**31 - 1)
        check_switch("overwrite", self.overwrite)
        check_switch("dry_run", self.dry_run)
        check_whole("max_pixels", self.max_pixels, 1, 2**63 - 1)
