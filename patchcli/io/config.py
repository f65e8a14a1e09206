"""Option files: TOML with options by name."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from patchcli.errors import UsageError
from patchcli.pipeline.hints import place_of

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - one of the two is taken
    import tomli as tomllib

NOT_IN_FILES: Final = frozenset({"config", "help", "version", "list_transforms"})
"""Options that are for the command line only."""

_LISTED: Final = frozenset(
    ("classes", "patch", "stride", "width_shift_range", "height_shift_range", "zoom_range", "brightness_range")
)
"""Options that a list makes sense for."""


def read_config(
    path: bytes, command: str, known: Sequence[str], switches: Collection[str], several: Collection[str] = ()
) -> dict[str, Any]:
    """Options for a command from a TOML file.

    Parameters
    ----------
    path : bytes
    command : str
        Options stand at the top of the file, or in a table named after the command.
    known : sequence of str
        Names of the command's options, with underscores.
    switches : collection of str
        Those of them that take true or false.
    several : collection of str
        Those of them that take more than one value.

    Returns
    -------
    dict
        Values as text, as the command line would have them, so that it checks them alike; switches as booleans, several
        values as a list.

    Raises
    ------
    UsageError
        Not TOML, or a key that is no option: with the nearest one that is.
    """
    shown = os.fsdecode(path)
    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{shown}: not TOML: {error}") from None
    except OSError as error:
        raise UsageError(f"{shown}: cannot be read: {error.strerror}") from None
    table = content.pop(command, {}) if isinstance(content.get(command), dict) else {}
    return options_of({**_without_tables(content), **table}, command, known, switches, shown, several)


def options_of(
    content: Mapping[str, Any],
    command: str,
    known: Sequence[str],
    switches: Collection[str],
    shown: str,
    several: Collection[str] = (),
) -> dict[str, Any]:
    """Options for a command from the content of a file, as `read_config` gives them; `shown` is the file's name."""
    options: dict[str, Any] = {}
    for key, value in content.items():
        place = place_of(shown, key, value)
        name = str(key).replace("-", "_")
        name = "patch" if name == "patch_size" else name
        if name in NOT_IN_FILES:
            raise UsageError(f"{place}: {key} is not an option of {command} in a file: say it on the command line")
        if name not in known:
            offered = [one for one in known if one not in NOT_IN_FILES]
            raise UsageError(f"{place}: {key} is not an option of {command}{nearest(name, offered)}")
        if name in options:
            raise UsageError(f"{place}: {key} stands twice, under another spelling")
        if name in several:
            values = value if isinstance(value, list) and value else [value]
            options[name] = [_as_text(name, one, False, place) for one in values]
        else:
            options[name] = _as_text(name, value, name in switches, place)
    return options


def _without_tables(content: dict[str, Any]) -> dict[str, Any]:
    """Top-level keys; tables are other commands' sections."""
    return {
        key: value
        for key, value in content.items()
        if not (isinstance(value, dict) and key in ("extract", "augment", "inspect"))
    }


def nearest(name: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, or all of them."""
    close = get_close_matches(name, known, 1, 0.5)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"


def _as_text(name: str, value: Any, is_switch: bool, place: str) -> Any:
    if value is None or value == []:
        raise UsageError(f"{place}: {name} is empty: expected a value")
    if is_switch:
        if not isinstance(value, bool):
            raise UsageError(f"{place}: {name} is {value!r}: expected true or false")
        return value
    takes_list = name in _LISTED
    if takes_list and isinstance(value, list) and all(map(_is_scalar, value)):
        return ("x" if name in ("patch", "stride") else ",").join(map(str, value))
    if _is_scalar(value):
        return str(value)
    expected = "text, a number or a list" if takes_list else "text or a number"
    raise UsageError(f"{place}: {name} is {_kind(value)}: expected {expected}")


def _is_scalar(value: object) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def _kind(value: object) -> str:
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else f"a {type(value).__name__}"
