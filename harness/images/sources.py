"""Images from elsewhere: on the engine already, from a registry, or made from Debian's mirror."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker.errors

from harness.errors import LabFailure, MissingCapability
from harness.images.recipes import KIND, MADE_BASE
from harness.runtime.docker.engine import Engine, engine_errors, remedy_of

__all__ = [
    "NoRegistry",
    "NoSuchImage",
    "RateLimited",
    "image_id",
    "local_tag",
    "make_base",
    "pull",
    "require_image",
]

Say = Callable[[str], None]


def _any_of(*words: str) -> re.Pattern[str]:
    return re.compile(r"(?<!\w)(" + "|".join(map(re.escape, words)) + r")(?!\w)", re.IGNORECASE)


#: What a registry says of an image it does not have (or does not show to strangers).
_UNKNOWN = _any_of("manifest unknown")
_NOT_THERE = _any_of("not found", "does not exist", "name unknown", "invalid reference", "no such image")
_DENIED = _any_of(
    "access denied",
    "access to the resource is denied",
    "access to the requested resource is not authorized",
    "unauthorized",
    "authentication required",
    "403 forbidden",
)
#: The image is there, but not for this machine.
_OTHER_MACHINE = _any_of(
    "no matching manifest for", "no match for platform in manifest", "no image found in manifest list",
    "no image found in image index",
)  # fmt: skip
_LIMITED = _any_of("toomanyrequests", "too many requests", "rate limit")
#: What an engine says when it does not get that far.
_NOT_REACHED = _any_of(
    "no such host", "i/o timeout", "connection refused", "connection reset", "network is unreachable",
    "no route to host", "handshake timeout", "awaiting headers", "server misbehaving", "temporary failure",
    "x509", "certificate", "proxyconnect", "eof", "context deadline exceeded", "request canceled",
    "server gave http response to https client", "bad gateway", "service unavailable", "gateway timeout",
    "dial tcp", "proxy authentication required", "error parsing http",
)  # fmt: skip
#: A request that was not answered, as Go's net/http tells of it; a proxy's refusal is nothing but its status text.
_REQUEST = re.compile(r'(?<!\w)(Get|Head|Post) "…": (?P<why>.*)')
_MIRROR_S = 600.0


class NoRegistry(LabFailure):
    """The registry of an image cannot be reached from the engine, so nobody knows whether the image exists."""


class RateLimited(NoRegistry):
    """The registry was reached, and gives this engine no more images for now."""


class NoSuchImage(LabFailure):
    """The registry was reached and has no such image, or none for this machine."""


def image_id(engine: Engine, reference: str) -> str | None:
    """The identity of an image the engine has, None if it has not. Raises LabFailure."""
    with engine_errors(f"looking for image {reference}"):
        try:
            return str(engine.image(reference)["Id"])
        except docker.errors.ImageNotFound:
            return None
        except docker.errors.APIError as error:
            if "invalid reference" in str(error).lower():
                raise NoSuchImage(
                    f"{reference!r} is not the name of an image",
                    expected="a name such as rabbitmq:4-management or quay.io/skupper/skupper-router:3.4.0",
                ) from error
            raise


def local_tag(engine: Engine, repository: str) -> str | None:
    """The newest image of a repository the engine has, whatever its tag; None if it has none. Raises LabFailure."""
    with engine_errors(f"looking for images of {repository}"):
        found: list[Any] = sorted(engine.api.images(name=repository), key=lambda one: -int(one.get("Created", 0)))
    return next((str(tag) for one in found for tag in one.get("RepoTags") or []), None)


def pull(engine: Engine, reference: str, say: Say) -> None:
    """Get an image from its registry.

    Raises:
        NoRegistry: the registry cannot be reached.
        NoSuchImage: it can, and has no such image, or wants to know who asks.
        RateLimited: it gives no more for now; a kind of NoRegistry.
        LabFailure: something else.
    """
    say(f"pulling {reference}")
    tagged = reference if "@" in reference or ":" in reference.rpartition("/")[2] else f"{reference}:latest"
    shown: set[str] = set()
    failure: BaseException | None = None
    text = ""
    with engine_errors(f"pulling {reference}"):
        try:
            for event in engine.api.pull(tagged, stream=True, decode=True):
                if "error" in event:
                    text = str(event["error"])
                    break
                status = f"{event.get('id', '')} {event.get('status', '')}".strip()
                if "progressDetail" not in event and status not in shown:
                    shown.add(status)
                    say(status)
        except docker.errors.APIError as error:
            failure, text = error, str(error.explanation or error)
    if text:
        raise _pull_failure(reference, " ".join(text.split())) from failure


def _pull_failure(reference: str, text: str) -> LabFailure:
    first, _, rest = reference.partition("/")
    registry = first if rest and ("." in first or ":" in first) else "docker.io"
    said = _without_names(reference, text)
    request = _REQUEST.search(said)
    lost = request is not None and not any(words.search(request["why"]) for words in (_NOT_THERE, _DENIED))
    by_hand = f"load the image by hand: `docker save {reference}` where it is, `docker load` here"
    if "no space left on device" in said.lower():
        return LabFailure(
            f"image {reference} cannot be had: the engine says: {text}", where=reference, remedy=remedy_of(said)
        )
    if _LIMITED.search(said):
        return RateLimited(
            f"image {reference} is not on the engine, and its registry gives no more for now: {text}",
            where=registry,
            remedy=f"wait, or `docker login` for a higher limit, or {by_hand}",
        )
    if _OTHER_MACHINE.search(said):
        return NoSuchImage(
            f"the registry has image {reference}, but not for this machine's processor: {text}",
            where=registry,
            expected="an image for the engine's architecture",
            remedy="name another image, or build this one for this machine",
        )
    # A registry that says this was reached, whatever else the message holds.
    if not _UNKNOWN.search(said) and (lost or _NOT_REACHED.search(said)):
        return NoRegistry(
            f"image {reference} is not on the engine, and its registry cannot be reached: {text}",
            where=registry,
            remedy=f"check the engine's network (proxies and certificates are the engine's own settings), or {by_hand}",
        )
    if any(words.search(said) for words in (_UNKNOWN, _NOT_THERE, _DENIED)):
        return NoSuchImage(
            f"the registry has no image {reference}, or does not show it to this engine: {text}",
            where=registry,
            expected="an image that exists",
            remedy="check name and tag for a typing error; `docker login` if the image is private",
        )
    return LabFailure(f"image {reference} cannot be had: {text}", where=registry, remedy=remedy_of(said))


def _without_names(reference: str, text: str) -> str:
    """A message without the addresses and the image it names, which may hold any word."""
    path = re.sub(r"(@.*|:[^:/]*)$", "", reference)
    path = path.partition("/")[2] if re.match(r"[^/]*[.:][^/]*/", path) else path
    bare = re.sub(r'"[a-z]+://[^"]*"', '"…"', text)
    return re.sub(rf"(?<![\w.-])([\w.:-]+/)*{re.escape(path)}([:@][\w.:-]*\w)?(?![\w./-])", "…", bare)


def require_image(engine: Engine, reference: str, say: Say) -> str:
    """Make sure the engine has an image somebody named; its identity. Raises as `pull` does."""
    found = image_id(engine, reference)
    if found is None:
        pull(engine, reference, say)
        found = image_id(engine, reference)
    if found is None:
        raise LabFailure(f"image {reference} was pulled but is not there", where=engine.url)
    return found


def make_base(engine: Engine, say: Say) -> None:
    """Make Debian's smallest system from its mirror and import it as MADE_BASE.

    Raises LabFailure, MissingCapability.
    """
    program = shutil.which("mmdebstrap")
    if program is None:
        raise MissingCapability(
            "no registry can be reached, and mmdebstrap, which makes base images without one, is not installed",
            where=engine.url,
            remedy="apt-get install mmdebstrap, or load debian:bookworm-slim into the engine by hand",
        )
    machine = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armhf"}.get(str(engine.about.get("Architecture")), "")
    arch = [f"--architectures={machine}"] if machine else []
    say("no registry: making a base image from Debian's mirror")
    with tempfile.TemporaryDirectory(prefix="femdc-base-") as scratch:
        tar = Path(scratch, "base.tar")
        command = [program, "--variant=minbase", "--quiet", *arch, *_EXCLUDE, *_QUICK, "bookworm", str(tar)]
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_MIRROR_S,
                env={**os.environ, "TMPDIR": scratch},
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise LabFailure(f"mmdebstrap did not end in {_MIRROR_S:g} s", where="Debian's mirror") from None
        if done.returncode != 0:
            tail = "\n    ".join(done.stderr.strip().splitlines()[-8:])
            raise LabFailure(
                f"mmdebstrap ended with {done.returncode}; its last lines:\n    {tail}",
                where="Debian's mirror",
                remedy="check the network, and that there is room in the temporary directory",
            )
        with engine_errors("importing the base image"):
            # The tag as part of the name, which the API allows: podman 4.3 does not heed one given by itself.
            engine.api.import_image_from_file(str(tar), MADE_BASE, changes=[f"LABEL {KIND}=debian"])


#: Documentation and translations nobody reads in a container.
_EXCLUDE = tuple(f"--dpkgopt=path-exclude=/usr/share/{path}/*" for path in ("doc", "man", "info", "locale", "lintian"))
#: A layer is written once: nothing is gained by waiting for the disk after every file.
_QUICK = ("--dpkgopt=force-unsafe-io", "--aptopt=Acquire::Languages none")
