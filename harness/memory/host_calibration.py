"""Where a host's calibration is kept, and how runs find it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from harness.errors import BadInput
from harness.memory.calibration import Calibration
from harness.store.atomic import replace_text

__all__ = ["calibration_path", "keep_calibration", "read_calibration"]


def calibration_path() -> Path:
    """$HARNESS_CALIBRATION, else femdc-harness/calibration.json below the user's state directory (XDG)."""
    given = os.environ.get("HARNESS_CALIBRATION")
    if given:
        return Path(given)
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "femdc-harness" / "calibration.json"


def keep_calibration(calibration: Calibration, path: Path) -> None:
    """Write it. Raises BadInput if that cannot be done."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(path, json.dumps(calibration.to_json(), indent=1) + "\n")
    except OSError as error:
        raise BadInput(f"cannot be written: {error.strerror}", where=str(path)) from None


def read_calibration(path: Path | None = None) -> Calibration | None:
    """The host's calibration; None where there is none, or none this version can read."""
    try:
        return Calibration.from_json(json.loads((path or calibration_path()).read_text(encoding="utf-8")))
    except (OSError, KeyError, TypeError, ValueError):
        return None
