"""The relay passes bytes on, resets when told, and lets connections come back."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
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


def test_connections_are_reset_and_come_back(tmp_path: Path) -> None:
    archive = build_agent_archive(tmp_path / "agent.pyz")
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        subprocess.Popen(
            [sys.executable, str(archive), "relay"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as relay,
    ):
        threading.Thread(target=echo, args=(listener,), daemon=True).start()
        assert relay.stdin is not None
        assert relay.stdout is not None

        def ask(**command: Any) -> Any:
            relay.stdin.write(json.dumps(command).encode() + b"\n")  # type: ignore[union-attr]
            relay.stdin.flush()  # type: ignore[union-attr]
            return json.loads(relay.stdout.readline())  # type: ignore[union-attr]

        port = ask(cmd="open", id=1, host="127.0.0.1", port=listener.getsockname()[1])["port"]
        for number in range(3):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(b"hello")
                assert client.recv(10) == b"hello"
                assert ask(cmd="reset", id=2 + number) == {"type": "reset", "connections": 1, "id": 2 + number}
                with pytest.raises(ConnectionResetError):
                    client.recv(10)
        assert ask(cmd="dance", id=9)["type"] == "error"
        relay.stdin.close()
        assert relay.wait(10) == 0
