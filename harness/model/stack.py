"""A stack: the client environment an agent runs in, as data.

A stack says which Python, which packages and which messaging driver; it can be built anywhere (see
`harness.stack.build`). Everything that could change a measurement stands here: package versions, oslo.config
options, and environment variables of the process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from packaging.requirements import InvalidRequirement, Requirement
from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema

from harness.model.faults import refuse, unknown_name
from harness.model.frozen import Frozen

__all__ = ["Adapter", "Driver", "OptionValue", "Options", "StackName", "StackSpec", "check_requirement"]

#: How an agent speaks to the bus: through oslo.messaging, through a raw client, or not at all.
Adapter = Literal["oslo", "kombu", "proton", "pyngus", "loopback"]

#: The wire protocol a stack's client speaks: AMQP 0-9-1 to RabbitMQ, AMQP 1.0 to a router, or none.
Driver = Literal["rabbit", "amqp1", "none"]

#: Value of an oslo.config option, as JSON carries it.
OptionValue = bool | int | float | str

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9])?\Z")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
#: Groups of oslo.messaging's options, of all its releases; which options a group has, the agent asks the library.
_GROUPS = (
    "DEFAULT",
    "oslo_messaging_rabbit",
    "oslo_messaging_amqp",
    "oslo_messaging_notifications",
    "oslo_messaging_metrics",
    "oslo_messaging_kafka",
    "oslo_messaging_zmq",
    "matchmaker_redis",
)
#: The library each adapter needs.
_LIBRARIES: Mapping[str, Adapter] = {
    "oslo-messaging": "oslo",
    "kombu": "kombu",
    "pyngus": "pyngus",  # before what it stands on
    "python-qpid-proton": "proton",
}
_MINOR = re.compile(r"(?<![\d.])3\.(\d{1,2})(?!\d)")
_PYTHON = re.compile(r"3\.\d{1,2}(\.\d{1,3})?\Z")


def _check_name(value: str) -> str:
    if not _NAME.match(value):
        raise ValueError(f"{value!r} is not a usable stack name; lower-case letters, digits, inner dots and hyphens")
    return value


def _check_python(value: str) -> str:
    if not _PYTHON.match(value) and not PurePosixPath(value).is_absolute():
        raise ValueError(f"{value!r} is neither a Python version nor an interpreter; '3.11', or an absolute path")
    return value


def check_requirement(value: str) -> str:
    """A requirement that says exactly which version. Raises ValueError with the reason.

    Accepted are `name==version`, with extras and markers, and direct references (`name @ URL`).
    """
    try:
        requirement = Requirement(value)
    except InvalidRequirement as error:
        raise ValueError(f"{value!r} is not a package requirement: {error}") from None
    pinned = any(part.operator in ("==", "===") and not part.version.endswith(".*") for part in requirement.specifier)
    if requirement.url is None and not pinned:
        raise ValueError(f"{value!r} does not pin a version; write it like {requirement.name}==1.2.3")
    return value


StackName = Annotated[
    str,
    AfterValidator(_check_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME.pattern.removesuffix(chr(92) + 'Z')}$"}),
]
Pinned = Annotated[str, AfterValidator(check_requirement)]


def _name_is_key(schema: dict[str, Any]) -> None:
    """In a file the name is the key."""
    schema["required"] = [key for key in schema.get("required", ()) if key != "name"]


def _check_variable(value: str) -> str:
    if not _VARIABLE.match(value):
        raise ValueError(f"{value!r} cannot name an environment variable; letters, digits and _, like MALLOC_ARENA_MAX")
    return value


def _check_groups(options: Mapping[str, Mapping[str, OptionValue]]) -> Mapping[str, Mapping[str, OptionValue]]:
    faults = [
        unknown_name((group,), "group of options", group, _GROUPS)
        for group in options
        if group and group not in _GROUPS
    ]
    if faults:
        raise refuse(*faults)
    return options


#: oslo.config options by group.
Options = Annotated[Mapping[str, Mapping[str, OptionValue]], AfterValidator(_check_groups)]
Variable = Annotated[str, AfterValidator(_check_variable)]


def _adapters(known: Mapping[str, Any]) -> tuple[Adapter, ...]:
    """The adapters a stack has where it does not say: those whose library its requirements name or pull in."""
    brought = {_normal(Requirement(text).name) for text in known.get("requirements", ())}
    if "oslo-messaging" in brought and known.get("driver") == "rabbit":
        brought.add("kombu")
    return (*(adapter for library, adapter in _LIBRARIES.items() if library in brought), "loopback")


class StackSpec(Frozen):
    """A client environment.

    Attributes:
        name: how scenarios refer to it, e.g. "oslo-14.7.3-rabbit"; in a scenario its key, which need not be repeated.
        python: version ("3.11", "3.11.7") or absolute path of the interpreter; None for the controller's own.
        requirements: packages, each pinned to one version.
        constraints: versions for packages that `requirements` only pull in (pinned as well).
        overrides: versions installed whatever other packages ask for (pinned as well): an old release that names an
            upper bound runs with a newer library like this.
        driver: wire protocol its client speaks.
        adapters: agent adapters that work in it, the first one used where none is named; default: oslo, kombu,
            pyngus and proton as far as requirements bring them, and loopback.
        options: oslo.config options by group ("" or "DEFAULT" for the default group); a workload may override them.
        env: environment variables of its processes, e.g. MALLOC_ARENA_MAX.
        image: container image that is this stack, its `python3` having the packages; instead of building one.
    """

    model_config = ConfigDict(json_schema_extra=_name_is_key)

    name: StackName
    python: Annotated[str, AfterValidator(_check_python)] | None = None
    requirements: tuple[Pinned, ...] = ()
    constraints: tuple[Pinned, ...] = ()
    overrides: tuple[Pinned, ...] = ()
    driver: Driver = "none"
    adapters: tuple[Adapter, ...] = Field(default_factory=_adapters, min_length=1)
    options: Options = Field(default_factory=dict)
    env: Mapping[Variable, str] = Field(default_factory=dict)
    image: Annotated[str, Field(min_length=1)] | None = None

    @property
    def packages(self) -> Mapping[str, tuple[str, ...]]:
        """What is installed: lines of a file by the installer's option that takes it."""
        return {"constraints": self.constraints, "overrides": self.overrides, "requirements": self.requirements}

    @property
    def python_version(self) -> tuple[int, int] | None:
        """(3, minor) of the Python asked for, by version or by its interpreter's path; None if neither says."""
        found = _MINOR.search(self.python or "")
        return (3, int(found[1])) if found else None

    def version_of(self, package: str) -> str | None:
        """The version this stack pins a package to, None if it does not name the package (or names it by URL)."""
        wanted = _normal(package)
        for text in (*self.overrides, *self.requirements, *self.constraints):
            requirement = Requirement(text)
            if _normal(requirement.name) == wanted:
                for part in requirement.specifier:
                    if part.operator in ("==", "==="):
                        return part.version
        return None


def _normal(name: str) -> str:
    """A package name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
