"""ARCHITECTURE.md held against the code: which part may import which, what is pure, what runs on an old Python."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HARNESS = ROOT / "harness"

#: What any part may import.
EVERYBODYS = {"errors", "plugins"}
#: What each part imports of the others, at run time: no less and no more. A part is a package of `harness/`, or a
#: module that stands by itself. A plan refuses what an agent would, by the agent's own (pure) rules. `analysis` knows
#: records by their types only, so the store's frames can use it.
IMPORTS: dict[str, set[str]] = {
    "agent": set(),
    "model": set(),
    "analysis": {"agent"},
    "plan": {"model", "agent"},
    "stack": {"model"},
    "files": {"model", "plan", "stack"},
    "runtime": {"plan", "images"},
    "images": {"model", "plan", "stack", "runtime"},
    "links": {"model", "plan", "runtime"},
    "bus": {"plan", "runtime"},
    "store": {"analysis", "agent"},
    "memory": {"store", "analysis", "model", "agent"},
    "report": {"store", "analysis", "agent", "memory"},
    "doctor": {"model", "plan", "stack", "images", "runtime", "links"},
    "lab": {
        *("model", "plan", "files", "stack", "images", "runtime", "links", "bus", "agent"),
        *("store", "analysis", "memory"),
    },
    "cli": {
        *("model", "plan", "files", "images", "runtime", "links", "doctor", "lab"),
        *("store", "analysis", "memory", "report"),
    },
    "pytest_plugin": {"lab", "store", "memory", "report"},
}
#: The one pair that imports each other: containers need images, and images are made by asking the engine. Which
#: modules of the one may be imported by the other keeps it from being a circle of modules.
MUTUAL: dict[tuple[str, str], set[str]] = {
    ("runtime", "images"): {"harness.images.choice"},
    ("images", "runtime"): {"harness.runtime.docker.engine", "harness.runtime.docker.labels"},
}
#: Decides, and does no I/O.
PURE = ("model", "plan", "analysis")
IMPURE_MODULES = {"os", "subprocess", "socket", "shutil", "tempfile", "threading", "signal", "select", "urllib", "http"}
#: Ships to nodes: the standard library, its own package, and what the stack brings.
CLIENT_LIBRARIES = {"oslo_messaging", "oslo_config", "oslo_context", "kombu", "amqp", "proton", "cproton_ffi", "pyngus"}
#: Modules that are named otherwise than the distribution they come with.
DISTRIBUTIONS = {"yaml": "pyyaml", "pydantic_core": "pydantic"}


def modules(part: str) -> Iterator[tuple[Path, str]]:
    base = HARNESS / part
    for path in sorted(base.rglob("*.py")) if base.is_dir() else [base.with_suffix(".py")]:
        yield path, path.read_text()


def imports(text: str, *, runtime_only: bool = False) -> Iterator[str]:
    """Every module a file imports; with runtime_only those under `if TYPE_CHECKING` are left out."""

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        if runtime_only and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        yield node
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    for node in walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""


def others(part: str) -> dict[str, set[str]]:
    """What a part imports at run time: modules of the harness by the part they belong to."""
    found: dict[str, set[str]] = {}
    for _, text in modules(part):
        for module in imports(text, runtime_only=True):
            name = module.split(".")
            if name[0] == "harness" and len(name) > 1 and name[1] != part:
                found.setdefault(name[1], set()).add(module)
    return found


@pytest.mark.parametrize("part", IMPORTS)
def test_data_flows_one_way(part: str) -> None:
    found = others(part)
    assert found.keys() - EVERYBODYS == IMPORTS[part], {name: found.get(name) for name in found.keys() ^ IMPORTS[part]}


@pytest.mark.parametrize(("part", "other"), MUTUAL)
def test_what_knows_each_other_does_so_through_few_doors(part: str, other: str) -> None:
    assert others(part)[other] <= MUTUAL[part, other]


def test_every_part_has_its_imports_listed_and_none_is_in_a_circle() -> None:
    parts = {path.stem for path in HARNESS.iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}
    assert parts - {"__init__", "__main__"} == IMPORTS.keys() | EVERYBODYS
    graph = {part: {one for one in needed if (part, one) not in MUTUAL} for part, needed in IMPORTS.items()}
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("part", PURE)
def test_what_decides_does_no_io(part: str) -> None:
    for path, text in modules(part):
        used = {module.split(".")[0] for module in imports(text)}
        assert not used & IMPURE_MODULES, f"{path.relative_to(ROOT)} imports {used & IMPURE_MODULES}"
        for node in ast.walk(ast.parse(text)):
            opens = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("open", "print")
            assert not opens, f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)} does I/O"


def test_the_agent_is_a_guest_of_any_python_from_3_8() -> None:
    for path, text in modules("agent"):
        ast.parse(text, filename=str(path), feature_version=(3, 8))
        for module in imports(text, runtime_only=True):
            top = module.split(".")[0]
            own = module.startswith("harness.agent")
            assert own or top in sys.stdlib_module_names | CLIENT_LIBRARIES | {"__future__"}, f"{path} imports {module}"


def test_what_is_imported_is_declared() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[<>=\[ ;]", line)[0].replace("-", "_").lower() for line in declared}
    known = sys.stdlib_module_names | CLIENT_LIBRARIES | {"harness", "pytest", "__future__"}
    for path in HARNESS.rglob("*.py"):
        for module in imports(path.read_text()):
            top = module.split(".")[0]
            assert top in known or DISTRIBUTIONS.get(top, top) in names, f"{path.relative_to(ROOT)} imports {module}"


def test_every_file_can_be_held_in_the_head() -> None:
    too_long = {
        str(path.relative_to(ROOT)): count
        for path in [*HARNESS.rglob("*.py")]
        if (count := len(path.read_text().splitlines())) > 600
    }
    assert not too_long


def test_no_catch_all_modules() -> None:
    assert not [path for path in HARNESS.rglob("*.py") if path.stem in {"util", "utils", "helpers", "common", "misc"}]


def test_architecture_names_every_part() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    for part in IMPORTS.keys() | EVERYBODYS:
        name = f"harness/{part}/" if (HARNESS / part).is_dir() else f"harness/{part}.py"
        assert f"`{name}`" in text, f"ARCHITECTURE.md does not say what {name} is for"
