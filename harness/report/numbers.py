"""Numbers as people read them: three significant digits, thousands apart, an en dash where there is none."""

from __future__ import annotations

import math
import re
from typing import Any

__all__ = ["NONE", "count", "factor", "mib", "ms", "natural", "number", "plural", "seconds", "share", "signed"]

#: Stands for a figure that does not exist; screen readers get "none" from the reports.
NONE = "–"


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def number(value: float | None, digits: int = 3) -> str:
    """Significant digits, never an exponent: 0.0412, 2.13, 82.1, 162, 12,300."""
    if value is None or _missing(float(value)):
        return NONE
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    return f"{rounded:,.{max(0, min(places, 6))}f}"


def ms(value: float | None) -> str:
    """Milliseconds for a table: three digits, at most to the hundredth."""
    if value is None or _missing(float(value)):
        return NONE
    value = float(value)
    return f"{value:,.2f}" if abs(value) < 10 else f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"


def mib(value: float | None) -> str:
    """MiB to the tenth."""
    return NONE if value is None or _missing(float(value)) else f"{float(value):,.1f}"


def signed(value: float | None) -> str:
    """With its sign, to the tenth; nothing rounds to "-0.0"."""
    if value is None or _missing(float(value)):
        return NONE
    text = f"{float(value):+,.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text


def seconds(value: float | None) -> str:
    """Seconds with their unit."""
    return NONE if value is None or _missing(float(value)) else f"{number(float(value))} s"


def count(value: float | None) -> str:
    """A whole number with thousands apart."""
    return NONE if value is None or _missing(float(value)) else f"{round(value):,}"


def factor(ratio: float) -> str:
    """How many times: "77x", "1.3x"."""
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.1f}x" if ratio >= 1.05 else f"{ratio:.2f}x"


def share(value: float | None) -> str:
    """A share as per cent."""
    return NONE if value is None or _missing(float(value)) else f"{number(float(value) * 100)} %"


_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "k": 1e3, "m": 1e6, "g": 1e9}
_QUANTITY = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*([A-Za-z%]*).*")


def natural(value: Any) -> tuple[float, str]:
    """A key that sorts "20ms" before "0.1 s" and "9" before "10"; what is no quantity sorts by its text, last."""
    text = str(value)
    found = _QUANTITY.fullmatch(text)
    if found is None:
        return math.inf, text
    unit = found[2].lower()
    return float(found[1]) * _UNITS.get(unit, _UNITS.get(unit[:1], 1.0) if unit not in _UNITS else 1.0), text


def plural(number_of: int, noun: str, many: str | None = None) -> str:
    """ "1 message", "2 messages"."""
    return f"{number_of:,} {noun if number_of == 1 else many or noun + 's'}"
