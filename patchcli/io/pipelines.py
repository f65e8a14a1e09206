"""Pipeline files: YAML that holds plain values and nothing else, with the line where each mapping began."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from patchcli.copies import SWITCHES, AugmentSpec, whole_number
from patchcli.errors import UsageError
from patchcli.io.config import nearest, options_of
from patchcli.keras_ranges import KerasRanges
from patchcli.pipeline import Group, Marked, parse
from patchcli.standardize import Standard

_MOST_BYTES: Final = 1 << 20
_MOST_DEPTH: Final = 40
_RUN: Final = ("workers", "executor", "overwrite", "dry_run")
_SHOWN: Final = ("progress", "preview", "rows")  # what the command line shows: nothing to a script
_FLOAT: Final = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$", re.ASCII)
_TAGS: Final = ("null", "bool", "int", "float", "str")


class _Lines(list[Any]):
    """A list that knows in which line of a file it began."""

    line: int | None = None


class _Text(str):
    """A text that knows in which line of a file it stands."""

    __slots__ = ("line",)
    line: int | None


def read_pipeline(path: bytes, known: Sequence[str], switches: Sequence[str]) -> tuple[dict[str, Any], Group | None]:
    """What a file for `augment` says.

    Parameters
    ----------
    path : bytes
        YAML (or JSON, which is YAML too): a pipeline, as a list or as albumentations saves it; or a mapping of options
        by name, with the pipeline, if any, under `pipeline`.
    known, switches : sequence of str
        Names of the command's options, with underscores; those of them that take true or false.

    Returns
    -------
    options : dict
        Values as text, as the command line would have them; switches as booleans.
    pipeline : Group or None

    Raises
    ------
    UsageError
        Larger than 1 MB, not safe YAML, an option that is none, or not a pipeline.
    """
    shown = os.fsdecode(path)
    content = _read(path, shown)
    if not isinstance(content, Marked) or content.keys() & {"transform", "__class_fullname__"}:
        return {}, parse(content, name=shown)
    pipeline = content.pop("pipeline", None)
    options = options_of(content, "augment", known, switches, shown)
    return options, None if pipeline is None else parse(pipeline, name=shown)


def spec_of(config: object, options: Mapping[str, Any]) -> tuple[AugmentSpec, dict[str, Any]]:
    """What a script asks for: options by name, over those of a file.

    Parameters
    ----------
    config : path, list, mapping, Group or None
        A file as for `read_pipeline`, or a pipeline in either of its forms.
    options : mapping
        As for `AugmentSpec.of`; None where a script says nothing.

    Returns
    -------
    spec : AugmentSpec
    run : dict
        What a file says of how the work is done, as for `RunSpec`.

    Raises
    ------
    UsageError
    """
    known = (*AugmentSpec.names(), *KerasRanges.names(), *Standard.names())
    for name in options:
        if name not in known:
            raise UsageError(f"augment has no option {name}{nearest(name, known)}")
    said: dict[str, Any] = {}
    pipeline: Group | None = None
    if isinstance(config, Group):
        pipeline = config
    elif isinstance(config, (str, bytes, os.PathLike)):
        said, pipeline = read_pipeline(os.fsencode(config), (*known, *_RUN, *_SHOWN), (*SWITCHES, *_RUN[2:]))
    elif config is not None:
        pipeline = parse(config, name="config")
    run: dict[str, Any] = {name: said.pop(name) for name in _RUN if name in said}
    if "workers" in run:
        run["workers"] = whole_number("workers", run["workers"])
    given = {name: value for name, value in options.items() if value is not None}
    told = {name: value for name, value in said.items() if name not in _SHOWN}
    return AugmentSpec.of(pipeline=pipeline, **{**told, **given}), run


def _read(path: bytes, shown: str) -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """As JSON and YAML 1.2, knows 1e-05 for a number."""

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{shown}: cannot be read: {error.strerror}") from None
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{shown}: is larger than 1 MB, which no pipeline needs")
    try:
        depth = 0
        for event in yaml.parse(content, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise UsageError(f"{_where(event, shown)}: anchors and aliases are not taken")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MOST_DEPTH:
                raise UsageError(f"{_where(event, shown)}: nested deeper than {_MOST_DEPTH}")
        loader = Loader(content)
        return _plain(loader.get_single_node(), loader, shown)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(f"{shown}: not YAML: {' '.join(str(error).split())}") from None


def _where(event: Any, shown: str) -> str:
    return f"{shown}, line {event.start_mark.line + 1}"


def _plain(node: Any, loader: Any, shown: str) -> Any:
    """A YAML node as plain values with lines; tags beyond those of JSON are refused."""
    import yaml

    if node is None:
        return None
    line = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
        listed = _Lines(_plain(one, loader, shown) for one in node.value)
        listed.line = line
        return listed
    if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
        marked = Marked()
        marked.line = line
        for key_node, value_node in node.value:
            key = _plain(key_node, loader, shown)
            if not isinstance(key, (str, int, float, bool)) or key in marked:
                raise UsageError(f"{_where(key_node, shown)}: {key!r} is no key, or stands twice")
            marked[key] = _plain(value_node, loader, shown)
        return marked
    if isinstance(node, yaml.ScalarNode) and node.tag.rpartition(":")[2] in _TAGS:
        value = loader.construct_object(node)
        if isinstance(value, str):
            value = _Text(value)
            value.line = line
        return value
    raise UsageError(
        f"{_where(node, shown)}: {node.tag.rpartition(':')[2]!r} values are not taken: "
        f"plain numbers, text, lists and mappings are"
    )
