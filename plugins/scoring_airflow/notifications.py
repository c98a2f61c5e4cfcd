"""Alert people, through the notifiers of a job's ``alerts``, that a run has failed or is late.

A notifier is any class derived from Airflow's ``BaseNotifier``.  Its arguments are templates, and
know the names in ``FACTS`` only: what Airflow knows beside them (connections, variables) is out of
their reach, and so are the rows that an error message quotes.

A failed run is reported by the Dag processor, once, after the last retry.  A late one by the
triggerer, which has neither the job file nor the Dag: it gets all it needs as arguments.
"""

from __future__ import annotations

import asyncio
import copy
import importlib
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from airflow.configuration import conf
from airflow.sdk import (  # type: ignore[attr-defined]  # its stub knows no deadlines
    AsyncCallback,
    BaseNotifier,
    DeadlineAlert,
    DeadlineReference,
)

from scoring.job.loader import JobFile
from scoring.job.partitions import Kind, partition_at
from scoring.job.section import Loc

log = logging.getLogger(__name__)

FACTS = ("job", "partition", "run_id", "problem", "url")
"""What the templates in an alert's arguments may name."""


def check_alerts(job_file: JobFile) -> None:
    """Raise JobError, with line and field, for an alert that could not be sent."""
    for i, alert in enumerate(job_file.job.alerts):
        try:
            made = _class_of(alert.notifier)
        except (ImportError, TypeError) as error:
            raise job_file.error(("alerts", i, "notifier"), str(error)) from None
        for loc, message in _template_problems(alert.arguments):
            raise job_file.error(("alerts", i, "arguments", *loc), message)
        try:
            made(**copy.deepcopy(alert.arguments))
        except Exception as error:  # noqa: BLE001 - whatever a notifier has against its arguments
            message = f"{alert.notifier} rejects these arguments: {type(error).__name__}: {error}"
            raise job_file.error(("alerts", i, "arguments"), message) from None


def on_failure(job_file: JobFile) -> Callable[[Mapping[str, Any]], None] | None:
    """Return the callback for a failed run, or None without alerts."""
    job = job_file.job
    if not job.alerts:
        return None

    def run_failed(context: Mapping[str, Any]) -> None:
        task = getattr(context.get("ti"), "task_id", None)
        run = context.get("dag_run")
        facts = _facts(
            job.name,
            context["run_id"] if run is None else run.run_id,
            _requested(getattr(run, "conf", None))
            or _key(getattr(run, "data_interval_start", None), job.partition, job.timezone),
            f"failed in task {task}" if task else "failed",
        )
        _tell([alert.model_dump() for alert in job.alerts], facts)

    return run_failed


def deadline(job_file: JobFile) -> DeadlineAlert | None:
    """Return the deadline of a run and the callback for a missed one."""
    job = job_file.job
    if job.run.deadline_hours is None:
        return None
    return DeadlineAlert(
        name="published in time",
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=job.run.deadline_hours),
        callback=AsyncCallback(
            run_is_late,
            {
                "alerts": [alert.model_dump() for alert in job.alerts],
                "deadline_hours": job.run.deadline_hours,
                "partition": job.partition,
                "timezone": job.timezone,
            },
        ),
    )


async def run_is_late(
    alerts: list[dict[str, Any]],
    deadline_hours: float,
    partition: Kind,
    timezone: str,
    context: Mapping[str, Any],
) -> None:
    """Send the alerts, called by the triggerer; ``context`` has the few facts that Airflow gives
    there.
    """
    run = context["dag_run"]
    start = run["data_interval_start"]
    facts = _facts(
        run["dag_id"],
        run["dag_run_id"],
        _requested(run.get("conf"))
        or _key(datetime.fromisoformat(start) if start else None, partition, timezone),
        f"not published {deadline_hours:g} hours after the run was queued",
    )
    log.warning("%(job)s %(partition)s is late: %(problem)s (%(run_id)s)", facts)
    await asyncio.to_thread(_tell, alerts, facts)  # most notifiers block


def _tell(alerts: list[dict[str, Any]], facts: dict[str, str]) -> None:
    """Send every alert, also when one of them fails; the first failure is raised at the end."""
    failures = []
    for alert in alerts:
        try:
            _class_of(alert["notifier"])(**copy.deepcopy(alert["arguments"]))(dict(facts))
        except Exception as error:
            log.exception("the alert by %s could not be sent", alert["notifier"])
            failures.append(error)
    if failures:
        raise failures[0]


def _facts(job: str, run_id: str, partition: str, problem: str) -> dict[str, str]:
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    url = f"{base}/dags/{quote(job)}/runs/{quote(run_id, safe='')}"
    return dict(zip(FACTS, (job, partition, run_id, problem, url), strict=True))


def _requested(conf: Any) -> str:
    """Return the partition that a run's conf asks for, as far as it asks for one."""
    return str((conf or {}).get("partition") or "")


def _key(moment: datetime | None, kind: Kind, timezone: str) -> str:
    """Return the key of the partition, as far as the run has one."""
    return partition_at(moment, kind, ZoneInfo(timezone)).key if moment else "(no partition)"


def _class_of(path: str) -> type[BaseNotifier]:
    """Return the notifier class at ``path``; ImportError or TypeError with what is wrong in words."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except Exception as error:
        raise ImportError(
            f"{path} cannot be imported: {type(error).__name__}: {error}; install the package that "
            f"{module} is part of, or put a module of your own into Airflow's plugins folder"
        ) from error
    if not (isinstance(found, type) and issubclass(found, BaseNotifier)):
        raise TypeError(
            f"{path} is not a notifier: it must be a class derived from airflow.sdk.BaseNotifier"
        )
    return found


def _template_problems(value: Any, loc: Loc = ()) -> Iterator[tuple[Loc, str]]:
    """Yield each text in ``value`` that is not a template, or that names what is not known there."""
    from jinja2 import TemplateSyntaxError, meta
    from jinja2.sandbox import SandboxedEnvironment

    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for step, inner in items:
            yield from _template_problems(inner, (*loc, step))
    elif isinstance(value, str):
        try:
            names = meta.find_undeclared_variables(SandboxedEnvironment().parse(value))
        except TemplateSyntaxError as error:
            yield loc, f"is not a template: {error}"
            return
        for name in sorted(names - set(FACTS)):
            yield loc, f"{{{{ {name} }}}} is not known in an alert; these are: {', '.join(FACTS)}"
