"""What may happen to a copy, as a tree of plain values: transforms, and groups of them.

A pipeline is read from a file or put together from options, checked against what each transform can take, and walked
for each copy. Groups mean what albumentations' groups of the same names mean.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final, Literal, Protocol, get_args

import numpy.typing as npt

from patchcli.errors import UsageError
from patchcli.pipeline.hints import NOT_GROUPS, in_round_brackets, not_indented, place_of

Array = npt.NDArray[Any]
GroupKind = Literal["Sequential", "OneOf", "SomeOf"]

MOST_DEPTH: Final = 8
"""Groups within groups, the outermost list counted."""

_MOST_STEPS: Final = 1000
_GROUP_P: Final[dict[str, float]] = {"Sequential": 0.5, "OneOf": 0.5, "SomeOf": 1.0}  # albumentations' defaults
_GROUP_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "Sequential": ("transforms", "p"),
    "OneOf": ("transforms", "p"),
    "SomeOf": ("transforms", "n", "replace", "p"),
}
_NOT_FOR_IMAGES: Final = ("bbox_params", "keypoint_params", "additional_targets")


@dataclass(frozen=True, slots=True)
class Step:
    """One transform.

    Attributes
    ----------
    name : str
        As albumentations names it, or `Keras`.
    arguments : mapping
        As the user wrote them, without `p`; what is not said has the transform's default.
    p : float or None
        Probability; None: the transform's default.
    place : str
        Where it stands, for messages: `aug.yaml, line 7`.
    """

    name: str
    arguments: Mapping[str, Any]
    p: float | None = None
    place: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Group:
    """Steps that belong together.

    Attributes
    ----------
    kind : {"Sequential", "OneOf", "SomeOf"}
        All in order; one, chosen in proportion to each step's `p` and then applied for certain; `n` chosen evenly,
        then each with its own `p`, in order.
    p : float
        Probability of the group as a whole.
    n, replace
        Of `SomeOf`.
    """

    kind: GroupKind
    steps: tuple[Step | Group, ...]
    p: float = 1.0
    n: int = 1
    replace: bool = False
    place: str = field(default="", compare=False)


Node = Step | Group


class Transform(Protocol):
    """A step made ready for patches of one shape and dtype; it draws from the `Streams` that it was made with.

    Drawing and applying are two steps, so that a second target (a mask) can go through the same warp.
    """

    p: float

    def draw(self, image: Array) -> Any:
        """Draw parameters for a patch (H, W, C); those that depend on it may look at it."""

    def apply(self, image: Array, drawn: Any) -> Array:
        """The patch with what was drawn: the same shape and dtype, C-contiguous; `image` itself is never written to."""


def parse(value: object, *, name: str) -> Group:
    """A pipeline from the plain values of a file or a script.

    Parameters
    ----------
    value : list or mapping
        A list of `Name` or `{Name: {argument: value}}`, with groups `{OneOf: {p: 0.5, transforms: [...]}}` or
        `{OneOf: [...]}`; or the form in which albumentations saves a pipeline.
    name : str
        Of the file, for messages. Where values have an attribute `line`, messages name it too.

    Raises
    ------
    UsageError
        Not of one of these forms, or deeper than `MOST_DEPTH`. Names and arguments of transforms are not looked at.
    """
    if isinstance(value, Mapping) and value.keys() & {"transform", "__class_fullname__"}:
        saved = _from_saved(value.get("transform", value), name, 1)
        value = saved if isinstance(saved, list) else [saved]
    if not isinstance(value, list):
        raise UsageError(
            f"{place_of(name, value)}: a pipeline is a list of transforms, such as [HorizontalFlip: {{p: 0.5}}]"
        )
    whole = Group("Sequential", _steps(value, name, 1), 1.0, place=place_of(name, value))
    if sum(1 for _ in steps_of(whole)) > _MOST_STEPS:
        raise UsageError(f"{name}: has more than {_MOST_STEPS} transforms")
    return whole


def steps_of(node: Node) -> Iterator[Step]:
    """All transforms of a tree."""
    if isinstance(node, Step):
        yield node
        return
    for one in node.steps:
        yield from steps_of(one)


def plain(node: Node) -> Any:
    """A tree in the short form, as values for JSON: `parse([plain(node)])` gives it again."""
    said = {} if node.p is None else {"p": node.p}
    if isinstance(node, Step):
        return {node.name: {**node.arguments, **said}}
    more = {"n": node.n, "replace": node.replace} if node.kind == "SomeOf" else {}
    return {node.kind: {**more, **said, "transforms": [plain(one) for one in node.steps]}}


def _steps(values: Sequence[object], name: str, depth: int) -> tuple[Node, ...]:
    if depth > MOST_DEPTH:
        raise UsageError(f"{place_of(name, values)}: groups are nested deeper than {MOST_DEPTH}")
    return tuple(_node(value, name, depth) for value in values)


def _node(value: object, name: str, depth: int) -> Node:
    place = place_of(name, value)
    if isinstance(value, str):
        value = {value: {}}
    if not isinstance(value, Mapping) or len(value) != 1:
        slip = not_indented(value) if isinstance(value, Mapping) else None
        expected = f"expected a transform such as HorizontalFlip: {{p: 0.5}}, found {_short(value)}"
        raise UsageError(f"{place}: {slip or expected}")
    kind, said = next(iter(value.items()))
    if not isinstance(kind, str):
        raise UsageError(f"{place}: expected the name of a transform, found {_short(kind)}")
    if kind in NOT_GROUPS:
        raise UsageError(f"{place}: {NOT_GROUPS[kind]}")
    if kind in _GROUP_KEYS:
        return _group(kind, said, name, place, depth)
    said = {} if said is None else said
    _check_arguments(kind, said, name, place)
    arguments = {key: one for key, one in said.items() if key != "p"}
    return Step(kind, arguments, _probability(said["p"], place, kind) if "p" in said else None, place)


def _check_arguments(kind: str, said: Any, name: str, place: str) -> None:
    """Raise `UsageError` for what cannot be the arguments of any transform."""
    close = get_close_matches(kind, _GROUP_KEYS, 1) if isinstance(said, list) else []
    if close:
        raise UsageError(f"{place}: no group is called {_short(kind)}: did you mean {close[0]}?")
    if isinstance(said, Mapping):
        for text, advice in in_round_brackets(said):
            if kind != "Keras" or not text.endswith(")"):  # Keras' ranges may be written so
                raise UsageError(f"{place_of(name, text, said)}: {kind}: {advice}")
    if not isinstance(said, Mapping) or not all(isinstance(key, str) for key in said):
        raise UsageError(f"{place}: {kind} takes arguments by name, such as {kind}: {{p: 0.5}}, found {_short(said)}")


def _group(kind: str, said: object, name: str, place: str, depth: int) -> Group:
    said = {"transforms": said} if isinstance(said, list) else said
    if not isinstance(said, Mapping) or not isinstance(said.get("transforms"), list) or not said["transforms"]:
        raise UsageError(f"{place}: {kind} takes a list of transforms, such as {kind}: {{transforms: [...], p: 0.5}}")
    known = _GROUP_KEYS[kind]
    for key in said:
        if key not in known:
            close = get_close_matches(str(key), known, 1, 0.5)
            hint = f"did you mean {close[0]}?" if close else f"it takes {', '.join(known)}"
            raise UsageError(f"{place_of(name, key, said)}: {kind} has no argument {_short(key)}: {hint}")
    steps = _steps(said["transforms"], name, depth + 1)
    n, replace = said.get("n", 1), said.get("replace", False)
    if not isinstance(n, int) or isinstance(n, bool) or n < 1 or not isinstance(replace, bool):
        raise UsageError(f"{place}: {kind} takes n, a whole number from 1, and replace, true or false")
    if kind == "SomeOf" and not replace and n > len(steps):
        raise UsageError(f"{place}: SomeOf cannot choose n = {n} of {len(steps)} transforms")
    if n > _MOST_STEPS:
        raise UsageError(f"{place}: SomeOf: n is {n}: expected at most {_MOST_STEPS}")
    p = _probability(said.get("p", _GROUP_P[kind]), place, kind)
    known_kind: GroupKind = next(one for one in get_args(GroupKind) if one == kind)
    return Group(known_kind, steps, p, n, replace, place)


def _probability(value: object, place: str, name: str) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1 and math.isfinite(value):
        return float(value)
    raise UsageError(f"{place}: {name}: p is {_short(value)}: expected a probability from 0 to 1")


def _from_saved(value: object, name: str, depth: int) -> Any:
    """The form in which albumentations saves a pipeline, as the short form."""
    place = place_of(name, value)
    if depth > MOST_DEPTH + 1:
        raise UsageError(f"{place}: groups are nested deeper than {MOST_DEPTH}")
    if not isinstance(value, Mapping) or not isinstance(value.get("__class_fullname__"), str):
        raise UsageError(f"{place}: not a pipeline as albumentations saves it: a __class_fullname__ is missing")
    kind = value["__class_fullname__"].removeprefix("albumentations.").rpartition(".")[2]
    said = {key: one for key, one in value.items() if key != "__class_fullname__"}
    if "transforms" in said:
        if not isinstance(said["transforms"], list):
            raise UsageError(f"{place}: {kind}: transforms is {_short(said['transforms'])}: expected a list")
        said["transforms"] = [_from_saved(one, name, depth + 1) for one in said["transforms"]]
    if kind != "Compose":
        return _marked({kind: {key: one for key, one in said.items() if key not in _NOT_FOR_IMAGES or one}}, value)
    for key in _NOT_FOR_IMAGES:
        if said.get(key):
            raise UsageError(f"{place}: {key} is set: patches have no boxes or keypoints")
    if "transforms" not in said:
        raise UsageError(f"{place}: Compose has no transforms")
    if depth > 1 or said.get("p", 1.0) != 1.0:
        return _marked({"Sequential": {"transforms": said["transforms"], "p": said.get("p", 1.0)}}, value)
    return said["transforms"]


class Marked(dict[Any, Any]):
    """A mapping that knows in which line of a file it began."""

    line: int | None = None


def _marked(value: dict[str, Any], like: object) -> Marked:
    marked = Marked(value)
    marked.line = getattr(like, "line", None)
    return marked


def _short(value: object) -> str:
    # Python refuses to write out whole numbers of thousands of digits
    text = "a very large number" if isinstance(value, int) and abs(value) > 10**60 else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
