"""What may happen to a copy, as a tree of plain values: transforms, and groups of them.

A pipeline is read from a file or put together from options, checked against what each transform can take, and walked
for each copy. Groups mean what albumentations' groups of the same names mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy.typing as npt

Array = npt.NDArray[Any]
GroupKind = Literal["Sequential", "OneOf", "SomeOf"]


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
