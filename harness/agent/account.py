"""The account: every operation begun, and how each ended, recorded (records.py) and counted (tally.py) together.

Between two calls over a bus other programs have the processor, and little of the agent stays in its caches: what
takes 7 us between calls over loopback then takes 45. So little is done there: what begins and what ends is put down
as it is, and booked some dozens at a time, when the first one fetches the code and the others find it there. Both
books are kept under one lock, so at any time what is recorded and what is counted agree.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from harness.agent.records import RecordFile
from harness.agent.tally import Tally

if TYPE_CHECKING:
    from typing import Callable, Sequence

__all__ = ["BATCH", "Account"]

#: So many operations are booked together; that delays the one which does it, by some 0.1 ms.
BATCH = 32


class Account:
    """Takes down operations from any thread, and books them.

    Args:
        records: path of the record file; "" for none.
        receiver: whether operations are messages received, whose latency ends where they arrive (`mid`), and not
            where they are dealt with (`done`).
    """

    def __init__(self, records: str, *, receiver: bool = False) -> None:
        self._file = RecordFile(records)
        self._tally = Tally()
        self._begun: deque[int] = deque()
        self._ended: deque[Sequence[int]] = deque()
        self._latency_ends = 7 if receiver else 8
        self._lock = threading.Lock()
        self._final = False
        #: Take down that operation `seq` is begun.
        self.begin: Callable[[int], None] = self._begun.append
        #: Take down how an operation ended: the fields of its record (records.py), in order. Whoever does calls `book`
        #: after every BATCH of them; what is left over is booked by whatever asks for counts.
        self.end: Callable[[Sequence[int]], None] = self._ended.append

    def book(self) -> None:
        """Book what was taken down so far."""
        with self._lock:
            self._book()

    def flush(self) -> None:
        """Book what was taken down so far, and hand the records to the file."""
        with self._lock:
            self._book()
            self._file.flush()

    def counts(self, *, final: bool = False) -> dict[str, Any]:
        """What was booked: the totals of Tally, in_flight, records (in the file) and lost_records.

        After a `final` count nothing is booked any more: what ends later has come too late to count.
        """
        with self._lock:
            self._book()
            self._file.flush()
            self._final = self._final or final
            return {**self._tally.totals(), "records": self._file.written, "lost_records": self._file.lost}

    def histogram_delta(self) -> dict[str, int]:
        """Latencies by bucket since the last call; see Tally."""
        with self._lock:
            self._book()
            return self._tally.histogram_delta()

    @property
    def fault(self) -> BaseException | None:
        """Why records could last not be written; None if all could."""
        return self._file.fault

    def close(self) -> None:
        """Book everything, and close the record file."""
        with self._lock:
            self._book()
            self._file.close()

    def _book(self) -> None:
        ended, begun = self._ended, self._begun
        if self._final:
            ended.clear()
            begun.clear()
            return
        add, count, latency_ends = self._file.add, self._tally.ended, self._latency_ends
        # What ended is looked at first: an operation that ends between the two counts as begun, not as ended before it.
        endings, beginnings = len(ended), len(begun)
        for _ in range(endings):
            record = ended.popleft()
            if add(record):
                count(record[3], record[latency_ends] - record[6], record[4])
        for _ in range(beginnings):
            begun.popleft()
        self._tally.sent += beginnings
