"""Whether tests that need a container engine run here: they must in CI, elsewhere they are skipped without one."""

from __future__ import annotations

import os

import pytest

from harness.errors import MissingCapability
from harness.runtime.docker.engine import Engine, connect


def engine_or_skip() -> Engine:
    """An engine that answers. Skips the test without one, and fails it where CI is set."""
    try:
        return connect()
    except MissingCapability as missing:
        if os.environ.get("CI"):
            pytest.fail(f"CI must have a container engine: {missing}")
        pytest.skip(missing.what)
