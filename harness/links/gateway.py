"""The wan gateway's firewall: which pairs of sites exchange packets, and what their packets go through.

`rules` is pure; `missing` looks for a gateway; `install` and `refuse_all` put rules into force atomically, for IPv4 and
IPv6 alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.errors import LinkFailure
from harness.runtime.protocol import WAN, Runtime

__all__ = ["Crossing", "accept", "drop", "install", "missing", "queue", "refuse_all", "rules"]

#: The runtime whose nodes share the machine's own network: no backend that shapes packets may touch it.
_WITHOUT_NETWORK = "fake"
_FAMILIES = ("iptables-restore", "ip6tables-restore")


@dataclass(frozen=True, slots=True)
class Crossing:
    """What happens to packets that come in on one site's interface and leave by another's.

    Attributes:
        incoming, outgoing: the gateway's interface on the source and on the target site.
        target: the rule's target and its arguments, see `queue` and `accept`.
    """

    incoming: str
    outgoing: str
    target: tuple[str, ...]


def queue(number: int) -> tuple[str, ...]:
    """Hand packets to an NFQUEUE; without a listener they are dropped (no --queue-bypass)."""
    return ("NFQUEUE", "--queue-num", str(number))


def accept() -> tuple[str, ...]:
    """Let packets pass."""
    return ("ACCEPT",)


def drop() -> tuple[str, ...]:
    """Let nothing pass."""
    return ("DROP",)


def rules(crossings: Sequence[Crossing]) -> str:
    """The whole FORWARD table in iptables-restore's language: the given crossings, everything else dropped.

    One chain per incoming interface, so that a packet is compared with two short lists, not with every pair.
    """
    incoming = list(dict.fromkeys(crossing.incoming for crossing in crossings))
    lines = ["*filter", ":FORWARD DROP [0:0]"]
    lines += [f":from-{name} - [0:0]" for name in incoming]
    lines += ["-F FORWARD"]
    lines += [f"-A FORWARD -i {name} -j from-{name}" for name in incoming]
    for crossing in crossings:
        target = " ".join(crossing.target)
        lines.append(f"-A from-{crossing.incoming} -o {crossing.outgoing} -j {target}")
    return "\n".join([*lines, "COMMIT", ""])


def missing(lab: Runtime) -> str | None:
    """Why this lab has no gateway of its own to work in, None if it has."""
    return f"runtime {lab.name!r} has no network of its own" if lab.name == _WITHOUT_NETWORK else None


def install(lab: Runtime, crossings: Sequence[Crossing]) -> None:
    """Replace the gateway's forwarding rules at once. Raises LinkFailure."""
    _restore(lab, rules(crossings))


def refuse_all(lab: Runtime, incoming: Iterable[str] = ()) -> None:
    """Let nothing cross between sites, and empty the chains of the given interfaces. Raises LinkFailure."""
    chains = [f":from-{name} - [0:0]" for name in incoming]
    _restore(lab, "\n".join(["*filter", ":FORWARD DROP [0:0]", *chains, "-F FORWARD", "COMMIT", ""]))


def _restore(lab: Runtime, text: str) -> None:
    if (reason := missing(lab)) is not None:
        raise LinkFailure(f"the machine's own forwarding rules are not ours to set: {reason}")
    for program in _FAMILIES:
        done = lab.run(WAN, [program, "--noflush"], input=text.encode())
        if done.returncode != 0:
            raise LinkFailure(
                f"the gateway's forwarding rules could not be set: {done.stderr.strip() or done.returncode}",
                where=f"node {WAN}",
                expected=f"{program} to accept them",
                remedy="install iptables (with ip6tables) and make sure the kernel has its filter table",
            )
