"""Errors on the way to an engine, in words; no engine is needed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests.exceptions
import urllib3.exceptions

from harness.errors import LabFailure, StackFailure
from harness.images.sources import pull
from harness.runtime.docker.engine import Engine, engine_errors

CUT = urllib3.exceptions.ProtocolError("Connection broken: InvalidChunkLength(got length b'', 0 bytes read)")
POOL: Any = None


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (CUT, "does not answer any more"),
        (ConnectionResetError("reset"), "does not answer any more"),
        (requests.exceptions.ConnectionError("refused"), "does not answer any more"),
        (requests.exceptions.ReadTimeout("slow"), "did not answer in"),
        (requests.exceptions.ConnectTimeout("slow"), "did not answer in"),
        (urllib3.exceptions.ReadTimeoutError(POOL, "/images/create", "slow"), "did not answer in"),
    ],
)
def test_an_engine_that_is_gone_is_told_apart_from_a_slow_one(error: Exception, says: str) -> None:
    with pytest.raises(StackFailure, match=says) as caught, engine_errors("building x", kind=StackFailure):
        raise error
    assert caught.value.remedy


def test_an_engine_killed_while_an_image_is_pulled_is_one_clear_error() -> None:
    class Cut:
        def pull(self, *_: object, **__: object) -> Iterator[dict[str, str]]:
            yield {"status": "Pulling fs layer", "id": "1"}
            raise CUT

    api: Any = Cut()
    with pytest.raises(LabFailure, match="pulling rabbitmq:4: the container engine does not answer any more"):
        pull(Engine(api, "unix:///x", "docker", "20", {}), "rabbitmq:4", lambda line: None)
