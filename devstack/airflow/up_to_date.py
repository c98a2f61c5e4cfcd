"""Whether `make run EXIT=1` has anything to do: the database knows it before Airflow is started."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import psycopg2

from devstack.home import REPOSITORY
from devstack.services.postgres import Database

SUFFIXES = {".py", ".yaml", ".yml"}


def is_up_to_date(database: Database, dag_id: str, published: set[str], dags: Path) -> bool:
    """Return True if Airflow has finished all runs of the Dag, as many months are published, and no
    file of the Dags or plugins has changed since. When in doubt False: Airflow is started, and
    finds out."""
    try:
        dag = database.execute(
            "SELECT last_parsed_time, next_dagrun_create_after FROM dag "
            f"WHERE dag_id = '{dag_id}' AND NOT is_paused AND NOT is_stale"
        )
        states = database.execute(
            f"SELECT state FROM dag_run WHERE dag_id = '{dag_id}' AND run_type IN ('scheduled', "
            "'backfill')"
        )
    except psycopg2.Error:  # no tables yet, or those of another Airflow release
        return False
    if not dag or not states or any(state != "success" for (state,) in states):
        return False
    last_parsed, next_run = dag[0]
    return (
        (next_run is None or next_run > datetime.now(UTC))
        and len(published) >= len(states)
        and _last_change([dags, REPOSITORY / "plugins"]) < last_parsed
    )


def _last_change(folders: Iterable[Path]) -> datetime:
    files = (path for folder in folders for path in folder.rglob("*") if path.suffix in SUFFIXES)
    return datetime.fromtimestamp(max((path.stat().st_mtime for path in files), default=0), UTC)
