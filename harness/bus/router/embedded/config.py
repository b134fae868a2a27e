"""Reads a qpid-dispatch / skupper-router configuration file, as far as the embedded router follows it."""

from __future__ import annotations

from typing import Dict, NamedTuple, Tuple

__all__ = ["ConfigError", "Connector", "Listener", "RouterConfig", "parse_config"]

ROLES = ("normal", "inter-router", "edge")
DISTRIBUTIONS = ("multicast", "closest", "balanced")


class ConfigError(Exception):
    """The file cannot be followed; says line and reason."""


class Listener(NamedTuple):
    """A port to listen on. `idle_timeout_s` 0 means never; `link_capacity` in messages; `max_frame_size` in bytes."""

    host: str
    port: int
    role: str
    cost: int
    idle_timeout_s: float
    link_capacity: int
    max_frame_size: int


class Connector(NamedTuple):
    """A connection to open and keep open; attributes as in `Listener`."""

    name: str
    host: str
    port: int
    role: str
    cost: int
    idle_timeout_s: float
    link_capacity: int
    max_frame_size: int


class RouterConfig(NamedTuple):
    """What one router is to be. Hello times in seconds; `prefixes` maps address prefixes to distributions."""

    id: str
    mode: str
    hello_interval_s: float
    hello_max_age_s: float
    default_distribution: str
    listeners: tuple[Listener, ...]
    connectors: tuple[Connector, ...]
    prefixes: dict[str, str]


_Section = Tuple[str, int, Dict[str, str]]


def parse_config(text: str) -> RouterConfig:
    """The configuration in `text`. Sections other than router, listener, connector and address are ignored.

    Raises ConfigError.
    """
    router: dict[str, str] | None = None
    listeners: list[Listener] = []
    connectors: list[Connector] = []
    prefixes: dict[str, str] = {}
    for name, line, values in _sections(text):
        if name == "router":
            router = values
        elif name == "listener":
            listeners.append(Listener(values.get("host", ""), *_port_and_role(values, line)))
        elif name == "connector":
            host = values.get("host", "127.0.0.1")
            connectors.append(Connector(values.get("name", host), host, *_port_and_role(values, line)))
        elif name == "address" and "prefix" in values:
            prefixes[values["prefix"]] = _one_of(values.get("distribution", "balanced"), DISTRIBUTIONS, line)
    if router is None or "id" not in router:
        raise ConfigError("no router section with an id")
    return RouterConfig(
        id=router["id"],
        mode=_one_of(router.get("mode", "standalone"), ("standalone", "interior", "edge"), 0),
        hello_interval_s=_number(router, "helloIntervalSeconds", 1),
        hello_max_age_s=_number(router, "helloMaxAgeSeconds", 3),
        default_distribution=_one_of(router.get("defaultDistribution", "balanced"), DISTRIBUTIONS, 0),
        listeners=tuple(listeners),
        connectors=tuple(connectors),
        prefixes=prefixes,
    )


def _sections(text: str) -> list[_Section]:
    found: list[_Section] = []
    open_section: _Section | None = None
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.split("#", 1)[0].strip()
        if not line:
            continue
        if open_section is None:
            if not line.endswith("{"):
                raise ConfigError(f"line {number}: expected a section, found {raw.strip()!r}")
            open_section = (line[:-1].strip(), number, {})
        elif line == "}":
            found.append(open_section)
            open_section = None
        else:
            key, colon, value = line.partition(":")
            if not colon:
                raise ConfigError(f"line {number}: expected `attribute: value`, found {raw.strip()!r}")
            open_section[2][key.strip()] = value.strip().strip('"')
    if open_section is not None:
        raise ConfigError(f"line {open_section[1]}: section {open_section[0]!r} is not closed")
    return found


def _port_and_role(values: dict[str, str], line: int) -> tuple[int, str, int, float, int, int]:
    port = values.get("port", "amqp")
    return (
        5672 if port == "amqp" else int(_number({"port": port}, "port", 0)),
        _one_of(values.get("role", "normal"), ROLES, line),
        int(_number(values, "cost", 1)),
        _number(values, "idleTimeoutSeconds", 16),
        int(_number(values, "linkCapacity", 250)) or 250,
        int(_number(values, "maxFrameSize", 16384)),
    )


def _number(values: dict[str, str], key: str, default: float) -> float:
    try:
        return float(values.get(key, default))
    except ValueError:
        raise ConfigError(f"{key}: expected a number, found {values[key]!r}") from None


def _one_of(value: str, allowed: tuple[str, ...], line: int) -> str:
    if value not in allowed:
        raise ConfigError(f"line {line}: expected one of {', '.join(allowed)}, found {value!r}")
    return value
