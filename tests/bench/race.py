"""Programs that show patches take turns: which is how much faster, whatever else the machine does."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.measure import say, spread


@dataclass(frozen=True)
class Program:
    """Something that shows patches, and how many; compared with another of the same race."""

    name: str
    run: Callable[[], int]
    against: str = ""
    wanted: float | None = None


def race(what: str, programs: Sequence[Program], n_rounds: int, *, before: Callable[[], None] | None = None) -> None:
    """Let programs take turns, and print one line for each."""
    took: dict[str, list[float]] = {program.name: [] for program in programs}  # seconds a patch
    for number in range(-1, n_rounds):
        for program in programs:
            if number < 0:  # starts workers, opens files
                program.run()
                continue
            say(f"{what}: round {number + 1} of {n_rounds}: {program.name}")
            if before is not None:
                before()
            began = time.perf_counter()
            n = program.run()
            took[program.name].append((time.perf_counter() - began) / n)
    say("")
    print(f"\n{what}\n{'':26}{'patches/s':>10}  {'x':20}{'of':20}wanted")
    for program in programs:
        ratio = spread(took[program.against], took[program.name]) if program.against else ""
        wanted = "" if program.wanted is None else f"{program.wanted:g}"
        rate = 1 / statistics.median(took[program.name])
        print(f"  {program.name:24}{rate:10,.0f}  {ratio:20}{program.against:20}{wanted}".rstrip(), flush=True)
