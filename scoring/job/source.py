"""The source section of a job file: where the rows of a partition come from.

Imported with ``scoring.job.schema`` whenever Airflow parses a Dag file, so it imports nothing
heavy.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from scoring.job.expressions import Expression
from scoring.job.section import Problem, Section, check_kind, problems_of
from scoring.job.sql_params import check_query
from scoring.job.uri_templates import (
    check_source_fields,
    check_source_template,
    is_pattern,
    without_query,
)
from scoring.registry import SOURCES

QUERIES = ("sql", "files_sql")
"""Kinds that a job names by its fields, not by ``format``."""

SourceUri = Annotated[str, AfterValidator(check_source_fields)]
SourceFormat = Annotated[str, AfterValidator(partial(check_kind, SOURCES, hidden=QUERIES))]
Query = Annotated[str, AfterValidator(check_query)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class WaitConfig(Section):
    """How long Airflow waits for a missing source, and how often it checks."""

    timeout_hours: Annotated[
        float,
        Field(
            gt=0,
            le=8784,
            description="Time limit in hours, from the first check that found no source.",
        ),
    ] = 48.0
    poke_interval_seconds: Annotated[
        float, Field(ge=1, le=86_400, description="Seconds between two checks.")
    ] = 300.0


class SourceConfig(Section):
    """Where the rows of a partition come from: files at ``uri``, or the query ``sql``."""

    uri: Annotated[
        SourceUri | None,
        Field(
            description="The [URI](#uris) of one file, or a pattern (`*`, `?`, `[…]`, `**`) for "
            "several, which are read in the order of their names. Either `uri` or `sql` is "
            "required."
        ),
    ] = None
    format: Annotated[
        SourceFormat | None,
        Field(
            description="`parquet`, `csv`, or a kind that a [package](architecture.md#add-a-kind) "
            "adds; such a kind defines its own URIs. By default, a file name that contains `.csv` "
            "means CSV, any other parquet. CSV may be compressed with gzip (`.gz`). Not with `sql` alone."
        ),
    ] = None
    sql: Annotated[
        Query | None,
        Field(
            description="A [query](#a-query-as-source): of the database `conn_id`, or, with `uri`, "
            "of the files' rows, the table `source`."
        ),
    ] = None
    conn_id: Annotated[
        str | None,
        Field(
            pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}$",
            description="The Airflow connection that runs `sql`. Required with `sql` alone, not "
            "allowed with `uri`.",
        ),
    ] = None
    date_column: Annotated[
        str | None,
        Field(
            description="A timestamp or date column. Rows whose value is null or outside of the "
            "partition are quarantined. Values without a UTC offset are read in the job's "
            "`timezone`."
        ),
    ] = None
    outside_partition: Annotated[
        Literal["quarantine", "leave_out"],
        Field(
            description="What becomes of rows whose `date_column` is outside of the partition: "
            "`leave_out` where the source holds more than one partition by intention, such as a "
            "day's file for a job of hours. A null is quarantined all the same."
        ),
    ] = "quarantine"
    derive: Annotated[
        dict[str, Expression],
        Field(
            description="Columns that are computed: a SQL [expression](#expressions) over one row "
            "by column name. Later ones can use earlier ones. One with the name of a source column "
            "replaces it."
        ),
    ] = {}
    sha256: Annotated[
        dict[str, Digest],
        Field(
            description="SHA-256 digests of the source file by partition key, as printed by "
            "`sha256sum FILE`. A file with another digest is not scored. Not for patterns."
        ),
    ] = {}
    wait: Annotated[
        WaitConfig | None,
        Field(
            description="How long Airflow waits for a missing source. By default it does not wait."
        ),
    ] = None

    @property
    def place(self) -> str:
        """The URI template, or ``sql:CONN_ID``: the source without secrets, for messages."""
        return self.uri if self.uri is not None else f"sql:{self.conn_id}"

    @property
    def kind(self) -> str:
        """The kind of source: ``sql``, ``files_sql``, or the format of its files."""
        if self.sql is not None:
            return "sql" if self.uri is None else "files_sql"
        return self.file_format

    @property
    def file_format(self) -> str:
        """The format as given, else as the URI ends: ``.csv`` and ``.csv.gz`` are CSV."""
        name = Path(without_query(self.uri or "")).name
        return self.format or ("csv" if ".csv" in name else "parquet")

    @property
    def has_files(self) -> bool:
        """Whether each row is in a file that this package itself reads."""
        return self.sql is None and self.kind in SOURCES.built_in

    def problems(self) -> Iterator[Problem]:
        """Report fields that contradict each other (see ``Job.problems``)."""
        if self.outside_partition == "leave_out" and self.date_column is None:
            yield ("outside_partition",), "leave_out requires date_column"
        if self.uri is not None:
            yield from self._problems_of_files(self.uri)
            if self.sql is not None and not re.search(r"(?i)\bsource\b", self.sql):
                yield ("sql",), "reads no table source, which has the rows of the files"
        elif self.sql is not None:
            yield from self._problems_of_query()
        else:
            yield (), "requires uri (files), sql (a database), or both; neither is given"

    def _problems_of_files(self, uri: str) -> Iterator[Problem]:
        if self.file_format in SOURCES.built_in:
            yield from problems_of(check_source_template, "uri", uri)
        if self.conn_id is not None:
            yield ("conn_id",), "is for sql without uri; set run.aws_conn_id for files in S3"
        if self.sha256 and is_pattern(uri):
            yield ("sha256",), "requires one file per partition, and uri is a pattern"

    def _problems_of_query(self) -> Iterator[Problem]:
        if self.conn_id is None:
            yield ("conn_id",), "missing; sql requires an Airflow connection"
        if self.format is not None:
            yield ("format",), "requires uri; a database has types"
        if self.sha256:
            yield ("sha256",), "requires uri; the manifest has the digest of a query's rows"
        if self.wait is not None:
            yield ("wait",), "requires uri; a query without rows is a matter of checks.min_rows"
