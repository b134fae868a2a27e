"""The wan gateway of a container lab: where commands for it run, and how it takes the sites' gateway addresses.

Where the engine runs on this very host and we are root, commands run as processes of the host that have entered the
gateway container's network namespace: only there does a link emulator get real-time priority, and the container
itself needs no capability at all. Elsewhere (Docker Desktop, a remote engine, an ordinary user in group docker) they
run inside the container, which then has NET_ADMIN for its own network and may ask for priority.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from harness.errors import LabFailure
from harness.plan.cell import LabPlan, SitePlan
from harness.runtime.docker.network import site_addresses
from harness.runtime.protocol import WAN, Completed, Runtime

__all__ = ["FAR_CAPABILITIES", "close_forwarding", "host_can_enter", "is_on_this_host", "take_site"]

#: What the gateway may do where its commands run inside it.
FAR_CAPABILITIES = ("NET_ADMIN", "NET_RAW", "SYS_NICE", "IPC_LOCK")
_PROGRAMS = ("nsenter", "ip", "iptables-restore", "ip6tables-restore")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def host_can_enter() -> bool:
    """Whether this process can enter a container's network and set it up from there."""
    path = f"{os.environ.get('PATH', '')}:{_PATH}"
    return os.geteuid() == 0 and all(shutil.which(name, path=path) for name in _PROGRAMS)


def is_on_this_host(container: str, pid: int) -> bool:
    """Whether the container's first process, by the engine's account, is a process of this host.

    Its control group is named after the container, whoever else may have that process id here.
    """
    try:
        return pid > 0 and container in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False


def _need(lab: Runtime, argv: list[str], input: bytes = b"") -> Completed:
    done = lab.run(WAN, argv, input=input)
    if done.returncode != 0:
        raise LabFailure(
            f"`{' '.join(argv)}` ended with {done.returncode}: {done.stderr.strip()}",
            where=f"node {WAN}",
            remedy="`harness doctor` tells what this machine lacks",
        )
    return done


def close_forwarding(lab: Runtime) -> bool:
    """Forward nothing between sites, and do not track what will be. Whether tracking could be switched off."""
    tracked = False
    for program in ("iptables-restore", "ip6tables-restore"):
        _need(lab, [program, "--noflush"], b"*filter\n:FORWARD DROP [0:0]\nCOMMIT\n")
        # The engine's name service has NAT rules in this namespace, which make the kernel track every flow.
        raw = b"*raw\n-A PREROUTING -j CT --notrack\nCOMMIT\n"
        tracked |= lab.run(WAN, [program, "--noflush"], input=raw).returncode != 0
    return not tracked


def take_site(lab: Runtime, plan: LabPlan, *, ipv6: bool) -> dict[str, str]:
    """Give the gateway every site's gateway address; the interface at each site, by its name. Raises LabFailure."""
    shown = _need(lab, ["ip", "-4", "-o", "address", "show"]).stdout
    found = {
        address: name for name, address in re.findall(r"^\d+: (\S+?)(?:@\S+)?\s+inet ([\d.]+)/", shown, re.MULTILINE)
    }
    interfaces: dict[str, str] = {}
    lines: list[str] = []
    for site in plan.sites:
        interface = found.get(site_addresses(site).wan)
        if interface is None:
            raise LabFailure("the gateway has no interface there", where=f"site {site.name}")
        interfaces[site.name] = interface
        lines += _addresses(site, interface, ipv6=ipv6)
    _need(lab, ["ip", "-batch", "-"], "".join(f"{line}\n" for line in lines).encode())
    return interfaces


def _addresses(site: SitePlan, interface: str, *, ipv6: bool) -> list[str]:
    lines = [f"address add {site.gateway}/{site.subnet.split('/')[1]} dev {interface}"]
    if ipv6:
        lines.append(f"address add {site.gateway6}/{site.subnet6.split('/')[1]} dev {interface} nodad")
    return lines
