"""What HDF5 lays out: same content, same bytes; all under checksums; a head that is known before the values are."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

import patchcli
from patchcli.errors import DamagedFile
from patchcli.io import h5
from patchcli.io import layout as layouts
from patchcli.io.publish import Draft, new_run
from patchcli.io.shard import ChunkedWriter, ContiguousWriter, PixelWriter, file_digest

Tables = dict[str, npt.NDArray[Any]]

ATTRIBUTES: dict[str, Any] = {
    "encoding-type": "patchset",
    "role": "shard",
    "plan_id": "0" * 32,
    "shard": np.int64(3),
    "settings": '{"patch_size":[64,64]}',
}
VIEWERS: dict[str, Any] = {"CLASS": "IMAGE", "IMAGE_VERSION": "1.2", "order": "n,y,x,c"}


def pixels_of(n_rows: int, side: int = 8) -> layouts.PixelLayout:
    return layouts.PixelLayout("patches", (n_rows, side, side, 3), np.dtype("u1"), VIEWERS)


def tables_of(
    n_rows: int, *, width: int = 12, n_sources: int = 3, n_skipped: int = 0, seed: int | None = None
) -> Tables:
    """Tables of a shard's shapes: zeros without a seed, otherwise noise."""
    random = np.random.default_rng(seed)

    def some(kind: str, *shape: int) -> npt.NDArray[Any]:
        n_bytes = int(np.prod(shape)) * np.dtype(kind).itemsize
        content = bytes(n_bytes) if seed is None else bytes(random.integers(1, 127, n_bytes, np.uint8))
        return np.frombuffer(content, kind).reshape(shape)

    return {
        "labels": some("i8", n_rows),
        "digest": some("u8", n_rows),
        "coords": some("i4", n_rows, 2),
        "coords@order": np.bytes_(b"x,y"),  # type: ignore[dict-item]
        "coords@patch_size": np.int64(64),  # type: ignore[dict-item]
        "source": some("i4", n_rows),
        "classes": layouts.names_table((b"cat", "d\u00f6g".encode())),
        "sources/path": some(f"S{width}", n_sources),
        "sources/sha256": some("S64", n_sources),
        "sources/group": some("S1", n_sources),
        "skipped/path": some(f"S{width}", n_skipped),
        "skipped/reason": layouts.names_table([b"r" * width] * n_skipped),
        "stats/mean": some("f8", 3),
    }


def whole(layout: layouts.Layout) -> bytes:
    return layout.tail(0)


def stored(path: Path, layout: layouts.Layout) -> Path:
    path.write_bytes(whole(layout))
    return path


def datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    found: dict[str, h5py.Dataset] = {}

    def visit(name: str, place: Any) -> None:
        if isinstance(place, h5py.Dataset):
            found[name] = place

    file.visititems(visit)
    return found


shapes = st.fixed_dictionaries(
    {
        "n_rows": st.one_of(st.integers(1, 300), st.sampled_from([511, 512, 4096, 5000])),
        "width": st.one_of(st.integers(1, 40), st.sampled_from([255, 1000, 4000])),
        "n_sources": st.sampled_from([1, 2, 30, 500]),
        "n_skipped": st.sampled_from([0, 1, 40]),
    }
)


@given(shapes, st.integers(0, 9))
def test_the_head_is_known_before_the_values(shape: dict[str, int], seed: int) -> None:
    """The digest that runs along with the writes begins with bytes that are written last."""
    n_rows = shape["n_rows"]
    foreseen = layouts.lay_out(ATTRIBUTES, pixels_of(n_rows), tables_of(**shape))
    final = layouts.lay_out(ATTRIBUTES, pixels_of(n_rows), tables_of(**shape, seed=seed))
    assert foreseen.offset == final.offset
    assert foreseen.head == final.head
    assert foreseen.n_bytes == final.n_bytes
    assert len(final.head) == final.offset
    end = final.offset + n_rows * 8 * 8 * 3
    assert final.head + bytes(end - final.offset) + final.tail(end) == whole(final)
    assert all(at + len(piece) <= final.offset or at >= end for at, piece in final.pieces.items())


@given(shapes)
def test_pixels_stand_at_an_aligned_offset(shape: dict[str, int]) -> None:
    layout = layouts.lay_out(ATTRIBUTES, pixels_of(shape["n_rows"]), tables_of(**shape))
    assert layout.offset > 0
    assert layout.offset % 4096 == 0


@pytest.mark.parametrize("n_rows", [*range(1, 40), 100, 1000, 5000])
def test_pixels_written_at_the_offset_are_those_that_hdf5_reads(tmp_path: Path, n_rows: int) -> None:
    patches = np.random.default_rng(n_rows).integers(0, 256, (n_rows, 8, 8, 3), np.uint8)
    tables = tables_of(n_rows, seed=1)
    layout = layouts.lay_out(ATTRIBUTES, pixels_of(n_rows), tables)
    content = bytearray(whole(layout))
    content[layout.offset : layout.offset + patches.nbytes] = patches.tobytes()
    (tmp_path / "a.h5").write_bytes(content)
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["patches"].id.get_offset() == layout.offset
        assert file["patches"].chunks is None
        np.testing.assert_array_equal(file["patches"][...], patches)
        for name, values in tables.items():
            if "@" not in name:
                np.testing.assert_array_equal(file[name][...], values)
        assert file["coords"].attrs["order"] in (b"x,y", "x,y")
        assert file["coords"].attrs["patch_size"] == 64
        assert h5.read_attributes(file, "a.h5") == ATTRIBUTES


def test_the_same_content_has_the_same_bytes_at_any_time() -> None:
    first = whole(layouts.lay_out(ATTRIBUTES, pixels_of(50), tables_of(50, seed=1)))
    time.sleep(1.1)
    assert whole(layouts.lay_out(ATTRIBUTES, pixels_of(50), tables_of(50, seed=1))) == first
    assert whole(layouts.lay_out(ATTRIBUTES, pixels_of(50), tables_of(50, seed=2))) != first


SCRIPT = """
import sys
sys.path[:0] = sys.argv[1:]
from test_h5 import digest_of_layouts
print(digest_of_layouts())
"""


def digest_of_layouts() -> str:
    digest = hashlib.sha256()
    for n_rows in (1, 7, 700):
        digest.update(whole(layouts.lay_out(ATTRIBUTES, pixels_of(n_rows), tables_of(n_rows, seed=1, n_skipped=2))))
        digest.update(whole(layouts.lay_out(ATTRIBUTES, None, tables_of(n_rows, seed=1))))
    return digest.hexdigest()


@pytest.mark.parametrize("hash_seed", ["0", "1", "random"])
def test_the_same_content_has_the_same_bytes_in_any_process(tmp_path: Path, hash_seed: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(Path(__file__).parent)],
        capture_output=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "TZ": "Asia/Tokyo", "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
    )
    assert run.stdout.decode().strip() == digest_of_layouts()


@given(shapes, st.booleans())
def test_every_table_is_under_a_checksum_and_plain(shape: dict[str, int], index: bool) -> None:
    layout = layouts.lay_out(ATTRIBUTES, None if index else pixels_of(shape["n_rows"]), tables_of(**shape, seed=1))
    content = whole(layout)
    assert content[:8] == b"\x89HDF\r\n\x1a\n"
    assert content[8] == 3  # version of the superblock: under a checksum, for HDF5 1.10 and later
    with h5py.File.in_memory(content) as file:
        found = datasets(file)
        assert len(found) == 12 + (not index)
        for name, table in found.items():
            check_plain(table)
            if name != "patches" and table.size:
                assert table.fletcher32
                assert table.compression is None


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"compression": "lz4"}, {"shard_size": "40kB"}])
def test_every_file_says_what_its_own_bytes_come_to(root: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    patchcli.extract(root, tmp_path / "out.h5", patch=32, executor="serial", **options)
    files = [tmp_path / "out.h5", *tmp_path.glob("out.shards/*.h5")]
    assert len(files) > 3 or "shard_size" not in options
    for path in files:
        content = bytearray(path.read_bytes())
        with h5py.File(path) as file:
            stored = layouts.self_digest_at(file["self_digest"])
            said = file["self_digest"][0].decode()
        content[stored.start : stored.stop] = bytes(len(stored))
        assert xxhash.xxh3_128_hexdigest(bytes(content)) == said


def check_plain(table: h5py.Dataset) -> None:
    """No heap, no times, nothing outside the file."""
    properties = table.id.get_create_plist()
    assert table.dtype.kind in "iufS"
    assert not table.id.get_type().is_variable_str() if table.dtype.kind == "S" else True
    assert not properties.get_obj_track_times()
    assert properties.get_external_count() == 0
    assert not table.is_virtual
    for name in table.attrs:
        assert not isinstance(table.attrs.get_id(name).get_type(), h5py.h5t.TypeVlenID)


def test_links_are_hard_and_objects_without_times(tmp_path: Path) -> None:
    with h5py.File(stored(tmp_path / "a.h5", layouts.lay_out(ATTRIBUTES, pixels_of(5), tables_of(5)))) as file:
        groups = [file, *(place for place in file.values() if isinstance(place, h5py.Group))]
        assert len(groups) == 4
        for group in groups:
            assert all(isinstance(group.get(name, getlink=True), h5py.HardLink) for name in group)
        for place in (*groups[1:], *datasets(file).values()):
            information = h5py.h5o.get_info(place.id)
            assert not getattr(information, "mtime", 0)


def test_any_flipped_bit_of_the_metadata_is_seen_or_harmless(tmp_path: Path) -> None:
    """Everything outside the pixels is under a checksum, or is a gap that nobody reads."""
    tables = tables_of(9, seed=1, n_skipped=2)
    layout = layouts.lay_out(ATTRIBUTES, pixels_of(9), tables)
    content = whole(layout)
    places = [at + k for at, piece in layout.pieces.items() for k in range(len(piece))]
    picked = np.random.default_rng(0).choice(places, 400, replace=False)
    path = tmp_path / "a.h5"
    n_seen = 0
    for at in picked.tolist():
        flipped = bytearray(content)
        flipped[at] ^= 1 << (at % 8)
        path.write_bytes(flipped)
        try:
            with h5.open_file(os.fsencode(path)) as file:
                assert h5.read_attributes(file, "a.h5") == ATTRIBUTES
                for name, values in tables.items():
                    if "@" not in name:
                        np.testing.assert_array_equal(h5.read_table(file, name), values)
        except DamagedFile:
            n_seen += 1
    assert n_seen > 100


# --- writers


def written(path: Path, writer: PixelWriter, blocks: list[npt.NDArray[np.uint8]], tables: Tables) -> tuple[int, str]:
    for block in blocks:
        writer.add(block)
    return writer.finish(tables)


@pytest.fixture
def draft(tmp_path: Path) -> Iterator[Draft]:
    with Draft(os.fsencode(tmp_path / "a.h5"), new_run()) as draft:
        yield draft


@pytest.mark.parametrize("sizes", [[1], [7], [3, 1, 5], [400, 300, 1]])
@pytest.mark.parametrize("compression", ["none", "gzip", "lzf", "lz4", "zstd"])
def test_what_writers_say_of_a_file_is_true(tmp_path: Path, draft: Draft, sizes: list[int], compression: str) -> None:
    n_rows = sum(sizes)
    patches = np.random.default_rng(0).integers(0, 256, (n_rows, 8, 8, 3), np.uint8)
    patches[1::2] = 7
    tables, pixels = tables_of(n_rows, seed=1), pixels_of(n_rows)
    writer: PixelWriter
    if compression == "none":
        writer = ContiguousWriter(draft, ATTRIBUTES, pixels, tables_of(n_rows))
    else:
        writer = ChunkedWriter(draft, ATTRIBUTES, pixels, compression)
    blocks = np.split(patches, np.cumsum(sizes)[:-1])
    n_bytes, digest = written(tmp_path, writer, blocks, tables)
    draft.publish()
    content = (tmp_path / "a.h5").read_bytes()
    assert n_bytes == len(content)
    assert digest == xxhash.xxh3_128_hexdigest(content)
    assert content[8] == 3
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["patches"][...], patches)
        np.testing.assert_array_equal(file["digest"][...], tables["digest"])
        assert file["patches"].fletcher32 is (compression != "none")
        for table in datasets(file).values():
            check_plain(table)


def test_a_head_that_was_not_foreseen_costs_a_second_reading_and_nothing_else(tmp_path: Path, draft: Draft) -> None:
    patches = np.full((5, 8, 8, 3), 9, np.uint8)
    tables = tables_of(5, seed=1)
    other = {"labels": tables["labels"]}
    assert (
        layouts.lay_out(ATTRIBUTES, pixels_of(5), other).head != layouts.lay_out(ATTRIBUTES, pixels_of(5), tables).head
    )
    writer = ContiguousWriter(draft, ATTRIBUTES, pixels_of(5), other)
    n_bytes, digest = written(tmp_path, writer, [patches], tables)
    draft.publish()
    content = (tmp_path / "a.h5").read_bytes()
    assert (n_bytes, digest) == (len(content), xxhash.xxh3_128_hexdigest(content))
    with open(tmp_path / "a.h5", "rb") as file:
        assert file_digest(file.fileno()) == digest


# --- reading


def test_names_are_fixed_length_and_may_be_empty() -> None:
    assert layouts.names_table([b"a", b"\xff\xfe longer"]).tolist() == [b"a", b"\xff\xfe longer"]
    assert layouts.names_table([b"a", b"bcd"]).dtype == "S3"
    assert layouts.names_table([b"", b""]).dtype == "S1"
    assert (layouts.names_table([]).shape, layouts.names_table([]).dtype) == ((0,), np.dtype("S1"))
    marked = h5py.check_string_dtype(layouts.names_table((b"cat",)).dtype)
    assert (marked.encoding, marked.length) == ("utf-8", 3)


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(5000)])
def test_what_is_not_hdf5_is_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(DamagedFile, match=r"a\.h5"):
        h5.open_file(os.fsencode(tmp_path / "a.h5"))


def test_folders_pipes_and_nothing_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, error in (("", DamagedFile), ("pipe", DamagedFile), ("missing", FileNotFoundError)):
        with pytest.raises(error):
            h5.open_file(os.fsencode(tmp_path / name))


def test_links_and_storage_that_lead_out_of_the_file_are_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.arange(3)
    (tmp_path / "raw").write_bytes(bytes(24))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["soft"] = h5py.SoftLink("/plain")
        file["outside"] = h5py.ExternalLink("other.h5", "secret")
        file["plain"] = np.arange(3)
        file.create_group("group")["inner"] = h5py.SoftLink("/plain")
        file.create_dataset("raw", (3,), "i8", external=[(str(tmp_path / "raw"), 0, 24)])
        layout = h5py.VirtualLayout((3,), "i8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", (3,))
        file.create_virtual_dataset("virtual", layout)
        file["text"] = ["variable", "length"]
        file["nothing"] = h5py.Empty("i8")
        file.create_dataset("squeezed", data=np.zeros(1000), compression="gzip")
        file.create_dataset("huge", (10**12,), "u1", chunks=(1000,))
        file.create_dataset("partial", (1000,), "u1", chunks=(10,), fletcher32=True)[:10] = 1
    with h5.open_file(os.fsencode(tmp_path / "a.h5")) as file:
        assert h5.read_table(file, "plain").tolist() == [0, 1, 2]
        out_of_the_file = ("soft", "outside", "group/inner", "raw", "virtual")
        not_plain = ("text", "nothing", "squeezed", "huge", "partial", "group", "missing", "plain/inner")
        for name in ("raw", "virtual"):
            with pytest.raises(DamagedFile, match=f"/{name} is stored outside the file"):
                h5.dataset(file, name)
        for name in out_of_the_file + not_plain:
            with pytest.raises(DamagedFile, match=f"/{name} "):
                h5.read_table(file, name)
