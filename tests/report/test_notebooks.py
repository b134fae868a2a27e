"""The notebooks run from top to bottom in a kernel, on the committed example runs, and every cell shows something."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def read(path: Path) -> nbformat.NotebookNode:
    book: nbformat.NotebookNode = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    return book


def code_cells(book: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def test_there_are_the_three_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["campaign", "compare", "memory"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_from_top_to_bottom(path: Path) -> None:
    book = read(path)
    quiet = ["--IPKernelApp.log_level=ERROR"]
    NotebookClient(book, resources={"metadata": {"path": str(path.parent)}}, extra_arguments=quiet).execute()
    kinds: set[str] = set()
    for cell in code_cells(book):
        assert cell.outputs, cell.source
        for output in cell.outputs:
            assert output.output_type in ("execute_result", "display_data"), output
            kinds |= set(output.data)
    assert kinds >= {"text/html", "image/png"}, "tables and plots"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_outputs_are_committed(path: Path) -> None:
    book = read(path)
    nbformat.validate(book)
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells(book))
    assert book.cells[0].source.startswith("# ")
