"""Builds images from recipes, each once, several at a time, telling how it goes."""

from __future__ import annotations

import io
import os
import tarfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness.errors import StackFailure
from harness.images.recipes import Recipe
from harness.images.sources import image_id
from harness.runtime.docker.engine import Engine, engine_errors
from harness.stack.hints import remedy_for

__all__ = ["Built", "build", "built_already", "passing_files"]

Say = Callable[[str, str], None]

_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_AUTHORITIES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_INDEX = (
    ("index-url", ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")),
    ("extra-index-url", ("PIP_EXTRA_INDEX_URL", "UV_EXTRA_INDEX_URL")),
    ("trusted-host", ("PIP_TRUSTED_HOST",)),
)
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
    lines = ["[global]"]
    for option, variables in _INDEX:
        value = next((os.environ[name] for name in variables if os.environ.get(name)), "")
        urls = [url for url in value.split() if not url.startswith("file:")]
        if urls:
            lines.append(f"{option} = {' '.join(urls)}")
    authorities = next((os.environ[name] for name in _AUTHORITIES if os.environ.get(name)), "")
    try:
        certificates = Path(authorities).read_text() if authorities else ""
    except OSError:
        certificates = ""
    return {"pip.conf": "\n".join([*lines, ""]), "ca.pem": certificates}


def built_already(engine: Engine, recipe: Recipe) -> Built | None:
    """The image of a recipe if the engine has it, and what it is built from. Raises LabFailure."""
    base = image_id(engine, recipe.base)
    if base is None:
        return None
    reference = recipe.reference(base)
    found = image_id(engine, reference)
    return None if found is None else Built(reference, found, cached=True)


def build(engine: Engine, recipes: Sequence[Recipe], say: Say, *, jobs: int = 2) -> list[Built]:
    """Build images, `jobs` at a time; those the engine has are not built again.

    Args:
        say: called with (title, line), from several threads.

    Raises StackFailure with a build's last lines when all builds have ended.
    """

    def one(recipe: Recipe) -> Built:
        there = built_already(engine, recipe)
        return there or _build(engine, recipe, lambda line: say(recipe.title, line))

    with ThreadPoolExecutor(max_workers=max(1, jobs), thread_name_prefix="images") as pool:
        futures = [pool.submit(one, recipe) for recipe in recipes]
    return [future.result() for future in futures]


def _build(engine: Engine, recipe: Recipe, say: Callable[[str], None]) -> Built:
    base = image_id(engine, recipe.base)
    if base is None:
        raise StackFailure(f"it is built from {recipe.base}, which the engine does not have", where=recipe.title)
    reference = recipe.reference(base)
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
