"""Files whose settings or tables contradict each other: `inspect` refuses them with a reason."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import retyped

import patchcli
from patchcli.errors import DamagedFile
from patchcli.inspected import Inspection
from patchcli.report.page import inspection_lines
from patchcli.report.summary import inspect
from patchcli.report.text import as_json_text

Change = Callable[[h5py.File], None]


@pytest.fixture(scope="module")
def augmented(cut_splits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With splits, sources, origins, copies and a pipeline."""
    out = tmp_path_factory.mktemp("augmented") / "out.h5"
    patchcli.augment(cut_splits, out, horizontal_flip=True, rescale=0.5, copies=2, executor="serial")
    return out


@pytest.fixture(scope="module")
def plain(cut_splits: Path) -> Path:
    return cut_splits


def inspected(path: Path) -> Inspection:
    """The record, after it was printed in every form."""
    found = inspect(os.fsencode(path))
    assert all(line.isprintable() for line in inspection_lines(found))
    json.loads(as_json_text(found), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    return found


def changed(path: Path, folder: Path, change: Change) -> Path:
    out = folder / "changed.h5"
    shutil.copy(path, out)
    with h5py.File(out, "r+") as file:
        change(file)
    return out


def setting(name: str, value: Any, inside: str = "") -> Change:
    """A change of one of the settings; of `augment` where that is `inside`."""

    def change(file: h5py.File) -> None:
        settings = json.loads(file.attrs["settings"])
        place = settings[inside] if inside else settings
        if value is ...:
            place.pop(name)
        else:
            place[name] = value
        file.attrs["settings"] = np.bytes_(json.dumps(settings).encode())

    return change


def table(name: str, convert: Callable[[Any], Any]) -> Change:
    """A change of one of the tables; gone when it becomes None."""

    def change(file: h5py.File) -> None:
        values = convert(file[name][...] if name in file else None)
        if name in file:
            del file[name]
        if values is not None:
            values = np.asarray(values)
            options = {"chunks": values.shape, "fletcher32": True} if values.size and values.ndim else {}
            file.create_dataset(name, data=values, **options)

    return change


def first(value: Any) -> Callable[[Any], Any]:
    def convert(values: Any) -> Any:
        values[0] = value
        return values

    return convert


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (setting("patch_size", ...), "patch_size None"),
        (setting("patch_size", [64, 64]), r"patch_size \[64, 64\] for patches of 32x32 px"),
        (setting("stride", [0, 0]), "stride"),
        (setting("edge", "x\x1b[2J"), "edge"),
        (setting("compression", "rar"), "settings have compression .rar., expected one of none, gzip"),
        (setting("compression", {}), "settings have compression"),
        (setting("compression", ...), "settings have compression null"),
        (setting("background", float("nan")), "numbers that are none"),
        (setting("more", [{"x": [1, float("-inf")]}]), "numbers that are none"),
        (setting("augment", {}), "there without each other|augment"),
        (lambda file: file.attrs.__setitem__("plan_id", np.bytes_(b"../../x")), "plan_id"),
        (table("sources/label", first(-1)), "/sources/label goes from -1 to"),
        (table("sources/label", first(4)), "/sources/label goes from 0 to 4, there are 4 classes"),
        (table("sources/width", first(0)), "/sources has images without px"),
        (table("sources/height", first(-7)), "/sources has images without px"),
        (table("sources/width", lambda a: np.full(len(a), 2**62)), "which is impossible"),
        (table("sources/width", lambda a: a[:-1]), "different lengths"),
        (table("sources/label", lambda a: a.reshape(-1, 1)), "/sources"),
        (table("labels", first(4)), "/labels"),
        (table("labels", first(-1)), "/labels"),
        (table("source", first(10**6)), "/source"),
        (table("split", first(2)), "/split"),
        (table("split", lambda a: a.astype(float)), "/split"),
        (table("split", lambda a: None), "/split"),
        (table("splits", lambda a: None), "/split"),
        (table("stats/mean", first(np.nan)), "/stats/mean is .*nan"),
        (table("stats/std", first(np.inf)), "/stats/mean"),
        (table("stats/mean", first(256.0)), "/stats/mean"),
        (table("stats/std", first(-1.0)), "/stats/mean"),
        (table("stats/mean", lambda a: a[:2]), r"/stats/mean is .*\(2,\), expected a number for each of 3 channels"),
        (table("stats/std", lambda a: a.astype(int)), "/stats/std"),
        (table("stats/mean", lambda a: np.array(["1", "2", "3"], "S1")), "/stats/mean"),
        (table("stats/std", lambda a: np.stack([a, a])), "/stats/std"),
        (table("origin", lambda a: None if a is not None else np.zeros(200, int)), "/origin"),
    ],
)
def test_contradictions_are_refused_with_a_reason(plain: Path, tmp_path: Path, change: Change, said: str) -> None:
    with pytest.raises(DamagedFile, match=said) as raised:
        inspected(changed(plain, tmp_path, change))
    assert str(raised.value).startswith(f"{tmp_path}/changed.h5: ")
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (setting("augment", ...), "there without each other"),
        (setting("augment", None), "an augmentation null"),
        (setting("augment", [1]), "an augmentation"),
        (setting("pipeline", ..., "augment"), "a pipeline is a list"),
        (setting("pipeline", [{"A": {}, "B": {}}], "augment"), "expected a transform"),
        (setting("pipeline", [{"\x1b[2J": {}}], "augment"), "a pipeline that augment does not write"),
        (setting("pipeline", [{"D4": {"a\nb": 1}}], "augment"), "a pipeline that augment does not write"),
        (setting("pipeline", [{"OneOf": {"transforms": {}}}], "augment"), "OneOf takes a list"),
        (setting("standardize", ..., "augment"), "augment.standardize"),
        (setting("standardize", [], "augment"), "augment.standardize"),
        (setting("copies", ..., "augment"), "augment.copies null, expected int"),
        (setting("copies", True, "augment"), "augment.copies true"),
        (setting("seed", "0", "augment"), "augment.seed"),
        (setting("keep_original", 1, "augment"), "augment.keep_original"),
        (setting("only_split", "test", "augment"), "an augmentation of split"),
        (setting("only_split", ["train"], "augment"), "an augmentation of split"),
        (setting("pipeline", ["D4"], "augment"), "a pipeline that augment does not write"),
        (setting("standardize", {"a\x1b": 1}, "augment"), "augment.standardize"),
        (setting("input", "a\x1b", "augment"), "an augmentation of split"),
        (setting("before", {}, "augment"), "augment.copies null"),
        (setting("before", 1, "augment"), "an augmentation 1"),
        (setting("before", None, "augment"), "an augmentation null"),
        (setting("input", ..., "augment"), "augment.input null, expected str"),
        (table("copy", lambda a: None), "/copy"),
        (table("origin", lambda a: None), "/origin"),
        (table("copy", first(-1)), "/copy does not fit the other tables"),
        (table("origin", lambda a: a.astype(float)), "/origin"),
        (table("stats/mean", first(np.nan)), "/stats/mean"),
    ],
)
def test_contradictions_of_copies(augmented: Path, tmp_path: Path, change: Change, said: str) -> None:
    with pytest.raises(DamagedFile, match=said):
        inspected(changed(augmented, tmp_path, change))


def test_what_later_versions_may_add_is_no_contradiction(augmented: Path, tmp_path: Path) -> None:
    out = changed(augmented, tmp_path, setting("keep", ["std>=8"]))
    assert inspected(out).settings["keep"] == ["std>=8"]
    assert inspected(out).command == ()  # another command than the one that made it would be worse than none
    out = changed(augmented, tmp_path, setting("pipeline", [{"NewTransform": {"p": 1.0, "more": [1]}}], "augment"))
    assert any("NewTransform" in line for line in inspection_lines(inspected(out)))


def test_floats_that_are_no_numbers_have_no_mean(cut: Path, tmp_path: Path) -> None:
    def convert(patches: Any) -> Any:
        wide = patches.astype(np.float32)
        wide[3, 0, 0, 0] = np.nan
        return wide

    assert inspected(retyped(cut, tmp_path / "nan.h5", convert)).mean == ()
    out = retyped(cut, tmp_path / "float.h5", lambda patches: patches.astype(np.float32))
    assert len(inspected(out).mean) == 3
    with pytest.raises(DamagedFile, match="which no float32 patches have"):
        inspected(changed(out, tmp_path, table("stats/mean", first(np.nan))))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40)
@given(JSON, st.data())
def test_settings_of_any_kind(augmented: Path, tmp_path_factory: pytest.TempPathFactory, value: Any, data: Any) -> None:
    """Whatever stands in the settings is summarised or refused."""
    known = patchcli.open(augmented).settings
    inside = data.draw(st.sampled_from(["", "augment"]))
    name = data.draw(st.sampled_from([*(known[inside] if inside else known), "before", "new"]))
    out = changed(augmented, tmp_path_factory.getbasetemp(), setting(name, value, inside))
    message = f"{out}: "
    try:
        inspected(out)
    except DamagedFile as error:
        message = str(error)
    assert message.startswith(f"{out}: ")


TABLES = (
    *("labels", "source", "split", "origin", "copy", "digest", "coords", "classes", "splits"),
    *(f"sources/{name}" for name in ("path", "width", "height", "sha256", "label", "group")),
    *(f"stats/{name}" for name in ("mean", "std", "n_pixels", "sum", "sum_of_squares")),
    *(f"skipped/{name}" for name in ("path", "reason", "kind")),
)


@settings(max_examples=40)
@given(
    st.sampled_from(TABLES),
    st.sampled_from(["int8", "uint64", "int64", "float32", "float64", "S3", "gone", "empty", "flat", "deep", "scalar"]),
    st.sampled_from([0, 1, -1, 255, 2**31, 2**63 - 1, float("nan"), 1e300]),
)
def test_tables_of_any_kind(
    augmented: Path, tmp_path_factory: pytest.TempPathFactory, name: str, kind: str, value: float
) -> None:
    """A table of another type, another shape, with another value, or none at all."""

    def convert(values: Any) -> Any:
        if kind == "gone":
            return None
        if kind in ("empty", "flat", "deep", "scalar"):
            shapes = {"empty": values[:0], "flat": values.reshape(-1), "deep": values[..., None], "scalar": np.array(7)}
            return shapes[kind]
        with np.errstate(all="ignore"):
            other = np.zeros(values.shape, kind) if "S" in kind or values.dtype.kind == "S" else values.astype(kind)
            if other.size:
                other.reshape(-1)[0] = np.array(value).astype(kind)
        return other

    out = changed(augmented, tmp_path_factory.getbasetemp(), table(name, convert))
    message = f"{out}: "
    try:
        inspected(out)
    except DamagedFile as error:
        message = str(error)
    assert message.startswith(f"{out}: ")
