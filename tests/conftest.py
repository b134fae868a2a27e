"""What all tests share: generated examples have no deadline, since no test judges by the clock; and who runs what.

Under `--dist loadgroup` each file is run by one worker, in order, so that what its tests share is made once. Container
tests share the engine's address pool and run one at a time. What takes longest begins first.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("harness", deadline=None)
settings.load_profile("harness")

_ROOT = Path(__file__).parent
_CONTAINERS = ("runtime", "images")
_LONGEST_FIRST = ("containers", "docs/test_tutorial.py", "lab/test_disruption.py", "lab/test_cells.py")


def _group(item: pytest.Item) -> str:
    path = item.path.relative_to(_ROOT)
    return "containers" if path.parts[0] in _CONTAINERS else path.as_posix()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Group tests for the workers, and order the groups."""
    ranks = {group: rank for rank, group in enumerate(_LONGEST_FIRST)}
    items.sort(key=lambda item: ranks.get(_group(item), len(ranks)))
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            item.add_marker(pytest.mark.xdist_group(_group(item)))
