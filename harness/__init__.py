"""femdc-harness: which message bus holds up when clients are far away, and does its client leak?

The public API for notebooks and scripts; importing this package alone costs nothing, the readers load on first use.

    >>> import harness
    >>> run = harness.load_run("results/quickstart")     # a run's directory, or a scenario's: its newest run
    >>> run.latency.groupby("system")["response_ms"].median()
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.report.compare_page import compare
    from harness.store.campaign import Campaign, load_campaign
    from harness.store.run import Run, load_run

__version__ = "0.1.0"

__all__ = ["Campaign", "Run", "__version__", "compare", "load_campaign", "load_run"]

_HOMES = {
    "Campaign": "harness.store.campaign",
    "compare": "harness.report.compare_page",
    "load_campaign": "harness.store.campaign",
    "Run": "harness.store.run",
    "load_run": "harness.store.run",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'harness' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
