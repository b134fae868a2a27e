"""The link backends there are, in the order they are tried, and the choice of one by trying."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from harness.errors import BadInput, MissingCapability
from harness.links.fake import FakeShaper
from harness.links.netem import NetemShaper
from harness.links.nfqueue_shaper import NfqueueShaper
from harness.links.protocol import LinkShaper
from harness.plugins import with_plugins
from harness.runtime.protocol import Runtime

__all__ = ["AUTO", "BUILT_IN", "choose_shaper", "shapers"]

#: Take the first backend that works.
AUTO = "auto"

#: Every backend of ours by name; "auto" tries them in this order.
BUILT_IN: Mapping[str, type[LinkShaper]] = MappingProxyType(
    {
        "netem": NetemShaper,
        "nfqueue": NfqueueShaper,
        "fake": FakeShaper,
    }
)

_ENTRY_POINTS = "femdc_harness.link_shapers"


def shapers() -> dict[str, type[LinkShaper]]:
    """Built-in backends, then those other distributions register under the group `femdc_harness.link_shapers`.

    Raises BadInput when one takes the name of another.
    """
    return with_plugins(BUILT_IN, _ENTRY_POINTS, "link backends")


def choose_shaper(lab: Runtime, wanted: str = AUTO) -> LinkShaper:
    """A backend that works in this lab, found out by trying it.

    Args:
        lab: an opened lab.
        wanted: a backend's name, or "auto" for the first that works.

    Raises:
        BadInput: no backend has that name.
        MissingCapability: none works; says why for each.
    """
    known = shapers()
    if wanted != AUTO and wanted not in known:
        raise BadInput(f"there is no link backend {wanted!r}", expected=f"one of: {', '.join([AUTO, *known])}")
    reasons = []
    for name, shaper in known.items():
        if wanted in (AUTO, name):
            reason = shaper.unavailable(lab)
            if reason is None:
                return shaper()
            reasons.append(f"{name}: {reason}")
    raise MissingCapability(
        "no link backend works here, so there would be no distance: " + "; ".join(reasons),
        where=f"runtime {lab.name}",
        expected="a kernel with sch_netem, or one with NFQUEUE (nfnetlink_queue) and its iptables target",
        remedy="run where one of them is available; `harness doctor` tells what this machine lacks",
    )
