"""The folder of the job files, and the file of a job that is named."""

from __future__ import annotations

import os
from pathlib import Path

from scoring.errors import JobError


def jobs_folder() -> Path:
    """Return the folder of the job files: ``$SCORING_JOBS``, else ``dags/jobs``."""
    return Path(os.environ.get("SCORING_JOBS", "dags/jobs"))


def job_path(job: str, folder: Path) -> Path:
    """Return the file of a job that is named, or given as a path ending in .yaml."""
    if job.endswith((".yaml", ".yml")):
        return Path(job)
    path = folder / f"{job}.yaml"
    if not path.is_file():
        if path.with_suffix(".yml").is_file():
            raise JobError(f"{path.with_suffix('.yml')} is not read: a job file ends in .yaml")
        known = ", ".join(p.stem for p in job_paths(folder))
        raise JobError(f"there is no job {job!r}: {path} does not exist; jobs there: {known}")
    return path


def job_paths(folder: Path) -> list[Path]:
    """Return the job files in ``folder``; JobError if there is none."""
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise JobError(f"there is no job file (*.yaml) in {folder}; --jobs names another folder")
    return paths
