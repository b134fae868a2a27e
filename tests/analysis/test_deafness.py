"""Deaf agents in small hand-made cells: who is found, since when, and who is excused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from harness.agent.records import NOBODY
from harness.analysis.deafness import Deaf, find_deaf
from harness.store.schema import CellRecord
from tests.analysis.test_delivery import agent, cell

LOAD_S = 60
TIMED_OUT = ["call:MessagingTimeout"]


def record(*agents: Any, **facts: Any) -> CellRecord:
    phases = {"warmup_s": 0, "duration_s": LOAD_S, "drain_s": 5}
    return cell(*agents).model_copy(update={"phases": phases, "facts": facts})


def found(
    made: CellRecord,
    sent: list[tuple[float, int]],
    got: list[tuple[int, float, int]],
    work_s: float = 0.0,
    **sockets: int,
) -> list[Deaf]:
    """sent: (due, status) of client 1 by sequence number; got: (receiver, received at, sequence number)."""
    due = np.array([at for at, _ in sent]) * 1e9
    status = np.array([status for _, status in sent], np.uint16)
    operations = {
        "agent": np.ones(len(sent), np.uint16),
        "seq": np.arange(len(sent), dtype=np.uint32),
        "target": np.zeros(len(sent), np.uint16),
        "peer": np.full(len(sent), NOBODY, np.uint16),
        "status": status,
        "due_ns": due.astype(np.int64),
        "done_ns": (due + np.where(status, 2e9, 1e7)).astype(np.int64),
    }
    deliveries = {
        "agent": np.array([who for who, _, _ in got], np.uint16),
        "peer": np.ones(len(got), np.uint16),
        "seq": np.array([seq for _, _, seq in got], np.uint32),
        "flags": np.zeros(len(got), np.uint16),
        "received_ns": np.array([at * 1e9 for _, at, _ in got], np.int64),
        "done_ns": np.array([(at + work_s) * 1e9 for _, at, _ in got], np.int64),
    }
    samples = pd.DataFrame(
        [
            {"t_s": float(t), "process": one.name, "sockets": sockets.get(one.name.replace("-", "_"), 2)}
            for one in made.agents
            for t in range(LOAD_S)
        ]
    )
    return find_deaf(made, operations, deliveries, samples)


def calls(until_s: float = LOAD_S, failed_from_s: float = LOAD_S) -> list[tuple[float, int]]:
    return [(at / 10, int(at / 10 >= failed_from_s)) for at in range(int(until_s * 10))]


PAIR = (agent(1, "client", failures=TIMED_OUT), agent(2, "server"))


def test_a_server_that_is_served_to_the_end() -> None:
    assert found(record(*PAIR), calls(), [(2, at, seq) for seq, (at, _) in enumerate(calls())]) == []


def test_a_server_that_gets_nothing_any_more() -> None:
    sent = calls(failed_from_s=20)
    (deaf,) = found(record(*PAIR), sent, [(2, at, seq) for seq, (at, _) in enumerate(sent) if at < 20])
    assert (deaf.agent, deaf.until_s, deaf.sockets) == (2, None, 2)
    assert abs(deaf.since_s - 20) < 0.2
    assert deaf.missed == 400


def test_a_server_that_is_not_connected_is_not_deaf() -> None:
    sent = calls(failed_from_s=20)
    got = [(2, at, seq) for seq, (at, _) in enumerate(sent) if at < 20]
    assert found(record(*PAIR), sent, got, server_2=0) == []


def test_a_server_that_is_at_work_is_not_deaf() -> None:
    got = [(2, at, round(at * 10)) for at in (0.0, 20.0, 40.0)]
    assert found(record(*PAIR), calls(), got, work_s=19.9) == []
    assert len(found(record(*PAIR), calls(), got, work_s=1.0)) == 3


def test_a_server_from_which_nobody_wanted_anything() -> None:
    assert found(record(*PAIR), calls(until_s=20), [(2, at, seq) for seq, (at, _) in enumerate(calls(20))]) == []


def test_one_of_two_servers_while_the_other_is_served() -> None:
    both = record(*PAIR, agent(3, "server"))
    got = [(2 if at > 30 or seq % 2 else 3, at, seq) for seq, (at, _) in enumerate(calls())]
    (deaf,) = found(both, calls(), got)
    assert (deaf.agent, deaf.until_s) == (3, None)
    assert 29.5 < deaf.since_s < 30.5
    never = [(2, at, seq) for seq, (at, _) in enumerate(calls())]
    assert found(both, calls(), never) == [], "the bus may prefer one from the beginning"


def test_a_silence_that_ends() -> None:
    both = record(*PAIR, agent(3, "server"))
    got = [(2 if 20 < at < 40 or seq % 2 else 3, at, seq) for seq, (at, _) in enumerate(calls())]
    (deaf,) = found(both, calls(), got)
    assert deaf.until_s is not None
    assert (round(deaf.since_s), round(deaf.until_s)) == (20, 40)


def test_what_the_timeline_did_is_no_deafness() -> None:
    events = [
        {"at_s": at, "due_s": at, "action": action, "target": "server-2", "bus": "", "event": 0, "label": "x"}
        for at, action in ((20.0, "pause"), (55.0, "resume"))
    ]
    sent = calls(failed_from_s=20)
    got = [(2, at, seq) for seq, (at, _) in enumerate(sent) if at < 20]
    assert found(record(*PAIR, process_events=events), sent, got) == []


def test_operations_the_bus_did_not_take_say_nothing_of_the_server() -> None:
    client = agent(1, "client", failures=["call:ConnectionRefusedError"])
    sent = calls(failed_from_s=20)
    got = [(2, at, seq) for seq, (at, _) in enumerate(sent) if at < 20]
    assert found(record(client, PAIR[1]), sent, got) == []


def test_a_client_whom_no_answer_reaches() -> None:
    sent = calls(failed_from_s=20)
    (deaf,) = found(record(*PAIR), sent, [(2, at, seq) for seq, (at, _) in enumerate(sent)])
    assert (deaf.agent, deaf.until_s, deaf.missed) == (1, None, 400)
    assert abs(deaf.since_s - 19.9) < 0.2
    assert "servers received 400 of its calls" in deaf.why
