"""The record: one line of an agent's account, 40 bytes, little-endian; and its constant-memory writer.

| bytes | field  | type | in a client's file                          | in a server's (or listener's) file          |
|-------|--------|------|---------------------------------------------|---------------------------------------------|
| 0-3   | seq    | u32  | number of the operation, from 0             | the same number, from the message           |
| 4-5   | peer   | u16  | agent that answered, NOBODY if unknown      | agent that sent the message                 |
| 6-7   | target | u16  | index into the task's topics                | index into the task's topics                |
| 8-9   | status | u16  | 0, or 1 + index into the table of failures  | 0, or 1 + index into the table of failures  |
| 10-11 | flags  | u16  | see below                                   | see below                                   |
| 12-15 | size   | u32  | bytes of payload sent                       | bytes of payload received                   |
| 16-23 | due    | i64  | when the operation was due                  | the same instant, from the message          |
| 24-31 | mid    | i64  | when it was sent                            | when it was received                        |
| 32-39 | done   | i64  | when it ended (answer, acceptance, failure) | when it had been processed                  |

Instants are nanoseconds of CLOCK_MONOTONIC on the recording agent's host; `due` is always the sender's clock. The
table of failures ("phase:ExceptionClass") is in the agent's report.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, Iterator, NamedTuple, Sequence

__all__ = [
    "FIELDS",
    "NOBODY",
    "RECORD",
    "REDELIVERED",
    "REQUEUED",
    "STARVED",
    "WARMUP",
    "Record",
    "RecordFile",
    "read_records",
]

RECORD = struct.Struct("<IHHHHIqqq")

#: Names and numpy type codes of the fields, in order.
FIELDS = (
    ("seq", "<u4"),
    ("peer", "<u2"),
    ("target", "<u2"),
    ("status", "<u2"),
    ("flags", "<u2"),
    ("size", "<u4"),
    ("due", "<i8"),
    ("mid", "<i8"),
    ("done", "<i8"),
)

#: `peer` of an operation nobody is known to have answered.
NOBODY = 0xFFFF

#: Flag: due before the end of the warm-up (set by the sender, carried in the message).
WARMUP = 1
#: Flag: the bus says it delivers this message once more (receivers; only where the client library tells).
REDELIVERED = 2
#: Flag: the receiver gave the message back to the bus, which will deliver it again.
REQUEUED = 4
#: Flag: at its due instant every worker of the client was busy, so the operation had to wait for one.
STARVED = 8


class Record(NamedTuple):
    """One record, decoded."""

    seq: int
    peer: int
    target: int
    status: int
    flags: int
    size: int
    due: int
    mid: int
    done: int


class RecordFile:
    """Appends records to a file through one preallocated buffer; for one thread at a time.

    Memory does not grow with the number of records. What cannot be written (disk full, a number too large for its
    field) is counted in `lost` and the error kept in `fault`; the load goes on.
    """

    def __init__(self, path: str, capacity: int = 4096) -> None:
        self._file: BinaryIO | None = open(path, "ab", buffering=0) if path else None  # noqa: SIM115, PTH123
        self._buffer = bytearray(capacity * RECORD.size)
        self._view = memoryview(self._buffer)
        self._end = capacity * RECORD.size
        self._at = 0
        self.written = 0
        self.lost = 0
        self.fault: BaseException | None = None

    def add(self, record: Sequence[int]) -> bool:
        """Append one record: its fields in the order of the table above. Whether they were what a record can hold; if
        not, it is lost."""
        try:
            RECORD.pack_into(self._buffer, self._at, *record)
        except struct.error as error:
            self.lost += 1
            self.fault = error
            return False
        self._at += RECORD.size
        if self._at == self._end:
            self.flush()
        return True

    def close(self) -> None:
        """Flush, and close the file. Records added afterwards are counted as lost."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None

    def flush(self) -> None:
        """Hand everything added so far to the file."""
        end, self._at = self._at, 0
        if not end:
            return
        records = end // RECORD.size
        if self._file is None:
            self.lost += records
            return
        try:
            done = 0
            while done < end:
                done += os.write(self._file.fileno(), self._view[done:end])
        except OSError as error:
            self.lost += records
            self.fault = error
        else:
            self.written += records


def read_records(path: str) -> Iterator[Record]:
    """All whole records of a file, in the order written. A torn last record (the agent was killed) is left out."""
    with open(path, "rb") as file:  # noqa: PTH123
        while True:
            chunk = file.read(RECORD.size * 4096)
            whole = len(chunk) - len(chunk) % RECORD.size
            for fields in RECORD.iter_unpack(chunk[:whole]):
                yield Record(*fields)
            if whole < RECORD.size * 4096:
                return
