"""Records: what is written can be read; memory does not grow."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.agent.records import FIELDS, RECORD, Record, RecordFile, read_records

u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
i64 = st.integers(-(2**63), 2**63 - 1)


def test_a_record_is_40_bytes_and_the_fields_say_so() -> None:
    sizes = {"<u4": 4, "<u2": 2, "<i8": 8}
    assert RECORD.size == 40 == sum(sizes[code] for _, code in FIELDS)
    assert [name for name, _ in FIELDS] == list(Record._fields)


@given(st.lists(st.tuples(u32, u16, u16, u16, u16, u32, i64, i64, i64), max_size=40))
def test_records_survive_the_file(tmp_path_factory: object, rows: list[tuple[int, ...]]) -> None:
    path = tmp_path_factory.mktemp("records") / "r"  # type: ignore[attr-defined]
    file = RecordFile(str(path), capacity=7)
    for row in rows:
        file.add(row)
    file.close()
    assert [tuple(record) for record in read_records(str(path))] == rows
    assert (file.written, file.lost) == (len(rows), 0)


def test_a_torn_last_record_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "r"
    file = RecordFile(str(path))
    file.add((1, 2, 3, 0, 0, 4, 5, 6, 7))
    file.add((2, 2, 3, 0, 0, 4, 5, 6, 7))
    file.close()
    path.write_bytes(path.read_bytes()[:-3])
    assert [record.seq for record in read_records(str(path))] == [1]


@pytest.mark.parametrize("seq", [-1, 2**32, "one"])
def test_a_record_that_does_not_fit_is_lost_and_told(tmp_path: Path, seq: Any) -> None:
    file = RecordFile(str(tmp_path / "r"))
    assert not file.add((seq, 0, 0, 0, 0, 0, 0, 0, 0))
    assert file.add((1, 0, 0, 0, 0, 0, 0, 0, 0))
    file.close()
    assert [record.seq for record in read_records(str(tmp_path / "r"))] == [1]
    assert (file.written, file.lost) == (1, 1)
    assert file.fault is not None


def test_a_full_disk_is_counted_and_told() -> None:
    file = RecordFile("/dev/full", capacity=4)
    for seq in range(6):
        file.add((seq, 0, 0, 0, 0, 0, 0, 0, 0))
    file.flush()
    assert (file.written, file.lost) == (0, 6)
    assert isinstance(file.fault, OSError)
    file.close()


def test_memory_does_not_grow_with_records(tmp_path: Path) -> None:
    file = RecordFile(str(tmp_path / "r"))
    tracemalloc.start()
    try:
        for seq in range(5000):
            file.add((seq, 0, 0, 0, 0, 0, 0, 0, 0))
        before = tracemalloc.get_traced_memory()[0]
        for seq in range(50_000):
            file.add((seq, 0, 0, 0, 0, 0, 0, 0, 0))
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
        file.close()
    assert after - before < 2000
