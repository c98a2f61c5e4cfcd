"""How many tasks share the cores that a task runs on: it follows from the executor."""

from __future__ import annotations

from airflow.configuration import conf

_SETTINGS = {
    "LocalExecutor": ("core", "parallelism"),
    "CeleryExecutor": ("celery", "worker_concurrency"),
    "EdgeExecutor": ("edge", "worker_concurrency"),
}
"""Where an executor whose tasks share a machine says how many there may be at once.  The others
(Kubernetes, ECS, …) give each task a container of its own."""


def tasks_at_once(executor: str | None) -> int:
    """Return the limit for a task of ``executor``, by its name, alias or import path; None for
    Airflow's default.
    """
    configured = conf.get_mandatory_list_value("core", "executor")
    # An entry may be a team's, and an alias: ``team=alias:path.to.MyExecutor``.
    names = [entry.rpartition("=")[2].split(":") for entry in configured]
    of_task = next((name for name in names if executor in name), names[0])[-1]
    setting = _SETTINGS.get(of_task.rpartition(".")[2])
    return conf.getint(*setting, fallback=1) if setting else 1
