"""Steps to transforms that draw from the shared streams: the only module that imports albumentations.

albumentations' own `Compose` and `__call__` are left aside: they seed each transform alike, check and copy a lot, and
only warn of what they do not understand.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from patchcli.errors import UsageError
from patchcli.pipeline.arguments import check_values, constants, for_albumentations, plain, wrong
from patchcli.pipeline.catalogue import NOT_ARGUMENTS, Support, blame, check_support, nearest
from patchcli.pipeline.hints import of_older
from patchcli.pipeline.seeding import Streams
from patchcli.pipeline.tree import Array, Step, Transform

_Shape = tuple[int, int, int]
_LEVELS: Final = np.float32(65535)
_PIXELS: Final = frozenset((1, 2, 3, 4, 6, 8, 12, 16, 24, 32))  # bytes of a pixel that OpenCV can transpose
_TRIALS: Final = 4
_TORCH: Final = "albumentations.pytorch"


def _imported() -> Any:
    """Albumentations, without asking PyPI for a newer version, and without torch: a second and 500 MB for nothing."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    hidden = not {"torch", "albumentations"} & sys.modules.keys()
    if hidden:
        sys.modules[_TORCH] = None  # type: ignore[assignment]
    try:
        import albumentations
    finally:
        if hidden:
            del sys.modules[_TORCH]
    if hidden:
        albumentations.__getattr__ = _of_torch
    return albumentations


def _of_torch(name: str) -> Any:
    """What a user's own script finds in albumentations where torch was not hidden."""
    if name in ("pytorch", "ToTensorV2", "ToTensor3D"):
        with contextlib.suppress(ImportError):
            module = importlib.import_module(_TORCH)
            return module if name == "pytorch" else getattr(module, name)
    raise AttributeError(f"module 'albumentations' has no attribute {name!r}")


albumentations = _imported()


def make_transform(step: Step, streams: Streams, shape: _Shape, dtype: npt.DTypeLike) -> Transform:
    """A step made ready for patches of one shape (H, W, C) and dtype, and tried on made-up ones.

    Raises
    ------
    UsageError
        The transform is not on the list, an argument is unknown or wrong, or it fails on such patches; with the place.
    """
    step = resolved(step, shape, dtype)
    support = check_support(step, shape, dtype)
    made = _Made(step, support, _built(step), streams, shape)
    _try(made, streams, shape, np.dtype(dtype))
    return made


def resolved(step: Step, shape: _Shape, dtype: npt.DTypeLike) -> Step:
    """The step with every argument said, in JSON values and one way of writing them; it makes the same transform.

    Raises
    ------
    UsageError
        As `make_transform`, as far as can be told without building it.
    """
    check_support(step, shape, dtype)
    defaults = _defaults(step.name)
    for key in step.arguments:
        if key not in defaults:
            raise _unknown(step, key, defaults)
    if "size" in defaults:
        defaults["size"] = list(shape[:2])
    said = {**defaults, **step.arguments}
    missing = [key for key, value in said.items() if value is inspect.Parameter.empty]
    if missing:
        raise blame(step, f"{step.name} needs {' and '.join(missing)}")
    arguments = {key: plain(step, key, value) for key, value in said.items()}
    _check_kinds(step, arguments)
    check_values(step, arguments, shape, np.dtype(dtype))
    return replace(step, arguments=arguments, p=_probability(step))


def parameters(name: str) -> list[tuple[str, str]]:
    """Parameters of a transform on the list and their defaults, as text; `p` is the last."""
    step = Step(name, {})
    shown = []
    for key, value in _defaults(name).items():
        needed = "the patch's" if key == "size" else "needed"
        default = needed if value is inspect.Parameter.empty else _text(plain(step, key, value))
        shown.append((key, default))
    return [*shown, ("p", _text(_probability(step)))]


def contiguous(image: Array) -> Array:
    """An image (H, W, C) in C order; mirrored and turned views by OpenCV, or pixel by pixel: numpy copies by value."""
    if image.flags.c_contiguous:
        return image
    size = image.itemsize * image.shape[2]
    turned = abs(image.strides[0]) < abs(image.strides[1])
    base = image.transpose(1, 0, 2) if turned else image
    up, left = (stride < 0 for stride in base.strides[:2])
    base = base[:: -1 if up else 1, :: -1 if left else 1]
    if base.flags.c_contiguous and size in _PIXELS:
        if up or left:
            base = cv2.flip(base, -1 if up and left else int(left))
        return (cv2.transpose(base) if turned else base).reshape(image.shape)
    if image.strides[2] != image.itemsize:
        return np.ascontiguousarray(image)
    pixels = image.view(np.dtype((np.void, size)))
    return pixels.copy(order="C").view(image.dtype).reshape(image.shape)


class _Made:
    """A transform of albumentations as our pipelines want it."""

    def __init__(self, step: Step, support: Support, transform: Any, streams: Streams, shape: _Shape) -> None:
        self.p = _probability(step)
        self.step = step
        self._support = support
        self._transform = transform
        self._shape = shape
        transform.set_random_state(streams.generator, streams.random)

    def draw(self, image: Array) -> Any:
        image = self._seen(image)
        try:
            with np.errstate(all="ignore"):
                return self._drawn(image)
        except Exception as error:
            if self._support.group == "stain":
                return None  # a blank patch has no stain to measure
            raise self._failed(error) from error

    def apply(self, image: Array, drawn: Any) -> Array:
        if drawn is None:
            return image.copy()
        seen = self._seen(image)
        if seen is image and self._support.group != "geometry":
            seen = image.copy()  # some write into what they are given
        try:
            with np.errstate(all="ignore"):
                result = self._transform.apply(seen, **drawn)
        except Exception as error:
            raise self._failed(error) from error
        return self._finished(result, image)

    def _drawn(self, image: Array) -> Any:
        transform, given = self._transform, {"image": image}
        drawn = transform.update_transform_params(params=transform.get_params(), data=given)
        drawn.update(transform.get_params_dependent_on_data(params=drawn, data=given))
        stain = drawn.get("stain_matrix")
        return None if stain is not None and not np.isfinite(stain).all() else drawn

    def _seen(self, image: Array) -> Array:
        """The patch as albumentations can take it."""
        if self._support.through_float and image.dtype == np.uint16:
            return np.divide(image, _LEVELS, dtype=np.float32)
        if self._support.ranged and image.dtype == np.float32:
            return np.clip(image, 0, 1)  # a cubic warp before this one goes beyond
        return image

    def _finished(self, result: Array, image: Array) -> Array:
        if result.shape != self._shape:
            if result.shape != self._shape[:2] or self._shape[2] != 1:
                raise blame(self.step, f"{self.step.name} makes {result.shape} of patches of {self._shape}")
            result = result[:, :, np.newaxis]
        if self._support.through_float and image.dtype == np.uint16:
            return np.rint(np.clip(result * _LEVELS, 0, _LEVELS)).astype(np.uint16)
        if result.dtype != image.dtype:
            raise blame(self.step, f"{self.step.name} makes {result.dtype} of {image.dtype} patches")
        result = contiguous(result)
        return result.copy() if np.may_share_memory(result, image) else result

    def _failed(self, error: Exception) -> UsageError:
        height, width, n_channels = self._shape
        return blame(
            self.step,
            f"{self.step.name} fails on patches of {width}x{height} px with {n_channels} channels: {_one_line(error)}",
        )


def _try(made: _Made, streams: Streams, shape: _Shape, dtype: np.dtype[Any]) -> None:
    """Apply it to noise and to nothing: whatever is left that can fail should do so before the first patch."""
    most = 1 if dtype.kind == "f" else np.iinfo(dtype).max
    noise = (np.random.default_rng(0).random(shape, dtype=np.float32) * most).astype(dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(_TRIALS):
            image = noise if number else np.zeros_like(noise)
            streams.begin(number)
            result = made.apply(image, made.draw(image))
            if not np.isfinite(result).all():
                raise blame(made.step, f"{made.step.name} makes values that are no numbers")


def _built(step: Step) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return _class(step.name)(**for_albumentations(step), p=step.p)
    except Exception as error:
        raise _refused(step, error) from error


def _refused(step: Step, error: Exception) -> UsageError:
    """The error of pydantic or albumentations in one line: for unions pydantic has one complaint for each member."""
    complaints: dict[str, list[str]] = {}
    for each in getattr(error.__cause__, "errors", list)():
        key = str(each["loc"][0]) if each["loc"] else ""
        said = complaints.setdefault(key, [])
        if each["msg"] not in said:
            said.append(each["msg"])
    for key, said in complaints.items():
        reason = "; or ".join(said).replace("Input should be", "should be").replace("valid tuple", "valid list")
        if key:
            return wrong(step, key, step.arguments.get(key), reason)
        return blame(step, f"{step.name}: {reason}")
    return blame(step, f"{step.name}: {_one_line(error)}")


def _unknown(step: Step, key: str, known: Mapping[str, Any]) -> UsageError:
    hint = nearest(str(key), known)
    what = of_older(step.name, str(key)) or (f"did you mean {hint}?" if hint else "")
    what = what and f"; {what}"
    return blame(step, f"{step.name} has no argument {str(key)[:100]!r}{what} (it has {', '.join([*known, 'p'])})")


def _probability(step: Step) -> float:
    if step.p is None:
        return float(inspect.signature(_class(step.name).__init__).parameters["p"].default)
    if isinstance(step.p, bool) or not isinstance(step.p, int | float) or not 0 <= step.p <= 1:
        raise wrong(step, "p", step.p, "a probability from 0 to 1")
    return float(step.p)


def _check_kinds(step: Step, arguments: Mapping[str, Any]) -> None:
    """Refuse text and truth values where pydantic would make numbers of them."""
    fields = _class(step.name).InitSchema.model_fields
    for key, value in arguments.items():
        kind = str(fields[key].annotation)
        flat = str(value)
        if not constants(key) and isinstance(value, str) and "Literal" not in kind:
            raise wrong(step, key, value, "a number, not text")
        if "Any" not in kind and "bool" not in kind and ("True" in flat or "False" in flat):
            raise wrong(step, key, value, "not a matter of true or false")


def _class(name: str) -> Any:
    return getattr(albumentations, name)


def _defaults(name: str) -> dict[str, Any]:
    """Arguments and their defaults; those that albumentations' schema forgot have no effect and are left out."""
    hidden = ("p", *NOT_ARGUMENTS.get(name, ()))
    schema = _class(name).InitSchema.model_fields
    known = inspect.signature(_class(name).__init__).parameters
    return {key: one.default for key, one in known.items() if key in schema and key not in hidden}


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_text(each)}' for key, each in value.items())}}}"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _one_line(error: BaseException) -> str:
    said = str(error).strip().split("\n", 1)[0] or type(error).__name__
    return said.rpartition(" error: ")[2][:200]  # what OpenCV says stands behind its file and line
