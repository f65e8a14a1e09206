"""The HTML page of `inspect`: all facts in it, nothing from elsewhere, names harmless, readable by everybody."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from browser import CHROMIUM, Page, browser
from photos import leftovers, retyped, shards

import patchcli
from patchcli.errors import NotEnoughSpace, UsageError
from patchcli.inspected import Finding, InspectedClass, Inspection, ShardState, Verification
from patchcli.io.canvas import Canvas
from patchcli.io.dataset import Dataset
from patchcli.report.drawing.sheet import class_sheet
from patchcli.report.html.histograms import channel_histograms
from patchcli.report.html.page import check_html, html_report, write_html
from patchcli.report.summary import inspect
from patchcli.summaries import LeftOut

HOSTILE = (
    "<script>alert(1)</script>",
    "x" * 5000,
    "\u05e2\u05d1\u05e8\u05d9\u05ea \u0627\u0644\u0639",
    "new\nline\ttab\0nul",
    "\udcff\ud800",
    "</style></title><img src=x onerror=alert(1)>",
    "\" onload='alert(1)'",
    "{{ 7*7 }}{% for %}",
    "\u202egnp.exe",
    "&lt;b&gt; javascript:alert(1)",
)


def opened(path: Path) -> Dataset:
    return Dataset(os.fsencode(path))


def moved(made: Path, folder: Path) -> Path:
    """A private copy of a data set, under its own name."""
    shutil.copytree(made.with_suffix(".shards"), folder / made.with_suffix(".shards").name)
    return Path(shutil.copy2(made, folder))


def inspected(path: Path) -> Inspection:
    return inspect(os.fsencode(path))


def report(found: Inspection, **given: Any) -> str:
    return html_report(found, **{"sheet": None, "overlays": (), "histograms": None, **given})


def full_report(path: Path, change: Callable[[Inspection], Inspection] = lambda found: found) -> str:
    """The page of a data set with all that can be in it."""
    data = opened(path)
    canvas, shows = class_sheet(data, per_class=2, seed=0)
    picture = canvas.png(), shows
    return report(
        change(inspected(path)), sheet=picture, overlays=[picture], histograms=channel_histograms(data, seed=0)
    )


class Element:
    """An element of a page: what a browser makes of it, as far as a page that closes its tags goes."""

    def __init__(self, tag: str, attributes: dict[str, str | None], parent: Element | None) -> None:
        self.tag, self.attributes, self.parent = tag, attributes, parent
        self.children: list[Element | str] = []

    def __getitem__(self, name: str) -> str:
        return self.attributes.get(name) or ""

    def all(self, *tags: str) -> Iterator[Element]:
        for child in self.children:
            if isinstance(child, Element):
                if not tags or child.tag in tags:
                    yield child
                yield from child.all(*tags)

    @property
    def text(self) -> str:
        joined = "".join(child if isinstance(child, str) else child.text for child in self.children)
        return re.sub(r"\s+", " ", joined)


class _Reader(HTMLParser):
    EMPTY = ("meta", "img", "br", "rect", "path")

    def __init__(self) -> None:
        super().__init__()
        self.at = self.root = Element("", {}, None)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = Element(tag, dict(attrs), self.at)
        self.at.children.append(element)
        if tag not in self.EMPTY:
            self.at = element

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        assert tag in self.EMPTY

    def handle_endtag(self, tag: str) -> None:
        assert self.at.tag == tag, f"</{tag}> closes <{self.at.tag}>"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.children.append(data)


def read(text: str) -> Element:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.at is reader.root, f"<{reader.at.tag}> is not closed"
    return reader.root


def rows_of(page: Element, caption: str) -> list[list[str]]:
    """Cells of the table whose caption begins so, headings first."""
    (found,) = (one for one in page.all("table") if next(one.all("caption")).text.startswith(caption))
    return [[cell.text for cell in row.all("th", "td")] for row in found.all("tr")]


def many_classes(found: Inspection, n: int) -> Inspection:
    made = tuple(
        InspectedClass(f"class {k:04d}", 1 + k % 7, 3 * k, 3 * k / (3 * n * (n - 1) / 2), {}, 100, k % 9, 0)
        for k in range(n)
    )
    return dataclasses.replace(found, classes=made, split_patches={}, patches=sum(one.patches for one in made))


def with_names(found: Inspection) -> Inspection:
    """The same inspection, where every name comes from somebody who means harm."""
    named = tuple(
        dataclasses.replace(found.classes[k % len(found.classes)], name=name, split_patches={HOSTILE[0]: 1, name: 1})
        for k, name in enumerate(HOSTILE[1:])
    )
    findings = tuple(Finding("damaged", name, (1, 2), 2, name, name) for name in HOSTILE)
    return dataclasses.replace(
        found,
        path=f"folder/{HOSTILE[0].replace('/', '')}\n.h5",
        plan_id=HOSTILE[0],
        dtype="uint8",
        edge=cast("Any", HOSTILE[0]),
        compression=cast("Any", HOSTILE[5]),
        classes=named,
        split_patches={HOSTILE[0]: 1},
        shards=tuple(ShardState(name, 1, 1, name) for name in HOSTILE),
        left_out=tuple(LeftOut("ignored", name, 9, HOSTILE) for name in HOSTILE),
        command=HOSTILE,
        settings={name: name for name in HOSTILE}
        | {
            "augment": {"pipeline": [{name: {name: name}} for name in HOSTILE], "standardize": {HOSTILE[0]: HOSTILE[5]}}
        },
        verification=Verification("deep", False, 1, 1, 1, 1, findings, 99, HOSTILE, 0.1),
    )


# the page


def test_everything_of_an_inspection_is_there(cut_splits: Path) -> None:
    found = inspected(cut_splits)
    page = read(full_report(cut_splits))
    rows = rows_of(page, "Classes")
    assert rows[0] == ["Class", "Images", "Patches", "Share", "train", "val", "Never covered, px", "Part"]
    for one, row in zip(found.classes, rows[1:], strict=False):
        assert row[:3] == [one.name, f"{one.images:,}", f"{one.patches:,}"]
        assert row[4:7] == [*(f"{n:,}" for n in one.split_patches.values()), f"{one.pixels_uncovered:,}"]
    assert rows[-1][:3] == ["4 classes", f"{found.images:,}", f"{found.patches:,}"]
    assert [row[0] for row in rows_of(page, "Patches by split")[1:]] == ["train", "val"]
    values = rows_of(page, "Values of each channel")
    assert [row[0] for row in values[1:]] == ["red", "green", "blue"]
    assert [row[1] for row in values[1:]] == [f"{mean:,.2f}" for mean in found.mean]
    assert all(len(row) == 8 for row in values)
    marks = [one["d"] for one in page.all("path") if one["class"] == "mark"]
    assert marks == [f"M{mean + 0.5:.3f}".rstrip("0") + " 0V100" for mean in found.mean], "in the middle of its bin"
    for text in (
        "patchcli extract SRC splits.h5 --patch 32 --layout splits",
        found.plan_id,
        "32x32 px",
        "drop",
        "No file was left out",
        f"{found.bytes:,} bytes",
    ):
        assert text in page.text
    assert "patchcli inspect splits.h5 --verify" in page.text
    headings = [one.text for one in page.all("h2")]
    assert headings == [
        "Classes",
        "Splits",
        "Geometry and losses",
        "Pixel values",
        "Patches",
        "Images",
        "Verification",
        "How it was made",
        "Files",
    ]
    assert [one.text for one in next(page.all("nav")).all("a")] == headings
    assert len(list(page.all("img"))) == 2


def test_augmentation_step_by_step(cut: Path, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("- OneOf:\n    transforms:\n      - HorizontalFlip\n      - GaussianBlur\n")
    patchcli.augment(cut, tmp_path / "once.h5", config=tmp_path / "a.yaml", copies=1, executor="serial")
    patchcli.augment(tmp_path / "once.h5", tmp_path / "twice.h5", rotation_range=20, rescale=0.5, executor="serial")
    page = read(full_report(tmp_path / "twice.h5"))
    (section,) = (one for one in page.all("section") if one["id"] == "augmentation")
    assert [one.text for one in section.all("h3")] == ["Step 1", "Step 2"]
    assert re.search(
        r"OneOf .*p=0.5.* HorizontalFlip p=0.5 .*GaussianBlur .*blur_limit=.* Keras .*rotation_range=20", section.text
    )
    assert "rescale=0.5" in section.text
    assert f"{inspected(tmp_path / 'twice.h5').copies:,} patches are copies" in section.text
    nested = [one for one in section.all("ol") if one.parent is not None and one.parent.tag == "li"]
    assert [item.text.split()[0] for item in nested[0].all("li")] == ["HorizontalFlip", "GaussianBlur"]


def test_what_was_left_out_and_padded(tree: Any, tmp_path: Path) -> None:
    root = tree("cat/a.png", "dog/b.png")
    tree("dog/small.png", size=(3, 3))
    (root / "cat" / "notes.txt").write_text("x")
    (root / "cat" / "line\nbreak.jpg").write_bytes(b"\xff\xd8 no image")
    patchcli.extract(root, tmp_path / "out.h5", patch=16, edge="pad", on_error="skip", executor="serial")
    found, page = inspected(tmp_path / "out.h5"), read(full_report(tmp_path / "out.h5"))
    rows = rows_of(page, f"{sum(one.files for one in found.left_out)} files were left out")
    assert {row[0]: row[1:4] for row in rows[1:]} == {
        one.reason: [one.kind, str(one.files), one.examples[0]] for one in found.left_out
    }
    assert any("line\\x0abreak.jpg" in row[3] for row in rows)
    assert f"{found.pixels_padded:,} px, summed over patches" in page.text
    assert rows_of(page, "Classes")[0][-1] == "Padded, px"


def test_the_words_of_a_verification(cut: Path) -> None:
    found = inspected(cut)

    def page(verification: Verification) -> str:
        (section,) = (
            one
            for one in read(report(dataclasses.replace(found, verification=verification))).all("section")
            if one["id"] == "verification"
        )
        return section.text

    whole = page(Verification("deep", True, 1, 10**6, 80, 12, (), 0, ("a note",), 2.0))
    assert "Whole. A deep check read every patch and found nothing wrong." in whole
    assert "1,000,000 bytes in 2.0 s" in whole
    assert "12 patches come out the same" in whole
    assert "a note" in whole
    quick = page(Verification("quick", True, 7, 0, 0, 0, (), 0, (), 0.1))
    assert "Nothing missing. A quick check: no patch was read." in quick
    assert "statistics" not in quick
    leak = Finding("leak", "out.h5", tuple(range(20)), 31, "stands in train and val", "cut it again with groups")
    bad = page(Verification("deep", False, 1, 10**6, 80, 0, (leak,), 9, (), 2.0))
    assert "9 findings." in bad
    assert (
        "leak out.h5, rows 0, 1, 2, 3, 4, 5, 6, 7 and 23 more stands in train and val cut it again with groups" in bad
    )
    assert "8 more are not listed" in bad
    assert "Not verified: run patchcli inspect in.h5 --verify" in read(report(found)).text


def test_damage_is_shown(cut_sharded: Path, tmp_path: Path) -> None:
    out = moved(cut_sharded, tmp_path)
    shards(out)[1].unlink()
    os.truncate(shards(out)[1], 5000)
    page = read(full_report(out))
    assert f"Damaged. 2 of {len(inspected(out).shards)} shards are missing" in next(page.all("header")).text
    rows = rows_of(page, f"{len(inspected(out).shards)} shards, damaged ones first")
    assert [row[3] for row in rows[1:4]] == ["missing", "5,000 bytes", "as listed"]
    assert "could not be read" in page.text


def test_a_data_set_without_its_shards(cut_sharded: Path, tmp_path: Path) -> None:
    out = moved(cut_sharded, tmp_path)
    shutil.rmtree(out.with_suffix(".shards"))
    page = read(full_report(out))
    n = len(inspected(out).shards)
    assert "none of 80 patches could be read" in page.text
    assert f"{n} of {n} shards are missing" in page.text


@pytest.mark.parametrize("value", [0.0, -3e30, float("nan")])
def test_pixels_that_are_all_the_same(cut: Path, tmp_path: Path, value: float) -> None:
    path = retyped(cut, tmp_path / "same.h5", lambda patches: np.full(patches.shape, value, np.float32))
    page = read(report(inspected(path), histograms=channel_histograms(opened(path), seed=0)))
    assert [row[0] for row in rows_of(page, "Values")[1:]] == ["red", "green", "blue"]
    assert len([one for one in page.all("svg") if one["class"] == "histogram"]) == 3


def test_the_same_inspection_gives_the_same_text_wherever_it_lies(cut_sharded: Path, tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    texts = set()
    for folder in (tmp_path, tmp_path / "a b"):
        found = inspected(moved(cut_sharded, folder))
        finding = Finding("missing", f"{folder}/out.shards/x.h5", (), 0, f"{folder}/out.h5: is not there", "")
        said = Verification("deep", False, 1, 1, 1, 0, (finding,), 1, (f"{os.path.realpath(folder)}/x",), 1.0)
        texts.add(report(dataclasses.replace(found, verification=said)))
    assert len(texts) == 1
    assert str(tmp_path) not in texts.pop()
    assert full_report(cut_sharded) == full_report(cut_sharded)


def test_names_are_harmless(cut: Path) -> None:
    text = full_report(cut, with_names)
    text.encode()
    assert re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", text) is None
    page = read(text)
    assert list(page.all("script", "iframe", "object", "embed", "link", "form", "base")) == []
    for one in page.all():
        assert not [
            name for name in one.attributes if name.startswith("on") or name in ("style", "srcset", "formaction")
        ]
        assert one["src"].startswith("data:image/png;base64,") or not one["src"]
        assert one["href"].startswith("#") or not one["href"]
    assert {one.tag for one in page.all("img")} == {"img"}
    assert len(list(page.all("style"))) == len(list(page.all("title"))) - sum(
        1 for svg in page.all("svg") for _ in svg.all("title")
    )
    for name in HOSTILE[:1] + HOSTILE[5:8]:
        assert name in page.text, "shown as it is"
    assert "new\\nline\\ttab\\x00nul" in page.text
    assert "\\udcff\\ud800" in page.text
    assert "\\u202egnp.exe" in page.text
    assert text.count("x" * 5000) == 1, "a command is shown whole, so that it can be run"
    assert "x" * 1400 not in text.replace("x" * 5000, ""), "long names are shortened"
    assert "(5,000 characters)" in page.text


def test_pipelines_of_other_programs_do_no_harm(cut: Path) -> None:
    found = inspected(cut)
    deep: Any = []
    augment: Any
    pipeline: Any
    for _ in range(100):
        deep = [{"OneOf": {"transforms": deep}}]
    for pipeline in (None, 5, "x", [1, None, "x", {}, {"A": 1}, {"A": {"transforms": 5}}, {"A": {}, "B": {}}], deep):
        for augment in (
            {"pipeline": pipeline},
            {"pipeline": pipeline, "standardize": 5, "copies": {}, "before": 5},
            5,
            None,
        ):
            text = report(dataclasses.replace(found, settings={"augment": augment, "x": [[1], {"a": 2}], "y": None}))
            read(text)


def headings(page: Element) -> list[int]:
    return [int(one.tag[1]) for one in page.all("h1", "h2", "h3", "h4", "h5", "h6")]


@pytest.mark.parametrize("kind", ["plain", "hostile", "damaged"])
def test_everybody_can_read_it(cut: Path, cut_splits: Path, kind: str) -> None:
    """What axe checks of such a page, as far as the text tells."""
    text = full_report(cut_splits) if kind == "plain" else full_report(cut, with_names)
    page = read(text)
    (html,) = page.all("html")
    assert html["lang"] == "en"
    assert text.startswith("<!DOCTYPE html>")
    levels = headings(page)
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    for landmark in ("header", "nav", "main", "footer"):
        assert len(list(page.all(landmark))) == 1
    names = [one["id"] for one in page.all() if one["id"]]
    assert len(set(names)) == len(names)
    for one in page.all():
        assert one["aria-labelledby"] in names or not one["aria-labelledby"]
        assert one["href"][1:] in names or not one["href"]
        if one["role"] in ("img", "region"):
            assert one["aria-label"]
        if one["role"] == "region":
            assert one["tabindex"] == "0"
    for one in page.all("img"):
        assert one["alt"]
        assert one["width"]
        assert one["height"]
    for one in page.all("svg"):
        assert one["aria-hidden"] == "true", "its place says what it shows"
    for one in page.all("table"):
        assert next(one.all("caption")).text.strip()
        assert all(heading["scope"] in ("col", "row") for heading in one.all("th"))
        assert len({len(list(row.all("th", "td"))) for row in one.all("tr")}) == 1
        assert one.parent is not None
        assert one.parent["role"] == "region"


def test_many_of_everything(cut: Path, tmp_path: Path) -> None:
    found = many_classes(inspected(cut), 1000)
    listed = tuple(
        ShardState(f"x.shards/{k:05d}.h5", 10**8, 1000, "missing" if k % 40 == 7 else "") for k in range(5000)
    )
    findings = tuple(Finding("damaged", f"{k}.h5", (k,), 1, "not as written", "the same command") for k in range(200))
    checked = Verification("deep", False, 5001, 10**9, 10**6, 0, findings, 200, (), 9.0)
    found = dataclasses.replace(found, shards=listed, verification=checked)
    text = report(found, histograms=channel_histograms(opened(cut), seed=0))
    page = read(text)
    assert len(text) < 1_000_000
    assert len(rows_of(page, "Classes")) == 1002
    rows = rows_of(page, "5,000 shards, damaged ones first; 4,875 more are as listed; 75 more are damaged")
    assert [row[3] for row in rows[1:]] == ["missing"] * 50
    assert len(next(one for one in page.all("ol") if one["class"] == "findings").children) > 200
    regions = [one["aria-label"] for one in page.all("div") if "tall" in one["class"].split()]
    assert regions == ["Table of classes", "Findings", "Table of shards"], "folded on a screen, whole on paper"


@pytest.mark.parametrize("channels", [1, 2, 4, 10])
def test_any_number_of_channels(cut: Path, tmp_path: Path, channels: int) -> None:
    def changed(patches: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.concatenate([patches[..., :1].astype(np.uint16) * (k + 1) for k in range(channels)], axis=3)

    path = retyped(cut, tmp_path / "out.h5", changed)
    page = read(full_report(path))
    names = [row[0] for row in rows_of(page, "Values")[1:]]
    assert len(names) == channels
    assert names[0] == {1: "gray", 4: "red"}.get(channels, "channel 0")
    assert len([one for one in page.all("svg") if one["class"] == "histogram"]) == channels


def test_an_empty_data_set(cut: Path) -> None:
    found = inspected(cut)
    empty = tuple(
        dataclasses.replace(one, images=0, patches=0, share=0.0, pixels=0, pixels_uncovered=0) for one in found.classes
    )
    for classes in (empty, ()):
        nothing = dataclasses.replace(
            found,
            patches=0,
            images=0,
            classes=classes,
            mean=(),
            std=(),
            pixels=0,
            pixels_uncovered=0,
            split_patches={"train": 0} if not classes else {},
        )
        page = read(report(nothing, histograms=channel_histograms(opened(cut), seed=0, most_patches=0)))
        assert "There are no patches." in page.text
        assert "nan" not in page.text.lower()


# the file


def test_only_reports_of_patchcli_are_replaced(cut: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    check_html(str(out))
    write_html(os.fsencode(out), report(inspected(cut)))
    assert leftovers(tmp_path) == []
    check_html(str(out))
    write_html(os.fsencode(out), report(inspected(cut), histograms=channel_histograms(opened(cut), seed=0)))
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    out.write_text("<html><p>what somebody wrote about patchcli</p></html>")
    with pytest.raises(UsageError, match="no report of patchcli: it is not replaced"):
        check_html(str(out))
    assert "somebody" in out.read_text()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("report.pdf", "expected the name of a page"),
        ("report", "expected the name of a page"),
        ("missing/report.html", "the folder .*missing does not exist"),
        ("folder.html", "is there and is no file"),
        ("fifo.HTML", "is there and is no file"),
        ("dangling.htm", "is there and is no file"),
        ("empty.html", "no report of patchcli"),
    ],
)
def test_names_that_are_refused(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "folder.html").mkdir()
    os.mkfifo(tmp_path / "fifo.HTML")
    (tmp_path / "dangling.htm").symlink_to("nowhere")
    (tmp_path / "empty.html").touch()
    with pytest.raises(UsageError, match=why):
        check_html(str(tmp_path / name))


def test_a_full_disk_leaves_what_was_there(cut: Path, small_disk: Path) -> None:
    out = small_disk / "report.html"
    write_html(os.fsencode(out), report(inspected(cut)))
    before = out.read_bytes()
    with pytest.raises(NotEnoughSpace):
        write_html(os.fsencode(out), "x" * 40_000_000)
    assert out.read_bytes() == before
    assert leftovers(small_disk) == []


# in a browser

WIDTHS = (360, 820, 1280)
A4_CONTENT = (665, 979)  # CSS px within the margins of a page, width and height
CONTRASTS = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgb = color => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return Array.from(canvas.getImageData(0, 0, 1, 1).data);
  };
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const color = rgb(getComputedStyle(element).backgroundColor);
      if (color[3] === 255) return color;
    }
    return [255, 255, 255, 255];
  };
  const found = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const element = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || element.closest("svg")) continue;
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), walk.currentNode.data.trim().slice(0, 40)]);
  }
  return found;
})()
"""
OVERFLOWING = """
Array.from(document.body.querySelectorAll("*"))
  .filter(one => !one.closest(".scroll, svg, .skip") && one.getBoundingClientRect().right > WIDTH + 0.5)
  .map(one => one.tagName + "." + one.className + " " + one.textContent.slice(0, 40))
"""

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def reports(cut: Path, cut_splits: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pages by what is special about them."""
    folder = tmp_path_factory.mktemp("reports")
    texts = {
        "plain": full_report(cut_splits),
        "hostile": full_report(cut, with_names),
        "many": full_report(cut, lambda found: many_classes(found, 80)),
        "tall": report(inspected(cut), sheet=(Canvas(600, 9000).png(), "a tower")),
    }
    found = {name: folder / f"{name}.html" for name in texts}
    for name, path in found.items():
        write_html(os.fsencode(path), texts[name])
    return found


@needs_chromium
@pytest.mark.parametrize("name", ["plain", "hostile", "many"])
def test_a_browser_shows_all_and_fetches_nothing(page: Page, reports: dict[str, Path], name: str) -> None:
    for width in WIDTHS:
        page.open(reports[name], width=width)
        asked = [url for url in page.requests if not url.startswith("data:image/png;base64,")]
        assert asked == [reports[name].as_uri()]
        assert page.problems == []
        assert page.evaluate("document.compatMode") == "CSS1Compat"
        assert page.evaluate("Array.from(document.images, one => one.naturalWidth > 0 && one.complete)") == [True, True]
        assert page.evaluate("document.querySelectorAll('h2').length") >= 8
        assert page.evaluate("document.scripts.length") == 0
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
            f"scrolls sideways at {width}"
        )
        assert page.evaluate(OVERFLOWING.replace("WIDTH", "document.documentElement.clientWidth")) == []
        assert page.evaluate(
            "Array.from(document.querySelectorAll('rect'), one => one.getBoundingClientRect().width > 0).every(Boolean)"
        )


@needs_chromium
def test_nothing_could_be_fetched_even_if_something_slipped_in(page: Page, reports: dict[str, Path]) -> None:
    page.open(reports["plain"])
    for slipped in (
        "img.src = 'http://127.0.0.1:9/a.png'",
        "script.src = 'http://127.0.0.1:9/a.js'",
        "script.textContent = 'document.title = 1'",
        "link.rel = 'stylesheet'; link.href = 'http://127.0.0.1:9/a.css'",
    ):
        name = slipped.partition(".")[0]
        page.evaluate(
            f"(() => {{ const {name} = document.createElement('{name}'); {slipped}; document.body.append({name}) }})()"
        )
    page.evaluate("new Promise(done => setTimeout(done, 200))")
    assert len([one for one in page.problems if "Content Security Policy" in one]) >= 4
    assert page.evaluate("document.title") == "splits.h5: patches in numbers and pictures"


@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", ["plain", "hostile"])
def test_text_stands_out(page: Page, reports: dict[str, Path], name: str, dark: bool) -> None:
    page.open(reports[name], dark=dark)
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == dark
    found = page.evaluate(CONTRASTS)
    assert len(found) > 100
    assert [one for one in found if one[0] < 4.5] == []


@needs_chromium
def test_it_works_by_keyboard(page: Page, reports: dict[str, Path]) -> None:
    page.open(reports["plain"], width=360)
    focused = "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
    seen = []
    for _ in range(40):
        page.press("Tab")
        seen.append(page.evaluate(focused))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", seen[-1]
        if seen[-1] == "Table of classes":
            break
    assert seen[0] == "Skip to the contents"
    assert page.evaluate("document.activeElement.scrollWidth > document.activeElement.clientWidth")
    page.press("ArrowRight")
    page.evaluate("new Promise(done => setTimeout(done, 300))")
    assert page.evaluate("document.activeElement.scrollLeft") > 0


@needs_chromium
@pytest.mark.parametrize("name", ["plain", "hostile", "many", "tall"])
def test_it_prints(page: Page, reports: dict[str, Path], name: str) -> None:
    page.open(reports[name], width=A4_CONTENT[0], dark=True)
    pdf = page.pdf()
    assert pdf.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) < 40
    assert re.search(rb"/MediaBox \[0 0 594\.9\d* 841\.9\d*\]", pdf), "A4"
    page.emulate(media="print", dark=True)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    tall = "Array.from(document.querySelectorAll('figure, img, tr, svg'), one => one.getBoundingClientRect().height)"
    assert max(page.evaluate(tall)) < A4_CONTENT[1], "no chart is cut in two"
    kept = "Array.from(document.querySelectorAll('figure'), one => getComputedStyle(one).breakInside)"
    assert set(page.evaluate(kept)) == {"avoid"}
    hidden = (
        "Array.from(document.querySelectorAll('.scroll')).filter(one => one.scrollHeight > one.clientHeight + 1).length"
    )
    assert page.evaluate(hidden) == 0, "what is folded on a screen is whole on paper"
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
