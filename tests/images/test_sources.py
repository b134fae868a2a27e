"""Where images come from: a registry that is there, one that has no such image, and none at all."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.images.choice import describe, tools_image
from harness.images.sources import NoRegistry, NoSuchImage, image_id, local_tag, pull, require_image
from harness.images.stock import own_images
from harness.runtime.docker.engine import Engine
from tests.runtime.docker_engine import engine_or_skip

REGISTRY = "docker-registry"
CONFIG = """
version: 0.1
storage: {{filesystem: {{rootdirectory: {root}}}}}
http: {{addr: "127.0.0.1:{port}"}}
log: {{level: error}}
"""


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    engine = engine_or_skip()
    yield engine
    engine.close()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real registry on this host; engines speak plain HTTP with loopback addresses."""
    if shutil.which(REGISTRY) is None and not os.environ.get("CI"):
        pytest.skip(f"no {REGISTRY} on this machine")
    base, port = tmp_path_factory.mktemp("registry"), free_port()
    config = base / "config.yml"
    config.write_text(CONFIG.format(root=base / "data", port=port))
    with subprocess.Popen(
        [REGISTRY, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as one:
        try:
            deadline = time.monotonic() + 20
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port), 1.0).close()
                    break
                except OSError:
                    assert time.monotonic() < deadline
                    assert one.poll() is None
                    time.sleep(0.05)
            yield f"127.0.0.1:{port}"
        finally:
            one.terminate()


def quiet(_line: str) -> None:
    pass


@pytest.fixture
def published(engine: Engine, registry: str, tmp_path: Path) -> Iterator[str]:
    """A small image in the registry, and not on the engine."""
    api: Any = engine.api
    name = f"{registry}/femdc-test/small"
    content = tmp_path / "content"
    content.write_text("small\n")
    tar = tmp_path / "small.tar"
    subprocess.run(["tar", "-cf", tar, "-C", tmp_path, "content"], check=True)
    api.import_image_from_file(str(tar), name, "1")
    for line in api.push(name, "1", stream=True, decode=True):
        assert "error" not in line, line
    api.remove_image(f"{name}:1", force=True)
    yield f"{name}:1"
    if image_id(engine, f"{name}:1") is not None:
        api.remove_image(f"{name}:1", force=True)


def test_an_image_is_pulled_and_pinned_by_digest(engine: Engine, published: str) -> None:
    said: list[str] = []
    assert image_id(engine, published) is None
    pull(engine, published, said.append)
    found = describe(engine, published)
    assert found.id == image_id(engine, published) == require_image(engine, published, quiet)
    assert any("@sha256:" in digest for digest in found.digests)
    assert said[0] == f"pulling {published}"
    assert local_tag(engine, published.rpartition(":")[0]) == published


def test_a_typing_error_is_told_apart_from_a_registry_that_is_away(
    engine: Engine, published: str, registry: str
) -> None:
    with pytest.raises(NoSuchImage, match="has no image"):
        require_image(engine, published.replace(":1", ":2"), quiet)
    with pytest.raises(NoSuchImage, match="has no image"):
        require_image(engine, f"{registry}/femdc-test/smal:1", quiet)
    away = f"127.0.0.1:{free_port()}/femdc-test/small:1"
    with pytest.raises(NoRegistry, match="cannot be reached"):
        require_image(engine, away, quiet)
    with pytest.raises(NoRegistry, match="cannot be reached"):
        require_image(engine, "registry.invalid/femdc-test/small:1", quiet)


def test_a_name_no_image_can_have_is_a_typing_error(engine: Engine) -> None:
    with pytest.raises(NoSuchImage, match="not the name of an image"):
        require_image(engine, "Rabbit MQ!", quiet)


def test_what_is_built_is_listed_as_ours_and_built_once(engine: Engine) -> None:
    said: list[str] = []
    tools = tools_image(engine, lambda title, line: said.append(line))
    again = tools_image(engine, lambda title, line: pytest.fail(line))
    assert tools == again
    assert tools.programs == ("python3",)
    assert ("tools", tools.reference) in [(one.kind, one.name) for one in own_images(engine)]
