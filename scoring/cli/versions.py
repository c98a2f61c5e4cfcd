"""``versions``: the model versions of a job, what they have scored, when, and with which figures."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from scoring.cli import clock, output
from scoring.cli import options as shared

if TYPE_CHECKING:
    from scoring.job.schema import Job
    from scoring.job.uri_templates import Roots
    from scoring.monitoring.timeline import Point
    from scoring.monitoring.versions import VersionFigures
    from scoring.storage.connections import Connections

HELP = "list the model versions: in force from when to when, what they scored, with which figures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    shared.add_job(parser)
    shared.add_data_and_json(parser)


def command(options: argparse.Namespace) -> int:
    from scoring.destinations.base import open_publisher
    from scoring.destinations.catalog import catalog_of
    from scoring.monitoring.history import published_partitions
    from scoring.monitoring.timeline import timeline
    from scoring.monitoring.versions import by_version
    from scoring.storage.connections import Connections

    job_file = shared.job_file(options)
    job, roots, connections = job_file.job, job_file.roots(options.data), Connections()
    summaries = catalog_of(open_publisher(job, roots, connections)).summaries
    points = timeline(job, roots, connections, published_partitions(job, summaries))
    figures = by_version(points, job.output.prediction)
    published_at = _published_at(job, roots, connections)
    names = [*job.version_names, *(name for name in figures if name not in job.version_names)]
    facts = [_facts(job, name, figures.get(name), published_at) for name in names]
    if options.json:
        print(json.dumps(facts, indent=2))
        return 0
    if not facts:
        print(f"{job.name} has no model: its scorer is the version; nothing is published yet")
        return 0
    output.table_of([_shown(one) for one in facts], as_json=False)
    return 0


def _published_at(job: Job, roots: Roots, connections: Connections) -> dict[str, datetime]:
    """Return when the manifest of each partition was written, by the clock of its storage."""
    from scoring.destinations.layout import NEXT, Layout

    layout = Layout.of(job, roots)
    storage = connections.storage(layout.uri, job.destination.encryption)
    now = clock.current()
    return {
        layout.path_of(entry.uri): now - timedelta(seconds=entry.age_seconds)
        for entry in storage.tree(layout.manifests)
        if NEXT not in entry.uri
    }


def _facts(
    job: Job, name: str, of: VersionFigures | None, published_at: dict[str, datetime]
) -> dict[str, Any]:
    from scoring.monitoring.plan import stretches

    points: tuple[Point, ...] = of.points if of else ()
    moments = [published_at[p.partition.path] for p in points if p.partition.path in published_at]
    last = max(moments).astimezone(UTC).replace(microsecond=0) if moments else None
    facts: dict[str, Any] = {
        "version": name,
        "state": _state(job, name),
        "scored": [one.keys for one in stretches(point.partition for point in points)],
        "partitions": len(points),
        "last_published": last.isoformat() if last else None,
        "rows": of.rows if of else 0,
        "quarantined_fraction": of.quarantined_fraction if of else None,
        "mean": of.mean if of else None,
        "evaluated": of.evaluated if of else 0,
        "errors": of.errors if of else {},
    }
    return facts


def _state(job: Job, name: str) -> str:
    from scoring.errors import ModelError
    from scoring.monitoring.versions import in_force

    if job.model is None:
        return "scorer"
    try:
        config = job.version_for(job.first_partition, name)
    except ModelError:
        return "not in the job file"
    if config.candidate:
        return "candidate, challenger" if name in job.challengers else "candidate"
    if name not in job.version_names:
        return "by its alias"
    force = in_force(job, name)
    if force.first is None:
        return "never in force"
    return f"in force {force.first.key} " + (f"to {force.last.key}" if force.last else "on")


def _shown(facts: dict[str, Any]) -> dict[str, Any]:
    share = facts["quarantined_fraction"]
    shown = {name: facts[name] for name in ("version", "state", "scored", "partitions")}
    shown |= {"last published": (facts["last_published"] or "").replace("+00:00", "Z")}
    shown |= {"rows": facts["rows"], "quarantined": "" if share is None else f"{share:.2%}"}
    shown |= {"mean": facts["mean"]}
    return shown | {name: f"{value:.5g}" for name, value in facts["errors"].items()}
