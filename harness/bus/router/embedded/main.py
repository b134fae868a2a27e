"""The command: `embedded.pyz --config FILE`. Serves until SIGTERM, SIGINT."""

from __future__ import annotations

import argparse
import signal
import sys
from typing import Any

import proton

from harness.bus.router.embedded.config import ConfigError, parse_config
from harness.bus.router.embedded.engine import Engine
from harness.bus.router.embedded.router import VERSION, Router

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run one router; 0 after an orderly stop, 2 for a configuration it cannot follow, 3 where it cannot listen."""
    parser = argparse.ArgumentParser(description="A small AMQP 1.0 router.")
    parser.add_argument(
        "--version", action="version", version=f"{VERSION} (proton {'.'.join(map(str, proton.VERSION))})"
    )
    parser.add_argument("--config", required=True, help="configuration file, qpid-dispatch's format")
    options = parser.parse_args(arguments)
    try:
        with open(options.config) as file:  # noqa: PTH123 - node-side, kept plain
            config = parse_config(file.read())
    except (OSError, ConfigError) as error:
        print(f"{options.config}: {error}", file=sys.stderr)
        return 2
    engine = Engine()
    try:
        router = Router(config, engine)
    except OSError as error:
        print(f"{config.id}: cannot listen: {error}", file=sys.stderr)
        return 3

    def end(number: int, frame: Any) -> None:
        router.stop()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    router.note(f"{config.mode} router is up")
    engine.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
