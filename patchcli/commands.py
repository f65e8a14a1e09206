"""The commands that make a data set, worked out from its settings: the same command is what mends it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Collection, Iterator
from typing import Any, Final

from patchcli import copies
from patchcli.copies import ALL, AugmentSpec
from patchcli.errors import UsageError
from patchcli.pipeline.keras_ranges import KERAS, KerasRanges
from patchcli.pipeline.standardize import Standard
from patchcli.pipeline.tree import parse
from patchcli.specs import SHARD_BYTES, ExtractSpec, Size
from patchcli.summaries import setting_text

_SPLITS: Final = frozenset(("train", "val", "test"))  # folders that `--layout auto` takes for splits
_USUAL: Final = ExtractSpec()

Options = dict[str, Any]
"""Options by their names in Python, as both the command line and `patchcli.extract` take them."""


def commands(
    settings: dict[str, Any],
    out: str,
    *,
    classes: Collection[str] = (),
    max_pixels: int | None = None,
    skips: bool = False,
) -> tuple[str, ...]:
    """The commands behind a file's settings for a shell, the first first; defaults are left out.

    What no file says has a name in capitals: `SRC` is the folder of images, `PIPELINE.yaml` a file with the pipeline as
    the settings have it. Nor does a file say how the ones that it was made from were stored.

    Parameters
    ----------
    settings : dict
        Of the file.
    out : str
        Name of the file.
    classes : collection of str
        Its classes.
    max_pixels : int, optional
        Largest image that was taken, when that is not the default.
    skips : bool
        Whether unreadable images were left out.

    Returns
    -------
    tuple of str
        Empty where the settings are not as this patchcli writes them.
    """
    try:
        steps = _augmentations(settings)
        cut = {name: value for name, value in settings.items() if name != "augment"}
        stored = {name: cut[name] for name in ("shard_size", "compression")}
        if steps:  # what is known of size and compression is that of the last step
            cut |= {"shard_size": SHARD_BYTES, "compression": "none"}
        options = _extract(_spec(cut), classes)
        augments = [_augment(step, has_splits=cut["layout"] == "splits") for step in steps]
    except (LookupError, TypeError, ValueError, AttributeError, UsageError):
        return ()
    options |= {"on_error": "skip"} if skips else {}
    options |= {} if max_pixels is None else {"max_pixels": max_pixels}
    names = [*(f"STEP{number + 1}.h5" for number in range(len(steps))), out]
    found = [_call(names[0], options) if _needs_python(options) else _line("extract", "SRC", names[0], options)]
    for number, augment in enumerate(augments):
        if "config" in augment and len(augments) > 1:
            augment["config"] = f"PIPELINE{number + 1}.yaml"
        if number + 1 == len(augments):
            augment |= _storing(stored, copies.SHARD_BYTES)
        found.append(_line("augment", names[number], names[number + 1], augment))
    return tuple(found)


def _augmentations(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """What was done to the patches after they were cut, the first first."""
    steps: list[dict[str, Any]] = []
    said = settings.get("augment")
    while said is not None:
        steps.insert(0, said)
        said = said.get("before")
    return steps


def _spec(settings: dict[str, Any]) -> ExtractSpec:
    """The spec behind settings; `ValueError` and others where they are not those of any."""
    order, _, seed = settings["order"].partition(", seed ")
    classes, background = settings["classes"], settings["background"]
    spec = ExtractSpec(
        patch_size=Size(*settings["patch_size"]),
        stride=Size(*settings["stride"]),
        edge=settings["edge"],
        pad_value=settings.get("pad_value", 0),
        layout=settings["layout"],
        classes=None if classes is None else tuple(name.encode(errors="surrogateescape") for name in classes),
        mode=settings["mode"],
        background=(background[0], background[1], background[2]),
        shuffle=order == "shuffle",
        seed=int(seed) if seed else 0,
        shard_size=settings["shard_size"],
        compression=settings["compression"],
    )
    if spec.settings() != settings:
        raise ValueError("settings of another version")
    return spec


def _extract(spec: ExtractSpec, classes: Collection[str]) -> Options:
    settings = spec.settings()
    options: Options = {"patch": setting_text(settings["patch_size"])}
    if spec.stride != spec.patch_size:
        options["stride"] = setting_text(settings["stride"])
    for name in ("edge", "pad_value", "mode", "shuffle", "seed"):
        if getattr(spec, name) != getattr(_USUAL, name):
            options[name] = getattr(spec, name)
    if spec.layout == "splits" or _SPLITS.issuperset(settings["classes"] or classes):
        options["layout"] = spec.layout
    if spec.classes is not None:
        options["classes"] = settings["classes"]
    if spec.background != _USUAL.background:
        options["background"] = "#{:02x}{:02x}{:02x}".format(*spec.background)
    return options | _storing(settings, SHARD_BYTES)


def _storing(settings: dict[str, Any], shard_bytes: int) -> Options:
    usual = {"shard_size": shard_bytes, "compression": "none"}
    return {name: settings[name] for name in usual if settings[name] != usual[name]}


def _augment(said: dict[str, Any], *, has_splits: bool) -> Options:
    """Options of a step; `ValueError` and others where it is not as `augment` says it."""
    own = {name: value for name, value in said.items() if name not in ("input", "before")}
    pipeline, standard = parse(said["pipeline"], name="settings"), Standard.of(**said["standardize"])
    others = {name: said[name] for name in ("copies", "seed", "keep_original", "balance", "only_split")}
    if AugmentSpec(pipeline, standard=standard, **others).settings(pipeline, said["only_split"]) != own:
        raise ValueError("settings of another version")
    ranges = _keras(said["pipeline"])
    options: Options = {"config": "PIPELINE.yaml"} if said["pipeline"] and ranges is None else {**(ranges or {})}
    options |= {**said["standardize"], "copies": said["copies"]}
    options |= {"seed": said["seed"]} if said["seed"] else {}
    options |= {} if said["keep_original"] else {"keep_original": False}
    options |= {"balance": True} if said["balance"] else {}
    if has_splits and said["only_split"] != "train":
        options["only_split"] = said["only_split"] or ALL
    return options


def _keras(pipeline: list[Any]) -> Options | None:
    """Keras' ranges when they are the whole pipeline and always applied, as options say them."""
    said = pipeline[0].get(KERAS) if len(pipeline) == 1 else None
    if said is None or said.get("p") != 1.0:
        return None
    ranges = {name: value for name, value in said.items() if name != "p"}
    return ranges if KerasRanges.of(**ranges).settings() == ranges else None


def _needs_python(options: Options) -> bool:
    """Whether a name cannot be told from two on the command line."""
    return any("," in name for name in options.get("classes", ()))


def _call(out: str, options: Options) -> str:
    said = ", ".join(["'SRC'", repr(out), *(f"{name}={value!r}" for name, value in options.items())])
    return f"python -c {_quoted(f'import patchcli; patchcli.extract({said})')}"


def _line(verb: str, source: str, out: str, options: Options) -> str:
    words = ["patchcli", verb, source, f"./{out}" if out.startswith("-") else out]
    for name, value in options.items():
        words += _option(name.replace("_", "-"), value)
    return " ".join(map(_quoted, words))


def _option(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, bool):
        yield f"--{name}" if value else f"--no-{name}"
    elif isinstance(value, list):
        yield f"--{name}"
        # a list of one size is one all the same when it is said twice
        yield ",".join(map(str, value * 2 if len(value) == 1 and isinstance(value[0], float) else value))
    else:
        yield from (f"--{name}", str(value))


def _quoted(word: str) -> str:
    """A word for a shell; what cannot be seen, or is no text, is escaped as Bash, Zsh and POSIX of 2024 have it."""
    if word.isprintable():
        return shlex.quote(word)
    escaped = word.replace("\\", "\\\\").replace("'", "\\'")
    shown = (c if c.isprintable() else "".join(f"\\{byte:03o}" for byte in os.fsencode(c)) for c in escaped)
    return f"$'{''.join(shown)}'"
