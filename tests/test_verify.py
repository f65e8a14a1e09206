"""`inspect --verify`: what is whole is found whole; damage, leaks and changed images are named with file and rows."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result
from demo_images import packaged
from photos import crops, retyped, shards
from PIL import Image
from processes import running, session, wait_for

import patchcli
from patchcli.cli import main, progress
from patchcli.errors import UsageError
from patchcli.inspected import Finding, Verification
from patchcli.run import checkers
from patchcli.run.verify import verify
from patchcli.specs import Compression

Facts = dict[str, Any]


def invoke(*arguments: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments], env=env, prog_name="patchcli")


def found_in(out: Path, *more: object) -> Facts:
    """The verification as `--json` says it; the exit code has to fit."""
    done = invoke("inspect", out, "--verify", "--executor", "serial", "--json", *more)
    facts: Facts = json.loads(done.stdout)["verification"]
    assert done.exit_code == (0 if facts["ok"] else 4), done.output
    assert facts["ok"] == (not facts["findings"]) == (not facts["n_findings"])
    return facts


def check(out: Path, **more: Any) -> Verification:
    return verify(out, executor="serial", **more)


def only(found: Verification) -> Finding:
    assert len(found.findings) == 1, found.findings
    return found.findings[0]


def n_patches(tree: Path, out: Path, **more: Any) -> int:
    return patchcli.extract(tree, out, executor="serial", **{"patch": 32, **more}).patches


def copied(made: Path, folder: Path) -> Path:
    """A private copy of a data set under its own name: an index knows the folder of its shards."""
    shutil.copytree(made.with_suffix(".shards"), folder / f"{made.stem}.shards")
    return Path(shutil.copy2(made, folder / made.name))


# whole


@pytest.mark.parametrize("compression", ["none", "gzip", "lzf", "lz4", "zstd"])
@pytest.mark.parametrize("shard_size", ["70kB", "256MiB"])
def test_whole_data_sets(root: Path, tmp_path: Path, compression: Compression, shard_size: str) -> None:
    made = patchcli.extract(
        root, tmp_path / "out.h5", patch=32, compression=compression, shard_size=shard_size, executor="serial"
    )
    facts = found_in(tmp_path / "out.h5", "--source", root)
    assert facts["ok"]
    assert facts["depth"] == "deep"
    assert facts["patches"] == facts["recut"] == made.patches
    assert facts["files"] == (made.shards + 1 if made.shards > 1 else 1)
    files = [tmp_path / "out.h5", *(shards(tmp_path / "out.h5") if made.shards > 1 else [])]
    assert facts["bytes"] == sum(file.stat().st_size for file in files)


def test_a_shard_alone(cut_sharded: Path, root: Path) -> None:
    for shard in shards(cut_sharded)[:2]:
        facts = found_in(shard, "--source", root)
        assert facts["files"] == 1
        assert facts["recut"] == facts["patches"] == len(patchcli.open(shard))


def test_splits(cut_splits: Path) -> None:
    """Images that stand twice within a split and class are no leak."""
    facts = found_in(cut_splits)
    assert facts["ok"]
    assert not any("no splits" in note for note in facts["notes"])


def test_empty_classes_and_no_patches(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "data")
    (tmp_path / "data" / "void").mkdir()
    n_patches(tmp_path / "data", tmp_path / "out.h5")
    assert found_in(tmp_path / "out.h5", "--source", tmp_path / "data")["ok"]


@pytest.mark.parametrize("keep", [True, False], ids=["with originals", "without"])
@pytest.mark.parametrize("shard_size", ["300kB", "256MiB"])
def test_augmented(cut: Path, root: Path, tmp_path: Path, keep: bool, shard_size: str) -> None:
    out = tmp_path / "more.h5"
    made = patchcli.augment(
        cut, out, horizontal_flip=True, copies=2, keep_original=keep, shard_size=shard_size, executor="serial"
    )
    facts = found_in(out, "--source", root)
    assert facts["ok"]
    assert facts["patches"] == made.patches
    n = len(patchcli.open(cut))
    assert facts["recut"] == (n if keep else 0)
    assert any(f"{2 * n:,} copies made by augment were not compared" in note for note in facts["notes"])


def test_augmented_twice(cut: Path, root: Path, tmp_path: Path) -> None:
    """Rows with copy 0 are as the input had them, and that holds copies too: nothing is said against them."""
    once, twice = tmp_path / "once.h5", tmp_path / "twice.h5"
    patchcli.augment(cut, once, rotation_range=20, copies=1, executor="serial")
    patchcli.augment(once, twice, horizontal_flip=True, copies=1, executor="serial")
    facts = found_in(twice, "--source", root)
    assert facts["ok"]
    assert facts["recut"] == 0
    assert any("augmented twice" in note for note in facts["notes"])


def test_standardized(cut: Path, root: Path, tmp_path: Path) -> None:
    out = tmp_path / "float.h5"
    patchcli.augment(cut, out, featurewise_center=True, featurewise_std_normalization=True, executor="serial")
    facts = found_in(out, "--source", root)
    assert facts["ok"]
    assert facts["recut"] == 0
    assert any("standardized" in note for note in facts["notes"])


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_patches_of_other_dtypes(cut: Path, tmp_path: Path, dtype: type[Any]) -> None:
    out = retyped(cut, tmp_path / "other.h5", lambda patches: patches.astype(dtype) * dtype(3))
    assert not [
        one for one in found_in(out)["findings"] if one["kind"] != "damaged"
    ]  # its /self_digest is of the other


def test_the_page_says_whole(cut_sharded: Path) -> None:
    done = invoke("inspect", cut_sharded, "--verify", "--executor", "serial")
    assert done.exit_code == 0
    assert "verify deep: whole; " in done.stdout
    assert done.stderr == ""


# what was asked for


@pytest.mark.parametrize("arguments", [["--verify", "FILE"], ["FILE", "--verify"], ["--verify", "deep", "FILE"]])
def test_verify_may_stand_anywhere(cut: Path, arguments: list[str]) -> None:
    done = invoke("inspect", *[cut if one == "FILE" else one for one in arguments])
    assert done.exit_code == 0, done.output
    assert "verify deep: whole" in done.stdout


def test_the_environment_and_a_file_may_ask(cut: Path, tmp_path: Path) -> None:
    done = invoke("inspect", cut, env={"PATCHCLI_INSPECT_VERIFY": "quick"})
    assert "verify quick: nothing missing" in done.stdout
    (tmp_path / "options.toml").write_text('[inspect]\nverify = "deep"\n')
    done = invoke("inspect", cut, "--config", tmp_path / "options.toml")
    assert "verify deep: whole" in done.stdout
    done = invoke("inspect", cut, "--config", tmp_path / "options.toml", "--verify", "quick")
    assert "verify quick" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["no.h5", "--verify"], 1, "no.h5: no such file"),
        (["FILE", "--verify=slow"], 2, "slow"),
        (["FILE", "--verify", "--source", "nowhere"], 2, "nowhere"),
        (["FILE", "--sample", "3"], 2, "--sample"),
        (["FILE", "--verify", "--sample", "3"], 2, "--source"),
        (["FILE", "--verify", "--source", "ROOT", "--sample", "0"], 2, "sample"),
    ],
)
def test_exit_codes(cut: Path, root: Path, arguments: list[str], code: int, said: str) -> None:
    places = {"FILE": cut, "ROOT": root}
    done = invoke("inspect", *[places.get(one, one) for one in arguments])
    assert done.exit_code == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_python_raises_what_it_documents(cut: Path, root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        verify(tmp_path / "no.h5")
    wrong: list[dict[str, Any]] = [
        {"depth": "slow"},
        {"executor": "thread"},
        {"workers": 0},
        {"sample": 3},
        {"sample": 0, "source": root},
        {"seed": -1},
        {"source": tmp_path / "nowhere"},
        {"source": cut},
        {"source": root, "depth": "quick"},
    ]
    for options in wrong:
        with pytest.raises(UsageError):
            verify(cut, **options)


# damage


Damage = Callable[[Path], None]


def delete(shard: Path) -> None:
    shard.unlink()


def truncate(shard: Path) -> None:
    os.truncate(shard, shard.stat().st_size - 1000)


def grow(shard: Path) -> None:
    with shard.open("ab") as file:
        file.write(b"\0")


def replace_by_folder(shard: Path) -> None:
    shard.unlink()
    shard.mkdir()


def replace_by_text(shard: Path) -> None:
    size = shard.stat().st_size
    shard.write_bytes(b"lost+found\n" * (size // 11) + b"x" * (size % 11))


def swap(shard: Path) -> None:
    shutil.copyfile(shards(shard.parent.with_suffix(".h5"))[0], shard)


@pytest.mark.parametrize(
    ("damage", "kind", "what"),
    [
        (delete, "missing", "is not there"),
        (truncate, "damaged", "truncated: holds "),
        (grow, "damaged", "has grown: holds "),
        (replace_by_folder, "foreign", "is no regular file"),
        (replace_by_text, "damaged", "not an HDF5 file"),
        (swap, "foreign", "is shard 0 of plan "),
    ],
)
def test_a_damaged_shard_is_one_finding(
    cut_sharded: Path, tmp_path: Path, damage: Damage, kind: str, what: str
) -> None:
    out = copied(cut_sharded, tmp_path)
    shard = shards(out)[2]
    damage(shard)
    for depth in ("quick", "deep"):
        done = invoke("inspect", out, "--verify", depth, "--json")
        assert done.exit_code == 4
        (finding,) = json.loads(done.stdout)["verification"]["findings"]
        assert (finding["kind"], finding["file"], finding["rows"]) == (kind, str(shard), [])
        assert finding["what"].startswith(what)
        assert finding["remedy"] == "the same extract command rebuilds 00002"
        page = invoke("inspect", out, "--verify", depth)
        assert f"{kind}  {shard}: {what}" in page.stdout
        assert page.stderr == f"Error: {out}: 1 finding, listed above\n"


def flip(file: Path, at: int) -> None:
    with file.open("r+b") as raw:
        raw.seek(at)
        byte = raw.read(1)[0]
        raw.seek(at)
        raw.write(bytes([byte ^ 16]))


def test_quick_reads_no_patch(root: Path, tmp_path: Path) -> None:
    n_patches(root, tmp_path / "out.h5", shard_size="70kB")
    out = tmp_path / "out.h5"
    shard = shards(out)[1]
    with h5py.File(shard) as file:
        offset, size = file["patches"].id.get_offset(), file["patches"][0].size
    flip(shard, offset + 3 * size + 7)
    flip(shard, offset + 5 * size)
    quick = verify(out, depth="quick")
    assert quick.ok
    assert quick.patches == 0
    deep = check(out)
    finding = only(deep)
    assert (finding.kind, finding.file, finding.rows, finding.n_rows) == ("damaged", str(shard), (3, 5), 2)
    page = invoke("inspect", out, "--verify")
    assert f"damaged  {shard}, rows 3, 5: the patches are not as written" in page.stdout


def test_a_damaged_file_is_said_as_json(cut: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    shutil.copyfile(cut, out)
    os.truncate(out, out.stat().st_size // 2)
    done = invoke("inspect", out, "--verify", "--json")
    assert done.exit_code == 4
    facts = json.loads(done.stdout)
    assert facts["format"] == "damaged"
    assert facts["path"] == str(out)
    assert [one["kind"] for one in facts["verification"]["findings"]] == ["damaged"]
    page = invoke("inspect", out, "--verify")
    assert page.exit_code == 4
    assert "damaged" in page.stdout


def test_a_file_of_another_program(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "clam.h5", "w") as file:
        file["coords"] = np.zeros((3, 2), np.int64)
    assert only(check(tmp_path / "clam.h5")).kind == "foreign"


def test_files_that_no_index_lists_are_noted(cut_sharded: Path, tmp_path: Path) -> None:
    out = copied(cut_sharded, tmp_path)
    (out.with_suffix(".shards") / "stray\n.h5").touch()
    found = check(out)
    assert found.ok
    assert f"{out.with_suffix('.shards')} holds 1 file that no index lists: stray\\x0a.h5" in found.notes


# leaks


def filed(image: Image.Image, *paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path)


@pytest.fixture
def brick() -> Image.Image:
    with Image.open(packaged("brick.png")) as image:
        return image.crop((0, 0, 96, 64)).convert("L")


@pytest.fixture
def splits(tmp_path: Path) -> Path:
    """Train and val, nothing in both."""
    for split, left in (("train", 0), ("val", 200)):
        for label, name in (("grass", "grass.png"), ("gravel", "gravel.png")):
            with Image.open(packaged(name)) as image:
                filed(image.crop((left, 0, left + 96, 64)).convert("L"), tmp_path / "data" / split / label / "own.png")
    return tmp_path / "data"


def leaks(tree: Path, **more: Any) -> tuple[Facts, str]:
    out = tree.parent / "out.h5"
    n_patches(tree, out, **more)
    facts = found_in(out)
    return facts, invoke("inspect", out, "--verify", "--executor", "serial").stdout


def test_nothing_leaks(splits: Path) -> None:
    facts, page = leaks(splits)
    assert facts["ok"]
    assert facts["notes"] == []
    assert "verify deep: whole" in page


def test_the_same_file_in_two_splits(splits: Path, brick: Image.Image) -> None:
    filed(brick, splits / "train/grass/here.png", splits / "val/grass/there.png")
    facts, page = leaks(splits)
    (finding,) = facts["findings"]
    assert finding["kind"] == "leak"
    assert finding["what"] == (
        "train/grass/here.png and val/grass/there.png are the same file, in two splits: train and val"
    )
    ps = patchcli.open(splits.parent / "out.h5")
    assert [ps.sources.path[ps.source[row]] for row in finding["rows"]] == [
        b"train/grass/here.png",
        b"val/grass/there.png",
    ]
    assert f"leak  {splits.parent / 'out.h5'}, rows {finding['rows'][0]}, {finding['rows'][1]}: " in page
    assert "leave one of them out" in page


@pytest.mark.parametrize("suffix", ["bmp", "tif", "webp"])
def test_the_same_pixels_in_another_file(splits: Path, brick: Image.Image, suffix: str) -> None:
    filed(brick, splits / "train/grass/here.png")
    (splits / "val/grass").mkdir(exist_ok=True)
    brick.convert("RGB").save(splits / f"val/grass/there.{suffix}", lossless=True)
    facts, _ = leaks(splits, mode="gray")
    (finding,) = facts["findings"]
    assert finding["kind"] == "leak"
    assert finding["what"] == (
        f"6 patches are the same in train/grass/here.png and val/grass/there.{suffix}, in two splits: train and val"
    )
    assert finding["n_rows"] == 12


def test_overlapping_crops_in_two_splits(splits: Path, brick: Image.Image) -> None:
    filed(brick.crop((0, 0, 64, 64)), splits / "train/grass/left.png")
    filed(brick.crop((32, 0, 96, 64)), splits / "val/grass/right.png")
    facts, _ = leaks(splits)
    (finding,) = facts["findings"]
    assert finding["what"].startswith("2 patches are the same in train/grass/left.png and val/grass/right.png")
    ps = patchcli.open(splits.parent / "out.h5")
    for first, second in zip(finding["rows"][::2], finding["rows"][1::2], strict=True):
        assert np.array_equal(ps[first], ps[second])
        assert ps.coords[first].tolist() != ps.coords[second].tolist()


def test_the_same_file_in_two_classes(splits: Path, brick: Image.Image) -> None:
    filed(brick, splits / "train/grass/a.png", splits / "train/gravel/a.png")
    facts, page = leaks(splits)
    (finding,) = facts["findings"]
    assert finding["kind"] == "conflict"
    assert finding["what"].endswith("are the same file, in two classes: grass and gravel")
    assert "conflict  " in page


def test_the_same_file_in_two_splits_and_two_classes(splits: Path, brick: Image.Image) -> None:
    filed(brick, splits / "train/grass/a.png", splits / "val/gravel/a.png")
    assert [one["kind"] for one in leaks(splits)[0]["findings"]] == ["leak", "conflict"]


def test_classes_are_compared_where_there_are_no_splits(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "data")
    first = min((tmp_path / "data" / "grass").iterdir())
    shutil.copy(first, tmp_path / "data" / "retina" / f"copy-{first.name}")
    facts, _ = leaks(tmp_path / "data")
    assert [one["kind"] for one in facts["findings"]] == ["conflict"]
    assert any(note.startswith("no splits") for note in facts["notes"])


def test_blank_patches_are_exempt(splits: Path) -> None:
    for name in ("train/grass/sky.png", "val/gravel/sky.bmp"):
        filed(Image.new("L", (64, 64), 200), splits / name)
    facts, page = leaks(splits)
    assert facts["ok"]
    said = "8 identical patches in several splits or classes show nearly nothing, and are exempt"
    assert facts["notes"] == [said]
    assert f"note: {said}" in page


def test_leaks_are_found_across_shards(splits: Path, brick: Image.Image) -> None:
    filed(brick, splits / "train/grass/a.png", splits / "val/grass/z.bmp")
    facts, _ = leaks(splits, shard_size="8kB")
    assert facts["files"] > 3
    assert [one["kind"] for one in facts["findings"]] == ["leak"]


# images


@pytest.fixture
def pictured(tmp_path: Path) -> tuple[Path, Path]:
    tree = crops(tmp_path / "data", per_class=2, size=(96, 67))
    n_patches(tree, tmp_path / "out.h5")
    return tree, tmp_path / "out.h5"


def test_other_content_of_the_same_size(pictured: tuple[Path, Path]) -> None:
    tree, out = pictured
    victim = tree / "grass" / "1.png"
    with Image.open(victim) as image:
        turned = image.transpose(Image.Transpose.ROTATE_180)
    turned.save(victim)
    finding = only(check(out, source=tree))
    assert finding.kind == "source"
    assert finding.file == str(out)
    assert finding.what == "grass/1.png: is no longer the file that was cut, and 6 of 6 patches differ from it"
    ps = patchcli.open(out)
    assert {ps.sources.path[ps.source[row]] for row in finding.rows} == {b"grass/1.png"}
    page = invoke("inspect", out, "--verify", "--source", tree)
    assert page.exit_code == 4
    assert "grass/1.png" in page.stdout


def test_one_changed_px(pictured: tuple[Path, Path]) -> None:
    tree, out = pictured
    victim = tree / "retina" / "1.png"
    with Image.open(victim) as image:
        pixels = np.array(image)
    pixels[40, 70, 2] ^= 1
    Image.fromarray(pixels).save(victim)
    finding = only(check(out, source=tree))
    assert finding.what.endswith("and 1 of 6 patches differ from it")
    (row,) = finding.rows
    assert patchcli.open(out).coords[row].tolist() == [64, 32]


def test_the_same_px_in_another_file(pictured: tuple[Path, Path]) -> None:
    tree, out = pictured
    victim = tree / "retina" / "1.png"
    with Image.open(victim) as image:
        image.load()
        image.save(victim, compress_level=1)
    finding = only(check(out, source=tree))
    assert finding.what == "retina/1.png: is no longer the file that was cut"
    assert finding.rows == ()


def test_an_image_of_another_size(pictured: tuple[Path, Path]) -> None:
    tree, out = pictured
    with Image.open(tree / "brick" / "1.png") as image:
        larger = image.resize((100, 64))
    larger.save(tree / "brick" / "1.png")
    assert only(check(out, source=tree)).what.startswith("brick/1.png: is 100x64 px, was 96x64 px")


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (Path.unlink, "is not there"),
        (lambda path: path.write_bytes(b""), "empty file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-3000]), "cannot be decoded"),
        (lambda path: path.write_text("<html>"), "an HTML page"),
    ],
    ids=["gone", "empty", "truncated", "page"],
)
def test_an_image_that_cannot_be_read(pictured: tuple[Path, Path], spoil: Damage, what: str) -> None:
    tree, out = pictured
    spoil(tree / "ihc" / "1.png")
    found = check(out, source=tree)
    assert what in only(found).what
    assert only(found).what.startswith("ihc/1.png: ")
    assert found.recut == found.patches - 6


def test_a_patch_that_was_replaced_with_its_digest(pictured: tuple[Path, Path]) -> None:
    """A data set that agrees with itself, and not with its images."""
    tree, out = pictured

    def paint(patches: Any) -> Any:
        patches[3, 5, 6, 1] ^= 255
        return patches

    other = retyped(out, out.parent / "painted.h5", paint)
    found = [one for one in check(other, source=tree).findings if one.kind == "source"]
    assert [one.rows for one in found] == [(3,)]
    assert found[0].what.endswith("1 of 6 patches differ from the image's px")


@pytest.mark.parametrize("depth", ["data", "elsewhere"])
def test_a_folder_that_holds_none_of_the_images(pictured: tuple[Path, Path], depth: str) -> None:
    tree, out = pictured
    folder = tree.parent if depth == "data" else tree.parent / "elsewhere"
    folder.mkdir(exist_ok=True)
    done = invoke("inspect", out, "--verify", "--source", folder)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert f"{folder}: holds none of the 8 images" in done.stderr
    assert f"with {folder}/brick/0.jpg" in done.stderr
    with pytest.raises(UsageError):
        check(out, source=folder)


@pytest.mark.parametrize("edge", ["drop", "shift", "pad", "reflect"])
@pytest.mark.parametrize("mode", ["gray", "rgb", "rgba"])
def test_all_edges_and_modes(root: Path, tmp_path: Path, edge: str, mode: str) -> None:
    out = tmp_path / "out.h5"
    n = n_patches(root, out, patch="48x40", stride="31x22", edge=edge, mode=mode, pad_value=77)
    found = check(out, source=root)
    assert found.ok
    assert found.recut == n


@pytest.mark.parametrize("edge", ["reflect", pytest.param("drop", marks=pytest.mark.slow)])
def test_real_formats(shared_data: Path, tmp_path: Path, edge: str) -> None:
    """CMYK, palettes, transparency, turned by EXIF, and whatever else the folder has."""
    for root in (shared_data / "formats" / "data", shared_data / "exif_orientation" / "data"):
        out = tmp_path / f"{root.parent.name}.h5"
        n = n_patches(root, out, patch=24, edge=edge, on_error="skip", background="#8040c0", mode="rgb")
        found = check(out, source=root)
        assert [one for one in found.findings if one.kind == "source"] == []
        assert found.recut == found.patches == n > 1000


@pytest.mark.parametrize("n", [1, 7, 80, 10_000])
def test_a_sample_is_cut_again(cut: Path, root: Path, n: int) -> None:
    facts = found_in(cut, "--source", root, "--sample", n)
    assert facts["ok"]
    assert facts["recut"] == min(n, len(patchcli.open(cut)))


def test_a_sample_depends_on_the_seed_alone(pictured: tuple[Path, Path]) -> None:
    tree, out = pictured
    for victim in tree.rglob("*.png"):
        with Image.open(victim) as image:
            turned = image.transpose(Image.Transpose.ROTATE_180)
        turned.save(victim)
    found = [check(out, source=tree, sample=9, seed=seed).findings for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


# who works


@pytest.fixture
def spoiled(cut_sharded: Path, root: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Damage of several kinds, in several shards and images."""
    out = copied(cut_sharded, tmp_path)
    tree = tmp_path / "data"
    shutil.copytree(root, tree)
    first, second, *_, last = shards(out)
    delete(first)
    flip(second, second.stat().st_size // 2)
    swap(last) if first.exists() else truncate(last)
    (tree / "grass" / "0.jpg").unlink()
    (tree / "brick" / "1.png").write_bytes(b"")
    return out, tree


def without_time(found: Verification) -> Facts:
    return {name: getattr(found, name) for name in found.__slots__ if name != "seconds"}


def test_findings_do_not_depend_on_who_works(spoiled: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    out, tree = spoiled
    monkeypatch.setattr(checkers, "_ALONE_BYTES", 0)
    expected = without_time(verify(out, source=tree, executor="serial"))
    assert [one.kind for one in expected["findings"]] == ["missing", "damaged", "damaged", "source", "source"]
    for workers in (1, 2):
        assert without_time(verify(out, source=tree, workers=workers)) == expected


def test_progress_is_told(cut_sharded: Path, root: Path) -> None:
    told: list[Any] = []
    found = verify(cut_sharded, source=root, executor="serial", progress=told.append)
    assert {(one.phase, one.unit, one.total) for one in told} == {
        ("verify", "patches", found.patches),
        ("compare", "patches", found.patches),
    }
    done = [one.done for one in told if one.phase == "verify"]
    assert done == sorted(done)
    told.clear()
    verify(cut_sharded, depth="quick", executor="serial", progress=told.append)
    assert {(one.unit, one.total) for one in told} <= {("files", len(shards(cut_sharded)))}


# names and folders


@pytest.mark.parametrize("name", ["sp ace\n日本".encode() + b"\xff", b"-x"])
def test_names_of_all_kinds(root: Path, tmp_path: Path, name: bytes) -> None:
    """A line of the page is one line, whatever a name holds."""
    tree = os.path.join(os.fsencode(tmp_path), name, b"data")
    shutil.copytree(root, os.fsdecode(tree))
    os.rename(os.path.join(tree, b"grass"), os.path.join(tree, name))
    out = os.path.join(os.fsencode(tmp_path), name, name + b".h5")
    n_patches(Path(os.fsdecode(tree)), Path(os.fsdecode(out)), shard_size="70kB")
    command = [os.fsencode(sys.executable), b"-m", b"patchcli", b"inspect", out, b"--verify", b"--source", tree]
    done = subprocess.run([*command, b"--json"], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verification"]["ok"]
    os.unlink(os.path.join(tree, name, b"0.jpg"))
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 4
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(b"  source  ")]
    assert line.endswith(b"/0.jpg: is not there")


def test_a_folder_that_nobody_may_write_to(cut_sharded: Path, root: Path, tmp_path: Path) -> None:
    out = copied(cut_sharded, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    for path in (*shards(out), out, out.with_suffix(".shards"), tmp_path):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert check(out, source=root).ok
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    finally:
        for path in (tmp_path, out.with_suffix(".shards")):
            path.chmod(0o755)


# signals, deaths, and what a run says of itself: real processes


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos in shards, compressed: a second or two to check."""
    folder = tmp_path_factory.mktemp("large")
    (folder / "data" / "retina").mkdir(parents=True)
    for number in range(2):
        shutil.copy(packaged("retina.jpg"), folder / "data" / "retina" / f"{number}.jpg")
    patchcli.extract(folder / "data", folder / "out.h5", patch=64, overlap=0.8, shard_size="16MiB", compression="gzip")
    return folder / "out.h5"


def command(out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "patchcli", "inspect", str(out), "--verify", "-j", "2", *more]


def checking(leader: int) -> dict[int, str]:
    """Workers of a session by the shard that they have open."""
    found = {}
    for pid in set(session(leader)) - {leader}:
        with contextlib.suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                target = os.readlink(link)
                if ".shards/" in target:
                    found[pid] = target
    return found


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)])
@pytest.mark.parametrize("group", [False, True], ids=["parent", "group"])
def test_signals(large: Path, number: signal.Signals, code: int, group: bool) -> None:
    with running(command(large)) as process:
        wait_for(lambda: checking(process.pid) or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        sent = time.monotonic()
        (os.killpg if group else os.kill)(process.pid, number)
        stdout, stderr = process.communicate(timeout=20)
        assert time.monotonic() - sent < 5
        wait_for(lambda: not session(process.pid), 5)
    assert process.returncode == code
    name = "Ctrl-C" if number == signal.SIGINT else number.name
    assert stderr == f"Error: stopped by {name}; nothing was lost, the same command begins again\n"
    assert stdout == ""


@pytest.mark.parametrize("seconds", [0.2, 0.5, 0.8])
def test_a_signal_at_any_moment_has_its_exit_code(large: Path, tmp_path: Path, seconds: float) -> None:
    """Also while patches are compared, and while pictures are drawn."""
    names = [str(tmp_path / name) for name in ("s.png", "o.png", "p.html")]
    wanted = ("--sheet", names[0], "--overlay", "9", "--overlay", names[1], "--html", names[2])
    for more in ((), wanted):
        with running(command(large, *more)) as process:
            time.sleep(seconds)
            process.terminate()
            stdout, stderr = process.communicate(timeout=30)
        assert process.returncode in (0, 75), stderr
        assert "Traceback" not in stderr
        assert bool(stdout) == (process.returncode == 0)
        assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.slow
def test_a_killed_worker_is_replaced(large: Path) -> None:
    with running(command(large, "--json")) as process:
        workers = wait_for(lambda: checking(process.pid))
        assert isinstance(workers, dict)
        os.kill(next(iter(workers)), signal.SIGKILL)
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert json.loads(stdout)["verification"]["ok"]


@pytest.mark.slow
def test_a_shard_that_kills_each_worker_is_a_finding(large: Path) -> None:
    """All others are checked all the same."""
    victim = shards(large)[3]
    with running(command(large, "--json")) as process:
        while process.poll() is None:
            for pid, path in checking(process.pid).items():
                if path == str(victim):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)
        stdout, stderr = process.communicate()
    assert process.returncode == 4, stderr
    facts = json.loads(stdout)["verification"]
    (finding,) = facts["findings"]
    assert (finding["kind"], finding["file"]) == ("damaged", str(victim))
    assert finding["what"] == "its worker died twice over it: memory ran out, or a library crashed there"
    assert facts["patches"] == len(patchcli.open(large)) - len(patchcli.open(victim))


def test_progress_on_stderr(cut_sharded: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LINE_SECONDS", 0.0)
    asked = ("inspect", cut_sharded, "--verify", "--source", root, "--executor", "serial")
    logged = invoke(*asked, "--progress", "log")
    assert re.search(r"^verified [1-9]\d* of 80 patches \(\d+%\), .* left$", logged.stderr, re.MULTILINE)
    assert re.search(r"^compared [1-9]\d* of 80 patches \(\d+%\), .* left$", logged.stderr, re.MULTILINE)
    silent = invoke(*asked, "--progress", "none")
    assert silent.stderr == ""
    for done in (logged, silent):
        assert done.exit_code == 0
        assert "verify deep: whole" in done.stdout
