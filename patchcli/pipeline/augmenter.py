"""One patch to one copy: walks a pipeline, with everything drawn from the copy's identity."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt

from patchcli.errors import UsageError
from patchcli.pipeline.keras_affine import KerasTransform
from patchcli.pipeline.keras_ranges import KERAS, KerasRanges
from patchcli.pipeline.seeding import Before, Streams, identity
from patchcli.pipeline.standardize import Standard, Statistics, standardize
from patchcli.pipeline.tree import Array, Group, Node, Step, Transform

_Run = Callable[[Array], Array]
_Shape = tuple[int, int, int]


class Augmenter:
    """Makes copies of patches of one shape and dtype; the same copy whenever and wherever it is asked for.

    Parameters
    ----------
    pipeline : Group
    seed : int
    shape : (int, int, int)
        Height, width, channels of the patches.
    dtype : numpy.dtype
        uint8, uint16 or float32.
    standard : Standard, optional
    statistics : Statistics, optional
        Where `standard` needs them.

    Attributes
    ----------
    dtype : numpy.dtype
        Of what comes out: that of the patches, or float32 when they are standardised.

    Raises
    ------
    UsageError
        A transform or an argument is unknown, out of range, or not for such patches; with its place.
    """

    def __init__(
        self,
        pipeline: Group,
        seed: int,
        shape: _Shape,
        dtype: npt.DTypeLike,
        *,
        standard: Standard | None = None,
        statistics: Statistics | None = None,
    ) -> None:
        self._streams = Streams()
        self._seed = seed
        self._run = _group(pipeline, self._streams, shape, np.dtype(dtype))
        self._standard = None if standard is None or standard.is_nothing else standard
        self._statistics = statistics
        self.dtype = np.dtype(dtype if self._standard is None else np.float32)

    def copy(self, patch: Array, path: bytes, xy: tuple[int, int], copy: int, *, before: Before = ()) -> Array:
        """A copy of a patch.

        Parameters
        ----------
        patch : array (H, W, C)
            Never written to; may be what is returned when nothing was drawn to happen.
        path : bytes
            Of the source image, as the data set has it.
        xy : (int, int)
            Top-left corner in it, px.
        copy : int
            0 is the original, which is standardised at most.
        before : tuple of int
            The digest and the copy number of a patch that is a copy already.
        """
        if copy:
            self._streams.begin(identity(self._seed, path, xy, copy, before=before))
            patch = self._run(patch)
        return patch if self._standard is None else standardize(patch, self._standard, self._statistics)


def resolved(pipeline: Group, shape: _Shape, dtype: npt.DTypeLike) -> Group:
    """The pipeline with every argument said, defaults too: what the settings of a file hold.

    Raises
    ------
    UsageError
        As `Augmenter`.
    """
    steps = tuple(_resolved(one, shape, np.dtype(dtype)) for one in pipeline.steps)
    return replace(pipeline, steps=steps)


def names_albumentations(node: Node) -> bool:
    """Whether a tree needs albumentations, which takes a second to import."""
    if isinstance(node, Step):
        return node.name != KERAS
    return any(map(names_albumentations, node.steps))


def _resolved(node: Node, shape: _Shape, dtype: np.dtype[Any]) -> Node:
    if isinstance(node, Group):
        return resolved(node, shape, dtype)
    if node.name == KERAS:
        return Step(KERAS, _keras(node).settings(), 1.0 if node.p is None else node.p, node.place)
    from patchcli.pipeline import transforms

    found: Step = transforms.resolved(node, shape, dtype)
    return found


def _keras(step: Step) -> KerasRanges:
    try:
        return KerasRanges.of(**step.arguments)
    except UsageError as error:
        raise UsageError(f"{step.place}: {error}" if step.place else str(error)) from None


def _node(node: Node, streams: Streams, shape: _Shape, dtype: np.dtype[Any]) -> tuple[float, _Run]:
    """Probability of a node, and what it does when it is its turn."""
    if isinstance(node, Group):
        return node.p, _group(node, streams, shape, dtype)
    if node.name == KERAS:
        transform: Transform = KerasTransform(_keras(node), streams, shape, dtype)
        return 1.0 if node.p is None else node.p, _step(transform)
    from patchcli.pipeline import transforms

    transform = transforms.make_transform(node, streams, shape, dtype)
    return transform.p, _step(transform)


def _step(transform: Transform) -> _Run:
    draw, apply = transform.draw, transform.apply

    def run(patch: Array) -> Array:
        # Here a mask would join: through the same `drawn`, by nearest neighbour, and past what changes colours only.
        return apply(patch, draw(patch))

    return run


def _group(group: Group, streams: Streams, shape: _Shape, dtype: np.dtype[Any]) -> _Run:
    nodes = [_node(node, streams, shape, dtype) for node in group.steps]
    if group.kind == "OneOf":
        return _one_of(group, nodes, streams)
    if group.kind == "SomeOf":
        return _some_of(group, nodes, streams)
    chance = streams.random.random

    def run(patch: Array) -> Array:
        for p, step in nodes:
            if p >= 1 or chance() < p:
                patch = step(patch)
        return patch

    return run


# A group that OneOf has chosen happens for certain, of whatever kind. albumentations' SomeOf rolls its own p even then,
# against what its OneOf says.


def _one_of(group: Group, nodes: list[tuple[float, _Run]], streams: Streams) -> _Run:
    possible = [(p, step) for p, step in nodes if p]
    if not possible:
        raise UsageError(f"{group.place}: OneOf: p is 0 for all of its transforms: none can be chosen")
    bounds, steps = list(accumulate(p for p, _ in possible)), [step for _, step in possible]
    chance, total, last = streams.random.random, bounds[-1], len(steps) - 1

    def run(patch: Array) -> Array:
        return steps[min(last, bisect(bounds, chance() * total))](patch)

    return run


def _some_of(group: Group, nodes: list[tuple[float, _Run]], streams: Streams) -> _Run:
    numbers, random = range(len(nodes)), streams.random

    def run(patch: Array) -> Array:
        chosen = random.choices(numbers, k=group.n) if group.replace else random.sample(numbers, group.n)
        for number in sorted(chosen):
            p, step = nodes[number]
            if p >= 1 or random.random() < p:
                patch = step(patch)
        return patch

    return run
