"""What a generator draws for patches and does to them last, as Keras' ImageDataGenerator does."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from patchcli.errors import UsageError
from patchcli.pipeline.augmenter import Augmenter
from patchcli.pipeline.keras_ranges import KERAS, KerasRanges
from patchcli.pipeline.standardize import EPSILON, MOST_WHITENED, Standard, Statistics, fit, standardize
from patchcli.pipeline.tree import Group, Step
from patchcli.readers.arrays import PatchSet
from patchcli.readers.keras.arguments import DataFormat, float_dtype
from patchcli.readers.keras.flow import Flow

Array = npt.NDArray[Any]

_BLOCK: Final = 64


class Finishing:
    """Settings of a generator, and what `fit` has learnt.

    Attributes
    ----------
    mean, std : float array or None
        Per channel, with axes of length 1 for height and width, as Keras has them; after `fit`.
    zca_whitening_matrix : float32 (D, D) or None
        For patches (H, W, C) as flat vectors, with channels first too.
    """

    def __init__(
        self,
        *,
        standard: Mapping[str, Any],
        ranges: Mapping[str, Any],
        preprocessing_function: Callable[[Any], Any] | None,
        data_format: DataFormat,
        dtype: str | None,
    ) -> None:
        self.standard = Standard.of(**_overridden(standard))
        said = KerasRanges.of(**ranges)
        self.pipeline = None if said.is_nothing else Group("Sequential", (Step(KERAS, said.settings(), 1.0),))
        if preprocessing_function is not None and not callable(preprocessing_function):
            raise UsageError(
                f"preprocessing_function is {preprocessing_function!r:.80}: expected a function of a patch"
            )
        self.preprocessing_function, self.data_format = preprocessing_function, data_format
        self.dtype = float_dtype(dtype)
        self._statistics: Statistics | None = None

    @property
    def mean(self) -> Array | None:
        return None if self._statistics is None else self._per_channel(self._statistics.mean)

    @property
    def std(self) -> Array | None:
        return None if self._statistics is None else self._per_channel(self._statistics.std)

    @property
    def zca_whitening_matrix(self) -> Array | None:
        return None if self._statistics is None else self._statistics.whitening

    def _per_channel(self, values: Array) -> Array:
        return values.reshape((-1, 1, 1) if self.data_format == "channels_first" else (1, 1, -1))

    def finish(self, patches: Array) -> Array:
        """Patches (k, H, W, C) of any dtype as they are shown: `preprocessing_function`, then standardised; float32.

        Raises
        ------
        UsageError
            It takes statistics, and `fit` was not called.
        """
        shown = patches.astype(np.float32)
        if self.preprocessing_function is not None:
            shown = self._all_preprocessed(shown)
        if self.standard.is_nothing:
            return shown
        if self.standard == Standard(rescale=self.standard.rescale):  # all there is to do, mostly: at once
            shown *= np.float32(self.standard.rescale)
            return shown
        if self.standard.needs_statistics and self._statistics is None:
            raise UsageError(
                "featurewise_center, featurewise_std_normalization and zca_whitening need the data's statistics: call "
                "generator.fit(x) first, with an array of patches or a data set"
            )
        if self._statistics is not None:
            _check_fitted(self._statistics, shown.shape[1:])
        for place, patch in enumerate(shown):
            shown[place] = standardize(patch, self.standard, self._statistics)
        return shown

    def standardize(self, x: Array) -> Array:
        """A patch, or a batch of them, in the axes of `data_format`, as it is shown; float32, `x` is left as it is."""
        x = np.asarray(x)
        shown = self.finish(self._channels_last(x if x.ndim == 4 else x[None]))
        shown = np.moveaxis(shown, 3, 1) if self.data_format == "channels_first" else shown
        return shown if x.ndim == 4 else shown[0]

    def random_transform(self, x: Array, seed: int | None = None) -> Array:
        """A randomly transformed version of a patch, in the axes of `data_format`; of the same shape and dtype."""
        if self.pipeline is None:
            return np.array(x)
        patch = np.ascontiguousarray(self._channels_last(np.asarray(x)[None])[0])
        drawn = np.random.randint(2**31 - 1) if seed is None else seed  # noqa: NPY002 - what Keras' users seed
        copy = Augmenter(self.pipeline, int(drawn), _shape(patch), patch.dtype).copy(patch, b"", (0, 0), 1)
        return np.moveaxis(copy, 2, 0) if self.data_format == "channels_first" else copy

    def fit(self, x: Any, augment: bool = False, rounds: int = 1, seed: int | None = None) -> None:
        """Learn mean, deviation and whitening matrix, which `featurewise_...` and `zca_whitening` need.

        Parameters
        ----------
        x : array (n, H, W, C), or with channels first, or PatchSet, or Flow
            Patches, or images of which the statistics are to be taken, after `preprocessing_function`. A PatchSet, or
            a flow of this generator, is read block by block.
        augment : bool
            Take them of randomly augmented patches, `rounds` copies of each.
        seed : int, optional

        Raises
        ------
        UsageError
            No array of rank 4, or patches too large to be whitened.
        """
        if isinstance(x, PatchSet):
            blocks: Iterable[Array] = (x[start : start + _BLOCK] for start in range(0, len(x), _BLOCK))
            size = int(np.prod(x.patch_shape))
        elif isinstance(x, Flow):
            blocks, size = x.untouched(_BLOCK), int(np.prod(x.image_shape))
        else:
            images = np.asarray(x)
            if images.ndim != 4:
                raise UsageError(
                    f"fit takes an array (n, H, W, C), or with channels first, not of shape {images.shape}"
                )
            last, size = self._channels_last(images), images[0].size if len(images) else 0
            blocks = (last[start : start + _BLOCK] for start in range(0, len(last), _BLOCK))
        if self.standard.zca_whitening and size > MOST_WHITENED:
            raise UsageError(f"zca_whitening: patches have {size:,} values, expected at most {MOST_WHITENED:,}")
        if augment:
            blocks = self._augmented(blocks, rounds, seed)
        if self.preprocessing_function is not None:
            blocks = (self._all_preprocessed(block.astype(np.float32)) for block in blocks)
        self._statistics = fit(blocks, self.standard)

    def _augmented(self, blocks: Iterable[Array], rounds: int, seed: int | None) -> Iterator[Array]:
        drawn = int(np.random.randint(2**31 - 1) if seed is None else seed)  # noqa: NPY002 - what Keras' users seed
        n = 0
        for block in blocks:
            if self.pipeline is None:
                yield from [block] * rounds
                continue
            patches = block if block.dtype in (np.uint8, np.uint16) else block.astype(np.float32)
            augmenter = Augmenter(self.pipeline, drawn, _shape(patches[0]), patches.dtype)
            for copy in range(1, rounds + 1):
                yield np.stack([augmenter.copy(one, b"%d" % (n + i), (0, 0), copy) for i, one in enumerate(patches)])
            n += len(block)

    def _all_preprocessed(self, patches: Array) -> Array:
        if self.preprocessing_function is not None:
            for place, patch in enumerate(patches):
                patches[place] = self._preprocessed(patch, self.preprocessing_function)
        return patches

    def _preprocessed(self, patch: Array, function: Callable[[Any], Any]) -> Array:
        if self.data_format == "channels_last":
            shown, shape = np.asarray(function(patch)), patch.shape
        else:
            shown, shape = np.asarray(function(np.moveaxis(patch, 2, 0))), np.moveaxis(patch, 2, 0).shape
        if shown.shape != shape:
            raise UsageError(f"preprocessing_function gave shape {shown.shape}: expected that of the patch, {shape}")
        return shown if self.data_format == "channels_last" else np.moveaxis(shown, 0, 2)

    def _channels_last(self, x: Array) -> Array:
        return np.moveaxis(x, 1, 3) if self.data_format == "channels_first" else x


def _shape(patch: Array) -> tuple[int, int, int]:
    height, width, channels = patch.shape
    return height, width, channels


def _check_fitted(statistics: Statistics, shape: tuple[int, ...]) -> None:
    n = 0 if statistics.whitening is None else len(statistics.whitening)
    if len(statistics.mean) != shape[2] or n not in (0, math.prod(shape)):
        whitened = f" and {n:,} values" if n else ""
        raise UsageError(
            f"fit was called with patches of {len(statistics.mean)} channels{whitened}, these have shape {shape}: "
            f"fit on patches as they will be shown"
        )


def _overridden(said: Mapping[str, Any]) -> dict[str, Any]:
    """What Keras sets by itself, with its warnings: deviations take the mean too, and whitening takes their place."""
    standard = dict(said)
    for name, centre in (
        ("zca_whitening", "featurewise_center"),
        ("featurewise_std_normalization", "featurewise_center"),
        ("samplewise_std_normalization", "samplewise_center"),
    ):
        if standard[name] and not standard[centre]:
            warnings.warn(f"{name} sets {centre} too", stacklevel=5)
    if standard["zca_whitening"] and standard["featurewise_std_normalization"]:
        warnings.warn("zca_whitening takes the place of featurewise_std_normalization", stacklevel=5)
        standard["featurewise_std_normalization"] = False
    if not standard["zca_whitening"]:
        standard["zca_epsilon"] = EPSILON
    return standard
