"""What flows are made of: where patches come from, and what is done to them. Words only."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from patchcli.order import Rows
from patchcli.pipeline.seeding import Before

Array = npt.NDArray[Any]
Identities = list[tuple[bytes, tuple[int, int], Before]]


class Ordered(Protocol):
    """Patches by position, and an order of them for each epoch."""

    def __len__(self) -> int: ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width, channels of a patch."""

    @property
    def name(self) -> str:
        """What tells its patches, and their order, from those of others."""

    def order(self, *, seed: int, epoch: int) -> Any:
        """Positions in the order of an epoch: an array, or what gives parts of it like one."""

    def share(self) -> None:
        """Make ready to be read by several processes."""


class Source(Ordered, Protocol):
    """Patches as an epoch shows them."""

    def read(self, positions: Rows, epoch: int) -> Array:
        """Patches (k, H, W, C)."""

    def untouched(self, positions: Rows) -> Array:
        """Patches (k, H, W, C) before anything is done to them."""


class Uncut(Ordered, Protocol):
    """Where patches come from: images of a folder, an array, a data set."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the patches."""

    def read(self, positions: Rows) -> Array:
        """Patches (k, H, W, C)."""

    def identities(self, positions: Rows) -> Identities:
        """What each of them is: image, corner, what tells copies apart."""

    def augmented(self, positions: Rows) -> list[bool]:
        """Which of them are for training: the others are shown as they are."""


class Standardizes(Protocol):
    """What comes after the augmentation: of a generator, as it is when a batch is made."""

    def finish(self, patches: Array) -> Array:
        """Patches (k, H, W, C) of any dtype as they are shown."""
