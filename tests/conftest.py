"""What all tests share: generated examples have no deadline, since no test judges by the clock."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("harness", deadline=None)
settings.load_profile("harness")
