"""How our images are built, as text. Pure.

An image of ours is named after its content: `femdc-harness/<kind>:<key>`, the key a digest of its Dockerfile, the files
beside it and the identity of the image it is built from. What is there under that name need not be built again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.errors import StackFailure
from harness.model.stack import StackSpec

__all__ = [
    "BASE",
    "KIND",
    "MADE_BASE",
    "PROGRAMS",
    "PYTHON",
    "Recipe",
    "fits_debian",
    "python_base",
    "rabbitmq_recipe",
    "stack_home",
    "stack_recipe",
    "tools_recipe",
]

#: What tools, and Debian's RabbitMQ, are installed on.
BASE = "debian:bookworm-slim"
#: The same made from Debian's mirror, where no registry can be reached.
MADE_BASE = "femdc-harness/debian:bookworm"
#: The Python Debian 12 has: the one stacks can have where no registry can be reached.
_BASE_PYTHON = "3.11"

#: Every image of ours says what it is ("debian", "tools", "rabbitmq", "stack") ...
KIND = "femdc-harness.image"
#: ... and which programs nodes call by that name in it, separated by spaces; see `harness.runtime.docker`.
PROGRAMS = "femdc-harness.programs"

#: The Python node-side code runs on, by the name it has on the PATH of every image that has one.
PYTHON = "python3"

_APT = "apt-get -q update && apt-get -q install -y --no-install-recommends {packages} && rm -rf /var/lib/apt/lists/*"
_TOOLS = "ca-certificates iproute2 iptables iputils-ping procps python3 python3-venv"
#: What compiling Python packages takes (python-qpid-proton is built from source), and what the result links to.
_COMPILE = "gcc libc6-dev libsasl2-dev libssl-dev make pkg-config python3-dev"
_LINKED = "libsasl2-2 libssl3"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one image is built.

    Attributes:
        kind: what it is.
        title: what to call it while it is built.
        base: name of the image it is built from.
        dockerfile: text, with {base} for that name.
        programs: programs that are called by name in it.
        files: the build context beside the Dockerfile.
        passing_files: files of the context that say how to reach package indexes from here; not part of the content.
    """

    kind: str
    title: str
    base: str
    dockerfile: str
    programs: tuple[str, ...] = (PYTHON,)
    files: Mapping[str, str] = field(default_factory=dict)
    passing_files: Mapping[str, str] = field(default_factory=dict)

    def reference(self, base_id: str) -> str:
        """The name of the built image, given the identity of the image it is built from."""
        content = json.dumps([self.kind, base_id, self.dockerfile, sorted(self.files.items())])
        return f"femdc-harness/{self.kind}:{hashlib.sha256(content.encode()).hexdigest()[:20]}"

    def labels(self) -> dict[str, str]:
        """The labels of the built image."""
        return {KIND: self.kind, PROGRAMS: " ".join(self.programs)}


def tools_recipe(base: str) -> Recipe:
    """Python, ip, iptables and ping on Debian: the gateway's image, and that of nodes that need nothing else.

    ping goes without privileges over ICMP sockets, which engines allow in a container's own network.
    """
    install = _APT.format(packages=_TOOLS)
    return Recipe(
        kind="tools",
        title="tools",
        base=base,
        dockerfile=f"FROM {{base}}\nRUN {install} && cp /bin/ping /bin/ping.plain && mv /bin/ping.plain /bin/ping\n",
    )


def rabbitmq_recipe(tools: str) -> Recipe:
    """RabbitMQ from Debian's package, for where the public image cannot be had."""
    return Recipe(
        kind="rabbitmq",
        title="rabbitmq (Debian's package)",
        base=tools,
        dockerfile=f"FROM {{base}}\nRUN {_APT.format(packages='rabbitmq-server')}\n",
    )


def python_base(spec: StackSpec, own: str) -> str:
    """The public image a stack is built from.

    Args:
        own: the controller's own Python version, for stacks that do not ask for one.

    Raises StackFailure for a stack that asks for an interpreter by path.
    """
    wanted = spec.python or ".".join(own.split(".")[:2])
    if wanted.startswith("/"):
        raise StackFailure(
            f"it asks for the interpreter {wanted}, which no image has",
            where=f"stack {spec.name}",
            expected="a version, such as `python: 3.11`",
            remedy="give a version, an `image` of your own, or use --runtime local",
        )
    return f"python:{wanted}-slim-bookworm"


def fits_debian(public_base: str) -> bool:
    """Whether Debian's own Python is the one that public image has."""
    return public_base.removeprefix("python:").removesuffix("-slim-bookworm") in (_BASE_PYTHON, "3")


def stack_home(spec: StackSpec) -> str:
    """Where a stack's virtual environment is, in its image: the same place for the same packages."""
    content = json.dumps([sorted(spec.requirements), sorted(spec.constraints), spec.python])
    return f"/opt/femdc-harness/{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def stack_recipe(spec: StackSpec, base: str, passing_files: Mapping[str, str]) -> Recipe:
    """A stack: a virtual environment, built with compilers, then copied to an image without.

    Args:
        base: the image with the Python it is built on.
        passing_files: "pip.conf" and "ca.pem", where this machine needs them to reach its package index.
    """
    home = stack_home(spec)
    pip = f"{home}/bin/pip --disable-pip-version-check --no-input"
    steps = [f"python3 -m venv {home}"]
    if spec.requirements:
        steps.append(f"{pip} install --no-cache-dir --quiet -c /build/constraints.in -r /build/requirements.in")
    steps.append(f"{pip} freeze | sort > {home}/requirements.lock")
    ready = "export PIP_CONFIG_FILE=/build/pip.conf; [ ! -s /build/ca.pem ] || export PIP_CERT=/build/ca.pem"
    dockerfile = "\n".join(
        [
            "FROM {base} AS build",
            f"RUN {_APT.format(packages=_COMPILE)}",
            "COPY context /build",
            f"RUN {ready}; {' && '.join(steps)}",
            "FROM {base}",
            f"RUN {_APT.format(packages=_LINKED)}",
            f"COPY --from=build {home} {home}",
            "",
        ]
    )
    return Recipe(
        kind="stack",
        title=f"stack {spec.name}",
        base=base,
        dockerfile=dockerfile,
        programs=(PYTHON, f"{home}/bin/python"),
        files={
            "requirements.in": "".join(f"{line}\n" for line in spec.requirements),
            "constraints.in": "".join(f"{line}\n" for line in spec.constraints),
        },
        passing_files=passing_files,
    )
