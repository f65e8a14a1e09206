"""The images of a folder as pixels, decoded once as long as they are needed: for all threads, and for all processes."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from patchcli.errors import UnreadableInputs
from patchcli.io.headers import Unreadable
from patchcli.io.images import Decoder, Pixels
from patchcli.io.pixel_folder import PixelFolder, make_folder, remove_folder
from patchcli.io.quiet import quiet_for_threads
from patchcli.io.resize import INTERPOLATIONS, resize
from patchcli.records import Image, show
from patchcli.specs import Size, check_choice


class Decoded:
    """Pixels of images by number; those used last stay in memory.

    Safe for many threads, after fork and when pickled; a process never waits for an image that it does not want.

    Parameters
    ----------
    root : bytes
        Source folder.
    images : sequence of Image
        As `scan` found them.
    channels : {1, 3, 4}
        Gray, RGB or RGBA.
    background : (int, int, int)
        RGB that transparency is composited on, unless it is kept (4 channels).
    max_pixels : int
        Largest image that is decoded, px.
    budget : int
        Bytes that the images may take in the memory of each process, and once more in the folder that processes share;
        the image used last stays, however large.
    size : Size, optional
        Width and height, px, that all images are resized to.
    interpolation : str
        One of `INTERPOLATIONS`.
    keep_aspect_ratio : bool
        Whether images are cropped to the aspect ratio of `size` before they are resized.

    Raises
    ------
    UsageError
        Unknown interpolation.
    """

    def __init__(
        self,
        root: bytes,
        images: Sequence[Image],
        *,
        channels: int,
        background: tuple[int, int, int],
        max_pixels: int,
        budget: int,
        size: Size | None = None,
        interpolation: str = "nearest",
        keep_aspect_ratio: bool = False,
    ) -> None:
        check_choice("interpolation", interpolation, INTERPOLATIONS)
        self._root, self._images = root, images
        self._channels, self._background, self._max_pixels = channels, background, max_pixels
        self._budget = budget
        self._size, self._interpolation, self._keep_aspect_ratio = size, interpolation, keep_aspect_ratio
        self._folder: PixelFolder | None = None
        self._own()

    def _own(self) -> None:
        """What belongs to one process, or to the one that shares its folder."""
        self._memories: dict[int, _Memory] = {}
        self._removal: weakref.finalize[[str, int], Decoded] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_memories", "_removal")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._own()

    @property
    def n_decoded(self) -> int:
        """How often this process has decoded an image."""
        return self._memory().n_decoded

    def share(self) -> None:
        """Let processes that get this object from now on, by fork or pickled, decode each image once together.

        They leave pixels in a temporary folder, which goes when this object or process does.
        """
        if self._folder is None:
            with contextlib.suppress(OSError):  # without the folder each process decodes on its own
                path = make_folder()
                self._removal = weakref.finalize(self, remove_folder, path, os.getpid())
                self._folder = PixelFolder(path, self._budget)

    def close(self) -> None:
        """Let go of memory and of the shared folder; images asked for afterwards are decoded again."""
        self._folder = None
        if self._removal is not None:
            self._removal()
        memory = self._memory()
        with memory.lock:
            memory.images.clear()
            memory.n_bytes = 0

    def get(self, number: int) -> Pixels:
        """Pixels of an image, upright: uint8 (height, width, channels), C-contiguous, not writeable.

        Raises
        ------
        UnreadableInputs
            It is broken, or no longer the file that was scanned.
        NotEnoughSpace
            Too little memory, or too many open files.
        """
        number = range(len(self._images))[number]
        memory, folder, flight = self._memory(), self._folder, _Flight()
        try:
            with memory.lock:
                pixels = memory.find(number)
                first = memory.flights.setdefault(number, flight) if pixels is None else flight
            if pixels is not None:
                if folder is not None:
                    folder.touch(number)
                return pixels
            if first is flight:
                flight.pixels = pixels = self._fetch(number, folder)
                with memory.lock:
                    memory.keep(number, pixels, self._budget)
                return pixels
        finally:  # whatever interrupts this thread, nobody waits for it in vain
            if memory.flights.get(number) is flight:
                del memory.flights[number]
            flight.landed.set()
        first.landed.wait()
        return self.get(number) if first.pixels is None else first.pixels  # its failure is not ours

    def _memory(self) -> _Memory:
        pid = os.getpid()
        memory = self._memories.get(pid)
        if memory is None:  # a lock may be held by a thread that fork left behind
            memory = self._memories.setdefault(pid, _Memory())
            for other in self._memories.keys() - {pid}:
                self._memories.pop(other, None)
        return memory

    def _fetch(self, number: int, folder: PixelFolder | None) -> Pixels:
        """An image that is not in memory, from the shared folder or its file."""
        if folder is None:
            return self._decode(number)
        width, height = self._size or self._images[number].size
        shape = height, width, self._channels
        pixels = folder.read(number, shape)
        if pixels is not None:
            return pixels
        with folder.alone(number) as lock:
            if lock is None:
                return self._decode(number)
            pixels = folder.read(number, shape)  # by now another process may have been here
            if pixels is None:
                pixels = self._decode(number)
                folder.write(number, pixels)
            return pixels

    def _decode(self, number: int) -> Pixels:
        image = self._images[number]
        try:
            with quiet_for_threads(self._max_pixels):
                # a decoder of its own, since the array that one gives is overwritten by its next
                pixels, _ = Decoder(self._channels, self._background).decode(self._root, image, hashed=False)
        except Unreadable as error:
            shown = show(os.path.join(self._root, image.path))
            raise UnreadableInputs(f"{shown}: {error}; mend or remove it, and begin again") from None
        if self._size is not None:
            pixels = resize(
                pixels, self._size, interpolation=self._interpolation, keep_aspect_ratio=self._keep_aspect_ratio
            )
        pixels.setflags(write=False)
        memory = self._memory()
        with memory.lock:
            memory.n_decoded += 1
        return pixels


class _Flight:
    """An image that a thread is fetching, for others that want it too; without pixels when that failed."""

    def __init__(self) -> None:
        self.landed = threading.Event()
        self.pixels: Pixels | None = None


class _Memory:
    """The images in the memory of one process, the least recently used first; callers hold its lock."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.images: OrderedDict[int, Pixels] = OrderedDict()
        self.n_bytes = 0
        self.flights: dict[int, _Flight] = {}
        self.n_decoded = 0

    def find(self, number: int) -> Pixels | None:
        pixels = self.images.get(number)
        if pixels is not None:
            self.images.move_to_end(number)
        return pixels

    def keep(self, number: int, pixels: Pixels, budget: int) -> None:
        self.images[number] = pixels
        self.n_bytes += pixels.nbytes
        while self.n_bytes > budget and len(self.images) > 1:
            self.n_bytes -= self.images.popitem(last=False)[1].nbytes
