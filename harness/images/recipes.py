"""How our images are built, as text. Pure.

An image of ours is named after its content: `femdc-harness/<kind>:<key>`, the key a digest of its Dockerfile, the files
beside it and the identity of the image it is built from. What is there under that name need not be built again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.errors import StackFailure
from harness.model.stack import StackSpec

__all__ = [
    "BASE",
    "KIND",
    "MADE_BASE",
    "OWN",
    "PROGRAMS",
    "PYTHON",
    "Recipe",
    "builder_recipe",
    "fits_debian",
    "python_base",
    "rabbitmq_recipe",
    "source_only",
    "stack_home",
    "stack_recipe",
    "tools_recipe",
    "wheel_recipe",
]

#: What tools, and Debian's RabbitMQ, are installed on.
BASE = "debian:bookworm-slim"
#: The same made from Debian's mirror, where no registry can be reached.
MADE_BASE = "femdc-harness/debian:bookworm"
#: How the names of our images begin; but for MADE_BASE they say what is in them.
OWN = "femdc-harness/"
#: The Python Debian 12 has: the one stacks can have where no registry can be reached.
_BASE_PYTHON = "3.11"

#: Every image of ours says what it is ("debian", "tools", "rabbitmq", "stack") ...
KIND = "femdc-harness.image"
#: ... and which programs nodes call by that name in it, separated by spaces; see `harness.runtime.docker`.
PROGRAMS = "femdc-harness.programs"

#: The Python node-side code runs on, by the name it has on the PATH of every image that has one.
PYTHON = "python3"

_APT = (
    "export DEBIAN_FRONTEND=noninteractive && apt-get -qq update && "
    "apt-get -qq -o=Dpkg::Use-Pty=0 install -y --no-install-recommends {packages} >/dev/null && "
    "rm -rf /var/lib/apt/lists/*"
)
_COMPILERS = "gcc libc6-dev libsasl2-dev libssl-dev make pkg-config python3-dev"
#: What clients link to: AMQP 1.0's Proton needs all three (SASL mechanisms, ANONYMOUS too, are modules).
_LIBRARIES = "libsasl2-2 libsasl2-modules libssl3"
_TOOLS = f"ca-certificates iproute2 iptables iputils-ping {_LIBRARIES} procps python3 python3-venv"
#: Packages that come as source only; each is compiled once for all stacks that pin the same version.
_SOURCE_ONLY = ("python-qpid-proton",)
_UV = "/opt/uv/bin/uv"
_READY = ". /build/passing.sh"


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

    def reference(self, base: str) -> str:
        """The name of the built image, given what identifies the image it is built from."""
        content = json.dumps([self.kind, base, self.dockerfile, sorted(self.files.items())])
        return f"{OWN}{self.kind}:{hashlib.sha256(content.encode()).hexdigest()[:20]}"

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


def builder_recipe(base: str, uv: str, passing_files: Mapping[str, str]) -> Recipe:
    """Compilers and uv on a base: stacks are built in it, and nothing runs in it.

    Args:
        uv: the version of uv; the controller's own, so that every runtime's stacks are resolved alike.
        passing_files: "passing.sh" and "ca.pem": how this machine reaches its package index.
    """
    dockerfile = "\n".join(
        [
            "FROM {base}",
            f"RUN {_APT.format(packages=_COMPILERS)}",
            "COPY context /build",
            f"RUN {_READY} && python3 -m venv /opt/uv && /opt/uv/bin/pip install --quiet --no-cache-dir uv=={uv}"
            " && rm -r /build",
            "",
        ]
    )
    return Recipe("builder", f"builder on {base}", base, dockerfile, passing_files=passing_files)


def source_only(spec: StackSpec) -> tuple[str, ...]:
    """The requirements of a stack that must be compiled, as it pins them."""
    return tuple(line for line in spec.requirements if line.split("=")[0].strip().lower() in _SOURCE_ONLY)


def wheel_recipe(requirement: str, builder: str, passing_files: Mapping[str, str]) -> Recipe:
    """One package compiled to a wheel, in /wheels."""
    dockerfile = "\n".join(
        [
            "FROM {base}",
            "COPY context /build",
            f"RUN {_READY} && python3 -m venv /opt/pip && /opt/pip/bin/pip --disable-pip-version-check wheel"
            " --no-deps --no-cache-dir --wheel-dir /wheels -r /build/requirements.in && rm -r /build",
            "",
        ]
    )
    files = {"requirements.in": f"{requirement}\n"}
    return Recipe("wheel", f"compiled {requirement}", builder, dockerfile, (), files, passing_files)


def stack_home(spec: StackSpec) -> str:
    """Where a stack's virtual environment is, in its image: the same place for the same packages."""
    content = json.dumps([*(sorted(lines) for lines in spec.packages.values()), spec.python])
    return f"/opt/femdc-harness/{hashlib.sha256(content.encode()).hexdigest()[:16]}"


def stack_recipe(
    spec: StackSpec, base: str, builder: str, wheels: Sequence[str], passing_files: Mapping[str, str]
) -> Recipe:
    """A stack: a virtual environment made in the builder, on an image without compilers.

    Args:
        base: the image with the Python it is made for.
        builder: the builder on that base.
        wheels: images with the packages that were compiled for it.
    """
    home = stack_home(spec)
    install = f"{_UV} pip install --python {home}/bin/python --compile-bytecode --no-cache --find-links /wheels"
    steps = [_READY, "mkdir -p /wheels", f"{_UV} venv --quiet --no-project --python python3 {home}"]
    if spec.requirements:
        steps.append(" ".join([install, *(f"--{option} /build/{option}.in" for option in spec.packages)]))
    libraries = f"dpkg -s {_LIBRARIES} >/dev/null 2>&1 || {{{{ {_APT.format(packages=_LIBRARIES)}; }}}}"
    dockerfile = "\n".join(
        [
            f"FROM {builder} AS build",
            f"LABEL {KIND}=stage",
            *(f"COPY --from={wheel} /wheels /wheels" for wheel in wheels),
            "COPY context /build",
            f"RUN {' && '.join(steps)}",
            "FROM {base}",
            f"RUN {libraries}",
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
        files={f"{option}.in": "".join(f"{line}\n" for line in lines) for option, lines in spec.packages.items()},
        passing_files=passing_files,
    )
