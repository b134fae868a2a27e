"""The gate's report as JUnit XML, as Markdown, and as annotations of a CI service. Pure."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.memory.gate import Check, GateReport

__all__ = ["annotation_lines", "gate_markdown", "junit"]

_ORDER = ("regression", "error", "inconclusive", "pass")
_WORD = {"regression": "FAIL", "error": "ERROR", "inconclusive": "OPEN", "pass": "pass"}
#: Characters XML 1.0 cannot carry.
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(report: GateReport) -> str:
    """One test suite per system. A regression is a failure; what could not be told or carried out is an error."""
    root = ET.Element("testsuites", name=f"memory {report.scenario}")
    if report.bad_input:
        suite = ET.SubElement(root, "testsuite", name="gate", tests="1", failures="0", errors="1", skipped="0")
        case = ET.SubElement(suite, "testcase", classname="memory", name="input")
        ET.SubElement(case, "error", type="BadInput", message=_clean(report.bad_input))
    for system in dict.fromkeys(check.system for check in report.checks):
        own = [check for check in report.checks if check.system == system]
        failures = sum(check.outcome == "regression" for check in own)
        errors = sum(check.outcome in ("error", "inconclusive") for check in own)
        suite = ET.SubElement(
            root,
            "testsuite",
            name=_clean(system),
            tests=str(len(own)),
            failures=str(failures),
            errors=str(errors),
            skipped="0",
            time=f"{sum(check.seconds for check in own):.1f}",
        )
        for check in own:
            _case(suite, check)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(suite: ET.Element, check: Check) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=_clean(f"memory.{check.system}"),
        name=_clean(check.name),
        time=f"{check.seconds:.1f}",
    )
    detail = _clean("\n".join([check.text, *check.evidence]))
    if check.outcome == "regression":
        ET.SubElement(case, "failure", type="regression", message=_clean(check.text)).text = detail
    elif check.outcome != "pass":
        ET.SubElement(case, "error", type=check.outcome, message=_clean(check.text)).text = detail
    else:
        ET.SubElement(case, "system-out").text = detail


def _clean(text: str) -> str:
    return _UNPRINTABLE.sub("�", text)


def gate_markdown(report: GateReport) -> str:
    """Headline, a table of checks (worst first), evidence of those that did not pass."""
    lines = [f"## {report.headline}", "", f"Scenario `{report.scenario}`, run `{report.run}`.", ""]
    checks = sorted(report.checks, key=lambda check: _ORDER.index(check.outcome))
    if checks:
        lines += ["| | System | Check | Finding |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {_WORD[check.outcome]} | {_cell(check.system)} | {_cell(check.name)} | {_cell(check.text)} |"
            for check in checks
        ]
    for check in checks:
        if check.outcome != "pass" and check.evidence:
            lines += ["", f"### {_cell(check.system)}: {_cell(check.name)}", ""]
            lines += [f"- {_cell(line)}" for line in check.evidence]
    if report.notes:
        lines += ["", "Changed since the baseline:", "", *(f"- {_cell(note)}" for note in report.notes)]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, "\\" + sign)
    return " ".join(text.split())


def annotation_lines(report: GateReport) -> Iterator[str]:
    """Workflow commands of GitHub Actions: an error or warning per check that did not pass."""
    if report.bad_input:
        yield f"::error title=Client memory::{_escape(report.bad_input)}"
    for check in report.checks:
        if check.outcome != "pass":
            level = "warning" if check.outcome == "inconclusive" else "error"
            title = _escape(f"{check.system}: {check.name}").replace(":", "%3A").replace(",", "%2C")
            yield f"::{level} title={title}::{_escape(' | '.join([check.text, *check.evidence[:3]]))}"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
