"""Seeds: every random choice of a run derives from the scenario's one seed, by name, so none depends on another."""

from __future__ import annotations

import hashlib

__all__ = ["derive"]


def derive(seed: int, *labels: str | int) -> int:
    """A 63-bit seed for the purpose the labels name; equal inputs give equal seeds on every machine."""
    text = "\x1f".join([str(seed), *map(str, labels)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
