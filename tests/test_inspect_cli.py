"""`patchcli inspect` as a command: its page, pictures and pages, what it refuses, colour, where options come from."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image as Pillow

import patchcli
from patchcli.cli import main

ESCAPE = "\x1b["


def inspect(*arguments: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, ["inspect", *map(str, arguments)], env=env, prog_name="patchcli")


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    called = [sys.executable, "-m", "patchcli", "inspect", *map(str, arguments)]
    return subprocess.run(called, cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def crowded(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that can make a page long: 80 classes, 3 splits, padding, files left out, shards, a long pipeline twice."""
    folder = tmp_path_factory.mktemp("crowded")
    files = sorted(root.rglob("*.*"))
    for number in range(80):
        for split in ("train", "val", "test"):
            place = folder / "data" / split / f"class-{number:02}"
            place.mkdir(parents=True)
            with Pillow.open(files[number % len(files)]) as photo:
                photo.convert("RGB").crop((number, number // 4, number + 40, number // 4 + 36)).save(
                    place / "photo.png"
                )
    for number, name in enumerate(("broken.jpg", "notes.txt", "empty.png", "page.tif", ".hidden.png", "more.webp")):
        (folder / "data/train/class-00" / name).write_bytes(b"<html>" if number % 2 else b"")
    patchcli.extract(folder / "data", folder / "cut.h5", patch=32, edge="reflect", on_error="skip", executor="serial")
    steps = ["HorizontalFlip", "VerticalFlip", "RandomRotate90", "Transpose", {"GaussianBlur": {"p": 0.1}}, "D4"]
    config = [step if isinstance(step, dict) else {step: {"p": 0.5 if step != "D4" else 1.0}} for step in steps]
    once = folder / "once.h5"
    patchcli.augment(folder / "cut.h5", once, config=config, copies=1, executor="serial", shard_size="500kB")
    patchcli.augment(once, folder / "twice.h5", config=config, copies=1, executor="serial", shard_size="500kB")
    return folder / "twice.h5"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_page_is_about_40_lines_however_much_there_is(crowded: Path, cut: Path) -> None:
    long = inspect(crowded)
    assert long.exit_code == 0, long.output
    lines = long.stdout.splitlines()
    assert len(lines) <= 41, long.stdout
    assert len(inspect(cut).stdout.splitlines()) <= 26
    for said in (
        "80 classes",
        "smaller classes",
        "train",
        "val",
        "test",
        "padded",
        "see --json",
        "made by",
        "left out",
    ):
        assert said in long.stdout
    assert max(map(len, lines)) <= 130
    facts = json.loads(inspect(crowded, "--json").stdout)
    assert len(facts["classes"]) == 80
    assert [sum(one["split_patches"][name] for one in facts["classes"]) for name in ("train", "val", "test")] == list(
        facts["split_patches"].values()
    )
    assert sum(one["share"] for one in facts["classes"]) == pytest.approx(1)


def test_the_page_and_json_are_of_one_record(cut_splits: Path) -> None:
    found = patchcli.inspect(cut_splits)
    facts = json.loads(inspect(cut_splits, "--json").stdout)
    shown = inspect(cut_splits).stdout
    assert facts["patches"] == found.patches
    for one in facts["classes"]:
        counts = [f"{n:,}" for n in one["split_patches"].values()]
        row = [one["name"], f"{one['images']:,}", f"{one['patches']:,}", f"{one['share']:.1%}", *counts]
        assert re.search("^  " + " +".join(row), shown, re.MULTILINE)
    for mean, std in zip(facts["mean"], facts["std"], strict=True):
        assert re.search(rf"{mean:.2f} +{std:.2f}\n", shown)
    assert facts["command"][-1] in shown


@pytest.mark.usefixtures("here")
def test_pictures_and_a_page(cut_splits: Path, tmp_path: Path) -> None:
    wanted = ("--sheet", "sheet.png", "--overlay", 2, "--overlay", "images.png", "--html", "page.html")
    done = inspect(cut_splits, *wanted)
    assert done.exit_code == 0, done.output
    for name in ("sheet.png", "images.png", "page.html"):
        assert re.search(rf"^{name}: \w", done.stdout, re.MULTILINE)
    for name in ("sheet.png", "images.png"):
        with Pillow.open(tmp_path / name) as picture:
            assert min(picture.size) > 200
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.count("data:image/png;base64,") >= 2
    assert {one["path"] for one in json.loads(inspect(cut_splits, *wanted, "--json").stdout)["written"]} == {
        "sheet.png",
        "images.png",
        "page.html",
    }
    before = (tmp_path / "sheet.png").read_bytes()
    assert inspect(cut_splits, "--sheet", "sheet.png").exit_code == 0
    assert (tmp_path / "sheet.png").read_bytes() == before
    assert inspect(cut_splits, "--sheet", "sheet.png", "--per-class", 3).exit_code == 0
    fewer = (tmp_path / "sheet.png").read_bytes()
    assert inspect(cut_splits, "--sheet", "sheet.png", "--per-class", 3, "--seed", 1).exit_code == 0
    assert len({before, fewer, (tmp_path / "sheet.png").read_bytes()}) == 3


@pytest.mark.usefixtures("here")
def test_an_image_by_its_path_goes_to_overlay_png(root: Path, cut: Path, tmp_path: Path) -> None:
    name = patchcli.open(cut).sources.path[0].decode()
    done = inspect(cut, "--overlay", name, "--source", root)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "overlay.png").is_file()
    assert inspect(cut, "--overlay", "alone.png").exit_code == 0
    assert (tmp_path / "alone.png").is_file()
    shutil.copy(root / name, tmp_path / "mine.png")
    before = (tmp_path / "mine.png").read_bytes()
    refused = inspect(cut, "--overlay", "mine.png")
    assert (refused.exit_code, (tmp_path / "mine.png").read_bytes()) == (2, before)
    assert "mine.png" in refused.stderr
    two = inspect(cut, "--overlay", "a.png", "--overlay", "b.png")
    assert two.exit_code == 2
    assert "neither is an image" in two.stderr


def test_a_selection_and_its_sheet(cut_splits: Path, tmp_path: Path) -> None:
    where = "class=ihc,split=val"
    ps = patchcli.open(cut_splits)
    label, split = ps.classes.index("ihc"), ps.splits.index("val")
    assert ps.split is not None
    rows = np.flatnonzero((ps.labels == label) & (ps.split == split)).tolist()
    done = inspect(cut_splits, "--where", where, "--sheet", tmp_path / "sheet.png")
    assert done.exit_code == 0, done.output
    assert f"{len(rows)} patches with class=ihc, split=val" in done.stdout
    listed = json.loads(inspect(cut_splits, "--where", where, "--json").stdout)["selection"]["patches"]
    assert [one["row"] for one in listed] == rows
    nothing = inspect(cut_splits, "--where", "row=0", "--where", "row=1")
    assert (nothing.exit_code, "no patch with" in nothing.stdout) == (0, True)


def test_one_patch(cut: Path, tmp_path: Path) -> None:
    done = inspect(cut, "--patch", 7, tmp_path / "seven.png")
    assert done.exit_code == 0, done.output
    ps = patchcli.open(cut)
    with Pillow.open(tmp_path / "seven.png") as picture:
        assert np.array_equal(np.asarray(picture), ps[7])
    assert ps.sources.path[ps.source[7]].decode() in done.stdout
    assert f"{int(ps.digest[7]):016x}" in done.stdout
    assert inspect(cut, "--patch", len(ps), tmp_path / "none.png").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "."], "--source is for"),
        (["--verify", "--sample", 3], "--sample says"),
        (["--verify", "--source", "nowhere"], "nowhere: no such folder"),
        (["--patch", 1, "a.png", "--where", "row=1"], "give one of them"),
        (["--sheet", "sheet.jpg"], "sheet.jpg"),
        (["--html", "page.txt"], "page.txt"),
        (["--html", "nowhere/page.html"], "nowhere"),
        (["--where", "klass=a"], "class"),
        (["--overlay", "no/such.jpg"], "no/such.jpg"),
        (["--verify=partly"], "quick"),
    ],
)
def test_what_cannot_be_is_refused(cut: Path, tmp_path: Path, arguments: list[str], said: str) -> None:
    before = sorted(os.listdir(tmp_path))
    done = run(cut, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(os.listdir(tmp_path)) == before


def test_a_damaged_shard_is_left_out_of_pictures_and_shown_on_the_page(cut_sharded: Path, tmp_path: Path) -> None:
    shutil.copy(cut_sharded, tmp_path / "sharded.h5")
    shutil.copytree(cut_sharded.with_suffix(".shards"), tmp_path / "sharded.shards")
    min((tmp_path / "sharded.shards").iterdir()).unlink()
    done = run("sharded.h5", "--verify", "--sheet", "s.png", "--overlay", 4, "--html", "page.html", cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    assert "is not there" in (tmp_path / "page.html").read_text("utf-8")
    assert (tmp_path / "s.png").is_file()
    (tmp_path / "sharded.h5").write_bytes(cut_sharded.read_bytes()[:5000])
    gone = run("sharded.h5", "--verify", "--html", "other.html", cwd=tmp_path)
    assert gone.returncode == 4
    assert "nothing was drawn" in gone.stdout
    assert json.loads(run("sharded.h5", "--verify", "--json", cwd=tmp_path).stdout)["format"] == "damaged"


def on_a_terminal(*arguments: object, **environment: str) -> str:
    """What a command prints on a terminal."""
    leader, follower = pty.openpty()
    called = [sys.executable, "-m", "patchcli", "inspect", *map(str, arguments)]
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    with subprocess.Popen(called, stdout=follower, stderr=subprocess.PIPE, env=kept | {"TERM": "xterm"} | environment):
        os.close(follower)
        printed = b""
        try:
            while block := os.read(leader, 1 << 16):
                printed += block
        except OSError:  # the other end is closed
            pass
    os.close(leader)
    return printed.decode().replace("\r\n", "\n")


def test_colour_is_for_a_terminal_whose_user_wants_it(cut: Path) -> None:
    colored = on_a_terminal(cut, "--verify")
    assert ESCAPE in colored
    plain = on_a_terminal(cut, "--verify", NO_COLOR="1")
    assert ESCAPE not in plain
    assert ESCAPE not in on_a_terminal(cut, TERM="dumb")
    assert ESCAPE not in inspect(cut, "--verify").stdout
    assert ESCAPE not in on_a_terminal(cut, "--json")
    bare = re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert re.sub(r"read in .*", "", bare) == re.sub(r"read in .*", "", plain)


def test_options_from_a_file_and_the_environment(cut: Path, tmp_path: Path) -> None:
    config = tmp_path / "inspect.toml"
    config.write_text(f'[inspect]\nverify = "quick"\nsheet = "{tmp_path}/sheet.png"\nwhere = ["class=ihc"]\n')
    done = inspect(cut, "--config", config)
    assert done.exit_code == 0, done.output
    assert "verify quick" in done.stdout
    assert "with class=ihc" in done.stdout
    assert (tmp_path / "sheet.png").is_file()
    lines = inspect(cut, env={"PATCHCLI_INSPECT_WHERE": "class=ihc\nx=0-40"})
    assert "with class=ihc, x=0-40" in lines.stdout
    assert "verify deep" in inspect(cut, env={"PATCHCLI_INSPECT_VERIFY": "deep"}).stdout
    assert "verify deep" in inspect("--verify", cut).stdout


def test_the_schema_is_printed_and_valid_json() -> None:
    done = inspect("--json-schema")
    assert done.exit_code == 0
    assert "$defs" in json.loads(done.stdout)


def test_every_option_has_a_default_that_can_be_read() -> None:
    options = inspect("--help").stdout.partition("Options:\n")[2]
    for entry in re.split(r"\n(?=  -)", options):
        assert "[default: " in " ".join(entry.split()) or entry.split()[0] in ("--version", "-h,"), entry


@pytest.fixture
def leaky(root: Path, tmp_path: Path) -> Path:
    """A data set in which one photo stands in two splits."""
    photo = min((root / "grass").iterdir())
    for split in ("train", "val"):
        (tmp_path / "src" / split / "grass").mkdir(parents=True)
        shutil.copy(photo, tmp_path / "src" / split / "grass" / f"{split}.png")
    patchcli.extract(tmp_path / "src", tmp_path / "leaky.h5", patch=32, executor="serial")
    return tmp_path / "leaky.h5"


@pytest.mark.parametrize(
    "more",
    [("--overlay", "nope.jpg"), ("--where", "klass=a"), ("--patch", "99999", "p.png"), ("--html", "/proc/x.html")],
)
def test_what_was_verified_is_said_whatever_fails_afterwards(leaky: Path, more: tuple[str, ...]) -> None:
    done = run(leaky, "--verify", *more, cwd=leaky.parent)
    assert done.returncode == 4, done.stderr
    assert "are the same file, in two splits" in done.stdout
    assert len(done.stderr.splitlines()) >= 2
    as_json = json.loads(run(leaky, "--verify", "--json", *more, cwd=leaky.parent).stdout)
    assert as_json["verification"]["n_findings"] == 1


def test_images_that_are_others_now_are_drawn_from_the_patches(leaky: Path, tmp_path: Path) -> None:
    (tmp_path / "src/train/grass/train.png").write_bytes(b"no image any more")
    done = run(leaky, "--source", "src", "--overlay", 2, "--overlay", "o.png", "--html", "p.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^o.png: .*not on the images themselves: train/grass/train.png", done.stdout, re.MULTILINE)
    assert (tmp_path / "p.html").is_file()


def test_a_misspelt_image_is_no_picture_to_write(leaky: Path, tmp_path: Path) -> None:
    done = run(leaky, "--overlay", "train/grass/trian.png", cwd=tmp_path / "src")
    assert done.returncode == 2
    assert "did you mean train/grass/train.png" in done.stderr
    assert os.listdir(tmp_path / "src/train/grass") == ["train.png"]


@pytest.mark.parametrize(
    "more",
    [
        ("--sheet", "a.png", "--overlay", "a.png"),
        ("--sheet", "overlay.png", "--overlay", "2"),
        ("--sheet", "a.png", "--patch", "1", "./a.png"),
    ],
)
def test_two_outputs_have_two_names(leaky: Path, more: tuple[str, ...]) -> None:
    done = run(leaky, *more, cwd=leaky.parent)
    assert (done.returncode, "give each a name of its own" in done.stderr) == (2, True)
    assert not list(leaky.parent.glob("*.png"))


def test_an_index_that_was_cut_off_is_ours_and_its_remedy_holds(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"

    def extract() -> None:
        patchcli.extract(root, out, patch=32, shard_size="70kB", executor="serial")

    extract()
    whole = out.read_bytes()
    out.write_bytes(whole[: len(whole) // 2])
    done = run(out, "--verify", cwd=tmp_path)
    assert done.returncode == 4
    assert re.search(r"damaged .*truncated", done.stdout)
    assert "its shards were not looked at" in done.stdout
    assert "writes it again" in done.stdout
    assert run(out, cwd=tmp_path).returncode == 1
    extract()
    assert out.read_bytes() == whole


def test_what_is_no_file_of_ours_is_no_damage(tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("text")
    (tmp_path / "folder.h5").mkdir()
    os.mkfifo(tmp_path / "pipe.h5")
    said = run("text.h5", "--verify", cwd=tmp_path)
    assert (said.returncode, "foreign" in said.stdout, "remove this file" in said.stdout) == (4, True, True)
    for name in ("folder.h5", "pipe.h5"):
        done = run(name, "--verify", cwd=tmp_path)
        assert (done.returncode, "no regular file" in done.stderr) == (1, True)


def test_a_closed_standard_output_is_no_bug(cut: Path) -> None:
    line = f"{sys.executable} -m patchcli inspect '{cut}' >&-"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=60)
    assert "bug" not in done.stderr
    assert "Traceback" not in done.stderr
