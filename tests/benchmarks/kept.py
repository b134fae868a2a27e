"""Keeps the figures of benchmarks: one file per benchmark, part by part, so that one part can be measured again."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.store.host import host_facts

__all__ = ["keep"]


def keep(path: Path | None, part: str, figures: Sequence[Mapping[str, Any]], noise: str) -> None:
    """Put a part's figures into the file, in place of what the part found before; nothing without a path.

    Args:
        path: the JSON file.
        part: the part of the benchmark.
        figures: name, value, unit, goal and whether it was reached, of each.
        noise: how quiet the machine was meanwhile.
    """
    if path is None:
        return
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    host = host_facts()
    kept[part] = {
        "on": time.strftime("%Y-%m-%d", time.gmtime()),
        "host": {name: host[name] for name in ("processor", "cpus", "memory_bytes") if name in host},
        "noise": noise,
        "figures": [dict(figure) for figure in figures],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
