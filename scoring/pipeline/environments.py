"""The environments of a job's model versions, built ahead of its first run."""

from __future__ import annotations

from collections.abc import Iterator

from scoring.job.loader import JobFile
from scoring.job.model import EnvironmentConfig
from scoring.models.environment.build import Environment, environment_of
from scoring.models.resolve import environment_spec, verify_digest
from scoring.storage.connections import Connections

__all__ = ["Environment", "build_environments"]


def build_environments(
    job_file: JobFile, data: str | None = None
) -> Iterator[tuple[str, Environment]]:
    """Yield each version that has an environment, and that environment, built where it is not there.

    Raises ModelError and MissingPackageError.
    """
    roots, job = job_file.roots(data), job_file.job
    for version in job.model.versions if job.model else []:
        if isinstance(version.environment, EnvironmentConfig):
            spec = environment_spec(version.version, version.environment, roots)
            yield version.version, environment_of(spec)
        elif version.environment is not None:
            since = version.in_force_from
            first = job.parse(since) if since is not None else job.first_partition
            found = verify_digest(job, version, first, roots, Connections())
            assert found.environment is not None
            yield found.version, environment_of(found.environment)
