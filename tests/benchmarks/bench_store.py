"""What reading, analysing and reporting a large run costs: time, memory, bytes on disk.

    python -m tests.benchmarks.bench_store [operations] [--into DIRECTORY]     # 10 million without an argument

The run is made first, through the real writer from raw record files; then a fresh process loads, examines and
reports it, and says what it took: wall-clock seconds, CPU seconds and peak resident memory (ru_maxrss).
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.store.made import Made, make_run

#: Clients of a made run, over its two systems.
_CLIENTS = 12


def measure(path: Path) -> dict[str, float]:
    """Load, examine and report the run at `path`, in this process."""
    began, took = time.perf_counter(), {}

    def lap(name: str) -> None:
        nonlocal began
        took[name] = round(time.perf_counter() - began, 2)
        began = time.perf_counter()

    from harness.report.examine import examine
    from harness.report.markdown import run_markdown
    from harness.report.run_page import run_page
    from harness.store.run import load_run

    lap("import_s")
    run = load_run(path)
    findings = examine(run)
    lap("load_and_examine_s")
    page = run_page(findings)
    run_markdown(findings)
    lap("report_s")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    used = resource.getrusage(resource.RUSAGE_SELF)
    frame = run.operations(["system", "response_ms"])
    frame.groupby("system", observed=True)["response_ms"].median()
    lap("two_columns_as_frame_s")
    return {
        **took,
        "total_s": round(took["import_s"] + took["load_and_examine_s"] + took["report_s"], 2),
        "cpu_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_mib": round(peak),
        "peak_with_frame_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "page_mib": round(len(page) / 2**20, 2),
    }


def main() -> None:
    """Make the run, measure it in a fresh process, print one JSON object, and write it where asked."""
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(Path(sys.argv[2]))))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("operations", type=int, nargs="?", default=10_000_000)
    parser.add_argument("--into", type=Path)
    wishes = parser.parse_args()
    operations = wishes.operations
    seconds = 100
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        rate = operations // (_CLIENTS * seconds)
        path = make_run(Path(scratch), Made(seconds=seconds, warmup_s=0, rate=rate, fail=5))
        made = round(time.perf_counter() - began, 1)
        sizes = {
            name: sum(f.stat().st_size for f in path.rglob(name))
            for name in ("operations.parquet", "deliveries.parquet")
        }
        command = [sys.executable, "-m", "tests.benchmarks.bench_store", "--measure", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    total = rate * _CLIENTS * seconds
    figures = {
        "operations": total,
        "made_in_s": made,
        "bytes_per_operation": round(sizes["operations.parquet"] / total, 2),
        "bytes_per_delivery": round(sizes["deliveries.parquet"] / total, 2),
        **json.loads(done.stdout),
    }
    text = json.dumps(figures, indent=1)
    print(text)
    if wishes.into:
        wishes.into.mkdir(parents=True, exist_ok=True)
        (wishes.into / "store.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
