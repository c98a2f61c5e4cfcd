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
    found = _read(path, data)
    language = found.metadata.get("kernelspec", {}).get("language", "python")
    if language != "python":
        raise ScorerError(f"the notebook {path} is in {language}; a scorer is in Python")
    cells = [
        Cell(cell.metadata["position"], cell.source)
        for cell in found.cells
        if cell.cell_type == "code" and cell.source.strip()
    ]
    for cell in cells:
        _check_python(path, cell)
    return cells


def code_of(cells: list[Cell]) -> bytes:
    """Return the code of ``cells`` as one text, which does not depend on what was run or shown."""
    return "\n\n".join(cell.code for cell in cells).encode()


def scorer_sha256(path: Path, data: bytes) -> str:
    """Return the digest of a scorer: of the file's bytes, or of the code of a notebook.

    A notebook's file changes whenever it is run, as it has the outputs; its code does not.
    """
    code = code_of(code_cells(path, data)) if is_notebook(path) else data
    return hashlib.sha256(code).hexdigest()


def _read(path: Path, data: bytes) -> Any:
    """Return the notebook without the cells that are tagged ``skip``; others know their position."""
    with needs_extra("notebook", "notebooks as scorers"):
        nbformat: Any = import_module("nbformat")
        preprocessors: Any = import_module("nbconvert.preprocessors")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of cells without an id, in older notebooks
            found = nbformat.reads(data.decode("utf-8-sig"), as_version=4)
            for position, cell in enumerate(found.cells, 1):
                cell.metadata["position"] = position
            skips = preprocessors.TagRemovePreprocessor(remove_cell_tags={SKIP}, enabled=True)
            return skips.preprocess(found, {})[0]
    except Exception as error:
        raise_if_resource_error(error)
        raise ScorerError(
            f"{path} is not a notebook that can be read: {type(error).__name__}: "
            f"{str(error).partition(chr(10))[0]}"
        ) from error


def _check_python(path: Path, cell: Cell) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(cell.code, f"{path}, cell {cell.number}", "exec", dont_inherit=True)
    except SyntaxError as error:
        lines = cell.code.splitlines()
        magic = next((n for n, line in enumerate(lines, 1) if _MAGIC.match(line)), None)
        if magic is not None:
            raise ScorerError(
                f"the notebook {path}, cell {cell.number}, line {magic} is for IPython alone: "
                f"{lines[magic - 1].strip()[:80]!r}. Tag the cell {SKIP} if scoring does not need "
                "it, or remove the line"
            ) from None
        raise ScorerError(
            f"the notebook {path}, cell {cell.number}, line {error.lineno} is not Python: "
            f"{error.msg}. Correct it, or tag the cell {SKIP}"
        ) from None
    except ValueError as error:  # such as a null character
        raise ScorerError(f"the notebook {path}, cell {cell.number}: {error}") from None
