"""The addresses of the pages, and of the pages of Airflow that they lead to.

The plugin imports this in every component of Airflow, so it imports nothing heavy.
"""

from __future__ import annotations

from urllib.parse import quote, urlencode, urlsplit

from airflow.configuration import conf

PREFIX = "/scoring"
"""Where Airflow mounts the app."""


def base_path() -> str:
    """Return the path that Airflow lies under, without a slash at its end: '' at a host of its own."""
    return urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")


def page(path: str = "/", **query: str) -> str:
    """Return the address of ``path`` within the app."""
    asked = urlencode({name: value for name, value in query.items() if value})
    return f"{base_path()}{PREFIX}{path}{'?' if asked else ''}{asked}"


def job(name: str) -> str:
    return page(f"/jobs/{_part(name)}")


def everything(name: str) -> str:
    """Return the page of a job with all of its partitions."""
    return page(f"/jobs/{_part(name)}", show="all")


def timeline(name: str) -> str:
    """Return where the figures of a job over time are, as JSON."""
    return page(f"/api/v1/jobs/{_part(name)}/timeline")


def partition(job: str, key: str) -> str:
    return page(f"/jobs/{_part(job)}/{_part(key)}")


def run_path(dag_id: str, run_id: str) -> str:
    """Return the path, below Airflow's own address, of the page of the partition that a run scores."""
    return f"{PREFIX}/runs/{_part(dag_id)}/{_part(run_id)}"


def manifest(job: str, key: str) -> str:
    """Return where the manifest of a partition is, as JSON."""
    return page(f"/api/v1/jobs/{_part(job)}/partitions/{_part(key)}")


def model(job: str, version: str) -> str:
    return page(f"/models/{_part(job)}/{_part(version)}")


def models(job: str) -> str:
    return page(f"/models/{_part(job)}")


def tab() -> str:
    """Return the page of a Dag, whose id Airflow's UI writes in."""
    return page("/dags/{DAG_ID}")


def airflow_dag(dag_id: str) -> str:
    return f"{base_path()}/dags/{_part(dag_id)}"


def airflow_run(dag_id: str, run_id: str) -> str:
    return f"{airflow_dag(dag_id)}/runs/{_part(run_id)}"


def airflow_backfills() -> str:
    """Return where Airflow's REST API creates backfills."""
    return f"{base_path()}/api/v2/backfills"


def login(then: str) -> str:
    """Return where Airflow asks who somebody is, to lead to ``then`` afterwards."""
    return f"{base_path()}/api/v2/auth/login?{urlencode({'next': then})}"


def _part(text: str) -> str:
    return quote(text, safe="")
