"""What a notebook says of a job: its ``run``, the columns it reads, the files it loads.

Read from the code, as far as that shows it; nothing is executed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from scoring.errors import ScorerError, raise_if_resource_error
from scoring.job.notebook import checked_cells

_LOADS = {"load", "loads", "read_parquet", "read_csv", "read_json", "open", "unpickle"}
"""Functions that are given the path of a file to read: joblib.load, skops.io.load, pandas' own."""

_SAME_ROWS = {"copy", "fillna", "reset_index", "rename", "astype", "replace", "dropna", "to_frame"}
"""Methods of a frame whose result has its columns."""

_NO_COLUMNS = {"len", "range", "print", "isinstance", "type", "id"}
"""Functions that look at no column of a frame."""


@dataclass(frozen=True)
class LoadedFile:
    """A file that a cell loads into a variable; ``skipped``: the cell is not for scoring."""

    cell: int
    variable: str
    path: str
    skipped: bool


@dataclass
class NotebookFacts:
    """``parameters`` are those of ``run``, the frame first; None where no cell defines it.

    ``columns`` are those that it reads, ``made`` those that it adds to its frame, and ``outputs``
    those that it returns, as far as its code shows them.  ``reads_all``: it hands the whole frame
    on, to a model perhaps.  ``problems`` are of cells that are not Python.
    """

    path: Path
    parameters: list[str] | None = None
    columns: list[str] = field(default_factory=list)
    reads_all: bool = False
    made: set[str] = field(default_factory=set)
    outputs: list[str] = field(default_factory=list)
    loads: list[LoadedFile] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def look_into_notebook(path: Path) -> NotebookFacts:
    """Return what the notebook at ``path`` says.

    Raises ScorerError for what is not a notebook in Python, and MissingPackageError without
    nbconvert.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise_if_resource_error(error)
        raise ScorerError(f"the notebook {path} cannot be read: {error.strerror}") from None
    cells, problems = checked_cells(path, data)
    facts = NotebookFacts(path, problems=problems)
    functions: dict[str, ast.FunctionDef] = {}
    lists: dict[str, list[str]] = {}
    for cell in cells:
        for statement in ast.parse(cell.code).body:
            if isinstance(statement, ast.FunctionDef):
                functions[statement.name] = statement
            elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
                variable = statement.targets[0].id
                lists |= {variable: names} if (names := _texts(statement.value)) else {}
    used = {cell.number for cell in cells}
    for cell in checked_cells(path, data, with_skipped=True)[0]:
        for statement in ast.parse(cell.code).body:
            facts.loads += _loads(statement, cell.number, cell.number not in used)
    run = functions.get("run")
    if run is None:
        return facts
    facts.parameters = [one.arg for one in (*run.args.posonlyargs, *run.args.args)]
    if facts.parameters:
        reader = _Reader(functions, lists)
        reader.follow(run, {facts.parameters[0]})
        facts.columns, facts.reads_all = list(reader.columns), reader.whole
        facts.made = reader.made
    facts.outputs = _outputs(run, lists)
    return facts


def _loads(statement: ast.stmt, cell: int, skipped: bool) -> Iterator[LoadedFile]:
    """Yield the files whose paths stand in calls that load them, and what they are assigned to."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    variable = targets[0].id if targets and isinstance(targets[0], ast.Name) else ""
    if isinstance(statement, ast.With):  # with open("model.pkl", "rb") as f: model = pickle.load(f)
        inner = [s for s in statement.body if isinstance(s, ast.Assign)]
        names = [s.targets[0].id for s in inner if isinstance(s.targets[0], ast.Name)]
        variable = names[0] if names else ""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return
    for node in ast.walk(statement):
        if isinstance(node, ast.Call) and node.args and _called(node) in _LOADS:
            path = node.args[0]
            if isinstance(path, ast.Constant) and isinstance(path.value, str):
                yield LoadedFile(cell, variable, path.value, skipped)


def _called(call: ast.Call) -> str:
    """Return the last name of what is called: ``load`` of ``skops.io.load``."""
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _texts(node: ast.expr) -> list[str]:
    """Return the texts of a list or tuple of them; none for anything else."""
    if not isinstance(node, ast.List | ast.Tuple):
        return []
    found = [e.value for e in node.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)]
    return found if len(found) == len(node.elts) else []


def _outputs(run: ast.FunctionDef, lists: dict[str, list[str]]) -> list[str]:
    """Return the columns that the last ``return`` selects, names or makes."""
    returns = [node for node in ast.walk(run) if isinstance(node, ast.Return) and node.value]
    if not returns:
        return []
    value = returns[-1].value
    if isinstance(value, ast.Name):  # what was assigned to it last
        made = [
            node.value
            for node in ast.walk(run)
            if isinstance(node, ast.Assign)
            and any(isinstance(t, ast.Name) and t.id == value.id for t in node.targets)
        ]
        value = made[-1] if made else value
    if isinstance(value, ast.Subscript):
        chosen = value.slice
        return lists.get(chosen.id, []) if isinstance(chosen, ast.Name) else _texts(chosen)
    if isinstance(value, ast.Call) and value.args:
        first = value.args[0]
        if _called(value) == "to_frame" and isinstance(first, ast.Constant):
            return [str(first.value)]
        if _called(value) == "DataFrame" and isinstance(first, ast.Dict):
            return [str(k.value) for k in first.keys if isinstance(k, ast.Constant)]
    return []


class _Reader(ast.NodeVisitor):
    """Follows a frame through functions, statement by statement, and notes which columns it must
    have from the start: those that are read before they are made.
    """

    def __init__(self, functions: dict[str, ast.FunctionDef], lists: dict[str, list[str]]) -> None:
        self.columns: dict[str, None] = {}
        self.whole = False
        self._functions, self._lists = functions, dict(lists)
        self.made: set[str] = set()
        self._frames: set[str] = set()
        self._followed: set[str] = set()

    def follow(self, function: ast.FunctionDef, frames: set[str]) -> None:
        """Read ``function``, whose variables ``frames`` are the frame."""
        if function.name in self._followed:
            return
        self._followed.add(function.name)
        before, self._frames = self._frames, frames
        for statement in function.body:
            self.visit(statement)
        self._frames = before

    def visit_Assign(self, node: ast.Assign) -> None:
        self.visit(node.value)  # before what it makes
        for target in node.targets:
            if isinstance(target, ast.Subscript) and self._is_frame(target.value):
                self.made |= {*self._names(target.slice)}
            elif isinstance(target, ast.Name):
                self._assigned(target.id, node.value)
            else:
                self.visit(target)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.generic_visit(node)  # first: df.assign(total=…)[["total"]] makes what it selects
        if self._is_frame(node.value):
            self._read(self._names(node.slice))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if self._is_frame(node.value) and not hasattr(pd.DataFrame, node.attr):
            self._read([node.attr])
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if _called(node) == "assign" and self._is_frame(node.func):
            self.made |= {one.arg for one in node.keywords if one.arg}
        function = self._functions.get(node.func.id) if isinstance(node.func, ast.Name) else None
        if function is None:
            self.whole |= self._needs_all(node)
        else:
            names = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
            given = zip(names, node.args, strict=False)
            if frames := {name for name, value in given if self._is_frame(value)}:
                self.follow(function, frames)

    def _needs_all(self, call: ast.Call) -> bool:
        """Whether ``call`` is given the frame as it is, or makes something else of all of it."""
        if isinstance(call.func, ast.Name) and call.func.id in _NO_COLUMNS:
            return False
        method = call.func if isinstance(call.func, ast.Attribute) else None
        if method is not None and self._is_frame(method.value):
            return method.attr not in {*_SAME_ROWS, "assign"}
        return any(map(self._is_frame, call.args))

    def _assigned(self, name: str, value: ast.expr) -> None:
        if texts := _texts(value):
            self._lists[name] = texts
        if self._is_frame(value) or (isinstance(value, ast.Call) and self._keeps_columns(value)):
            self._frames = self._frames | {name}
        else:
            self._frames = self._frames - {name}

    def _keeps_columns(self, call: ast.Call) -> bool:
        """Whether the result has the columns of the frame: of a method, or a function of ours."""
        if isinstance(call.func, ast.Name):
            return call.func.id in self._functions and any(map(self._is_frame, call.args))
        return self._is_frame(call)

    def _is_frame(self, node: ast.expr) -> bool:
        """Whether ``node`` is the frame, perhaps with columns more: ``df``, ``df.copy()``."""
        if isinstance(node, ast.Name):
            return node.id in self._frames
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            return node.func.attr in {*_SAME_ROWS, "assign"} and self._is_frame(node.func.value)
        if isinstance(node, ast.Attribute):
            return node.attr in ("assign", "loc") and self._is_frame(node.value)
        return False

    def _names(self, chosen: ast.expr) -> list[str]:
        """Return the columns that a subscript names."""
        if isinstance(chosen, ast.Constant) and isinstance(chosen.value, str):
            return [chosen.value]
        if isinstance(chosen, ast.Name):
            return self._lists.get(chosen.id, [])
        if isinstance(chosen, ast.Tuple) and len(chosen.elts) == 2:  # df.loc[:, "x"]
            return self._names(chosen.elts[1])
        return _texts(chosen)

    def _read(self, names: list[str]) -> None:
        self.columns |= {name: None for name in names if name not in self.made}
