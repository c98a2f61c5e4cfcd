"""The jobs that a service answers for, and the versions of their models that are in memory.

A job file or a model that changes is loaded beside what is served, which it then replaces; one that
cannot be loaded replaces nothing.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from scoring.errors import JobError, ScoringError
from scoring.job.loader import JobFile, load_job
from scoring.job.model import EnvironmentConfig, ModelVersionConfig
from scoring.job.partitions import Partition, partition_at
from scoring.job.schema import Job
from scoring.models.prepare import forget_models
from scoring.models.resolve import environment_spec
from scoring.models.user_scorer import read_scorer
from scoring.pipeline.context import PartitionContext
from scoring.serving.columns import published_types
from scoring.serving.connections import connections_of
from scoring.serving.scorer import RequestScorer
from scoring.serving.settings import Settings

log = logging.getLogger(__name__)

PINNED_KEPT = 8
"""How many scorers of a job that requests have pinned stay in memory."""


class NotServedError(ScoringError):
    """No job of this name is served."""


@dataclass(frozen=True)
class State:
    """What is served of a job, for people and for probes; ``problem`` is why it is not the newest."""

    name: str
    version: str | None
    sha256: str | None
    problem: str | None


class ServedJob:
    """One job: its file as it was loaded, the scorer in force, and those that were pinned."""

    def __init__(self, job_file: JobFile, settings: Settings) -> None:
        self.job_file = job_file
        self.name = job_file.job.name
        self._settings = settings
        self._pinned: OrderedDict[tuple[str | None, str | None], RequestScorer] = OrderedDict()
        self._lock = threading.Lock()
        self.signature = self._signature()
        self._published = published_types(context_of(job_file, settings).publisher)
        self.in_force = self._load(None, None)

    def scorer(self, version: str | None, as_of: str | None) -> RequestScorer:
        """Return the scorer of ``version`` (None: the one in force) for the rows of the partition
        ``as_of`` (None: of any).

        Raises ModelError and PartitionError for what the job does not have.
        """
        if version is None and as_of is None:
            return self.in_force
        with self._lock:
            key = (version, as_of)
            if key not in self._pinned:
                job = self.job_file.job
                partition = job.partition_to_score(as_of) if as_of is not None else None
                self._pinned[key] = self._load(version, partition)
                if len(self._pinned) > PINNED_KEPT:
                    self._pinned.popitem(last=False)
            self._pinned.move_to_end(key)
            return self._pinned[key]

    def changed(self) -> bool:
        """Return whether what this was loaded from is no longer the same."""
        return self._signature() != self.signature

    def _load(self, version: str | None, partition: Partition | None) -> RequestScorer:
        context = context_of(self.job_file, self._settings, partition)
        return RequestScorer(context, context.model_file(version), partition, self._published)

    def _signature(self) -> tuple[object, ...]:
        """Return what shows, without reading a model, that something else would be loaded now."""
        job_file, scorer = self.job_file, self.job_file.scorer_path
        context = context_of(job_file, self._settings)
        version = job_file.job.version_for(context.partition) if job_file.job.model else None
        return (
            job_file.path.read_bytes() if job_file.path.is_file() else None,
            read_scorer(scorer).sha256 if scorer is not None else None,
            str(context.publisher.columns()),
            version and (version.version, self._marks(version, context)),
        )

    def _marks(self, version: ModelVersionConfig, context: PartitionContext) -> list[object]:
        """Return what shows that the files of ``version`` are still the same."""
        model = self.job_file.job.model
        assert model is not None
        if version.registered is not None:  # an alias may have moved on
            return [context.model_file(version.version).sha256]
        artifacts = (model.files | version.files).values()
        marks: list[object] = []
        for uri in (version.uri, *(artifact.uri for artifact in artifacts)):
            path = context.roots.expand(uri)
            storage = context.connections.storage(path)
            if uri.endswith("/"):
                marks += [(file.uri, file.etag, file.modified_ns) for file in storage.files(path)]
            else:
                marks.append(storage.version(path))
        if isinstance(version.environment, EnvironmentConfig):
            marks.append(environment_spec(version.version, version.environment, context.roots))
        return marks


class Jobs:
    """All jobs of a service, by name."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._served: dict[str, ServedJob] = {}
        self._problems: dict[str, str] = {}

    def __getitem__(self, name: str) -> ServedJob:
        """Return the job so called; raise NotServedError."""
        found = self._served.get(name)
        if found is None:
            known = ", ".join(self._served) or "none"
            why = self._problems.get(name)
            raise NotServedError(
                f"{name!r} cannot be served: {why}"
                if why
                else f"{name!r} is not served; jobs: {known}"
            )
        return found

    def __iter__(self) -> Iterator[ServedJob]:
        return iter(list(self._served.values()))

    def states(self) -> list[State]:
        """Return the state of each job, also of those that cannot be served."""
        found = []
        for name in sorted({*self._served, *self._problems}):
            served, problem = self._served.get(name), self._problems.get(name)
            file = served.in_force.file if served else None
            found.append(
                State(name, file.version if file else None, file.sha256 if file else None, problem)
            )
        return found

    @property
    def ready(self) -> bool:
        """Whether each job is served, if by what was there before it changed for the worse."""
        return bool(self._served) and not {*self._problems} - {*self._served}

    def load(self) -> None:
        """Load all jobs.  Raises the error of the first that cannot be loaded."""
        for path in paths_of(self._settings):
            served = ServedJob(load_job(path), self._settings)
            self._served[served.name] = served

    def refresh(self) -> None:
        """Load what is new or has changed, and forget what is gone.

        What cannot be loaded stays as it was, and ``states`` says why.  A request that is being
        answered keeps what it began with.
        """
        paths = paths_of(self._settings)
        for path in paths:
            name = path.stem
            before = self._served.get(name)
            try:
                if before is not None and not before.changed():
                    self._well(name)
                    continue
                self._served[name] = after = ServedJob(load_job(path), self._settings)
            except ScoringError as error:
                self._failed(name, error)
                continue
            except OSError as error:
                self._failed(name, ScoringError(f"{path}: {error.strerror or error}"))
                continue
            except Exception as error:  # noqa: BLE001 - of a model; the service goes on
                self._failed(name, ScoringError(f"{type(error).__name__}: {error}"))
                continue
            self._well(name)
            log.info("%s: %s is in force", name, after.in_force.file.version)
            forget_models()  # or those that were replaced would stay in memory
        known = {path.stem for path in paths}
        for name in {*self._served, *self._problems} - known:
            self._problems.pop(name, None)
            if self._served.pop(name, None) is not None:
                log.info("%s: its job file is gone, so it is not served any more", name)

    def _well(self, name: str) -> None:
        if self._problems.pop(name, None) is not None:
            log.info("%s: can be loaded again", name)

    def _failed(self, name: str, error: ScoringError) -> None:
        if self._problems.get(name) != str(error):
            served = "; what was loaded before goes on serving" if name in self._served else ""
            log.error("%s cannot be loaded: %s%s", name, error, served)
        self._problems[name] = str(error)


def check_jobs(settings: Settings) -> None:
    """Raise what is wrong with a job file, or with what its model is, without loading a model."""
    for path in paths_of(settings):
        job_file = load_job(path)
        context_of(job_file, settings).model_file()


def paths_of(settings: Settings) -> list[Path]:
    """Return the job files that are served.  Raises JobError where two have the same name."""
    if not settings.paths:
        return sorted(settings.folder.glob("*.yaml"))
    names = [path.stem for path in settings.paths]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise JobError(f"two job files have the name {twice}; a service has one of each name")
    return list(settings.paths)


def context_of(
    job_file: JobFile, settings: Settings, partition: Partition | None = None
) -> PartitionContext:
    """Return what a model of the job is loaded with, for ``partition`` or the one of the clock."""
    connections = connections_of(job_file.job)
    partition = partition or current_partition(job_file.job, settings)
    return PartitionContext(
        job_file, partition, job_file.roots(settings.data), "serve", connections
    )


def current_partition(job: Job, settings: Settings) -> Partition:
    """Return the partition that the clock is in, or the last one of the job."""
    now, last = partition_at(settings.clock(), job.partition, job.zone), job.last_partition
    return last if last is not None and last < now else now
