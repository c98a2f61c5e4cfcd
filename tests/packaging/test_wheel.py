"""The wheel in environments of its own: alone from the shell, and with its extra in somebody's
Airflow.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pandas as pd
import pytest

from devstack.services.ports import free_port
from tests.docs.pages import page
from tests.packaging.environments import REPOSITORY, Environment, build_wheel, make_environment

OLDEST = REPOSITORY / "tests" / "packaging" / "requirements-oldest.txt"
LOCKED = REPOSITORY / "requirements.txt"
PATIENCE_SECONDS = 900  # for a process that neither ends nor gets on; a month takes seconds
JOB = "delivery_time"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def core(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The wheel without an extra."""
    folder = tmp_path_factory.mktemp("core") / "venv"
    return make_environment(folder, "--constraint", str(LOCKED), str(wheel))


@pytest.fixture(scope="module", params=["locked", "oldest"])
def airflow(
    request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    """The wheel with the extra ``airflow``, on the locked packages and on the oldest supported
    ones.
    """
    folder = tmp_path_factory.mktemp(request.param) / "venv"
    constraint = LOCKED if request.param == "locked" else OLDEST
    command = shlex.split(readme("install"), comments=True)
    assert command[:2] == ["pip", "install"]
    wanted = command[2].replace("batch-scoring", str(wheel))
    return make_environment(folder, "--constraint", str(constraint), wanted)


def readme(mark: str) -> str:
    """The block of the README's first screen that is marked so."""
    (block,) = [b for b in page("README.md").blocks if b.mark == ("test", mark)]
    return block.text


def month(environment: Environment, folder: Path) -> Path:
    """The README's job in ``folder/jobs``, for one month, and the data and the model that it
    scores.
    """
    script = str(Path(__file__).with_name("month.py"))
    environment.run("python", script, str(folder / "data"), cwd=folder)
    (folder / "jobs").mkdir()
    job = folder / "jobs" / f"{JOB}.yaml"
    job.write_text(readme("job") + "end: 2024-01\nrun: {retry_delay_seconds: 2}\n")
    return job


def assert_scored(folder: Path) -> None:
    """The predictions are those of the line that the model was fitted to."""
    rows = pd.read_parquet(folder / "data" / "orders" / "2024-01.parquet")
    published = folder / "data" / "predictions" / JOB / "month=2024-01" / "predictions.parquet"
    scored = pd.read_parquet(published)
    assert list(scored["order_id"]) == list(rows["order_id"])
    expected = 5 + 2 * rows["items"] + rows["weight_kg"]
    assert (scored["predicted_minutes"] - expected).abs().max() < 1e-9


def test_its_files_and_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(n).decode() for n in names if n.endswith("/METADATA"))
    packages = {name.partition("/")[0] for name in names}
    assert {p for p in packages if not p.endswith(".dist-info")} == {"scoring", "scoring_airflow"}
    for package, folder in (("scoring", "scoring"), ("scoring_airflow", "plugins/scoring_airflow")):
        sources = {
            f"{package}/{path.relative_to(REPOSITORY / folder)}"
            for path in (REPOSITORY / folder).rglob("*.*")
            if path.is_file() and path.suffix != ".pyc"
        }
        assert sources | {f"{package}/py.typed"} <= set(names)
    extras = set(re.findall(r"^Provides-Extra: (.*)$", metadata, re.MULTILINE))
    assert {"airflow", "s3", "postgres", "celery", "kubernetes", "local"} <= extras
    assert "Description-Content-Type: text/markdown" in metadata
    assert "Project-URL: " in metadata


def test_without_extras_a_month_is_scored_from_the_shell(core: Environment, tmp_path: Path) -> None:
    find = "import importlib.util as u; print([m for m in %r if u.find_spec(m)])"
    absent = ("airflow", "boto3", "adbc_driver_manager", "psycopg2", "celery", "kubernetes")
    assert core.run("python", "-c", find % (absent,), cwd=tmp_path).stdout == "[]\n"
    month(core, tmp_path)
    command = ("run", f"jobs/{JOB}.yaml", "2024-01", "--data", "data", "--json")
    done = core.run("scoring", *command, cwd=tmp_path)
    assert json.loads(done.stdout)["rows"]["scored"] == 1_000
    assert_scored(tmp_path)
    assert core.run("python", "-m", "scoring", "--version", cwd=tmp_path).stdout == "0.1.0\n"


@pytest.mark.parametrize(
    ("change", "extra"),
    [
        ('destination: {uri: "s3://bucket/predictions"}', "s3"),
        (
            "source: {conn_id: warehouse, sql: 'SELECT order_id FROM t WHERE m = :partition ORDER "
            "BY 1'}",
            "postgres",
        ),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    core: Environment, tmp_path: Path, change: str, extra: str
) -> None:
    job = month(core, tmp_path)
    key = change.partition(":")[0]
    job.write_text(re.sub(rf"(?m)^{key}:.*$", change.replace("\\", ""), job.read_text()))
    connection = {"AIRFLOW_CONN_WAREHOUSE": "postgres://localhost/none"}
    done = core.run(
        "scoring",
        "run",
        str(job),
        "2024-01",
        "--data",
        "data",
        cwd=tmp_path,
        check=False,
        **connection,
    )
    assert done.returncode == 9, done.stderr
    assert re.match(r"error: the Python package \w+ is missing", done.stderr)
    assert f"pip install 'batch-scoring[{extra}]'" in done.stderr


def test_without_airflow_the_operators_name_their_extra(core: Environment, tmp_path: Path) -> None:
    code = "from scoring_airflow import load_jobs"
    done = core.run("python", "-c", code, cwd=tmp_path, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: scoring_airflow needs Apache Airflow")
    assert last.endswith("pip install 'batch-scoring[airflow]'")


@contextmanager
def standalone(
    environment: Environment, home: Path, **variables: str
) -> Iterator[Callable[[Callable[[], bool]], None]]:
    """``airflow standalone``: all of Airflow's components, as a newcomer starts them.

    Yield a function that waits until a condition holds, as long as Airflow runs.
    """
    path = home / "standalone.log"
    with path.open("w") as log:
        process = subprocess.Popen(
            [str(environment.bin / "airflow"), "standalone"],
            cwd=home,
            env=environment.variables | variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + PATIENCE_SECONDS

        def wait_until(holds: Callable[[], bool]) -> None:
            while not holds():
                assert process.poll() is None, path.read_text()
                assert time.monotonic() < deadline, path.read_text()
                time.sleep(0.5)

        try:
            yield wait_until
        finally:
            process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                process.wait(30)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def answers(url: str) -> bool:
    with suppress(OSError), urllib.request.urlopen(url, timeout=30) as response:
        return bool(response.status == 200)
    return False


def in_database(home: Path, query: str) -> bool:
    """Return whether Airflow's database has a row for the job; asking with ``airflow`` takes
    seconds.
    """
    with (
        suppress(sqlite3.OperationalError),
        closing(sqlite3.connect(home / "airflow.db")) as database,
    ):
        return database.execute(query, [JOB]).fetchone() is not None
    return False


def test_with_the_extra_two_lines_make_a_dag_that_scores_a_month(
    airflow: Environment, tmp_path: Path
) -> None:
    dags = tmp_path / "dags"
    dags.mkdir()
    month(airflow, dags)
    # Without the comment: Airflow itself would skip a file in which "dag" does not occur.
    lines = [line.partition("  #")[0] for line in readme("dag-file").splitlines()]
    (dags / "scoring_jobs.py").write_text("\n".join(line for line in lines if line) + "\n")
    (dags / "jobs" / "wrong.yaml").write_text("name: wrong\nschedule: never\n")
    port = free_port()
    variables = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://localhost:{port}",
        # Their defaults are fixed numbers, and other tests run other Airflows.
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
        "SCORING_DATA": str(dags / "data"),
        "SCORING_PRELOAD": "1",
    }
    published = dags / "data" / "predictions" / JOB / "_manifests" / "month=2024-01.json"
    with standalone(airflow, tmp_path, **variables) as wait_until:
        # The scheduler is up before the API server, and a task that starts in between fails.
        wait_until(lambda: answers(f"http://localhost:{port}/api/v2/monitor/health"))
        wait_until(lambda: in_database(tmp_path, "SELECT 1 FROM dag WHERE dag_id = ?"))
        airflow.run("airflow", "dags", "unpause", JOB, cwd=tmp_path, **variables)
        state = "SELECT state FROM dag_run WHERE dag_id = ? AND state IN ('success', 'failed')"
        wait_until(lambda: in_database(tmp_path, state))
        errors = airflow.run(
            "airflow", "dags", "list-import-errors", cwd=tmp_path, check=False, **variables
        )
    log = (tmp_path / "standalone.log").read_text()
    assert published.exists(), log
    assert_scored(dags)
    assert "Failed to load plugin" not in log
    assert json.loads(published.read_text())["run"]["dag_id"] == JOB
    assert "wrong.yaml" in errors.stdout
    assert JOB not in errors.stdout
    providers = airflow.run("airflow", "providers", "list", "-o", "json", cwd=tmp_path, **variables)
    assert "batch-scoring" in providers.stdout
