"""The workload adapters: how an agent speaks to a bus. All of them in one list."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.agent.adapters.protocol import Adapter

__all__ = ["ADAPTERS", "make_adapter"]

#: "module:class" by name. A module is imported only when its adapter is used: its client may not be installed.
ADAPTERS = {
    "oslo": "harness.agent.adapters.oslo:OsloAdapter",
    "kombu": "harness.agent.adapters.kombu:KombuAdapter",
    "loopback": "harness.agent.adapters.loopback:LoopbackAdapter",
    "proton": "harness.agent.adapters.proton:ProtonAdapter",
    "pyngus": "harness.agent.adapters.pyngus:PyngusAdapter",
}


def make_adapter(name: str) -> Adapter:
    """A new adapter of that name. Raises KeyError, and ImportError where its client is not installed."""
    module, _, attribute = ADAPTERS[name].partition(":")
    adapter: Adapter = getattr(importlib.import_module(module), attribute)()
    return adapter
