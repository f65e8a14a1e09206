"""Which part of an epoch is for which process of a distributed training, and where it begins."""

from __future__ import annotations

from typing import Any, NamedTuple

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


def check_state(state: Any, seed: int, *, what: str) -> tuple[int, int]:
    """Epoch and start of a `state_dict`.

    Raises
    ------
    UsageError
        Not such a state, or that of another order: its seed differs.
    """
    try:
        epoch, start, its_seed = (int(state[name]) for name in ("epoch", "start", "seed"))
    except (TypeError, KeyError, ValueError):
        raise UsageError(f"{what}: {state!r:.80} is no state of it: expected what state_dict() gave") from None
    if its_seed != seed:
        raise UsageError(
            f"{what}: the state is that of seed {its_seed}, this one has seed {seed}: its order is another"
        )
    return epoch, start
