"""The ledger against what really happened on a broker: messages lost and doubled on purpose, and its own counters."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest

from harness.agent.records import REQUEUED, Record
from harness.analysis.deafness import find_deaf
from harness.analysis.delivery import Ledger, take_ledger
from harness.lab.agents import SamplerHandle
from tests.analysis.test_delivery import agent, cell

if TYPE_CHECKING:
    from harness.lab.agents import AgentReport
    from tests.agent.conftest import Rig

LOSE_EVERY, DOUBLE_EVERY, COUNT = 7, 11, 200


def columns(index: int, records: Sequence[Record], instant: str) -> dict[str, Any]:
    """Records as the store keeps them."""
    return {
        "agent": np.full(len(records), index, np.uint16),
        **{
            name: np.array([getattr(r, name) for r in records], np.uint16)
            for name in ("peer", "target", "status", "flags")
        },
        "seq": np.array([r.seq for r in records], np.uint32),
        "due_ns": np.array([r.due for r in records], np.int64),
        instant: np.array([r.mid for r in records], np.int64),
        "done_ns": np.array([r.done for r in records], np.int64),
    }


def account(pattern: str, report: AgentReport, sent: Sequence[Record], got: Sequence[Record]) -> Ledger:
    counters = {"sent": report.sent, "done": report.done, "failed": dict(report.failed), "in_flight": report.in_flight}
    client = agent(6, "client", pattern, counters=counters, failures=list(report.failures), rows=len(sent))
    return take_ledger(
        cell(client, agent(5, "server", pattern)), columns(6, sent, "sent_ns"), columns(5, got, "received_ns")
    )


def test_exactly_what_an_intermediary_lost_and_doubled_is_found(rig: Rig) -> None:
    rig.use("kombu", "oslo-14.7.3-rabbit", "rabbit")
    broker = urlsplit(rig.urls["rabbit"])
    script = rig.lab.put("host", Path(__file__).with_name("intermediary.py"), "intermediary.py")
    argv = [rig.lab.python, script, str(broker.hostname), str(broker.port), str(LOSE_EVERY), str(DOUBLE_EVERY)]
    between = rig.lab.start("host", argv, log="intermediary")
    try:
        port = int(between.stdout.readline())
        credentials = broker.netloc.rpartition("@")[0]
        url = broker._replace(netloc=f"{credentials}@127.0.0.1:{port}").geturl()
        server, client = rig.start(
            [rig.task(5, "server", pattern="rpc-cast", url=url), rig.task(6, "client", pattern="rpc-cast")]
        )
        report = rig.perform(client, COUNT)
        lost = COUNT // LOSE_EVERY
        doubled = (COUNT - lost) // DOUBLE_EVERY
        got = rig.received(server, COUNT - lost + doubled)
        told = [between.stdout.readline().split() for _ in range(lost + doubled)]
    finally:
        between.signal(9)
    said = {what: sorted(int(seq) for word, seq in told if word.decode() == what) for what in ("lost", "doubled")}
    assert (len(said["lost"]), len(said["doubled"])) == (lost, doubled)
    ledger = account("rpc-cast", report, rig.records(client), got)
    assert ledger.closed, ledger.faults
    (row,) = ledger.rows
    assert (row.accepted, row.delivered) == (COUNT, COUNT - lost), "the sender saw nothing of it"
    assert (row.lost, row.duplicated) == (lost, doubled)
    seqs = [record.seq for record in got]
    assert sorted(set(range(COUNT)) - set(seqs)) == said["lost"]
    assert sorted(seq for seq in set(seqs) if seqs.count(seq) == 2) == said["doubled"]


def counters(rig: Rig) -> Mapping[str, int]:
    """The broker's own counts of messages, over all protocols and kinds of queue."""
    sums: dict[str, int] = {}
    for group in rig.rabbit.metrics()["broker"]["global_counters"].values():
        for name, value in group.items():
            sums[name] = sums.get(name, 0) + int(value)
    return sums


@pytest.mark.parametrize("adapter", ["kombu", "oslo"])
def test_the_ledger_agrees_with_the_brokers_own_counters(rig: Rig, adapter: str) -> None:
    rig.use(adapter, "oslo-14.7.3-rabbit", "rabbit")
    listener, client = rig.start(
        [
            rig.task(5, "server", pattern="notify", behaviour={"requeue_fraction": 0.3}),
            rig.task(6, "client", pattern="notify"),
        ]
    )
    before = counters(rig)
    report = rig.perform(client, 60)
    got = rig.received(listener, 60)
    while len([record for record in got if not record.flags & REQUEUED]) < 60:
        got = rig.received(listener, len(got) + 1)
    after = counters(rig)
    (row,) = account("notify", report, rig.records(client), got).rows
    given_back = sum(1 for record in got if record.flags & REQUEUED)
    assert given_back > 0
    assert (row.accepted, row.delivered, row.lost, row.duplicated) == (60, 60, 0, 0)

    def grown(name: str) -> int:
        return after[name] - before[name]

    assert grown("messages_received_total") == row.started, "published"
    assert grown("messages_delivered_total") == row.delivered + given_back, "delivered"
    assert grown("messages_redelivered_total") == given_back, "redelivered"
    assert grown("messages_unroutable_dropped_total") == 0


#: Takes every binding but the default exchange's from a queue: consumer and connection stay as they are.
UNBIND = """
[rabbit_binding:remove(B, <<"test">>) ||
 B = {binding, {resource, _, exchange, From}, _, _, _} <-
     rabbit_binding:list_for_destination(rabbit_misc:r(<<"/">>, queue, <<"%s">>)), From =/= <<>>].
"""


def test_a_server_whose_queue_lost_its_binding_is_found_deaf(rig: Rig) -> None:
    rig.use("oslo", "oslo-14.7.3-rabbit", "rabbit")
    server, client = rig.start([rig.task(5, "server"), rig.task(6, "client", timeout_s=2.0)])
    samples: list[dict[str, Any]] = []
    sampler = SamplerHandle.start(rig.lab, "host", rig.archive, lambda node, message: samples.append(dict(message)))
    sampler.watch({"server-5": server.process.pid, "client-6": client.process.pid})
    try:
        rig.perform(client, 30)
        rig.rabbit._evaluate("broker", UNBIND % f"case{rig.cases}")
        unbound = time.monotonic()
        report = rig.perform(client, 8)
    finally:
        sampler.stop()
    assert report.failed == {"call:MessagingTimeout": 8}
    sent, got = rig.records(client), rig.records(server)
    go = sent[0].due
    load_s = (sent[-1].done - go) / 1e9
    record = cell(agent(6, "client", failures=list(report.failures)), agent(5, "server")).model_copy(
        update={"phases": {"warmup_s": 0.0, "duration_s": load_s, "drain_s": 0.0}}
    )
    operations, deliveries = columns(6, sent, "sent_ns"), columns(5, got, "received_ns")
    for table in (operations, deliveries):
        for name in table:
            if name.endswith("_ns"):
                table[name] = table[name] - go
    frame = pd.DataFrame(
        [{"t_s": s["t"] - go / 1e9, "process": s["name"], "sockets": s["sockets"]} for s in samples if "sockets" in s]
    )
    (deaf,) = find_deaf(record, operations, deliveries, frame)
    assert (deaf.agent, deaf.until_s) == (5, None)
    assert deaf.since_s <= unbound - go / 1e9
    assert deaf.sockets > 0
    assert deaf.missed == 8
