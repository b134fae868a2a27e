"""Draws from the distributions a task may name: sizes of payloads, durations of service. Seeded, constant memory.

| kind        | keys                              | draws                                                      |
|-------------|-----------------------------------|------------------------------------------------------------|
| fixed       | value                             | always the value                                           |
| uniform     | low, high                         | evenly between the two                                     |
| exponential | mean, [max]                       | with that mean                                             |
| lognormal   | median, sigma, [max]              | median * exp(sigma * N(0, 1))                              |
| choice      | values, [weights]                 | one of the values                                          |

In a task the value keys carry the unit as a suffix-free synonym: `bytes` for a payload, `seconds` for a duration.
"""

from __future__ import annotations

import math
import random
from typing import Any, Callable, Mapping

__all__ = ["Draw", "make_draw"]

Draw = Callable[[], float]

_KEYS = {
    "fixed": (("value",), ()),
    "uniform": (("low", "high"), ()),
    "exponential": (("mean",), ("max",)),
    "lognormal": (("median", "sigma"), ("max",)),
    "choice": (("values",), ("weights",)),
}


def make_draw(spec: Mapping[str, Any], seed: int, unit: str) -> Draw:
    """A function that draws one value per call.

    Args:
        spec: as in the table above; `unit` ("bytes", "seconds") may be used as the key of a fixed value.
        seed: where the draws come from.
        unit: name of the value in the task.

    Raises ValueError naming the key.
    """
    values = {("value" if key == unit else key): value for key, value in spec.items()}
    kind = values.pop("kind", "fixed")
    if kind not in _KEYS:
        raise ValueError("kind: {!r} is not one of {}".format(kind, ", ".join(_KEYS)))
    required, optional = _KEYS[kind]
    for key in required:
        if key not in values:
            raise ValueError("%s: missing" % (unit if key == "value" else key))
    for key, value in values.items():
        if key not in required + optional:
            raise ValueError(f"{key}: not a key of a {kind} distribution")
        for number in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not 0 <= number < math.inf:
                raise ValueError(f"{key}: {number!r} is not a number of at least 0")
    return _make(kind, values, random.Random(seed))


def _make(kind: str, values: Mapping[str, Any], source: random.Random) -> Draw:
    if kind == "fixed":
        value = values["value"]
        return lambda: value
    if kind == "uniform":
        low, high = values["low"], values["high"]
        if high < low:
            raise ValueError("high: less than low")
        return lambda: source.uniform(low, high)
    if kind == "choice":
        choices, weights = list(values["values"]), values.get("weights")
        if not choices or (weights is not None and (len(weights) != len(choices) or sum(weights) <= 0)):
            raise ValueError("values: needs at least one, and as many weights")
        return lambda: source.choices(choices, weights)[0]
    most = values.get("max", math.inf)
    if kind == "exponential":
        mean = values["mean"]
        return lambda: min(most, source.expovariate(1.0 / mean) if mean else 0.0)
    median, sigma = values["median"], values["sigma"]
    return lambda: min(most, median * math.exp(source.gauss(0.0, sigma)))
