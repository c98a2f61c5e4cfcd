"""The few calls of Airflow's REST API that `make run` needs.

The API rather than the database or the `airflow` command: the API is stable, and the command takes
four seconds to start.
"""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from devstack.errors import DevstackError

CALL_TIMEOUT_SECONDS = 30.0
PAGE_ROWS = 100  # Airflow's own maximum


class NotReachable(Exception):
    """The API server does not answer (yet, or during a restart): try again later."""


@dataclass(frozen=True)
class Dag:
    is_paused: bool
    is_stale: bool  # its file no longer defines it
    last_parsed: datetime | None
    next_run_after: datetime | None  # None: there will be no further run


@dataclass(frozen=True)
class DagRun:
    run_id: str
    state: str  # queued, running, success, failed
    run_type: str  # scheduled, backfill, manual, …
    data_interval_start: datetime | None


@dataclass(frozen=True)
class TaskInstance:
    run_id: str
    task_id: str
    map_index: int  # -1 when the task is not mapped
    try_number: int
    state: str
    hostname: str = ""  # of the worker; empty before a worker has taken it


@dataclass(frozen=True)
class ImportFailure:
    file: str
    message: str
    seen: datetime


class AirflowApi:
    """A client for one user of one Airflow; each method is one query or one action."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._login = {"username": user, "password": password}
        self._token: str | None = None

    def is_ready(self) -> bool:
        """Return whether the server answers, including the API of tasks, which its first request
        sets up.
        """
        try:
            _send("GET", f"{self.url}/execution/health", None, {})
        except NotReachable:
            return False
        return True

    def dag(self, dag_id: str) -> Dag | None:
        """Return the Dag, or None if Airflow does not know it."""
        found = self._get(f"dags/{quote(dag_id)}", missing_is_none=True)
        if found is None:
            return None
        return Dag(
            is_paused=found["is_paused"],
            is_stale=found["is_stale"],
            last_parsed=_moment(found["last_parsed_time"]),
            next_run_after=_moment(found["next_dagrun_run_after"]),
        )

    def unpause(self, dag_id: str) -> None:
        self._call("PATCH", f"dags/{quote(dag_id)}", {"is_paused": False})

    def trigger(self, dag_id: str) -> None:
        """Start a run without a logical date."""
        self._call("POST", f"dags/{quote(dag_id)}/dagRuns", {"logical_date": None})

    def runs(self, dag_id: str) -> list[DagRun]:
        """Return all runs of a Dag, by date."""
        return [
            DagRun(
                run_id=run["dag_run_id"],
                state=run["state"],
                run_type=run["run_type"],
                data_interval_start=_moment(run["data_interval_start"]),
            )
            for run in self._pages(
                f"dags/{quote(dag_id)}/dagRuns", "dag_runs", order_by="run_after"
            )
        ]

    def task_instances(self, dag_id: str, states: list[str]) -> list[TaskInstance]:
        """Return the Dag's task instances in these states, of all its runs."""
        path = f"dags/{quote(dag_id)}/dagRuns/~/taskInstances"
        return [
            TaskInstance(
                run_id=task["dag_run_id"],
                task_id=task["task_id"],
                map_index=task["map_index"],
                try_number=task["try_number"],
                state=task["state"],
                hostname=task["hostname"] or "",
            )
            for task in self._pages(path, "task_instances", state=states)
        ]

    def run_again(self, dag_id: str, run_id: str, only_failed_tasks: bool) -> None:
        """Clear the run's tasks, so that the scheduler runs them again."""
        body = {"dry_run": False, "only_failed": only_failed_tasks}
        self._call("POST", f"dags/{quote(dag_id)}/dagRuns/{quote(run_id, safe='')}/clear", body)

    def import_failures(self) -> list[ImportFailure]:
        """Return the Dag files that could not be loaded."""
        return [
            ImportFailure(
                file=found["filename"],
                message=found["stack_trace"].strip(),
                seen=datetime.fromisoformat(found["timestamp"]),
            )
            for found in self._pages("importErrors", "import_errors")
        ]

    def _pages(self, path: str, key: str, **query: Any) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while True:
            page = {"limit": PAGE_ROWS, "offset": len(rows), **query}
            answer = self._get(f"{path}?{urlencode(page, doseq=True)}")
            rows += answer[key]
            if not answer[key] or len(rows) >= answer["total_entries"]:
                return rows

    def _get(self, path: str, missing_is_none: bool = False) -> Any:
        return self._call("GET", path, missing_is_none=missing_is_none)

    def _log_in(self) -> str:
        try:
            answer = _send("POST", f"{self.url}/auth/token", self._login, {})
        except urllib.error.HTTPError as error:
            raise DevstackError(
                f"the server at {self.url} rejects the login of this installation ({error.code}): "
                "another program, perhaps another `make run`, took the port at the same moment; "
                "run the command again"
            ) from None
        return str(answer["access_token"])

    def _call(self, method: str, path: str, body: Any = None, missing_is_none: bool = False) -> Any:
        if self._token is None:
            self._token = self._log_in()
        try:
            return _send(
                method,
                f"{self.url}/api/v2/{path}",
                body,
                {"Authorization": f"Bearer {self._token}"},
            )
        except urllib.error.HTTPError as error:
            if error.code == 404 and missing_is_none:
                return None
            if error.code == 401:  # expired: the next call logs in again
                self._token = None
                raise NotReachable(str(error)) from None
            detail = error.read().decode(errors="replace")[:500]
            raise DevstackError(
                f"Airflow's API answers {error.code} to {method} {path}: {detail}"
            ) from None


def _send(method: str, url: str, body: Any, headers: dict[str, str]) -> Any:
    request = urllib.request.Request(
        url,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **headers},
    )
    try:
        with _opener.open(request, timeout=CALL_TIMEOUT_SECONDS) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if error.code >= 500:
            raise NotReachable(str(error)) from None
        raise
    except OSError as error:  # refused, reset, timed out
        raise NotReachable(str(error)) from None


# The server is on this machine: bypass any proxy of the user's environment.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
