"""Metrics of publications and evaluations, by Airflow's own StatsD or OpenTelemetry (``[metrics]`` of its settings).

Airflow's task runner has set up ``Stats`` before a task begins; where no metrics are switched on, what
is sent goes nowhere.  Each metric is sent as Airflow sends its own: under a name with tags, and, for a
StatsD that has no tags, once more with the job at the end of the name (``legacy_names_on``).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from airflow.configuration import conf
from airflow.sdk.observability.stats import Stats

from scoring.errors import ContractError, HeldError

if TYPE_CHECKING:
    from scoring.destinations.manifest import Manifest
    from scoring.monitoring.evaluation import Evaluation

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9_-]+")


def send_published(manifest: Manifest, now: datetime) -> None:
    """Send what was published at the moment ``now``, as gauges of its job."""
    tags = {"job": manifest.job, "model_version": manifest.model.version}
    for name, value in _figures(manifest, now).items():
        _send(Stats.gauge, name, value, tags)


def send_evaluated(evaluation: Evaluation) -> None:
    """Send how wrong the predictions of a partition were, as gauges of its job.

    The figures of a class have the name of its column at the end; one with other characters than
    a metric may have is left out.
    """
    tags = {"job": evaluation.job, "model_version": evaluation.model_version}
    _send(Stats.gauge, "rows_with_actual", evaluation.rows.with_actual, tags)
    for figure, value in evaluation.figures.items():
        name = figure.replace(" ", "_")
        if value is not None and _NAME.fullmatch(name):
            _send(Stats.gauge, name, value, tags)


@contextmanager
def counted_refusals(job: str) -> Iterator[None]:
    """Count each partition of ``job`` that is held, or that a check has kept from publication."""
    try:
        yield
    except (HeldError, ContractError) as error:
        name = "held" if isinstance(error, HeldError) else "checks_failed"
        _send(Stats.incr, name, 1, {"job": job})
        raise


def _figures(manifest: Manifest, now: datetime) -> dict[str, float]:
    from scoring.monitoring.judgement import drift_summary

    rows, drift = manifest.rows, drift_summary(manifest)
    wanted = rows.rows_in - rows.left_out
    end = datetime.fromisoformat(manifest.interval_end)
    figures: dict[str, float] = {
        "rows_in": rows.rows_in,
        "rows_scored": rows.scored,
        "rows_quarantined": rows.quarantined,
        "rows_left_out": rows.left_out,
        "quarantined_fraction": rows.quarantined / wanted if wanted else 0.0,
        "warnings": len(manifest.warnings),
        "freshness_seconds": (now - end).total_seconds(),
    }
    figures |= {f"{step}_seconds": took for step, took in manifest.durations_seconds.items()}
    if drift:
        figures |= {"worst_psi": drift.worst_psi, "columns_moved": drift.columns_moved}
    return figures


def _send(to: Callable[..., None], name: str, value: float, tags: dict[str, str]) -> None:
    """Send a metric under its names; a failure is a line of the log, and never the task's."""
    try:
        to(f"scoring.{name}", value, tags=tags)
        if conf.getboolean("metrics", "legacy_names_on", fallback=True):
            to(f"scoring.{name}.{tags['job']}", value)
    except Exception as error:  # noqa: BLE001 - whatever a client of metrics raises
        log.warning("the metric scoring.%s could not be sent: %s", name, error)
