"""What is in a stack's image: its Python, its packages, and whether its client imports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.errors import StackFailure
from harness.images.choice import Image
from harness.model.stack import StackSpec
from harness.runtime.docker.engine import Engine, engine_errors
from harness.runtime.docker.labels import labels
from harness.stack.build import StackEnvironment, default_cache, needed_modules
from harness.stack.hints import remedy_for

__all__ = ["look_inside"]

_LOOK_S = 120

_SCRIPT = """
import importlib, json, platform, sys, warnings
from importlib.metadata import distributions
warnings.simplefilter("ignore")
for name in sys.argv[1:]:
    importlib.import_module(name)
found = {d.metadata["Name"]: d.version for d in distributions() if d.metadata["Name"]}
print(json.dumps({"python": platform.python_version(), "packages": sorted("%s==%s" % p for p in found.items())}))
"""


def look_inside(engine: Engine, spec: StackSpec, image: Image, python: str) -> StackEnvironment:
    """Import what the stack's adapters need, in its image; what it was found to hold, for the record.

    Looked at once per image and set of modules; remembered in the cache by the image's identity.

    Raises StackFailure naming the module: a driver may be gone from a release.
    """
    modules = needed_modules(spec)
    name = "-".join([image.id.rpartition(":")[2][:20], *modules]) or "-"
    known = default_cache() / "images" / f"{name}.json"
    try:
        found: dict[str, Any] = json.loads(known.read_text())
    except (OSError, ValueError):
        found = _look(engine, spec, image, python, modules)
        known.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(f"{known}.tmp")
        temporary.write_text(json.dumps(found))
        temporary.replace(known)
    return StackEnvironment(spec.name, image.id, Path(python), tuple(found["packages"]), found["python"])


def _look(engine: Engine, spec: StackSpec, image: Image, python: str, modules: tuple[str, ...]) -> dict[str, Any]:
    api: Any = engine.api
    with engine_errors("looking into an image", f"stack {spec.name}", StackFailure):
        made = api.create_container(
            image.reference,
            entrypoint=[python],
            command=["-I", "-c", _SCRIPT, *modules],
            labels=labels("images"),
            network_disabled=True,
            host_config=api.create_host_config(cap_drop=["ALL"], security_opt=["no-new-privileges:true"]),
        )["Id"]
        try:
            api.start(made)
            status = api.wait(made, timeout=_LOOK_S)["StatusCode"]
            output, errors = (bytes(api.logs(made, stdout=out, stderr=not out)).decode() for out in (True, False))
        finally:
            api.remove_container(made, force=True, v=True)
    if status == 0:
        found: dict[str, Any] = json.loads(output)
        return found
    tail = "\n".join(errors.strip().splitlines()[-6:])
    raise StackFailure(
        f"its image {image.reference} is there but its client does not import:\n{tail}",
        where=f"stack {spec.name}",
        expected=f"modules for adapters {', '.join(spec.adapters)} with driver {spec.driver}: {' '.join(modules)}",
        remedy=remedy_for(tail),
    )
