"""Nobody sees a page, a file or a fact without the right to: every route, every job, every answer."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from scoring_airflow.web.security import WritableJob

from tests.plugins.web.conftest import Sign, Store, Stored, store_dag

DAG, RUN = "/dags/{dag_id}", "/runs/{dag_id}/{run_id}"
PAGE_ADDRESSES = (
    *("/", "/jobs/{job}", "/jobs/{job}/{key}"),
    *("/models/{job}", "/models/{job}/{version}", DAG, RUN),
)


def address(route: APIRoute, job: str, run_id: str = "manual__1") -> str:
    """The address of a route as a browser asks for it."""
    from scoring_airflow.web import static_files

    if route.path == "/static/{name}":
        return static_files.url("scoring.css")
    names = {"job": job, "dag_id": job, "key": "2013-02", "version": "v1", "run_id": run_id}
    return "/scoring" + route.path.format(**names)


def routes(pages: FastAPI) -> list[APIRoute]:
    found = list(pages.routes)
    assert all(isinstance(route, APIRoute) for route in found), "a mount would have no guard"
    return [route for route in found if isinstance(route, APIRoute)]


def test_no_route_answers_to_anybody(pages: FastAPI, anybody: TestClient, job: Stored) -> None:
    seen = set()
    for route in routes(pages):
        for method in route.methods:
            answer = anybody.request(method, address(route, job.name))
            if answer.status_code == 303:
                login = answer.headers["location"]
                assert login.startswith("/api/v2/auth/login?next=%2Fscoring%2F"), route.path
            else:
                assert answer.status_code == 401, route.path
                assert answer.json() == {"detail": "Not authenticated"}
            seen.add((route.path, answer.status_code))
    assert {path for path, status in seen if status == 303} == set(PAGE_ADDRESSES)
    assert ("/api/v1/openapi.json", 401) in seen
    assert ("/static/{name}", 401) in seen


@pytest.mark.parametrize("path", ["docs", "redoc", "openapi.json", "docs/oauth2-redirect"])
def test_fastapis_own_documentation_is_not_there(viewer: TestClient, path: str) -> None:
    assert viewer.get(f"/scoring/{path}").status_code == 404


def test_a_session_of_another_secret_leads_to_the_login(anybody: TestClient) -> None:
    forged = {"Cookie": "_token=eyJhbGciOiJIUzUxMiJ9.eyJzdWIiOiJhZG1pbiJ9.AAAA"}
    answer = anybody.get("/scoring/?name=a%20b", headers=forged)
    assert answer.status_code == 303
    login = answer.headers["location"]
    assert login.endswith("?next=%2Fscoring%2F%3Fname%3Da%2520b")
    answer = anybody.get(login)
    assert answer.status_code == 307
    assert answer.headers["location"].endswith("/auth/login?next=%2Fscoring%2F%3Fname%3Da%2520b")


def test_a_viewer_reads_every_route(pages: FastAPI, viewer: TestClient, job: Stored) -> None:
    run_id = job.run("2013-02", "failed")
    for route in routes(pages):
        answer = viewer.get(address(route, job.name, run_id))
        if route.path == DAG:
            assert answer.headers["location"] == f"/scoring/jobs/{job.name}"
        elif "partitions" in route.path:
            assert answer.status_code == 404  # there is no manifest yet
        else:
            assert answer.status_code == 200, (route.path, answer.text)


def test_every_answer_is_locked_down(pages: FastAPI, viewer: TestClient, job: Stored) -> None:
    for path in [address(route, job.name) for route in routes(pages)] + ["/scoring/nothing"]:
        headers = viewer.get(path).headers
        policy = dict(
            part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["frame-ancestors"] == "'self'"
        assert headers["x-content-type-options"] == "nosniff"
        if "/static/" in path:
            assert headers["cache-control"] == "private, max-age=31536000, immutable"
        else:
            assert headers["cache-control"] == "no-store, private"


def test_no_page_has_a_script_or_a_style_of_its_own(
    pages: FastAPI, viewer: TestClient, job: Stored
) -> None:
    job.publish("2013-02")
    run_id = job.run("2013-02", "success")
    addresses = {r.path: address(r, job.name, run_id) for r in routes(pages)}
    for path in (path for path in PAGE_ADDRESSES if path != DAG):
        text = viewer.get(addresses[path]).text
        assert job.name in text
        assert "<script src=" in text
        for inline in ("<script>", "<style", " style=", " onclick", "javascript:"):
            assert inline not in text, (path, inline)


@pytest.fixture
def reads_only(server: FastAPI, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Lets every user read, and run, the Dags that are named, and no others.

    Airflow's SimpleAuthManager has no rights by Dag; others do.
    """
    from airflow.api_fastapi.app import _AuthManagerState
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    class ByDag(SimpleAuthManager):
        allowed: frozenset[str] = frozenset()

        def is_authorized_dag(
            self, *, method: Any, user: Any, access_entity: Any = None, details: Any = None
        ) -> bool:
            if not super().is_authorized_dag(
                method=method, user=user, access_entity=access_entity, details=details
            ):
                return False
            return details is None or details.id is None or details.id in self.allowed

    manager = ByDag()

    def allow(*dag_ids: str) -> None:
        manager.allowed = frozenset(dag_ids)

    monkeypatch.setattr(_AuthManagerState, "instance", manager)
    return allow


def test_a_user_of_one_dag_sees_one_job(store: Store, viewer: TestClient, reads_only: Any) -> None:
    own, other = store(), store()
    own.publish("2013-02")
    other.publish("2013-02")
    reads_only(own.name)
    for path in ("", "api/v1/coverage", "api/v1/jobs"):
        answer = viewer.get(f"/scoring/{path}")
        assert answer.status_code == 200
        assert own.name in answer.text
        assert other.name not in answer.text
    missing = "none_of_this_name"
    runs = {job.name: job.run("2013-02", "success") for job in (own, other)}
    for path in (
        "jobs/{}",
        "jobs/{}/2013-02",
        "models/{}",
        "models/{}/v1",
        "runs/{}/{run_id}",
        "dags/{}",
        "api/v1/jobs/{}",
        "api/v1/jobs/{}/timeline",
        "api/v1/jobs/{}/partitions/2013-02",
    ):
        there = viewer.get(f"/scoring/{path.format(own.name, run_id=runs[own.name])}")
        assert there.status_code == (303 if path == "dags/{}" else 200)
        hidden = viewer.get(f"/scoring/{path.format(other.name, run_id=runs[other.name])}")
        absent = viewer.get(f"/scoring/{path.format(missing, run_id=runs[other.name])}")
        assert hidden.status_code == absent.status_code == 404
        assert hidden.text.replace(other.name, missing) == absent.text


def test_what_is_not_the_dag_of_a_job_is_not_there(viewer: TestClient, store: Store) -> None:
    from airflow.providers.standard.operators.empty import EmptyOperator
    from airflow.sdk import DAG

    with DAG("not_a_job", schedule=None) as dag:
        EmptyOperator(task_id="one")
    store_dag(dag)
    job = store(actuals={"source": {"uri": "{data}/landed/{partition}.parquet"}, "column": "late"})
    for dag_id in ("not_a_job", f"{job.name}.evaluate"):
        assert dag_id not in viewer.get("/scoring/").text
        assert viewer.get(f"/scoring/jobs/{dag_id}").status_code == 404


@pytest.fixture
def writing(pages: FastAPI) -> Any:
    """A route that changes something, as the pages may have one."""
    before = list(pages.router.routes)

    @pages.post("/jobs/{job}/write")
    def write(job: WritableJob) -> dict[str, str]:
        return {"wrote": job.dag_id}

    yield "/scoring/jobs/{}/write"
    pages.router.routes[:] = before


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://airflow.example"}, 200),
        ({"Origin": "http://airflow.example"}, 200),  # of a browser without Sec-Fetch-Site
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}, 403),
        ({"Origin": "https://other.airflow.example", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Content-Type": "text/plain"}, 415),
        (
            {"Sec-Fetch-Site": "same-origin", "Content-Type": "application/x-www-form-urlencoded"},
            415,
        ),
    ],
)
def test_what_changes_something_comes_from_our_own_pages(
    anybody: TestClient, sign: Sign, job: Stored, writing: str, headers: dict[str, str], status: int
) -> None:
    sent = {"Content-Type": "application/json"} | sign("ADMIN") | headers
    answer = anybody.post(writing.format(job.name), content=json.dumps({}), headers=sent)
    assert answer.status_code == status, answer.text


def test_a_program_with_a_token_needs_no_origin(
    anybody: TestClient, sign: Sign, job: Stored, writing: str
) -> None:
    token = sign("ADMIN")["Cookie"].removeprefix("_token=")
    headers = {"Authorization": f"Bearer {token}"}
    answer = anybody.post(writing.format(job.name), json={}, headers=headers)
    assert answer.json() == {"wrote": job.name}


def test_to_change_something_needs_the_right_to_run_the_dag(
    anybody: TestClient, sign: Sign, store: Store, writing: str, reads_only: Any
) -> None:
    own, other = store(), store()
    reads_only(own.name)
    same = {"Sec-Fetch-Site": "same-origin"}

    def status(role: str, job: Stored) -> int:
        headers = same | sign(role)
        return anybody.post(writing.format(job.name), json={}, headers=headers).status_code

    assert status("USER", own) == 200
    assert status("VIEWER", own) == 403
    assert status("USER", other) == 404
    assert anybody.post(writing.format(own.name), json={}, headers=same).status_code == 401


HOSTILE = "\"><script>alert(1)</script>'&{{7*7}}\u202egpj.exe"


def test_hostile_texts_are_text(viewer: TestClient, store: Store, reads_only: Any) -> None:
    job = store(description=HOSTILE, tags=[HOSTILE[:40]], owner=HOSTILE)
    reads_only(job.name)
    job.publish("2013-02")
    manifest = job.destination / "_manifests/month=2013-02.json"
    facts = json.loads(manifest.read_text())
    facts["model"]["version"] = HOSTILE
    facts["run"] = {"by": HOSTILE}
    facts["output"]["uri"] = "javascript:alert(1)//" + HOSTILE
    manifest.write_text(json.dumps(facts))
    for path in (
        "",
        f"?name={job.name}&tag=%22%3E%3Cscript%3Ealert(1)&state=%22%3E%3Cscript%3E",
        f"jobs/{job.name}",
        f"jobs/{job.name}/2013-02",
        f"jobs/{job.name}/%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        f"models/{job.name}",
        f"models/{job.name}/{quote(HOSTILE, safe='')}",
        f"dags/{job.name}%22%3E%3Cscript%3Ealert(1)",
        f"models/{job.name}/%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "jobs/%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    ):
        text = viewer.get(f"/scoring/{path}").text
        assert "<script>alert" not in text, path
        assert "\u202e" not in text, path
        assert 'href="javascript:' not in text, path
        assert "&amp;49" not in text, path
    month = viewer.get(f"/scoring/jobs/{job.name}/2013-02").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in month
    assert "\\u202egpj.exe" in month
