"""The Airflow plugin, found by the entry point ``airflow.plugins`` of the installed package."""

from __future__ import annotations

import logging
import os
import zipfile
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from airflow.configuration import conf
from airflow.plugins_manager import AirflowPlugin

from scoring_airflow.timetable import PartitionTimetable
from scoring_airflow.web import urls

log = logging.getLogger(__name__)

_HEURISTIC = ("core", "might_contain_dag_callable")


class ScoringPlugin(AirflowPlugin):  # type: ignore[misc]  # mypy does not read Airflow
    """Register the timetable of jobs and the pages of the web UI, let Airflow discover Dag files that
    call ``load_jobs``, and preload modules where tasks are forked.
    """

    name = "scoring"
    timetables: ClassVar[list[type]] = [PartitionTimetable]

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Prepare a component of Airflow; called once in each before it does its work."""
        if conf.get(*_HEURISTIC, fallback=None) in (None, conf.get_default_value(*_HEURISTIC)):
            conf.set(*_HEURISTIC, f"{__name__}.{might_contain_dag.__name__}")
        if os.environ.get("SCORING_PRELOAD") == "1":
            import scoring_airflow.preload  # noqa: F401

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:
        """The pages; none where something that they need is missing.

        Every component of Airflow makes a plugin, and only the API server asks for its apps: what an
        app imports takes seconds.
        """
        try:
            from scoring_airflow.web.app import create_app

            return [{"app": create_app(), "url_prefix": urls.PREFIX, "name": "Batch scoring"}]
        except Exception as error:  # noqa: BLE001 - Airflow starts without the pages
            what = f"{type(error).__name__}: {error}"
            log.error("the pages of batch-scoring are left out of the web UI: %s", what)
            return []

    @cached_property
    def external_views(self) -> list[dict[str, Any]]:
        """The entry in the navigation, and the tabs of a Dag with its job, of a run with its partition.

        Airflow shows the tabs for all Dags, and fills in DAG_ID and RUN_ID.
        """
        if not self.fastapi_apps:
            return []
        from scoring_airflow.web import static_files

        icons = {
            "icon": static_files.url("icon.svg"),
            "icon_dark_mode": static_files.url("icon-dark.svg"),
        }
        return [
            {
                "name": "Predictions",
                "href": urls.page("/"),
                "destination": "nav",
                "url_route": "predictions",
                "nav_top_level": True,
                **icons,
            },
            {
                "name": "Predictions",
                "href": urls.tab(),
                "destination": "dag",
                "url_route": "predictions-of-dag",
                **icons,
            },
            {
                "name": "Partition",
                "href": urls.page("/runs/{DAG_ID}/{RUN_ID}"),
                "destination": "dag_run",
                "url_route": "partition",
                **icons,
            },
        ]


def might_contain_dag(file_path: str, zip_file: zipfile.ZipFile | None = None) -> bool:
    """Return whether Airflow's heuristic, or the name of this package in the file, says so.

    Airflow skips files that do not have the word "dag" in them, which the two lines that load job
    files need not have.  An installation that has set a heuristic of its own keeps it.
    """
    from airflow.utils.file import might_contain_dag_via_default_heuristic

    if might_contain_dag_via_default_heuristic(file_path, zip_file):
        return True
    content = zip_file.read(file_path) if zip_file else Path(file_path).read_bytes()
    return b"scoring_airflow" in content
