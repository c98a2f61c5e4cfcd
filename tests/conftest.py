"""What all tests share: an Airflow of their own, in a folder that is gone afterwards.

Airflow reads its settings when it is first imported.  They are set here, before any test module is:
no test can reach the Airflow of ``make run``, even from a shell that has read ``.run/airflow.env``.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from devstack.services.object_store import ObjectStore
    from tests.warehouse import Warehouse

REPOSITORY = Path(__file__).resolve().parent.parent
STACK = "tests/integration/distributed/"  # its tests share one stack, and take half of the time


def pytest_configure(config: pytest.Config) -> None:
    assert "airflow" not in sys.modules, "Airflow was imported before its test settings were made"
    home = Path(tempfile.mkdtemp(prefix="airflow-home-"))
    config.add_cleanup(lambda: shutil.rmtree(home, ignore_errors=True))
    for name in [name for name in os.environ if name.startswith(("AIRFLOW_", "SCORING_"))]:
        del os.environ[name]
    os.environ["AIRFLOW_HOME"] = str(home)
    os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(home / "dags")
    os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(REPOSITORY / "plugins")
    os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
    os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = f"sqlite:///{home}/airflow.db"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins."""
    items.sort(key=lambda item: not item.nodeid.startswith(STACK))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With ``-n``: the tests of a file share their services in one process, and those of the stack too."""
    from xdist.scheduler import LoadScopeScheduling

    class ByServices(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return STACK if nodeid.startswith(STACK) else nodeid.partition("::")[0]

    return ByServices(config, log)


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    """Airflow's Dag processor takes over this process's signals, and keeps them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def airflow_database() -> None:
    """Airflow's tables, empty, in the tests' own SQLite."""
    from airflow.utils.db import initdb

    initdb()


@pytest.fixture
def dags_folder(airflow_database: None) -> Iterator[Path]:
    """The folder of Dag files of the tests' Airflow: empty, and emptied afterwards."""
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
