"""The container engine: finding it, speaking with it, and its errors as ours.

Any engine with the Docker Engine API 1.41 or later is an engine. `DOCKER_HOST` (with `DOCKER_TLS_VERIFY` and
`DOCKER_CERT_PATH`) names one; without it the usual sockets are tried in order.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import docker.errors
import docker.utils
import requests.exceptions
import urllib3.exceptions

from harness.errors import HarnessError, LabFailure, MissingCapability

__all__ = ["Engine", "connect", "engine_errors", "named_host", "remedy_of", "sockets"]

#: Seconds an engine may take for one answer; making a container on a busy machine takes a while.
_ANSWER_S = 120
_FIRST_ANSWER_S = 10
_OLDEST_API = (1, 41)

_INSTALL = (
    "install one and start it (on Debian: apt-get install docker.io; rootless engines and podman's socket work too), "
    "name it in DOCKER_HOST, or use --runtime local"
)

_TAKEN = (
    "another network of the engine has these addresses, perhaps of a run that is under way or was killed: see "
    "`harness cleanup`, or give the topology's sites a `subnet` of their own"
)

#: (what the engine's message holds, what to do), the first that matches wins.
_REMEDIES: tuple[tuple[str, str], ...] = (
    ("no space left on device", "make room on the engine's disk: `harness images prune`, `harness cleanup`"),
    ("overlaps with", _TAKEN),
    ("already used on the host or by another config", _TAKEN),  # podman's words
    (
        "non-overlapping",
        "the engine's address pools are used up: remove networks nobody uses (`harness cleanup`), or give the "
        "topology's sites a `subnet` of their own",
    ),
    ("cannot allocate memory", "use fewer or smaller nodes, or a machine with more memory"),
    ("permission denied", "use a user who may speak with the engine (group docker), or root"),
    ("operation not permitted", "the engine forbids what the harness needs; `harness doctor` tells what it can do"),
)


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that answers.

    Attributes:
        api: the client; safe to use from several threads.
        url: where it answers, e.g. "unix:///var/run/docker.sock".
        name: "docker" or "podman".
        version: its version, e.g. "20.10.24+dfsg1".
        about: what it says of itself (the API's `GET /info`).
    """

    api: docker.APIClient
    url: str
    name: str
    version: str
    about: dict[str, Any]

    @property
    def major(self) -> int:
        """First number of the version, 0 if it has none."""
        head = self.version.split(".", 1)[0]
        return int(head) if head.isdigit() else 0

    @property
    def sets_default_route(self) -> bool:
        """Whether a network's auxiliary address DefaultGatewayIPv4 becomes the default route of its containers.

        Docker's bridge driver does that (libnetwork's drivers/bridge); podman's netavark routes to its own bridge.
        """
        return self.name == "docker"

    def image(self, reference: str) -> dict[str, Any]:
        """What it knows of an image. Raises docker.errors.ImageNotFound, docker.errors.APIError."""
        api: Any = self.api
        return dict(api.inspect_image(reference))

    def close(self) -> None:
        """Hang up."""
        self.api.close()


def named_host() -> str | None:
    """The engine DOCKER_HOST names, None if it names none."""
    return os.environ.get("DOCKER_HOST") or None


def sockets() -> tuple[str, ...]:
    """Where engines usually listen, in the order they are tried."""
    private = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    home = Path.home()
    return tuple(
        f"unix://{path}"
        for path in (
            "/var/run/docker.sock",
            f"{private}/docker.sock",
            f"{home}/.docker/run/docker.sock",
            f"{home}/.docker/desktop/docker.sock",
            "/run/podman/podman.sock",
            f"{private}/podman/podman.sock",
        )
    )


def connect() -> Engine:
    """The engine named by DOCKER_HOST, else the first that answers where engines usually listen.

    Raises MissingCapability, saying why for each place tried.
    """
    named = named_host()
    if named is not None:
        found = _try(named)
        if isinstance(found, Engine):
            return found
        raise MissingCapability(
            f"the container engine named by DOCKER_HOST does not answer: {found}",
            where=named,
            expected="an engine with the Docker API",
            remedy=remedy_of(found) or "start that engine, or unset DOCKER_HOST to use the one on this machine",
        )
    reasons = {}
    for url in sockets():
        if not Path(url.removeprefix("unix://")).exists():
            continue
        found = _try(url)
        if isinstance(found, Engine):
            return found
        reasons[url] = found
    if reasons:
        url, reason = next(iter(reasons.items()))
        raise MissingCapability(
            "no container engine answers: " + "; ".join(f"{url}: {why}" for url, why in reasons.items()),
            where=url,
            expected="an engine with the Docker API",
            remedy=remedy_of(reason) or "start the engine, or use --runtime local",
        )
    raise MissingCapability(
        "no container engine is here: DOCKER_HOST is not set and none of the usual sockets exists",
        where=sockets()[0],
        expected="an engine with the Docker API",
        remedy=_INSTALL,
    )


def _try(url: str) -> Engine | str:
    """The engine at a URL, or why there is none."""
    try:
        _knock(url)
        arguments: dict[str, Any] = dict(docker.utils.kwargs_from_env({**os.environ, "DOCKER_HOST": url}))
        arguments.setdefault("base_url", url)
        api = docker.APIClient(**arguments, version="auto", timeout=_FIRST_ANSWER_S, max_pool_size=64)
        version, about = api.version(), api.info()
    except (docker.errors.DockerException, requests.exceptions.RequestException, OSError, ValueError) as error:
        return _reason(error)
    api.timeout = _ANSWER_S
    spoken = tuple(int(part) for part in str(version.get("ApiVersion", "0.0")).split(".")[:2])
    if spoken < _OLDEST_API:
        return f"it speaks API {version.get('ApiVersion')}, older than {'.'.join(map(str, _OLDEST_API))}"
    parts = " ".join(str(part.get("Name", "")) for part in version.get("Components") or [])
    name = "podman" if "podman" in parts.lower() else "docker"
    return Engine(api, url, name, str(version.get("Version", "")), dict(about))


def _knock(url: str) -> None:
    """Connect once to a Unix socket: what keeps us out shows plainly here. Raises OSError."""
    if url.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(_FIRST_ANSWER_S)
            one.connect(url.removeprefix("unix://"))


def _reason(error: BaseException) -> str:
    """The innermost cause in words."""
    text = str(error)
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, PermissionError):
            return "permission denied"
        if isinstance(seen, ConnectionRefusedError):
            return "connection refused (no engine is running behind it)"
        if isinstance(seen, FileNotFoundError):
            return "there is no such socket"
        if isinstance(seen, TimeoutError):
            return f"no answer in {_FIRST_ANSWER_S} s"
        if isinstance(seen, socket.gaierror):
            return f"its host name is not known ({seen.strerror})"
        seen = seen.__cause__ or seen.__context__
    return text.splitlines()[0] if text else type(error).__name__


def remedy_of(text: str) -> str | None:
    """What to do about an engine's message, None for one nobody knows."""
    lowered = text.lower()
    return next((remedy for key, remedy in _REMEDIES if key in lowered), None)


@contextlib.contextmanager
def engine_errors(doing: str, where: str | None = None, kind: type[HarnessError] = LabFailure) -> Iterator[None]:
    """Turn what the engine (or the way to it) answers with into an error of ours.

    Args:
        doing: what was tried, e.g. "making network femdc-x-core".
        where: the node or site it concerns.
        kind: which error to raise.
    """
    try:
        yield
    except docker.errors.APIError as error:
        text = " ".join(str(error.explanation or error).split())
        raise kind(f"{doing}: the engine says: {text}", where=where, remedy=remedy_of(text)) from error
    # Before what they are kinds of: slow is not gone.
    except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError, TimeoutError) as error:
        raise kind(
            f"{doing}: the engine did not answer in {_ANSWER_S} s",
            where=where,
            remedy="see what else this machine is doing, and the engine's own log",
        ) from error
    # What is read as a stream, as the progress of a pull, comes past requests: urllib3's errors are no OSErrors.
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise kind(
            f"{doing}: the container engine does not answer any more ({_reason(error)})",
            where=where,
            remedy="see the engine's own log; once it is back, `harness cleanup` removes what is left",
        ) from error
    except docker.errors.DockerException as error:
        raise kind(f"{doing}: {error}", where=where) from error
