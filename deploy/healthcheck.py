"""Whether one component of Airflow, the service for predictions, or the stream works: exit status 0,
or 1 and a line that says what is wrong.

    python healthcheck.py api-server | scheduler | dag-processor | triggerer
    python healthcheck.py worker [NAME] | serve [PORT] | stream [PORT]

It reads the environment that Airflow itself reads. `airflow jobs check` asks the same, but takes
four seconds of a core each time, once for each component and every half minute; this takes a tenth
of one (a worker: half of one).
"""

import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping

JOB_TYPES = {
    "scheduler": "SchedulerJob",
    "dag-processor": "DagProcessorJob",
    "triggerer": "TriggererJob",
}
COMPONENTS = ("api-server", *JOB_TYPES, "worker", "serve", "stream")
SERVE_PORT = "8001"
STREAM_PORT = "8002"
OLDEST_HEARTBEAT_SECONDS = 30  # each writes one every 5 seconds
TIMEOUT_SECONDS = 5


def problem(component: str, environment: Mapping[str, str], name: str | None = None) -> str | None:
    """Return what is wrong; None if the component works. `name` is that of a Celery worker
    (default: the host's), or the port of the service, or that of the stream's metrics.
    """
    if component == "api-server":
        return _answers("the API server", environment["AIRFLOW__API__PORT"], "/api/v2/version")
    if component == "serve":
        return _answers("the service", name or SERVE_PORT, "/readyz")
    if component == "stream":
        return _answers("the stream", name or STREAM_PORT, "/readyz")
    if component == "worker":
        return _worker(environment["AIRFLOW__CELERY__BROKER_URL"], name or socket.gethostname())
    return _heartbeat(environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"], JOB_TYPES[component])


def _answers(what: str, port: str, path: str) -> str | None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT_SECONDS).close()
    except (OSError, urllib.error.URLError) as error:
        return f"{what} does not answer: {error}"
    return None


def _heartbeat(database_url: str, job_type: str) -> str | None:
    import psycopg2

    age = (
        "SELECT extract(epoch FROM now() - max(latest_heartbeat)) FROM job "
        "WHERE job_type = %s AND state = 'running'"
    )
    url = database_url.replace("+psycopg2", "", 1)
    try:
        connection = psycopg2.connect(url, connect_timeout=TIMEOUT_SECONDS)
        try:
            with connection.cursor() as cursor:
                cursor.execute(age, (job_type,))
                row = cursor.fetchone()
        finally:
            connection.close()
    except psycopg2.Error as error:
        return f"the database does not answer: {str(error).strip()}"
    seconds = row[0] if row else None
    if seconds is None:
        return f"no {job_type} has started"
    if seconds > OLDEST_HEARTBEAT_SECONDS:
        return f"the last heartbeat of a {job_type} is {seconds:.0f} s old"
    return None


def _worker(broker_url: str, name: str) -> str | None:
    from celery import Celery
    from kombu.exceptions import OperationalError
    from redis import RedisError

    with Celery(broker=broker_url, set_as_current=False) as app:
        try:
            answers = app.control.ping(
                destination=[f"celery@{name}"], timeout=TIMEOUT_SECONDS, limit=1
            )
        except (OperationalError, RedisError) as error:
            return f"the broker does not answer: {error}"
    return None if answers else f"the worker celery@{name} does not answer"


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in COMPONENTS:
        print(f"usage: healthcheck.py {' | '.join(COMPONENTS)} [NAME]", file=sys.stderr)
        return 2
    wrong = problem(arguments[0], os.environ, *arguments[1:2])
    if wrong:
        print(wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
