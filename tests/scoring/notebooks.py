"""Small real notebooks for tests, as Jupyter writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook


def code(text: str, *tags: str) -> Any:
    return new_code_cell(text, metadata={"tags": [*tags]})


def text(words: str) -> Any:
    return new_markdown_cell(words)


def write_notebook(path: Path, *cells: Any, runs: int = 0, **metadata: Any) -> str:
    """Writes a notebook, as it is after so many ``runs`` of its cells; returns its name."""
    notebook = new_notebook(cells=[*cells], metadata=metadata)
    for count, cell in enumerate(notebook.cells, 1):
        if runs and cell.cell_type == "code":
            cell.execution_count = count + runs
            cell.outputs = [nbformat.v4.new_output("stream", text=f"run {runs}\n")]
    nbformat.write(notebook, path)
    return path.name
