"""What the tests of the pages share: Airflow's own API server with the plugin in it, its users, and
jobs that Airflow has stored.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.routing import Mount

from tests import small_job

NOW = datetime(2013, 5, 20, tzinfo=UTC)  # February to April have ended, and their runs are due

Sign = Callable[[str], dict[str, str]]


@pytest.fixture(scope="session")
def server(airflow_database: None) -> FastAPI:
    """Airflow's API server, without the API of its tasks."""
    from airflow.api_fastapi.app import create_app

    return create_app(apps="core")


@pytest.fixture
def pages(server: FastAPI) -> Iterator[FastAPI]:
    """The app of the pages as Airflow has mounted it; for it, now is NOW, and there are no jobs of
    tests elsewhere.
    """
    from airflow.models import DagModel
    from airflow.utils.session import create_session
    from scoring_airflow.web import clock

    with create_session() as session:
        for dag in session.query(DagModel).filter(DagModel.is_stale.is_(False)):
            dag.is_stale = True

    (app,) = (r.app for r in server.routes if isinstance(r, Mount) and r.path == "/scoring")
    app.dependency_overrides[clock.now] = lambda: NOW
    yield app
    app.dependency_overrides.clear()


@pytest.fixture
def anybody(server: FastAPI, pages: FastAPI) -> TestClient:
    """A client that nobody has signed in with, and that follows no redirect."""
    return TestClient(server, base_url="http://airflow.example", follow_redirects=False)


@pytest.fixture
def sign(server: FastAPI) -> Sign:
    """Returns the cookie header of a user of a role: VIEWER, USER, OP or ADMIN."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    def sign(role: str) -> dict[str, str]:
        user = SimpleAuthManagerUser(username=f"the {role}", role=role, teams=None)
        return {"Cookie": f"_token={get_auth_manager().generate_jwt(user)}"}

    return sign


@pytest.fixture
def viewer(anybody: TestClient, sign: Sign) -> TestClient:
    anybody.headers.update(sign("VIEWER"))
    return anybody


@pytest.fixture
def admin(server: FastAPI, pages: FastAPI, sign: Sign) -> TestClient:
    """A client of its own, so that a test may have a viewer as well."""
    return TestClient(server, base_url="http://airflow.example", headers=sign("ADMIN"))


@dataclass(frozen=True)
class Stored:
    """A job whose Dag Airflow has stored."""

    name: str
    path: Path

    @property
    def destination(self) -> Path:
        return self.path.parent / "data/predictions" / self.name

    def publish(self, *keys: str) -> None:
        """Score partitions, as runs of the Dag would."""
        from scoring.job.loader import load_job
        from scoring.pipeline.context import PartitionContext
        from scoring.storage.connections import Connections
        from tests.scoring.factories import run_steps

        file = load_job(self.path)
        for key in keys:
            run_steps(
                PartitionContext(
                    file, file.job.parse(key), file.roots(), f"of-{key}", Connections()
                )
            )

    def run(self, key: str | None, state: str, **facts: Any) -> str:
        """Add a run by hand of a partition to Airflow's database; return its id."""
        from airflow.models.dagrun import DagRun
        from airflow.utils.session import create_session
        from airflow.utils.state import DagRunState
        from airflow.utils.types import DagRunTriggeredByType, DagRunType

        run_id = f"manual__{uuid.uuid4()}"
        with create_session() as session:
            session.add(
                DagRun(
                    dag_id=self.name,
                    run_id=run_id,
                    run_type=DagRunType.MANUAL,
                    run_after=NOW,
                    queued_at=NOW,
                    conf={"partition": key} if key else {},
                    state=DagRunState(state),
                    triggered_by=DagRunTriggeredByType.TEST,
                    **facts,
                )
            )
        return run_id


def store_dag(dag: Any) -> None:
    """Have Airflow store a Dag, as its Dag processor does."""
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.collection import update_dag_parsing_results_in_db
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.session import create_session

    from tests.one_run import BUNDLE

    DagBundlesManager().sync_bundles_to_db()
    stored = [LazyDeserializedDAG.from_dag(dag)]
    with create_session() as session:
        update_dag_parsing_results_in_db(BUNDLE, None, stored, {}, 0.0, set(), session)


def forget_dags(*dag_ids: str) -> None:
    """Let Airflow know that the files of these Dags are gone."""
    from airflow.models import DagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        for dag in session.query(DagModel).filter(DagModel.dag_id.in_(dag_ids)):
            dag.is_stale = True


Store = Callable[..., Stored]


@pytest.fixture
def store(server: FastAPI, data: Path, tmp_path: Path) -> Iterator[Store]:
    """Writes a job file, the small job with changes, and has Airflow store its Dag.

    Each job has a name of its own, publishes to a folder of its own, and is gone from Airflow after
    the test.
    """
    from scoring_airflow import evaluation_dag, job_dag

    from scoring.job.loader import load_job

    made: list[str] = []

    def store(**changes: Any) -> Stored:
        name = changes.pop("name", f"job_{uuid.uuid4().hex[:8]}")
        own = {"name": name, "destination": {"uri": f"{{data}}/predictions/{name}"}}
        path = small_job.write_job(tmp_path, **(own | changes))
        file = load_job(path)
        dags = [job_dag(file), *([evaluation_dag(file)] if file.job.actuals else [])]
        for dag in dags:
            store_dag(dag)
            made.append(dag.dag_id)
        return Stored(name, path)

    yield store
    forget_dags(*made)


@pytest.fixture
def job(store: Store) -> Stored:
    """A job of three months, of which none is published."""
    return store()
