"""Alert people, through the notifiers of a job's ``alerts``, of what its runs come to.

A notifier is any class derived from Airflow's ``BaseNotifier``.  Its arguments are templates, and
know the names in ``FACTS`` only: what Airflow knows beside them (connections, variables) is out of
their reach, and so are the rows that an error message quotes.

A failed run is reported by the Dag processor, once, after the last retry; why one is held, the task
has left as an XCom.  A late one by the triggerer, which has neither the job file nor the Dag: it gets
all it needs as arguments.  What is published in spite of drift, and what has become stale, by the
task that has published.
"""

from __future__ import annotations

import asyncio
import copy
import importlib
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from airflow.configuration import conf
from airflow.sdk import (  # type: ignore[attr-defined]  # its stub knows no deadlines
    AsyncCallback,
    BaseNotifier,
    DeadlineAlert,
    DeadlineReference,
)

from scoring.errors import quoted
from scoring.job.alert import Event
from scoring.job.loader import JobFile
from scoring.job.partitions import Kind, partition_at
from scoring.job.schema import Job
from scoring.job.section import Loc

if TYPE_CHECKING:
    from scoring.destinations.manifest import Manifest
    from scoring.pipeline.context import PartitionContext

log = logging.getLogger(__name__)

HELD = "held"
"""The key of the XCom in which a task leaves why its partition is held."""

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
    if not (_alerts(job, "failed") or _alerts(job, "held")):
        return None

    def run_failed(context: Mapping[str, Any]) -> None:
        ti, run = context.get("ti"), context.get("dag_run")
        task = getattr(ti, "task_id", None)
        held = _why_held(ti) if task else None
        facts = _facts(
            job.name,
            context["run_id"] if run is None else run.run_id,
            _requested(getattr(run, "conf", None))
            or _key(getattr(run, "data_interval_start", None), job.partition, job.timezone),
            held or (f"failed in task {task}" if task else "failed"),
        )
        _tell(_alerts(job, "held" if held else "failed"), facts)

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
                "alerts": _alerts(job, "late"),
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


def report_publication(
    attempt: PartitionContext, manifest: Manifest, run_id: str, now: datetime
) -> None:
    """Report drift in what was published, and partitions that have become stale by ``now``.

    Called by the task that has published, which succeeds whatever happens here.
    """
    problems: dict[Event, Callable[[], str | None]] = {
        "drift": lambda: _drift_in(manifest),
        "stale": lambda: _stale_by(attempt, now),
    }
    for event, find in problems.items():
        alerts = _alerts(attempt.job, event)
        if not alerts:
            continue
        try:
            if problem := find():
                _tell(alerts, _facts(manifest.job, run_id, manifest.partition, problem))
        except Exception:
            log.exception("the alert for %s could not be sent; what was published stays", event)


def _drift_in(manifest: Manifest) -> str | None:
    """Return what a manifest warns of, unless somebody has accepted it."""
    from scoring.monitoring.judgement import drift_summary
    from scoring.pipeline.hold import DRIFT

    warned = any(warning.startswith("drift: ") for warning in manifest.warnings)
    found = drift_summary(manifest) if warned and DRIFT not in manifest.run else None
    if found is None:
        return None
    moved = "1 column has" if found.columns_moved == 1 else f"{found.columns_moved} columns have"
    return (
        f"published, but {moved} moved from {found.reference}: most of all {found.worst_column}, PSI "
        f"{found.worst_psi:.3f}. `scoring drift {manifest.job} {manifest.partition}` shows them"
    )


def _stale_by(attempt: PartitionContext, now: datetime) -> str | None:
    """Return which partitions have become stale, and why; each is reported once."""
    from scoring.monitoring.plan import stretches
    from scoring.monitoring.stale_news import stale_news

    news = stale_news(
        attempt.job_file, attempt.roots, attempt.connections, now, but=attempt.partition
    )
    news.remember()  # first: a notifier that fails must not have the others repeat it
    if not news.partitions:
        return None
    keys = ", ".join(s.keys for s in stretches(one.partition for one in news.partitions))
    reasons = dict.fromkeys(r.detail for one in news.partitions for r in one.reasons)
    more = f"; and {len(reasons) - 1} more reasons" if len(reasons) > 1 else ""
    return (
        f"published, but {quoted(keys, 200)} became stale: {next(iter(reasons))}{more}. `scoring plan "
        f"{attempt.job.name}` prints what scores them again"
    )


def _why_held(ti: Any) -> str | None:
    """Return what the task has left if its partition is held."""
    try:
        found = ti.xcom_pull(task_ids=ti.task_id, key=HELD)
    except Exception:  # an alert that says less is better than none
        log.exception("it cannot be known whether the partition is held")
        return None
    return str(found) if found else None


def _alerts(job: Job, event: Event) -> list[dict[str, Any]]:
    """Return the alerts for ``event``, as Airflow can store them."""
    return [alert.model_dump() for alert in job.alerts if event in alert.when]


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
