"""Pipelines: the short form and the saved form say the same, every mistake has its place, groups mean what they say."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchcli.errors import UsageError
from patchcli.io.pipelines import read_pipeline, spec_of
from patchcli.pipeline.augmenter import Augmenter
from patchcli.pipeline.tree import MOST_DEPTH, Group, Node, Step, parse, plain, steps_of

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"

OPTIONS = ("copies", "seed", "rescale", "horizontal_flip", "config", "json", "debug", "version", "list_transforms")
SWITCHES = ("horizontal_flip",)
ON_THE_COMMAND_LINE = ("version", "help", "list_transforms")

Write = Callable[[str | bytes], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes `aug.yaml` where the test stands, so that messages are short."""
    monkeypatch.chdir(tmp_path)

    def text(content: str | bytes) -> str:
        Path("aug.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
        return "aug.yaml"

    return text


def read(name: str) -> tuple[dict[str, Any], Group | None]:
    return read_pipeline(name.encode(), OPTIONS, SWITCHES)


def message(write: Write, content: str | bytes) -> str:
    with pytest.raises(UsageError) as caught:
        read(write(content))
    return str(caught.value)


# the short form

names = st.text("ABCDEFGHIabcdefghi_019", min_size=1, max_size=12)
scalars = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=8)
arguments = st.dictionaries(names.filter(lambda name: name != "p"), scalars | st.lists(scalars, max_size=3), max_size=4)
chances = st.floats(0, 1)
leaves = st.builds(Step, names, arguments, st.none() | chances)


def groups(nodes: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(nodes, min_size=1, max_size=4).map(tuple)
    two: st.SearchStrategy[Node] = st.builds(Group, st.sampled_from(["Sequential", "OneOf"]), several, chances)
    some: st.SearchStrategy[Node] = several.flatmap(
        lambda steps: st.one_of(
            st.builds(Group, st.just("SomeOf"), st.just(steps), chances, st.integers(1, len(steps)), st.just(False)),
            st.builds(Group, st.just("SomeOf"), st.just(steps), chances, st.integers(1, 1000), st.just(True)),
        )
    )
    return two | some


trees = st.recursive(leaves, groups, max_leaves=12)


def depth(node: Node) -> int:
    return 0 if isinstance(node, Step) else 1 + max(map(depth, node.steps))


@given(st.lists(trees, max_size=5))
def test_the_short_form_says_a_whole_tree(nodes: list[Node]) -> None:
    said = [plain(node) for node in nodes]
    if nodes and max(map(depth, nodes)) >= MOST_DEPTH:
        with pytest.raises(UsageError, match=f"deeper than {MOST_DEPTH}"):
            parse(said, name="script")
        return
    for value in (said, json.loads(json.dumps(said))):
        assert parse(value, name="script") == Group("Sequential", tuple(nodes), 1.0)
    whole = parse(said, name="script")
    assert list(steps_of(whole)) == [step for node in nodes for step in steps_of(node)]


def test_bare_names_and_empty_arguments_are_the_same(write: Write) -> None:
    expected = Group("Sequential", (Step("D4", {}), Step("D4", {}), Step("D4", {}), Step("D4", {}), Step("D4", {})))
    assert read(write("- D4\n- D4:\n- D4: {}\n- {D4: null}\n- 'D4'")) == ({}, expected)


def test_groups_have_albumentations_defaults() -> None:
    said = [{"OneOf": ["A", "B"]}, {"Sequential": ["A"]}, {"SomeOf": {"transforms": ["A", "B"]}}]
    a, b = Step("A", {}), Step("B", {})
    expected = (Group("OneOf", (a, b), 0.5), Group("Sequential", (a,), 0.5), Group("SomeOf", (a, b), 1.0, 1, False))
    assert parse(said, name="script").steps == expected


def test_places_are_lines_of_the_file(write: Write) -> None:
    _, pipeline = read(
        write("# first\n- HorizontalFlip\n\n- OneOf:\n    p: 1\n    transforms:\n    - D4\n    - A: {b: 1}\n")
    )
    assert pipeline is not None
    assert [step.place for step in steps_of(pipeline)] == [f"aug.yaml, line {line}" for line in (2, 7, 8)]
    assert pipeline.steps[1].place == "aug.yaml, line 4"
    assert pipeline.place == "aug.yaml, line 2"
    assert [step.place for step in steps_of(parse(["D4"], name="config"))] == ["config"]


def test_places_do_not_make_trees_differ() -> None:
    assert Step("A", {}, place="here") == Step("A", {}, place="there")
    assert Group("OneOf", (), place="here") == Group("OneOf", (), place="there")


# the saved form


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_what_albumentations_saves_says_the_same_as_the_short_form(form: str, tmp_path: Path) -> None:
    albumentations = pytest.importorskip("albumentations")
    compose = albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.25),
            albumentations.OneOf(
                [
                    albumentations.GaussianBlur(blur_limit=(3, 5), sigma_limit=(0.5, 2), p=0.3),
                    albumentations.Sequential([albumentations.VerticalFlip(), albumentations.D4()], p=0.4),
                ],
                p=0.9,
            ),
            albumentations.SomeOf([albumentations.NoOp(), albumentations.Transpose(p=0.2)], n=2, replace=True, p=0.7),
            albumentations.Compose([albumentations.NoOp(p=1)], p=0.6),
        ]
    )
    path = tmp_path / f"saved.{form}"
    albumentations.save(compose, path, data_format=form)
    options, pipeline = read(str(path))
    assert options == {}
    assert listed(pipeline) == listed(parse(albumentations.to_dict(compose), name="config"))
    short = [
        {"HorizontalFlip": {"p": 0.25}},
        {
            "OneOf": {
                "p": 0.9,
                "transforms": [
                    {"GaussianBlur": {"blur_limit": [3, 5], "sigma_limit": [0.5, 2], "p": 0.3}},
                    {"Sequential": {"p": 0.4, "transforms": [{"VerticalFlip": {"p": 0.5}}, {"D4": {"p": 1}}]}},
                ],
            }
        },
        {
            "SomeOf": {
                "n": 2,
                "replace": True,
                "p": 0.7,
                "transforms": [{"NoOp": {"p": 0.5}}, {"Transpose": {"p": 0.2}}],
            }
        },
        {"Sequential": {"p": 0.6, "transforms": [{"NoOp": {"p": 1}}]}},
    ]
    assert listed(pipeline) == listed(parse(short, name="script"))
    assert all(" line " in step.place for step in steps_of(pipeline or Group("Sequential", ())))


def listed(pipeline: Group | None) -> Any:
    """A tree as JSON gives it: pairs are lists."""
    return json.loads(json.dumps(None if pipeline is None else [plain(step) for step in pipeline.steps]))


D4 = {"__class_fullname__": "D4", "p": 1.0}
SAVED: dict[str, Any] = {
    "__class_fullname__": "Compose",
    "transforms": [D4],
    "bbox_params": None,
    "additional_targets": {},
}


@pytest.mark.parametrize(
    ("saved", "short"),
    [
        (SAVED, "D4"),
        ({**SAVED, "p": 1}, "D4"),
        ({**SAVED, "__class_fullname__": "albumentations.core.composition.Compose"}, "D4"),
        ({**SAVED, "p": 0.5}, {"Sequential": {"p": 0.5, "transforms": ["D4"]}}),
        (D4, "D4"),
        ({**D4, "__class_fullname__": "albumentations.augmentations.D4", "p": 0.5}, {"D4": {"p": 0.5}}),
        ({**SAVED, "__class_fullname__": "OneOf", "p": 0.25}, {"OneOf": {"p": 0.25, "transforms": ["D4"]}}),
    ],
)
def test_what_albumentations_saves_may_be_any_part(saved: dict[str, Any], short: Any) -> None:
    (expected,) = parse(json.loads(json.dumps([short]).replace('"D4"]', '{"D4": {"p": 1}}]')), name="n").steps
    expected = expected if expected.p is not None else Step("D4", {}, 1.0)
    for said in (saved, {"__version__": "2.0.8", "transform": saved}):
        assert parse(said, name="n").steps == (expected,)


@pytest.mark.parametrize(
    ("saved", "expected"),
    [
        ({}, "aug.yaml, line 1: not a pipeline as albumentations saves it: a __class_fullname__ is missing"),
        ([], "aug.yaml, line 1: not a pipeline as albumentations saves it: a __class_fullname__ is missing"),
        ({"__class_fullname__": 1}, "a __class_fullname__ is missing"),
        ({"__class_fullname__": "Compose", "transforms": [7]}, "a __class_fullname__ is missing"),
        ({"__class_fullname__": "Compose", "transforms": 7}, "Compose: transforms is 7: expected a list"),
        ({**SAVED, "transforms": [{"__class_fullname__": "Compose"}]}, "Compose has no transforms"),
        ({"__class_fullname__": "OneOf", "p": 1.0}, "OneOf takes a list of transforms"),
        ({**SAVED, "bbox_params": {"format": "coco"}}, "bbox_params is set: patches have no boxes or keypoints"),
        ({**SAVED, "keypoint_params": {"format": "xy"}}, "keypoint_params is set"),
        ({**SAVED, "additional_targets": {"image2": "image"}}, "additional_targets is set"),
        ({**SAVED, "__class_fullname__": "RandomOrder"}, "aug.yaml, line 1: RandomOrder is not taken: groups are"),
        ({**SAVED, "__class_fullname__": "ReplayCompose"}, "aug.yaml, line 1: ReplayCompose: leave it out"),
        ({**SAVED, "transforms": [{**SAVED, "__class_fullname__": "OneOrOther"}]}, "OneOrOther is not taken"),
        ({**SAVED, "transforms": [{**D4, "p": 2}]}, "D4: p is 2: expected a probability from 0 to 1"),
        ({**SAVED, "transforms": [{**SAVED, "p": 2}]}, "Sequential: p is 2: expected a probability from 0 to 1"),
    ],
)
def test_what_albumentations_would_not_save(write: Write, saved: Any, expected: str) -> None:
    said = message(write, json.dumps({"transform": saved}))
    assert expected in said
    assert said.startswith("aug.yaml")


# mistakes


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "aug.yaml: a pipeline is a list of transforms, such as [HorizontalFlip: {p: 0.5}]"),
        ("# nothing\n", "aug.yaml: a pipeline is a list"),
        ("~", "aug.yaml: a pipeline is a list"),
        ("D4", "aug.yaml, line 1: a pipeline is a list"),
        ("pipeline: D4", "aug.yaml, line 1: a pipeline is a list"),
        ("copies: 2\npipeline:\n  D4: {}", "aug.yaml, line 3: a pipeline is a list"),
        ("- D4\n- 7", "aug.yaml: expected a transform such as HorizontalFlip: {p: 0.5}, found 7"),
        ("- D4\n- [D4]", "aug.yaml, line 2: expected a transform such as"),
        ("- D4\n- {}", "aug.yaml, line 2: expected a transform such as"),
        (
            "- D4: {}\n  Blur: {}",
            "aug.yaml, line 1: expected a transform such as HorizontalFlip: {p: 0.5}, found {'D4'",
        ),
        ("- 7: {}", "aug.yaml, line 1: expected the name of a transform, found 7"),
        ("- D4\n- Blur: 3", "aug.yaml, line 2: Blur takes arguments by name, such as Blur: {p: 0.5}, found 3"),
        ("- D4\n- Blur: [3]", "aug.yaml, line 2: Blur takes arguments by name, such as Blur: {p: 0.5}, found [3]"),
        ("- Blur: {3: 3}", "aug.yaml, line 1: Blur takes arguments by name"),
        ("- D4: {p: 2}", "aug.yaml, line 1: D4: p is 2: expected a probability from 0 to 1"),
        ("- D4: {p: -0.1}", "aug.yaml, line 1: D4: p is -0.1: expected"),
        ("- D4: {p: .nan}", "aug.yaml, line 1: D4: p is '.nan': expected"),
        ("- D4: {p: 1e400}", "aug.yaml, line 1: 1e400 is no finite number"),
        ("- D4: {p: yes}", "aug.yaml, line 1: D4: p is 'yes': expected"),
        ("- D4: {p: true}", "aug.yaml, line 1: D4: p is True: expected"),
        ("- D4: {p: null}", "aug.yaml, line 1: D4: p is None: expected"),
        ("- D4: {p: '1'}", "aug.yaml, line 1: D4: p is '1': expected"),
        ("- D4: {p: [0, 1]}", "aug.yaml, line 1: D4: p is [0, 1]: expected"),
        ("-\n  OneOf: [D4]\n-\n  OneOf:", "aug.yaml, line 4: OneOf takes a list of transforms, such as OneOf: {"),
        ("- OneOf: []", "aug.yaml, line 1: OneOf takes a list of transforms"),
        ("- OneOf: {transforms: []}", "aug.yaml, line 1: OneOf takes a list of transforms"),
        ("- OneOf: {transforms: D4}", "aug.yaml, line 1: OneOf takes a list of transforms"),
        ("- OneOf: {transforms: {D4: {}}}", "aug.yaml, line 1: OneOf takes a list of transforms"),
        ("- OneOf: {transform: [D4]}", "aug.yaml, line 1: OneOf takes a list of transforms"),
        (
            "- OneOf: {transforms: [D4], prob: 1}",
            "aug.yaml, line 1: OneOf has no argument 'prob': it takes transforms, p",
        ),
        ("- SomeOf: {transforms: [D4], replce: 1}", "SomeOf has no argument 'replce': did you mean replace?"),
        ("- OneOf: {transforms: [D4], n: 1}", "OneOf has no argument 'n': "),
        ("- OneOf: {transforms: [D4], 7: 1}", "OneOf has no argument 7: "),
        ("- OneOf: {transforms: [D4], p: 3}", "aug.yaml, line 1: OneOf: p is 3: expected a probability"),
        ("- SomeOf: {transforms: [D4], n: 0}", "aug.yaml, line 1: SomeOf takes n, a whole number from 1, and replace"),
        ("- SomeOf: {transforms: [D4], n: 1.0}", "SomeOf takes n, a whole number from 1, and replace"),
        ("- SomeOf: {transforms: [D4], n: true}", "SomeOf takes n, a whole number from 1, and replace"),
        ("- SomeOf: {transforms: [D4], replace: 1}", "SomeOf takes n, a whole number from 1, and replace"),
        ("- SomeOf: {transforms: [D4], n: 2}", "aug.yaml, line 1: SomeOf cannot choose n = 2 of 1 transforms"),
        ("- SomeOf: {transforms: [D4], n: 1001, replace: true}", "SomeOf: n is 1001: expected at most 1000"),
        ("[" + "D4, " * 1001 + "]", "aug.yaml: has more than 1000 transforms"),
        # not plain YAML
        ("- D4\n- &a Blur\n", "aug.yaml, line 2: anchors and aliases are not taken"),
        ("- &a D4\n- *a\n", "aug.yaml, line 1: anchors and aliases are not taken"),
        ("- *a\n", "aug.yaml, line 1: anchors and aliases are not taken"),
        ("- D4\n- !!python/object/apply:os.system [ls]", "aug.yaml, line 2: "),
        ("- !ours D4", "aug.yaml, line 1: tags such as '!ours' are not taken"),
        ("- A: {b: !!binary aGk=}", "aug.yaml, line 1: tags such as 'tag:yaml.org,2002:binary' are not taken"),
        ("- A: {b: !!set {c}}", "aug.yaml, line 1: tags such as 'tag:yaml.org,2002:set' are not taken"),
        ("- A: {b: 1,\n   b: 2}", "aug.yaml, line 2: 'b' stands twice"),
        ("- A: {1: 1, true: 2}", "stands twice"),
        ("- ? [a]\n  : b", "aug.yaml, line 1: ['a'] is no key"),
        ("- ~: b", "aug.yaml, line 1: None is no key"),
        ("- A\n---\n- B", "aug.yaml, line 2: not YAML: expected a single document"),
        ("%YAML 9.9\n---\n- A", "aug.yaml, line 1: not YAML: "),
        ("- A: {b\n\n", "aug.yaml, line 3: not YAML: while parsing a flow mapping in line 1, expected ',' or '}'"),
        ("-\tA: b\n\tc", "aug.yaml: a tab in line 1: YAML indents with blanks"),
        ("- A:\n\tb: 1", "aug.yaml: a tab in line 2: YAML indents with blanks"),
        ("- A:\n    b: 1\n\tc: 1", "aug.yaml: a tab in line 3: YAML indents with blanks"),
        ("- A\n- B\0", "aug.yaml, line 2: not YAML: special characters are not allowed"),
        (b"- D4\n- A: {b: \xe9}", "aug.yaml, line 2: not YAML: invalid continuation byte"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "aug.yaml, line 1: not YAML: "),
        # slips
        ("- D4\n- HorizontalFlip:\n  p: 0.5", "aug.yaml, line 2: indent p deeper, or write HorizontalFlip: {p: 0.5}"),
        (
            "- Affine:\n  scale: [1, 2]\n  keep_ratio: true",
            "line 1: indent scale and keep_ratio deeper, or write Affine: {scale: ..., keep_ratio: true}",
        ),
        ("- OneOf:\n  transforms: [D4]", "line 1: indent transforms deeper, or write OneOf: {transforms: ...}"),
        ("- D4:\n  Blur:", "aug.yaml, line 1: expected a transform such as"),
        ("- Affine:\n    scale: (0.9, 1.1)", "aug.yaml, line 2: Affine: scale: write [0.9, 1.1], not (0.9, 1.1)"),
        ("- Affine: {scale: (0.9, 1.1), p: 1}", "aug.yaml, line 1: Affine: scale: write [0.9, 1.1], not (0.9, 1.1)"),
        ("- Affine: {shear: {x: (-5, 5), y: 1}}", "aug.yaml, line 1: Affine: x: write [-5, 5], not (-5, 5)"),
        ("- GridDropout: {fill: (1, 2, 3)}", "GridDropout: fill: write [1, 2, 3], not (1, 2, 3)"),
        ("- Keras: {zoom_range: (0.8, 1.2)}", "aug.yaml, line 1: Keras: zoom_range: write [0.8, 1.2], not (0.8, 1.2)"),
        # groups that there are not
        ("- D4\n- Compose: [D4]", "aug.yaml, line 2: Compose: leave it out, a pipeline is a list; Sequential groups"),
        ("- Compose", "aug.yaml, line 1: Compose: leave it out"),
        ("- RandomOrder: [D4]", "line 1: RandomOrder is not taken: groups are OneOf, SomeOf and Sequential"),
        ("- OneOf:\n  - RandomOrder: {transforms: [D4], n: 1}", "aug.yaml, line 2: RandomOrder is not taken"),
        ("- OneOrOther: [D4, Blur]", "aug.yaml, line 1: OneOrOther is not taken: groups are"),
        ("- ReplayCompose: [D4]", "aug.yaml, line 1: ReplayCompose: leave it out"),
        ("- SelectiveChannelTransform: [D4]", "aug.yaml, line 1: SelectiveChannelTransform is not taken"),
        ("- OneOff: [D4]", "aug.yaml, line 1: no group is called 'OneOff': did you mean OneOf?"),
        # parts of a pipeline at the top
        ("copies: 2\ntransforms: [D4]", "line 2: transforms is not an option of augment: put them under `pipeline`"),
        ("HorizontalFlip: {p: .5}", "line 1: HorizontalFlip is not an option: a pipeline is a list: write `- Horizon"),
        ("\nOneOf: [D4]", "aug.yaml, line 2: OneOf is not an option: a pipeline is a list: write `- OneOf: ...`"),
        ("Keras: {zoom_range: 0.1}", "a pipeline is a list: write `- Keras: ...`"),
        ("Normalize:", "a pipeline is a list: write `- Normalize: ...`"),
        ("Compose: [D4]", "aug.yaml, line 1: Compose: leave it out, a pipeline is a list"),
        ("copies: 1\nRandomOrder: [D4]", "aug.yaml, line 2: RandomOrder is not taken"),
        # options
        ("copis: 4", "aug.yaml, line 1: copis is not an option of augment; did you mean copies?"),
        (
            "x: 4",
            "aug.yaml, line 1: x is not an option of augment; there are copies, seed, rescale, horizontal_flip, json",
        ),
        ("config: other.yaml", "aug.yaml, line 1: config is not an option of augment in a file: say it on the"),
        *((f"{name}: true", f"line 1: {name} is not an option of augment in a file") for name in ON_THE_COMMAND_LINE),
        ("copies: 4\npipline: [D4]", "aug.yaml, line 2: pipline is not an option of augment; did you mean pipeline?"),
        ("horizontal_flip: 1", "aug.yaml, line 1: horizontal_flip is 1: expected true or false"),
        (
            "horizontal-flip: true\nhorizontal_flip: true",
            "aug.yaml, line 2: horizontal_flip stands twice, under another spelling",
        ),
        ("copies: {a: 1}", "aug.yaml, line 1: copies is a mapping: expected text or a number"),
        ("copies: true", "aug.yaml, line 1: copies is a bool: expected text or a number"),
        ("copies: 1\ncopies: 2", "aug.yaml, line 2: 'copies' stands twice"),
        ("seed: 1\ncopies:", "aug.yaml, line 2: copies is empty: expected a value"),
        ("copies: [2]", "aug.yaml, line 1: copies is a list: expected text or a number"),
        ("horizontal_flip:", "aug.yaml, line 1: horizontal_flip is empty: expected a value"),
        ("- SomeOf:\n    transforms: [D4]\n    m: 1", "aug.yaml, line 3: SomeOf has no argument 'm': "),
    ],
)
def test_every_mistake_is_named_with_its_place(write: Write, content: str | bytes, expected: str) -> None:
    said = message(write, content)
    assert expected in said
    assert said.startswith("aug.yaml")
    assert "\n" not in said
    assert "<byte string>" not in said
    assert len(said) < 400


@pytest.mark.parametrize(
    "content",
    [
        "- X: {a: !!bool xyz}",
        "- X: {a: !!int ''}",
        "- X: {a: !!int '-'}",
        "- X: {a: !!int abc}",
        "- X: {a: !!float ''}",
        "- X: {p: 0x" + "f" * 5000 + "}",
        "- X: {p: " + "9" * 5000 + "}",
        "- X: {p: '" + "9" * 5000 + "'}",
        "- SomeOf: {n: 0x" + "f" * 5000 + ", transforms: [X]}",
        "- " + "f" * 5000 + ": 7",
        "? " + "f" * 5000 + "\n: 7\n",
        "- X: {p: " + "a" * 1_000_000 + "}",
    ],
)
def test_odd_and_huge_values_are_mistakes_too(write: Write, content: str) -> None:
    said = message(write, content)
    assert said.startswith("aug.yaml")
    assert len(said.replace("f" * 5000, "")) < 500


def test_huge_numbers_of_a_script_are_mistakes_too() -> None:
    with pytest.raises(UsageError, match=r"^script: X: p is .*: expected a probability from 0 to 1$"):
        parse([{"X": {"p": 10**5000}}], name="script")


@pytest.mark.parametrize(
    "content",
    [
        "[" * 3000,
        "{" * 3000,
        "- " * 3000 + "D4",
        "? " * 3000 + "D4",
        "[" * 41 + "]" * 41,
        "a: &a ["
        + "x, " * 9
        + "]\n"
        + "".join(f"{b}: &{b} [{f'*{a}, ' * 9}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
        "- X: {a: 1" + ":1" * 30_000 + "}",
        "- X: {a: 9" + ":59" * 400 + ".5}",
        "[" * 1_000_000,
        "'" * 1_000_000,
        "#" * (1 << 20) + "\n",
    ],
)
def test_bombs_end_at_once(write: Write, content: str) -> None:
    begin = time.process_time()
    with contextlib.suppress(UsageError):
        read(write(content))
    assert time.process_time() - begin < 3


def test_a_file_of_one_megabyte_is_the_largest(write: Write) -> None:
    largest = "- D4\n" + "#" * ((1 << 20) - 6) + "\n"
    assert len(largest) == 1 << 20
    assert read(write(largest))[1] == Group("Sequential", (Step("D4", {}),), 1.0)
    assert message(write, largest + "\n") == "aug.yaml: is larger than 1 MB, which no pipeline needs"


def test_a_file_that_is_none(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError, match=reason) as caught:
            read(str(path))
        assert str(path) in str(caught.value)


def nested(levels: int, inner: Any = "D4") -> list[Any]:
    said = [inner]
    for _ in range(levels):
        said = [{"OneOf": said}]
    return said


def test_groups_may_be_eight_deep(write: Write) -> None:
    assert depth(parse(nested(MOST_DEPTH - 1), name="n")) == MOST_DEPTH == 8
    for levels in (MOST_DEPTH, MOST_DEPTH + 5):
        with pytest.raises(UsageError, match=r"^n: groups are nested deeper than 8$"):
            parse(nested(levels), name="n")
    text = (
        "".join(f"{'  ' * (2 * k)}- OneOf:\n{'  ' * (2 * k + 1)}  transforms:\n" for k in range(8)) + "  " * 16 + "- D4"
    )
    assert "groups are nested deeper than 8" in message(write, text)
    saved: Any = D4
    for _ in range(MOST_DEPTH):
        saved = {**SAVED, "p": 1.0, "transforms": [saved]}
    assert depth(parse(saved, name="n")) == MOST_DEPTH
    for _ in range(1000):
        saved = {**SAVED, "transforms": [saved]}
    with pytest.raises(UsageError, match=r"^n: groups are nested deeper than 8$"):
        parse(saved, name="n")


def test_text_in_other_encodings_of_unicode_is_read(write: Write) -> None:
    expected: tuple[dict[str, Any], Group] = ({}, Group("Sequential", (Step("D4", {}),), 1.0))
    for content in (b"\xef\xbb\xbf- D4", "- D4".encode("utf-16"), b"- D4\r\n"):
        assert read(write(content)) == expected


def test_options_and_a_pipeline_in_one_file(write: Write) -> None:
    flip = Group("Sequential", (Step("D4", {}),), 1.0)
    assert read(write("copies: 4\nrescale: 1/255\nhorizontal-flip: false\npipeline: [D4]")) == (
        {"copies": "4", "rescale": "1/255", "horizontal_flip": False},
        flip,
    )
    assert message(write, "x: 4").endswith("there are copies, seed, rescale, horizontal_flip, json, debug, pipeline")
    assert read(write("seed: 010"))[0] == {"seed": "010"}
    assert read(write("- Keras:\n    zoom_range: (0.8, 1.2)"))[1] == parse(
        [{"Keras": {"zoom_range": "(0.8, 1.2)"}}], name=""
    )
    assert read(write("copies: 4\npipeline:")) == ({"copies": "4"}, None)
    assert read(write('{"pipeline": [{"D4": {}}]}')) == ({}, flip)


def test_plain_values_are_those_of_json_and_yaml_1_2(write: Write) -> None:
    values: dict[str, Any] = {
        "1e-05": 1e-05,
        "1E3": 1000.0,
        "010": "010",
        "010.": 10.0,
        "12345678901234567890": "12345678901234567890",
        ".5e1": 5.0,
        "-1e+2": -100.0,
        "+7": 7,
        "-0": 0,
        "1.": 1.0,
        "9223372036854775807": 2**63 - 1,
        "null": None,
        "~": None,
        "": None,
        "true": True,
        "FALSE": False,
    }
    texts = (
        "1e5x",
        "1_000",
        "0x1f",
        "1:30",
        ".inf",
        "-.nan",
        "yes",
        "on",
        "No",
        "2001-01-01",
        "<<",
        "=",
        "1e",
        ".",
        "+",
    )
    values |= {text: text for text in texts} | {"'1'": "1", '"true"': "true", "9" * 5000: "9" * 5000}
    for written, value in values.items():
        _, pipeline = read(write(f"- X: {{a: {written}}}"))
        (step,) = steps_of(pipeline or Group("Sequential", ()))
        assert step.arguments["a"] == value
        assert isinstance(step.arguments["a"], type(value))
    assert read(write("- X: {<<: 1, =: 2}"))[1] == Group("Sequential", (Step("X", {"<<": 1, "=": 2}),), 1.0)


def test_values_that_no_pipeline_needs_are_too_many(write: Write) -> None:
    begin = time.process_time()
    said = message(write, "- D4\n- X: [" + "a," * 500_000 + "]")
    assert said == "aug.yaml, line 2: more than 20,000 values, which no pipeline needs"
    assert time.process_time() - begin < 5


# what a script may say


def test_a_script_says_it_in_any_form(write: Write) -> None:
    expected = Group("Sequential", (Step("D4", {}, 1.0),), 1.0)
    path = write("- D4: {p: 1}")
    for config in (path, os.fsencode(path), Path(path), [{"D4": {"p": 1}}], SAVED, {"transform": SAVED}, expected):
        assert spec_of(config, {})[0].pipeline == expected
    assert spec_of(None, {"horizontal_flip": True})[0].pipeline.steps[0] == Step(
        "Keras", {"horizontal_flip": True}, 1.0
    )
    with pytest.raises(UsageError, match="augment has no option copeis; did you mean copies"):
        spec_of([], {"copeis": 3})
    with pytest.raises(UsageError, match=r"^config: a pipeline is a list"):
        spec_of({"D4": {}}, {})


def test_endless_numbers_of_options_are_mistakes(write: Write) -> None:
    for written in ("0x" + "f" * 5000, "9" * 5000, "1e400", "-1"):
        with pytest.raises(UsageError, match=r"copies is|is no finite number"):
            spec_of(write(f"copies: {written}\npipeline: [D4]"), {})


def test_numbers_beyond_the_largest_are_mistakes_that_name_it(write: Write) -> None:
    for number in (2**63, 10**19 - 1, "9" * 20, -1):
        with pytest.raises(UsageError, match=r"expected a whole number from 0 to 9,223,372,036,854,775,807$"):
            spec_of([{"D4": {}}], {"seed": number})
    with pytest.raises(UsageError, match=r"^copies is 32768: expected a whole number from 0 to 32767$"):
        spec_of(write("copies: 32768\npipeline: [D4]"), {})
    assert spec_of([{"D4": {}}], {"seed": str(2**63 - 1)})[0].seed == 2**63 - 1


def test_what_a_script_says_is_stronger_than_its_file(write: Write) -> None:
    path = write("copies: 4\nseed: 7\npipeline: [D4]")
    spec, _ = spec_of(path, {"copies": 2, "seed": None})
    assert (spec.copies, spec.seed) == (2, 7)


# what groups mean

DRAWS = 3000
TWICE = {"RandomBrightnessContrast": {"brightness_limit": [0, 0], "contrast_limit": [1, 1], "p": 1}}


def plus(number: int, p: float = 1.0) -> dict[str, Any]:
    """Adds `number` to every px."""
    level = [number / 255] * 2
    return {"RandomBrightnessContrast": {"brightness_limit": level, "contrast_limit": [0, 0], "p": p}}


def twice(p: float = 1.0) -> dict[str, Any]:
    """Doubles every px."""
    return {"RandomBrightnessContrast": {**TWICE["RandomBrightnessContrast"], "p": p}}


def outcomes(said: list[Any], *, begin: int = 0) -> dict[int, float]:
    """How often a px of `begin` came out as what."""
    augmenter = Augmenter(parse(said, name="n"), 3, (2, 2, 1), np.uint8)
    patch = np.full((2, 2, 1), begin, np.uint8)
    found = Counter(int(augmenter.copy(patch, b"a", (k, 0), 1)[0, 0, 0]) for k in range(DRAWS))
    return {value: n / DRAWS for value, n in found.items()}


def check(found: dict[int, float], expected: dict[int, float]) -> None:
    """The same outcomes, each as often as expected within five deviations."""
    assert sum(expected.values()) == pytest.approx(1)
    assert set(found) == {value for value, chance in expected.items() if chance}
    for value, chance in expected.items():
        assert abs(found.get(value, 0) - chance) <= 5 * (chance * (1 - chance) / DRAWS) ** 0.5 + 1e-9


def test_steps_happen_with_their_own_chance() -> None:
    found = outcomes([plus(1, 0.25), plus(2, 0.5), plus(4, 0.9)])
    expected = {
        a + b + c: (0.25 if a else 0.75) * 0.5 * (0.9 if c else 0.1) for a in (0, 1) for b in (0, 2) for c in (0, 4)
    }
    check(found, expected)


def test_one_of_chooses_in_proportion() -> None:
    steps = [plus(1, 0.1), plus(2, 0.2), plus(4, 0.0), plus(8, 0.5)]
    check(outcomes([{"OneOf": {"transforms": steps, "p": 0.6}}]), {0: 0.4, 1: 0.075, 2: 0.15, 8: 0.375})
    check(outcomes([{"OneOf": {"transforms": [plus(1, 0.01)], "p": 1}}]), {1: 1.0})


def test_one_of_applies_groups_for_certain() -> None:
    group = {"Sequential": {"transforms": [plus(1), plus(2, 0.5)], "p": 0.25}}
    check(outcomes([{"OneOf": {"transforms": [group, plus(8, 0.75)], "p": 1}}]), {1: 0.125, 3: 0.125, 8: 0.75})
    inner = {"OneOf": {"transforms": [plus(1), plus(2)], "p": 0.5}}
    check(outcomes([{"OneOf": {"transforms": [inner, plus(8, 0.5)], "p": 1}}]), {1: 0.25, 2: 0.25, 8: 0.5})


def test_sequential_is_all_or_nothing_and_in_order() -> None:
    check(outcomes([{"Sequential": {"transforms": [plus(1), twice()], "p": 0.3}}], begin=10), {10: 0.7, 22: 0.3})
    check(outcomes([{"Sequential": {"transforms": [twice(), plus(1)], "p": 0.3}}], begin=10), {10: 0.7, 21: 0.3})
    check(outcomes([{"Sequential": [plus(1)]}]), {0: 0.5, 1: 0.5})


def test_some_of_chooses_evenly_without_replacing() -> None:
    steps = [plus(1, 0.5), plus(2), plus(4)]
    # which two, evenly; then each with its own chance
    check(
        outcomes([{"SomeOf": {"transforms": steps, "n": 2}}]),
        {3: 1 / 6, 2: 1 / 6, 5: 1 / 6, 4: 1 / 6, 6: 1 / 3},
    )
    check(outcomes([{"SomeOf": {"transforms": [plus(1), plus(2)], "n": 2, "p": 0.2}}]), {0: 0.8, 3: 0.2})
    check(outcomes([{"SomeOf": [plus(1), plus(2)]}]), {1: 0.5, 2: 0.5})


def test_some_of_keeps_the_order() -> None:
    check(outcomes([{"SomeOf": {"transforms": [plus(1), twice()], "n": 2}}], begin=10), {22: 1.0})
    check(outcomes([{"SomeOf": {"transforms": [twice(), plus(1)], "n": 2}}], begin=10), {21: 1.0})
    chosen = {"SomeOf": {"transforms": [plus(1), twice()], "n": 2, "replace": True}}
    check(outcomes([chosen], begin=10), {12: 0.25, 40: 0.25, 22: 0.5})


def test_some_of_may_choose_one_more_often() -> None:
    steps = [plus(1, 0.5), plus(16)]
    # how often the first of two is chosen: binomial(3, 1/2); how often it then happens: binomial(that, 1/2)
    expected = {3 * 16: 1 / 8 + 3 / 8 * 0, 2 * 16: 3 / 16, 2 * 16 + 1: 3 / 16, 16: 3 / 32, 17: 6 / 32, 18: 3 / 32}
    expected |= {0: 1 / 64, 1: 3 / 64, 2: 3 / 64, 3: 1 / 64}
    check(outcomes([{"SomeOf": {"transforms": steps, "n": 3, "replace": True}}]), expected)


def test_groups_within_groups() -> None:
    inner = {"SomeOf": {"transforms": [plus(1), plus(2)], "n": 1, "p": 0.5}}
    outer = {"Sequential": {"transforms": [inner, {"OneOf": {"transforms": [plus(4), plus(8)], "p": 0.5}}], "p": 0.8}}
    within = {a + b: (0.5 if a == 0 else 0.25) * (0.5 if b == 0 else 0.25) for a in (0, 1, 2) for b in (0, 4, 8)}
    expected = {value: 0.8 * chance for value, chance in within.items()}
    expected[0] += 0.2
    check(outcomes([outer]), expected)


def test_what_never_happens_never_does() -> None:
    check(outcomes([plus(1, 0), {"Sequential": {"transforms": [plus(2)], "p": 0}}, plus(4)]), {4: 1.0})


def test_one_of_nothing_is_a_mistake(write: Write) -> None:
    _, pipeline = read(write("- D4\n- OneOf:\n    transforms:\n    - D4: {p: 0}\n    - NoOp: {p: 0}\n"))
    with pytest.raises(UsageError, match=r"^aug\.yaml, line 2: OneOf: p is 0 for all of its transforms"):
        Augmenter(pipeline or Group("Sequential", ()), 0, (8, 8, 1), np.uint8)


def test_steps_are_told_apart_though_they_are_equal() -> None:
    """albumentations' own seeding gives equal steps equal draws."""
    found = outcomes([plus(1, 0.5), plus(2, 0.5), plus(4, 0.5), plus(8, 0.5)])
    check(found, dict.fromkeys(range(16), 1 / 16))
