"""The floor of extract: decode every image once, write as many bytes as its patches take, fsync; nothing else.

JPEG by simplejpeg, the rest by OpenCV, Pillow where they fail. Writes are of 1 MiB, into one file a process. Starting
the processes is not counted.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
from PIL import Image

BLOCK = 1 << 20


@dataclass(frozen=True)
class Job:
    """An image and the bytes of its patches, RGB."""

    path: str
    n_bytes: int


def plan(paths: Sequence[str], patch: int, stride: int) -> list[Job]:
    """Whole windows only, squares of `patch` px every `stride` px."""
    jobs = []
    for path in paths:
        with Image.open(path) as image:
            across, down = (max(0, (length - patch) // stride + 1) for length in image.size)
        jobs.append(Job(path, across * down * patch * patch * 3))
    return jobs


def run(jobs: Sequence[Job], n_workers: int, folder: str) -> float:
    """Wall seconds from the moment when all workers are ready until the last has ended."""
    context = multiprocessing.get_context("forkserver")
    with tempfile.TemporaryDirectory(dir=folder) as outputs:
        queue: Any = context.Queue()
        gate = context.Barrier(n_workers + 1)
        team = [context.Process(target=_work, args=(queue, outputs, gate)) for _ in range(n_workers)]
        for worker in team:
            worker.start()
        for job in [*jobs, *[None] * n_workers]:
            queue.put(job)
        gate.wait()
        began = time.perf_counter()
        for worker in team:
            worker.join()
        seconds = time.perf_counter() - began
    if any(worker.exitcode for worker in team):
        raise RuntimeError("a worker of the floor failed")
    return seconds


def _work(queue: Any, folder: str, gate: Any) -> None:
    cv2.setNumThreads(1)
    gate.wait()
    output = os.open(os.path.join(folder, str(os.getpid())), os.O_WRONLY | os.O_CREAT)
    while (job := queue.get()) is not None:
        block = np.resize(_decode(job.path).reshape(-1)[:BLOCK], BLOCK).data
        for start in range(0, job.n_bytes, BLOCK):
            os.write(output, block[: min(BLOCK, job.n_bytes - start)])
    os.fsync(output)
    os.close(output)


def _decode(path: str) -> npt.NDArray[Any]:
    with open(path, "rb") as file:
        content = file.read()
    if content[:2] == b"\xff\xd8":
        try:
            return np.asarray(simplejpeg.decode_jpeg(content))
        except ValueError:  # not what the library takes for a JPEG: the others may
            pass
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if pixels is not None:
        return np.asarray(pixels)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
