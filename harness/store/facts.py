"""Names of the facts a cell records (`CellWriter.set`) that reports and analysis know, and their shapes.

All are plain JSON and optional: a report leaves out what was not recorded, and says so where it matters.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "BUSES",
    "BUS_METRICS_AFTER",
    "BUS_METRICS_BEFORE",
    "CLOCK",
    "LAX_LINKS",
    "LINKS_AFTER",
    "LINKS_BEFORE",
    "LINKS_PROBED",
    "LINK_EVENTS",
    "MEMORY",
    "NODES_AFTER",
    "NODES_BEFORE",
    "PROCESS_EVENTS",
    "RESUMED",
    "RUNTIME",
    "SETTINGS",
    "SHAPER",
    "STACKS",
    "STOLEN",
]

#: {"shared": bool, ...}: whether all agents and the controller read one CLOCK_MONOTONIC; one-way times need it.
CLOCK: Final = "clock"
#: {bus name: what Bus.facts() returned}; `stand_in: true` is announced in the first line of every report.
BUSES: Final = "buses"
#: {bus name: what Bus.metrics() returned}, before and after the load.
BUS_METRICS_BEFORE: Final = "bus_metrics_before"
BUS_METRICS_AFTER: Final = "bus_metrics_after"
#: [{"link": name, "a": site, "b": site, "declared_rtt_s": x, "measured_rtt_s": y, "ok": bool, "why": text}], one per
#: pair of sites, probed before and after the load; measured_rtt_s is None where no echo came back.
LINKS_BEFORE: Final = "links_before"
LINKS_AFTER: Final = "links_after"
#: How often the links were probed before the load until they, or the machine, were as they must be.
LINKS_PROBED: Final = "links_probed"
#: What was done to the links during the load, in order: [{"due_s", "at_s" (load time), "link", "source", "target",
#: "action", "impairment", "event", "label"}]; see harness.lab.player.
LINK_EVENTS: Final = "link_events"
#: What was done to bus components and agents during the load, in order: [{"due_s", "at_s" (load time; of a "start":
#: when it was ready again), "target", "bus" ("" for an agent), "action", "event", "label"}]; harness.lab.disruption.
PROCESS_EVENTS: Final = "process_events"
#: {"name": backend, "valid": bool, "why": [...], "load": {...}, ...}: the link shaper's evidence about itself since it
#: was applied, under "load" that of the load alone; "valid" and "why" judge the load where there was one.
SHAPER: Final = "shaper"
#: {stack name: {"python": "3.11.2", "packages": ["oslo.messaging==14.7.3", ...]}}
STACKS: Final = "stacks"
#: Share of the machine's processor time that its hypervisor gave to others while the cell ran, 0 to 1.
STOLEN: Final = "stolen"
#: {node: {"cpu_s": x, ...}}: what Runtime.usage() returned before and after the load; {} without containers.
NODES_BEFORE: Final = "nodes_before"
NODES_AFTER: Final = "nodes_after"
#: what Runtime.facts() returned.
RUNTIME: Final = "runtime"
#: The memory verdicts of a cell: harness.memory.result.MemoryResult as JSON. A cell with it has no load.
MEMORY: Final = "memory"
#: Of the whole run: {"runtime": name, "links": backend or "auto", "systems": [the only ones asked for]}.
SETTINGS: Final = "settings"
#: Of the whole run: true if links slower than declared were accepted.
LAX_LINKS: Final = "lax_links"
#: Of the whole run: when it was gone on with (UTC).
RESUMED: Final = "resumed"
