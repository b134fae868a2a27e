"""The emulator's engine against a simulated kernel and clock: no packet early, lost or twice, whatever is changed."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.links.nfqueue import engine as engine_module
from harness.links.nfqueue import netlink
from harness.links.nfqueue.engine import Engine
from harness.links.nfqueue.kernel import QueueSocket
from harness.links.wire import impairment_to_json
from harness.model.links import Impairment, effective
from tests.links.test_nfqueue_messages import packet_message

MS = 1_000_000
HEADS = netlink.packet_heads(1024)
IPV4 = bytes.fromhex("4500006400000000401100000acb010a0acb020a") + bytes(80)


class Clock:
    """Stands in for the time module of the engine."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000_000

    def monotonic_ns(self) -> int:
        return self.now_ns

    def time_ns(self) -> int:
        return self.now_ns


class Kernel:
    """Queues as the kernel keeps them: ids in order, batch verdicts up to an id, one message per packet."""

    stamped = True
    receive_buffer_bytes = 0
    limit = 16

    def __init__(self, clock: Clock) -> None:
        self.batch = self.socket = self
        self.clock = clock
        self.unread: list[bytes] = []
        self.reading: list[bytes] = []
        self.pending: dict[int, list[int]] = {}
        self.arrivals: dict[tuple[int, int], int] = {}
        self.released: dict[tuple[int, int], int] = {}
        self.changed: dict[tuple[int, int], bytes] = {}
        self.dropped: set[tuple[int, int]] = set()
        self.suspensions: list[tuple[int, int]] = []
        self.arrived_meanwhile: list[tuple[int, int]] = []

    # What the engine asks of it.

    def bind(self, queue: int, copy_bytes: int, whole_super_packets: bool) -> None:
        self.pending[queue] = []

    def configure(self, queue: int, copy_bytes: int, whole_super_packets: bool) -> None:
        pass

    def counters(self) -> dict[str, int]:
        return {"waiting": sum(map(len, self.pending.values())), "queue_dropped": 0, "socket_dropped": 0}

    def read(self) -> int:
        self.reading, self.unread = self.unread[: self.limit], self.unread[self.limit :]
        if self.reading and self.suspensions:
            duration_ns, queue = self.suspensions.pop()
            self.clock.now_ns += duration_ns
            self.arrived_meanwhile.append(self.arrive(queue))
        return len(self.reading)

    def heads(self, count: int) -> Iterator[tuple[int, ...]]:
        assert count == len(self.reading)
        return HEADS.iter_unpack(b"".join(message.ljust(HEADS.size, b"\xff") for message in self.reading))

    def message(self, number: int) -> bytes:
        return self.reading[number]

    def send(self, data: bytes) -> None:
        offset = 0
        while offset < len(data):
            (length,) = struct.unpack_from("=I", data, offset)
            self._verdict(data[offset : offset + length])
            offset += length

    # What happens in it.

    def arrive(self, queue: int) -> tuple[int, int]:
        packet = len(self.arrivals) + 1
        self.arrivals[queue, packet] = self.clock.now_ns
        self.pending[queue].append(packet)
        stamp = (self.clock.now_ns // 1_000_000_000, self.clock.now_ns % 1_000_000_000 // 1000)
        self.unread.append(packet_message(queue, packet, IPV4, stamp, None))
        return queue, packet

    def _verdict(self, message: bytes) -> None:
        (kind,) = struct.unpack_from("=H", message, 4)
        (queue,) = struct.unpack_from(">H", message, 18)
        verdict, upto = struct.unpack(">II", netlink.find_attribute(message, 2) or b"")
        batch = kind == 0x303
        for packet in [one for one in self.pending[queue] if one == upto or (batch and one < upto)]:
            self.pending[queue].remove(packet)
            if verdict == netlink.NF_DROP:
                self.dropped.add((queue, packet))
            else:
                self.released[queue, packet] = self.clock.now_ns
                if (contents := netlink.payload_of(message)) != b"":
                    self.changed[queue, packet] = contents


class Simulation:
    """An engine with two links, a to b on queue 1 and b to a on queue 2."""

    def __init__(self, clock: Clock, **fields: Any) -> None:
        self.clock = clock
        self.kernel = Kernel(clock)
        self.engine = Engine(cast("QueueSocket", self.kernel))
        self.engine.add(1, "a", "b", described(**fields))
        self.engine.add(2, "b", "a", described(**fields))

    def change(self, **fields: Any) -> None:
        self.engine.change("a", "b", described(**fields))

    def pass_time(self, duration_ns: int, step_ns: int = 100_000) -> None:
        end = self.clock.now_ns + duration_ns
        while True:
            while not self.engine._read():
                pass
            while self.engine._heap and self.engine._heap[0][0] <= self.clock.now_ns:
                self.engine._release(self.clock.now_ns)
            if self.clock.now_ns >= end:
                return
            self.clock.now_ns = min(end, self.clock.now_ns + step_ns)

    def took_ms(self, which: tuple[int, int]) -> float:
        return (self.kernel.released[which] - self.kernel.arrivals[which]) / MS


def described(**fields: Any) -> dict[str, Any]:
    return impairment_to_json(effective(Impairment(**fields)))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(engine_module, "time", clock)
    return clock


def test_a_packet_takes_its_delay_from_its_arrival_not_from_its_reading(clock: Clock) -> None:
    simulation = Simulation(clock, delay_s=0.01)
    packet = simulation.kernel.arrive(1)
    clock.now_ns += 4 * MS  # nobody reads it for a while
    simulation.pass_time(20 * MS)
    assert simulation.took_ms(packet) == pytest.approx(10, abs=0.2)


def test_a_shorter_delay_overtakes_a_longer_one_that_was_in_force_before(clock: Clock) -> None:
    simulation = Simulation(clock, delay_s=0.1)
    slow = [simulation.kernel.arrive(1) for _ in range(3)]
    simulation.change(delay_s=0.01)
    fast = [simulation.kernel.arrive(1) for _ in range(3)]
    simulation.pass_time(200 * MS)
    assert [simulation.took_ms(one) for one in fast] == pytest.approx([10] * 3, abs=0.2)
    assert [simulation.took_ms(one) for one in slow] == pytest.approx([100] * 3, abs=0.2)


def test_what_arrived_before_a_change_is_treated_as_then_though_it_was_not_read_yet(clock: Clock) -> None:
    simulation = Simulation(clock, delay_s=0.05)
    before = simulation.kernel.arrive(1)
    simulation.change(delay_s=0.2)
    simulation.pass_time(300 * MS)
    assert simulation.took_ms(before) == pytest.approx(50, abs=0.2)


def test_a_cut_loses_what_is_held_and_what_comes_and_healing_what_came_meanwhile(clock: Clock) -> None:
    simulation = Simulation(clock, delay_s=0.05, jitter_s=0.01, reorder=True)
    held = [simulation.kernel.arrive(1) for _ in range(5)]
    simulation.pass_time(10 * MS)
    simulation.engine.cut("a", "b")
    during = [simulation.kernel.arrive(1) for _ in range(5)]
    other = simulation.kernel.arrive(2)
    simulation.engine.heal("a", "b")
    after = [simulation.kernel.arrive(1) for _ in range(5)]
    simulation.pass_time(200 * MS)
    assert simulation.kernel.dropped == {*held, *during}
    assert set(simulation.kernel.released) == {other, *after}
    counts = simulation.engine.links["a", "b"].counts()
    assert (counts["arrived"], counts["cut_dropped"], counts["released"]) == (15, 10, 5)


def test_packets_that_wait_for_a_rate_leave_sooner_when_it_rises(clock: Clock) -> None:
    simulation = Simulation(clock, rate_bps=91_200, queue_bytes=100_000)  # 10 ms for each of these packets
    packets = [simulation.kernel.arrive(1) for _ in range(10)]
    simulation.pass_time(30 * MS)
    assert len(simulation.kernel.released) == 3
    simulation.change(rate_bps=912_000, queue_bytes=100_000)
    simulation.pass_time(8 * MS)
    assert len(simulation.kernel.released) == 10
    assert [one for one in simulation.kernel.released if one in packets] == packets


def test_corrupt_packets_leave_changed_and_in_order(clock: Clock) -> None:
    simulation = Simulation(clock, delay_s=0.01, corrupt=1.0)
    packets = [simulation.kernel.arrive(1) for _ in range(20)]
    simulation.pass_time(20 * MS)
    assert list(simulation.kernel.released) == packets
    assert all(simulation.kernel.changed[one] != IPV4 for one in packets)


def steps() -> Iterator[st.SearchStrategy[tuple[str, Any]]]:
    yield st.tuples(st.just("arrive"), st.sampled_from([1, 1, 1, 2]))
    yield st.tuples(st.just("pass"), st.integers(0, 30 * MS))
    yield st.tuples(
        st.just("change"),
        st.sampled_from(
            [
                {"delay_s": 0.0},
                {"delay_s": 0.005},
                {"delay_s": 0.05},
                {"delay_s": 0.02, "corrupt": 0.5},
                {"delay_s": 0.02, "jitter_s": 0.004, "jitter_distribution": "uniform"},
                {"delay_s": 0.02, "jitter_s": 0.004, "jitter_distribution": "uniform", "reorder": True},
            ]
        ),
    )
    yield st.tuples(st.sampled_from(["cut", "heal"]), st.none())
    # The process is suspended while it reads, and a packet comes in that time.
    yield st.tuples(st.just("suspend"), st.tuples(st.integers(0, 30 * MS), st.sampled_from([1, 2])))


@settings(max_examples=150, deadline=None)
@example([("arrive", 1), ("suspend", (0, 1)), ("change", {"delay_s": 0.0})])
@given(st.lists(st.one_of(*steps()), max_size=80))
def test_no_packet_is_early_lost_or_kept_whatever_happens(script: list[tuple[str, Any]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(engine_module, "time", clock)
        simulation = Simulation(clock, delay_s=0.02)
        least_ms, cut = 20.0, False
        expected: dict[tuple[int, int], float] = {}
        may_be_lost: set[tuple[int, int]] = set()

        def arrived(packet: tuple[int, int]) -> None:
            expected[packet] = least_ms if packet[0] == 1 else 20.0
            if packet[0] == 1 and cut:
                may_be_lost.add(packet)

        def arrived_meanwhile() -> None:
            while simulation.kernel.arrived_meanwhile:
                arrived(simulation.kernel.arrived_meanwhile.pop())

        for action, detail in script:
            if action == "arrive":
                arrived(simulation.kernel.arrive(detail))
            elif action == "suspend":
                simulation.kernel.suspensions.append(detail)
            elif action == "pass":
                simulation.pass_time(detail)
            elif action == "change":
                simulation.change(**detail)
                after_ms = 1000 * (detail["delay_s"] - detail.get("jitter_s", 0.0))
                # What comes in while the change is carried out is treated by the old setting or by the new one.
                least_ms = min(least_ms, after_ms)
                arrived_meanwhile()
                least_ms = after_ms
            else:
                getattr(simulation.engine, action)("a", "b")
                arrived_meanwhile()
                cut = action == "cut"
                if cut:
                    may_be_lost |= {one for one in expected if one[0] == 1 and one not in simulation.kernel.released}
            arrived_meanwhile()
        simulation.kernel.suspensions.clear()
        simulation.pass_time(200 * MS, MS)
        assert simulation.kernel.dropped <= may_be_lost
        assert set(simulation.kernel.released) | simulation.kernel.dropped == set(expected)
        for packet in simulation.kernel.released:
            assert simulation.took_ms(packet) >= expected[packet] - 0.001, packet
        evidence = simulation.engine.evidence()
        assert evidence["kernel"]["waiting"] == 0
        assert evidence["refused_verdicts"] == 0
