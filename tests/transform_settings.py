"""Arguments that show what each transform does, photos to try them on, and the copies that they make."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import xxhash
from demo_images import packaged
from PIL import Image

from patchcli.pipeline import transforms
from patchcli.pipeline.catalogue import CATALOGUE
from patchcli.pipeline.seeding import Streams, identity
from patchcli.pipeline.tree import Array, Step, Transform

SETTINGS: dict[str, list[dict[str, Any]]] = {
    # the first of each in every run, all of them in the slow one
    "AdditiveNoise": [
        {},
        {
            "noise_type": "gaussian",
            "spatial_mode": "per_pixel",
            "noise_params": {"mean_range": [0, 0], "std_range": [0.05, 0.1]},
        },
        {"noise_params": {"ranges": [[-0.2, 0.2]]}},
    ],
    "AdvancedBlur": [{}, {"blur_limit": [9, 15]}],
    "Affine": [
        {"rotate": [-30, 30], "scale": [0.8, 1.2], "translate_percent": [-0.1, 0.1]},
        {"rotate": [-30, 30], "border_mode": "replicate", "interpolation": "cubic"},
        {"shear": {"x": [-10, 10], "y": [0, 0]}, "translate_px": {"x": [-9, 9]}},
    ],
    "AutoContrast": [{}, {"cutoff": 5}, {"method": "pil"}],
    "ChromaticAberration": [{"mode": "random"}],
    "CoarseDropout": [{}, {"num_holes_range": [4, 8], "hole_height_range": [3, 9], "hole_width_range": [3, 9]}],
    "CropAndPad": [{"px": [-5, 5]}, {"percent": [-0.1, 0.1], "border_mode": "reflect"}],
    "Downscale": [{}, {"interpolation_pair": {"downscale": "linear", "upscale": "nearest"}}],
    "ElasticTransform": [{"alpha": 50, "sigma": 5}, {"alpha": 50, "sigma": 5, "approximate": True}],
    "Equalize": [{}, {"mode": "pil"}, {"by_channels": False}],
    "GaussNoise": [{"std_range": [0.05, 0.1]}, {}, {"per_channel": False}],
    "GlassBlur": [{}, {"mode": "exact"}],
    "GridDropout": [{}, {"holes_number_xy": [3, 4]}],
    "HEStain": [{}, {"method": "macenko"}, {"method": "vahadane"}, {"augment_background": True}],
    "Illumination": [{}],
    "ImageCompression": [{"quality_range": [40, 60]}, {"compression_type": "webp", "quality_range": [40, 60]}],
    "Morphological": [{}, {"operation": "erosion", "scale": [2, 6]}],
    "MultiplicativeNoise": [{"multiplier": [0.5, 1.5], "elementwise": True}, {}, {"per_channel": True}],
    "OpticalDistortion": [{}, {"mode": "fisheye", "distort_limit": 0.5}],
    "Perspective": [{}, {"fit_output": True}],
    "PixelDropout": [{}, {"per_channel": True, "dropout_prob": 0.3}],
    "PlanckianJitter": [{}, {"mode": "cied", "sampling_method": "gaussian"}],
    "Posterize": [{}, {"num_bits": [2, 5]}],
    "RandomBrightnessContrast": [{}, {"brightness_by_max": False}, {"ensure_safe_range": True}],
    "RandomRain": [{}, {"rain_type": "heavy"}],
    "RandomSizedCrop": [{"min_max_height": [14, 30]}],
    "RandomSnow": [{}, {"method": "texture"}],
    "RandomSunFlare": [{"src_radius": 20}, {"method": "physics_based"}],
    "RandomToneCurve": [{}, {"per_channel": True, "scale": 0.3}],
    "Rotate": [{}, {"interpolation": "lanczos4", "border_mode": 2}, {"rotate_method": "ellipse"}],
    "Solarize": [{}, {"threshold_range": [0.3, 0.7]}],
    "Spatter": [{}, {"mode": "mud"}],
    "Superpixels": [{"p_replace": [0.5, 1]}],
    "ToGray": [{}, {"method": "pca"}, {"method": "max"}, {"method": "average"}, {"method": "desaturation"}],
    "UnsharpMask": [{}, {"threshold": 0}],
    "XYMasking": [{"num_masks_x": 2, "num_masks_y": 2, "mask_x_length": 5, "mask_y_length": [2, 9]}],
}
DTYPES = {"uint8": 1.0, "uint16": 257.0, "float32": 1 / 255}
"""What a grey level of 8 bits is in each."""
SIZE = 40
NUMBERS = [identity(0, b"a/b.png", (64 * i, 0), 1) for i in range(3)]


def settings_of(name: str) -> list[dict[str, Any]]:
    return SETTINGS.get(name, [{}])


def photo(n_channels: int = 3, dtype: str = "uint8", size: int = SIZE) -> Array:
    """A stained tissue, and behind it channels of a retina; read-only."""
    grey = _photo(size)[:, :, :n_channels]
    patch = np.ascontiguousarray((grey * np.float64(DTYPES[dtype])).astype(dtype))
    patch.flags.writeable = False
    return patch


@cache
def _photo(size: int) -> Array:
    stack = []
    for file, left in (("ihc.png", 100), ("retina.jpg", 600)):
        with Image.open(packaged(file)) as image:
            stack.append(np.asarray(image.convert("RGB"))[left : left + size, left : left + size])
    return np.concatenate(stack, axis=2)


def made(name: str, arguments: dict[str, Any], like: Array, streams: Streams) -> Transform:
    height, width, n_channels = like.shape
    return transforms.make_transform(
        Step(name, arguments, 1.0, "aug.yaml, line 7"), streams, (height, width, n_channels), like.dtype
    )


def copies(name: str, arguments: dict[str, Any], patch: Array, numbers: list[int] = NUMBERS) -> dict[int, Array]:
    streams = Streams()
    transform = made(name, arguments, patch, streams)
    found = {}
    for number in numbers:
        streams.begin(number)
        found[number] = transform.apply(patch, transform.draw(patch))
    return found


def known(name: str) -> set[str]:
    return {parameter for parameter, _ in transforms.parameters(name)}


def shown(name: str, dtype: str, n_channels: int) -> bool:
    support = CATALOGUE[name]
    return dtype in support.dtypes and support.takes_channels(n_channels)


def digests(size: int) -> dict[str, str]:
    """What each transform makes of photos, for another process to compare."""
    found = {}
    for name in CATALOGUE:
        for dtype in CATALOGUE[name].dtypes:
            results = copies(name, settings_of(name)[-1], photo(3, dtype, size))
            found[f"{name} {dtype}"] = xxhash.xxh3_64_hexdigest(b"".join(each.tobytes() for each in results.values()))
    return found
