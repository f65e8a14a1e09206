"""The commands that make a data set, worked out from its settings: the same command is what mends it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from patchcli import copies
from patchcli.specs import SHARD_BYTES, ExtractSpec
from patchcli.summaries import setting_text

_DEFAULTS = ExtractSpec()


def commands(settings: dict[str, Any], out: str) -> tuple[str, ...]:
    """The commands behind a file's settings, the first first; defaults are left out.

    What no file says has a name in capitals: `SRC` is the folder of images, `PIPELINE.yaml` a file with the pipeline.

    Parameters
    ----------
    settings : dict
        Of the file.
    out : str
        Name of the file.
    """
    augmentations: list[dict[str, Any]] = []
    said = settings.get("augment")
    while said:
        augmentations.insert(0, said)
        said = said.get("before")
    names = [*(f"STEP{number + 1}.h5" for number in range(len(augmentations))), out]
    # what is known of size and compression is that of the last step
    sizes = {name: settings.get(name) for name in ("shard_size", "compression")}
    cut = settings if not augmentations else {name: settings[name] for name in settings if name not in sizes}
    found = [["extract", "SRC", names[0], *_extract(cut)]]
    for number, augment in enumerate(augmentations):
        last = sizes if number + 1 == len(augmentations) else {}
        options = *_augment(augment), *_stored(last, copies.SHARD_BYTES)
        found.append(["augment", names[number], names[number + 1], *options])
    return tuple(shlex.join(["patchcli", *words]) for words in found)


def _extract(settings: dict[str, Any]) -> Iterator[str]:
    patch, stride = settings["patch_size"], settings["stride"]
    yield from ("--patch", setting_text(patch))
    if stride != patch:
        yield from ("--stride", setting_text(stride))
    for name, usual in (("edge", "drop"), ("pad_value", 0), ("layout", "classes"), ("classes", None), ("mode", "auto")):
        value = settings.get(name, usual)
        if value not in (usual, "auto"):
            yield from (f"--{name.replace('_', '-')}", setting_text(value))
    if settings.get("background", list(_DEFAULTS.background)) != list(_DEFAULTS.background):
        yield from ("--background", "#{:02x}{:02x}{:02x}".format(*settings["background"]))
    order, _, seed = settings.get("order", "path").partition(", seed ")
    if order == "shuffle":
        yield "--shuffle"
        yield from ("--seed", seed) if seed != "0" else ()
    yield from _stored(settings, SHARD_BYTES)


def _stored(settings: dict[str, Any], shard_bytes: int) -> Iterator[str]:
    if settings.get("shard_size", shard_bytes) != shard_bytes:
        yield from ("--shard-size", str(settings["shard_size"]))
    if settings.get("compression", "none") != "none":
        yield from ("--compression", settings["compression"])


def _augment(said: dict[str, Any]) -> Iterator[str]:
    pipeline = said["pipeline"]
    keras = pipeline[0].get("Keras") if len(pipeline) == 1 and isinstance(pipeline[0], dict) else None
    if keras is not None and keras.get("p", 1.0) == 1.0:
        yield from _options({name: value for name, value in keras.items() if name != "p"})
    elif pipeline:
        yield from ("--config", "PIPELINE.yaml")
    yield from _options(said["standardize"])
    yield from ("--copies", str(said["copies"]))
    yield from ("--seed", str(said["seed"])) if said["seed"] else ()
    yield from ("--no-keep-original",) if not said["keep_original"] else ()
    yield from ("--balance",) if said["balance"] else ()
    yield from ("--only-split", said["only_split"]) if said["only_split"] else ()


def _options(values: dict[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            yield flag
        elif value is not False and value is not None:
            yield from (flag, ",".join(map(repr, value)) if isinstance(value, list) else str(value))
