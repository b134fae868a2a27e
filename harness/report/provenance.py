"""What really ran: everything a reader needs to judge a result or make it again, by heading."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.store import facts

if TYPE_CHECKING:
    from harness.store.run import Run

__all__ = ["directory_of", "provenance"]


def provenance(run: Run) -> dict[str, dict[str, Any]]:
    """Facts by heading: the run, the machine, each bus, each stack, the links' shaper, the clocks."""
    manifest = run.manifest
    found: dict[str, dict[str, Any]] = {
        "Run": {
            "run": run.id,
            "scenario": manifest.scenario,
            "state": run.state,
            "started": manifest.started,
            "ended": manifest.ended or "not recorded",
            "harness": manifest.harness,
            "seed": manifest.seed,
            "scenario fingerprint (SHA-256)": manifest.fingerprint,
            "command": shlex.join(manifest.command) if manifest.command else "not recorded",
            "directory": directory_of(run),
            "gone on with": ", ".join(manifest.facts.get(facts.RESUMED, ())) or "never",
            "to run it again": _again(run),
        },
        "Machine": dict(manifest.host),
    }
    for cell in run.all_cells:
        if cell.record is None:
            continue
        known = cell.record.facts
        for name, value in (known.get(facts.BUSES) or {}).items():
            heading = f"Bus of {cell.system}" + (f" ({name})" if name != "main" else "")
            found.setdefault(heading, _flat(value))
        for name, value in (known.get(facts.STACKS) or {}).items():
            found.setdefault(f"Stack {name}", _flat(value))
        if known.get(facts.RUNTIME):
            found.setdefault("Runtime", _flat(known[facts.RUNTIME]))
        if known.get(facts.SHAPER):
            found.setdefault(f"Link shaper in cell {cell.id}", _flat(known[facts.SHAPER]))
        if known.get(facts.CLOCK):
            found.setdefault("Clocks", _flat(known[facts.CLOCK]))
    return found


def _again(run: Run) -> str:
    """The command that runs the very scenario again, as it was resolved, wherever its file is now."""
    from harness.store.layout import SCENARIO

    words = ["harness", "run", f"{directory_of(run)}/{SCENARIO}"]
    settings = run.manifest.facts.get(facts.SETTINGS) or {}
    words += [word for key in ("runtime", "links") if settings.get(key) for word in (f"--{key}", settings[key])]
    words += [word for system in settings.get("systems", ()) for word in ("--system", system)]
    words += ["--lax-links"] if run.manifest.facts.get(facts.LAX_LINKS) else []
    return shlex.join(words)


def directory_of(run: Run) -> str:
    """Where a run is: seen from here where it is below, else in full."""
    path, here = run.path.absolute(), Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested facts as one level of "a.b" keys; lists as text."""
    if not isinstance(value, dict):
        text = ", ".join(str(item) for item in value) if isinstance(value, list) else value
        return {prefix or "value": text}
    flat: dict[str, Any] = {}
    for key, item in value.items():
        name = f"{prefix}.{key}" if prefix else str(key)
        flat.update(_flat(item, name))
    return flat
