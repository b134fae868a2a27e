"""The relay passes bytes on, resets when told, and lets connections come back."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.lab.agents import build_agent_archive


def echo(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            try:
                while data := connection.recv(4096):
                    connection.sendall(data)
            except OSError:
                pass


class Relay:
    """A relay process, asked in JSON lines."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    def ask(self, **command: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    archive = build_agent_archive(tmp_path / "agent.pyz")
    argv = [sys.executable, str(archive), "relay"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Relay(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0


def test_connections_are_ended_and_come_back(relay: Relay) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=echo, args=(listener,), daemon=True).start()
        port = relay.ask(cmd="open", id=1, host="127.0.0.1", port=listener.getsockname()[1])["port"]
        for number, how in enumerate(("reset", "hangup", "reset")):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(b"hello")
                assert client.recv(10) == b"hello"
                assert relay.ask(cmd=how, id=2 + number) == {"type": "reset", "connections": 1, "id": 2 + number}
                if how == "hangup":
                    assert client.recv(10) == b""
                else:
                    with pytest.raises(ConnectionResetError):
                        client.recv(10)
    assert relay.ask(cmd="dance", id=9)["type"] == "error"


def test_connections_that_come_to_nothing_in_every_way(relay: Relay) -> None:
    port = relay.ask(cmd="refuse", id=1)["port"]
    for _ in range(50):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=10)
    port = relay.ask(cmd="drop", id=2)["port"]
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(b"hello")
            with pytest.raises(ConnectionResetError):
                client.recv(10)
    port = relay.ask(cmd="silence", id=3)["port"]
    with socket.create_connection(("127.0.0.1", port), timeout=0.3) as client:
        client.sendall(b"hello")
        with pytest.raises(TimeoutError):
            client.recv(10)
    port = relay.ask(cmd="stall", id=4)["port"]
    for _ in range(3):
        with pytest.raises(TimeoutError):
            socket.create_connection(("127.0.0.1", port), timeout=0.3)
