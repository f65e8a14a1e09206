"""What Keras' `fit` does around epochs, where it gets in the way of batches that are functions of epoch and number.

`fit` resets its iterator before the first epoch, and that says `on_epoch_end` (EpochIterator.reset in
keras/src/trainers/epoch_iterator.py, the same from 3.8 to 3.15): no epoch has ended then, but a batch may have been
looked at. Nothing that a PyDataset is told tells the two calls apart, so who calls is looked at. Should Keras change,
flows begin with epoch 1 and Keras shuffles their batches: no batch is wrong then.
"""

from __future__ import annotations

import contextlib
import queue
import sys
import warnings
from types import FrameType
from typing import Any, Final

_MOST_FRAMES: Final = 8


def resetting_adapter() -> Any:
    """Keras' adapter, when its reset led to the caller of this function; None otherwise.

    Between the two there may be others: a flow's heir, or a PyDataset that passes on what it is told.
    """
    frame: FrameType | None = sys._getframe(2)
    for _ in range(_MOST_FRAMES):
        above = None if frame is None else frame.f_back
        if frame is None or above is None:
            return None
        if _is_keras(frame, "on_epoch_end") and _is_keras(above, "reset"):
            if above.f_back is not None and _is_keras(above.f_back, "fit"):
                _check_steps(above.f_locals.get("self"))
            return frame.f_locals.get("self")
        frame = above
    return None


def _is_keras(frame: FrameType, name: str) -> bool:
    return frame.f_code.co_name == name and frame.f_globals["__name__"].startswith("keras.")


def _check_steps(epochs: Any) -> None:
    steps, n = getattr(epochs, "steps_per_epoch", None), getattr(epochs, "_num_batches", None)
    if steps is not None and steps != n:
        warnings.warn(
            f"steps_per_epoch is {steps}, a pass over the patches has {n} batches: Keras then begins passes anew, or "
            f"puts them together from several epochs, so that some patches come twice and others not; leave it out",
            stacklevel=5,
        )


def settle(adapter: Any, *, in_order: bool) -> None:
    """Bring an adapter into the state in which the first epoch is to begin.

    Workers that were started for a look at one batch have made more of them, which Keras would hand out again, before
    the epoch's own: they go. With `in_order`, `fit` is kept from shuffling the batches (as it does by default), since
    their order is a random one already, and one in which images are decoded once.
    """
    enqueuer: Any = getattr(adapter, "enqueuer", None)
    with contextlib.suppress(AttributeError, queue.Empty):
        while True:
            enqueuer.ready_queue.get_nowait()
    if in_order:
        for one in (adapter, enqueuer):
            if getattr(one, "shuffle", False):
                one.shuffle = False
