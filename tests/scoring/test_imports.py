"""What importing ``scoring`` brings along, and what none of its modules may ask for."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import scoring
from tests.scoring.factories import Place

PACKAGE = Path(scoring.__file__).parent
FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
"""Every module of the package by its name."""
HEAVY = {"numpy", "pandas", "pyarrow", "scipy", "sklearn", "joblib", "skops", "adbc_driver_manager"}

WITHOUT_AIRFLOW = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "airflow":
            raise ModuleNotFoundError(f"{name} is blocked", name=name)
sys.meta_path.insert(0, Block())
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=PACKAGE.parent
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_block_of_airflow_is_one():
    with pytest.raises(AssertionError, match=r"ModuleNotFoundError: airflow is blocked"):
        python(WITHOUT_AIRFLOW + "import airflow")


def test_every_module_is_imported_and_a_month_scored_without_airflow(place: Place):
    code = (
        WITHOUT_AIRFLOW
        + "import importlib\n"
        + "".join(f"importlib.import_module('{m}')\n" for m in FILES if m != "scoring.__main__")
        + "from scoring.cli.main import main\n"
        + "status = main(sys.argv[1:])\n"
        + "assert 'airflow' not in sys.modules\n"
        + "sys.exit(status)"
    )
    job = str(place.job().path)
    done = python(code, "run", job, "2013-02", "--data", str(place.data), "--json")
    assert json.loads(done.stdout)["rows"] == {
        "in": 10,
        "scored": 10,
        "quarantined": 0,
        "left_out": 0,
        "reasons": {},
        "left_out_reasons": {},
    }


@pytest.mark.parametrize(
    "module",
    [
        "job.loader",
        "destinations.layout",
        "job.partitions",
        "storage.local",
        "cli.main",
        "registry",
    ],
)
def test_what_airflow_needs_to_parse_a_dag_file_imports_nothing_heavy(module: str):
    code = f"import json, sys, scoring.{module}; print(json.dumps(list(sys.modules)))"
    imported = json.loads(python(code).stdout)
    assert f"scoring.{module}" in imported
    assert HEAVY & {name.partition(".")[0] for name in imported} == set()


def test_the_scoring_steps_do_import_what_the_others_may_not():
    code = "import json, sys, scoring.pipeline.local; print(json.dumps(list(sys.modules)))"
    assert {"numpy", "pandas", "pyarrow"} <= set(json.loads(python(code).stdout))


MAY_IMPORT = {
    "errors": set(),
    "registry": set(),
    "storage": {"errors"},
    "job": {"errors", "registry", "storage"},
    "arrow": {"job"},
    "contract": {"arrow", "errors", "job", "storage"},
    "models": {"arrow", "errors", "job", "registry", "storage"},
    "expressions": {"arrow", "errors", "job"},
    "sources": {"arrow", "errors", "expressions", "job", "registry", "storage"},
    "destinations": {"arrow", "contract", "errors", "job", "registry", "sources", "storage"},
    "monitoring": {
        "arrow", "destinations", "errors", "job", "registry", "sources", "storage",
    },
    "engine": {"arrow", "contract", "errors", "job", "models"},
    "pipeline": {
        "arrow", "contract", "destinations", "engine", "errors", "expressions", "job", "models",
        "monitoring", "sources", "storage",
    },
    "drafting": {
        "arrow", "errors", "job", "models", "pipeline", "registry", "sources", "storage",
    },
    "serving": {
        "arrow", "contract", "destinations", "engine", "errors", "expressions", "job", "models",
        "pipeline", "sources", "storage",
    },
    "cli": {
        "destinations", "drafting", "errors", "expressions", "job", "monitoring", "pipeline",
        "serving", "storage",
    },
}  # fmt: skip
"""Which rooms the code of each room may import: each only from below (docs/architecture.md)."""

STEPS = {"extract", "score", "publish"}

CLOCK = "scoring.cli.clock"
"""The one module that may read the clock: a shell has nobody else to ask which months are over."""


def imports(path: Path) -> set[str]:
    """The modules of this package that a file imports, also within its functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found |= {f"{module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.partition(".")[0] == "scoring"}


def room_of(module: str) -> str:
    return (*module.split("."), "")[1]


ROOMS = {room_of(module) for module in FILES if module not in ("scoring", "scoring.__main__")}


def test_no_room_depends_on_one_that_depends_on_it():
    assert set(MAY_IMPORT) == ROOMS
    seen: list[str] = []
    for room, below in MAY_IMPORT.items():
        assert below <= set(seen), f"{room} may import what comes after it"
        seen.append(room)


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_imports_only_from_below(room: str):
    wrong = []
    for module, path in FILES.items():
        if module.startswith(f"scoring.{room}.") or module == f"scoring.{room}":
            for imported in sorted(imports(path)):
                other = room_of(imported)
                if other not in MAY_IMPORT[room] | {room, "", "__version__"}:
                    wrong.append(f"{module} imports {imported}")
    assert wrong == []


def test_the_steps_do_not_import_each_other():
    for step in STEPS:
        imported = imports(FILES[f"scoring.pipeline.{step}"])
        others = {name.split(".")[2] for name in imported if name.startswith("scoring.pipeline.")}
        assert others & STEPS == set(), step


def test_only_the_registry_names_a_kind():
    kinds = {
        *("scoring.sources.parquet", "scoring.sources.csv", "scoring.sources.sql"),
        "scoring.sources.files_sql",
        *("scoring.models.skops", "scoring.models.joblib", "scoring.models.mlflow.loader"),
        *("scoring.models.onnx", "scoring.models.lightgbm", "scoring.models.xgboost"),
        "scoring.models.catboost",
        "scoring.destinations.parquet",
    }
    for module, path in FILES.items():
        named = {name.rpartition(".")[0] for name in imports(path)} | imports(path)
        assert named & kinds == set(), module


def clocks_read(source: str) -> list[str]:
    """Attributes and names in ``source`` that ask for the date of today."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in ("now", "today", "utcnow"):
            found.append(f"line {node.lineno}: .{node.attr}")
        if isinstance(node, ast.Attribute) and ast.unparse(node) in (
            "time.time",
            "time.time_ns",
            "time.localtime",
            "time.gmtime",
        ):
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            found.append(f"line {node.lineno}: from time import")
    return sorted(found)


def test_a_module_that_reads_the_clock_would_be_found():
    code = (
        "from datetime import datetime as d\nimport time\nx = d.now()\ny = d.today\nz = time.time()"
    )
    assert clocks_read(code) == ["line 3: .now", "line 4: .today", "line 5: time.time"]


@pytest.mark.parametrize("module", [module for module in FILES if module != CLOCK])
def test_no_module_asks_for_the_date_of_today(module: str):
    assert clocks_read(FILES[module].read_text()) == []


def test_only_commands_import_the_clock():
    for module, path in FILES.items():
        assert module.startswith("scoring.cli.") or CLOCK not in imports(path), module


@pytest.mark.parametrize("module", FILES)
def test_no_module_mentions_airflow_in_an_import(module: str):
    names = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names.add((node.module or "").partition(".")[0])
    assert "airflow" not in names
