"""Published predictions as a DataFrame, each partition as its manifest describes it."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from scoring.destinations.base import Publisher, open_publisher
from scoring.destinations.manifest import Manifest
from scoring.errors import PublicationError
from scoring.job.folder import job_path, jobs_folder
from scoring.job.loader import JobFile, load_job
from scoring.job.partitions import Partition
from scoring.storage.connections import Connections

READS = 5
"""How often a partition is read that is replaced while it is read, before that is an error."""


_NULLABLE = {
    **{f"int{bits}": f"Int{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"UInt{bits}" for bits in (8, 16, 32, 64)},
}
"""The pandas types of integer columns with nulls."""


def load_predictions(
    job: str | os.PathLike[str] | JobFile,
    partitions: str | Iterable[str],
    *,
    data: str | None = None,
    connections: Connections | None = None,
) -> pd.DataFrame:
    """Return the published predictions of ``partitions``, in order of partitions and rows.

    ``job`` is a job's name (its file is in ``$SCORING_JOBS``, else ``dags/jobs``), the path of its
    file, or a loaded ``JobFile``.  ``partitions`` is a key (``"2013-05"``), a range
    (``"2013-02..2013-05"``), or several of these; ``data`` is the value of ``{data}``, by default
    ``$SCORING_DATA``, else ``.run/data``.

    The columns are those that are published: row ids, outputs, kept columns, ``model_version``,
    ``partition``.  The index counts the rows from 0.  Integers with nulls are pandas' ``Int64``, so
    that none loses a digit; otherwise dtypes are those of ``pandas.read_parquet``.
    ``frame.attrs["manifests"]`` has the manifest of each partition by its key, as its JSON has it.

    Raises JobError, PartitionError, and PublicationError for partitions that are not published, that
    are another job's, or whose file is not the one that its manifest describes.
    """
    job_file = job if isinstance(job, JobFile) else load_job(_path(job))
    keys = [partitions] if isinstance(partitions, str) else partitions
    wanted = job_file.job.partitions_to_score(keys)
    connections = connections or Connections()
    publisher = open_publisher(job_file.job, job_file.roots(data), connections)
    _check_published(publisher, job_file, wanted)
    tables, manifests = [], Manifests()
    for partition in wanted:
        table, manifest = _read(publisher, job_file, partition, connections)
        tables.append(table)
        manifests[partition.key] = json.loads(manifest.to_json())
    frame = _frame(tables)
    frame.attrs["manifests"] = manifests
    return frame


class Manifests(dict[str, Any]):
    """Manifests by partition key. pandas copies ``attrs`` deeply with every operation; these are
    large, and stay the same.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def _path(job: str | os.PathLike[str]) -> Path:
    return job_path(os.fspath(job), jobs_folder())


def _check_published(publisher: Publisher, job_file: JobFile, wanted: list[Partition]) -> None:
    """Raise PublicationError that names all of ``wanted`` that are not published."""
    missing = [p for p in wanted if publisher.published(p) is None]
    if not missing:
        return
    name, first, last = job_file.job.name, missing[0].key, missing[-1].key
    several = len(missing) > 1
    what = f"{first}..{last} --only-missing" if several else first
    raise PublicationError(
        f"nothing is published for {name} {', '.join(p.key for p in missing)} under "
        f"{publisher.uri}; `scoring run {name} {what}` scores {'them' if several else 'it'}"
    )


def _read(
    publisher: Publisher, job_file: JobFile, partition: Partition, connections: Connections
) -> tuple[pa.Table, Manifest]:
    """Return the rows and the manifest of one publication: another one may replace it meanwhile."""
    name = f"{job_file.job.name} {partition.key}"
    storage = connections.storage(publisher.uri, job_file.job.destination.encryption)
    for _ in range(READS):
        manifest = publisher.published(partition)
        if manifest is None:
            break
        if not job_file.job.is_own(manifest.job):
            raise PublicationError(
                f"what is published for {partition.key} under {publisher.uri} is the job "
                f"{manifest.job}'s, not {job_file.job.name}'s"
            )
        found = storage.read(manifest.output.uri)
        if found is not None and hashlib.sha256(found).hexdigest() == manifest.output.sha256:
            try:
                return pq.read_table(io.BytesIO(found)), manifest
            except pa.ArrowException as error:
                raise PublicationError(
                    f"{manifest.output.uri} is not a parquet file: {error}"
                ) from None
    raise PublicationError(
        f"what is published for {name} under {publisher.uri} is not what its manifest describes; "
        f"`scoring verify {job_file.job.name} {partition.key}` says what differs"
    )


def _frame(tables: list[pa.Table]) -> pd.DataFrame:
    """Return the rows of all tables; columns that one of them lacks are null there."""
    if not tables:
        return pd.DataFrame()
    table = pa.concat_tables(tables, promote_options="default")
    frame: pd.DataFrame = table.to_pandas()
    for name in table.column_names:
        values = table.column(name)
        if pa.types.is_integer(values.type) and values.null_count:
            frame[name] = pd.array(values.to_pylist(), dtype=_NULLABLE[str(values.type)])
    return frame
