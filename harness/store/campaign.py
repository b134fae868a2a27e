"""Several runs read as one: `load_campaign(paths)`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pandas as pd

from harness.store.run import Run, load_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Campaign", "load_campaign"]


class Campaign:
    """Runs side by side. Every frame is a run's frame with a first column `run`."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.runs = tuple(runs)

    @property
    def cells(self) -> pd.DataFrame:
        """Run.cells of every run."""
        return self._joined(lambda run: run.cells)

    @property
    def latency(self) -> pd.DataFrame:
        """Run.latency of every run."""
        return self._joined(lambda run: run.latency)

    @property
    def delivery(self) -> pd.DataFrame:
        """Run.delivery of every run."""
        return self._joined(lambda run: run.delivery)

    @property
    def deliveries(self) -> pd.DataFrame:
        """Run.deliveries of every run."""
        return self._joined(lambda run: run.deliveries)

    @property
    def failures(self) -> pd.DataFrame:
        """Run.failures of every run."""
        return self._joined(lambda run: run.failures)

    @property
    def recovery(self) -> pd.DataFrame:
        """Run.recovery of every run."""
        return self._joined(lambda run: run.recovery)

    @property
    def memory(self) -> pd.DataFrame:
        """Run.memory of every run."""
        return self._joined(lambda run: run.memory)

    @property
    def growth(self) -> pd.DataFrame:
        """Run.growth of every run."""
        return self._joined(lambda run: run.growth)

    @property
    def problems(self) -> list[str]:
        """What keeps any of the runs from being whole, each with its run's id."""
        return [f"{run.id}: {text}" for run in self.runs for text in run.problems]

    def _joined(self, view: Callable[[Run], pd.DataFrame]) -> pd.DataFrame:
        frames = {run.id: view(run) for run in self.runs}
        joined = pd.concat(frames, names=["run", None]).reset_index(level=0).reset_index(drop=True)
        texts = [name for name in joined if name in frames[self.runs[0].id] and joined[name].dtype == object]
        return joined.astype({"run": "category", **dict.fromkeys(texts, "category")})

    def __repr__(self) -> str:
        return f"<Campaign of {len(self.runs)} runs>"

    def _repr_html_(self) -> str:
        return "".join(run._repr_html_() for run in self.runs)


def load_campaign(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> Campaign:
    """Read several runs: a directory of runs (all of them, oldest first), or the paths given.

    Raises BadInput, DamagedResult as load_run does.
    """
    from pathlib import Path

    from harness.store.layout import MANIFEST

    if isinstance(paths, (str, os.PathLike)):
        directory = Path(paths)
        found = sorted(manifest.parent for manifest in directory.glob(f"*/{MANIFEST}"))
        return Campaign(load_run(path) for path in (found or [directory]))
    return Campaign(load_run(path) for path in paths)
