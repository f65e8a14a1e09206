"""What users say to generators and flows, checked and in one form."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final, Literal, get_args

import keras
import numpy as np

from patchcli.errors import UsageError
from patchcli.io.shown_pictures import check_format
from patchcli.specs import check_choice

ClassMode = Literal["categorical", "binary", "sparse", "input"] | None
DataFormat = Literal["channels_last", "channels_first"]

CLASS_MODES: Final = ("categorical", "binary", "sparse", "input", None)


@dataclass(frozen=True)
class Saving:
    """Where what is shown is saved as pictures, for eyes."""

    folder: str
    prefix: str
    format: str


def check_class_mode(class_mode: object, n_classes: int = 2) -> None:
    """Raise `UsageError` unless it is one of Keras' that make sense for labels of so many classes."""
    if class_mode not in CLASS_MODES:
        raise UsageError(f"class_mode is {class_mode!r}: expected one of {', '.join(map(repr, CLASS_MODES))}")
    if class_mode == "binary" and n_classes > 2:
        raise UsageError(
            f"class_mode is 'binary', and there are {n_classes} classes: expected 'sparse' or 'categorical'"
        )


def data_format_of(said: str | None) -> DataFormat:
    """What was said, or Keras' own setting."""
    found = keras.config.image_data_format() if said is None else said
    check_choice("data_format", found, get_args(DataFormat))
    return "channels_first" if found == "channels_first" else "channels_last"


def saving_of(folder: str | os.PathLike[str] | None, prefix: str, format: str) -> Saving | None:
    """From what a flow was told; raises `UsageError` when the folder does not exist."""
    if folder is None:
        return None
    if not os.path.isdir(folder):
        raise UsageError(f"save_to_dir is {os.fspath(folder)!r}: expected a folder that exists")
    check_format(format)
    return Saving(os.fspath(folder), prefix, format)


def seed_of(seed: int | None) -> int:
    """What was said, or drawn from numpy's global state, which `keras.utils.set_random_seed` sets."""
    return int(np.random.randint(2**31 - 1)) if seed is None else seed  # noqa: NPY002 - what Keras' users seed


def float_dtype(said: str | None) -> str:
    """What was said, or Keras' `floatx`; raises `UsageError` for what is no floating kind."""
    found = keras.config.floatx() if said is None else said
    try:
        is_float = np.dtype(found).kind == "f"
    except TypeError:
        is_float = False
    if not is_float:
        raise UsageError(f"dtype is {found!r}: expected a floating kind that numpy has, such as 'float32'")
    return str(np.dtype(found))


def check_dtype(said: object) -> None:
    """Raise `UsageError` unless it is a kind of numbers that numpy has, or None."""
    try:
        is_number = said is None or np.dtype(said).kind in "fiu"  # type: ignore[call-overload]
    except TypeError:
        is_number = False
    if not is_number:
        raise UsageError(f"dtype is {said!r}: expected a kind of numbers such as 'float32', or None: as stored")
