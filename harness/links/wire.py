"""Impairments as plain JSON, for records and for node-side code, which cannot import the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from harness.model.links import GilbertElliott, Impairment

__all__ = ["impairment_from_json", "impairment_to_json"]


def impairment_to_json(impairment: Impairment) -> dict[str, Any]:
    """Every field of an impairment, units as in the class."""
    return asdict(impairment)


def impairment_from_json(value: Mapping[str, Any]) -> Impairment:
    """The inverse of `impairment_to_json`. Raises TypeError for unknown or missing fields."""
    fields = dict(value)
    burst = fields.pop("burst_loss", None)
    return Impairment(burst_loss=GilbertElliott(**burst) if burst else None, **fields)
