"""Contact sheets: the px stand where they should, whatever the patches are and whatever the classes are called."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from demo_images import packaged
from hypothesis import given, settings
from hypothesis import strategies as st
from photos import leftovers
from PIL import Image

from patchcli.errors import OutputConflict, UsageError
from patchcli.io.canvas import Canvas, Style, escaped, is_drawn, shortened, text_width, wrapped
from patchcli.io.publish import new_run
from patchcli.report.drawing.contact import SheetRow, contact_sheet
from patchcli.report.drawing.levels import for_the_eye
from patchcli.report.preview import check_sheet

Array = npt.NDArray[Any]
STYLE = Style(14, (0, 0, 0))
NAMES = ("breast_ihc", "中文类别", "عربي", "😀 party", "line\nbreak\ttab", "Größe", "\udcff", "\0", "x" * 500, "", "  ")


def crop(size: tuple[int, int] = (64, 64), at: tuple[int, int] = (30, 40)) -> Array:
    """A patch (H, W, 3) of a real image; `size` is (width, height)."""
    with Image.open(packaged("ihc.png")) as image:
        return np.asarray(image.convert("RGB").crop((*at, at[0] + size[0], at[1] + size[1])))


def with_copies(patch: Array, n_copies: int = 2) -> SheetRow:
    copies = [np.ascontiguousarray(np.roll(patch, 5 * number, axis=1)) for number in range(n_copies + 1)]
    return SheetRow("breast_ihc", "breast_ihc/ihc.png (30, 40)", tuple(copies))


def drawn(canvas: Canvas, folder: Path) -> Array:
    """The picture as somebody who opens the file sees it."""
    path = folder / "sheet.png"
    canvas.write(os.fsencode(path), new_run())
    with Image.open(path) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", canvas.size)
        return np.asarray(image)


def places(picture: Array, patch: Array) -> list[tuple[int, int]]:
    """Where (y, x) a patch stands in a picture, px for px."""
    height, width = patch.shape[:2]
    starts = np.argwhere((picture[: -height + 1 or None, : -width + 1 or None] == patch[0, 0]).all(-1))
    return [(y, x) for y, x in starts if np.array_equal(picture[y : y + height, x : x + width], patch)]


def test_patches_stand_in_rows_and_columns_sharp_and_enlarged(tmp_path: Path) -> None:
    rows = [with_copies(crop(at=(30, 40))), with_copies(crop(at=(200, 300)))]
    picture = drawn(contact_sheet(rows, heading="x", columns=["original", "copy 1", "copy 2"]), tmp_path)
    found = [[places(picture, patch.repeat(2, 0).repeat(2, 1)) for patch in row.patches] for row in rows]
    assert all(len(at) == 1 for row in found for at in row), "each patch once, each px as 2x2"
    ys, xs = np.array([[at[0] for at in row] for row in found]).transpose(2, 0, 1)
    assert (ys == ys[:, :1]).all(), "a row is level"
    assert (xs == xs[:1]).all(), "a column is straight"
    assert (np.diff(xs[0]) > 128).all(), "nothing overlaps"
    assert (np.diff(ys[:, 0]) > 128).all()


def test_all_is_white_but_for_text_and_patches(tmp_path: Path) -> None:
    white = np.full((64, 64, 3), 255, np.uint8)
    picture = drawn(contact_sheet([SheetRow("", "", (white,))], heading=""), tmp_path)
    assert (picture[:30] == 255).all()
    assert (picture == 255).all(-1).mean() > 0.9
    assert (picture < 255).any(), "a white patch has a border"


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((16, 16), (128, 128)),
        ((48, 48), (96, 96)),
        ((100, 100), (100, 100)),
        ((160, 160), (160, 160)),
        ((512, 512), (192, 192)),
        ((256, 64), (192, 48)),
        ((64, 256), (48, 192)),
        ((1, 1), (128, 128)),
        ((3000, 1), (192, 1)),
    ],
)
def test_cells(tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]) -> None:
    black = np.zeros((size[1], size[0], 3), np.uint8)
    picture = drawn(contact_sheet([SheetRow("", "", (black,))], heading=""), tmp_path)
    ys, xs = np.nonzero((picture == 0).all(-1))
    assert (int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1) == expected


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_every_kind_of_patch(tmp_path: Path, dtype: str, channels: int) -> None:
    gray = crop()[..., :1].astype(np.float64)
    patch = np.concatenate([gray] * channels, axis=2) * {"uint16": 100, "int16": 100, "float32": 1 / 255}.get(dtype, 1)
    row = SheetRow("name", "", (patch.astype(dtype), patch[:, ::-1].astype(dtype)))
    (first, second), note = for_the_eye(row.patches)
    assert first.dtype == second.dtype == np.uint8
    assert first.shape == second.shape == (64, 64, 3)
    if "checkerboard" not in note:  # which is not mirrored
        assert np.array_equal(second, first[:, ::-1]), "all patches in the same way"
    assert np.ptp(first) > 30
    assert bool(note) == (dtype != "uint8" or channels not in (1, 3))
    assert ("percentile" in note) == (dtype != "uint8")
    assert len(places(drawn(contact_sheet([row], heading=""), tmp_path), first.repeat(2, 0).repeat(2, 1))) == 1


def test_what_was_done_for_the_eye_is_said() -> None:
    ramp = np.arange(10_000, dtype=np.uint16).reshape(100, 100, 1)
    (shown,), note = for_the_eye([ramp])
    assert note == "shown from 50 to 9,949 (0.5 to 99.5 percentile)"
    assert (shown.min(), shown.max()) == (0, 255)
    assert for_the_eye([np.zeros((2, 2, 5), np.uint8)])[1] == "first three channels of 5 shown"
    assert for_the_eye([np.zeros((2, 2, 2), np.uint8)])[1] == "first channel of 2 shown"


def test_colours_of_8_bit_are_not_touched() -> None:
    patch = crop()
    (shown,), note = for_the_eye([patch])
    assert note == ""
    assert np.array_equal(shown, patch)


def test_opaque_rgba_is_rgb_and_the_rest_shows_a_checkerboard() -> None:
    patch = crop()
    opaque, clear = (np.concatenate([patch, np.full((64, 64, 1), a, np.uint8)], axis=2) for a in (255, 0))
    (first, second), note = for_the_eye([opaque, clear])
    assert np.array_equal(first, patch)
    assert set(np.unique(second)) == {216, 255}
    assert note == "transparent px on a checkerboard"


@pytest.mark.parametrize("value", [0, 7, np.nan, np.inf])
def test_blank_patches(value: float) -> None:
    (shown,), _ = for_the_eye([np.full((8, 8, 1), value, np.float32)])
    assert not shown.any()


def test_values_that_are_no_numbers_do_not_spoil_the_others() -> None:
    patch = np.linspace(0, 1, 4096, dtype=np.float32).reshape(64, 64, 1)
    patch[0, :4, 0] = np.nan, np.inf, -np.inf, 0.5
    (shown,), note = for_the_eye([patch])
    assert shown[0, :3, 0].tolist() == [0, 255, 0]
    assert abs(int(shown[0, 3, 0]) - 128) <= 1
    assert note.startswith("shown from 0.0")


def test_a_few_bright_px_on_black_are_seen() -> None:
    patch = np.zeros((64, 64, 1), np.uint16)
    patch[5, 5] = 40_000
    (shown,), note = for_the_eye([patch])
    assert shown[5, 5, 0] == 255
    assert note == "shown from 0 to 40,000 (all values)"


@pytest.mark.parametrize("name", NAMES)
def test_any_name(tmp_path: Path, name: str) -> None:
    patch = crop()
    canvas = contact_sheet(
        [SheetRow(name, name, (patch, patch))], heading=name, columns=[name, name], caption=f"{name} {name}"
    )
    assert canvas.size[0] <= 2400
    assert len(places(drawn(canvas, tmp_path), patch.repeat(2, 0).repeat(2, 1))) == 2, "no text runs into a patch"


def test_names_are_escaped_where_the_font_knows_no_better() -> None:
    assert escaped("breast_ihc (0, 0)…") == "breast_ihc (0, 0)…"
    assert escaped("é中😀\n\udcff") == r"\xe9\u4e2d\U0001f600\n\udcff"
    assert escaped(escaped("é")) == escaped("é")


@given(st.text(), st.integers(0, 300))
def test_shortened_text_fits_and_keeps_both_ends(text: str, width: int) -> None:
    short = shortened(text, STYLE, width)
    assert text_width(short, STYLE) <= width or short in ("", "…")
    if short != escaped(text):
        first, last = short.split("…", 1) if text.count("…") == 0 else ("", "")
        assert escaped(text).startswith(first)
        assert escaped(text).endswith(last)


@given(st.text(), st.integers(100, 300))
def test_wrapped_text_fits_and_loses_no_word(text: str, width: int) -> None:
    lines = wrapped(text, STYLE, width)
    assert all(text_width(line, STYLE) <= width for line in lines)
    if all(text_width(word, STYLE) <= width for word in text.split()):
        assert " ".join(lines) == " ".join(escaped(word) for word in text.split())


@settings(max_examples=40)
@given(
    n_rows=st.integers(0, 12),
    n_columns=st.integers(0, 40),
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    named=st.booleans(),
)
def test_any_counts_and_sizes_keep_the_width(n_rows: int, n_columns: int, size: tuple[int, int], named: bool) -> None:
    patch = np.zeros((*size, 1), np.uint8)
    rows = [SheetRow("name", "more", (patch,) * (n_columns - number % 2)) for number in range(n_rows)]
    columns = [f"copy {number}" for number in range(n_columns)] if named else []
    width, height = contact_sheet(rows, heading="heading", columns=columns, caption="caption").size
    assert 480 < width <= 2400
    assert height >= 100 + 40 * n_rows


def test_a_hundred_copies_are_too_many_and_it_is_said(tmp_path: Path) -> None:
    patch = np.zeros((64, 64, 3), np.uint8)
    few, many = (contact_sheet([SheetRow("n", "", (patch,) * n)], heading="", caption="") for n in (60, 100))
    assert few.size[0] <= 2400
    assert many.size[0] <= 2400
    columns = np.diff((drawn(many, tmp_path)[110] == 0).all(-1).astype(int)) == 1
    assert 60 < columns.sum() < 100


def test_classes_without_patches() -> None:
    contact_sheet([], heading="nothing")
    contact_sheet([SheetRow("empty", "0 patches", ()), SheetRow("one", "1 patch", (crop(),))], heading="two")


def test_a_sheet_that_nothing_could_open_is_refused() -> None:
    rows = [with_copies(crop(), 10)] * 1000
    with pytest.raises(UsageError, match=r"more than programs open .* fewer rows"):
        contact_sheet(rows, heading="")


def test_the_same_bytes_twice(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        sheet = contact_sheet([with_copies(crop())], heading="x", columns=["original", "copy 1"], caption="y")
        sheet.write(os.fsencode(tmp_path / name), new_run())
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_sheet_replaces_the_last_one(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    path.write_bytes(b"old")
    Canvas(10, 10).write(os.fsencode(path), new_run())
    assert Image.open(io.BytesIO(path.read_bytes())).size == (10, 10)
    assert os.listdir(tmp_path) == ["sheet.png"]


def test_a_picture_says_who_drew_it(tmp_path: Path) -> None:
    canvas = Canvas(10, 10)
    canvas.write(os.fsencode(tmp_path / "sheet.png"), new_run())
    assert (tmp_path / "sheet.png").read_bytes() == canvas.png()
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.info == {"Software": "patchcli"}


def test_only_our_pictures_are_replaced(tmp_path: Path) -> None:
    """A source image named by mistake stays, be it a PNG."""
    ours, theirs, copied = (str(tmp_path / name) for name in ("ours.png", "theirs.png", "COPIED.PNG"))
    contact_sheet([with_copies(crop())], heading="x").write(os.fsencode(ours), new_run())
    Image.fromarray(crop()).save(theirs)
    with Image.open(ours) as image:
        image.save(copied)
    assert (is_drawn(ours), is_drawn(theirs), is_drawn(copied), is_drawn(str(tmp_path))) == (True, False, False, False)
    check_sheet(ours)
    check_sheet(str(tmp_path / "new.png"))
    for taken in (theirs, copied):
        with pytest.raises(UsageError, match="is no PNG that patchcli drew"):
            check_sheet(taken)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UsageError, match=r"pipe\.png: is there and is no PNG"):
        check_sheet(str(tmp_path / "pipe.png"))


def test_where_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "locked").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    names = ["nowhere/sheet.png", "taken"]
    if os.geteuid():  # root may write anywhere
        names.append("locked/sheet.png")
    for name in names:
        with pytest.raises(OutputConflict, match=f"{name}: cannot be written"):
            Canvas(10, 10).write(os.fsencode(tmp_path / name), new_run())
    assert leftovers(tmp_path) == []
