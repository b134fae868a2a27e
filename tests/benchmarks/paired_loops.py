"""The agent's calls and the same oslo.messaging calls in a bare loop, in turns, in one process.

    paired_loops.py ARCHIVE TASK CALLS

ARCHIVE is the agent's archive, TASK a client's task (JSON), CALLS how many calls a turn has. Reads numbers of rounds
from standard input, one a line. A round is a turn of each kind, in random order: "bare", "again" (bare as well: what
of a ratio is chance) and "agent", the agent's own loop on this thread. Prints, for each kind, the CPU time of the
process in each turn (ns) and the times of its calls (ns), as one line of JSON. Runs inside a stack.
"""

from __future__ import annotations

import json
import random
import sys
import time
from typing import Any

KINDS = ("bare", "again", "agent")


def main() -> None:
    """Serve numbers of rounds until end of input."""
    sys.path.insert(0, sys.argv[1])
    from harness.agent.account import Account
    from harness.agent.adapters import make_adapter
    from harness.agent.client import Client
    from harness.agent.failures import Failures
    from harness.agent.load import Load
    from harness.agent.records import read_records
    from harness.agent.task import Task

    task, calls = Task.from_json(json.loads(sys.argv[2])), int(sys.argv[3])
    sender: Any = make_adapter(task.adapter).open_sender(task)
    account = Account(task.record)
    client = Client(task, sender, account, Failures())
    client.warm_up()
    operation = client.operation()
    bare = sender.contexts[0]
    payload = "x" * task.payload["bytes"]
    now, cpu = time.monotonic_ns, time.process_time_ns
    order, first = random.Random(1), 0
    for line in sys.stdin:
        rounds, begun = int(line), first
        spent: dict[str, list[int]] = {kind: [] for kind in KINDS}
        times: dict[str, list[int]] = {kind: [] for kind in KINDS}
        for _ in range(rounds):
            for kind in order.sample(KINDS, len(KINDS)):
                if kind == "agent":
                    load = Load(task, operation, now(), first=first, count=calls)
                    before = cpu()
                    load.work()
                    spent[kind].append(cpu() - before)
                    first += calls
                    continue
                turn = [0] * calls
                before = cpu()
                for seq in range(calls):
                    start = now()
                    bare.call({}, "serve", agent=1, seq=seq, due=start, flags=0, payload=payload)
                    turn[seq] = now() - start
                spent[kind].append(cpu() - before)
                times[kind] += turn
        account.flush()
        times["agent"] = [record.done - record.mid for record in list(read_records(task.record))[begun:]]
        print(json.dumps({"cpu": spent, "times": times}), flush=True)
    client.stop(10.0)


if __name__ == "__main__":
    main()
