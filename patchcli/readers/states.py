"""Where an iteration stands, as it is said and as it is read back."""

from __future__ import annotations

from typing import Any

from patchcli.errors import UsageError


def state_of(what: str, epoch: int, start: int) -> dict[str, Any]:
    """A `state_dict`: plain values.

    Parameters
    ----------
    what : str
        Whose order it is: whoever has the same words has the same order.
    start : int
        How much of the epoch was taken.
    """
    return {"of": what, "epoch": epoch, "start": start}


def check_state(state: Any, what: str) -> tuple[int, int]:
    """Epoch and start of a `state_dict`.

    Raises
    ------
    UsageError
        Not such a state, or that of another order.
    """
    try:
        its, epoch, start = str(state["of"]), int(state["epoch"]), int(state["start"])
    except (TypeError, KeyError, ValueError):
        raise UsageError(f"{state!r:.80} is no state of a {what}: expected what state_dict() gave") from None
    if its != what:
        raise UsageError(f"the state is that of a {its}, this is a {what}: another order")
    return epoch, start
