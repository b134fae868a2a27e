"""`harness gate`: memory verdicts, budgets and baselines as an exit code, for CI."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from harness.cli.progress import make_observer
from harness.errors import BadInput, ExitCode, HarnessError, Inconclusive, InfrastructureFailure, Regression
from harness.lab.measure import measure_memory
from harness.memory.gate import Check, GateReport
from harness.memory.measured import gate_run, read_baseline
from harness.model.quantities import parse_size
from harness.report.gate import annotation_lines, gate_markdown, junit
from harness.store.run import load_run

__all__ = ["gate"]

_FILE = click.Path(path_type=Path)


@click.command()
@click.argument("target", type=_FILE)
@click.option("--baseline", type=_FILE, help="Compare with this baseline; a missing or foreign one is an error.")
@click.option("--budget", "budgets", multiple=True, metavar="ROLE=SIZE", help="Memory at rest, e.g. client=60MiB.")
@click.option("--smoke", is_flag=True, help="A quick measurement: 3 processes per dose, nothing doubled or attributed.")
@click.option("--out", type=_FILE, help="Directory for verdict.json, junit.xml and summary.md; default: the run's.")
@click.option("--junit", "junit_file", type=_FILE, help="Write JUnit XML here as well.")
@click.option("--markdown", "markdown_file", type=_FILE, help="Write the Markdown summary here as well.")
@click.option("--annotate/--no-annotate", default=None, help="Annotations for GitHub Actions; default: when run there.")
@click.option("--runtime", default="local", show_default=True, metavar="NAME", help="For a measurement: see run.")
@click.option("--links", default="auto", show_default=True, metavar="NAME", help="For a measurement: see run.")
@click.option("--system", "systems", multiple=True, metavar="NAME", help="Only this system; may be repeated.")
@click.option("--results", type=_FILE, default=Path("results"), show_default=True, help="Results directory.")
def gate(
    target: Path,
    baseline: Path | None,
    budgets: tuple[str, ...],
    smoke: bool,
    out: Path | None,
    junit_file: Path | None,
    markdown_file: Path | None,
    annotate: bool | None,
    runtime: str,
    links: str,
    systems: tuple[str, ...],
    results: Path,
) -> None:
    """Does client memory pass? TARGET is a stored run, or a scenario with a memory section, which is then measured.

    Exit codes: 0 pass, 1 regression, 2 usage or bad input, 3 infrastructure failure, 4 inconclusive. Writes
    verdict.json, junit.xml and summary.md, whatever the outcome.
    """
    path, scenario = None, target.stem
    try:
        allowed = _budgets(budgets)
        if baseline is not None:
            read_baseline(baseline)  # before minutes of measuring
        path = target
        if target.is_file():
            with make_observer(False) as observer:
                path = measure_memory(
                    target, results, runtime=runtime, links=links, systems=systems, smoke=smoke, observer=observer
                )
        run = load_run(path)
        scenario, path = run.manifest.scenario, run.path
        report = gate_run(run, baseline, allowed)
        failure: HarnessError | None = None
    except BadInput as error:
        report, failure = GateReport(scenario, str(path or target), (), bad_input=_line(error)), error
    except InfrastructureFailure as error:
        check = Check(scenario, "measurement", "error", _line(error))
        report, failure = GateReport(scenario, str(path or target), (check,)), error
    # A measurement that failed has no directory of its own yet: path is still the scenario's file.
    _write(
        report, out or (path if path is not None and path.is_dir() else results), junit_file, markdown_file, annotate
    )
    if failure is not None:
        raise failure
    _end(report)


def _line(error: HarnessError) -> str:
    return f"{error.where}: {error.what}" if error.where else error.what


def _budgets(texts: tuple[str, ...]) -> dict[str, int]:
    found = {}
    for text in texts:
        role, _, size = text.partition("=")
        if role not in ("client", "server"):
            raise BadInput(f"no role {role!r}", where="--budget", expected="client=SIZE or server=SIZE")
        try:
            found[role] = parse_size(size)
        except ValueError as error:
            raise BadInput(str(error), where="--budget") from None
    return found


def _write(
    report: GateReport, out: Path, junit_file: Path | None, markdown_file: Path | None, annotate: bool | None
) -> None:
    markdown, xml = gate_markdown(report), junit(report)
    files = {out / "verdict.json": json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n"}
    files |= {out / "junit.xml": xml, out / "summary.md": markdown}
    if junit_file is not None:
        files[junit_file] = xml
    if markdown_file is not None:
        files[markdown_file] = markdown
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise BadInput(f"cannot be written: {error.strerror}", where=str(path)) from None
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(markdown)
    if annotate or (annotate is None and os.environ.get("GITHUB_ACTIONS") == "true"):
        for line in annotation_lines(report):
            click.echo(line)
    for check in report.checks:
        click.echo(f"{check.outcome:12} {check.system}: {check.name}: {check.text}")
        if check.outcome != "pass":
            for line in check.evidence[:4]:
                click.echo(f"{'':12}   {line}")
    for note in report.notes:
        click.echo(f"changed since the baseline: {note}")
    click.echo(report.headline)
    click.echo(f"verdict: {out / 'verdict.json'}")


def _end(report: GateReport) -> None:
    """Raise what the exit code says."""
    code = report.exit_code
    if code == ExitCode.REGRESSION:
        raise Regression(report.headline, where=report.scenario, remedy="verdict.json has the evidence")
    if code == ExitCode.INFRASTRUCTURE:
        raise InfrastructureFailure(report.headline, where=report.scenario, remedy="the run's logs say why")
    if code == ExitCode.INCONCLUSIVE:
        raise Inconclusive(
            report.headline, where=report.scenario, remedy="larger counts, more repetitions or more doublings"
        )
