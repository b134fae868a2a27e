"""Builds images from recipes, each once, several at a time, telling how it goes."""

from __future__ import annotations

import io
import os
import shlex
import tarfile
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from harness.errors import StackFailure
from harness.images.recipes import MADE_BASE, OWN, Recipe
from harness.images.sources import image_id
from harness.runtime.docker.engine import Engine, engine_errors
from harness.stack.hints import remedy_for

__all__ = ["Built", "build", "built_already", "name_of", "passing_files"]

Say = Callable[[str, str], None]

_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_AUTHORITIES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
#: Variables that say which package index to use, here: what pip and uv read there.
_INDEX = (
    (("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"), ("UV_DEFAULT_INDEX", "PIP_INDEX_URL")),
    (("UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL"), ("UV_INDEX", "PIP_EXTRA_INDEX_URL")),
    (("UV_INSECURE_HOST", "PIP_TRUSTED_HOST"), ("UV_INSECURE_HOST", "PIP_TRUSTED_HOST")),
)
_CA = "/build/ca.pem"
_LAST_LINES = 25


@dataclass(frozen=True, slots=True)
class Built:
    """An image of ours on the engine: its name, its identity, and whether it was there already."""

    reference: str
    id: str
    cached: bool


def passing_files() -> dict[str, str]:
    """How this machine reaches package indexes, for builds: index addresses, and certificate authorities.

    They are there while building only, not in the image. Proxies go as build arguments, which engines do not keep.
    """
    found: dict[str, str] = {}
    for said, read in _INDEX:
        value = next((os.environ[name] for name in said if os.environ.get(name)), "")
        value = " ".join(one for one in value.split() if not one.startswith("file:"))
        if value:
            found |= dict.fromkeys(read, value)
    authorities = next((os.environ[name] for name in _AUTHORITIES if os.environ.get(name)), "")
    try:
        certificates = Path(authorities).read_text() if authorities else ""
    except OSError:
        certificates = ""
    if certificates:
        found |= {"PIP_CERT": _CA, "SSL_CERT_FILE": _CA}
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in sorted(found.items())]
    return {"passing.sh": "".join([*lines, "export UV_NO_PROGRESS=1 NO_COLOR=1\n"]), "ca.pem": certificates}


def name_of(engine: Engine, recipe: Recipe) -> str | None:
    """The name a recipe's image has or will have; None while what it is built from is not there. Raises LabFailure."""
    if recipe.base.startswith(OWN) and recipe.base != MADE_BASE:
        return recipe.reference(recipe.base)  # a name of ours says what is in it
    base = image_id(engine, recipe.base)
    return None if base is None else recipe.reference(base)


def built_already(engine: Engine, recipe: Recipe) -> Built | None:
    """The image of a recipe if the engine has it. Raises LabFailure."""
    reference = name_of(engine, recipe)
    found = None if reference is None else image_id(engine, reference)
    return None if reference is None or found is None else Built(reference, found, cached=True)


def build(engine: Engine, recipes: Sequence[Recipe], say: Say, *, jobs: int = 2) -> list[Built]:
    """Build images, `jobs` at a time; those the engine has are not built again.

    Args:
        say: called with (title, line), from several threads.

    Raises StackFailure with a build's last lines when all builds have ended.
    """
    stopped = threading.Event()

    def one(recipe: Recipe) -> Built:
        def report(line: str) -> None:
            if stopped.is_set():
                raise StackFailure("its build was stopped", where=recipe.title)
            say(recipe.title, line)

        return built_already(engine, recipe) or _build(engine, recipe, report)

    with ThreadPoolExecutor(max_workers=max(1, jobs), thread_name_prefix="images") as pool:
        futures = [pool.submit(one, recipe) for recipe in recipes]
        try:
            wait(futures)
        except BaseException:
            # Interrupted: builds end at their next line, and the engine stops what nobody listens to any more.
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]


def _build(engine: Engine, recipe: Recipe, say: Callable[[str], None]) -> Built:
    reference = name_of(engine, recipe)
    if reference is None:
        raise StackFailure(f"it is built from {recipe.base}, which the engine does not have", where=recipe.title)
    say(f"building {reference}")
    last: deque[str] = deque(maxlen=_LAST_LINES)
    failed = ""
    with engine_errors(f"building {recipe.title}", kind=StackFailure):
        for event in engine.api.build(
            fileobj=_context(recipe),
            custom_context=True,
            tag=reference,
            rm=True,
            forcerm=True,
            decode=True,
            labels=recipe.labels(),
            buildargs={name: os.environ[name] for name in _PROXIES if os.environ.get(name)},
        ):
            failed = failed or str(event.get("error", ""))
            for line in str(event.get("stream", "")).splitlines():
                if line.strip():
                    last.append(line.rstrip())
                    say(line.strip())
    found = None if failed else image_id(engine, reference)
    if found is None:
        tail = "\n".join(last)
        raise StackFailure(
            f"its image could not be built ({failed or 'the engine did not say why'}); the last lines:\n{tail}",
            where=recipe.title,
            remedy=remedy_for(f"{tail}\n{failed}"),
        )
    say("built")
    return Built(reference, found, cached=False)


def _context(recipe: Recipe) -> io.BytesIO:
    """The build context as a tar, the same bytes for the same recipe, so that the engine's own cache works."""
    packed = io.BytesIO()
    files: Mapping[str, str] = {
        "Dockerfile": recipe.dockerfile.format(base=recipe.base),
        **{f"context/{name}": text for name, text in {**recipe.files, **recipe.passing_files}.items()},
    }
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in sorted(files.items()):
            data = text.encode()
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    packed.seek(0)
    return packed
