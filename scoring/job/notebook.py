"""Notebooks as scorers: the code of their cells, without those that are tagged ``skip``.

Also what the digest of a scorer is of.  nbconvert, the extra ``notebook``, is imported when a
notebook is read.  Its exporter to Python is not used: it writes execution counts into comments, so
that each run would change the digest, and its lines stand nowhere in the notebook.
"""

from __future__ import annotations

import hashlib
import re
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from scoring.errors import ScorerError, needs_extra, raise_if_resource_error

SKIP = "skip"
"""The tag of cells that are not for scoring."""

_MAGIC = re.compile(r"^\s*(?:[\w.,\s]+=\s*)?(?:[%!?]|\w.*\?\s*$)")
"""A line that only IPython understands: ``%matplotlib``, ``!ls``, ``x = !ls``, ``df?``."""


@dataclass(frozen=True)
class Cell:
    """The code of one cell; ``number`` counts all cells of the notebook from 1, also those of text."""

    number: int
    code: str


def is_notebook(path: Path) -> bool:
    return path.suffix == ".ipynb"


def code_cells(path: Path, data: bytes) -> list[Cell]:
    """Return the cells of code in the notebook ``data`` that are not tagged ``skip`` or empty.

    Raises MissingPackageError without nbconvert, and ScorerError, which names cell and line, for
    what is not Python.
    """
    cells, problems = checked_cells(path, data)
    if problems:
        raise ScorerError(problems[0])
    return cells


def checked_cells(
    path: Path, data: bytes, *, with_skipped: bool = False
) -> tuple[list[Cell], list[str]]:
    """Return the cells of code that are Python, and what is wrong with each of the others.

    ``with_skipped``: those that are tagged ``skip`` too.  Raises as ``code_cells`` does for what is
    not a notebook in Python.
    """
    found = _read(path, data, with_skipped)
    language = found.metadata.get("kernelspec", {}).get("language", "python")
    if language != "python":
        raise ScorerError(f"the notebook {path} is in {language}; a scorer is in Python")
    cells, problems = [], []
    for cell in found.cells:
        if cell.cell_type == "code" and cell.source.strip():
            one = Cell(cell.metadata["position"], cell.source)
            problem = _problem(path, one)
            if problem is None:
                cells.append(one)
            else:
                problems.append(problem)
    return cells, problems


def code_of(cells: list[Cell]) -> bytes:
    """Return the code of ``cells`` as one text, which does not depend on what was run or shown."""
    return "\n\n".join(cell.code for cell in cells).encode()


def scorer_sha256(path: Path, data: bytes) -> str:
    """Return the digest of a scorer: of the file's bytes, or of the code of a notebook.

    A notebook's file changes whenever it is run, as it has the outputs; its code does not.
    """
    code = code_of(code_cells(path, data)) if is_notebook(path) else data
    return hashlib.sha256(code).hexdigest()


def _read(path: Path, data: bytes, with_skipped: bool) -> Any:
    """Return the notebook, without the cells that are tagged ``skip`` unless they are asked for;
    each cell knows its position.
    """
    with needs_extra("notebook", "notebooks as scorers"):
        nbformat: Any = import_module("nbformat")
        preprocessors: Any = import_module("nbconvert.preprocessors")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of cells without an id, in older notebooks
            found = nbformat.reads(data.decode("utf-8-sig"), as_version=4)
            for position, cell in enumerate(found.cells, 1):
                cell.metadata["position"] = position
            skips = preprocessors.TagRemovePreprocessor(
                remove_cell_tags=set() if with_skipped else {SKIP}, enabled=True
            )
            return skips.preprocess(found, {})[0]
    except Exception as error:
        raise_if_resource_error(error)
        raise ScorerError(
            f"{path} is not a notebook that can be read: {type(error).__name__}: "
            f"{str(error).partition(chr(10))[0]}"
        ) from error


def _problem(path: Path, cell: Cell) -> str | None:
    """Return why the code of ``cell`` is not Python, and what to do about it; None where it is."""
    where = f"the notebook {path}, cell {cell.number}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(cell.code, f"{path}, cell {cell.number}", "exec", dont_inherit=True)
    except SyntaxError as error:
        lines = cell.code.splitlines()
        magic = next((n for n, line in enumerate(lines, 1) if _MAGIC.match(line)), None)
        if magic is not None:
            return (
                f"{where}, line {magic} is for IPython alone: {lines[magic - 1].strip()[:80]!r}. "
                f"Tag the cell {SKIP} if scoring does not need it, or remove the line"
            )
        return (
            f"{where}, line {error.lineno} is not Python: {error.msg}. Correct it, or tag the cell "
            f"{SKIP}"
        )
    except ValueError as error:  # such as a null character
        return f"{where}: {error}"
    return None
