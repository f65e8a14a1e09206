"""Pixels of any dtype and number of channels as 8-bit RGB, for the eye."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_PERCENTILES: Final = (0.5, 99.5)
_LARGEST_SQUARE: Final = 16  # px of a checkerboard
_MOST_SAMPLES: Final = 1 << 22  # of all patches together, for the percentiles


@dataclass(frozen=True, slots=True)
class Look:
    """How px are shown: one way for all of a picture, so that they can be compared.

    Attributes
    ----------
    channels : int
        How many are shown, the first ones.
    ends : (float, float) or None
        What becomes black and white; None: 8-bit px as they are.
    board : bool
        Whether the fourth channel is how opaque px are, and a checkerboard stands behind them.
    note : str
        What was done, for the caption; empty when these are the px as they are.
    """

    channels: int = 3
    ends: tuple[float, float] | None = None
    board: bool = False
    note: str = ""

    def of(self, pixels: Array) -> Array:
        """8-bit RGB px: (H, W, C) to uint8 (H, W, 3)."""
        if self.board:
            return _on_checkerboard(pixels)
        pixels = pixels[..., : self.channels]
        if self.ends is not None:
            pixels = _stretched(pixels, *self.ends)
        return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def look_at(patches: Sequence[Array]) -> Look:
    """How some patches are best shown: arrays (H, W, C), all of the same dtype and number of channels."""
    if not patches:
        return Look()
    kind, channels = patches[0].dtype, patches[0].shape[-1]
    if kind == np.uint8 and channels == 4:
        return Look(channels, board=True, note="transparent px on a checkerboard")
    notes = []
    n_shown = channels if channels in (1, 3) else 1 if channels == 2 else 3
    if n_shown < channels:
        notes.append(f"{'first channel' if n_shown == 1 else 'first three channels'} of {channels} shown")
    if kind == np.uint8:
        return Look(n_shown, note="".join(notes))
    ends, note = _ends([patch[..., :n_shown] for patch in patches])
    return Look(n_shown, ends, note="; ".join([*notes, note]))


def for_the_eye(patches: Sequence[Array]) -> tuple[list[Array], str]:
    """Patches (H, W, C) as uint8 (H, W, 3), all in the same way, and what was done, for the caption."""
    look = look_at(patches)
    return [look.of(patch) for patch in patches], look.note


def averaged(pixels: Array, step: int) -> Array:
    """Px (H, W, C) with means of `step` x `step` of them; what is left over at the right and bottom goes."""
    if step == 1:
        return pixels
    height, width = (length // step * step for length in pixels.shape[:2])
    whole = pixels.dtype.kind in "iu"
    sums = np.full((height // step, width // step, pixels.shape[2]), step * step // 2 if whole else 0, np.float32)
    for y, x in np.ndindex(step, step):
        sums += pixels[y:height:step, x:width:step]
    smaller: Array = (sums / (step * step)).astype(pixels.dtype)
    return smaller


def _ends(patches: Sequence[Array]) -> tuple[tuple[float, float], str]:
    """Black and white: the range of nearly all values."""
    step = -(-sum(patch.size for patch in patches) // _MOST_SAMPLES)
    channels = patches[0].shape[-1]
    step += channels > 1 and step % channels == 0  # or one channel would speak for all
    samples = np.concatenate([patch.reshape(-1)[::step] for patch in patches]).astype(np.float64)
    samples = samples[np.isfinite(samples)]
    if not samples.size:
        return (np.inf, np.inf), "no px holds a number"
    low, high = map(float, np.percentile(samples, _PERCENTILES))
    how = "0.5 to 99.5 percentile"
    if low == high:  # nearly all px are the same: the few others are what there is to see
        low, high, how = float(samples.min()), float(samples.max()), "all values"
    said = " to ".join(f"{end:,.0f}" if patches[0].dtype.kind in "iu" else f"{end:.4g}" for end in (low, high))
    return (low, high), f"shown from {said} ({how})"


def _stretched(pixels: Array, low: float, high: float) -> Array:
    """uint8: black to white is low to high; px that are no number become black."""
    if low == np.inf:
        return np.zeros(pixels.shape, np.uint8)
    levels = np.clip((pixels.astype(np.float64) - low) * (255 / (high - low or 1)) + 0.5, 0, 255)
    return np.nan_to_num(levels, nan=0).astype(np.uint8)


def _on_checkerboard(patch: Array) -> Array:
    height, width = patch.shape[:2]
    side = max(1, min(min(height, width) // 8, _LARGEST_SQUARE))
    y, x = np.ogrid[:height, :width]
    board = np.where((y // side + x // side) % 2, 255, 216)[..., None]
    opacity = patch[..., 3:] / 255
    return np.asarray(patch[..., :3] * opacity + board * (1 - opacity) + 0.5, np.uint8)
