"""What all tests share: generated examples have no deadline, since no test judges by the clock; and who runs what.

Under xdist each file is run by one worker, in order, so that what its tests share is made once. Container tests share
the engine's address pool and run one at a time. What takes longest begins first.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

settings.register_profile("harness", deadline=None)
settings.load_profile("harness")

_CONTAINERS = ("tests/runtime/", "tests/images/")
_LONGEST_FIRST = (
    "containers",
    "tests/docs/test_tutorial.py",
    "tests/lab/test_disruption.py",
    "tests/lab/test_cells.py",
)


def _group(nodeid: str) -> str:
    path = nodeid.partition("::")[0]
    return "containers" if path.startswith(_CONTAINERS) else path


class _Groups(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        return _group(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Whole groups go to workers, in the order they were collected."""
    config.option.loadscopereorder = False
    return _Groups(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest groups first, the others as they stand."""
    ranks = {group: rank for rank, group in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(_group(item.nodeid), len(ranks)))
