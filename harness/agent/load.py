"""The load generator: performs operations when they are due, from a pool of threads.

Open loop: each worker takes the next operation under a lock, sleeps until that operation is due itself, and performs
it; there is no dispatcher whose hand-off would add to the send delay. A worker that goes to work and leaves
hardly one waiting for what is due next asks for another, as long as the task allows more. When all workers are busy
at an operation's due instant it starts late and is marked as starved: its latency counts from when it was due, and
the result says how often it happened.

Closed loop: each worker performs, pauses, performs again. Asked for by name, because published evaluations did so.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping

from harness.agent.clock import now, precise_timers, sleep_until
from harness.agent.schedule import due_offsets

if TYPE_CHECKING:
    from harness.agent.task import Task

__all__ = ["Load", "Operation"]

#: Performs operation `seq`, due at an instant (ns); `starved` if no worker was free at that instant.
Operation = Callable[[int, int, bool], None]

_NS = 1_000_000_000
#: So many workers at least should wait for what is due next; starting one takes a millisecond where it is busy.
_SPARE = 2


class Load:
    """One stretch of load, from a go.

    Args:
        task: schedule, durations, workers, most_workers and seed.
        operation: performs one operation and never raises.
        start: instant (ns) the schedule's offsets count from.
        first: number of the first operation.
        schedule: instead of the task's.
        count: at most so many operations.
    """

    def __init__(
        self,
        task: Task,
        operation: Operation,
        start: int,
        *,
        first: int = 0,
        schedule: Mapping[str, Any] | None = None,
        count: int | None = None,
    ) -> None:
        plan = dict(schedule or task.schedule)
        self._operation = operation
        self._start = start
        self._length = task.warmup_s + task.duration_s
        self._count = count
        self._closed = plan["kind"] == "closed"
        self._pause = int(float(plan.get("pause_s") or 0.0) * _NS)
        if self._closed:
            self._count = count if count is not None else plan.get("count")
            self._offsets: Iterator[int] = iter(())
            self._shadow: Iterator[int] = iter(())
        else:
            self._offsets = due_offsets(plan, self._length, task.seed)
            self._shadow = due_offsets(plan, self._length, task.seed)
        self._shadow_next = next(self._shadow, None)
        self._first = first
        self._taken = 0
        self._waiting: deque[int] = deque()
        self._due = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._stopped = False
        self._most_workers = task.workers if self._closed else task.most_workers or task.workers
        self._workers = [self._worker(number) for number in range(task.workers)]
        self._wanted: queue.SimpleQueue[bool] | None = None
        self._hiring: threading.Thread | None = None

    def _worker(self, number: int) -> threading.Thread:
        return threading.Thread(target=self.work, name=f"worker-{number}", daemon=True)

    def begin(self) -> None:
        """Start the workers."""
        if self._most_workers > len(self._workers):
            self._wanted = queue.SimpleQueue()
            self._hiring = threading.Thread(target=self._hire, args=(self._wanted,), name="hiring", daemon=True)
            self._hiring.start()
        for worker in tuple(self._workers):
            worker.start()

    def _hire(self, wanted: queue.SimpleQueue[bool]) -> None:
        """Start the workers asked for. A thread of its own, because starting one takes time and operations are due."""
        while wanted.get():
            if len(self._workers) < self._most_workers:
                worker = self._worker(len(self._workers))
                try:
                    worker.start()
                except RuntimeError:  # the machine gives no more threads
                    return
                self._workers.append(worker)

    def end_soon(self) -> None:
        """Begin no further operation."""
        self._stopped = True
        self._stop.set()
        if self._wanted is not None:
            self._wanted.put(False)

    @property
    def next_number(self) -> int:
        """Number of the first operation nobody has taken."""
        with self._lock:
            return self._first + self._taken

    def due_by(self, instant: int) -> int:
        """How many operations were due at an instant; instants of successive calls must not decrease.

        For a closed loop, how many were begun. Not thread-safe: for one reporting thread.
        """
        if self._closed:
            return self._taken
        while (
            self._shadow_next is not None
            and self._start + self._shadow_next <= instant
            and (self._count is None or self._due < self._count)
        ):
            self._due += 1
            self._shadow_next = next(self._shadow, None)
        return self._due

    def join(self, timeout_s: float | None = None) -> bool:
        """Wait until every worker has ended. Whether they have."""
        deadline = None if timeout_s is None else now() + int(timeout_s * _NS)
        hiring = [self._hiring] if self._hiring is not None else []
        for threads in (hiring, self._workers):  # nobody is hired once the first has ended
            for thread in threads:
                thread.join(None if deadline is None else max(0.0, (deadline - now()) / _NS))
        return not any(thread.is_alive() for thread in (*hiring, *self._workers))

    def work(self) -> None:
        """Be one of the workers, on the calling thread, until the stretch of load has ended."""
        precise_timers()
        if self._closed:
            self._work_closed()
        else:
            self._work_open()

    def _work_open(self) -> None:
        operation, offsets, lock, stop = self._operation, self._offsets, self._lock, self._stop
        start, first, most = self._start, self._first, self._count
        wanted = self._wanted
        while not self._stopped:
            with lock:
                number = self._taken
                offset = next(offsets, None) if most is None or number < most else None
                if offset is None:
                    if wanted is not None:
                        wanted.put(False)
                    return
                self._taken = number + 1
            if wanted is not None:
                self._waiting.append(number)
            due = start + offset
            starved = now() > due
            if starved or sleep_until(due, stop):
                if wanted is not None:
                    self._leave_some_waiting(wanted)
                operation(first + number, due, starved)

    def _leave_some_waiting(self, wanted: queue.SimpleQueue[bool]) -> None:
        """Without the lock: whoever holds it may wait for the interpreter's, and an operation is due."""
        self._waiting.pop()
        if len(self._waiting) < _SPARE and len(self._workers) < self._most_workers:
            wanted.put(True)

    def _work_closed(self) -> None:
        operation, lock, stop, clock = self._operation, self._lock, self._stop, now
        first, most, pause = self._first, self._count, self._pause
        due = self._start
        end = due + int(self._length * _NS)
        if not sleep_until(due, stop):
            return
        while not self._stopped and (most is not None or due < end):
            with lock:
                number = self._taken
                if most is not None and number >= most:
                    return
                self._taken = number + 1
            operation(first + number, due, False)
            due = clock() + pause
            if pause and not sleep_until(due, stop):
                return
