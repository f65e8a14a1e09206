"""A walk through an HDF5 file that patchcli did not make: what is in it, within fixed budgets, led nowhere else.

No link but a hard one is followed, no other file is opened, no value of a data set is read. Everything is asked of the
HDF5 library by its low-level calls, one question at a time, since each may fail for itself. The library can crash over
such files all the same: this runs in a process of its own (`child.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

import h5py
import numpy as np
from h5py import h5, h5a, h5d, h5g, h5l, h5o, h5s, h5t, h5z

from patchcli.foreign.records import ForeignDataset, LeftAlone
from patchcli.records import show

MOST_OBJECTS: Final = 2000
_MOST_LINKS: Final = 500  # of one group
_MOST_DEPTH: Final = 12
_MOST_LEFT_ALONE: Final = 100
_MOST_ATTRIBUTES: Final = 24
_MOST_ATTRIBUTE_BYTES: Final = 1 << 16
_MOST_NUMBERS: Final = 16
_MOST_TEXT: Final = 200
_FILTERS: Final = {
    1: "gzip",
    2: "shuffle",
    3: "fletcher32",
    4: "szip",
    5: "nbit",
    6: "scaleoffset",
    32000: "lzf",
    32001: "blosc",
    32004: "lz4",
    32008: "bitshuffle",
    32015: "zstd",
    32026: "blosc2",
}
_LAYOUTS: Final = {h5d.COMPACT: "compact", h5d.CONTIGUOUS: "contiguous", h5d.CHUNKED: "chunked"}
_KINDS: Final = {h5t.REFERENCE: "reference", h5t.OPAQUE: "opaque", h5t.BITFIELD: "bitfield", h5t.TIME: "time"}


class Walk:
    """A walk from the root of an open file; its findings are there when it is made.

    Attributes
    ----------
    datasets : dict of str to ForeignDataset
        By path, sorted.
    names : dict of str to bytes
        Of data sets by path, as the file spells them, `/` between the parts.
    groups : list of str
    left_alone, notes : list
    """

    def __init__(self, file: h5py.File) -> None:
        self.datasets: dict[str, ForeignDataset] = {}
        self.names: dict[str, bytes] = {}
        self.groups: list[str] = []
        self.left_alone: list[LeftAlone] = []
        self.notes: list[str] = []
        root = h5g.open(file.id, b"/")
        self._seen: dict[Any, str] = {_key(root): "/"}
        self.attributes = attributes_of(root)
        waiting = [(b"", root)]
        while waiting:  # level by level, so that what is near the root is seen before a budget ends
            waiting = [found for prefix, group in waiting for found in self._look_into(prefix, group)]
        self.datasets = dict(sorted(self.datasets.items()))
        if len(self._seen) >= MOST_OBJECTS:
            self.notes.append(f"more than {MOST_OBJECTS:,} objects: the rest was not looked at")

    def _look_into(self, prefix: bytes, group: h5g.GroupID) -> Iterator[tuple[bytes, h5g.GroupID]]:
        """All that a group leads to; the groups that are to be looked into next."""
        self.groups.append(show(prefix) or "/")
        try:
            links, n_links = _links(group)
        except Exception as error:
            self._leave(prefix or b"/", f"cannot be listed ({short(error)})")
            return
        if n_links > len(links):
            self.notes.append(f"{show(prefix) or '/'} holds {n_links:,} objects: {len(links):,} were looked at")
        for name, kind in sorted(links):
            if len(self._seen) >= MOST_OBJECTS:
                return
            path = prefix + b"/" + name
            try:
                found = self._open(group, name, kind, path)
            except Exception as error:
                self._leave(path, f"cannot be opened ({short(error)})")
                continue
            if found is not None and path.count(b"/") >= _MOST_DEPTH:
                self._leave(path, f"a group more than {_MOST_DEPTH - 1} levels deep, not looked into")
            elif found is not None:
                yield path, found

    def _open(self, group: h5g.GroupID, name: bytes, kind: int, path: bytes) -> h5g.GroupID | None:
        """Look at what a link leads to; a group that was not seen before."""
        if kind != h5l.TYPE_HARD:
            self._leave(path, _link(group, name, kind))
        elif b"/" in name or name in (b".", b""):
            self._leave(path, "a name that is a path, not followed")  # it could lead through a link
        else:
            place = h5o.open(group, name)
            key = _key(place)
            if key in self._seen:
                self._leave(path, f"the same as {self._seen[key]}")
                return None
            self._seen[key] = show(path)
            if isinstance(place, h5g.GroupID):
                return place
            if isinstance(place, h5d.DatasetID):
                one = _dataset(place, show(path))
                self.datasets[one.path], self.names[one.path] = one, path
                if one.layout in ("virtual", "external"):
                    self._leave(path, f"{one.layout}: its values are in other files, not followed")
        return None

    def _leave(self, path: bytes, what: str) -> None:
        if len(self.left_alone) < _MOST_LEFT_ALONE:
            self.left_alone.append(LeftAlone(show(path), what))
        elif len(self.left_alone) == _MOST_LEFT_ALONE:
            self.left_alone.append(LeftAlone("...", "and more like these"))


def _key(place: Any) -> tuple[int, int]:
    """What tells an object of the file from another, whatever name it goes by."""
    info = h5o.get_info(place)
    return info.fileno, info.addr


def _links(group: h5g.GroupID) -> tuple[list[tuple[bytes, int]], int]:
    """The first links of a group with their kinds, in the file's own order, and how many there are."""
    found: list[tuple[bytes, int]] = []

    def note(name: bytes, info: Any) -> bool | None:
        found.append((name, info.type))
        return True if len(found) >= _MOST_LINKS else None

    group.links.iterate(note, info=True, order=h5.ITER_NATIVE)
    return found, max(len(found), int(group.get_num_objs()))


def _link(group: h5g.GroupID, name: bytes, kind: int) -> str:
    if kind == h5l.TYPE_SOFT:
        return f"a soft link to {_cut(show(group.links.get_val(name)))}, not followed"
    if kind == h5l.TYPE_EXTERNAL:
        file, path = group.links.get_val(name)
        return f"an external link to {_cut(show(path))} in {_cut(show(file))}, not followed"
    return f"a link of kind {kind}, not followed"


def _dataset(place: h5d.DatasetID, path: str) -> ForeignDataset:
    """A data set as it describes itself. The space of a virtual one is not asked for: that opens its sources."""
    properties = place.get_create_plist()
    layout, shape = _LAYOUTS.get(properties.get_layout(), "unknown"), None
    if properties.get_layout() == h5d.VIRTUAL:
        layout = "virtual"
    elif properties.get_external_count():
        layout = "external"
    if layout != "virtual":
        space = place.get_space()
        shape = tuple(map(int, space.get_simple_extent_dims())) if space.get_simple_extent_type() != h5s.NULL else None
    kind = place.get_type()
    filters = [properties.get_filter(k)[0] for k in range(properties.get_nfilters())]
    return ForeignDataset(
        path=path,
        shape=shape,
        dtype=dtype_name(kind),
        layout=layout,
        chunks=tuple(map(int, properties.get_chunk())) if layout == "chunked" else None,
        compression=", ".join(_FILTERS.get(number, f"filter {number}") for number in filters) or "none",
        filters=tuple(filters),
        bytes=int(place.get_storage_size()) if layout in _LAYOUTS.values() else 0,
        declared_bytes=0 if shape is None else math.prod(shape) * int(kind.get_size()),
        attributes=attributes_of(place),
    )


def dtype_name(kind: h5t.TypeID) -> str:
    """What a type is called: as in numpy for numbers, in words for the others."""
    group, n_bytes = kind.get_class(), int(kind.get_size())
    if group == h5t.INTEGER:
        name = f"{'int' if kind.get_sign() == h5t.SGN_2 else 'uint'}{8 * n_bytes}"
        return name + (", big-endian" if n_bytes > 1 and kind.get_order() == h5t.ORDER_BE else "")
    if group == h5t.FLOAT:
        return f"float{8 * n_bytes}" + (", big-endian" if kind.get_order() == h5t.ORDER_BE else "")
    if group == h5t.STRING:
        return "text of any length" if kind.is_variable_str() else f"text of {n_bytes:,} bytes"
    if group == h5t.COMPOUND:
        return f"compound of {kind.get_nmembers():,} fields"
    if group == h5t.ENUM:
        return f"enum of {kind.get_nmembers():,} names"
    if group == h5t.ARRAY:
        return f"array of {dtype_name(kind.get_super())}"
    if group == h5t.VLEN:
        return f"lists of {dtype_name(kind.get_super())}"
    return _KINDS.get(group, "unknown")


def attributes_of(place: Any) -> dict[str, Any]:
    """The first attributes of an object that are short text or a few numbers; of others, what they are."""
    found: dict[str, Any] = {}

    def note(name: bytes, *_: Any) -> bool | None:
        found[show(name)] = _attribute(place, name)
        return True if len(found) >= _MOST_ATTRIBUTES else None

    try:
        h5a.iterate(place, note)
    except Exception as error:
        found["..."] = f"(cannot be read: {short(error)})"
    return found


def _attribute(place: Any, name: bytes) -> Any:
    try:
        attribute = h5a.open(place, name)
        kind, space = attribute.get_type(), attribute.get_space()
        n, group = int(space.get_simple_extent_npoints()), kind.get_class()
        if space.get_simple_extent_type() == h5s.NULL or n == 0:
            return "(nothing)"
        if n > _MOST_NUMBERS or n * kind.get_size() > _MOST_ATTRIBUTE_BYTES:
            return f"({n:,} of {dtype_name(kind)})"
        if group not in (h5t.INTEGER, h5t.FLOAT, h5t.ENUM, h5t.STRING):
            return f"({dtype_name(kind)})"
        values = _read(attribute, kind, np.empty(space.get_simple_extent_dims(), _memory_dtype(kind)))
        plain = [_plain(value) for value in values.reshape(-1).tolist()]
    except Exception as error:
        return f"(cannot be read: {short(error)})"
    return plain[0] if space.get_simple_extent_type() == h5s.SCALAR else plain


def _memory_dtype(kind: h5t.TypeID) -> np.dtype[Any]:
    group = kind.get_class()
    if group == h5t.STRING:
        return h5py.string_dtype() if kind.is_variable_str() else np.dtype(f"S{kind.get_size()}")
    return np.dtype(np.float64 if group == h5t.FLOAT else np.int64)


def _read(attribute: h5a.AttrID, kind: h5t.TypeID, into: Any) -> Any:
    memory = kind if into.dtype.kind == "S" else None  # text as it is stored: character sets are not converted
    attribute.read(into, mtype=memory)
    return into


def _plain(value: Any) -> Any:
    """As JSON has it: text, or a finite number."""
    if isinstance(value, bytes):
        return _cut(show(value))
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, int | float) else _cut(show(str(value).encode(errors="surrogateescape")))


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}... ({len(text):,} characters)"


def short(error: Exception) -> str:
    """What went wrong, in a line."""
    return _cut(" ".join(str(error).split()) or type(error).__name__)


def is_builtin(filters: tuple[int, ...]) -> bool:
    """Whether HDF5 and h5py undo these filters by themselves: no plugin is loaded for a stranger's file."""
    return set(filters) <= {h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32, h5z.FILTER_LZF}
