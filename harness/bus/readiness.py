"""Waits until a broker or router answers as what it is: the first bytes of its protocol, not just an open port."""

from __future__ import annotations

import time

from harness.errors import BusFailure
from harness.runtime.protocol import NodeProcess, Runtime

__all__ = ["AMQP_0_9_1", "AMQP_1_0", "log_tail", "wait_for_greeting"]

#: (what a client says first, how the right answer begins), both hexadecimal. AMQP 0-9-1 answers the protocol header
#: with a method frame on channel 0; AMQP 1.0 with a protocol header of its own.
AMQP_0_9_1 = ("414d515000000901", "010000")
AMQP_1_0 = ("414d515000010000", "414d5150")

#: Runs in the node with a bare Python: tries once a tenth of a second until the greeting fits.
_GREET = """
import socket, sys, time
port, said, wanted = int(sys.argv[1]), bytes.fromhex(sys.argv[2]), bytes.fromhex(sys.argv[3])
end = time.monotonic() + float(sys.argv[4])
while time.monotonic() < end:
    try:
        with socket.create_connection(("127.0.0.1", port), 2.0) as peer:
            peer.settimeout(5.0)
            peer.sendall(said)
            got = b""
            while len(got) < len(wanted):
                part = peer.recv(64)
                if not part:
                    break
                got += part
            if got.startswith(wanted):
                sys.exit(0)
    except OSError:
        pass
    time.sleep(0.1)
sys.exit(1)
"""


def log_tail(lab: Runtime, log: str, lines: int = 12) -> str:
    """The last lines of a process's log, indented for an error message."""
    text = lab.log_text(log, last_bytes=8192).rstrip().splitlines()[-lines:]
    return "\n    ".join(["", *text]) if text else " (it is empty)"


def wait_for_greeting(
    lab: Runtime,
    node: str,
    port: int,
    greeting: tuple[str, str],
    *,
    process: NodeProcess,
    log: str,
    deadline: float,
    what: str,
) -> None:
    """Wait until the port in the node greets as expected.

    Raises:
        BusFailure: the process ended, or the deadline (CLOCK_MONOTONIC seconds) passed; shows its last log lines.
    """
    while True:
        status = process.poll()
        if status is not None:
            raise BusFailure(
                f"{what} ended with {status} while starting; its last lines:{log_tail(lab, log)}", where=node
            )
        left = deadline - time.monotonic()
        if left <= 0:
            raise BusFailure(f"{what} was not ready in time; its last lines:{log_tail(lab, log)}", where=node)
        step = min(2.0, left)
        done = lab.run(
            node, [lab.python, "-I", "-S", "-c", _GREET, str(port), *greeting, str(step)], timeout_s=step + 20
        )
        if done.returncode == 0:
            return
