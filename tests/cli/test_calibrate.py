"""`harness calibrate`: what it measures, keeps and reports, and what it refuses before it measures."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from harness.cli.main import main
from harness.memory.calibration import Calibration
from harness.memory.host_calibration import read_calibration
from harness.store.host import host_facts


def calibrate(monkeypatch: pytest.MonkeyPatch, directory: Path, *arguments: str) -> object:
    """Run it with its results, its report and what it keeps in a directory; the exit code."""
    monkeypatch.setenv("HARNESS_CALIBRATION", str(directory / "kept.json"))
    common = ["--results", str(directory / "results"), "--report", str(directory / "report")]
    monkeypatch.setattr(sys, "argv", ["harness", "calibrate", *common, *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code


def kept(directory: Path, host: dict[str, object], repetitions: int) -> Path:
    path = directory / "report" / "calibration.json"
    path.parent.mkdir()
    path.write_text(json.dumps(Calibration("2026-11-22T10:00:00Z", host, repetitions, ()).to_json()))
    return path


def test_a_clean_check_is_measured_kept_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path, host_facts(), 2)
    assert not calibrate(monkeypatch, tmp_path, "--setting", "clean=1", "--repetitions", "2", "--update")
    calibration = read_calibration(tmp_path / "kept.json")
    assert calibration is not None
    assert [(rate.setting, rate.checks, rate.called) for rate in calibration.rates] == [
        ("clean", 1, 0),
        ("clean, servers", 1, 0),
    ]
    assert calibration.sentence() in (tmp_path / "report" / "calibration.md").read_text(encoding="utf-8")


def test_what_cannot_be_added_to_is_refused_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = kept(tmp_path, {**host_facts(), "cpus": 4096}, 3)
    assert calibrate(monkeypatch, tmp_path, "--setting", "clean=1", "--update") == 2
    told = capsys.readouterr().err
    assert "another host: its cpus is 4096" in told
    assert str(path) in told
    assert not (tmp_path / "results").exists()
