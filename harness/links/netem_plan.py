"""The `tc` and `ip` commands by which netem does what is declared. Pure: text in, text out.

Every directed link gets an intermediate device (ifb) of its own in the gateway. Packets that come in on the source
site's interface for the target site's subnet are redirected to it, go through its queueing disciplines, and come back
in as if nothing had happened:

    tbf 1:  splits offloaded super-packets, so that loss and the like act on what would cross a wire
    netem 2:  delay, jitter, loss, duplication, corruption
    tbf 3:  the rate, with a queue limited in bytes

The tree has the same shape whatever is declared, so a change is `tc qdisc change` on what is there: a packet meets
either the old or the new setting. One device per direction, because Linux 6.16 and the stable releases that followed
it refuse a duplicating netem in a tree that holds another one. netem's `rate` is not used to limit: its queue counts
packets. It is used, at a rate that costs nothing, for its side effect: with a rate netem never lets a packet leave
before its predecessor, which is what jitter without reordering means.
"""

from __future__ import annotations

import ipaddress
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.model.links import GilbertElliott, Impairment

__all__ = [
    "TABLES",
    "Shape",
    "change_commands",
    "check_commands",
    "device_commands",
    "flush_commands",
    "missing_parts",
    "netem_arguments",
    "rate_arguments",
    "read_impairment",
    "table_text",
    "teardown_commands",
    "tree_commands",
]

#: A rate no link of a laboratory reaches, bit/s.
_UNLIMITED_BPS = 100e9
#: The rate at which netem keeps packets in order: 12 ns for a full packet.
_IN_ORDER_BPS = 1e12
#: Packets netem may hold: what comes during the delay, at as many packets per second as a machine forwards, or as the
#: rate lets through of the smallest frames; never fewer than the least, because what overruns a rate waits here too.
_PACKETS_PER_S = 6e6
_SMALLEST_FRAME_BYTES = 64
_LEAST_HELD_PACKETS = 1_000_000
#: How far above the delay jitter reaches, in spreads.
_JITTER_REACH = 4.0
#: Jitter needs some delay to spread (tc refuses a distribution without one), seconds.
_LEAST_DELAY_S = 1e-6
_UNLIMITED_QUEUE_BYTES = 1 << 30
#: The queueing disciplines of a direction's tree, from its root.
_TREE = (("1:", "tbf"), ("2:", "netem"), ("3:", "tbf"))
#: What a frame has beside its IP packet: Ethernet header and a VLAN tag.
_FRAME_EXTRA_BYTES = 18
#: How long a limited link may send at once after a pause, seconds.
_BURST_S = 0.000_25
#: netem's tables hold deviations in 1/8192 of the spread, as 16-bit numbers.
_TABLE_SCALE = 8192
_TABLE_ENTRIES = 4096
_TABLE_LARGEST = 32767


@dataclass(frozen=True, slots=True)
class Shape:
    """Where one direction is shaped.

    Attributes:
        device: name of its ifb device.
        incoming: the gateway's interface on the source site.
        subnets: the target site's networks, IPv4 and IPv6.
        mtu_bytes: largest IP packet of that way.
    """

    device: str
    incoming: str
    subnets: tuple[str, ...]
    mtu_bytes: int = 1500


def _uniform(at: float) -> float:
    return 2 * at - 1


def _normal(at: float) -> float:
    return statistics.NormalDist().inv_cdf(at)


def _pareto(at: float) -> float:
    """Shape 3, centred on its mean, scaled by 4/3; as harness.links.nfqueue.effects draws it."""
    return float((1 - at) ** (-1 / 3) - 1.5) * 4 / 3


_QUANTILES = {"uniform": _uniform, "normal": _normal, "pareto": _pareto}

#: The distributions netem reads as tables; ours, so that both backends mean the same by a name.
TABLES = tuple(_QUANTILES)


def table_text(distribution: str) -> str:
    """A distribution as the text tc reads from $TC_LIB_DIR/<name>.dist. Raises KeyError."""
    quantile = _QUANTILES[distribution]
    values = [quantile((index + 0.5) / _TABLE_ENTRIES) * _TABLE_SCALE for index in range(_TABLE_ENTRIES)]
    return "\n".join(str(max(-_TABLE_LARGEST, min(_TABLE_LARGEST, round(value)))) for value in values) + "\n"


def _percent(probability: float) -> str:
    return f"{probability * 100:.8f}".rstrip("0").rstrip(".") + "%"


def _held_packets(impairment: Impairment) -> int:
    per_s = _PACKETS_PER_S
    if impairment.rate_bps is not None:
        per_s = min(per_s, impairment.rate_bps / 8 / _SMALLEST_FRAME_BYTES)
    longest_s = impairment.delay_s + _JITTER_REACH * impairment.jitter_s
    return max(_LEAST_HELD_PACKETS, math.ceil(per_s * longest_s))


def netem_arguments(impairment: Impairment) -> list[str]:
    """What follows `netem`. Every value is always given: what `tc qdisc change` is not told it leaves as it was."""
    delay_s = max(impairment.delay_s, _LEAST_DELAY_S) if impairment.jitter_s else impairment.delay_s
    arguments = ["limit", str(_held_packets(impairment)), "delay", f"{delay_s * 1e6:.3f}us"]
    if impairment.jitter_s:
        arguments += [f"{impairment.jitter_s * 1e6:.3f}us", "distribution", impairment.jitter_distribution]
    if impairment.burst_loss is not None:
        chain = impairment.burst_loss
        arguments += ["loss", "gemodel", *map(_percent, (chain.p, chain.r, chain.loss_bad, chain.loss_good))]
    else:
        arguments += ["loss", "random", _percent(impairment.loss)]
    arguments += ["duplicate", _percent(impairment.duplicate), "corrupt", _percent(impairment.corrupt)]
    in_order = impairment.jitter_s and not impairment.reorder
    return [*arguments, "rate", f"{_IN_ORDER_BPS if in_order else 0:.0f}bit"]


def rate_arguments(impairment: Impairment, mtu_bytes: int) -> list[str]:
    """What follows the `tbf` that limits the rate. The impairment must say its queue if it has a rate."""
    frame_bytes = mtu_bytes + _FRAME_EXTRA_BYTES
    if impairment.rate_bps is None:
        return ["rate", f"{_UNLIMITED_BPS:.0f}bit", "burst", "65536b", "limit", f"{_UNLIMITED_QUEUE_BYTES}b"]
    limit_bytes = max(impairment.queue_bytes or 0, frame_bytes)
    burst_bytes = min(max(2 * frame_bytes, round(impairment.rate_bps / 8 * _BURST_S)), limit_bytes)
    return ["rate", f"{impairment.rate_bps:.0f}bit", "burst", f"{burst_bytes}b", "limit", f"{limit_bytes}b"]


def device_commands(shapes: Sequence[Shape]) -> str:
    """Makes the intermediate devices: lines for `ip -batch`."""
    lines = [f"link add {shape.device} numtxqueues 1 numrxqueues 1 type ifb" for shape in shapes]
    lines += [f"link set {shape.device} mtu {shape.mtu_bytes} txqueuelen 10000 up" for shape in shapes]
    return _text(lines)


def tree_commands(shaped: Sequence[tuple[Shape, Impairment]]) -> str:
    """Builds every tree, then leads the packets into it: lines for `tc -batch`."""
    lines = []
    for shape, impairment in shaped:
        frame_bytes = shape.mtu_bytes + _FRAME_EXTRA_BYTES
        split = f"rate {_UNLIMITED_BPS:.0f}bit burst {frame_bytes}b limit {_UNLIMITED_QUEUE_BYTES}b"
        lines.append(f"qdisc add dev {shape.device} root handle 1: tbf {split}")
        lines += _impairing("add", shape, impairment)
    lines += [f"qdisc add dev {name} ingress" for name in dict.fromkeys(shape.incoming for shape, _ in shaped)]
    for shape, _ in shaped:
        for subnet in shape.subnets:
            family, match = _family(subnet)
            # u32 keeps filters of one preference to one protocol.
            preference = 10 if family == "ip" else 20
            lines.append(
                f"filter add dev {shape.incoming} parent ffff: protocol {family} prio {preference} "
                f"u32 match {match} dst {subnet} action mirred egress redirect dev {shape.device}"
            )
    return _text(lines)


def change_commands(shape: Shape, impairment: Impairment) -> str:
    """Changes a direction in place: lines for `tc -batch`."""
    return _text(_impairing("change", shape, impairment))


def flush_commands(shape: Shape, impairment: Impairment) -> str:
    """Makes a direction's netem and rate anew, so that what they held is gone: lines for `tc -batch`.

    In between the device loses what enters it. To be used only while nothing may leave the tree.
    """
    return _text([f"qdisc del dev {shape.device} parent 1:1 handle 2:", *_impairing("add", shape, impairment)])


def _impairing(verb: str, shape: Shape, impairment: Impairment) -> list[str]:
    netem, rate = netem_arguments(impairment), rate_arguments(impairment, shape.mtu_bytes)
    return [
        f"qdisc {verb} dev {shape.device} parent 1:1 handle 2: netem {' '.join(netem)}",
        f"qdisc {verb} dev {shape.device} parent 2:1 handle 3: tbf {' '.join(rate)}",
    ]


def check_commands(shapes: Iterable[Shape]) -> str:
    """Lists everything packets go through, one JSON document a line: lines for `tc -j -batch`."""
    incoming = dict.fromkeys(shape.incoming for shape in shapes)
    return _text(["qdisc show", *(f"filter show dev {name} parent ffff:" for name in incoming)])


def missing_parts(shapes: Sequence[Shape], listed: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
    """What is not there of what `tree_commands` made, as text; empty if all is.

    Args:
        shapes: the directions.
        listed: what `check_commands` for them printed, line by line.
    """
    incoming = list(dict.fromkeys(shape.incoming for shape in shapes))
    found = {(one.get("dev"), one.get("handle")): one.get("kind") for one in listed[0]} if listed else {}
    wanted = [(shape.device, handle, kind) for shape in shapes for handle, kind in _TREE]
    wanted += [(name, "ffff:", "ingress") for name in incoming]
    missing = [
        f"{device} has no {kind} {handle}" for device, handle, kind in wanted if found.get((device, handle)) != kind
    ]
    led: Counter[tuple[str, str, str]] = Counter()
    for name, filters in zip(incoming, listed[1:], strict=False):
        for one in filters:
            for action in one.get("options", {}).get("actions", ()):
                if action.get("kind") == "mirred" and action.get("mirred_action") == "redirect":
                    led[name, one["protocol"], action.get("to_dev", "")] += 1
    needed = Counter((s.incoming, _family(subnet)[0], s.device) for s in shapes for subnet in s.subnets)
    missing += [f"{name} does not lead all {family} packets to {device}" for name, family, device in needed - led]
    return missing


def _family(subnet: str) -> tuple[str, str]:
    """A network's protocol, and the word u32 matches it by."""
    return ("ip", "ip") if ipaddress.ip_network(subnet).version == 4 else ("ipv6", "ip6")


def teardown_commands(shapes: Sequence[Shape]) -> str:
    """Removes the devices, with them their trees and what waits in them: lines for `ip -batch`."""
    return _text(f"link del {shape.device}" for shape in shapes)


def _text(lines: Iterable[str]) -> str:
    return "".join(line + "\n" for line in lines)


def read_impairment(netem: Mapping[str, Any], tbf: Mapping[str, Any], set_to: Impairment) -> Impairment:
    """The impairment in force, from the `options` of a direction's netem and rate tbf in `tc -j qdisc show`.

    tc prints six significant digits, and tells a queue as a time at the rate, or in bytes where that would be less than
    none. The kernel does not tell which distribution table it uses, so that one value is taken from what was set.
    """
    delay, order = netem.get("delay", {}), netem.get("rate", {})
    burst = netem.get("loss-gemodel")
    rate_bps: float | None = float(tbf["rate"]) * 8
    queue_bytes: int | None = None
    if rate_bps is not None and rate_bps >= _UNLIMITED_BPS:
        rate_bps = None
    elif rate_bps is not None:
        told = tbf.get("limit")
        queue_bytes = round(tbf["lat"] * 1e-6 * rate_bps / 8 + tbf["burst"]) if told is None else int(told)
    jitter_s = float(delay.get("jitter", 0.0))
    return Impairment(
        delay_s=float(delay.get("delay", 0.0)),
        jitter_s=jitter_s,
        jitter_distribution=set_to.jitter_distribution,
        reorder=not order if jitter_s else set_to.reorder,
        loss=float(netem.get("loss-random", {}).get("loss", 0.0)),
        burst_loss=GilbertElliott(burst["p"], burst["r"], burst["1-h"], burst["1-k"]) if burst else None,
        duplicate=float(netem.get("duplicate", {}).get("duplicate", 0.0)),
        corrupt=float(netem.get("corrupt", {}).get("corrupt", 0.0)),
        rate_bps=rate_bps,
        queue_bytes=queue_bytes,
    )
