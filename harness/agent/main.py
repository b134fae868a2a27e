"""Entry point of the agent archive: the load agent, a fleet of them, the process sampler, the TCP relay."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings

__all__ = ["main"]

_LOG_FORMAT = "%(asctime)s %(levelname)s %(threadName)s %(name)s: %(message)s"


def main() -> int:
    """Run the subcommand named on the command line; the exit status."""
    parser = argparse.ArgumentParser(prog="agent", description="load agent and process sampler of femdc-harness")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="perform a task told on standard input")
    commands.add_parser("sample", help="sample processes told on standard input, once a second")
    commands.add_parser("relay", help="relay connections to a bus, and reset them when told")
    fleet = commands.add_parser("fleet", help="fork agents that have their client library loaded already")
    fleet.add_argument("--adapter", required=True)
    fleet.add_argument("--driver", required=True)
    arguments = parser.parse_args()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=_LOG_FORMAT)
    # Ten lines at the end of every log of oslo.messaging, where one looks for what ended a process.
    warnings.filterwarnings("ignore", message=r"\s*Eventlet is deprecated")
    if arguments.command == "run":
        from harness.agent.agent import run_agent

        return run_agent()
    if arguments.command == "fleet":
        from harness.agent.fleet import run_fleet

        return run_fleet(arguments.adapter, arguments.driver)
    if arguments.command == "relay":
        from harness.agent.relay import run_relay

        return run_relay()
    from harness.agent.sampler import run_sampler

    return run_sampler()
