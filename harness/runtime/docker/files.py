"""Files into containers and out of them, as tar streams over the engine's API."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import docker.errors

from harness.errors import LabFailure
from harness.runtime.docker.engine import Engine, engine_errors

__all__ = ["fetch", "send"]


def send(engine: Engine, container: str, source: Path, directory: str, name: str, where: str) -> None:
    """Copy a file or a directory tree into a container's directory under a name. Raises LabFailure."""
    packed = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
    with packed:
        try:
            with tarfile.open(fileobj=packed, mode="w", dereference=True) as archive:
                archive.add(source, arcname=name, filter=_ours)
        except OSError as error:
            raise LabFailure(f"cannot read {source}: {error.strerror}", where=where) from error
        packed.seek(0)
        with engine_errors(f"copying {source.name} into a container", where):
            engine.api.put_archive(container, directory, packed)


def _ours(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member


class _Chunks(io.RawIOBase):
    """Chunks as a stream to read."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def fetch(engine: Engine, container: str, path: str, target: Path, where: str) -> None:
    """Copy a file or directory out of a container. Raises LabFailure."""
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        with engine_errors(f"fetching {Path(path).name}", where):
            try:
                chunks, _ = engine.api.get_archive(container, path)
            except docker.errors.NotFound as error:
                raise LabFailure(f"cannot fetch {Path(path).name}: there is no {path}", where=where) from error
            try:
                with tarfile.open(fileobj=io.BufferedReader(_Chunks(chunks)), mode="r|") as archive:
                    archive.extractall(scratch, filter="data")
            except tarfile.TarError as error:
                raise LabFailure(f"cannot fetch {Path(path).name}: {error}", where=where) from error
        found = next(Path(scratch).iterdir())
        if found.is_dir():
            shutil.copytree(found, target)
        else:
            found.replace(target)
