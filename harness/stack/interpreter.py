"""Finds the Python interpreter a stack asks for."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import uv

from harness.errors import StackFailure
from harness.model.stack import StackSpec
from harness.stack.command import Ended, TooSlow, run_command

__all__ = ["Interpreter", "find_interpreter"]

#: Longest wait for uv to find an interpreter, or to fetch one.
_UV_S = 300.0

_DESCRIBE = (
    "import json, os, platform, sys;"
    "print(json.dumps([os.path.realpath(sys._base_executable), platform.python_version(), sys.implementation.name]))"
)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A base interpreter (not one of a virtual environment): real path, full version, implementation name."""

    path: str
    version: str
    implementation: str


def find_interpreter(spec: StackSpec, *, stop: threading.Event | None = None) -> Interpreter:
    """The interpreter for a stack: the controller's own, a path, or the first found of the version asked for.

    Looked for, in this order: the controller's own if its version fits, the PATH and interpreters installed by uv,
    pyenv's versions. Where none is there uv is asked to fetch one.

    Raises StackFailure.
    """
    wanted = spec.python
    if wanted is None or _fits(platform.python_version(), wanted):
        return _describe(sys.executable, spec)
    if wanted.startswith("/"):
        return _describe(wanted, spec)
    environment = {**os.environ, "PATH": _search_path()}
    environment.pop("VIRTUAL_ENV", None)
    find = ["python", "find", "--no-project", "--no-python-downloads", wanted]
    try:
        found = _uv(find, environment, stop)
        if found.status != 0:
            fetched = _uv(["python", "install", wanted], environment, stop)
            found = _uv(find, environment, stop) if fetched.status == 0 else fetched
        tail = "\n".join(found.errors[-5:])
    except TooSlow:
        found, tail = None, f"this took more than {_UV_S:g} s"
    if found is not None and found.status == 0:
        return _describe(found.output.strip(), spec)
    raise StackFailure(
        f"no Python {wanted} on this machine, and it could not be fetched:\n{tail}",
        where=f"stack {spec.name}",
        expected=f"python{wanted} on the PATH, or its absolute path under `python:`",
        remedy=f"install Python {wanted}, or leave `python` out to use {platform.python_version()}",
    )


def _uv(arguments: list[str], environment: dict[str, str], stop: threading.Event | None) -> Ended:
    command = [uv.find_uv_bin(), "--no-config", *arguments]
    return run_command(command, timeout_s=_UV_S, env=environment, stop=stop)


def _fits(version: str, wanted: str) -> bool:
    return version == wanted or version.startswith(wanted + ".")


def _search_path() -> str:
    """PATH without pyenv's shims (they answer for versions that are not active, and fail), with its real versions."""
    parts = [part for part in os.environ.get("PATH", os.defpath).split(os.pathsep) if not part.endswith("/shims")]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    parts += [str(path) for path in sorted(pyenv.glob("*/bin"), reverse=True)]
    return os.pathsep.join(parts)


def _describe(path: str, spec: StackSpec) -> Interpreter:
    try:
        result = subprocess.run(
            [path, "-I", "-c", _DESCRIBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
        real, version, implementation = json.loads(result.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise StackFailure(
            f"{path} does not run as a Python interpreter: {error}",
            where=f"stack {spec.name}",
            expected="a CPython of version 3.8 or later",
        ) from error
    return Interpreter(real, version, implementation)
