"""Standardising, as Keras' ImageDataGenerator does it last: of every patch, originals and all splits too.

Order and formulas are those of `ImageDataGenerator.standardize` and `fit` in Keras 3: rescale, centre and scale by the
patch's own mean and deviation, centre and scale by those of the data set, whiten. Keras' `fit` looks past the second of
these; here the statistics of the data set are those of the patches as they are when it comes to them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcli.errors import UsageError

Array = npt.NDArray[Any]

_NUMBER: Final = re.compile(r"[-+]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][-+]?[0-9]{1,3})?")
_LEAST: Final = 1e-30  # of a factor, in size: float32 has no room for much more, or for one over it

EPSILON: Final = 1e-6
"""Added to deviations before they divide, as in Keras."""

MOST_WHITENED: Final = 4096
"""Values of a patch up to which it can be whitened: the matrix has as many rows and columns."""


@dataclass(frozen=True)
class Standard:
    """How every patch is standardised; names and meaning as in ImageDataGenerator. Anything set gives float32.

    `of` accepts what users write. Raises `UsageError` when a value is out of range or two contradict each other.
    """

    rescale: float | None = None
    samplewise_center: bool = False
    samplewise_std_normalization: bool = False
    featurewise_center: bool = False
    featurewise_std_normalization: bool = False
    zca_whitening: bool = False
    zca_epsilon: float = EPSILON

    def __post_init__(self) -> None:
        if self.rescale is not None and not _LEAST <= abs(self.rescale) <= 1 / _LEAST:
            raise UsageError(f"rescale is {self.rescale:g}: expected a factor such as 1/255")
        if not math.isfinite(self.zca_epsilon) or self.zca_epsilon <= 0:
            raise UsageError(f"zca_epsilon is {self.zca_epsilon}: expected a small number above 0, such as 1e-6")
        if self.zca_epsilon != EPSILON and not self.zca_whitening:
            raise UsageError("zca_epsilon has no effect without zca_whitening")
        if self.zca_whitening and self.featurewise_std_normalization:
            raise UsageError("zca_whitening scales too: leave out featurewise_std_normalization")

    @classmethod
    def of(cls, *, rescale: object = None, zca_epsilon: object = None, **switches: bool | None) -> Standard:
        """From the options as users write them: `1/255`, 0.5; None is the default.

        As in Keras, scaling by the deviation centres too, and so does whitening.
        """
        on = {name for name, value in switches.items() if value}
        if "samplewise_std_normalization" in on:
            on.add("samplewise_center")
        if on & {"featurewise_std_normalization", "zca_whitening"}:
            on.add("featurewise_center")
        return cls(
            rescale=None if rescale is None else _number("rescale", rescale),
            zca_epsilon=EPSILON if zca_epsilon is None else _number("zca_epsilon", zca_epsilon),
            **dict.fromkeys(on, True),
        )

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the options."""
        return tuple(one.name for one in fields(cls))

    @property
    def is_nothing(self) -> bool:
        """Whether patches stay as they are."""
        return self == Standard()

    @property
    def needs_statistics(self) -> bool:
        """Whether the data set has to be gone through first."""
        return self.featurewise_center

    def settings(self) -> dict[str, Any]:
        """What differs from the defaults, as plain values: `Standard.of(**settings)` gives it again."""
        default = Standard()
        return {name: value for name, value in asdict(self).items() if value != getattr(default, name)}

    def of_its_own(self, patch: Array) -> npt.NDArray[np.float32]:
        """The first part, which needs nothing but the patch itself: a float32 copy (H, W, C)."""
        out = patch.astype(np.float32)
        if self.rescale is not None:
            out *= np.float32(self.rescale)
        if self.samplewise_center:
            out -= np.float32(np.mean(out, dtype=np.float64))
        if self.samplewise_std_normalization:
            out /= np.float32(np.std(out, dtype=np.float64) + EPSILON)
        return out


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of the patches of a data set, when it comes to them.

    Attributes
    ----------
    mean, std : float64 (C,)
        Per channel, over all patches and px.
    whitening : float32 (D, D), optional
        For patches as flat vectors of D values, centred: `flat @ whitening` is white.
    """

    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    whitening: npt.NDArray[np.float32] | None = None

    def tables(self, *, whole: bool) -> dict[str, Array]:
        """As tables of a file, for who standardises new images; the matrix only in a file for the `whole` data set."""
        tables: dict[str, Array] = {"standard/mean": self.mean, "standard/std": self.std}
        return tables | ({"standard/whitening": self.whitening} if whole and self.whitening is not None else {})


def standardize(patch: Array, standard: Standard, statistics: Statistics | None) -> npt.NDArray[np.float32]:
    """A patch (H, W, C) standardised: float32 (H, W, C)."""
    out = standard.of_its_own(patch)
    if statistics is None:
        return out
    if standard.featurewise_center:
        out -= statistics.mean.astype(np.float32)
    if standard.featurewise_std_normalization:
        out /= (statistics.std + EPSILON).astype(np.float32)
    if statistics.whitening is not None:
        # not BLAS: its sums depend on how many threads it has, and the result on the machine's load
        out = np.einsum("i,ij->j", out.reshape(-1), statistics.whitening).reshape(out.shape)
    return out


def fit(patches: Iterable[Array], standard: Standard) -> Statistics:
    """Statistics of a data set, from all its patches (k, H, W, C) in blocks.

    The whitening matrix is that of Keras (`fit`): U diag(sqrt(n) / (s + epsilon)) U^T of the centred data's singular
    values s and left singular vectors U; here from the eigenvalues of their second moments, s^2 / n, which need no
    second look at the patches.

    Raises
    ------
    UsageError
        No patches, or values that are not finite.
    """
    from threadpoolctl import threadpool_limits

    n, sums, squares, products, totals = 0, np.zeros(0), np.zeros(0), np.zeros((0, 0)), np.zeros(0)
    with threadpool_limits(1):  # sums of BLAS and LAPACK depend on the number of their threads
        for block in patches:
            own = np.stack([standard.of_its_own(patch) for patch in block]).astype(np.float64)
            flat, channels = own.reshape(len(own), -1), own.shape[-1]
            if n == 0:
                sums, squares = np.zeros(channels), np.zeros(channels)
                size = flat.shape[1] if standard.zca_whitening else 0
                products, totals = np.zeros((size, size)), np.zeros(flat.shape[1])
            n += len(flat)
            sums += own.sum(axis=(0, 1, 2))
            squares += (own**2).sum(axis=(0, 1, 2))
            if standard.zca_whitening:
                products += flat.T @ flat
                totals += flat.sum(axis=0)
        if n == 0:
            raise UsageError("no patches to take statistics of")
        n_pixels = n * (len(totals) // len(sums))
        mean = sums / n_pixels
        std = np.sqrt(np.maximum(0, squares / n_pixels - mean**2))
        if not np.isfinite(mean).all() or not np.isfinite(std).all():
            raise UsageError("some patches hold values that are not finite, or too large: there is no mean of them")
        if not standard.zca_whitening:
            return Statistics(mean, std)
        flat_mean = np.tile(mean, len(totals) // len(mean))
        moments = products / n - np.outer(totals / n, flat_mean)
        moments += np.outer(flat_mean, flat_mean - totals / n)
        values, vectors = np.linalg.eigh(moments)
        scale = 1 / (np.sqrt(np.maximum(values, 0)) + standard.zca_epsilon / math.sqrt(n))
        scale[: max(0, len(scale) - n)] = (
            0  # n patches span n directions: of others nothing is known, as Keras' svd says
        )
        whitening = (vectors * scale) @ vectors.T
    return Statistics(mean, std, whitening.astype(np.float32))


def _number(name: str, value: object) -> float:
    above, slash, below = str(value).replace(" ", "").partition("/")
    parts = [above, below] if slash else [above]
    if not isinstance(value, bool) and all(map(_NUMBER.fullmatch, parts)) and (not slash or float(below)):
        return float(above) / float(below) if slash else float(above)
    shown = repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
    raise UsageError(f"{name} is {shown}: expected a number, or a fraction such as 1/255")
