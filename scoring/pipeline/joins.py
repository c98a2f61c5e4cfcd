"""Tables joined by the key of a row, on disk: memory does not grow with the partition.

Keys are hashes of the row ids. They have 64 bits: of ten million rows, the chance that any two of
them are taken for one is about three in a million.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pyarrow as pa

from scoring.arrow.columns import combined_column
from scoring.arrow.hashing import hash_columns
from scoring.expressions.connection import SAFE
from scoring.job.schema import Job
from scoring.storage.temporary import TemporaryFolder

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@contextmanager
def join_connection(purpose: str, memory_mb: int) -> Iterator[DuckDBPyConnection]:
    """Yield a DuckDB file in a temporary folder called after ``purpose``, gone after the block.

    What does not fit into ``memory_mb`` is in that folder. With one thread, so that sums of floats do not
    depend on the machine.
    """
    import duckdb

    with closing(TemporaryFolder(purpose)) as folder:
        settings = SAFE | {
            "memory_limit": f"{memory_mb}MB",
            "temp_directory": folder.name,
            "threads": 1,
        }
        with duckdb.connect(f"{folder.name}/pairs.duckdb", config=settings) as connection:
            connection.execute("SET lock_configuration = true")
            yield connection


def load(connection: DuckDBPyConnection, name: str, tables: Iterator[pa.Table]) -> None:
    """Make the table ``name`` of ``tables``, of which there is one at least, if one without rows."""
    for number, table in enumerate(tables):
        connection.register("batch", table)
        into = f"INSERT INTO {name}" if number else f"CREATE TABLE {name} AS"
        connection.execute(f"{into} FROM batch")
        connection.unregister("batch")


def joined_columns(job: Job, segments: Sequence[str] = ()) -> list[str]:
    """Return the published columns that ``keyed`` needs, each once."""
    outputs = [job.output.prediction, *job.output.probabilities]
    return list(dict.fromkeys([*job.id_columns, *outputs, *segments]))


def keyed(table: pa.Table, job: Job, segments: Sequence[str] = ()) -> pa.Table:
    """Return ``key``, ``prediction``, and the probabilities as ``p0``, ``p1``, … of published
    columns, and those of ``segments`` as ``k0``, ``k1``, …: null for one that was not published.
    """
    values = {"prediction": job.output.prediction}
    values |= {f"p{number}": name for number, name in enumerate(job.output.probabilities)}
    columns = {name: combined_column(table, of) for name, of in values.items()}
    for number, name in enumerate(segments):
        there = name in table.column_names
        nulls = pa.nulls(table.num_rows, pa.string())
        columns[f"k{number}"] = combined_column(table, name) if there else nulls
    return pa.table({"key": pa.array(hash_columns(table, job.id_columns)), **columns})
