"""Quantities as people write them, with units: `80ms`, `100mbit`, `0.5%`, `1KiB`, `20/s`.

Each kind is an annotated pydantic type: the file holds text, the frozen object holds a plain number in the base
unit (seconds, bits per second, a fraction of 1, bytes, events per second), and dumping writes text again.
A bare number is refused, except 0, because a number without a unit is the commonest mistake in such files.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from harness.model.faults import nearest

__all__ = [
    "MOST_OFTEN_PER_S",
    "UNITS",
    "Duration",
    "Fraction",
    "Frequency",
    "Rate",
    "Size",
    "format_duration",
    "format_fraction",
    "format_frequency",
    "format_rate",
    "format_size",
    "like",
    "parse_duration",
    "parse_fraction",
    "parse_frequency",
    "parse_rate",
    "parse_size",
    "share_unit",
]

_NUMBER = re.compile(r"\s*([+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)\s*(.*?)\s*\Z", re.DOTALL)

_DURATION = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_RATE = {"bit": 1.0, "kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_SIZE = {"B": 1.0, "KiB": 1024.0, "MiB": 1024.0**2, "GiB": 1024.0**3, "kB": 1e3, "MB": 1e6, "GB": 1e9}
_FREQUENCY = {"/s": 1.0, "/min": 1.0 / 60.0, "/h": 1.0 / 3600.0}
_FRACTION = {"%": 0.01}

#: The largest value of each kind that can be meant, in its base unit and as it is written.
_LONGEST = (720 * 3600.0, "720h")
_FASTEST = (1e12, "1000gbit")
_LARGEST = (float(1 << 44), "16384GiB")
#: Operations per second nobody can ask for more of.
MOST_OFTEN_PER_S = 1e5
_MOST_OFTEN = (MOST_OFTEN_PER_S, "100000/s")
_LEAST_OFTEN = (0.01 / 3600.0, "0.01/h")

#: Kind of quantity, its units, an example: for documents.
UNITS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("a duration", tuple(_DURATION), "80ms"),
    ("a data rate", tuple(_RATE), "100mbit"),
    ("a size", tuple(_SIZE), "1KiB"),
    ("a rate", tuple(_FREQUENCY), "20/s"),
    ("a percentage", tuple(_FRACTION), "0.5%"),
)


def _parse(
    value: object,
    kind: str,
    units: Mapping[str, float],
    examples: str,
    most: tuple[float, str],
    *,
    fold_case: bool = False,
) -> float:
    """The value in the base unit. Raises ValueError, its text "what is wrong; what was expected"."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if value == 0:
            return 0.0
        raise ValueError(f"{value!r} has no unit; a {kind} is written like {examples}")
    if not isinstance(value, str):
        raise ValueError(f"a {kind} is text with a unit; write it like {examples}")
    match = _NUMBER.match(value)
    if match is None:
        raise ValueError(f"{value!r} is not a {kind}; write it like {examples}")
    number, unit = float(match[1]), match[2]
    if unit == "" and number == 0:
        return 0.0
    wanted = unit.lower() if fold_case else unit
    if wanted not in units:
        what = f"unknown unit {unit!r}" if unit else f"{value!r} has no unit"
        near = _near_unit(wanted, units) if unit else None
        raise ValueError(
            f"{what}; a {kind} takes {', '.join(units)}, like {examples}" + (f"; {match[1]}{near}" if near else "")
        )
    if number < 0:
        raise ValueError(f"a {kind} cannot be negative: {value!r}; write it like {examples}")
    result = number * units[wanted]
    if not math.isfinite(result):
        raise ValueError(f"a {kind} is finite: {value!r}; at most {most[1]}")
    if result > most[0]:
        raise ValueError(f"{value!r} is too large for a {kind}; at most {most[1]}")
    return result


def _near_unit(unit: str, units: Mapping[str, float]) -> str | None:
    """The unit most like one that is none: the same but for its case, or one that it begins with."""
    folded = {name.lower(): name for name in units}
    if unit.lower() in folded:
        return folded[unit.lower()]
    begun = [name for name in units if unit.lower().startswith(name.lower())]
    return max(begun, key=len) if begun else nearest(unit, units)


def parse_duration(value: object) -> float:
    """Seconds from text such as "80ms", "1.5s", "2min". Raises ValueError."""
    return _parse(value, "duration", _DURATION, "80ms, 1.5s or 2min", _LONGEST)


def parse_rate(value: object) -> float:
    """Bits per second from text such as "100mbit" (tc's names, decimal multiples). Raises ValueError."""
    return _parse(value, "data rate", _RATE, "100mbit or 1gbit", _FASTEST, fold_case=True)


def parse_fraction(value: object) -> float:
    """A fraction 0..1 from text such as "0.5%". Raises ValueError."""
    fraction = _parse(value, "percentage", _FRACTION, "0.5%", (math.inf, "100%"))
    if fraction > 1:
        raise ValueError(f"a percentage is at most 100%: {value!r}; write it like 0.5%")
    return fraction


def parse_size(value: object) -> int:
    """Whole bytes from text such as "1KiB" (1024) or "1kB" (1000). Raises ValueError."""
    size = _parse(value, "size", _SIZE, "512B, 1KiB or 4MiB", _LARGEST)
    if abs(size - round(size)) > 1e-9 * max(1.0, size):
        raise ValueError(f"a size is a whole number of bytes: {value!r}; write it like 512B")
    return round(size)


def parse_frequency(value: object) -> float:
    """Events per second from text such as "20/s" or "6/min". Raises ValueError."""
    frequency = _parse(value, "rate of operations", _FREQUENCY, "20/s or 6/min", _MOST_OFTEN)
    if 0 < frequency < _LEAST_OFTEN[0] * (1 - 1e-9):
        raise ValueError(f"{value!r} is too slow for a rate of operations; 0, or at least {_LEAST_OFTEN[1]}")
    return frequency


def share_unit(values: object) -> object:
    """A list whose last item alone has a unit, as people write it: [0, 20, 50 ms] means [0 ms, 20 ms, 50 ms].

    Anything else is returned as it is.
    """
    if not isinstance(values, list) or len(values) < 2 or not isinstance(values[-1], str):
        return values
    match = _NUMBER.match(values[-1])
    unit = match[2] if match else ""
    known = {name for _, names, _ in UNITS for name in names}
    bare = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values[:-1])
    if match is None or not bare or (unit not in known and unit.lower() not in _RATE):
        return values
    return [*(f"{value}{values[-1].strip()[len(match[1]) :]}" for value in values[:-1]), values[-1]]


def _plain(number: float) -> str:
    return f"{number:.12g}" if abs(number) < 1e12 else repr(number)


def _format(value: float, units: list[tuple[float, str]], smallest: str) -> str:
    if value == 0:
        return "0" + smallest
    for factor, unit in units:
        if value >= factor * 0.9999999:
            return _plain(value / factor) + unit
    return _plain(value / units[-1][0]) + units[-1][1]


def format_duration(seconds: float) -> str:
    """Text for a duration in seconds, e.g. "80ms"."""
    return _format(seconds, [(1.0, "s"), (1e-3, "ms"), (1e-6, "us")], "s")


def format_rate(bits_per_second: float) -> str:
    """Text for a data rate in bit/s, e.g. "100mbit"."""
    return _format(bits_per_second, [(1e9, "gbit"), (1e6, "mbit"), (1e3, "kbit"), (1.0, "bit")], "bit")


def format_fraction(fraction: float) -> str:
    """Text for a fraction, e.g. "0.5%"."""
    return _plain(fraction * 100) + "%"


def format_size(size: int) -> str:
    """Text for a size in bytes: the largest binary unit that divides it."""
    for factor, unit in ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB")):
        if size and size % factor == 0:
            return f"{size // factor}{unit}"
    return f"{size}B"


def format_frequency(per_second: float) -> str:
    """Text for a rate of operations, e.g. "20/s"."""
    return _plain(per_second) + "/s"


def like(text: object, value: float) -> str:
    """A value in the base unit written as the quantity of a file's text is: 0.06 like "80ms" is "60ms"."""
    match = _NUMBER.match(text) if isinstance(text, str) else None
    units: tuple[tuple[Mapping[str, float], Callable[[Any], str]], ...] = (
        (_DURATION, format_duration),
        (_RATE, format_rate),
        (_SIZE, format_size),
        (_FREQUENCY, format_frequency),
        (_FRACTION, format_fraction),
    )
    known = (write for names, write in units if match is not None and (match[2] in names or match[2].lower() in names))
    write = next(known, None)
    return str(value) if write is None or value == 0 else write(value)


def _schema(description: str, units: Mapping[str, float], example: str) -> WithJsonSchema:
    names = "|".join(_any_case(unit) if units is _RATE else re.escape(unit) for unit in units)
    return WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": r"^\s*[+-]?0+(\.0*)?\s*$"},
                {
                    "type": "string",
                    "pattern": rf"^\s*\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*({names})\s*$",
                },
                {"const": 0},
            ],
            "description": description,
            "examples": [example],
        }
    )


def _any_case(unit: str) -> str:
    return "".join(f"[{letter.lower()}{letter.upper()}]" for letter in unit)


def _quantity(
    parse: Callable[[object], Any],
    text: Callable[[Any], str],
    description: str,
    units: Mapping[str, float],
    example: str,
) -> tuple[BeforeValidator, PlainSerializer, WithJsonSchema]:
    return BeforeValidator(parse), PlainSerializer(text, return_type=str), _schema(description, units, example)


#: Seconds.
Duration = Annotated[float, *_quantity(parse_duration, format_duration, "a duration", _DURATION, "80ms")]
#: Bits per second.
Rate = Annotated[float, *_quantity(parse_rate, format_rate, "a data rate", _RATE, "100mbit")]
#: A fraction, 0..1.
Fraction = Annotated[float, *_quantity(parse_fraction, format_fraction, "a percentage", _FRACTION, "0.5%")]
#: Bytes.
Size = Annotated[int, *_quantity(parse_size, format_size, "a size", _SIZE, "1KiB")]
#: Operations per second.
Frequency = Annotated[float, *_quantity(parse_frequency, format_frequency, "a rate", _FREQUENCY, "20/s")]
