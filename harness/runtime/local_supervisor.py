"""Process 1 of a local lab: lives in the lab's own namespaces and starts processes in its nodes.

Run by `harness.runtime.local` as a script, with the standard library alone, inside fresh mount, network and PID
namespaces. It takes requests as JSON messages with file descriptors over one SOCK_SEQPACKET socket and reports the
end of every process it started. When the socket closes - also because the controller was killed with SIGKILL - it
exits, and with it, being process 1, the kernel ends every process of the lab and frees its namespaces.

Requests:  {"id", "op": "batch", "commands": [{"argv", "input"?}]}        -> {"id", "failed"?: {...}, "outputs": [...]}
           {"id", "op": "spawn", "netns", "argv", "env", "cwd"} + 3 fds   -> {"id", "pid"} or {"id", "error"}
           {"id", "op": "signal", "pid", "signal"}                        -> {"id"}
           {"id", "op": "shutdown", "grace_s"}                            -> exits
Events:    {"event": "exit", "pid", "status"}   status: exit code, or minus the signal number
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

MAX_MESSAGE = 180_000
CLONE_NEWNET = 0x40000000
Send = Callable[[dict[str, Any]], None]
libc = ctypes.CDLL(None, use_errno=True)


def prepare_mounts(hosts_file: str) -> None:
    """Give the lab its own /run (for named network namespaces and lock files) and its own /etc/hosts."""
    for argv in (
        ["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"],
        ["mount", "--bind", hosts_file, "/etc/hosts"],
    ):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(argv)}: {done.stderr.strip()}")


def enter_network_namespace(name: str) -> None:
    fd = os.open("/run/netns/" + name, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(fd, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns " + name)
    finally:
        os.close(fd)


def spawn(request: dict[str, Any], fds: Sequence[int]) -> int:
    """Fork and exec one process in a node's network namespace and in a session of its own; returns its pid."""
    ready_r, ready_w = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            enter_network_namespace(request["netns"])
            for target, fd in enumerate(fds):
                os.dup2(fd, target, inheritable=True)
            os.chdir(request["cwd"])
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
            for number in (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            os.execvpe(request["argv"][0], request["argv"], request["env"])
        except BaseException as error:
            os.write(ready_w, f"{request['argv'][0]}: {error}".encode())
        finally:
            os._exit(127)
    os.close(ready_w)
    with os.fdopen(ready_r, "rb") as ready:
        failure = ready.read()
    if failure:
        os.waitpid(pid, 0)
        raise OSError(failure.decode(errors="replace"))
    return pid


def batch(commands: list[dict[str, Any]]) -> dict[str, Any]:
    """Run set-up commands one after the other in the lab's root namespace; stops at the first that fails."""
    outputs: list[str] = []
    for command in commands:
        done = subprocess.run(
            command["argv"], input=command.get("input", ""), capture_output=True, text=True, check=False, timeout=60
        )
        if done.returncode != 0:
            return {
                "failed": {
                    "argv": command["argv"],
                    "status": done.returncode,
                    "stderr": done.stderr.strip()[-2000:],
                },
                "outputs": outputs,
            }
        outputs.append(done.stdout[-20_000:])
    return {"outputs": outputs}


def reap(children: set[int], send: Send) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid in children:
            children.discard(pid)
            send({"event": "exit", "pid": pid, "status": os.waitstatus_to_exitcode(status)})


def signal_group(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def shutdown(children: set[int], send: Send, grace_s: float) -> None:
    for pid in list(children):
        signal_group(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while children and time.monotonic() < deadline:
        reap(children, send)
        time.sleep(0.02)


def serve(channel: socket.socket) -> None:
    children: set[int] = set()
    wake_r, wake_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)

    def send(message: dict[str, Any]) -> None:
        try:
            channel.send(json.dumps(message).encode())
        except OSError:
            os._exit(1)

    sources: list[Any] = [channel, wake_r]
    send({"event": "ready"})
    while True:
        readable, _, _ = select.select(sources, [], [])
        if wake_r in readable:
            os.read(wake_r, 4096)
            reap(children, send)
        if channel not in readable:
            continue
        data, ancillary, _, _ = channel.recvmsg(MAX_MESSAGE, socket.CMSG_SPACE(3 * 4))
        if not data:
            return
        fds: array.array[int] = array.array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        request = json.loads(data)
        answer: dict[str, Any] = {"id": request["id"]}
        try:
            if request["op"] == "spawn":
                answer["pid"] = spawn(request, list(fds))
                children.add(answer["pid"])
            elif request["op"] == "signal":
                if request["pid"] in children:
                    signal_group(request["pid"], request["signal"])
            elif request["op"] == "batch":
                answer.update(batch(request["commands"]))
            elif request["op"] == "shutdown":
                shutdown(children, send, request["grace_s"])
                send(answer)
                return
        except Exception as error:
            answer["error"] = str(error)
        finally:
            for fd in fds:
                os.close(fd)
        send(answer)


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    # Python marks it inheritable for the exec that started this script; processes of the lab must not hold it.
    channel.set_inheritable(False)
    prepare_mounts(sys.argv[2])
    serve(channel)


if __name__ == "__main__":
    main()
