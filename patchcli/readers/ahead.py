"""What an order needs soon, asked for in time: the system reads it while the present is being used.

Cold files are read in a shuffled order at about the speed of reading from end to end; without, at a third of it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from patchcli.order import Rows
from patchcli.readers.arrays import PatchSet

_PIECE_BYTES: Final = 128 << 10
"""The kernel brings no more at a call than the device's readahead."""

_HORIZON_BYTES: Final = 64 << 20
"""A window of `ShuffleWindow`."""
_SOON: Final = 512
"""Patches from here on of which every piece has been asked for, though that be many at once."""


class Ahead:
    """Asks for the patches of an order, piece by piece of the files, a little before they are read.

    Pieces are asked for in the order in which they are needed first, each once, and evenly where there is time.

    Parameters
    ----------
    patches : PatchSet
    order : int64 (n,)
        Positions as they will be read.
    """

    def __init__(self, patches: PatchSet, order: Rows) -> None:
        patch_bytes = patches.whole.facts.patch_bytes
        self._shards = patches.whole.shards
        self._per_piece = max(1, _PIECE_BYTES // patch_bytes)
        self._horizon = max(1, _HORIZON_BYTES // patch_bytes)
        rows = patches.rows_at(order)
        starts = self._shards.starts_of(rows)  # pieces begin anew in each shard
        pieces, first = np.unique(rows - (rows - starts) % self._per_piece, return_index=True)
        in_turn = np.argsort(first, kind="stable")
        self._pieces, self._first = pieces[in_turn], first[in_turn]
        self._asked = 0
        if patches.settings.get("compression", "none") != "none":  # nobody knows where in a shard its chunks are
            self._pieces = self._first = self._pieces[:0]

    def reach(self, place: int) -> None:
        """Say which place of the order comes next."""
        soon = int(np.searchsorted(self._first, place + _SOON, side="right"))
        due = max(soon, (place + self._horizon) // self._per_piece)
        if due <= self._asked:
            return
        self._shards.bring(self._pieces[self._asked : due], self._per_piece)
        self._asked = due
