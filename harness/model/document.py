"""Turns the text of a scenario or topology file into a frozen object, or into located findings. No I/O.

Every value keeps the line it stands on, so that whatever is wrong with it, also after a sweep or a cross check, is
reported as file, line and key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from yaml.reader import ReaderError

from harness.errors import BadFile, Finding
from harness.model.faults import FAULTS, Fault, nearest
from harness.model.quantities import like

__all__ = ["Document", "parse_document", "validate"]

Path = tuple[str | int, ...]
_PLAIN_TAGS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_TEXT = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"
_UNUSABLE = re.compile("[\x00\ud800-\udfff]")
_TOO_DEEP = "nested too deeply"
_LINES = "lines of the form `key: value`"
_MAX_DIGITS = 400
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
        changed: values that were put in place of the file's by `--set`: the key as given, and its parts.
    """

    file: str
    data: Mapping[str, Any]
    lines: Mapping[Path, int]
    changed: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def line(self, path: Sequence[str | int]) -> int | None:
        """Line of the value at that path, or of its nearest enclosing one that is in the file."""
        for length in range(len(path), -1, -1):
            if (line := self.lines.get(tuple(path[:length]))) is not None:
                return line
        return None

    def finding(
        self, path: Sequence[str | int], what: str, expected: str | None = None, suggestion: str | None = None
    ) -> Finding:
        """A finding at that path of this document; of a value the command line gave, there."""
        key = ".".join(text if (text := str(part)).isprintable() else repr(part) for part in path)
        for said, parts in reversed(self.changed):
            if len(parts) <= len(path) and all(a in ("*", str(b)) for a, b in zip(parts, path, strict=False)):
                return Finding(f"--set {said}", None, "" if key == said else key, what, expected, suggestion)
        return Finding(self.file, self.line(path), key, what, expected, suggestion)


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
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        what = f"not readable as YAML: a character that cannot stand in a text (U+{_code(error.character):04X})"
        raise BadFile((Finding(file, line, "", what, "printable characters"),)) from None
    except RecursionError:
        line = loader.get_mark().line + 1 if loader is not None else 1
        raise BadFile((Finding(file, line, "", _TOO_DEEP, f"at most {_MAX_DEPTH} levels"),)) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(part for part in (error.context, error.problem) if part)
        at = mark.line + 1 if mark else None
        raise BadFile((Finding(file, at, "", f"not readable as YAML: {what}", _LINES),)) from None
    except yaml.YAMLError as error:
        what = str(error).splitlines()[0]
        raise BadFile((Finding(file, None, "", f"not readable as YAML: {what}", _LINES),)) from None
    lines: dict[Path, int] = {}
    findings: list[Finding] = []
    if not isinstance(root, yaml.MappingNode):
        what = "the file is empty" if root is None else "the file is not a mapping of keys to values"
        raise BadFile((Finding(file, 1, "", what, _LINES),))

    def build(node: yaml.Node, path: Path, line: int, depth: int) -> Any:
        lines[path] = line
        if depth > _MAX_DEPTH or len(lines) > _MAX_VALUES:
            # Aliases can make a small file endless or huge; the first such place ends the reading.
            deep = depth > _MAX_DEPTH
            what = _TOO_DEEP if deep else "the file is too large once its aliases are expanded"
            expected = f"at most {_MAX_DEPTH} levels" if deep else f"at most {_MAX_VALUES} values"
            raise BadFile((Finding(file, line, ".".join(map(str, path[:8])), what, expected),))
        if not isinstance(node, yaml.ScalarNode) and node.tag not in _PLAIN_TAGS:
            findings.append(Finding(file, line, ".".join(map(str, path)), _tag(node), "a value without a tag"))
            return None
        if isinstance(node, yaml.MappingNode):
            result: dict[Any, Any] = {}
            for key_node, value_node in node.value:
                at = key_node.start_mark.line + 1
                if not isinstance(key_node, yaml.ScalarNode):
                    findings.append(Finding(file, at, ".".join(map(str, path)), "a key must be plain text", _LINES))
                    continue
                key = str(key_node.value)
                below = (*path, key)
                if (fault := _unusable(key)) is not None:
                    findings.append(Finding(file, at, ".".join(map(str, path)), fault, "printable characters"))
                    continue
                if key_node.tag == _MERGE:
                    what = "YAML's merge keys are not supported"
                    findings.append(Finding(file, at, ".".join(map(str, below)), what, "every key written out"))
                    continue
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
            return _scalar(loader, node)
        except ValueError as error:
            what, _, expected = str(error).partition("; ")
            findings.append(Finding(file, line, ".".join(map(str, path)), what, expected))
            return None

    data = build(root, (), root.start_mark.line + 1, 0)
    if findings:
        raise BadFile(tuple(findings))
    return Document(file, data, lines)


def _scalar(loader: _Loader, node: yaml.Node) -> Any:
    """The value of one scalar. Raises ValueError ("what; expected") for one that cannot be had."""
    text = str(node.value)
    if node.tag == _TEXT:
        if (fault := _unusable(text)) is not None:
            raise ValueError(f"{fault}; printable characters")
        return text
    plain = getattr(node, "style", None) is None
    if node.tag != loader.resolve(yaml.ScalarNode, text, (plain, not plain)):  # type: ignore[no-untyped-call]
        raise ValueError(f"{_tag(node)}; a value without a tag")
    if node.tag == _MERGE:
        return text
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(text)} digits; at most {_MAX_DIGITS}")
    try:
        return loader.construct_object(node)
    except (yaml.YAMLError, ValueError):
        raise ValueError(f"{text!r} is not a value; text in quotes, a number, true or false") from None


def _unusable(text: str) -> str | None:
    """What no file name, variable, option or report could hold; None if the text has none of it."""
    found = _UNUSABLE.search(text)
    return f"a character that cannot stand in a text (U+{ord(found[0]):04X})" if found else None


def _tag(node: yaml.Node) -> str:
    return f"unknown YAML tag {node.tag!r}"


def _code(character: str | int) -> int:
    return character if isinstance(character, int) else ord(character)


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
        # A default made from other values is not missed where those are at fault.
        items = [item for item in error.errors(include_url=False) if item["type"] != "default_factory_not_called"]
        for item in _of_one_member(source, items):
            for finding in _findings(document, source, item):
                if finding not in findings:
                    findings.append(finding)
        findings = _joined(findings)
        findings.sort(key=lambda finding: finding.line or 0)
        raise BadFile(tuple(findings)) from None


def _of_one_member(data: Any, items: Sequence[Any]) -> list[Any]:
    """The errors without those of a union's members that are not meant: where one member got further in, it is."""
    paths = [_path_in_data(data, item["loc"]) for item in items]
    return [
        item
        for item, path in zip(items, paths, strict=True)
        if not (_is_misfit(item) and any(len(path) < len(other) and other[: len(path)] == path for other in paths))
    ]


def _joined(findings: Sequence[Finding]) -> list[Finding]:
    """Of one key that fits none of several forms, one finding that expects any of them."""
    joined: list[Finding] = []
    for finding in findings:
        last = joined[-1] if joined else None
        if last is None or last.key != finding.key or not (_misfits(last) and _misfits(finding)):
            joined.append(finding)
        else:
            expected = f"{last.expected}, or {finding.expected}"
            joined[-1] = replace(last, expected=expected, suggestion=last.suggestion or finding.suggestion)
    return joined


def _misfits(finding: Finding) -> bool:
    return finding.what.endswith(_MISFITS)


def _is_misfit(item: Any) -> bool:
    return item["type"] in _KINDS or item["type"] in ("literal_error", "enum")


def _findings(document: Document, data: Any, item: Any) -> list[Finding]:
    path = _path_in_data(data, item["loc"])
    context = item.get("ctx", {})
    if item["type"] == FAULTS:
        faults: list[Fault] = context[FAULTS]
        return [document.finding((*path, *f.at), f.what, f.expected, f.suggestion) for f in faults]
    what, expected, suggestion = _words(item["type"], item["msg"], item.get("input"), context)
    if item["type"] == "missing":
        name = item["loc"][-1]
        path = (*path, name)
        expected = f"{name}: VALUE" if isinstance(name, str) else "one more value"
    return [document.finding(path, what, expected, suggestion)]


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


def _words(kind: str, message: str, value: Any, context: Mapping[str, Any]) -> tuple[str, str | None, str | None]:
    """What pydantic's error says, in the words of the file's author: what, expected, the nearest known name."""
    shown = _shown(value)
    if kind == "missing":
        return "this key is missing", None, None
    if kind == "value_error":
        what, _, rest = str(context.get("error", message)).partition("; ")
        expected, _, suggestion = rest.partition("; ")
        return what, expected or None, suggestion or None
    if kind in ("literal_error", "enum"):
        known = re.findall(r"'([^']*)'", str(context["expected"]))
        return f"{shown} is not known here", f"one of: {', '.join(known)}", _near(value, known)
    if kind.startswith("union_tag"):
        known = re.findall(r"'([^']*)'", str(context.get("expected_tags", "")))
        key = str(context.get("discriminator", "")).strip("'")
        said = value.get(key) if isinstance(value, Mapping) else None
        what = f"{_shown(said)} is not known here" if said is not None else f"{shown} without {key}"
        expected = f"{key}: one of {', '.join(known)}" if known else f"a key {key!r} that says which kind it is"
        return what, expected, _near(said, known)
    if kind in _KINDS:
        fits = _KINDS[kind]
        quoted = fits == "text" and isinstance(value, (int, float)) and not isinstance(value, bool)
        return f"{shown} does not fit here", f"text, in quotes: '{value}'" if quoted else fits, None
    for key, words in _BOUNDS.items():
        if key in context:
            return f"{shown} is out of bounds", f"{words} {like(value, context[key])}", None
    if kind in ("too_short", "too_long", "string_too_short", "string_too_long"):
        few = kind.endswith("short")
        number = context["min_length" if few else "max_length"]
        what = "is empty" if few and number == 1 else "is too short" if few else "is too long"
        unit, one = ("characters", "character") if kind.startswith("string") else ("entries", "entry")
        return f"{shown} {what}", f"{'at least' if few else 'at most'} {number} {unit if number != 1 else one}", None
    return f"{shown} does not fit here", f"{message[0].lower()}{message[1:]}", None


_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a smaller whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_MISFITS = ("does not fit here", "is not known here")
_BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def _near(value: Any, known: list[str]) -> str | None:
    return nearest(value, known) if isinstance(value, str) else None


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
