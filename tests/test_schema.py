"""The JSON Schema of `inspect --json`: it says what is printed, all of it, and nothing else."""

from __future__ import annotations

import dataclasses
import json
import os
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import h5py
import jsonschema
import numpy as np
import pytest
from conftest import Tree
from photos import copied, retyped, shards

import patchcli
from patchcli.foreign.records import ForeignFile
from patchcli.inspected import Inspection, Unreadable, Verification
from patchcli.io.dataset import Dataset
from patchcli.io.foreign.look import look_at
from patchcli.report.selected import select, write_patch
from patchcli.report.summary import inspect
from patchcli.report.text import as_json_text, json_schema
from patchcli.run.verify import verify

RECORDS = (Inspection, Unreadable, ForeignFile)
"""What `--json` may print."""


@pytest.fixture(scope="session")
def schema() -> Any:
    return json.loads(json_schema())


@pytest.fixture(scope="session")
def valid(schema: Any) -> Callable[[Any], Any]:
    """Checks a record as `--json` prints it, and gives it back as plain values."""
    validator = jsonschema.Draft202012Validator(schema)

    def check(record: Any) -> Any:
        printed = json.loads(as_json_text(record), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        validator.validate(printed)
        return printed

    return check


def records(top: Any) -> Iterator[Any]:
    """A record and all that it holds."""
    yield top
    for hint in typing.get_type_hints(top).values():
        for one in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(one):
                yield from records(one)


def structure(hint: Any) -> Any:
    """The schema of a type, as bare as can be."""
    inner = typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return {"$ref": f"#/$defs/{getattr(hint, '__name__', '')}"}
    if typing.get_origin(hint) is Literal:
        return {"const": inner[0]} if len(inner) == 1 else {"enum": list(inner)}
    if isinstance(hint, types.UnionType):
        return {"anyOf": [structure(one) for one in inner]}
    if typing.get_origin(hint) is tuple and inner[-1] is not Ellipsis:
        return {
            "type": "array",
            "prefixItems": [structure(one) for one in inner],
            "items": False,
            "minItems": len(inner),
        }
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": structure(inner[0])}
    if typing.get_origin(hint) is dict:
        return {"type": "object", "additionalProperties": structure(inner[1])}
    names = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}
    return True if hint is Any else {"type": names[hint]}


def bare(said: Any) -> Any:
    """A schema without its words and bounds."""
    if isinstance(said, list):
        return [bare(one) for one in said]
    if not isinstance(said, dict):
        return said
    return {
        name: bare(one) for name, one in said.items() if name not in ("description", "minimum", "maximum", "pattern")
    }


def test_every_field_is_described_and_nothing_else(schema: Any) -> None:
    assert schema["oneOf"] == [{"$ref": f"#/$defs/{one.__name__}"} for one in RECORDS]
    known = {one.__name__: one for top in RECORDS for one in records(top)}
    assert list(schema["$defs"]) == list(known)
    for name, record in known.items():
        said, hints = schema["$defs"][name], typing.get_type_hints(record)
        expected = {field.name: structure(hints[field.name]) for field in dataclasses.fields(record)}
        found = {key: bare(one) for key, one in said["properties"].items()}
        if record is Inspection:
            assert found.pop("settings")["type"] == expected.pop("settings")["type"]
        assert found == expected, name
        assert said["required"] == list(said["properties"])
        assert (said["type"], said["additionalProperties"]) == ("object", False)


def test_every_key_is_described_in_words(schema: Any) -> None:
    def undescribed(said: Any, path: str) -> Iterator[str]:
        for name, one in said.get("properties", {}).items():
            if not one.get("description", "").strip().endswith("."):
                yield f"{path}.{name}"
            yield from undescribed(one, f"{path}.{name}")
        for name, one in said.get("$defs", {}).items():
            if not one.get("description", "").endswith("."):
                yield name
            yield from undescribed(one, name)

    assert list(undescribed(schema, "")) == []


def test_the_settings_that_are_described_are_those_of_a_file(schema: Any, cut: Path, tmp_path: Path) -> None:
    patchcli.augment(cut, tmp_path / "more.h5", horizontal_flip=True, executor="serial")
    patchcli.augment(tmp_path / "more.h5", tmp_path / "most.h5", rescale=0.5, executor="serial")
    settings = schema["$defs"]["Inspection"]["properties"]["settings"]["properties"]
    said = patchcli.open(tmp_path / "most.h5").settings
    assert settings.keys() == said.keys() | {"pad_value"}
    assert settings["augment"]["properties"].keys() == said["augment"].keys()


def test_it_is_a_schema(schema: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def inspected(path: Path) -> Inspection:
    return inspect(os.fsencode(path))


def test_what_is_printed_of_data_sets(
    valid: Callable[[Any], Any], cut: Path, cut_sharded: Path, cut_splits: Path, tmp_path: Path
) -> None:
    keras = tmp_path / "keras.h5"
    patchcli.augment(cut_splits, keras, rotation_range=20, rescale="1/255", copies=2, executor="serial")
    steps = tmp_path / "steps.h5"
    pipeline = ["D4", {"OneOf": {"transforms": ["GaussianBlur", "HorizontalFlip"], "p": 0.3}}]
    patchcli.augment(keras, steps, config=pipeline[:1], compression="gzip", shard_size="1MB", executor="serial")
    more = tmp_path / "more.h5"
    patchcli.augment(cut_sharded, more, config=pipeline, balance=True, executor="serial")
    for path in (cut, cut_sharded, shards(cut_sharded)[2], cut_splits, keras, steps, more):
        assert valid(inspected(path))["path"] == str(path)


def test_what_is_printed_of_images_left_out(valid: Callable[[Any], Any], tree: Tree, tmp_path: Path) -> None:
    root = tree(b"a/caf\xe9\n.png", "b/small.png", size=(50, 37))
    tree("b/tiny.png", size=(8, 8))
    (root / "a/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (root / "note.txt").touch()
    options: dict[str, Any] = {"patch": (16, 20), "stride": 15, "edge": "pad", "on_error": "skip", "mode": "rgba"}
    patchcli.extract(root, tmp_path / "out.h5", **options, pad_value=9, classes=["b", "a"], executor="serial")
    printed = valid(inspected(tmp_path / "out.h5"))
    assert {one["kind"] for one in printed["left_out"]} == {"ignored", "unreadable"}
    assert printed["pixels_padded"]
    patchcli.extract(root, tmp_path / "drop.h5", patch=30, on_error="skip", executor="serial")
    assert valid(inspected(tmp_path / "drop.h5"))["left_out"]


@pytest.mark.parametrize("kind", ["uint16", "float32"])
def test_what_is_printed_of_other_dtypes(valid: Callable[[Any], Any], cut: Path, tmp_path: Path, kind: str) -> None:
    def convert(patches: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
        wide = patches[..., [0, 1]].astype(kind)
        if kind == "float32":
            wide[0, 0, 0] = np.nan
        return np.asarray(wide)

    out = retyped(cut, tmp_path / "out.h5", convert)
    printed = valid(dataclasses.replace(inspected(out), selection=select(Dataset(os.fsencode(out)), patch=0)))
    assert bool(printed["mean"]) == bool(printed["selection"]["patches"][0]["mean"]) == (kind == "uint16")


def test_what_is_printed_of_selections_and_pictures(
    valid: Callable[[Any], Any], cut: Path, cut_splits: Path, tmp_path: Path
) -> None:
    patchcli.augment(cut, tmp_path / "more.h5", horizontal_flip=True, executor="serial")
    for path in (cut, cut_splits, tmp_path / "more.h5"):
        data, found = Dataset(os.fsencode(path)), inspected(path)
        written = write_patch(data, 3, str(tmp_path / "patch.png"))
        for selection in (select(data, patch=3), select(data, where=["class=ihc"]), select(data, where=["x=999"])):
            assert valid(dataclasses.replace(found, selection=selection, written=(written,)))["selection"]


def test_what_is_printed_of_verifications(
    valid: Callable[[Any], Any], cut: Path, cut_sharded: Path, cut_splits: Path, tmp_path: Path
) -> None:
    out = copied(cut_sharded, tmp_path)
    shards(out)[0].unlink()
    with open(shards(out)[1], "r+b") as file:
        file.seek(-2000, os.SEEK_END)
        file.write(b"\xff" * 8)
    found: list[Verification] = []
    for path in (cut, cut_splits, out):
        for depth in ("quick", "deep"):
            found.append(verify(path, depth=depth, executor="serial"))
            valid(dataclasses.replace(inspected(path), verification=found[-1]))
    assert {one.ok for one in found} == {True, False}
    (tmp_path / "not.h5").write_bytes(b"nothing")
    valid(Unreadable("not.h5", found[-1]))


def test_what_is_printed_of_other_files(valid: Callable[[Any], Any], tmp_path: Path) -> None:
    for number, tables in enumerate(
        (
            {"coords": np.array([[0, 0], [64, 0], [0, 64]])},
            {"x": np.zeros((4, 96, 96, 3), np.uint8), "y": np.zeros((4, 1, 1, 1), np.uint8)},
            {"features": np.zeros((1, 7, 1024), np.float32), "coords": np.zeros((1, 7, 2), int)},
            {},
        )
    ):
        path = tmp_path / f"{number}.h5"
        with h5py.File(path, "w") as file:
            for name, values in tables.items():
                file[name] = values
            file["elsewhere"] = h5py.ExternalLink("other.h5", "/x")
            file.attrs["text"] = "caf\u00e9"
            file.attrs["nan"] = np.nan
        assert valid(look_at(os.fsencode(path)))["format"] == "other"


def test_what_is_not_printed_is_refused(schema: Any, cut: Path) -> None:
    validator = jsonschema.Draft202012Validator(schema)
    printed = json.loads(as_json_text(inspected(cut)))
    for change in ({"more": 1}, {"patches": -1}, {"role": "other"}, {"mean": None}, {"plan_id": "?"}, {"format": "x"}):
        assert not validator.is_valid({**printed, **change})
    for name in printed:
        assert not validator.is_valid({key: value for key, value in printed.items() if key != name})
