"""Which part of an epoch is for which process of a distributed training."""

from __future__ import annotations

from typing import NamedTuple

from patchcli.errors import UsageError
from patchcli.specs import check_whole


class Rank(NamedTuple):
    """One of the processes that train together: number `rank` of `world`."""

    rank: int
    world: int


def rank_of(rank: int | None, world: int | None) -> Rank:
    """What was said, or what torch.distributed says, or the only one.

    Raises
    ------
    UsageError
        One without the other, or a rank that is not below `world`.
    """
    if (rank is None) != (world is None):
        raise UsageError(f"rank is {rank}, world is {world}: give both of them, or neither to ask torch.distributed")
    if rank is None or world is None:
        from torch import distributed

        if not (distributed.is_available() and distributed.is_initialized()):
            return Rank(0, 1)
        return Rank(distributed.get_rank(), distributed.get_world_size())
    check_whole("world", world, 1, 2**31 - 1)
    check_whole("rank", rank, 0, world - 1)
    return Rank(rank, world)


def check_share(n_own: int, n: int, world: int, *, even: bool) -> None:
    """Raise `UsageError` when there is something, but too little for all ranks to have equally much of it."""
    if n and not n_own and even and world > 1:
        raise UsageError(f"{n} patches are too few for {world} ranks to have equally many: fewer ranks, or even=False")
