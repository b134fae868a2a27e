"""The `local` runtime: nodes are network namespaces of one private lab, no container engine needed.

The whole lab lives in namespaces of its own (mount, network, PID, and a user namespace when not root), held by one
supervisor process. Nothing is made on the host: no named network namespace, no bridge, no rule; when the supervisor
ends, the kernel removes everything. Inside:

    node netns --veth-- bridge of its site (the lab's root netns) --veth-- wan netns (gateway .1 of every site)

The wan gateway forwards nothing until a link backend lets it (policy DROP on FORWARD, IPv4 and IPv6).
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from harness.errors import LabFailure, MissingCapability
from harness.plan.cell import LabPlan
from harness.runtime.host_files import HostFiles
from harness.runtime.local_network import gateway_interface, link_local_commands, network_commands
from harness.runtime.protocol import WAN, Completed

__all__ = ["LocalProcess", "LocalRuntime"]

_SUPERVISOR = Path(__file__).with_name("local_supervisor.py")
_PROGRAMS = {
    "unshare": "util-linux",
    "ip": "iproute2",
    "iptables": "iptables",
    "ip6tables": "iptables",
    "mount": "mount",
}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class LocalProcess:
    """A process in a node of a local lab; see `NodeProcess`."""

    def __init__(self, runtime: LocalRuntime, pid: int, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self._runtime = runtime
        self._pid = pid
        self._stdin = stdin
        self._stdout = stdout
        self._status: int | None = None
        self._ended = threading.Event()

    @property
    def pid(self) -> int:
        return self._pid

    @property
    def stdin(self) -> IO[bytes]:
        return self._stdin

    @property
    def stdout(self) -> IO[bytes]:
        return self._stdout

    def poll(self) -> int | None:
        return self._status

    def wait(self, timeout_s: float) -> int | None:
        self._ended.wait(timeout_s)
        return self._status

    def signal(self, number: int) -> None:
        if self._status is None:
            self._runtime._request({"op": "signal", "pid": self._pid, "signal": int(number)})

    def _end(self, status: int) -> None:
        self._status = status
        self._ended.set()

    def _close_pipes(self) -> None:
        for pipe in (self._stdin, self._stdout):
            with contextlib.suppress(OSError):
                pipe.close()


class _Reply:
    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.message: dict[str, Any] = {}


class LocalRuntime:
    """Nodes as network namespaces. See `harness.runtime.protocol.Runtime` for the contract.

    Args:
        run_id: identity of the run; everything made carries it.
        logs: directory that receives <log>.log of every process.
        rootless: True to use a user namespace even as root; False to refuse one; None to take what works, root first.
    """

    name = "local"

    def __init__(self, run_id: str, logs: Path, *, rootless: bool | None = None) -> None:
        self._run_id = run_id
        self._rootless = rootless
        self._logs = logs
        self._files: HostFiles
        self._plan: LabPlan | None = None
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._reader: threading.Thread | None = None
        self._lock = threading.Lock()
        self._ids = itertools.count(1)
        self._replies: dict[int, _Reply] = {}
        self._pending: dict[int, tuple[IO[bytes], IO[bytes]]] = {}
        self._processes: dict[int, LocalProcess] = {}
        self._privilege = ""
        self._lost = False

    @property
    def python(self) -> str:
        return sys.executable

    # -- life ------------------------------------------------------------------------------------------------------

    def __enter__(self) -> LocalRuntime:
        for program, package in _PROGRAMS.items():
            if shutil.which(program, path=f"{os.environ.get('PATH', '')}:{_PATH}") is None:
                raise MissingCapability(
                    f"the local runtime needs the program {program!r}",
                    expected=f"{program} on PATH",
                    remedy=f"install it, on Debian: apt-get install {package}",
                )
        self._files = HostFiles(self._run_id, self._logs)
        try:
            self._start_supervisor()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._channel is not None and not self._lost:
            with contextlib.suppress(LabFailure, OSError):
                self._request({"op": "shutdown", "grace_s": 3.0}, timeout_s=10.0)
        if self._channel is not None:
            with contextlib.suppress(OSError):
                self._channel.shutdown(socket.SHUT_RDWR)
            self._channel.close()
        if self._supervisor is not None:
            try:
                self._supervisor.wait(5.0)
            except subprocess.TimeoutExpired:
                self._supervisor.kill()
                self._supervisor.wait()
        if self._reader is not None:
            self._reader.join(5.0)
        for process in self._processes.values():
            process._close_pipes()
        self._files.remove()
        self._channel = self._supervisor = None

    def _start_supervisor(self) -> None:
        reasons = []
        for privilege, extra in self._privileges():
            failure = self._try_supervisor(extra)
            if failure is None:
                self._privilege = privilege
                return
            reasons.append(f"{privilege}: {failure}")
        raise MissingCapability(
            "no private namespaces can be made here (" + "; ".join(reasons) + ")",
            expected="root with CAP_SYS_ADMIN and CAP_NET_ADMIN, or unprivileged user namespaces",
            remedy="run as root, or allow user namespaces: sysctl kernel.unprivileged_userns_clone=1 "
            "(Ubuntu 24.04: kernel.apparmor_restrict_unprivileged_userns=0), or use --runtime docker",
        )

    def _privileges(self) -> list[tuple[str, list[str]]]:
        ways: list[tuple[str, list[str]]] = []
        if os.geteuid() == 0 and self._rootless is not True:
            ways.append(("root", []))
        if self._rootless is not False:
            ways.append(("user namespace", ["--user", "--map-root-user"]))
        return ways

    def _try_supervisor(self, extra: Sequence[str]) -> str | None:
        hosts = self._files.scratch / "hosts"
        # The machine's own name too: libraries look it up, and no name server is in reach.
        hosts.write_text(f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {socket.gethostname()}\n")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        errors = self._files.logs / "lab.log"
        with theirs, errors.open("ab") as log:
            start = log.tell()
            self._supervisor = subprocess.Popen(
                [
                    "unshare", *extra, "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
                    sys.executable, "-I", "-S", str(_SUPERVISOR), str(theirs.fileno()), str(hosts), self._run_id,
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[theirs.fileno()], start_new_session=True, env=self._environment("/"),
            )  # fmt: skip
        ours.settimeout(15.0)
        try:
            ready = ours.recv(4096)
        except TimeoutError:
            ready = b""
        if not ready:
            ours.close()
            self._supervisor.kill()
            self._supervisor.wait()
            self._supervisor = None
            with errors.open("rb") as log_read:
                log_read.seek(start)
                return log_read.read().decode(errors="replace").strip() or "the supervisor did not start"
        ours.settimeout(None)
        self._channel = ours
        self._files.held_by(self._supervisor.pid)
        self._reader = threading.Thread(target=self._read, name="lab-reader", daemon=True)
        self._reader.start()
        return None

    # -- conversation with the supervisor ---------------------------------------------------------------------------

    def _read(self) -> None:
        assert self._channel is not None
        channel = self._channel
        while True:
            try:
                data = channel.recv(256 * 1024)
            except OSError:
                data = b""
            if not data:
                break
            message = json.loads(data)
            if message.get("event") == "exit":
                process = self._processes.get(message["pid"])
                if process is not None:
                    process._end(message["status"])
                continue
            number = message["id"]
            if "pid" in message and number in self._pending:
                stdin, stdout = self._pending.pop(number)
                self._processes[message["pid"]] = LocalProcess(self, message["pid"], stdin, stdout)
            reply = self._replies.pop(number, None)
            if reply is not None:
                reply.message = message
                reply.arrived.set()
        self._lost = True
        for process in list(self._processes.values()):
            if process.poll() is None:
                process._end(-signal.SIGKILL)
        for reply in list(self._replies.values()):
            reply.message = {"error": "the lab's supervisor has ended"}
            reply.arrived.set()

    def _request(
        self,
        message: dict[str, Any],
        *,
        fds: Sequence[int] = (),
        pipes: tuple[IO[bytes], IO[bytes]] | None = None,
        timeout_s: float = 120.0,
    ) -> dict[str, Any]:
        self.check()
        assert self._channel is not None
        number = next(self._ids)
        reply = _Reply()
        self._replies[number] = reply
        if pipes is not None:
            self._pending[number] = pipes
        data = json.dumps({**message, "id": number}).encode()
        try:
            with self._lock:
                socket.send_fds(self._channel, [data], list(fds))
        except OSError as error:
            # It may have ended a moment ago, before the reader could notice.
            raise LabFailure(
                f"the lab's supervisor cannot be reached: {error.strerror}", where=self._run_id, remedy="see lab.log"
            ) from None
        if not reply.arrived.wait(timeout_s):
            raise LabFailure(
                f"the lab's supervisor did not answer {message['op']!r} in {timeout_s:g} s", where=self._run_id
            )
        if "error" in reply.message:
            raise LabFailure(str(reply.message["error"]), where=f"{message['op']} in local lab {self._run_id}")
        return reply.message

    def _batch(self, commands: list[dict[str, Any]]) -> list[str]:
        outputs: list[str] = []
        for start in range(0, len(commands), 50):
            answer = self._request({"op": "batch", "commands": commands[start : start + 50]})
            if "failed" in answer:
                failed = answer["failed"]
                raise LabFailure(
                    f"`{' '.join(failed['argv'])}` ended with {failed['status']}: {failed['stderr']}",
                    where=f"local lab {self._run_id}",
                    remedy="`harness doctor` tells what this machine lacks",
                )
            outputs.extend(answer["outputs"])
        return outputs

    # -- the network ------------------------------------------------------------------------------------------------

    def open(self, plan: LabPlan) -> None:
        self._plan = plan
        names = "".join(f"{node.address} {node.name}\n{node.address6} {node.name}\n" for node in plan.nodes)
        with (self._files.scratch / "hosts").open("a") as hosts:
            hosts.write(names)
        self._files.make_workdirs(node.name for node in plan.nodes)
        self._batch(network_commands(plan))
        self._wait_for_interfaces(plan)

    def _wait_for_interfaces(self, plan: LabPlan) -> None:
        commands, counts = zip(*link_local_commands(plan), strict=True)
        deadline = time.monotonic() + 10.0
        while any(
            "tentative" in text or len(text.splitlines()) != count
            for text, count in zip(self._batch(list(commands)), counts, strict=True)
        ):
            if time.monotonic() > deadline:
                raise LabFailure("the lab's interfaces do not come up", where=self._run_id, remedy="see lab.log")
            time.sleep(0.05)

    def interface(self, site: str) -> str:
        return gateway_interface(self._opened().site(site).index)

    def _opened(self) -> LabPlan:
        if self._plan is None:
            raise LabFailure("the lab has not been opened", where=self._run_id)
        return self._plan

    # -- files ------------------------------------------------------------------------------------------------------

    def workdir(self, node: str) -> str:
        return self._files.workdir(node)

    def put(self, node: str, source: Path, name: str) -> str:
        return self._files.put(node, source, name)

    def get(self, node: str, path: str, target: Path) -> None:
        self._files.get(node, path, target)

    def log_text(self, log: str, *, last_bytes: int = 4096) -> str:
        return self._files.log_text(log, last_bytes)

    # -- processes --------------------------------------------------------------------------------------------------

    def start(
        self,
        node: str,
        argv: Sequence[str],
        *,
        log: str,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> LocalProcess:
        with (self._files.logs / f"{log}.log").open("ab") as stderr:
            return self._spawn(node, argv, env or {}, cwd, stderr)

    def _spawn(
        self, node: str, argv: Sequence[str], env: Mapping[str, str], cwd: str | None, stderr: IO[bytes]
    ) -> LocalProcess:
        if node != WAN:
            self._opened().node(node)
        stdin_r, stdin_w = os.pipe2(os.O_CLOEXEC)
        stdout_r, stdout_w = os.pipe2(os.O_CLOEXEC)
        stdin, stdout = os.fdopen(stdin_w, "wb", buffering=0), os.fdopen(stdout_r, "rb")
        workdir = self.workdir(node)
        try:
            answer = self._request(
                {
                    "op": "spawn",
                    "netns": node,
                    "argv": list(argv),
                    "env": {**self._environment(workdir), **env},
                    "cwd": cwd or workdir,
                },
                fds=[stdin_r, stdout_w, stderr.fileno()],
                pipes=(stdin, stdout),
            )
        except LabFailure as error:
            stdin.close()
            stdout.close()
            raise LabFailure(error.what, where=f"starting {argv[0]} in {node}") from error
        finally:
            os.close(stdin_r)
            os.close(stdout_w)
        return self._processes[answer["pid"]]

    def run(
        self,
        node: str,
        argv: Sequence[str],
        *,
        timeout_s: float = 30.0,
        input: bytes = b"",
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        with tempfile.TemporaryFile() as stderr:
            process = self._spawn(node, argv, env or {}, None, stderr)
            try:
                feeder = threading.Thread(target=_feed, args=(process.stdin, input), daemon=True)
                feeder.start()
                output: list[bytes] = []
                drain = threading.Thread(target=lambda: output.append(process.stdout.read()), daemon=True)
                drain.start()
                deadline = time.monotonic() + timeout_s
                status = process.wait(timeout_s)
                drain.join(max(0.1, deadline - time.monotonic()))
                if status is None or drain.is_alive():
                    process.signal(signal.SIGKILL)
                    drain.join(5.0)
                    raise LabFailure(f"`{' '.join(argv)}` did not end in {timeout_s:g} s", where=node)
            finally:
                process._close_pipes()
                self._processes.pop(process.pid, None)
            stderr.seek(0)
            return Completed(status, b"".join(output).decode(errors="replace"), stderr.read().decode(errors="replace"))

    @staticmethod
    def _environment(home: str) -> dict[str, str]:
        return {"PATH": _PATH, "HOME": home, "LANG": "C.UTF-8", "TMPDIR": "/tmp"}

    def check(self) -> None:
        if self._channel is None or self._lost:
            raise LabFailure(
                "the local lab is not there any more", where=self._run_id, remedy="see lab.log in the logs"
            )

    def usage(self) -> Mapping[str, Mapping[str, float]]:
        return {}

    def facts(self) -> Mapping[str, object]:
        return {
            "runtime": self.name,
            "privilege": self._privilege,
            "kernel": platform.release(),
            "machine": platform.machine(),
            "cpus": len(os.sched_getaffinity(0)),
        }


def _feed(pipe: IO[bytes], data: bytes) -> None:
    with contextlib.suppress(OSError):
        pipe.write(data)
        pipe.close()
