"""How far a run is, on stderr; and signals, which stop it through the same door."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from patchcli.errors import Stopped
from patchcli.records import Progress

_LINE_SECONDS = 10.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_AFTER = "finished shards are kept, the same command goes on"
_VERBS = {
    "scan": "scanned",
    "cut": "cut",
    "augment": "augmented",
    "index": "index written for",
    "verify": "verified",
    "compare": "compared",
}


class Meter:
    """Shows progress as a bar, as plain lines, or not at all; raises `Stopped` once a signal has come.

    Parameters
    ----------
    style : {"auto", "bar", "log", "none"}
    """

    def __init__(self, style: str) -> None:
        self.style = ("bar" if _has_room_for_a_bar() else "log") if style == "auto" else style
        self._signal: signal.Signals | None = None
        self._phase = ""
        self._bar: Any = None
        self._began = self._said = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Take a report of the run."""
        if self._signal is not None:
            raise Stopped(*_message(self._signal, _AFTER))
        if progress.phase != self._phase:
            self._phase, self._began, self._first = progress.phase, time.monotonic(), progress.done
            self.close()
        if self.style == "bar":
            self._show_bar(progress)
        elif self.style == "log" and time.monotonic() - self._said >= _LINE_SECONDS:
            self._said = time.monotonic()
            click.echo(self._line(progress), err=True)

    def _show_bar(self, progress: Progress) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(desc=progress.phase, unit=f" {progress.unit}", unit_scale=True, leave=False, smoothing=0.1)
        if self._bar.total != progress.total:
            self._bar.total = progress.total
        self._bar.n = progress.done
        self._bar.refresh()

    def _line(self, progress: Progress) -> str:
        line = f"{_VERBS[progress.phase]} {progress.done:,} of {progress.total:,} {progress.unit}"
        seconds, done = time.monotonic() - self._began, progress.done - self._first
        if done and progress.total:
            rate = done / seconds
            left = (progress.total - progress.done) / rate
            line += f" ({progress.done / progress.total:.0%}), {rate:,.0f} {progress.unit}/s, {_duration(left)} left"
        return line

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    @contextmanager
    def listening(self) -> Iterator[Meter]:
        """While inside, SIGTERM, SIGUSR1 and SIGINT only leave a note, which the next report acts on.

        A second Ctrl-C interrupts at once, whatever is going on. Signals that were held come in now.
        """

        def leave_note(number: int, _: FrameType | None) -> None:
            self._signal = self._signal or signal.Signals(number)
            if number == signal.SIGINT:
                signal.signal(number, signal.default_int_handler)

        with _handling(leave_note):
            try:
                yield self
            finally:
                self.close()


@contextmanager
def interruptible(after: str) -> Iterator[None]:
    """While inside, SIGTERM, SIGUSR1 and SIGINT raise `Stopped` at once: for work that leaves nothing half-done."""

    def stop(number: int, _: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)  # one is enough
        raise Stopped(*_message(signal.Signals(number), after))

    with _handling(stop):
        yield


@contextmanager
def _handling(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """While inside, signals that ask for an end go to a handler; those that were held come in at once."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number in _SIGNALS:
        if before[number] is not signal.SIG_IGN:  # nohup and background jobs of a shell ignore SIGINT: so do we
            signal.signal(number, handle)
    try:
        for handler in before.values():
            for held in getattr(handler, "numbers", ()):
                handle(held, None)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _has_room_for_a_bar() -> bool:
    """Whether stderr is a terminal with a width; those that programs open may have 0 columns."""
    try:
        return sys.stderr.isatty() and os.get_terminal_size(sys.stderr.fileno()).columns > 0
    except (OSError, ValueError):  # a stream that only says that it is a terminal
        return False


def _message(number: signal.Signals, after: str) -> tuple[str, int]:
    if number == signal.SIGINT:
        return f"stopped by Ctrl-C; {after}", 130
    return f"stopped by {number.name}; {after}", 75


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
