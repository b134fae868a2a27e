"""The containers of one lab: made, started with their input held, watched, removed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from harness.errors import LabFailure
from harness.images.choice import Image
from harness.runtime.docker.engine import Engine, engine_errors
from harness.runtime.docker.labels import LAB, Leftover, controller_label, labels, leftovers, remove
from harness.runtime.docker.network import HOLD
from harness.runtime.docker.process import Stream

__all__ = ["WORKDIR", "Container", "Containers", "at_once"]

#: The node's own directory, in every container of it.
WORKDIR = "/harness"

#: Labs of this process that are under way.
_UNDER_WAY: set[str] = set()

#: How long an engine that does not answer when a lab ends may take to come back.
_BACK_S = 5.0

#: How many requests an engine is asked to carry out at a time.
_WIDTH = 8

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def at_once(action: Callable[[_Item], _Result], items: Iterable[_Item]) -> list[_Result]:
    """Apply an action to all items, several at a time; all end before the first failure is raised."""
    wanted = list(items)
    with ThreadPoolExecutor(max_workers=_WIDTH, thread_name_prefix="engine") as pool:
        futures = [pool.submit(action, item) for item in wanted]
    return [future.result() for future in futures]


@dataclass(slots=True)
class Container:
    """A container of the lab.

    Attributes:
        node: the node it belongs to.
        image: its image as asked for.
        id: the engine's id of it.
        image_id: the id of the image it was made from, which the record pins.
        held: its input, held open by us; whoever closes it ends the container.
    """

    node: str
    image: str
    id: str
    image_id: str
    held: Stream | None = None


class Containers:
    """Makes and removes what one lab has on an engine.

    Args:
        engine: the engine.
        run_id: identity of the run, carried by everything.
        lab: identity of this lab among those of the run.
    """

    def __init__(self, engine: Engine, run_id: str, lab: str) -> None:
        self._engine = engine
        self._run_id = run_id
        self._lab = lab
        self._made: list[Container] = []
        _UNDER_WAY.add(lab)

    def labels(self, node: str = "") -> dict[str, str]:
        """The labels of something made for this lab."""
        return {**labels(self._run_id, node), LAB: self._lab}

    def name(self, part: str) -> str:
        """The engine-wide name of a part of this lab."""
        return f"femdc-{self._run_id}-{self._lab}-{part}"

    def network(self, request: Mapping[str, Any]) -> None:
        """Make a network from the body of its request. Raises LabFailure."""
        api: Any = self._engine.api
        with engine_errors("making a network", str(request["Labels"].get("femdc-harness.node", request["Name"]))):
            # The SDK's own call knows neither all options nor the order they are checked in; the body is the API's.
            api._result(api._post_json(api._url("/networks/create"), data=dict(request)), True)

    def join(self, container: Container, network: str, address: str, address6: str | None) -> None:
        """Join a running container to one more network. Raises LabFailure."""
        with engine_errors("joining a network", container.node):
            self._engine.api.connect_container_to_network(
                container.id, network, ipv4_address=address, ipv6_address=address6
            )

    def start(
        self,
        node: str,
        image: Image,
        *,
        part: str = "",
        network: tuple[str, str, str | None] | None = None,
        beside: Container | None = None,
        capabilities: Sequence[str] = (),
        hosts: Sequence[str] = (),
        sysctls: Mapping[str, str] | None = None,
        limits: Mapping[str, Any] | None = None,
        ports: Mapping[int, tuple[str, int]] | None = None,
    ) -> Container:
        """Make and start a container.

        Args:
            node: the node; its host name.
            image: its image; the container is made of the very one that was looked up, whatever has that name by now.
            part: suffix of its name where a node has several containers.
            network: the network it joins, its IPv4 and its IPv6 address there.
            beside: share network, processes and working directory with this container instead.
            capabilities: all others are dropped.
            hosts: lines for its /etc/hosts.
            ports: where its ports are published: address and port of the engine's host.

        Raises LabFailure.
        """
        api: Any = self._engine.api
        host: dict[str, Any] = {
            "cap_drop": ["ALL"],
            "cap_add": list(capabilities),
            "security_opt": ["no-new-privileges:true"],
            "sysctls": dict(sysctls or {}),
            **(limits or {}),
        }
        arguments: dict[str, Any] = {"hostname": node}
        if beside is not None:
            shared = f"container:{beside.id}"
            host |= {"network_mode": shared, "pid_mode": shared, "volumes_from": [beside.id]}
            arguments = {}
        elif network is not None:
            name, address, address6 = network
            endpoint = api.create_endpoint_config(ipv4_address=address, ipv6_address=address6)
            arguments["networking_config"] = api.create_networking_config({name: endpoint})
            arguments["volumes"] = [WORKDIR]
            arguments["ports"] = list(ports or ())
            host |= {"network_mode": name, "extra_hosts": list(hosts), "port_bindings": dict(ports or {})}
        with engine_errors(f"making a container from image {image.reference}", node):
            made = api.create_container(
                image.id,
                entrypoint=["sh"],
                command=["-c", HOLD],
                user="0:0",
                working_dir=WORKDIR,
                stdin_open=True,
                name=self.name(f"{node}{part}"),
                labels=self.labels(node),
                healthcheck={"test": ["NONE"]},
                host_config=api.create_host_config(**host),
                **arguments,
            )
        container = Container(node, image.reference, made["Id"], image.id)
        self._made.append(container)
        with engine_errors(f"starting a container from image {image.reference}", node):
            container.held = Stream(api.attach_socket(container.id, params={"stdin": 1, "stream": 1}))
            api.start(container.id)
        return container

    def running(self) -> set[str]:
        """Ids of the containers that run. Raises LabFailure."""
        wanted = {"label": f"{LAB}={self._lab}", "status": "running"}
        with engine_errors("looking after the containers"):
            return {one["Id"] for one in self._engine.api.containers(filters=wanted)}

    def check_one(self, container: Container) -> None:
        """Raise LabFailure, with its last log lines, if this container, just started, has ended."""
        if not self.inspect(container)["State"].get("Running"):
            raise self._ended(container, starting=True)

    def check(self, *, starting: bool = False) -> None:
        """Raise LabFailure, with its last log lines, if a container has ended."""
        running = self.running()
        for container in self._made:
            if container.id not in running:
                raise self._ended(container, starting)

    def _ended(self, container: Container, starting: bool) -> LabFailure:
        how, lines = "it has ended", ""
        with contextlib.suppress(LabFailure), engine_errors("asking after a container", container.node):
            state = self._engine.api.inspect_container(container.id)["State"]
            how = "it was killed for using more memory than its limit" if state.get("OOMKilled") else ""
            how = how or f"it ended with status {state.get('ExitCode')} {state.get('Error') or ''}".rstrip()
            lines = bytes(self._engine.api.logs(container.id, tail=12)).decode(errors="replace").rstrip()
        if lines:
            how += "; its last lines:\n    " + "\n    ".join(lines.splitlines())
        return LabFailure(
            f"a container from image {container.image} does not run: {how}",
            where=container.node,
            expected="an image with a POSIX shell and cat, for this machine's processor" if starting else None,
            remedy=None if starting else "somebody or something ended it: see the node's logs, and the engine's",
        )

    def inspect(self, container: Container) -> dict[str, Any]:
        """What the engine knows of a container. Raises LabFailure."""
        with engine_errors("asking after a container", container.node):
            found: dict[str, Any] = dict(self._engine.api.inspect_container(container.id))
            return found

    def discard(self, container: Container) -> None:
        """Remove one container before the others. Raises LabFailure."""
        with engine_errors("removing a container", container.node):
            self._engine.api.remove_container(container.id, force=True, v=True)
        if container.held is not None:
            container.held.close()
        self._made.remove(container)

    def all(self) -> tuple[Container, ...]:
        """Every container made so far."""
        return tuple(self._made)

    def remove_earlier(self) -> None:
        """Remove what earlier labs of this run have left, because the engine was away or their process was killed.

        Raises LabFailure.
        """
        own = controller_label()
        self._remove(
            left
            for left in leftovers(self._engine, self._run_id)
            if left.driven is False or (left.controller == own and left.lab not in _UNDER_WAY)
        )

    def remove(self) -> list[str]:
        """Remove everything that carries this lab's label; what could not be removed, in words.

        An engine that does not answer gets some seconds to come back.
        """
        _UNDER_WAY.discard(self._lab)
        for container in self._made:
            if container.held is not None:
                container.held.close()
        until = time.monotonic() + _BACK_S
        while True:
            try:
                return self._remove(leftovers(self._engine, self._run_id, lab=self._lab))
            except LabFailure as failure:
                if time.monotonic() > until:
                    return [failure.what]
                time.sleep(0.5)

    def _remove(self, wanted: Iterable[Leftover]) -> list[str]:
        found = list(wanted)
        problems: list[str] = []

        def try_to(left: Leftover) -> None:
            for last in (False, True):
                try:
                    remove(self._engine, left)
                    return
                except LabFailure as failure:
                    if last:
                        problems.append(failure.what)
                    time.sleep(0.2)

        for kind in ("container", "network", "volume"):
            at_once(try_to, [left for left in found if left.kind == kind])
        return problems
