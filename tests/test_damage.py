"""Damage of every kind is found by the deep check: which file, which rows, what to do; and one flipped bit anywhere."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xxhash
from click.testing import CliRunner
from mutations import checked_blocks
from photos import crops

import patchcli
from patchcli.cli import main
from patchcli.inspected import Finding, Verification
from patchcli.io.layout import stored_digest
from patchcli.run.verify import verify

PATCH = 16
KINDS = ("single", "gzip", "sharded", "sharded_gzip", "augmented")
N_FLIPS = 2000

Damage = Callable[[Path], None]


@dataclass(frozen=True)
class Whole:
    """A data set as it was made: where, and all its files by their names below that folder."""

    path: Path
    files: dict[str, bytes]

    def copy(self, folder: Path) -> Path:
        """All files in another folder."""
        for name, content in self.files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        return folder / self.path.name


def made(path: Path) -> Whole:
    files = [path, *sorted(path.with_suffix(".shards").glob("*"))]
    return Whole(path, {str(file.relative_to(path.parent)): file.read_bytes() for file in files})


@pytest.fixture(scope="module")
def src(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in train and val, each in one of them; some patches are black, and the same in both."""
    root = tmp_path_factory.mktemp("photos")
    images = crops(root / "all", per_class=2, size=(64, 48))
    for image in sorted(images.rglob("*.*")):
        folder = root / "data" / ("train" if image.stem == "0" else "val") / image.parent.name
        folder.mkdir(parents=True)
        shutil.copy(image, folder)
    return root / "data"


@pytest.fixture(scope="module")
def wholes(src: Path) -> dict[str, Whole]:
    folder = src.parent
    options: dict[str, Any] = {"patch": PATCH, "stride": 24, "executor": "serial"}
    for kind in KINDS[:4]:
        sharded: dict[str, Any] = {"shard_size": "12kB"} if "sharded" in kind else {}
        codec: Any = "gzip" if "gzip" in kind else "none"
        patchcli.extract(src, folder / f"{kind}.h5", compression=codec, **options, **sharded)
    patchcli.augment(
        folder / "single.h5", folder / "augmented.h5", copies=1, rotation_range=20, rescale="1/255", shard_size="40kB",
        executor="serial",
    )  # fmt: skip
    found = {kind: made(folder / f"{kind}.h5") for kind in KINDS}
    assert [len(whole.files) > 3 for whole in found.values()] == [False, False, True, True, True]
    return found


@pytest.fixture
def sharded(wholes: dict[str, Whole], tmp_path: Path) -> Path:
    return wholes["sharded"].copy(tmp_path)


@pytest.fixture
def single(wholes: dict[str, Whole], tmp_path: Path) -> Path:
    return wholes["single"].copy(tmp_path)


def check(path: Path) -> Verification:
    return verify(path, executor="serial")


def shard(path: Path, number: int = 1) -> Path:
    return sorted(path.with_suffix(".shards").iterdir())[number]


def findings(path: Path) -> tuple[Finding, ...]:
    found = check(path)
    assert not found.ok
    assert found.n_findings == len(found.findings) > 0
    for finding in found.findings:
        assert finding.what
        assert finding.remedy
        assert len(finding.rows) == min(10, finding.n_rows)
    return found.findings


def only(path: Path) -> Finding:
    """The one finding."""
    found = findings(path)
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_found_in_what_is_whole(kind: str, wholes: dict[str, Whole], tmp_path: Path) -> None:
    path = wholes[kind].copy(tmp_path)
    for executor in ("serial", "process"):
        found = verify(path, executor=executor, workers=2)
        assert found.ok, found.findings
        assert found.files == len(wholes[kind].files)
        assert found.patches == len(patchcli.open(path))
        assert found.bytes == sum(map(len, wholes[kind].files.values()))


# --- one bit


def flips(wholes: dict[str, Whole], n: int, seed: int) -> Iterator[tuple[str, str, int, int]]:
    """Data set, file, byte, bit: in any byte, in metadata, and between them, where no checksum of HDF5 is."""
    draw = random.Random(seed)
    for number in range(n):
        kind = KINDS[number % len(KINDS)]
        name = draw.choice(sorted(wholes[kind].files))
        content = wholes[kind].files[name]
        byte = draw.randrange(len(content))
        if number % 3 == 1:
            block = draw.choice(checked_blocks(content))
            byte = draw.randrange(block.start, block.stop)
        elif number % 3 == 2:
            gaps = [at for at in range(0, len(content), 64) if not any(content[at : at + 64])]
            byte = min(len(content) - 1, draw.choice(gaps) + draw.randrange(64)) if gaps else byte
        yield kind, name, byte, draw.randrange(8)


def flip_and_check(wholes: dict[str, Whole], n: int, seed: int, folder: Path) -> None:
    for kind in KINDS:
        (folder / kind).mkdir()
        wholes[kind].copy(folder / kind)
    silent, wrong = [], []
    for flipped in flips(wholes, n, seed):
        kind, name, byte, bit = flipped
        content = bytearray(wholes[kind].files[name])
        content[byte] ^= 1 << bit
        path = folder / kind / wholes[kind].path.name
        (folder / kind / name).write_bytes(content)
        found = check(path)
        (folder / kind / name).write_bytes(wholes[kind].files[name])
        if found.ok:
            silent.append(flipped)
        first = found.findings[:1]
        if [(one.kind, one.file) for one in first] != [("damaged", str(folder / kind / name))]:
            wrong.append((flipped, found.findings))
        if not all(
            re.match("(the same (extract|augment) command|the command that made it) ", one.remedy)
            for one in found.findings
        ):
            wrong.append((flipped, found.findings))
    assert not silent, f"{len(silent)} of {n}: {silent[:9]}"
    assert not wrong, f"{len(wrong)} of {n}: {wrong[:5]}"


def test_a_flipped_bit_anywhere_is_found(wholes: dict[str, Whole], tmp_path: Path) -> None:
    flip_and_check(wholes, 60, 0, tmp_path)


@pytest.mark.slow
def test_two_thousand_flipped_bits_are_found(wholes: dict[str, Whole], tmp_path: Path) -> None:
    flip_and_check(wholes, N_FLIPS, 1, tmp_path)


@pytest.mark.parametrize("kind", ["single", "sharded", "augmented"])
def test_a_flipped_pixel_is_found_with_its_row(kind: str, wholes: dict[str, Whole], tmp_path: Path) -> None:
    path = wholes[kind].copy(tmp_path)
    file = path if kind == "single" else shard(path)
    ps = patchcli.open(file)
    with h5py.File(file) as there:
        start, size = there["patches"].id.get_offset(), ps[0].nbytes
    for row in (0, len(ps) - 1):
        content = bytearray(file.read_bytes())
        content[start + row * size + 17] ^= 1
        file.write_bytes(content)
        found = only(path)
        assert (found.kind, found.file, found.rows, found.n_rows) == ("damaged", str(file), (row,), 1)
        content[start + row * size + 17] ^= 1
        file.write_bytes(content)


# --- files that are gone, others, or of another length


def delete(path: Path) -> None:
    shard(path).unlink()


def cut_by_a_byte(path: Path) -> None:
    os.truncate(shard(path), shard(path).stat().st_size - 1)


def cut_in_the_middle(path: Path) -> None:
    os.truncate(shard(path), shard(path).stat().st_size // 2)


def cut_to_nothing(path: Path) -> None:
    os.truncate(shard(path), 0)


def lengthen(path: Path) -> None:
    os.truncate(shard(path), shard(path).stat().st_size + 1)


def zero_a_block(path: Path) -> None:
    with shard(path).open("r+b") as file:
        file.seek(shard(path).stat().st_size // 4096 // 2 * 4096)
        file.write(bytes(4096))


def exchange_two_bytes(path: Path) -> None:
    content = bytearray(shard(path).read_bytes())
    at = next(k for k in range(len(content) // 2, len(content)) if content[k] != content[k + 1])
    content[at], content[at + 1] = content[at + 1], content[at]
    shard(path).write_bytes(content)


def replace_by_a_folder(path: Path) -> None:
    victim = shard(path)
    victim.unlink()
    victim.mkdir()


def replace_by_a_pipe(path: Path) -> None:
    victim = shard(path)
    victim.unlink()
    os.mkfifo(victim)


def replace_by_a_link_to_nothing(path: Path) -> None:
    victim = shard(path)
    victim.unlink()
    victim.symlink_to("nothing")


def replace_by_a_link_to_another(path: Path) -> None:
    victim = shard(path)
    victim.unlink()
    victim.symlink_to(shard(path, 0).name)


def replace_by_a_copy_of_another(path: Path) -> None:
    shutil.copy2(shard(path, 0), shard(path))


@pytest.mark.parametrize(
    ("damage", "kind", "says"),
    [
        (delete, "missing", "is not there"),
        (cut_by_a_byte, "damaged", "truncated: holds"),
        (cut_in_the_middle, "damaged", "truncated: holds"),
        (cut_to_nothing, "damaged", "truncated: holds 0 bytes"),
        (lengthen, "damaged", "has grown: holds"),
        (zero_a_block, "damaged", "as written"),
        (exchange_two_bytes, "damaged", ""),
        (replace_by_a_folder, "foreign", "no regular file"),
        (replace_by_a_pipe, "foreign", "no regular file"),
        (replace_by_a_link_to_nothing, "missing", "is not there"),
        (replace_by_a_link_to_another, "foreign", "expected shard 1 of plan"),
        (replace_by_a_copy_of_another, "foreign", "expected shard 1 of plan"),
    ],
)
def test_a_shard_that_is_not_what_it_was_is_named(sharded: Path, damage: Damage, kind: str, says: str) -> None:
    name = str(shard(sharded))
    damage(sharded)
    found = findings(sharded)
    assert {one.file for one in found} == {name}
    assert kind in {one.kind for one in found}
    assert says in " ".join(one.what for one in found)
    assert all("the same extract command rebuilds 00001" in one.remedy for one in found)
    done = CliRunner().invoke(main, ["inspect", str(sharded), "--verify", "--executor", "serial"])
    assert done.exit_code == 4, done.output
    assert name in done.stdout
    assert "rebuilds 00001" in done.stdout


def test_swapped_shards_are_both_named(sharded: Path) -> None:
    first, second = shard(sharded, 0), shard(sharded, 2)
    first.rename(first.with_name("third"))
    second.rename(first)
    first.with_name("third").rename(second)
    found = findings(sharded)
    assert [(one.kind, one.file) for one in found] == [("foreign", str(first)), ("foreign", str(second))]
    assert "is shard 2 of plan" in found[0].what


def test_a_shard_of_another_plan_is_foreign(sharded: Path, src: Path, tmp_path: Path) -> None:
    patchcli.extract(src, tmp_path / "other.h5", patch=PATCH, stride=23, shard_size="12kB", executor="serial")
    shutil.copy(shard(tmp_path / "other.h5"), shard(sharded))
    found = only(sharded)
    assert (found.kind, found.file) == ("foreign", str(shard(sharded)))
    assert patchcli.open(tmp_path / "other.h5").plan_id in found.what


def test_the_index_of_another_data_set_finds_no_shards(sharded: Path, src: Path, tmp_path: Path) -> None:
    patchcli.extract(src, tmp_path / "other.h5", patch=PATCH, stride=23, shard_size="12kB", executor="serial")
    n_shards = len(list((tmp_path / "other.shards").iterdir()))
    (tmp_path / "sub").mkdir()
    shutil.copy(tmp_path / "other.h5", tmp_path / "sub")
    shutil.copytree(sharded.with_suffix(".shards"), tmp_path / "sub" / "other.shards")
    found = findings(tmp_path / "sub" / "other.h5")
    assert [one.kind for one in found] == ["missing"] * n_shards
    os.replace(tmp_path / "other.shards", tmp_path / "away")
    os.replace(tmp_path / "other.h5", sharded)
    assert [one.kind for one in findings(sharded)] == ["missing"] * n_shards


@pytest.mark.parametrize("kind", ["single", "gzip"])
@pytest.mark.parametrize("keep", [-1, 0, 8, 0.5])
def test_a_truncated_single_file_is_damaged(kind: str, keep: float, wholes: dict[str, Whole], tmp_path: Path) -> None:
    path = wholes[kind].copy(tmp_path)
    size = path.stat().st_size
    os.truncate(path, int(size * keep) if 0 < keep < 1 else size - 1 if keep < 0 else int(keep))
    found = check(path).findings
    assert [(one.kind, one.file) for one in found] == [("damaged" if keep != 8 else "foreign", str(path))]


# --- what HDF5 takes for right: values changed through h5py


def change(name: str, row: Any, value: Any) -> Damage:
    def damage(path: Path) -> None:
        with h5py.File(path, "r+", libver=("v110", "v110")) as file:
            file[name][row] = value

    return damage


def change_a_label(path: Path) -> None:
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        file["labels"][3] = (file["labels"][3] + 1) % len(file["classes"])


def change_a_patch_and_its_digest(path: Path) -> None:
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        file["patches"][5] = 255 - file["patches"][5]
        file["digest"][5] = np.uint64(xxhash.xxh3_64_intdigest(file["patches"][5].tobytes()))


def change_the_settings(path: Path) -> None:
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        said = json.loads(file.attrs["settings"])
        file.attrs["settings"] = np.bytes_(json.dumps({**said, "order": "shuffle, seed 1"}))


def delete_the_seal(path: Path) -> None:
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        del file["self_digest"]


CHANGES: dict[str, Damage] = {
    "a label": change_a_label,
    "a split": change("split", 3, 1),
    "a coordinate": change("coords", 3, (1, 1)),
    "an image": change("source", 3, 1),
    "a digest": change("digest", 3, 7),
    "a class": change("classes", 0, b"other"),
    "a path": change("sources/path", 0, b"other"),
    "a sum": change("stats/sum", 0, 7),
    "a mean": change("stats/mean", 0, 7.0),
    "a patch": change("patches", 5, 0),
    "a patch and its digest": change_a_patch_and_its_digest,
    "the settings": change_the_settings,
    "its own digest": change("self_digest", 0, b"0" * 32),
    "no digest of its own": delete_the_seal,
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_changed_in_a_single_file_is_found(name: str, single: Path) -> None:
    CHANGES[name](single)
    found = findings(single)
    assert {one.file for one in found} == {str(single)}
    assert found[0].kind in ("damaged", "contradiction")
    assert "the same extract command" in found[0].remedy


@pytest.mark.parametrize("name", CHANGES)
def test_what_was_changed_in_a_shard_is_found(name: str, sharded: Path) -> None:
    CHANGES[name](shard(sharded))
    found = findings(sharded)
    assert str(shard(sharded)) in {one.file for one in found}
    assert all("rebuilds 00001" in one.remedy for one in found if one.file == str(shard(sharded)))


@pytest.mark.parametrize("name", [name for name in CHANGES if "patch" not in name])
def test_what_was_changed_in_an_index_is_found(name: str, sharded: Path) -> None:
    CHANGES[name](sharded)
    found = findings(sharded)
    assert {one.file for one in found} == {str(sharded)}


@pytest.mark.parametrize(
    ("name", "row", "value"),
    [("shards/bytes", 1, 5), ("shards/digest", 1, b"0" * 32), ("shards/row_start", 1, 1), ("shards/name", 1, b"a.h5")],
)
def test_a_changed_list_of_shards_is_found(name: str, row: int, value: Any, sharded: Path) -> None:
    change(name, row, value)(sharded)
    assert findings(sharded)


def reseal(path: Path) -> None:
    """Make a file's own digest right again: what is wrong with it now is its meaning alone."""
    with h5py.File(path) as file:
        place = file["self_digest"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    at = slice(place.byte_offset, place.byte_offset + place.size)
    content[at] = bytes(place.size)
    content[at] = stored_digest(xxhash.xxh3_128_hexdigest(content))
    path.write_bytes(content)


def test_a_whole_file_stays_whole_when_it_is_sealed_again(single: Path) -> None:
    before = single.read_bytes()
    reseal(single)
    assert single.read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "kind", "rows", "says"),
    [
        (change_a_label, "contradiction", (3,), "/labels"),
        (change("source", 3, 1), "contradiction", None, "/"),
        (change("coords", 3, (60, 0)), "contradiction", (3,), "/coords"),
        (change("coords", 3, (0, 0)), "contradiction", (3,), "twice"),
        (change("split", 3, 1), "leak", None, "two splits"),
        (change("digest", 3, 7), "damaged", (3,), "/digest"),
        (change("stats/sum", 0, 7), "contradiction", (), "/stats/sum"),
        (change("stats/sum_of_squares", 0, 7), "contradiction", (), "/stats/sum_of_squares"),
        (change("stats/n_pixels", 0, 7), "contradiction", (), "/stats/n_pixels"),
        (change("stats/mean", 0, 7.0), "contradiction", (), "/stats/mean"),
        (change("stats/std", 0, 7.0), "contradiction", (), "/stats/std"),
        (change_a_patch_and_its_digest, "contradiction", (), "/stats/sum"),
        (change("sources/width", 0, 20), "contradiction", None, "/coords"),
        (change("sources/label", 0, 2), "contradiction", None, "/labels"),
    ],
)
def test_what_a_file_sealed_again_contradicts_is_found(
    damage: Damage, kind: str, rows: tuple[int, ...] | None, says: str, single: Path
) -> None:
    damage(single)
    reseal(single)
    found = findings(single)
    assert kind in {one.kind for one in found}, found
    one = next(one for one in found if one.kind == kind)
    assert says in one.what
    if rows is not None:
        assert one.rows == rows


@pytest.mark.parametrize("name", ["labels", "coords", "source", "digest", "split"])
def test_an_index_sealed_again_contradicts_its_shards(name: str, sharded: Path) -> None:
    with h5py.File(sharded, "r+") as file:
        values = file[name][:]
        first = next(row for row in range(1, len(values)) if np.any(values[row] != values[0]))
        values[[0, first]] = values[[first, 0]]
        file[name][...] = values
    reseal(sharded)
    found = findings(sharded)
    assert {one.file for one in found} == {str(sharded)}
    assert f"/{name}" in " ".join(one.what for one in found)


@pytest.mark.parametrize("name", ["a patch and its digest", "a label", "a coordinate"])
def test_a_shard_sealed_again_is_not_the_one_that_the_index_lists(name: str, sharded: Path) -> None:
    """An older copy of a shard, or one made by hand: whole by itself, and another one."""
    CHANGES[name](shard(sharded))
    reseal(shard(sharded))
    found = findings(sharded)
    assert ("damaged", str(shard(sharded))) in {(one.kind, one.file) for one in found}
    assert "the index says" in found[0].what


# --- what is told, and what the same command does about it


def test_the_remedy_is_true(sharded: Path, src: Path) -> None:
    before = {file.name: file.read_bytes() for file in sharded.parent.rglob("*.h5")}
    for damage in (delete, zero_a_block, replace_by_a_copy_of_another):
        damage(sharded)
        assert findings(sharded)
        patchcli.extract(src, sharded, patch=PATCH, stride=24, shard_size="12kB", executor="serial")
        assert check(sharded).ok
        assert {file.name: file.read_bytes() for file in sharded.parent.rglob("*.h5")} == before


def test_damage_in_many_places_is_all_told(sharded: Path) -> None:
    delete(sharded)  # 1
    shard(sharded, 1).write_bytes(b"")  # what was 2
    change("labels", 0, 1)(sharded)
    found = findings(sharded)
    assert len({one.file for one in found}) == 3
    done = CliRunner().invoke(main, ["inspect", str(sharded), "--verify", "--json", "--executor", "serial"])
    assert done.exit_code == 4
    said = json.loads(done.stdout)["verification"]
    assert said["n_findings"] == len(said["findings"]) == len(found)


def test_the_quick_check_sees_what_needs_no_reading(sharded: Path) -> None:
    delete(sharded)
    found = verify(sharded, depth="quick", executor="serial")
    assert [one.kind for one in found.findings] == ["missing"]
    assert found.patches == 0
