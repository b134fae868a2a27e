"""Runs a command on a leash: when whoever holds it is gone, also by SIGKILL, the command's whole group is killed.

Run as a script, with the standard library alone, in a session of its own. Standard input is the leash, a pipe nobody
writes to; its end is the end of the holder. What the command started, compilers say, is in its group.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading


def watch() -> None:
    """Wait for the end of the leash, then kill the group, this process with it."""
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def main(command: list[str]) -> None:
    """Run the command; ends as it ends."""
    threading.Thread(target=watch, daemon=True).start()
    try:
        status = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.stderr.flush()
        status = 127
    os._exit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    main(sys.argv[1:])
