"""Every transform on the list, for every dtype and number of channels: right, or refused before the first patch."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transform_settings import DTYPES, NUMBERS, SIZE, copies, digests, known, made, photo, settings_of, shown

from patchcli.errors import UsageError
from patchcli.pipeline import transforms
from patchcli.pipeline.catalogue import CATALOGUE, LEFT_OUT, REMARKS
from patchcli.pipeline.seeding import Streams, identity
from patchcli.pipeline.tree import Step
from patchcli.report.catalogue import transform_lines


def check(name: str, arguments: dict[str, Any], dtype: str, n_channels: int) -> None:
    patch = photo(n_channels, dtype)
    before = patch.copy()
    there = copies(name, arguments, patch)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002 - to show that nothing looks at it
    back = copies(name, arguments, patch.copy(), NUMBERS[::-1])
    assert np.array_equal(patch, before)
    eight = copies(name, arguments, photo(n_channels)) if "uint8" in CATALOGUE[name].dtypes else there
    changed = []
    for number in NUMBERS:
        result = there[number]
        assert result.tobytes() == back[number].tobytes()
        assert (result.shape, result.dtype) == (patch.shape, patch.dtype)
        assert result.flags.c_contiguous
        assert not np.shares_memory(result, patch)
        assert np.isfinite(result).all()
        level = DTYPES[dtype]
        if CATALOGUE[name].ranged:
            assert result.min() >= 0
            assert result.max() <= 255 * level * 1.000001
        difference = result / level - eight[number].astype(float)
        assert np.abs(difference).mean() < 2.2
        assert np.abs(difference.mean()) < 2  # what albumentations cuts off in 8 bits
        changed.append(np.abs(result / level - patch / level).mean())
    assert name == "NoOp" or max(changed) > 0.02


@pytest.mark.parametrize("n_channels", [1, 3, 4, 6])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CATALOGUE)
def test_right_or_refused(name: str, dtype: str, n_channels: int) -> None:
    if shown(name, dtype, n_channels):
        check(name, settings_of(name)[0], dtype, n_channels)
    else:
        with pytest.raises(UsageError, match=f"aug.yaml, line 7: {name} takes .*, these are {dtype} with {n_channels}"):
            made(name, settings_of(name)[0], photo(n_channels, dtype), Streams())


@pytest.mark.slow
@pytest.mark.parametrize("n_channels", [1, 2, 3, 4, 6, 12])
@pytest.mark.parametrize("name", CATALOGUE)
def test_right_with_other_arguments(name: str, n_channels: int) -> None:
    n_channels = min(n_channels, 6)
    for dtype in DTYPES:
        for arguments in settings_of(name):
            if shown(name, dtype, n_channels):
                check(name, arguments, dtype, n_channels)


@pytest.mark.parametrize("name", [n for n, s in CATALOGUE.items() if s.group in {"geometry", "blur", "morphology"}])
def test_six_channels_are_treated_alike(name: str) -> None:
    if not shown(name, "uint8", 6):
        return
    arguments, six = settings_of(name)[0], photo(6)
    halves = [np.ascontiguousarray(six[:, :, part]) for part in (slice(3), slice(3, 6))]
    for number in NUMBERS:
        whole = copies(name, arguments, six, [number])[number]
        parts = [copies(name, arguments, half, [number])[number] for half in halves]
        assert np.abs(whole - np.concatenate(parts, axis=2).astype(float)).max() <= 1


@pytest.mark.parametrize("name", [n for n in CATALOGUE if n != "ChannelDropout" and {"fill", "drop_value"} & known(n)])
def test_a_fill_reaches_every_channel(name: str) -> None:
    key = "drop_value" if name == "PixelDropout" else "fill"
    wide: dict[str, dict[str, Any]] = {
        "CropAndPad": {"px": [4, 8]},
        "ElasticTransform": {"alpha": 300, "sigma": 4},
        "Affine": {"rotate": 30},
        "OpticalDistortion": {"distort_limit": 0.5},
        "Perspective": {"fit_output": True},
        "PixelDropout": {"dropout_prob": 0.5},
    }
    arguments = wide.get(name, settings_of(name)[0])
    for n_channels in (1, 3, 4, 5, 6, 12):
        patch = np.full((SIZE, SIZE, n_channels), 200, np.uint8)
        for fill in (100, [*range(100, 100 + n_channels)]):
            if isinstance(fill, list) and (
                name == "CropAndPad" or (CATALOGUE[name].group == "geometry" and n_channels > 4)
            ):
                with pytest.raises(UsageError, match="one value for all channels"):
                    copies(name, {**arguments, key: fill}, patch)
            else:
                lowest = np.min([*copies(name, {**arguments, key: fill}, patch).values()], axis=(0, 1, 2))
                assert lowest.tolist() == np.broadcast_to(fill, n_channels).tolist()


def test_every_transform_of_albumentations_is_listed_or_left_out_with_a_reason() -> None:
    albumentations = importlib.import_module("albumentations")
    names = {one.__name__ for one in subclasses(albumentations.BasicTransform)}
    assert {name for name in names if hasattr(albumentations, name)} <= {*CATALOGUE, *LEFT_OUT}
    assert not set(CATALOGUE) & set(LEFT_OUT)
    assert all(hasattr(albumentations, name) for name in CATALOGUE)


def subclasses(cls: type[Any]) -> Iterator[type[Any]]:
    for one in cls.__subclasses__():
        yield one
        yield from subclasses(one)


@pytest.mark.parametrize("name", CATALOGUE)
def test_small_and_blank_patches_work_or_are_refused_at_once(name: str) -> None:
    for size in ((1, 1), (2, 2), (3, 3), (8, 8), (16, 16), (24, 17)):
        for dtype in CATALOGUE[name].dtypes:
            noise = np.ascontiguousarray(photo(3, dtype)[: size[0], : size[1]])
            streams = Streams()
            try:
                transform = made(name, settings_of(name)[0], noise, streams)
            except UsageError:
                assert max(size) < 16 or CATALOGUE[name].square or name == "RandomSizedCrop"
                continue
            for patch in (noise, np.zeros_like(noise), np.full_like(noise, noise.max()), noise * 0 + noise.flat[0]):
                for number in NUMBERS[:2]:
                    streams.begin(number)
                    assert np.isfinite(transform.apply(patch, transform.draw(patch))).all()


def test_square_transforms_are_refused_on_rectangles() -> None:
    for name in ("RandomRotate90", "Transpose", "D4", "SquareSymmetry"):
        with pytest.raises(UsageError, match=f"line 7: {name} takes square patches, these are 20x40 px"):
            made(name, {}, photo(3)[:, :20], Streams())


def test_two_equal_transforms_draw_different_parameters() -> None:
    patch, streams = photo(3), Streams()
    first, second = (made("Rotate", {}, patch, streams) for _ in range(2))
    streams.begin(NUMBERS[0])
    assert first.draw(patch)["matrix"].tolist() != second.draw(patch)["matrix"].tolist()


def test_flips_of_a_pipeline_are_independent() -> None:
    streams = Streams()
    flips = [
        transforms.make_transform(Step(name, {}), streams, (8, 8, 3), np.uint8)
        for name in ("HorizontalFlip", "VerticalFlip")
    ]
    outcomes: dict[tuple[bool, ...], int] = {}
    for number in range(2000):
        streams.begin(identity(0, b"a.png", (number, 0), 1))
        outcome = tuple(streams.random.random() < flip.p for flip in flips)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    assert all(420 < n < 580 for n in outcomes.values())
    assert len(outcomes) == 4


def test_a_white_patch_has_no_stain_to_change() -> None:
    white = np.full((16, 16, 3), 255, np.uint8)
    for method in ("macenko", "vahadane"):
        for copy in copies("HEStain", {"method": method}, white).values():
            assert np.array_equal(copy, white)


def test_what_a_cubic_warp_leaves_beyond_the_range_makes_no_nan() -> None:
    patch = photo(3, "float32") * np.float32(1.4) - np.float32(0.2)
    for copy in copies("RandomGamma", {}, patch).values():
        assert 0 <= copy.min() <= copy.max() <= 1


@given(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 12)), st.booleans(), st.data())
def test_contiguous_keeps_the_values(shape: tuple[int, int, int], turned: bool, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(("uint8", "uint16", "float32")))
    image = np.arange(np.prod(shape)).astype(dtype).reshape(shape)
    view = image[tuple(slice(None, None, data.draw(st.sampled_from((1, -1, 2, -2)))) for _ in shape)]
    view = view.transpose(1, 0, 2) if turned else view
    found = transforms.contiguous(view)
    assert found.flags.c_contiguous
    assert found.dtype == view.dtype
    assert np.array_equal(found, view)


def compare_processes(size: int) -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    code = (
        f"import sys, json, cv2; sys.path.insert(0, {here!r}); cv2.setNumThreads(4); "
        f"import transform_settings as t; print(json.dumps(t.digests({size})))"
    )
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True, text=True)
    there = json.loads(ran.stdout)
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        assert digests(size) == there
    finally:
        cv2.setNumThreads(before)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
@pytest.mark.parametrize("first", ["", "import torch", "import albumentations"])
def test_a_script_that_imports_torch_finds_all_of_albumentations(first: str) -> None:
    code = f"""
import sys
{first}
before = "torch" in sys.modules
import patchcli.pipeline.transforms
assert ("torch" in sys.modules) == before, "torch was imported for nothing"
import albumentations
assert not hasattr(albumentations, "ToTensorV4")
assert albumentations.ToTensorV2.__module__ == "albumentations.pytorch.transforms"
from albumentations import ToTensor3D
assert albumentations.pytorch.ToTensor3D is ToTensor3D
"""
    environment = {**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False, text=True)
    assert ran.returncode == 0, ran.stderr


def test_without_torch_albumentations_has_no_tensors() -> None:
    code = (
        "import sys, patchcli.pipeline.transforms, albumentations; sys.modules['torch'] = None; "
        "assert not hasattr(albumentations, 'ToTensorV2'); assert hasattr(albumentations, 'D4')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert ran.returncode == 0, ran.stderr


def test_gaussian_noise_has_as_many_fields_as_the_list_says(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    plant = cv2.setRNGSeed

    def spy(seed: int) -> None:
        seeds.append(seed)
        plant(seed)

    monkeypatch.setattr(cv2, "setRNGSeed", spy)
    patch, streams = photo(3), Streams()
    for name in REMARKS:
        noise = made(name, settings_of(name)[-1 if name == "GaussNoise" else 1], patch, streams)
        for number in range(200):
            streams.begin(number)
            noise.draw(patch)
    assert 2**15 < max(seeds) < 2**16
    listed = "\n".join(transform_lines())
    assert all(remark in listed for remark in REMARKS.values())


def test_the_same_bits_in_another_process_with_other_threads() -> None:
    compare_processes(SIZE)


@pytest.mark.slow
def test_the_same_bits_at_full_size() -> None:
    compare_processes(256)
