"""Progress lines stay whole when several threads tell of their work."""

from __future__ import annotations

import json
import subprocess
import sys

SPEAKERS = """
from concurrent.futures import ThreadPoolExecutor
from harness.cli.progress import JsonLines

said = JsonLines()
with ThreadPoolExecutor(8) as threads:
    list(threads.map(lambda number: said.phase("cell", f"step {number}"), range(4000)))
"""


def test_json_lines_of_many_threads_are_whole() -> None:
    done = subprocess.run([sys.executable, "-c", SPEAKERS], capture_output=True, text=True, check=True)
    texts = [json.loads(line)["text"] for line in done.stdout.splitlines()]
    assert sorted(texts) == sorted(f"step {number}" for number in range(4000))
