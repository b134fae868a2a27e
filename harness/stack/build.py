"""Builds stacks into virtual environments, each once, in a cache keyed by what is in it.

    <cache>/stacks/<key>/venv               the environment, built where it stays (a virtualenv is bound to its path)
    <cache>/stacks/<key>/requirements.lock  what the installer resolved to, exact versions
    <cache>/stacks/<key>/stack.json         the specification it was built from
    <cache>/stacks/<key>/.complete          written last: without it the directory is rubbish and is rebuilt
    <cache>/stacks/<key>.lock               held while building

Two stacks with the same packages on the same interpreter share one environment: names, options and environment
variables are not part of the key.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uv

from harness.errors import Interrupted, StackFailure
from harness.model.stack import StackSpec
from harness.stack.command import TooSlow, run_command
from harness.stack.hints import remedy_for
from harness.stack.interpreter import Interpreter, find_interpreter

__all__ = ["StackEnvironment", "build_stack", "build_stacks", "default_cache", "needed_modules", "stack_key"]

#: Raised with every change to how an environment is built, so that older ones are not taken for current.
_RECIPE = 1

#: What must import in an environment before it counts as built, by (adapter, driver).
_IMPORTS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("oslo", "rabbit"): ("oslo_messaging", "oslo_messaging._drivers.impl_rabbit"),
    ("oslo", "amqp1"): ("oslo_messaging", "oslo_messaging._drivers.impl_amqp1", "proton", "pyngus"),
    ("kombu", "rabbit"): ("kombu", "amqp"),
    ("proton", "amqp1"): ("proton", "proton.utils"),
    ("pyngus", "amqp1"): ("proton", "pyngus"),
}

#: Longest wait for the imports of an environment.
_IMPORT_S = 120.0

_CHECK = """
import importlib, sys, warnings
warnings.simplefilter("ignore")
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


@dataclass(frozen=True, slots=True)
class StackEnvironment:
    """A built stack.

    Attributes:
        name: the stack's name.
        key: content key; equal keys mean equal environments on this host.
        python: interpreter of the virtual environment.
        freeze: installed packages as `name==version`, sorted.
        python_version: full version of the interpreter, e.g. "3.11.7".
    """

    name: str
    key: str
    python: Path
    freeze: tuple[str, ...]
    python_version: str


def default_cache() -> Path:
    """Where built environments are kept: $HARNESS_CACHE, else $XDG_CACHE_HOME/femdc-harness, else ~/.cache/..."""
    explicit = os.environ.get("HARNESS_CACHE")
    if explicit:
        return Path(explicit).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "femdc-harness"


def stack_key(spec: StackSpec, interpreter: Interpreter) -> str:
    """The content key: packages, interpreter and platform; 20 hexadecimal digits."""
    content = {
        "recipe": _RECIPE,
        "packages": {option: sorted(lines) for option, lines in spec.packages.items()},
        "python": [interpreter.path, interpreter.version, interpreter.implementation],
        "platform": [platform.system(), platform.machine(), *platform.libc_ver()],
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:20]


def build_stack(
    spec: StackSpec,
    *,
    cache: Path | None = None,
    progress: Callable[[str], None] | None = None,
    timeout_s: float = 900.0,
    stop: threading.Event | None = None,
) -> StackEnvironment:
    """Build a stack, or find it built.

    Args:
        spec: what to build.
        cache: cache directory (default: `default_cache()`).
        progress: called with one line of text per step.
        timeout_s: longest wait for one installer command, and for another process that builds the same stack.
        stop: when set, from another thread, the build ends at once, with Interrupted.

    Raises StackFailure with the installer's last lines and a remedy.
    """
    say = progress or (lambda _line: None)
    interpreter = find_interpreter(spec, stop=stop)
    key = stack_key(spec, interpreter)
    stacks = (cache or default_cache()) / "stacks"
    home = stacks / key
    try:
        stacks.mkdir(parents=True, exist_ok=True)
        with _exclusive(stacks / f"{key}.lock", spec, say, timeout_s, stop):
            if not _is_complete(home):
                shutil.rmtree(home, ignore_errors=True)
                home.mkdir()
                _install(spec, interpreter, home, say, timeout_s, stop)
                (home / ".complete").touch()
                say("built")
    except OSError as error:
        raise StackFailure(
            f"the environment cannot be written: {error}",
            where=f"stack {spec.name}",
            remedy="make room or set HARNESS_CACHE to a directory that can be written",
        ) from error
    _check_imports(spec, home, stop)
    freeze = tuple((home / "requirements.lock").read_text().splitlines())
    return StackEnvironment(spec.name, key, _python_of(home), freeze, interpreter.version)


def build_stacks(
    specs: Iterable[StackSpec],
    *,
    cache: Path | None = None,
    jobs: int = 2,
    progress: Callable[[str, str], None] | None = None,
    timeout_s: float = 900.0,
) -> dict[str, StackEnvironment]:
    """Build several stacks, `jobs` at a time; environments by stack name.

    `progress` is called with (stack name, line), from several threads. All builds end before the first failure
    (the smallest stack first) is raised as StackFailure. An interrupt ends them, and what their installers started.
    """
    stop = threading.Event()

    def build(spec: StackSpec) -> StackEnvironment:
        def say(line: str) -> None:
            if progress is not None:
                progress(spec.name, line)

        return build_stack(spec, cache=cache, progress=say, timeout_s=timeout_s, stop=stop)

    # The smaller come first, and a stack waits for one whose requirements it includes: what that one had to compile
    # is then in the installer's cache instead of being compiled twice at the same time.
    wanted = {spec.name: spec for spec in sorted(specs, key=lambda spec: len(spec.requirements))}
    futures: dict[str, Future[StackEnvironment]] = {}
    with ThreadPoolExecutor(max_workers=max(1, jobs), thread_name_prefix="stack") as pool:
        for name, spec in wanted.items():
            before = [
                futures[other]
                for other in futures
                if wanted[other].requirements and set(wanted[other].requirements) <= set(spec.requirements)
            ]
            futures[name] = pool.submit(_after, before, build, spec)
        try:
            wait(futures.values())
        except BaseException:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {name: future.result() for name, future in futures.items()}


def _after(
    before: Sequence[Future[StackEnvironment]], build: Callable[[StackSpec], StackEnvironment], spec: StackSpec
) -> StackEnvironment:
    """Build once the others are built, or have failed to. They were submitted earlier, so this cannot wait for ever."""
    wait(before)
    return build(spec)


def _python_of(home: Path) -> Path:
    return home / "venv" / "bin" / "python"


def _is_complete(home: Path) -> bool:
    """Whether the environment was finished and its base interpreter is still there (the link does not dangle)."""
    return (home / ".complete").exists() and _python_of(home).exists()


def _install(
    spec: StackSpec,
    interpreter: Interpreter,
    home: Path,
    say: Callable[[str], None],
    timeout_s: float,
    stop: threading.Event | None,
) -> None:
    python = _python_of(home)
    (home / "stack.json").write_text(json.dumps(spec.model_dump(mode="json"), indent=2) + "\n")
    venv = ["venv", "--quiet", "--no-project", "--no-config", "--python", interpreter.path, str(home / "venv")]
    _uv(venv, spec, say, timeout_s, stop)
    if spec.requirements:
        install = ["pip", "install", "--python", str(python), "--compile-bytecode"]
        for option, lines in spec.packages.items():
            if not lines:
                continue  # the installer warns of files without lines
            (home / f"{option}.in").write_text("".join(f"{line}\n" for line in lines))
            install += [f"--{option}", str(home / f"{option}.in")]
        _uv(install, spec, say, timeout_s, stop)
    frozen = _uv(["pip", "freeze", "--python", str(python)], spec, lambda _line: None, timeout_s, stop)
    (home / "requirements.lock").write_text("".join(f"{line}\n" for line in sorted(frozen)))


def _uv(
    arguments: Sequence[str],
    spec: StackSpec,
    say: Callable[[str], None],
    timeout_s: float,
    stop: threading.Event | None,
) -> list[str]:
    """Run uv; the lines of its standard output. Its standard error goes to `say` line by line."""
    environment = {**os.environ, "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
    environment.pop("VIRTUAL_ENV", None)
    try:
        ended = run_command([uv.find_uv_bin(), *arguments], timeout_s=timeout_s, env=environment, say=say, stop=stop)
    except TooSlow:
        raise StackFailure(
            f"the installer did not finish within {timeout_s:g} s",
            where=f"stack {spec.name}",
            remedy="check the connection to the package index, then run again: what was fetched is kept",
        ) from None
    if ended.status != 0:
        tail = "\n".join(ended.errors[-25:])
        raise StackFailure(
            f"the installer failed (exit status {ended.status}); its last lines:\n{tail}",
            where=f"stack {spec.name}",
            remedy=remedy_for(tail),
        )
    return ended.output.splitlines()


def needed_modules(spec: StackSpec) -> tuple[str, ...]:
    """The modules a stack's adapters import: what must be there, whatever its requirements say."""
    modules = [module for adapter in spec.adapters for module in _IMPORTS.get((adapter, spec.driver), ())]
    return tuple(dict.fromkeys(modules))


def _check_imports(spec: StackSpec, home: Path, stop: threading.Event | None) -> None:
    """Import what its adapters need. Raises StackFailure naming the module: a driver may be gone from a release."""
    modules = needed_modules(spec)
    checked = home / ".imports"
    wanted = " ".join(modules)
    if not modules or (checked.exists() and wanted in checked.read_text().splitlines()):
        return
    check = [str(_python_of(home)), "-I", "-c", _CHECK, *wanted.split()]
    try:
        ended = run_command(check, timeout_s=_IMPORT_S, stop=stop)
    except TooSlow:
        raise StackFailure(
            f"the environment is built, but importing its client took more than {_IMPORT_S:g} s",
            where=f"stack {spec.name}",
            remedy="try again on a quieter machine",
        ) from None
    if ended.status != 0:
        tail = "\n".join(ended.errors[-6:])
        raise StackFailure(
            f"the environment is built but its client does not import:\n{tail}",
            where=f"stack {spec.name}",
            expected=f"modules for adapters {', '.join(spec.adapters)} with driver {spec.driver}: {wanted}",
            remedy=remedy_for(tail),
        )
    with checked.open("a") as file:
        file.write(wanted + "\n")


@contextmanager
def _exclusive(
    path: Path, spec: StackSpec, say: Callable[[str], None], timeout_s: float, stop: threading.Event | None
) -> Iterator[None]:
    """Hold a lock file against other threads and processes; the kernel lets it go when the holder dies."""
    deadline = time.monotonic() + timeout_s
    waiting = False
    with path.open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not waiting:
                    say("waiting for another build of the same environment")
                    waiting = True
                if stop is not None and stop.is_set():
                    raise Interrupted("stopped while a stack was being built") from None
                if time.monotonic() > deadline:
                    raise StackFailure(
                        f"another process has been building it for {timeout_s:g} s",
                        where=f"stack {spec.name}",
                        remedy=f"see who holds {path}",
                    ) from None
                time.sleep(0.1)
        yield
