"""Keras' ImageDataGenerator for patches: cut first, each patch augmented by itself, each with its label."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from patchcli.errors import UsageError
from patchcli.io.headers import parse_color
from patchcli.readers.cuts import cutting_of
from patchcli.readers.keras.arguments import data_format_of
from patchcli.readers.keras.flowing import Flowing
from patchcli.specs import Edge


class PatchImageDataGenerator(Flowing):
    """Batches of augmented patches, as Keras' ImageDataGenerator gives batches of images.

    All of its parameters, with the same names, order and defaults, and three more that say how images are cut.
    What differs on purpose: randomness depends on the seed, the image's name, the patch's corner and the epoch, never
    on batches or workers; patches of the validation subset are not augmented; widths move columns and heights rows;
    what needs `fit` is refused before it, not left out.

    Parameters
    ----------
    featurewise_center, samplewise_center, featurewise_std_normalization, samplewise_std_normalization, zca_whitening, \
zca_epsilon, rotation_range, width_shift_range, height_shift_range, brightness_range, shear_range, zoom_range, \
channel_shift_range, fill_mode, cval, horizontal_flip, vertical_flip, rescale
        As the options of `patchcli augment`; each patch is augmented after it was cut, nothing crosses its border.
    preprocessing_function : callable, optional
        Called with each augmented patch, float32 in the axes of `data_format`, before it is rescaled.
    data_format : {"channels_last", "channels_first"}, optional
        By default Keras' setting.
    validation_split : float
        Part of the images of each class, the first ones by name, that `subset="validation"` takes: whole images.
    interpolation_order : {1, 0}
        Linear, or nearest neighbour, as masks need it.
    dtype : str, optional
        By default Keras' `floatx`.
    patch_size : int or (int, int), optional
        Width and height, px; None: whole images.
    overlap : float or int, optional
        Fraction of the patch below 1, or px.
    edge : {"drop", "shift", "pad", "reflect"}
    stride : int or (int, int), optional
        Instead of `overlap`.
    pad_value : int
        For `edge="pad"`.
    background : str
        What transparency is composited on.

    Raises
    ------
    UsageError
        A value that cannot be; it is a ValueError too.

    Examples
    --------
    >>> generator = PatchImageDataGenerator(rescale=1 / 255, horizontal_flip=True, patch_size=64, overlap=0.5)
    >>> train = generator.flow_from_directory("data", batch_size=32)   # doctest: +SKIP
    >>> model.fit(train, epochs=10)                                    # doctest: +SKIP
    """

    def __init__(
        self,
        featurewise_center: bool = False,
        samplewise_center: bool = False,
        featurewise_std_normalization: bool = False,
        samplewise_std_normalization: bool = False,
        zca_whitening: bool = False,
        zca_epsilon: float = 1e-6,
        rotation_range: float = 0,
        width_shift_range: object = 0.0,
        height_shift_range: object = 0.0,
        brightness_range: Sequence[float] | None = None,
        shear_range: float | str = 0.0,
        zoom_range: float | Sequence[float] = 0.0,
        channel_shift_range: float = 0.0,
        fill_mode: str = "nearest",
        cval: float = 0.0,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        rescale: float | str | None = None,
        preprocessing_function: Callable[[Any], Any] | None = None,
        data_format: str | None = None,
        validation_split: float = 0.0,
        interpolation_order: int = 1,
        dtype: str | None = None,
        *,
        patch_size: int | str | tuple[int, int] | None = None,
        overlap: float | str | None = None,
        edge: Edge = "drop",
        stride: int | str | tuple[int, int] | None = None,
        pad_value: int = 0,
        background: str | tuple[int, int, int] = "white",
    ) -> None:
        super().__init__(
            standard={
                "rescale": rescale or None,
                "samplewise_center": samplewise_center,
                "samplewise_std_normalization": samplewise_std_normalization,
                "featurewise_center": featurewise_center,
                "featurewise_std_normalization": featurewise_std_normalization,
                "zca_whitening": zca_whitening,
                "zca_epsilon": zca_epsilon,
            },
            ranges={
                "rotation_range": rotation_range,
                "width_shift_range": width_shift_range,
                "height_shift_range": height_shift_range,
                "shear_range": shear_range,
                "zoom_range": zoom_range,
                "channel_shift_range": channel_shift_range,
                "brightness_range": brightness_range,
                "horizontal_flip": horizontal_flip,
                "vertical_flip": vertical_flip,
                "fill_mode": fill_mode,
                "cval": cval,
                "interpolation_order": interpolation_order,
            },
            preprocessing_function=preprocessing_function,
            data_format=data_format_of(data_format),
            dtype=dtype,
        )
        if validation_split and not 0 < validation_split < 1:
            raise UsageError(f"validation_split is {validation_split}: expected a part between 0 and 1, such as 0.2")
        self.validation_split = float(validation_split)
        self.cutting = cutting_of(patch_size, overlap, stride, edge, pad_value)
        self.background = parse_color(background)
