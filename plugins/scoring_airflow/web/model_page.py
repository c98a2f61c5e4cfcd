"""The model versions of a job: side by side, and each by itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from fastapi import APIRouter, HTTPException, Response

from scoring.destinations.base import open_publisher
from scoring.destinations.index import READS_AT_ONCE
from scoring.destinations.manifest import Manifest
from scoring.errors import ModelError
from scoring.job.loader import JobFile
from scoring.job.model import ModelVersionConfig
from scoring.monitoring.versions import JobFileUse, VersionFigures, by_version, in_force, job_files
from scoring_airflow.stored_dags import StoredJob
from scoring_airflow.web.cells import Cell, JobCells, job_cells
from scoring_airflow.web.clock import Now
from scoring_airflow.web.history import History, history
from scoring_airflow.web.jobs import connections, covered_jobs, forget_connections, in_words
from scoring_airflow.web.rendering import html
from scoring_airflow.web.security import ReadableJob

router = APIRouter(include_in_schema=False)

CELLS_SHOWN = 400
MANIFESTS_READ = 20
"""Of how many versions the page of all of them has what only a manifest says."""


@dataclass(frozen=True)
class Version:
    """A version: what the job file says of it (None where it no longer has it), from when to when it
    is in force in words, its colour, and its figures (None where it has scored nothing that is
    published).
    """

    name: str
    config: ModelVersionConfig | None
    force: str
    colour: int | None
    figures: VersionFigures | None

    @property
    def sha256(self) -> str | None:
        """The digest that the job file pins, or that the last manifest has."""
        if self.config and self.config.sha256:
            return self.config.sha256
        last = self.figures.points[-1].figures if self.figures else None
        return last.model_sha256 if last else None


@router.get("/models/{job}")
def models(job: ReadableJob, now: Now) -> Response:
    found, over_time = _look(job, now)
    versions, file = _versions(found, over_time), found.covered.file
    with ThreadPoolExecutor(READS_AT_ONCE) as threads:
        latest = versions[-MANIFESTS_READ:]
        read = threads.map(lambda version: _last_manifest(file, version)[0], latest)
        manifests = {v.name: manifest for v, manifest in zip(latest, read, strict=True)}
    return html("models.html", job=found, history=over_time, versions=versions, manifests=manifests)


@router.get("/models/{job}/{version}")
def model(job: ReadableJob, version: str, now: Now) -> Response:
    found, over_time = _look(job, now)
    shown = next((v for v in _versions(found, over_time) if v.name == version), None)
    if shown is None:
        if found.covered.problem is None and over_time.problem is None:
            raise HTTPException(404, f"{job.dag_id} has no model version {version}.")
        shown = Version(version, None, "not known", None, None)
    manifest, problem = _last_manifest(found.covered.file, shown)
    return html(
        "model.html",
        job=found,
        history=over_time,
        version=shown,
        cells=_scored(found, shown)[-CELLS_SHOWN:],
        manifest=manifest,
        problem=problem,
        first=_first_use(shown),
    )


def _look(job: StoredJob, now: datetime) -> tuple[JobCells, History]:
    (found,) = job_cells(covered_jobs([job], now), now)
    return found, history(found.covered)


def _versions(found: JobCells, over_time: History) -> list[Version]:
    """Return the versions of the job file, in its order, then those that it no longer has."""
    file = found.covered.file
    figures = by_version(over_time.points, file.job.output.prediction) if file else {}
    colours = dict(found.versions)
    named = file.job.version_names if file else []
    return [
        Version(
            name,
            _config(file, name),
            _in_force(file, name),
            colours.get(name),
            figures.get(name),
        )
        for name in [*named, *(name for name in figures if name not in named)]
    ]


def _config(file: JobFile | None, name: str) -> ModelVersionConfig | None:
    try:
        return file.job.version_for(file.job.first_partition, name) if file else None
    except ModelError:
        return None


def _in_force(file: JobFile | None, name: str) -> str:
    if file is None or file.job.model is None:
        return "not by the job file as it is now"
    if name not in file.job.version_names:
        alias = name.rpartition(".")[0]  # such as champion, of the registered version champion.3
        return f"where {alias} meant it" if _config(file, name) else _in_force(None, name)
    config = _config(file, name)
    if config is not None and config.candidate:
        return "candidate, challenger" if name in file.job.challengers else "candidate"
    force = in_force(file.job, name)
    if force.first is None:
        return "never: the newest version scores all partitions"
    if force.last is None:
        return f"from {force.first.key} on"
    return f"{force.first.key} to {force.last.key}"


def _scored(found: JobCells, version: Version) -> list[Cell]:
    return [cell for cell in found.cells if cell.covered.model_version == version.name]


def _last_manifest(file: JobFile | None, version: Version) -> tuple[Manifest | None, str | None]:
    """Return the manifest of the last partition that the version has scored, and what is wrong."""
    if file is None or version.figures is None:
        return None, None
    partition = version.figures.points[-1].partition
    try:
        publisher = open_publisher(file.job, file.roots(), connections(file.job))
        manifest = publisher.published(partition)
    except Exception as error:  # noqa: BLE001 - the rest of the page is shown
        forget_connections(file.job)
        return None, in_words(error, f"the manifest of {partition.key}")
    of_version = manifest is not None and manifest.model.version == version.name
    return (manifest if of_version else None), None


def _first_use(version: Version) -> JobFileUse | None:
    """Return the state of the job file that made the first partition of the version."""
    uses = job_files(version.figures.points) if version.figures else []
    return uses[0] if uses else None
