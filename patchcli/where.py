"""What `--where` says, as values: the text is read here, and `patchcli.selection` applies it.

class=tumor,split=val         both hold
class=tumor|stroma            either
source=patient-07/*           `*` is any text, `?` one character
x=512-,y=0-255,copy!=0        512 and more; from 0 to 255; not 0
class="grade 2, mixed"        in quotes nothing has a meaning; a quote itself is written twice there
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, NamedTuple

from patchcli.errors import UsageError

KEYS: Final = ("class", "label", "split", "source", "group", "shard", "row", "x", "y", "copy", "origin", "digest")
"""What can be asked for."""

_NAMES: Final = ("class", "split")
_GLOBS: Final = ("source", "group")
_RANGE: Final = re.compile(r"(\d{1,18})(-(\d{1,18})?)?", re.ASCII)
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{16}", re.ASCII)
_LISTED: Final = 12  # names in a message


class Span(NamedTuple):
    """Whole numbers from `start` to below `stop`."""

    start: int
    stop: int


class Name(NamedTuple):
    """A name: the text, or the pattern that it is when `*` or `?` stand in it unquoted."""

    text: str
    pattern: str | None


@dataclass(frozen=True, slots=True)
class Condition:
    """One `key=value` or `key!=value`.

    Attributes
    ----------
    key : str
        Of `KEYS`.
    names, spans : tuple
        The alternatives, any of which holds: names, and ranges of numbers.
    negated : bool
        Whether none of them may hold.
    text : str
        As it was written.
    """

    key: str
    names: tuple[Name, ...]
    spans: tuple[Span, ...]
    negated: bool
    text: str


@dataclass(frozen=True, slots=True)
class Where:
    """Conditions of which all hold; `of` reads them."""

    conditions: tuple[Condition, ...]

    @classmethod
    def of(cls, said: str | Sequence[str]) -> Where:
        """Read `class=tumor,split=val`, or several such texts, all of which hold.

        Raises
        ------
        UsageError
            An unknown key, with the nearest known one; no value; a number or digest that is none; an open quote.
        """
        texts = [said] if isinstance(said, str) else said
        return cls(tuple(condition for text in texts for condition in _conditions(text)))

    def __str__(self) -> str:
        return ", ".join(condition.text for condition in self.conditions)


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, or the first of them."""
    listed = list(known)
    close = get_close_matches(name, listed, 1, 0.5)
    if close:
        return f"did you mean {close[0]}?"
    more = f" and {len(listed) - _LISTED:,} more" if len(listed) > _LISTED else ""
    return f"there are {', '.join(listed[:_LISTED])}{more}" if listed else "there are none"


class _Char(NamedTuple):
    """A character of a text, and whether it stood in quotes; an empty one stands for the quotes themselves."""

    char: str
    quoted: bool


def _conditions(text: str) -> Iterator[Condition]:
    for part in _split(_characters(text), ","):
        said = _stripped(part)
        ends = [k for k, one in enumerate(said) if one == ("=", False)]
        if not ends:
            raise UsageError(f"where {text!r}: expected key=value, such as class=tumor, found {_text(said)!r}")
        negated = said[ends[0] - 1 : ends[0]] == [("!", False)]
        key = _text(said[: ends[0] - negated]).strip()
        if key not in KEYS:
            raise UsageError(f"where {text!r}: no key {key!r}: {nearest(key, KEYS)}")
        values = [_stripped(value) for value in _split(said[ends[0] + 1 :], "|")]
        if not all(values):
            raise UsageError(f"where {text!r}: {key} has no value: expected one after = and on both sides of |")
        names, spans = _read(key, values, text)
        yield Condition(key, names, spans, negated, _written(said))


def _characters(text: str) -> list[_Char]:
    found, quoted, at = list[_Char](), False, 0
    while at < len(text):
        char = text[at]
        at += 1
        if char != '"':
            found.append(_Char(char, quoted))
        elif quoted and text[at : at + 1] == '"':
            found.append(_Char(char, True))
            at += 1
        else:
            quoted = not quoted
            found.append(_Char("", True))
    if quoted:
        raise UsageError(f'where {text!r}: a quote is not closed: a name with a quote in it is written "a""b"')
    return found


def _split(chars: Sequence[_Char], separator: str) -> Iterator[list[_Char]]:
    part: list[_Char] = []
    for one in chars:
        if one == (separator, False):
            yield part
            part = []
        else:
            part.append(one)
    yield part


def _stripped(chars: Sequence[_Char]) -> list[_Char]:
    """Without the blanks around it that are not quoted."""
    solid = [k for k, (char, quoted) in enumerate(chars) if quoted or not char.isspace()]
    return list(chars[solid[0] : solid[-1] + 1]) if solid else []


def _text(chars: Iterable[_Char]) -> str:
    return "".join(char for char, _ in chars)


def _written(chars: Sequence[_Char]) -> str:
    return "".join('"' if not char else char + char * (quoted and char == '"') for char, quoted in chars)


def _read(key: str, values: Sequence[list[_Char]], text: str) -> tuple[tuple[Name, ...], tuple[Span, ...]]:
    """The alternatives of a condition, as its key has them."""
    if key in _NAMES:
        return tuple(Name(_text(value), None) for value in values), ()
    if key in _GLOBS:
        return tuple(map(_name, values)), ()
    names, spans = list[Name](), list[Span]()
    for value in values:
        said = _text(value)
        match = _RANGE.fullmatch(said)
        if key == "digest":
            if not _DIGEST.fullmatch(said):
                raise UsageError(f"where {text!r}: digest is {said!r}: expected 16 hex digits")
            spans.append(Span(int(said, 16), int(said, 16) + 1))
        elif match:
            spans.append(_span(match, f"where {text!r}: {key} is {said!r}"))
        elif key == "shard":
            names.append(_name(value))
        else:
            expected = "a whole number, or a range such as 10-20 or 10-"
            raise UsageError(f"where {text!r}: {key} is {said!r}: expected {expected}")
    return tuple(names), tuple(spans)


def _span(match: re.Match[str], found: str) -> Span:
    first = int(match[1])
    if not match[2]:
        return Span(first, first + 1)
    stop = int(match[3]) + 1 if match[3] else 2**63 - 1
    if stop <= first:
        raise UsageError(f"{found}: expected the smaller number first")
    return Span(first, stop)


def _name(chars: Sequence[_Char]) -> Name:
    """A name, and its pattern in the words of `fnmatch`, where brackets have a meaning."""
    special = any(one in (("*", False), ("?", False)) for one in chars)
    pattern = "".join(
        f"[{char}]" if char in ("*", "?", "[") and (quoted or char == "[") else char for char, quoted in chars
    )
    return Name(_text(chars), pattern if special else None)
