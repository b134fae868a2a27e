"""The account: what is recorded and what is counted agree, whatever the threads and whenever one asks."""

from __future__ import annotations

import threading
import tracemalloc
from pathlib import Path

import pytest

from harness.agent.account import BATCH, Account
from harness.agent.records import REQUEUED, STARVED, read_records


def ended(seq: int, *, peer: int = 0, status: int = 0, flags: int = 0) -> tuple[int, ...]:
    """The record of an operation that was due at 10, sent (or received) at 12 and done at 15."""
    return (seq, peer, 0, status, flags, 0, 10, 12, 15)


def test_what_ended_is_recorded_in_its_order_and_counted(tmp_path: Path) -> None:
    account = Account(str(tmp_path / "r"))
    for seq in range(3):
        account.begin(seq)
    account.end(ended(2, flags=STARVED))
    account.end(ended(0, status=4, flags=REQUEUED))
    counts = account.counts()
    account.close()
    assert [record.seq for record in read_records(str(tmp_path / "r"))] == [2, 0]
    assert counts == {
        "sent": 3,
        "done": 1,
        "in_flight": 1,
        "starved": 1,
        "given_back": 1,
        "negative": 0,
        "failed": {4: 1},
        "records": 2,
        "lost_records": 0,
    }


@pytest.mark.parametrize(("receiver", "latency"), [(False, 5), (True, 2)])
def test_a_latency_ends_where_the_message_arrives_or_the_operation_does(receiver: bool, latency: int) -> None:
    account = Account("", receiver=receiver)
    account.end(ended(0))
    assert account.histogram_delta() == {str(latency): 1}


def test_threads_lose_and_tear_nothing_while_others_ask(tmp_path: Path) -> None:
    account = Account(str(tmp_path / "r"))
    over = threading.Event()
    disagreed = []

    def perform(peer: int) -> None:
        for seq in range(2000):
            account.begin(seq)
            account.end(ended(seq, peer=peer))
            if not seq % BATCH:
                account.book()

    def ask() -> None:
        while not over.is_set():
            counts = account.counts()
            if counts["done"] != counts["records"] or counts["in_flight"] < 0:
                disagreed.append(counts)

    asking = threading.Thread(target=ask)
    asking.start()
    workers = [threading.Thread(target=perform, args=(peer,)) for peer in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    over.set()
    asking.join()
    account.close()
    seen = [(record.peer, record.seq) for record in read_records(str(tmp_path / "r"))]
    assert sorted(seen) == [(peer, seq) for peer in range(4) for seq in range(2000)]
    assert [seq for peer, seq in seen if peer == 1] == list(range(2000))
    assert account.counts()["done"] == 8000
    assert not disagreed


def test_after_the_final_count_nothing_is_recorded_or_counted(tmp_path: Path) -> None:
    account = Account(str(tmp_path / "r"))
    account.begin(1)
    account.begin(2)
    account.end(ended(1))
    final = account.counts(final=True)
    account.end(ended(2))
    assert account.counts() == final
    account.close()
    assert [record.seq for record in read_records(str(tmp_path / "r"))] == [1]
    assert (final["in_flight"], final["lost_records"]) == (1, 0)


def test_memory_does_not_grow_with_operations() -> None:
    account = Account("/dev/null")

    def perform(count: int) -> None:
        for seq in range(count):
            account.begin(seq)
            account.end(ended(seq))
            if not seq % BATCH:
                account.book()
        account.flush()

    tracemalloc.start()
    try:
        perform(5000)
        before = tracemalloc.get_traced_memory()[0]
        perform(50_000)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        account.close()
    assert after - before < 2000
