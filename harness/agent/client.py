"""The client half of an agent: operations through an adapter, each timed, counted and recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping

from harness.agent.clock import now
from harness.agent.leak import Leak
from harness.agent.load import Load
from harness.agent.payload import Payloads
from harness.agent.records import NOBODY, STARVED, WARMUP

if TYPE_CHECKING:
    from harness.agent.adapters.protocol import Sender
    from harness.agent.failures import Failures
    from harness.agent.records import RecordFile
    from harness.agent.tally import Tally
    from harness.agent.task import Task

__all__ = ["Client"]

_NS = 1_000_000_000


class Client:
    """Performs a task's operations through a sender."""

    def __init__(self, task: Task, sender: Sender, records: RecordFile, tally: Tally, failures: Failures) -> None:
        self._task = task
        self._sender = sender
        self._records = records
        self._tally = tally
        self._failures = failures
        self._payloads = Payloads(task.payload, task.seed)
        self._phase = task.pattern.split("-", 1)[-1]
        self._warm_until = 0
        self._load: Load | None = None
        self._due_before = 0
        self._leak = Leak(task.leak) if task.leak is not None else None

    def warm_up(self) -> bool:
        """Connect ahead of the load; see Sender.warm_up."""
        return self._sender.warm_up()

    def go(self, start: int, *, schedule: Mapping[str, Any] | None = None, count: int | None = None) -> None:
        """Begin a stretch of load; numbers go on where the last stretch ended."""
        first = 0
        if self._load is not None:
            first = self._load.next_number
            self._due_before += self._load.due_by(now())
        else:
            self._warm_until = start + int(self._task.warmup_s * _NS)
        self._load = Load(self._task, self._operate, start, first=first, schedule=schedule, count=count)
        self._load.begin()

    @property
    def finished(self) -> bool:
        """Whether a stretch of load was begun and has ended, with every operation answered or failed."""
        return self._load is not None and self._load.join(0.0)

    def due(self) -> int:
        """Operations due so far."""
        return self._due_before + (self._load.due_by(now()) if self._load is not None else 0)

    def drain(self, timeout_s: float | None) -> bool:
        """Wait for the load under way to end (None: without limit). Whether it has."""
        return self._load is None or self._load.join(timeout_s)

    def stop(self, timeout_s: float) -> None:
        """Begin no further operation, wait for those under way, and disconnect."""
        if self._load is not None:
            self._load.stop.set()
            self._load.join(timeout_s)
        self._sender.close()

    def _operate(self, seq: int, due: int, starved: bool) -> None:
        flags = WARMUP if due < self._warm_until else 0
        target = (self._task.seed + seq) % len(self._task.topics)
        payload = self._payloads.next(seq)
        self._tally.began(starved)
        peer, status = NOBODY, 0
        sent = now()
        try:
            peer = self._sender.send(seq, due, flags, payload, target)
            done = now()
        except Exception as error:
            done = now()
            status = self._failures.code(self._phase, error)
        if starved:
            flags |= STARVED
        self._records.add(seq & 0xFFFFFFFF, peer, target, status, flags, len(payload), due, sent, done)
        self._tally.ended(status, done - due)
        if self._leak is not None:
            self._leak.operation()
