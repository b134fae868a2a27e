"""Who meets whom: the clients and servers of a workload one by one, and the topics they meet at. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.model.workload import SERVED, Spread, Workload

__all__ = ["Meeting", "Seat", "Seats", "seats_of"]


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where operations go: a topic, and one server on it by its name, or (None) whoever listens."""

    topic: str
    server: str | None = None


@dataclass(frozen=True, slots=True)
class Seat:
    """One agent of a workload.

    Attributes:
        name: of the agent, e.g. "call-client-edge-a-1".
        site: where it stands.
        meetings: what a client sends to, in turn; what a server listens on.
        pool: of a notification listener, or None.
    """

    name: str
    site: str
    meetings: tuple[Meeting, ...]
    pool: str | None = None


@dataclass(frozen=True, slots=True)
class Seats:
    """All agents of a workload, in the order they are numbered."""

    clients: tuple[Seat, ...]
    servers: tuple[Seat, ...]

    def reached(self) -> Iterator[tuple[str, Meeting, tuple[str, ...]]]:
        """(client site, what its clients send to, sites of the servers that listen there), each once."""
        listeners: dict[str, dict[str, str]] = {}  # topic -> server name -> site
        for server in self.servers:
            for meeting in server.meetings:
                listeners.setdefault(meeting.topic, {})[server.name] = server.site
        sent = dict.fromkeys((client.site, meeting) for client in self.clients for meeting in client.meetings)
        for site, meeting in sent:
            there = listeners.get(meeting.topic, {})
            found = there.values() if meeting.server is None else [there[meeting.server]]
            if sites := tuple(dict.fromkeys(found)):
                yield site, meeting, sites


def seats_of(name: str, spec: Workload) -> Seats:
    """The agents of a workload of that name."""
    if spec.targets == "per-client":
        return _per_client(name, spec)
    servers = _count(name, "server", spec.servers)
    clients = _count(name, "client", spec.clients)
    placement = spec.placement
    if placement is not None:
        return Seats(
            tuple(
                Seat(agent, site, tuple(Meeting(f"{name}-{there}") for there in placement[site]))
                for agent, site in clients
            ),
            _pooled(spec, [Seat(agent, site, (Meeting(f"{name}-{site}"),)) for agent, site in servers]),
        )
    if isinstance(spec.targets, Spread) and spec.targets.topics is not None:
        topics = [Meeting(f"{name}-{number}") for number in range(1, spec.targets.topics + 1)]
        return Seats(
            tuple(Seat(agent, site, tuple(topics)) for agent, site in clients),
            _pooled(
                spec,
                [
                    # With fewer topics than servers, servers share a topic; with more, each has several.
                    Seat(agent, site, tuple(topics[at :: len(servers)]) or (topics[at % len(topics)],))
                    for at, (agent, site) in enumerate(servers)
                ],
            ),
        )
    named = tuple(Meeting(name, agent) for agent, _ in servers) if spec.targets == "per-server" else ()
    return Seats(
        tuple(Seat(agent, site, named or (Meeting(name),)) for agent, site in clients),
        _pooled(spec, [Seat(agent, site, (Meeting(name),)) for agent, site in servers]),
    )


def _per_client(name: str, spec: Workload) -> Seats:
    """Each client with a topic of its own, and with all of `servers` on it."""
    clients = [
        Seat(agent, site, (Meeting(f"{name}-{number}"),))
        for number, (agent, site) in enumerate(_count(name, "client", spec.clients), start=1)
    ]
    if spec.pattern not in SERVED:
        return Seats(tuple(clients), ())
    total = {site: number * len(clients) for site, number in spec.servers.items()}
    servers = [
        Seat(agent, site, clients[at % len(clients)].meetings)
        for site, number in total.items()
        for at, (agent, site) in enumerate(_count(name, "server", {site: number}))
    ]
    return Seats(tuple(clients), _pooled(spec, servers))


def _count(workload: str, role: str, placed: Mapping[str, int]) -> list[tuple[str, str]]:
    """(name, site) of every agent, site by site."""
    return [
        (f"{workload}-{role}-{site}-{number}", site) for site, count in placed.items() for number in range(1, count + 1)
    ]


def _pooled(spec: Workload, servers: list[Seat]) -> tuple[Seat, ...]:
    """Deals listeners out to the pools in turn, on each topic anew."""
    pools = spec.notify.pools if spec.notify is not None else ()
    if not pools:
        return tuple(servers)
    seen: dict[tuple[Meeting, ...], int] = {}
    dealt = []
    for seat in servers:
        turn = seen.get(seat.meetings, 0)
        seen[seat.meetings] = turn + 1
        dealt.append(Seat(seat.name, seat.site, seat.meetings, pools[turn % len(pools)]))
    return tuple(dealt)
