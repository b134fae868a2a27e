"""The runtimes there are, and the choice of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from harness.errors import BadInput, MissingCapability, require_known
from harness.plugins import with_plugins
from harness.runtime.docker.engine import connect
from harness.runtime.docker.runtime import DockerRuntime
from harness.runtime.fake import FakeRuntime
from harness.runtime.local import LocalRuntime
from harness.runtime.protocol import Runtime

__all__ = ["AUTO", "BUILT_IN", "choose_runtime", "make_runtime", "runtimes"]

RuntimeFactory = Callable[[str, Path], Runtime]

#: Take docker where an engine answers, else local.
AUTO = "auto"

#: Every runtime of ours by name.
BUILT_IN: Mapping[str, RuntimeFactory] = MappingProxyType(
    {"local": LocalRuntime, "docker": DockerRuntime, "fake": FakeRuntime}
)

_ENTRY_POINTS = "femdc_harness.runtimes"


def runtimes() -> dict[str, RuntimeFactory]:
    """Built-in runtimes, then those other distributions register under `femdc_harness.runtimes`.

    Raises BadInput when one takes the name of another.
    """
    return with_plugins(BUILT_IN, _ENTRY_POINTS, "runtimes")


def choose_runtime(wanted: str) -> tuple[str, str]:
    """The runtime to use, and in words why, "" where it was named.

    Args:
        wanted: a name, or "auto": docker where an engine answers, else local.

    Raises BadInput where no runtime has that name.
    """
    if wanted != AUTO:
        require_known("runtime", wanted, (AUTO, *runtimes()))
        return wanted, ""
    try:
        engine = connect()
    except MissingCapability as missing:
        return "local", f"runtime local: {missing.what}"
    engine.close()
    return "docker", f"runtime docker: {engine.name} {engine.version} answers at {engine.url}"


def make_runtime(name: str, run_id: str, logs: Path) -> Runtime:
    """A runtime by name, not yet entered.

    Args:
        run_id: identity everything it makes will carry.
        logs: directory that receives the logs of its processes.

    Raises:
        BadInput: no runtime has that name.
    """
    known = runtimes()
    if name not in known:
        raise BadInput(f"there is no runtime {name!r}", expected=f"one of: {', '.join(known)}")
    return known[name](run_id, logs)
