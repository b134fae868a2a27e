"""One suite for every runtime: files go in and out, processes run, report, stop and are killed, nothing is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.errors import LabFailure
from harness.model.topology import Site
from harness.plan.addresses import node_addresses, site_plans
from harness.plan.cell import LabPlan, NodePlan
from harness.runtime.docker.runtime import DockerRuntime
from harness.runtime.fake import FakeRuntime
from harness.runtime.labs import abandoned_labs, process_start
from harness.runtime.local import LocalRuntime
from harness.runtime.protocol import WAN, Runtime
from tests.runtime.docker_engine import engine_or_skip

RUNTIMES: dict[str, Callable[[str, Path], Runtime]] = {
    "local": lambda run_id, logs: LocalRuntime(run_id, logs, rootless=False),
    "local-rootless": lambda run_id, logs: LocalRuntime(run_id, logs, rootless=True),
    "fake": FakeRuntime,
    "docker": DockerRuntime,
    "docker-inside": lambda run_id, logs: DockerRuntime(run_id, logs, enter=False),
}
NETWORKED = ["local", "local-rootless", "docker", "docker-inside"]


def two_sites() -> LabPlan:
    """Two sites without a link: two hosts at the first, one at the second."""
    sites = site_plans({"core": Site(), "edge": Site()})
    nodes = []
    for site, count in zip(sites, (2, 1), strict=True):
        addresses = node_addresses(site)
        nodes += [NodePlan(f"{site.name}-{k}", site.name, "host", *next(addresses)) for k in range(1, count + 1)]
    return LabPlan(sites, tuple(nodes), ())


@pytest.fixture(params=list(RUNTIMES), scope="module")
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """One lab of each kind for the whole module."""
    if request.param.startswith("docker"):
        engine_or_skip().close()
    base = tmp_path_factory.mktemp("contract")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(base / "state"))
        with RUNTIMES[request.param]("contract", base / "logs") as runtime:
            runtime.open(two_sites())
            yield runtime


def test_a_command_runs_in_its_node(lab: Runtime) -> None:
    done = lab.run("core-1", ["sh", "-c", "cat; pwd; echo oops >&2; exit 7"], input=b"hello\n")
    assert done.returncode == 7
    assert done.stdout.splitlines() == ["hello", lab.workdir("core-1")]
    assert done.stderr == "oops\n"


def test_the_controllers_environment_is_not_inherited(lab: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_CONTROLLER", "x")
    text = lab.run("core-1", ["env"], env={"GIVEN": "yes"}).stdout
    assert "SECRET_OF_THE_CONTROLLER" not in text
    assert "GIVEN=yes" in text.splitlines()


def test_a_command_that_hangs_is_a_failure(lab: Runtime) -> None:
    with pytest.raises(LabFailure, match="did not end"):
        lab.run("core-1", ["sleep", "60"], timeout_s=0.3)


def test_a_program_that_is_not_there_is_a_failure(lab: Runtime) -> None:
    with pytest.raises(LabFailure, match="no-such-program"):
        lab.start("core-1", ["/no-such-program"], log="missing")


def test_files_go_in_and_out(lab: Runtime, tmp_path: Path) -> None:
    source = tmp_path / "tree"
    (source / "below").mkdir(parents=True)
    (source / "below" / "file").write_bytes(bytes(range(256)))
    inside = lab.put("core-1", source, "copy")
    assert inside.startswith(lab.workdir("core-1"))
    lab.get("core-1", f"{inside}/below/file", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == bytes(range(256))
    with pytest.raises(LabFailure):
        lab.get("core-1", f"{inside}/nothing", tmp_path / "nothing")


def test_a_process_talks_over_its_pipes_and_logs_its_errors(lab: Runtime) -> None:
    process = lab.start("core-1", ["sh", "-c", "read line; echo got $line; echo noted >&2; exit 3"], log="talk")
    assert process.poll() is None
    process.stdin.write(b"this\n")
    assert process.stdout.readline() == b"got this\n"
    assert process.wait(5.0) == 3
    assert lab.log_text("talk") == "noted\n"


def test_a_signal_reaches_the_whole_process_group(lab: Runtime) -> None:
    process = lab.start("core-1", ["sh", "-c", "sleep 60 & echo $!; wait"], log="group")
    child = int(process.stdout.readline())
    process.signal(signal.SIGKILL)
    assert process.wait(5.0) == -signal.SIGKILL
    process.signal(signal.SIGTERM)  # no error after its end
    for _ in range(50):
        if not lab.run("core-1", ["sh", "-c", 'kill -0 "$0" 2>/dev/null && echo alive', str(child)]).stdout:
            return
        time.sleep(0.1)
    pytest.fail("the child of the process is still there")


def test_the_pid_is_the_nodes_own(lab: Runtime) -> None:
    process = lab.start("core-1", ["sleep", "60"], log="pid")
    assert lab.run("core-1", ["cat", f"/proc/{process.pid}/comm"]).stdout == "sleep\n"


def test_closing_its_input_ends_a_well_behaved_process(lab: Runtime) -> None:
    process = lab.start("core-1", ["cat"], log="cat")
    process.stdin.close()
    assert process.wait(5.0) == 0


def test_the_python_is_a_python(lab: Runtime) -> None:
    done = lab.run("core-1", [lab.python, "-I", "-S", "-c", "import sys; print(sys.version_info >= (3, 8))"])
    assert done.stdout == "True\n"


def test_facts_are_told(lab: Runtime) -> None:
    assert {"runtime", "kernel", "cpus"} <= set(lab.facts())


@pytest.mark.parametrize("lab", NETWORKED, indirect=True)
class TestNetwork:
    """What the runtimes with a network add."""

    def ping(self, lab: Runtime, node: str, address: str) -> bool:
        return lab.run(node, ["ping", "-c", "1", "-W", "1", "-n", address]).returncode == 0

    def test_neighbours_see_each_other_and_the_gateway(self, lab: Runtime) -> None:
        plan = two_sites()
        other, site = plan.node("core-2"), plan.site("core")
        for address in (other.address, other.address6, "core-2", site.gateway, site.gateway6):
            assert self.ping(lab, "core-1", address), address

    def test_without_links_sites_are_apart(self, lab: Runtime) -> None:
        far = two_sites().node("edge-1")
        assert not self.ping(lab, "core-1", far.address)
        assert not self.ping(lab, "core-1", far.address6)

    def test_once_the_gateway_forwards_sites_meet(self, lab: Runtime) -> None:
        for program in ("iptables", "ip6tables"):
            assert lab.run(WAN, [program, "-P", "FORWARD", "ACCEPT"]).returncode == 0
        far = two_sites().node("edge-1")
        assert self.ping(lab, "core-1", far.address)
        assert self.ping(lab, "core-1", far.address6)
        for program in ("iptables", "ip6tables"):
            assert lab.run(WAN, [program, "-P", "FORWARD", "DROP"]).returncode == 0

    def test_the_gateway_has_an_interface_per_site(self, lab: Runtime) -> None:
        for site in two_sites().sites:
            shown = lab.run(WAN, ["ip", "-4", "address", "show", "dev", lab.interface(site.name)]).stdout
            assert f"{site.gateway}/24" in shown

    def test_the_host_sees_nothing_of_it(self, lab: Runtime) -> None:
        def visible(*argv: str) -> str:
            return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

        assert "core-1" not in visible("ip", "netns", "list")
        assert two_sites().site("core").gateway not in visible("ip", "address")


@pytest.mark.parametrize("kind", ["local", "local-rootless"])
def test_nothing_survives_a_killed_controller(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kill -9 of the controller: the lab's processes end by themselves, `cleanup` removes its files."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    script = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from tests.runtime.test_runtime_contract import RUNTIMES, two_sites
        with RUNTIMES[sys.argv[1]]("killed", Path(sys.argv[2])) as lab:
            lab.open(two_sites())
            lab.start("core-1", ["sleep", "600"], log="sleep")
            print(lab._supervisor.pid, lab._files.scratch, flush=True)
            time.sleep(600)
    """)
    root = str(Path(__file__).parents[2])
    controller = subprocess.Popen(
        [sys.executable, "-c", script, kind, str(tmp_path / "logs")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert controller.stdout is not None
    holder, scratch = controller.stdout.readline().split()
    controller.stdout.close()
    assert abandoned_labs() == []
    controller.kill()
    controller.wait()
    deadline = time.monotonic() + 10
    while process_start(int(holder)) is not None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process_start(int(holder)) is None
    (record,) = abandoned_labs()
    assert record.run_id == "killed"
    assert Path(scratch).is_dir()
    record.destroy()
    assert not Path(scratch).exists()
    assert abandoned_labs() == []


def test_a_supervisor_that_ended_a_moment_ago_is_a_failure_of_the_lab(tmp_path: Path) -> None:
    runtime = LocalRuntime("ended", tmp_path)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        runtime._channel = ours
        theirs.close()  # before anybody has read the end of it
        with pytest.raises(LabFailure, match="supervisor cannot be reached"):
            runtime._request({"op": "batch", "commands": []})
