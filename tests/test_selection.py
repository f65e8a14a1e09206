"""`--where` and `--patch`: which rows are meant, what is said of them, and one of them as PNG."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import Tree
from hypothesis import given
from hypothesis import strategies as st
from photos import copied, retyped, shards
from PIL import Image

import patchcli
from patchcli.errors import DamagedFile, UsageError
from patchcli.inspected import Selection
from patchcli.io.dataset import Dataset
from patchcli.records import show
from patchcli.report.page import inspection_lines
from patchcli.report.selected import select, write_patch
from patchcli.report.summary import inspect
from patchcli.selection import Columns, rows
from patchcli.where import KEYS, Where

Numbers = np.ndarray[Any, np.dtype[Any]]

NAMES = (b"tumor", b"a,b", b"a=b|c", b'"q"', b"caf\xe9", b"new\nline", "é".encode(), b"*", b"[x]?", b" ", b"class=x")


def columns(n: int, seed: int) -> Columns:
    """Rows drawn at random over all the names above."""
    rng = np.random.default_rng(seed)
    m = len(NAMES)
    names = np.array(NAMES)
    starts = np.sort(rng.integers(0, n + 1, 2))
    return Columns(
        labels=rng.integers(0, m, n),
        source=rng.integers(0, m, n).astype(np.int32),
        coords=rng.integers(0, 8, (n, 2)).astype(np.int32),
        digest=rng.choice(np.array([0, 1, 2**63, 2**64 - 1], np.uint64), n),
        classes=names,
        splits=np.array([b"train", b"val"]),
        paths=np.array([b"%b/%d.png" % (name, k) for k, name in enumerate(NAMES)]),
        groups=names[::-1],
        row_start=np.array([0, *starts, n]),
        shards=((0, b"o.shards/p-0.h5"), (1, b"o.shards/p-1.h5"), (2, b"o.shards/p-2.h5")),
        split=rng.integers(0, 2, n).astype(np.uint8),
        copy=rng.integers(0, 4, n).astype(np.int16),
        origin=rng.integers(0, 20, n),
    )


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


NUMBER = st.integers(0, 25)
SPAN = st.one_of(
    NUMBER.map(lambda a: (str(a), a, a)),
    st.tuples(NUMBER, NUMBER).map(lambda ab: (f"{min(ab)}-{max(ab)}", min(ab), max(ab))),
    NUMBER.map(lambda a: (f"{a}-", a, 2**62)),
)
EXACT = st.sampled_from([*map(show, NAMES), *map(os.fsdecode, NAMES)]).map(quoted)
GLOB = st.lists(st.sampled_from(["*", "?", "a", "\\", "xe9", "é", '"*"', "/", ".png", "1", '"a,b"', "["]), min_size=1)


def condition(key: str) -> st.SearchStrategy[tuple[str, list[str], bool]]:
    value: st.SearchStrategy[str] = SPAN.map(lambda span: span[0])
    if key == "class":
        value = EXACT
    elif key == "split":
        value = st.sampled_from(["train", " val ", '"train"'])
    elif key in ("source", "group"):
        value = st.one_of(GLOB.map("".join), EXACT)
    elif key == "shard":
        value = st.one_of(value, st.sampled_from(["p-1.h5", "o.shards/p-0.h5", "*-2.h5"]))
    elif key == "digest":
        value = st.sampled_from(["0" * 16, "8" + "0" * 15, "F" * 16, "00000000000000ff"])
    return st.tuples(st.just(key), st.lists(value, min_size=1, max_size=3), st.booleans())


CONDITIONS = st.lists(st.sampled_from(KEYS).flatmap(condition), min_size=1, max_size=3)


def obvious(conditions: list[tuple[str, list[str], bool]], known: Columns) -> list[int]:
    """The same row by row, with nothing clever."""
    return [row for row in range(len(known)) if all(holds(known, row, *one) for one in conditions)]


def holds(known: Columns, row: int, key: str, values: list[str], negated: bool) -> bool:
    source = known.source[row]
    shard = next(k for k in (2, 1, 0) if known.row_start[k] <= row)
    numbers = {
        "label": known.labels[row],
        "row": row,
        "x": known.coords[row][0],
        "y": known.coords[row][1],
        "shard": shard,
        "copy": 0 if known.copy is None else known.copy[row],
        "origin": 0 if known.origin is None else known.origin[row],
    }
    names = {
        "class": [known.classes[known.labels[row]]],
        "split": [known.splits[0 if known.split is None else known.split[row]]],
        "source": [known.paths[source]],
        "group": [known.groups[source]],
        "shard": [known.shards[shard][1], os.path.basename(known.shards[shard][1])],
    }
    found = False
    for value in map(str.strip, values):
        if key == "digest":
            found |= int(value, 16) == int(known.digest[row])
        elif key in numbers and value[0].isdigit():
            low, dash, high = value.partition("-")
            found |= int(low) <= numbers[key] <= (int(high or 2**62) if dash else int(low))
        else:
            spelled = [spelling for name in names[key] for spelling in (show(bytes(name)), os.fsdecode(bytes(name)))]
            found |= any(alike(plain(value, key != "class"), text) for text in spelled)
    return found != negated


def plain(value: str, globs: bool) -> list[str]:
    """Characters of a value: `*` and `?` where they mean something, others after a backslash."""
    found, inside = [], False
    for char in value.replace('""', "\0"):
        if char == '"':
            inside = not inside
        else:
            found.append(char if globs and not inside and char in "*?" else "\\" + char.replace("\0", '"'))
    return found


def alike(pattern: list[str], text: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(alike(pattern[1:], text[k:]) for k in range(len(text) + 1))
    return bool(text) and pattern[0] in ("?", "\\" + text[0]) and alike(pattern[1:], text[1:])


@given(CONDITIONS, st.integers(0, 40), st.integers(0, 2**32 - 1), st.booleans())
def test_rows_are_those_of_the_slow_way(
    conditions: list[tuple[str, list[str], bool]], n: int, seed: int, several: bool
) -> None:
    known = columns(n, seed)
    texts = [f"{key}{'!=' if negated else '='}{'|'.join(values)}" for key, values, negated in conditions]
    where = Where.of(texts if several else ", ".join(texts))
    found = rows(where, known)
    assert found.dtype == np.int64
    assert found.tolist() == obvious(conditions, known)
    assert Where.of(str(where)) == where  # what is shown can be said again


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('class="""q"""', [3]),
        ('class="a,b"|"a=b|c"', [1, 2]),
        ("class=a=b", None),
        ("class=*", [7]),
        ('class="*"', [7]),
        ('class=" "', [9]),
        ("class=class=x", [10]),
        ('source="*"*', [7]),
        ('source=*"?"*', [8]),
        ("source=[*", [8]),
        ("source=?/*", [6, 7, 9]),
        ("source=caf?/*", [4]),
        ("source=caf????/*", [4]),
        ("source=tumor/0.png|*1.png|*10.png", [0, 1, 10]),
        ("source=tumor", []),
        ("row=1-8|2-3|5", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("x=1-8|2-3|5", [1, 2, 3, 4, 5, 6, 7, 8]),
        ("label=9-|0|4|4", [0, 4, 9, 10]),
        ("label!=1-10", [0]),
        ("row=5,row=6", []),
        (" row = 5 | 6 , x != 6 ", [5]),
        ("shard=1", [3, 4, 5]),
        ("shard=p-0.h5|2", [0, 1, 2, 6, 7, 8, 9, 10]),
        ("digest=ffffFFFFffffFFF6", [9]),
    ],
)
def test_what_is_meant(text: str, expected: list[int] | None) -> None:
    known, ids = columns(len(NAMES), 0), np.arange(len(NAMES))
    known = replace(
        known,
        labels=ids,
        source=ids,
        coords=np.stack([ids, ids], axis=1),
        row_start=np.array([0, 3, 6, 11]),
        digest=np.uint64(2**64 - 1) - ids.astype(np.uint64),
    )
    if expected is None:
        with pytest.raises(UsageError, match="no class"):
            rows(Where.of(text), known)
    else:
        assert rows(Where.of(text), known).tolist() == expected


@given(st.text())
def test_any_text_is_conditions_or_a_slip(text: str) -> None:
    message = "where "
    try:
        rows(Where.of(text), columns(5, 0))
    except UsageError as error:
        message = str(error)
    assert message.startswith("where ")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clas=tumor", "no key 'clas': did you mean class?"),
        (
            "zzz=red",
            "no key 'zzz': there are class, label, split, source, group, shard, row, x, y, copy, origin, digest",
        ),
        ("class=tumour", "no class 'tumour': did you mean tumor?"),
        ("split=tain", "no split 'tain': did you mean train?"),
        ("split=test|val", "no split 'test': "),
        ("tumor", "expected key=value, such as class=tumor, found 'tumor'"),
        ("class=tumor,", "expected key=value, such as class=tumor, found ''"),
        ("class=", "class has no value"),
        ("class=tumor|", "class has no value"),
        ('class="tumor', "a quote is not closed"),
        ("row=-1", "row is '-1': expected a whole number, or a range such as 10-20 or 10-"),
        ("x=20-10", "x is '20-10': expected the smaller number first"),
        ("y=1.5", "y is '1.5': expected a whole number"),
        ("digest=12ab", "digest is '12ab': expected 16 hex digits"),
    ],
)
def test_slips_are_named(text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        rows(Where.of(text), columns(10, 0))
    assert said in str(raised.value)
    assert repr(text.strip()) in str(raised.value)


def test_a_data_set_without_splits_or_copies_says_so(cut: Path) -> None:
    for text in ("split=train", "copy=0", "origin=3"):
        with pytest.raises(UsageError, match="the data set has no"):
            select(Dataset(os.fsencode(cut)), where=[text])


def test_facts_are_those_of_the_tables(cut: Path, cut_sharded: Path, cut_splits: Path) -> None:
    for path in (cut, cut_sharded, cut_splits):
        data, ps = Dataset(os.fsencode(path)), patchcli.open(path)
        for row in (0, 7, len(ps) - 1):
            facts = select(data, patch=row).patches[0]
            assert facts == select(data, patch=row - len(ps)).patches[0]
            assert facts.class_name == ps.classes[ps.labels[row]]
            assert facts.source == os.fsdecode(ps.sources.path[ps.source[row]])
            assert facts.xy == tuple(ps.coords[row].tolist())
            assert facts.digest == f"{ps.digest[row]:016x}"
            assert np.allclose(facts.mean, ps[row].mean((0, 1)))
            assert facts.split == (None if path != cut_splits else facts.source.partition("/")[0])
            assert (facts.origin, facts.copy) == (None, None)
            listed = select(data, where=[f"row={row}"], most=5)
            assert (listed.n_patches, len(listed.patches), listed.single) == (1, 1, False)
            assert listed.patches[0].digest == facts.digest
            assert listed.patches[0].mean == ()


def test_copies_say_what_they_are_copies_of(cut: Path, tmp_path: Path) -> None:
    patchcli.augment(cut, tmp_path / "more.h5", horizontal_flip=True, copies=2, executor="serial")
    data = Dataset(os.fsencode(tmp_path / "more.h5"))
    facts = select(data, patch=3 * 11 + 2).patches[0]
    assert (facts.origin, facts.copy) == (11, 2)
    originals = select(data, where=["copy=0"], most=1000).patches
    assert [one.origin for one in originals] == list(range(80))
    assert [one.digest for one in originals] == [f"{digest:016x}" for digest in patchcli.open(cut).digest]


@pytest.mark.parametrize("edge", ["pad", "reflect", "shift"])
def test_px_outside_the_image_are_those_of_the_account(tree: Tree, tmp_path: Path, edge: Any) -> None:
    out = tmp_path / "out.h5"
    patchcli.extract(tree("a/1.png", "b/2.png", size=(50, 37)), out, patch=(16, 20), stride=15, edge=edge)
    data = Dataset(os.fsencode(out))
    patches = select(data, where=[], most=10**6).patches
    found = inspect(os.fsencode(out))
    assert sum(one.pixels_outside for one in patches) == found.pixels_padded
    assert (found.pixels_padded > 0) == (edge != "shift")


@pytest.mark.parametrize("patch", [80, -81, 10**30])
def test_a_row_that_is_not_there(cut: Path, patch: int) -> None:
    with pytest.raises(UsageError, match=r"it has 80 patches: expected 0 to 79, or -1 to -80 from the end"):
        select(Dataset(os.fsencode(cut)), patch=patch)


def test_one_patch_or_a_selection(cut: Path) -> None:
    with pytest.raises(UsageError, match="give one of them"):
        select(Dataset(os.fsencode(cut)), patch=1, where=["class=ihc"])


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_the_line_about_the_pixels_can_be_pasted(root: Path, tmp_path: Path, compression: Any) -> None:
    name = "it's ours.h5"
    patchcli.extract(root, tmp_path / name, patch=32, shard_size="70kB", compression=compression, executor="serial")
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "out.h5").symlink_to(tmp_path / name)
    for folder, path in ((tmp_path, name), (tmp_path, f"./{name}"), (tmp_path / "link", "out.h5")):
        os_path = os.path.join(folder, path)
        ps = patchcli.open(os_path)
        for row in (0, 79):
            line = relative(select(Dataset(os.fsencode(os_path)), patch=row).patches[0].pixels, folder)
            code = f"{line.replace('; ', '; print(')}.astype(int).sum())"
            printed = subprocess.run(
                [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
            )
            assert int(printed.stdout) == ps[row].astype(int).sum()


def relative(line: str, folder: Path) -> str:
    return line.replace(f"{folder}/", "")


def test_a_patch_of_a_damaged_shard(cut_sharded: Path, tmp_path: Path) -> None:
    out = copied(cut_sharded, tmp_path)
    data = Dataset(os.fsencode(out))
    shards(out)[0].unlink()
    with pytest.raises(DamagedFile, match=r"missing.*run the same extract command again"):
        select(data, patch=0)
    with pytest.raises(DamagedFile, match="missing"):
        write_patch(data, 0, str(tmp_path / "out.png"))
    assert not (tmp_path / "out.png").exists()
    assert select(data, where=["row=0"]).patches[0].class_name == "brick"  # no px are needed for that


def test_a_page_of_a_patch_and_of_a_selection(cut_splits: Path) -> None:
    data = Dataset(os.fsencode(cut_splits))
    page = "\n".join(page_of(cut_splits, select(data, patch=3)))
    for fact in (
        "row  ",
        "class  ",
        "split  ",
        "source  ",
        "SHA-256",
        "coordinates  x ",
        "mean  ",
        "digest  ",
        "pixels  ",
    ):
        assert f"  {fact}" in page
    listed = page_of(cut_splits, select(data, where=["class=ihc", "split=train"], most=3))
    assert "patches with class=ihc, split=train" in listed[2]
    assert listed[4].split() == ["row", "class", "split", "x", "y", "digest", "source"]
    assert listed[-1].endswith("more; --json lists up to 10,000)")
    assert page_of(cut_splits, select(data, where=["x=10000"]))[-1] == "no patch with x=10000"


def page_of(path: Path, selection: Selection) -> list[str]:
    return list(inspection_lines(replace(inspect(os.fsencode(path)), selection=selection)))


@pytest.mark.parametrize("mode", ["gray", "rgb", "rgba"])
def test_a_patch_as_png_has_the_same_pixels(root: Path, tmp_path: Path, mode: Any) -> None:
    patchcli.extract(root, tmp_path / "out.h5", patch=32, mode=mode, executor="serial")
    data = Dataset(os.fsencode(tmp_path / "out.h5"))
    written = write_patch(data, -1, str(tmp_path / "patch.png"))
    assert written.shows == "patch 79, 32x32 px, as stored, uint8"
    with Image.open(tmp_path / "patch.png") as image:
        assert np.array_equal(np.asarray(image).reshape(32, 32, -1), patchcli.open(tmp_path / "out.h5")[79])


@pytest.mark.parametrize(
    ("kind", "channels", "shows"),
    [
        (np.uint16, 1, "as stored, uint16"),
        (np.uint16, 3, "shown from "),
        (np.float32, 1, "shown from "),
        (np.float32, 3, "shown from "),
        (np.uint8, 2, "first channel of 2 shown"),
        (np.uint8, 5, "first three channels of 5 shown"),
    ],
)
def test_what_png_cannot_hold_is_shown_to_the_eye(
    cut: Path, tmp_path: Path, kind: type[np.generic], channels: int, shows: str
) -> None:
    def convert(patches: Numbers) -> Numbers:
        wide = patches[..., np.arange(channels) % 3].astype(np.float64) * 200
        return np.asarray(wide % 256 if kind is np.uint8 else wide).astype(kind)

    out = retyped(cut, tmp_path / "out.h5", convert)
    written = write_patch(Dataset(os.fsencode(out)), 7, str(tmp_path / "patch.png"))
    assert shows in written.shows
    with Image.open(tmp_path / "patch.png") as image:
        pixels = np.asarray(image)
    if kind is np.uint16 and channels == 1:
        assert np.array_equal(pixels, patchcli.open(out)[7][..., 0])
    else:
        assert (pixels.dtype.name, pixels.shape) == ("uint8", (32, 32, 3))


def test_only_what_patchcli_drew_is_replaced(cut: Path, tmp_path: Path) -> None:
    data, place = Dataset(os.fsencode(cut)), tmp_path / "patch.png"
    write_patch(data, 1, str(place))
    first = place.read_bytes()
    write_patch(data, 2, str(place))
    assert place.read_bytes() != first
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(place)
    theirs = place.read_bytes()
    with pytest.raises(UsageError, match="not replaced"):
        write_patch(data, 1, str(place))
    assert place.read_bytes() == theirs
    with pytest.raises(UsageError, match="expected the name of a picture"):
        write_patch(data, 1, str(tmp_path / "patch.tif"))
    assert [path.name for path in tmp_path.iterdir()] == ["patch.png"]


def test_names_of_files_from_anywhere_stay_one_line(tree: Tree, tmp_path: Path) -> None:
    patchcli.extract(tree(b"caf\xe9/a\x1b[2J\n.png", size=(20, 20)), tmp_path / "out.h5", patch=16, executor="serial")
    data = Dataset(os.fsencode(tmp_path / "out.h5"))
    facts = select(data, patch=0).patches[0]
    assert (facts.class_name, facts.source) == ("caf\\xe9", "caf\\xe9/a\\x1b[2J\\x0a.png")
    for text in (
        "class=caf\\xe9",
        os.fsdecode(b"class=caf\xe9"),
        "source=caf\\xe9*",
        os.fsdecode(b"source=*\xe9/a?[*"),
    ):
        selection = select(data, where=[text])
        assert selection.n_patches == 1
        assert all(line.isprintable() for line in page_of(tmp_path / "out.h5", selection))


def test_an_empty_data_set_has_no_patch(cut: Path, tmp_path: Path) -> None:
    out = tmp_path / "empty.h5"
    with h5py.File(cut) as file, h5py.File(out, "w", libver=("v110", "v110")) as new:
        for name, value in file.attrs.items():
            new.attrs.create(name, value)
        for name in file:
            if name in ("patches", "labels", "coords", "digest", "source"):
                new[name] = file[name][:0]
            else:
                file.copy(name, new)
    data = Dataset(os.fsencode(out))
    with pytest.raises(UsageError, match="it has 0 patches: there are none"):
        select(data, patch=0)
    assert select(data, where=["class=ihc"]).n_patches == 0
