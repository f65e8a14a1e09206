"""The command that `inspect` says made a file: run again, it finds that all is done."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from conftest import Tree
from hypothesis import assume, given
from hypothesis import strategies as st
from photos import retyped, shards
from PIL import Image as Pillow

import patchcli
from patchcli.cli import main
from patchcli.commands import commands
from patchcli.copies import AugmentSpec
from patchcli.errors import UsageError
from patchcli.io.headers import parse_color
from patchcli.plan import canonical
from patchcli.report.summary import inspect
from patchcli.specs import ExtractSpec, Size

BIN = os.path.dirname(sys.executable)


def said(out: Path) -> tuple[str, ...]:
    return inspect(os.fsencode(out)).command


def invoke(words: list[str]) -> Result:
    return CliRunner().invoke(main, words, prog_name="patchcli")


def rerun(command: str, places: dict[str, Path]) -> dict[str, Any]:
    """Run a command with the names in capitals replaced; what it says of itself."""
    words = [str(places.get(word, word)) for word in shlex.split(command)]
    assert words[0] == "patchcli"
    done = invoke([*words[1:], "--executor", "serial", "--json"])
    assert done.exit_code == 0, f"{command}\n{done.output}"
    facts: dict[str, Any] = json.loads(done.stdout)
    return facts


def assert_done(out: Path, places: dict[str, Path]) -> str:
    command = said(out)[-1]
    assert rerun(command, places)["state"] == "already done", command
    return command


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "--patch 64"),
        ({"patch": 20, "overlap": 0.5}, "--patch 20 --stride 10"),
        ({"patch": "24x10", "stride": "7x9"}, "--patch 24x10 --stride 7x9"),
        ({"patch": 20, "stride": 30}, "--patch 20 --stride 30"),
        ({"patch": 20, "edge": "shift"}, "--patch 20 --edge shift"),
        ({"patch": 20, "edge": "reflect"}, "--patch 20 --edge reflect"),
        ({"patch": 20, "edge": "pad"}, "--patch 20 --edge pad"),
        ({"patch": 20, "edge": "pad", "pad_value": 255}, "--patch 20 --edge pad --pad-value 255"),
        ({"patch": 20, "mode": "gray"}, "--patch 20 --mode gray"),
        ({"patch": 20, "mode": "rgba"}, "--patch 20 --mode rgba"),
        ({"patch": 20, "background": "#102030"}, "--patch 20 --background '#102030'"),
        ({"patch": 20, "shuffle": True}, "--patch 20 --shuffle"),
        ({"patch": 20, "shuffle": True, "seed": 2**62}, f"--patch 20 --shuffle --seed {2**62}"),
        ({"patch": 20, "seed": 5}, "--patch 20"),
        ({"patch": 20, "shard_size": "20kB"}, "--patch 20 --shard-size 20000"),
        (
            {"patch": 20, "compression": "gzip", "shard_size": "1MiB"},
            "--patch 20 --shard-size 1048576 --compression gzip",
        ),
        ({"patch": 20, "compression": "zstd"}, "--patch 20 --compression zstd"),
        ({"patch": 20, "classes": "dog,big cat"}, "--patch 20 --classes 'dog,big cat'"),
        ({"patch": 20, "classes": ["-dog"]}, "--patch 20 --classes -dog"),
        ({"patch": 20, "layout": "classes"}, "--patch 20"),
    ],
)
def test_the_command_that_extracted(tree: Tree, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    names = ("big cat/1.png", "big cat/2.jpg", "dog/a.png", "-dog/a.png")
    root, out = tree(*names, size=(70, 66)), tmp_path / "out.h5"
    patchcli.extract(root, out, executor="serial", **options)
    assert assert_done(out, {"SRC": root}) == f"patchcli extract SRC {out} {words}"


@pytest.mark.parametrize("layout", ["splits", "auto"])
def test_splits(tree: Tree, tmp_path: Path, layout: Any) -> None:
    root = tree("train/a/1.png", "val/a/2.png", *["other/a/3.png"] * (layout == "splits"))
    patchcli.extract(root, tmp_path / "out.h5", patch=16, layout=layout, executor="serial")
    assert "--layout splits" in assert_done(tmp_path / "out.h5", {"SRC": root})


@pytest.mark.parametrize("classes", [None, "train"])
def test_classes_called_train_and_val(tree: Tree, tmp_path: Path, classes: Any) -> None:
    root = tree("train/a/1.png", "val/a/2.png")
    patchcli.extract(root, tmp_path / "out.h5", patch=16, layout="classes", classes=classes, executor="serial")
    assert "--layout classes" in assert_done(tmp_path / "out.h5", {"SRC": root})


def test_unreadable_images_that_were_left_out(tree: Tree, tmp_path: Path) -> None:
    root = tree("a/1.png", "a/2.png")
    (root / "a/3.png").write_bytes((root / "a/1.png").read_bytes()[:500])
    tree("a/4.png", size=(60, 60))
    run: dict[str, Any] = {"patch": 16, "on_error": "skip", "executor": "serial"}
    patchcli.extract(root, tmp_path / "out.h5", **run)
    assert assert_done(tmp_path / "out.h5", {"SRC": root}).endswith(" --patch 16 --on-error skip")
    patchcli.extract(root, tmp_path / "small.h5", **run, max_pixels=2000)
    command = assert_done(tmp_path / "small.h5", {"SRC": root})
    assert command.endswith(" --patch 16 --on-error skip --max-pixels 2000")
    assert len(patchcli.open(tmp_path / "small.h5")) == 4


@pytest.mark.slow
def test_an_image_larger_than_is_usual(tree: Tree, tmp_path: Path) -> None:
    root = tree("a/1.png")
    Pillow.new("1", (14_000, 13_000)).save(root / "a/2.png")
    run: dict[str, Any] = {"patch": 6000, "mode": "gray", "edge": "pad", "max_pixels": 10**9, "executor": "serial"}
    patchcli.extract(root, tmp_path / "out.h5", **run)
    assert assert_done(tmp_path / "out.h5", {"SRC": root}).endswith(" --max-pixels 182000000")


def test_a_shard_is_made_by_what_makes_the_data_set(cut_sharded: Path, tmp_path: Path) -> None:
    assert said(shards(cut_sharded)[1]) == said(cut_sharded)
    alone = tmp_path / "alone.h5"
    alone.write_bytes(shards(cut_sharded)[1].read_bytes())
    assert said(alone)[0].startswith("patchcli extract SRC OUT.h5 --patch 32")
    (tmp_path / "data.shards").mkdir()
    moved = alone.rename(tmp_path / "data.shards" / "x.h5")
    assert said(moved)[0].startswith(f"patchcli extract SRC {tmp_path}/data.h5 ")
    (tmp_path / "data").touch()
    assert said(moved)[0].startswith(f"patchcli extract SRC {tmp_path}/data ")


@pytest.mark.slow
@pytest.mark.parametrize(
    "classes",
    [
        [b"a,b", b"plain"],
        [b'"a", "b"', b"it's"],
        [b"caf\xe9", b"new\nline", "日本".encode()],
        [b"$HOME `x` \\ !", b"-x"],
    ],
)
def test_names_that_a_shell_or_a_list_would_break(tree: Tree, tmp_path: Path, classes: list[bytes]) -> None:
    root, out = tree(*(name + b"/1.png" for name in classes)), tmp_path / "it's -out\n.h5"
    patchcli.extract(root, out, patch=16, classes=[os.fsdecode(name) for name in classes], executor="serial")
    (command,) = said(out)
    assert command.isprintable()
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    shell = ["bash", "-c", command.replace("SRC", str(root))]
    done = subprocess.run(shell, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"already done" in done.stdout or command.startswith("python -c")
    stamp = out.stat().st_mtime_ns
    subprocess.run(shell, env=environment, capture_output=True, check=True)
    assert out.stat().st_mtime_ns == stamp


@pytest.mark.parametrize("out", ["-out.h5", "--help.h5"])
def test_an_output_that_looks_like_an_option(out: str) -> None:
    assert commands(ExtractSpec(layout="classes").settings(), out)[0].split()[:4] == [
        "patchcli",
        "extract",
        "SRC",
        f"./{out}",
    ]


FLIP = [{"HorizontalFlip": {"p": 0.5}}]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rotation_range": 20}, "--rotation-range 20.0 --copies 1"),
        ({"rotation_range": 20, "copies": 3, "seed": 9}, "--rotation-range 20.0 --copies 3 --seed 9"),
        ({"width_shift_range": 0.1, "height_shift_range": 3}, None),
        ({"width_shift_range": 3.0}, "--width-shift-range 3.0 --copies 1"),
        ({"width_shift_range": 3}, "--width-shift-range 3 --copies 1"),
        ({"width_shift_range": [-4, 0, 4, 4]}, "--width-shift-range 0.0,4.0,4.0,4.0 --copies 1"),
        ({"height_shift_range": [3]}, "--height-shift-range 3.0,3.0 --copies 1"),
        ({"height_shift_range": [0.1, 0.25]}, "--height-shift-range 0.1,0.25 --copies 1"),
        ({"shear_range": "0.2rad"}, "--shear-range 11.459155902616466 --copies 1"),
        ({"zoom_range": 0.3}, "--zoom-range 0.7,1.3 --copies 1"),
        ({"zoom_range": "0.5,0.9"}, "--zoom-range 0.5,0.9 --copies 1"),
        ({"channel_shift_range": 1e-7}, "--channel-shift-range 1e-07 --copies 1"),
        ({"brightness_range": (0.5, 1.5)}, "--brightness-range 0.5,1.5 --copies 1"),
        ({"horizontal_flip": True, "vertical_flip": True}, "--horizontal-flip --vertical-flip --copies 1"),
        ({"rotation_range": 5, "fill_mode": "constant", "cval": 7.5}, None),
        ({"rotation_range": 5, "fill_mode": "wrap"}, "--fill-mode wrap --rotation-range 5.0 --copies 1"),
        ({"rescale": "1/255"}, "--rescale 0.00392156862745098 --copies 0"),
        ({"rescale": "-1e-3", "samplewise_center": True}, None),
        ({"samplewise_std_normalization": True, "horizontal_flip": True}, None),
        ({"featurewise_center": True}, "--featurewise-center --copies 0"),
        ({"featurewise_std_normalization": True, "rotation_range": 5}, None),
        ({"horizontal_flip": True, "copies": 2, "balance": True}, "--horizontal-flip --copies 2 --balance"),
        ({"horizontal_flip": True, "copies": 0, "balance": True}, "--horizontal-flip --copies 0 --balance"),
        ({"horizontal_flip": True, "keep_original": False}, "--horizontal-flip --copies 1 --no-keep-original"),
        ({"horizontal_flip": True, "shard_size": "100kB", "compression": "gzip"}, None),
        ({"config": FLIP, "copies": 2}, "--config PIPELINE.yaml --copies 2"),
        ({"config": [{"Keras": {"rotation_range": 20, "p": 0.5}}]}, "--config PIPELINE.yaml --copies 1"),
        ({"config": [{"Keras": {"rotation_range": 20}}, "D4"]}, "--config PIPELINE.yaml --copies 1"),
        (
            {"config": ["D4", {"OneOf": {"transforms": [{"GaussianBlur": {"blur_limit": [3, 5]}}, *FLIP], "p": 0.3}}]},
            "--config PIPELINE.yaml --copies 1",
        ),
        ({"config": [{"SomeOf": {"n": 1, "transforms": [*FLIP, "VerticalFlip"]}}], "rescale": 0.5}, None),
    ],
)
def test_the_command_that_augmented(cut: Path, tmp_path: Path, options: dict[str, Any], words: str | None) -> None:
    out = tmp_path / "out.h5"
    patchcli.augment(cut, out, executor="serial", **options)
    command = assert_augmented(out, cut, tmp_path)
    if words is not None:
        assert command == f"patchcli augment STEP1.h5 {out} {words}"


def assert_augmented(out: Path, source: Path, folder: Path, name: str = "STEP1.h5") -> str:
    """The last command, with a pipeline as the settings have it in a file."""
    (folder / "a.yaml").write_text(json.dumps(patchcli.open(out).settings["augment"]["pipeline"]))
    places = {name: source, "PIPELINE.yaml": folder / "a.yaml", "PIPELINE2.yaml": folder / "a.yaml"}
    return assert_done(out, places)


def test_whitening(cut: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.h5"
    patchcli.extract(cut.parent / "data", small, patch=8, mode="gray", executor="serial")
    patchcli.augment(small, tmp_path / "out.h5", zca_whitening=True, zca_epsilon=0.25, executor="serial")
    command = assert_augmented(tmp_path / "out.h5", small, tmp_path)
    assert command.endswith("--featurewise-center --zca-epsilon 0.25 --zca-whitening --copies 0")


@pytest.mark.parametrize(
    ("only", "words"), [(None, ""), ("train", ""), ("val", " --only-split val"), ("all", " --only-split all")]
)
def test_which_split_was_augmented(cut_splits: Path, tmp_path: Path, only: str | None, words: str) -> None:
    patchcli.augment(cut_splits, tmp_path / "out.h5", horizontal_flip=True, only_split=only, executor="serial")
    command = assert_augmented(tmp_path / "out.h5", cut_splits, tmp_path)
    assert command.endswith(f"--horizontal-flip --copies 1{words}")


def test_steps_in_their_order(cut: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.h5", tmp_path / "second.h5"
    patchcli.augment(cut, first, config=FLIP, copies=2, executor="serial")
    patchcli.augment(first, second, config=["VerticalFlip"], rescale="1/255", compression="gzip", executor="serial")
    found = said(second)
    assert found[0] == "patchcli extract SRC STEP1.h5 --patch 32"
    assert found[1] == "patchcli augment STEP1.h5 STEP2.h5 --config PIPELINE1.yaml --copies 2"
    assert found[2].startswith(f"patchcli augment STEP2.h5 {second} --config PIPELINE2.yaml --rescale ")
    assert found[2].endswith(" --copies 1 --compression gzip")
    assert_augmented(second, first, tmp_path, "STEP2.h5")
    (tmp_path / "a.yaml").write_text(json.dumps(FLIP))
    names = {"SRC": cut.parent / "data", "STEP1.h5": cut, "STEP2.h5": first, "PIPELINE1.yaml": tmp_path / "a.yaml"}
    assert all(rerun(command, names)["state"] == "already done" for command in found[:2])


def test_patches_of_other_dtypes(cut: Path, tmp_path: Path) -> None:
    for kind in ("uint16", "float32"):
        source, out = tmp_path / f"{kind}.h5", tmp_path / f"{kind}-more.h5"
        retyped(cut, source, lambda patches, kind=kind: (patches / 255).astype(kind))  # type: ignore[misc]
        patchcli.augment(source, out, config=["D4"], copies=2, executor="serial")
        assert_augmented(out, source, tmp_path)
    patchcli.augment(source, tmp_path / "k.h5", rotation_range=9, fill_mode="constant", cval=-7.5, executor="serial")
    assert "--cval -7.5" in assert_augmented(tmp_path / "k.h5", source, tmp_path)


SIZES = st.builds(Size, st.integers(1, 2000), st.integers(1, 2000))
NAMES = st.lists(st.text("ab ,-='\"é\n\\$", min_size=1, max_size=5), min_size=1, max_size=3, unique=True)
SPECS = st.builds(
    ExtractSpec,
    patch_size=SIZES,
    stride=SIZES,
    edge=st.sampled_from(["drop", "shift", "pad", "reflect"]),
    pad_value=st.integers(0, 255),
    layout=st.sampled_from(["classes", "splits"]),
    classes=st.none() | NAMES.map(lambda names: tuple(map(os.fsencode, names))),
    mode=st.sampled_from(["auto", "gray", "rgb", "rgba"]),
    background=st.tuples(*[st.integers(0, 255)] * 3),
    shuffle=st.booleans(),
    seed=st.integers(0, 2**63 - 1),
    shard_size=st.integers(1, 2**62),
    compression=st.sampled_from(["none", "gzip", "lzf", "lz4", "zstd"]),
)


@given(SPECS)
def test_any_extract_is_read_back(spec: ExtractSpec) -> None:
    """The words of the command give the same settings."""
    (command,) = commands(spec.settings(), "out.h5", classes=["a", "b"])
    words = shell_words(command)
    if words[0] == "python":
        assert any(b"," in name for name in spec.classes or ())
        said = eval(words[2].replace("import patchcli; patchcli.extract", "keywords"), {"keywords": keywords})
    else:
        said = made_of("extract", words[4:])
    said["background"] = parse_color(said.get("background", "white"))
    if said.get("layout", "auto") == "auto":
        said["layout"] = "classes"
    assert ExtractSpec.of(**said).settings() == spec.settings()


RANGES = st.fixed_dictionaries(
    {},
    optional={
        "rotation_range": st.floats(0, 360),
        "width_shift_range": st.floats(0, 1e9) | st.integers(2, 9) | st.lists(st.floats(-9, 9), min_size=1, max_size=5),
        "height_shift_range": st.floats(0, 1) | st.lists(st.integers(-3, 3), min_size=1, max_size=5),
        "shear_range": st.floats(0, 1.5).map(lambda size: f"{size}rad"),
        "zoom_range": st.floats(0, 0.99) | st.tuples(st.floats(0.01, 1), st.floats(1, 100)),
        "channel_shift_range": st.floats(0, 1e9),
        "brightness_range": st.tuples(st.floats(0, 1), st.floats(0, 1000)),
        "horizontal_flip": st.just(True),
        "vertical_flip": st.just(True),
        "rescale": st.floats(1e-30, 1e30),
        "samplewise_std_normalization": st.just(True),
        "featurewise_center": st.just(True),
    },
)
MORE = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**63 - 1),
        "shard_size": st.integers(1, 2**62),
        "compression": st.sampled_from(["none", "lzf"]),
    }
)


@given(RANGES, MORE, st.booleans(), st.integers(0, 5))
def test_any_augment_is_read_back(ranges: dict[str, Any], more: dict[str, Any], flag: bool, copies: int) -> None:
    try:
        spec = AugmentSpec.of(**ranges, **more, balance=flag, keep_original=flag or copies % 2 == 0, copies=copies)
    except UsageError:
        assume(False)
        raise
    settings = {**ExtractSpec(layout="classes").settings(), "shard_size": spec.shard_size}
    settings |= {"compression": spec.compression, "augment": {**spec.settings(spec.pipeline, None), "input": "0" * 32}}
    _, command = commands(json.loads(canonical(settings)), "out.h5")
    said = made_of("augment", shell_words(command)[4:])
    assert said.pop("config") is None
    assert repr(AugmentSpec.of(**said)) == repr(spec)  # 3 and 3.0 differ


def keywords(*_: str, **given: Any) -> dict[str, Any]:
    return given


def shell_words(command: str) -> list[str]:
    if "$'" not in command:
        return shlex.split(command)
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, check=True)
    return [os.fsdecode(word) for word in done.stdout.split(b"\0")[:-1]]


def made_of(verb: str, words: list[str]) -> dict[str, Any]:
    """What decides bytes, as the command line reads it from a command's options."""
    command = main.get_command(click.Context(main), verb)
    assert command is not None
    run = {"src", "out", "progress", "json", "preview", "rows", "list_transforms", "overlap"}
    run |= {"workers", "executor", "on_error", "max_pixels", "overwrite", "dry_run"}
    params = command.make_context(verb, [os.curdir if verb == "extract" else __file__, "out.h5", *words]).params
    return {name: value for name, value in params.items() if name not in run}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.data(),
)
def test_settings_of_any_kind_give_no_error(value: Any, data: st.DataObject) -> None:
    """Mutilated settings: one part of them is another, or is not there, and what is there is no other's command."""
    whole = {
        **ExtractSpec(layout="classes").settings(),
        "augment": {
            **AugmentSpec.of(rotation_range=20).settings(AugmentSpec.of(rotation_range=20).pipeline, None),
            "input": "0" * 32,
        },
    }
    settings: dict[str, Any] = json.loads(canonical(whole))
    inner = settings["augment"] if data.draw(st.booleans()) else settings
    name = data.draw(st.sampled_from([*inner, "new"]))
    if data.draw(st.booleans()):
        inner.pop(name, None)
    else:
        inner[name] = value
    found = commands(settings, "out.h5")
    assert all(isinstance(command, str) for command in found)
    assert len(found) in (0, 1, 2)


@given(st.none() | st.integers() | st.lists(st.text()) | st.dictionaries(st.text(), st.integers()))
def test_settings_that_are_none_of_ours(value: Any) -> None:
    assert commands(value if isinstance(value, dict) else {"augment": value}, "out.h5") == ()
