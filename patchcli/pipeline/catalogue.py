"""Which of albumentations' transforms may be used, for which patches, and why the others may not.

The table is the result of trying each transform (`tests/test_transforms.py` does so again): the same result in whatever
order, process and memory; never another dtype or shape; for 16-bit and float patches what 8-bit patches would give, at
their own depth. albumentations itself would clip, wrap or only warn. Nothing here imports albumentations.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, get_args

import numpy as np
import numpy.typing as npt

from patchcli.errors import UsageError
from patchcli.pipeline.tree import GroupKind, Step

_ANY_DTYPE: Final = ("uint8", "uint16", "float32")
_ONLY_8: Final = ("uint8",)
_ANY_CHANNELS: Final = "any number of channels"
_ONE_OR_THREE: Final = "1 or 3 channels"
_ONE_THREE_FOUR: Final = "1, 3 or 4 channels"
_THREE: Final = "3 channels"
_TWO_OR_MORE: Final = "2 or more channels"

_TABLE: Final = (
    # 16-bit and float patches are warped as they are
    ("geometry", _ANY_DTYPE, _ANY_CHANNELS, "HorizontalFlip VerticalFlip Rotate SafeRotate Affine Perspective"),
    ("geometry", _ANY_DTYPE, _ANY_CHANNELS, "ElasticTransform GridDistortion OpticalDistortion ThinPlateSpline"),
    ("geometry", _ANY_DTYPE, _ANY_CHANNELS, "CropAndPad RandomResizedCrop RandomSizedCrop RandomGridShuffle"),
    ("geometry", _ANY_DTYPE, _ANY_CHANNELS, "RandomRotate90 Transpose D4 SquareSymmetry"),
    ("morphology", _ANY_DTYPE, _ANY_CHANNELS, "Morphological"),
    ("channels", _ANY_DTYPE, _TWO_OR_MORE, "ChannelShuffle ChannelDropout"),
    ("dropout", _ANY_DTYPE, _ANY_CHANNELS, "CoarseDropout Erasing GridDropout PixelDropout XYMasking"),
    ("nothing", _ANY_DTYPE, _ANY_CHANNELS, "NoOp"),
    # 16-bit patches go through float32, which holds all of their 65,536 levels: albumentations knows 8 bits and 0 to 1
    ("blur", _ANY_DTYPE, _ANY_CHANNELS, "Blur GaussianBlur MotionBlur AdvancedBlur Defocus GlassBlur ZoomBlur"),
    ("blur", _ONLY_8, _ONE_THREE_FOUR, "MedianBlur"),
    ("sharpness", _ANY_DTYPE, _ANY_CHANNELS, "Sharpen UnsharpMask Emboss RingingOvershoot"),
    ("noise", _ANY_DTYPE, _ANY_CHANNELS, "GaussNoise AdditiveNoise MultiplicativeNoise ShotNoise SaltAndPepper"),
    ("noise", _ANY_DTYPE, _THREE, "ISONoise"),
    ("brightness", _ANY_DTYPE, _ANY_CHANNELS, "RandomBrightnessContrast RandomGamma Illumination InvertImg Solarize"),
    ("brightness", _ANY_DTYPE, _ANY_CHANNELS, "PlasmaBrightnessContrast PlasmaShadow"),
    ("colour", _ANY_DTYPE, _ONE_OR_THREE, "ColorJitter"),
    ("colour", _ANY_DTYPE, _THREE, "RGBShift PlanckianJitter ToGray ToSepia"),
    ("stain", _ANY_DTYPE, _THREE, "HEStain"),
    ("weather", _ANY_DTYPE, _THREE, "Spatter"),
    # albumentations makes 8 bits of anything else before these
    ("brightness", _ONLY_8, _ANY_CHANNELS, "AutoContrast RandomToneCurve Posterize RandomShadow"),
    ("brightness", _ONLY_8, _ONE_OR_THREE, "CLAHE Equalize"),
    ("colour", _ONLY_8, _THREE, "HueSaturationValue"),
    ("quality", _ONLY_8, _ANY_CHANNELS, "Downscale ImageCompression Superpixels"),
    ("quality", _ONLY_8, _THREE, "ChromaticAberration"),
    ("weather", _ONLY_8, _THREE, "RandomFog RandomGravel RandomRain RandomSnow RandomSunFlare"),
)
"""Group, dtypes, channels, names."""

_SQUARE: Final = frozenset({"RandomRotate90", "Transpose", "D4", "SquareSymmetry"})
_AS_THEY_ARE: Final = frozenset({"geometry", "morphology", "channels", "dropout", "nothing"})
_OF_ANY_RANGE: Final = frozenset({"Blur", "GlassBlur"})  # the other blurs clip float patches to 0..1

_STANDARDISE: Final = "values are standardised by --rescale, --featurewise-center and the like, after the pipeline"
_SIZE: Final = "the patches of a data set have one size"
_BOXES: Final = "there are no boxes or masks to go by"
_IMAGES: Final = "it needs other images"
_VOLUMES: Final = "it is for volumes"
_BASE: Final = "it is a base class, not a transform"
_WHY_NOT: Final = (
    (_STANDARDISE, "Normalize ToFloat FromFloat ToTensorV2 ToTensor3D"),
    (_SIZE, "Resize LongestMaxSize SmallestMaxSize RandomScale Crop CenterCrop RandomCrop RandomCropFromBorders"),
    (_SIZE, "Pad PadIfNeeded"),
    (_BOXES, "AtLeastOneBBoxRandomCrop BBoxSafeRandomCrop RandomSizedBBoxSafeCrop RandomCropNearBBox"),
    (_BOXES, "CropNonEmptyMaskIfExists MaskDropout ConstrainedCoarseDropout"),
    (_IMAGES, "FDA HistogramMatching PixelDistributionAdaptation TemplateTransform Mosaic OverlayElements MixUp"),
    (_VOLUMES, "CenterCrop3D CoarseDropout3D CubicSymmetry Pad3D PadIfNeeded3D RandomCrop3D GridShuffle3D"),
    (_BASE, "BasicTransform DualTransform ImageOnlyTransform Transform3D"),
    ("it runs code from outside the pipeline", "Lambda"),
    ("it reads a font file", "TextImage"),
    ("it changes the number of channels", "ToRGB"),
    ("it changes no pixel by a visible amount (albumentations 2.0.8)", "FancyPCA"),
    ("it takes a hundred times as long as ElasticTransform, which does much the same", "PiecewiseAffine"),
    ("it leaves pixels unset, with whatever was in memory (albumentations 2.0.8)", "GridElasticDeform"),
    ("it is an old name: use Affine", "ShiftScaleRotate"),
    ("it is for spectrograms: use XYMasking", "FrequencyMasking TimeMasking"),
    ("it is for spectrograms: use HorizontalFlip", "TimeReverse"),
)
LEFT_OUT: Final = {name: reason for reason, names in _WHY_NOT for name in names.split()}
"""Transforms of albumentations that are not on the list, with the reason."""


_NOISE: Final = "one of 65,536 noise fields, then scaled: OpenCV's generator is seeded with 16 bits"
REMARKS: Final = {"GaussNoise": _NOISE, "AdditiveNoise": f"noise_type gaussian: {_NOISE}"}
"""What else a user should know of a transform on the list, albumentations 2.0.8."""


@dataclass(frozen=True, slots=True)
class Support:
    """What a transform is right for.

    Attributes
    ----------
    name, group : str
        As albumentations names it; what kind it is, in a word.
    dtypes : tuple of str
    channels : str
        In words: `1 or 3 channels`.
    square : bool
        Whether it keeps the shape of square patches only.
    ranged : bool
        Whether float patches must lie in 0..1: the transform clips to it, or measures its strength by it.
    through_float : bool
        Whether 16-bit patches are turned into floats in 0..1 for it, and back.
    """

    name: str
    group: str
    dtypes: tuple[str, ...]
    channels: str
    square: bool
    ranged: bool
    through_float: bool

    def takes_channels(self, n: int) -> bool:
        """Whether patches of `n` channels will do."""
        allowed = {_ONE_OR_THREE: n in {1, 3}, _ONE_THREE_FOUR: n in {1, 3, 4}, _THREE: n == 3, _TWO_OR_MORE: n >= 2}
        return allowed.get(self.channels, True)


def _listed() -> Iterable[Support]:
    for group, dtypes, channels, names in _TABLE:
        for name in names.split():
            as_is = group in _AS_THEY_ARE
            ranged = not as_is and name not in _OF_ANY_RANGE
            yield Support(name, group, dtypes, channels, name in _SQUARE, ranged, through_float=not as_is)


CATALOGUE: Final = {support.name: support for support in _listed()}
"""Every transform on the list, by name, in the order in which they are shown."""


_HELD: Final = (*CATALOGUE, *get_args(GroupKind), "Keras")


def support(step: Step) -> Support:
    """What the transform of a step is right for.

    Raises
    ------
    UsageError
        When it is not on the list: with the reason or the nearest name.
    """
    found = CATALOGUE.get(step.name)
    if found is not None:
        return found
    if step.name in LEFT_OUT:
        raise blame(step, f"{step.name} cannot be used: {LEFT_OUT[step.name]}")
    hint = nearest(step.name)
    advice = f"did you mean {hint}?" if hint else "`patchcli augment --list-transforms` shows them"
    raise blame(step, f"no transform is called {step.name[:100]!r}; {advice}")


def blame(step: Step, text: str) -> UsageError:
    """The error with the place of a step, where it has one."""
    return UsageError(f"{step.place}: {text}" if step.place else text)


def nearest(name: str, among: Iterable[str] | None = None) -> str | None:
    """The name that looks most like `name`, upper and lower case aside, or None; among all that a pipeline holds."""
    known = {each.lower(): each for each in (_HELD if among is None else among)}
    found = difflib.get_close_matches(name[:100].lower(), known, n=1)
    return known[found[0]] if found else None


def check_support(step: Step, shape: tuple[int, int, int], dtype: npt.DTypeLike) -> Support:
    """Check that a step's transform is on the list and right for patches of this shape (H, W, C) and dtype.

    Raises
    ------
    UsageError
        `aug.yaml, line 7: HueSaturationValue takes uint8 patches of 3 channels, these are uint16 with 1 channel`.
    """
    found = support(step)
    height, width, n_channels = shape
    name = np.dtype(dtype).name
    if name not in found.dtypes or not found.takes_channels(n_channels):
        raise blame(
            step,
            f"{step.name} takes {' or '.join(found.dtypes)} patches of {found.channels}, "
            f"these are {name} with {n_channels} channel{'s' if n_channels > 1 else ''}",
        )
    if found.square and height != width:
        raise blame(step, f"{step.name} takes square patches, these are {width}x{height} px")
    return found


MOST: Final = {
    # what an argument may be at most: beyond, albumentations would take hours or all memory, and say nothing
    **dict.fromkeys(("num_holes_range", "n_segments"), 10_000),
    **dict.fromkeys(("num_masks_x", "num_masks_y", "src_radius", "max_size"), 4096),
    **dict.fromkeys(("sigma", "sigma_limit", "sigma_x_limit", "sigma_y_limit", "gauss_sigma", "plasma_size"), 1024),
    **dict.fromkeys(("px", "number_of_patches", "num_flare_circles_range", "drop_length"), 1024),
    **dict.fromkeys(("num_steps", "num_grid_xy", "grid", "holes_number_xy"), 256),
    **dict.fromkeys(("blur_limit", "kernel_size", "blur_value", "tile_grid_size", "max_delta"), 255),
    **dict.fromkeys(("iterations", "radius", "num_shadows_limit", "shadow_dimension", "drop_width"), 100),
    **dict.fromkeys(("max_factor", "num_control_points", "percent"), 10),
}
MOST_OF: Final = {
    ("Morphological", "scale"): 255,
    ("Perspective", "scale"): 1,
    ("GlassBlur", "sigma"): 100,
    ("GlassBlur", "iterations"): 20,
    ("ToGray", "num_output_channels"): 3,
}
"""Likewise, where the word means another thing elsewhere."""
LEAST_OF: Final = {("ZoomBlur", "step_factor"): 0.002}

NOT_ARGUMENTS: Final = {"Equalize": ("mask", "mask_params")}
"""Arguments that take arrays or functions."""

FILLS_FIRST_CHANNEL: Final = frozenset(
    ("Perspective", "ElasticTransform", "GridDistortion", "OpticalDistortion", "ThinPlateSpline")
)
"""Transforms that take one `fill` for the first channel's and make the others 0: white corners would be red."""

_WRAPS: Final = "it wraps around at 0 and 255 in albumentations 2.0.8"
_NOT_THE_SAME: Final = "its result is not the same every time (cv2.distanceTransform)"
_RESIZES: Final = "it changes the size of the patch"
REFUSED: Final = {
    ("Sharpen", "method", "gaussian"): _WRAPS,
    ("Illumination", "mode", "corner"): _NOT_THE_SAME,
    ("Rotate", "crop_border", True): _RESIZES,
    ("Affine", "fit_output", True): _RESIZES,
    ("CropAndPad", "keep_size", False): _RESIZES,
    ("Perspective", "keep_size", False): _RESIZES,
}
"""Values of arguments that are wrong for whatever patch, with the reason."""

ONLY_EIGHT_BIT: Final = frozenset({("fill", "inpaint_telea"), ("fill", "inpaint_ns"), ("method", "from_lab")})
"""Values of arguments for which albumentations makes 8 bits of other patches."""
