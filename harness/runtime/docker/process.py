"""Processes in containers: started over the engine's API, their pipes carried by its stream.

A process is started by a line of shell in its container which tells the process's number there and then becomes the
program, so images need a POSIX shell and nothing else. The engine starts every such process as leader of a session
of its own.

The stream carries stdout and stderr in frames of an 8 byte header (stream, three zeros, length, big-endian) and their
content; see "Stream format" at `POST /containers/{id}/attach` in the Docker Engine API.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any

from harness.errors import LabFailure
from harness.runtime.docker.engine import Engine, engine_errors

__all__ = ["ContainerProcess", "Stream", "exit_status", "run_in"]

_START_S = 60.0
_HEADER = struct.Struct(">BxxxL")
#: Prints the process's number and becomes the program; or says that there is no such program. Constant: what is to be
#: run are its arguments. It waits for a line first: what a process writes while the client library still reads the
#: engine's answer is lost in that library's buffer.
_BECOME = 'read -r go; command -v -- "$1" >/dev/null 2>&1 || { echo -; exit 127; }; echo $$; exec "$@"'


class Stream:
    """A connection the engine has handed over.

    Args:
        handed: what the SDK returns for one: a file object over a socket that lives as long, or the socket itself.
    """

    def __init__(self, handed: Any) -> None:
        self._handed = handed
        self.socket: socket.socket = getattr(handed, "_sock", handed)
        self.socket.settimeout(None)

    def close(self) -> None:
        """Hang up, also under a reader."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        for part in (self._handed, self.socket):
            with contextlib.suppress(OSError):
                part.close()


def exit_status(code: int) -> int:
    """An exit code as shells and engines give it (128 + n: killed by signal n) as NodeProcess does (-n)."""
    number = code - 128
    return -number if number in signal.valid_signals() else code


class _Input(io.RawIOBase):
    """stdin of a process: writes go out at once; closing closes the process's end."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._connection.sendall(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_WR)
        super().close()


class ContainerProcess:
    """A process in a container; see `harness.runtime.protocol.NodeProcess`.

    Args:
        engine: the engine.
        container: id of the container.
        argv: program and arguments.
        env: environment beside the container's own.
        cwd: working directory in the container.
        stderr: receives what it writes to stderr; called from the process's own thread.
        done: called when no more will come.
        where: the node, for errors.

    Raises LabFailure if the program is not there or the engine refuses.
    """

    def __init__(
        self,
        engine: Engine,
        container: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        stderr: Callable[[bytes], object],
        done: Callable[[], object],
        where: str,
    ) -> None:
        self._engine = engine
        self.container = container
        self._where = where
        self._stderr = stderr
        self._done = done
        self._status: int | None = None
        self._ended = threading.Event()
        self._answered = threading.Event()
        self._first = b""
        self._pid = 0
        with engine_errors(f"starting {argv[0]}", where):
            self._exec: str = engine.api.exec_create(
                container,
                ["sh", "-c", _BECOME, "harness", *argv],
                stdin=True,
                environment=dict(env),
                workdir=cwd,
                user="0:0",
            )["Id"]
            self._stream = Stream(engine.api.exec_start(self._exec, socket=True))
        with contextlib.suppress(OSError):  # if it has ended already, that shows soon enough
            self._stream.socket.sendall(b"\n")
        self.stdin: IO[bytes] = _Input(self._stream.socket)  # type: ignore[assignment]
        reading, self._writing = os.pipe2(os.O_CLOEXEC)
        self.stdout: IO[bytes] = os.fdopen(reading, "rb")
        threading.Thread(target=self._pump, name=f"{where}: {argv[0]}", daemon=True).start()
        self._await_start(argv[0])

    def _await_start(self, program: str) -> None:
        answered = self._answered.wait(_START_S)
        text = self._first.strip()
        if text.isdigit():
            self._pid = int(text)
            return
        self.close()
        if text == b"-":
            raise LabFailure(f"{program}: no such program in its image", where=f"starting {program} in {self._where}")
        if not answered:
            raise LabFailure(f"{program} did not start within {_START_S:g} s", where=self._where)
        said = text.decode(errors="replace") or "its container has ended, or its image has no shell"
        raise LabFailure(f"{program} could not be started: {said}", where=self._where)

    @property
    def pid(self) -> int:
        return self._pid

    def poll(self) -> int | None:
        return self._status

    def wait(self, timeout_s: float) -> int | None:
        self._ended.wait(timeout_s)
        return self._status

    def signal(self, number: int) -> None:
        """Send a signal to the process group."""
        if self._status is not None:
            return
        with contextlib.suppress(LabFailure):  # the container may have ended, and the process with it
            run_in(
                self._engine,
                self.container,
                ["sh", "-c", 'kill -s "$1" -- "-$2"', "kill", signal.Signals(number).name[3:], str(self._pid)],
                where=self._where,
            )

    def close(self) -> None:
        """Close the connection and the pipes; the process itself ends with its container."""
        self.hang_up()
        self._ended.wait(5.0)  # then nobody is kept reading, and the pipe can be closed
        for part in (self.stdin, self.stdout):
            with contextlib.suppress(OSError):
                part.close()

    def hang_up(self) -> None:
        """Its container has ended: engines do not always end the stream of a process that ended with it."""
        self._stream.close()

    # -- its own thread ---------------------------------------------------------------------------------------------

    def _pump(self) -> None:
        try:
            while (frame := _frame(self._stream.socket)) is not None:
                number, content = frame
                if number == 2:
                    self._stderr(content)
                elif self._answered.is_set():
                    self._write(content)
                else:
                    self._first += content
                    first, newline, rest = self._first.partition(b"\n")
                    if newline:
                        self._first = first
                        self._write(rest)
                        self._answered.set()
        except (OSError, ValueError):
            pass  # the engine, or the way to it, is gone
        finally:
            self._end()

    def _write(self, content: bytes) -> None:
        view = memoryview(content)
        with contextlib.suppress(BrokenPipeError):  # nobody wants its output any more
            while view:
                view = view[os.write(self._writing, view) :]

    def _end(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self._writing)
        self._done()
        self._status = self._ask_status()
        self._ended.set()
        self._answered.set()
        self._stream.close()

    def _ask_status(self) -> int:
        """The engine's word on how it ended; killed, where the engine cannot be asked any more."""
        with contextlib.suppress(LabFailure):
            for _ in range(100):
                with engine_errors("asking for an exit status", self._where):
                    state = self._engine.api.exec_inspect(self._exec)
                if not state.get("Running") and state.get("ExitCode") is not None:
                    return exit_status(int(state["ExitCode"]))
                if state.get("Running") and not self._container_runs():
                    break
                time.sleep(0.05)
        return -int(signal.SIGKILL)

    def _container_runs(self) -> bool:
        with engine_errors("asking for a container's state", self._where):
            return bool(self._engine.api.inspect_container(self.container)["State"].get("Running"))


def run_in(
    engine: Engine, container: str, argv: Sequence[str], *, where: str, env: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    """Run a short command without input in a container, at once and to its end; (exit code, both outputs together).

    Raises LabFailure.
    """
    with engine_errors(f"running {argv[0]}", where):
        created = engine.api.exec_create(container, list(argv), environment=dict(env or {}), user="0:0")
        output = engine.api.exec_start(created["Id"])
        code = engine.api.exec_inspect(created["Id"]).get("ExitCode")
    return (1 if code is None else int(code)), bytes(output or b"")


def _frame(connection: socket.socket) -> tuple[int, bytes] | None:
    header = _exactly(connection, _HEADER.size)
    if header is None:
        return None
    number, length = _HEADER.unpack(header)
    content = _exactly(connection, length)
    return None if content is None else (number, content)


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(min(count - len(parts), 1 << 16))
        if not part:
            return None
        parts += part
    return bytes(parts)
