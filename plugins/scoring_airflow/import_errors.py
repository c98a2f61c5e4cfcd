"""A wrong job file as an import error of its own, in Airflow's list and in the web UI.

Airflow keys import errors by Dag file and stops every Dag of a file that has one.  Raised by the
loader, one wrong job would stop all jobs.  So the error is added to the parse that is under way,
under the job file's path.  Airflow has no public call for that (see docs/decisions/0006-loader.md):
where its insides differ from the release that this was written for, the error is raised instead,
which is louder than wished but never silent.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from scoring.errors import JobError


def report_import_error(job_file: Path, error: Exception) -> None:
    """Add ``error`` as ``job_file``'s import error to the Dag file parse that called this."""
    # The library's errors are written for people; any other is unexpected and shown in full.
    is_job_error = isinstance(error, JobError)
    message = str(error) if is_job_error else "".join(traceback.format_exception(error))
    try:
        from airflow.dag_processing.importers import DagImportError, get_importer_registry

        importer: Any = get_importer_registry().get_importer("loader.py")
        collect = importer._process_modules
    except (ImportError, AttributeError):
        raise error from None

    def collect_with_error(
        filepath: str, modules: Any, bundle_name: Any, bundle_path: Any, result: Any
    ) -> None:
        vars(importer).pop("_process_modules", None)  # the class's own method again
        path = importer.get_relative_path(job_file, bundle_path)
        result.errors.append(DagImportError(file_path=path, message=message, error_type="job"))
        collect(filepath, modules, bundle_name, bundle_path, result)

    importer._process_modules = collect_with_error
