"""`scripts/system-packages.sh`: what is missing for which purpose, on machines that lack most of it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "system-packages.sh"


@pytest.mark.parametrize(
    ("purpose", "apt", "wanted", "not_wanted"),
    [
        ("run", True, set(), {"docker-registry", "iperf3", "chromium"}),
        ("test", True, {"docker-registry", "chromium"}, {"iperf3"}),
        ("test", False, {"chromium"}, {"docker-registry", "iperf3"}),
        ("bench", True, {"iperf3"}, {"docker-registry", "chromium"}),
    ],
)
def test_each_purpose_needs_its_packages(
    purpose: str, apt: bool, wanted: set[str], not_wanted: set[str], tmp_path: Path
) -> None:
    """A user who may install nothing is told what is missing, so nothing is installed here."""
    for name, line in (("id", "echo 1000"), ("sudo", "exit 1"), *([("apt-get", "exit 9")] if apt else [])):
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    shell = shutil.which("sh")
    assert shell is not None
    (tmp_path / "sh").symlink_to(shell)
    done = subprocess.run([shell, SCRIPT, purpose], env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    assert done.returncode == 3
    missing = set(done.stderr.splitlines()[0].removeprefix("system-packages: missing:").split())
    assert wanted <= missing
    assert not missing & not_wanted
