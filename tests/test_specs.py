"""What users write becomes exact numbers, or an error that names the option and the value."""

from __future__ import annotations

import decimal
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchcli.errors import UsageError
from patchcli.specs import ExtractSpec, RunSpec, Size, parse_bytes, parse_size, stride_from_overlap


def exact_stride(patch: int, overlap: str) -> int:
    return max(1, math.floor(patch * (1 - Fraction(overlap))))


def test_ten_px_at_nine_tenths_is_stride_one() -> None:
    assert stride_from_overlap(10, 0.9) == stride_from_overlap(10, "0.9") == 1


@pytest.mark.parametrize("hundredths", range(100))
def test_hundredths_of_every_patch_are_exact(hundredths: int) -> None:
    text = f"0.{hundredths:02d}"
    for patch in range(1, 400):
        assert stride_from_overlap(patch, text) == exact_stride(patch, text)
        assert stride_from_overlap(patch, float(text)) == exact_stride(patch, text)


@given(st.integers(1, 999_999), st.integers(0, 10**12 - 1))
def test_a_fraction_is_exact_in_decimal(patch: int, digits: int) -> None:
    text = f"0.{digits:012d}"
    assert stride_from_overlap(patch, text) == exact_stride(patch, text)


@pytest.mark.parametrize("overlap", ["0.5000000000000000000000000001", "1e-30", "0." + "9" * 40])
def test_a_long_fraction_is_exact_in_decimal(overlap: str) -> None:
    assert stride_from_overlap(64, overlap) == exact_stride(64, overlap)


def test_the_precision_of_the_calling_program_does_not_matter() -> None:
    with decimal.localcontext() as context:
        context.prec = 2
        assert stride_from_overlap(1000, "0.123") == 877


@given(st.integers(2, 999_999), st.floats(0, 1, exclude_max=True))
def test_a_stride_is_never_zero_and_never_more_than_the_patch(patch: int, overlap: float) -> None:
    assert 1 <= stride_from_overlap(patch, overlap) <= patch


@given(st.integers(3, 5000), st.data())
def test_whole_numbers_from_two_are_px(patch: int, data: st.DataObject) -> None:
    px = data.draw(st.integers(2, patch - 1))
    assert stride_from_overlap(patch, px) == stride_from_overlap(patch, f"{px}.0") == patch - px


@pytest.mark.parametrize("overlap", [1, "1", 1.0, "1.0"])
def test_one_is_refused_as_ambiguous(overlap: object) -> None:
    with pytest.raises(UsageError, match="overlap is 1, which could be 1 px or the whole patch: say --stride"):
        stride_from_overlap(64, overlap)


@pytest.mark.parametrize("overlap", [1.5, "2.5", -0.1, -3, "nan", math.nan, math.inf, "-inf", 64, 65, "half", "", True])
def test_an_overlap_that_cannot_be_names_option_and_value(overlap: object) -> None:
    with pytest.raises(UsageError) as error:
        stride_from_overlap(64, overlap)
    assert str(error.value).startswith("overlap is ")
    assert str(overlap).lower() in str(error.value).lower()


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (64, (64, 64)),
        ("64", (64, 64)),
        (" 64 x 48 ", (64, 48)),
        ((64, 48), (64, 48)),
        ([1, 2], (1, 2)),
        (Size(7, 5), (7, 5)),
    ],
)
def test_sizes(text: object, size: tuple[int, int]) -> None:
    assert parse_size(text, name="patch") == size


@given(st.integers(1, 999_999), st.integers(1, 999_999))
def test_a_size_reads_back_what_it_prints(width: int, height: int) -> None:
    assert parse_size(str(Size(width, height)), name="patch") == (width, height)


@pytest.mark.parametrize(
    "text",
    [0, "0", "0x5", "5x0", -1, "-1", 6.5, 64.0, "64*48", "x", "", "1x2x3", True, None, (1,), (1, 2, 3), "٣"],
)
def test_a_size_that_cannot_be_names_option_and_value(text: object) -> None:
    with pytest.raises(UsageError) as error:
        parse_size(text, name="stride")
    assert f"stride is {text!r}" in str(error.value)


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        (4096, 4096),
        ("4096", 4096),
        ("4096b", 4096),
        ("256MiB", 256 * 2**20),
        ("256mib", 256 * 2**20),
        ("250MB", 250_000_000),
        ("1 GB", 10**9),
        ("1.5KiB", 1536),
        ("0.1kB", 100),
        ("1T", 10**12),
    ],
)
def test_bytes(text: object, n_bytes: int) -> None:
    assert parse_bytes(text, name="shard_size") == n_bytes


@pytest.mark.parametrize("text", [0, "0", "0.4", "-1MB", "MB", "1XB", "1MiBs", "", True, None, "1e6", "nan"])
def test_bytes_that_cannot_be_name_option_and_value(text: object) -> None:
    with pytest.raises(UsageError) as error:
        parse_bytes(text, name="shard_size")
    assert f"shard_size is {text!r}" in str(error.value)


def test_overlap_and_stride_are_stored_as_stride() -> None:
    assert ExtractSpec.of(patch="64x48", overlap="0.5").stride == (32, 24)
    assert ExtractSpec.of(patch="64x48", overlap=8).stride == (56, 40)
    assert ExtractSpec.of(patch="64x48", stride="10x20").stride == (10, 20)
    assert ExtractSpec.of(patch=(64, 48)).stride == (64, 48)
    assert ExtractSpec.of(patch=64, overlap=0) == ExtractSpec.of(patch=64, stride=64) == ExtractSpec.of()


def test_an_overlap_in_px_must_be_below_both_sides() -> None:
    with pytest.raises(UsageError, match="overlap is 48 px: expected less than the patch, which is 48 px"):
        ExtractSpec.of(patch="64x48", overlap=48)


def test_classes_are_names_in_the_order_given() -> None:
    assert ExtractSpec.of(classes="b,a").classes == ExtractSpec.of(classes=["b", "a"]).classes == (b"b", b"a")
    assert ExtractSpec.of(classes=["with, comma", "\udcff"]).classes == (b"with, comma", b"\xff")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"overlap": 0.5, "stride": 3}, "overlap and stride"),
        ({"edge": "wrap"}, "edge is 'wrap': expected one of drop, shift, pad, reflect"),
        ({"mode": "hsv"}, "mode is 'hsv'"),
        ({"layout": "flat"}, "layout is 'flat'"),
        ({"compression": "xz"}, "compression is 'xz'"),
        ({"pad_value": 256}, "pad_value is 256"),
        ({"pad_value": -1}, "pad_value is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 2**63}, f"seed is {2**63}"),
        ({"classes": "a,b,a"}, "classes"),
        ({"classes": ""}, "classes"),
        ({"patch": 0}, "patch is 0"),
        ({"stride": "0x3"}, "stride is '0x3'"),
        ({"shard_size": "much"}, "shard_size is 'much'"),
    ],
)
def test_an_option_that_cannot_be_is_a_usage_error(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as error:
        ExtractSpec.of(**options)
    assert words in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize(
    "options", [{"workers": 0}, {"workers": -2}, {"executor": "threads"}, {"on_error": "ignore"}, {"max_pixels": 0}]
)
def test_a_run_option_that_cannot_be_is_a_usage_error(options: dict[str, Any]) -> None:
    ((name, value),) = options.items()
    with pytest.raises(UsageError) as error:
        RunSpec(**options)
    assert f"{name} is {value!r}" in str(error.value)


def test_settings_leave_out_what_has_no_effect() -> None:
    assert ExtractSpec.of(seed=1).settings() == ExtractSpec.of(seed=2).settings()
    assert ExtractSpec.of(pad_value=1).settings() == ExtractSpec.of(pad_value=2).settings()
    assert ExtractSpec.of(seed=1, shuffle=True).settings() != ExtractSpec.of(seed=2, shuffle=True).settings()
    assert ExtractSpec.of(pad_value=1, edge="pad").settings() != ExtractSpec.of(pad_value=2, edge="pad").settings()
