"""The environments of a job's model versions, built ahead of its first run."""

from __future__ import annotations

from collections.abc import Iterator

from scoring.job.loader import JobFile
from scoring.models.environment.build import Environment, environment_of
from scoring.models.resolve import environment_spec

__all__ = ["Environment", "build_environments"]


def build_environments(job_file: JobFile) -> Iterator[tuple[str, Environment]]:
    """Yield each version that has an environment, and that environment, built where it is not there.

    Raises ModelError and MissingPackageError.
    """
    roots = job_file.roots()
    for version in job_file.job.model.versions if job_file.job.model else []:
        if version.environment is not None:
            yield version.version, environment_of(environment_spec(version, roots))
