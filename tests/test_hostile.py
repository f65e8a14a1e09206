"""Files that may come from anyone: refused with a reason, and never a crash, a hang, or a look at another file."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from limits import Outcome, Server
from mutations import Subject, checked_blocks, fletcher32, lookup3, mutated
from photos import crops, shards

import patchcli
from patchcli.errors import DamagedFile
from patchcli.io.guard.anatomy import check_structure
from patchcli.io.layout import lay_out

LIBVER = ("v110", "v110")
PATCH = 16
SECRET = "root:"

Spoil = Callable[[h5py.File], None]


Seeds = dict[str, Path]
"""Small data sets by name, as patchcli makes them: kinds of pixels, splits, codecs, shards; and files of others."""


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    folder = tmp_path_factory.mktemp("seeds")
    src = crops(folder / "data", per_class=1, size=(64, 48))
    for split in ("train", "val"):
        shutil.copytree(src, folder / "splits" / split)
    options: dict[str, Any] = {"patch": PATCH, "stride": 24, "executor": "serial"}
    patchcli.extract(src, folder / "gray.h5", mode="gray", **options)
    patchcli.extract(folder / "splits", folder / "splits.h5", **options)
    for codec in ("gzip", "lzf", "lz4", "zstd"):
        patchcli.extract(src, folder / f"{codec}.h5", compression=codec, **options)
    patchcli.extract(src, folder / "chunks.h5", compression="gzip", **{**options, "stride": 3})
    patchcli.extract(src, folder / "index.h5", shard_size="6kB", **options)
    augmenting: dict[str, Any] = {"copies": 2, "horizontal_flip": True, "rescale": "1/255", "executor": "serial"}
    patchcli.augment(folder / "gray.h5", folder / "augmented.h5", **augmenting)
    foreign(folder)
    return {path.stem: path for path in folder.glob("*.h5")}


def foreign(folder: Path) -> None:
    """Files as CLAM and PatchCamelyon have them: of the format before HDF5 1.8, where nothing is under a checksum."""
    random = np.random.default_rng(0)
    with h5py.File(folder / "clam.h5", "w") as file:
        coords = file.create_dataset(
            "coords", data=random.integers(0, 9999, (20, 2)), chunks=(8, 2), maxshape=(None, 2)
        )
        coords.attrs["patch_size"], coords.attrs["patch_level"], coords.attrs["name"] = 256, 0, "slide_1"
        file.create_dataset("features", data=random.random((20, 16), np.float32), chunks=(8, 16), maxshape=(None, 16))
    with h5py.File(folder / "camelyon.h5", "w") as file:
        file.create_dataset("x", data=random.integers(0, 256, (20, 8, 8, 3), np.uint8), compression="gzip")
        file["y"] = np.zeros((20, 1, 1, 1), np.uint8)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def copy(seed: Path, folder: Path) -> Path:
    """A private copy of a data set, to be spoiled."""
    if seed.with_suffix(".shards").is_dir():
        shutil.copytree(seed.with_suffix(".shards"), folder / f"{seed.stem}.shards")
    return Path(shutil.copy2(seed, folder / seed.name))


def spoiled(seed: Path, folder: Path, spoil: Spoil) -> Path:
    path = copy(seed, folder)
    with h5py.File(path, "r+", libver=LIBVER) as file:
        spoil(file)
    return path


USES = ("inspect", "open", "augment", "inspect --verify")


def check_refused(server: Server, path: Path, says: str, uses: Sequence[str] = USES) -> None:
    """Every use of a file ends soon, with the documented exit code and a line that names it and says what is wrong."""
    for use in uses:
        done = server.run(use, path, str(path.with_name("result.h5")))
        assert not done.wrong, (use, done.wrong, done.stderr)
        allowed = {"inspect --verify": (1, 4), "augment": (1, 2)}.get(use, (1,))
        assert done.exit_code in allowed, (use, done.exit_code, done.stdout, done.stderr)
        said = done.stdout + done.stderr
        assert SECRET not in said
        assert "\x1b" not in said
        assert path.stem in said, (use, said)  # of the file, or of the shard beside it
        assert re.search(says, said), (use, said)
        if done.exit_code == 1:
            assert len(done.stderr.strip().splitlines()) <= 2, (use, done.stderr)
    assert not path.with_name("result.h5").exists()


# --- what is done to a file that was whole


def replace(name: str, **created: Any) -> Spoil:
    """Another data set in place of a table."""

    def spoil(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **created)

    return spoil


def again(name: str, **options: Any) -> Spoil:
    """The same values, stored in another way."""
    return lambda file: replace(name, data=file[name][:], **options)(file)


def of_length(name: str, shape: tuple[int, ...] = (), **created: Any) -> Spoil:
    """Another data set with as many rows, and `shape` after them."""
    return lambda file: replace(name, shape=(len(file["labels"]), *shape), **created)(file)


def zero_labels(kind: str) -> Spoil:
    return lambda file: replace("labels", data=np.zeros(len(file["labels"]), kind), fletcher32=True)(file)


def link(name: str, target: Any) -> Spoil:
    def spoil(file: h5py.File) -> None:
        del file[name]
        file[name] = target

    return spoil


def change(name: str, row: Any, value: Any) -> Spoil:
    def spoil(file: h5py.File) -> None:
        file[name][row] = value

    return spoil


def attribute(name: str, value: Any) -> Spoil:
    def spoil(file: h5py.File) -> None:
        file.attrs[name] = np.bytes_(value) if isinstance(value, (str, bytes)) else value

    return spoil


def settings(**changed: Any) -> Spoil:
    """Settings with other values; `None` leaves one out."""

    def spoil(file: h5py.File) -> None:
        said = {**json.loads(file.attrs["settings"]), **changed}
        said = {name: value for name, value in said.items() if value is not None}
        file.attrs["settings"] = np.bytes_(json.dumps(said))

    return spoil


def virtual(name: str) -> Spoil:
    def spoil(file: h5py.File) -> None:
        shape, kind = file[name].shape, file[name].dtype
        del file[name]
        layout = h5py.VirtualLayout(shape, kind)
        layout[...] = h5py.VirtualSource("pipe", name, shape)
        file.create_virtual_dataset(name, layout)

    return spoil


def external(name: str, outside: str) -> Spoil:
    def spoil(file: h5py.File) -> None:
        shape, kind = file[name].shape, file[name].dtype
        del file[name]
        file.create_dataset(name, shape, kind, external=[(outside, 0, h5py.h5f.UNLIMITED)])

    return spoil


def committed(file: h5py.File) -> None:
    kind = file["labels"].dtype
    values = file["labels"][:]
    del file["labels"]
    file["kind"] = kind
    file.create_dataset("labels", data=values, dtype=file["kind"], chunks=values.shape, fletcher32=True)


def ten_thousand_attributes(file: h5py.File) -> None:
    for number in range(10_000):
        file["labels"].attrs[f"a{number}"] = number


def user_filter(number: int) -> Spoil:
    """A filter that HDF5 may know or not, by its number; chunks as they are."""

    def spoil(file: h5py.File) -> None:
        values = file["patches"][:]
        del file["patches"]
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_chunk(values.shape)
        properties.set_filter(number, h5py.h5z.FLAG_OPTIONAL, (1, 2, 3))
        space, kind = h5py.h5s.create_simple(values.shape), h5py.h5t.py_create(values.dtype)
        place = h5py.h5d.create(file.id, b"patches", kind, space, properties)
        place.write_direct_chunk((0,) * values.ndim, values.tobytes())

    return spoil


N_DEEP = 10_000
OUTSIDE = "/etc/passwd"
HUGE = 2**40
HUGE_PATCH = (20_000, 20_000, 3)

HOSTILE: dict[str, tuple[Spoil, str]] = {
    # what leads out of the file
    "patches are an external link": (link("patches", h5py.ExternalLink("pipe", "/patches")), "/patches is a link"),
    "labels are an external link": (link("labels", h5py.ExternalLink("pipe", "/labels")), "/labels is a link"),
    "a group is an external link": (link("sources", h5py.ExternalLink("pipe", "/")), "/sources/path is a link"),
    "an optional table is an external link": (
        lambda file: file.__setitem__("split", h5py.ExternalLink("pipe", "/split")),
        "/split is a link",
    ),
    "labels are a soft link": (link("labels", h5py.SoftLink("/source")), "/labels is a link"),
    "labels are a soft link to themselves": (link("labels", h5py.SoftLink("/labels")), "/labels is a link"),
    "labels are stored in a pipe": (external("labels", "pipe"), "/labels is stored outside"),
    "labels are stored in another file": (external("labels", OUTSIDE), "/labels is stored outside"),
    "patches are stored in another file": (external("patches", OUTSIDE), "/patches is stored outside"),
    "labels are virtual": (virtual("labels"), "/labels is stored outside"),
    "patches are virtual": (virtual("patches"), "/patches is stored outside"),
    # shapes
    "labels without end": (replace("labels", shape=(HUGE,), dtype="i8", chunks=(512,), fletcher32=True), "/"),
    "classes without end": (
        replace("classes", shape=(HUGE,), dtype="S8", chunks=(512,), fletcher32=True),
        "/classes declares",
    ),
    "labels in one huge chunk": (
        of_length("labels", maxshape=(2**28,), dtype="i8", chunks=(2**28,)),
        "/labels has a shape that may grow",
    ),
    "labels that may grow": (
        again("labels", maxshape=(None,), fletcher32=True),
        "/labels has (a shape that may grow|an index of chunks)",
    ),
    "patches without end": (
        replace("patches", shape=(10**9, 4096, 4096, 3), dtype="u1", chunks=(1, 64, 64, 3)),
        "/patches is uint8",
    ),
    "patches of no px": (of_length("patches", (0, 0, 3), dtype="u1"), "which patchcli does not"),
    "huge patches, never written": (of_length("patches", (2**17, 2**17, 3), dtype="u1"), "/patches ends beyond"),
    "huge patches that say that they are compressed": (
        of_length("patches", HUGE_PATCH, dtype="u1", chunks=(1, *HUGE_PATCH), compression="gzip", fletcher32=True),
        "would take all memory",
    ),
    "chunks across patches": (
        again("patches", chunks=(1, 4, 4, 1), compression="gzip", fletcher32=True),
        "/patches has chunks of",
    ),
    # types
    "labels are floats": (zero_labels("f8"), "/labels is float64"),
    "labels are small floats": (zero_labels("f2"), "/labels is float16"),
    "labels are booleans": (of_length("labels", dtype="?", fletcher32=True), "/labels has type bool"),
    "labels are complex": (of_length("labels", dtype="c16", fletcher32=True), "/labels has type complex"),
    "labels are big-endian": (of_length("labels", dtype=">i8", fletcher32=True), "/labels has type >i8"),
    "labels are opaque": (of_length("labels", dtype="V8", fletcher32=True), "/labels has type .V8"),
    "labels are compound": (of_length("labels", dtype="i4,i4", fletcher32=True), "/labels has type"),
    "labels are an enumeration": (
        of_length("labels", dtype=h5py.enum_dtype({"a": 0}, "i8")),
        "/labels has type",
    ),
    "labels are references": (
        of_length("labels", dtype=h5py.ref_dtype),
        "/labels has type",
    ),
    "labels are text of variable length": (
        of_length("labels", dtype=h5py.string_dtype()),
        "/labels has type object",
    ),
    "labels are lists of variable length": (
        of_length("labels", dtype=h5py.vlen_dtype("i8")),
        "/labels has type object",
    ),
    "labels are of a named type": (committed, "/labels has type"),
    "labels are a group": (lambda file: link("labels", file["sources"])(file), "/labels is not a data set"),
    "a single label": (replace("labels", data=np.int64(3)), "not consistent.*/labels"),
    "labels of nothing": (replace("labels", data=h5py.Empty("i8")), "/labels has type"),
    "labels in two dimensions": (
        of_length("labels", (1,), dtype="i8", fletcher32=True),
        "not consistent.*/labels",
    ),
    "classes are numbers": (replace("classes", data=np.array([10**12] * 4), fletcher32=True), "/classes is int64"),
    "classes are a table": (replace("classes", data=np.array([[b"a", b"b"]] * 4), fletcher32=True), "/classes is "),
    "images' names are numbers": (replace("sources/path", data=np.arange(4), fletcher32=True), "/sources/path is int"),
    "reasons are numbers": (replace("skipped/reason", data=np.zeros(0)), "/skipped/reason is float64"),
    # lengths and values
    "fewer labels": (replace("labels", data=np.zeros(3, "i8"), fletcher32=True), r"\(n, H, W, C\) for 3 labels"),
    "fewer digests": (replace("digest", data=np.zeros(3, "u8"), fletcher32=True), "/digest"),
    "coordinates of three axes": (
        of_length("coords", (3,), dtype="i4", fletcher32=True),
        "/coords",
    ),
    "fewer images' sizes": (replace("sources/width", data=np.ones(2, "i4"), fletcher32=True), "columns of /sources"),
    "a label below 0": (change("labels", 1, -1), "/labels"),
    "a label beyond the classes": (change("labels", 1, 2**62), "/labels"),
    "an image below 0": (change("source", 1, -1), "/source"),
    "an image that is not there": (change("source", 1, 2**31 - 1), "/source"),
    "a coordinate below 0": (change("coords", 1, (-1, 0)), "/coords"),
    "a coordinate whose far corner has no number": (change("coords", 1, (2**31 - 1, 0)), "/coords"),
    "no classes": (replace("classes", data=np.array([], "S1")), "/labels"),
    "a table without its checksum": (
        again("labels"),
        "/labels is under no checksum",
    ),
    # filters
    "compressed tables": (
        again("labels", compression="gzip", fletcher32=True),
        "/labels has filters",
    ),
    "shuffled tables": (
        again("labels", shuffle=True, fletcher32=True),
        "/labels has filters",
    ),
    "patches without a checksum": (
        again("patches", compression="gzip"),
        "/patches has filters",
    ),
    "patches with several filters": (
        again("patches", compression="gzip", shuffle=True, fletcher32=True),
        "/patches has filters",
    ),
    "patches with scale-offset": (
        again("patches", scaleoffset=0),
        "/patches has filters",
    ),
    "patches with nbit": (user_filter(5), "/patches has filters"),
    "patches with szip": (user_filter(4), "/patches has filters"),
    "patches with an unknown filter": (user_filter(31_999), "/patches has filters"),
    # what the file says of itself
    "ten thousand attributes": (ten_thousand_attributes, "not made by patchcli"),
    "of a later version": (attribute("encoding-version", "2.0"), "encoding-version '2.0'"),
    "of a version that writes on the terminal": (attribute("encoding-version", "2\x1b[2J"), "encoding-version"),
    "of a version that is a list": (attribute("encoding-version", np.arange(3)), "encoding-version"),
    "an unknown role": (attribute("role", "boss"), "not consistent.*boss"),
    "a role of variable length": (lambda file: file.attrs.__setitem__("role", "single"), "not consistent.*role"),
    "a role that is a list": (attribute("role", np.arange(3)), "not consistent"),
    "an index without shards": (attribute("role", "index"), "not consistent|/shards"),
    "no plan": (lambda file: file.attrs.__delitem__("plan_id"), "not consistent.*plan_id"),
    "a plan that writes on the terminal": (attribute("plan_id", "\x1b[2J" + "0" * 28), "not consistent.*plan_id"),
    "fewer than no shards": (attribute("n_shards", np.int64(-1)), "not consistent.*shard 0 of -1"),
    "a billion shards": (attribute("n_shards", np.int64(10**9)), "not consistent.*1000000000"),
    "shards by text": (attribute("n_shards", "1"), "not consistent.*shard"),
    "settings that are no JSON": (attribute("settings", "{"), "not consistent"),
    "settings that are a list": (attribute("settings", "[[]]"), "not consistent.*names and values"),
    "settings that are a number": (attribute("settings", np.int64(3)), "not consistent"),
    "settings in settings without end": (
        attribute("settings", '{"a":' * N_DEEP + "1" + "}" * N_DEEP),
        "not consistent",
    ),
    "settings of lists without end": (attribute("settings", '{"a":' + "[" * 300 + "]" * 300 + "}"), "not consistent"),
    "patches of text": (settings(patch_size="64"), "patch_size"),
    "patches of a number": (settings(patch_size=16), "patch_size"),
    "patches of fewer than no px": (settings(patch_size=[-1, -1]), "patch_size"),
    "patches of too many px": (settings(patch_size=[10**30, 10**30]), "patch_size"),
    "patches of other px": (settings(patch_size=[17, 16]), "patch_size"),
    "no patch size": (settings(patch_size=None), "patch_size"),
    "no stride": (settings(stride=None), "stride"),
    "a stride of 0": (settings(stride=[0, 0]), "stride"),
    "an unknown edge": (settings(edge="\x1b[2J"), "edge"),
}

# what only `inspect` shows, and reading patches does not need
HOSTILE_TO_INSPECT: dict[str, tuple[Spoil, str]] = {
    "means that are no numbers": (change("stats/mean", 0, np.nan), "/stats/mean"),
    "deviations without end": (change("stats/std", 0, np.inf), "/stats/std"),
    "means of other channels": (replace("stats/mean", data=np.zeros(7), fletcher32=True), "/stats/mean"),
    "an augmentation that is none": (settings(augment=[1]), "augment"),
    "an augmentation without end": (settings(augment={"pipeline": [], "before": {"before": {}}}), "augment"),
    "images without px": (change("sources/width", 0, 0), "/sources|outside its image"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a pipe that nobody writes to: who opens it never comes back."""
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def test_the_trap_is_one(seeds: Seeds, server: Server, folder: Path) -> None:
    """A program that follows links hangs in the pipe: so no other test passes by looking at it."""
    for name, (spoil, _) in list(HOSTILE.items())[:2]:
        path = spoiled(seeds["gray"], folder, spoil)
        assert "hung" in server.run("h5py", path, seconds=0.5).wrong, name


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_with_a_reason(name: str, seeds: Seeds, server: Server, folder: Path) -> None:
    spoil, says = HOSTILE[name]
    check_refused(server, spoiled(seeds["gray"], folder, spoil), says)


@pytest.mark.parametrize("name", HOSTILE_TO_INSPECT)
def test_nothing_is_shown_of_a_file_that_contradicts_itself(
    name: str, seeds: Seeds, server: Server, folder: Path
) -> None:
    spoil, says = HOSTILE_TO_INSPECT[name]
    path = spoiled(seeds["gray"], folder, spoil)
    check_refused(server, path, says, ("inspect", "inspect --verify"))
    for use in ("open", "augment"):
        assert not server.run(use, path, str(folder / "result.h5")).wrong


@pytest.mark.parametrize("name", ["\x1b[2J", "a\nb", "\u202egnp", "\x00"])
def test_names_do_not_write_on_the_terminal(name: str, seeds: Seeds, server: Server, folder: Path) -> None:
    def spoil(file: h5py.File) -> None:
        for table in ("classes", "sources/path"):
            values = file[table][:].astype("S64")
            values[0] = name.encode()
            replace(table, data=values, fletcher32=True)(file)

    path = spoiled(seeds["gray"], folder, spoil)
    for use in USES:
        done = server.run(use, path, str(folder / f"{len(use)}.h5"))
        assert not done.wrong, (use, done.stderr)
        assert name not in done.stdout + done.stderr, use


# --- an index and its shards


def names(*changed: tuple[int, bytes]) -> Spoil:
    def spoil(file: h5py.File) -> None:
        values = file["shards/name"][:].astype("S300")
        for row, name in changed:
            values[row] = name or values[(row + 1) % len(values)]
        replace("shards/name", data=values, fletcher32=True)(file)

    return spoil


HOSTILE_INDEX: dict[str, tuple[Spoil, str]] = {
    "up": (names((1, b"../out.shards/a.h5")), "leads out of"),
    "up from below": (names((1, b"index.shards/../../a.h5")), "leads out of"),
    "absolute": (names((1, b"/etc/passwd")), "leads out of"),
    "no name": (change("shards/name", 1, b""), "leads out of"),
    "a zero byte": (names((1, b"index.shards/a\0b.h5")), "leads out of"),
    "itself": (names((1, b"index.h5")), "is the index itself"),
    "itself by a detour": (names((1, b"./index.shards/.././index.h5")), "leads out of|is the index itself"),
    "itself by a shorter detour": (names((1, b".//./index.h5")), "is the index itself"),
    "one shard twice": (names((1, b"")), "which is shard 1 too"),
    "rows that run backwards": (change("shards/row_start", 1, 10**6), "/shards/row_start does not fit"),
    "rows below 0": (change("shards/row_start", 0, -5), "/shards/row_start does not fit"),
    "more shards than listed": (attribute("n_shards", np.int64(3000)), "does not fit 3000 shards"),
    "a size below 0": (change("shards/bytes", 0, -1), "cannot be"),
    "a digest that is none": (change("shards/digest", 0, b"\xff" * 32), "cannot be"),
    "names of variable length": (
        replace("shards/name", data=["a.h5"] * 4),
        "/shards/name has type",
    ),
    "patches of all memory": (attribute("patch_shape", np.array([2**40, 2**40, 3])), "does not make"),
    "patches of no px": (attribute("patch_shape", np.array([0, 0, 3])), "does not make"),
    "patches of two axes": (attribute("patch_shape", np.array([4, 4])), "not consistent"),
    "patches of words": (attribute("patch_dtype", "float128"), "does not make"),
    "patches of objects": (attribute("patch_dtype", "O"), "does not make"),
    "patches of code": (attribute("patch_dtype", "u1,u1"), "does not make"),
}


@pytest.mark.parametrize("name", HOSTILE_INDEX)
def test_a_hostile_index_is_refused_with_a_reason(name: str, seeds: Seeds, server: Server, folder: Path) -> None:
    spoil, says = HOSTILE_INDEX[name]
    check_refused(server, spoiled(seeds["index"], folder, spoil), says)


def test_an_index_that_claims_larger_patches_takes_no_memory(seeds: Seeds, server: Server, folder: Path) -> None:
    path = spoiled(seeds["index"], folder, attribute("patch_shape", np.array([2**14, 2**14, 3])))
    check_refused(server, path, r"patch_size|has \d+ patches")


def pipe(shard: Path) -> None:
    os.mkfifo(shard)


def device(shard: Path) -> None:
    shard.symlink_to("/dev/zero")


def out_of_the_folder(shard: Path) -> None:
    shard.symlink_to(OUTSIDE)


def ring(shard: Path) -> None:
    shard.symlink_to(shard.name)


def index_itself(shard: Path) -> None:
    shard.symlink_to("../index.h5")


@pytest.mark.parametrize("put", [pipe, device, out_of_the_folder, ring, index_itself, Path.mkdir])
def test_what_stands_in_place_of_a_shard_is_not_opened(
    put: Callable[[Path], None], seeds: Seeds, server: Server, folder: Path
) -> None:
    path = copy(seeds["index"], folder)
    shard = shards(path)[1]
    shard.unlink()
    put(shard)
    check_refused(server, path, f"{shard.name}|1 of \\d+ shards")


@pytest.mark.parametrize("name", ["pipe", "device", "nothing", "folder", "empty", "text", "hdf4", "half", "later"])
def test_what_is_no_file_of_patchcli_is_refused(name: str, seeds: Seeds, server: Server, folder: Path) -> None:
    path = folder / f"{name}.h5"
    content = seeds["gray"].read_bytes()
    contents = {
        "empty": b"",
        "text": b"patches\n" * 100,
        "hdf4": b"\x0e\x03\x13\x01" + bytes(1000),
        "half": content[: len(content) // 2],
        "later": content[:8] + b"\x09" + content[9:],  # a superblock of a version that does not exist yet
    }
    if name in contents:
        path.write_bytes(contents[name])
    elif name == "pipe":
        os.mkfifo(path)
    elif name == "device":
        path.symlink_to("/dev/zero")
    elif name == "folder":
        path.mkdir()
    check_refused(server, path, ".")


def test_other_ways_to_keep_hdf5_end_in_words(seeds: Seeds, server: Server, folder: Path) -> None:
    """A block before the file, files in parts, the format of HDF5 2.0: refused or read, but never worse."""
    content = seeds["gray"].read_bytes()
    (folder / "block.h5").write_bytes(b"#!/bin/sh\n".ljust(512, b"\0") + content)
    with h5py.File(seeds["gray"]) as whole:
        ways: dict[str, dict[str, Any]] = {
            "latest": {"libver": "latest"},
            "earliest": {"libver": "earliest"},
            "split": {"driver": "split"},
            "family": {"driver": "family", "memb_size": 1 << 16},
        }
        for name, options in ways.items():
            path = folder / (f"{name}%d.h5" if name == "family" else f"{name}.h5")
            with h5py.File(path, "w", **options) as file:
                for key, value in whole.attrs.items():
                    file.attrs.create(key, value)
                for key in whole:
                    whole.copy(key, file)
    for path in folder.glob("*.h5*"):
        for use in USES:
            done = server.run(use, path, str(folder / "result.h5"))
            assert not done.wrong, (path.name, use, done.wrong, done.stderr)
            if path.name != "latest.h5":
                assert done.exit_code in (1, 4) or use in ("inspect", "inspect --json"), (path.name, use)


# --- trees and heaps, with checksums that are right


STRUCTURES: dict[str, tuple[str, bytes, int, int, int]] = {
    "a tree of nodes without bytes": ("gray", b"BTHD", 6, 4, 0),
    "a tree of nodes of gigabytes": ("gray", b"BTHD", 6, 4, 1 << 31),
    "a tree of records without bytes": ("gray", b"BTHD", 10, 2, 0),
    "a tree of many levels": ("gray", b"BTHD", 12, 2, 60_000),
    "a tree of another kind": ("gray", b"BTHD", 5, 1, 8),
    "a tree of more records than a node holds": ("gray", b"BTHD", 24, 2, 60_000),
    "a tree that begins nowhere": ("gray", b"BTHD", 16, 8, 1 << 40),
    "a leaf of another kind": ("gray", b"BTLF", 5, 1, 8),
    "a leaf that leads out of its heap": ("gray", b"BTLF", 11, 4, 1 << 31),
    "a heap of no width": ("gray", b"FRHP", 110, 2, 0),
    "a heap of blocks of gigabytes": ("gray", b"FRHP", 112, 8, 1 << 40),
    "a heap that counts tiny objects": ("gray", b"FRHP", 102, 8, 1 << 40),
    "a heap that counts huge objects": ("gray", b"FRHP", 86, 8, 1 << 40),
    "a heap under a filter": ("gray", b"FRHP", 7, 2, 9),
    "a heap whose block is none": ("gray", b"FRHP", 132, 8, 48),
    "a block of another heap": ("gray", b"FHDB", 5, 8, 48),
    "a heap of many rows": ("index", b"FRHP", 140, 2, 60_000),
    "a table of another heap": ("index", b"FHIB", 5, 8, 48),
    "chunks without end": ("chunks", b"FAHD", 8, 8, 1 << 40),
    "chunks of entries that are too large": ("chunks", b"FAHD", 6, 1, 255),
    "chunks on pages without end": ("chunks", b"FAHD", 7, 1, 60),
    "a root that is itself": ("gray", b"\x89HDF", 36, 8, 0),
    "a root beyond the end": ("gray", b"\x89HDF", 36, 8, 1 << 62),
    "a file that begins elsewhere": ("gray", b"\x89HDF", 12, 8, 4096),
    "a file that goes on elsewhere": ("gray", b"\x89HDF", 20, 8, 4096),
    "numbers of 64 bytes": ("gray", b"\x89HDF", 9, 1, 64),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_what_hdf5_dies_of_is_refused_before_it_is_asked(name: str, seeds: Seeds, server: Server, folder: Path) -> None:
    seed, signature, offset, width, value = STRUCTURES[name]
    content = bytearray(seeds[seed].read_bytes())
    blocks = [block for block in checked_blocks(bytes(content)) if content[block.start :].startswith(signature)]
    for block in blocks:
        content[block.start + offset : block.start + offset + width] = value.to_bytes(width, "little")
        block.mend(content)
    assert blocks
    path = copy(seeds[seed], folder)
    path.write_bytes(content)
    check_refused(server, path, "not made by patchcli: ")


@pytest.mark.parametrize(
    ("offset", "piece"), [(3, b"\0"), (4, b"\0"), (4, b"\xff"), (5, b"\0"), (6, b"\0"), (7, b"\4"), (7, b"\5")]
)
def test_hostile_layouts_of_chunks_are_refused(
    offset: int, piece: bytes, seeds: Seeds, server: Server, folder: Path
) -> None:
    """Number of axes, bytes of a length, lengths (of which HDF5 divides by some), kind of index."""
    layout = b"\4\2\2\2\1"  # of chunks, filtered, one axis and the value's own, lengths of a byte
    content = bytearray(seeds["gray"].read_bytes())
    for block in checked_blocks(bytes(content)):
        at = content.find(layout, block.start, block.stop)
        if at >= 0:
            content[at + offset : at + offset + len(piece)] = piece
            block.mend(content)
    path = copy(seeds["gray"], folder)
    path.write_bytes(content)
    check_refused(server, path, "not made by patchcli: .*(chunks|number)")


def test_headers_that_share_a_large_part_are_not_read_again_and_again(tmp_path: Path) -> None:
    """500 objects, each with two continuations into one chunk of 16 MB: 16 GB to look at, in a file of 17 MB."""
    n, root = 500, 48
    first, big = 1 << 16, (1 << 16) + 128 * 500 + 4096
    size = 4 + 255 * 65539 + 4
    content = bytearray(big + size + 100)
    links = b""
    for k in range(n):
        name = b"x%d" % k
        link = bytes([1, 0, len(name)]) + name + struct.pack("<Q", first + 128 * k)
        links += struct.pack("<BHB", 6, len(link), 0) + link
        message = struct.pack("<BHBQQ", 0x10, 16, 0, big, size) * 2
        header = b"OHDR\2\0" + bytes([len(message)]) + message + bytes(4)
        content[first + 128 * k : first + 128 * k + len(header)] = header
    head = b"\x89HDF\r\n\x1a\n" + bytes([3, 8, 8, 0]) + struct.pack("<QQQQ", 0, (1 << 64) - 1, big + size + 100, root)
    content[: len(head)] = head
    groups = b"OHDR\2\2" + struct.pack("<I", len(links)) + links
    content[root : root + len(groups)] = groups
    content[big : big + 4] = b"OCHK"
    for k in range(255):
        content[big + 4 + k * 65539 : big + 8 + k * 65539] = struct.pack("<BHB", 0, 65535, 0)
    (tmp_path / "large.h5").write_bytes(content)
    began = time.monotonic()
    with pytest.raises(DamagedFile, match="how it is put together"):
        check_structure(os.fsencode(tmp_path / "large.h5"))
    assert time.monotonic() - began < 5


def test_long_settings_and_many_tables_are_stored_as_they_may_be(tmp_path: Path) -> None:
    """HDF5 keeps long attributes in yet another way, and many tables in trees: these are files of ours."""
    for n_characters in (3_000, 5_000, 60_000, 70_000, 3_000_000):
        for n_tables in (0, 35):
            attributes = {f"a{number}": "x" * n_characters for number in range(10)}
            tables = {f"measures/{number}": np.zeros(9, "f4") for number in range(n_tables)}
            laid = lay_out(attributes, None, {"labels": np.zeros(9, "i8"), **tables})
            (tmp_path / "a.h5").write_bytes(laid.tail(0))
            check_structure(os.fsencode(tmp_path / "a.h5"))


# --- pixels


def bomb(n_bytes: int) -> bytes:
    """Zeros in the format of zlib, a thousandth of their size; made in no time."""
    block = 1 << 20
    deflate = zlib.compressobj(9, wbits=-15)
    piece = deflate.compress(bytes(block)) + deflate.flush(zlib.Z_FULL_FLUSH)
    n = n_bytes // block
    return b"\x78\xda" + piece * n + b"\x03\x00" + struct.pack(">HH", n * block % 65521, 1)


def chunk(content: bytes, mask: int = 0) -> Spoil:
    """Other bytes in place of the first chunk of the patches, with the right checksum behind them."""

    def spoil(file: h5py.File) -> None:
        place = file["patches"].id
        place.write_direct_chunk((0,) * 4, content + fletcher32(content).to_bytes(4, "little"), mask)

    return spoil


def test_the_bomb_is_one() -> None:
    assert zlib.decompress(bomb(3 << 20)) == bytes(3 << 20)


CHUNKS: dict[str, tuple[str, bytes, int]] = {
    "gzip that inflates to gigabytes": ("gzip", bomb(4 << 30), 0),
    "gzip that inflates to a little": ("gzip", zlib.compress(b"a little"), 0),
    "gzip that inflates to nothing": ("gzip", b"", 0),
    "gzip that does not end": ("gzip", zlib.compress(bytes(1 << 20))[:-6], 0),
    "less than a chunk, as it is": ("gzip", b"a little", 1),
    "lzf that inflates to a little": ("lzf", b"\x07a little", 0),
    "lzf that copies what is not there": ("lzf", b"\xff\xff\xff" * 9, 0),
    "lz4 of gigabytes": ("lz4", struct.pack(">QI", 4 << 30, 1 << 30) + bytes(100), 0),
    "lz4 of fewer than no bytes": ("lz4", struct.pack(">QI", (1 << 64) - 1, 1 << 30) + bytes(100), 0),
    "lz4 that ends at once": ("lz4", b"\0", 0),
    "zstd of gigabytes": ("zstd", b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 4 << 30) + bytes(20), 0),
    "zstd of an unknown size": ("zstd", b"\x28\xb5\x2f\xfd\x00\x58" + bytes(20), 0),
}


@pytest.mark.parametrize("name", CHUNKS)
def test_a_hostile_chunk_is_refused_before_it_takes_memory(
    name: str, seeds: Seeds, server: Server, folder: Path
) -> None:
    codec, content, mask = CHUNKS[name]
    path = spoiled(seeds[codec], folder, chunk(content, mask))
    check_refused(server, path, "patches 0 to|patch 0|row", ("open", "augment", "inspect --verify"))
    assert server.run("inspect", path).exit_code == 0, "no pixel is read"


def test_a_short_chunk_of_a_table_shows_nothing_of_the_memory(seeds: Seeds, server: Server, folder: Path) -> None:
    """HDF5 takes the rest of such a chunk from whatever is behind it."""

    def spoil(file: h5py.File) -> None:
        file["labels"].id.write_direct_chunk((0,), bytes(8) + fletcher32(bytes(8)).to_bytes(4, "little"))

    check_refused(server, spoiled(seeds["gray"], folder, spoil), "/labels is not written in full")


def test_what_only_the_deep_check_reads_is_not_followed_either(seeds: Seeds, server: Server, folder: Path) -> None:
    path = spoiled(seeds["gray"], folder, link("self_digest", h5py.ExternalLink("pipe", "/self_digest")))
    check_refused(server, path, "/self_digest is a link", ("inspect --verify",))


def test_what_does_not_say_that_it_is_ours_is_looked_at_as_foreign(seeds: Seeds, server: Server, folder: Path) -> None:
    for name, value in (("encoding-type", "anndata"), ("settings", "{" + " " * 50_000_000 + "}")):
        path = spoiled(seeds["gray"], folder, attribute(name, value))
        check_refused(server, path, "patchcli", ("open", "augment", "inspect --verify"))
        done = server.run("inspect", path)
        assert not done.wrong, done.stderr
        assert SECRET not in done.stdout
        path.unlink()


def test_errors_of_python_are_the_documented_ones(seeds: Seeds, folder: Path) -> None:
    for spoil, says in list(HOSTILE.values())[:3]:
        with pytest.raises(DamagedFile, match=rf"gray\.h5: .*{says}"):
            patchcli.open(spoiled(seeds["gray"], folder, spoil))


# --- mutations


@pytest.fixture(scope="module")
def subjects(seeds: Seeds) -> list[Subject]:
    """Files of each kind, with what is needed to mutate them; a shard stands for all, its index beside it."""
    kinds = ("gray", "splits", "gzip", "lzf", "lz4", "zstd", "chunks", "index", "augmented", "clam", "camelyon")
    files = [seeds[kind] for kind in kinds] + shards(seeds["index"])[1:2]
    return [Subject.of(str(file.relative_to(seeds["gray"].parent)), file.read_bytes()) for file in files]


def test_checksums_of_metadata_are_those_of_hdf5(subjects: list[Subject]) -> None:
    assert lookup3(b"") == 0xDEADBEEF
    assert lookup3(b"Four score and seven years ago") == 0x17770551  # of Bob Jenkins' own test
    for subject in subjects:
        n_headers = subject.content.count(b"OHDR") + subject.content.count(b"OCHK")
        found = [subject.content[block.start : block.start + 4] for block in checked_blocks(subject.content)]
        assert found.count(b"OHDR") + found.count(b"OCHK") == n_headers
        if n_headers:
            assert {b"\x89HDF", b"FRHP", b"FHDB", b"BTHD", b"BTLF"} <= set(found)
        for start, stop in subject.chunks:
            content = subject.content[start:stop]
            assert fletcher32(content[:-4]) == int.from_bytes(content[-4:], "little")


def test_a_mended_checksum_is_taken_by_hdf5(seeds: Seeds, folder: Path) -> None:
    content = bytearray(seeds["gray"].read_bytes())
    at = content.index(b'"edge":"drop"')
    content[at : at + 13] = b'"edge":"DROP"'
    (folder / "broken.h5").write_bytes(content)
    with pytest.raises((OSError, KeyError, RuntimeError)), h5py.File(folder / "broken.h5") as file:
        file.attrs["settings"]
    for block in checked_blocks(seeds["gray"].read_bytes()):
        if block.start <= at < block.stop:
            block.mend(content)
    (folder / "mended.h5").write_bytes(content)
    with h5py.File(folder / "mended.h5") as file:
        assert b"DROP" in file.attrs["settings"]


def try_mutations(
    subjects: list[Subject], numbers: Sequence[int], folder: Path, seeds: Seeds, n_uses: int = 3
) -> set[int]:
    """Use a mutated file of each number, in children with limits, two at a time; which exit codes came."""
    halves = [(subjects, numbers[k::2], folder / str(k), seeds, n_uses) for k in range(2)]
    with ThreadPoolExecutor(2) as pool:
        done = [one for some in pool.map(lambda half: try_some(*half), halves) for one in some]
    wrong = [f"{said}: {one.use}: {one.wrong}: {one.stderr[-500:]}" for said, one in done if one.wrong]
    assert not wrong, "\n".join([f"{len(wrong)} of {len(done)} uses", *wrong[:20]])
    return {one.exit_code for _, one in done}


def try_some(
    subjects: list[Subject], numbers: Sequence[int], folder: Path, seeds: Seeds, n_uses: int
) -> list[tuple[str, Outcome]]:
    uses, done = ("inspect --json", "open", "inspect --verify"), []
    shutil.copytree(seeds["index"].with_suffix(".shards"), folder / "index.shards")
    shutil.copy2(seeds["index"], folder / "index.h5")
    with Server() as server:
        for number in numbers:
            subject = subjects[number % len(subjects)]
            content, said = mutated(subject, number, subjects)
            path = folder / subject.name
            path.write_bytes(content)
            for k in range(n_uses):
                use = uses[(number // len(subjects) + k) % len(uses)]
                done.append((said, server.run(use, folder / "index.h5" if path.parent != folder else path)))
            path.write_bytes(subject.content)
    return done


def test_mutated_files_end_in_words(subjects: list[Subject], seeds: Seeds, tmp_path: Path) -> None:
    assert try_mutations(subjects, range(12 * 12), tmp_path, seeds, n_uses=1) == {0, 1, 4}


@pytest.mark.slow
@pytest.mark.parametrize("first", range(10_000, 15_000, 1000))
def test_five_thousand_mutated_files_end_in_words(
    first: int, subjects: list[Subject], seeds: Seeds, tmp_path: Path
) -> None:
    try_mutations(subjects, range(first, first + 1000), tmp_path, seeds)
