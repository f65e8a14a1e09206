"""Patches of any dtype and number of channels as 8-bit RGB, for the eye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_PERCENTILES: Final = (0.5, 99.5)
_MOST_SAMPLES: Final = 1 << 22  # of all patches together, for the percentiles


def for_the_eye(patches: Sequence[Array]) -> tuple[list[Array], str]:
    """Patches of any kind as 8-bit RGB, all in the same way so that they can be compared.

    Parameters
    ----------
    patches : sequence of ndarray (H, W, C)
        All of the same dtype and number of channels.

    Returns
    -------
    list of ndarray
        uint8 (H, W, 3).
    str
        What was done, for the caption; empty when these are the px as they are.
    """
    if not patches:
        return [], ""
    notes, channels = [], patches[0].shape[-1]
    alpha = patches[0].dtype == np.uint8 and channels == 4
    if not alpha and channels not in (1, 3):
        n_shown = 1 if channels == 2 else 3
        patches = [patch[..., :n_shown] for patch in patches]
        notes.append(f"{'first channel' if n_shown == 1 else 'first three channels'} of {channels} shown")
    if patches[0].dtype != np.uint8:
        patches, note = _stretched(patches)
        notes.append(note)
    if alpha:
        patches = [_on_checkerboard(patch) for patch in patches]
        notes.append("transparent px on a checkerboard")
    return [np.ascontiguousarray(np.broadcast_to(patch, (*patch.shape[:2], 3))) for patch in patches], "; ".join(notes)


def _stretched(patches: Sequence[Array]) -> tuple[list[Array], str]:
    """uint8: black to white is the range of nearly all values; px that are no number become black."""
    step = -(-sum(patch.size for patch in patches) // _MOST_SAMPLES)
    samples = np.concatenate([patch.reshape(-1)[::step] for patch in patches]).astype(np.float64)
    samples = samples[np.isfinite(samples)]
    if not samples.size:
        return [np.zeros(patch.shape, np.uint8) for patch in patches], "no px holds a number"
    low, high = map(float, np.percentile(samples, _PERCENTILES))
    how = "0.5 to 99.5 percentile"
    if low == high:  # nearly all px are the same: the few others are what there is to see
        low, high, how = float(samples.min()), float(samples.max()), "all values"
    factor = 255 / (high - low or 1)
    levels = [np.clip((patch.astype(np.float64) - low) * factor + 0.5, 0, 255) for patch in patches]
    ends = " to ".join(f"{end:,.0f}" if patches[0].dtype.kind in "iu" else f"{end:.4g}" for end in (low, high))
    return [np.nan_to_num(level, nan=0).astype(np.uint8) for level in levels], f"shown from {ends} ({how})"


def _on_checkerboard(patch: Array) -> Array:
    height, width = patch.shape[:2]
    side = max(1, min(height, width) // 8)
    y, x = np.ogrid[:height, :width]
    board = np.where((y // side + x // side) % 2, 255, 216)[..., None]
    opacity = patch[..., 3:] / 255
    return np.asarray(patch[..., :3] * opacity + board * (1 - opacity) + 0.5, np.uint8)
