"""What the docker runtime adds to the contract: hygiene, limits, images of others, and what bad luck gets."""

from __future__ import annotations

import contextlib
import gc
import os
import select
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import ExitCode, HarnessError, LabFailure, MissingCapability
from harness.images.choice import debian_base
from harness.model.topology import Site
from harness.plan.addresses import node_addresses, site_plans
from harness.plan.cell import LabPlan, NodePlan
from harness.runtime.docker import containers
from harness.runtime.docker.containers import Containers
from harness.runtime.docker.engine import Engine, connect
from harness.runtime.docker.labels import Leftover, leftovers, remove
from harness.runtime.docker.runtime import DockerRuntime
from harness.runtime.protocol import WAN
from tests.runtime.docker_engine import engine_or_skip

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = engine_or_skip()
    yield engine
    engine.close()


def one_site(*changes: dict[str, Any], subnet: str | None = None) -> LabPlan:
    """One site with a node per mapping of changes: n1, n2, ..."""
    sites = site_plans({"here": Site(subnet=subnet)})
    addresses = node_addresses(sites[0])
    nodes = [
        replace(NodePlan(f"n{number}", "here", "host", *next(addresses)), **change)
        for number, change in enumerate(changes, start=1)
    ]
    return LabPlan(sites, tuple(nodes), ())


def until(condition: Callable[[], bool], within_s: float = 15.0) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def of_run(engine: Engine, run_id: str) -> list[Leftover]:
    return leftovers(engine, run_id)


@pytest.fixture(scope="class")
def lab(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRuntime]:
    """A plain node, one whose image is somebody else's and has no Python, and one with limits."""
    base = tmp_path_factory.mktemp("docker")
    bare = debian_base(engine, lambda title, line: None)
    with DockerRuntime("hygiene", base / "logs") as lab:
        lab.open(one_site({}, {"image": bare}, {"cpus": 0.25, "memory_bytes": 64 << 20}))
        yield lab


class TestALab:
    """One lab for all that only looks."""

    def inspected(self, engine: Engine, lab: DockerRuntime) -> list[dict[str, Any]]:
        return [engine.api.inspect_container(one.id) for one in of_run(engine, "hygiene") if one.kind == "container"]

    def test_no_container_has_more_than_it_needs(self, engine: Engine, lab: DockerRuntime) -> None:
        found = self.inspected(engine, lab)
        assert len(found) == 5  # wan, three nodes, and one beside the node without Python
        for about in found:
            host = about["HostConfig"]
            assert not host["Privileged"]
            assert host["CapDrop"] == ["ALL"]
            assert not host["CapAdd"]
            assert "no-new-privileges:true" in host["SecurityOpt"]
            assert not host["PortBindings"]
            assert not host["Binds"]
            assert host["NetworkMode"] not in ("host", "bridge", "default")

    def test_everything_carries_the_run(self, engine: Engine, lab: DockerRuntime) -> None:
        kinds = [one.kind for one in of_run(engine, "hygiene")]
        assert kinds.count("container") == 5
        assert kinds.count("network") == 1
        assert all(one.driven is True for one in of_run(engine, "hygiene"))

    def test_a_node_whose_image_has_no_python_runs_ours_beside_it(self, lab: DockerRuntime) -> None:
        process = lab.start("n2", ["sleep", "60"], log="bare")
        script = (
            "import socket, sys; print(open(f'/proc/{sys.argv[1]}/comm').read().strip()); "
            "open('said', 'w').write(socket.gethostbyname('n1'))"
        )
        done = lab.run("n2", [lab.python, "-c", script, str(process.pid)])
        assert done.stdout == "sleep\n", done.stderr
        assert lab.run("n2", ["cat", f"{lab.workdir('n2')}/said"]).stdout == one_site({}).node("n1").address
        smaps = lab.run("n2", [lab.python, "-c", f"print(open('/proc/{process.pid}/smaps_rollup').read())"])
        assert "Anonymous:" in smaps.stdout, smaps.stderr
        process.signal(9)
        assert process.wait(10.0) == -9

    def test_limits_are_in_force(self, engine: Engine, lab: DockerRuntime) -> None:
        limited = next(about for about in self.inspected(engine, lab) if about["Config"]["Hostname"] == "n3")
        assert limited["HostConfig"]["NanoCpus"] == 250_000_000
        assert limited["HostConfig"]["Memory"] == limited["HostConfig"]["MemorySwap"] == 64 << 20
        glutton = lab.run("n3", [lab.python, "-c", "x = b'x' * (200 << 20)"], timeout_s=60.0)
        assert glutton.returncode == -9
        began, before = time.monotonic(), lab.usage()["n3"]
        lab.run("n3", [lab.python, "-c", "import time\nend = time.monotonic() + 2\nwhile time.monotonic() < end: pass"])
        used = lab.usage()["n3"]["cpu_s"] - before["cpu_s"]
        assert used <= 1.5 * 0.25 * (time.monotonic() - began), "a quarter of a core, and what one period may add"

    def test_the_engine_counts_what_nodes_use(self, lab: DockerRuntime) -> None:
        before = lab.usage()
        assert set(before) == {WAN, "n1", "n2", "n3"}
        lab.run("n1", ["ping", "-c", "3", "-i", "0.2", "-s", "1000", "n2"])
        after = lab.usage()
        assert after["n1"]["sent_bytes"] - before["n1"]["sent_bytes"] >= 3000
        assert after["n2"]["received_bytes"] - before["n2"]["received_bytes"] >= 3000
        assert after["n1"]["cpu_s"] > before["n1"]["cpu_s"]
        assert after["n1"]["memory_peak_bytes"] >= after["n1"]["memory_bytes"] > 0

    def test_the_record_pins_what_was_run(self, lab: DockerRuntime) -> None:
        images: Any = lab.facts()["images"]
        assert set(images) == {WAN, "n1", "n2", "n3"}
        assert all(one["id"].startswith("sha256:") for several in images.values() for one in several)

    def test_containers_are_made_of_the_very_images_the_record_names(self, engine: Engine, lab: DockerRuntime) -> None:
        images: Any = lab.facts()["images"]
        for about in self.inspected(engine, lab):
            node = about["Config"]["Labels"]["femdc-harness.node"]
            recorded = {one["id"] for one in (*images[node], *images[WAN])}
            assert about["Config"]["Image"] == about["Image"]
            assert about["Image"] in recorded


def test_a_published_port_is_reached_from_this_host_alone(engine: Engine, tmp_path: Path) -> None:
    if not engine.url.startswith("unix://") or not engine.sets_default_route:
        pytest.skip("the engine is not on this host, or publishes nothing")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
    with DockerRuntime("published", tmp_path / "logs") as lab:
        lab.open(one_site({"publish": ((8000, port),)}, {}))
        serve = "import socket; s = socket.create_server(('', 8000)); c = s.accept()[0]; c.sendall(b'here')"
        lab.start("n1", [lab.python, "-c", serve], log="serve")

        def answer() -> bytes:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5.0) as client:
                return client.recv(9)
            return b""

        assert until(lambda: answer() == b"here")
        bound = [
            bindings
            for one in of_run(engine, "published")
            if one.kind == "container"
            for bindings in (engine.api.inspect_container(one.id)["HostConfig"]["PortBindings"] or {}).values()
        ]
        assert bound == [[{"HostIp": "127.0.0.1", "HostPort": str(port)}]]


class TestBadLuck:
    """Each gets one error that says what to do, and leaves nothing."""

    def failure(self, engine: Engine, plan: LabPlan, tmp_path: Path) -> LabFailure:
        with pytest.raises(LabFailure) as caught, DockerRuntime("unlucky", tmp_path / "logs") as lab:
            lab.open(plan)
        assert caught.value.exit_code == ExitCode.INFRASTRUCTURE
        assert of_run(engine, "unlucky") == []
        return caught.value

    def test_an_image_that_is_not_to_be_had(self, engine: Engine, tmp_path: Path) -> None:
        failure = self.failure(engine, one_site({"image": "127.0.0.1:9/nobody:1"}), tmp_path)
        assert "cannot be reached" in failure.what
        assert failure.remedy

    def test_an_image_whose_container_cannot_start(self, engine: Engine, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("no shell here\n")
        tar = tmp_path / "empty.tar"
        subprocess.run(["tar", "-cf", tar, "-C", tmp_path, "file"], check=True)
        engine.api.import_image_from_file(str(tar), "femdc-test/no-shell", "1")
        try:
            failure = self.failure(engine, one_site({"image": "femdc-test/no-shell:1"}), tmp_path)
        finally:
            engine.api.remove_image("femdc-test/no-shell:1", force=True)
        assert failure.where == "n1"
        assert '"sh"' in failure.what

    def test_an_image_whose_container_ends_at_once(self, engine: Engine, tmp_path: Path) -> None:
        base = debian_base(engine, lambda title, line: None)
        shell = "#!/bin/bash\\necho why it ended >&2; exit 9\\n"
        text = f"FROM {base}\nRUN printf '{shell}' > /x; chmod +x /x; mv /x /bin/sh\n"
        context = tmp_path / "context"
        context.mkdir()
        (context / "Dockerfile").write_text(text)
        for event in engine.api.build(path=str(context), tag="femdc-test/ends:1", rm=True, decode=True):
            assert "error" not in event, event
        try:
            failure = self.failure(engine, one_site({"image": "femdc-test/ends:1"}), tmp_path)
        finally:
            engine.api.remove_image("femdc-test/ends:1", force=True)
        assert "status 9" in failure.what
        assert "why it ended" in failure.what

    def test_addresses_another_network_has(self, engine: Engine, tmp_path: Path) -> None:
        taken = "10.199.7.0/24"
        api: Any = engine.api
        request = {"Name": "femdc-test-taken", "IPAM": {"Config": [{"Subnet": taken}]}}
        made = api._result(api._post_json(api._url("/networks/create"), data=request), True)["Id"]
        try:
            failure = self.failure(engine, one_site({}, subnet=taken), tmp_path)
        finally:
            api.remove_network(made)
        assert "overlaps" in failure.what
        assert "subnet" in str(failure.remedy)

    def test_an_engine_that_is_not_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
        with pytest.raises(MissingCapability, match="no such socket"):
            connect()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{tmp_path}/dead.sock")
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/dead.sock")
        with pytest.raises(MissingCapability, match="connection refused"):
            connect()
        done = subprocess.run(
            [sys.executable, "-m", "harness", "run", "scenarios/quickstart.yaml", "--runtime", "docker"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == ExitCode.INFRASTRUCTURE
        assert "connection refused" in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_container_that_is_killed(self, engine: Engine, tmp_path: Path) -> None:
        with DockerRuntime("killed-node", tmp_path / "logs") as lab:
            lab.open(one_site({"image": debian_base(engine, lambda title, line: None)}, {}))
            process = lab.start("n1", ["sleep", "60"], log="sleep")
            beside = lab.start("n1", [lab.python, "-c", "import time; time.sleep(60)"], log="beside")
            victim = next(one for one in of_run(engine, "killed-node") if one.name.endswith("-n1"))
            engine.api.kill(victim.id)
            assert process.wait(10.0) == -9
            assert beside.wait(10.0) == -9
            with pytest.raises(LabFailure, match="not running") as caught:
                lab.run("n1", ["true"])
            assert caught.value.where == "n1"
            with pytest.raises(LabFailure, match="status 137") as caught:
                lab.check()
            assert caught.value.where == "n1"
            assert lab.run("n2", ["true"]).returncode == 0
        assert of_run(engine, "killed-node") == []


class Relay:
    """A socket in front of the engine's, which can be cut: to its clients the engine has been killed."""

    def __init__(self, path: Path, target: str) -> None:
        self.url = f"unix://{path}"
        self._target = target.removeprefix("unix://")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            self._open += [client, server]
            threading.Thread(target=self._carry, args=(client, server), daemon=True).start()

    def _carry(self, a: socket.socket, b: socket.socket) -> None:
        other = {a: b, b: a}
        try:
            while other:
                for ready in select.select(list(other), [], [])[0]:
                    data = ready.recv(65536)
                    if data:
                        other[ready].sendall(data)
                    else:
                        other.pop(ready).shutdown(socket.SHUT_WR)
        except (OSError, KeyError, ValueError):
            pass

    def cut(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_engine_that_goes_away_is_one_clear_error(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not engine.url.startswith("unix://"):
        pytest.skip("the engine is not behind a Unix socket")
    relay = Relay(tmp_path / "relay.sock", engine.url)
    monkeypatch.setenv("DOCKER_HOST", relay.url)

    def session() -> None:
        with DockerRuntime("cut-off", tmp_path / "logs") as lab:
            lab.open(one_site({}))
            process = lab.start("n1", ["sleep", "60"], log="sleep")
            relay.cut()
            assert process.wait(10.0) == -9
            lab.run("n1", ["true"])

    with pytest.raises(HarnessError, match="engine does not answer any more") as caught:
        session()
    assert caught.value.exit_code == ExitCode.INFRASTRUCTURE
    assert "harness cleanup" in str(caught.value.remedy)
    del caught
    gc.collect()  # the client library does not close sockets whose connection was refused
    left = of_run(engine, "cut-off")
    assert left  # nobody could remove them
    # Nobody holds their input any more, so containers end by themselves.
    ids = [one.id for one in left if one.kind == "container"]
    assert until(lambda: not any(engine.api.inspect_container(one)["State"]["Running"] for one in ids))
    for kind in ("container", "network", "volume"):
        for one in left:
            if one.kind == kind:
                remove(engine, one)
    assert of_run(engine, "cut-off") == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_next_lab_of_a_run_removes_what_one_left_while_the_engine_was_away(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not engine.url.startswith("unix://"):
        pytest.skip("the engine is not behind a Unix socket")
    monkeypatch.setattr(containers, "_BACK_S", 0.0)
    relay = Relay(tmp_path / "relay.sock", engine.url)

    def cut_off() -> None:
        with DockerRuntime("campaign", tmp_path / "first") as lab:
            lab.open(one_site({}))
            relay.cut()

    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", relay.url)
        with pytest.raises(LabFailure, match="could be removed"):
            cut_off()
    gc.collect()  # the client library does not close sockets whose connection was refused
    left = {one.id for one in of_run(engine, "campaign")}
    assert left
    beside = Containers(engine, "campaign", "beside")
    request = {"Name": beside.name("x"), "Labels": beside.labels(), "IPAM": {"Config": [{"Subnet": "10.199.9.0/24"}]}}
    beside.network(request)
    try:
        with DockerRuntime("campaign", tmp_path / "next") as lab:
            lab.open(one_site({}))
            found = of_run(engine, "campaign")
            assert not left & {one.id for one in found}
            assert beside.name("x") in {one.name for one in found}, "what is under way stays"
    finally:
        assert beside.remove() == []
    assert of_run(engine, "campaign") == []


def test_an_engine_that_is_soon_back_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[list[Leftover] | LabFailure] = [LabFailure("away"), LabFailure("away"), []]

    def asked(*_: object, **__: object) -> list[Leftover]:
        answer = answers.pop(0)
        if isinstance(answer, LabFailure):
            raise answer
        return answer

    monkeypatch.setattr(containers, "leftovers", asked)
    nobody: Any = None
    assert Containers(nobody, "run", "lab").remove() == []
    assert not answers


def test_a_killed_harness_leaves_what_cleanup_removes(engine: Engine, tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from harness.runtime.docker.runtime import DockerRuntime
        from tests.runtime.test_docker import one_site
        with DockerRuntime("killed-docker", Path(sys.argv[1])) as lab:
            lab.open(one_site({}))
            lab.start("n1", ["sleep", "600"], log="sleep")
            print("up", flush=True)
            time.sleep(600)
    """)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(tmp_path / "state")}
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "logs")], stdout=subprocess.PIPE, text=True, env=environment
    ) as controller:
        assert controller.stdout is not None
        assert controller.stdout.readline() == "up\n"

        def cleanup() -> str:
            done = subprocess.run(
                [sys.executable, "-m", "harness", "cleanup"], cwd=ROOT, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        assert "killed-docker" not in cleanup()  # it is in use
        controller.kill()
    left = of_run(engine, "killed-docker")
    ids = [one.id for one in left if one.kind == "container"]
    assert len(ids) == 2
    assert until(lambda: not any(engine.api.inspect_container(one)["State"]["Running"] for one in ids))
    assert "removing container of run killed-docker" in cleanup()
    assert of_run(engine, "killed-docker") == []
    assert "killed-docker" not in cleanup()
