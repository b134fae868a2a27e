"""The scenario language as a page for people, made of the models that read it: docs/scenario-language.md."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, PlainSerializer, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from harness.model.frozen import Frozen
from harness.model.quantities import UNITS
from harness.model.scenario import Scenario, System
from harness.model.timeline import LinkEvent
from harness.model.topology import Topology
from harness.model.workload import Workload

__all__ = ["EXAMPLES", "language_page"]

_HEAD = """\
# The scenario language

<!-- Made by `harness schema --as markdown`; change the models in harness/model, or harness/cli/language.py. -->

A scenario is a YAML file that says what is put to the test, where, under which load, and how often. `harness validate`
checks it and shows every fault with file, line, key and what was expected; `harness plan` shows all that follows from
it; `harness schema` prints its JSON Schema for editors. An unknown key is an error, and so is a value without its unit.

```yaml
name: example
topology:
  name: two-sites
  sites: [core, edge]
  links:
    core-edge: {between: [core, edge], rtt: 40ms}
systems:
  rabbitmq:
    bus: {kind: rabbitmq, at: core}
    stack: oslo-14.7.3-rabbit
  amqp1:
    bus: {kind: router, at: [core, edge]}
    stack: oslo-14.7.3-amqp1
workloads:
  calls:
    pattern: rpc-call
    clients: {edge: 2}
    servers: {core: 1}
    rate: 20/s
load: {warmup: 2s, duration: 20s}
repetitions: 5
sweep:
  links.core-edge.rtt: [0ms, 40ms, 200ms]
```
"""

_SWEEPS = """\
## Sweeps

`sweep` names values by dotted key. Every system is run at every point of the sweep, `repetitions` times; each
repetition runs all of them before the next begins, in an order drawn from `seed` where there are several.

| Key | What is swept |
|---|---|
| `links.core-edge.rtt` | a link of the topology; so do `sites` and `defaults`, all else leads into the scenario |
| `links.*.loss` | `*` is every name at that place: all links |
| `workloads.calls.rate` | one workload's rate |
| `workloads.calls.clients.edge` | how many clients stand at one site |
| `clients` | every workload's clients: a whole number is meant for each site that has some, a mapping replaces them |
| `rate`, `payload`, `timeout`, ... | any other key of a workload, for every workload |
| `stack`, `bus` | a key of a system, for every system |
| `systems.rabbitmq.stack` | one system's stack |
| `timeline.0.set.loss` | a number counts the items of a list from 0 |
| `load.duration`, `hosts.memory`, ... | any other field |

```yaml
sweep:
  links.core-edge.rtt: [0ms, 20ms, 50ms]
  clients: [1, 10]
```

is six points, each value with each other; with `combine: zip` the values are taken together, the first with the first,
and all keys need equally many.
"""

#: Examples by model, each as the keys it takes.
EXAMPLES: Mapping[type[BaseModel], str] = types.MappingProxyType(
    {
        System: """
buses:                                   # RPC over routers, notifications over a broker
  rpc: {bus: {kind: router, at: [core, edge]}, stack: oslo-14.7.3-amqp1}
  events: {bus: {kind: rabbitmq, at: core}, stack: oslo-14.7.3-rabbit}
""",
        Workload: """
pattern: notify
bus: events                              # where a system has several
clients: {edge: 10}
servers: {core: 2}                       # listeners
rate: 5/s                                # of each client
arrivals: poisson
payload: 4KiB
""",
        LinkEvent: """
at: 20s
link: core-edge
set: {rtt: 300ms, loss: 1%}
for: 10s                                 # then what held before holds again
every: 30s
""",
    }
)
#: An attribute in a docstring: its name, and what is said of it until the next one.
_ATTRIBUTE = re.compile(r"^    (\w+): (.*?)(?=\n    \w+: |\n\n|\Z)", re.MULTILINE | re.DOTALL)
_PLAIN = {str: "text", int: "a whole number", float: "a number", bool: "`true` or `false`", Any: "any value"}


def language_page() -> str:
    """The whole page, Markdown."""
    models = _models(Scenario)
    parts = [_HEAD, *_quantities(), _SWEEPS]
    parts += [_section(model, models) for model in models]
    return "\n".join(part.strip("\n") + "\n" for part in parts)


def _models(top: type[BaseModel]) -> dict[type[BaseModel], str]:
    """Every model the first one leads to, in the order met, with the heading of its section."""
    found: dict[type[BaseModel], str] = {}

    def meet(model: type[BaseModel]) -> None:
        if model not in found:
            found[model] = _words(model.__name__)
            for field in model.model_fields.values():
                for inner in _inside(field.annotation):
                    meet(inner)

    meet(top)
    first: list[type[BaseModel]] = [top, Topology]
    return {model: found[model] for model in [*first, *(each for each in found if each not in first)]}


def _inside(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, Frozen):
        yield annotation
    for argument in get_args(annotation):
        yield from _inside(argument)


def _words(name: str) -> str:
    """ "LinkEvent" as "Link event"."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).capitalize()


def _quantities() -> Iterator[str]:
    yield "## Quantities\n\nA number with its unit, like `80ms`; 0 needs none.\n"
    rows = [f"| {kind} | {', '.join(f'`{unit}`' for unit in units)} | `{example}` |" for kind, units, example in UNITS]
    yield "\n".join(["| Value | Units | Example |", "|---|---|---|", *rows])


def _section(model: type[BaseModel], models: Mapping[type[BaseModel], str]) -> str:
    about = inspect.cleandoc(model.__doc__ or "").partition("\n\nAttributes:")[0]
    described = dict(_ATTRIBUTE.findall(inspect.cleandoc(model.__doc__ or "")))
    table = ["| Key | Value | Default | Meaning |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        meaning = field.description or " ".join(described.get(name, "").split()).removesuffix(".")
        cells = (f"`{field.alias or name}`", _value(field.annotation, field.metadata, models), _default(field), meaning)
        table.append("| " + " | ".join(map(_cell, cells)) + " |")
    example = EXAMPLES.get(model)
    shown = ["", "```yaml", example.strip("\n"), "```"] if example else []
    return "\n".join([f"## {models[model]}", "", about, "", *table, *shown])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _value(annotation: Any, metadata: Sequence[Any], models: Mapping[type[BaseModel], str]) -> str:
    """What may stand there, in words."""
    schema = next((each.json_schema or {} for each in metadata if isinstance(each, WithJsonSchema)), None)
    if schema is not None:
        example = next(iter(schema.get("examples", ())), None)
        return str(schema.get("description", "a name")) + (f", like `{example}`" if example else "")
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _value(arguments[0], (*arguments[1:], *metadata), models)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, types.UnionType):
        kinds = [each for each in arguments if each is not type(None)]
        return " or ".join(_value(each, metadata if len(kinds) == 1 else (), models) for each in kinds)
    if origin in (dict, Mapping):
        return f"mapping of {_value(arguments[0], (), models)} to {_value(arguments[1], (), models)}"
    if origin is tuple and arguments[-1] is not Ellipsis:
        return f"a list of {len(arguments)}: {_value(arguments[0], (), models)} each"
    if origin in (list, tuple):
        return f"list of {_value(arguments[0], (), models)}"
    if isinstance(annotation, type) and annotation in models:
        heading = models[annotation]
        return f"[{heading.lower()}](#{heading.lower().replace(' ', '-')})"
    return _PLAIN.get(annotation, str(annotation)) + _bounds(metadata)


def _bounds(metadata: Sequence[Any]) -> str:
    found = {}
    for each in metadata:
        inner = [each, *getattr(each, "metadata", ())] if isinstance(each, FieldInfo) else [each]
        for bound in inner:
            for word in ("ge", "gt", "le", "lt"):
                if (limit := getattr(bound, word, None)) is not None:
                    found[word] = limit
    low = f"from {found['ge']}" if "ge" in found else f"above {found['gt']}" if "gt" in found else ""
    high = f"to {found['le']}" if "le" in found else f"below {found['lt']}" if "lt" in found else ""
    return f", {low} {high}".rstrip() if low or high else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is None or default is PydanticUndefined or default in ({}, (), [], ""):
        return "none"
    if isinstance(default, BaseModel):
        return "its own defaults"
    if isinstance(default, tuple):
        return ", ".join(f"`{each}`" for each in default)
    serialiser = next((each for each in field.metadata if isinstance(each, PlainSerializer)), None)
    if serialiser is not None:
        return f"`{serialiser.func(default)}`"  # type: ignore[call-arg]
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"
