"""The store: what is written is what is read, and a damaged or unfinished result never looks whole."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import harness
from harness.errors import BadInput, DamagedResult, InfrastructureFailure, Interrupted
from harness.store import facts
from harness.store.records import RECORD
from harness.store.writer import CellWriter, RunWriter
from tests.store.made import GO_NS, Made, client_records, fill, make_run, plan, plans, resolved, write


@pytest.fixture(scope="module")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("results"), Made(fail=3, lose=2, double=1))


def test_a_whole_run_is_read_as_written(made_run: Path) -> None:
    run = harness.load_run(made_run)
    assert run.state == "complete"
    assert run.problems == []
    assert [cell.state for cell in run.all_cells] == ["valid", "valid"]
    # 2 cells x 6 clients x 50/s x 10 s measured; the warm-up is left out
    assert len(run.latency) == 2 * 6 * 50 * 10
    assert len(run.operations(warmup=True)) == 2 * 6 * 50 * 12


def test_times_are_exact(made_run: Path) -> None:
    made = Made(fail=3, lose=2, double=1)
    cell_plan = plan(made, "rabbit", 1, 0)
    rng = np.random.default_rng([made.seed, 0])
    rng.standard_normal()  # the cell's own scale comes first
    first = next(agent for agent in cell_plan.agents if agent.role == "client")
    records, _ = client_records(cell_plan, first, made, 1.0, rng)
    frame = harness.load_run(made_run).operations(warmup=True)
    mine = frame[(frame["cell"] == "rabbit-r1") & (frame["agent"] == first.name)]
    np.testing.assert_array_equal(mine["seq"], records["seq"])
    np.testing.assert_allclose(mine["due_s"], (records["due"] - GO_NS) / 1e9, rtol=0, atol=1e-12)
    np.testing.assert_allclose(mine["send_delay_ms"], (records["mid"] - records["due"]) / 1e6)
    ok = records["status"] == 0
    np.testing.assert_allclose(mine["response_ms"][ok], ((records["done"] - records["due"]) / 1e6)[ok])
    np.testing.assert_allclose(mine["service_ms"][ok], ((records["done"] - records["mid"]) / 1e6)[ok])


def test_failures_are_no_latencies(made_run: Path) -> None:
    frame = harness.load_run(made_run).latency
    failed = frame[frame["outcome"] != "ok"]
    assert len(failed) == 2 * 6 * 3
    assert set(failed["outcome"]) == {"call:MessagingTimeout"}
    assert failed["response_ms"].isna().all()
    assert failed["service_ms"].isna().all()


def test_sites_come_from_the_answer_or_from_the_plan(made_run: Path) -> None:
    frame = harness.load_run(made_run).latency
    calls = frame[frame["workload"] == "local-call"]
    assert (calls["client_site"].astype(str) == calls["server_site"].astype(str)).all()
    assert set(frame[frame["workload"] == "events"]["server_site"]) == {"core"}


def test_only_the_columns_asked_for(made_run: Path) -> None:
    run = harness.load_run(made_run)
    assert list(run.operations(["response_ms", "system"])) == ["response_ms", "system"]
    with pytest.raises(BadInput, match="no column latency"):
        run.operations(["latency"])


def test_the_ledger_counts_what_was_made(made_run: Path) -> None:
    ledger = harness.load_run(made_run).delivery
    calls = ledger[ledger["pattern"] == "rpc-call"]
    events = ledger[ledger["pattern"] == "notify"]
    assert (ledger["started"] == 600).all()
    assert (ledger["failed"] == 3).all()
    assert set(ledger["failures"]) == {"call:MessagingTimeout: 3"}
    assert (calls["lost"] == 0).all()
    assert (events["lost"] == 2).all()
    assert (ledger["duplicated"] == 1).all()
    assert (ledger["accepted"] == ledger["delivered"] + ledger["lost"]).all()


def test_every_frame_says_where_in_the_sweep_its_rows_are(tmp_path: Path) -> None:
    run = harness.load_run(make_run(tmp_path, Made(seconds=2, point={"clients": 4, "at": {"core": 1}, "pattern": "x"})))
    for frame in (run.cells, run.latency, run.deliveries, run.delivery, run.memory):
        assert set(frame["clients"]) == {4}
        assert frame["clients"].dtype.kind == "i"
        assert set(frame["at"]) == {"core: 1"}
    assert list(run.latency.columns[:5]) == ["cell", "system", "repetition", "clients", "at"]
    assert "x" not in set(run.latency["pattern"]), "the pattern of each workload, also in a sweep over it"
    assert list(run.operations(["clients", "seq"]).columns) == ["clients", "seq"]
    with pytest.raises(BadInput, match="no column colour"):
        run.operations(["colour"])


def test_rows_that_do_not_count_can_be_told_from_those_that_do(tmp_path: Path) -> None:
    made = Made(seconds=2)
    cells = plans(made)
    with RunWriter.create(tmp_path, "made", resolved="{}", cells=cells) as writer:
        for at, plan_ in enumerate(cells):
            with writer.cell(plan_) as cell:
                fill(cell, plan_, made, tmp_path)
                cell.finish("valid" if at else "invalid", [] if at else ["links: packets were released late"])
        writer.finish("complete")
    run = harness.load_run(writer.path)
    for frame in (run.delivery, run.memory):
        assert set(frame.loc[frame["cell"] == cells[0].id, "state"]) == {"invalid"}
        assert set(frame.loc[frame["cell"] == cells[1].id, "state"]) == {"valid"}


def test_memory_has_units_and_sites(made_run: Path) -> None:
    memory = harness.load_run(made_run).memory
    assert {"rss_bytes", "pss_bytes", "uss_bytes", "anonymous_bytes"} < set(memory.columns)
    assert memory["t_s"].min() == 0.0
    assert memory["t_s"].max() == 12.0
    assert set(memory["role"]) == {"client", "server", "bus"}
    assert set(memory["site"]) == {"core", "edge-a", "edge-b"}


def test_one_way_times_need_one_clock(tmp_path: Path) -> None:
    shared = harness.load_run(make_run(tmp_path / "shared", Made(seconds=2))).deliveries
    assert shared["one_way_ms"].notna().all()
    apart = harness.load_run(make_run(tmp_path / "apart", Made(seconds=2, shared_clock=False))).deliveries
    assert apart["one_way_ms"].isna().all()


def test_passwords_are_nowhere_on_the_disk(tmp_path: Path) -> None:
    made = Made(seconds=2, systems=("rabbit",))
    log = tmp_path / "agent.log"
    log.write_text("connecting to rabbit://harness:hunter2@10.0.0.1:5672/\n")
    with RunWriter.create(tmp_path / "results", "made", resolved=resolved(made), cells=plans(made)) as run:
        run.add_log(log)
        with run.cell(plans(made)[0]) as cell:
            fill(cell, plans(made)[0], made, tmp_path)
            cell.add_log(log)
            cell.set("bus_facts", {"url": "rabbit://u:hunter2@h/", "password": "hunter2"})
            cell.finish("valid")
    for path in run.path.rglob("*"):
        if path.is_file():
            assert b"hunter2" not in path.read_bytes(), path


def test_a_cut_record_file_is_cut_to_whole_records_and_noted(tmp_path: Path) -> None:
    made = Made(seconds=2, systems=("rabbit",))
    raw = write(tmp_path / "raw.bin", np.zeros(10, RECORD))
    os.truncate(raw, 10 * RECORD.itemsize - 7)
    with RunWriter.create(tmp_path, "made", resolved="{}", cells=plans(made)) as run:
        cell = run.cell(plans(made)[0])
        cell.go(0)
        appended = cell.add_client_records(1, raw)
        cell.finish("valid")
        run.finish("complete")
    assert (appended.rows, appended.cut_bytes) == (9, 33)
    record = harness.load_run(run.path).cell("rabbit-r1").record
    assert record is not None
    assert "33 bytes were cut off" in record.notes[0]


def _fill_and_fail(cell: CellWriter, made: Made, scratch: Path, error: Exception) -> None:
    fill(cell, plans(made)[0], made, scratch)
    raise error


@pytest.mark.parametrize(("error", "state"), [(Interrupted("stop"), "interrupted"), (ValueError("no"), "failed")])
def test_leaving_early_is_recorded_and_keeps_the_first_error(tmp_path: Path, error: Exception, state: str) -> None:
    made = Made(seconds=2)
    with (
        pytest.raises(type(error)),
        RunWriter.create(tmp_path, "made", resolved="{}", cells=plans(made), run_id="one") as run,
        run.cell(plans(made)[0]) as cell,
    ):
        _fill_and_fail(cell, made, tmp_path, error)
    loaded = harness.load_run(tmp_path / "made" / "one")
    assert loaded.state == state
    assert [cell.state for cell in loaded.all_cells] == [state, "planned"]
    assert len(loaded.operations(cells=loaded.shown)) == 6 * 100


def test_a_run_being_written_is_running_and_without_its_writer_unfinished(tmp_path: Path) -> None:
    made = Made(seconds=2)
    run = RunWriter.create(tmp_path, "made", resolved="{}", cells=plans(made))
    run.cell(plans(made)[0])
    assert harness.load_run(run.path).state == "running"
    run._lock.release()
    loaded = harness.load_run(run.path)
    assert loaded.state == "unfinished"
    assert [cell.state for cell in loaded.all_cells] == ["unfinished", "planned"]
    assert loaded.latency.empty


_WRITE_FOREVER = """
import sys
from pathlib import Path
from tests.store.made import Made, make_run
n = 0
while True:
    path = make_run(Path(sys.argv[1]), Made(seconds=2, seed=n), run_id=f"run-{n}")
    print(path, flush=True)
    n += 1
"""


def test_kill_at_any_moment_leaves_what_it_is(tmp_path: Path) -> None:
    for delay in (0.0, 0.05, 0.13):
        results = tmp_path / f"after-{delay:.3f}"
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITE_FOREVER, str(results)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        whole = [writer.stdout.readline()]
        try:
            writer.wait(timeout=delay)
        except subprocess.TimeoutExpired:
            writer.send_signal(signal.SIGKILL)
        whole += writer.stdout.readlines()
        writer.stdout.close()
        writer.wait()
        for line in whole:
            assert harness.load_run(line.strip()).problems == []
        for manifest in results.glob("made/*/manifest.json"):
            run = harness.load_run(manifest.parent)
            assert run.state in ("complete", "unfinished")
            assert len(run.latency) == len(run.usable) * 6 * 100


@pytest.mark.parametrize("file", ["operations.parquet", "deliveries.parquet", "processes.parquet", "cell.json"])
@pytest.mark.parametrize("how", ["truncate", "remove", "flip", "empty"])
def test_damage_is_said_and_never_counted(tmp_path: Path, file: str, how: str) -> None:
    run = harness.load_run(make_run(tmp_path, Made(seconds=2)))
    path = run.path / "cells" / "amqp1-r1" / file
    content = bytearray(path.read_bytes())
    if how == "remove":
        path.unlink()
    else:
        middle = len(content) // 3
        content[middle] ^= 0x10
        path.write_bytes(content[: {"truncate": middle * 2, "flip": len(content), "empty": 0}[how]])
    loaded = harness.load_run(run.path)
    if how == "flip" and file != "cell.json":
        # Same length and a sound footer: the page's checksum finds it when the page is read.
        with pytest.raises(DamagedResult, match=file):
            loaded.cell("amqp1-r1").samples() if file == "processes.parquet" else _read_all(loaded, file)
        return
    assert loaded.cell("amqp1-r1").state == "damaged"
    assert any("amqp1-r1 is damaged" in problem and file in problem for problem in loaded.problems)
    assert set(loaded.latency["system"]) == {"rabbit"}


def _read_all(run: harness.Run, file: str) -> None:
    cell = run.cell("amqp1-r1")
    common = ["agent", "seq", "target", "peer", "status", "flags", "size", "due_ns", "done_ns"]
    if file == "operations.parquet":
        cell.operations([*common, "sent_ns"])
    else:
        cell.deliveries([*common, "received_ns"])


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": 1}', "\x00\x01"])
def test_a_broken_manifest_is_one_clear_error(tmp_path: Path, content: str) -> None:
    path = make_run(tmp_path, Made(seconds=2))
    (path / "manifest.json").write_text(content)
    with pytest.raises(DamagedResult, match="the manifest cannot be read"):
        harness.load_run(path)


def test_a_newer_layout_is_refused(tmp_path: Path) -> None:
    path = make_run(tmp_path, Made(seconds=2))
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"schema": 99}))
    with pytest.raises(DamagedResult, match="newer harness"):
        harness.load_run(path)


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    made = Made(seconds=2, repetitions=2)
    cells = plans(made)
    run = RunWriter.create(tmp_path, "made", resolved="{}", cells=cells)
    for at in (0, 1):
        cell = run.cell(cells[at])
        fill(cell, cells[at], made, tmp_path)
        if at == 0:
            cell.finish("valid")
    with pytest.raises(BadInput, match="still being written"):
        RunWriter.reopen(run.path)
    run._lock.release()  # what a kill -9 does
    first = (run.path / "cells" / "rabbit-r1" / "cell.json").read_bytes()

    again = RunWriter.reopen(run.path)
    assert again.pending == ("amqp1-r1", "rabbit-r2", "amqp1-r2")
    with again:
        for plan_ in cells:
            if plan_.id in again.pending:
                with again.cell(plan_) as cell:
                    fill(cell, plan_, made, tmp_path)
                    cell.finish("valid")
        again.finish("complete")
    loaded = harness.load_run(run.path)
    assert loaded.problems == []
    assert (run.path / "cells" / "rabbit-r1" / "cell.json").read_bytes() == first
    with pytest.raises(BadInput, match="nothing is left"):
        RunWriter.reopen(run.path)


def test_a_damaged_cell_is_run_again(tmp_path: Path) -> None:
    path = make_run(tmp_path, Made(seconds=2))
    (path / "cells" / "amqp1-r1" / "operations.parquet").unlink()
    again = RunWriter.reopen(path)
    assert again.pending == ("amqp1-r1",)
    again.finish("interrupted")


def test_an_invalid_cell_is_run_again_only_if_asked_for_and_listed(tmp_path: Path) -> None:
    made = Made(seconds=2, systems=("rabbit",))
    (plan_,) = plans(made)
    with RunWriter.create(tmp_path, "made", resolved="{}", cells=[plan_]) as run:
        with run.cell(plan_) as cell:
            fill(cell, plan_, made, tmp_path)
            cell.finish("invalid", ["links: packets were released late"])
        run.finish("complete")
    with pytest.raises(BadInput, match="nothing is left"):
        RunWriter.reopen(run.path)
    with RunWriter.reopen(run.path, invalid=True) as again:
        with again.cell(plan_) as cell:
            fill(cell, plan_, made, tmp_path)
            cell.finish("valid")
        again.finish("complete")
    loaded = harness.load_run(run.path)
    assert loaded.cells.loc[0, "attempts"] == 2
    assert loaded.problems == ["Cell rabbit-r1 was run again; before: invalid; links: packets were released late."]
    assert (run.path / "attempts" / "rabbit-r1.1" / "operations.parquet").exists()
    assert len(loaded.latency) == 6 * 100, "what was set aside counts for nothing"


def test_what_the_hypervisor_took_is_told_of_cells_that_count_now(tmp_path: Path) -> None:
    made = Made(seconds=1, systems=("rabbit",), repetitions=3)
    cells = plans(made)
    with RunWriter.create(tmp_path, "made", resolved="{}", cells=cells) as run:
        for plan_, stolen in zip(cells, (0.4, 0.05, 0.001), strict=True):
            with run.cell(plan_) as cell:
                fill(cell, plan_, made, tmp_path)
                cell.set(facts.STOLEN, stolen)
                cell.finish(*("invalid", ["late"]) if stolen == 0.4 else ("valid",))
        run.finish("complete")
    _, told = harness.load_run(run.path).problems
    assert "in 2 of 3 cells, up to 40% of it (cell rabbit-r1)" in told
    with RunWriter.reopen(run.path, invalid=True) as again:
        with again.cell(cells[0]) as cell:
            fill(cell, cells[0], made, tmp_path)
            cell.set(facts.STOLEN, 0.0)
            cell.finish("valid")
        again.finish("complete")
    _, told = harness.load_run(run.path).problems
    assert "in 1 of 3 cells, up to 5% of it (cell rabbit-r2)" in told


def test_many_cells_of_one_state_are_told_together_each_by_name(tmp_path: Path) -> None:
    made = Made(seconds=1, systems=("rabbit",), repetitions=5)
    cells = plans(made)
    with RunWriter.create(tmp_path, "made", resolved="{}", cells=cells) as run:
        for number, plan_ in enumerate(cells):
            with run.cell(plan_) as cell:
                fill(cell, plan_, made, tmp_path)
                cell.finish(*("invalid", [f"late by {number}"]) if number else ("valid",))
        run.finish("complete")
    (problem,) = harness.load_run(run.path).problems
    names = ", ".join(f"rabbit-r{number}" for number in range(2, 6))
    assert problem == f"4 of 5 cells are invalid: {names}. For one, rabbit-r2 is invalid: late by 1."


def test_the_newest_run_of_a_scenario(tmp_path: Path) -> None:
    make_run(tmp_path, Made(seconds=2), run_id="20260101T000000Z-a")
    make_run(tmp_path, Made(seconds=2), run_id="20260102T000000Z-a")
    assert harness.load_run(tmp_path / "made").id == "20260102T000000Z-a"
    assert len(harness.load_campaign(tmp_path / "made").runs) == 2
    assert set(harness.load_campaign(tmp_path / "made").latency["run"]) == {"20260101T000000Z-a", "20260102T000000Z-a"}
    with pytest.raises(BadInput, match="no result here"):
        harness.load_run(tmp_path)


def test_importing_the_package_is_cheap() -> None:
    code = "import sys, harness; print([m for m in ('numpy', 'pandas', 'pyarrow', 'pydantic') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_shown_in_a_notebook(made_run: Path) -> None:
    page = harness.load_run(made_run)._repr_html_()
    assert "made" in page
    assert "rabbit-r1" in page


def _fill_and_finish(cell: CellWriter, made: Made, scratch: Path) -> None:
    fill(cell, plans(made)[0], made, scratch)
    cell.finish("valid")


def _full(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Make the disk full for files of these names."""
    real = Path.write_text

    def write(self: Path, *args: Any, **kwargs: Any) -> int:
        if self.name in names:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", write)


def test_a_full_disk_is_named_and_the_manifest_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(seconds=2)
    with RunWriter.create(tmp_path, "made", resolved="{}", cells=plans(made), run_id="one") as run:
        _full(monkeypatch, ".cell.json.part")
        with pytest.raises(InfrastructureFailure, match=r"(?s)cell\.json: .*No space left on device.*make room"):
            _fill_and_finish(run.cell(plans(made)[0]), made, tmp_path)
        monkeypatch.undo()
    loaded = harness.load_run(tmp_path / "made" / "one")
    assert loaded.state == "failed"
    assert [cell.state for cell in loaded.all_cells] == ["failed", "planned"]
    assert "No space left" in loaded.all_cells[0].reasons[0]


def _interrupted_when_full(monkeypatch: pytest.MonkeyPatch) -> None:
    _full(monkeypatch, ".cell.json.part")
    raise KeyboardInterrupt


def test_a_full_disk_does_not_hide_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunWriter.create(tmp_path, "made", resolved="{}", cells=plans(Made()), run_id="one")
    with pytest.raises(KeyboardInterrupt), run, run.cell(plans(Made())[0]):
        _interrupted_when_full(monkeypatch)
    monkeypatch.undo()
    assert harness.load_run(tmp_path / "made" / "one").state == "interrupted"


def test_a_run_that_cannot_begin_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _full(monkeypatch, ".manifest.json.part")
    with pytest.raises(InfrastructureFailure, match="No space left"):
        RunWriter.create(tmp_path, "made", resolved="{}", cells=plans(Made()), run_id="one")
    assert not list((tmp_path / "made").iterdir())


def test_a_command_need_not_be_utf_8(tmp_path: Path) -> None:
    command = ("harness", "run", "gr\udcfcn.yaml")
    RunWriter.create(tmp_path, "made", resolved="{}", cells=plans(Made()), run_id="one", command=command).finish(
        "failed"
    )
    assert harness.load_run(tmp_path / "made" / "one").manifest.command[-1] == r"gr\udcfcn.yaml"


def test_frames_without_rows_have_their_columns(tmp_path: Path) -> None:
    examples = Path(__file__).parents[2] / "results" / "examples"
    quiet, dosed = harness.load_run(examples / "quickstart"), harness.load_run(examples / "memory-smoke")
    failing = harness.load_run(make_run(tmp_path, Made(seconds=3, fail=2)))
    for without, with_rows in (
        (quiet.failures, failing.failures),
        (quiet.growth, dosed.growth),
        (dosed.memory, quiet.memory),
    ):
        assert without.empty
        assert not with_rows.empty
        assert list(without.columns) == list(with_rows.columns)
    outage = ["fault", "kind", "begin_s", "end_s", "workload", "client_site"]
    came_back = ["rate_per_s", "first_success_s", "back_s", "watched_s", "interruption_s", "failed"]
    assert list(quiet.recovery.columns) == ["cell", "system", "repetition", "state", *outage, *came_back]
