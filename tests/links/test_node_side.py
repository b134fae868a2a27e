"""Code that runs in nodes: Python 3.8 and its standard library, nothing of the controller."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

LINKS = Path(__file__).resolve().parents[2] / "harness" / "links"
FILES = sorted([*(LINKS / "nfqueue").glob("*.py"), *(LINKS / "prober").glob("*.py")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_it_needs_only_an_old_python_and_its_own_package(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    own = f"harness.links.{path.parent.name}"
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            assert name.startswith(own) or name.split(".")[0] in sys.stdlib_module_names, name
