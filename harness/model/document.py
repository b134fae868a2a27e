"""Turns the text of a scenario or topology file into a frozen object, or into located findings. No I/O.

Every value keeps the line it stands on, so that whatever is wrong with it, also after a sweep or a cross check, is
reported as file, line and key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from harness.errors import BadFile, Finding
from harness.model.faults import FAULTS, Fault

__all__ = ["Document", "parse_document", "validate"]

Path = tuple[str | int, ...]
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_MAX_DEPTH = 40
_MAX_VALUES = 100_000
ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed YAML file: plain data, and the line of every key and item.

    Attributes:
        file: the path to name in findings.
        data: the top-level mapping.
        lines: 1-based line by path of keys and indices.
    """

    file: str
    data: Mapping[str, Any]
    lines: Mapping[Path, int]

    def line(self, path: Sequence[str | int]) -> int | None:
        """Line of the value at that path, or of its nearest enclosing one that is in the file."""
        for length in range(len(path), -1, -1):
            if (line := self.lines.get(tuple(path[:length]))) is not None:
                return line
        return None

    def finding(
        self, path: Sequence[str | int], what: str, expected: str | None = None, suggestion: str | None = None
    ) -> Finding:
        """A finding at that path of this document."""
        return Finding(self.file, self.line(path), ".".join(str(part) for part in path), what, expected, suggestion)


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: `on`, `yes` and `1:30` stay text; dates stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith((":null", ":float", ":merge"))]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(true|false)\Z"), list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9]*)\Z"), list("-+0123456789"))


def parse_document(text: str, file: str) -> Document:
    """Parse YAML text.

    Raises:
        BadFile: the text is not YAML, not a mapping at the top, or has a key twice.
    """
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        raise BadFile((Finding(file, mark.line + 1 if mark else None, "", f"not readable as YAML: {what}"),)) from None
    except yaml.YAMLError as error:
        what = str(error).splitlines()[0]
        raise BadFile((Finding(file, None, "", f"not readable as YAML: {what}"),)) from None
    lines: dict[Path, int] = {}
    findings: list[Finding] = []
    if not isinstance(root, yaml.MappingNode):
        what = "the file is empty" if root is None else "the file is not a mapping of keys to values"
        raise BadFile((Finding(file, 1, "", what, "lines of the form `key: value`"),))

    def build(node: yaml.Node, path: Path, line: int, depth: int) -> Any:
        lines[path] = line
        if depth > _MAX_DEPTH or len(lines) > _MAX_VALUES:
            # Aliases can make a small file endless or huge; the first such place ends the reading.
            what = "nested too deeply" if depth > _MAX_DEPTH else "the file is too large once its aliases are expanded"
            raise BadFile((Finding(file, line, ".".join(map(str, path[:8])), what),))
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN_TAGS:
            findings.append(Finding(file, line, ".".join(map(str, path)), f"unknown YAML tag {node.tag!r}"))
            return None
        if isinstance(node, yaml.MappingNode):
            result: dict[Any, Any] = {}
            for key_node, value_node in node.value:
                at = key_node.start_mark.line + 1
                if not isinstance(key_node, yaml.ScalarNode):
                    findings.append(Finding(file, at, ".".join(map(str, path)), "a key must be plain text"))
                    continue
                key = str(key_node.value)
                below = (*path, key)
                if key in result:
                    findings.append(
                        Finding(file, at, ".".join(map(str, below)), f"the key {key!r} appears twice", "each key once")
                    )
                    continue
                result[key] = build(value_node, below, at, depth + 1)
            return result
        if isinstance(node, yaml.SequenceNode):
            return [
                build(item, (*path, index), item.start_mark.line + 1, depth + 1)
                for index, item in enumerate(node.value)
            ]
        try:
            return loader.construct_object(node)
        except (yaml.YAMLError, ValueError):
            findings.append(Finding(file, line, ".".join(map(str, path)), f"unknown YAML tag {node.tag!r}"))
            return None

    data = build(root, (), root.start_mark.line + 1, 0)
    if findings:
        raise BadFile(tuple(findings))
    return Document(file, data, lines)


def validate(document: Document, model: type[ModelT], *, data: Mapping[str, Any] | None = None) -> ModelT:
    """Make the frozen object of a document.

    Args:
        document: where the data came from; gives file and lines.
        model: what it should be.
        data: the data to validate instead of the document's own (after a sweep's substitution).

    Raises:
        BadFile: with one finding for each thing wrong.
    """
    source = document.data if data is None else data
    try:
        return model.model_validate(source)
    except ValidationError as error:
        findings: list[Finding] = []
        for item in error.errors(include_url=False):
            for finding in _findings(document, source, item):
                if finding not in findings:
                    findings.append(finding)
        findings.sort(key=lambda finding: finding.line or 0)
        raise BadFile(tuple(findings)) from None


def _findings(document: Document, data: Any, item: Any) -> list[Finding]:
    path = _path_in_data(data, item["loc"])
    context = item.get("ctx", {})
    if item["type"] == FAULTS:
        faults: list[Fault] = context[FAULTS]
        return [document.finding((*path, *f.at), f.what, f.expected, f.suggestion) for f in faults]
    what, expected = _words(item["type"], item["msg"], item.get("input"), context)
    if item["type"] == "missing":
        path = (*path, str(item["loc"][-1]))
    return [document.finding(path, what, expected)]


def _path_in_data(data: Any, location: Sequence[str | int]) -> Path:
    """The part of pydantic's location that is a path in the data (it also holds names of union members)."""
    path: list[str | int] = []
    here: Any = data
    for step in location:
        inside: Any = here if isinstance(here, (Mapping, list)) else {}
        with suppress(LookupError, TypeError):  # a wrong kind of step is a TypeError
            here = inside[step]
            path.append(step)
    return tuple(path)


def _words(kind: str, message: str, value: Any, context: Mapping[str, Any]) -> tuple[str, str | None]:
    """What pydantic's error says, in the words of the file's author."""
    shown = "nothing" if value is None else repr(value) if not isinstance(value, (dict, list)) else _shape(value)
    if kind == "missing":
        return "this key is missing", None
    if kind == "value_error":
        text = str(context.get("error", message))
        what, _, expected = text.partition("; ")
        return what, expected or None
    if kind in ("literal_error", "enum"):
        return f"{shown} is not known here", f"one of {context['expected']}"
    if kind.startswith("union_tag"):
        return (
            f"{shown}: {message}",
            f"one of {context.get('expected_tags', '')}" if "expected_tags" in context else None,
        )
    words = {
        "string_type": "text",
        "int_type": "a whole number",
        "int_parsing": "a whole number",
        "int_from_float": "a whole number",
        "float_type": "a number",
        "bool_type": "true or false",
        "bool_parsing": "true or false",
        "list_type": "a list",
        "tuple_type": "a list",
        "dict_type": "a mapping",
        "model_type": "a mapping",
        "model_attributes_type": "a mapping",
    }
    if kind in words:
        return f"{shown} does not fit here", words[kind]
    return f"{shown}: {message[0].lower()}{message[1:]}", None


def _shape(value: dict[Any, Any] | list[Any]) -> str:
    return "a mapping" if isinstance(value, dict) else "a list"
