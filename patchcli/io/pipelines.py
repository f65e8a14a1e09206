"""Pipeline files: YAML that holds plain values and nothing else, with the line where each mapping began."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from patchcli.copies import SWITCHES, AugmentSpec, whole_number
from patchcli.errors import UsageError
from patchcli.io.config import nearest, options_of
from patchcli.pipeline.catalogue import LEFT_OUT
from patchcli.pipeline.catalogue import nearest as nearest_step
from patchcli.pipeline.hints import NOT_GROUPS, place_of
from patchcli.pipeline.keras_ranges import KerasRanges
from patchcli.pipeline.standardize import Standard
from patchcli.pipeline.tree import Group, Marked, parse

_MOST_BYTES: Final = 1 << 20
_MOST_DEPTH: Final = 40
_RUN: Final = ("workers", "executor", "overwrite", "dry_run")
_SHOWN: Final = ("progress", "preview", "rows", "json", "debug")  # what the command line shows: nothing to a script
_MOST_EVENTS: Final = 20_000
_KINDS: Final = {
    "null": (re.compile(r"(~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    "bool": (re.compile(r"(true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    "int": (re.compile(r"[-+]?(0|[1-9][0-9]{0,18})$"), "-+0123456789"),
    "float": (
        # a point or an exponent: 010 is 8 to some and 10 to others, hence text
        re.compile(
            r"[-+]?([0-9]{1,40}\.[0-9]{0,40}|\.[0-9]{1,40}|[0-9]{1,40}(?=[eE]))([eE][-+]?[0-9]{1,3})?$",
        ),
        "-+.0123456789",
    ),
}
"""Plain values other than text: how they are written, and with what they begin."""


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
    _check_keys(content, shown)
    options = options_of(content, "augment", (*known, "pipeline"), switches, shown)
    return options, None if pipeline is None else parse(pipeline, name=shown)


def _check_keys(content: Mapping[Any, Any], shown: str) -> None:
    """Raise `UsageError` for parts of a pipeline where the options stand."""
    for key in content:
        place = place_of(shown, key, content)
        if key == "transforms":
            raise UsageError(f"{place}: transforms is not an option of augment: put them under `pipeline`")
        if key in NOT_GROUPS:
            raise UsageError(f"{place}: {NOT_GROUPS[key]}")
        if isinstance(key, str) and key[:1].isupper():
            name = key if key in LEFT_OUT else nearest_step(key)
            if name is not None:
                raise UsageError(f"{place}: {key} is not an option: a pipeline is a list: write `- {name}: ...`")


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
        said, pipeline = read_pipeline(
            os.fsencode(config), (*known, *_RUN, *_SHOWN), (*SWITCHES, *_RUN[2:], *_SHOWN[3:])
        )
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
        """Knows the plain values of JSON and YAML 1.2, 1e-05 among them, and none of the others of YAML 1.1."""

    Loader.yaml_implicit_resolvers = {}
    for kind, (pattern, first) in _KINDS.items():
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", pattern, list(first))
    try:
        with open(path, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{shown}: cannot be read: {error.strerror}") from None
    if len(content) > _MOST_BYTES:
        raise UsageError(f"{shown}: is larger than 1 MB, which no pipeline needs")
    try:
        _check_events(yaml.parse(content, Loader=Loader), shown)
        loader = Loader(content)
        return _plain(loader.get_single_node(), loader, shown)
    except UsageError:  # a ValueError too
        raise
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise UsageError(_not_yaml(error, content, shown)) from None


def _not_yaml(error: Any, content: bytes, shown: str) -> str:
    """What the reader of YAML has to say, with our name for the file."""
    mark, begun = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
    if mark is not None:
        if "'\\t'" in str(error.problem):
            return f"{shown}: a tab in line {mark.line + 1}: YAML indents with blanks"
        context = f"{error.context}{f' in line {begun.line + 1}' if begun else ''}, " if error.context else ""
        return f"{shown}, line {mark.line + 1}: not YAML: {' '.join(f'{context}{error.problem}'.split())}"
    at = getattr(error, "position", None)
    if isinstance(at, int):
        line = content[:at].count(b"\n") + 1
        return f"{shown}, line {line}: not YAML: {error.reason}"
    return f"{shown}: not YAML: {' '.join(str(error).split())}"


def _check_events(events: Iterable[Any], shown: str) -> None:
    """Raise `UsageError` for what only a hostile file holds, before anything is made of it."""
    import yaml

    depth = 0
    for n_events, event in enumerate(events):
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise UsageError(f"{_where(event, shown)}: anchors and aliases are not taken")
        if getattr(event, "tag", None):
            raise UsageError(f"{_where(event, shown)}: tags such as {event.tag!r} are not taken")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _MOST_DEPTH:
            raise UsageError(f"{_where(event, shown)}: nested deeper than {_MOST_DEPTH}")
        if n_events > _MOST_EVENTS:
            raise UsageError(f"{_where(event, shown)}: more than {_MOST_EVENTS:,} values, which no pipeline needs")


def _where(event: Any, shown: str) -> str:
    return f"{shown}, line {event.start_mark.line + 1}"


def _plain(node: Any, loader: Any, shown: str) -> Any:
    """A YAML node as plain values with lines."""
    import yaml

    if node is None:
        return None
    line = node.start_mark.line + 1
    if isinstance(node, yaml.SequenceNode):
        listed = _Lines(_plain(one, loader, shown) for one in node.value)
        listed.line = line
        return listed
    if isinstance(node, yaml.MappingNode):
        marked = Marked()
        marked.line = line
        for key_node, value_node in node.value:
            key = _plain(key_node, loader, shown)
            is_key = isinstance(key, (str, int, float, bool))
            if not is_key or key in marked:
                raise UsageError(f"{_where(key_node, shown)}: {key!r} {'stands twice' if is_key else 'is no key'}")
            marked[key] = _plain(value_node, loader, shown)
        return marked
    value = loader.construct_object(node)
    if isinstance(value, str):
        value = _Text(value)
        value.line = line
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{_where(node, shown)}: {node.value} is no finite number")
    return value
