"""The `docker` runtime: a container per node, a network per site, the wan gateway a container of its own.

Everything is made over the engine's API and carries the run's id as a label. No container is privileged, no port is
published unless the scenario asks for it, and nodes have no capabilities: they need none, because the gateway is their
default route.

A node whose image has no Python, or that needs interpreters of several images, gets further containers beside the
first one; they share its network, its processes and its working directory, and a command runs in the container that
has its program.
"""

from __future__ import annotations

import contextlib
import platform
import secrets
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import LabFailure
from harness.images.choice import Image, LabImages, ready_images
from harness.plan.cell import LabPlan, NodePlan
from harness.runtime.docker import files, gateway, network
from harness.runtime.docker.containers import WORKDIR, Container, Containers, at_once
from harness.runtime.docker.engine import Engine, connect
from harness.runtime.docker.figures import Figures
from harness.runtime.docker.process import ContainerProcess, run_in
from harness.runtime.host_files import HostFiles
from harness.runtime.host_processes import HostProcesses
from harness.runtime.protocol import WAN, Completed, NodeProcess

__all__ = ["DockerRuntime"]

#: What `python` is called in every container; where the gateway's commands run on the host, the host's own.
_PYTHON = "python3"


class DockerRuntime:
    """Nodes as containers. See `harness.runtime.protocol.Runtime` for the contract.

    Args:
        run_id: identity of the run; everything made carries it.
        logs: directory that receives <log>.log of every process.
        enter: whether the gateway's commands run on this host; None to find out.
    """

    name = "docker"

    def __init__(self, run_id: str, logs: Path, *, enter: bool | None = None) -> None:
        self._run_id = run_id
        self._enter = enter
        self._logs = logs
        self._plan: LabPlan | None = None
        self._nodes: dict[str, Container] = {}
        self._beside: dict[str, dict[str, Container]] = {}
        self._inside: list[str] = []
        self._interfaces: dict[str, str] = {}
        self._processes: list[ContainerProcess] = []
        self._lock = threading.Lock()
        self._facts: dict[str, object] = {}
        self._figures: Figures | None = None
        self._over = threading.Event()
        self._files: HostFiles
        self._host: HostProcesses
        self._engine: Engine
        self._containers: Containers

    @property
    def python(self) -> str:
        return _PYTHON

    # -- life -------------------------------------------------------------------------------------------------------

    def __enter__(self) -> DockerRuntime:
        self._engine = connect()
        self._files = HostFiles(self._run_id, self._logs)
        self._host = HostProcesses(self._files)
        self._containers = Containers(self._engine, self._run_id, secrets.token_hex(3))
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        if self._figures is not None:
            self._figures.stop()
        self._host.end()
        problems = self._containers.remove()
        for process in self._processes:
            process.close()
        self._engine.close()
        self._files.remove()
        if problems and not any(exc_info):
            raise LabFailure(
                f"not everything could be removed: {problems[0]}",
                where=self._run_id,
                remedy="once the engine is back, `harness cleanup` removes what is left",
            )

    def open(self, plan: LabPlan) -> None:
        self._plan = plan
        published = next((node for node in plan.nodes if node.publish), None)
        if published is not None and not self._engine.sets_default_route:
            raise LabFailure(
                f"{self._engine.name} publishes no ports of networks without a way out, as those of a lab are",
                where=f"node {published.name}",
                remedy="leave out publish, or use Docker",
            )
        images = ready_images(self._engine, plan)
        self._files.make_workdirs(())
        self._containers.remove_earlier()
        ipv6 = self._make_networks(plan)
        self._open_gateway(plan, images.tools, ipv6)
        hosts = network.extra_hosts(plan, ipv6=ipv6)

        def start(node: NodePlan) -> None:
            container = self._containers.start(
                node.name,
                images.of(node),
                network=(self._containers.name(node.site), node.address, node.address6 if ipv6 else None),
                hosts=hosts,
                sysctls=network.NODE_SYSCTLS,
                limits=network.host_limits(node),
                ports=network.host_ports(node),
            )
            try:
                if not self._engine.sets_default_route:
                    self._set_default_route(node, container, images.tools, ipv6)
                beside = self._start_beside(node, container, images)
            except LabFailure:
                self._containers.check_one(container)  # if that is why, it says why
                raise
            with self._lock:
                self._nodes[node.name] = container
                self._beside[node.name] = beside

        at_once(start, plan.nodes)
        self._containers.check(starting=True)
        watched = [(WAN, self._nodes[WAN].id), *((node.name, self._nodes[node.name].id) for node in plan.nodes)]
        threading.Thread(target=self._watch, name="containers", daemon=True).start()
        self._figures = Figures(self._engine, watched, self._logs / "containers.csv")
        self._facts |= {"ipv6": ipv6, "images": images.facts()}

    def _set_default_route(self, node: NodePlan, container: Container, image: Image, ipv6: bool) -> None:
        """Make the site's gateway the node's default route. The node may not do so itself, so a container that shares
        its network and is gone at once does."""
        site = self._opened().site(node.site)
        helper = self._containers.start(node.name, image, part="-route", beside=container, capabilities=("NET_ADMIN",))
        for family, address in (("-4", site.gateway), *([("-6", site.gateway6)] if ipv6 else [])):
            argv = ["ip", family, "route", "replace", "default", "via", address]
            code, output = run_in(self._engine, helper.id, argv, where=node.name)
            if code != 0:
                said = output.decode(errors="replace").strip()
                raise LabFailure(f"`{' '.join(argv)}` ended with {code}: {said}", where=f"node {node.name}")
        self._containers.discard(helper)

    def _start_beside(self, node: NodePlan, container: Container, images: LabImages) -> dict[str, Container]:
        """The further containers of a node, by the programs that run in them."""
        more = images.beside(node)
        if not images.has_python(node) and not self._has_python(container):
            more = (*more, images.tools)
        beside: dict[str, Container] = {}
        for number, image in enumerate(more, start=1):
            other = self._containers.start(node.name, image, part=f"-{number}", beside=container)
            beside = {**dict.fromkeys(image.programs or (), other), **beside}
        own = images.own_programs(node)
        return {program: other for program, other in beside.items() if program not in own}

    def _has_python(self, container: Container) -> bool:
        """Whether an image somebody else made has a Python that our node-side code runs on."""
        argv = ["sh", "-c", 'exec "$0" -c "import sys; sys.exit(sys.version_info < (3, 8))"', _PYTHON]
        return run_in(self._engine, container.id, argv, where=container.node)[0] == 0

    def _make_networks(self, plan: LabPlan) -> bool:
        """A network per site; whether they carry IPv6, which an engine or its kernel may not."""
        ipv6 = Path("/proc/sys/net/ipv6").exists() or not self._engine.url.startswith("unix:")

        def make(index: int) -> None:
            site = plan.sites[index]
            request = network.network_request(
                self._containers.name(site.name),
                site,
                self._containers.labels(site.name),
                ipv6=ipv6,
                major=self._engine.major if self._engine.name == "docker" else 0,
                internal=not self._engine.sets_default_route,
                reached=any(node.publish for node in plan.nodes if node.site == site.name),
            )
            self._containers.network(request)

        # One after the other: engines allocate addresses under one lock, and the first refusal should be the only one.
        for index in range(len(plan.sites)):
            make(index)
        return ipv6

    def _open_gateway(self, plan: LabPlan, image: Image, ipv6: bool) -> None:
        enter = self._enter if self._enter is not None else gateway.host_can_enter()
        wan = self._start_gateway(plan, image, ipv6, enter)
        pid = int(self._containers.inspect(wan)["State"]["Pid"])
        if enter and not gateway.is_on_this_host(wan.id, pid):
            if self._enter:
                raise LabFailure("the engine does not run on this host", where=self._engine.url)
            self._containers.discard(wan)
            enter = False
            wan = self._start_gateway(plan, image, ipv6, enter)
        self._nodes[WAN] = wan
        self._inside = ["nsenter", f"--net=/proc/{pid}/ns/net", "--"] if enter else []
        untracked = gateway.close_forwarding(self)
        for site in plan.sites[1:]:
            own = network.site_addresses(site)
            self._containers.join(wan, self._containers.name(site.name), own.wan, own.wan6 if ipv6 else None)
        self._interfaces = gateway.take_site(self, plan, ipv6=ipv6)
        self._facts |= {
            "gateway": "processes of this host in its network" if enter else "processes in its container",
            "gateway_untracked": untracked,
        }

    def _start_gateway(self, plan: LabPlan, image: Image, ipv6: bool, enter: bool) -> Container:
        first = plan.sites[0]
        own = network.site_addresses(first)
        return self._containers.start(
            WAN,
            image,
            network=(self._containers.name(first.name), own.wan, own.wan6 if ipv6 else None),
            capabilities=() if enter else gateway.FAR_CAPABILITIES,
            sysctls=network.wan_sysctls(ipv6=ipv6),
        )

    def _watch(self) -> None:
        """Once a second: processes whose container has ended have ended, whatever their streams say."""
        while not self._over.wait(1.0):
            with contextlib.suppress(LabFailure):  # the engine is gone, and all streams with it
                with self._lock:
                    processes = list(self._processes)
                running = self._containers.running()
                for process in processes:
                    if process.poll() is None and process.container not in running:
                        process.hang_up()

    def interface(self, site: str) -> str:
        return self._interfaces[self._opened().site(site).name]

    def _opened(self) -> LabPlan:
        if self._plan is None:
            raise LabFailure("the lab has not been opened", where=self._run_id)
        return self._plan

    # -- files ------------------------------------------------------------------------------------------------------

    def _on_host(self, node: str) -> bool:
        return node == WAN and bool(self._inside)

    def workdir(self, node: str) -> str:
        return self._files.workdir(node) if self._on_host(node) else WORKDIR

    def put(self, node: str, source: Path, name: str) -> str:
        if self._on_host(node):
            return self._files.put(node, source, name)
        files.send(self._engine, self._container(node).id, source, WORKDIR, name, node)
        return f"{WORKDIR}/{name}"

    def get(self, node: str, path: str, target: Path) -> None:
        if self._on_host(node):
            self._files.get(node, path, target)
        else:
            files.fetch(self._engine, self._container(node).id, path, target, node)

    def log_text(self, log: str, *, last_bytes: int = 4096) -> str:
        return self._files.log_text(log, last_bytes)

    # -- processes --------------------------------------------------------------------------------------------------

    def _container(self, node: str, program: str = "") -> Container:
        found = self._beside.get(node, {}).get(program) or self._nodes.get(node)
        if found is None:
            raise LabFailure("there is no such node in this lab", where=node)
        return found

    def _host_argv(self, argv: Sequence[str]) -> list[str]:
        return [sys.executable if argv[0] == _PYTHON else argv[0], *argv[1:]]

    def start(
        self,
        node: str,
        argv: Sequence[str],
        *,
        log: str,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> NodeProcess:
        if self._on_host(node):
            return self._host.start(node, self._host_argv(argv), log=log, env=env, cwd=cwd, inside=self._inside)
        file = (self._files.logs / f"{log}.log").open("ab", buffering=0)
        return self._spawn(node, argv, env or {}, cwd, file.write, file.close)

    def _spawn(
        self,
        node: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str | None,
        stderr: Callable[[bytes], object],
        done: Callable[[], object],
    ) -> ContainerProcess:
        process = ContainerProcess(
            self._engine,
            self._container(node, argv[0]).id,
            argv,
            env={"HOME": WORKDIR, "LANG": "C.UTF-8", "TMPDIR": "/tmp", **env},
            cwd=cwd or WORKDIR,
            stderr=stderr,
            done=done,
            where=node,
        )
        with self._lock:
            self._processes.append(process)
        return process

    def run(
        self,
        node: str,
        argv: Sequence[str],
        *,
        timeout_s: float = 30.0,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        if self._on_host(node):
            return self._host.run(
                node, self._host_argv(argv), timeout_s=timeout_s, input=input, env=env, inside=self._inside
            )
        errors: list[bytes] = []
        output: list[bytes] = []
        process = self._spawn(node, argv, env or {}, None, errors.append, lambda: None)
        try:
            drain = threading.Thread(target=lambda: output.append(process.stdout.read()), daemon=True)
            drain.start()
            feeder = threading.Thread(target=_feed, args=(process.stdin, input), daemon=True)
            feeder.start()
            status = process.wait(timeout_s)
            if status is None:
                process.signal(9)
                process.wait(5.0)
                raise LabFailure(f"`{' '.join(argv)}` did not end in {timeout_s:g} s", where=node)
            drain.join(5.0)
        finally:
            process.close()
            with self._lock:
                self._processes.remove(process)
        return Completed(status, b"".join(output).decode(errors="replace"), b"".join(errors).decode(errors="replace"))

    def check(self) -> None:
        self._containers.check()

    def usage(self) -> Mapping[str, Mapping[str, float]]:
        return self._figures.read() if self._figures is not None else {}

    def facts(self) -> Mapping[str, object]:
        about: dict[str, Any] = self._engine.about
        return {
            "runtime": self.name,
            "engine": self._engine.name,
            "engine_version": self._engine.version,
            "engine_url": self._engine.url,
            "storage_driver": about.get("Driver"),
            "cgroup_version": about.get("CgroupVersion"),
            "operating_system": about.get("OperatingSystem"),
            "kernel": about.get("KernelVersion") or platform.release(),
            "machine": about.get("Architecture") or platform.machine(),
            "cpus": about.get("NCPU"),
            "memory_bytes": about.get("MemTotal"),
            **self._facts,
        }


def _feed(pipe: Any, data: bytes) -> None:
    with contextlib.suppress(OSError, ValueError):
        if data:
            pipe.write(data)
        pipe.close()
