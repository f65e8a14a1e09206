"""Files of other programs: what they hold is said, nothing leads out of them, and no file can do harm."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import foreign_files as files
import h5py
import numpy as np
import pytest
from foreign_files import grid
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from photos import crops
from PIL import Image as Pillow

from patchcli.errors import DamagedFile
from patchcli.foreign.conventions import Values, coordinates, count_labels
from patchcli.foreign.records import ForeignFile
from patchcli.io.foreign import look as foreign
from patchcli.io.foreign.child import found_in
from patchcli.io.foreign.look import is_foreign
from patchcli.report.foreign import foreign_lines


def look_at(path: Path) -> ForeignFile:
    return foreign.look_at(os.fsencode(path))


def inside(path: Path) -> ForeignFile:
    """As `look_at`, but in this process and therefore at once: for files that do no harm."""
    with h5py.File(path) as file:
        plain = json.loads(json.dumps(dataclasses.asdict(found_in(file, os.fsencode(path)))))
    found = foreign._built(ForeignFile, plain)
    assert isinstance(found, ForeignFile)
    return found


def page(found: ForeignFile) -> str:
    """The page of text, which is never long, wide or more than text."""
    lines = list(foreign_lines(found))
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 200
    assert all(line.isprintable() for line in lines)
    json.dumps(dataclasses.asdict(found), allow_nan=False)
    return "\n".join(lines)


# --- conventions


def test_clam(tmp_path: Path) -> None:
    tissue, more = grid(1000, 2000, 30, 20, 1024), grid(78_000, 59_100, 3, 1, 1024)
    path = files.clam_coords(tmp_path / "TCGA-A1.h5", tissue, more, level=1)
    found = look_at(path)
    assert found == inside(path)
    facts, coords = found.facts, found.facts.coordinates
    assert (found.format, found.kind, found.bytes) == ("other", "clam-coords", path.stat().st_size)
    assert (facts.patches, facts.patch_size, facts.level, facts.level_of_coords) == (603, (256, 256), 1, 0)
    assert (facts.patch_size_level0, facts.slide, facts.slide_size) == ((1024, 1024), "TCGA-A1", (80_000, 60_000))
    assert coords
    assert (coords.rows, coords.rows_read, coords.repeated, coords.negative) == (603, 603, 0, 0)
    assert (coords.least, coords.greatest) == ((1000, 2000), (80_048, 59_100))
    assert coords.stride == (1024, 1024)
    assert coords.outside == 3  # all of the second piece reach over the bottom, one over the right border too
    assert facts.pixels is None
    assert "pixels" in found.missing
    (dataset,) = found.datasets
    assert (dataset.path, dataset.shape, dataset.dtype, dataset.chunks) == ("/coords", (603, 2), "int64", (1, 2))
    assert (dataset.compression, dataset.bytes, dataset.declared_bytes) == ("none", 603 * 16, 603 * 16)
    assert dataset.attributes["downsample"] == [4.0, 4.0]
    text = page(found)
    assert "CLAM" in text
    assert "603 of 256x256 px on level 1, 1024x1024 px of full resolution" in text
    assert "read_region((x, y), 1, (256, 256)) of TCGA-A1" in text
    assert "3 patches reach over the border" in text


def test_clam_with_pixels(tmp_path: Path) -> None:
    root = crops(tmp_path / "data", per_class=2, size=(128, 64))
    with Pillow.open(root / "ihc" / "0.jpg") as image:
        pixels = np.asarray(image).reshape(2, 32, 2, 64, 3).swapaxes(1, 2).reshape(4, 32, 64, 3)
    found = inside(files.clam_patches(tmp_path / "a.h5", pixels, grid(0, 0, 2, 2, 32)))
    assert found.kind == "clam-patches"
    assert found.facts.pixels
    assert (found.facts.pixels.path, found.facts.pixels.size, found.facts.pixels.axes) == ("/imgs", (64, 32), "n,y,x,c")
    assert (found.facts.level_of_coords, found.facts.patch_size_level0) == (1, (256, 128))
    assert "px of level 1" in page(found)
    assert "pixels" not in found.missing


def test_clam_features(tmp_path: Path) -> None:
    found = inside(files.clam_features(tmp_path / "a.h5", grid(0, 0, 25, 10, 512), length=64))
    assert (found.kind, found.facts.patches, found.facts.feature_length) == ("clam-features", 250, 64)
    assert (found.facts.patch_size, found.findings) == (None, ())
    assert "64 numbers for a patch" in page(found)
    assert "the size of a patch is not in the file" in page(found)


def test_trident(tmp_path: Path) -> None:
    coords = grid(0, 0, 12, 10, 384)
    found = inside(files.trident_coords(tmp_path / "a.h5", coords))
    facts = found.facts
    assert (found.kind, facts.patches, facts.patch_size, facts.patch_size_level0) == (
        "trident-coords",
        120,
        (256, 256),
        (512, 512),
    )
    assert (facts.magnification, facts.level, facts.level_of_coords, facts.slide_size) == (
        20,
        None,
        0,
        (60_000, 40_000),
    )
    assert facts.coordinates
    assert facts.coordinates.outside == 0
    assert "stride       384 px" in page(found)
    assert "overlap 128 px" in page(found)
    assert "read_region((x, y), 0, (512, 512)) of TCGA-A1 is a patch, scaled to 256x256" in page(found)
    features = inside(files.trident_features(tmp_path / "f.h5", coords, length=32))
    assert (features.kind, features.facts.feature_length, features.facts.patches) == ("trident-features", 32, 120)
    whole = inside(files.trident_features(tmp_path / "s.h5", coords, length=32, whole_slide=True))
    assert (whole.kind, whole.facts.feature_length, whole.findings) == ("trident-slide-features", 32, ())
    assert "32 numbers for the slide" in page(whole)


def test_trident_of_a_slide_without_tissue_or_magnification(tmp_path: Path) -> None:
    found = inside(files.trident_coords(tmp_path / "a.h5", np.empty((0, 2)), target_magnification=None, name=None))
    assert (found.kind, found.facts.patches, found.facts.magnification) == ("trident-coords", 0, None)
    assert found.facts.coordinates
    assert (found.facts.coordinates.least, found.facts.coordinates.stride) == (None, (None, None))
    assert "patches     0 of 256x256 px" in page(found) or "patches  " in page(found)


def test_atlaspatch_and_wsinfer(tmp_path: Path) -> None:
    found = inside(files.atlaspatch(tmp_path / "a.h5", grid(0, 0, 5, 4, 512)))
    assert (found.kind, found.facts.patches, found.facts.patch_size_level0) == ("atlaspatch", 20, (512, 512))
    assert (found.facts.feature_length, found.facts.slide) == (1536, "slides/TCGA-A1.svs")
    page(found)
    found = inside(files.wsinfer(tmp_path / "w.h5", grid(0, 0, 5, 4, 700)))
    assert (found.kind, found.facts.patch_size_level0, found.facts.microns_per_px) == ("wsinfer", (700, 700), 0.25)
    assert found.datasets[0].compression == "gzip"
    assert "overlap 0 px" in page(found)


@pytest.mark.parametrize("chunks", [False, True])
def test_patchcamelyon(tmp_path: Path, chunks: bool) -> None:
    paths = files.patchcamelyon(tmp_path, 30, chunks=chunks)
    found = {name: inside(path) for name, path in paths.items()}
    assert {one.kind for one in found.values()} == {"patchcamelyon"}
    assert {one.facts.patches for one in found.values()} == {30}
    assert found["x"].facts.pixels == dataclasses.replace(found["x"].facts.pixels, path="/x", size=(96, 96), channels=3)  # type: ignore[type-var]
    assert found["x"].facts.labels == ()
    (labels,) = found["y"].facts.labels
    assert (labels.path, labels.counts, labels.n_values) == ("/y", {"0": 20, "1": 10}, 2)
    assert "/y, rows by value: 0: 20, 1: 10" in page(found["y"])
    assert "belong together" in page(found["x"])


def test_pathml(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for group in ("fields/labels", "masks", "counts"):
            file.create_group(group)
        for place in range(3):
            file.create_dataset(f"tiles/(0, {place})/array", data=np.zeros((8, 8, 3), np.float16), compression="gzip")
    found = inside(tmp_path / "a.h5")
    assert (found.kind, found.groups) == ("pathml", 9)
    assert [one.path for one in found.datasets] == [f"/tiles/(0, {place})/array" for place in range(3)]
    page(found)


def test_images_and_labels_of_no_convention(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["train/images"] = np.zeros((12, 3, 20, 24), np.float32)
        file["train/labels"] = np.arange(12).reshape(12, 1) % 5
        file["train/names"] = [f"{n}.png" for n in range(12)]
        file["weights"] = np.zeros((3, 3))
    found = inside(tmp_path / "a.h5")
    assert (found.kind, found.facts.patches, found.facts.patch_size) == ("images", 12, (24, 20))
    assert found.facts.pixels
    assert (found.facts.pixels.axes, found.facts.pixels.channels) == ("n,c,y,x", 3)
    assert found.facts.labels[0].counts == {"0": 3, "1": 3, "2": 2, "3": 2, "4": 2}
    assert "text of any length" in page(found)


def test_a_file_of_something_else(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=1024) as file:  # as MATLAB writes
        file.attrs["encoding-type"] = "anndata"
        file["X"] = np.zeros((5, 7), np.float32)
    found = inside(tmp_path / "a.h5")
    assert (found.kind, found.facts.patches, found.attributes) == ("other", None, {"encoding-type": "anndata"})
    assert "none that could be recognised" in page(found)
    assert is_foreign(os.fsencode(tmp_path / "a.h5"))


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    coords = np.concatenate([grid(0, 0, 4, 5, 256), [[0, 0], [-256, 0]]])
    files.trident_features(tmp_path / "a.h5", coords, length=8)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["features"].resize(30, axis=0)  # a run that was killed between two writes
    found = inside(tmp_path / "a.h5")
    said = " ".join(found.findings)
    assert "/coords has 22, /features has 30" in said
    assert "/features holds 704 of 960 bytes: the rest was never written" in said
    assert "1 of 22 coordinates stand there before" in said
    assert "1 coordinates are negative" in said
    assert "doubtful" in page(found)


# --- what values come to


@given(
    arrays.arrays(np.int64, st.tuples(st.integers(0, 40), st.just(2)), elements=st.integers(-5, 5)),
    st.integers(1, 4),
    st.integers(0, 6),
)
def test_coordinates_against_the_slow_way(xy: Any, side: int, border: int) -> None:
    found = coordinates("/coords", Values(len(xy) + 3, xy), (side, side), (border, border))
    rows = [tuple(row) for row in xy.tolist()]
    assert (found.rows, found.rows_read) == (len(rows) + 3, len(rows))
    assert found.repeated == len(rows) - len(set(rows))
    assert found.negative == sum(min(row) < 0 for row in rows)
    assert found.outside == sum(x + side > border or y + side > border for x, y in rows)
    if rows:
        assert found.least == tuple(np.min(rows, axis=0))
        assert found.greatest == tuple(np.max(rows, axis=0))


@given(st.integers(2, 9), st.integers(2, 9), st.integers(1, 2000), st.integers(0, 10_000), st.randoms())
def test_the_stride_of_a_grid_with_holes(columns: int, rows: int, step: int, left: int, chance: Any) -> None:
    full = grid(left, 7, columns, rows, step).tolist()
    other = grid(left + step // 2, 10**6, columns, rows, step).tolist()  # another piece of tissue, a grid of its own
    chance.shuffle(full)
    found = coordinates("/coords", Values(0, np.array(full[: len(full) - 1] + other)))
    assert found.stride == (step, step)
    assert min(found.stride_share) > 0.5


@given(arrays.arrays(np.int64, st.integers(0, 60), elements=st.integers(-30, 30)))
def test_labels_are_counted(values: Any) -> None:
    found = count_labels("/y", Values(len(values), values))
    everything = {value: values.tolist().count(value) for value in set(values.tolist())}
    assert found.n_values == len(everything)
    assert {int(value): count for value, count in found.counts.items()}.items() <= everything.items()
    assert list(map(int, found.counts)) == sorted(map(int, found.counts))
    assert sorted(found.counts.values()) == sorted(everything.values())[-16:]


# --- nothing leads out of a file


def test_no_link_is_followed(tmp_path: Path) -> None:
    """What they lead to would be waited for: a pipe that nobody writes to."""
    pipe = files.fifo(tmp_path / "pipe.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["coords"] = h5py.ExternalLink(pipe, "/coords")
        file["soft"] = h5py.SoftLink("/coords")
        file["dangling"] = h5py.SoftLink("/nowhere" * 100)
        file["group/round"] = file["/"]
        file["group/again"] = file["group"]
        file["table"] = np.arange(4)
        file["table_too"] = file["table"]
    found = look_at(tmp_path / "a.h5")
    left = {one.path: one.what for one in found.left_alone}
    assert left["/coords"] == f"an external link to /coords in {pipe}, not followed"
    assert left["/soft"] == "a soft link to /coords, not followed"
    assert left["/dangling"].endswith("... (800 characters), not followed")
    assert left["/group/round"] == "the same as /"
    assert left["/group/again"] == "the same as /group"
    assert left["/table_too"] == "the same as /table"
    assert [one.path for one in found.datasets] == ["/table"]
    assert "left alone" in page(found)


def test_no_other_file_is_opened_for_values(tmp_path: Path) -> None:
    pipe = files.fifo(tmp_path / "pipe.h5")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("coords", (8, 2), np.int64, external=[(pipe, 0, h5py.h5f.UNLIMITED)])
        layout = h5py.VirtualLayout((4,), np.int64, maxshape=(None,))
        layout[: h5py.h5s.UNLIMITED] = h5py.VirtualSource(pipe, "labels", (4,), np.int64, maxshape=(None,))[
            : h5py.h5s.UNLIMITED
        ]
        file.create_virtual_dataset("labels", layout)
        fixed = h5py.VirtualLayout((4, 2), np.int64)
        fixed[:] = h5py.VirtualSource(pipe, "coords", (4, 2), np.int64)
        file.create_virtual_dataset("fixed", fixed)
    found = look_at(tmp_path / "a.h5")
    layouts = {one.path: (one.layout, one.shape) for one in found.datasets}
    assert layouts == {"/coords": ("external", (8, 2)), "/labels": ("virtual", None), "/fixed": ("virtual", None)}
    assert {one.path for one in found.left_alone} == set(layouts)
    assert any("/coords were not read: they are external" in note for note in found.notes)
    page(found)


def test_a_name_that_is_a_path_is_not_followed(tmp_path: Path) -> None:
    """HDF5 takes it for a way through other links."""
    pipe = files.fifo(tmp_path / "pipe.h5")
    with h5py.File(tmp_path / "a.h5", "w", libver="earliest") as file:
        file["out"] = h5py.ExternalLink(pipe, "/")
        file["outXcoords"] = np.arange(4)
        file["Y"] = np.arange(4)
    content = (tmp_path / "a.h5").read_bytes()
    assert content.count(b"outXcoords") == content.count(b"\1Y") == 1
    (tmp_path / "a.h5").write_bytes(content.replace(b"outXcoords", b"out/coords").replace(b"\1Y", b"\1."))
    found = look_at(tmp_path / "a.h5")
    assert {one.path: one.what for one in found.left_alone if "a name" in one.what} == {
        "/out/coords": "a name that is a path, not followed",
        "/.": "a name that is a path, not followed",
    }
    assert found.datasets == ()


def test_no_plugin_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HDF5 opens every library in the folder of plugins for a filter that it does not know: here a pipe."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk((4, 2))
        properties.set_filter(300, h5py.h5z.FLAG_OPTIONAL)
        space = h5py.h5s.create_simple((4, 2))
        dataset = h5py.h5d.create(file.id, b"coords", h5py.h5t.NATIVE_INT64, space, properties)
        dataset.write_direct_chunk((0, 0), bytes(64))
    files.fifo(tmp_path / "libh5strange.so")
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(tmp_path))
    found = look_at(tmp_path / "a.h5")
    assert found.datasets[0].compression == "filter 300"
    assert any("compressed by filter 300, for which no plugin is loaded" in note for note in found.notes)
    assert found.facts.coordinates is None
    page(found)
    code = f"import h5py; h5py.File({str(tmp_path / 'a.h5')!r})['coords'][...]"
    with pytest.raises(subprocess.TimeoutExpired):  # a program that is less careful waits for the pipe
        subprocess.run([sys.executable, "-c", code], timeout=1, check=False)


def test_modules_beside_a_file_are_not_imported(tmp_path: Path) -> None:
    for name in ("json", "numpy", "h5py", "patchcli"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current folder')")
    files.wsinfer(tmp_path / "a.h5", grid(0, 0, 3, 3, 8))
    code = "import sys; sys.path.remove(''); from patchcli.io.foreign.look import look_at; print(look_at(b'a.h5').kind)"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("wsinfer\n", "")


# --- no file can do harm


def test_names_and_texts_are_shown_escaped(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in (b"new\nline", b"esc\x1b[31m", b"undecodable\xff", "gut\u00e9".encode()):
            h5py.h5d.create(file.id, name, h5py.h5t.NATIVE_INT8, h5py.h5s.create_simple((2,)))
        file.attrs["name"] = "\x1b]0;title\x07"
        h5py.h5a.create(file.id, b"a\xff\x1b", h5py.h5t.NATIVE_INT8, h5py.h5s.create(h5py.h5s.SCALAR))
        file.create_dataset("coords", data=grid(0, 0, 2, 2, 9)).attrs.update(
            {"patch_size": 9, "patch_level": 0, "name": "a\nb\x1b"}
        )
    found = look_at(tmp_path / "a.h5")
    assert {"/new\\x0aline", "/esc\\x1b[31m", "/undecodable\\xff", "/gut\u00e9"} <= {one.path for one in found.datasets}
    assert found.facts.slide == "a\\x0ab\\x1b"
    assert found.attributes == {"name": "\\x1b]0;title\\x07", "a\\xff\\x1b": 0}
    page(found)


def test_types_of_all_kinds_are_named(tmp_path: Path) -> None:
    kinds = {
        "compound": np.dtype([("x", "i4"), ("name", "S3")]),
        "lists": h5py.vlen_dtype(np.int32),
        "text": h5py.string_dtype(),
        "fixed": np.dtype("S7"),
        "reference": h5py.ref_dtype,
        "bool": np.dtype(bool),
        "opaque": np.dtype("V5"),
        "array": np.dtype(("f4", (2, 3))),
        "big": np.dtype(">u2"),
        "complex": np.dtype("c16"),
    }
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, kind in kinds.items():
            file.create_dataset(name, (3,), kind)
            file.attrs.create(name, np.zeros(2, kind) if name in ("fixed", "bool", "big", "compound") else 0)
        file.create_dataset("nothing", dtype=h5py.Empty("f4"))
        file["nan"] = 0
        file["nan"].attrs["values"] = [np.nan, np.inf, 0.5]
    found = inside(tmp_path / "a.h5")
    named = {one.path[1:]: one.dtype for one in found.datasets}
    assert named["compound"] == "compound of 2 fields"
    assert (named["lists"], named["text"], named["fixed"]) == (
        "lists of int32",
        "text of any length",
        "text of 7 bytes",
    )
    assert (named["reference"], named["opaque"], named["bool"]) == ("reference", "opaque", "enum of 2 names")
    assert (named["array"], named["big"]) == ("array of float32", "uint16, big-endian")
    assert {one.shape for one in found.datasets if one.path == "/nothing"} == {None}
    assert found.attributes["compound"] == "(compound of 2 fields)"
    assert found.attributes["bool"] == [0, 0]
    assert {tuple(one.attributes.get("values", ())) for one in found.datasets} == {(), ("nan", "inf", 0.5)}
    page(found)


def test_bombs(tmp_path: Path) -> None:
    """Shapes, chunks, attributes, groups: more than anything could hold, and none of it is read or listed in full."""
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        file.create_dataset("coords", (1 << 50, 2), np.int64, chunks=(64, 2), maxshape=(None, 2))
        file["coords"][5] = 7, 7
        file.create_dataset("empty/labels", (1 << 60,), np.uint8, chunks=(1 << 20,), compression="gzip")
        file.create_dataset(
            "wide/labels", (4, 1), np.int32, chunks=(1 << 24, 1), maxshape=(None, 1), compression="gzip"
        )
        file["wide/labels"][:] = 1
        file["coords"].attrs["large"] = np.zeros(100_000)
        for number in range(300):
            file["coords"].attrs[f"attribute {number:03}"] = number
        for number in range(3000):
            file.create_group(f"many/{number}")
        place = file
        for _ in range(40):
            place = place.create_group("deeper")
    start = time.monotonic()
    found = look_at(tmp_path / "a.h5")
    assert time.monotonic() - start < 4
    assert found.facts.coordinates
    assert found.facts.coordinates.rows == 1 << 50
    assert 0 < found.facts.coordinates.rows_read <= 1 << 22
    notes = "\n".join(found.notes)
    assert "of 1,125,899,906,842,624 rows of /coords the first" in notes
    assert "/empty/labels were not read: none were ever written" in notes
    assert "/wide/labels were not read: their chunks are too large" in notes
    assert "/many holds 3,000 objects: 500 were looked at" in notes
    assert any("levels deep" in one.what for one in found.left_alone)
    assert max(one.path.count("/") for one in found.left_alone) < 20
    assert all(len(one.attributes) <= 24 for one in found.datasets)
    assert any("the rest was never written" in one for one in found.findings)
    page(found)


def test_many_objects_are_a_note(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w", libver="earliest") as file:
        for number in range(20):
            group = file.create_group(f"{number:02}")
            for more in range(150):
                group.create_group(str(more))
    found = look_at(tmp_path / "a.h5")
    assert any("more than 2,000 objects" in note for note in found.notes)
    assert found.groups <= 2001


@pytest.fixture(scope="module")
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file over which HDF5 never ends: its heap of texts says that it is larger than it is."""
    path = files.old(tmp_path_factory.mktemp("hanging") / "a.h5")
    content = bytearray(path.read_bytes())
    content[content.index(b"GCOL") + 9] = 0x30
    path.write_bytes(content)
    try:
        code = f"import h5py; print(dict(h5py.File({str(path)!r}).attrs))"
        subprocess.run([sys.executable, "-c", code], timeout=1, check=False, capture_output=True)
    except subprocess.TimeoutExpired:
        return path
    pytest.skip("this HDF5 does not hang over it")


@pytest.mark.slow
def test_a_hang_is_a_damaged_file(hanging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "_SECONDS", 1.0)
    with pytest.raises(DamagedFile, match=r"a\.h5: cannot be looked at within 1 s"):
        look_at(hanging)


@pytest.mark.slow
def test_a_death_is_a_damaged_file(hanging: Path) -> None:
    """Here of a limit on the time that it may compute, which the surroundings had set."""
    code = (
        "import resource, sys; from patchcli.io.foreign.look import look_at; "
        "resource.setrlimit(resource.RLIMIT_CPU, (1, 1)); look_at(sys.argv[1].encode())"
    )
    run = subprocess.run([sys.executable, "-c", code, hanging], capture_output=True, text=True)
    assert "a.h5: the HDF5 library died over it" in run.stderr


def test_too_little_memory_is_told(tmp_path: Path) -> None:
    path = files.wsinfer(tmp_path / "a.h5", grid(0, 0, 3, 3, 8))
    code = (
        "import resource, sys; from patchcli.io.foreign.look import look_at; "
        "resource.setrlimit(resource.RLIMIT_AS, (60 << 20, 60 << 20)); look_at(sys.argv[1].encode())"
    )
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert "patchcli.errors." in run.stderr
    assert "a.h5: " in run.stderr


def test_what_is_no_hdf5_file(tmp_path: Path, root: Path) -> None:
    picture = root / "ihc" / "1.png"
    assert not is_foreign(os.fsencode(picture))
    with pytest.raises(DamagedFile, match="not an HDF5 file"):
        look_at(picture)
    with pytest.raises(DamagedFile, match="not a regular file"):
        look_at(tmp_path)
    with pytest.raises(DamagedFile, match="not a regular file"):
        look_at(files.fifo(tmp_path / "pipe"))
    with pytest.raises(FileNotFoundError):
        look_at(tmp_path / "missing.h5")
    path = files.wsinfer(tmp_path / "a.h5", grid(0, 0, 3, 3, 8))
    path.write_bytes(path.read_bytes()[:1000])
    assert is_foreign(os.fsencode(path))
    with pytest.raises(DamagedFile, match="damaged HDF5 file"):
        look_at(path)


def test_names_of_files_of_all_kinds(tmp_path: Path) -> None:
    for name in (b"-c.h5", b"new\nline.h5", b"\xff.h5", "gut\u00e9 a.h5".encode()):
        path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))
        files.wsinfer(path, grid(0, 0, 3, 3, 8))
        assert look_at(path).path == str(path)


def test_ours_are_not_foreign(cut: Path, cut_sharded: Path) -> None:
    ours = [cut, cut_sharded, *cut_sharded.with_suffix(".shards").iterdir()]
    assert [is_foreign(os.fsencode(path)) for path in ours] == [False] * len(ours)


@pytest.mark.slow
def test_mutated_files(tmp_path: Path) -> None:
    """Each is looked at or refused, within the limits; the formats are those without checksums."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:  # whose children are ours
        outcomes, most_memory = pool.submit(look_at_mutated, tmp_path, 200).result()
    assert outcomes == {"found", "refused"}
    assert most_memory < 500 << 10


def look_at_mutated(folder: Path, n: int) -> tuple[set[str], int]:
    """How looks at mutated files ended, and the most memory that one took, kB."""
    clam = files.clam_coords(folder / "clam.h5", grid(0, 0, 9, 9, 256))
    originals = [path.read_bytes() for path in (files.old(folder / "old.h5"), clam)]

    def attempt(seed: int) -> str:
        chance = random.Random(seed)
        content = bytearray(originals[seed % len(originals)])
        for _ in range(chance.choice([1, 2, 4, 8])):
            at = chance.randrange(len(content) // (1 if chance.random() < 0.3 else 6))
            value = chance.choice([bytes([chance.choice([0, 1, 127, 128, 255])]), chance.randbytes(1)])
            piece = value * chance.choice([1, 2, 8])
            content[at : at + len(piece)] = piece
        path = folder / f"mutated{seed}.h5"
        path.write_bytes(content)
        start, outcome = time.monotonic(), "refused"
        with contextlib.suppress(DamagedFile):
            page(look_at(path))
            outcome = "found"
        assert time.monotonic() - start < 6
        path.unlink()
        return outcome

    with ThreadPoolExecutor(2) as pool:
        outcomes = set(pool.map(attempt, range(n)))
    return outcomes, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
