"""What all tests share: an Airflow of their own, in a folder that is gone afterwards.

Airflow reads its settings when it is first imported.  They are set here, before any test module is:
no test can reach the Airflow of ``make run``, even from a shell that has read ``.run/airflow.env``.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from devstack.services.object_store import ObjectStore
    from tests.https_server import Site
    from tests.warehouse import Warehouse

REPOSITORY = Path(__file__).resolve().parent.parent
# Which tests share a running Airflow: those of ``make stack``, and those of ``make run``.  They
# take longest.
STACK = ("tests/integration/distributed/", "tests/integration/test_stack.py")
AIRFLOWS = (STACK, ("tests/integration/",))
# Fixtures that start a service or make Airflow's database: tests that use them are marked
# ``integration``.
SERVICES = {"airflow_database", "cluster", "mlflow_server", "s3_server", "stack", "warehouse"}


def pytest_configure(config: pytest.Config) -> None:
    assert "airflow" not in sys.modules, "Airflow was imported before its test settings were made"
    home = Path(tempfile.mkdtemp(prefix="airflow-home-"))
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    for name in [name for name in os.environ if name.startswith(("AIRFLOW_", "SCORING_"))]:
        del os.environ[name]
    # Test processes share the cores: a thread that waits for others must not spin meanwhile.
    os.environ["OMP_WAIT_POLICY"] = "passive"
    os.environ["AIRFLOW_HOME"] = str(home)
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(home / "dags")
    os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(home / "plugins")
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{home}/airflow.db"


def shared_airflow(nodeid: str) -> int:
    """Which of AIRFLOWS a test uses; their number for none of them."""
    return next((i for i, paths in enumerate(AIRFLOWS) if nodeid.startswith(paths)), len(AIRFLOWS))


@pytest.hookimpl(tryfirst=True)  # before ``-m`` is obeyed
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests are marked by what they use, and what takes longest begins."""
    for item in items:
        if not SERVICES.isdisjoint(getattr(item, "fixturenames", ())):
            item.add_marker("integration")
        if not item.nodeid.startswith("tests/scoring/"):
            item.add_marker(
                "no_cover"
            )  # all of scoring/ is covered by its own tests; others are faster without
    items.sort(key=lambda item: shared_airflow(item.nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``-n``: the tests of a file share their services in one process, and those of an Airflow
    too.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByServices(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            number = shared_airflow(nodeid)
            return nodeid.partition("::")[0] if number == len(AIRFLOWS) else str(AIRFLOWS[number])

    return ByServices(config, log)


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """Airflow's Dag processor takes over this process's signals, and keeps them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@contextmanager
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of all processes of pytest-xdist, for this one alone while the block runs."""
    own = tmp_path_factory.getbasetemp()
    folder = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with (folder / "shared.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


@pytest.fixture(scope="session")
def airflow_database(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Airflow's tables, empty, in the tests' own SQLite.  Airflow takes ten seconds to make them:
    one process does.
    """
    ours = Path(os.environ["AIRFLOW_HOME"], "airflow.db")
    with shared_folder(tmp_path_factory) as folder:
        made = folder / "airflow.db"
        if not made.exists():
            from airflow.utils.db import initdb

            initdb()
            _copy_database(ours, made)
    if not ours.exists():
        _copy_database(made, ours)


def _copy_database(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as one, closing(sqlite3.connect(target)) as other:
        one.backup(other)


@pytest.fixture(scope="session")
def example_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The flights and models of ``python -m examples``, made once for all processes; not to be
    written to.
    """
    with shared_folder(tmp_path_factory) as folder:
        data = folder / "examples"
        # In a process of its own: one that has trained models in threads cannot be forked any more.
        subprocess.run([sys.executable, "-m", "examples", "--data", str(data)], check=True)
    return data


@pytest.fixture
def dags_folder(airflow_database: None) -> Iterator[Path]:
    """The folder of Dag files of the tests' Airflow: empty, and emptied afterwards.

    A Dag of the same name from an earlier test is deleted: for half a minute Airflow would go on with
    what it has stored of it. Nor may its asset stay, which has the same name and another URI; the
    scheduler, which would forget it, is not running.
    """
    from airflow.api.common.delete_dag import delete_dag
    from airflow.models import DagModel
    from airflow.models.asset import AssetActive
    from airflow.utils.session import create_session

    with create_session() as session:
        known = [dag_id for (dag_id,) in session.query(DagModel.dag_id)]
    for dag_id in known:
        delete_dag(dag_id)
    with create_session() as session:
        session.query(AssetActive).delete()
    folder = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
    (folder / "jobs").mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """A Postgres with nothing in it; a test makes the tables that it asks, and drops them first."""
    from tests.warehouse import started

    with started(tmp_path_factory.mktemp("warehouse")) as warehouse:
        yield warehouse


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Flights and models of ``tests.small_job``; not to be written to (see ``data``)."""
    from tests import small_job

    folder = tmp_path_factory.mktemp("small")
    small_job.write_data(folder)
    return folder


@pytest.fixture(scope="session")
def environments(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the environments of models: of this process, those it starts, and those of
    pytest-xdist.
    """
    from scoring.models.environment.build import FOLDER

    with shared_folder(tmp_path_factory) as shared:
        folder = shared / "environments"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER, str(folder))
        yield folder


@pytest.fixture
def copy_of_data(small_data: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Copies the small data to a folder of this test, by the name that is given."""
    return lambda name: shutil.copytree(small_data, tmp_path / name)


@pytest.fixture
def data(copy_of_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the small data, which is what ``{data}`` stands for during the test."""
    folder = copy_of_data("data")
    monkeypatch.setenv("SCORING_DATA", str(folder))
    return folder


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An authority's certificate, and that of a server on loopback with its key."""
    from tests import https_server

    return https_server.certify(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def https_site(
    certificates: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Site, str]]:
    """A site that this process trusts, and its URL."""
    from scoring.storage.https import client as https_client
    from tests import https_server

    trusted, of_server = certificates
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    monkeypatch.setattr(https_client, "FIRST_PAUSE_SECONDS", 0.001)
    with https_server.serving(of_server) as served:
        yield served


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """A real S3 server with one bucket, ``scoring``."""
    from tests import s3_server

    with s3_server.running(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_server: ObjectStore) -> Iterator[Any]:
    """A boto3 client of the bucket, which is empty, and which this process reaches as its own S3."""
    from tests.s3_server import client, empty, use_client

    ours = client(s3_server)
    empty(ours)
    use_client(lambda: client(s3_server))
    yield ours
    use_client(None)
